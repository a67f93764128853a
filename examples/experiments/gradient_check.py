"""Backwards of BatchNorm held against central differences, and against oracles that see more.

Seed document 002 checks its backward on N = 4, D = 5 and x of mean 12 and deviation 5, by central differences with the
step 1e-5, and prints the largest relative error of dx, dgamma and dbeta. Here the same is done to five backwards, that
of seed document 003 with its wrong sign among them; then each is held against the complex step, whose errors are
rounding alone, and given to ``tinygraph.testing``, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygraph as tg
from examples.published_backwards import PUBLISHED, Published, of_tinygraph, reference

from .common import Experiment, Figure, Numbers, Settings, main, panels

N, D = 4, 5
STEP = 1e-5  # the document's
TINY = 1e-30  # of the complex step, which loses nothing to cancellation
LIMIT = 64.0  # rounding units
GRADIENTS = ("dx", "dgamma", "dbeta")

Arrays = tuple[np.ndarray, ...]


def derived(dy: np.ndarray, *leaves: np.ndarray) -> Arrays:
    return tuple(g.numpy() for g in tg.vjp(reference(), *leaves)[1](dy))


def composed(*leaves: np.ndarray) -> np.ndarray:
    return reference()(*leaves).numpy()


def fused(*leaves: np.ndarray) -> np.ndarray:
    return tg.fused.batch_norm(*leaves).numpy()


STAGED, CLOSED_FORM, LAYER_CLASS = PUBLISHED
BACKWARDS = {
    "derived": Published("derived", composed, derived, 1e-5, ()),
    "fused": Published("fused", fused, of_tinygraph, 1e-5, ()),
    "staged": STAGED,
    "closed form": CLOSED_FORM,
    "class of seed 003": LAYER_CLASS,
}


def run(settings: Settings) -> Numbers:
    rng = np.random.default_rng(settings.seed)
    leaves = [5 * rng.normal(size=(N, D)) + 12, rng.normal(size=D), rng.normal(size=D)]
    dy = rng.normal(size=(N, D))
    steps = np.logspace(-12, 0, 13 if settings.quick else 37)
    return {
        "backwards": {name: judge(b, leaves, dy) for name, b in BACKWARDS.items()},
        "steps": [float(f"{step:.3g}") for step in steps],
        "dx by step": {name: [dx_error(b, leaves, dy, step) for step in steps] for name, b in BACKWARDS.items()},
    }


def judge(b: Published, leaves: list[np.ndarray], dy: np.ndarray) -> Numbers:
    """The errors of the three gradients by each measure, and what the tool says."""
    gradients = b.backward(dy, *leaves)
    numeric = [central_differences(b.forward, leaves, dy, i, STEP) for i in range(3)]
    exact = [complex_step(reference(b.eps), leaves, dy, i) for i in range(3)]
    report = tg.testing.check_backward(reference(b.eps), b.backward, *leaves, dy=dy, slack=LIMIT)
    return {
        "central differences": dict(zip(GRADIENTS, map(relative_error, gradients, numeric), strict=True)),
        "complex step": dict(zip(GRADIENTS, map(relative_error, gradients, exact), strict=True)),
        "rounding units": {entry.name: entry.ratio for entry in report.entries},
        "verdict": report.verdict,
        "findings": [] if report.ok else [f.line for f in report.diagnosis.findings],
    }


def dx_error(b: Published, leaves: list[np.ndarray], dy: np.ndarray, step: float) -> float:
    return relative_error(b.backward(dy, *leaves)[0], central_differences(b.forward, leaves, dy, 0, step))


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """The document's measure: the largest |a - b| / (|a| + |b|) of an element."""
    return float(np.max(np.abs(a - b) / np.maximum(1e-8, np.abs(a) + np.abs(b))))


def moved(leaves: list[np.ndarray], which: int, by: complex) -> Any:
    """The leaves, again and again, with ``by`` added to one element after the other of one of them."""
    for place in np.ndindex(leaves[which].shape):
        copies = [leaf.astype(np.result_type(leaf, by)) for leaf in leaves]
        copies[which][place] += by
        yield copies


def central_differences(
    forward: Callable[..., Any], leaves: list[np.ndarray], dy: np.ndarray, which: int, step: float
) -> np.ndarray:
    pairs = zip(moved(leaves, which, step), moved(leaves, which, -step), strict=True)
    slopes = [np.sum((forward(*ahead) - forward(*behind)) * dy) / (2 * step) for ahead, behind in pairs]
    return np.reshape(slopes, leaves[which].shape)


def complex_step(forward: Callable[..., Any], leaves: list[np.ndarray], dy: np.ndarray, which: int) -> np.ndarray:
    graph = tg.trace(forward, *leaves)
    slopes = [np.sum(graph.run(np, *at)[0].imag * dy) / TINY for at in moved(leaves, which, 1j * TINY)]
    return np.reshape(slopes, leaves[which].shape)


def finding(numbers: Numbers) -> str:
    backwards = numbers["backwards"]
    right = [name for name, b in backwards.items() if b["verdict"] == "ok"]
    parts = []
    if right:
        differences, exact = (
            max(max(backwards[name][key].values()) for name in right) for key in ("central differences", "complex step")
        )
        parts.append(
            f"{', '.join(right)}: right, with errors of at most {differences:.0e} by central differences and {exact:.0e} by "
            "the complex step"
        )
    for name, b in backwards.items():
        if name not in right:
            key, error = max(b["central differences"].items(), key=lambda item: item[1])
            said = "; ".join(b["findings"]) or b["verdict"]
            parts.append(f'{name}: wrong, {key} with a relative error of {error:.2g}; the tool says "{said}"')
    return "; ".join(parts)


def plot(numbers: Numbers) -> Figure:
    figure, (row,) = panels(1, 3, height=3.8)
    for k, (name, b) in enumerate(numbers["backwards"].items()):
        style = {"color": f"C{k}", "linestyle": "none", "markersize": 6}
        places = np.arange(3) + 0.13 * (k - 2)
        for ax, key, marker in (
            (row[0], "central differences", "o"),
            (row[0], "complex step", "^"),
            (row[2], "rounding units", "o"),
        ):
            ax.plot(places, [max(b[key][gradient], 1e-17) for gradient in GRADIENTS], marker, **style)
        row[1].plot(numbers["steps"], numbers["dx by step"][name], color=f"C{k}", label=name)
    for ax, title, ylabel in (
        (row[0], "● central differences   ▲ complex step", "relative error"),
        (row[1], "error of dx by the step of the differences", "relative error"),
        (row[2], "tinygraph.testing", "error in rounding units"),
    ):
        ax.set_title(title, fontsize=10)
        ax.set(yscale="log", ylabel=ylabel)
    for ax in row[[0, 2]]:
        ax.set_xticks(range(3), GRADIENTS)
    row[1].set(xscale="log", xlabel="step")
    row[1].axvline(STEP, color="grey", linestyle=":")
    row[2].axhline(LIMIT, color="grey", linestyle="--")
    row[2].text(2.35, LIMIT * 2, "limit", ha="right", color="grey")
    figure.suptitle("Five backwards of BatchNorm, checked in three ways")
    figure.legend(*row[1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


EXPERIMENT = Experiment(
    "gradient_check",
    "dx, dgamma and dbeta agree with central differences, with relative errors from 6e-12 to 1e-9 (seed 002)",
    run,
    finding,
    plot,
    data=(),
)

if __name__ == "__main__":
    main(EXPERIMENT)
