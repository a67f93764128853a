"""Graph → View: walks a graph once and says what is drawn of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from ..core.graph import Graph, source
from ..core.scope import Scope
from ..core.tensor import Parameter, Tensor
from . import gradients
from .model import DEEP, SUMMED, Box, Edge, Item, Line, Op, Options, Step, View, Wire, visible
from .naming import constants, labels, partial
from .rules import Rules
from .steps import MOST, backward_steps
from .values import TITLE, TOOLTIP, Row, clean, minus, number, row

_SHORT = 12  # characters of an op's caption
_NOTHING = Row("")
_POWERS = {"2": "x²", "3": "x³"}


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
    with _no_collection():
        return Builder(graph, outputs, options).view()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which would look through a growing View again and again, and find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Builder:
    """Walks a graph once in program order and collects the parts of its View."""

    def __init__(self, graph: Graph, outputs: Sequence[Tensor], options: Options) -> None:
        self.graph, self.options = graph, options
        self.found = self._reverse(outputs)
        self.shown = {} if self.lanes else self.found.totals  # gradients on the wires of the forward
        self.outputs, self.constants = frozenset(graph.outputs), constants(graph)
        self.names = labels(graph, options.names, self.constants)
        self.stale = frozenset(gradients.stale(graph))
        self.contributions = self._contributions()
        self.summed = {t for t, parts in self.contributions.items() if len(parts) + (t in self.found.seeds) > 1}
        self.rows: dict[tuple[int, str], Row] = {}  # of gradients, by array and sign: the pass keeps the arrays alive
        # Nobody points at each of many thousand nodes, or steps through them.
        self.rules = Rules() if len(graph.nodes) <= MOST else None
        self.ids: dict[Tensor, str] = {}
        self.places: dict[Tensor, str] = {}  # the ops' ids, by their results
        self.entered: dict[Scope, int] = {}
        self.numbers: dict[Scope, int] = {}  # of scopes that stand in no other, in program order
        self.nodes: list[Item] = []
        self.edges: list[Edge] = []
        self.boxes: list[Box] = []
        self.steps: list[Step] = []
        self.root: int | None = None  # the box around everything

    def view(self) -> View:
        self.forward()
        if self.rules is not None and self.found.totals:
            self._play_backward()
        return self.finish()

    def forward(self) -> None:
        for t in self.graph.inputs:
            self._leaf(t, self.root)
        for place, t in enumerate(self.graph.nodes, start=1):
            self._application(t, place)
        for t in self.graph.outputs:
            self._leaf(t, self.root)

    def finish(self) -> View:
        rankdir = self.options.rankdir
        if rankdir == "auto":
            rankdir = "TB" if not self.lanes and self._deep() else "LR"
        legend = visible(self._legend(rankdir), self.nodes) if self.options.legend else ()
        parts = tuple(self.nodes), tuple(self.edges), tuple(self.boxes)
        steps = () if self.rules is None else tuple(self.steps)
        return View(self._title(), legend, rankdir, *parts, self.options.mode, steps)

    def _deep(self) -> bool:
        ranks: dict[Tensor, int] = {}
        for t in self.graph.nodes:
            ranks[t] = 2 + max([ranks.get(x, 0) for x in self.graph.operands(t)], default=0)
            if ranks[t] >= DEEP:
                return True
        return False

    def _reverse(self, outputs: Sequence[Tensor]) -> gradients.Pass:
        if self.options.mode == "forward":
            return gradients.Pass()
        return gradients.reverse(self.graph, outputs, self.options.seed)

    # -- nodes -------------------------------------------------------------------------------

    def _leaf(self, t: Tensor, box: int | None) -> None:
        """A leaf stands where it is first used: parameters and constants with their user, inputs outside."""
        if t not in self.ids:
            self._wire(t, box if self._role(t) in ("parameter", "constant") else self.root)

    def _application(self, t: Tensor, place: int) -> None:
        node = t.node
        assert node is not None
        operands = self.graph.operands(t)
        box = self._box(node.scope)
        for x in operands:
            self._leaf(x, box)
        op = self.places[t] = f"op{place}"
        self.nodes.append(self._op(op, t, operands, box))
        for argument, x in enumerate(operands):
            self._use(t, argument, x, op, f"e{place}_{argument}")
        self._wire(t, self.root if t in self.outputs else box)
        tooltip = "" if self.rules is None else f"{node.op.name} → {self.names[t]}"
        self.edges.append(Edge(f"e{place}", op, self.ids[t], "result", t in self.shown, tooltip))
        if self.rules is not None:
            self._play(t, op, [*(f"e{place}_{argument}" for argument in range(len(operands))), f"e{place}"])

    def _op(self, op: str, t: Tensor, operands: Sequence[Tensor], box: int | None) -> Op:
        node = t.node
        assert node is not None
        names = [self.names[x] for x in operands]
        params = _params(node.params)
        symbol, caption = _face(node.op, names, params)
        call = ""
        rules: tuple[str, ...] = ()
        if self.rules is not None:
            call = clean(f"{node.op.name}({', '.join(names + params)})", TOOLTIP)
            rules = tuple(filter(None, self.rules.of(t, self.names[t], names)))
        return Op(op, clean(symbol), clean(caption), node.op.pullback is not None, call, box, rules)

    def _use(self, t: Tensor, argument: int, x: Tensor, op: str, edge: str) -> None:
        part = self.found.parts.get((t, argument))
        role = "constant" if x in self.constants else "use"
        tooltip = "" if self.rules is None else self._passing(t, x, part)
        mark, label = self.options.marks.get((t, argument), ("", "")) if self.options.marks else ("", "")
        both = part is not None and not self.lanes
        self.edges.append(Edge(edge, self.ids[x], op, role, both, tooltip, mark, label))

    def _passing(self, t: Tensor, x: Tensor, part: Any) -> str:
        """The tooltip of an edge: what goes forward along it, and what comes back."""
        head = f"{self.names[x]} → {t.node.op.name}"  # type: ignore[union-attr]
        gradient = "" if part is None else self._gradient(part, "∂").text
        return f"{head}\n{gradient}" if gradient else head

    def _wire(self, t: Tensor, box: int | None) -> None:
        id = self.ids[t] = f"v{len(self.ids) + 1}"
        role, name, shape = self._role(t), self.names[t], str(t.shape)
        value, total = self._value(t), self.shown.get(t)
        gradient = _NOTHING if total is None else self._gradient(total, "∂ Σ" if t in self.summed else "∂")
        caption = shape if role == "wire" else f"{role} {shape}"
        tooltip = ""
        if self.rules is not None:
            tooltip = clean("\n".join(self._lines(t, f"{name}: {role}, {typed(t)} {shape}")), TOOLTIP)
        finite = value.finite and gradient.finite
        if role == "constant":
            name = self._number(t)
        data = None if t in self.stale else t._data  # which are not those that the wires beside it come from
        self.nodes.append(Wire(id, role, name, value.text, gradient.text, caption, tooltip, finite, box, data, total))

    @property
    def lanes(self) -> bool:
        """Whether gradients have a lane of their own."""
        return False

    def _role(self, t: Tensor) -> str:
        if isinstance(t, Parameter):
            return "parameter"
        if t in self.outputs:
            return "output"
        if t.node is not None:
            return "wire"
        return "constant" if t in self.constants else "input"

    def _number(self, t: Tensor) -> str:
        """The value of a constant, after ``name =`` where it has a name of its own."""
        text = number(np.asarray(t._data).item())
        return text if self.names[t] == text else f"{self.names[t]} = {text}"

    # -- steps -------------------------------------------------------------------------------

    def _play(self, t: Tensor, op: str, edges: Sequence[str]) -> None:
        """One step of the forward: the op is applied."""
        operands = self.graph.operands(t)
        wires = tuple(dict.fromkeys(self.ids[x] for x in operands))
        text = f"{self.names[t]} = {self._call(t)}"
        self.steps.append(Step("forward", op, wires, (self.ids[t],), tuple(edges), (), text))

    def _play_backward(self) -> None:
        uses = {t: len(self.contributions.get(t, ())) + (t in self.found.seeds) for t in self.found.totals}

        def show(array: Any, sign: str) -> str:
            return _signed(row(array, self.options.values, self.options.precision), sign).text

        self.steps += backward_steps(
            self.found, self.places, self.ids, self.graph.operands, uses, show, self._say
        )  # fmt: skip

    def _call(self, t: Tensor) -> str:
        names = [self.names[x] for x in self.graph.operands(t)]
        return clean(f"{t.node.op.name}({', '.join(names + _params(t.node.params))})", TOOLTIP)  # type: ignore[union-attr]

    def _say(self, t: Tensor, arguments: Sequence[int]) -> str:
        """What one step of the reverse traversal computes."""
        names = [self.names[x] for x in self.graph.operands(t)]
        rules = self.rules.of(t, self.names[t], names) if self.rules is not None else ()
        said = [rules[i] if rules and rules[i] else partial(names[i]) for i in arguments]
        return f"{t.node.op.name}: {', '.join(said)}"  # type: ignore[union-attr]

    # -- numbers -----------------------------------------------------------------------------

    def _value(self, t: Tensor) -> Row:
        if t in self.stale:
            return Row("assigned since")
        return row(t._data, self.options.values, self.options.precision)

    def _gradient(self, array: Any, sign: str) -> Row:
        known = self.rows.get((id(array), sign))
        if known is None:
            found = _signed(row(array, self.options.values, self.options.precision), sign)
            known = self.rows[id(array), sign] = found
        return known

    def _contributions(self) -> dict[Tensor, list[tuple[str, Any]]]:
        """What each Tensor received from each use of it, and from the seed."""
        received: dict[Tensor, list[tuple[str, Any]]] = {}
        for (t, argument), part in self.found.parts.items():
            if t in self.names:  # else an identity, which pictures leave out
                node: Any = t.node
                received.setdefault(source(node.inputs[argument]), []).append((node.op.name, part))
        return received

    def _lines(self, t: Tensor, head: str) -> list[str]:
        """The tooltip: what it is, what its gradient is the sum of, and what ``.grad`` adds to that."""
        lines = [head]
        if t in self.summed:
            lines += [self._gradient(part, op).text for op, part in self.contributions[t]]
        total, held = self.found.totals.get(t), t.grad
        if isinstance(held, Tensor) and total is not None and not np.array_equal(held._data, total, equal_nan=True):
            lines.append(f".grad differs, it adds up passes: {self._gradient(held._data, '∂').text}")
        return lines

    # -- scopes, title, legend -----------------------------------------------------------------

    def _box(self, scope: Scope | None) -> int | None:
        """The box of a scope, made with those around it when first met; a backward has none."""
        chain: list[Scope] = []
        while scope is not None and scope not in self.entered:
            if scope.of is not None:
                return self.root
            chain.append(scope)
            scope = scope.parent
        box = self.root if scope is None else self.entered[scope]
        for inner in reversed(chain):
            title = clean(inner.name)
            if box is self.root:
                title = f"{self.numbers.setdefault(inner, len(self.numbers) + 1)} · {title}"
            self.boxes.append(Box(f"scope_{len(self.boxes) + 1}", title, box, name=inner.name))
            box = self.entered[inner] = len(self.boxes) - 1
        return box

    def _title(self) -> str:
        if self.options.title is not None:
            return clean(self.options.title, TITLE)
        names = [self.names[t] for t in self.graph.outputs]
        return clean(", ".join(names), TITLE)

    def _legend(self, rankdir: str) -> list[Line]:
        above, below = ("left of", "right of") if rankdir == "TB" else ("above", "below")
        shown = self.options.values != "none"
        lines = [("fwd", f"► forward value, {above} the wire" if shown else "► forward")]
        if self.found.totals:
            lines += [("bwd", f"◄ ∂ gradient, {below} the wire" if shown else "◄ ∂ backward"), SUMMED]
        if self.found.note:
            lines.append(("mute", self.found.note))
        return lines


def _signed(found: Row, sign: str) -> Row:
    text, finite = found
    if "\n" not in text:
        return Row(f"{sign} {text}".strip() if text else "", finite)
    return Row("\n".join(f"{sign} {line}".lstrip() for line in text.split("\n") if line), finite)


def typed(t: Tensor) -> str:
    """The dtype in words; NumPy takes its time to spell one."""
    return _spelled(t.dtype)


_spelled = lru_cache(maxsize=64)(str)


def _params(params: Mapping[str, Any]) -> list[str]:
    """Parameters as words, ``axis 0``; switches that are off are left out."""
    if not params:  # nearly always
        return []
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
