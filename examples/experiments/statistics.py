"""Means and standard deviations of BatchNorm's output, in training and at test time.

Seed document 002 sends 200 normal examples through a layer of 60 ReLUs to 3 features, and prints their means and
standard deviations before BatchNorm, after it with gamma = 1 and beta = 0, after it with gamma = 1, 2, 3 and
beta = 11, 12, 13, and at test time, when 50 batches have moved the running statistics (its momentum 0.9 is a decay).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygraph as tg

from .common import Experiment, Figure, Numbers, Settings, main, panels

N, D1, D2, D3 = 200, 50, 60, 3
BATCHES = 50
GAMMA, BETA = np.array([1.0, 2.0, 3.0]), np.array([11.0, 12.0, 13.0])
EXACT, NEAR = 1e-5, 0.5  # a training batch is normalised up to eps; the test batch has other statistics
BINS = 24


def run(settings: Settings) -> Numbers:
    rng = np.random.default_rng(settings.seed)
    features = network(rng)
    a = features(rng)
    scaled = batch_norm()
    scaled.gamma.assign(GAMMA)
    scaled.beta.assign(BETA)
    stages = {
        "before BatchNorm": a,
        "gamma = 1, beta = 0": batch_norm()(a).numpy(),
        "gamma = 1, 2, 3; beta = 11, 12, 13": scaled(a).numpy(),
    }
    features = network(rng)  # the document draws a new network here
    trained, test, path = batch_norm(), features(rng), []
    for _ in range(BATCHES):
        trained.train()(features(rng))
        path.append(summary(trained.eval()(test).numpy()))
    stages[f"test time, after {BATCHES} batches"] = trained(test).numpy()
    return {
        "stages": {name: summary(y) | histogram(y) for name, y in stages.items()},
        "path": {key: np.array([point[key] for point in path]).round(5) for key in ("means", "stds")},
    }


def network(rng: np.random.Generator) -> Any:
    """A new network, as a function that draws one more batch of its features [200, 3]."""
    w1, w2 = rng.normal(size=(D1, D2)), rng.normal(size=(D2, D3))
    return lambda rng: np.maximum(0, rng.normal(size=(N, D1)) @ w1) @ w2


def batch_norm() -> tg.nn.BatchNorm:
    return tg.nn.BatchNorm(D3, decay=0.9)


def summary(y: np.ndarray) -> Numbers:
    return {"means": y.mean(axis=0), "stds": y.std(axis=0)}


def histogram(y: np.ndarray) -> Numbers:
    edges = np.histogram_bin_edges(y, BINS)
    return {"range": edges[[0, -1]].round(3), "counts": [np.histogram(column, edges)[0] for column in y.T]}


def finding(numbers: Numbers) -> str:
    before, plain, scaled, test = numbers["stages"].values()
    off = {
        "plain": distance(plain, 0, 1),
        "scaled": distance(scaled, BETA, GAMMA),
        "test": distance(test, 0, 1),
    }
    as_printed = max(off["plain"] + off["scaled"]) < EXACT and max(off["test"]) < NEAR
    return (
        f"{'as printed' if as_printed else 'not as printed'}: the features' means reach {np.abs(before['means']).max():.0f} "
        f"and their stds {max(before['stds']):.0f}; after BatchNorm the means are 0 within {off['plain'][0]:.0e} and the stds 1 "
        f"within {off['plain'][1]:.0e}, with gamma and beta they are beta within {off['scaled'][0]:.0e} and gamma within "
        f"{off['scaled'][1]:.0e}, and at test time 0 within {off['test'][0]:.2f} and 1 within {off['test'][1]:.2f}"
    )


def distance(stage: Numbers, mean: Any, std: Any) -> list[float]:
    """How far the farthest mean is off, and the farthest standard deviation."""
    return [float(np.abs(np.subtract(stage[key], due)).max()) for key, due in (("means", mean), ("stds", std))]


def plot(numbers: Numbers) -> Figure:
    figure, axes = panels(2, 3, height=2.9)
    for ax, (name, stage) in zip(axes.flat, numbers["stages"].items(), strict=False):
        edges = np.linspace(*stage["range"], BINS + 1)
        for k, (counts, mean, std) in enumerate(zip(stage["counts"], stage["means"], stage["stds"], strict=True)):
            ax.stairs(counts, edges, color=f"C{k}", linewidth=1.3, label=f"{round(mean, 2) + 0.0:.2f} ± {std:.2f}")
        ax.set_title(name, fontsize=10)
        ax.set(xlabel="value of the feature", ylabel="examples", ylim=(0, 1.5 * ax.get_ylim()[1]))
        ax.legend(title="mean ± std", fontsize=8, title_fontsize=8, loc="upper right", handlelength=1, frameon=False)
    for ax, key in zip(axes.flat[4:], ("means", "stds"), strict=True):
        ax.plot(np.arange(1, 1 + BATCHES), numbers["path"][key])
        ax.axhline({"means": 0, "stds": 1}[key], color="grey", linestyle="--")
        ax.set_title(f"{key} of the same test batch", fontsize=10)
        ax.set(xlabel="training batches seen", ylabel=key[:-1])
    figure.suptitle("Three features of 200 examples, before and after BatchNorm")
    return figure


EXPERIMENT = Experiment(
    "statistics",
    "after BatchNorm the means are beta and the stds gamma; at test time, after 50 batches, they are close to it (seed 002)",
    run,
    finding,
    plot,
    data=(),
)

if __name__ == "__main__":
    main(EXPERIMENT)
