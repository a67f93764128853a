"""A small convolutional network with BatchNorm.

Seed 001: a convolution shares its weights over the image, so BatchNorm takes one mean and one standard deviation for each
channel, over batch, height and width, and after the training the statistics of the training data take the place of those
of a batch. Two blocks of convolution, BatchNorm, ReLU and max-pooling, and a linear layer, are trained by Adam. Stopped,
it goes on from its checkpoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygraph as tg

from .common import Experiment, Figure, Numbers, Settings, main, panels

nn = tg.nn
BATCH = 50


def network(channels: int, size: int, seed: int) -> nn.Sequential:
    """For images [N, channels, size, size] of ten classes."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        {
            "block1": block(channels, 16, rng),
            "block2": block(16, 32, rng),
            "flatten": nn.Flatten(),
            "out": nn.Linear(32 * (size // 4) ** 2, 10, rng=rng),
        }
    )


def block(inputs: int, outputs: int, rng: np.random.Generator) -> nn.Sequential:
    """Half the height and width; the bias is BatchNorm's."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, rng=rng)
    return nn.Sequential({"conv": conv, "bn": nn.BatchNorm(outputs), "relu": nn.ReLU(), "pool": nn.MaxPool2d(2)})


def run(settings: Settings) -> Numbers:
    data, test = settings.load(limit=10_000, images=True)
    _, channels, size, _ = data["x"].shape
    model = network(channels, size, settings.seed)
    optimizer = tg.optim.Adam(model.parameters(), lr=3e-3)
    trainer = tg.train.Trainer(model, optimizer, tg.cross_entropy, rng=settings.seed, compile=settings.compile)
    checkpoint = (
        settings.out / f"convnet-{settings.data}-{settings.seed}{'-quick' * settings.quick}.partial.safetensors"
    )
    history = trainer.fit(
        data,
        epochs=4 if settings.quick else 20,
        batch_size=BATCH,
        validation=test,
        checkpoint=checkpoint,
        resume=True,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    checkpoint.unlink()

    running, accuracy = statistics(model), trainer.evaluate(test)["accuracy"]
    nn.population_statistics(model, tg.data.Batches(data, BATCH, rng=settings.seed))
    return {
        "train": history.train,
        "test": history.validation,
        "accuracy": {"running": accuracy, "population": trainer.evaluate(test)["accuracy"]},
        "running": running,
        "population": statistics(model),
        "filters": model["block1"]["conv"].weight.numpy().round(4),
    }


def statistics(model: nn.Module) -> dict[str, Numbers]:
    """Mean and standard deviation of every channel that each BatchNorm evaluates with."""
    norms = {place: module for place, module in model.named_modules() if isinstance(module, nn.BatchNorm)}
    return {
        place: {"mean": norm.running_mean.numpy().round(6), "std": np.sqrt(norm.running_var.numpy()).round(6)}
        for place, norm in norms.items()
    }


def finding(numbers: Numbers) -> str:
    running, population = numbers["running"], numbers["population"]
    channels = " and ".join(str(len(layer["mean"])) for layer in running.values())
    off = {name: max(apart(running[place], population[place], name) for place in running) for name in ("mean", "std")}
    accuracy = numbers["accuracy"]
    return (
        f"{accuracy['population']:.1%} of the test images are right with the statistics of the training data, "
        f"{accuracy['running']:.1%} with running ones; of {channels} channels the running mean is off by {off['mean']:.2g} "
        f"standard deviations at most, the running deviation by {off['std']:.1%}"
    )


def apart(running: Numbers, population: Numbers, name: str) -> float:
    """The largest difference of a channel, in standard deviations of the population."""
    difference = np.subtract(running[name], population[name])
    return float(np.max(abs(difference) / population["std"]))


def plot(numbers: Numbers) -> Figure:
    figure, axes = panels(2, 2, 4.0, 3.0)
    draw_learning(axes[0, 0], numbers)
    draw_filters(axes[0, 1], np.array(numbers["filters"]))
    for panel, name in zip(axes[1], ("mean", "std"), strict=True):
        draw_statistics(panel, numbers, name)
    return figure


def draw_learning(panel: Any, numbers: Numbers) -> None:
    for kind, colour in (("train", "C0"), ("test", "C1")):
        curve = numbers[kind]["accuracy"]
        panel.plot(range(1, len(curve) + 1), curve, "o-", color=colour, markersize=3, label=kind)
    panel.set(title="accuracy", xlabel="epoch")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend()


def draw_filters(panel: Any, filters: Any) -> None:
    """The filters of the first input channel, side by side."""
    tiles = np.pad(filters[:, 0], ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    rows = [np.hstack(list(tiles[i : i + 8])) for i in range(0, len(tiles), 8)]
    image = panel.imshow(np.vstack(rows), cmap="RdBu", vmin=-abs(filters).max(), vmax=abs(filters).max())
    panel.set(title="filters of the first convolution", xticks=[], yticks=[])
    panel.grid(visible=False)
    panel.figure.colorbar(image, ax=panel, shrink=0.6)


def draw_statistics(panel: Any, numbers: Numbers, name: str) -> None:
    """Running against population statistics: on the diagonal they agree."""
    for place, marker in zip(numbers["running"], "os", strict=True):
        panel.plot(
            numbers["population"][place][name],
            numbers["running"][place][name],
            marker,
            markersize=4,
            alpha=0.7,
            label=place,
        )
    middle = numbers["population"][place][name][0]
    panel.axline((middle, middle), slope=1, color="0.6", linewidth=0.8, zorder=0)
    words = {"mean": "mean", "std": "standard deviation"}[name]
    panel.set(title=f"{words} of every channel", xlabel="training data", ylabel="running")
    panel.legend()


EXPERIMENT = Experiment(
    name="convnet",
    claim="in a convolution BatchNorm takes one mean and one deviation per channel, over batch, height and width; the "
    "training data's take their place in testing (seed 001)",
    run=run,
    finding=finding,
    plot=plot,
)

if __name__ == "__main__":
    main(EXPERIMENT)
