"""One call of ``fit``, step by step, with what it keeps so that it can be stopped anywhere."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import checkpoint as files
from ..compiler import compile
from ..core.held import held
from ..core.tensor import Tensor
from ..data import Batches, Dataset
from ..errors import AnomalyError, ArgumentError, CheckpointError, ShapeError
from .history import KINDS, History
from .measure import Array, Loss, Metric, forward, measure, scores

_PROGRESS = ("score", "waited", "best")
_PARTS = {"model", "optimizer", "batches", "generators", "history", "progress", "settings"}


@dataclass
class Run:
    """What a call of ``fit`` was asked for, and how far it is."""

    model: Any
    optimizer: Any
    loss: Loss
    rng: np.random.Generator
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
    compiled: Any = False

    score: float = -math.inf
    waited: int = 0  # epochs since the best
    best: dict[str, Array] | None = None
    history: History = field(default_factory=History)
    bar: Any = None
    talkative: bool = False

    def __post_init__(self) -> None:
        kinds = KINDS[: 1 + (self.validation is not None)]
        self.measured = tuple(f"{kind} {name}" for kind in kinds for name in ("loss", *self.metrics))
        if self.monitor not in self.measured:
            known = ", ".join(map(repr, self.measured))
            raise ArgumentError(f"fit(monitor={self.monitor!r}): this is not measured; write one of {known}")
        if self.lr_decay != 1.0:  # an optimiser with a schedule refuses now, not after the first epoch
            self.optimizer.lr = self.optimizer.lr
        self.state = [*self.model._state().values(), *self.optimizer._state().values()]
        if self.stop_on_nan and getattr(self.compiled, "donate", False):
            raise ArgumentError(
                f"fit: {self.compiled!r} gives away the state before a step, which stop_on_nan needs; pass stop_on_nan=False"
            )
        if self.compiled:
            backend = "auto" if self.compiled is True else self.compiled
            # With NumPy a resumed run is bit for bit the run that nobody stopped, so its code keeps every bit.
            self.update = compile(self.update, backend=backend, exact=backend == "numpy")  # type: ignore[method-assign]

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

    def update(self, inputs: list[Any], targets: Any) -> tuple[Any, Tensor]:
        """One step of training, which reads no value, so that it can be compiled: what the model gave, and the loss."""
        self.optimizer.zero_grad()
        outputs, loss = forward(self.model, self.loss, inputs, targets)
        loss.backward()
        self.optimizer.step()
        return outputs, loss

    def step(self, inputs: list[Array], targets: Array) -> None:
        history, rate, before = self.history, float(self.optimizer.lr), [held(p) for p in self.state]
        try:
            outputs, loss = self.update(inputs, targets)
        except ShapeError as error:
            raise self._alone(error) if len(targets) == 1 < self.batches.size else error from error
        value = float(loss.item())
        if self.stop_on_nan and not math.isfinite(value):
            for p, values in zip(self.state, before, strict=True):  # the step was not taken
                p._replace(values)
            raise AnomalyError(
                f"fit: the loss is {value} at iteration {len(history.loss) + 1} (epoch {len(history.ends) + 1}); lower the "
                "learning rate, look at the data, or go on with stop_on_nan=False"
            )
        history.loss.append(value)
        history.learning_rate.append(rate)
        if self.bar is not None:
            shown = {"loss": value, **scores(self.metrics, outputs, targets)}
            self.bar.set_postfix_str(_figures(shown), refresh=False)
            self.bar.update()
        if self.every is not None and len(history.loss) % self.every == 0:
            self.save()

    def _alone(self, error: ShapeError) -> ShapeError:
        size, n = self.batches.size, len(self.batches.dataset)
        return ShapeError(
            f"fit: {n} examples in batches of {size} leave a last batch of 1, which failed ({error}); pass "
            f"tg.data.Batches(dataset, {size}, drop_last=True), or another batch_size"
        )

    def end_epoch(self) -> None:
        history = self.history
        for place, value in self.measurements().items():
            kind, _, name = place.partition(" ")
            getattr(history, kind).setdefault(name, []).append(value)
        history.ends.append(len(history.loss))
        self.judge()
        if self.lr_decay != 1.0:
            self.optimizer.lr = self.optimizer.lr * self.lr_decay
        if self.talkative:
            last = {f"{kind} {name}": curve[-1] for kind in KINDS for name, curve in getattr(history, kind).items()}
            line = f"epoch {len(history.ends)}: {_figures(last)}"
            sys.stdout.write(f"{line}\n") if self.bar is None else self.bar.write(line, file=sys.stdout)
        if self.every is None:
            self.save()

    def measurements(self) -> dict[str, float]:
        """All that is measured after an epoch, before any of it is in the history."""
        data, batch_size = self.batches.dataset, max(self.batches.size, 500)
        some = np.linspace(0, len(data) - 1, min(self.train_examples, len(data))).astype(np.intp)
        asked = [("train", data, some)]
        if self.validation is not None:
            asked.append(("validation", self.validation, np.arange(len(self.validation))))
        return {
            f"{kind} {name}": value
            for kind, dataset, rows in asked
            for name, value in measure(self.model, self.loss, self.metrics, dataset, rows, batch_size).items()
        }

    def judge(self) -> None:
        """Whether this epoch is the best so far; nan never is."""
        kind, _, name = self.monitor.partition(" ")
        value = getattr(self.history, kind)[name][-1]
        score = -value if name == "loss" else value
        self.waited += 1
        if score > self.score:
            self.score, self.waited, self.history.best_epoch = score, 0, len(self.history.ends)
            if self.keep_best:
                self.best = {name: np.array(value) for name, value in self.model.state_dict().items()}

    def restore(self) -> None:
        """Give the model the parameters of the best epoch, if they were kept."""
        if self.best is not None:
            self.model.load_state_dict(self.best)

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
        return {
            name: getattr(self, name) for name in ("measured", "monitor", "lr_decay", "train_examples", "keep_best")
        }

    def generators(self) -> dict[str, np.random.Generator]:
        return {"trainer": self.rng} | {f"model.{name}": g for name, g in self.model.named_generators()}

    def save(self) -> None:
        if self.path is None:
            return
        files.save(
            self.path,
            model=self.model,
            optimizer=self.optimizer,
            batches=self.batches,
            generators=self.generators(),
            history=self.history,
            progress={name: getattr(self, name) for name in _PROGRESS},
            settings=self.settings(),
        )

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from the file that ``save`` wrote.

        Raises: CheckpointError for a file of something else; then the model is as it was.
        """
        parts = files.load(path)
        head = f"fit(resume=True): {os.fspath(path)}"
        if missing := _PARTS - set(parts):
            raise CheckpointError(f"{head} has no {min(missing)!r}, so fit did not write it; give another path")
        try:
            self._take(parts)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{head} is of another run: {error}") from error

    def _take(self, parts: dict[str, Any]) -> None:
        for name, value in self.settings().items():
            if (was := parts["settings"][name]) != value:
                raise ArgumentError(
                    f"{name} was {was!r} and is {value!r}; set it as it was, or start anew with another path"
                )
        generators, states = self.generators(), parts["generators"]
        kinds = {name: type(g.bit_generator).__name__ for name, g in generators.items()}
        if {name: state["bit_generator"] for name, state in states.items()} != kinds:
            raise ArgumentError("its random generators are not those of this model; make it in the same way")
        history = History.from_state_dict(parts["history"])
        progress = [parts["progress"][name] for name in _PROGRESS]
        self.optimizer.load_state_dict(parts["optimizer"])
        self.batches.load_state_dict(parts["batches"])
        self.model.load_state_dict(parts["model"])
        for name, generator in generators.items():
            generator.bit_generator.state = states[name]
        self.history = history
        self.history.stopped = ""
        self.score, self.waited, self.best = progress


def _figures(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
