"""Node: the record of one application of an operation."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Mapping
from typing import Any

from .scope import Scope

next_serial = itertools.count(1).__next__


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
