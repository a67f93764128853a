"""Which nodes share a loop nest: elementwise work over one space, the sums over its axes, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...core.graph import Graph
from ...core.tensor import Tensor
from ..graphs import uses
from .operations import ALIGN, SUMS, fits, summed

Place = tuple[int | None, ...]  # for each axis of a value the axis of the space it runs along; None for one of size 1
LIMIT = 120  # nodes in one nest: compilers take more than their share of time for long functions


@dataclass(eq=False)
class Region:
    """Nodes over one space, and the axes that its sums run along (None while it has no sum).

    Every edge between two regions, or a region and another node, leads from a lower ``level`` to a higher one, so
    that none waits for itself; ``reader`` is the lowest level that reads a result.
    """

    space: tuple[int, ...]
    level: int
    reduced: frozenset[int] | None = None
    nodes: list[Tensor] = field(default_factory=list)
    reader: float = math.inf
    merged: Region | None = None

    def sums_along(self, axes: frozenset[int] | None) -> bool:
        return axes is None or self.reduced is None or self.reduced == axes


class Grouping:
    """The regions of a graph, found in one walk in program order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.places: dict[Tensor, Place] = {}
        self._home: dict[Tensor, Region] = {}
        self._levels: dict[Tensor, int] = {}
        self._readers, self._outputs = uses(graph), set(graph.outputs)
        for t in graph.nodes:
            operands = graph.operands(t)
            if not (fits(t, operands) and self._enter(t, read_of(t, operands))):
                self._levels[t] = 1 + max((self._level(x) for x in operands), default=0)
                self._note(operands, self._levels[t])
        self._join_siblings()

    def home(self, t: Tensor) -> Region | None:
        """The region of a node."""
        region = self._home.get(t)
        while region is not None and region.merged is not None:
            region = region.merged
        return region

    def level(self, t: Tensor) -> int:
        """Where a node stands in the order of regions and other nodes."""
        return self._level(t)

    def regions(self) -> list[Region]:
        """All of them, in program order, their nodes too."""
        found: dict[Region, list[Tensor]] = {}
        for t in self.graph.nodes:
            region = self.home(t)
            if region is not None:
                found.setdefault(region, []).append(t)
        for region, nodes in found.items():
            region.nodes = nodes
        return list(found)

    # -- entering ------------------------------------------------------------------------------------

    def _enter(self, t: Tensor, operands: Sequence[Tensor]) -> bool:
        name = t.node.op.name  # type: ignore[union-attr]
        homes = {r: None for r in (self.home(x) for x in operands) if r is not None}
        for first in sorted(homes, key=lambda r: (-r.level, -math.prod(r.space))):
            others = [r for r in homes if r is not first]
            small = [r for r in others if self._is_small(r, first, t)]
            if (small and self._join(t, operands, first, others, small)) or self._join(t, operands, first, others):
                return True
        if name in ALIGN and not (name in ("broadcast_to", "spread") and any(n > 1 for n in t.shape)):
            return False  # a view, for which NumPy needs no loop
        x = operands[0]
        region = Region(x.shape if name in SUMS else t.shape, 1 + max((self._level(x) for x in operands), default=0))
        place = self._place(t, operands, region)
        if place is None:
            return False
        self._settle(t, operands, region, place)
        return True

    def _join(
        self,
        t: Tensor,
        operands: Sequence[Tensor],
        first: Region,
        others: Iterable[Region],
        small: Sequence[Region] = (),
    ) -> bool:
        """Put ``t`` into the region of an operand, together with those of its other operands that fit, and ``small`` ones."""
        axes = summed(t, operands[0]) if t.node.op.name in SUMS else None  # type: ignore[union-attr]
        reduced, size = first.reduced if axes is None else axes, sum(len(r.nodes) for r in (first, *small))
        inside = [first]
        for other in others:
            fits_in = other.space == first.space and other.sums_along(reduced) and size + len(other.nodes) < LIMIT
            if fits_in and first.sums_along(other.reduced):
                inside.append(other)
                reduced, size = other.reduced if reduced is None else reduced, size + len(other.nodes)
        # The nest stands above all that it reads, and a region rises there only if none has read it below.
        joined = [*inside, *small]
        level = max(1 + self._level(x) if self.home(x) not in joined else self._level(x) for x in operands)
        joined = [r for r in joined if r.level == level or r.reader > level]
        inside = [r for r in inside if r in joined]
        below = all(self.home(x) in joined or self._level(x) < level for x in operands)
        if first not in inside or not below or size >= LIMIT or not first.sums_along(reduced):
            return False
        place = self._place(t, operands, Region(first.space, level, reduced), inside)
        lifted = None if place is None else self._lifted(operands, place, [r for r in small if r in joined], reduced)
        if place is None or lifted is None:
            return False
        self.places.update(lifted)
        largest = max(inside, key=lambda r: len(r.nodes))
        for r in joined:
            if r is not largest:
                self._merge(r, largest)
        largest.level = level
        self._settle(t, operands, largest, place)
        return True

    def _merge(self, region: Region, into: Region) -> None:
        region.merged = into
        into.nodes += region.nodes
        into.reader = min(into.reader, region.reader)
        into.level = max(into.level, region.level)
        if into.reduced is None:
            into.reduced = region.reduced

    def _settle(self, t: Tensor, operands: Sequence[Tensor], region: Region, place: Place) -> None:
        if t.node.op.name in SUMS:  # type: ignore[union-attr]
            region.reduced = summed(t, operands[0])
        region.nodes.append(t)
        self._home[t] = region
        self.places[t] = place
        self._note((x for x in operands if self.home(x) is not region), region.level)

    def _note(self, operands: Iterable[Tensor], level: int) -> None:
        for x in operands:
            region = self.home(x)
            if region is not None:
                region.reader = min(region.reader, level)

    def _level(self, t: Tensor) -> int:
        region = self.home(t)
        return region.level if region is not None else self._levels.get(t, 0)

    # -- places --------------------------------------------------------------------------------------

    def _place(
        self, t: Tensor, operands: Sequence[Tensor], region: Region, inside: Sequence[Region | None] = ()
    ) -> Place | None:
        """Where ``t`` lies in the space, or None if it does not lie there as its operands do."""
        node = t.node
        assert node is not None
        known = {x: self.places[x] for x in operands if self.home(x) in inside}
        name = node.op.name
        if name in SUMS:
            x = operands[0]
            if x.shape != region.space or not region.sums_along(summed(t, x)):
                return None
            if x in known and known[x] != identity(x.shape):
                return None
            axes = node.params["axis"]
            kept = [None if a in axes or n == 1 else a for a, n in enumerate(x.shape)]
            return tuple(kept if node.params["keepdims"] else [a for i, a in enumerate(kept) if i not in axes])
        if name in ALIGN:
            return self._aligned(t, operands[0], region, known)
        if t.shape == region.space:
            whole = identity(t.shape)
            fit = all(_trimmed(known[x], x.shape) == _trimmed(trailing(x.shape, whole), x.shape) for x in known)
            return whole if fit else None
        return self._kept(t, operands, region, known)

    def _aligned(self, t: Tensor, x: Tensor, region: Region, known: dict[Tensor, Place]) -> Place | None:
        name = t.node.op.name  # type: ignore[union-attr]
        if x in known and [n for n in t.shape if n > 1] == [n for n in x.shape if n > 1]:
            axes = iter([a for a, n in zip(known[x], x.shape, strict=True) if n > 1])
            return tuple(next(axes) if n > 1 else None for n in t.shape)
        if name not in ("broadcast_to", "spread") or t.shape != region.space:
            return None
        if x in known and _trimmed(known[x], x.shape) != _trimmed(repeated(t, x), x.shape):
            return None
        return identity(t.shape)

    def _kept(self, t: Tensor, operands: Sequence[Tensor], region: Region, known: dict[Tensor, Place]) -> Place | None:
        """The place of arithmetic on sums: along axes that are not summed, as its operands have it."""
        place: list[int | None] = [None] * t.ndim
        for x, axes in known.items():
            for i, (a, n) in enumerate(zip(axes, x.shape, strict=True), start=t.ndim - x.ndim):
                if n > 1 and place[i] not in (None, a):
                    return None
                place[i] = a if n > 1 else place[i]
        axes_used = [a for a in place if a is not None]
        if any(a is None and n > 1 for a, n in zip(place, t.shape, strict=True)) or region.reduced is None:
            return None
        return (
            tuple(place) if not region.reduced.intersection(axes_used) and axes_used == sorted(set(axes_used)) else None
        )

    def _is_small(self, region: Region, beside: Region, t: Tensor) -> bool:
        """Whether a region is but elementwise arithmetic on less than the space of the other, and for ``t`` alone."""
        if region.reduced is not None or math.prod(region.space) >= math.prod(beside.space):
            return False
        names = {x.node.op.name for x in region.nodes}  # type: ignore[union-attr]
        readers = {u for x in region.nodes for u in self._readers.get(x, ())}
        return (
            names.isdisjoint(ALIGN)
            and self._outputs.isdisjoint(region.nodes)
            and all(u is t or self.home(u) is region for u in readers)
        )

    def _lifted(
        self, operands: Sequence[Tensor], place: Place, small: Sequence[Region], reduced: frozenset[int] | None
    ) -> dict[Tensor, Place] | None:
        """The places of what small regions compute, as what is in ``place`` reads it; None unless along kept axes."""
        found: dict[Tensor, Place] = {}
        for region in small:
            into = {trailing(x.shape, place) for x in operands if self.home(x) is region}
            axes = into.pop()
            if into or reduced is None or reduced.intersection(axes):
                return None
            found.update((x, tuple(None if a is None else axes[a] for a in self.places[x])) for x in region.nodes)
        return found

    # -- siblings ------------------------------------------------------------------------------------

    def _join_siblings(self) -> None:
        """Regions of one level and space that read the same array read it once."""
        readers: dict[tuple[int, tuple[int, ...], Tensor], Region] = {}
        for t in self.graph.nodes:
            mine = self.home(t)
            if mine is None:
                continue
            for x in read_of(t, self.graph.operands(t)):
                mine = self.home(t)
                assert mine is not None
                if self.home(x) is mine or x.shape != mine.space:
                    continue
                key = (mine.level, mine.space, x)
                other = readers.get(key)
                while other is not None and other.merged is not None:
                    other = other.merged
                small = other is not None and len(mine.nodes) + len(other.nodes) < LIMIT
                if (
                    other is not None
                    and other is not mine
                    and small
                    and other.sums_along(mine.reduced)
                    and other.level == mine.level
                ):
                    self._merge(mine, other)
                else:
                    readers[key] = mine


