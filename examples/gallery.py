"""The gallery: every kind of picture, from graphs small enough to check by hand.

The pictures of docs/pictures.md are made by this script and nothing else. They are laid out by
tinygraph itself, so that they come out the same to the byte with and without Graphviz.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tinygraph as tg

PICTURES: dict[str, Callable[[], tg.Picture]] = {}


def picture(name):
    """Enter a function that draws into the gallery, under the name of its file."""

    def enter(function):
        PICTURES[name] = function
        return function

    return enter


# -- graphs -----------------------------------------------------------------------------------------------


def batch_norm():
    """BatchNorm of four samples, after a backward pass: as the README's first lines make it."""
    x = tg.tensor(np.random.default_rng(0).normal(2, 2, (4, 3)), requires_grad=True, name="x")
    y = tg.batch_norm(x, gamma=tg.Parameter([1.5, 0.5, 1.0], name="γ"), beta=tg.Parameter([0.1, -0.2, 0.3], name="β"))
    y.backward(np.random.default_rng(1).normal(size=y.shape))
    y.name = "y"
    return y


def layer(name, x, columns, rng):
    """``tanh(x @ W + b)`` in a scope of its own."""
    rows = x.shape[1]
    with tg.scope(name):
        w = tg.Parameter(rng.normal(size=(rows, columns)) / np.sqrt(rows), name="W")
        b = tg.Parameter(np.zeros(columns), name="b")
        return tg.tanh(x @ w + b)


def mlp():
    """Four layers and a loss."""
    rng = np.random.default_rng(2)
    h = tg.tensor(rng.normal(size=(8, 5)), name="x")
    target = tg.tensor(rng.normal(size=(8, 2)), name="target")
    for i, columns in enumerate([16, 16, 16, 2], start=1):
        h = layer(f"layer {i}", h, columns, rng)
        h.name = f"h{i}"
    with tg.scope("loss"):
        loss = tg.mean((h - target) ** 2)
    loss.name = "loss"
    loss.backward()
    return loss


def softmax_cross_entropy():
    """The loss of a classifier, with the largest logit taken off for safety."""
    z = tg.tensor([[2.0, 1.0, 0.1], [0.5, 2.5, -1.0]], requires_grad=True, name="z")
    target = tg.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], name="target")
    with tg.scope("log softmax"):
        shifted = z - tg.detach(tg.max(z, axis=1, keepdims=True))
        norm = tg.log(tg.sum(tg.exp(shifted), axis=1, keepdims=True))
        log_p = shifted - norm
        log_p.name = "log p"
    with tg.scope("cross-entropy"):
        loss = -tg.mean(tg.sum(target * log_p, axis=1))
    loss.name = "loss"
    loss.backward()
    return loss


# -- pictures ---------------------------------------------------------------------------------------------


@picture("batchnorm.svg")
def both():
    return tg.draw(batch_norm(), title="BatchNorm", theme="auto", engine="builtin")


@picture("batchnorm-lanes.svg")
def lanes():
    title = "BatchNorm: the forward graph, and the backward graph that the reverse traversal derives"
    return tg.draw(batch_norm(), mode="lanes", title=title, theme="auto", engine="builtin")


@picture("batchnorm.html")
def page():
    return tg.draw(batch_norm(), title="BatchNorm", theme="auto", engine="builtin")


@picture("mlp.svg")
def folded():
    collapse = ["layer 1", "layer 2", "layer 3"]
    return tg.draw(mlp(), title="Four layers", collapse=collapse, theme="auto", engine="builtin")


@picture("softmax.svg")
def softmax():
    return tg.draw(softmax_cross_entropy(), title="Softmax and cross-entropy", theme="auto", engine="builtin")


@picture("diff.svg")
def diff():
    def published(dy, x, gamma, beta):
        m = len(x)
        mu, var = x.mean(axis=0), x.var(axis=0)
        std = np.sqrt(var + 1e-5)
        x_hat, dx_hat = (x - mu) / std, dy * gamma
        dvar = (dx_hat * (x - mu) * -0.5 / std**3).sum(axis=0)
        dmu = (dx_hat / std).sum(axis=0)  # the published sign: it should be minus
        dx = dx_hat / std + dvar * 2 * (x - mu) / m + dmu / m
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return tg.draw_diff(tg.batch_norm, published, x="N C", gamma="C", beta="C", theme="auto", engine="builtin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for the pictures (out/)")
    options = parser.parse_args()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"--out {options.out}: cannot make this folder ({error.strerror}); choose another")
    for name, draw in PICTURES.items():
        print(f"picture  {draw().save(options.out / name)}")


if __name__ == "__main__":
    main()
