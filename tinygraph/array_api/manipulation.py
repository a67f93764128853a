"""Shapes: the same elements elsewhere; products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.convert import operand
from ..core.tensor import Tensor, describe
from ..errors import ShapeError
from ..functional import moveaxis as _moveaxis
from .doors import binary, numpys, recorded, standard, unary

matmul = binary("matmul", recorded("matmul"))
unary("matrix_transpose", lambda x: operand(x).mT)


@standard
def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that all of these broadcast to."""
    return np.broadcast_shapes(*shapes)


@standard
def broadcast_arrays(*arrays: Any) -> tuple[Tensor, ...]:
    """The arrays in the shape that all of them broadcast to."""
    return tuple(numpys("broadcast_arrays")(*arrays))


@standard
def broadcast_to(x: Any, /, shape: Any) -> Tensor:
    """``x`` repeated to a larger shape."""
    return recorded("broadcast_to")(x, shape)


@standard
def concat(arrays: Any, /, *, axis: int | None = 0) -> Tensor:
    """Arrays joined along an axis that they have; ``axis=None`` ravels them first."""
    parts = list(arrays) if axis is not None else [recorded("ravel")(x) for x in arrays]
    return recorded("concatenate")(parts, axis=axis or 0)


@standard
def expand_dims(x: Any, /, axis: Any) -> Tensor:
    """``x`` with a new axis of size 1."""
    return recorded("expand_dims")(x, axis=axis)


@standard
def flip(x: Any, /, *, axis: Any = None) -> Tensor:
    """The order along axes reversed; along all by default."""
    return recorded("flip")(x, axis)


@standard
def moveaxis(x: Any, source: Any, destination: Any, /) -> Tensor:
    """Axes moved to other places; the rest keep their order."""
    return _moveaxis(x, source, destination)


@standard
def permute_dims(x: Any, /, axes: Any) -> Tensor:
    """The axes in another order."""
    return recorded("transpose")(x, axes=tuple(axes))


@standard
def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Each element, or each slice along an axis, several times; ``axis=None`` ravels first."""
    return numpys("repeat")(x, repeats, axis)


@standard
def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Tensor:
    """The same elements in another shape. A Tensor never changes, so ``copy`` says nothing."""
    return recorded("reshape")(x, shape=shape)


@standard
def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Tensor:
    """The elements moved on by ``shift`` places; those that fall off return at the other end."""
    return numpys("roll")(x, shift, axis)


@standard
def squeeze(x: Any, /, axis: Any) -> Tensor:
    """``x`` without the given axes of size 1."""
    return recorded("squeeze")(x, axis)


@standard
def stack(arrays: Any, /, *, axis: int = 0) -> Tensor:
    """Arrays of one shape joined along a new axis."""
    return recorded("stack")(list(arrays), axis=axis)


@standard
def tile(x: Any, repetitions: tuple[int, ...], /) -> Tensor:
    """``x`` laid side by side, as often as is said for each axis; missing axes come first."""
    return numpys("tile")(x, repetitions)


@standard
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis."""
    return tuple(recorded("moveaxis")(x, axis, 0))


# -- products -------------------------------------------------------------------------------------


@standard
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """Σ conj(x1) · x2 along an axis, the others broadcast."""
    x1, x2 = operand(x1), operand(x2)
    if x1.shape[axis] != x2.shape[axis]:
        raise ShapeError(
            f"vecdot({describe(x1)}, {describe(x2)}, axis={axis}): the sizes along it differ; make them equal"
        )
    first = x1.numpy().conj() if x1.dtype.kind == "c" else x1
    return recorded("sum")(recorded("mul")(first, x2), axis=axis).astype(np.result_type(x1.dtype, x2.dtype))


@standard
def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Tensor:
    """Products summed over pairs of axes: the last ones of ``x1`` with the first of ``x2``, or those named."""
    return numpys("tensordot")(x1, x2, axes)
