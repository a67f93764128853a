"""Kept axes: a reduction whose result is given its axes back at once keeps them."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.graph import Graph
from ...core.tensor import Tensor
from ..graphs import uses
from .rewriting import instead, node_of, op_of, replaced


def run(graph: Graph) -> Graph:
    """``expand_dims(sum(x, axis), axis)`` is ``sum(x, axis, keepdims=True)``, which broadcasts against x. Exact.

    Where nothing else reads the reduction; also for a reshape to that shape.
    """
    read, outputs = uses(graph), set(graph.outputs)

    def find(t: Tensor, new: Mapping[Tensor, Tensor]) -> Tensor | None:
        if op_of(t) not in ("reshape", "expand_dims"):
            return None
        (small,) = graph.operands(t)
        if small.node is None or small.node.params.get("keepdims") is not False:
            return None
        if len(read[small]) > 1 or small in outputs:
            return None
        (x,) = graph.operands(small)
        axes = node_of(small).params["axis"]
        if t.shape != tuple(1 if a in axes else n for a, n in enumerate(x.shape)):
            return None
        kept = instead(small, node_of(small).op, [new[x]], {**node_of(small).params, "keepdims": True})
        kept.name = t.name or small.name
        return kept

    return replaced(graph, find)
