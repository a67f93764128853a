"""The Numba backend: regions of a graph as compiled loops, the rest as NumPy."""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np

from ...core.graph import Graph
from ...core.memory import LARGE, Maker
from ...core.tensor import Argument, Tensor
from .. import numpy_backend
from ..graphs import again, number, outline, rewrite
from ..passes.rewriting import is_draw
from .kernels import compiled, run_all, threads
from .nests import Nest, nest
from .operations import ALIGN, SUMS
from .regions import Grouping, Region, read_of
from .text import write
from .writer import WIDTH, Text

WORTH_THREADS = 100_000  # elements of a nest, from which on a second thread gains more than it costs
LONG = 1_000_000  # elements, from which on it is worth to wake each thread on a processor of its own


class Loops:
    """A loop nest as one function of its operands, for arrays of the traced shapes."""

    def __init__(self, made: Nest, name: str) -> None:
        self.name = name
        self.nest = made
        self.text = write(made)
        self.results = made.results
        runtime = [s.tensor for s in made.numbers if not _is_constant(s.tensor)]
        self.operands = list(dict.fromkeys([*(s.tensor for s in made.arrays), *runtime]))
        place = {t: i for i, t in enumerate(self.operands)}
        self._reads = [place[s.tensor] for s in made.arrays]
        self._numbers = [(i, place[s.tensor]) for i, s in enumerate(made.numbers) if s.tensor in place]
        count = math.prod(made.sizes[d] for d in made.summed)
        known = [0.0 if s.tensor in place else float(s.tensor._data) for s in made.numbers]
        self._constants = np.array([*known, float(count)])
        self._make = [Maker(t.shape, t.dtype) for t in made.results]
        self._stages = stages(made, self.text, threads())
        self._is_long = math.prod(made.sizes) >= LONG
        self._kernel = compiled(self.text.source)
        self._idle: list[Any] = []
        self.function = self._function()

    def _function(self) -> Any:
        """The call as a text of its own: half of what a small nest takes is what Python does around it."""
        operands = ", ".join(f"x{i}" for i in range(len(self.operands)))
        results = ", ".join(f"y{i}" for i in range(len(self.results)))
        small = [make.bytes < LARGE for make in self._make]
        lines = [f"def {self.name}({operands}):"]
        lines += [
            f"    y{i} = " + (f"empty(*like{i})" if is_small else f"make{i}()") for i, is_small in enumerate(small)
        ]
        lines += ["    c = numbers.copy()"] * bool(self._numbers) or ["    c = numbers"]
        lines += [f"    c[{i}] = x{place}" for i, place in self._numbers]
        given = [*(f"x{i}.ravel()" for i in self._reads), *(f"y{i}.ravel()" for i in range(len(self.results)))]
        lines += [f"    run(({', '.join(given)},), c)", f"    return {results}"]
        namespace: dict[str, Any] = {"empty": np.empty, "numbers": self._constants, "run": self._run}
        namespace.update((f"like{i}", (make.shape, make.dtype)) for i, make in enumerate(self._make))
        namespace.update((f"make{i}", make) for i, make in enumerate(self._make))
        exec("\n".join(lines), namespace)  # noqa: S102
        return namespace[self.name]

    def _run(self, arrays: tuple[Any, ...], numbers: Any) -> None:
        """Run the kernel on flat arrays, stage by stage."""
        try:
            scratch = self._idle.pop()
        except IndexError:  # at first, and for another thread that calls meanwhile
            scratch = self._scratch()
        try:
            self._run_stages(arrays, numbers, scratch)
        except TypeError:  # the kernel does not take an array that is not aligned
            aligned = tuple(a if a.flags.aligned else a.copy() for a in arrays)
            self._run_stages(aligned, numbers, scratch)
        self._idle.append(scratch)

    def _run_stages(self, arrays: tuple[Any, ...], numbers: Any, scratch: Any) -> None:
        for stage in self._stages:
            if len(stage) == 1:
                self._kernel(*arrays, stage[0], numbers, *scratch[0])
            else:
                parts = [(*arrays, n, numbers, *scratch[i]) for i, n in enumerate(stage)]
                run_all(self._kernel, parts, self._is_long)

    def _scratch(self) -> list[tuple[Any, ...]]:
        """Rows for each worker; what lies between the loops is shared where all work on the same columns."""
        text, together, workers = self.text, len(self._stages) > 1, max(map(len, self._stages))

        def between() -> tuple[list[Any], list[Any]]:
            count = text.totals * WIDTH * (workers if together else 1)
            return [np.empty(k * WIDTH, c) for c, k in text.rows.items()], [np.empty(count)] if count else []

        shared = between()
        found = []
        for i in range(workers):
            rows, total = shared if together or not i else between()
            found.append((*rows, *(np.empty(k * WIDTH, c) for c, k in text.partial.items()), *total))
        return found


def _is_constant(t: Tensor) -> bool:
    return t.node is None and not isinstance(t, Argument)


# -- who does what ------------------------------------------------------------------------------------


