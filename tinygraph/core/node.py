"""Node: the record of one application of an operation."""

from __future__ import annotations

import itertools
import sys
import threading
import warnings
from collections.abc import Mapping
from typing import Any

from ..errors import GraphGrowthWarning
from .scope import Scope

next_serial = itertools.count(1).__next__
LATEST = [0]  # the stamp of the Parameter that was assigned last


class Node:
    """One application of an operation: what was applied, to what, inside which scope."""

    __slots__ = ("inputs", "op", "params", "scope", "serial", "where")

    def __init__(
        self,
        op: Any,
        inputs: tuple[Any, ...],
        params: Mapping[str, Any],
        scope: Scope | None,
        serial: int,
        where: tuple[Any, int] | None = None,
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.params = params
        self.scope = scope
        self.serial = serial
        self.where = where

    def __repr__(self) -> str:
        return f"<Node {self.op.name} {self.serial}>"


_releasing = threading.local()


def _release(node: Node) -> None:
    """Let go of a node's inputs in a loop, whatever they in turn let go of."""
    waiting = getattr(_releasing, "waiting", None)
    if waiting is not None:
        waiting.append(node.inputs)
        return
    _releasing.waiting = waiting = [node.inputs]
    node.inputs = ()
    while waiting:
        waiting.pop()
    _releasing.waiting = None


# Python 3.13 frees nested objects up to 10,000 deep, more than the stack of a small thread holds;
# the versions before it stop at 50, those after it ask how much stack there is.
if sys.version_info[:2] == (3, 13):
    Node.__del__ = _release  # type: ignore[attr-defined]


def is_constant(t: Any, variable: tuple[type, ...]) -> bool:
    """Whether a Tensor is the same in every run: no leaf of those classes went into it, and nothing was drawn."""
    seen: set[int] = set()
    left = [t]
    while left:
        t = left.pop()
        if isinstance(t, variable) or (t.node is not None and not t.node.inputs):
            return False
        if t.node is not None and t.node.serial not in seen:
            seen.add(t.node.serial)
            left.extend(t.node.inputs)
    return True


GROWTH = 50


def warn_if_growing(total: Any) -> None:
    """Warn of a sum that keeps the graph of every loss that was added."""
    for _ in range(GROWTH):
        node = total.node
        if node is None or node.op.name != "add" or node.inputs[1].seed is None:
            return
        total = node.inputs[0]
    warnings.warn(
        f"{GROWTH} additions of losses that already had their backward: the running total keeps every "
        "step's graph alive; write total += loss.item()",
        GraphGrowthWarning,
        stacklevel=3,
    )
