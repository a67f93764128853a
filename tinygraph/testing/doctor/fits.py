"""A wrong gradient as its right terms, each multiplied by something."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..paths import Path
from .factors import ONE, Factor, Monomial, is_trivial, monomials, named_sizes, recognise, sampled, value_of
from .probes import Trial
from .structure import gradient

Array = np.ndarray[Any, Any]
NULL = 1e-10
CONDITION, STEADY = 1e8, 1e5


@dataclass(frozen=True, slots=True)
class Explanation:
    """A candidate for a finding; the simplest one that accounts for every probe is it."""

    kind: str
    text: str
    cost: float
    term: str = ""
    factor: str = ""
    predict: Callable[[Trial], Any] | None = None
    odd: bool = False  # a factor in it is a number that stands for nothing
    common: bool = False  # one of many ways to say the same: a factor on one edge of a path
    edges: tuple[tuple[int, int], ...] = ()  # the steps that it takes to be wrong: (node, operand)


class Case:
    """One wrong gradient on all probes: what the kernel gave, and the terms of the right one."""

    def __init__(
        self, leaf: str, trials: Sequence[Trial], paths: Sequence[Path], tolerance: float, digits: float, budget: float
    ) -> None:
        self.leaf, self.trials, self.tolerance, self.digits = leaf, list(trials), tolerance, digits
        self.yours = [gradient(t, leaf) for t in trials]
        self.scales = [float(t.mass(leaf, paths).max(initial=0)) for t in trials]
        every = [t.terms(leaf, paths) for t in trials]
        null = [
            all(np.abs(terms[k]).max(initial=0) <= NULL * s for terms, s in zip(every, self.scales, strict=True))
            for k in range(len(paths))
        ]
        self.paths = [p for p, n in zip(paths, null, strict=True) if not n]
        self.null = [p for p, n in zip(paths, null, strict=True) if n]
        self.terms = [[x for x, n in zip(terms, null, strict=True) if not n] for terms in every]
        self.sizes = named_sizes(trials)
        # What a search costs is counted, not timed: the same question gets the same answer on every machine.
        self.budget = budget
        slow = 10 * sum(step.op.name == "einsum" for step in trials[0].tape.steps.values())
        self.weights = [slow + sum(1 + np.size(v) / 2048 for v in t.values) for t in trials]

    @property
    def labels(self) -> list[str]:
        """The names of the terms that are not always zero."""
        return [p.label for p in self.paths]

    def spend(self, runs: float = 1.0, k: int = 0) -> bool:
        """Pay for runs through the graph of probe ``k``; false once nothing is left."""
        self.budget -= runs * self.weights[k]
        return self.budget > 0

    @contextmanager
    def half(self) -> Iterator[None]:
        """Half of what is left to spend, so that something remains for what comes next."""
        before = self.budget
        self.budget /= 2
        yield
        self.budget = before / 2 + max(self.budget, 0.0)

    def fits(self, k: int, prediction: Any) -> bool:
        """Whether a prediction for probe ``k`` is what the kernel gave."""
        return prediction is not None and within(self.yours[k], prediction, self.tolerance * self.scales[k])

    def explained_by(self, predict: Callable[[Trial], Any]) -> bool:
        """Whether ``predict`` gives the kernel's numbers on every probe."""
        return all(self.fits(k, predict(t)) for k, t in enumerate(self.trials))


def within(a: Any, b: Any, bound: float) -> bool:
    """Equal up to an absolute bound, whatever the shapes."""
    if np.shape(a) != np.shape(b):
        return False
    with np.errstate(all="ignore"):
        error = np.abs(np.asarray(a) - b)
    return bool(error.max(initial=0) <= bound) if error.size and np.isfinite(error).all() else error.size == 0


# -- fits ----------------------------------------------------------------------------------------------


def explanations(
    case: Case, terms: Sequence[Sequence[Any]] | None = None, *, simple: bool = False
) -> Iterator[Explanation]:
    """The fits of the terms that account for the gradient, of the simplest kind that does."""
    terms = case.terms if terms is None else terms
    if not terms[0]:
        return
    for kind in (_whole, _one_term, _all_terms, _by_value, *(() if simple else (_by_index,))):
        far = 2.2 if kind is _by_value else np.inf  # the whole gradient times more than one value says little
        found = [e for e in kind(case, terms) if not (simple and (e.odd or (e.term == "all" and e.cost > far)))]
        yield from found
        if any(not e.odd for e in found):
            return


def _whole(case: Case, terms: Sequence[Sequence[Any]]) -> Iterator[Explanation]:
    coefficients = []
    for y, parts, scale in zip(case.yours, terms, case.scales, strict=True):
        total = sum(parts)
        c = _ratio(y, total)
        if c is None or not within(y, c * total, case.tolerance * scale):
            return
        coefficients.append(c)
    factor = recognise(coefficients, case.sizes, case.digits)
    if factor is not None and not factor.is_one:
        yield _explain(case, [factor] * len(terms[0]), 1.0)


