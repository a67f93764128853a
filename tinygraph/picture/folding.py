"""A View with groups of its nodes folded into one box each: nodes, edges, boxes, steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from .model import DEEP, Box, Contribution, Edge, Fold, Item, Op, Step, View, Wire, visible
from .order import closing, ranks
from .values import TOOLTIP, clean

_NARROW = "\u00a0"  # between the thousands
_STRONGEST = ("result", "use", "same", "saved", "constant")  # the role of edges that become one
_TURNED = {"left of the wire": "above the wire", "right of the wire": "below the wire"}


@dataclass(slots=True)
class Group:
    """The places of the nodes that become one Fold; ``box`` is what stands around it."""

    id: str
    title: str
    box: int | None
    backward: bool
    members: list[int] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)  # titles of the scopes inside
    chain: bool = False


class Folding:
    """One View being folded: where every hidden node went, and every edge."""

    def __init__(self, before: View, groups: Sequence[Group]) -> None:
        self.before, self.groups = before, groups
        nodes = before.nodes
        self.inside = {nodes[place].id: group for group in groups for place in group.members}
        self.edges_now: dict[str, str] = {}  # for edges that are gone: that in whose place they went, or ""

    def view(self, auto: bool) -> View:
        before = self.before
        boxes, index = self._boxes()
        nodes, under = self._nodes(index), self._under()
        edges, deep = _ordered(nodes, self._edges(), under)
        turned = auto and before.rankdir == "TB" and not deep
        return replace(
            before,
            title=" · ".join(filter(None, (before.title, said(before, self.groups)))),
            legend=visible([(role, _turned(text) if turned else text) for role, text in before.legend], nodes),
            rankdir="LR" if turned else before.rankdir,
            nodes=tuple(nodes),
            edges=tuple(edges),
            boxes=boxes,
            steps=tuple(self._steps()),
            under=under,
            folded=(len(self.groups), sum(size(before, group) for group in self.groups)),
        )

    def _now(self, node: str) -> str:
        """Where a node is now: itself, or the fold that hides it."""
        group = self.inside.get(node)
        return node if group is None else group.id

    def _boxes(self) -> tuple[tuple[Box, ...], dict[int | None, int | None]]:
        """The boxes that are still open, and their new places."""
        folded = {group.id for group in self.groups}
        index: dict[int | None, int | None] = {None: None}
        boxes: list[Box] = []
        for i, box in enumerate(self.before.boxes):
            if box.id not in folded and box.parent in index:
                index[i] = len(boxes)
                boxes.append(box if index[box.parent] == box.parent else replace(box, parent=index[box.parent]))
        return tuple(boxes), index

    def _nodes(self, index: dict[int | None, int | None]) -> list[Item]:
        """The nodes, each fold in the place of its first member."""
        nodes: list[Item] = []
        for place, node in enumerate(self.before.nodes):
            group = self.inside.get(node.id)
            if group is None:
                nodes.append(node if index[node.box] == node.box else replace(node, box=index[node.box]))
            elif group.members[0] == place:
                nodes.append(self._fold(group, index[group.box]))
        return nodes

    def _fold(self, group: Group, box: int | None) -> Fold:
        members = [self.before.nodes[place] for place in group.members]
        ops = [node for node in members if isinstance(node, Op)]
        kinds = Counter(op.tooltip.partition("(")[0] for op in ops)
        parameters = [node.name for node in members if isinstance(node, Wire) and node.role == "parameter"]
        count = counted(size(self.before, group), "node")
        lines = [group.title, ", ".join(f"{number(n)} {kind}" for kind, n in kinds.most_common())]
        lines += [f"{what}: {', '.join(dict.fromkeys(those))}" for what, those in
                  (("scopes", group.scopes), ("gradients" if group.backward else "parameters", parameters)) if those]  # fmt: skip
        return Fold(
            group.id,
            group.title,
            count if group.chain else f"{counted(len(ops), 'op')} · {count}",
            clean("\n".join(filter(None, lines)), TOOLTIP),
            box,
            group.backward,
        )

    def _edges(self) -> list[Edge]:
        """The edges between what is visible; those between the same two ends, one a fold, become one."""
        bundles: dict[tuple[str, str], list[Edge]] = {}
        for edge in self.before.edges:
            ends = self._now(edge.tail), self._now(edge.head)
            if ends[0] == ends[1]:
                self.edges_now[edge.id] = ""
            elif ends == (edge.tail, edge.head):
                bundles[edge.id, ""] = [edge]
            else:
                bundle = bundles.setdefault(ends, [])
                bundle.append(edge)
                if len(bundle) > 1:
                    self.edges_now[edge.id] = bundle[0].id
        return [_merged(edges, *ends) if ends[1] else edges[0] for ends, edges in bundles.items()]

    def _under(self) -> tuple[tuple[str, str], ...]:
        """Pairs of visible wires, and each folded scope with its backward, which comes in reverse order."""
        pairs = [pair for pair in self.before.under if self.inside.keys().isdisjoint(pair)]
        same = dict(zip((box.id for box in self.before.boxes), same_paths(self.before.boxes), strict=True))
        upper: dict[int, list[str]] = {}
        lower: dict[int, list[str]] = {}
        for group in self.groups:
            if not group.chain:
                (lower if group.backward else upper).setdefault(same[group.id], []).append(group.id)
        for path, ids in upper.items():
            pairs += zip(ids, reversed(lower.get(path, [])), strict=False)
        return tuple(pairs)

    def _steps(self) -> Iterator[Step]:
        """The steps, those in a row inside one fold as one."""
        groups = {group.id: group for group in self.groups}
        for (direction, op), run in groupby(self.before.steps, lambda step: (step.direction, self._now(step.op))):
            steps = list(run)
            if op in groups:
                yield self._step(steps, op, f"{groups[op].title}: {counted(len(steps), 'op')} {direction}")
            else:
                yield from (self._step([step], op, step.text) for step in steps)

    def _step(self, steps: Sequence[Step], op: str, text: str) -> Step:
        inputs = dict.fromkeys(self._now(x) for step in steps for x in step.inputs)
        outputs = dict.fromkeys(self._now(x) for step in steps for x in step.outputs)
        edges = dict.fromkeys(self.edges_now.get(edge, edge) for step in steps for edge in step.edges)
        inputs.pop(op, None), outputs.pop(op, None), edges.pop("", None)
        shown = tuple(
            Contribution(c.wire, self.edges_now.get(c.edge, c.edge), c.text, c.shown)
            for step in steps
            for c in step.contributions
            if c.wire not in self.inside
        )
        return Step(steps[0].direction, op, tuple(inputs), tuple(outputs), tuple(edges), shown, text)


def _merged(edges: Sequence[Edge], tail: str, head: str) -> Edge:
    """One edge in the place of several."""
    first = edges[0]
    if len(edges) == 1:
        return replace(first, tail=tail, head=head)
    told = next((edge for edge in edges if edge.mark == "wrong"), first)
    agreed = told.mark == "wrong" or len({edge.mark for edge in edges}) == 1
    return Edge(
        first.id,
        tail,
        head,
        min((edge.role for edge in edges), key=_STRONGEST.index),
        any(edge.gradient for edge in edges),
        clean("\n".join(dict.fromkeys(edge.tooltip for edge in edges)), TOOLTIP),
        backward=any(edge.backward for edge in edges),
        loose=all(edge.loose for edge in edges),
        mark=told.mark if agreed else "",
        label=told.label if agreed else "",
    )


def _ordered(nodes: Sequence[Item], edges: list[Edge], under: Sequence[tuple[str, str]]) -> tuple[list[Edge], bool]:
    """The edges, loose where they close a cycle, and whether the longest way asks for an upright picture.

    Edges point as they are drawn, backward ones from right to left, and what stands under a node is
    at its place: so both lanes loosen the same edges.
    """
    place = {node.id: i for i, node in enumerate(nodes)}
    place.update((lower, place[upper]) for upper, lower in under)
    arrows = [
        (place[edge.head], place[edge.tail]) if edge.backward else (place[edge.tail], place[edge.head])
        for edge in edges
    ]
    fixed = [i for i, (tail, head) in enumerate(arrows) if tail != head]
    loose = {fixed[i] for i in closing(len(nodes), [arrows[i] for i in fixed])}
    longest = max((rank or 0 for rank in ranks(len(nodes), [arrows[i] for i in fixed if i not in loose])), default=0)
    return [replace(edge, loose=True) if i in loose else edge for i, edge in enumerate(edges)], longest >= DEEP


# -- words ----------------------------------------------------------------------------------------


def same_paths(boxes: Sequence[Box]) -> list[int]:
    """A number for each box, the same for boxes of the same path, in whichever lane."""
    numbers: dict[tuple[int, str], int] = {}
    same: list[int] = []
    for box in boxes:
        around = 0 if box.parent is None else same[box.parent]
        same.append(numbers.setdefault((around, box.title), len(numbers) + 1) if box.kind == "scope" else 0)
    return same


def number(n: int) -> str:
    return f"{n:,}".replace(",", _NARROW)


def counted(n: int, what: str) -> str:
    return f"{number(n)} {what if n == 1 else f'{what}s'}"


def size(view: View, group: Group) -> int:
    """How many nodes a group hides, as a reader counts them: constants and ghosts stand for nothing of their own."""
    return sum(not _pill(view.nodes[place]) for place in group.members)


def _pill(node: Item) -> bool:
    return isinstance(node, Wire) and node.role in ("constant", "saved")


def said(view: View, groups: Sequence[Group]) -> str:
    """``3 scopes and 2 chains folded (40 nodes)``."""
    chains = sum(group.chain for group in groups)
    kinds = [counted(n, what) for n, what in ((len(groups) - chains, "scope"), (chains, "chain")) if n]
    hidden = sum(size(view, group) for group in groups)
    return f"{' and '.join(kinds)} folded ({counted(hidden, 'node')})"


def _turned(text: str) -> str:
    for upright, lying in _TURNED.items():
        text = text.replace(upright, lying)
    return text
