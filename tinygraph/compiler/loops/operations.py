"""What a loop can compute by itself, and how it is written there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.array import is_weak
from ...core.tensor import Tensor
from ..graphs import is_number

FLOATS = "fd"
SUMS = ("sum", "mean")
ALIGN = ("reshape", "expand_dims", "squeeze", "broadcast_to", "spread", "detach")

# One element from operands that are names; {zero} and {one} are numbers of the dtype that it is computed in.
TEXTS = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "abs": "abs({0})",
    "sqrt": "np.sqrt({0})",
    "floor": "np.floor({0})",
    "ceil": "np.ceil({0})",
    "sign": "{one} if {0} > {zero} else -{one} if {0} < {zero} else {0} + {zero}",  # no -0.0
    "zeros_like": "{zero}",
    "mul0": "{zero} if {0} == {zero} or {1} == {zero} else {0} * {1}",
    "div0": "{zero} if {0} == {zero} else {0} / {1}",
    "relu": "{0} if {0} > {zero} or {0} != {0} else {zero}",
    "maximum": "{0} if {0} > {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} < {1} or {0} != {0} else {1}",
    "where": "{1} if {0} else {2}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "logical_and": "{0} and {1}",
    "logical_or": "{0} or {1}",
    "logical_not": "not {0}",
    "astype": "{0}",
}
POWERS = {2: "{0} * {0}", 0.5: "np.sqrt({0})"}
COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
LOGICAL = ("logical_and", "logical_or", "logical_not")


def text(t: Tensor, operands: tuple[Tensor, ...]) -> str | None:
    """How a loop computes one element of ``t``; None if it does not."""
    name = t.node.op.name  # type: ignore[union-attr]
    if name == "pow":
        power = operands[1]
        return POWERS.get(power._data) if is_number(power) and type(power._data) in (int, float) else None
    return TEXTS.get(name)


def working_dtype(t: Tensor, operands: tuple[Tensor, ...]) -> np.dtype[Any]:
    """The dtype that the operands of ``t`` are brought to."""
    name = t.node.op.name  # type: ignore[union-attr]
    if name in COMPARISONS:
        return np.result_type(*(x._data if is_weak(x._data) else x.dtype for x in operands))
    return operands[0].dtype if name == "astype" else t.dtype


def fits(t: Tensor, operands: tuple[Tensor, ...]) -> bool:
    """Whether ``t`` can be computed in a loop: floats of 4 or 8 bytes and booleans, and nothing empty."""
    name = t.node.op.name  # type: ignore[union-attr]
    if is_weak(t._data) or t.dtype.char not in FLOATS + "?" or 0 in t.shape or any(0 in x.shape for x in operands):
        return False
    if name in SUMS:
        return t.dtype.char in FLOATS and operands[0].dtype == t.dtype and bool(summed(t, operands[0]))
    if name in ALIGN:
        return not is_weak(operands[0]._data)
    if text(t, operands) is None:
        return False
    if name == "astype":
        return not is_weak(operands[0]._data) and operands[0].dtype.char in FLOATS + "?"
    values = operands[1:] if name == "where" else operands
    if name in LOGICAL or name == "where":
        flags = operands if name in LOGICAL else operands[:1]
        if any(is_weak(x._data) or x.dtype != np.bool_ for x in flags):
            return False
        if name in LOGICAL:
            return True
    if any(is_weak(x._data) and type(x._data) is complex for x in values):
        return False
    dtype = working_dtype(t, operands)
    return dtype.char in FLOATS and all(is_weak(x._data) or x.dtype.char in FLOATS + "?" for x in values)


def summed(t: Tensor, x: Tensor) -> frozenset[int]:
    """The axes that a reduction takes away, without those of one element."""
    return frozenset(a for a in t.node.params["axis"] if x.shape[a] > 1)  # type: ignore[union-attr]
