"""The curves of the built-in layout: straight along their rank, and bent only in the gaps between ranks.

So no curve runs through a node, and boxes are entered and left through their sides, never through a title.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, cos, pi, radians, sin, tan

from ..model import View
from .measure import Shape
from .strands import Run, Strands

Point = tuple[float, float]
Route = tuple[Point, ...]

_STEEP, _FLAT = radians(56), radians(22)


@dataclass(frozen=True, slots=True)
class Columns:
    """Start and end of each rank; ``gaps[r]`` are the lines between which curves bend before rank r."""

    start: list[float]
    end: list[float]
    gaps: list[tuple[float, float]]

    @classmethod
    def spread(
        cls, wide: Sequence[float], gaps: Sequence[float], before: Sequence[float], after: Sequence[float]
    ) -> Columns:
        start, end, zones = [], [], [(0.0, gaps[0])]
        for w, gap, b, a in zip(wide, gaps[1:], before, after, strict=True):
            start.append(zones[-1][1] + b)
            end.append(start[-1] + w)
            zones.append((end[-1] + a, end[-1] + a + gap))
        return cls(start, end, zones)

    def middle(self, rank: int) -> float:
        return (self.start[rank] + self.end[rank]) / 2


def routes(
    view: View, woven: Strands, shapes: Sequence[Shape], where: Sequence[float], columns: Columns, across: bool
) -> tuple[list[Route], dict[str, Point]]:
    """A curve from tail to head for each edge, and the middles of labels, as (along, across)."""
    ports = _Ports(woven, shapes, where, columns, across)
    curves, labels = [], {}
    for edge, lane in zip(view.edges, woven.lanes, strict=True):
        runs = [woven.runs[place] for place in lane]
        one, other = ports.of(lane, 0), ports.of(lane, 1)
        curve = _curve(runs, [where[run.strand] for run in runs], one, other, columns)
        curves.append(curve[::-1] if edge.backward else curve)
        if edge.label:
            run = runs[len(runs) // 2]
            shift = -run.low / 2 - 1 if across else run.high / 2 + 1
            labels[edge.id] = (columns.middle(run.first), where[run.strand] + shift)
    return curves, labels


@dataclass(frozen=True, slots=True)
class _Port:
    """Where a curve meets a node: ``slope`` is its direction there, and ``reach`` how far it may stray in the column."""

    x: float
    y: float
    slope: float
    low: float
    high: float

    def meets(self, x: float) -> float:
        """The height at which a curve that ends here enters or leaves the column, at ``x``."""
        return min(max(self.y + abs(x - self.x) * self.slope, self.low), self.high)


class _Ports:
    def __init__(
        self, woven: Strands, shapes: Sequence[Shape], where: Sequence[float], columns: Columns, across: bool
    ) -> None:
        self.woven, self.shapes, self.where, self.columns, self.across = woven, shapes, where, columns, across
        self.angles: dict[tuple[int, int], list[float]] = {}
        sides: dict[tuple[int, int], list[tuple[float, int]]] = {}
        for lane in woven.lanes:
            for side in (0, 1):
                node, beside = lane[-side], lane[-2 if side else 1]
                offsets = sides.setdefault((node, side), [])
                offsets.append((self._y(beside) - self._y(node), len(offsets)))
        for key, offsets in sides.items():
            self.angles[key] = _angles(offsets)[::-1]

    def _y(self, place: int) -> float:
        return self.where[self.woven.runs[place].strand]

    def of(self, lane: Sequence[int], side: int) -> _Port:
        """The port of the next link at the left (0) or right (1) end of a lane; links come in their order."""
        node = lane[-side]
        angle = self.angles[node, side].pop()
        shape, y, x = self.shapes[node], self._y(node), self.columns.middle(self.woven.runs[node].first)
        half, reach = (shape.wide / 2, shape.top) if self.across else (shape.high / 2, shape.left)
        out = -1 if side else 1
        if shape.kind == "circle":
            at = x + out * half * cos(angle), y + half * sin(angle)
            return _Port(*at, tan(angle), y - reach - 3, y + reach + 3)
        if shape.kind == "box":
            y += reach * 0.7 * sin(angle)
        return _Port(x + out * half, y, 0.0, y, y)


def _angles(offsets: Sequence[tuple[float, int]]) -> list[float]:
    """At what angles curves meet a circle: those from above above, those from below below, in order."""
    found = [0.0] * len(offsets)
    level = sorted(place for offset, place in offsets if abs(offset) < 0.5)
    for i, place in enumerate(level):
        found[place] = _FLAT * (2 * i / (len(level) - 1) - 1) if len(level) > 1 else 0.0
    for sign in (-1, 1):
        there = sorted((abs(offset), place) for offset, place in offsets if offset * sign >= 0.5)
        least = _FLAT * (2 if len(level) > 1 else 1.3) if level else 0.0
        for i, (offset, place) in enumerate(there):
            if len(there) == 1:
                angle = min(max(atan2(offset, 50.0), least), pi / 4)
            else:
                angle = least + (_STEEP - least) * i / (len(there) - 1)
            found[place] = sign * angle
    return found


def _curve(runs: Sequence[Run], levels: Sequence[float], one: _Port, other: _Port, columns: Columns) -> Route:
    """From the port on the left to that on the right, by way of the lanes."""
    points: list[Point] = [(one.x, one.y)]
    if runs[0].first >= runs[-1].last:
        _turn_back(points, runs, levels, one, other, columns)
    else:
        last = len(runs) - 1
        for i, (a, b) in enumerate(pairwise(runs)):
            left, right = columns.gaps[a.last + 1][0], columns.gaps[b.first][1]
            ya = one.meets(left) if i == 0 else levels[i]
            yb = other.meets(right) if i == last - 1 else levels[i + 1]
            sa = _slope(one, left) if i == 0 else 0.0
            sb = _slope(other, right) if i == last - 1 else 0.0
            _line(points, left, ya)
            if ya == yb and not sa and not sb:
                _line(points, right, yb)
            else:
                bend = (right - left) / 2
                points += [(left + bend, ya + sa * bend / 2), (right - bend, yb + sb * bend / 2), (right, yb)]
    _line(points, other.x, other.y)
    return tuple(points)


def _slope(port: _Port, x: float) -> float:
    length = abs(x - port.x)
    return (port.meets(x) - port.y) / length if length > 0.1 else port.slope


def _turn_back(
    points: list[Point], runs: Sequence[Run], levels: Sequence[float], one: _Port, other: _Port, columns: Columns
) -> None:
    """A link against the ranks: out to the right, back on its lane, and in from the left."""
    out, back = columns.gaps[runs[0].last + 1], columns.gaps[runs[-1].first]
    level = levels[1] if len(runs) > 2 else (levels[0] + levels[-1]) / 2
    _line(points, out[0], one.y)
    x = out[1] + 8
    points += [(x, one.y), (x, level), (out[0], level)]
    _line(points, back[1], level)
    x = back[0] - 8
    points += [(x, level), (x, other.y), (back[1], other.y)]


def _line(points: list[Point], x: float, y: float) -> None:
    """A straight piece, which takes the place of the one before if that lies on the same line."""
    x0, y0 = points[-1]
    if abs(x - x0) < 0.01 and abs(y - y0) < 0.01:
        return
    if len(points) > 3 and y == y0 and points[-4][1] == points[-3][1] == points[-2][1] == y0:
        del points[-3:]
        x0 = points[-1][0]
    points += [(x0 + (x - x0) / 3, y0 + (y - y0) / 3), (x - (x - x0) / 3, y - (y - y0) / 3), (x, y)]


def points_on(piece: Route, count: int = 24) -> Iterator[Point]:
    """Points on a Bézier curve."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = piece
    for i in range(count + 1):
        t = i / count
        a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
        yield a * ax + b * bx + c * cx + d * dx, a * ay + b * by + c * cy + d * dy
