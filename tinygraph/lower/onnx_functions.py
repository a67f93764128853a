"""Scopes as model-local functions: each region becomes one node, and equal bodies are written once."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.scope import Scope
from ..core.tensor import Tensor
from .onnx_body import DOMAIN, Body, Function, Line, Names, Reads


@dataclass(frozen=True, eq=False)
class Region:
    """The results that were computed inside one scope: a node that calls a function."""

    where: Where
    members: tuple[Tensor, ...]
    items: tuple[Item, ...]  # the members, those of inner scopes as Regions


Item = Tensor | Region


@dataclass(frozen=True)
class Where:
    """The scopes around a result, outermost first, and of how many backwards it is a part."""

    scopes: tuple[Scope, ...]
    backwards: int

    def path(self, start: int = 0) -> str:
        """``backward/block/norm``, without the first scopes."""
        return "/".join(["backward"] * self.backwards + [s.name for s in self.scopes[start:]])

    def up_to(self, depth: int) -> Where:
        """The place of that depth around this one."""
        return Where(self.scopes[:depth], self.backwards)

    @property
    def title(self) -> str:
        """The name of a function: ``norm_backward``."""
        return (self.scopes[-1].name or "scope") + "_backward" * self.backwards


def where(t: Tensor) -> Where:
    """Where a result was computed; a backward counts as in the scope of its forward."""
    scopes: list[Scope] = []
    backwards, scope = 0, t.node.scope  # type: ignore[union-attr]
    while scope is not None:
        if scope.of is None:
            scopes.append(scope)
        else:
            backwards += 1
        scope = scope.parent
    return Where(tuple(reversed(scopes)), backwards)


# -- regions --------------------------------------------------------------------------------------------


class Arrangement:
    """Results in an order in which they can be computed, with regions as single items where that is possible."""

    def __init__(self, results: Sequence[Tensor], reads: Reads) -> None:
        self.reads = reads
        self.index = {t: i for i, t in enumerate(results)}
        self.users: dict[Tensor, list[Tensor]] = {}
        for t in results:
            for x in reads.values(t):
                self.users.setdefault(x, []).append(t)

    def items(self, members: Sequence[Tensor], depth: int = 0) -> tuple[Item, ...]:
        """The members, which share ``depth`` scopes, with their inner scopes as Regions.

        A region of one op is that op. One from which a path leads out and in again cannot be a node: its inner scopes
        take its place.
        """
        owner: dict[Tensor, Item] = {t: t for t in members}
        waiting = list(_inner(members, depth))
        for place, inside in waiting:
            if len(inside) < 2:
                continue
            level = len(place.scopes)
            if self._is_convex(inside, owner):
                region = Region(place, tuple(inside), self.items(inside, level))
                owner.update(dict.fromkeys(inside, region))
            else:
                waiting.extend(_inner(inside, level))
        return tuple(self._in_order(owner))

    def _is_convex(self, inside: Sequence[Tensor], owner: Mapping[Tensor, Item]) -> bool:
        own, seen = set(inside), set()
        stack = [u for t in inside for u in self.users.get(t, ()) if u in owner and u not in own]
        while stack:
            item = owner[stack.pop()]
            if item in seen:
                continue
            seen.add(item)
            for t in _members(item):
                for u in self.users.get(t, ()):
                    if u in own:
                        return False
                    if u in owner:
                        stack.append(u)
        return True

    def _in_order(self, owner: Mapping[Tensor, Item]) -> Iterator[Item]:
        """Each item after those that it reads; the first in program order first."""
        items = dict.fromkeys(owner.values())
        before = {i: {owner[x] for t in _members(i) for x in self.reads.values(t) if x in owner} - {i} for i in items}
        after: dict[Item, list[Item]] = {}
        for item, needs in before.items():
            for other in needs:
                after.setdefault(other, []).append(item)
        ready = [(self.index[_members(i)[0]], i) for i, needs in before.items() if not needs]
        heapq.heapify(ready)
        while ready:
            _, item = heapq.heappop(ready)
            yield item
            for later in after.get(item, ()):
                before[later].discard(item)
                if not before[later]:
                    heapq.heappush(ready, (self.index[_members(later)[0]], later))


def _members(item: Item) -> tuple[Tensor, ...]:
    return item.members if isinstance(item, Region) else (item,)


def _inner(members: Iterable[Tensor], depth: int) -> Iterator[tuple[Where, list[Tensor]]]:
    """The members by their scope of that depth, without those that have none."""
    found: dict[Where, list[Tensor]] = {}
    for t in members:
        place = where(t)
        if len(place.scopes) > depth:
            found.setdefault(place.up_to(depth + 1), []).append(t)
    yield from found.items()


# -- functions ------------------------------------------------------------------------------------------


@dataclass
class Writer:
    """Writes items into bodies, and keeps the functions of their regions."""

    arrangement: Arrangement
    outputs: frozenset[Tensor]
    emit: Callable[[Body, Tensor], None]
    functions: list[Function] = field(default_factory=list)
    names: Names = field(default_factory=Names)
    _known: dict[Any, Function] = field(default_factory=dict)

    def write(self, items: Iterable[Item], body: Body, depth: int = 0) -> None:
        """The nodes of all items; paths of scopes leave out the first ``depth`` scopes."""
        for item in items:
            if isinstance(item, Region):
                body.scope = item.where.path(depth)
                self._call(item, body)
            else:
                body.scope = where(item).path(depth)
                self.emit(body, item)
        body.scope = ""

    def _call(self, region: Region, body: Body) -> None:
        reads, own = self.arrangement.reads, set(region.members)
        needs = list(dict.fromkeys(x for t in region.members for x in reads.values(t) if x not in own))
        makes = [t for t in region.members if t in self.outputs or not own.issuperset(self.arrangement.users[t])]
        inner = Body(reads)
        formal = tuple(inner.bind(x, "x") for x in needs)
        self.write(region.items, inner, len(region.where.scopes) - 1)
        function = self._shared(region.where.title, formal, tuple(inner.values[t] for t in makes), tuple(inner.lines))
        given = tuple(body.take(x) for x in needs)
        made = tuple(body.bind(t, "t") for t in makes)
        body.lines.append(Line(function.name, given, made, {}, body.scope, DOMAIN))

    def _shared(
        self, title: str, inputs: tuple[str, ...], outputs: tuple[str, ...], lines: tuple[Line, ...]
    ) -> Function:
        """The function of that title with an equal body, or a new one."""
        key = (title, _canonical(inputs, outputs, lines))
        if key not in self._known:
            self._known[key] = Function(self.names.unique(title), inputs, outputs, lines)
            self.functions.append(self._known[key])
        return self._known[key]


def _canonical(inputs: Sequence[str], outputs: Sequence[str], lines: Sequence[Line]) -> Any:
    """A body whose values are numbered in place of named, so that equal bodies compare equal."""
    numbers: dict[str, int] = {}

    def numbered(names: Sequence[str]) -> tuple[int, ...]:
        return tuple(numbers.setdefault(name, len(numbers)) for name in names)

    head = len(inputs), numbered(inputs)
    body = tuple(
        (n.op, n.domain, n.scope, numbered(n.inputs), numbered(n.outputs), tuple(map(_plain, n.attributes.items())))
        for n in lines
    )
    return head, body, numbered(outputs)


def _plain(attribute: tuple[str, Any]) -> Any:
    name, value = attribute
    return (name, value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else attribute
