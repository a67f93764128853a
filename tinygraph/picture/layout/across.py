"""In which order strands lie, and where: across the direction of ranks.

Order and place come from the same few steps. Every strand wishes to lie where its neighbours do; sorted by
their wishes, box by box, strands get an order; and in that order two passes, one that pushes everything down
and one that pushes everything up, give two arrangements in which nothing overlaps. Their mean is one, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, inf

from ..model import Box
from .strands import Run, Strands

NODE_GAP, LANE_GAP, BOX_GAP = 7.0, 4.0, 5.0  # half of what stays free between neighbours
_EFFORT = 600_000  # constraints times sweeps
_SWEEPS, _PASSES = 16, 10
_SNAP = 12.0
_LANES = {"forward": -1e18, "backward": 1e18}

Held = tuple[int, float, float]  # what stands last in a rank: number, reach, gap


class Across:
    """Finds coordinates; ``heads`` are the margins of boxes: before and after all members, and before those in the first rank."""

    def __init__(
        self,
        woven: Strands,
        boxes: Sequence[Box],
        spans: Sequence[tuple[int, int]],
        heads: Sequence[tuple[float, float, float, float]],
    ) -> None:
        self.woven, self.boxes, self.spans, self.heads = woven, boxes, spans, heads
        self.count = woven.count
        self.runs_of: list[list[Run]] = [[] for _ in range(woven.count)]
        for run in woven.runs:
            self.runs_of[run.strand].append(run)
        self.neighbours: list[list[tuple[int, float]]] = [[] for _ in range(woven.count)]
        for a, b, weight in woven.springs:
            self.neighbours[a].append((b, weight))
            self.neighbours[b].append((a, weight))
        self._plant()

    def _plant(self) -> None:
        """The tree of bands: strands are numbered from 0, band g is −1 − g."""
        bands = self.woven.bands
        self.inside: dict[int, list[int]] = {0: []}
        self.boxes_of: dict[int, list[int]] = {0: []}
        self.fixed: dict[int, float] = {}
        outer: dict[int, int] = {}
        for i, box in enumerate(self.boxes):
            band = bands.find(i + 1)
            self.boxes_of.setdefault(band, []).append(i)
            if band not in outer:
                outer[band] = bands.find(0 if box.parent is None else box.parent + 1)
                self.inside.setdefault(band, [])
            if box.kind in _LANES:
                self.fixed[-1 - band] = _LANES[box.kind]
        for band, around in outer.items():
            self.inside.setdefault(around, []).append(-1 - band)
        for strand, band in enumerate(self.woven.home):
            self.inside[band].append(strand)
        self.sequence = [0]  # bands, outer before inner
        for band in self.sequence:
            self.sequence += [-1 - item for item in self.inside[band] if item < 0]

    # -- order -------------------------------------------------------------------------------

    def place(self) -> list[float]:
        """The coordinate of each strand: the best arrangement that was met."""
        self._sort([float(strand) for strand in range(self.count)])
        self._constrain()
        sweeps = max(1, min(_SWEEPS, _EFFORT // (self.size + self.count + 1)))
        wish, best, cost, order = [0.0] * self.count, [0.0] * self.count, inf, self.inside
        for sweep in range(sweeps):
            here = self._settle(self._wishes(self._settle(wish), 0.0))
            found = self._cost(here)
            if found < cost:
                best, cost, order = here, found, {band: list(items) for band, items in self.inside.items()}
            wish = self._wishes(here, 0.0 if sweep % 2 else 0.3)
            self._sort(wish)
            self._constrain()
        self.inside = order
        self._constrain()
        passes = max(2, min(_PASSES, sweeps))
        best = self._tidy(self._polish(self._swap(best), passes), passes)
        self._close_up(best)
        return best

    def _swap(self, best: list[float]) -> list[float]:
        """Exchange neighbours wherever that makes links shorter: worth it while the picture is small."""
        tries = _EFFORT // (16 * (self.size + self.count + 1))
        cost, improved = self._cost(best), True
        while improved and tries > 0:
            improved = False
            for band in self.sequence:
                items = self.inside[band]
                for i in range(len(items) - 1):
                    if tries <= 0 or self.fixed.get(items[i]) or self.fixed.get(items[i + 1]):
                        continue
                    tries -= 1
                    items[i], items[i + 1] = items[i + 1], items[i]
                    self._constrain()
                    here = best
                    for _ in range(4):
                        here = self._settle(self._wishes(self._settle(here), 0.0))
                    found = self._cost(here)
                    if found < cost - 1e-6:
                        best, cost, improved = here, found, True
                    else:
                        items[i], items[i + 1] = items[i + 1], items[i]
        self._constrain()
        return best

    def _tidy(self, best: list[float], passes: int) -> list[float]:
        """What hangs on one other strand is ordered once more by that alone, if this makes links shorter."""
        order = {band: list(items) for band, items in self.inside.items()}
        self._sort([best[them[0][0]] if len(them) == 1 else best[i] for i, them in enumerate(self.neighbours)])
        self._constrain()
        here = self._polish(self._settle(best), passes)
        if self._cost(here) < self._cost(best):
            return here
        self.inside = order
        self._constrain()
        return best

    def _wishes(self, here: Sequence[float], inertia: float) -> list[float]:
        """Where each strand would lie if only its neighbours counted."""
        wish = []
        for strand, neighbours in enumerate(self.neighbours):
            weight = fsum(w for _, w in neighbours)
            if not weight:
                wish.append(here[strand])
                continue
            mean = fsum(here[other] * w for other, w in neighbours) / weight
            wish.append(mean * (1 - inertia) + here[strand] * inertia)
        return wish

    def _sort(self, wish: Sequence[float]) -> None:
        """Order what is inside each band; a band as a whole wishes what its strands wish on the average."""
        total: dict[int, float] = {}
        count: dict[int, int] = {}
        for band in reversed(self.sequence):
            total[band] = fsum(wish[i] if i >= 0 else total[-1 - i] for i in self.inside[band])
            count[band] = sum(1 if i >= 0 else count[-1 - i] for i in self.inside[band])
        for band in self.sequence:
            self.inside[band].sort(
                key=lambda i: wish[i] if i >= 0 else self.fixed.get(i, total[-1 - i] / max(count[-1 - i], 1))
            )

    def _close_up(self, where: list[float]) -> None:
        """Lanes stand close under each other: nothing else pulls them together."""
        if len(self.fixed) < 2:
            return
        borders = self.borders(where)
        place = {box.kind: i for i, box in enumerate(self.boxes) if box.kind in _LANES}
        shift = borders[place["forward"]][1] + 2 * BOX_GAP - borders[place["backward"]][0]
        lane = {i for i, box in enumerate(self.boxes) if i == place["backward"] or box.parent == place["backward"]}
        for i, box in enumerate(self.boxes):
            if box.parent in lane:
                lane.add(i)
        for strand in dict.fromkeys(run.strand for run in self.woven.runs if run.box in lane):
            where[strand] += shift

    # -- constraints -------------------------------------------------------------------------

    def _constrain(self) -> None:
        """All (a, b, d): b lies at least d after a. Strands are numbered first, then top and bottom of boxes."""
        self.before: list[list[tuple[int, float]]] = [[] for _ in range(self.count + 2 * len(self.boxes))]
        self.after: list[list[tuple[int, float]]] = [[] for _ in self.before]
        self.line: list[int] = []  # every number after all that come before it
        last: list[dict[int, Held]] = [{} for _ in range(len(self.boxes) + 1)]
        stack = [(-1, True)]
        while stack:
            item, opening = stack.pop()
            if item >= 0:
                self.line.append(item)
                for run in self.runs_of[item]:
                    gap = NODE_GAP if run.node else LANE_GAP
                    self._append(run.box, run.first, run.last, item, run.low, item, run.high, gap, last)
            elif opening:
                stack.append((item, False))
                stack += [(inner, True) for inner in reversed(self.inside[-1 - item])]
                for box in self.boxes_of[-1 - item]:
                    self.line.append(self.count + 2 * box)
                    self._open(box, last)
            else:
                for box in self.boxes_of[-1 - item]:
                    self._close(box, last)
        self.size = sum(map(len, self.before))

    def _need(self, a: int, b: int, distance: float) -> None:
        self.before[b].append((a, distance))
        self.after[a].append((b, distance))

    def _append(
        self, box: int, first: int, final: int, top: int, low: float, bottom: int, high: float, gap: float,
        last: list[dict[int, Held]],
    ) -> None:  # fmt: skip
        """Put the next member into a box: after those that stand in the same ranks before it."""
        column = last[box]
        needs: dict[int, float] = {}
        for rank in range(first, final + 1):
            held = column.get(rank)
            if held is not None:
                needs[held[0]] = max(needs.get(held[0], 0.0), held[1] + held[2] + gap + low)
            elif box >= 0:
                head = self.heads[box][2 if rank == self.spans[box][0] else 0]
                needs[self.count + 2 * box] = max(needs.get(self.count + 2 * box, 0.0), head + low)
            column[rank] = (bottom, high, gap)
        for number, distance in needs.items():
            self._need(number, top, distance)

    def _open(self, box: int, last: list[dict[int, Held]]) -> None:
        """The top of a box comes after what stands before it in any of its ranks."""
        parent, (first, final) = self.boxes[box].parent, self.spans[box]
        top = self.count + 2 * box
        self._append(-1 if parent is None else parent, first, final, top, 0.0, top + 1, 0.0, BOX_GAP, last)

    def _close(self, box: int, last: list[dict[int, Held]]) -> None:
        top, bottom = self.count + 2 * box, self.count + 2 * box + 1
        self.line.append(bottom)
        heads = self.heads[box]
        self._need(top, bottom, heads[3])
        for number, high, _ in dict.fromkeys(last[box].values()):
            self._need(number, bottom, high + heads[1])

    # -- places ------------------------------------------------------------------------------

    def _settle(self, wish: Sequence[float]) -> list[float]:
        """The mean of all pushed down and all pushed up: the nearest to the wishes, or close to it."""
        down, up = [-inf] * len(self.before), [inf] * len(self.before)
        for v in self.line:
            low = wish[v] if v < self.count else -inf
            for a, distance in self.before[v]:
                if down[a] + distance > low:
                    low = down[a] + distance
            down[v] = low
        for v in reversed(self.line):
            high = wish[v] if v < self.count else inf
            for b, distance in self.after[v]:
                if up[b] - distance < high:
                    high = up[b] - distance
            up[v] = high
        return [(down[v] + up[v]) / 2 for v in range(self.count)]

    def _cost(self, where: Sequence[float]) -> float:
        return fsum(weight * abs(where[a] - where[b]) for a, b, weight in self.woven.springs)

    def _polish(self, where: list[float], passes: int) -> list[float]:
        best, cost = where, self._cost(where)
        for _ in range(passes):
            where = self._settle(self._wishes(where, 0.2))
            found = self._cost(where)
            if found < cost:
                best, cost = where, found
        best = list(best)
        for _ in range(passes):
            if not (self._pull(best, True) | self._pull(best, False)):
                break
        return best

    def _pull(self, where: list[float], up: bool) -> bool:
        """Move every strand up (or down) to the middle one of its neighbours, as far as there is room."""
        moved = False
        bound = [-inf if up else inf] * len(self.before)
        for v in self.line if up else reversed(self.line):
            if up:
                limit = max((bound[a] + d for a, d in self.before[v]), default=-inf)
            else:
                limit = min((bound[b] - d for b, d in self.after[v]), default=inf)
            if v >= self.count:
                bound[v] = limit
                continue
            low, high = self._median(v, where)
            if low < where[v] < high and min(where[v] - low, high - where[v]) < _SNAP:  # rather straight than nearly so
                low = high = low if where[v] - low < high - where[v] else high
            if up and where[v] > high:
                there = min(max(limit, high), where[v])
            elif not up and where[v] < low:
                there = max(min(limit, low), where[v])
            else:
                there = where[v]
            moved |= abs(there - where[v]) > 1e-6
            where[v] = bound[v] = there
        return moved

    def _median(self, v: int, where: Sequence[float]) -> tuple[float, float]:
        """Between these two a strand lies best: its neighbours pull equally hard on both sides."""
        neighbours = sorted((where[other], weight) for other, weight in self.neighbours[v])
        half = fsum(weight for _, weight in neighbours) / 2
        low = high = where[v]
        total = 0.0
        for place, (there, weight) in enumerate(neighbours):
            total += weight
            if total >= half:
                low = there
                high = neighbours[place + 1][0] if total == half and place + 1 < len(neighbours) else there
                break
        return low, high

    # -- boxes -------------------------------------------------------------------------------

    def borders(self, where: Sequence[float]) -> list[tuple[float, float]]:
        """Top and bottom of each box, as close to its members as its own least height lets them."""
        n = self.count
        found = [*where, *([inf] * (2 * len(self.boxes)))]
        for v in reversed(self.line):
            if v >= n:
                found[v] = min((found[b] - d for b, d in self.after[v]), default=inf)
        for v in self.line:
            if v >= n and (v - n) % 2:
                found[v] = max((found[a] + d for a, d in self.before[v]), default=-inf)
        return [(found[n + 2 * box], found[n + 2 * box + 1]) for box in range(len(self.boxes))]
