"""View → DOT: the one place that knows the shapes and fonts of Graphviz' pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from .layout.measure import round_op, symbol_size
from .model import Box, Edge, Fold, Item, Op, View, Wire
from .statements import TAB, Attributes, Digraph, cell, form, in_quotes, plain, statement
from .values import TITLE, TOOLTIP

Palette = Mapping[str, str]

FONT = "Helvetica,Arial,sans-serif"
_SPACE = "&#160;"
_PILLS = ("constant", "saved")
_ROLES = {"input": "inp", "parameter": "par", "output": "out"}


# -- the page -------------------------------------------------------------------------------------


def digraph(view: View, palette: Palette) -> Digraph:
    """The picture as a ``Digraph``, the same to the byte for the same View."""
    return Digraph(
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
        cells.append(_font(cell(view.title, TITLE), palette["ink"], 15, "B"))
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
    drawn = _Nodes(view, palette)
    for node in members.get(None, ()):
        yield drawn(node, 1)
    stack = [(index, 1) for index in reversed(children.get(None, []))]
    while stack:
        index, depth = stack.pop()
        if index < 0:  # the end of a box
            yield f"{TAB * depth}}}\n"
            continue
        box = view.boxes[index]
        yield f"{TAB * depth}subgraph cluster_{index + 1} {{\n"
        yield statement("graph", _box(box, palette), depth + 1)
        for node in members.get(index, ()):
            yield drawn(node, depth + 1)
        stack.append((-1, depth))
        stack += [(child, depth + 1) for child in reversed(children.get(index, []))]
    yield from map(_Arrows(view, palette), view.edges)
    for above, below in view.under:  # each gradient stands under its Tensor
        yield f"{TAB}{{rank=same; {above} -> {below} [style=invis weight=0]}}\n"


def _box(box: Box, palette: Palette) -> Attributes:
    lane = {
        "forward": {"fontcolor": palette["fwd"]},
        "backward": {"fontcolor": palette["bwd"], "labelloc": "b", "labeljust": "r"},
    }
    return {
        "id": box.id,
        "label": plain(box.title),
        "tooltip": plain(box.title),
        "labelloc": "t",
        "labeljust": "l",
        "style": "rounded,filled",
        "fillcolor": palette["clus"],
        "color": palette["clusb"],
        "fontcolor": palette["mute"],
        "fontsize": "11",
        "penwidth": "1",
        "margin": "8",
        **lane.get(box.kind, {}),
    }


# -- nodes ----------------------------------------------------------------------------------------


class _Nodes:
    """Writes nodes; those that differ in their texts only are written from one form."""

    def __init__(self, view: View, palette: Palette) -> None:
        self.lanes, self.across, self.palette = view.lanes, view.rankdir == "LR", palette
        self.forms: dict[Any, Callable[..., str]] = {}

    def __call__(self, node: Item, indent: int) -> str:
        if isinstance(node, Fold):
            return self.write(node, indent)
        given = node.id, in_quotes(node.tooltip, TOOLTIP)
        if isinstance(node, Op):
            kind: Any = (indent, node.symbol, node.caption, node.fused, node.sum, node.backward)
            return self._form(kind, node, 2)(*given)
        if node.role in _PILLS:
            return self._form((indent, node.role, node.finite, node.name == ""), node, 3)(*given, in_quotes(node.name))
        texts = node.name, node.value, node.gradient, node.caption
        if "\n" in "".join(texts):
            return self.write(node, indent)
        kind = (indent, node.role, node.finite, node.backward, *map(bool, texts))
        return self._form(kind, node, 6)(*given, *[cell(text, TOOLTIP) for text in texts])

    def _form(self, kind: Any, node: Item, count: int) -> Callable[..., str]:
        """The form for nodes of a kind, which begins with the indentation: id, tooltip, then _TEXTS, ``count`` in all."""
        known = self.forms.get(kind)
        if known is None:

            def write(*marks: str) -> str:
                given: Any = {"id": marks[0], "tooltip": marks[1]}
                given |= {text: mark for text, mark in zip(_TEXTS, marks[2:], strict=False) if getattr(node, text)}
                return self.write(replace(node, **given), kind[0])

            known = self.forms[kind] = form(write, count)
        return known

    def write(self, node: Item, indent: int) -> str:
        palette = self.palette
        if isinstance(node, Op):
            attributes = _op(node, palette)
        elif isinstance(node, Fold):
            attributes = _fold(node, palette)
        elif node.role in _PILLS:
            attributes = _pill(node, palette)
        else:
            table = (_compact if self.lanes else _wire)(node, palette, self.across)
            attributes = {"shape": "plain", "label": f"<{table}>"}
        attributes |= {"id": node.id, "tooltip": plain(node.tooltip, TOOLTIP)}
        return statement(node.id, attributes, indent)


_TEXTS = ("name", "value", "gradient", "caption")


def _pill(wire: Wire, palette: Palette) -> Attributes:
    """A constant, or a ghost of what the forward has saved."""
    saved = wire.role == "saved"
    return {
        "shape": "box",
        "style": "rounded,filled,dashed" if saved else "rounded,filled",
        "fillcolor": palette["con"],
        "color": palette["bwd"] if not wire.finite else palette["fwdl" if saved else "conb"],
        "fontcolor": palette["fwd" if saved else "mute"],
        "fontsize": "10",
        "margin": "0.08,0.03",
        "height": "0.24" if saved else "0.27",
        "width": "0.3",
        "label": plain(wire.name),
    }


def _fold(fold: Fold, palette: Palette) -> Attributes:
    title, caption = _font(cell(fold.title), palette["ink"], 12, "B"), _font(cell(fold.caption), palette["mute"], 9)
    return {
        "shape": "box",
        "style": "rounded,filled",
        "peripheries": "2",
        "fillcolor": palette["clus"],
        "color": palette["bwdl" if fold.backward else "opb"],
        "margin": "0.12,0.06",
        "label": f"<{_table(f'<TR><TD>{title}</TD></TR><TR><TD>{caption}</TD></TR>')}>",
    }


def _op(op: Op, palette: Palette) -> Attributes:
    """A circle; a box where the words are too long for one. A fused op has a double border."""
    fits = round_op(op)
    shape = {"shape": "circle", "fixedsize": "true", "width": "0.56", "style": "filled"}
    if not fits:
        shape = {"shape": "box", "height": "0.56", "style": "rounded,filled", "margin": "0.1,0.02"}
    if op.sum:
        shape = {"shape": "doublecircle", "fixedsize": "true", "width": "0.4", "style": "filled"}
    elif op.backward and fits:
        shape["width"] = "0.52"
    if op.fused:
        shape["peripheries"] = "2"
    if op.backward:
        shape["color"] = palette["bwdl"]
    label = _face(op.symbol, op.caption, palette["ink"], palette["mute"])
    return {"fillcolor": palette["op"], "penwidth": "1.6", "label": label, **shape}


@lru_cache(maxsize=256)
def _face(symbol: str, caption: str, ink: str, mute: str) -> str:
    """The symbol of an op over its caption."""
    rows = _font(cell(symbol), ink, symbol_size(symbol), "B"), _font(cell(caption), mute, 8)
    return f"<{_table(''.join(f'<TR><TD>{row}</TD></TR>' for row in rows if row))}>"


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
    return _framed(rows, edge, thick, palette[card] if card else "")


def _compact(wire: Wire, palette: Palette, across: bool) -> str:
    """In lanes: the name over the bar, the number under it; left and right of a bar that stands."""
    card = _ROLES.get(wire.role)
    text = wire.gradient if wire.backward else wire.value
    height = 19 + 16 * max(wire.name.count("\n"), text.count("\n"))
    space = _SPACE * (2 if across else 1) if card else ""
    name = _font(_lines(wire.name, space), palette["ink"], 13, "B")
    name = f"<I>{name}</I>" if wire.backward and name else name
    number = _font(_lines(text, space), palette["bwd" if wire.backward else "fwd"], 11, "I" if wire.backward else "")
    edge = palette["bwd"] if not wire.finite else palette[f"{card}b"] if card else palette["opb"]
    thick = 2 if wire.finite else 3
    bar = f'<TD {"HEIGHT" if across else "WIDTH"}="{thick}" PORT="w" BGCOLOR="{edge}"></TD>'
    if across:
        above, below = f'<TD HEIGHT="{height}" VALIGN="BOTTOM">{name}</TD>', f'<TD HEIGHT="{height}">{number}</TD>'
        rows = f"<TR>{above}</TR><TR>{bar}</TR><TR>{below}</TR>"
    else:
        left, right = _beside(height)
        rows = f"<TR><TD {left}>{name}</TD>{bar}<TD {right}>{number}</TD></TR>"
    return _framed(rows, edge, thick, palette[card] if card else "")


def _framed(rows: str, color: str, thick: int, fill: str) -> str:
    """The table of a wire; with a fill, that of a card."""
    return _table(rows, f'BORDER="{thick}" COLOR="{color}" STYLE="ROUNDED" BGCOLOR="{fill}"') if fill else _table(rows)


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
    left, right = _beside(max(outer, inner))
    return (
        f"<TR><TD {left}>{name}</TD>"
        f'<TD WIDTH="{thick}" PORT="w" BGCOLOR="{color}" ROWSPAN="2"></TD>'
        f"<TD {right}>{gradient}</TD></TR>"
        f"<TR><TD {left}>{value}</TD>"
        f"<TD {right}>{caption}</TD></TR>"
    )


def _beside(height: int) -> tuple[str, str]:
    """The settings of cells left and right of a bar that stands: all their lines begin at the bar."""
    settings = f'HEIGHT="{height}" CELLPADDING="4"'
    return f'{settings} ALIGN="RIGHT" BALIGN="RIGHT"', f'{settings} ALIGN="LEFT" BALIGN="LEFT"'


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


class _Arrows:
    """Writes edges; those that differ in their ends and tooltips only are written from one form."""

    def __init__(self, view: View, palette: Palette) -> None:
        self.palette = palette
        self.forms: dict[Any, Callable[..., str]] = {}
        self.ports = ("n", "s") if view.rankdir == "TB" else ("w", "e")
        self.barred = {node.id for node in view.nodes if isinstance(node, Wire) and node.role not in _PILLS}

    def __call__(self, edge: Edge) -> str:
        tail, head = edge.tail in self.barred, edge.head in self.barred
        kind = (edge.role, edge.gradient, edge.backward, edge.loose, edge.mark, edge.label, tail, head)
        known = self.forms.get(kind)
        if known is None:

            def write(id: str, start: str, end: str, tooltip: str) -> str:
                return self.write(replace(edge, id=id, tail=start, head=end, tooltip=tooltip), tail, head)

            known = self.forms[kind] = form(write, 4)
        return known(edge.id, edge.tail, edge.head, in_quotes(edge.tooltip, TOOLTIP))

    def write(self, edge: Edge, from_bar: bool, to_bar: bool) -> str:
        entry, leave = self.ports
        attributes = _line(edge, self.palette)
        tail, head = edge.tail, edge.head
        if edge.backward:  # written against its direction, so that time runs from right to left
            attributes |= {"dir": "back", "arrowtail": "normal" if edge.role in _PILLS else "empty"}
            tail, head, from_bar, to_bar = head, tail, to_bar, from_bar
        # One that may run against the order of the ranks would have to loop around from its port.
        tail = f"{tail}:w:{leave}" if from_bar and not edge.loose else tail
        head = f"{head}:w:{entry}" if to_bar and not edge.loose else head
        return statement(f"{tail} -> {head}", attributes)


def _line(edge: Edge, palette: Palette) -> Attributes:
    """How an edge looks. With value and gradient, two parallel lines: forward first, backward second."""
    attributes = {"id": edge.id, "tooltip": plain(edge.tooltip, TOOLTIP)}
    if edge.gradient:
        both = f"{palette['fwdl']}:{palette['bwdl']}"
        attributes |= {"color": both, "dir": "both", "arrowhead": "normal", "arrowtail": "empty", "class": "both"}
    elif edge.role == "saved":
        attributes |= {"color": palette["fwdl"], "style": "dashed"}
    elif edge.role != "constant":
        attributes["color"] = palette["bwdl" if edge.backward else "fwdl"]
    if edge.role == "result":
        attributes["weight"] = "20"
    if edge.loose:
        attributes["constraint"] = "false"
    return attributes | (_mark(edge, palette) if edge.mark else {})


def _mark(edge: Edge, palette: Palette) -> Attributes:
    """In a diff: what agrees steps back, what is wrong stands out and says by what factor."""
    if edge.mark == "agrees":
        return {"color": palette["conl"]}
    label = {"label": plain(edge.label), "fontcolor": palette["bwd"], "fontsize": "13"} if edge.label else {}
    return {"color": palette["bwdl"], "penwidth": "3", "dir": "back", "arrowtail": "normal", **label}
