"""A graph on plain arrays, node by node, so that single steps of it can be exchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.autodiff import fit
from ..core.graph import Graph
from ..core.primitive import Primitive

Array = np.ndarray[Any, Any]
# (place, operand, cotangent, values, contribution as derived) -> contribution
Hook = Callable[[int, int, Any, list[Any], Callable[[], Any]], Any]
Edit = Callable[[list[Any]], Any]


def _double(data: Any) -> Any:
    """Constants in float64, whatever the reference was traced in."""
    return data.astype(np.float64) if isinstance(data, np.ndarray) and data.dtype in (np.float16, np.float32) else data


class Step:
    """One node: an operation on the values at earlier places."""

    __slots__ = ("op", "operands", "params")

    def __init__(self, op: Primitive, operands: tuple[int, ...], params: Mapping[str, Any]) -> None:
        self.op, self.operands, self.params = op, operands, params


class Tape:
    """Places 0 … n-1 are the inputs, then come the captured leaves, then one place for each node."""

    def __init__(self, graph: Graph) -> None:
        self.tensors = [*graph.inputs, *graph.captured, *graph.nodes]
        place = {t: k for k, t in enumerate(self.tensors)}
        self.graph = graph
        self.inputs = len(graph.inputs)
        self.first = self.inputs + len(graph.captured)
        self.constants = [_double(t._data) for t in graph.captured]
        self.outputs = [place[t] for t in graph.outputs]
        self.steps: dict[int, Step] = {}
        for t in graph.nodes:
            assert t.node is not None
            self.steps[place[t]] = Step(t.node.op, tuple(place[x] for x in graph.operands(t)), t.node.params)
        self.consumers: dict[int, list[int]] = {}
        for k, step in self.steps.items():
            for j in dict.fromkeys(step.operands):
                self.consumers.setdefault(j, []).append(k)

    def run(self, arrays: Sequence[Any], edits: Mapping[int, Edit] | None = None) -> list[Any]:
        """The value at every place; ``edits`` compute some of them in another way, from the values before."""
        values: list[Any] = [*arrays, *self.constants]
        for k, step in self.steps.items():
            if edits and k in edits:
                values.append(edits[k](values))
            else:
                operands = [values[j] for j in step.operands]
                narrows = (
                    step.op.name == "astype" and step.params["dtype"].kind == "f" and operands[0].dtype == np.float64
                )
                values.append(operands[0] if narrows else step.op.run(operands, step.params))
        return values

    def pull(self, k: int, i: int, g: Any, values: list[Any], rule: Any = None) -> Any:
        """What the node at ``k`` passes back to its operand ``i``, unfitted; None without a rule."""
        step = self.steps[k]
        rule = rule or step.op.vjps[i]
        if rule is None:
            return None
        return rule(g, values[k], *[values[j] for j in step.operands], **step.params)

    def contribution(self, k: int, i: int, g: Any, values: list[Any], hook: Hook | None = None) -> Any:
        """The same, summed back to the operand's shape."""
        found = (
            self.pull(k, i, g, values) if hook is None else hook(k, i, g, values, lambda: self.pull(k, i, g, values))
        )
        return None if found is None else fit(np.asarray(found), np.asarray(values[self.steps[k].operands[i]]))

    def active(self, wrt: Sequence[int]) -> set[int]:
        """The places on a path from ``wrt``, where a rule leads back."""
        found = set(wrt)
        for k, step in self.steps.items():
            if any(j in found and step.op.vjps[i] is not None for i, j in enumerate(step.operands)):
                found.add(k)
        return found

    def backward(
        self, values: list[Any], dys: Sequence[Any], wrt: Sequence[int], hook: Hook | None = None
    ) -> dict[int, Any]:
        """The cotangent at every place that reaches ``wrt``."""
        active, pending = self.active(wrt), dict[int, Any]()
        for k, dy in zip(self.outputs, dys, strict=True):
            pending[k] = pending[k] + dy if k in pending else dy
        for k in reversed(self.steps):
            if k not in pending or k not in active:
                continue
            for i, j in enumerate(self.steps[k].operands):
                if j in active and (c := self.contribution(k, i, pending[k], values, hook)) is not None:
                    pending[j] = pending[j] + c if j in pending else c
        return pending
