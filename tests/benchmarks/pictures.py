"""How long pictures take: ``python tests/benchmarks/pictures.py``. CPU seconds of this process, or wall where Graphviz runs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygraph as tg
from tinygraph.errors import GraphFoldedWarning
from tinygraph.picture import engine
from tinygraph.picture.layout.page import lay_out

RNG = np.random.default_rng(0)


def batch_norm() -> Any:
    x = tg.tensor(RNG.normal(size=(4, 3)), requires_grad=True, name="x")
    y = tg.batch_norm(x, tg.Parameter(np.ones(3)), tg.Parameter(np.zeros(3)))
    y.backward(np.ones((4, 3)))
    return y


def stack(layers: int) -> Any:
    """BatchNorms one after the other, each in a scope."""
    h = tg.tensor(RNG.normal(size=(8, 4)), requires_grad=True, name="x")
    for i in range(layers):
        with tg.scope(f"layer {i}"):
            h = tg.batch_norm(h)
    return h


def chain(ops: int, each: int, start: Any) -> Any:
    """A chain of ops, ``each`` of them in a scope."""
    y = tg.tensor(start, requires_grad=True, name="x")
    for i in range(ops // each):
        with tg.scope(f"part {i}"):
            for _ in range(each // 2):
                y = tg.sin(y) * 0.999
    return y


def best(run: Callable[[], Any], times: int, clock: Callable[[], float] = time.process_time) -> float:
    taken = []
    for _ in range(times):
        before = clock()
        run()
        taken.append(clock() - before)
    return min(taken)


def show(what: str, seconds: float, aim: str = "") -> None:
    print(f"  {what:<58}{seconds:>8.3f} s   {aim}")


def main() -> None:
    warnings.simplefilter("ignore", GraphFoldedWarning)
    y, tower = batch_norm(), stack(63)
    ones = np.ones(tower.shape)
    if engine.available("dot"):
        show("BatchNorm as SVG, by dot", best(lambda: tg.draw(y, engine="dot").svg(), 5, time.perf_counter), "aim 0.3")
    show("BatchNorm as SVG, built in", best(lambda: tg.draw(y, engine="builtin").svg(), 5), "aim 0.1")
    show("BatchNorm in lanes as SVG, built in", best(lambda: tg.draw(y, mode="lanes", engine="builtin").svg(), 5))
    show("BatchNorm as a page", best(lambda: tg.draw(y, engine="builtin").html(), 5))
    whole = tg.draw(tower, seed=ones, max_nodes=None).view
    for how in [name for name in ("dot", "builtin") if name == "builtin" or engine.available(name)]:
        run = best(lambda how=how: tg.draw(tower, seed=ones, max_nodes=None, engine=how).svg(), 2, time.perf_counter)  # type: ignore[misc]
        show(f"{len(whole.nodes):,} nodes as SVG, {how}", run, "aim 3")
    four = tg.draw(stack(250), mode="forward", max_nodes=None, values="none").view
    show(f"{len(four.nodes):,} nodes laid out, built in", best(lambda: lay_out(four), 2), "aim 5")
    for name, start in (("scalars", 0.5), ("(4, 3) arrays", np.ones((4, 3)))):
        long = chain(100_000, 500, start)
        g = np.ones(long.shape)
        show(f"100,000 ops on {name} as DOT", best(lambda: tg.draw(long, seed=g, max_nodes=None).dot, 3), "aim 5")
        show(f"100,000 ops on {name}, folded, as DOT", best(lambda: tg.draw(long, seed=g).dot, 2))


if __name__ == "__main__":
    main()
