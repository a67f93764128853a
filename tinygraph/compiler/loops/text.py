"""The text of a kernel: a loop nest as Python that Numba compiles.

No size and no number stands in it, so that graphs of one structure share it: ``n`` holds the sizes of the axes and
the part of the work to do, ``c`` the numbers. Arrays are flat. Three forms:

- nothing is summed: plain loops;
- the last axis is summed: for each place along the kept axes, one loop after the other with sums in registers;
- the last axis is kept: blocks of columns; every loop goes over the rows of a block, and sums are rows as well.

Terms are added in the dtype of the sum, ``CHUNK`` at a time, and chunks in float64. A sweep over the columns takes
``ROWS`` rows at a time, whose terms are added in pairs; the names of the second row end with ``_1``. These rows are far
apart, so that each is the next part of a stretch of memory that is read from end to end, and their distance is odd, so
that they do not compete for the same places in the cache.
"""

from __future__ import annotations

from ...core.tensor import Tensor
from .nests import Nest
from .operations import SUMS
from .writer import ROWS, TYPES, Text, Writer, divides, shifted, slot_of, without

SHORT = 16  # lines of an element, up to which rows are taken together: else the text takes long to compile


def write(nest: Nest) -> Text:
    """The kernel of a nest."""
    if not nest.summed:
        return _Flat(nest).text("flat")
    return _Columns(nest).text("columns") if nest.kinds[-1] == "K" else _Scalars(nest).text("scalars")


class _Flat(Writer):
    """Nothing is summed."""

    def body(self, depth: int) -> None:
        nest = self.nest
        for d in range(self.last):
            depth = self.loop(depth, d, "start, stop" if d == 0 else f"n{d}")
        nodes = nest.needed(0)
        self.bases(depth, [*self.used(nodes), nest.kept])
        self.put(depth, f"for k in range({'start, stop' if self.last == 0 else f'n{self.last}'}):")
        self.elements(depth + 1, nodes, store=True)
        self.steps = [True]


class _Scalars(Writer):
    """The last axis is summed: sums and what follows from them are single numbers."""

    chunk = 2048  # in vectors, 16 sums or more at a time

    def body(self, depth: int) -> None:
        nest = self.nest
        for d in nest.kept:
            depth = self.loop(depth, d, "start, stop" if d == nest.kept[0] else f"n{d}")
        for i in range(nest.loops + 1):
            self._between(depth, [t for t in nest.nodes if nest.section.get(t) == i])
            if i < nest.loops:
                self._loop(depth, i)
        self.steps = [True]

    def _between(self, depth: int, nodes: list[Tensor]) -> None:
        values = [t for t in nodes if t.node.op.name not in SUMS]  # type: ignore[union-attr]
        here, kept = set(values), self.nest.kept
        wanted = [s for t in values for s in self.nest.sources[t] if s in self.array]
        self.bases(depth, [s.dims or () for s in wanted] + [kept] * any(t in self.result for t in nodes))
        self.loads(depth, values)
        for t in nodes:
            i = self.value[t]
            if t in here:
                self.element(depth, t, here)
            else:
                self.put(depth, f"v{i} = {self.total(t, f't{i}')}")
            if t in self.inverted:
                self.put(depth, f"r{i} = {TYPES[t.dtype.char]}(1) / v{i}")
            if t in self.result:
                self.put(depth, f"y{self.result[t]}[{self.at(kept)}] = v{i}")

    def _loop(self, depth: int, loop: int) -> None:
        nest, nodes = self.nest, self.nest.needed(loop)
        here, last, sums = set(nodes), loop == nest.loops - 1, nest.sums[loop]
        for t in sums:
            self.put(depth, f"t{self.value[t]} = 0.0")
        for d in nest.summed[:-1]:
            depth = self.loop(depth, d, f"n{d}")
        stored = [nest.dims_of(t) for t in nodes if t in self.result and last]
        self.bases(depth, [*self.used([*nodes, *sums]), *stored])
        span = f"n{self.last}"
        if sums:
            self.put(depth, f"for j in range(ZERO, n{self.last}, CHUNK):")
            depth += 1
            for t in sums:
                self.put(depth, f"s{self.value[t]} = {TYPES[t.dtype.char]}(0)")
            span = f"j, min(j + CHUNK, n{self.last})"
        self.put(depth, f"for k in range({span}):")
        self.loads(depth + 1, [*nodes, *sums])
        for t in nodes:
            self.element(depth + 1, t, here)
            if last:
                self.store(depth + 1, t)
        for t in sums:
            i = self.value[t]
            self.put(depth + 1, f"s{i} = add(s{i}, {self.operand(nest.sources[t][0], here)})")
        for t in sums:
            self.put(depth, f"t{self.value[t]} += s{self.value[t]}")


