"""Constant folding: what depends on no input is computed once, while compiling."""

from __future__ import annotations

import numpy as np

from ...core.graph import Graph
from ...core.tensor import Argument, Parameter, Tensor
from ..graphs import number
from .rewriting import changed, is_draw, node_of, op_of


def run(graph: Graph) -> Graph:
    """Compute ops of constants. Exact: by the same kernel that would have run.

    Never a draw, never ``size`` (a kernel serves all shapes), and nothing that makes a constant larger.
    """
    inputs = set(graph.inputs)

    def constant(x: Tensor) -> bool:
        return x.node is None and x not in inputs and not isinstance(x, (Argument, Parameter))

    def rule(t: Tensor, operands: tuple[Tensor, ...]) -> Tensor | None:
        if op_of(t) == "size" or is_draw(t) or not all(map(constant, operands)):
            return None
        if t.size > max((x.size for x in operands), default=0):
            return None
        with np.errstate(all="ignore"):
            folded = number(node_of(t).op.run([x._data for x in operands], node_of(t).params))
        folded.name = t.name
        return folded

    return changed(graph, rule)
