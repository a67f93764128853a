"""Hand-fused operations that carry the composite they replace.

A fused op runs where speed is wanted and its backward is not recorded. A recorded backward, a trace,
a compiler and an export use the composite in its place: so it is right at every order and opaque
to nobody.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .core.array import read_only
from .core.convert import operand
from .core.node import Node, next_serial
from .core.primitive import Primitive, call, check_finite, misuse, named, user_line
from .core.scope import ANOMALY, GRAD, TRACE, mode, scope_var
from .core.tensor import Tensor, describe, make
from .errors import ArgumentError, DTypeError, ShapeError, TinygraphError
from .functional import batch_norm as composed_batch_norm
from .functional import check_batch_norm
from .ops.reduction import mean, single, sum
from .transforms import vjp

__all__ = ["FusedOp", "batch_norm", "replaces"]


class _FusedNode(Node):
    """A node that keeps what its forward saved, and which operands were None."""

    __slots__ = ("operands", "saved")
    operands: tuple[Tensor | None, ...]
    saved: Any


class FusedOp:
    """A forward and a backward in NumPy, with the composite that they replace."""

    def __init__(
        self, forward: Callable[..., Any], composite: Callable[..., Any], check: Callable[..., Any] | None = None
    ) -> None:
        self._forward = forward
        self._check = check
        self._backward: Callable[..., tuple[Any, ...]] | None = None
        self._signature = inspect.signature(forward)
        self.composite = composite
        self.__name__ = forward.__name__
        self._title = f"{'fused.' * (forward.__module__ == __name__)}{forward.__name__}"
        self.__doc__ = forward.__doc__
        self.__wrapped__ = forward
        self.primitive = Primitive(
            forward.__name__,
            lambda xp, *arrays, **params: self._run(arrays, params)[0],
            (),
            "other",
            forward.__name__,
            forward.__doc__ or "",
            pullback=self._pull,
        )

    def __repr__(self) -> str:
        return f"<fused {self.__name__}>"

    def backward(self, fn: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        """Register ``backward(g, saved, *arrays, **params) -> cotangents``; one per array operand."""
        self._backward = fn
        return fn

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise misuse(self._title, self._forward, args, kwargs, error) from error
        bound.apply_defaults()
        try:
            operands = tuple(None if x is None else operand(x) for x in bound.args)
        except TinygraphError as error:
            raise named(self._title, _present(bound.args), error) from error.__cause__
        params = bound.kwargs
        if self._check is not None:
            self._check(*operands, **params)
        bits = mode.get()
        if bits & TRACE or self._backward is None:
            return self.composite(*operands, **params)  # type: ignore[no-any-return]
        serial = next_serial()
        out, saved = self._run(operands, params)
        inputs = _present(operands)
        where = None
        if bits & ANOMALY:
            where = user_line()
            check_finite(self.primitive, inputs, out, where=where)
        if not (bits & GRAD and any(x._requires for x in inputs)):
            return make(out)
        node = _FusedNode(self.primitive, inputs, params, scope_var.get(), serial, where)
        node.saved, node.operands = saved, operands
        return make(out, True, node)

    def _run(self, operands: Any, params: Any) -> tuple[np.ndarray[Any, Any], Any]:
        result = self._forward(*map(_given, operands), **params)
        if type(result) is not tuple or len(result) != 2:
            head = f"{self._call(operands)}: the forward returned {describe(result)}"
            raise ArgumentError(f"{head}; return a tuple (out, saved), saved for the backward")
        out = np.asarray(result[0])
        if out.dtype.kind not in "biufc":
            head = f"{self._call(operands)}: the forward returned {describe(result[0])}, no numbers"
            raise DTypeError(f"{head}; return an array and what the backward needs")
        return out, result[1]

    def _call(self, operands: Any) -> str:
        return call(self._title, _present(operands))

    def _pull(self, node: Any, g: Any, record: bool) -> tuple[Any, ...]:
        if record:
            _, pullback = vjp(
                lambda *inputs: self.composite(*_filled(node.operands, inputs), **node.params), *node.inputs
            )
            return pullback(g)
        operands = node.operands
        cotangents = self._backward(read_only(g), node.saved, *map(_given, operands), **node.params)  # type: ignore[misc]
        try:
            return _fitting(cotangents, operands, g)
        except TinygraphError as error:
            raise type(error)(f"backward of {self._call(operands)}: returned {error}") from None


def _present(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x for x in operands if x is not None)


def _given(x: Any) -> Any:
    """What a hand-written kernel is given: it may keep it, but not write to it."""
    return read_only(x._data if isinstance(x, Tensor) else x)


def _fitting(cotangents: Any, operands: tuple[Tensor | None, ...], g: Any) -> tuple[Any, ...]:
    """One cotangent for each operand that is given."""
    if type(cotangents) is not tuple:
        raise ArgumentError(f"{describe(cotangents)}; return a tuple, one cotangent for each operand")
    if len(cotangents) != len(operands):
        raise ArgumentError(
            f"{len(cotangents)} cotangents for {len(operands)} operands; return one for each, None where there is none"
        )
    return tuple(_fits(c, x, g) for c, x in zip(cotangents, operands, strict=True) if x is not None)


def _fits(cotangent: Any, x: Tensor, g: Any) -> Any:
    """A cotangent of a float operand, as an array that the traversal can sum to its shape; else None."""
    if cotangent is None or x.dtype.kind != "f":
        return None
    c = np.asarray(cotangent)
    if c.dtype.kind != "f":
        raise DTypeError(f"{describe(cotangent)} for {describe(x)}; return an array of floats, or None")
    if c.shape != x.shape and not (_broadcasts(x.shape, c.shape) and _broadcasts(c.shape, g.shape)):
        raise ShapeError(f"{describe(c)} for {describe(x)}; return an array of shape {x.shape}")
    return c


def _broadcasts(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    return len(old) <= len(new) and all(a in (1, b) for a, b in zip(old[::-1], new[::-1], strict=False))


def _filled(operands: tuple[Any, ...], inputs: tuple[Any, ...]) -> list[Any]:
    rest = iter(inputs)
    return [None if x is None else next(rest) for x in operands]


def replaces(
    composite: Callable[..., Any], *, check: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Any]], FusedOp]:
    """Decorate ``forward(*arrays, **params) -> (out, saved)`` as the fused form of ``composite``.

    Both take the same arguments: arrays by position (None where left out), params by keyword. The
    forward gets ndarrays and returns a new one, never a buffer that it will write to again;
    ``saved`` is whatever its backward wants to see again. Register that with
    ``@that.backward``. Until it is registered, the composite runs. ``check`` is called first, with
    Tensors in place of arrays, so that the errors it raises can name them.

    >>> import numpy as np, tinygraph as tg
    >>> @tg.fused.replaces(lambda x: x * x)
    ... def square(x):
    ...     return x * x, None
    >>> @square.backward
    ... def square_backward(g, saved, x):
    ...     return (2 * g * x,)
    >>> tg.grad(square)(3.0), tg.grad(tg.grad(square))(3.0)
    (tensor(6.), tensor(2.))
    """
    return lambda forward: FusedOp(forward, composite, check)


def _check(x: Any, gamma: Any, beta: Any, *, axis: int, eps: float) -> None:
    check_batch_norm("fused.batch_norm", x, gamma, beta, axis, eps)


@replaces(composed_batch_norm, check=_check)
def batch_norm(x: Any, gamma: Any = None, beta: Any = None, *, axis: int = 1, eps: float = 1e-5) -> Any:
    """``tg.batch_norm``, fused by hand: two passes with the correction of the mean kept apart.

    d = x - mean(x), c = mean(d), x̂ = (d - c) / √(mean(d²) - c² + ε), y = γ · x̂ + β. The second mean c
    is what rounding lost in the first: at large offsets it makes float32 a hundred to a thousand
    times more accurate. float16 is computed in float32.

    Backward, in three terms: dx = γ/σ · (g - mean(g) - x̂ · mean(g · x̂)).

    Shapes, dtypes and errors are those of ``tg.batch_norm``.

    >>> import tinygraph as tg
    >>> tg.fused.batch_norm(tg.tensor([[1.0], [3.0]]), eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    channel = single("fused.batch_norm", x, axis)
    axes = tuple(i for i in range(x.ndim) if i != channel)
    along = tuple(-1 if i == channel else 1 for i in range(x.ndim))
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    d = wide - _mean(wide, axes)
    c = _mean(d, axes)
    variance = np.maximum(_mean(d * d, axes) - c * c, 0)
    sigma = np.sqrt(variance + eps)
    d -= c
    d /= sigma
    xhat = d
    y = xhat if gamma is None else xhat * gamma.reshape(along)
    y = y if beta is None else y + beta.reshape(along)
    dtype = np.result_type(*(p for p in (x, gamma, beta) if p is not None))
    return y.astype(dtype, copy=y is xhat), (xhat, sigma, axes, along)


def _mean(x: Any, axes: tuple[int, ...]) -> Any:
    return mean(x, axis=axes, keepdims=True)


@batch_norm.backward
def _batch_norm_backward(g: Any, saved: Any, x: Any, gamma: Any, beta: Any, *, axis: int, eps: float) -> Any:
    xhat, sigma, axes, along = saved
    g = g.astype(np.float32) if g.dtype == np.float16 else g
    count = math.prod(x.shape[a] for a in axes)
    dbeta = sum(g, axis=axes, keepdims=True)
    dgamma = sum(g * xhat, axis=axes, keepdims=True)
    scale = 1 / sigma if gamma is None else gamma.reshape(along) / sigma
    dx = (g - dbeta / count - xhat * (dgamma / count)) * scale
    return dx, None if gamma is None else dgamma.reshape(-1), None if beta is None else dbeta.reshape(-1)
