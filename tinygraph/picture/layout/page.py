"""The built-in layout, for machines without Graphviz: where everything stands.

Ranks first (``ranks``), then chains that stay straight (``strands``), their order and coordinates
(``across``), columns, and at last the curves (``route``). All of it is plain Python, without recursion, and
gives the same result every time. Inside, a place is (along, across) the direction of ranks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ..model import View
from .across import Across
from .measure import Shape, shape, width
from .ranks import box_spans, links, ranks
from .route import Columns, Route, points_on, routes
from .strands import Strands, strands

PAD = 14.4  # around the page
HEADING = 36.0  # the height of title and legend
MARGIN, TITLE = 8.0, 19.0  # inside a box: around its members, and for its title
_GAP, _WIDEST = 20.0, 52.0  # between ranks


@dataclass(frozen=True, slots=True)
class Rectangle:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands, in points from the upper left. All is found by its id.

    ``centres`` are the middles of wires, around which ``shapes`` lie; ``edges`` are Bézier curves from tail
    to head: a start, then three points for each piece; ``labels`` the middles of labels; ``titles`` those of
    boxes: x, y of the baseline, and the anchor, "start" or "end".
    """

    width: float
    height: float
    nodes: dict[str, Rectangle]
    centres: dict[str, tuple[float, float]]
    shapes: dict[str, Shape]
    boxes: dict[str, Rectangle]
    edges: dict[str, Route]
    labels: dict[str, tuple[float, float]]
    titles: dict[str, tuple[float, float, str]]


def lay_out(view: View) -> Layout:
    """Find a place for everything in a View.

    >>> import tinygraph as tg
    >>> x = tg.tensor(2.0, requires_grad=True, name="x")
    >>> found = lay_out(tg.draw(tg.exp(x)).view)
    >>> [place.y + place.height / 2 for place in found.nodes.values()] == [found.centres["v1"][1]] * 3
    True
    """
    across = view.rankdir == "LR"
    shapes = [shape(node, across, view.lanes) for node in view.nodes]
    edges = links(view)
    rank = ranks(view, edges)
    spans = box_spans(view, rank)
    woven = strands(view, edges, rank, spans, shapes, across)
    solver = Across(woven, view.boxes, spans, [_heads(box.title, box.kind, across) for box in view.boxes])
    where = solver.place()
    columns = _columns(view, woven, spans, shapes, where, across)
    return _page(view, woven, spans, shapes, solver, where, columns)


def _heads(title: str, kind: str, across: bool) -> tuple[float, float, float, float]:
    """Margins of a box: before all members, after all, before those in the first rank; and its least height."""
    words = width(title, 11) + 2 * MARGIN
    if not across:  # the title stands beside the first rank
        return (MARGIN, MARGIN, words, words)
    return (MARGIN, TITLE, MARGIN, 0.0) if kind == "backward" else (TITLE, MARGIN, TITLE, 0.0)


Spans = Sequence[tuple[int, int]]
Frame = tuple[float, float, float, float]


