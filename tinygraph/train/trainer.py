"""The training loop's face: what ``Trainer`` takes, and what it says to wrong arguments."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..core.tensor import describe
from ..data import Batches, Dataset
from ..errors import AnomalyError, ArgumentError
from ..nn import Module
from ..optim import Optimizer
from .history import KINDS, History
from .measure import Loss, Metric, accuracy, measure, mode
from .run import Run


class Trainer:
    """Trains a model: batches in a seeded order, history, progress, the best parameters, checkpoints.

    ``loss(outputs, targets)`` gives one number as a Tensor, the mean over a batch. ``metrics`` maps names to functions
    of two arrays, outputs and targets, whose value is a mean over the examples and better when larger; left out, it
    is :func:`accuracy` where the targets are integers. ``rng`` (a Generator, a seed, or None for fresh entropy) orders
    the examples. With ``compile`` (True, or a backend) each step of training runs compiled, see :func:`tinygraph.compile`.
    ``history`` is that of the last run, also after an error.

    >>> import numpy as np, tinygraph as tg
    >>> x = np.random.default_rng(0).normal(size=(64, 2)); y = (x[:, 0] > x[:, 1]).astype(int)
    >>> net = tg.nn.Linear(2, 2, rng=0)
    >>> trainer = tg.train.Trainer(net, tg.optim.SGD(net.parameters(), lr=0.5), tg.cross_entropy, rng=0)
    >>> history = trainer.fit((x, y), epochs=5, batch_size=16, verbose=0)
    >>> len(history.loss), history.loss[-1] < history.loss[0], history.train["accuracy"][-1] > 0.9
    (20, True, True)
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Loss,
        *,
        metrics: Mapping[str, Metric] | None = None,
        rng: Any = None,
        compile: Any = False,
    ) -> None:
        if not isinstance(model, Module):
            raise ArgumentError(f"Trainer(model={describe(model)}): give an nn.Module; put functions into one")
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(
                f"Trainer(optimizer={describe(optimizer)}): give an optimiser, e.g. tg.optim.SGD(model.parameters(), lr=0.1)"
            )
        if not set(model.parameters()) & set(optimizer.parameters):
            raise ArgumentError(
                "Trainer: the optimiser has no parameter of this model; make it from model.parameters()"
            )
        if not callable(loss):
            raise ArgumentError(
                f"Trainer(loss={describe(loss)}): give a function of outputs and targets, e.g. tg.cross_entropy"
            )
        if metrics is not None and not isinstance(metrics, Mapping):
            raise ArgumentError(
                f"Trainer(metrics={describe(metrics)}): give names with functions, {{'accuracy': accuracy}}"
            )
        if metrics is not None and "loss" in metrics:
            raise ArgumentError("Trainer(metrics): 'loss' is the name of the loss itself; give the metric another")
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.metrics = metrics
        self.compile = compile
        self.rng = np.random.default_rng(rng)
        self.history = History()

    def fit(
        self,
        data: Any,
        *,
        epochs: int,
        batch_size: int | None = None,
        validation: Any = None,
        lr_decay: float = 1.0,
        keep_best: bool = False,
        patience: int | None = None,
        monitor: str | None = None,
        train_examples: int = 1000,
        stop_on_nan: bool = True,
        checkpoint: str | os.PathLike[str] | None = None,
        every: int | None = None,
        resume: bool = False,
        verbose: int = 1,
    ) -> History:
        """Train for ``epochs`` passes over ``data``, and return the history.

        ``data`` is a pair ``(inputs, targets)`` of arrays or a Dataset whose last array is the targets, in batches of
        ``batch_size`` (100), or ready-made Batches. After each epoch loss and metrics are measured in evaluation mode,
        on ``train_examples`` of the data, evenly spaced, and on all of ``validation``; then the optimiser's learning
        rate is multiplied by ``lr_decay``. (A schedule is given to the optimiser.) ``monitor``, such as
        ``"validation loss"``, decides which epoch is the best: by default it is the first metric, or the loss, of the
        validation data if there are any. ``keep_best`` leaves the model with the best epoch's parameters, however the
        run ends; ``patience`` ends it after that many epochs without a better one.

        Ctrl-C ends the run after the present iteration, with everything as after a normal end; a second one
        interrupts at once. With ``checkpoint`` the whole state is written to that file at the start, every ``every``
        iterations (by default after each epoch) and at the end. With ``resume`` a run goes on from that file, if it
        is there, and is bit for bit the run that nobody stopped, provided that everything is made in the same way and
        that all that is random draws from ``rng`` or from generators of the model; ``epochs`` may be raised.

        ``verbose``: 0 nothing, 1 a progress bar (if tqdm is installed), 2 also a line per epoch.

        Raises: AnomalyError where the loss is not finite, unless ``stop_on_nan=False``; ArgumentError and ShapeError for
        wrong arguments; CheckpointError for a file that is not one of this run.
        """
        batches = self._batches(data, batch_size)
        held_out = None if validation is None else _dataset(validation, "fit(validation")
        _count("epochs", epochs, least=0)
        _count("train_examples", train_examples)
        for name, number in (("patience", patience), ("every", every)):
            if number is not None:
                _count(name, number)
        if not isinstance(lr_decay, (int, float)) or not 0 < lr_decay < math.inf:
            raise ArgumentError(f"fit(lr_decay={lr_decay!r}): give a number above 0; 1 leaves the rate as it is")
        if checkpoint is None and (resume or every is not None):
            raise ArgumentError(
                "fit(checkpoint=None): without a file there is nothing to write or resume; give its path"
            )
        metrics = self._metrics(batches.dataset)
        monitor = monitor or f"{KINDS[held_out is not None]} {next(iter(metrics), 'loss')}"
        run = Run(
            model=self.model,
            optimizer=self.optimizer,
            loss=self.loss,
            rng=self.rng,
            batches=batches,
            validation=held_out,
            metrics=metrics,
            monitor=monitor,
            lr_decay=lr_decay,
            train_examples=train_examples,
            stop_on_nan=stop_on_nan,
            keep_best=keep_best,
            path=checkpoint,
            every=every,
            compiled=self.compile,
        )
        if resume and checkpoint is not None and Path(checkpoint).exists():
            run.load(checkpoint)
        run.save()  # a place that cannot be written to is found out now
        self.history = history = run.history
        with _interruptible() as interrupted, mode(self.model, training=True), run.show(epochs, verbose):
            try:
                history.stopped = run.go(epochs, patience, interrupted)
                run.save()
            except KeyboardInterrupt:  # not by our handler: the step may be half done, so the file stays as it was
                history.stopped = "interrupted"
                if interrupted:
                    raise
            except AnomalyError:
                history.stopped = "diverged"
                raise
            finally:
                run.restore()
        return history

    def evaluate(self, data: Any, *, batch_size: int = 500) -> dict[str, float]:
        """Loss and metrics over ``data``, in evaluation mode: means over the examples, by name."""
        dataset = _dataset(data, "evaluate(data")
        if batch_size < 1:
            raise ArgumentError(f"evaluate(batch_size={batch_size!r}): a batch has 1 example or more")
        rows = np.arange(len(dataset))
        return measure(self.model, self.loss, self._metrics(dataset), dataset, rows, batch_size)

    def _batches(self, data: Any, size: int | None) -> Batches:
        if not isinstance(data, Batches):
            return Batches(_dataset(data, "fit(data"), 100 if size is None else size, rng=self.rng)
        if size not in (None, data.size):
            raise ArgumentError(
                f"fit({data!r}, batch_size={size}): the batches have a size already; leave batch_size out"
            )
        _dataset(data.dataset, "fit(data")
        return data

    def _metrics(self, dataset: Dataset) -> Mapping[str, Metric]:
        if self.metrics is not None:
            return self.metrics
        targets = dataset[dataset.names[-1]]
        return {"accuracy": accuracy} if targets.dtype.kind in "iu" and targets.ndim == 1 else {}


def _count(name: str, value: Any, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"fit({name}={value!r}): give an integer of {least} or more")


def _dataset(data: Any, name: str) -> Dataset:
    if isinstance(data, (tuple, list)) and len(data) == 2:
        data = Dataset(x=data[0], y=data[1])
    if not isinstance(data, Dataset) or len(data.names) < 2 or not len(data):
        raise ArgumentError(
            f"{name}={describe(data)}): give inputs and targets, a pair of arrays with a row for each example, or a "
            "Dataset of at least two arrays, the last being the targets (Batches have one as .dataset)"
        )
    return data


@contextmanager
def _interruptible() -> Iterator[list[bool]]:
    """A list that is empty until Ctrl-C, so that an iteration is never cut in half; a second one interrupts at once.

    Only where Python's own handler is in place, and in the thread that signals reach.
    """
    seen: list[bool] = []
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield seen
        return

    def note(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(True)

    signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
