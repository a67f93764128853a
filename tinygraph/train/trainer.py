"""The training loop, and what it keeps so that it can be stopped anywhere."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import checkpoint as files
from ..core.convert import tensor
from ..core.scope import no_grad
from ..core.tensor import Tensor, describe
from ..data import Batches, Dataset
from ..errors import AnomalyError, ArgumentError, ShapeError
from .history import KINDS, History

Array = np.ndarray[Any, Any]
Metric = Callable[[Array, Array], float]


def accuracy(outputs: Array, targets: Array) -> float:
    """The share of examples whose largest output is at the place of their target, an integer class.

    >>> import numpy as np
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    return float(np.mean(np.argmax(outputs, axis=-1) == targets))


class Trainer:
    """Trains a model: batches in a seeded order, history, progress, the best parameters, checkpoints.

    ``loss(outputs, targets)`` gives one number as a Tensor, the mean over a batch. ``metrics`` maps names to functions
    of two arrays, outputs and targets, whose value is a mean over the examples and better when larger; left out, it
    is :func:`accuracy` where the targets are integers. ``rng`` (a Generator, a seed, or None for fresh entropy) orders
    the examples. ``history`` is that of the last run, also after an error.

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
        model: Any,
        optimizer: Any,
        loss: Callable[[Any, Any], Any],
        *,
        metrics: Mapping[str, Metric] | None = None,
        rng: Any = None,
    ) -> None:
        if metrics is not None and "loss" in metrics:
            raise ArgumentError("Trainer(metrics): 'loss' is the name of the loss itself; give the metric another")
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.metrics = metrics
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
        validation data if there are any. ``keep_best`` leaves the model with the best epoch's parameters;
        ``patience`` ends the run after that many epochs without a better one.

        Ctrl-C ends the run after the present iteration, with everything as after a normal end; a second one
        interrupts at once. With ``checkpoint`` the whole state is written to that file every ``every`` iterations (by
        default after each epoch) and at the end. With ``resume`` a run goes on from that file, if it is there, and is
        bit for bit the run that nobody stopped, provided that everything is made in the same way and that all that is
        random draws from ``rng`` or from generators of the model; ``epochs`` may be raised.

        ``verbose``: 0 nothing, 1 a progress bar (if tqdm is installed), 2 also a line per epoch.

        Raises: AnomalyError where the loss is not finite, unless ``stop_on_nan=False``; ArgumentError and ShapeError for
        wrong arguments; CheckpointError for a file that is not one of this run.
        """
        batches = self._batches(data, batch_size)
        held_out = None if validation is None else _dataset(validation, "validation")
        for name, number in (("patience", patience), ("every", every), ("train_examples", train_examples)):
            if number is not None and number < 1:
                raise ArgumentError(f"fit({name}={number}): give 1 or more, or leave it out")
        metrics = self._metrics(batches.dataset)
        monitor = monitor or f"{KINDS[held_out is not None]} {next(iter(metrics), 'loss')}"
        run = _Run(
            trainer=self,
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
        )
        if resume and checkpoint is not None and Path(checkpoint).exists():
            run.load(checkpoint)
        self.history = history = run.history
        with _interruptible() as interrupted, _mode(self.model, training=True), run.show(epochs, verbose):
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
        if run.best is not None:
            self.model.load_state_dict(run.best)
        return history

    def evaluate(self, data: Any, *, batch_size: int = 500) -> dict[str, float]:
        """Loss and metrics over ``data``, in evaluation mode: means over the examples, by name."""
        dataset = _dataset(data, "data")
        return self._measure(dataset, self._metrics(dataset), np.arange(len(dataset)), batch_size)

    def _batches(self, data: Any, size: int | None) -> Batches:
        if not isinstance(data, Batches):
            return Batches(_dataset(data, "data"), 100 if size is None else size, rng=self.rng)
        if size not in (None, data.size):
            raise ArgumentError(
                f"fit({data!r}, batch_size={size}): the batches have a size already; leave batch_size out"
            )
        _dataset(data.dataset, "data")
        return data

    def _metrics(self, dataset: Dataset) -> Mapping[str, Metric]:
        if self.metrics is not None:
            return self.metrics
        targets = dataset[dataset.names[-1]]
        return {"accuracy": accuracy} if targets.dtype.kind in "iu" and targets.ndim == 1 else {}

    @no_grad()
    def _measure(
        self, dataset: Dataset, metrics: Mapping[str, Metric], which: Array, batch_size: int
    ) -> dict[str, float]:
        totals = dict.fromkeys(("loss", *metrics), 0.0)
        with _mode(self.model, training=False):
            for start in range(0, len(which), batch_size):
                *x, y = dataset[which[start : start + batch_size]]
                outputs, loss = self._forward(x, y)
                totals["loss"] += float(loss.item()) * len(y)
                for name, value in _scores(metrics, outputs, y).items():
                    totals[name] += value * len(y)
        return {name: total / len(which) for name, total in totals.items()}

    def _forward(self, inputs: list[Array], targets: Array) -> tuple[Any, Tensor]:
        outputs = self.model(*map(tensor, inputs))
        loss = self.loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise ShapeError(f"fit: the loss is {describe(loss)}; return one number as a Tensor, e.g. its tg.mean")
        return outputs, loss


