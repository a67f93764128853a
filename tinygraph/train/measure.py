"""Loss and metrics of a model over data, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..core.convert import tensor
from ..core.scope import no_grad
from ..core.tensor import Tensor, describe
from ..data import Dataset
from ..errors import ShapeError

Array = np.ndarray[Any, Any]
Loss = Callable[[Any, Any], Any]
Metric = Callable[[Array, Array], float]


def accuracy(outputs: Array, targets: Array) -> float:
    """The share of examples whose largest output is at the place of their target, an integer class.

    Shapes: outputs [N, C], with C of 2 or more; targets [N].

    Raises: ShapeError for others.

    >>> import numpy as np
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    shape = outputs.shape if isinstance(outputs, (np.ndarray, Tensor)) else ()
    if shape[:-1] != np.shape(targets) or shape[-1:] < (2,):
        raise ShapeError(
            f"accuracy({describe(outputs)}, {describe(targets)}): an output for each of 2 classes or more is due, [N, C] for "
            "targets [N]; give Trainer(metrics={…}) of your own, or {} for none"
        )
    return float(np.mean(np.argmax(_plain(outputs), axis=-1) == targets))


def forward(model: Any, loss: Loss, inputs: list[Any], targets: Any) -> tuple[Any, Tensor]:
    """What a model gives for a batch, and its loss, which has to be one number."""
    outputs = model(*[x if isinstance(x, Tensor) else tensor(x) for x in inputs])
    value = loss(outputs, targets)
    if not isinstance(value, Tensor) or value.size != 1:
        raise ShapeError(f"fit: the loss is {describe(value)}; return one number as a Tensor, e.g. its tg.mean")
    return outputs, value


def scores(metrics: Mapping[str, Metric], outputs: Any, targets: Array) -> dict[str, float]:
    """Each metric of one batch."""
    arrays = _plain(outputs)
    return {name: float(metric(arrays, targets)) for name, metric in metrics.items()}


@no_grad()
def measure(
    model: Any, loss: Loss, metrics: Mapping[str, Metric], dataset: Dataset, rows: Array, batch_size: int
) -> dict[str, float]:
    """Loss and metrics over some rows of a Dataset, as means over the examples."""
    totals = dict.fromkeys(("loss", *metrics), 0.0)
    with mode(model, training=False):
        for start in range(0, len(rows), batch_size):
            *inputs, targets = dataset[rows[start : start + batch_size]]
            outputs, value = forward(model, loss, inputs, targets)
            found = {"loss": float(value.item())} | scores(metrics, outputs, targets)
            for name, mean in found.items():
                totals[name] += mean * len(targets)
    return {name: total / len(rows) for name, total in totals.items()}


@contextmanager
def mode(model: Any, training: bool) -> Iterator[None]:
    """Training or evaluation mode for a while; then every part is as it was."""
    before = [(module, module.training) for _, module in model.named_modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


def _plain(outputs: Any) -> Any:
    """The arrays of a Tensor, or of several."""
    if isinstance(outputs, (tuple, list)):
        return tuple(map(_plain, outputs))
    return outputs.numpy() if isinstance(outputs, Tensor) else outputs
