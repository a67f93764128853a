"""One network with BatchNorm and without: the loss, and the accuracy on training and validation examples.

Seed 002, part 2, trains five hidden layers of 100 on 1,000 images, weights of scale 0.02, by Adam at 0.001 in batches of
50, 10 epochs, and plots three panels. Its data are not named; here they are scikit-learn's digits unless others are asked
for, and up to 1,000 of the test data serve for validation. Both networks start from the same weights and see the same
batches.
"""

from __future__ import annotations

import tinygraph as tg

from .common import WITH, WITHOUT, Experiment, Figure, Numbers, Settings, main, panels, train

KINDS = {"with": ("with BatchNorm", WITH), "without": ("without", WITHOUT)}


def run(settings: Settings) -> Numbers:
    data, test = settings.load(limit=500 if settings.quick else 1000)
    validation = test.take(slice(1000))
    pixels = data["x"].shape[1]

    def learn(batch_norm: bool) -> Numbers:
        model = tg.nn.mlp(pixels, [100] * 5, 10, batch_norm=batch_norm, weight_scale=2e-2, rng=settings.seed)
        optimizer = tg.optim.Adam(model.parameters(), lr=1e-3)
        history = train(
            model,
            optimizer,
            data,
            epochs=10,
            batch_size=50,
            seed=settings.seed,
            compile=settings.compile,
            validation=validation,
        )
        accuracies = {"training": history.train, "validation": history.validation}
        return {
            "loss": [round(loss, 6) for loss in history.loss],
            **{part: [round(a, 6) for a in curves.get("accuracy", [])] for part, curves in accuracies.items()},
        }

    return settings.each({"with": True, "without": False}, learn)


def finding(numbers: Numbers) -> str:
    bn, plain = numbers["with"], numbers["without"]
    top = max(plain["training"], default=0.0)
    epoch = next((i for i, accuracy in enumerate(bn["training"], start=1) if accuracy >= top), None)
    reached = "is not reached with it" if epoch is None else f"is reached with it after epoch {epoch}"
    return (
        f"the highest training accuracy without BatchNorm in {len(plain['training'])} epochs, {top:.1%}, {reached}; the last "
        f"validation accuracy is {last(bn['validation'])} with it, {last(plain['validation'])} without"
    )


def last(accuracies: list[float]) -> str:
    return f"{accuracies[-1]:.1%}" if accuracies else "none (training diverged)"


def plot(numbers: Numbers) -> Figure:
    figure, axes = panels(1, 3, 3.4, 3.2)
    loss, *accuracies = axes[0]
    parts = dict(zip(("training", "validation"), accuracies, strict=True))
    loss.set(title="loss of the batch", xlabel="iteration", ylabel="loss")
    for part, panel in parts.items():
        panel.set(title=f"{part} accuracy", xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
    for key, (label, colour) in KINDS.items():
        curves = numbers[key]
        loss.plot(range(1, len(curves["loss"]) + 1), curves["loss"], color=colour, linewidth=1, label=label)
        for part, panel in parts.items():
            panel.plot(range(1, len(curves[part]) + 1), curves[part], "o-", color=colour, markersize=4)
    loss.set_ylim(bottom=0)
    figure.suptitle("Five hidden layers of 100, initial scale 0.02, Adam")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


EXPERIMENT = Experiment(
    name="bn_vs_baseline",
    claim="a network with BatchNorm converges faster (seed 002)",
    run=run,
    finding=finding,
    plot=plot,
)

if __name__ == "__main__":
    main(EXPERIMENT)
