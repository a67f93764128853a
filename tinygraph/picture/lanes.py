"""The derived backward, drawn node for node: below the forward it was derived from, or alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core.autodiff import sweep
from ..core.graph import Graph, reachable, source
from ..core.node import next_serial
from ..core.scope import ANOMALY, GRAD, TRACE, flags
from ..core.tensor import Tensor, make
from . import build
from .build import Builder
from .model import RINGS, SAVED, Box, Edge, Line, Options, Step, View, Wire
from .naming import constants, expressions, partial
from .values import TOOLTIP, clean, number

FORWARD, BACKWARD = "forward ►", "◄ backward"


@dataclass(slots=True)
class Derived:
    """A recorded reverse pass. ``totals`` are the gradients of forward Tensors, ``parts`` what each use added.

    ``seeds`` are leaves; ``nodes`` the results of the backward in program order; ``sums`` says which of
    them add up contributions: of what Tensor, the first and the last of them, and how many.
    """

    totals: dict[Tensor, Tensor] = field(default_factory=dict)
    parts: dict[tuple[Tensor, int], Tensor] = field(default_factory=dict)
    received: dict[Tensor, list[Tensor]] = field(default_factory=dict)
    seeds: dict[Tensor, Tensor] = field(default_factory=dict)
    nodes: tuple[Tensor, ...] = ()
    sums: dict[Tensor, tuple[Tensor, int, int, int]] = field(default_factory=dict)


def derive(graph: Graph, seeds: dict[Tensor, Any]) -> Derived:
    """Run the engine's reverse pass once more, and record it.

    >>> import numpy as np, tinygraph as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> y = x * x
    >>> found = derive(tg.Graph([y]), {y: np.array(1.0)})
    >>> [t.node.op.name for t in found.nodes], found.totals[x].item()
    (['mul', 'mul', 'add'], 6.0)
    """
    found = Derived(seeds={t: make(np.asarray(g)) for t, g in seeds.items()})
    pending: dict[Tensor, Any] = dict(found.seeds)
    found.received = {t: [g] for t, g in found.seeds.items()}
    known = [t for t in (*graph.inputs, *graph.captured, *graph.nodes) if t.requires_grad]
    visited, since = set(known), next_serial()
    with np.errstate(all="ignore"), flags(add=TRACE | GRAD, remove=ANOMALY):
        for t, argument, part in sweep(pending, known, record=True):
            if t in visited:  # else an identity, which pictures leave out
                found.parts[t, argument] = source(part)
                used = source(t.node.inputs[argument])  # type: ignore[union-attr]
                found.received.setdefault(used, []).append(source(part))
    found.totals = {t: source(pending[t]) for t in known if t in pending}
    found.nodes = tuple(
        t
        for t in reachable(found.totals.values())
        if t.node.serial >= since and t.node.op.name != "identity"  # type: ignore[union-attr]
    )
    for t, total in found.totals.items():
        for g, span in _accumulation(graph, total, found.received[t]).items():
            found.sums[g] = (t, *span)
    return found


def _accumulation(graph: Graph, total: Tensor, received: Sequence[Tensor]) -> dict[Tensor, tuple[int, int, int]]:
    """The additions that made ``total`` of what was received: the first part of each, the last, and how many.

    They are a chain; where a Tensor is also used by way of an identity, what arrives there is added up first.
    """
    places: dict[Tensor, list[int]] = {}
    for place, part in enumerate(received, start=1):
        places.setdefault(part, []).append(place)
    additions, stack = [], [total]
    while stack:
        g = stack.pop()
        if g not in places:
            additions.append(g)
            stack += graph.operands(g)
    spans: dict[Tensor, tuple[int, int, int]] = {}
    for g in reversed(additions):  # those of the operands come before, from left to right
        ends = [spans[x] if x in spans else _single(places[x].pop(0)) for x in graph.operands(g)]
        first, last, count = zip(*ends, strict=True)
        spans[g] = min(first), max(last), sum(count)
    return spans


def _single(place: int) -> tuple[int, int, int]:
    return place, place, 1


def view(graph: Graph, outputs: Sequence[Tensor], options: Options) -> View:
    """The View of ``mode="lanes"`` or ``mode="backward"``; without gradients, that of the forward.

    >>> import tinygraph as tg
    >>> x = tg.tensor(3.0, requires_grad=True, name="x")
    >>> y = tg.exp(x)
    >>> seen = view(tg.Graph([y]), [y], Options(mode="backward", seed=1.0))
    >>> [(wire.role, wire.name, wire.gradient) for wire in seen.wires]
    [('output', '∂exp(x)', '1'), ('saved', 'exp(x)', ''), ('input', '∂x', '20.09')]
    """
    builder = LaneBuilder(graph, outputs, options)
    if not builder.found.totals:
        return build.view(graph, outputs, replace(options, mode="both"))
    return builder.view()


def flat(seen: View) -> View:
    """Lanes without the boxes of scopes, which would pull them apart; what is folded stays so."""
    lanes = [i for i, box in enumerate(seen.boxes) if box.kind != "scope"]
    if not lanes:
        return seen
    places: dict[int | None, int | None] = {None: None}
    for i, box in enumerate(seen.boxes):  # parents come first
        places[i] = lanes.index(i) if i in lanes else places[box.parent]
    nodes = tuple(node if places[node.box] == node.box else replace(node, box=places[node.box]) for node in seen.nodes)
    return replace(seen, nodes=nodes, boxes=tuple(seen.boxes[i] for i in lanes))


class LaneBuilder(Builder):
    """The forward, then the recorded backward, each in a box of its own."""

    def view(self) -> View:
        self.derived = derive(self.graph, self.found.seeds)
        self.known = frozenset(self.names)  # the Tensors of the forward
        self.names = self._names()
        self.below: dict[Tensor, str] = {}  # the wires of the backward
        self.claimed: dict[Tensor, Tensor] = {}  # what forward Tensor a wire is the gradient of
        self.sharing: dict[Tensor, list[Tensor]] = {}  # leaves whose gradient is another one's wire
        self.drawn = 0
        for t in reversed(list(self.derived.totals)):
            g = self.derived.totals[t]
            if self.claimed.setdefault(g, t) is not t and t.node is None:
                self.sharing.setdefault(g, []).append(t)
        self.boxes.append(Box("lane_backward", BACKWARD, None, "backward"))
        if self.options.mode == "lanes":
            self.boxes.append(Box("lane_forward", FORWARD, None, "forward"))
            self.root = 1
            self.forward()
        else:
            for t in self.graph.nodes:  # boxes are numbered as in the forward
                self._box(t.node.scope)  # type: ignore[union-attr]
            del self.boxes[1:]
        self.root, self.entered = 0, {}
        self.marks = self._marks()
        self._backward()
        under = tuple(
            (self.ids[t], self.below[g]) for g, t in self.claimed.items() if t in self.ids and g in self.below
        )
        return replace(self.finish(), under=under)

    @property
    def lanes(self) -> bool:
        return True

    def _legend(self, rankdir: str) -> list[Line]:
        under, shown = "right of" if rankdir == "TB" else "under", self.options.values != "none"
        lines = [("bwd", "◄ ∂ backward" + (f": gradients, {under} the wires" if shown else "")), SAVED, RINGS]
        if self.options.mode == "lanes":
            lines.insert(0, ("fwd", "► forward" + (f": values, {under} the wires" if shown else "")))
        return lines

    def _names(self) -> dict[Tensor, str]:
        """Gradients are called after what they are gradients of, ``∂x``, the parts of a sum ``∂x 1/2``."""
        found, own = self.derived, dict(self.names)
        for t in reversed(list(found.totals)):
            own.setdefault(found.totals[t], partial(self.names[t]))
        for t, parts in found.received.items():
            for i, part in enumerate(parts, start=1):
                own.setdefault(part, f"{partial(self.names[t])} {i}/{len(parts)}")
        for g, (t, first, last, count) in found.sums.items():
            arrived = f"{first}…{last}/" if last - first + 1 == count else f"{count} of "
            own.setdefault(g, f"{partial(self.names[t])} {arrived}{len(found.received[t])}")
        backward = Graph([*found.totals.values()])
        leaves = dict.fromkeys((*self.names, *found.seeds.values(), *backward.captured))
        places = {g: f"g{i}" for i, g in enumerate(found.nodes)}
        numbers = constants(backward) | self.constants
        known = expressions(
            (*leaves, *found.nodes),
            self.graph.operands,
            own,
            numbers,
            lambda g: places.get(g, f"{g.dtype}{list(g.shape)}"),
        )
        return {t: known[t].text for t in (*leaves, *found.nodes)}

    # -- the lower lane ----------------------------------------------------------------------

    def _backward(self) -> None:
        started = [self._gradient_wire(g, self.root) for g in self.derived.seeds.values()]
        cards = [card for g in self.derived.seeds.values() for card in self._cards(g)]
        wires, edges = (*started, *(wire for wire, _ in cards)), tuple(edge for _, edge in cards)
        text = "the seed: " + ", ".join(self.names[g] for g in self.derived.seeds.values())
        self.steps.append(Step("seed", "", (), wires, edges, (), text))
        for place, g in enumerate(self.derived.nodes, start=1):
            self._derivation(g, place)

    def _derivation(self, g: Tensor, place: int) -> None:
        """One op of the backward, with what it reads and what it makes."""
        node = g.node
        assert node is not None
        scope = node.scope
        box = self._box(scope.parent if scope is not None and scope.of is not None else scope)
        op, operands = f"bop{place}", self.graph.operands(g)
        drawn = self._op(op, g, operands, box)
        if g in self.derived.sums:
            drawn = replace(drawn, symbol="+", caption="", sum=True)
        self.nodes.append(replace(drawn, backward=True))
        edges = [self._read(x, op, f"be{place}_{i}", g, i, box) for i, x in enumerate(operands)]
        inputs = tuple(dict.fromkeys(edge.tail for edge in edges))
        result = self._gradient_wire(g, box)
        mark, label = self.marks.get((g, -1), ("", ""))
        edges.append(
            Edge(
                f"be{place}", op, result, "result", False, f"{node.op.name} → {self.names[g]}",
                backward=True, mark=mark, label=label,
            )
        )  # fmt: skip
        self.edges += edges
        cards = self._cards(g)
        made = (result, *(wire for wire, _ in cards))
        ids = (*(edge.id for edge in edges), *(edge for _, edge in cards))
        self.steps.append(Step("backward", op, inputs, made, ids, (), f"{self.names[g]} = {drawn.tooltip}"))

    def _read(self, x: Tensor, op: str, edge: str, g: Tensor, argument: int, box: int | None) -> Edge:
        """The edge from an operand: a wire of this lane, or a pill for what the forward has saved."""
        tooltip = f"{self.names[x]} → {g.node.op.name}"  # type: ignore[union-attr]
        mark, label = self.marks.get((g, argument), ("", ""))
        if x in self.below:
            return Edge(edge, self.below[x], op, "use", False, tooltip, backward=True, mark=mark, label=label)
        if x in self.known and x not in self.constants:
            return Edge(edge, self._ghost(x, f"s{edge[2:]}", "saved", box), op, "saved", False, tooltip, backward=True)
        return Edge(
            edge, self._ghost(x, f"k{edge[2:]}", "constant", box), op, "constant", False, tooltip, backward=True
        )

    def _ghost(self, x: Tensor, id: str, role: str, box: int | None) -> str:
        shape = f"{x.dtype} {x.shape}"
        name = self.names[x]
        if role == "constant" and x.size == 1:
            name = number(np.asarray(x._data).item())
        said = f"{self.names[x]}: {'saved by the forward' if role == 'saved' else 'constant'}, {shape}"
        value = self._value(x)
        self.nodes.append(
            Wire(
                id, role, name, value.text, "", str(x.shape), clean(f"{said}\n{value.text}", TOOLTIP), value.finite, box,
                backward=True, of=self.ids.get(x, ""), data=x._data,
            )
        )  # fmt: skip
        return id

    def _gradient_wire(self, g: Tensor, box: int | None) -> str:
        t = self.claimed.get(g)
        role = self._role(t) if t is not None and t not in self.constants else "wire"
        self.below[g] = self._gradient_node(g, t, role, self.root if role in ("input", "output") else box)
        return self.below[g]

    def _gradient_node(self, g: Tensor, t: Tensor | None, role: str, box: int | None, name: str = "") -> str:
        self.drawn += 1
        id, shown = f"b{self.drawn}", self._gradient(g._data, "")
        name = name or self.names[g]
        head = (
            f"{name}: {f'gradient of {self.names[t]}' if t is not None else 'part of a gradient'}, {g.dtype} {g.shape}"
        )
        of = "" if t is None else self.ids.get(t, "")
        self.nodes.append(
            Wire(
                id, role, name, "", shown.text, str(g.shape), clean(head, TOOLTIP), shown.finite, box,
                backward=True, of=of, cotangent=g._data,
            )
        )  # fmt: skip
        return id

    def _cards(self, g: Tensor) -> list[tuple[str, str]]:
        """Cards for leaves whose gradient is this very Tensor, where its wire belongs to another: (wire, edge)."""
        cards = []
        for t in self.sharing.get(g, ()):
            name = partial(self.names[t])
            wire = self._gradient_node(g, t, self._role(t), self.root, name)
            edge, tooltip = f"same{wire[1:]}", f"{name} is {self.names[g]}"
            mark, label = self.marks.get((t, 0), ("", ""))
            self.edges.append(
                Edge(edge, self.below[g], wire, "same", False, tooltip, backward=True, mark=mark, label=label)
            )
            cards.append((wire, edge))
        return cards

    # -- marks -------------------------------------------------------------------------------

    def _marks(self) -> dict[tuple[Tensor, int], tuple[str, str]]:
        """Marks of contributions, as marks of the edges (result, argument) that compute and add them."""
        found: dict[tuple[Tensor, int], tuple[str, str]] = {}
        for (t, argument), mark in self.options.marks.items():
            part = self.derived.parts.get((t, argument))
            if part is None:
                continue
            x = self.graph.operands(t)[argument]
            for edge in (*self._computing(t, part), *self._adding(x, part)):
                if found.get(edge, ("", ""))[0] != "wrong":
                    found[edge] = mark
        return found

    def _computing(self, t: Tensor, part: Tensor) -> Iterator[tuple[Tensor, int]]:
        """The edges between the gradient of ``t`` and what it contributed."""
        stack = [part]
        while stack:
            g = stack.pop()
            node = g.node
            if g is self.derived.totals[t] or node is None or node.scope is None or node.scope.of is not t.node:
                continue
            yield g, -1
            for i, x in enumerate(self.graph.operands(g)):
                if x not in self.known:
                    yield g, i
                    stack.append(x)

    def _adding(self, x: Tensor, part: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Where a contribution enters the sum, or the card, of its gradient."""
        stack = [self.derived.totals[x]]
        while stack:
            total = stack.pop()
            if total is part or total not in self.derived.sums or self.derived.sums[total][0] is not x:
                continue
            for i, before in enumerate(self.graph.operands(total)):
                if before is part:
                    yield total, i
                stack.append(before)
        yield x, 0
