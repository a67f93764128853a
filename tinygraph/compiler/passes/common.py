"""Common subexpressions: what is computed twice is computed once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from ...core.graph import Graph
from ...core.tensor import OPS, Argument, Parameter, Tensor
from .rewriting import instead, is_draw, node_of, replaced

_COMMUTATIVE = frozenset({"add", "mul", "mul0"})
_SMALL = 1024  # bytes: constants up to here are compared, larger ones are what they are


def run(graph: Graph) -> Graph:
    """Merge equal ops of equal operands and equal params. Exact.

    Two draws are never equal. A sum or product is the same with its operands exchanged, a reduction
    with or without its axes kept.
    """
    first: dict[Hashable, Tensor] = {}

    def find(t: Tensor, new: Mapping[Tensor, Tensor]) -> Tensor | None:
        if is_draw(t):
            return None
        node = node_of(t)
        operands = [first.setdefault(_constant(x), x) for x in (new[y] for y in graph.operands(t))]
        key = _key(node.op, operands, node.params)
        if key in first:
            return new[first[key]]
        if key is not None:
            first[key] = t
        if "keepdims" not in node.params:
            return None
        keep = node.params["keepdims"]
        other = first.get(_key(node.op, operands, {**node.params, "keepdims": not keep}))
        if other is None:
            return None
        return instead(t, OPS["expand_dims" if keep else "squeeze"], [new[other]], {"axis": node.params["axis"]})

    return replaced(graph, find)


def _key(op: Any, operands: list[Tensor], params: Mapping[str, Any]) -> Hashable:
    """What two equal results have in common; None if that cannot be told."""
    places = [id(x) for x in operands]
    if op.name in _COMMUTATIVE:
        places.sort()
    key = (id(op), *places, *((name, _value(v)) for name, v in sorted(params.items())))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _constant(t: Tensor) -> Hashable:
    """What two equal constants have in common, to the bit."""
    if t.node is not None or isinstance(t, (Argument, Parameter)):
        return id(t)
    data = t._data
    if isinstance(data, np.ndarray) and (data.nbytes > _SMALL or data.dtype.hasobject):
        return id(t)
    return _value(data)


def _value(value: Any) -> Hashable:
    """A param as something to compare: 1, 1.0 and True are three, and so are 0.0 and -0.0."""
    if isinstance(value, (tuple, list)):
        return (type(value).__name__, *map(_value, value))
    if isinstance(value, slice):
        return ("slice", *map(_value, (value.start, value.stop, value.step)))
    if isinstance(value, np.ndarray):
        return ("array", value.dtype.str, value.shape, value.tobytes()) if not value.dtype.hasobject else id(value)
    return (type(value).__name__, repr(value) if isinstance(value, (float, complex)) else value)
