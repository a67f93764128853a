"""A region as a loop nest: its axes, what it reads and writes, and which loop computes what."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.array import is_weak
from ...core.graph import Graph
from ...core.tensor import Tensor
from .operations import ALIGN, SUMS, text, working_dtype
from .regions import Grouping, Place, Region, identity, repeated, trailing

Dims = tuple[int, ...]  # the collapsed axes that an array has


@dataclass(frozen=True)
class Source:
    """An operand as it is read: an array from outside along some axes, a number, or a value of the nest."""

    tensor: Tensor
    dims: Dims | None = None
    dtype: np.dtype[Any] | None = None


NOTHING = Source(None)  # type: ignore[arg-type]  # what a formula leaves out, such as the exponent of a square


@dataclass(eq=False)
class Nest:
    """A region with its axes named, and its work shared out.

    ``kinds`` has a letter for each axis, ``R`` where it is summed and ``K`` where it is kept, neighbours of one pattern as one.

    ``sources[t]`` are the operands of a value, ``formulas[t]`` says what is done with them, and in which dtype; ``full`` those values that change along a summed axis. Loop ``i``
    adds up ``sums[i]``, the last one writes the full results. ``section[t]`` of a value between
    the loops says before which of them it is computed.
    """

    kinds: str
    sizes: tuple[int, ...]
    nodes: list[Tensor]
    results: list[Tensor]
    sources: dict[Tensor, tuple[Source, ...]]
    arrays: list[Source]
    numbers: list[Source]
    full: set[Tensor]
    formulas: dict[Tensor, tuple[str, Any]]
    loops: int = 0
    sums: list[list[Tensor]] = field(default_factory=list)
    section: dict[Tensor, int] = field(default_factory=dict)

    @property
    def kept(self) -> Dims:
        return tuple(d for d, kind in enumerate(self.kinds) if kind == "K")

    @property
    def summed(self) -> Dims:
        return tuple(d for d, kind in enumerate(self.kinds) if kind == "R")

    def dims_of(self, t: Tensor) -> Dims:
        """The axes of a value of the nest."""
        return tuple(range(len(self.kinds))) if t in self.full else self.kept

    def needed(self, loop: int) -> list[Tensor]:
        """The full values that a loop computes, in program order."""
        last = loop == self.loops - 1
        wanted = {self.sources[t][0].tensor for t in self.sums[loop]}
        wanted.update(t for t in self.results if last and t in self.full)
        for t in reversed(self.nodes):
            if t in wanted and t in self.full:
                wanted.update(s.tensor for s in self.sources[t])
        return [t for t in self.nodes if t in wanted and t in self.full]


def nest(graph: Graph, grouping: Grouping, region: Region, wanted: set[Tensor]) -> Nest:
    """The loop nest of a region; ``wanted`` are the values that something outside of it reads."""
    reading = _Reading(graph, grouping, region)
    kept_axes = [a for a, n in enumerate(region.space) if n > 1]
    groups = _collapse(region, kept_axes, reading) or [[]]
    dims = {a: d for d, group in enumerate(groups) for a in group}
    reduced = region.reduced or frozenset()

    def collapsed(place: Sequence[int]) -> Dims:
        return tuple(dict.fromkeys(dims[a] for a in place))

    sources: dict[Tensor, tuple[Source, ...]] = {}
    arrays: dict[Source, None] = {}
    numbers: dict[Source, None] = {}
    for t, found in reading.operands.items():
        row = []
        for i, (x, place, dtype) in enumerate(found):
            source = Source(x) if x in reading.inside else Source(x, None if place is None else collapsed(place), dtype)
            if f"{{{i}}}" not in reading.formulas[t][0]:
                source = NOTHING
            elif place is None:
                numbers[source] = None
            elif x not in reading.inside:
                source = Source(x, source.dims)
                arrays[source] = None
            row.append(source)
        sources[t] = tuple(row)
    nodes = [t for t in region.nodes if t in wanted or t.node.op.name not in ALIGN]  # type: ignore[union-attr]
    full = {t for t in nodes if _is_full(t, reading, reduced)}
    made = Nest(
        "".join("R" if reduced.intersection(group) else "K" for group in groups),
        tuple(math.prod(region.space[a] for a in group) for group in groups),
        nodes, [t for t in nodes if t in wanted], sources, list(arrays), list(numbers), full, reading.formulas,
    )  # fmt: skip
    _schedule(made)
    return made


class _Reading:
    """What each node of a region reads, and where: values that are only put to another place are seen through."""

    def __init__(self, graph: Graph, grouping: Grouping, region: Region) -> None:
        self.inside = set(region.nodes)
        self.places = grouping.places
        self.operands: dict[Tensor, list[tuple[Tensor, tuple[int, ...] | None, Any]]] = {}
        self.formulas: dict[Tensor, tuple[str, Any]] = {}
        self._behind: dict[Tensor, tuple[Tensor, tuple[int, ...]]] = {}
        for t in region.nodes:
            given = graph.operands(t)
            name = t.node.op.name  # type: ignore[union-attr]
            if name in ALIGN:
                x = given[0]
                place = self.places[x] if x in self.inside else repeated(t, x)
                self._behind[t] = self._seen(x, place)
                self.operands[t] = [(*self._behind[t], t.dtype)]
                self.formulas[t] = "{0}", t.dtype
                continue
            dtype = working_dtype(t, given)
            self.formulas[t] = text(t, given) or "{0}", dtype
            whole = self.places[t] if name not in SUMS else identity(given[0].shape)
            self.operands[t] = [self._read(x, trailing(x.shape, whole), dtype) for x in given]

    def _read(self, x: Tensor, place: Place, dtype: Any) -> tuple[Tensor, tuple[int, ...] | None, Any]:
        if is_weak(x._data):
            return x, None, dtype
        return (*self._seen(x, place), dtype)

    def _seen(self, x: Tensor, place: Place) -> tuple[Tensor, tuple[int, ...]]:
        return self._behind.get(x, (x, tuple(a for a in place if a is not None)))


def _is_full(t: Tensor, reading: _Reading, reduced: frozenset[int]) -> bool:
    axes = {a for a in reading.places[t] if a is not None}
    return not reduced or bool(reduced & axes)


def _collapse(region: Region, axes: list[int], reading: _Reading) -> list[list[int]]:
    """Neighbouring axes that are summed alike and that every array has, or has not, together."""
    reduced = region.reduced or frozenset()
    uses = {
        tuple(place)
        for found in reading.operands.values()
        for x, place, _ in found
        if place is not None and x not in reading.inside
    }
    patterns = {a: (a in reduced, frozenset(u for u in uses if a in u)) for a in axes}
    return [list(group) for _, group in itertools.groupby(axes, patterns.__getitem__)]


def _schedule(made: Nest) -> None:
    """Sums go as late as what reads them allows, so that arrays are read by as few loops as can be."""
    depth: dict[Tensor, int] = {}
    for t in made.nodes:
        depth[t] = max((depth[s.tensor] for s in made.sources[t] if s.tensor in depth), default=0) + _is_sum(t)
    ends = [depth[t] + 1 for t in made.results if t in made.full] + [depth[t] for t in made.nodes if _is_sum(t)]
    made.loops = max(ends, default=0)
    late = dict.fromkeys(made.nodes, made.loops)
    late.update((t, made.loops - 1) for t in made.results if t in made.full)
    made.sums = [[] for _ in range(made.loops)]
    for t in reversed(made.nodes):
        when = late[t] - _is_sum(t)
        if _is_sum(t):
            made.sums[when].insert(0, t)
        for s in made.sources[t]:
            if s.tensor in late:
                late[s.tensor] = min(late[s.tensor], when)
    for t in made.nodes:
        if t not in made.full:
            inner = [made.section[s.tensor] for s in made.sources[t] if s.tensor in made.section]
            made.section[t] = late[t] if _is_sum(t) else max(inner, default=0)


def _is_sum(t: Tensor) -> bool:
    return t.node.op.name in SUMS  # type: ignore[union-attr]
