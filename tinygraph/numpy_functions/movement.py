"""Moving elements: shapes, axes, orders."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.convert import operand, shape_of
from ..core.primitive import call
from ..core.tensor import Tensor
from ..errors import ArgumentError, AxisError, ShapeError
from ..functional import moveaxis, ravel, swapaxes
from ..ops.movement import broadcast_to, expand_dims, flip, reshape, roll
from ..ops.reduction import normalize, single
from .table import FUNCTIONS, implements, known, ours, refusal, refuse

FUNCTIONS |= {
    np.transpose: lambda a, axes=None: ours("transpose")(a, axes=axes),
    np.permute_dims: lambda a, axes=None: ours("transpose")(a, axes=axes),
    np.swapaxes: lambda a, axis1, axis2: ours("swapaxes")(a, axis1, axis2=axis2),
    np.moveaxis: lambda a, source, destination: ours("moveaxis")(a, source, destination=destination),
    np.matrix_transpose: lambda x, /: ours("swapaxes")(x, -1, -2),
    np.linalg.matrix_transpose: lambda x, /: ours("swapaxes")(x, -1, -2),
    np.expand_dims: lambda a, axis: ours("expand_dims")(a, axis=axis),
    np.squeeze: lambda a, axis=None: ours("squeeze")(a, axis),
    np.broadcast_to: lambda array, shape, subok=False: ours("broadcast_to")(array, shape),
    np.flip: lambda m, axis=None: ours("flip")(m, axis),
    np.flipud: lambda m: ours("flip")(m, 0),
    np.fliplr: lambda m: ours("flip")(m, 1),
    # A Tensor never changes, so it is as good as its copy.
    np.copy: lambda a, order="K", subok=False: ours("identity")(a),
}


@implements("astype")
def _astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    refuse("np.astype", (x,), device=device)
    return ours("astype")(x, dtype)


@implements("reshape")
def _reshape(a: Any, /, shape: Any, order: str = "C", *, copy: Any = None) -> Any:
    refuse("np.reshape", (a,), order=order != "C" or None)
    return ours("reshape")(a, shape)


@implements("ravel")
def _ravel(a: Any, order: str = "C") -> Any:
    refuse("np.ravel", (a,), order=order != "C" or None)
    return ravel(a)


@implements("rollaxis")
def _rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    ndim = operand(a).ndim
    place, before = single("np.rollaxis", a, axis), start + ndim * (start < 0)
    if not 0 <= before <= ndim:
        raise AxisError(f"{call('np.rollaxis', (a, axis, start))}: no such start; give one of {-ndim} to {ndim}")
    return moveaxis(a, place, before - (place < before))


@implements("rot90")
def _rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    normalize("np.rot90", m, axes)
    out, (first, second) = operand(m), axes
    for _ in range(k % 4):
        out = swapaxes(flip(out, second), first, second)
    return out


# -- places in a circle ---------------------------------------------------------------------------


@implements("roll")
def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        return ours("reshape")(_roll(ravel(a), shift, 0), operand(a).shape)
    shift, axis = (tuple(v.ravel().tolist()) for v in np.broadcast_arrays(*map(np.asarray, (shift, axis))))
    return ours("roll")(a, shift, axis)


def _half_turn(name: str, sign: int) -> None:
    def adapter(x: Any, axes: Any = None) -> Any:
        x = operand(x)
        along = normalize(f"np.{name}", x, axes)
        return roll(x, tuple(sign * (x.shape[a] // 2) for a in along), along)

    implements(name)(adapter)


_half_turn("fft.fftshift", 1)
_half_turn("fft.ifftshift", -1)

# -- more of the same -----------------------------------------------------------------------------


@implements("pad")
def _pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    refuse("np.pad", (array,), mode=None if mode == "constant" else mode)
    if not isinstance(constant_values, (int, float, complex, np.generic)):
        raise refusal(
            "np.pad", (array, constant_values), "constant_values= is one number", "pad with 0, and fill with tg.where"
        )
    if np.any(np.less(pad_width, 0)):
        raise ShapeError(f"{call('np.pad', (array, pad_width))}: NumPy's widths are 0 or more; crop with tg.pad")
    np.asarray(constant_values, operand(array).dtype)  # raises for what the dtype cannot hold
    return ours("pad")(array, pad_width, constant_values)


def at_least(ndim: int, a: Any) -> Tensor:
    """With axes of size 1 where NumPy's ``atleast_1d`` to ``atleast_3d`` put them."""
    x = operand(a)
    if x.ndim >= ndim:
        return x
    shape = {0: (1,) * ndim, 1: (1, *x.shape, 1)[:ndim], 2: (*x.shape, 1)}[x.ndim]
    return reshape(x, shape)  # type: ignore[no-any-return]


def _at_least(ndim: int) -> None:
    def adapter(*arys: Any) -> Any:
        out = tuple(at_least(ndim, a) for a in arys)
        return out[0] if len(out) == 1 else out

    implements(f"atleast_{ndim}d")(adapter)


for _ndim in (1, 2, 3):
    _at_least(_ndim)


@implements("tile")
def _tile(A: Any, reps: Any) -> Any:  # noqa: N803
    x, counts = operand(A), tuple(known("np.tile", (A, reps), reps).ravel().tolist())
    ndim = max(x.ndim, len(counts))
    sizes, counts = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - len(counts)) + counts
    once = reshape(x, tuple(m for n in sizes for m in (1, n)))
    often = broadcast_to(once, tuple(m for pair in zip(counts, sizes, strict=True) for m in pair))
    return reshape(often, tuple(c * n for c, n in zip(counts, sizes, strict=True)))


@implements("broadcast_arrays")
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Tensor, ...]:
    """The operands in their common shape."""
    refuse("np.broadcast_arrays", args, subok=subok or None)
    shape = np.broadcast_shapes(*map(shape_of, args))
    return tuple(broadcast_to(operand(a), shape) for a in args)


@implements("meshgrid")
def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Tensor, ...]:
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"{call('np.meshgrid', xi)}: unknown indexing {indexing!r}; write 'xy' or 'ij'")
    lines = [
        expand_dims(ravel(x), axis=tuple(a for a in range(len(xi)) if a != along)) if len(xi) > 1 else ravel(x)
        for along, x in enumerate(xi)
    ]
    grid = lines if sparse else broadcast_arrays(*lines)
    return tuple(swapaxes(g, 0, 1) if indexing == "xy" and len(xi) > 1 else g for g in grid)
