"""Faults that no fit is needed for: what raises, writes, swaps, transposes, or forgets a sum."""

from __future__ import annotations

import itertools
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
                # An error is one error, whatever sizes its message tells.
                key = (fault.kind, fault.text.partition(":")[0])
                found.setdefault(key, Finding(fault.kind, fault.leaf, text=fault.text))
        for leaf, g in zip(trial.kernel.wrt, trial.observe().gradients or (), strict=False):
            due = trial.arrays[trial.place[leaf]].dtype
            if g.dtype != due:
                text = f"has dtype {g.dtype} where {leaf} has {due}"
                found.setdefault(("dtype", text), Finding("dtype", leaf, text=text))
    return list(found.values())


def shapes(trials: Sequence[Trial], leaf: str, tolerance: float) -> Finding | None:
    """A gradient of another shape: not summed, transposed, or simply another."""
    pairs = [(gradient(t, leaf), t.derived(leaf)) for t in trials]
    other = [(y, d) for y, d in pairs if y.shape != d.shape]
    if not other:
        return None
    right = all(close(y, d, tolerance) for y, d in pairs if y.shape == d.shape)
    y, d = other[0]
    axes = _unsummed(other, tolerance) if right else None
    if axes is not None:
        return Finding("not-summed", leaf, text=f"not summed over broadcast {axes_text(axes, y.ndim + 1)}")
    if right and all(y.shape == d.shape[::-1] and close(y.T, d, tolerance) for y, d in other):
        return Finding("transposed", leaf, text="transposed")
    order = _reordered(pairs, tolerance)
    if order is not None:
        return Finding("transposed", leaf, text=f"transposed: its axes are those of {leaf} in the order {order}")
    same = right and all(y.size == d.size and close(y.reshape(d.shape), d, tolerance) for y, d in other)
    gloss = f" (the numbers are right: reshape it to the shape of {leaf})" if same else ""
    return Finding("shape", leaf, text=f"has shape {y.shape} where {leaf} has {d.shape}{gloss}")


def _unsummed(pairs: Sequence[tuple[Array, Array]], tolerance: float) -> tuple[int, ...] | None:
    """The axes that a broadcast added, if the gradient is right once it is summed over them."""
    found: set[tuple[int, ...]] = set()
    for y, d in pairs:
        extra = y.ndim - d.ndim
        if extra < 0 or y.size == d.size:
            return None
        axes = tuple(range(extra)) + tuple(
            i + extra for i, n in enumerate(d.shape) if n == 1 and y.shape[i + extra] != 1
        )
        if not axes or not close(y.sum(axis=axes).reshape(-1), d.reshape(-1), tolerance):
            return None
        found.add(axes)
    return found.pop() if len(found) == 1 else None


def _reordered(pairs: Sequence[tuple[Array, Array]], tolerance: float) -> tuple[int, ...] | None:
    """The order in which the axes of a gradient with three axes or more came back, NHWC for NCHW say."""
    ndim = pairs[0][1].ndim
    if not 2 < ndim < 6:
        return None
    for order in list(itertools.permutations(range(ndim)))[1:]:
        if all(y.ndim == ndim and close(y, d.transpose(order), tolerance) for y, d in pairs):
            return order
    return None


def transposed(trials: Sequence[Trial], leaf: str, tolerance: float) -> Finding | None:
    """A square gradient that holds the right numbers the wrong way round."""
    pairs = [(gradient(t, leaf), t.derived(leaf)) for t in trials]
    if all(y.ndim > 1 and y.shape == d.shape == d.shape[::-1] and close(y.T, d, tolerance) for y, d in pairs):
        return Finding("transposed", leaf, text="transposed")
    if all(y.shape == d.shape for y, d in pairs) and (order := _reordered(pairs, tolerance)) is not None:
        return Finding("transposed", leaf, text=f"transposed: its axes are those of {leaf} in the order {order}")
    return None


def swapped(trials: Sequence[Trial], wrong: Sequence[str], tolerance: float) -> list[Finding]:
    """Gradients returned in each other's place."""
    findings: list[Finding] = []
    for leaf, other in itertools.combinations(wrong, 2):
        done = [n for f in findings for n in f.leaf.split(", ")]
        both = ((leaf, other), (other, leaf))
        if leaf not in done and other not in done and all(_holds(t, a, b, tolerance) for t in trials for a, b in both):
            findings.append(Finding("swapped", f"{leaf}, {other}", text="swapped"))
    return findings


def another(trials: Sequence[Trial], leaf: str, tolerance: float) -> Finding | None:
    """The gradient of another argument in place of this one's."""
    for other in trials[0].kernel.wrt:
        if other != leaf and all(_holds(t, leaf, other, tolerance) for t in trials):
            return Finding("swapped", leaf, text=f"holds the gradient of {other}")
    return None


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
    """Right everywhere but at the first or at the last index of one axis, or at both."""
    for axis in range(trials[0].derived(leaf).ndim):
        places: set[str] = set()
        zero = True
        for t, scale in zip(trials, scales, strict=True):
            y, d = gradient(t, leaf), t.derived(leaf)
            wrong = np.moveaxis(np.abs(y - d) > tolerance * scale.max(initial=0), axis, 0)
            last = len(wrong) - 1
            there = {int(i) for i in np.flatnonzero(wrong.any(axis=tuple(range(1, wrong.ndim))))}
            if not np.moveaxis(d, axis, 0)[1:-1].any():
                break  # nothing else could be wrong
            if not there or last < 1 + len(there) or not there <= {0, last}:
                break
            places |= {"first" if i == 0 else "last" for i in there}
            zero = zero and not any(np.any(np.moveaxis(y, axis, 0)[i]) for i in there)
        else:
            one = len(places) == 1
            what = f"{'index' if one else 'indices'} of axis {axis} {'is' if one else 'are'} wrong"
            gloss = f" ({'it is' if one else 'they are'} zero)" if zero else ""
            return Finding("one-index", leaf, text=f"only the {' and '.join(sorted(places))} {what}{gloss}")
    return None


def gradient(trial: Trial, leaf: str) -> Array:
    """What the kernel gave for a leaf."""
    found = trial.observe().gradients
    assert found is not None
    g = np.asarray(found[trial.kernel.wrt.index(leaf)])
    return g if g.dtype.kind in "fiubc" else _as_floats(g)


def _as_floats(g: Array) -> Array:
    """An array of objects, say, as numbers; nan where it holds none."""
    try:
        return g.astype(np.float64)
    except (TypeError, ValueError):
        return np.full(g.shape, np.nan)


def close(a: Array, b: Array, tolerance: float) -> bool:
    """Equal up to a tolerance that is relative to the largest element."""
    if a.shape != b.shape:
        return False
    scale = float(np.abs(b).max(initial=0))
    return bool(np.abs(a - b).max(initial=0) <= tolerance * scale) if np.isfinite(a).all() else False
