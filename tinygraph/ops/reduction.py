"""Reductions and scans over axes. Axes are kept as a sorted tuple of non-negative numbers."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.convert import shape_of
from ..core.primitive import Calls, Domain, Primitive
from ..core.tensor import describe
from ..errors import ArgumentError, AxisError, ShapeError
from .elementwise import astype, equal, logical_or, not_equal, where, zeros_like

Axis = int | tuple[int, ...] | None

_CALLS: Calls = (
    (((2, 3),), {}),
    (((2, 3),), {"axis": 0}),
    (((2, 3),), {"axis": -1, "keepdims": True}),
    (((2, 3, 2),), {"axis": (0, 2)}),
    (((),), {}),
)
_SCANS: Calls = ((((3,),), {}), (((2, 3),), {"axis": 0}), (((2, 3),), {"axis": -1}))


def normalize(op: str, x: Any, axis: Any) -> tuple[int, ...]:
    """Any axis argument as a sorted tuple of non-negative axes; None means all."""
    ndim = len(shape_of(x))
    if axis is None:
        return tuple(range(ndim))
    if _is_normal(axis, ndim):  # as rules have it
        return axis  # type: ignore[no-any-return]
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = []
    for a in given:
        try:
            if isinstance(a, bool):
                raise TypeError
            index = operator.index(a)
        except TypeError:
            raise ArgumentError(
                f"{op}({describe(x)}, axis={axis!r}): an axis is an integer, not {type(a).__name__}; give e.g. axis=0"
            ) from None
        if not -ndim <= index < ndim:
            valid = f"-{ndim} to {ndim - 1}" if ndim else "none: it is 0-d"
            raise AxisError(f"{op}({describe(x)}, axis={axis!r}): there is no axis {index}; valid axes are {valid}")
        axes.append(index % ndim)
    if len(set(axes)) != len(axes):
        raise AxisError(f"{op}({describe(x)}, axis={axis!r}): an axis appears twice; name each once")
    return tuple(sorted(axes))


def _is_normal(axis: Any, ndim: int) -> bool:
    """Whether this is a sorted tuple of non-negative axes."""
    before = -1
    for a in axis if type(axis) is tuple else (None,):
        if type(a) is not int or not before < a < ndim:
            return False
        before = a
    return True


def single(op: str, x: Any, axis: Any) -> int:
    """One axis as a non-negative number."""
    axes = normalize(op, x, axis)
    if len(axes) != 1:
        raise AxisError(f"{op}({describe(x)}, axis={axis!r}): works along one axis; give e.g. axis=0")
    return axes[0]


def _reduce(op: str, *, empty: bool = True) -> Any:
    def signature(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
        axes = normalize(op, x, axis)
        if not empty and 0 in [shape_of(x)[a] for a in axes]:
            raise ShapeError(
                f"{op}({describe(x)}, axis={axis!r}): nothing to choose from along an axis of size 0; check for empty input first"
            )
        return (x,), {"axis": axes, "keepdims": bool(keepdims)}

    return signature


# -- sums -----------------------------------------------------------------------------------------

_BLOCK = 128  # terms: where NumPy's pairwise sum begins
_WIDE = 512  # elements in a row, from which on long loops gain nothing
_add_reduce: Any = np.add.reduce


def _sum(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """NumPy's sum with float32 accuracy that does not decay with length, float16 by way of float32.

    NumPy adds pairwise in its innermost loop only; across the other axes rounding errors grow with
    the number of terms. There, a block of terms is added in float32, and the blocks in float64.
    """
    if is_weak(x) or x.dtype == np.float64 or (x.dtype == np.float32 and _count(x, axis) <= _BLOCK):
        return _add_reduce(x, axis=axis, keepdims=keepdims)
    if x.dtype == np.float16:
        return _sum(x.astype(np.float32), axis, keepdims).astype(np.float16)
    slow = _not_pairwise(x, axis)
    if _count(x, slow) <= _BLOCK:
        return _add_reduce(x, axis=axis, keepdims=keepdims)
    return _add_reduce(_in_blocks(x, slow), axis=axis, keepdims=keepdims, dtype=np.float64).astype(np.float32)


def _not_pairwise(x: Any, axis: tuple[int, ...]) -> tuple[int, ...]:
    """The reduced axes outside NumPy's innermost loop, which merges neighbours in memory; long ones, then outer ones first.

    Where x is broadcast (a stride of 0), NumPy's order is not that of memory, and none is sure to be inside.
    """
    slow = []
    inside, reach = True, 0  # elements next to each other so far, in bytes
    for a in sorted([a for a in range(x.ndim) if x.shape[a] > 1], key=lambda a: abs(x.strides[a])):
        step = abs(x.strides[a])
        inside = inside and a in axis and step > 0 and reach in (0, step)
        reach = step * x.shape[a]
        if a in axis and not inside:
            slow.append(a)
    return tuple(sorted(slow, key=x.shape.__getitem__)[::-1])


def _in_blocks(x: Any, slow: tuple[int, ...]) -> Any:
    """Add ``_BLOCK`` terms at a time along the longest slow axis, or along as many shorter ones."""
    longest = slow[0]
    if x.shape[longest] <= _BLOCK:
        terms = 0  # one axis after the other loses no more than their lengths together
        for a in slow:
            if terms + x.shape[a] <= _BLOCK:
                terms += x.shape[a]
                x = _add_reduce(x, axis=a, keepdims=True)
        return x
    before, after = x.shape[:longest], x.shape[longest + 1 :]
    blocks = x.shape[longest] // _BLOCK
    here = (slice(None),) * longest
    body, tail = x[(*here, slice(blocks * _BLOCK))], x[(*here, slice(blocks * _BLOCK, None))]
    # A block of terms far apart makes the loops over narrow rows long; of neighbours, it keeps wide ones in the cache.
    narrow = math.prod(after) < _WIDE
    split = (_BLOCK, blocks) if narrow else (blocks, _BLOCK)
    sums = _add_reduce(body.reshape(*before, *split, *after), axis=longest if narrow else longest + 1)
    return np.concat([sums, _add_reduce(tail, axis=longest, keepdims=True)], axis=longest) if tail.size else sums


def _mean(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    if is_weak(x) or x.dtype != np.float16:
        return _sum(x, axis, keepdims) / _count(x, axis)
    return (_sum(x.astype(np.float32), axis, keepdims) / _count(x, axis)).astype(np.float16)


def _count(x: Any, axis: tuple[int, ...]) -> int:
    count, shape = 1, shape_of(x)
    for a in axis:
        count *= shape[a]
    return count


def _spread_signature(x: Any, like: Any, axis: Axis = ()) -> Any:
    return (x, like), {"axis": normalize("spread", like, axis)}


def _spread(xp: Any, x: Any, like: Any, *, axis: tuple[int, ...]) -> Any:
    x, shape = xp.asarray(x), shape_of(like)
    kept = tuple(1 if i in axis else n for i, n in enumerate(shape)) if axis else x.shape
    return xp.broadcast_to(xp.reshape(x, kept), shape)


spread: Primitive = Primitive(
    "spread",
    _spread,
    (lambda g, out, x, like, *, axis: sum(g, axis=axis) if axis else g, None),
    "movement",
    "spread",
    "x repeated along the axes that a reduction of ``like`` took away: the transpose of sum.",
    signature=_spread_signature,
    domain=Domain(((((3,), (2, 3)), {"axis": 0}), (((2,), (2, 3, 2)), {"axis": (1, 2)}))),
)
size: Primitive = Primitive(
    "size",
    lambda xp, x, *, axis: _count(x, axis),
    (None,),
    "other",
    "size",
    "The number of elements along the given axes, as a Python number that never promotes.",
    signature=lambda x, axis=None: ((x,), {"axis": normalize("size", x, axis)}),
    domain=Domain(((((2, 3),), {}), (((2, 3),), {"axis": 0}))),
)


def _back(g: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """A cotangent, or a result, of a reduction, repeated to the shape of x."""
    return spread(g, x, axis=() if keepdims else axis)


def _wide(dtype: Any) -> Any:
    """Where a number of elements fits: float16 ends at 65504, and counts to 2048 only."""
    return np.float32 if dtype == np.float16 else dtype


def _mean_rule(g: Any, out: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    g = g if g.dtype == _wide(g.dtype) else astype(g, _wide(g.dtype))
    return _back(g / size(x, axis=axis), x, axis, keepdims)


sum: Primitive = Primitive(
    "sum",
    lambda xp, x, *, axis, keepdims: xp.sum(xp.asarray(x), axis=axis, keepdims=keepdims),
    (lambda g, out, x, *, axis, keepdims: _back(g, x, axis, keepdims),),
    "reduction",
    "Σ",
    "The sum over axes. float16 and long float32 sums are accumulated in more precision.",
    numpy=lambda x, *, axis, keepdims: _sum(x, axis, keepdims),
    signature=_reduce("sum"),
    domain=Domain(_CALLS),
)
mean: Primitive = Primitive(
    "mean",
    lambda xp, x, *, axis, keepdims: xp.mean(xp.asarray(x), axis=axis, keepdims=keepdims),
    (_mean_rule,),
    "reduction",
    "mean",
    "The mean over axes: their sum divided by their number of elements.",
    numpy=lambda x, *, axis, keepdims: _mean(x, axis, keepdims),
    signature=_reduce("mean"),
    domain=Domain(_CALLS),
    mistakes=(("1/N left out", 0, lambda g, out, x, *, axis, keepdims: _back(g, x, axis, keepdims)),),
)
cumsum: Primitive = Primitive(
    "cumsum",
    lambda xp, x, *, axis, reverse: _scan(xp, x, axis, reverse),
    (lambda g, out, x, *, axis, reverse: cumsum(g, axis=axis, reverse=not reverse),),
    "reduction",
    "cumΣ",
    "Running sums along one axis (axis=None: of a 1-d array), from the end if ``reverse``.",
    numpy=lambda x, *, axis, reverse: _scan_numpy(x, axis, reverse),
    signature=lambda x, axis=None, reverse=False: (
        (x,), {"axis": single("cumsum", x, axis), "reverse": bool(reverse)}
    ),
    domain=Domain((*_SCANS, (((2, 3),), {"axis": 1, "reverse": True}))),
)  # fmt: skip


def _scan(xp: Any, x: Any, axis: int, reverse: bool) -> Any:
    if reverse:
        return xp.flip(_scan(xp, xp.flip(x, axis=axis), axis, False), axis=axis)
    return xp.cumulative_sum(x, axis=axis) if hasattr(xp, "cumulative_sum") else xp.cumsum(x, axis=axis)


def _scan_numpy(x: Any, axis: int, reverse: bool) -> Any:
    # One number after the other is added: in x's own precision, rounding errors would grow with the length.
    return _scan(np, x.astype(np.float64, copy=False), axis, reverse).astype(x.dtype, copy=False)


# -- products -------------------------------------------------------------------------------------


def _shift(xp: Any, x: Any, *, axis: int, by: int, fill: Any) -> Any:
    n = shape_of(x)[axis]
    count = n if abs(by) > n else abs(by)
    here = (slice(None),) * axis
    kept = x[(*here, slice(0, n - count) if by > 0 else slice(count, n), ...)]
    edge = xp.full_like(x[(*here, slice(0, count), ...)], fill)
    return xp.concat([edge, kept] if by > 0 else [kept, edge], axis=axis)


shift: Primitive = Primitive(
    "shift",
    _shift,
    (lambda g, out, x, *, axis, by, fill: shift(g, axis=axis, by=-by),),
    "movement",
    "shift",
    "x moved along one axis by a number of places; ``fill`` takes the free ones.",
    signature=lambda x, axis=-1, by=1, fill=0: ((x,), {"axis": single("shift", x, axis), "by": by, "fill": fill}),
    domain=Domain(((((3,),), {}), (((2, 3),), {"axis": 0, "by": -1, "fill": 1}), (((3,),), {"by": 5}))),
)


def _exclusive(x: Any, axis: int, step: int) -> Any:
    """Products of all elements before each one (after it, for step -1), by doubling."""
    out = shift(x, axis=axis, by=step, fill=1)
    reach = 1
    while reach < x.shape[axis]:
        out = out * shift(out, axis=axis, by=step * reach, fill=1)
        reach *= 2
    return out


def _others(x: Any, axes: tuple[int, ...]) -> Any:
    """The product of all other elements along the axes: exact with any number of zeros, at every order."""
    if not axes:
        return zeros_like(x) + 1
    first, rest = axes[0], axes[1:]
    out = _exclusive(x, first, 1) * _exclusive(x, first, -1)
    return out * _others(prod(x, axis=first, keepdims=True), rest) if rest else out


prod: Primitive = Primitive(
    "prod",
    lambda xp, x, *, axis, keepdims: xp.prod(xp.asarray(x), axis=axis, keepdims=keepdims),
    (lambda g, out, x, *, axis, keepdims: _back(g, x, axis, keepdims) * _others(x, axis),),
    "reduction",
    "Π",
    "The product over axes; its derivative is exact where factors are 0.",
    signature=_reduce("prod"),
    domain=Domain(_CALLS),
)

# -- extremes -------------------------------------------------------------------------------------


def _extreme_rule(g: Any, out: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The cotangent to the elements that were chosen, split evenly among ties; a nan is chosen."""
    chosen = logical_or(equal(x, _back(out, x, axis, keepdims)), not_equal(x, x))
    count = sum(astype(chosen, _wide(x.dtype)), axis=axis, keepdims=keepdims)
    return where(chosen, _back(g / count, x, axis, keepdims), 0)


