"""Movement: the same elements in another shape or order; padding and joining."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..core.convert import shape_of
from ..core.primitive import Domain, Each, Primitive
from ..core.tensor import describe
from ..errors import ArgumentError, AxisError, ShapeError
from .reduction import normalize, single

Shape = Any


def as_shape(op: str, x: Any, shape: Any) -> tuple[int, ...]:
    """``shape`` as a tuple of integers; a single integer is a shape of one axis."""
    try:
        return tuple(map(operator.index, shape)) if isinstance(shape, (tuple, list)) else (operator.index(shape),)
    except TypeError:
        raise ArgumentError(
            f"{op}({describe(x)}, {shape!r}): a shape is a tuple of integers; give e.g. (2, 3)"
        ) from None


def _reshape(x: Any, *sizes: Any, shape: Shape = None) -> Any:
    old = shape_of(x)
    if shape is None:
        shape = sizes[0] if len(sizes) == 1 else sizes
    given = as_shape("reshape", x, shape)
    new = given
    count = math.prod(old)
    if new.count(-1) == 1:
        known = math.prod(n for n in new if n != -1)
        new = tuple(count // known if n == -1 and known else 0 if n == -1 else n for n in new)
    if math.prod(new) != count or any(n < 0 for n in new):
        raise ShapeError(
            f"reshape({describe(x)}, {given}): {count} elements do not fill {given}; "
            "the product of the new sizes must be the same, one of them may be -1"
        )
    return (x,), {"shape": new}


reshape: Primitive = Primitive(
    "reshape",
    lambda xp, x, *, shape: xp.reshape(xp.asarray(x), shape),
    (lambda g, out, x, *, shape: reshape(g, x.shape),),
    "movement",
    "reshape",
    "The same elements in another shape; one size may be -1.",
    signature=_reshape,
    domain=Domain(((((2, 3),), {"shape": (3, 2)}), (((2, 3),), {"shape": -1}), (((),), {"shape": (1, 1)}))),
)


def _transpose(x: Any, *order: Any, axes: Any = None) -> Any:
    ndim = len(shape_of(x))
    if axes is None:
        axes = order[0] if len(order) == 1 and not isinstance(order[0], int) else order or None
    given = tuple(range(ndim))[::-1] if axes is None else tuple(map(operator.index, axes))
    if sorted(a % ndim if -ndim <= a < ndim else ndim for a in given) != list(range(ndim)):
        raise AxisError(
            f"transpose({describe(x)}, {given}): needs each of the {ndim} axes once; give e.g. {tuple(range(ndim))[::-1]}"
        )
    return (x,), {"axes": tuple(a % ndim for a in given)}


transpose: Primitive = Primitive(
    "transpose",
    lambda xp, x, *, axes: xp.permute_dims(xp.asarray(x), axes),
    (lambda g, out, x, *, axes: transpose(g, tuple(sorted(range(len(axes)), key=axes.__getitem__))),),
    "movement",
    "ᵀ",
    "The axes in another order; reversed if none is given.",
    signature=_transpose,
    domain=Domain(((((2, 3),), {}), (((2, 3, 4),), {"axes": (1, 2, 0)}))),
)


def swap_last(x: Any) -> Any:
    """The last two axes exchanged: the transpose of every matrix in a stack."""
    n = len(x.shape)
    return transpose(x, (*range(n - 2), n - 1, n - 2))


def _broadcast_to(x: Any, shape: Shape) -> Any:
    new = as_shape("broadcast_to", x, shape)
    old = shape_of(x)
    if len(new) < len(old) or any(a not in (1, b) for a, b in zip(old[::-1], new[::-1], strict=False)):
        raise ShapeError(
            f"broadcast_to({describe(x)}, {new}): {old} does not broadcast to {new}; sizes must be equal or 1, "
            "counted from the last axis"
        )
    return (x,), {"shape": new}


broadcast_to: Primitive = Primitive(
    "broadcast_to",
    lambda xp, x, *, shape: xp.broadcast_to(xp.asarray(x), shape),
    (lambda g, out, x, *, shape: g,),
    "movement",
    "expand",
    "x repeated to a larger shape, without copying.",
    signature=_broadcast_to,
    domain=Domain(((((3,),), {"shape": (2, 3)}), (((2, 1),), {"shape": (2, 3)}), (((),), {"shape": (2,)}))),
)


def _expand_dims(x: Any, axis: Any) -> Any:
    ndim = len(shape_of(x))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    full = ndim + len(axes)
    new = sorted(operator.index(a) % full if -full <= operator.index(a) < full else full for a in axes)
    if len(set(new)) != len(new) or full in new:
        raise AxisError(
            f"expand_dims({describe(x)}, axis={axis!r}): axes must be different and from -{full} to {full - 1}; give e.g. axis=0"
        )
    return (x,), {"axis": tuple(new)}


def _expand_kernel(xp: Any, x: Any, *, axis: tuple[int, ...]) -> Any:
    x = xp.asarray(x)
    for a in axis:
        x = xp.expand_dims(x, axis=a)
    return x


expand_dims: Primitive = Primitive(
    "expand_dims",
    _expand_kernel,
    (lambda g, out, x, *, axis: squeeze(g, axis=axis),),
    "movement",
    "expand",
    "x with new axes of size 1 at the given places of the result.",
    signature=_expand_dims,
    domain=Domain(((((2, 3),), {"axis": 0}), (((2, 3),), {"axis": (0, -1)}))),
)


def _squeeze(x: Any, axis: Any = None) -> Any:
    shape = shape_of(x)
    axes = tuple(i for i, n in enumerate(shape) if n == 1) if axis is None else normalize("squeeze", x, axis)
    if any(shape[a] != 1 for a in axes):
        raise ShapeError(
            f"squeeze({describe(x)}, axis={axis!r}): only an axis of size 1 can go; use reshape for others"
        )
    return (x,), {"axis": axes}


squeeze: Primitive = Primitive(
    "squeeze",
    lambda xp, x, *, axis: xp.squeeze(xp.asarray(x), axis=axis),
    (lambda g, out, x, *, axis: expand_dims(g, axis=axis),),
    "movement",
    "squeeze",
    "x without the given axes of size 1; without all of them by default.",
    signature=_squeeze,
    domain=Domain(((((2, 1, 3),), {}), (((1, 2, 1),), {"axis": 0}))),
)
flip: Primitive = Primitive(
    "flip",
    lambda xp, x, *, axis: xp.flip(xp.asarray(x), axis=axis),
    (lambda g, out, x, *, axis: flip(g, axis=axis),),
    "movement",
    "flip",
    "The order along the given axes reversed; along all by default.",
    signature=lambda x, axis=None: ((x,), {"axis": normalize("flip", x, axis)}),
    domain=Domain(((((2, 3),), {}), (((2, 3),), {"axis": 1}))),
)


def _roll(x: Any, shift: Any, axis: Any) -> Any:
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    shifts = tuple(shift) if isinstance(shift, (tuple, list)) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise ArgumentError(
            f"roll({describe(x)}): {len(shifts)} shifts for {len(axes)} axes; give one shift for each axis"
        )
    return (x,), {"shift": tuple(map(operator.index, shifts)), "axis": tuple(single("roll", x, a) for a in axes)}


roll: Primitive = Primitive(
    "roll",
    lambda xp, x, *, shift, axis: xp.roll(xp.asarray(x), shift, axis=axis),
    (lambda g, out, x, *, shift, axis: roll(g, tuple(-s for s in shift), axis),),
    "movement",
    "roll",
    "The elements along axes moved on by ``shift`` places; those that fall off return at the other end.",
    signature=_roll,
    domain=Domain(((((2, 3),), {"shift": 1, "axis": 1}), (((2, 3),), {"shift": (1, -2), "axis": (0, 1)}))),
)

# -- padding and joining --------------------------------------------------------------------------


def _pad(x: Any, pad_width: Any, constant_values: float = 0) -> Any:
    ndim = len(shape_of(x))
    try:
        given = np.asarray(pad_width if ndim else 0)
        if given.dtype.kind not in "iu":
            raise TypeError
        widths = np.broadcast_to(given, (ndim, 2))
    except (ValueError, TypeError, OverflowError):
        raise ArgumentError(
            f"pad({describe(x)}, {pad_width!r}): the widths are one number, one pair, or a pair for each axis; "
            f"give e.g. {((1, 1),) * ndim}"
        ) from None
    pairs = tuple((int(a), int(b)) for a, b in widths)
    if any(n + a + b < 0 for n, (a, b) in zip(shape_of(x), pairs, strict=True)):
        raise ShapeError(
            f"pad({describe(x)}, {pairs}): crops more than there is; negative widths may not exceed the size"
        )
    return (x,), {"pad_width": pairs, "constant_values": constant_values}


def pad_kernel(xp: Any, x: Any, *, pad_width: tuple[tuple[int, int], ...], constant_values: float) -> Any:
    x = xp.asarray(x)
    for axis, (before, after) in enumerate(pad_width):
        if before > 0 or after > 0:
            start, end = (
                xp.full((*x.shape[:axis], max(width, 0), *x.shape[axis + 1 :]), constant_values, dtype=x.dtype)
                for width in (before, after)
            )
            x = xp.concat([start, x, end], axis=axis)
    # What one side crops may have come from the other side's border.
    return x[tuple(slice(max(-a, 0), n + min(b, 0)) for n, (a, b) in zip(x.shape, pad_width, strict=True))]


pad: Primitive = Primitive(
    "pad",
    pad_kernel,
    (
        lambda g, out, x, *, pad_width, constant_values: pad(g, tuple((-a, -b) for a, b in pad_width)),
    ),
    "movement",
    "pad",
    "x with a border of a constant; a negative width crops. Each is the transpose of the other.",
    signature=_pad,
    domain=Domain(
        (
            (((2, 3),), {"pad_width": 1}),
            (((2, 3),), {"pad_width": ((0, 2), (1, 0)), "constant_values": 3.0}),
            (((4, 3),), {"pad_width": ((-1, 1), (0, -2))}),
            (((2, 3),), {"pad_width": ((3, -4), (-2, 1))}),
        )
    ),
)  # fmt: skip


_FEW = 64  # operands of one join


def _sequence(op: str, arrays: Any) -> tuple[Any, ...]:
    if not isinstance(arrays, (list, tuple)) or not arrays:
        raise ArgumentError(f"{op}({describe(arrays)}): joins a non-empty list of arrays; write {op}([a, b])")
    return tuple(a if hasattr(a, "shape") else np.asarray(a) for a in arrays)


def _concatenate(arrays: Any, axis: int = 0) -> Any:
    operands = _sequence("concatenate", arrays)
    first = shape_of(operands[0])
    if not first:
        raise ShapeError(f"concatenate({describe(arrays)}): 0-d arrays have no axis to join along; write stack")
    along = single("concatenate", operands[0], axis)
    for x in operands[1:]:
        shape = shape_of(x)
        if len(shape) != len(first) or any(
            a != b for i, (a, b) in enumerate(zip(shape, first, strict=True)) if i != along
        ):
            raise ShapeError(
                f"concatenate({describe(arrays)}, axis={axis}): {first} and {shape} differ outside axis {along}; "
                "make the other sizes equal"
            )
    # Each operand's rule is handed them all, which would cost n² for n at one node; a tree of joins stays linear.
    while len(operands) > _FEW:
        groups = [operands[i : i + _FEW] for i in range(0, len(operands), _FEW)]
        operands = tuple(concatenate(group, along) for group in groups)
    return operands, {"axis": along}


def _concatenate_rule(position: int) -> Any:
    def rule(g: Any, out: Any, *inputs: Any, axis: int) -> Any:
        sizes = [x.shape[axis] for x in inputs]
        before, after = sum(sizes[:position]), sum(sizes[position + 1 :])
        return pad(g, tuple((-before, -after) if i == axis else (0, 0) for i in range(len(out.shape))))

    return rule


concatenate: Primitive = Primitive(
    "concatenate",
    lambda xp, *arrays, axis: xp.concat(arrays, axis=axis),
    Each(_concatenate_rule),
    "movement",
    "concat",
    "Arrays joined along an axis that they have.",
    signature=_concatenate,
    domain=Domain(((([(2, 3), (4, 3)],), {}), (([(2, 1), (2, 2), (2, 0)],), {"axis": -1}))),
)


def _stack(arrays: Any, axis: int = 0) -> Any:
    operands = _sequence("stack", arrays)
    shapes = {shape_of(x) for x in operands}
    if len(shapes) > 1:
        raise ShapeError(f"stack({describe(arrays)}): the shapes differ; make them equal, or use concatenate")
    ndim = len(shapes.pop()) + 1
    if not -ndim <= operator.index(axis) < ndim:
        raise AxisError(
            f"stack({describe(arrays)}, axis={axis}): the result has axes -{ndim} to {ndim - 1}; give one of them"
        )
    return operands, {"axis": axis % ndim}


def _stack_rule(position: int) -> Any:
    def rule(g: Any, out: Any, *inputs: Any, axis: int) -> Any:
        rest = len(inputs) - position - 1
        one = pad(g, tuple((-position, -rest) if i == axis else (0, 0) for i in range(len(out.shape))))
        return squeeze(one, axis=axis)

    return rule


stack: Primitive = Primitive(
    "stack",
    lambda xp, *arrays, axis: xp.stack([xp.asarray(a) for a in arrays], axis=axis),
    Each(_stack_rule),
    "movement",
    "stack",
    "Arrays of one shape joined along a new axis.",
    signature=_stack,
    domain=Domain(((([(2, 3), (2, 3)],), {}), (([(3,), (3,), (3,)],), {"axis": -1}), (([(), ()],), {}))),
)
