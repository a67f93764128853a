"""Chains: the cost of one operation. ``python tests/benchmarks/chains.py`` prints both tables.

Timings are ratios within one run, medians of interleaved repetitions. Peers that are not installed
are left out.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

import tinygraph as tg
from tinygraph.ops.elementwise import div0, mul0

LENGTH = 2_000
SHAPE = (8, 8)


def tinygraph_chain(x: np.ndarray, w: np.ndarray) -> Callable[[], object]:
    def run() -> object:
        leaf = tg.tensor(x, requires_grad=True)
        factor = tg.tensor(w)
        y = leaf
        for _ in range(LENGTH):
            y = y * factor
        y.backward(w)
        return leaf.grad

    return run


def torch_chain(x: np.ndarray, w: np.ndarray) -> Callable[[], object]:
    import torch

    torch.set_num_threads(1)
    factor, seed = torch.from_numpy(w), torch.from_numpy(w)

    def run() -> object:
        leaf = torch.tensor(x, requires_grad=True)
        y = leaf
        for _ in range(LENGTH):
            y = y * factor
        y.backward(seed)
        return leaf.grad

    return run


def autograd_chain(x: np.ndarray, w: np.ndarray) -> Callable[[], object]:
    from autograd.core import make_vjp

    def chain(leaf: np.ndarray) -> np.ndarray:
        y = leaf
        for _ in range(LENGTH):
            y = y * w
        return y

    return lambda: make_vjp(chain, x)[0](w)


def mygrad_chain(x: np.ndarray, w: np.ndarray) -> Callable[[], object]:
    import mygrad

    def run() -> object:
        leaf = mygrad.tensor(x)
        factor = mygrad.tensor(w, constant=True)
        y = leaf
        for _ in range(LENGTH):
            y = y * factor
        y.backward(w)
        return leaf.grad

    return run


CHAINS = {"tinygraph": tinygraph_chain, "torch": torch_chain, "autograd": autograd_chain, "mygrad": mygrad_chain}


def mul_chain(repeats: int) -> dict[str, float]:
    """Microseconds for one ``mul`` on (8, 8), forward and backward, for every library installed."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=SHAPE), rng.uniform(0.9, 1.1, SHAPE)
    runs = {name: make(x, w) for name, make in CHAINS.items() if importlib.util.find_spec(name)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) / LENGTH * 1e6)
    return {name: statistics.median(t) for name, t in times.items()}


def long_chain(nodes: int) -> dict[str, float]:
    """Seconds and bytes of a chain of ``sin``, at the recursion limit of 1000."""
    sys.setrecursionlimit(1000)
    result: dict[str, float] = {}
    leaf = tg.tensor(0.5, requires_grad=True)
    start = time.perf_counter()
    y = leaf
    for _ in range(nodes):
        y = tg.sin(y)
    result["forward"] = time.perf_counter() - start
    start = time.perf_counter()
    y.backward()
    result["backward"] = time.perf_counter() - start
    start = time.perf_counter()
    del y
    result["release"] = time.perf_counter() - start
    return result


def strong_zeros() -> dict[tuple[str, tuple[int, int]], float]:
    """What the rules of singular operations cost, as a multiple of plain NumPy."""
    ratios = {}
    for shape in [(64, 64), (256, 256), (1000, 1000), (2000, 2000)]:
        x = np.random.default_rng(0).normal(size=shape)
        row = np.abs(x[0]) + 1
        for name, ours, plain, y in [("mul0", mul0, np.multiply, x), ("div0", div0, np.divide, row)]:
            times: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(max(9, 400_000 // x.size)):
                for strong, function in ((True, ours), (False, plain)):
                    start = time.perf_counter()
                    function(x, y)
                    times[strong].append(time.perf_counter() - start)
            ratios[name, shape] = statistics.median(times[True]) / statistics.median(times[False])
    return ratios


def bytes_per_node(nodes: int = 100_000) -> float:
    leaf = tg.tensor(0.5, requires_grad=True)
    gc.collect()
    tracemalloc.start()
    y = leaf
    for _ in range(nodes):
        y = tg.sin(y)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / nodes


def in_small_thread(nodes: int) -> None:
    """The same chain inside a thread whose stack has 64 KiB."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            long_chain(nodes)
        except BaseException as error:
            failures.append(error)

    previous = threading.stack_size(64 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(previous)
    if failures:
        raise failures[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1_000_000, help="length of the chain of sin")
    parser.add_argument("--repeats", type=int, default=25, help="repetitions of the chain of mul")
    options = parser.parse_args()

    print(f"chain of {LENGTH:,} mul on {SHAPE}, forward + backward, median of {options.repeats}")
    times = mul_chain(options.repeats)
    for name, t in times.items():
        print(f"  {name:<10} {t:6.2f} us an op   {t / times['tinygraph']:5.2f} x tinygraph")

    print(f"chain of {options.nodes:,} sin, recursion limit {sys.getrecursionlimit()}")
    seconds = long_chain(options.nodes)
    for phase, t in seconds.items():
        print(f"  {phase:<10} {t:6.2f} s   {t / options.nodes * 1e6:5.2f} us a node")
    print(f"  in all     {sum(seconds.values()) / options.nodes * 1e6:6.2f} us a node")
    gc.disable()
    print(
        f"  without the cycle collector {sum(long_chain(options.nodes).values()) / options.nodes * 1e6:.2f} us a node"
    )
    gc.enable()
    print(f"  memory     {bytes_per_node():6.0f} bytes a node after the forward pass")
    in_small_thread(options.nodes)
    print("  the same inside a thread with a 64 KiB stack: works")

    print("strong zeros in float64, as a multiple of plain NumPy (div0: by a row)")
    for (name, shape), ratio in strong_zeros().items():
        print(f"  {name} {shape!s:<13} {ratio:5.2f}")


if __name__ == "__main__":
    main()
