"""The speed of tinygraph as ratios to its peers: ``python tests/benchmarks/table.py`` prints the whole table.

    python tests/benchmarks/table.py [--quick] [--only ROW …] [--write]

A ratio is our median over the peer's, of repetitions that take turns in one run; below 1 we are faster. Peers that are
not installed are left out. ``--write`` puts the table into docs/performance.md. On a machine with more cores, run it
under ``taskset -c 0,1``.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import chains, table_alone
from benchmarks import table_contestants as who
from benchmarks.table_page import Line, absent, line, machine, ms, plain, verdict, write

Shape = tuple[tuple[int, ...], str]
TINY: Shape = ((16, 8), "float64")
SHAPES: list[Shape] = [
    ((100, 500), "float64"),
    ((256, 256), "float32"),
    ((4096, 1024), "float32"),
    ((32768, 256), "float32"),
    ((32, 64, 56, 56), "float32"),
]
LARGE = 16 << 20  # bytes of one array
TURN = 5e-3  # seconds that one repetition takes at least
PAUSE = 50e-3  # seconds after which the threads of the one before no longer spin, waiting for more work
NOISY = 1.5  # upper over lower quartile


def text_of(shape: Shape) -> str:
    return f"{shape[0]} {shape[1]}"


# -- taking turns ----------------------------------------------------------------------------------


def race(calls: Mapping[str, Callable[[], Any]], repeats: int, what: str) -> dict[str, float]:
    """Median seconds of one call of each. In every repetition all have their turn, there and back in order."""
    gc.collect()
    gc.freeze()  # what the peers have imported is not looked through during our turn
    loops = {name: 1 + int(TURN / min(who.seconds(call) for _ in range(2))) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for k in progress(range(repeats), what):
        for name in list(calls)[:: 1 if k % 2 else -1]:
            times[name].append(turn(calls[name], loops[name]))
    quartiles = {name: statistics.quantiles(t, n=4) for name, t in times.items()}
    for name, (low, _, high) in quartiles.items():
        if high > NOISY * low:
            print(f"busy machine? {what}, {name}: quartiles {ms(low)} and {ms(high)}", file=sys.stderr)
    return {name: middle for name, (_, middle, _) in quartiles.items()}


def turn(call: Callable[[], Any], loops: int) -> float:
    """Seconds of one call, after one that brings the data back into the cache."""
    time.sleep(PAUSE)
    call()
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - start) / loops


def progress(items: Iterable[Any], what: str) -> Iterable[Any]:
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(list(items), what, leave=False, disable=not sys.stderr.isatty())  # type: ignore[no-any-return]


def settle_memory() -> None:
    """The C library keeps freed memory up to the size of the largest block it has seen freed: none pays for new pages."""
    np.empty(30 << 20, np.uint8)


def brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


# -- BatchNorm -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """BatchNorm forward and backward: one contestant of ours, and what it must reach; None leaves shapes out."""

    title: str
    ours: str
    peers: tuple[str, ...]
    small: float | None
    large: float | None
    mean: float | None = None  # of the ratios at all shapes, geometric
    unjudged: tuple[str, ...] = ()  # peers shown without an aim
    shapes: tuple[Shape, ...] = tuple(SHAPES)

    def limit(self, shape: Shape) -> float | None:
        large = np.prod(shape[0]) * np.dtype(shape[1]).itemsize >= LARGE
        return self.large if large else self.small

    def entrants(self, shape: Shape) -> tuple[str, ...]:
        return (self.ours, *self.peers, *self.unjudged) if shape in self.shapes and self.limit(shape) else ()

    def lines(self, times: Mapping[Shape, Mapping[str, float]], reasons: Mapping[str, str]) -> Iterator[Line]:
        if self.ours in reasons:
            yield absent(self.ours, reasons[self.ours])
            return
        for peer in (*self.peers, *self.unjudged):
            if peer in reasons:
                yield absent(peer, reasons[peer])
                continue
            ratios = []
            for shape in filter(self.entrants, self.shapes):
                ours, other = times[shape][self.ours], times[shape][peer]
                ratios.append(ours / other)
                limit = self.limit(shape) if peer in self.peers else None
                yield line(text_of(shape), ms(ours), f"{peer} {ms(other)}", ratios[-1], limit)
            if self.mean is not None:
                yield line("geometric mean", "", peer, statistics.geometric_mean(ratios), self.mean)


NUMBA = "compiled, Numba"
COMPARISONS = {
    "torch": Comparison("Compiled with Numba, against the fused kernel of PyTorch", NUMBA, ("PyTorch fused",), 1, 1, 0.6),
    "hand": Comparison("Compiled with Numba, against NumPy fused by hand", NUMBA, ("NumPy by hand",), 1 / 2, 1 / 3),
    "composed": Comparison(
        "Compiled with Numba, against other libraries, composed", NUMBA, ("autograd", "mygrad"), None, 1 / 15
    ),
    "copies": Comparison(
        "Compiled with Numba, against two array copies", NUMBA, ("two copies",), None, 2, unjudged=("two copies in place",)
    ),
    "numpy": Comparison(
        "Compiled with NumPy alone, against NumPy fused by hand", "compiled, NumPy", ("NumPy by hand",), 1.1, 1.1
    ),
    "eager": Comparison(
        "Eager, composed, against other libraries, composed", "eager", ("autograd", "mygrad"), 1 / 2, 2 / 3,
        shapes=(TINY, *SHAPES),
    ),
}  # fmt: skip


def batch_norm(rows: list[str], quick: bool) -> Iterator[tuple[str, list[Line]]]:
    """The rows asked for; at each shape all contestants take their turns in the same repetitions."""
    asked = {name: COMPARISONS[name] for name in rows}
    names = {n: None for c in asked.values() for shape in c.shapes for n in c.entrants(shape)}
    reasons = {name: reason for name in names if (reason := who.missing(name))}
    times: dict[Shape, dict[str, float]] = {}
    for shape in (TINY, *SHAPES):
        entrants = [n for n in names if n not in reasons and any(n in c.entrants(shape) for c in asked.values())]
        calls = agreeing(shape, entrants, reasons)
        times[shape] = race(calls, 5 if quick else 21, text_of(shape)) if calls else {}
    for name, comparison in asked.items():
        yield f"BatchNorm forward + backward. {comparison.title} (`{name}`)", list(comparison.lines(times, reasons))


def agreeing(shape: Shape, entrants: list[str], reasons: dict[str, str]) -> dict[str, Callable[[], Any]]:
    """The contestants that compute what the formula by hand gives; why the others do not goes to the reasons."""
    arrays = who.batch_norm_arrays(*shape)
    calls = {name: who.BATCH_NORM[name](*arrays) for name in entrants}
    due = who.outcome(who.by_hand(*arrays)()) if entrants else []
    for name in entrants:
        try:
            calls[name]()  # what is compiled runs from the second call on
            found = who.outcome(calls[name]())
            if found and not who.same(found, due):
                reasons[name] = f"wrong at {text_of(shape)}"
        except Exception as error:
            reasons[name] = f"fails at {text_of(shape)}: {brief(error)}"
    return {name: call for name, call in calls.items() if name not in reasons}


# -- the other rows --------------------------------------------------------------------------------


def chain(quick: bool) -> Iterator[Line]:
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=chains.SHAPE), rng.uniform(0.9, 1.1, chains.SHAPE)
    installed = {name: make for name, make in chains.CHAINS.items() if importlib.util.find_spec(name)}
    times = race({name: make(*arrays) for name, make in installed.items()}, 5 if quick else 25, "chain")
    micro = {name: f"{t / chains.LENGTH * 1e6:.2f} µs an op" for name, t in times.items()}
    yield from (absent(name, "not there") for name in chains.CHAINS if name not in times)
    for peer in [name for name in times if name != "tinygraph"]:
        ratio, limit = times["tinygraph"] / times[peer], 1 if peer == "torch" else None
        yield line(f"{chains.SHAPE} float64", micro["tinygraph"], f"{peer} {micro[peer]}", ratio, limit)


AIMS = {("compiled, Numba", "PyTorch eager"): 0.45, ("compiled, Numba", "jax.jit"): 1.0}


def step(quick: bool) -> Iterator[Line]:
    reasons = {name: reason for name in who.STEPS if (reason := who.missing(name))}
    calls = {name: make() for name, make in who.STEPS.items() if name not in reasons}
    losses = [float(calls["eager"]()) for _ in range(5)]
    for name in [name for name in calls if name != "eager"]:
        try:
            found = [float(calls[name]()) for _ in losses]
            if not np.allclose(found, losses, rtol=1e-3):
                reasons[name] = f"wrong: its losses are {found}, but eagerly {losses}"
        except Exception as error:
            reasons[name] = f"fails: {brief(error)}"
    calls = {name: call for name, call in calls.items() if name not in reasons}
    times = race(calls, 11 if quick else 51, "training step")
    yield from (absent(name, reason) for name, reason in reasons.items())
    peers = "PyTorch eager", "jax.jit"
    for ours, peer in itertools.product([name for name in calls if name not in peers], peers):
        if peer in times:
            ratio = times[ours] / times[peer]
            yield line(ours, ms(times[ours]), f"{peer} {ms(times[peer])}", ratio, AIMS.get((ours, peer)))


def nodes(quick: bool) -> Iterator[Line]:
    counts = [10**3, 10**4, 10**5] + [10**6] * (not quick)
    calls: dict[str, Callable[[], Any]] = {f"{n:,} nodes": lambda n=n: chains.long_chain(n) for n in counts}  # type: ignore[misc]
    times = race(calls, 3 if quick else 5, "nodes")
    cost = {name: t / n for (name, t), n in zip(times.items(), counts, strict=True)}
    least = min(cost.values())
    for name, t in cost.items():
        yield line(name, f"{t * 1e6:.2f} µs a node", f"the least {least * 1e6:.2f}", t / least, 1.5)


def first(quick: bool) -> Iterator[Line]:
    if reason := who.missing(NUMBA):
        yield absent(NUMBA, reason)
        return
    for (state, found), limit in zip(table_alone.first_calls(1 if quick else 3).items(), (3.0, 0.3), strict=True):
        seconds, imported = (statistics.median(f[part] for f in found) for part in ("calls", "import numba"))
        peer = f"and {imported:.2f} s for `import numba`"
        yield Line(f"{state} disk cache", f"{seconds:.2f} s", peer, "", f"≤ {limit} s", verdict(seconds, limit))


def memory(quick: bool) -> Iterator[Line]:
    if not Path("/proc/self/clear_refs").exists():
        yield absent("resident memory", "measured on Linux alone")
        return
    here = []
    for name in (NUMBA, "compiled, NumPy", "eager"):
        if reason := who.missing(name):
            yield absent(name, reason)
        else:
            here.append(name)
    for (size, dtype), name in itertools.product(SHAPES[2::2], here):
        found = table_alone.ask("memory", name, *map(str, size))
        peak, least = found["inputs"] + found["call"], found["inputs"] + found["results"]
        limit = 1.3 if name == NUMBA else None
        what = f"{name}, {text_of((size, dtype))}"
        yield line(what, f"{peak / 1e6:.0f} MB", f"inputs + results {least / 1e6:.0f} MB", peak / least, limit)


ROWS: dict[str, tuple[str, Callable[[bool], Iterator[Line]]]] = {
    "chain": (f"A chain of {chains.LENGTH:,} `mul`, forward + backward, one thread", chain),
    "step": ("A training step, 784-100x5-10, BatchNorm, ReLU, batch 100, SGD, float32", step),
    "nodes": ("Eager cost of a node, a chain of `sin`: forward, backward, release", nodes),
    "first": ("First calls of the compiled BatchNorm in a fresh process, until compiled code has run once", first),
    "memory": ("Peak resident memory of BatchNorm forward + backward", memory),
}


def tables(rows: list[str], quick: bool) -> Iterator[tuple[str, list[Line]]]:
    compared = [name for name in rows if name in COMPARISONS]
    if compared:
        yield from batch_norm(compared, quick)
    for name in rows:
        if name in ROWS:
            title, run = ROWS[name]
            yield f"{title} (`{name}`)", list(run(quick))


def main() -> None:
    every = [*COMPARISONS, *ROWS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions, short chains")
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=every, default=every, help=", ".join(every))
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    if options.write and options.only is not every:
        parser.error("--write takes the whole table; leave out --only")
    settle_memory()
    print(machine(), end="\n\n")
    found = []
    for table in tables(options.only, options.quick):
        found.append(table)
        print(plain(*table), flush=True)
    if options.write:
        write("python tests/benchmarks/table.py" + " --quick" * options.quick, found)


if __name__ == "__main__":
    main()
