"""Faults that no fit is needed for: what raises, writes, swaps, transposes, or forgets a sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..naming import axes_text
from .findings import Finding
from .probes import Trial

Array = np.ndarray[Any, Any]


def misbehaviour(trials: Sequence[Trial]) -> list[Finding]:
    """What the kernel does besides computing: raises, writes into arguments, depends on chance."""
    found: dict[tuple[str, str], Finding] = {}
    for trial in trials:
        for fault in trial.observe().faults:
            if not fault.text.startswith("shares memory"):
                found.setdefault((fault.kind, fault.text), Finding(fault.kind, fault.leaf, text=fault.text))
        for leaf, g in zip(trial.kernel.wrt, trial.observe().gradients or (), strict=False):
            due = trial.arrays[trial.place[leaf]].dtype
            if g.dtype != due:
                text = f"has dtype {g.dtype} where {leaf} has {due}"
                found.setdefault(("dtype", text), Finding("dtype", leaf, text=text))
    return list(found.values())


def shapes(trials: Sequence[Trial], leaf: str, tolerance: float) -> Finding | None:
    """A gradient of another shape: not summed, transposed, or simply another."""
    yours = [gradient(t, leaf) for t in trials]
    due = [t.derived(leaf) for t in trials]
    if all(y.shape == d.shape for y, d in zip(yours, due, strict=True)):
        return None
    axes = _unsummed(yours, due, tolerance)
    if axes is not None:
        return Finding("not-summed", leaf, text=f"not summed over broadcast {axes_text(axes, yours[0].ndim + 1)}")
    if all(y.shape == d.shape[::-1] and close(y.T, d, tolerance) for y, d in zip(yours, due, strict=True)):
        return Finding("transposed", leaf, text="transposed")
    y, d = next((y, d) for y, d in zip(yours, due, strict=True) if y.shape != d.shape)
    return Finding("shape", leaf, text=f"has shape {y.shape} where {leaf} has {d.shape}")


def _unsummed(yours: Sequence[Array], due: Sequence[Array], tolerance: float) -> tuple[int, ...] | None:
    """The axes that a broadcast added, if the gradient is right once it is summed over them."""
    found: set[tuple[int, ...]] = set()
    for y, d in zip(yours, due, strict=True):
        extra = y.ndim - d.ndim
        if extra < 0:
            return None
        axes = tuple(range(extra)) + tuple(
            i + extra for i, n in enumerate(d.shape) if n == 1 and y.shape[i + extra] != 1
        )
        if not axes or not close(y.sum(axis=axes).reshape(-1), d.reshape(-1), tolerance):
            return None
        found.add(axes)
    return found.pop() if len(found) == 1 else None


def transposed(trials: Sequence[Trial], leaf: str, tolerance: float) -> Finding | None:
    """A square gradient that holds the right numbers the wrong way round."""
    pairs = [(gradient(t, leaf), t.derived(leaf)) for t in trials]
    if all(y.ndim > 1 and y.shape == d.shape == d.shape[::-1] and close(y.T, d, tolerance) for y, d in pairs):
        return Finding("transposed", leaf, text="transposed")
    return None


def swapped(trials: Sequence[Trial], wrong: Sequence[str], tolerance: float) -> tuple[list[Finding], set[str]]:
    """Gradients returned in each other's place, and those that hold another one's."""
    findings, done = [], set[str]()
    for leaf in wrong:
        for other in trials[0].kernel.wrt:
            if other == leaf or leaf in done:
                continue
            holds = [_holds(t, leaf, other, tolerance) for t in trials]
            if not all(holds):
                continue
            if other in wrong and all(_holds(t, other, leaf, tolerance) for t in trials):
                order = [n for n in trials[0].kernel.wrt if n in (leaf, other)]
                findings.append(Finding("swapped", ", ".join(order), text="swapped"))
                done |= {leaf, other}
            else:
                findings.append(Finding("swapped", leaf, text=f"holds the gradient of {other}"))
                done.add(leaf)
    return findings, done


def _holds(trial: Trial, leaf: str, other: str, tolerance: float) -> bool:
    y, d = gradient(trial, leaf), trial.derived(other)
    return bool(y.shape == d.shape and np.any(d) and close(y, d, tolerance))


def non_finite(trials: Sequence[Trial], leaf: str) -> Finding | None:
    """Nan or inf where the derived gradient has none."""
    for t in trials:
        y = gradient(t, leaf)
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            place = [int(i) for i in np.argwhere(~np.isfinite(y))[0]]
            text = f"{y[tuple(place)]} at [{','.join(map(str, place))}] where the derived gradient is finite"
            return Finding("non-finite", leaf, text=text)
    return None


def one_index(trials: Sequence[Trial], leaf: str, scales: Sequence[Array], tolerance: float) -> Finding | None:
    """Right everywhere but at the first or at the last index of one axis."""
    for axis in range(trials[0].derived(leaf).ndim):
        for end, word in ((0, "first"), (-1, "last")):
            zero = True
            for t, scale in zip(trials, scales, strict=True):
                y, d = gradient(t, leaf), t.derived(leaf)
                if d.shape[axis] < 3:
                    break
                wrong = np.abs(y - d) > tolerance * scale.max(initial=0)
                edge = np.zeros(d.shape, bool)
                edge[(slice(None),) * axis + (end,)] = True
                if not wrong.any() or (wrong & ~edge).any():
                    break
                zero = zero and not np.any(y[edge])
            else:
                gloss = " (it is zero)" if zero else ""
                return Finding("one-index", leaf, text=f"only the {word} index of axis {axis} is wrong{gloss}")
    return None


def gradient(trial: Trial, leaf: str) -> Array:
    """What the kernel gave for a leaf."""
    found = trial.observe().gradients
    assert found is not None
    return np.asarray(found[trial.kernel.wrt.index(leaf)])


def close(a: Array, b: Array, tolerance: float) -> bool:
    """Equal up to a tolerance that is relative to the largest element."""
    if a.shape != b.shape:
        return False
    scale = float(np.abs(b).max(initial=0))
    return bool(np.abs(a - b).max(initial=0) <= tolerance * scale) if np.isfinite(a).all() else False
