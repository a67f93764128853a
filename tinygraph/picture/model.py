"""The picture as plain data: what is drawn, in which words, and in which order it happens.

A ``View`` knows no colours and no positions. ``build``, ``lanes`` and ``fold`` make Views; ``dot``,
``layout``, ``paint`` and ``html`` read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEEP = 24  # ranks beyond which a picture runs from top to bottom

MODES = ("both", "forward", "backward", "lanes")

Line = tuple[str, str]  # of a legend: a role of the palette, and the words
SUMMED: Line = ("bwd", "∂ Σ gradients summed at a fan-out")
SAVED: Line = ("fwd", "dashed: saved by the forward")
RINGS: Line = ("bwd", "double ring: gradients summed at a fan-out")


@dataclass(slots=True)
class Wire:
    """A Tensor, as a wire, a card or a pill; ``box`` is the index of its scope.

    ``role`` is wire, input, parameter, output, constant or saved. ``saved`` is a forward Tensor that the
    backward reads: a ghost of the wire ``of``. ``backward`` marks a gradient, drawn in the lower lane;
    ``of`` is then the id of the forward wire that it is the gradient of. ``data`` and ``cotangent`` are
    the arrays behind ``value`` and ``gradient``.
    """

    id: str
    role: str
    name: str
    value: str
    gradient: str
    caption: str
    tooltip: str
    finite: bool
    box: int | None
    data: Any = field(default=None, compare=False, repr=False)
    cotangent: Any = field(default=None, compare=False, repr=False)
    backward: bool = False
    of: str = ""


@dataclass(slots=True)
class Op:
    """One application of a primitive. ``sum`` marks an accumulation of gradients, drawn as a small ``+``.

    ``rules`` say how the cotangent goes back to each operand: ``∂x = ∂y·w``.
    """

    id: str
    symbol: str
    caption: str
    fused: bool
    tooltip: str
    box: int | None
    rules: tuple[str, ...] = ()
    backward: bool = False
    sum: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """A folded scope, or a chain: one box in place of all that is inside."""

    id: str
    title: str
    caption: str  # "3 ops · 6 nodes"
    tooltip: str
    box: int | None
    backward: bool = False


Item = Wire | Op | Fold


@dataclass(slots=True)
class Edge:
    """From an op to its result, or from a Tensor to an op that uses it, in the order of time.

    ``role`` is result, use, constant, saved, or same (one Tensor drawn twice). ``gradient`` says that
    forward value and gradient share this edge; ``backward`` that only a gradient runs here, from right
    to left. ``loose`` edges do not order the layout. ``mark`` is "" or, in a diff, "agrees" or "wrong",
    and ``label`` then says by what factor.
    """

    id: str
    tail: str
    head: str
    role: str
    gradient: bool
    tooltip: str
    mark: str = ""
    label: str = ""
    backward: bool = False
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """One entry of a scope, or a lane; ``parent`` is an index, as is its own place in ``View.boxes``.

    ``kind`` is scope, forward or backward (the lanes); ``name`` is what the user called the scope,
    ``title`` what stands on the box.
    """

    id: str
    title: str
    parent: int | None
    kind: str = "scope"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one use of a Tensor adds to its gradient: ``text``, after which its wire shows ``shown``."""

    wire: str
    edge: str
    text: str
    shown: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the traversal: ``direction`` is forward, seed or backward; the rest are ids.

    ``op`` is "" for the seed. ``text`` says in one line what happens.
    """

    direction: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    edges: tuple[str, ...]
    contributions: tuple[Contribution, ...]
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """All that is drawn: nodes and edges in program order. Each legend line has a role of the palette.

    ``under`` pairs a forward wire with the gradient that stands below it, where there are lanes.
    ``folded`` is (scopes or chains that are folded, nodes that they hide).
    """

    title: str
    legend: tuple[Line, ...]
    rankdir: str
    nodes: tuple[Item, ...]
    edges: tuple[Edge, ...]
    boxes: tuple[Box, ...]
    mode: str = "both"
    steps: tuple[Step, ...] = ()
    under: tuple[tuple[str, str], ...] = ()
    folded: tuple[int, int] = (0, 0)

    @property
    def wires(self) -> tuple[Wire, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Wire))

    @property
    def ops(self) -> tuple[Op, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Op))

    @property
    def lanes(self) -> bool:
        """Whether forward and backward are graphs of their own: wires are then compact."""
        return self.mode in ("backward", "lanes")

    @property
    def counts(self) -> dict[str, int]:
        scopes = sum(box.kind == "scope" for box in self.boxes)
        return {"ops": len(self.ops), "tensors": len(self.wires), "scopes": scopes}


def visible(legend: Sequence[Line], nodes: Sequence[Item]) -> tuple[Line, ...]:
    """A legend without the lines about what is not, or no longer, to be seen."""
    wires = [node for node in nodes if isinstance(node, Wire)]
    seen = {
        SUMMED: any(wire.gradient.startswith("∂ Σ") for wire in wires),
        SAVED: any(wire.role == "saved" for wire in wires),
        RINGS: any(isinstance(node, Op) and node.sum for node in nodes),
    }
    return tuple(line for line in legend if seen.get(line, True))


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
    collapse: bool | int | Sequence[str] | None = None
    max_nodes: int | None = 400
    marks: Mapping[Any, tuple[str, str]] = field(default_factory=dict)
