"""A table: primitive → ONNX nodes. Movement, indexing and windows; sizes are baked in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..ops.indexing import Key, Place, Span
from .onnx_body import Body, in_single

Shape = tuple[int, ...]


def _params(t: Tensor) -> Any:
    return t.node.params  # type: ignore[union-attr]


def _reshaped(b: Body, x: str, shape: Sequence[int]) -> str:
    return b("Reshape", x, b.integers(shape), **({"allowzero": 1} if 0 in shape else {}))


def _transposed(b: Body, x: str, order: Sequence[int]) -> str:
    """The axes in another order; nothing if it is the same."""
    return x if list(order) == sorted(order) else b("Transpose", x, perm=tuple(order))


def _expanded(b: Body, x: str, old: Shape, new: Shape) -> str:
    return x if old == new else b("Expand", x, b.integers(new))


def _sliced(b: Body, x: str, parts: dict[int, tuple[int, int, int]]) -> str:
    """``parts``: for each axis that is cut its start, stop and step."""
    if not parts:
        return x
    starts, stops, steps = zip(*parts.values(), strict=True)
    return b("Slice", x, b.integers(starts), b.integers(stops), b.integers(tuple(parts)), b.integers(steps))


# -- shape and order ------------------------------------------------------------------------------------


def _reshape(b: Body, t: Tensor, x: Tensor) -> str:
    return _reshaped(b, b.take(x, t.dtype), t.shape)


def _transpose(b: Body, t: Tensor, x: Tensor) -> str:
    return _transposed(b, b.take(x, t.dtype), _params(t)["axes"])


def _broadcast_to(b: Body, t: Tensor, x: Tensor) -> str:
    return _expanded(b, b.take(x, t.dtype), x.shape, t.shape)


def _along(op: str) -> Any:
    """Unsqueeze and Squeeze."""

    def rule(b: Body, t: Tensor, x: Tensor) -> str:
        axes, value = _params(t)["axis"], b.take(x, t.dtype)
        return b(op, value, b.integers(axes)) if axes else value

    return rule


def _spread(b: Body, t: Tensor, x: Tensor) -> str:
    axes = _params(t)["axis"]
    kept = tuple(1 if i in axes else n for i, n in enumerate(t.shape)) if axes else x.shape
    value = b.take(x, t.dtype)
    return _expanded(b, value if kept == x.shape else _reshaped(b, value, kept), kept, t.shape)


def _zeros_like(b: Body, t: Tensor) -> str:
    return _zeros(b, t.shape, t.dtype)


def _zeros(b: Body, shape: Sequence[int], dtype: Any) -> str:
    return b("ConstantOfShape", b.integers(shape), value=np.zeros(1, dtype))


def _flip(b: Body, t: Tensor, x: Tensor) -> str:
    return _sliced(b, b.take(x, t.dtype), {a: (-1, -t.shape[a] - 1, -1) for a in _params(t)["axis"]})


def _roll(b: Body, t: Tensor, x: Tensor) -> str:
    value = b.take(x, t.dtype)
    for by, axis in zip(_params(t)["shift"], _params(t)["axis"], strict=True):
        n = t.shape[axis]
        if cut := -by % n:
            end, front = _sliced(b, value, {axis: (cut, n, 1)}), _sliced(b, value, {axis: (0, cut, 1)})
            value = b("Concat", end, front, axis=axis)
    return value


# -- padding and joining --------------------------------------------------------------------------------


def _padded(b: Body, t: Tensor, x: Tensor, widths: Sequence[tuple[int, int]], fill: Any) -> str:
    """Borders first, then crops: what one side crops may have come from the other side's border."""
    value = b.take(x, t.dtype)
    starts, ends = zip(*[(max(a, 0), max(c, 0)) for a, c in widths], strict=True) if widths else ((), ())
    if any(starts + ends):
        value = b("Pad", value, b.integers(starts + ends), b.constant(np.asarray(fill).astype(t.dtype)))
    crops = {}
    for axis, (n, (a, c)) in enumerate(zip(t.shape, widths, strict=True)):
        if a < 0 or c < 0:
            first = max(-a, 0)
            crops[axis] = (first, first + n, 1)
    return _sliced(b, value, crops)