def _one_term(case: Case, terms: Sequence[Sequence[Any]]) -> Iterator[Explanation]:
    if len(terms[0]) < 2:
        return
    for k in range(len(terms[0])):
        coefficients = []
        for y, parts, scale in zip(case.yours, terms, case.scales, strict=True):
            rest = y - (sum(parts) - parts[k])
            c = _ratio(rest, parts[k])
            if c is None or not within(rest, c * parts[k], case.tolerance * scale):
                break
            coefficients.append(c)
        else:
            factor = recognise(coefficients, case.sizes, case.digits)
            if factor is not None and not factor.is_one:
                yield _explain(case, [factor if j == k else ONE for j in range(len(terms[0]))], 2.0)


def _all_terms(case: Case, terms: Sequence[Sequence[Any]]) -> Iterator[Explanation]:
    """Every term times something; where terms are multiples of one another, only two of them."""
    count = len(terms[0])
    found = list(_multiples(case, terms, range(count))) if count > 1 else []
    yield from found
    if not found and 2 < count <= 12 and _least_squares([p.ravel() for p in terms[0]], case.yours[0].ravel()) is None:
        for pair in itertools.combinations(range(count), 2):
            yield from _multiples(case, terms, pair)


def _multiples(case: Case, terms: Sequence[Sequence[Any]], of: Sequence[int]) -> Iterator[Explanation]:
    """Some terms times something, the others as they are."""
    rests, columns = [], []
    for y, parts in zip(case.yours, terms, strict=True):
        rests.append(y - sum(p for i, p in enumerate(parts) if i not in of))
        columns.append([parts[i] for i in of])
    bounds = [case.tolerance * s for s in case.scales]
    found: list[Any] = []
    for y, parts, bound in zip(rests, columns, bounds, strict=True):
        c = _least_squares([p.ravel() for p in parts], y.ravel(), STEADY)
        if c is not None and not within(y, sum(a * p for a, p in zip(c, parts, strict=True)), bound):
            return
        found.append(c)
    # Where two terms are nearly one, factors are not read off, but must fit all the same.
    steady = [k for k, c in enumerate(found) if c is not None]
    if not steady:
        # A leaf with fewer elements than terms: one set of numbers for all probes, if any.
        weights = [1 / (s or 1) for s in case.scales]
        rows = [_joined([parts[i] for parts in columns], weights) for i in range(len(of))]
        c = _least_squares(rows, _joined(rests, weights), STEADY)
        if c is None or len(rows[0]) <= len(of):
            return
        found, steady = [c] * len(rests), list(range(len(rests)))
    factors = [recognise([found[k][i] for k in steady], case.sizes, case.digits, steady) for i in range(len(of))]
    chosen = dict(zip(of, factors, strict=True))
    if None in factors or all(f.is_one for f in factors if f):
        return
    for y, parts, bound, sizes in zip(rests, columns, bounds, case.sizes.probes, strict=True):
        if not within(y, sum(f.value(sizes) * p for f, p in zip(factors, parts, strict=True) if f), 10 * bound):
            return
    yield _explain(case, [chosen.get(i) or ONE for i in range(len(terms[0]))], 2.2)


def _joined(parts: Sequence[Any], weights: Sequence[float]) -> Array:
    return np.concatenate([np.ravel(p) * w for p, w in zip(parts, weights, strict=True)])


def _by_value(case: Case, terms: Sequence[Sequence[Any]]) -> Iterator[Explanation]:
    """The whole gradient, or one term, times the value of a node."""
    first, shape = case.trials[0], case.yours[0].shape
    count = len(terms[0])
    targets = [None, *range(count)] if count > 1 else [None]
    # A few elements tell most candidates from what the kernel gave.
    some = np.random.default_rng(0).integers(0, max(case.yours[0].size, 1), 24)
    at = np.unravel_index(some, shape) if shape else ()
    every = list(monomials(first, case.leaf))
    values = sampled([m for _, _, m in every], first, shape, at)
    for k in targets:
        rest, part = (np.broadcast_to(a, shape)[at] for a in _rest(case, terms, 0, k))
        near = np.abs(rest - part * values.reshape(len(every), -1)).max(axis=1) <= case.tolerance * case.scales[0]
        for symbol, cost, monomial in (every[i] for i in np.flatnonzero(near)):
            if is_trivial(value_of(monomial, first, shape)):
                continue
            if all(_times_value(case, terms, j, k, monomial) for j in range(len(case.trials))):
                factor = Factor(symbol, (), cost)
                factors = [factor if k in (None, j) else ONE for j in range(count)]
                yield _explain(case, factors, 2.2 if k is None else 3.0)
                break


def _rest(case: Case, terms: Sequence[Sequence[Any]], j: int, k: int | None) -> tuple[Any, Any]:
    """What the kernel gave for one term, if the others are right, and the term; for None all of them."""
    if k is None:
        return case.yours[j], sum(terms[j])
    return case.yours[j] - (sum(terms[j]) - terms[j][k]), terms[j][k]


