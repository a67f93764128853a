"""One training program on one device, on eight, and in two processes: the loss curves agree.

A network with BatchNorm learns scikit-learn's handwritten digits. The program is written once, in ``train``; this
command starts it three times: as it is, with a processor that poses as eight devices, and as two processes
that talk over the loopback interface, each with half of every batch. BatchNorm's statistics are those of the whole
batch in all three, so the curves are one curve, up to rounding.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import tinygraph as tg
from tinygraph import distributed

BATCH = 128
EPOCHS, QUICK_EPOCHS = 25, 3
BOUNDS = {"float32": 1e-3, "float64": 1e-9}  # rounding grows along a run, about tenfold in 100 steps
RUNS = {"1 process": (1, 1), "8 devices": (1, 8), "2 processes": (2, 1)}  # processes, devices of each


def network(dtype: np.dtype) -> tg.nn.Module:
    blocks = []
    for k, (inputs, outputs) in enumerate([(64, 128), (128, 128)]):
        blocks += [
            tg.nn.Linear(inputs, outputs, dtype=dtype, rng=k),
            tg.nn.BatchNorm(outputs, dtype=dtype),
            tg.nn.ReLU(),
        ]
    return tg.nn.Sequential(*blocks, tg.nn.Linear(128, 10, dtype=dtype, rng=2))


def train(digits: tg.data.Dataset, epochs: int, process: int, processes: int, coordinator: str) -> dict:
    """The loss of every step, and how long they took. This is all that a program does to run on many devices."""
    if processes > 1:
        distributed.initialize(coordinator, processes, process)
    mesh = distributed.mesh()

    model = network(digits["x"].dtype)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    distributed.replicate((model, optimizer), mesh)

    @tg.compile(backend="jax")
    def step(x, t):
        loss = tg.cross_entropy(model(x), t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    digits, test = digits.split([0.8, 0.2], rng=0)
    mine = slice(process * BATCH // processes, (process + 1) * BATCH // processes)
    batches = tg.data.Batches(digits, BATCH, rng=0, drop_last=True)
    losses, begin = [], time.perf_counter()
    for _ in range(epochs):
        for x, t in batches:
            losses.append(step(*distributed.shard_batch((x[mine], t[mine]), mesh)))
    numbers = [float(loss) for loss in losses]  # they stayed where they were computed; nobody waited for them
    seconds = time.perf_counter() - begin

    answers = np.argmax(model.eval()(test["x"]).numpy(), axis=1)
    return {"losses": numbers, "seconds": seconds, "accuracy": float(np.mean(answers == test["y"]))}


def start(digits: tg.data.Dataset, epochs: int, processes: int, devices: int) -> dict:
    """``train`` in processes of its own; what the first one found. If one fails, all end, and so does this."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{trial.getsockname()[1]}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    with tempfile.TemporaryDirectory() as folder:
        data, found = Path(folder, "digits"), Path(folder, "found")
        tg.checkpoint.save(data, x=digits["x"], y=digits["y"])
        work = [sys.executable, __file__, "--work", data, found, str(epochs)]
        running = [
            subprocess.Popen([*work, str(k), str(processes), coordinator], env=environment, stdout=subprocess.DEVNULL)
            for k in range(processes)
        ]
        try:
            if sum(process.wait() != 0 for process in running):
                sys.exit("distributed_digits: a process failed; what it said stands above")
        finally:
            for process in running:
                process.kill()
                process.wait()
        return json.loads(found.read_text(encoding="utf-8"))


def distance(losses: list[float], reference: list[float]) -> np.ndarray:
    """How far a curve is off at each step, as a part of the loss."""
    return np.abs(np.subtract(losses, reference)) / np.abs(reference)


def plot(found: dict[str, dict], dtype: np.dtype, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((9, 3.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    curves, differences = figure.subplots(1, 2)
    (first, reference), *others = found.items()
    for (name, run), width, colour in zip(found.items(), (4, 2, 0.8), ("0.7", "C0", "C3"), strict=True):
        label = f"{name}, {100 * run['accuracy']:.1f} % right"
        curves.plot(run["losses"], linewidth=width, color=colour, label=label)
    for (name, run), marker, colour in zip(others, "ox", ("C0", "C3"), strict=True):
        off = distance(run["losses"], reference["losses"])
        off[off == 0] = np.nan
        differences.plot(off, marker, markersize=3, color=colour, label=f"{name} and {first}, where they differ")
    curves.set(yscale="log", xlabel="step", ylabel="loss", title="Three runs of one program")
    differences.set(
        yscale="log",
        xlabel="step",
        ylabel="relative difference",
        title="They differ by rounding",
    )
    differences.set_ylim(np.finfo(dtype).eps / 10, BOUNDS[dtype.name])
    for axes in (curves, differences):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    canvas.print_png(str(path))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("distributed_digits", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_EPOCHS} epochs instead of {EPOCHS}")
    parser.add_argument("--dtype", choices=tuple(BOUNDS), default="float32")
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="where the figure goes (default: out)"
    )
    parser.add_argument("--work", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        data, found, epochs, process, processes, coordinator = options.work
        digits = tg.data.Dataset(**tg.checkpoint.load(data))
        result = train(digits, int(epochs), int(process), int(processes), coordinator)
        if process == "0":
            Path(found).write_text(json.dumps(result), encoding="utf-8")
        return

    missing = [name for name in ("jax", "sklearn", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        sys.exit(f'distributed_digits: {missing[0]} is not installed; run: pip install "tinygraph[jax,examples]"')
    dtype = np.dtype(options.dtype)
    digits = tg.data.load_digits(dtype=dtype)
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    options.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, (processes, devices) in RUNS.items():
        found[name] = run = start(digits, epochs, processes, devices)
        print(f"{name:<12} {len(run['losses'])} steps in {run['seconds']:5.1f} s, "
              f"loss {run['losses'][0]:.3f} to {run['losses'][-1]:.5f}, {100 * run['accuracy']:.1f} % of the test set right")  # fmt: skip
    reference = next(iter(found.values()))["losses"]
    largest = max(distance(run["losses"], reference).max() for run in found.values())
    bound = BOUNDS[dtype.name]
    print(
        f"largest relative difference between the curves: {largest:.1e} ({dtype.name}; at most {bound:.0e} is rounding)"
    )
    path = options.out / "distributed_digits.png"
    plot(found, dtype, path)
    print(f"picture  {path}")
    if not largest <= bound:
        sys.exit("distributed_digits: the curves do not agree")


if __name__ == "__main__":
    main()
