"""What the forms of a kernel share: names, places, loads, and the text of one element."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...core.tensor import Tensor
from .nests import NOTHING, Dims, Nest, Source

WIDTH = 1024  # columns of a block: a row of 4 KB, a page, is read at full speed, and the sums stay in the first cache
ROWS = 4  # rows of one sweep over the columns: rows of scratch are read and written once for all of them
LAYOUT = ("start", "stop", "left", "right", "first", "last", "part", "parts")  # what follows the sizes in ``n``
TYPES = {"f": "f4", "d": "f8", "?": "b1"}

HEADER = """import numpy as np

from tinygraph.compiler.loops.kernels import add, kernel

f4, f8, b1 = np.float32, np.float64, np.bool_
"""


@dataclass(frozen=True)
class Text:
    """A kernel's source and what its caller has to know: its steps in order (which are loops), and how much scratch it takes."""

    source: str
    form: str
    steps: tuple[bool, ...]
    rows: dict[str, int]
    partial: dict[str, int]
    totals: int


class Writer:
    """What the three forms share: names, indices, loads, and the arithmetic of one element."""

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.last = len(nest.kinds) - 1
        self.lines: list[str] = []
        self.array = {s: i for i, s in enumerate(nest.arrays)}
        self.number = {s: i for i, s in enumerate(nest.numbers)}
        self.result = {t: i for i, t in enumerate(nest.results)}
        self.value = {t: i for i, t in enumerate(nest.nodes)}
        self.inverted = self._inverted()
        self.steps: list[bool] = []
        self.rows: dict[str, int] = {}
        self.partials: dict[str, int] = {}
        self.totals = 0

    def text(self, form: str) -> Text:
        nest = self.nest
        self.body(1)
        given = [*(f"a{i}" for i in self.array.values()), *(f"y{i}" for i in self.result.values()), "n", "c"]
        given += [*(f"row_{TYPES[c]}" for c in self.rows), *(f"sum_{TYPES[c]}" for c in self.partials)]
        given += ["total"] * bool(self.totals)
        head = [f"n{d} = n[{d}]" for d in range(len(nest.kinds))]
        names = LAYOUT
        head += [f"{name} = n[{len(nest.kinds) + i}]" for i, name in enumerate(names) if self._uses(name)]
        head += [f"c{i} = {TYPES[s.dtype.char]}(c[{i}])" for s, i in self.number.items()]  # type: ignore[union-attr]
        head += [f"count = c[{len(self.number)}]"] if self._uses("count") else []
        places = sorted({p for line in self.lines for p in _places(line)})
        constants = [
            ("CHUNK", self.chunk),
            ("WIDTH", WIDTH),
            ("ROWS", ROWS),
            ("ONE", 1),
            ("TWO", 2),
            *((f"S{i}", WIDTH * i) for i in places),
        ]
        constants += [("TOTALS", WIDTH * self.totals)]
        known = [f"{name} = np.uint64({value})" for name, value in constants if self._uses(name)]
        reads, writes = ("".join(t.dtype.char for t in ts) for ts in ([s.tensor for s in nest.arrays], nest.results))
        scratch = "".join([*self.rows, *self.partials, "d" * bool(self.totals)])
        decorator = f"@kernel(reads={reads!r}, writes={writes!r}, scratch={scratch!r})"
        lines = [
            HEADER + "\n".join(["ZERO = np.uint64(0)", *known]),
            "",
            "",
            decorator,
            f"def run({', '.join(given)}):",
        ]
        lines += ["    " + line for line in head] + self.lines
        return Text("\n".join(lines) + "\n", form, tuple(self.steps), self.rows, self.partials, self.totals)

    def body(self, depth: int) -> None:
        raise NotImplementedError

    def put(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def loop(self, depth: int, d: int, span: str) -> int:
        self.put(depth, f"for i{d} in range({span}):")
        return depth + 1

    def _uses(self, name: str) -> bool:
        return any(name in _words(line) for line in self.lines)

    def _inverted(self) -> set[Tensor]:
        """Square roots between the loops that loops divide by: these multiply by the reciprocal, which is never too large."""
        nest, found = self.nest, set()
        for t in nest.full:
            divisor = nest.sources[t][1].tensor if is_division(t) else None
            if (
                divisor in self.value
                and divisor not in nest.full
                and divisor.dtype == t.dtype
                and _is_root(nest, divisor)
            ):
                found.add(divisor)
        return found

    # -- places ------------------------------------------------------------------------------------

    column = "k"  # the name of the index along the last axis, counted from ``origin``
    origin = ""
    along: int | None = None  # the axis of which several rows are taken at a time,
    row = ""  # and what the names of this one end with

    chunk = 128  # terms that are added in the dtype of a sum, where one follows the other

    def ending(self, dims: Dims | None) -> str:
        return self.row if dims and self.along in dims else ""

    def base(self, dims: Dims) -> str:
        """The name of the place of the first element of a row; nothing where that is 0."""
        outer = [d for d in dims if d != self.last]
        return "p" + "".join(map(str, dims)) + self.ending(dims) if outer or (self.origin and dims) else ""

    def bases(self, depth: int, used: Iterable[Dims]) -> None:
        for dims in sorted(set(used)):
            if not self.base(dims):
                continue
            outer = [d for d in dims if d != self.last]
            terms = ""
            for d in outer:
                i = f"i{d}{self.ending((d,))}"
                terms = f"({terms}) * n{d} + {i}" if "+" in terms else f"{terms} * n{d} + {i}" if terms else i
            if self.last in dims:
                terms = f"({terms}) * n{self.last}" if "+" in terms else f"{terms} * n{self.last}" if terms else ""
                terms = " + ".join(filter(None, [terms, self.origin]))
            self.put(depth, f"{self.base(dims)} = {terms}")

    def at(self, dims: Dims) -> str:
        parts = [self.base(dims), self.column if self.last in dims else ""]
        return " + ".join(filter(None, parts)) or "ZERO"

    # -- elements ----------------------------------------------------------------------------------

    def loads(self, depth: int, nodes: Sequence[Tensor]) -> None:
        for source in dict.fromkeys(s for t in nodes for s in self.nest.sources[t] if s in self.array):
            if not self.row or self.ending(source.dims):  # what the rows share is there from the first
                i = self.array[source]
                self.put(depth, f"x{i}{self.ending(source.dims)} = a{i}[{self.at(source.dims or ())}]")

    def used(self, nodes: Sequence[Tensor]) -> list[Dims]:
        return [s.dims or () for t in nodes for s in self.nest.sources[t] if s in self.array]

    def operand(self, source: Source, here: set[Tensor], inverse: bool = False) -> str:
        if source in self.number:
            return f"c{self.number[source]}"
        if source in self.array:
            return f"x{self.array[source]}{self.ending(source.dims)}"
        return self.inner(source.tensor, here, inverse)

    def inner(self, t: Tensor, here: set[Tensor], inverse: bool) -> str:
        """A value of the nest; ``here`` are those that were computed in this very loop."""
        return f"{'r' if inverse else 'v'}{self.value[t]}"

    def element(self, depth: int, t: Tensor, here: set[Tensor]) -> None:
        """One line that computes an element of ``t``."""
        formula, dtype = self.nest.formulas[t]
        sources = self.nest.sources[t]
        inverse = is_division(t) and sources[1].tensor in self.inverted and t in self.nest.full
        if inverse:
            formula = formula.replace("/", "*")
        name = TYPES[dtype.char]
        operands = []
        for i, s in enumerate(sources):
            if s is NOTHING:
                operands.append("")
                continue
            text = self.operand(s, here, inverse and i == 1)
            flag = t.node.op.name == "where" and i == 0  # type: ignore[union-attr]
            operands.append(text if flag or s.dtype is not None or s.tensor.dtype == dtype else f"{name}({text})")
        text = formula.format(*operands, zero=f"{name}(0)", one=f"{name}(1)")
        if t.dtype != dtype and t.dtype.char in "fd":
            text = f"{TYPES[t.dtype.char]}({text})"
        elif t.node.op.name == "astype" and t.dtype.char == "?" and dtype.char != "?":  # type: ignore[union-attr]
            text = f"{text} != {name}(0)"
        self.put(depth, f"v{self.value[t]}{self.row} = {text}")

    def elements(self, depth: int, nodes: Sequence[Tensor], store: bool) -> None:
        here = set(nodes)
        self.loads(depth, nodes)
        for t in nodes:
            self.element(depth, t, here)
        if store:
            for t in nodes:
                self.store(depth, t)

    def store(self, depth: int, t: Tensor) -> None:
        if t in self.result:
            self.put(depth, f"y{self.result[t]}[{self.at(self.nest.dims_of(t))}] = v{self.value[t]}{self.row}")

    def total(self, t: Tensor, text: str) -> str:
        """A finished sum, or mean, in its dtype."""
        mean = t.node.op.name == "mean"  # type: ignore[union-attr]
        return f"{TYPES[t.dtype.char]}({text}{' / count' if mean else ''})"


def without(nodes: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    out = set(others)
    return [t for t in nodes if t not in out]


def slot_of(slots: dict[str, int], t: Tensor) -> int:
    """The next free row of scratch of a dtype."""
    slots[t.dtype.char] = slots.get(t.dtype.char, 0) + 1
    return slots[t.dtype.char] - 1


def is_division(t: Tensor) -> bool:
    return t.node.op.name in ("div", "div0")  # type: ignore[union-attr]


def _is_root(nest: Nest, t: Tensor) -> bool:
    return nest.formulas[t][0].startswith("np.sqrt")


def divides(t: Tensor, by: Tensor, nest: Nest) -> bool:
    """Whether ``t`` reads a value as its divisor only."""
    first, second = nest.sources[t] if is_division(t) else (None, None)
    return second is not None and second.tensor is by and first.tensor is not by  # type: ignore[union-attr]


def shifted(slot: int) -> str:
    return f"S{slot} + k" if slot else "k"


def _words(line: str) -> set[str]:
    return set("".join(c if c.isalnum() or c == "_" else " " for c in line).split())


def _places(line: str) -> list[int]:
    return [int(w[1:]) for w in _words(line) if w[0] == "S" and w[1:].isdigit()]
