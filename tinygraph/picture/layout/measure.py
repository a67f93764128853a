"""How much room texts and nodes take, without any font: widths of Helvetica, and the shapes of all nodes.

Widths are rounded up, so that no text is wider in a browser than here. Lengths are points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import fsum
from unicodedata import combining, east_asian_width, normalize

from ..model import Fold, Item, Op, Wire

# Advance widths in thousandths of an em. Letters with accents are as wide as without.
_REGULAR = {
    240: "'ijlι‘’",
    280: " !,./:;I[\\]ft|¦·Ι∫ı",
    335: "()-`r{}¡²³¹“”‹›",
    400: '"*ª°ºτⁿ•',
    450: "εξ",
    500: "J^cksvxyzγζκλνς∂◊",
    560: "#$0123456789?L_abdeghnopqu¢£¤¥§«±¶»ð÷þδηθουχ√≤≥≠≈–€",
    585: "+<=>~¬µ×Γαβμρ−",
    620: "FTZ¿ßøΖΣΤσϵ",
    670: "&ABEKPSVXYÞΑΒΕΚΛΞΡΥΧφϕ",
    725: "CDHNRUwÐΔΗΝΠπ∞∑",
    780: "GOQ©®ØΘΟΩψ",
    835: "Mm¼½¾Μω∏",
    890: "%æΦΨ",
    950: "Wœ",
    1000: "Æ…►◄—Œ",
    1020: "@",
}
_BOLD = {
    240: "'",
    280: " ,./I\\ijl|¦·Ιι∫‘’ı",
    335: "!()-:;[]`ft¡²³¹‹›",
    400: "*r{}ª°ºⁿ•",
    450: "ξτ",
    500: '"zεζ∂“”◊',
    560: "#$0123456789J_aceksvxy¢£¤¥§«±¶»÷γθκλνς√≤≥≠≈–€",
    585: "+<=>^~¬µ×υχ−",
    620: "?FLTZbdghnopqu¿ßðøþΓΖΣΤαβδημορ",
    670: "EPSVXYÞΕΛΞΡΥΧϵ",
    725: "&ABCDHKNRUÐΑΒΔΗΚΝΠσφ∞∑",
    780: "GOQw©®ØΘΟπψ",
    835: "M¼½¾ΜΦΨΩϕ∏",
    890: "%mæω",
    950: "Wœ",
    1000: "@Æ…►◄—Œ",
}
_UNKNOWN, _ASTRAL = 1000, 1400  # emoji are wider than an em

_TABLES = [{c: units for units, chars in table.items() for c in chars} for table in (_REGULAR, _BOLD)]


@lru_cache(maxsize=4096)
def width(text: str, size: float, bold: bool = False) -> float:
    """The width of one line of text.

    >>> width("mean", 10), width("mean", 10, bold=True), width("均", 10), width("x̂", 10)
    (25.15, 26.3, 10.0, 5.0)
    """
    table = _TABLES[bold]
    return sum(table.get(c) or _units(c, table) for c in text) * size / 1000


def _units(c: str, table: dict[str, int]) -> int:
    if combining(c):
        return 0
    base = normalize("NFD", c)[0]
    if base in table:
        units = table[base]
    elif ord(c) > 0xFFFF:
        units = _ASTRAL
    else:
        units = _UNKNOWN
    if east_asian_width(c) not in "WF":
        table[c] = units  # the next time it is found at once; the table stays small, as scripts are
    return units


# -- nodes ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text in a node: ``x`` and ``y`` (of the baseline) from the middle of its wire."""

    x: float
    y: float
    words: str
    role: str
    size: int
    anchor: str = "middle"
    bold: bool = False
    italic: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """The outline of a node around the middle of its wire: ``kind`` is bar, card, pill, circle or box."""

    kind: str
    left: float
    right: float
    top: float
    bottom: float
    texts: tuple[Text, ...] = ()

    @property
    def wide(self) -> float:
        return self.left + self.right

    @property
    def high(self) -> float:
        return self.top + self.bottom


CARDS = {"input": "inp", "parameter": "par", "output": "out"}
RING = 4.0  # between the two borders of what is fused, summed or folded
_RADIUS, _BACKWARD, _SUM = 20.16, 18.72, 14.4
_NAME, _NUMBER, _BAR = 19.0, 16.0, 2.0  # heights of rows
_MARGIN = 7.0  # beside the texts of a card


def shape(node: Item, across: bool, compact: bool) -> Shape:
    """The shape of a node; ``across`` where wires lie, ``compact`` where they carry one number."""
    if isinstance(node, Fold):
        return _fold(node)
    if isinstance(node, Op):
        return _op(node)
    if node.role in ("constant", "saved"):
        return _pill(node)
    return _lying(node, compact) if across else _standing(node, compact)


def _fold(fold: Fold) -> Shape:
    half = max(width(fold.title, 12, True), width(fold.caption, 9)) / 2 + 10 + RING
    title = Text(0, -2 if fold.caption else 4, fold.title, "ink", 12, bold=True)
    return Shape("box", half, half, 24, 24, (title, Text(0, 12, fold.caption, "mute", 9)))


def _op(op: Op) -> Shape:
    size = symbol_size(op.symbol)
    words, under = width(op.symbol, size, True), width(op.caption, 8)
    if op.sum:
        radius = _SUM + RING
        return Shape("circle", radius, radius, radius, radius, (Text(0, 5, op.symbol, "ink", 15, bold=True),))
    texts = (
        Text(0, (-0.5 if op.caption else size * 0.34), op.symbol, "ink", size, bold=True),
        Text(0, 9.5 if size < 16 else 11.5, op.caption, "mute", 8),
    )
    if size < 16 and op.caption:
        texts = (Text(0, -1.5 if size < 14 else 0, op.symbol, "ink", size, bold=True), texts[1])
    ring = RING if op.fused else 0.0
    radius = (_BACKWARD if op.backward else _RADIUS) + ring
    if round_op(op):
        return Shape("circle", radius, radius, radius, radius, texts)
    half = max(words, under) / 2 + 8 + ring
    return Shape("box", half, half, radius, radius, texts)