def read_of(t: Tensor, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The operands whose values ``t`` is computed from: ``spread`` takes but the shape of its second."""
    name = t.node.op.name  # type: ignore[union-attr]
    return operands[:1] if name == "spread" else operands


def identity(shape: tuple[int, ...]) -> Place:
    return tuple(a if n > 1 else None for a, n in enumerate(shape))


def trailing(shape: tuple[int, ...], whole: Place) -> Place:
    """The place of an operand that is broadcast as NumPy does, from the last axis on."""
    return tuple(a if n > 1 else None for a, n in zip(whole[len(whole) - len(shape) :], shape, strict=True))


def repeated(t: Tensor, x: Tensor) -> Place:
    """The place of what ``broadcast_to`` or ``spread`` repeats, in the shape of the result."""
    axes = t.node.params.get("axis", ()) if t.node.op.name == "spread" else ()  # type: ignore[union-attr]
    kept = [a for a in range(t.ndim) if a not in axes] if axes else list(range(t.ndim - x.ndim, t.ndim))
    return tuple(a if n > 1 else None for a, n in zip(kept, x.shape, strict=True))


def _trimmed(place: Place, shape: tuple[int, ...]) -> tuple[int | None, ...]:
    return tuple(a for a, n in zip(place, shape, strict=True) if n > 1)
