"""What the experiments share: the command line, the data, parts that are resumed, and what is saved."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import tinygraph as tg

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image  # comes with matplotlib
    from tqdm import tqdm
except ImportError as error:
    sys.exit(f'experiments: {error.name} is not installed; run: pip install "tinygraph[examples]"')

Item = TypeVar("Item")
Numbers = dict[str, Any]

DATA = ("digits", "mnist", "cifar10")
WITH, WITHOUT = "C0", "C3"  # the colours of networks with BatchNorm and without


@dataclass(frozen=True)
class Settings:
    """What the command line asked for."""

    name: str
    data: str = "digits"
    quick: bool = False
    out: Path = Path("out")
    seed: int = 0
    download: bool = False
    compile: bool = False

    def each(self, items: Mapping[str, Item], work: Callable[[Item], Numbers]) -> dict[str, Numbers]:
        """``work`` for every item, with a progress bar. What is done is kept on disk until the experiment ends.

        A run that was stopped goes on with the next item. The results must be fit for JSON.
        """
        ledger = _Ledger(self)
        bar = tqdm(items.items(), desc=self.name, unit="run", dynamic_ncols=True)
        for key, item in bar:
            bar.set_postfix_str(key)
            if key not in ledger.done:
                ledger.add(key, work(item))
        return {key: ledger.done[key] for key in items}

    def load(self, limit: int | None = None, images: bool = False) -> tuple[tg.data.Dataset, tg.data.Dataset]:
        """Training and test data: a seeded share of the digits, or the parts of MNIST or CIFAR-10.

        ``limit`` keeps that many of the training examples. Pixels are from 0 to 1.
        """
        if self.data == "digits":
            train, test = tg.data.load_digits(images=images).split([0.8, 0.2], rng=0)
        else:
            read = {"mnist": tg.data.load_mnist, "cifar10": tg.data.load_cifar10}[self.data]
            train, test = (read(part=part, images=images, download=self.download) for part in ("train", "test"))
        return (train if limit is None else train.take(slice(limit))), test


@dataclass(frozen=True)
class Experiment:
    """One experiment: what the document ``claim``\\ s, how to ``run`` it, what it found, and its figure.

    ``run`` gives numbers fit for JSON; ``finding`` and ``plot`` read nothing but those. ``data`` are the data sets that
    it can take, none where it makes its own.
    """

    name: str
    claim: str
    run: Callable[[Settings], Numbers]
    finding: Callable[[Numbers], str]
    plot: Callable[[Numbers], Figure]
    data: tuple[str, ...] = DATA


def main(experiment: Experiment, argv: list[str] | None = None) -> Numbers:
    """The command of one experiment: ``perform`` it as asked."""
    parser = argparse.ArgumentParser(f"python -m examples.experiments.{experiment.name}", description=experiment.claim)
    add_options(parser, experiment.data)
    settings = Settings(experiment.name, **vars(parser.parse_args(argv)))
    try:
        return perform(experiment, settings)
    except KeyboardInterrupt:
        sys.exit(f"\n{experiment.name}: stopped; the same command goes on where it was")


def perform(experiment: Experiment, settings: Settings) -> Numbers:
    """Run, save ``NAME.png`` and ``NAME.json``, and print the finding next to the claim.

    Data that are not there and a folder that cannot be written end the program, with a line that says so.
    """
    started = time.perf_counter()
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        numbers = _plain(experiment.run(settings))
        finding = _save(experiment, settings, numbers)
    except (tg.data.DataMissing, tg.data.DataError) as error:
        sys.exit(str(error).replace("pass download=True", "pass --download"))
    except OSError as error:
        sys.exit(f"{settings.out}: cannot be written to ({error.strerror or error}); give another folder with --out")
    _Ledger(settings).forget()
    print(f"claimed: {experiment.claim}")
    print(f"found:   {finding}")
    print(f"{settings.out / experiment.name}.png, .json ({time.perf_counter() - started:.0f} s)")
    return numbers


def _save(experiment: Experiment, settings: Settings, numbers: Numbers) -> str:
    finding = experiment.finding(numbers)
    asked = {"data": settings.data if experiment.data else None, "quick": settings.quick, "seed": settings.seed}
    record = {"experiment": experiment.name, **asked, "claim": experiment.claim, "finding": finding, "numbers": numbers}
    _write(settings.out / f"{experiment.name}.json", record)
    save(experiment.plot(numbers), settings.out / f"{experiment.name}.png")
    return finding


def add_options(parser: argparse.ArgumentParser, data: tuple[str, ...]) -> None:
    """The options that every experiment has; ``data`` are the choices of ``--data``, none for no such option."""
    if data:
        parser.add_argument("--data", choices=data, default=data[0])
        parser.add_argument("--download", action="store_true", help="fetch MNIST or CIFAR-10 if it is not there")
        parser.add_argument("--compile", action="store_true", help="train with compiled steps: the same curves, sooner")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: fewer and smaller runs")
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="where the files go (default: out)"
    )
    parser.add_argument("--seed", type=_seed, default=0, metavar="N")


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; give an integer of 0 or more")
    return int(text)


@dataclass
class _Ledger:
    """The parts that are done, in a file beside the results, which belongs to one way of asking for them."""

    settings: Settings
    done: dict[str, Numbers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.settings.name
        self.path = self.settings.out / f"{name}.partial.json"
        asked = asdict(self.settings).items()
        self.asked = {key: str(value) for key, value in asked if key not in ("out", "download")}
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        if found.get("asked") == self.asked:
            self.done = found["done"]

    def add(self, key: str, numbers: Numbers) -> None:
        self.done[key] = _plain(numbers)
        _write(self.path, {"asked": self.asked, "done": self.done})

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


def _write(path: Path, value: Any) -> None:
    """As JSON, there whole or not at all."""
    whole = path.with_suffix(".tmp")
    whole.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    whole.replace(path)


def _plain(value: Any) -> Any:
    """As JSON has it: lists for arrays, null for nan and infinity."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, np.bool_, str)) or value is None:
        return bool(value) if isinstance(value, np.bool_) else value
    number = value.item() if isinstance(value, np.generic) else value
    return number if isinstance(number, int) or np.isfinite(number) else None


# -- training and drawing ----------------------------------------------------------------------------------


def train(
    model: Any,
    optimizer: Any,
    data: Any,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    compile: bool,
    validation: Any = None,
) -> tg.train.History:
    """Train a classifier; runs of one seed see the same batches. One that diverges ends there, and its history says so."""
    trainer = tg.train.Trainer(model, optimizer, tg.cross_entropy, rng=seed, compile=compile)
    with np.errstate(over="ignore", invalid="ignore"), suppress(tg.errors.AnomalyError):
        trainer.fit(data, epochs=epochs, batch_size=batch_size, validation=validation, verbose=0)
    if trainer.history.interrupted:  # half a run is no result
        raise KeyboardInterrupt
    return trainer.history


def save(figure: Figure, path: Path) -> None:
    """A PNG of 256 colours: a third of the size of one of all colours."""
    figure.canvas.draw()
    Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[:, :, :3]).quantize().save(path, optimize=True)


def panels(
    rows: int = 1, columns: int = 1, width: float = 3.6, height: float = 2.8, **shared: Any
) -> tuple[Figure, Any]:
    """A figure, and its axes as an array [rows, columns]. It neither needs a display nor touches pyplot."""
    figure = Figure((width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    for panel in axes.flat:
        panel.grid(alpha=0.3)
    return figure, axes
