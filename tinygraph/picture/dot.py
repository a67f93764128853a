"""View → DOT: the one place that knows shapes, fonts and how user text is escaped.

User text reaches DOT through ``plain`` and ``cell`` only.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from unicodedata import east_asian_width

from ..errors import MissingExtra
from .model import Edge, Op, View, Wire
from .values import LABEL, TOOLTIP, clean

try:
    import graphviz
    from graphviz.quoting import quote
except ImportError as error:
    raise MissingExtra(
        'draw(...).dot: the Python package "graphviz" is not installed; run: pip install graphviz'
    ) from error

Palette = Mapping[str, str]
Attributes = dict[str, str]

FONT = "Helvetica,Arial,sans-serif"
TAB = "\t"
_SPACE = "&#160;"
_LONGEST_WORD, _LONGEST_CAPTION = 5, 8  # characters that fit into the circle of an op
_ROLES = {"input": "inp", "parameter": "par", "output": "out"}


# -- escaping -------------------------------------------------------------------------------------


def plain(text: str, limit: int = LABEL) -> str:
    """User text as a label, tooltip or title in quotes.

    >>> print(plain("a & <b>"))
    a &amp; &lt;b&gt;
    """
    escaped = html.escape(clean(text, limit), quote=False).replace("\\", "\\\\").replace("\n", "\\n")
    marked: str = graphviz.nohtml(escaped)  # last, as str.replace drops the mark
    return marked


def cell(text: str, limit: int = LABEL) -> str:
    """User text inside an HTML-like label.

    >>> print(cell('"x"'))
    &quot;x&quot;
    """
    return html.escape(clean(text, limit), quote=True).replace("\\", "\\\\").replace("\n", "<BR/>")


# The same few words come back on every line. ``typed`` tells marked text from words of ours.
_remembered = lru_cache(maxsize=1024, typed=True)(quote)


def _quoted(value: str) -> str:
    return value if type(value) is str and value[:1] == "<" else _remembered(value)  # an HTML-like label stays


def statement(head: str, attributes: Attributes, indent: int = 1) -> str:
    """One line of DOT: what ``Digraph.node`` and ``Digraph.edge`` write, several times as fast."""
    listed = " ".join(f"{name}={_quoted(value)}" for name, value in sorted(attributes.items()))
    return f"{TAB * indent}{head} [{listed}]\n"


# -- the page -------------------------------------------------------------------------------------


def digraph(view: View, palette: Palette) -> graphviz.Digraph:
    """The picture as a ``graphviz.Digraph``, the same to the byte for the same View."""
    return graphviz.Digraph(
        graph_attr=_graph(view, palette),
        node_attr=_node(palette),
        edge_attr=_edge(palette),
        body=list(_body(view, palette)),
    )


def _graph(view: View, palette: Palette) -> Attributes:
    attributes = {
        "rankdir": view.rankdir,
        "bgcolor": palette["bg"],
        "fontname": FONT,
        "fontsize": "11",
        "fontcolor": palette["mute"],
        "pad": "0.2",
        "nodesep": "0.2",
        "ranksep": "0.24",
        "splines": "spline",
        "newrank": "true",
        "outputorder": "edgesfirst",
        "tooltip": " ",
    }
    if view.title or view.legend:
        attributes |= {"labelloc": "t", "labeljust": "l", "label": _heading(view, palette)}
    return attributes


def _node(palette: Palette) -> Attributes:
    return {
        "fontname": FONT,
        "fontsize": "12",
        "fontcolor": palette["ink"],
        "color": palette["opb"],
        "penwidth": "1.4",
    }


def _edge(palette: Palette) -> Attributes:
    return {"fontname": FONT, "color": palette["conl"], "penwidth": "1.4", "arrowsize": "0.65"}


def _heading(view: View, palette: Palette) -> str:
    """Title and legend in one row."""
    cells = []
    if view.title:
        cells.append(_font(cell(view.title), palette["ink"], 15, "B"))
    cells += [_legend_line(role, text, palette) for role, text in view.legend]
    row = f"</TD><TD>{_SPACE * 6}</TD><TD>".join(cells)
    return f"<{_table(f'<TR><TD>{row}</TD></TR>', padding=2)}>"


def _legend_line(role: str, text: str, palette: Palette) -> str:
    arrow, rest = (text[0], text[2:]) if text[0] in "►◄" else ("", text)
    line = _font(cell(rest, TOOLTIP), palette[role], 11, "I" if role == "bwd" else "")
    return _font(arrow, palette[f"{role}l"], 9) + _SPACE + line if arrow else line


def _body(view: View, palette: Palette) -> Iterator[str]:
    """Nodes inside their boxes, box after box, then the edges."""
    members: dict[int | None, list[Any]] = {}
    for node in view.nodes:
        members.setdefault(node.box, []).append(node)
    children: dict[int | None, list[int]] = {}
    for index, box in enumerate(view.boxes):
        children.setdefault(box.parent, []).append(index)
    across = view.rankdir == "LR"
    for node in members.get(None, ()):
        yield _drawn(node, palette, across, 1)
    stack = [(index, 1) for index in reversed(children.get(None, []))]
    while stack:
        index, depth = stack.pop()
        if index < 0:  # the end of a box
            yield f"{TAB * depth}}}\n"
            continue
        box = view.boxes[index]
        yield f"{TAB * depth}subgraph cluster_{index + 1} {{\n"
        yield statement("graph", _box(box.id, box.title, palette), depth + 1)
        for node in members.get(index, ()):
            yield _drawn(node, palette, across, depth + 1)
        stack.append((-1, depth))
        stack += [(child, depth + 1) for child in reversed(children.get(index, []))]
    for edge in view.edges:
        yield _arrow(edge, palette, across)


def _box(id: str, title: str, palette: Palette) -> Attributes:
    return {
        "id": id,
        "label": plain(title),
        "tooltip": plain(title),
        "labelloc": "t",
        "labeljust": "l",
        "style": "rounded,filled",
        "fillcolor": palette["clus"],
        "color": palette["clusb"],
        "fontcolor": palette["mute"],
        "fontsize": "11",
        "penwidth": "1",
        "margin": "8",
    }


# -- nodes ----------------------------------------------------------------------------------------


def _drawn(node: Wire | Op, palette: Palette, across: bool, indent: int) -> str:
    if isinstance(node, Op):
        attributes = _op(node, palette)
    elif node.role == "constant":
        attributes = _pill(node, palette)
    else:
        attributes = {"shape": "plain", "label": f"<{_wire(node, palette, across)}>"}
    attributes |= {"id": node.id, "tooltip": plain(node.tooltip, TOOLTIP)}
    return statement(node.id, attributes, indent)


def _pill(wire: Wire, palette: Palette) -> Attributes:
    return {
        "shape": "box",
        "style": "rounded,filled",
        "fillcolor": palette["con"],
        "color": palette["conb"] if wire.finite else palette["bwd"],
        "fontcolor": palette["mute"],
        "fontsize": "10",
        "margin": "0.08,0.03",
        "height": "0.27",
        "width": "0.3",
        "label": plain(wire.name),
    }


def _op(op: Op, palette: Palette) -> Attributes:
    """A circle; a box where the words are too long for one. A fused op has a double border."""
    fits = _columns(op.symbol) <= _LONGEST_WORD and _columns(op.caption) <= _LONGEST_CAPTION
    shape = {"shape": "circle", "fixedsize": "true", "width": "0.56", "style": "filled"}
    if not fits:
        shape = {"shape": "box", "height": "0.56", "style": "rounded,filled", "margin": "0.1,0.02"}
    if op.fused:
        shape["peripheries"] = "2"
    label = _face(op.symbol, op.caption, palette["ink"], palette["mute"])
    return {"fillcolor": palette["op"], "penwidth": "1.6", "label": label, **shape}


def _columns(text: str) -> int:
    """The width of a text in Latin letters; those of East Asia take two."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


