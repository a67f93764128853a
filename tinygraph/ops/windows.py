"""Sliding windows, and their transpose: what convolution and pooling are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.convert import shape_of
from ..core.primitive import Domain, Primitive
from ..core.tensor import describe
from ..errors import ArgumentError, ShapeError
from .movement import as_shape, pad_kernel
from .reduction import single


def _windows_signature(x: Any, window: Any, axis: Any = None, stride: Any = 1) -> Any:
    shape = shape_of(x)
    window = as_shape("sliding_windows", x, window)
    given = tuple(range(len(shape)))[-len(window) :] if axis is None else axis
    axes = tuple(single("sliding_windows", x, a) for a in (given if isinstance(given, (tuple, list)) else (given,)))
    strides = as_shape("sliding_windows", x, stride)
    strides = strides * len(window) if len(strides) == 1 else strides
    if not len(window) == len(axes) == len(strides) == len(set(axes)):
        raise ArgumentError(
            f"sliding_windows({describe(x)}): window, axis and stride name different numbers of axes; give one each"
        )
    for a, w, s in zip(axes, window, strides, strict=True):
        if not 1 <= w <= shape[a] or s < 1:
            raise ShapeError(
                f"sliding_windows({describe(x)}, window={window}, stride={strides}): a window of {w} does not fit "
                f"axis {a} of size {shape[a]}; pad first, or take windows and strides of 1 and more"
            )
    return (x,), {"window": window, "axis": axes, "stride": strides}


def _windows_kernel(xp: Any, x: Any, *, window: Any, axis: Any, stride: Any) -> Any:
    for a, w, s in zip(axis, window, stride, strict=True):
        count = (x.shape[a] - w) // s + 1
        places = xp.reshape(xp.asarray([i * s + j for i in range(count) for j in range(w)]), (-1,))
        x = xp.take(x, places, axis=a)
        x = xp.reshape(x, (*x.shape[:a], count, w, *x.shape[a + 1 :]))
        x = xp.moveaxis(x, a + 1, -1)
    return x


def _windows_numpy(x: Any, *, window: Any, axis: Any, stride: Any) -> Any:
    view = np.lib.stride_tricks.sliding_window_view(x, window, axis)
    steps = dict(zip(axis, stride, strict=True))
    return view[tuple(slice(None, None, steps.get(i, 1)) for i in range(x.ndim))]


sliding_windows: Primitive = Primitive(
    "sliding_windows",
    _windows_kernel,
    (
        lambda g, out, x, *, window, axis, stride: overlap_add(
            g, shape=tuple(x.shape[a] for a in axis), axis=axis, stride=stride
        ),
    ),
    "movement",
    "windows",
    "Every window along the given axes, its places as new last axes: [N, H, W] → [N, H', W', kh, kw].",
    numpy=_windows_numpy,
    signature=_windows_signature,
    domain=Domain(
        (
            (((5,),), {"window": 3}),
            (((2, 5, 4),), {"window": (2, 3), "axis": (1, 2), "stride": (2, 1)}),
        )
    ),
)


def _overlap_kernel(xp: Any, x: Any, *, shape: Any, axis: Any, stride: Any) -> Any:
    for k in reversed(range(len(axis))):
        a, n, s = axis[k], shape[k], stride[k]
        width, count = x.shape[-1], x.shape[a]
        total = None
        for j in range(width):
            part = x[..., j]
            rest = [(0, 0)] * part.ndim
            spaced = _dilate(xp, part, a, s)
            rest[a] = (j, n - j - ((count - 1) * s + 1))
            placed = pad_kernel(xp, spaced, pad_width=tuple(rest), constant_values=0)
            total = placed if total is None else total + placed
        x = total
    return x


def _dilate(xp: Any, x: Any, axis: int, step: int) -> Any:
    """X with ``step - 1`` zeros between neighbours along one axis."""
    if step == 1:
        return x
    widened = xp.expand_dims(x, axis=axis + 1)
    gaps = tuple((0, step - 1) if i == axis + 1 else (0, 0) for i in range(x.ndim + 1))
    filled = pad_kernel(xp, widened, pad_width=gaps, constant_values=0)
    flat = xp.reshape(filled, (*x.shape[:axis], x.shape[axis] * step, *x.shape[axis + 1 :]))
    return flat[(*(slice(None),) * axis, slice(0, (x.shape[axis] - 1) * step + 1), ...)]


def _overlap_numpy(x: Any, *, shape: Any, axis: Any, stride: Any) -> Any:
    ndim = x.ndim - len(axis)
    full = list(x.shape[:ndim])
    for a, n in zip(axis, shape, strict=True):
        full[a] = n
    # float16 would stop counting ones at 2048.
    out = np.zeros(full, np.float32 if x.dtype == np.float16 else x.dtype)
    for place in np.ndindex(*x.shape[ndim:]):
        key = [slice(None)] * ndim
        for a, j, s in zip(axis, place, stride, strict=True):
            key[a] = slice(j, j + (x.shape[a] - 1) * s + 1, s)
        out[tuple(key)] += x[(..., *place)]
    return out.astype(x.dtype, copy=False)


overlap_add: Primitive = Primitive(
    "overlap_add",
    _overlap_kernel,
    (
        lambda g, out, x, *, shape, axis, stride: sliding_windows(
            g, window=x.shape[len(x.shape) - len(axis) :], axis=axis, stride=stride
        ),
    ),
    "movement",
    "overlap",
    "Windows put back to their places and added up: the transpose of sliding_windows.",
    numpy=_overlap_numpy,
    signature=lambda x, shape, axis, stride: (
        (x,),
        {"shape": tuple(shape), "axis": tuple(axis), "stride": tuple(stride)},
    ),
    domain=Domain(
        (
            (((3, 3),), {"shape": (5,), "axis": (0,), "stride": (1,)}),
            (((2, 2, 2, 2, 3),), {"shape": (5, 4), "axis": (1, 2), "stride": (2, 1)}),
        )
    ),
)
