"""The time of four backwards of BatchNorm: staged, closed form, fused, and derived from the composition.

Seed document 002 times its staged backward against its closed form once, at N = 100 and D = 500, and prints the
differences of the gradients and a speedup of 1.01. Here every time is the best of interleaved repeats, the sizes go on
to larger ones, and the two of this library run beside them. Like there, the forward has run before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygraph as tg
from examples.published_backwards import batchnorm_backward, batchnorm_backward_alt, batchnorm_forward

from .common import Experiment, Figure, Numbers, Settings, main, panels
from .gradient_check import GRADIENTS, relative_error

SIZES = ((100, 500), (500, 500), (1000, 1000), (2000, 2000))
QUICK = ((100, 500), (200, 500))
SECONDS = 5.0  # of repeats, for each size
LEAST = 5  # repeats
ZERO = 1e-18  # where no difference at all is drawn

Backward = Callable[[], tuple[Any, ...]]


def run(settings: Settings) -> Numbers:
    sizes = QUICK if settings.quick else SIZES
    seconds = SECONDS / 30 if settings.quick else SECONDS
    return settings.each({f"{n} x {d}": (n, d) for n, d in sizes}, lambda size: compare(size, settings.seed, seconds))


def compare(size: tuple[int, int], seed: int, seconds: float) -> Numbers:
    """Seconds of each backward, and how far its gradients are from those of the staged one."""
    kernels = backwards(size, seed)
    found = {name: [np.array(g) for g in backward()] for name, backward in kernels.items()}
    return {
        "seconds": best_times(kernels, seconds),
        "differences": {
            name: dict(zip(GRADIENTS, map(relative_error, found["staged"], gradients), strict=True))
            for name, gradients in found.items()
            if name != "staged"
        },
    }


def backwards(size: tuple[int, int], seed: int) -> dict[str, Backward]:
    """The four, after their forwards, on the document's problem."""
    rng = np.random.default_rng(seed)
    x, gamma, beta = 5 * rng.normal(size=size) + 12, rng.normal(size=size[1]), rng.normal(size=size[1])
    dy = rng.normal(size=size)
    cache = batchnorm_forward(x, gamma, beta, {"mode": "train"})[1]
    leaves = [tg.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    fused, composed = tg.fused.batch_norm(*leaves), tg.batch_norm(*leaves)
    return {
        "staged": lambda: batchnorm_backward(dy, cache),
        "closed form": lambda: batchnorm_backward_alt(dy, cache),
        "fused": lambda: tg.gradients(fused, leaves, dy),
        "derived": lambda: tg.gradients(composed, leaves, dy),
    }


def best_times(kernels: dict[str, Backward], seconds: float) -> dict[str, float]:
    """The least time of each, run in turn, so that a busy moment of the machine falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in kernels}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["staged"]) < LEAST:
        for name, backward in kernels.items():
            started = time.perf_counter()
            backward()
            times[name].append(time.perf_counter() - started)
    return {name: min(taken) for name, taken in times.items()}


def speedups(size: Numbers) -> dict[str, float]:
    """How many times as fast as the staged backward each of the others is."""
    return {name: size["seconds"]["staged"] / t for name, t in size["seconds"].items() if name != "staged"}


def finding(numbers: Numbers) -> str:
    parts = []
    for size in dict.fromkeys((min(numbers, key=elements), max(numbers, key=elements))):
        *others, last = [f"the {name} {ratio:.2f}" for name, ratio in speedups(numbers[size]).items()]
        parts.append(f"at {size} {', '.join(others)} and {last} times as fast as the staged backward")
    furthest = max(max(d.values()) for size in numbers.values() for d in size["differences"].values())
    return f"{'; '.join(parts)}; the gradients differ by {furthest:.0e} at most"


def elements(size: str) -> int:
    n, d = size.split(" x ")
    return int(n) * int(d)


def plot(numbers: Numbers) -> Figure:
    figure, ((left, right),) = panels(1, 2, width=5, height=3.8)
    names, places = list(next(iter(numbers.values()))["seconds"]), np.arange(len(numbers))
    for k, name in enumerate(names):
        speed = [size["seconds"]["staged"] / size["seconds"][name] for size in numbers.values()]
        bars = left.bar(places + (k - 1.5) * 0.2, speed, 0.2, color=f"C{k}", label=name)
        if name != "staged":
            left.bar_label(bars, fmt="%.2f", fontsize=8)
            draw_differences(
                right, places + (k - 2) * 0.24, [size["differences"][name] for size in numbers.values()], f"C{k}"
            )
    left.axhline(1, color="grey", linestyle="--")
    left.margins(y=0.1)
    left.set(title="speed of the backward", ylabel="times that of the staged")
    right.set(title="● dx   ▲ dgamma   ■ dbeta", ylabel="relative difference", yscale="log")
    right.set_yticks([ZERO, 1e-15, 1e-12, 1e-9], ["0", "$10^{-15}$", "$10^{-12}$", "$10^{-9}$"])
    for ax in (left, right):
        ax.set_xticks(places, list(numbers))
        ax.set_xlabel("examples x features")
    figure.suptitle("Four backwards of BatchNorm: speed, and difference from the staged one")
    figure.legend(loc="outside lower center", ncols=len(names))
    return figure


def draw_differences(ax: Any, places: np.ndarray, differences: list[dict[str, float]], color: str) -> None:
    for k, (gradient, marker) in enumerate(zip(GRADIENTS, "o^s", strict=True)):
        apart = [max(found[gradient], ZERO) for found in differences]
        ax.plot(places + (k - 1) * 0.06, apart, marker, color=color, markersize=5)


EXPERIMENT = Experiment(
    "backward_speed",
    "the closed form runs 1.01 times as fast as the staged backward and gives the same gradients to 3e-12 (seed 002)",
    run,
    finding,
    plot,
    data=(),
)

if __name__ == "__main__":
    main(EXPERIMENT)
