"""Exact algebra: ops that change no bit are left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.array import is_weak
from ...core.graph import Graph
from ...core.tensor import OPS, Tensor
from ..graphs import is_number
from .rewriting import alike, changed, instead, node_of, op_of

Operands = tuple[Tensor, ...]
Simplify = Callable[[Tensor, Operands], Tensor | None]


def run(graph: Graph) -> Graph:
    """Leave out ``x * 1``, ``x - 0``, ``--x``, a reshape of a reshape, a cast to the same dtype … Exact: of a nan, the sign alone may change."""

    def rule(t: Tensor, operands: Operands) -> Tensor | None:
        simplify = _RULES.get(op_of(t))
        found = simplify(t, operands) if simplify else None
        if found is None and node_of(t).op.kind == "elementwise":
            found = _without_repetition(t, operands)
        return found if found is None or alike(found, t) else None

    return changed(graph, rule)


# -- arithmetic -------------------------------------------------------------------------------------


_REPEATS = ("spread", "broadcast_to")


def _is_zero(x: Tensor, sign: float) -> bool:
    """The number 0 of a sign; an integer has none and counts as positive."""
    return is_number(x, 0) and math.copysign(1.0, x._data) == sign


def _negated(x: Tensor) -> Tensor | None:
    """What ``x`` is the negative of; of integers, -x may be no number of their dtype.

    Not where that only repeats something: -x then lies in memory in an order of its own, in which sums are added.
    """
    if op_of(x) != "neg" or x.dtype.kind != "f":
        return None
    (inner,) = node_of(x).inputs
    return inner if op_of(inner) not in _REPEATS else None


def _add(t: Tensor, operands: Operands) -> Tensor | None:
    x, y = operands
    integers = t.dtype.kind in "iu"
    for a, b in ((x, y), (y, x)):
        if _is_zero(b, -1.0) or (integers and is_number(b, 0)):
            return a
        negative = _negated(b)
        if negative is not None:
            return instead(t, OPS["sub"], (a, negative))
    return None


def _sub(t: Tensor, operands: Operands) -> Tensor | None:
    x, y = operands
    if _is_zero(y, 1.0):
        return x
    negative = _negated(y)
    return instead(t, OPS["add"], (x, negative)) if negative is not None else None


def _mul(t: Tensor, operands: Operands) -> Tensor | None:
    x, y = operands
    if is_number(x, 1) or is_number(y, 1):
        return y if is_number(x, 1) else x
    return _signs(t, operands)


def _div(t: Tensor, operands: Operands) -> Tensor | None:
    return operands[0] if is_number(operands[1], 1) else _signs(t, operands)


def _signs(t: Tensor, operands: Operands) -> Tensor | None:
    """-x · -y is x · y."""
    bare = [_negated(x) for x in operands]
    if bare[0] is None or bare[1] is None:
        return None
    return instead(t, node_of(t).op, (bare[0], bare[1]))


def _pow(t: Tensor, operands: Operands) -> Tensor | None:
    return operands[0] if is_number(operands[1], 1) else None


def _neg(t: Tensor, operands: Operands) -> Tensor | None:
    return _negated(operands[0])


def _detach(t: Tensor, operands: Operands) -> Tensor | None:
    return operands[0]


def _where(t: Tensor, operands: Operands) -> Tensor | None:
    return operands[1] if operands[1] is operands[2] else None


def _astype(t: Tensor, operands: Operands) -> Tensor | None:
    (x,) = operands
    if alike(x, t):
        return x
    if op_of(x) == "astype" and _widens(node_of(x).inputs[0].dtype, x.dtype):
        return _of_inner(t, x, node_of(t).params)
    return None


def _widens(old: np.dtype[Any], new: np.dtype[Any]) -> bool:
    """Whether a cast loses nothing, so that the next one may start from before it."""
    return old.kind == new.kind and np.can_cast(old, new)


# -- movement ---------------------------------------------------------------------------------------


def _of_inner(t: Tensor, x: Tensor, params: Mapping[str, Any]) -> Tensor:
    """The op of ``t`` on what ``x`` was made from; that itself where nothing is left to do."""
    inner = node_of(x).inputs[0]
    result = instead(t, node_of(t).op, (inner,), params)
    return inner if _still(result, inner) else result


def _still(t: Tensor, x: Tensor) -> bool:
    """Whether a movement or cast ``t`` of ``x`` moves nothing."""
    if not alike(t, x):
        return False
    axes = node_of(t).params.get("axes") if op_of(t) == "transpose" else None
    return axes is None or axes == tuple(range(len(axes)))


_RESHAPES = ("reshape", "squeeze", "expand_dims")


def _reshape(t: Tensor, operands: Operands) -> Tensor | None:
    """Nothing, where shapes come back; one reshape for two."""
    (x,) = operands
    found = _back_again(t, operands)
    if found is not None or op_of(x) not in _RESHAPES:
        return found
    return instead(t, OPS["reshape"], (node_of(x).inputs[0],), {"shape": t.shape})


def _back_again(t: Tensor, operands: Operands) -> Tensor | None:
    """A squeeze or expand_dims of nothing, or of what only added or removed axes of size 1 before."""
    (x,) = operands
    if alike(t, x):
        return x
    if op_of(x) not in _RESHAPES:
        return None
    inner = node_of(x).inputs[0]
    return inner if alike(t, inner) else None


def _transpose(t: Tensor, operands: Operands) -> Tensor | None:
    (x,) = operands
    axes = node_of(t).params["axes"]
    if axes == tuple(range(len(axes))):
        return x
    if op_of(x) != "transpose":
        return None
    before = node_of(x).params["axes"]
    return _of_inner(t, x, {"axes": tuple(before[a] for a in axes)})


def _flip(t: Tensor, operands: Operands) -> Tensor | None:
    (x,) = operands
    same = op_of(x) == "flip" and node_of(x).params == node_of(t).params
    return node_of(x).inputs[0] if same else None


def _repeat(t: Tensor, operands: Operands) -> Tensor | None:
    """A broadcast or spread to the shape that there is."""
    x = operands[0]
    if alike(t, x):
        return x
    if op_of(x) == op_of(t) == "broadcast_to":
        return _of_inner(t, x, node_of(t).params)
    if op_of(x) == op_of(t) == "spread" and node_of(t).params["axis"] and node_of(x).params["axis"]:
        new = node_of(t).params["axis"]
        old = [a for a in range(t.ndim) if a not in new]
        axes = sorted([*new, *(old[a] for a in node_of(x).params["axis"])])
        return instead(t, node_of(t).op, (node_of(x).inputs[0], operands[1]), {"axis": tuple(axes)})
    return None


def _without_repetition(t: Tensor, operands: Operands) -> Tensor | None:
    """An elementwise op repeats its operands itself, where another one has the shape of the result."""
    bare = [_unrepeated(x) for x in operands]
    if all(a is x for a, x in zip(bare, operands, strict=True)):
        return None
    full = any(x.shape == t.shape and a is x for a, x in zip(bare, operands, strict=True))
    return instead(t, node_of(t).op, bare, node_of(t).params) if full else None


def _unrepeated(x: Tensor) -> Tensor:
    """What ``x`` repeats, if NumPy's broadcasting would repeat it in the same way."""
    if op_of(x) not in (*_REPEATS, "expand_dims"):
        return x
    inner: Tensor = node_of(x).inputs[0]
    if is_weak(inner._data):  # a number that is repeated promotes
        return x
    axes = node_of(x).params.get("axis")
    if not axes:
        return inner
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return inner if kept == (1,) * (x.ndim - inner.ndim) + inner.shape else x


_RULES: dict[str, Simplify] = {
    "add": _add, "sub": _sub, "mul": _mul, "mul0": _mul, "div": _div, "div0": _div, "pow": _pow, "neg": _neg,
    "detach": _detach, "where": _where, "astype": _astype,
    "reshape": _reshape, "squeeze": _back_again, "expand_dims": _back_again, "transpose": _transpose, "flip": _flip,
    "broadcast_to": _repeat, "spread": _repeat,
}  # fmt: skip
