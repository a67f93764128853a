"""Histograms of the activations of every layer, for several initial scales, with BatchNorm and without.

Seed documents 000 and 004 give BatchNorm its reason: activations should be spread to a moderate breadth in every layer,
which takes another initial scale for every activation function, and which BatchNorm forces upon any of them. Here the
data go through five layers of 100 that have not been trained, with each activation function and each scale.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

import tinygraph as tg

from .common import WITH, WITHOUT, Experiment, Figure, Numbers, Settings, main, panels

HIDDEN = [100] * 5
RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, 3.0)}  # of the histograms
SCALES: list[float | str] = [1.0, 0.1, 0.01, "xavier", "he"]
BINS = 20
NETS = {"with": (WITH, 1), "without": (WITHOUT, -1)}  # colour, and side in the figure
# Shares of what a standard normal input would give.
CONSTANT, BLOWN_UP = 0.1, 10.0  # of the spread
SATURATED = 0.5  # of the mean slope


def run(settings: Settings) -> Numbers:
    data, _ = settings.load(limit=200 if settings.quick else 1000)

    def both(case: tuple[str, float | str]) -> Numbers:
        return {net: layers(data["x"], *case, net == "with", settings.seed) for net in NETS}

    cases = {f"{activation} {scale}": (activation, scale) for activation in RANGES for scale in SCALES}
    normal = np.random.default_rng(settings.seed).normal(size=(1000, 100))
    return {
        "normal": {activation: breadth(getattr(tg, activation)(normal).numpy(), activation) for activation in RANGES},
        "layers": settings.each(cases, both),
    }


def layers(x: Any, activation: str, scale: float | str, batch_norm: bool, seed: int) -> list[Numbers]:
    """What each hidden layer of a new network gives, with the data as one batch."""
    net = tg.nn.mlp(x.shape[1], HIDDEN, 10, batch_norm=batch_norm, activation=activation, weight_scale=scale, rng=seed)
    found = []
    with tg.no_grad():
        for block in net[:-1]:
            x = block(x)
            y = x.numpy()
            found.append(breadth(y, activation) | {"per thousand": histogram(y, activation)})
    return found


def breadth(y: np.ndarray, activation: str) -> Numbers:
    """Of activations [examples, units]: their deviation over the examples, and the slope of the function there."""
    slope = {"sigmoid": 4 * y * (1 - y), "tanh": 1 - y**2, "relu": np.sign(y)}[activation]  # 1 at its steepest
    return {"spread": float(f"{y.std(axis=0).mean():.3g}"), "slope": round(float(slope.mean()), 3)}


def histogram(y: np.ndarray, activation: str) -> Any:
    """Per thousand activations, those of 0 left out; those beyond the range are counted in the outermost bins."""
    low, high = RANGES[activation]
    counts, _ = np.histogram(np.clip(y[y != 0], low, high), BINS, (low, high))
    return np.rint(1000 * counts / y.size).astype(int)


def verdict(layer: Numbers, normal: Numbers) -> str:
    """The shape that a layer's activations are in."""
    if layer["spread"] < CONSTANT * normal["spread"]:
        return "constant"
    if layer["spread"] > BLOWN_UP * normal["spread"]:
        return "blown up"
    return "saturated" if layer["slope"] < SATURATED * normal["slope"] else "moderate"


def last_verdicts(numbers: Numbers, net: str) -> dict[str, str]:
    """The shape of the last hidden layer in every case."""
    normal = numbers["normal"]
    return {case: verdict(nets[net][-1], normal[case.split()[0]]) for case, nets in numbers["layers"].items()}


def finding(numbers: Numbers) -> str:
    with_bn, without = (tally(last_verdicts(numbers, net)) for net in NETS)
    return f"in the last layer, with BatchNorm, the activations are {with_bn}; without it, they are {without}"


def tally(verdicts: dict[str, str]) -> str:
    """How often each verdict is passed, and the cases of moderate breadth where there are others."""
    counts = Counter(verdicts.values())
    good = [case for case, word in verdicts.items() if word == "moderate"]
    which = f" ({', '.join(good)})" if 0 < len(good) < len(verdicts) else ""
    rest = [f", {word} in {n}" for word, n in counts.items() if word != "moderate"]
    return f"of moderate breadth in {len(good)} of {len(verdicts)} cases{which}{''.join(rest)}"


def plot(numbers: Numbers) -> Figure:
    figure, axes = panels(len(RANGES), len(SCALES), width=2.15, height=2.15, sharex=True, sharey="row")
    without = last_verdicts(numbers, "without")
    for row, (activation, limits) in zip(axes, RANGES.items(), strict=True):
        row[0].set_ylabel(activation + ", above 0" * (activation == "relu"))
        for ax, scale in zip(row, SCALES, strict=True):
            case = f"{activation} {scale}"
            for net, (color, side) in NETS.items():
                draw(ax, numbers["layers"][case][net], np.linspace(*limits, BINS + 1), color, side)
            ax.set_title(f"scale {scale}; without: {without[case]}", fontsize=8)
    for ax in axes[-1]:
        ax.set(xlabel="layer", xticks=range(1, 1 + len(HIDDEN)))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle("Activations of five layers of 100 before any training, by initial scale")
    return figure


def draw(ax: Any, layers: list[Numbers], edges: np.ndarray, color: str, side: int) -> None:
    """The layers' histograms, upright, on one side of the layers' places."""
    label = f"{'with' if side > 0 else 'without'} BatchNorm"
    for place, layer in enumerate(layers, start=1):
        share = np.array(layer["per thousand"]) / max(1, *layer["per thousand"])
        ends = place + side * 0.44 * share
        ax.stairs(ends, edges, baseline=place, orientation="horizontal", fill=True, color=color, label=label)
        label = None


EXPERIMENT = Experiment(
    "activations",
    "without BatchNorm each activation function needs its own initial scale, with it every layer has a moderate breadth (seeds 000, 004)",
    run,
    finding,
    plot,
)

if __name__ == "__main__":
    main(EXPERIMENT)
