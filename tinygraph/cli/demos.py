"""Small graphs of fixed numbers, each after a backward pass: the output, and names for its wires."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinygraph

from ..core.tensor import Tensor

tg: Any = tinygraph  # its functions are gathered when it is imported, so that type checkers do not see them
Demo = tuple[Tensor, dict[str, Tensor]]


def batchnorm() -> Demo:
    """BatchNorm of four samples with three features, from seven primitives.

    >>> y, names = batchnorm()
    >>> y.shape, names["x̂"].shape
    ((4, 3), (4, 3))
    """
    x = tg.tensor([[4.1, -0.2, 2.5], [0.3, 1.9, 3.1], [2.2, 0.8, -1.4], [5.0, 3.3, 0.6]], requires_grad=True, name="x")
    gamma = tg.Parameter([1.5, 0.5, 1.0], name="γ")
    beta = tg.Parameter([0.1, -0.2, 0.3], name="β")
    epsilon = tg.tensor(1e-5, name="ε")
    with tg.scope("mean"):
        mean = tg.mean(x, axis=0)
    with tg.scope("centre"):
        centred = x - mean
    with tg.scope("variance"):
        variance = tg.mean(centred**2, axis=0)
    with tg.scope("normalise"):
        deviation = tg.sqrt(variance + epsilon)
        normal = centred / deviation
    with tg.scope("scale and shift"):
        y = gamma * normal + beta
    y.backward([[0.4, -1.0, 0.3], [-0.6, 0.2, 0.9], [1.1, 0.5, -0.7], [-0.3, 0.8, -0.2]])
    return y, {"μ": mean, "σ²": variance, "σ": deviation, "x̂": normal, "y": y}


def mlp() -> Demo:
    """Two layers and the mean of squared errors.

    >>> loss, _ = mlp()
    >>> loss.shape
    ()
    """
    x = tg.tensor([[0.5, -1.0], [1.5, 0.2], [-0.7, 0.9]], name="x")
    target = tg.tensor([[1.0], [0.0], [1.0]], name="target")
    w1 = tg.Parameter([[0.4, -0.6, 0.9], [0.7, 0.3, -0.2]], name="W1")
    b1 = tg.Parameter([0.1, 0.0, -0.1], name="b1")
    w2 = tg.Parameter([[0.8], [-0.5], [0.6]], name="W2")
    b2 = tg.Parameter([0.05], name="b2")
    with tg.scope("hidden"):
        hidden = tg.tanh(x @ w1 + b1)
    with tg.scope("output"):
        guess = hidden @ w2 + b2
    with tg.scope("loss"):
        error = guess - target
        loss = tg.mean(error**2)
    loss.backward()
    return loss, {"h": hidden, "guess": guess, "error": error, "loss": loss}


def softmax() -> Demo:
    """Cross-entropy of a softmax, from primitives; the gradient of the logits is (p − target) / N.

    >>> loss, names = softmax()
    >>> bool(abs(names["p"].numpy().sum(axis=1) - 1).max() < 1e-12)
    True
    """
    logits = tg.tensor([[2.0, 1.0, 0.1], [0.5, 2.5, -1.0]], requires_grad=True, name="logits")
    target = tg.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], name="target")
    with tg.scope("softmax"):
        powers = tg.exp(logits)  # of small numbers; tg.softmax takes the largest off first
        p = powers / tg.sum(powers, axis=1, keepdims=True)
    with tg.scope("cross-entropy"):
        likelihood = tg.sum(target * tg.log(p), axis=1)
        loss = -tg.mean(likelihood)
    loss.backward()
    return loss, {"exp": powers, "p": p, "log-likelihood": likelihood, "loss": loss}


DEMOS: dict[str, Callable[[], Demo]] = {"batchnorm": batchnorm, "mlp": mlp, "softmax": softmax}
TITLES = {"batchnorm": "BatchNorm", "mlp": "two layers", "softmax": "softmax and cross-entropy"}
