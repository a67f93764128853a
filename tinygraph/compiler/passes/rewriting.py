"""What the passes share: rewriting that leaves a graph alone where nothing changes, and words for its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.array import is_weak
from ...core.graph import Graph
from ...core.node import Node, next_serial
from ...core.tensor import Tensor, make
from ..graphs import NO_PARAMS, Rule, apply

_REPEATS = 4
Find = Callable[[Tensor, Mapping[Tensor, Tensor]], Tensor | None]


def changed(graph: Graph, rule: Rule) -> Graph:
    """The graph with ``rule(t, operands)`` in the place of every ``t``, or itself if the rule never applies.

    ``operands`` are rewritten already.
    """
    return replaced(graph, lambda t, new: rule(t, tuple([new[x] for x in graph.operands(t)])))


def replaced(graph: Graph, find: Find) -> Graph:
    """The same for rules that look further back: ``find(t, new)`` sees ``t`` in the graph as it was.

    ``new`` has what stands in the place of everything before ``t``. What comes before the first
    change stays as it is; what comes after is made again, so that the order of the program is kept.
    """
    new: dict[Tensor, Tensor] = {x: x for x in (*graph.inputs, *graph.captured)}
    any_found = False
    for t in graph.nodes:
        result = find(t, new)
        any_found = any_found or result is not None
        if result is None:
            result = _twin(t, [new[x] for x in graph.operands(t)]) if any_found else t
        new[t] = result
    if not any_found:
        return graph
    return _unless_lost(graph, Graph([new[t] for t in graph.outputs], graph.inputs, graph.tree))


def _twin(t: Tensor, operands: Sequence[Tensor]) -> Tensor:
    """The op that made ``t`` on other operands of the same shapes and dtypes, later in program order."""
    node = node_of(t)
    twin = make(t._data, node=Node(node.op, tuple(operands), node.params, node.scope, next_serial(), node.where))
    twin.name = t.name
    return twin


def at_rest(once: Callable[[Graph], Graph], graph: Graph) -> Graph:
    """A pass repeated while it finds something, a few times at most."""
    for _ in range(_REPEATS):
        before, graph = graph, once(graph)
        if graph is before:
            break
    return graph


def _unless_lost(before: Graph, after: Graph) -> Graph:
    """A draw that nobody reads any more would still have moved its generator on: then all stays as it was."""
    return after if _draws(after) == _draws(before) else before


def _draws(graph: Graph) -> int:
    return sum(map(is_draw, graph.nodes))


def is_draw(t: Tensor) -> bool:
    """Whether a result comes from a random generator."""
    return any(isinstance(v, np.random.Generator) for v in node_of(t).params.values())


def node_of(t: Tensor) -> Node:
    """The node of a result."""
    assert t.node is not None
    return t.node


def op_of(t: Tensor) -> str:
    """The name of the op that made ``t``; empty for a leaf."""
    return t.node.op.name if t.node is not None else ""


def alike(a: Tensor, b: Tensor) -> bool:
    """The same shape and dtype, and both Python numbers or neither."""
    return a.shape == b.shape and a.dtype == b.dtype and is_weak(a._data) == is_weak(b._data)


def instead(t: Tensor, op: Any, operands: Sequence[Tensor], params: Mapping[str, Any] = NO_PARAMS) -> Tensor:
    """An op in the place of ``t``, with its name and scope."""
    result = apply(op, operands, params, node_of(t).scope)
    node_of(result).where, result.name = node_of(t).where, t.name
    return result
