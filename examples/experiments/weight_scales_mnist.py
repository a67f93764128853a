"""Sixteen initial scales of the weights, each with BatchNorm and without, side by side.

Seeds 000 and 004 train 784-100-100-100-100-100-10 on the first 1,000 digits of MNIST by SGD at 0.01 in batches of 100,
20 epochs for each scale from 1 down to 0.0001, and plot the accuracy on the training examples. Here the digits are
scikit-learn's, of 64 pixels, unless MNIST is asked for. Both networks start from the same weights and see the same
batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygraph as tg

from .common import WITH, WITHOUT, Experiment, Figure, Numbers, Settings, main, panels, train

KINDS = {"with": ("with BatchNorm", WITH, "-"), "without": ("without", WITHOUT, "--")}
NOTHING = 0.2  # a network that ends below this accuracy has learnt nothing; a guess is right in 0.1


def run(settings: Settings) -> Numbers:
    epochs = 6 if settings.quick else 20
    scales = np.logspace(0, -4, 4 if settings.quick else 16)
    data, _ = settings.load(limit=1000)

    def compare(scale: float) -> Numbers:
        return {key: accuracies(settings, data, scale, epochs, key == "with") for key in KINDS}

    return {"epochs": epochs, "scales": settings.each({f"{scale:.2g}": scale for scale in scales}, compare)}


def accuracies(settings: Settings, data: tg.data.Dataset, scale: float, epochs: int, batch_norm: bool) -> list[float]:
    """The accuracy on the training examples after each epoch; fewer numbers if training diverged."""
    pixels = data["x"].shape[1]
    model = tg.nn.mlp(pixels, [100] * 5, 10, batch_norm=batch_norm, weight_scale=scale, rng=settings.seed)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.01)
    history = train(model, optimizer, data, epochs=epochs, batch_size=100, seed=settings.seed, compile=settings.compile)
    return [round(a, 6) for a in history.train.get("accuracy", [])]


def finding(numbers: Numbers) -> str:
    epochs, scales = numbers["epochs"], numbers["scales"].values()
    last = {key: [curves[key][-1] if len(curves[key]) == epochs else None for curves in scales] for key in KINDS}
    ahead = sum((a or 0) > (b or 0) for a, b in zip(last["with"], last["without"], strict=True))
    diverged = {key: values.count(None) for key, values in last.items()}
    nothing = {key: sum(a is not None and a < NOTHING for a in values) for key, values in last.items()}
    return (
        f"after {epochs} epochs BatchNorm is ahead at {ahead} of {len(scales)} scales; nothing is learnt (accuracy below "
        f"{NOTHING:.0%}) at {nothing['without']} without it and at {nothing['with']} with it; training diverges at "
        f"{diverged['without']} without it and at {diverged['with']} with it"
    )


def plot(numbers: Numbers) -> Figure:
    epochs, scales = numbers["epochs"], numbers["scales"]
    side = round(len(scales) ** 0.5)
    figure, axes = panels(side, side, 2.5, 1.9, sharex=True, sharey=True)
    for panel, (scale, curves) in zip(axes.flat, scales.items(), strict=True):
        panel.set_title(f"scale {scale}", fontsize=10)
        for key, (label, colour, style) in KINDS.items():
            draw(panel, curves[key], epochs, label, colour, style)
    axes[0, 0].set(xlim=(0, epochs + 1), ylim=(0, 1.02))
    for panel in axes[:, 0]:
        panel.set_ylabel("accuracy")
    for panel in axes[-1]:
        panel.set_xlabel("epoch")
    figure.suptitle("Training accuracy, by the initial scale of the weights")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw(panel: Any, curve: list[float], epochs: int, label: str, colour: str, style: str) -> None:
    panel.plot(range(1, len(curve) + 1), curve, style, color=colour, label=label)
    if len(curve) < epochs:
        panel.text(0.04, 0.86, f"diverges in epoch {len(curve) + 1}", color=colour, transform=panel.transAxes)


EXPERIMENT = Experiment(
    name="weight_scales_mnist",
    claim="in almost every case learning is faster with BatchNorm; without it and without a good initial scale there is "
    "none (seeds 000, 004)",
    run=run,
    finding=finding,
    plot=plot,
)

if __name__ == "__main__":
    main(EXPERIMENT)
