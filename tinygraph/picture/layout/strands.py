"""What moves as one in the built-in layout: chains of nodes on one straight line.

A node takes one rank; a long link takes the ranks between its ends, as a lane. Both are ``Run``s. Runs that
must lie on one line share a strand: an op and its result, a wire and its only user. A strand may cross the
borders of boxes; then these boxes share a ``band``, inside which their members are put in one order. That is
sound as long as no two boxes of a band stand in the same rank, which ``Bands.join`` checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import fsum

from ..model import View, Wire
from .measure import Shape, width
from .ranks import Link

LANE, LABEL = 2.0, 16.0  # half the height of a lane; the height of a label
_STANDING = {"wire": 0, "output": 0, "input": 1, "parameter": 2, "constant": 3, "saved": 3}
_WEIGHTS = {"result": 8.0, "constant": 0.5, "saved": 0.5}
_BUDGET = 200_000  # ranks that all lanes together may pass; beyond, the longest links go without one


@dataclass(slots=True)
class Run:
    """Ranks ``first`` to ``last`` of a strand; ``box`` holds it (−1: none). It reaches ``low`` above and ``high`` below."""

    strand: int
    first: int
    last: int
    box: int
    low: float
    high: float
    node: bool


@dataclass(slots=True)
class Bands:
    """Boxes that share an order. ``solid`` are the ranks of the boxes of a band, ``open`` those that must stay free."""

    parent: list[int]  # band 0 is the page, band i + 1 begins as box i
    leader: list[int] = field(default_factory=list)
    solid: list[set[int]] = field(default_factory=list)
    open: list[set[int]] = field(default_factory=list)

    def find(self, band: int) -> int:
        while self.leader[band] != band:
            self.leader[band] = band = self.leader[self.leader[band]]
        return band

    def path(self, band: int) -> list[int]:
        """The bands around a band and itself, outermost first."""
        found = [band := self.find(band)]
        while band:
            found.append(band := self.find(self.parent[band]))
        return found[::-1]

    def join(self, one: int, one_ranks: set[int], other: int, other_ranks: set[int]) -> int | None:
        """The band for a strand through both, whose ranks there are given; None if boxes stand in each other's way."""
        short, long, ranks = self.path(one), self.path(other), one_ranks
        if len(short) > len(long):
            short, long, ranks = long, short, other_ranks
        pairs = [(a, b) for a, b in zip(short, long, strict=False) if a != b]
        if not all(self._apart(a, b) for a, b in pairs):
            return None
        deeper = long[len(short) :]
        if not all(self.solid[band].isdisjoint(ranks) for band in deeper):
            return None
        for a, b in pairs:
            self.leader[b] = a
            self.solid[a] |= self.solid[b]
            self.open[a] |= self.open[b]
        for band in deeper:
            self.open[band] |= ranks
        return self.find(long[-1])

    def _apart(self, a: int, b: int) -> bool:
        return (
            self.solid[a].isdisjoint(self.solid[b])
            and self.solid[a].isdisjoint(self.open[b])
            and self.open[a].isdisjoint(self.solid[b])
        )


@dataclass(slots=True)
class Strands:
    """All runs, the strand and band that each belongs to, and the springs between strands."""

    runs: list[Run]
    lanes: list[list[int]]  # for each link its runs from left to right, the two nodes among them
    count: int
    home: list[int]  # the band of each strand
    bands: Bands
    springs: list[tuple[int, int, float]]


def strands(
    view: View,
    links: Sequence[Link],
    ranks: Sequence[int],
    spans: Sequence[tuple[int, int]],
    shapes: Sequence[Shape],
    across: bool,
) -> Strands:
    """Divide the picture into strands."""
    return _Weaver(view, links, ranks, spans, shapes, across).weave()


