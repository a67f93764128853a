"""Graphs without values: what passes read and write, and how one is made from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.array import Data, is_weak
from ..core.graph import Graph
from ..core.held import held
from ..core.node import Node, next_serial
from ..core.scope import Scope
from ..core.tensor import Argument, Tensor, make

Rule = Callable[[Tensor, tuple[Tensor, ...]], Tensor | None]
NO_PARAMS: Mapping[str, Any] = {}


def outline(data: Data) -> Data:
    """Shape and dtype of an array without its values, in no more memory than one element; a Python number stays."""
    if is_weak(data):
        return data
    return np.broadcast_to(np.ones((), data.dtype), data.shape)


def _is_outline(data: Data) -> bool:
    return not is_weak(data) and data.ndim > 0 and not any(data.strides)


def symbol(like: Tensor, name: str | None = None) -> Tensor:
    """A leaf of the shape and dtype of another, without its values: an input of a graph."""
    leaf = make(outline(held(like)), kind=Argument)
    leaf.name = name or like.name
    return leaf


def number(value: Any) -> Tensor:
    """A constant of a graph: a Python number, which never promotes, or an array."""
    return make(value)


def is_number(t: Tensor, value: Any = None) -> bool:
    """Whether a Tensor is a Python number in the graph; which one, if ``value`` is given."""
    return t.node is None and is_weak(t._data) and not isinstance(t, Argument) and (value is None or t._data == value)


def apply(
    op: Any, operands: Sequence[Tensor], params: Mapping[str, Any] = NO_PARAMS, scope: Scope | None = None
) -> Tensor:
    """The result of an op in a graph: recorded, with its shape and dtype, not computed.

    NumPy says what they are: elementwise ops are tried on one element, all others on the outlines.
    """
    operands = tuple(operands)
    arrays = [t._data for t in operands]
    with np.errstate(all="ignore"):
        if op.kind == "elementwise":
            small = op.run([a if is_weak(a) else np.ones((), a.dtype) for a in arrays], params)
            shape = np.broadcast_shapes(*(t.shape for t in operands))
            data = small if is_weak(small) else np.broadcast_to(np.ones((), small.dtype), shape)
        else:
            data = outline(op.run(arrays, params))
    return make(data, node=Node(op, operands, params, scope, next_serial()))


def again(t: Tensor, operands: Sequence[Tensor]) -> Tensor:
    """The op that made ``t`` on other operands of the same shapes and dtypes, later in program order."""
    node = t.node
    assert node is not None
    data = t._data if _is_outline(t._data) else outline(t._data)
    twin = make(data, node=Node(node.op, tuple(operands), node.params, node.scope, next_serial(), node.where))
    twin.name = t.name
    return twin


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph with ``rule(t, operands)`` in the place of every result ``t``, in program order.

    ``operands`` are those of ``t``, rewritten already. None keeps the op. Inputs stay as they are.
    """
    new: dict[Tensor, Tensor] = {x: x for x in (*graph.inputs, *graph.captured)}
    for t in graph.nodes:
        operands = tuple(new[x] for x in graph.operands(t))
        found = rule(t, operands)
        new[t] = again(t, operands) if found is None else found
    return Graph([new[t] for t in graph.outputs], graph.inputs, graph.tree)


def valueless(graph: Graph) -> Graph:
    """A traced graph without the values of the run that was traced; captured constants keep theirs."""
    fresh = {x: symbol(x) for x in graph.inputs}
    for t in graph.nodes:
        fresh[t] = again(t, [fresh.get(x, x) for x in graph.operands(t)])
    return Graph([fresh.get(t, t) for t in graph.outputs], [fresh[x] for x in graph.inputs], graph.tree)


def uses(graph: Graph) -> dict[Tensor, list[Tensor]]:
    """The results that read each Tensor, in program order, once for each time they read it."""
    found: dict[Tensor, list[Tensor]] = {}
    for t in graph.nodes:
        for x in graph.operands(t):
            found.setdefault(x, []).append(t)
    return found
