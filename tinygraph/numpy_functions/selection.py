"""Choosing and filling: ``where``, ``clip``, ``take``, ``nan_to_num``, and arrays like another."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.convert import dtype_of, operand
from ..core.primitive import call
from ..core.tensor import Tensor
from ..errors import ArgumentError, ShapeError
from ..ops.elementwise import equal, not_equal
from ..ops.reduction import single
from .table import implements, known, ours, refusal, refuse, refuse_complex


@implements("where")
def _where(condition: Any, *branches: Any) -> Any:
    if len(branches) != 2:
        raise refusal("np.where", (condition,), "positions have no gradient", "write np.nonzero(mask.numpy())")
    return ours("where")(condition, *branches)


@implements("select")
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    conditions, out = list(condlist), default
    if len(conditions) != len(choicelist):
        raise ShapeError(
            f"{call('np.select', (condlist, choicelist))}: {len(conditions)} conditions for {len(choicelist)} choices; give one each"
        )
    for condition, choice in zip(conditions[::-1], list(choicelist)[::-1], strict=True):
        out = ours("where")(condition, choice, out)
    return out


@implements("clip")
def _clip(
    a: Any, a_min: Any = np._NoValue, a_max: Any = np._NoValue, out: Any = None, *,
    min: Any = np._NoValue, max: Any = np._NoValue, **kwargs: Any,
) -> Any:  # fmt: skip
    refuse("np.clip", (a,), out=out, **kwargs)
    old, new = ([v for v in pair if v is not np._NoValue] for pair in ((a_min, a_max), (min, max)))
    if len(old) == 1 or (old and new):
        raise ArgumentError(
            f"{call('np.clip', (a, *old, *new))}: bounds are given in two ways, or only one of a_min and a_max; give a_min and a_max, or min= and max="
        )
    low, high = old or (None if v is np._NoValue else v for v in (min, max))
    return ours("clip")(a, low, high)


@implements("round", "around")
def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    refuse("np.round", (a,), out=out, decimals=decimals or None)
    return ours("round")(a)


@implements("fix")
def _fix(x: Any, out: Any = None) -> Any:
    refuse("np.fix", (x,), out=out)
    return np.trunc(operand(x))


@implements("nan_to_num")
def _nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    refuse("np.nan_to_num", (x,), copy=None if copy else copy)
    refuse_complex("np.nan_to_num", x)
    x = operand(x)
    if x.dtype.kind != "f":
        return ours("identity")(x)
    largest = float(np.finfo(x.dtype).max)
    out = ours("where")(not_equal(x, x), nan, x)
    out = ours("where")(equal(x, np.inf), largest if posinf is None else posinf, out)
    out = ours("where")(equal(x, -np.inf), -largest if neginf is None else neginf, out)
    return out if out.dtype == x.dtype else out.astype(x.dtype)


@implements("real")
def _real(val: Any) -> Any:
    refuse_complex("np.real", val)
    return ours("identity")(val)


@implements("imag")
def _imag(val: Any) -> Any:
    refuse_complex("np.imag", val)
    return ours("zeros_like")(val)


# -- by place -------------------------------------------------------------------------------------


@implements("take")
def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    refuse("np.take", (a,), out=out, mode=None if mode == "raise" else mode)
    if dtype_of(indices).kind == "b":  # 0 and 1 here, no mask
        indices = ours("astype")(indices, int)
    return ours("take")(a, indices, axis)


@implements("take_along_axis")
def _take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    x, places = (ours("ravel")(arr), ours("ravel")(indices)) if axis is None else (operand(arr), operand(indices))
    if x.ndim != places.ndim:
        raise ShapeError(
            f"{call('np.take_along_axis', (x, places))}: {places.ndim} axes of indices for {x.ndim}; give as many"
        )
    along = single("np.take_along_axis", x, 0 if axis is None else axis)
    grid = np.ix_(*map(np.arange, x.shape))
    return x[tuple(places if i == along else grid[i] for i in range(x.ndim))]


@implements("repeat")
def _repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    x = ours("ravel")(a) if axis is None else operand(a)
    along = single("np.repeat", x, axis or 0)
    counts = known("np.repeat", (a, repeats), repeats)
    return ours("take")(x, np.repeat(np.arange(x.shape[along]), counts), along)


@implements("delete")
def _delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    x = ours("ravel")(arr) if axis is None else operand(arr)
    along = single("np.delete", x, axis or 0)
    places = obj if isinstance(obj, slice) else known("np.delete", (arr, obj), obj)
    return ours("take")(x, np.delete(np.arange(x.shape[along]), places), along)


# -- like another ---------------------------------------------------------------------------------


@implements("full_like")
def _full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    refuse("np.full_like", (a,), device=device)
    shape, dtype = operand(a).shape if shape is None else shape, dtype or operand(a).dtype
    if isinstance(fill_value, Tensor):
        return ours("broadcast_to")(ours("astype")(fill_value, dtype), shape)
    return operand(np.full(shape, fill_value, dtype))


def _constant_like(name: str, value: int) -> None:
    def adapter(
        a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
    ) -> Any:
        return _full_like(a, value, dtype, shape=shape, device=device)

    implements(name)(adapter)


_constant_like("zeros_like", 0)
_constant_like("ones_like", 1)