@lru_cache(maxsize=256)
def _face(symbol: str, caption: str, ink: str, mute: str) -> str:
    """The symbol of an op over its caption."""
    rows = _font(cell(symbol), ink, _symbol_size(symbol), "B"), _font(cell(caption), mute, 8)
    return f"<{_table(''.join(f'<TR><TD>{row}</TD></TR>' for row in rows if row))}>"


def _symbol_size(symbol: str) -> int:
    if symbol in ("x²", "x³", "xⁿ"):
        return 14
    if symbol == "√":
        return 16
    return 19 if len(symbol) == 1 else 11


def _wire(wire: Wire, palette: Palette, across: bool) -> str:
    """The table of a wire or a card: name and value, the bar, gradient and shape.

    Rows that face each other across the bar are equally high, or the bar would not be in the middle
    and its edges not straight.
    """
    card = _ROLES.get(wire.role)
    outer = 19 * (1 + wire.name.count("\n"))
    inner = 16 * (1 + max(wire.value.count("\n"), wire.gradient.count("\n")))
    space = _SPACE * (2 if across else 1) if card else ""
    name = _font(_lines(wire.name, space), palette["ink"], 15 if card else 13, "B")
    value = _font(_lines(wire.value, space), palette["fwd"], 11)
    gradient = _font(_lines(wire.gradient, space), palette["bwd"], 11, "I")
    caption = _font(_lines(wire.caption, space), palette["mute"], 9)
    edge = palette["bwd"] if not wire.finite else palette[f"{card}b"] if card else palette["opb"]
    thick = 2 if wire.finite else 3
    rows = (_across if across else _down)(name, value, gradient, caption, outer, inner, edge, thick)
    if not card:
        return _table(rows)
    border = 2 if wire.finite else 3
    return _table(rows, f'BORDER="{border}" COLOR="{edge}" STYLE="ROUNDED" BGCOLOR="{palette[card]}"')