def _pad(b: Body, t: Tensor, x: Tensor) -> str:
    return _padded(b, t, x, _params(t)["pad_width"], _params(t)["constant_values"])


def _shift(b: Body, t: Tensor, x: Tensor) -> str:
    axis, by, fill = (_params(t)[k] for k in ("axis", "by", "fill"))
    by = max(-t.shape[axis], min(by, t.shape[axis]))
    return _padded(b, t, x, [(by, -by) if a == axis else (0, 0) for a in range(t.ndim)], fill)


def _concatenate(b: Body, t: Tensor, *operands: Tensor) -> str:
    return b("Concat", *(b.take(x, t.dtype) for x in operands), axis=_params(t)["axis"])


def _stack(b: Body, t: Tensor, *operands: Tensor) -> str:
    axis = _params(t)["axis"]
    return b("Concat", *(b("Unsqueeze", b.take(x, t.dtype), b.integers([axis])) for x in operands), axis=axis)


# -- indexing -------------------------------------------------------------------------------------------


def _getitem(b: Body, t: Tensor, x: Tensor, *arrays: Tensor) -> str:
    return _indexed(b, b.take(x, t.dtype), x.shape, _params(t)["key"], arrays, t.shape)


def _indexed(b: Body, x: str, shape: Shape, key: Key, arrays: Sequence[Tensor], result: Shape) -> str:
    """x[key]: slices and integers first, then the index arrays, then their axes where NumPy puts them."""
    parts, rest, places = {}, [], []  # cuts; the shape after them; the axes of it that arrays index
    used = sum(k is not None and k is not Ellipsis for k in key)
    whole = [Span(None, None, None)] * (len(shape) - used)
    items = list(key)
    at = items.index(Ellipsis) if Ellipsis in items else len(items)
    axis = 0
    for k in [*items[:at], *whole, *items[at + 1 :]]:
        if k is None:
            rest.append(1)
            continue
        n = shape[axis]
        if isinstance(k, Place):
            places.append(len(rest))
            rest.append(n)
        elif isinstance(k, Span):
            start, stop, step = slice(*k).indices(n)
            rest.append(len(range(start, stop, step)))
            if (start, stop, step) != (0, n, 1):
                parts[axis] = (start, stop if stop >= 0 else -n - 1, step)
        else:
            parts[axis] = (k % n, k % n + 1, 1)
        axis += 1
    value = _sliced(b, x, parts)
    if tuple(rest) != shape:
        value = _reshaped(b, value, rest)
    if not arrays:
        return value
    block = np.broadcast_shapes(*(a.shape for a in arrays))
    found, here = _gathered(b, value, len(rest), places, arrays, block)
    due = _block_axis(key, len(shape), len(block))
    order = [i for i in range(len(result)) if not here <= i < here + len(block)]
    order[due:due] = range(here, here + len(block))
    return _transposed(b, found, order)


def _gathered(
    b: Body, x: str, ndim: int, places: Sequence[int], arrays: Sequence[Tensor], block: Shape
) -> tuple[str, int]:
    """Elements by index arrays, and the axis of the result at which those of the arrays begin."""
    if len(places) == 1:
        return b("Gather", x, b.take(arrays[0], np.int64), axis=places[0]), places[0]
    front = _transposed(b, x, [*places, *(i for i in range(ndim) if i not in places)])
    last = b.integers([-1])
    columns = [b("Unsqueeze", _expanded(b, b.take(a, np.int64), a.shape, block), last) for a in arrays]
    return b("GatherND", front, b("Concat", *columns, axis=-1)), 0


def _block_axis(key: Key, ndim: int, width: int) -> int:
    """Where NumPy puts the axes of index arrays: tried on an array of ones with index arrays of another length."""
    trial = tuple(_stand_in(k, np.zeros((2,) * width, np.int64)) for k in key)
    return np.ones((1,) * ndim)[trial].shape.index(2) if width else 0