def round_op(op: Op) -> bool:
    """Whether the words of an op fit into its circle; else it is a box, as for scripts of any height."""
    if max(op.symbol + op.caption, default="") > "\uffff":
        return False
    room = 2 * (_BACKWARD if op.backward else _RADIUS)
    # The caption stands where the circle is narrower than in its middle.
    return width(op.symbol, symbol_size(op.symbol), True) <= room - 6 and width(op.caption, 8) <= room - 8


def symbol_size(symbol: str) -> int:
    """The size of an op's symbol; characters that only fallback fonts have may be tall, and are drawn small."""
    if symbol in ("x²", "x³", "xⁿ"):
        return 14
    if symbol == "√":
        return 16
    return 19 if len(symbol) == 1 and symbol < "\u2e80" else 11


def _pill(wire: Wire) -> Shape:
    half = max(width(wire.name, 10) / 2 + 6, 11)
    high = 9.7 if wire.role == "constant" else 8.7
    role = "mute" if wire.role == "constant" else "fwd"
    return Shape("pill", half, half, high, high, (Text(0, 3.5, wire.name, role, 10),))


def numbers(wire: Wire, compact: bool) -> Iterator[tuple[str, str]]:
    """The numbers on a wire, value before gradient, each with its role; a compact wire carries one of them."""
    if compact:
        yield (wire.gradient or wire.value, "bwd") if wire.backward else (wire.value or wire.gradient, "fwd")
    else:
        yield wire.value, "fwd"
        yield wire.gradient, "bwd"


def _lines(words: str, role: str, size: int, style: tuple[bool, bool], width_of: list[float]) -> list[Text]:
    lines = [Text(0, 0, line, role, size, "middle", *style) for line in words.split("\n") if line]
    width_of += [width(line.words, size, line.bold) for line in lines]
    return lines


def _rows(wire: Wire, compact: bool) -> tuple[list[list[Text]], float]:
    """The texts of a wire as name, value, gradient and caption, and the width of the widest."""
    found: list[float] = []
    rows = [_lines(wire.name, "ink", 15 if wire.role in CARDS else 13, (True, wire.backward), found)]
    for words, role in numbers(wire, compact):
        rows.append(_lines(words, role, 11, (False, role == "bwd"), found))
    if not compact:
        rows.append(_lines(wire.caption, "mute", 9, (False, False), found))
    return rows, max(found, default=0.0)


def _lying(wire: Wire, compact: bool) -> Shape:
    """Left to right: the bar lies, values above it and gradients below."""
    rows, widest = _rows(wire, compact)
    card = wire.role in CARDS
    half = max(widest / 2 + (_MARGIN if card else 1.5), 12)
    if compact:
        above, below = [rows[0]], [rows[1]]
    else:
        above, below = [rows[1], rows[0]], rows[2:]
    pad = 2.0 if card else 0.0
    texts: list[Text] = []
    top = _BAR / 2
    for row in above:  # away from the bar
        step = _NAME if row is rows[0] else _NUMBER
        for line in reversed(row):
            texts.append(_moved(line, 0, -top - (4.3 if step == _NUMBER or compact else 5.6)))
            top += step
        top += 0 if row else step
    bottom = _BAR / 2
    for row in below:
        step = _NUMBER if compact or row is rows[2] else _NAME
        for line in row:
            texts.append(_moved(line, 0, bottom + (10.8 if step == _NUMBER else 8.8)))
            bottom += step
        bottom += 0 if row else step
    high = top if compact else max(top, bottom)
    return Shape(
        "card" if card else "bar", half, half, high + pad, max(bottom, 0 if compact else high) + pad, tuple(texts)
    )


def _standing(wire: Wire, compact: bool) -> Shape:
    """Top to bottom: the bar stands, name and value on its left, gradient and shape on its right."""
    rows, _ = _rows(wire, compact)
    card = wire.role in CARDS
    columns = (rows[:1], rows[1:]) if compact else (rows[:2], rows[2:])
    margin = _MARGIN if card else 1.0
    counts = [max(len(columns[side][row]) if row < len(columns[side]) else 0 for side in (0, 1)) for row in (0, 1)]
    heights = [max(21.0, 15.0 * count + 6) if count or not compact else 0.0 for count in counts]
    half = fsum(heights) / 2
    texts: list[Text] = []
    reach = [12.0, 12.0]
    for side, anchor in ((0, "end"), (1, "start")):
        edge = 5.0 if side else -5.0
        for row, lines in enumerate(columns[side]):
            middle = -half + fsum(heights[:row]) + heights[row] / 2
            for place, line in enumerate(lines):
                y = middle + (place - (len(lines) - 1) / 2) * 15 + line.size * 0.35
                texts.append(_moved(line, edge, y, anchor))
                reach[side] = max(reach[side], 5 + width(line.words, line.size, line.bold) + margin)
    pad = 2.0 if card else 0.0
    return Shape("card" if card else "bar", reach[0], reach[1], half + pad, half + pad, tuple(texts))


def _moved(line: Text, x: float, y: float, anchor: str = "middle") -> Text:
    return Text(x, y, line.words, line.role, line.size, anchor, line.bold, line.italic)