def _across(name: str, value: str, gradient: str, caption: str, outer: int, inner: int, color: str, thick: int) -> str:
    """Left to right: the bar lies, values above it and gradients below."""
    return (
        f'<TR><TD HEIGHT="{outer}" VALIGN="BOTTOM">{name}</TD></TR>'
        f'<TR><TD HEIGHT="{inner}" CELLPADDING="1">{value}</TD></TR>'
        f'<TR><TD HEIGHT="{thick}" PORT="w" BGCOLOR="{color}"></TD></TR>'
        f'<TR><TD HEIGHT="{inner}" CELLPADDING="1">{gradient}</TD></TR>'
        f'<TR><TD HEIGHT="{outer}" VALIGN="TOP">{caption}</TD></TR>'
    )


def _down(name: str, value: str, gradient: str, caption: str, outer: int, inner: int, color: str, thick: int) -> str:
    """Top to bottom: the bar stands, values on its left and gradients on its right."""
    settings = f'HEIGHT="{max(outer, inner)}" CELLPADDING="4" ALIGN'
    return (
        f'<TR><TD {settings}="RIGHT">{name}</TD>'
        f'<TD WIDTH="{thick}" PORT="w" BGCOLOR="{color}" ROWSPAN="2"></TD>'
        f'<TD {settings}="LEFT">{gradient}</TD></TR>'
        f'<TR><TD {settings}="RIGHT">{value}</TD>'
        f'<TD {settings}="LEFT">{caption}</TD></TR>'
    )


def _lines(text: str, space: str) -> str:
    return "<BR/>".join(space + cell(line, TOOLTIP) + space for line in text.split("\n")) if text else ""


def _table(rows: str, frame: str = 'BORDER="0"', padding: int = 0) -> str:
    return f'<TABLE {frame} CELLBORDER="0" CELLSPACING="0" CELLPADDING="{padding}">{rows}</TABLE>'


def _font(content: str, color: str, size: int, style: str = "") -> str:
    """``content`` in a font; nothing for no content, since Graphviz refuses empty elements."""
    if not content:
        return ""
    styled = f"<{style}>{content}</{style}>" if style else content
    return f'<FONT COLOR="{color}" POINT-SIZE="{size}">{styled}</FONT>'


# -- edges ----------------------------------------------------------------------------------------


def _arrow(edge: Edge, palette: Palette, across: bool) -> str:
    """An edge; with a gradient, two parallel lines: forward first, backward second."""
    entry, leave = ("w", "e") if across else ("n", "s")
    attributes = {"id": edge.id, "tooltip": plain(edge.tooltip, TOOLTIP)}
    if edge.gradient:
        both = f"{palette['fwdl']}:{palette['bwdl']}"
        attributes |= {"color": both, "dir": "both", "arrowhead": "normal", "arrowtail": "empty", "class": "both"}
    elif edge.role != "constant":
        attributes["color"] = palette["fwdl"]
    if edge.role == "result":
        return statement(f"{edge.tail} -> {edge.head}:w:{entry}", {**attributes, "weight": "20"})
    tail = edge.tail if edge.role == "constant" else f"{edge.tail}:w:{leave}"
    return statement(f"{tail} -> {edge.head}", attributes)