def _times_value(case: Case, terms: Sequence[Sequence[Any]], j: int, k: int | None, monomial: Monomial) -> bool:
    rest, part = _rest(case, terms, j, k)
    value = value_of(monomial, case.trials[j], case.yours[j].shape)
    return value is not None and within(rest, part * value, case.tolerance * case.scales[j])


def _by_index(case: Case, terms: Sequence[Sequence[Any]]) -> Iterator[Explanation]:
    """A factor for every index along one axis, recognised as a value that has this axis."""
    shape = case.yours[0].shape
    for axis in range(len(shape)):
        solved = [
            _per_index(y, parts, axis, case.tolerance * s)
            for y, parts, s in zip(case.yours, terms, case.scales, strict=True)
        ]
        if any(c is None for c in solved):
            continue
        factors = [_along(case, [c[k] for c in solved if c is not None], axis) for k in range(len(terms[0]))]
        if all(f is not None for f in factors):
            chosen = [f for f in factors if f is not None]
            if not all(f.is_one for f in chosen):
                yield _explain(case, chosen, 4.0)


def _per_index(y: Array, parts: Sequence[Any], axis: int, bound: float) -> list[Array] | None:
    rows = [np.moveaxis(np.broadcast_to(p, y.shape), axis, 0).reshape(y.shape[axis], -1) for p in parts]
    target = np.moveaxis(y, axis, 0).reshape(y.shape[axis], -1)
    if target.shape[1] <= len(parts):
        return None
    found = []
    for i in range(len(target)):
        c = _least_squares([r[i] for r in rows], target[i])
        if c is None or not within(target[i], sum(a * r[i] for a, r in zip(c, rows, strict=True)), bound):
            return None
        found.append(c)
    return [np.array([c[k] for c in found]) for k in range(len(parts))]


def _along(case: Case, coefficients: Sequence[Array], axis: int) -> Factor | None:
    """The symbol of a factor that varies along one axis."""
    loose = max(1e-06, case.digits)
    if all(np.ptp(c) <= loose * max(1.0, float(np.abs(c).max())) for c in coefficients):
        return recognise([float(np.mean(c)) for c in coefficients], case.sizes, loose)
    first = case.trials[0]
    for symbol, cost, monomial in monomials(first, case.leaf):
        value = value_of(monomial, first, case.yours[0].shape)
        if value is None or is_trivial(value):
            continue
        for k, trial in enumerate(case.trials):
            line = _line(value_of(monomial, trial, case.yours[k].shape), case.yours[k].shape, axis)
            if line is None or not within(coefficients[k], line, loose * float(np.abs(line).max(initial=0))):
                break
        else:
            return Factor(symbol, (), cost + 0.8)
    return None


def _line(value: Any, shape: tuple[int, ...], axis: int) -> Array | None:
    """The value along one axis, if it does not vary along the others."""
    if value is None:
        return None
    v = np.asarray(value)
    aligned = (1,) * (len(shape) - v.ndim) + v.shape
    if (
        any(n != 1 for i, n in enumerate(aligned) if i != axis)
        or aligned[axis] != shape[axis]
        or not np.isfinite(v).all()
    ):
        return None
    return v.reshape(-1)


# -- numbers -------------------------------------------------------------------------------------------


def _ratio(y: Any, part: Any) -> float | None:
    square = float(np.sum(part * part))
    return float(np.sum(y * part)) / square if square > 0 and np.isfinite(y).all() else None


def _least_squares(columns: Sequence[Any], target: Any, condition: float = CONDITION) -> Any:
    norms = [float(np.sqrt(np.sum(c * c))) for c in columns]
    if not all(norms) or not np.isfinite(target).all():
        return None
    matrix = np.stack([np.asarray(c, np.float64) / n for c, n in zip(columns, norms, strict=True)], axis=1)
    if not np.isfinite(matrix).all():
        return None
    solution, _, rank, singular = np.linalg.lstsq(matrix, np.asarray(target, np.float64), rcond=None)
    if rank < len(columns) or singular[0] > condition * singular[-1]:
        return None
    return solution / norms


def _explain(case: Case, factors: Sequence[Factor], cost: float) -> Explanation:
    """Which terms are multiplied by what, in words."""
    labels = case.labels
    odd = any(f.odd for f in factors)
    if all(f == factors[0] for f in factors):
        # A number that means nothing on all terms says less than one missing term where these are multiples.
        text = f"all terms multiplied by {factors[0].text}"
        return Explanation("factor", text, cost + factors[0].cost + 0.8 * odd, "all", factors[0].symbol, odd=odd)
    changed = [(label, f) for label, f in zip(labels, factors, strict=True) if not f.is_one]
    text = "; ".join(f"term {label} multiplied by {f.text}" for label, f in changed)
    cost += sum(f.cost for _, f in changed) + 0.2 * (len(changed) - 1)
    term, factor = "; ".join(n for n, _ in changed), "; ".join(f.symbol for _, f in changed)
    return Explanation("factor", text, cost, term, factor, odd=odd)
