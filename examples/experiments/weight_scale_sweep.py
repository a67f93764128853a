"""How much the initial scale of the weights matters to a deep network, with BatchNorm and without.

Seed 002, part 2, trains seven hidden layers of 50 on 1,000 images for each of 20 scales from 0.0001 to 1, by Adam at
0.001 in batches of 50, 10 epochs, and plots the best accuracies and the mean loss of the last 100 iterations against the
scale. Its data are not named; here they are scikit-learn's digits unless others are asked for, and up to 1,000 of the
test data serve for validation. Both networks start from the same weights and see the same batches.
"""

from __future__ import annotations

import numpy as np

import tinygraph as tg

from .common import WITH, WITHOUT, Experiment, Figure, Numbers, Settings, main, panels, train

KINDS = {"with": ("with BatchNorm", WITH), "without": ("without", WITHOUT)}
NEAR = 0.1  # of accuracy: a scale at which no more than this is lost is a good one


def run(settings: Settings) -> Numbers:
    epochs, count = (4, 3) if settings.quick else (10, 20)
    data, test = settings.load(limit=1000)
    validation = test.take(slice(1000))
    pixels = data["x"].shape[1]

    def learn(scale: float, batch_norm: bool) -> Numbers:
        model = tg.nn.mlp(pixels, [50] * 7, 10, batch_norm=batch_norm, weight_scale=scale, rng=settings.seed)
        optimizer = tg.optim.Adam(model.parameters(), lr=1e-3)
        history = train(
            model,
            optimizer,
            data,
            epochs=epochs,
            batch_size=50,
            seed=settings.seed,
            compile=settings.compile,
            validation=validation,
        )
        return {
            "validation": round(max(history.validation.get("accuracy", [0.0])), 6),
            "training": round(max(history.train.get("accuracy", [0.0])), 6),
            "loss": float(f"{np.mean(history.loss[-100:]):.6g}") if history.stopped == "finished" else None,
        }

    def compare(scale: float) -> Numbers:
        return {key: learn(scale, key == "with") for key in KINDS}

    scales = {f"{scale:.2g}": scale for scale in np.logspace(-4, 0, count)}
    return {"scales": settings.each(scales, compare)}


def finding(numbers: Numbers) -> str:
    scales = numbers["scales"].values()
    best = {key: [found[key]["validation"] for found in scales] for key in KINDS}
    top = max(map(max, best.values()))
    near = {key: sum(accuracy >= top - NEAR for accuracy in values) for key, values in best.items()}
    ahead = sum(a > b for a, b in zip(best["with"], best["without"], strict=True))
    return (
        f"the best validation accuracy is within {NEAR * 100:.0f} points of the highest, {top:.1%}, at {near['with']} of "
        f"{len(scales)} scales with BatchNorm, at {near['without']} without; BatchNorm is ahead at {ahead}"
    )


def plot(numbers: Numbers) -> Figure:
    figure, axes = panels(1, 3, 3.4, 3.2)
    names = {
        "validation": "best validation accuracy",
        "training": "best training accuracy",
        "loss": "mean of the last 100 losses",
    }
    scales = [float(scale) for scale in numbers["scales"]]
    for panel, (name, title) in zip(axes[0], names.items(), strict=True):
        panel.set(title=title, xlabel="initial scale", xscale="log", yscale="log" if name == "loss" else "linear")
        for key, (label, colour) in KINDS.items():
            values = [np.nan if found[key][name] is None else found[key][name] for found in numbers["scales"].values()]
            panel.plot(scales, values, "o-", color=colour, markersize=4, label=label if name == "loss" else None)
        if name != "loss":
            panel.set(ylim=(0, 1.02), ylabel="accuracy")
    axes[0, 2].set_ylabel("loss")
    figure.suptitle("Seven hidden layers of 50, Adam, against the initial scale of the weights")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


EXPERIMENT = Experiment(
    name="weight_scale_sweep",
    claim="BatchNorm takes away most of the dependence on how the weights are initialised (seed 002)",
    run=run,
    finding=finding,
    plot=plot,
)

if __name__ == "__main__":
    main(EXPERIMENT)
