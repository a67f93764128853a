"""Hand-fused operations that carry the composite they replace.

A fused op runs where speed is wanted and its backward is not recorded. A recorded backward, a trace,
a compiler and an export use the composite in its place: so it is right at every order and opaque
to nobody.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .core.array import read_only
from .core.node import Node
from .core.primitive import Primitive, check_finite, user_line
from .core.scope import ANOMALY, GRAD, TRACE, mode, scope_var
from .core.tensor import Tensor, make, operand
from .errors import ArgumentError
from .functional import batch_norm as composed_batch_norm
from .functional import check_batch_norm
from .ops.reduction import mean, sum
from .transforms import vjp

__all__ = ["FusedOp", "batch_norm", "replaces"]


class _FusedNode(Node):
    """A node that keeps what its forward saved, and which operands were None."""

    __slots__ = ("operands", "saved")
    operands: tuple[Tensor | None, ...]
    saved: Any


class FusedOp:
    """A forward and a backward in NumPy, with the composite that they replace."""

    def __init__(self, forward: Callable[..., Any], composite: Callable[..., Any]) -> None:
        self._forward = forward
        self._backward: Callable[..., tuple[Any, ...]] | None = None
        self._signature = inspect.signature(forward)
        self.composite = composite
        self.__name__ = forward.__name__
        self.__doc__ = forward.__doc__
        self.__wrapped__ = forward
        self.primitive = Primitive(
            forward.__name__,
            lambda xp, *arrays, **params: forward(*arrays, **params)[0],
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
        except TypeError:
            return self.composite(*args, **kwargs)  # type: ignore[no-any-return]
        bound.apply_defaults()
        operands = tuple(None if x is None else operand(x) for x in bound.args)
        params = bound.kwargs
        bits = mode.get()
        if bits & TRACE or self._backward is None:
            return self.composite(*operands, **params)  # type: ignore[no-any-return]
        out, saved = self._forward(*map(_given, operands), **params)
        inputs = tuple(x for x in operands if x is not None)
        where = None
        if bits & ANOMALY:
            where = user_line()
            check_finite(self.primitive, inputs, out, where=where)
        if not (bits & GRAD and any(x._requires for x in inputs)):
            return make(np.asarray(out))
        node = _FusedNode(self.primitive, inputs, params, scope_var.get(), where)
        node.saved, node.operands = saved, operands
        return make(np.asarray(out), True, node)

    def _pull(self, node: Any, g: Any, record: bool) -> tuple[Any, ...]:
        if record:
            _, pullback = vjp(
                lambda *inputs: self.composite(*_filled(node.operands, inputs), **node.params), *node.inputs
            )
            return pullback(g)
        cotangents = self._backward(read_only(g), node.saved, *map(_given, node.operands), **node.params)  # type: ignore[misc]
        if len(cotangents) != len(node.operands):
            raise ArgumentError(
                f"backward of {self.__name__}: returned {len(cotangents)} cotangents for {len(node.operands)} operands; "
                "return one for each, None where there is none"
            )
        return tuple(c for c, x in zip(cotangents, node.operands, strict=True) if x is not None)


def _given(x: Tensor | None) -> Any:
    """What a hand-written kernel is given: it may keep it, but not write to it."""
    return None if x is None else read_only(x._data)


def _filled(operands: tuple[Any, ...], inputs: tuple[Any, ...]) -> list[Any]:
    rest = iter(inputs)
    return [None if x is None else next(rest) for x in operands]


def replaces(composite: Callable[..., Any]) -> Callable[[Callable[..., Any]], FusedOp]:
    """Decorate ``forward(*arrays, **params) -> (out, saved)`` as the fused form of ``composite``.

    Both take the same arguments: arrays by position (None where left out), params by keyword. The
    forward gets ndarrays; ``saved`` is whatever its backward wants to see again. Register that with
    ``@that.backward``. Until it is registered, the composite runs.

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
    return lambda forward: FusedOp(forward, composite)


@replaces(composed_batch_norm)
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
    channel = check_batch_norm("fused.batch_norm", x, gamma, beta, axis, eps)
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
    count = x.size // x.shape[axis]
    dbeta = sum(g, axis=axes, keepdims=True)
    dgamma = sum(g * xhat, axis=axes, keepdims=True)
    scale = 1 / sigma if gamma is None else gamma.reshape(along) / sigma
    dx = (g - dbeta / count - xhat * (dgamma / count)) * scale
    return dx, None if gamma is None else dgamma.reshape(-1), None if beta is None else dbeta.reshape(-1)
