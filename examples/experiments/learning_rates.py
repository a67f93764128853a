"""How far the learning rate can be raised with BatchNorm, and without.

Seed 000 lists a higher learning rate first among the advantages of BatchNorm. Seed 001 says why: layers of different
scale need different rates, so that the smallest must serve all, and BatchNorm gives them one scale. Here both networks,
with He's initial weights, are trained by SGD at rates on a logarithmic grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygraph as tg

from .common import WITH, WITHOUT, Experiment, Figure, Numbers, Settings, main, panels, train

LEARNT = 0.9  # a rate still learns if every seed ends with this accuracy on the training examples
CHANCE = np.log(10)  # the loss of a guess among ten classes
WORST = 20  # a higher loss is drawn here
EPOCHS = 10


def run(settings: Settings) -> Numbers:
    data, _ = settings.load(limit=1000)
    rates = np.logspace(-0.5, 0.5, 3) if settings.quick else np.logspace(-3, 2, 21)
    seeds = [settings.seed + i for i in range(1 if settings.quick else 3)]

    def compare(rate: float) -> Numbers:
        return {key: [learn(settings, data, rate, seed, key == "with") for seed in seeds] for key in KINDS}

    return {"epochs": EPOCHS, "rates": settings.each({f"{rate:.2g}": rate for rate in rates}, compare)}


def learn(settings: Settings, data: tg.data.Dataset, rate: float, seed: int, batch_norm: bool) -> Numbers:
    """The loss and the accuracy on the training examples at the end, nothing of both if training diverged."""
    model = tg.nn.mlp(data["x"].shape[1], [100] * 5, 10, batch_norm=batch_norm, rng=seed)
    optimizer = tg.optim.SGD(model.parameters(), lr=rate)
    history = train(model, optimizer, data, epochs=EPOCHS, batch_size=100, seed=seed, compile=settings.compile)
    if history.stopped == "diverged":
        return {"loss": None, "accuracy": None}
    return {name: round(history.train[name][-1], 6) for name in ("loss", "accuracy")}


def finding(numbers: Numbers) -> str:
    best, without = highest(numbers, "with"), highest(numbers, "without")
    ratio = f", {best / without:.2g} times as high" if best and without else ""
    return (
        f"the highest rate at which every run reaches {LEARNT:.0%} accuracy on the training examples in "
        f"{numbers['epochs']} epochs is {spelt(without)} without BatchNorm and {spelt(best)} with it{ratio}"
    )


def highest(numbers: Numbers, key: str) -> float | None:
    learns = [float(rate) for rate, found in numbers["rates"].items() if all(map(learnt, found[key]))]
    return max(learns, default=None)


def learnt(result: Numbers) -> bool:
    return result["accuracy"] is not None and result["accuracy"] >= LEARNT


def spelt(rate: float | None) -> str:
    return "none of those tried" if rate is None else f"{rate:g}"


def plot(numbers: Numbers) -> Figure:
    figure, axes = panels(1, 2, 4.6, 3.6, sharex=True)
    accuracy, loss = axes[0]
    accuracy.set(title="accuracy (0: diverged)", xscale="log", ylim=(-0.02, 1.02))
    loss.set(title=f"loss (at the top: diverged, or above {WORST})", yscale="log", ylim=(1e-3, 1.1 * WORST))
    loss.axhline(CHANCE, color="0.4", linestyle=":", linewidth=1, label="a guess")
    for key, (label, colour) in KINDS.items():
        draw(accuracy, numbers, key, "accuracy", 0, 1)
        draw(loss, numbers, key, "loss", WORST, WORST)
        for panel in axes[0]:
            panel.axvline(highest(numbers, key) or np.nan, color=colour, linestyle="--", linewidth=1)
        loss.plot([], [], "o-", color=colour, label=label)
    figure.supxlabel("learning rate (dashed: the highest that still learns)", fontsize=10)
    figure.supylabel("training examples, at the end", fontsize=10)
    figure.legend(*loss.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def draw(panel: Any, numbers: Numbers, key: str, name: str, diverged: float, highest: float) -> None:
    """A dot for each seed, and a line through the medians."""
    rates = [float(rate) for rate in numbers["rates"]]
    runs = [[diverged if run[name] is None else run[name] for run in found[key]] for found in numbers["rates"].values()]
    values = np.minimum(runs, highest)
    panel.plot(rates, values, "o", color=KINDS[key][1], markersize=3, alpha=0.5)
    panel.plot(rates, np.median(values, axis=1), color=KINDS[key][1])


KINDS = {"with": ("with BatchNorm", WITH), "without": ("without", WITHOUT)}

EXPERIMENT = Experiment(
    name="learning_rates",
    claim="BatchNorm allows a higher learning rate (seeds 000, 001)",
    run=run,
    finding=finding,
    plot=plot,
)

if __name__ == "__main__":
    main(EXPERIMENT)
