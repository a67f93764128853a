"""Graph → View: everything that a picture says, as plain data without colours or positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from ..core.graph import Graph
from ..core.scope import Scope
from ..core.tensor import Parameter, Tensor
from . import gradients
from .naming import constants, labels
from .values import TOOLTIP, Row, clean, minus, number, row

DEEP = 24  # ranks beyond which a picture runs from top to bottom

_SHORT = 12  # characters of an op's caption
_POWERS = {"2": "x²", "3": "x³"}


@dataclass(frozen=True, slots=True)
class Wire:
    """A Tensor, as a wire, a card or the pill of a constant; ``box`` is the index of its scope."""

    id: str
    role: str  # wire, input, parameter, output or constant
    name: str
    value: str
    gradient: str
    caption: str
    tooltip: str
    finite: bool
    box: int | None


@dataclass(frozen=True, slots=True)
class Op:
    """One application of a primitive."""

    id: str
    symbol: str
    caption: str
    fused: bool
    tooltip: str
    box: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """From an op to its result, or from a Tensor to an op that uses it."""

    id: str
    tail: str
    head: str
    role: str  # result, use or constant
    gradient: bool
    tooltip: str


@dataclass(frozen=True, slots=True)
class Box:
    """One entry of a scope; ``parent`` is an index, as is its own place in ``View.boxes``."""

    id: str
    title: str
    parent: int | None


@dataclass(frozen=True, slots=True)
class View:
    """All that is drawn: nodes and edges in program order. Each legend line has a role of the palette."""

    title: str
    legend: tuple[tuple[str, str], ...]
    rankdir: str
    nodes: tuple[Wire | Op, ...]
    edges: tuple[Edge, ...]
    boxes: tuple[Box, ...]

    @property
    def wires(self) -> tuple[Wire, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Wire))

    @property
    def ops(self) -> tuple[Op, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Op))

    @property
    def counts(self) -> dict[str, int]:
        return {"ops": len(self.ops), "tensors": len(self.wires), "scopes": len(self.boxes)}


@dataclass(frozen=True, slots=True)
class Options:
    """The parameters of ``draw`` that shape the view."""

    mode: str = "both"
    rankdir: str = "auto"
    values: str = "auto"
    precision: int = 2
    names: Mapping[str, Any] | None = None
    seed: Any = None
    title: str | None = None
    legend: bool = True


def view(graph: Graph, outputs: Sequence[Tensor], options: Options) -> View:
    """Look at a graph: roles, names, numbers, gradients, scopes.

    ``outputs`` are the Tensors as the user gave them: they keep the seeds of their ``backward()``.

    >>> import tinygraph as tg
    >>> x = tg.tensor(3.0, requires_grad=True, name="x")
    >>> y = x * x
    >>> y.backward()
    >>> seen = view(tg.Graph([y]), [y], Options())
    >>> [(wire.role, wire.name, wire.value, wire.gradient) for wire in seen.wires]
    [('input', 'x', '3', '∂ Σ 6'), ('output', 'x·x', '9', '∂ 1')]
    """
    return _Builder(graph, outputs, options).view()


class _Builder:
    """Walks a graph once in program order and collects the parts of its View."""

    def __init__(self, graph: Graph, outputs: Sequence[Tensor], options: Options) -> None:
        self.graph, self.options = graph, options
        self.found = gradients.reverse(graph, outputs, options.seed) if options.mode == "both" else gradients.Pass()
        self.names = labels(graph, options.names)
        self.outputs, self.constants = frozenset(graph.outputs), constants(graph)
        self.stale = frozenset(gradients.stale(graph))
        self.contributions = self._contributions()
        self.ids: dict[Tensor, str] = {}
        self.ranks: dict[Tensor, int] = {}
        self.places: dict[Scope, int] = {}
        self.top = count(1)  # numbers of the boxes that stand in no other
        self.nodes: list[Wire | Op] = []
        self.edges: list[Edge] = []
        self.boxes: list[Box] = []

    def view(self) -> View:
        for t in self.graph.inputs:
            self._leaf(t, None)
        for place, t in enumerate(self.graph.nodes, start=1):
            self._application(t, place)
        for t in self.graph.outputs:
            self._leaf(t, None)
        deep = max(self.ranks.values(), default=0) >= DEEP
        rankdir = {"auto": "TB" if deep else "LR"}.get(self.options.rankdir, self.options.rankdir)
        legend = self._legend(rankdir) if self.options.legend else ()
        return View(self._title(), legend, rankdir, tuple(self.nodes), tuple(self.edges), tuple(self.boxes))

    # -- nodes -------------------------------------------------------------------------------

    def _leaf(self, t: Tensor, box: int | None) -> None:
        """A leaf stands where it is first used: parameters and constants with their user, inputs outside."""
        if t not in self.ids:
            self.ranks[t] = 0
            self._wire(t, box if self._role(t) in ("parameter", "constant") else None)

    def _application(self, t: Tensor, place: int) -> None:
        node = t.node
        assert node is not None
        operands = self.graph.operands(t)
        box = self._box(node.scope)
        for x in operands:
            self._leaf(x, box)
        op = f"op{place}"
        names = [self.names[x] for x in operands]
        params = _params(node.params)
        symbol, caption = _face(node.op, names, params)
        call = f"{node.op.name}({', '.join(names + params)})"
        self.nodes.append(
            Op(op, clean(symbol), clean(caption), node.op.pullback is not None, clean(call, TOOLTIP), box)
        )
        for argument, x in enumerate(operands):
            self._use(t, argument, x, op, f"e{place}_{argument}")
        self.ranks[t] = max((self.ranks[x] for x in operands), default=0) + 2
        self._wire(t, None if t in self.outputs else box)
        self.edges.append(
            Edge(f"e{place}", op, self.ids[t], "result", t in self.found.totals, f"{node.op.name} → {self.names[t]}")
        )

    def _use(self, t: Tensor, argument: int, x: Tensor, op: str, edge: str) -> None:
        part = self.found.parts.get((t, argument))
        head = f"{self.names[x]} → {t.node.op.name}"  # type: ignore[union-attr]
        gradient = "" if part is None else self._gradient(part, "∂").text
        role = "constant" if self._role(x) == "constant" else "use"
        tooltip = f"{head}\n{gradient}".rstrip("\n")
        self.edges.append(Edge(edge, self.ids[x], op, role, part is not None, tooltip))

    def _wire(self, t: Tensor, box: int | None) -> None:
        self.ids[t] = f"v{len(self.ids) + 1}"
        role = self._role(t)
        value, gradient = self._value(t), self._gradient_of(t)
        shape = str(t.shape)
        caption = shape if role == "wire" else f"{role} {shape}"
        tooltip = clean("\n".join(self._lines(t, f"{self.names[t]}: {role}, {t.dtype} {shape}")), TOOLTIP)
        finite = value.finite and gradient.finite
        self.nodes.append(
            Wire(self.ids[t], role, self._face_name(t, role), value.text, gradient.text, caption, tooltip, finite, box)
        )

    def _role(self, t: Tensor) -> str:
        if isinstance(t, Parameter):
            return "parameter"
        if t in self.outputs:
            return "output"
        if t.node is not None:
            return "wire"
        return "constant" if t in self.constants else "input"

    def _face_name(self, t: Tensor, role: str) -> str:
        """The name; for a constant its value, after ``name =`` where it has a name of its own."""
        if role != "constant":
            return self.names[t]
        text = number(np.asarray(t._data).item())
        return text if self.names[t] == text else f"{self.names[t]} = {text}"

    # -- numbers -----------------------------------------------------------------------------

    def _value(self, t: Tensor) -> Row:
        if t in self.stale:
            return Row("assigned since")
        return row(t._data, self.options.values, self.options.precision)

    def _gradient_of(self, t: Tensor) -> Row:
        total = self.found.totals.get(t)
        return Row("") if total is None else self._gradient(total, "∂ Σ" if self._summed(t) else "∂")

    def _gradient(self, array: Any, sign: str) -> Row:
        text, finite = row(array, self.options.values, self.options.precision)
        return Row("\n".join(f"{sign} {line}" for line in text.split("\n") if line), finite)

    def _contributions(self) -> dict[Tensor, list[tuple[str, Any]]]:
        """What each Tensor received from each use of it, and from the seed."""
        received: dict[Tensor, list[tuple[str, Any]]] = {}
        for (t, argument), part in self.found.parts.items():
            operands = self.graph.operands(t) if t in self.names else ()
            if operands:
                received.setdefault(operands[argument], []).append((t.node.op.name, part))  # type: ignore[union-attr]
        return received

    def _summed(self, t: Tensor) -> bool:
        return len(self.contributions.get(t, ())) + (t in self.found.seeded) > 1

    def _lines(self, t: Tensor, head: str) -> list[str]:
        """The tooltip: what it is, what its gradient is the sum of, and what ``.grad`` adds to that."""
        lines = [head]
        if self._summed(t):
            lines += [self._gradient(part, op).text for op, part in self.contributions[t]]
        total, held = self.found.totals.get(t), t.grad
        if total is not None and isinstance(held, Tensor) and not np.array_equal(held._data, total, equal_nan=True):
            lines.append(f".grad differs, it adds up passes: {self._gradient(held._data, '∂').text}")
        return lines

    # -- scopes, title, legend -----------------------------------------------------------------

    def _box(self, scope: Scope | None) -> int | None:
        """The box of a scope, made with those around it when first met; a backward has none."""
        chain: list[Scope] = []
        while scope is not None and scope not in self.places:
            if scope.of is not None:
                return None
            chain.append(scope)
            scope = scope.parent
        box = None if scope is None else self.places[scope]
        for inner in reversed(chain):
            title = clean(inner.name)
            if box is None:
                title = f"{next(self.top)} · {title}"
            self.boxes.append(Box(f"scope_{len(self.boxes) + 1}", title, box))
            box = self.places[inner] = len(self.boxes) - 1
        return box

    def _title(self) -> str:
        if self.options.title is not None:
            return clean(self.options.title)
        names = [self.names[t] for t in self.graph.outputs]
        return clean(", ".join(names))

    def _legend(self, rankdir: str) -> tuple[tuple[str, str], ...]:
        above, below = ("left", "right") if rankdir == "TB" else ("above", "below")
        of = " of" if rankdir == "TB" else ""
        lines = [("fwd", f"► forward value, {above}{of} the wire")]
        if self.found.totals:
            lines.append(("bwd", f"◄ ∂ gradient, {below}{of} the wire"))
        if any(self._summed(t) for t in self.found.totals):
            lines.append(("bwd", "∂ Σ gradients summed at a fan-out"))
        if self.found.note:
            lines.append(("mute", self.found.note))
        return tuple(lines)


def _params(params: Mapping[str, Any]) -> list[str]:
    """Parameters as words, ``axis 0``; switches that are off are left out."""
    shown = [(name, _param(value)) for name, value in params.items() if value is not False and value is not None]
    return [text if text.startswith("[") else f"{name} {text}" for name, text in shown]


def _param(value: Any) -> str:
    if type(value) is tuple:
        return ",".join(map(_param, value))
    if isinstance(value, (int, float, str, tuple)):
        return minus(str(value))
    return value.name if isinstance(value, np.dtype) else type(value).__name__


def _face(op: Any, operands: Sequence[str], params: Sequence[str]) -> tuple[str, str]:
    """The symbol in the circle, and the words under it: what sets this application apart, else the name."""
    symbol = op.symbol
    if op.name == "pow":
        symbol = _POWERS.get(operands[1], symbol)
    first = params[0] if params and len(params[0]) <= _SHORT else ""
    return symbol, first or (op.name if op.name != symbol else "")