class _Columns(Writer):
    """The last axis is kept: sums and what follows from them are rows of a block of columns."""

    origin = "j"

    def body(self, depth: int) -> None:
        nest = self.nest
        self.place: dict[tuple[Tensor, bool], int] = {}
        self.partial: dict[Tensor, int] = {}
        self.sum_row: dict[Tensor, int] = {}
        self.asked: dict[str, str] = {}  # names of values between the loops, and where they lie
        self._places()
        if all(map(self._is_short, range(nest.loops))):
            self.chunk *= ROWS
        outer = nest.kept[:-1]
        for d in outer:
            depth = self.loop(depth, d, "start, stop" if d == outer[0] else f"n{d}")
        columns = "left, right" if not outer else f"ZERO, n{self.last}"
        self.put(depth, f"for j in range({columns}, WIDTH):")
        self.put(depth + 1, f"w = min(WIDTH, {columns.split(', ')[1]} - j)")
        self.put(depth + 1, "for step in range(first, last):")
        for i in range(nest.loops + 1):
            self._between(depth + 2, [t for t in nest.nodes if nest.section.get(t) == i])
            if i < nest.loops:
                self._loop(depth + 2, i)

    def _places(self) -> None:
        """A row of scratch for every value between the loops that is read after the loop that made it, and for every sum."""
        nest = self.nest
        for t in nest.nodes:
            if t in nest.section and t.node.op.name in SUMS:  # type: ignore[union-attr]
                self.partial[t] = slot_of(self.partials, t)
                self.sum_row[t] = self.totals
                self.totals += 1
        for t in nest.nodes:
            readers = [u for u in nest.nodes if any(s.tensor is t for s in nest.sources[u])]
            if t in nest.section:
                if any(
                    (u in nest.full and not (divides(u, t, nest) and t in self.inverted))
                    or nest.section.get(u, -1) > nest.section[t]
                    for u in readers
                ):
                    self.place[t, False] = slot_of(self.rows, t)
                if t in self.inverted:
                    self.place[t, True] = slot_of(self.rows, t)

    def inner(self, t: Tensor, here: set[Tensor], inverse: bool) -> str:
        name = super().inner(t, here, inverse)
        if t in here:
            return name + self.row
        self.asked[name] = self._row(t, inverse)
        return name

    def _load_between(self, at: int, depth: int) -> None:
        """What was made between the loops is loaded ahead of the lines from ``at`` on, which read it."""
        found, self.asked = self.asked, {}
        self.lines[at:at] = ["    " * depth + f"{name} = {row}" for name, row in found.items()]

    def _row(self, t: Tensor, inverse: bool = False) -> str:
        return f"row_{TYPES[t.dtype.char]}[{shifted(self.place[t, inverse])}]"

    def _total(self, t: Tensor, part: str = "") -> str:
        return f"total[{part}{shifted(self.sum_row[t])}]"

    def _between(self, depth: int, nodes: list[Tensor]) -> None:
        if not nodes:
            return
        depth = self._step(depth, loop=False)
        here = set(nodes)
        sums = [t for t in nodes if t in self.partial]
        if sums:
            self.put(depth, "for i in range(np.uint64(1), parts):")
            self.put(depth + 1, "for k in range(w):")
            for t in sums:
                self.put(depth + 2, f"{self._total(t)} += {self._total(t, 'i * TOTALS + ')}")
        self.bases(
            depth, [*self.used(without(nodes, sums)), *([self.nest.kept] * any(t in self.result for t in nodes))]
        )
        self.put(depth, "for k in range(w):")
        depth, at = depth + 1, len(self.lines)
        self.loads(depth, without(nodes, sums))
        for t in nodes:
            i = self.value[t]
            if t in self.partial:
                self.put(depth, f"v{i} = {self.total(t, self._total(t))}")
            else:
                self.element(depth, t, here)
            if (t, False) in self.place:
                self.put(depth, f"{self._row(t)} = v{i}")
            if t in self.inverted:
                self.put(depth, f"{self._row(t, True)} = {TYPES[t.dtype.char]}(1) / v{i}")
            if t in self.result:
                self.put(depth, f"y{self.result[t]}[{self.at(self.nest.kept)}] = v{i}")
        self._load_between(at, depth)

    def _step(self, depth: int, *, loop: bool) -> int:
        self.put(depth, f"{'el' if self.steps else ''}if step == {len(self.steps)}:")
        self.steps.append(loop)
        return depth + 1

    def _loop(self, depth: int, loop: int) -> None:
        nest, sums = self.nest, self.nest.sums[loop]
        depth = self._step(depth, loop=True)
        if sums:
            self.put(depth, "q = part * TOTALS")
            self.put(depth, "for k in range(w):")
            for t in sums:
                self.put(depth + 1, f"{self._total(t, 'q + ')} = 0.0")
        rows = {d: f"n{d}" for d in nest.summed}
        if not nest.kept[:-1]:
            rows[nest.summed[0]] = "start, stop"
        for d in nest.summed[:-1]:
            depth = self.loop(depth, d, rows[d])
        begin, _, end = rows[nest.summed[-1]].rpartition(", ")
        begin = begin or "ZERO"
        if sums:
            self.put(depth, f"for i in range({begin}, {end}, CHUNK):")
            depth += 1
            self._each(depth, [f"{self._part(t)} = {TYPES[t.dtype.char]}(0)" for t in sums])
            self.put(depth, f"end = min(i + CHUNK, {end})")
            begin, end = "i", "end"
        if self._is_short(loop):
            self.put(depth, f"gap = ({end} - {begin}) // ROWS")
            self.put(depth, "gap = max(gap + gap % TWO, ONE) - ONE")
            self.put(depth, f"rest = {begin} + ROWS * gap")
            self._sweeps(depth, loop, f"{begin}, {begin} + gap", ["", *(f"_{r}" for r in range(1, ROWS))])
            begin = "rest"
        self._sweeps(depth, loop, f"{begin}, {end}", [""])
        if sums:
            self._each(depth, [f"{self._total(t, 'q + ')} += {self._part(t)}" for t in sums])

    def _sweeps(self, depth: int, loop: int, span: str, endings: list[str]) -> None:
        """Sweeps over the columns, each with one row for every ending of names."""
        nest, nodes, sums = self.nest, self.nest.needed(loop), self.nest.sums[loop]
        here, last = set(nodes), loop == nest.loops - 1
        d = self.along = nest.summed[-1]
        depth = self.loop(depth, d, span)
        used = {*self.used([*nodes, *sums]), *(nest.dims_of(t) for t in nodes if t in self.result and last)}
        for before, self.row in zip(["", *endings], endings, strict=False):
            if self.row:
                self.put(depth, f"i{d}{self.row} = i{d}{before} + gap")
            self.bases(depth, [dims for dims in used if not self.row or d in dims])
        self.put(depth, "for k in range(w):")
        at = len(self.lines)
        terms: dict[Tensor, list[str]] = {t: [] for t in sums}
        for self.row in endings:
            self.loads(depth + 1, [*nodes, *sums])
            for t in nodes:
                self.element(depth + 1, t, here)
                if last:
                    self.store(depth + 1, t)
            for t in sums:
                terms[t].append(self.operand(nest.sources[t][0], here))
        self.row = ""
        for t in sums:
            self.put(depth + 1, f"{self._part(t)} += {added(terms[t])}")
        self._load_between(at, depth + 1)

    def _is_short(self, loop: int) -> bool:
        return len(self.nest.needed(loop)) + len(self.nest.sums[loop]) <= SHORT

    def _part(self, t: Tensor) -> str:
        return f"sum_{TYPES[t.dtype.char]}[{shifted(self.partial[t])}]"

    def _each(self, depth: int, lines: list[str]) -> None:
        self.put(depth, "for k in range(w):")
        for line in lines:
            self.put(depth + 1, line)


def added(terms: list[str]) -> str:
    """The sum of terms, in pairs."""
    if len(terms) <= 2:
        return " + ".join(terms)
    middle = len(terms) // 2
    return f"({added(terms[:middle])}) + ({added(terms[middle:])})"
