"""Strong zeros that cannot matter: ``mul0`` and ``div0`` of what is finite become ``mul`` and ``div``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.array import is_weak
from ...core.graph import Graph
from ...core.tensor import OPS, Argument, Parameter, Tensor
from ..graphs import is_number
from .products import STRONG, is_regular
from .rewriting import instead, op_of, replaced
from .sums import axes_of

# Finite of finite operands, short of overflow.
_TAME = frozenset({
    "add", "sub", "mul", "mul0", "neg", "abs", "maximum", "minimum", "where", "tanh", "sin", "cos", "arctan", "sigmoid",
    "sign", "floor", "ceil", "round", "zeros_like", "identity", "detach", "sum", "cumsum", "max", "min", "matmul", "einsum",
    "reshape", "transpose", "broadcast_to", "expand_dims", "squeeze", "spread", "flip", "roll", "concatenate", "stack",
    "getitem", "size", "relu", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and",
    "logical_or", "logical_not",
})  # fmt: skip
# The sign of the first operand.
_SAME = frozenset({
    "sqrt", "max", "min", "reshape", "transpose", "broadcast_to", "expand_dims", "squeeze", "spread", "flip", "roll",
    "getitem", "identity", "detach",
})  # fmt: skip
_NEVER_NEGATIVE = frozenset({"abs", "relu", "exp", "sigmoid", "softplus"})  # exp and its like may underflow to 0
UNKNOWN, NOT_NEGATIVE, POSITIVE = 0, 1, 2


def run(graph: Graph) -> Graph:
    """Replace a strong zero where its other operand is finite, or no divisor is 0, if all inputs are finite.

    The value is the same where all values are finite: ``√(var + ε)`` divides without a look at zeros.
    """
    sign: dict[Tensor, int] = {}
    tame: dict[Tensor, bool] = {}
    peaked: dict[Tensor, tuple[int, ...]] = {}
    for x in graph.captured:
        tame[x], sign[x] = _leaf(x)
    for x in graph.inputs:
        tame[x], sign[x] = True, UNKNOWN
    for t in graph.nodes:
        operands = graph.operands(t)
        signs = [sign[x] for x in operands]
        sign[t] = _sign(t, operands, signs)
        tame[t] = _is_tame(t, operands, signs, [tame[x] for x in operands])
        axes = _peak(graph, t)
        if axes is not None:
            peaked[t], tame[t] = axes, True
        elif op_of(t) == "sum" and operands[0] in peaked and set(peaked[operands[0]]) <= set(axes_of(t)):
            sign[t] = POSITIVE if operands[0].size else NOT_NEGATIVE
    plain = {
        t: "mul" if op_of(t) == "mul0" else "div"
        for t in graph.nodes
        if op_of(t) in STRONG and is_regular(graph, t) and _cannot_matter(graph, t, sign, tame)
    }

    def find(t: Tensor, new: Mapping[Tensor, Tensor]) -> Tensor | None:
        return instead(t, OPS[plain[t]], [new[x] for x in graph.operands(t)]) if t in plain else None

    return replaced(graph, find)


def _peak(graph: Graph, t: Tensor) -> tuple[int, ...] | None:
    """The axes along which ``t`` is 1 somewhere and never more: those of the max in ``exp(x - max(x))``, as softmax has it."""
    if op_of(t) != "exp" or t.dtype == np.float16:
        return None
    (below,) = graph.operands(t)
    if op_of(below) != "sub":
        return None
    x, top = graph.operands(below)
    if op_of(top) == "where" and _is_infinite(graph, graph.operands(top)[0]):
        top = graph.operands(top)[2]
    if op_of(top) != "max" or graph.operands(top)[0] is not x or below.shape != x.shape:
        return None
    kept = tuple(1 if a in axes_of(top) else n for a, n in enumerate(x.shape))
    return axes_of(top) if (1,) * (x.ndim - top.ndim) + top.shape == kept else None


def _is_infinite(graph: Graph, condition: Tensor) -> bool:
    """``|x| = inf``, which does not hold where all values are finite."""
    return op_of(condition) == "equal" and is_number(graph.operands(condition)[1], np.inf)


def _cannot_matter(graph: Graph, t: Tensor, sign: dict[Tensor, int], tame: dict[Tensor, bool]) -> bool:
    x, y = graph.operands(t)
    if op_of(t) == "mul0":
        return tame[x] and tame[y]
    return tame[y] and sign[y] == POSITIVE


def _leaf(x: Tensor) -> tuple[bool, int]:
    """Whether a constant is finite, and its sign."""
    if isinstance(x, (Argument, Parameter)):
        return True, UNKNOWN
    data = np.asarray(x._data)
    if data.dtype.kind not in "biuf" or not np.isfinite(data).all():
        return False, UNKNOWN
    return True, POSITIVE if (data > 0).all() else NOT_NEGATIVE if (data >= 0).all() else UNKNOWN


def _is_tame(t: Tensor, operands: tuple[Tensor, ...], signs: list[int], tame: list[bool]) -> bool:
    name = op_of(t)
    if name == "clip":
        return tame[0]
    if not all(tame) or t.dtype == np.float16:
        return False
    if name == "sqrt":
        return signs[0] > UNKNOWN
    if name in ("div", "div0"):
        return signs[1] == POSITIVE
    if name == "pow":
        return _exponent(operands) is not None
    if name == "mean":
        return operands[0].size > 0
    if name == "astype":
        return np.can_cast(operands[0].dtype, t.dtype)
    return name in _TAME


def _exponent(operands: tuple[Tensor, ...]) -> Any:
    """A constant integer exponent of 0 or more."""
    y = operands[1]
    n = y._data if y.node is None and is_weak(y._data) and not isinstance(y, Argument) else None
    return n if isinstance(n, (int, float)) and n >= 0 and n == int(n) else None


def _sign(t: Tensor, operands: tuple[Tensor, ...], signs: list[int]) -> int:
    name = op_of(t)
    if name in _SAME:
        return signs[0]
    if name in _NEVER_NEGATIVE:
        return NOT_NEGATIVE
    rule = _SIGNS.get(name)
    return rule(t, operands, signs) if rule and t.dtype != np.float16 else UNKNOWN


def _of_sum(t: Tensor, operands: tuple[Tensor, ...], signs: list[int]) -> int:
    if min(signs) == UNKNOWN:
        return UNKNOWN
    # A number may be 0 in the precision of the result.
    positive = [s == POSITIVE and np.all(_in_dtype(x, t)) for x, s in zip(operands, signs, strict=True)]
    return POSITIVE if any(positive) else NOT_NEGATIVE


def _in_dtype(x: Tensor, t: Tensor) -> Any:
    return np.asarray(x._data).astype(t.dtype) != 0 if x.node is None and not isinstance(x, Argument) else True


def _of_product(t: Tensor, operands: tuple[Tensor, ...], signs: list[int]) -> int:
    x, y = operands
    if x is y:
        return NOT_NEGATIVE
    if min(signs) == POSITIVE and any(is_at_least_one(a) for a in operands):
        return POSITIVE
    return NOT_NEGATIVE if min(signs) > UNKNOWN else UNKNOWN


def is_at_least_one(x: Tensor) -> bool:
    """A number that makes nothing smaller, so that a product with it does not underflow."""
    return x.node is None and is_weak(x._data) and not isinstance(x, Argument) and x._data >= 1


def _of_quotient(t: Tensor, operands: tuple[Tensor, ...], signs: list[int]) -> int:
    return NOT_NEGATIVE if min(signs) > UNKNOWN else UNKNOWN


def _of_power(t: Tensor, operands: tuple[Tensor, ...], signs: list[int]) -> int:
    n = _exponent(operands)
    return NOT_NEGATIVE if signs[0] > UNKNOWN or (n is not None and n % 2 == 0) else UNKNOWN


def _of_terms(t: Tensor, operands: tuple[Tensor, ...], signs: list[int]) -> int:
    return NOT_NEGATIVE if signs[0] > UNKNOWN else UNKNOWN


def _of_maximum(t: Tensor, operands: tuple[Tensor, ...], signs: list[int]) -> int:
    return max(signs)


def _of_where(t: Tensor, operands: tuple[Tensor, ...], signs: list[int]) -> int:
    return min(signs[1:])


def _of_size(t: Tensor, operands: tuple[Tensor, ...], signs: list[int]) -> int:
    return POSITIVE if operands[0].size else NOT_NEGATIVE


_SIGNS: dict[str, Callable[[Tensor, tuple[Tensor, ...], list[int]], int]] = {
    "add": _of_sum, "mul": _of_product, "mul0": _of_product, "div": _of_quotient, "div0": _of_quotient,
    "pow": _of_power, "sum": _of_terms, "mean": _of_terms, "maximum": _of_maximum, "where": _of_where, "size": _of_size,
}  # fmt: skip