def _extreme(name: str, doc: str) -> Primitive:
    def kernel(xp: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return getattr(xp, name)(xp.asarray(x), axis=axis, keepdims=keepdims)

    signature, domain = _reduce(name, empty=False), Domain(_CALLS, ties=True)
    return Primitive(name, kernel, (_extreme_rule,), "reduction", name, doc, signature=signature, domain=domain)


max: Primitive = _extreme("max", "The largest element over axes; ties share the cotangent evenly.")
min: Primitive = _extreme("min", "The smallest element over axes; ties share the cotangent evenly.")


def _logical(name: str, doc: str) -> Primitive:
    def kernel(xp: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return getattr(xp, name)(xp.asarray(x), axis=axis, keepdims=keepdims)

    return Primitive(name, kernel, (None,), "reduction", name, doc, signature=_reduce(name), domain=Domain(_CALLS))


all: Primitive = _logical("all", "Whether every element along the axes is true.")
any: Primitive = _logical("any", "Whether some element along the axes is true.")


def _arg(name: str, doc: str) -> Primitive:
    def kernel(xp: Any, x: Any, *, axis: int | None) -> Any:
        return getattr(xp, name)(xp.asarray(x), axis=axis)

    def signature(x: Any, axis: int | None = None) -> Any:
        if 0 in shape_of(x):
            raise ShapeError(f"{name}({describe(x)}): nothing to choose from; check for empty input first")
        return (x,), {"axis": None if axis is None else single(name, x, axis)}

    calls: Calls = ((((2, 3),), {}), (((2, 3),), {"axis": 1}))
    return Primitive(name, kernel, (None,), "reduction", name, doc, signature=signature, domain=Domain(calls))


argmax: Primitive = _arg("argmax", "The index of the first largest element; an integer without gradient.")
argmin: Primitive = _arg("argmin", "The index of the first smallest element; an integer without gradient.")
