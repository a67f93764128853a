"""Products of vectors, matrices and stacks; polynomials."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.convert import operand, shape_of
from ..core.primitive import call
from ..core.tensor import Tensor
from ..errors import ShapeError
from ..functional import composite, moveaxis, ravel
from ..ops.contraction import matmul
from ..ops.elementwise import mul
from ..ops.movement import broadcast_to, expand_dims, reshape, roll
from ..ops.reduction import single
from .table import implements, ours, refusal, refuse, refuse_complex
from .ufuncs import UFUNCS


@composite
def dot(a: Any, b: Any) -> Tensor:
    """NumPy's product: of numbers, vectors and matrices as ``matmul``; of stacks, each matrix with each.

    Shapes: a [*A, K], b [*B, K, M] or [K] → [*A, *B, M] or [*A]; a 0-d operand multiplies.

    >>> import numpy as np, tinygraph as tg
    >>> tg.tensor(np.ones((2, 3))).dot(np.ones((4, 3, 5))).shape
    (2, 4, 5)
    """
    a, b = operand(a), operand(b)
    if not a.ndim or not b.ndim:
        return mul(a, b)  # type: ignore[no-any-return]
    inner = a.shape[-1]
    if inner != b.shape[-2:][0]:
        raise ShapeError(
            f"{call('dot', (a, b))}: the inner sizes {inner} and {b.shape[-2:][0]} differ; make them equal, e.g. with y.mT"
        )
    return matmul(a, b) if b.ndim < 3 else _contract("dot", a, b, [-1], [-2])


def _contract(name: str, a: Any, b: Any, left: list[int], right: list[int]) -> Tensor:
    """The sum of products over axes of a and axes of b, as one matrix product."""
    left, right = ([single(name, x, axis) for axis in axes] for x, axes in ((a, left), (b, right)))
    sizes = [a.shape[axis] for axis in left]
    if sizes != [b.shape[axis] for axis in right]:
        raise ShapeError(f"{call(name, (a, b))}: axes {left} and {right} differ in number or size; pair equal ones")
    inner, last = math.prod(sizes), range(-len(left), 0)
    rows = [n for axis, n in enumerate(a.shape) if axis not in left]
    columns = [n for axis, n in enumerate(b.shape) if axis not in right]
    first = reshape(moveaxis(a, tuple(left), tuple(last)), (math.prod(rows), inner))
    second = reshape(moveaxis(b, tuple(right), tuple(range(len(right)))), (inner, math.prod(columns)))
    return reshape(matmul(first, second), (*rows, *columns))  # type: ignore[no-any-return]


def _strong(x: Any) -> Any:
    """A Python number as the array that NumPy's functions make of it; its ufuncs keep it weak."""
    return np.asarray(x) if is_weak(x) else x


@implements("dot")
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    refuse("np.dot", (a, b), out=out)
    return dot(_strong(a), _strong(b))


@implements("inner")
def _inner(a: Any, b: Any, /) -> Any:
    a, b = operand(_strong(a)), operand(_strong(b))
    return _contract("np.inner", a, b, [-1], [-1]) if a.ndim and b.ndim else mul(a, b)


@implements("tensordot", "linalg.tensordot")
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = operand(a), operand(b)
    if isinstance(axes, (int, np.integer)):
        return _contract("np.tensordot", a, b, [*range(-int(axes), 0)], [*range(axes)])
    left, right = ([*map(operator.index, np.atleast_1d(given))] for given in axes)
    return _contract("np.tensordot", a, b, left, right)


@implements("vdot")
def _vdot(a: Any, b: Any, /) -> Any:
    refuse_complex("np.vdot", a, b)
    return matmul(ravel(a), ravel(b))


@implements("outer", "linalg.outer")
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    refuse("np.outer", (a, b), out=out)
    return expand_dims(ravel(a), axis=1) * ravel(b)


@implements("kron")
def _kron(a: Any, b: Any) -> Any:
    ndim = max(len(shape_of(a)), len(shape_of(b)))
    rows, columns = ((1,) * (ndim - len(shape_of(x))) + shape_of(x) for x in (a, b))
    blocks = reshape(operand(a), tuple(m for n in rows for m in (n, 1)))
    cells = reshape(operand(b), tuple(m for n in columns for m in (1, n)))
    return reshape(blocks * cells, tuple(m * n for m, n in zip(rows, columns, strict=True)))


@implements("cross")
def _cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis,) * 3
    x, y = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    if (x.shape[-1], y.shape[-1]) != (3, 3):
        raise refusal("np.cross", (a, b), "takes vectors of three components", "pad those of two with tg.pad")
    out = roll(x, -1, -1) * roll(y, -2, -1) - roll(x, -2, -1) * roll(y, -1, -1)
    return moveaxis(out, -1, axisc)


implements("linalg.cross")(lambda x1, x2, /, *, axis=-1: _cross(x1, x2, axis=axis))
implements("linalg.matmul")(lambda x1, x2, /: ours("matmul")(x1, x2))
implements("linalg.vecdot")(
    lambda x1, x2, /, *, axis=-1: UFUNCS[np.vecdot](moveaxis(x1, axis, -1), moveaxis(x2, axis, -1))
)


@implements("linalg.multi_dot")
def _multi_dot(arrays: Any, *, out: Any = None) -> Any:
    refuse("np.linalg.multi_dot", (arrays,), out=out)
    return functools.reduce(ours("matmul"), arrays)


@implements("linalg.matrix_power")
def _matrix_power(a: Any, n: int) -> Any:
    x, power = operand(a), operator.index(n)
    if power < 0:
        raise refusal("np.linalg.matrix_power", (a, n), "an inverse has no gradient rule", "give a power of 0 or more")
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{call('np.linalg.matrix_power', (x, n))}: takes square matrices; make the last axes equal")
    if not power:
        return broadcast_to(operand(np.eye(x.shape[-1], dtype=x.dtype)), x.shape)
    half = _matrix_power(x, power // 2) if power > 1 else None
    square = x if half is None else matmul(half, half)
    return matmul(square, x) if power > 1 and power % 2 else square


@implements("einsum")
def _einsum(subscripts: str, *operands: Any, out: Any = None, optimize: Any = None, **kwargs: Any) -> Any:
    refuse("np.einsum", operands, out=out, **kwargs)
    return ours("einsum")(subscripts, *operands)


# -- polynomials ----------------------------------------------------------------------------------


@implements("polyval")
def _polyval(p: Any, x: Any) -> Any:
    x = operand(x)
    return functools.reduce(lambda y, c: y * x + c, operand(p), ours("zeros_like")(x))


@implements("vander")
def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803
    x = operand(x)
    if x.ndim != 1:
        raise ShapeError(f"{call('np.vander', (x,))}: takes a vector; write np.vander(x.ravel())")
    powers = np.arange(x.size if N is None else N)
    return expand_dims(x, axis=1) ** (powers if increasing else powers[::-1])
