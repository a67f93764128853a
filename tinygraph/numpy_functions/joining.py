"""Joining and cutting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.convert import operand
from ..core.primitive import call
from ..core.tensor import Tensor
from ..errors import ShapeError
from ..ops.reduction import single
from .movement import at_least
from .table import cast, implements, known, ours, refuse


def _parts(name: str, arrays: Any, dtype: Any, casting: Any, out: Any = None) -> Sequence[Any]:
    refuse(f"np.{name}", (arrays,), out=out, casting=casting)
    return list(arrays) if dtype is None else cast(f"np.{name}", list(arrays), dtype)


@implements("concatenate")
def _concatenate(arrays: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Any:
    parts = _parts("concatenate", arrays, dtype, casting, out)
    return ours("concatenate")(parts if axis is not None else [*map(ours("ravel"), parts)], axis=axis or 0)


@implements("stack")
def _stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Any:
    return ours("stack")(_parts("stack", arrays, dtype, casting, out), axis=axis)


@implements("vstack")
def _vstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Any:
    return ours("concatenate")([at_least(2, a) for a in _parts("vstack", tup, dtype, casting)], axis=0)


@implements("hstack")
def _hstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Any:
    parts = [at_least(1, a) for a in _parts("hstack", tup, dtype, casting)]
    return ours("concatenate")(parts, axis=0 if parts and parts[0].ndim == 1 else 1)


@implements("dstack")
def _dstack(tup: Any) -> Any:
    return ours("concatenate")([at_least(3, a) for a in tup], axis=2)


@implements("column_stack")
def _column_stack(tup: Any) -> Any:
    columns = [at_least(2, a).T if operand(a).ndim < 2 else a for a in tup]
    return ours("concatenate")(columns, axis=1)


def _cuts(name: str, ary: Any, where: Any) -> Any:
    return known(name, (ary, where), where).tolist()


@implements("split")
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    return ours("split")(ary, _cuts("np.split", ary, indices_or_sections), axis)  # type: ignore[no-any-return]


@implements("array_split")
def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    x, cuts = operand(ary), _cuts("np.array_split", ary, indices_or_sections)
    if isinstance(cuts, int):
        if cuts < 1:
            raise ShapeError(f"{call('np.array_split', (x, cuts))}: {cuts} parts; give 1 or more")
        size, longer = divmod(x.shape[single("np.array_split", x, axis)], cuts)
        cuts = np.cumsum([size + (i < longer) for i in range(cuts - 1)], dtype=int).tolist()
    return ours("split")(x, cuts, axis)  # type: ignore[no-any-return]


@implements("hsplit")
def _hsplit(ary: Any, indices_or_sections: Any) -> list[Tensor]:
    return _split(ary, indices_or_sections, axis=min(operand(ary).ndim, 2) - 1)


implements("vsplit")(lambda ary, indices_or_sections: _split(ary, indices_or_sections, axis=0))
implements("dsplit")(lambda ary, indices_or_sections: _split(ary, indices_or_sections, axis=2))
implements("append")(lambda arr, values, axis=None: _concatenate([arr, values], axis))


@implements("unstack")
def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    return tuple(ours("moveaxis")(x, axis, 0))
