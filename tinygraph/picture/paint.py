"""The built-in painter: a View, laid out without Graphviz, as SVG of the same structure and the same look."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from math import hypot

from .layout.measure import CARDS, RING, Shape
from .layout.page import PAD, Layout, Rectangle, heading, lay_out
from .model import Box, Edge, Fold, Item, Op, View, Wire
from .values import LABEL, TOOLTIP, clean

Palette = Mapping[str, str]
Point = tuple[float, float]

FONT = "Helvetica,Arial,sans-serif"
_ARROW, _BARB = 6.5, 2.28  # length, and half the width, of an arrowhead
_APART = 1.0  # between the two lines of an edge and their middle
_LANES = {"forward": "fwd", "backward": "bwd"}


def paint(view: View, palette: Palette) -> ET.Element:
    """Draw a View as an ``<svg>`` element; needs no Graphviz and no fonts.

    >>> import tinygraph as tg
    >>> from tinygraph.picture.theme import LIGHT
    >>> x = tg.tensor(2.0, requires_grad=True, name="x")
    >>> root = paint(tg.draw(tg.exp(x)).view, LIGHT)
    >>> [group.get("id") for group in root.iter("g") if group.get("class") == "node"]
    ['v1', 'op1', 'v2']
    """
    return _Painter(view, lay_out(view), palette).paint()


class _Painter:
    def __init__(self, view: View, layout: Layout, palette: Palette) -> None:
        self.view, self.layout, self.palette = view, layout, palette

    def paint(self) -> ET.Element:
        wide, high = self.layout.width, self.layout.height
        root = ET.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "width": "100%",
                "viewBox": f"0 0 {_n(wide)} {_n(high)}",
                "style": f"max-width:{_n(wide)}pt",
            },
        )
        root.append(ET.Comment(" layout: tinygraph builtin "))
        graph = ET.SubElement(root, "g", {"id": "graph0", "class": "graph"})
        page = {"fill": self.palette["bg"], "stroke": "none"}
        ET.SubElement(graph, "polygon", {**page, "points": _points([(0, 0), (wide, 0), (wide, high), (0, high)])})
        self._heading(graph)
        for box in self.view.boxes:
            if box.id in self.layout.boxes:
                self._box(graph, box, self.layout.boxes[box.id])
        for edge in self.view.edges:
            self._edge(graph, edge)
        for node in self.view.nodes:
            self._node(graph, node)
        return root

    # -- parts -------------------------------------------------------------------------------

    def _group(self, graph: ET.Element, id: str, kind: str, title: str) -> ET.Element:
        group = ET.SubElement(graph, "g", {"id": id, "class": kind})
        if title.strip():
            ET.SubElement(group, "title").text = clean(title, TOOLTIP)
        return group

    def _text(
        self, group: ET.Element, x: float, y: float, words: str, role: str, size: int,
        anchor: str = "middle", bold: bool = False, italic: bool = False,
    ) -> None:  # fmt: skip
        if not words:
            return
        attributes = {"text-anchor": anchor, "x": _n(x), "y": _n(y), "font-family": FONT}
        if bold:
            attributes["font-weight"] = "bold"
        if italic:
            attributes["font-style"] = "italic"
        attributes |= {"font-size": _n(size), "fill": self.palette[role]}
        ET.SubElement(group, "text", attributes).text = words

    def _heading(self, graph: ET.Element) -> None:
        for x, _, words, role, size, italic in heading(self.view):
            self._text(graph, 1.5 * PAD + x, PAD + 15, words, role, size, "start", size == 15, italic)

    def _box(self, graph: ET.Element, box: Box, place: Rectangle) -> None:
        group = self._group(graph, box.id, "cluster", box.title)
        frame = _rounded(place.x, place.y, place.x + place.width, place.y + place.height, 12)
        ET.SubElement(group, "path", {"fill": self.palette["clus"], "stroke": self.palette["clusb"], "d": frame})
        role = _LANES.get(box.kind, "mute")
        x, y, anchor = self.layout.titles[box.id]
        self._text(group, x, y, box.title, role, 11, anchor)

    # -- nodes -------------------------------------------------------------------------------

    def _node(self, graph: ET.Element, node: Item) -> None:
        group = self._group(graph, node.id, "node", node.tooltip)
        (x, y), shape = self.layout.centres[node.id], self.layout.shapes[node.id]
        if isinstance(node, Wire) and shape.kind == "pill":
            self._pill(group, node, x, y, shape)
        elif isinstance(node, Wire):
            self._wire(group, node, x, y, shape)
        else:
            self._op(group, node, x, y, shape)
        for text in shape.texts:
            self._text(
                group, x + text.x, y + text.y, text.words, text.role, text.size, text.anchor, text.bold, text.italic
            )

    def _pill(self, group: ET.Element, wire: Wire, x: float, y: float, shape: Shape) -> None:
        saved = wire.role == "saved"
        border = "bwd" if not wire.finite else "fwdl" if saved else "conb"
        style = {"fill": self.palette["con"], "stroke": self.palette[border], "stroke-width": "1.4"}
        if saved:
            style["stroke-dasharray"] = "5,2"
        ET.SubElement(group, "path", {**style, "d": _outline(shape, x, y, 6)})

    def _wire(self, group: ET.Element, wire: Wire, x: float, y: float, shape: Shape) -> None:
        """A card is filled, and its border comes last, over the ends of the bar."""
        card, thick = CARDS.get(wire.role), 2 if wire.finite else 3
        color = self.palette["bwd" if not wire.finite else f"{card}b" if card else "opb"]
        outline = _outline(shape, x, y, 12, inset=1)
        if card:
            ET.SubElement(group, "path", {"fill": self.palette[card], "stroke": "none", "d": outline})
        inset, half = 1.5 if card else 0.0, thick / 2
        if self.view.rankdir == "LR":
            left, right, top, bottom = x - shape.left + inset, x + shape.right - inset, y - half, y + half
        else:
            left, right, top, bottom = x - half, x + half, y - shape.top + inset, y + shape.bottom - inset
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        ET.SubElement(group, "polygon", {"fill": color, "stroke": "none", "points": _points(corners)})
        if card:
            ET.SubElement(group, "path", {"fill": "none", "stroke": color, "stroke-width": _n(thick), "d": outline})

    def _op(self, group: ET.Element, node: Op | Fold, x: float, y: float, shape: Shape) -> None:
        fill = self.palette["clus" if isinstance(node, Fold) else "op"]
        color = self.palette["bwdl" if node.backward else "opb"]
        style = {"fill": fill, "stroke": color, "stroke-width": "1.6"}
        double = isinstance(node, Fold) or node.fused or node.sum
        for inset in (0.0, RING) if double else (0.0,):
            if shape.kind == "circle":
                r = _n(shape.left - inset)
                ET.SubElement(group, "ellipse", {**style, "cx": _n(x), "cy": _n(y), "rx": r, "ry": r})
            else:
                ET.SubElement(group, "path", {**style, "d": _outline(shape, x, y, 12 - inset, inset)})

    # -- edges -------------------------------------------------------------------------------

    def _edge(self, graph: ET.Element, edge: Edge) -> None:
        group = self._group(graph, edge.id, "edge both" if edge.gradient else "edge", edge.tooltip)
        curve = list(self.layout.edges[edge.id])
        if edge.mark:
            self._marked(group, edge, curve)
        elif edge.gradient:
            self._both(group, curve)
        else:
            hollow = edge.backward and edge.role not in ("saved", "constant")
            role = {"saved": "fwdl", "constant": "conl"}.get(edge.role, "bwdl" if edge.backward else "fwdl")
            self._single(group, curve, self.palette[role], 1.4, hollow, "5,2" if edge.role == "saved" else "")

    def _marked(self, group: ET.Element, edge: Edge, curve: list[Point]) -> None:
        wrong = edge.mark == "wrong"
        color = self.palette["bwdl" if wrong else "conl"]
        if wrong and edge.gradient:  # what is wrong is the gradient, which runs against the value
            self._single(group, curve[::-1], color, 3.0, hollow=False, dashes="")
        else:
            self._single(group, curve, color, 3.0 if wrong else 1.4, edge.backward, "")
        if edge.gradient and not wrong:
            self._head(group, curve[0], _cut(curve[::-1])[1], color, hollow=True)
        if edge.id in self.layout.labels:
            x, y = self.layout.labels[edge.id]
            self._text(group, x, y + 4.5, clean(edge.label, LABEL), "bwd", 13)

    def _both(self, group: ET.Element, curve: list[Point]) -> None:
        """Value and gradient: two lines, forward first, each with its arrowhead."""
        tail, head = curve[0], curve[-1]
        middle, after = _cut(curve)
        back, before = _cut(middle[::-1])
        back.reverse()
        # Looking along the edge, the value runs on the right: below a lying wire, as its gradient would not.
        for role, side in (("fwdl", _APART), ("bwdl", -_APART)):
            line = {"fill": "none", "stroke": self.palette[role], "stroke-width": "1.4"}
            ET.SubElement(group, "path", {**line, "d": _path(_beside(back, side))})
        self._head(group, tail, before, self.palette["bwdl"], hollow=True)
        self._head(group, head, after, self.palette["fwdl"], hollow=False)

    def _single(
        self, group: ET.Element, curve: list[Point], color: str, thick: float, hollow: bool, dashes: str
    ) -> None:
        head = curve[-1]
        rest, after = _cut(curve)
        style = {"fill": "none", "stroke": color, "stroke-width": _n(thick)}
        if dashes:
            style["stroke-dasharray"] = dashes
        ET.SubElement(group, "path", {**style, "d": _path(rest)})
        self._head(group, head, after, color, hollow, thick)

    def _head(self, group: ET.Element, tip: Point, base: Point, color: str, hollow: bool, thick: float = 1.4) -> None:
        dx, dy = base[0] - tip[0], base[1] - tip[1]
        length = hypot(dx, dy) or 1.0
        barb = _BARB * (1.4 if thick > 2 else 1.0) / length
        corners = [tip, (base[0] - dy * barb, base[1] + dx * barb), (base[0] + dy * barb, base[1] - dx * barb)]
        fill = "none" if hollow else color
        style = {"fill": fill, "stroke": color, "stroke-width": _n(min(thick, 1.4))}
        ET.SubElement(group, "polygon", {**style, "points": _points([*corners, tip])})


# -- geometry -------------------------------------------------------------------------------------


def _cut(curve: Sequence[Point]) -> tuple[list[Point], Point]:
    """A curve without its last piece under the arrowhead, and the point where it ends then."""
    points, need = list(curve), _ARROW
    while True:
        a, b, c, d = points[-4:]
        length = _length(a, b, c, d)
        if length > need + 0.5 or len(points) == 4:
            break
        need -= length
        del points[-3:]
    t = 1 - min(need / length, 0.95) if length else 0.5
    for _ in range(4):  # closer to the wanted distance, measured straight as the arrowhead lies
        first = _split(a, b, c, d, t)
        off = hypot(first[-1][0] - curve[-1][0], first[-1][1] - curve[-1][1]) - _ARROW
        t = min(max(t + off / max(length, 1.0) * 0.8, 0.05), 0.98)
    points[-4:] = _split(a, b, c, d, t)
    return points, points[-1]


def _length(a: Point, b: Point, c: Point, d: Point) -> float:
    chord = hypot(d[0] - a[0], d[1] - a[1])
    net = hypot(b[0] - a[0], b[1] - a[1]) + hypot(c[0] - b[0], c[1] - b[1]) + hypot(d[0] - c[0], d[1] - c[1])
    return (chord + net) / 2


def _split(a: Point, b: Point, c: Point, d: Point, t: float) -> list[Point]:
    """The part of a Bézier curve before ``t``."""
    ab, bc, cd = _between(a, b, t), _between(b, c, t), _between(c, d, t)
    abc, bcd = _between(ab, bc, t), _between(bc, cd, t)
    return [a, ab, abc, _between(abc, bcd, t)]


def _between(a: Point, b: Point, t: float) -> Point:
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t


def _beside(curve: Sequence[Point], distance: float) -> list[Point]:
    """A line beside a curve: each of its points moved along the normal there."""
    found = []
    for i, (x, y) in enumerate(curve):
        if i % 3 == 0:
            a, b = curve[max(i - 1, 0)], curve[min(i + 1, len(curve) - 1)]
        else:
            a, b = (curve[i - 1], curve[i + 2]) if i % 3 == 1 else (curve[i - 2], curve[i + 1])
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = hypot(dx, dy) or 1.0
        found.append((x - dy / length * distance, y + dx / length * distance))
    return found


def _outline(shape: Shape, x: float, y: float, radius: float, inset: float = 0.0) -> str:
    left, top = x - shape.left + inset, y - shape.top + inset
    return _rounded(left, top, x + shape.right - inset, y + shape.bottom - inset, radius)


def _rounded(left: float, top: float, right: float, bottom: float, radius: float) -> str:
    r = min(radius, (right - left) / 2, (bottom - top) / 2)
    k = r * 0.45
    l, t, m, b = _n(left), _n(top), _n(right), _n(bottom)
    return (
        f"M{_n(left + r)},{t}L{_n(right - r)},{t}C{_n(right - k)},{t} {m},{_n(top + k)} {m},{_n(top + r)}"
        f"L{m},{_n(bottom - r)}C{m},{_n(bottom - k)} {_n(right - k)},{b} {_n(right - r)},{b}"
        f"L{_n(left + r)},{b}C{_n(left + k)},{b} {l},{_n(bottom - k)} {l},{_n(bottom - r)}"
        f"L{l},{_n(top + r)}C{l},{_n(top + k)} {_n(left + k)},{t} {_n(left + r)},{t}Z"
    )


def _path(curve: Sequence[Point]) -> str:
    start, *rest = (f"{_n(x)},{_n(y)}" for x, y in curve)
    return f"M{start}C{' '.join(rest)}"


def _points(corners: Sequence[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in corners)


def _n(number: float) -> str:
    """A coordinate, in as few characters as it needs."""
    text = f"{number:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
