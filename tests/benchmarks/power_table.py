"""How many of eleven realistic wrong BatchNorm backwards each gradient check catches.

``python tests/benchmarks/power_table.py`` prints the table; ``--sizes 8 64``, ``--seeds 3`` and
``--limit 60`` (seconds a cell) change what is run. Every check has its package's default tolerances;
C is 3. A cell is the number caught, or the range over the seeds, and in brackets in how many of the runs
the right backward was rejected. Each cell runs in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import gradient_checks
from support.backwards import batch_norm

from tinygraph.testing import check_backward, diagnose

# The mean term negated (as published) and missing; the variance term missing, halved, doubled and
# negated; eps missing; the variance unbiased, in all of it and in its term alone; dbeta a mean; dgamma with x for xhat.
ELEVEN = [m for m in batch_norm.MUTANTS if m.number in (1, 2, 3, 7, 8, 9, 13, 14, 15, 21, 22)]

Arrays = list[np.ndarray]
Row = tuple[str, str, str, Callable[..., Any]]


def by_package(check: Callable[..., Any]) -> Callable[..., bool]:
    """A check that raises, on a backward that the arrays' precision is kept in."""

    def rejects(backward: Callable[..., Any], arrays: Arrays, seed: int) -> bool:
        def typed(dy: np.ndarray, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
            return tuple(np.asarray(g, arrays[0].dtype) for g in backward(np.array(dy), *inputs))

        try:
            check(gradient_checks.batch_norm, typed, arrays, seed)
        except Exception:
            return True
        return False

    return rejects


def by_rounding_units(backward: Callable[..., Any], arrays: Arrays, seed: int) -> bool:
    return not check_backward(batch_norm.reference, backward, *arrays, seed=seed)


def by_the_doctor(backward: Callable[..., Any], arrays: Arrays, seed: int) -> bool:
    """A wrong one counts if it is called by its name, the right one if anything is found at all."""
    sizes = {"N": [arrays[0].shape[0]], "C": [3]}
    findings = diagnose(batch_norm.reference, backward, dims=sizes, seed=seed, **batch_norm.SHAPES).findings
    named = [m.says(findings[0].line) for m in ELEVEN if m.backward is backward and findings]
    return all(named) and bool(findings)


ROWS: list[Row] = [
    ("torch gradcheck, slow", "torch", "float64", by_package(gradient_checks.torch_gradcheck)),
    ("torch gradcheck, fast_mode", "torch", "float64", by_package(gradient_checks.torch_fast)),
    ("JAX check_grads", "jax", "float64", by_package(gradient_checks.jax_check_grads)),
    ("JAX check_grads", "jax", "float32", by_package(gradient_checks.jax_check_grads)),
    ("autograd check_grads", "autograd", "float64", by_package(gradient_checks.autograd_check_grads)),
    ("y.sum(), dx against differences", "numpy", "float64", by_package(gradient_checks.sum_against_differences)),
    ("check_backward", "tinygraph", "float64", by_rounding_units),
    ("check_backward", "tinygraph", "float32", by_rounding_units),
    ("diagnose: named", "tinygraph", "float64", by_the_doctor),
]


def cell(row: int, n: int, seeds: int) -> dict[str, Any]:
    """Numbers of the mutants that are caught, seed by seed, and how often the right backward is rejected."""
    *_, dtype, rejects = ROWS[row]
    caught, alarms = [], 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        arrays = [rng.normal(size=s).astype(dtype) for s in ((n, 3), 3, 3)]
        alarms += rejects(batch_norm.classic, arrays, seed)
        caught.append([m.number for m in ELEVEN if rejects(m.backward, arrays, seed)])
    return {"caught": caught, "alarms": alarms}


def text_of(row: int, n: int, seeds: int, limit: float) -> str:
    """One cell, from a process that is stopped after ``limit`` seconds."""
    if importlib.util.find_spec(ROWS[row][1]) is None:
        return "not installed"
    command = [sys.executable, __file__, "--cell", str(row), "--sizes", str(n), "--seeds", str(seeds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=True)
    except subprocess.TimeoutExpired:
        return "too slow"
    except subprocess.CalledProcessError as error:
        return f"failed: {error.stderr.strip().splitlines()[-1][:40]}"
    found = json.loads(done.stdout.splitlines()[-1])
    counts = [len(numbers) for numbers in found["caught"]]
    text = str(counts[0]) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"
    return f"{text} (right one rejected {found['alarms']}/{seeds})" if found["alarms"] else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 64, 1024])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120.0)
    parser.add_argument("--cell", type=int)
    options = parser.parse_args()
    if options.cell is not None:
        warnings.simplefilter("ignore")
        print(json.dumps(cell(options.cell, options.sizes[0], options.seeds)))
        return
    print("The eleven:", "; ".join(f"{m.number} {m.what}" for m in ELEVEN))
    width = max(len(f"{name}, {dtype}") for name, _, dtype, _ in ROWS)
    print(f"{'':{width}}", *(f"N={n:<30}" for n in options.sizes), sep="  ")
    for k, (name, _, dtype, _) in enumerate(ROWS):
        print(f"{f'{name}, {dtype}':{width}}", end="", flush=True)
        for n in options.sizes:
            print(f"  {text_of(k, n, options.seeds, options.limit):<32}", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