@dataclass
class _Run:
    """One call of ``fit``: what it was asked for, and how far it is."""

    trainer: Trainer
    batches: Batches
    validation: Dataset | None
    metrics: Mapping[str, Metric]
    monitor: str
    lr_decay: float
    train_examples: int
    stop_on_nan: bool
    keep_best: bool
    path: str | os.PathLike[str] | None
    every: int | None

    score: float = -math.inf
    waited: int = 0  # epochs since the best
    best: dict[str, Array] | None = None
    history: History = field(default_factory=History)
    bar: Any = None
    talkative: bool = False

    def __post_init__(self) -> None:
        kind, _, name = self.monitor.partition(" ")
        if name not in ("loss", *self.metrics) or kind not in KINDS[: 1 + (self.validation is not None)]:
            raise ArgumentError(f"fit(monitor={self.monitor!r}): this is not measured; write e.g. 'train loss'")
        if self.lr_decay != 1.0:  # an optimiser with a schedule refuses now, not after the first epoch
            self.trainer.optimizer.lr = self.trainer.optimizer.lr

    def go(self, epochs: int, patience: int | None, interrupted: list[bool]) -> str:
        """Train until something ends it, and say what that was."""
        while len(self.history.ends) < epochs:
            if patience is not None and self.waited >= patience:
                return "early"
            for *inputs, targets in self.batches:
                self.step(inputs, targets)
                if interrupted:
                    return "interrupted"
            self.end_epoch()
            if interrupted:
                return "interrupted"
        return "finished"

    def step(self, inputs: list[Array], targets: Array) -> None:
        optimizer, history = self.trainer.optimizer, self.history
        optimizer.zero_grad()
        outputs, loss = self.trainer._forward(inputs, targets)
        value, rate = float(loss.item()), float(optimizer.lr)
        if self.stop_on_nan and not math.isfinite(value):
            raise AnomalyError(
                f"fit: the loss is {value} at iteration {len(history.loss) + 1} (epoch {len(history.ends) + 1}); lower the "
                "learning rate, look at the data, or go on with stop_on_nan=False"
            )
        loss.backward()
        optimizer.step()
        history.loss.append(value)
        history.learning_rate.append(rate)
        if self.bar is not None:
            shown = {"loss": value, **_scores(self.metrics, outputs, targets)}
            self.bar.set_postfix_str(_figures(shown), refresh=False)
            self.bar.update()
        if self.every is not None and len(history.loss) % self.every == 0:
            self.save()

    def end_epoch(self) -> None:
        history, trainer = self.history, self.trainer
        history.ends.append(len(history.loss))
        data = self.batches.dataset
        some = np.linspace(0, len(data) - 1, min(self.train_examples, len(data))).astype(np.intp)
        measured = [("train", data, some)]
        if self.validation is not None:
            measured.append(("validation", self.validation, np.arange(len(self.validation))))
        for kind, dataset, which in measured:
            found = trainer._measure(dataset, self.metrics, which, max(self.batches.size, 500))
            for name, value in found.items():
                getattr(history, kind).setdefault(name, []).append(value)
        self.judge()
        if self.lr_decay != 1.0:
            trainer.optimizer.lr = trainer.optimizer.lr * self.lr_decay
        if self.talkative:
            last = {f"{kind} {name}": curve[-1] for kind in KINDS for name, curve in getattr(history, kind).items()}
            line = f"epoch {len(history.ends)}: {_figures(last)}"
            sys.stdout.write(f"{line}\n") if self.bar is None else self.bar.write(line, file=sys.stdout)
        if self.every is None:
            self.save()

    def judge(self) -> None:
        """Whether this epoch is the best so far; nan never is."""
        kind, _, name = self.monitor.partition(" ")
        value = getattr(self.history, kind)[name][-1]
        score = -value if name == "loss" else value
        self.waited += 1
        if score > self.score:
            self.score, self.waited, self.history.best_epoch = score, 0, len(self.history.ends)
            if self.keep_best:
                self.best = {name: np.array(value) for name, value in self.trainer.model.state_dict().items()}

    @contextmanager
    def show(self, epochs: int, verbose: int) -> Iterator[None]:
        """A progress bar, where one is wanted and there is tqdm."""
        self.talkative = verbose >= 2
        if verbose < 1 or importlib.util.find_spec("tqdm") is None:
            yield
            return
        total = epochs * len(self.batches)
        with importlib.import_module("tqdm").tqdm(total=total, initial=len(self.history.loss), unit="it") as self.bar:
            yield

    # -- the file ------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """What has to be the same for the rest of the run to be the rest of this run."""
        return {name: getattr(self, name) for name in ("monitor", "lr_decay", "train_examples", "keep_best")}

    def generators(self) -> dict[str, np.random.Generator]:
        return {"trainer": self.trainer.rng} | {f"model.{n}": g for n, g in self.trainer.model.named_generators()}

    def save(self) -> None:
        if self.path is None:
            return
        trainer = self.trainer
        files.save(
            self.path,
            model=trainer.model,
            optimizer=trainer.optimizer,
            batches=self.batches,
            generators=self.generators(),
            history=self.history,
            progress={name: getattr(self, name) for name in _PROGRESS},
            settings=self.settings(),
        )

    def load(self, path: str | os.PathLike[str]) -> None:
        parts = files.load(path)
        head = f"fit(resume=True): {os.fspath(path)}"
        if missing := {"model", "optimizer", "batches", "generators", "history", "progress", "settings"} - set(parts):
            raise files.CheckpointError(f"{head} has no {min(missing)!r}, so fit did not write it; give another path")
        generators = self.generators()
        kinds = {name: state["bit_generator"] for name, state in parts["generators"].items()}
        if {name: type(g.bit_generator).__name__ for name, g in generators.items()} != kinds:
            raise files.CheckpointError(f"{head} has other random generators than this model; make it in the same way")
        for name, value in self.settings().items():
            if parts["settings"].get(name) != value:
                raise files.CheckpointError(
                    f"{head} is of a run with {name}={parts['settings'].get(name)!r}, this is {value!r}; set it as it "
                    "was, or start anew with another path"
                )
        self.trainer.model.load_state_dict(parts["model"])
        self.trainer.optimizer.load_state_dict(parts["optimizer"])
        self.batches.load_state_dict(parts["batches"])
        for name, generator in generators.items():
            generator.bit_generator.state = parts["generators"][name]
        self.history = History.from_state_dict(parts["history"])
        self.history.stopped = ""
        for name in _PROGRESS:
            setattr(self, name, parts["progress"][name])


_PROGRESS = ("score", "waited", "best")


def _dataset(data: Any, name: str) -> Dataset:
    if isinstance(data, (tuple, list)) and len(data) == 2:
        data = Dataset(x=data[0], y=data[1])
    if not isinstance(data, Dataset) or len(data.names) < 2 or not len(data):
        raise ArgumentError(
            f"fit({name}={describe(data)}): give inputs and targets, a pair of arrays with a row for each example, or a "
            "Dataset of at least two arrays, the last being the targets"
        )
    return data


@contextmanager
def _mode(model: Any, training: bool) -> Iterator[None]:
    """Training or evaluation mode for a while; then every part is as it was."""
    before = [(module, module.training) for _, module in model.named_modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


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


def _scores(metrics: Mapping[str, Metric], outputs: Any, targets: Array) -> dict[str, float]:
    arrays = outputs.numpy() if isinstance(outputs, Tensor) else outputs
    return {name: float(metric(arrays, targets)) for name, metric in metrics.items()}


def _figures(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