def _stand_in(k: Any, array: Any) -> Any:
    if isinstance(k, Place):
        return array
    return slice(None) if isinstance(k, Span) else 0 if isinstance(k, int) else k


def _updated(reduction: str) -> Any:
    """add_at and set_at, on the flat array: its positions are indexed as x is."""

    def rule(b: Body, t: Tensor, x: Tensor, values: Tensor, *arrays: Tensor) -> str:
        key = _params(t)["key"]
        wide = in_single(t.dtype) if reduction == "add" else t.dtype
        where = np.broadcast_to(0, t.shape)[key.with_arrays([np.zeros(a.shape, np.int64) for a in arrays])].shape
        if 0 in where:
            return b.take(x, t.dtype)
        if arrays:
            numbers = b("Range", *(b.constant(n, np.int64) for n in (0, t.size, 1)))
            positions = _indexed(b, _reshaped(b, numbers, t.shape), t.shape, key, arrays, where)
            positions = _reshaped(b, positions, [-1])
        else:
            positions = b.integers(np.arange(t.size).reshape(t.shape)[key.with_arrays([])].ravel())
        new = _reshaped(b, _expanded(b, b.take(values, wide), values.shape, where), [-1])
        flat = _reshaped(b, b.take(x, wide), [-1])
        out = _reshaped(b, b("ScatterElements", flat, positions, new, axis=0, reduction=reduction), t.shape)
        return out if wide == t.dtype else b("Cast", out, to=t.dtype)

    return rule


# -- windows --------------------------------------------------------------------------------------------


def _starts(count: int, width: int, stride: int) -> Any:
    """The positions that each of ``count`` windows covers."""
    return np.arange(count)[:, None] * stride + np.arange(width)


def _sliding_windows(b: Body, t: Tensor, x: Tensor) -> str:
    value, ndim = b.take(x, t.dtype), x.ndim
    for axis, width, stride in zip(*(_params(t)[k] for k in ("axis", "window", "stride")), strict=True):
        places = _starts((x.shape[axis] - width) // stride + 1, width, stride)
        value = b("Gather", value, b.constant(places), axis=axis)
        ndim += 1
        value = _transposed(b, value, [*(i for i in range(ndim) if i != axis + 1), axis + 1])
    return value


def _overlap_add(b: Body, t: Tensor, x: Tensor) -> str:
    """One axis after the other, from the last: the windows of each are added to a row of zeros."""
    wide = in_single(t.dtype)
    value, shape = b.take(x, wide), x.shape
    for axis, n, stride in reversed(list(zip(*(_params(t)[k] for k in ("axis", "shape", "stride")), strict=True))):
        count, width, last = shape[axis], shape[-1], len(shape) - 1
        others = [i for i in range(last) if i != axis]
        rest = tuple(shape[i] for i in others)
        rows = (count * width, math.prod(rest))
        new = _reshaped(b, _transposed(b, value, [axis, last, *others]), rows)
        places = _expanded(b, b.constant(_starts(count, width, stride).reshape(-1, 1)), (rows[0], 1), rows)
        sums = b("ScatterElements", _zeros(b, (n, rows[1]), wide), places, new, axis=0, reduction="add")
        back = list(range(1, last))
        back.insert(axis, 0)
        value = _transposed(b, _reshaped(b, sums, (n, *rest)), back)
        shape = (*shape[:axis], n, *shape[axis + 1 : last])
    return value if wide == t.dtype else b("Cast", value, to=t.dtype)


RULES: dict[str, Any] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast_to,
    "expand_dims": _along("Unsqueeze"),
    "squeeze": _along("Squeeze"),
    "spread": _spread,
    "zeros_like": _zeros_like,
    "flip": _flip,
    "roll": _roll,
    "pad": _pad,
    "shift": _shift,
    "concatenate": _concatenate,
    "stack": _stack,
    "getitem": _getitem,
    "add_at": _updated("add"),
    "set_at": _updated("none"),
    "sliding_windows": _sliding_windows,
    "overlap_add": _overlap_add,
}