def _columns(
    view: View, woven: Strands, spans: Spans, shapes: Sequence[Shape], where: Sequence[float], across: bool
) -> Columns:
    """Where each rank begins and ends, and between which lines the curves from one to the next stay."""
    count = max((run.last for run in woven.runs), default=-1) + 1
    wide, gaps = [0.0] * count, [_GAP] * (count + 1)
    for run, s in zip(woven.runs, shapes, strict=False):
        wide[run.first] = max(wide[run.first], s.wide if across else s.high)
    for edge, lane in zip(view.edges, woven.lanes, strict=True):
        if edge.label:
            run = woven.runs[lane[len(lane) // 2]]
            wide[run.first] = max(wide[run.first], width(edge.label, 13) + 12 if across else 20.0)
        for a, b in pairwise(lane):
            one, other = woven.runs[a], woven.runs[b]
            bend = abs(where[one.strand] - where[other.strand])
            gap = min(one.last, other.last) + 1
            gaps[gap] = max(gaps[gap], min(_GAP + bend / 6, _WIDEST))
    left, right = nesting(view, spans)
    before, after = [0] * count, [0] * count
    for (first, last), l, r in zip(spans, left, right, strict=True):
        if last >= 0:
            before[first], after[last] = max(before[first], l), max(after[last], r)
    if across:
        _widen(view, spans, wide, gaps)
    return Columns.spread(wide, gaps, [n * MARGIN for n in before], [n * MARGIN for n in after])


def _widen(view: View, spans: Spans, wide: list[float], gaps: Sequence[float]) -> None:
    """Make room for titles that are longer than their boxes."""
    sums = [0.0, *accumulate(w + g for w, g in zip(wide, gaps[1:], strict=True))]
    for box, (first, last) in zip(view.boxes, spans, strict=True):
        if last >= 0:
            lacking = width(box.title, 11) + 4 - (sums[last + 1] - sums[first] - gaps[last + 1])
            wide[last] += max(0.0, lacking)
            if lacking > 0:
                sums = [0.0, *accumulate(w + g for w, g in zip(wide, gaps[1:], strict=True))]


def nesting(view: View, spans: Spans) -> tuple[list[int], list[int]]:
    """For each box, how many borders lie over each other at its first and at its last rank, its own included."""
    left, right = [1] * len(spans), [1] * len(spans)
    for i in reversed(range(len(spans))):  # parents come before what they hold
        parent = view.boxes[i].parent
        if parent is not None and spans[i][1] >= 0:
            if spans[i][0] == spans[parent][0]:
                left[parent] = max(left[parent], left[i] + 1)
            if spans[i][1] == spans[parent][1]:
                right[parent] = max(right[parent], right[i] + 1)
    return left, right


# -- the page -------------------------------------------------------------------------------------


def _page(
    view: View,
    woven: Strands,
    spans: Spans,
    shapes: Sequence[Shape],
    solver: Across,
    where: Sequence[float],
    columns: Columns,
) -> Layout:
    """Turn (along, across) into (x, y) on a page with room for the heading."""
    across = view.rankdir == "LR"
    left, right = nesting(view, spans)
    curves, spots = routes(view, woven, shapes, where, columns, across)
    centres = [(columns.middle(run.first), where[run.strand]) for run in woven.runs[: len(shapes)]]
    borders = solver.borders(where)
    frames = [
        (columns.start[first] - MARGIN * l, top, columns.end[last] + MARGIN * r, bottom) if last >= 0 else None
        for (first, last), l, r, (top, bottom) in zip(spans, left, right, borders, strict=True)
    ]
    titles = _titles(view, frames, curves, columns)
    if not across:
        centres = [(y, x) for x, y in centres]
        frames = [f and (f[1], f[0], f[3], f[2]) for f in frames]
        curves = [tuple((y, x) for x, y in curve) for curve in curves]
        spots = {id: (y, x) for id, (x, y) in spots.items()}
    corners = [(x - s.left, y - s.top) for (x, y), s in zip(centres, shapes, strict=True)]
    corners += [(x + s.right, y + s.bottom) for (x, y), s in zip(centres, shapes, strict=True)]
    corners += [corner for f in frames if f for corner in ((f[0], f[1]), (f[2], f[3]))]
    corners += [(x + d, y + d) for curve in curves for x, y in curve for d in (-4, 4)]
    heading = HEADING if view.title or view.legend else 0.0
    dx = PAD - min((x for x, _ in corners), default=0)
    dy = PAD + heading - min((y for _, y in corners), default=0)
    wide = max([x + dx for x, _ in corners] + [heading_width(view) + PAD]) + PAD
    high = max([y + dy for _, y in corners] + [PAD + heading]) + PAD
    nodes = {
        node.id: Rectangle(x + dx - s.left, y + dy - s.top, s.wide, s.high)
        for node, (x, y), s in zip(view.nodes, centres, shapes, strict=True)
    }
    return Layout(
        wide,
        high,
        nodes,
        {node.id: (x + dx, y + dy) for node, (x, y) in zip(view.nodes, centres, strict=True)},
        {node.id: s for node, s in zip(view.nodes, shapes, strict=True)},
        {
            box.id: Rectangle(f[0] + dx, f[1] + dy, f[2] - f[0], f[3] - f[1])
            for box, f in zip(view.boxes, frames, strict=True)
            if f
        },
        {edge.id: tuple((x + dx, y + dy) for x, y in curve) for edge, curve in zip(view.edges, curves, strict=True)},
        {id: (x + dx, y + dy) for id, (x, y) in spots.items()},
        {id: (x + dx, y + dy, anchor) for id, (x, y, anchor) in titles.items()},
    )


def _titles(
    view: View, frames: Sequence[Frame | None], curves: Sequence[Route], columns: Columns
) -> dict[str, tuple[float, float, str]]:
    """Titles stand in the upper left corner of their boxes, or right of the curves that come through there."""
    found: dict[str, tuple[float, float, str]] = {}
    across = view.rankdir == "LR"
    bends = _bends(curves, columns) if across else []
    for box, frame in zip(view.boxes, frames, strict=True):
        if frame is None:
            continue
        left, top, right, bottom = frame if across else (frame[1], frame[0], frame[3], frame[2])
        if box.kind == "backward" and across:
            found[box.id] = (right - MARGIN, bottom - 7, "end")
            continue
        x = left + MARGIN
        if box.kind == "scope" and across:
            wide = width(box.title, 11)
            for start, end in sorted(_struck(bends, columns, left, right, top + 3, top + 17)):
                if start < x + wide + 3 and end > x - 3:
                    x = end + 5
            x = x if x + wide <= right - 4 else left + MARGIN
        found[box.id] = (x, top + 13.5, "start")
    return found


def _bends(curves: Sequence[Route], columns: Columns) -> list[list[Route]]:
    """The pieces of curves that are not level, gap by gap."""
    starts = [left for left, _ in columns.gaps]
    found: list[list[Route]] = [[] for _ in starts]
    for curve in curves:
        for i in range(0, len(curve) - 1, 3):
            if abs(curve[i][1] - curve[i + 3][1]) > 0.5:
                middle = (curve[i][0] + curve[i + 3][0]) / 2
                found[max(bisect_right(starts, middle) - 1, 0)].append(curve[i : i + 4])
    return found


def _struck(
    bends: Sequence[Sequence[Route]], columns: Columns, left: float, right: float, top: float, bottom: float
) -> Iterator[tuple[float, float]]:
    """From where to where curves run through a row of a box."""
    starts = [start for start, _ in columns.gaps]
    for gap in range(max(bisect_right(starts, left) - 1, 0), bisect_right(starts, right)):
        for piece in bends[gap]:
            a, d = piece[0][1], piece[3][1]
            if min(a, d) < bottom and max(a, d) > top:
                inside = [x for x, y in points_on(piece) if top - 4 <= y <= bottom + 4]
                if inside:
                    yield min(inside) - 3, max(inside) + 3


def heading_width(view: View) -> float:
    return max((x + w for x, w, *_ in heading(view)), default=0.0)


def heading(view: View) -> list[tuple[float, float, str, str, int, bool]]:
    """Title and legend in one row: (x, width, text, role, size, italic) from the left edge of the row."""
    parts: list[tuple[float, float, str, str, int, bool]] = []
    x = 0.0

    def put(text: str, role: str, size: int, italic: bool, space: float) -> None:
        nonlocal x
        wide = width(text, size, size == 15)
        parts.append((x, wide, text, role, size, italic))
        x += wide + space

    if view.title:
        put(view.title, "ink", 15, False, 24)
    for role, text in view.legend:
        arrow, rest = (text[0], text[2:]) if text[:1] in ("►", "◄") else ("", text)
        if arrow:
            put(arrow, f"{role}l", 9, False, 3)
        put(rest, role, 11, role == "bwd", 22)
    return parts
