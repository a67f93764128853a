"""Statistics and other reductions, running sums, differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.convert import operand
from ..core.tensor import Tensor
from ..numpy_functions import reduced
from ..ops.reduction import single
from .creation import full
from .doors import Function, constants, named, numpys, recorded, standard, wrap


def _reduction(name: str) -> Function:
    def function(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
        return recorded(name)(x, axis, keepdims=keepdims)

    return named(name, function)


def _accumulation(name: str) -> Function:
    def function(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
        return reduced(name, x, axis, dtype, keepdims)

    return named(name, function)


def _moment(name: str) -> Function:
    def function(x: Any, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        return numpys(name)(x, axis, correction=correction, keepdims=keepdims)

    return named(name, function)


for _name in ("all", "any", "max", "mean", "min"):
    _reduction(_name)
for _name in ("prod", "sum"):
    _accumulation(_name)
for _name in ("std", "var"):
    _moment(_name)


@standard
def count_nonzero(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """How many elements are not 0."""
    return recorded("sum")(recorded("not_equal")(x, 0), axis, keepdims=keepdims)


def _along(name: str, x: Tensor, axis: int | None) -> tuple[Tensor, int]:
    """``x`` and the one axis to go along; a 0-d one counts as an axis of one element."""
    x = x if x.ndim else recorded("reshape")(x, shape=(1,))
    return x, single(name, x, axis)


def _begin(out: Tensor, axis: int, first: int) -> Tensor:
    shape = [1 if i == axis else n for i, n in enumerate(out.shape)]
    return recorded("concatenate")([full(shape, first, dtype=out.dtype), out], axis=axis)


@standard
def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Running sums along one axis; with ``include_initial`` 0 comes first."""
    x, along = _along("cumulative_sum", operand(x), axis)
    out = recorded("cumsum")(x if dtype is None else recorded("astype")(x, dtype), along)
    out = out if dtype is None or out.dtype == dtype else out.astype(dtype)
    return _begin(out, along, 0) if include_initial else out


@standard
def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Running products along one axis, of constants; with ``include_initial`` 1 comes first."""
    x, along = _along("cumulative_prod", operand(x), axis)
    (array,) = constants("cumulative_prod", x)
    out = wrap(np.cumprod(array, along, dtype))
    return _begin(out, along, 1) if include_initial else out


@standard
def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
    """Each element less the one before it, ``n`` times over."""
    ends = {end: value for end, value in (("prepend", prepend), ("append", append)) if value is not None}
    return numpys("diff")(x, n, axis, **ends)
