"""What a run of training was like: its curves, as text and as a figure."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, MissingExtra

KINDS = ("train", "validation")
_COLUMNS = ("iteration", "epoch", "loss", "learning_rate", "marks")


@dataclass(repr=False)
class History:
    """What a run of training was like.

    ``loss`` and ``learning_rate`` have one number per iteration; ``train`` and ``validation`` map ``"loss"`` and the
    name of each metric to one number per epoch; ``ends`` counts the iterations up to the end of each epoch.
    ``best_epoch`` counts from 1. ``stopped`` is "" while it runs, then "finished", "early" (no more progress),
    "interrupted" (Ctrl-C) or "diverged" (the loss was nan or infinite).

    >>> History(loss=[2.5, 0.5], learning_rate=[0.1, 0.1], ends=[2], train={"accuracy": [0.75]}, stopped="finished")
    History(1 epoch, 2 iterations, loss 2.5 → 0.5, train accuracy 0.75, finished)
    """

    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    train: dict[str, list[float]] = field(default_factory=dict)
    validation: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int | None = None
    stopped: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self.stopped == "interrupted"

    def __repr__(self) -> str:
        parts = [_count(len(self.ends), "epoch"), _count(len(self.loss), "iteration")]
        if self.loss:
            parts.append(f"loss {self.loss[0]:.4g} → {self.loss[-1]:.4g}")
        for kind in KINDS:
            curves = getattr(self, kind).items()
            parts += [f"{kind} {name} {curve[-1]:.4g}" for name, curve in curves if name != "loss" and curve]
        parts += [f"best epoch {self.best_epoch}"] * (self.best_epoch is not None) + [self.stopped] * bool(self.stopped)
        return f"History({', '.join(parts)})"

    def state_dict(self) -> dict[str, Any]:
        """Its numbers as arrays, for a checkpoint."""
        found: dict[str, Any] = _curves(vars(self), np.array)
        return found

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> History:
        """The history whose ``state_dict`` this is."""
        return cls(**_curves(dict(state), np.ndarray.tolist))

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The whole history as JSON text, also written to ``path``; nan and infinity are strings, as JSON has none."""
        spelt = _curves(vars(self), lambda curve: [x if math.isfinite(x) else str(x) for x in curve])
        return _write(json.dumps(spelt, allow_nan=False), path)

    @classmethod
    def from_json(cls, source: str | os.PathLike[str]) -> History:
        """The history that ``to_json`` wrote: its text, or the path of the file.

        Raises: ArgumentError for anything else.
        """
        with _reading("from_json"):
            fields = json.loads(_read(source, "{"))
            return cls(**_curves(fields, lambda curve: [float(x) if isinstance(x, str) else x for x in curve]))

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """One row per iteration; the row that ends an epoch has its figures. Also written to ``path``."""
        curves = {f"{kind} {name}": curve for kind in KINDS for name, curve in getattr(self, kind).items()}
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_COLUMNS, *curves])
        ends, last = {end: epoch for epoch, end in enumerate(self.ends)}, len(self.loss)
        epoch = 0
        for k, (loss, rate) in enumerate(zip(self.loss, self.learning_rate, strict=True), 1):
            done = ends.get(k)
            marks = ["end"] * (done is not None) + ["best"] * (done is not None and done + 1 == self.best_epoch)
            marks += [self.stopped] * (k == last and bool(self.stopped))
            figures = ["" if done is None else repr(curve[done]) for curve in curves.values()]
            writer.writerow([k, epoch + 1, repr(loss), repr(rate), " ".join(marks), *figures])
            epoch += done is not None
        return _write(stream.getvalue(), path)

    @classmethod
    def from_csv(cls, source: str | os.PathLike[str]) -> History:
        """The history that ``to_csv`` wrote: its text, or the path of the file.

        Raises: ArgumentError for anything else.
        """
        with _reading("from_csv"):
            return cls._from_rows(*csv.reader(io.StringIO(_read(source, _COLUMNS[0]))))

    @classmethod
    def _from_rows(cls, names: list[str], *rows: list[str]) -> History:
        found = cls()
        keys = [name.split(" ", 1) for name in names[len(_COLUMNS) :]]
        curves: list[list[float]] = [getattr(found, kind).setdefault(name, []) for kind, name in keys]
        for iteration, _, loss, rate, marks, *figures in rows:
            found.loss.append(float(loss))
            found.learning_rate.append(float(rate))
            for mark in marks.split():
                if mark == "end":
                    found.ends.append(int(iteration))
                    for curve, figure in zip(curves, figures, strict=True):
                        curve.append(float(figure))
                elif mark == "best":
                    found.best_epoch = len(found.ends)
                else:
                    found.stopped = mark
        return found

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A matplotlib Figure of the loss per iteration and of each metric per epoch, also saved to ``path``.

        It has a canvas of its own, so it neither needs a display nor touches pyplot's figures.

        Raises: MissingExtra without matplotlib.
        """
        metrics = [name for name in {**self.train, **self.validation} if name != "loss"]
        figure = _optional("matplotlib.figure", "plot").Figure((5 * (1 + len(metrics)), 3.6), layout="constrained")
        _optional("matplotlib.backends.backend_agg", "plot").FigureCanvasAgg(figure)
        first, *panels = figure.subplots(1, 1 + len(metrics), squeeze=False)[0]
        first.set(title="loss", xlabel="iteration")
        first.plot(range(1, len(self.loss) + 1), self.loss, color="0.7", linewidth=0.8, label="iteration")
        for kind, colour in zip(KINDS, ("C0", "C1"), strict=True):
            curves = getattr(self, kind)
            for panel, name in zip((first, *panels), ("loss", *metrics), strict=True):
                if name in curves:
                    x: Any = self.ends if panel is first else range(1, len(self.ends) + 1)
                    panel.plot(x, curves[name], "o-", color=colour, markersize=3, label=kind)
        for panel, name in zip(panels, metrics, strict=True):
            panel.set(title=name, xlabel="epoch")
        if _spans_magnitudes(self.loss):
            first.set_yscale("log")
        for panel in (first, *panels):
            if self.best_epoch is not None:
                x = self.ends[self.best_epoch - 1] if panel is first else self.best_epoch
                panel.axvline(x, color="C2", linewidth=1, linestyle="--", label="best")
            panel.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            panel.grid(alpha=0.3)
            panel.legend()
        if path is not None:
            figure.savefig(path, dpi=120)
        return figure


def _spans_magnitudes(curve: list[float]) -> bool:
    finite = [x for x in curve if math.isfinite(x)]
    return bool(finite) and 0 < min(finite) < max(finite) / 1000


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + "s" * (n != 1)


def _curves(value: Any, change: Callable[[Any], Any]) -> Any:
    """The value with every list or array in it changed."""
    if isinstance(value, dict):
        return {name: _curves(item, change) for name, item in value.items()}
    return change(value) if isinstance(value, (list, np.ndarray)) else value


def _write(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8", newline="")
    return text


def _read(source: str | os.PathLike[str], opening: str) -> str:
    """A text that begins like one of ours, or else what is in the file of that name."""
    if isinstance(source, str) and source.lstrip().startswith(opening):
        return source
    return Path(source).read_text(encoding="utf-8")


@contextmanager
def _reading(op: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, AttributeError) as error:
        raise ArgumentError(f"{op}: this is no history ({error}); give what to_{op[5:]} wrote") from error


def _optional(module: str, op: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f'{op}: needs matplotlib; install it with: pip install "tinygraph[examples]"') from error