class _Weaver:
    def __init__(
        self,
        view: View,
        links: Sequence[Link],
        ranks: Sequence[int],
        spans: Sequence[tuple[int, int]],
        shapes: Sequence[Shape],
        across: bool,
    ) -> None:
        self.view, self.links, self.ranks, self.spans, self.across = view, links, ranks, spans, across
        self.places = {node.id: place for place, node in enumerate(view.nodes)}
        self.runs: list[Run] = []
        for place, node in enumerate(view.nodes):
            s, box = shapes[place], -1 if node.box is None else node.box
            low, high = (s.top, s.bottom) if across else (s.left, s.right)
            self.runs.append(Run(place, ranks[place], ranks[place], box, low, high, True))
        self.paths: dict[int, list[int]] = {-1: []}
        for i, inner in enumerate(view.boxes):
            self.paths[i] = [*self.paths[-1 if inner.parent is None else inner.parent], i]
        self.leader = list(range(len(self.runs)))
        parents = [0, *(0 if box.parent is None else box.parent + 1 for box in view.boxes)]
        solid = [set(), *(set(range(first, last + 1)) for first, last in spans)]
        self.bands = Bands(parents, list(range(len(parents))), solid, [set() for _ in parents])
        self.home = [run.box + 1 for run in self.runs]
        self.reach = [{run.first} for run in self.runs]

    def weave(self) -> Strands:
        plain = self._too_long()
        lanes = [
            [link.left, *(() if i in plain else self._lane(link)), link.right] for i, link in enumerate(self.links)
        ]
        self._straighten(lanes)
        for lane in lanes:
            for a, b in pairwise(lane[1:-1]):
                one, other = self.home[self._find(a)], self.home[self._find(b)]
                if self.bands.find(one) == self.bands.find(other):
                    self._tie(a, b)
        return self._finished(lanes)

    # -- what is straight --------------------------------------------------------------------

    def _straighten(self, lanes: Sequence[Sequence[int]]) -> None:
        """Put on one line: ops and their results, wires and their only users, as far as there is room."""
        uses = Counter(link.edge.tail for link in self.links)
        made = {link.edge.head for link in self.links if link.edge.role == "result"}
        results = [i for i, link in enumerate(self.links) if link.edge.role == "result"]
        single = [i for i, link in enumerate(self.links) if link.edge.role != "result" and uses[link.edge.tail] == 1]
        single.sort(key=lambda i: (self._standing(i, made), len(lanes[i])))
        left: set[int] = set()
        right: set[int] = set()
        for i in results + single:
            link = self.links[i]
            forward = self.ranks[link.left] < self.ranks[link.right]
            if not forward or link.left in left or link.right in right:
                continue
            if all(self._tie(a, b) for a, b in pairwise(lanes[i])):
                left.add(link.left)
                right.add(link.right)

    def _standing(self, i: int, made: Container[str]) -> int:
        """Which operand an op lies in line with: what was computed, before inputs, parameters and pills."""
        link = self.links[i]
        if link.edge.tail in made:
            return 0
        tail = self.view.nodes[link.right if link.flipped else link.left]
        return _STANDING.get(tail.role, 0) if isinstance(tail, Wire) else 0

    # -- lanes -------------------------------------------------------------------------------

    def _too_long(self) -> set[int]:
        """The longest links, where there are too many to give a lane to each."""
        spans = [self.ranks[link.right] - self.ranks[link.left] for link in self.links]
        total = fsum(map(abs, spans))
        found: set[int] = set()
        for i in sorted(range(len(spans)), key=lambda i: -abs(spans[i])):
            if total <= _BUDGET:
                break
            found.add(i)
            total -= abs(spans[i])
        return found

    def _lane(self, link: Link) -> Iterator[int]:
        """Runs for the ranks between the ends of a link: inside the box of each end as long as it lasts."""
        start, stop = self.ranks[link.left] + 1, self.ranks[link.right] - 1
        one, other = self.paths[self.runs[link.left].box], self.paths[self.runs[link.right].box]
        shared = sum(1 for a, b in zip(one, other, strict=False) if a == b)
        box = one[shared - 1] if shared else -1
        if stop < start - 1:  # it runs backward: a lane of its own, past both ends
            yield self._run(stop + 1, start - 1, box, link)
            return
        entered = other[shared:]
        border = self.spans[entered[0]][0] if entered else stop + 1
        for b in reversed(one[shared:]):
            last = min(self.spans[b][1], border - 1, stop)
            if start <= last:
                yield self._run(start, last, b, link)
                start = last + 1
        for b, end in zip([box, *entered], [*(self.spans[b][0] - 1 for b in entered), stop], strict=True):
            last = min(end, stop)
            if start <= last:
                yield self._run(start, last, b, link)
                start = last + 1

    def _run(self, first: int, last: int, box: int, link: Link) -> int:
        low = high = LANE
        if link.edge.label:
            low, high = (LABEL + 4, 4.0) if self.across else (4.0, label_width(link) + 8)
        self.leader.append(len(self.runs))
        self.home.append(box + 1)
        self.reach.append(set(range(first, last + 1)))
        self.runs.append(Run(len(self.runs), first, last, box, low, high, False))
        return len(self.runs) - 1

    # -- strands -----------------------------------------------------------------------------

    def _find(self, run: int) -> int:
        while self.leader[run] != run:
            self.leader[run] = run = self.leader[self.leader[run]]
        return run

    def _tie(self, a: int, b: int) -> bool:
        """Put two runs on one line, if the boxes that they stand in allow it."""
        one, other = self._find(a), self._find(b)
        if one == other or not self.reach[one].isdisjoint(self.reach[other]):
            return one == other
        band = self.bands.join(self.home[one], self.reach[one], self.home[other], self.reach[other])
        if band is None:
            return False
        if len(self.reach[one]) < len(self.reach[other]):
            one, other = other, one
        self.leader[other] = one
        self.reach[one] |= self.reach[other]
        self.home[one] = band
        return True

    def _finished(self, lanes: list[list[int]]) -> Strands:
        numbers: dict[int, int] = {}
        for place, run in enumerate(self.runs):
            run.strand = numbers.setdefault(self._find(place), len(numbers))
        home = [self.bands.find(self.home[strand]) for strand in numbers]
        springs = []
        for link, lane in zip(self.links, lanes, strict=True):
            for a, b in pairwise(lane):
                one, other = self.runs[a], self.runs[b]
                if one.strand != other.strand:
                    weight = 1.0 if one.node or other.node else 4.0
                    springs.append((one.strand, other.strand, weight * _WEIGHTS.get(link.edge.role, 2.0)))
        for above, below in self.view.under:  # keeps the lanes together
            springs.append((self.runs[self.places[above]].strand, self.runs[self.places[below]].strand, 0.05))
        return Strands(self.runs, lanes, len(numbers), home, self.bands, springs)


def label_width(link: Link) -> float:
    return width(link.edge.label, 13)