def stages(made: Nest, text: Text, workers: int) -> list[list[Any]]:
    """What the kernel is told at each call: stages one after the other, the parts of one at the same time."""
    sizes, steps = made.sizes, len(text.steps)
    count = workers if math.prod(sizes) >= WORTH_THREADS else 1
    columns = sizes[-1]

    def part(
        start: int,
        stop: int,
        left: int = 0,
        right: int = columns,
        first: int = 0,
        last: int = steps,
        at: int = 0,
        of: int = 1,
    ) -> Any:
        return np.array([*sizes, start, stop, left, right, first, last, at, of], np.uint64)

    if text.form != "columns" or len(made.kept) > 1:
        extent = sizes[made.kept[0]] if made.kept else 1
        return [[part(a, b) for a, b in _shares(extent, count)]]
    rows = sizes[made.summed[0]]
    if count == 1 or columns >= count * WIDTH:
        return [[part(0, rows, a, b) for a, b in _shares(columns, count)]]
    shares = _shares(rows, count)
    found = []
    for left in range(0, columns, WIDTH):
        right = min(left + WIDTH, columns)
        for step, is_loop in enumerate(text.steps):
            here = list(enumerate(shares)) if is_loop else [(0, (0, rows))]
            found.append([part(a, b, left, right, step, step + 1, i, len(shares)) for i, (a, b) in here])
    return found


def _shares(extent: int, count: int) -> list[tuple[int, int]]:
    """A range cut into at most ``count`` parts of about one length."""
    count = max(1, min(count, extent))
    return [(extent * i // count, extent * (i + 1) // count) for i in range(count)]


# -- the program --------------------------------------------------------------------------------------


def build(graph: Graph) -> numpy_backend.Kernel:
    """A function that computes a graph with compiled loops, called in the order of the program.

    Equal to the ops one by one but for two things: sums are added in another order, and a division by a square root
    of a sum is a multiplication by its reciprocal.
    """
    graph = rewrite(graph, _known_shapes)
    units, made = plan(graph)
    kernel = numpy_backend.build(graph, units)
    names: dict[str, list[str]] = {}
    for unit in made:
        names.setdefault(unit.text.source, []).append(unit.name)
    kernel.source = "\n\n".join([kernel.source, *(f"# {', '.join(n)}\n{text}" for text, n in names.items())])
    return kernel


def _known_shapes(t: Tensor, operands: tuple[Tensor, ...]) -> Tensor | None:
    """Sizes are known for a kernel: no array has to be kept for its shape alone."""
    name = t.node.op.name  # type: ignore[union-attr]
    if name == "size":
        return number(t._data)
    if name == "spread" and operands[1].node is not None:
        return again(t, (operands[0], number(outline(operands[1]._data))))
    if t.size == 1 and all(map(_is_constant, operands)) and not is_draw(t):
        with np.errstate(all="ignore"):
            return number(t.node.op.run([x._data for x in operands], t.node.params))  # type: ignore[union-attr]
    return None


def plan(graph: Graph) -> tuple[list[Tensor | Loops], list[Loops]]:
    """The nodes of a graph in an order to run them, with loops in the place of those that they compute."""
    grouping = Grouping(graph)
    regions = [r for r in grouping.regions() if _pays(r)]
    home = {t: r for r in regions for t in r.nodes}
    wanted = {x for x in graph.outputs if x in home}
    for t in graph.nodes:
        wanted.update(x for x in read_of(t, graph.operands(t)) if x in home and home.get(t) is not home[x])
    made = {r: Loops(nest(graph, grouping, r, wanted), f"loops{i}") for i, r in enumerate(regions)}
    return _ordered(graph, home, made), list(made.values())


def _pays(region: Region) -> bool:
    """One op alone, but for a sum, or arithmetic on single numbers, NumPy does as fast."""
    names = [t.node.op.name for t in region.nodes if t.node.op.name not in ALIGN]  # type: ignore[union-attr]
    return math.prod(region.space) > 1 and (len(names) > 1 or not set(names).isdisjoint(SUMS))


def _ordered(graph: Graph, home: dict[Tensor, Region], made: dict[Region, Loops]) -> list[Tensor | Loops]:
    """Program order, where loops come as soon as all that they read is there."""
    first: dict[Any, int] = {}
    readers: dict[Any, list[Any]] = {}
    missing: dict[Any, int] = {}
    for i, t in enumerate(graph.nodes):
        unit: Any = home.get(t, t)
        first.setdefault(unit, i)
        missing.setdefault(unit, 0)
        for x in dict.fromkeys(read_of(t, graph.operands(t))):
            source: Any = home.get(x, x)
            if x.node is not None and source is not unit:
                readers.setdefault(source, []).append(unit)
                missing[unit] += 1
    ready = [(i, k) for k, (unit, i) in enumerate(first.items()) if not missing[unit]]
    everything = list(first)
    index = {unit: k for k, unit in enumerate(everything)}
    heapq.heapify(ready)
    order: list[Tensor | Loops] = []
    while ready:
        unit = everything[heapq.heappop(ready)[1]]
        order.append(made.get(unit, unit))
        for reader in readers.get(unit, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, (first[reader], index[reader]))
    return order
