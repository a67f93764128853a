"""Dead code: what is read for its shape alone is not computed."""

from __future__ import annotations

from ...core.graph import Graph
from ...core.tensor import Tensor
from ..graphs import again
from .rewriting import alike, changed, op_of

_LIKE = {"size": 0, "spread": 1, "zeros_like": 0}  # the operand whose values do not matter


def run(graph: Graph) -> Graph:
    """Let ``size``, ``spread`` and ``zeros_like`` read the shape where it comes from. Exact.

    A result of the same shape as an operand has it from there. What nothing reads any more is no
    part of the graph.
    """
    origin: dict[Tensor, Tensor] = {}

    def rule(t: Tensor, operands: tuple[Tensor, ...]) -> Tensor | None:
        place = _LIKE.get(op_of(t))
        if place is None:
            return None
        like = _origin(operands[place], origin)
        if like is operands[place]:
            return None
        return again(t, [*operands[:place], like, *operands[place + 1 :]])

    return changed(graph, rule)


def _origin(t: Tensor, known: dict[Tensor, Tensor]) -> Tensor:
    """Where a chain of ops that all have the shape and dtype of ``t`` begins."""
    chain = []
    while t not in known:
        chain.append(t)
        before = next((x for x in _sources(t) if alike(x, t)), t)
        if before is t:
            known[t] = t
        t = before
    known.update(dict.fromkeys(chain, known[t]))
    return known[t]


def _sources(t: Tensor) -> tuple[Tensor, ...]:
    """The operands that give ``t`` its shape."""
    if t.node is None:
        return ()
    if op_of(t) == "spread":
        return t.node.inputs[1:]
    return t.node.inputs if t.node.op.kind == "elementwise" else ()
