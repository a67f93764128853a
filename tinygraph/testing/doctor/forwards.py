"""The right backward of another forward: another axis, divisor, constant, or place of a constant."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.primitive import REGISTRY
from ...errors import TinygraphError
from ..naming import axes_text
from ..paths import evaluate
from ..tape import Step, Tape
from .factors import count_name, count_of
from .fits import Case, Explanation, _least_squares, explanations, within
from .probes import Trial, is_number, small_constants

Array = np.ndarray[Any, Any]
PREFIX = "backward of a different forward: "
Change = Callable[[Trial], "Tape | None"]
_FAILS = (ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, KeyError, TinygraphError)


class Scaled:
    """A primitive whose result is multiplied by a number: the mean over n - 1, say."""

    def __init__(self, base: Any, factor: float) -> None:
        self.name, self.kind, self._base, self._factor = base.name, base.kind, base, factor
        self.vjps = tuple(None if rule is None else self._scaled(rule) for rule in base.vjps)

    def _scaled(self, rule: Any) -> Any:
        return lambda g, out, *operands, **params: self._factor * rule(g, out / self._factor, *operands, **params)

    def run(self, arrays: Sequence[Any], params: Mapping[str, Any]) -> Any:
        """The scaled value."""
        return self._base.run(arrays, params) * self._factor


def changed(tape: Tape, steps: Mapping[int, Step], constants: Mapping[int, Any] | None = None) -> Tape:
    """The tape with some steps or constants exchanged."""
    other = copy.copy(tape)
    other.steps = {k: steps.get(k, step) for k, step in tape.steps.items()}
    other.constants = [(constants or {}).get(tape.inputs + i, c) for i, c in enumerate(tape.constants)]
    return other


class Other:
    """Values and terms of a trial under a different forward."""

    def __init__(self, trial: Trial, tape: Tape, overrides: Mapping[int, Any] | None = None) -> None:
        edits = {k: (lambda values, v=v: v) for k, v in (overrides or {}).items()}
        self.trial, self.tape = trial, tape
        with np.errstate(all="ignore"):
            self.values = tape.run(trial.arrays, edits)
            self.totals = tape.backward(self.values, trial.dys, list(trial.place.values()))

    def terms(self, case: Case) -> list[Any]:
        """The contributions of the case's paths."""
        with np.errstate(all="ignore"):
            return [evaluate(p, self.tape, self.values, self.trial.dys, None, self.totals) for p in case.paths]

    def gradients(self, case: Case) -> list[Any]:
        """The whole gradient; and without the terms that vanish in the right forward, which a formula leaves out."""
        found = [self.totals.get(self.trial.place[case.leaf])]
        return [*found, sum(self.terms(case))] if case.null and case.paths else found


def different_forwards(case: Case) -> Iterator[Explanation]:
    """Each change of the forward that accounts for the gradient, alone or with a factor on a term."""
    for text, change in _changes(case.trials):
        for found in _under(case, text, change, 3.2):
            yield found
            if found.cost == 3.2:  # all of it, no factor besides
                return
    yield from _other_constants(case)


def _under(case: Case, text: str, change: Change, cost: float) -> Iterator[Explanation]:
    """Whether the gradient is that of the changed forward, all of it or up to factors."""
    if not case.spend(2):
        return
    try:
        first = change(case.trials[0])
        if first is None:
            return
        other = Other(case.trials[0], first)
        if _fits(case, 0, other):
            if all(_fits(case, k, _other(t, change)) for k, t in enumerate(case.trials)):
                yield Explanation("other-forward", PREFIX + text, cost)
            return
        if len(case.paths) > 1 and _in_span(case, 0, other.terms(case)):
            others = [_other(t, change) for t in case.trials]
            terms = [o.terms(case) for o in others]
            seen = _renamed(case, others)
            for e in itertools.islice(explanations(seen, terms, simple=True), 1):
                yield Explanation("other-forward", f"{PREFIX}{text}; {e.text}", cost + e.cost, e.term, e.factor)
    except _FAILS:
        return


def _other(trial: Trial, change: Change) -> Other:
    tape = change(trial)
    if tape is None:
        raise ValueError("the change does not fit this probe")
    return Other(trial, tape)


def _renamed(case: Case, others: Sequence[Other]) -> Case:
    """The case with the values of the changed forward, so that factors are recognised among them."""
    seen = copy.copy(case)
    seen.trials = [copy.copy(t) for t in case.trials]
    for trial, other in zip(seen.trials, others, strict=True):
        trial.values, trial.aligned = other.values, {}
    return seen


def _fits(case: Case, k: int, other: Other) -> bool:
    return any(g is not None and np.shape(g) == case.yours[k].shape and case.fits(k, g) for g in other.gradients(case))


def _in_span(case: Case, k: int, terms: Sequence[Any]) -> bool:
    """Whether the gradient may be a combination of the terms with factors that are alike along some axes."""
    y = case.yours[k]
    if any(np.shape(t) != y.shape for t in terms):
        return False
    steps = case.trials[k].tape.steps.values()
    shapes = [y.shape, *(tuple(s.params["shape"]) for s in steps if s.op.name == "reshape")]
    for shape in dict.fromkeys(s for s in shapes if np.prod(s) == y.size):
        found, due = [np.reshape(t, shape) for t in terms], y.reshape(shape)
        for count in range(1, len(shape) + 1):
            for axes in itertools.combinations(range(len(shape)), count):
                at = tuple(slice(None) if a in axes else 0 for a in range(len(shape)))
                if _combined([np.ravel(t[at]) for t in found], due[at].ravel(), case.tolerance * case.scales[k]):
                    return True
    return False


def _combined(rows: Sequence[Any], target: Any, bound: float) -> bool:
    c = _least_squares(rows, target) if len(target) > len(rows) else None
    return c is not None and within(target, sum(a * r for a, r in zip(c, rows, strict=True)), bound)


# -- what may be different -----------------------------------------------------------------------------


def _changes(trials: Sequence[Trial]) -> Iterator[tuple[str, Change]]:
    trial = trials[0]
    tape, names = trial.tape, trial.names
    for k, step in tape.steps.items():
        t = tape.tensors[k]
        if step.op.name in ("sum", "mean"):
            yield from _reductions(trials, k, names.of(t))
        for c in step.operands:
            value = tape.constants[c - tape.inputs] if tape.inputs <= c < tape.first else None
            if value is None or not is_number(value) or step.op.name not in ("add", "sub", "mul", "div"):
                continue
            text = f"{_plain(value)} missing in {names.expression(t)}"
            yield text, _without(k, c)
            if step.op.name == "add":
                yield from _outside(trial, k, c, value)


def _plain(value: Any) -> str:
    return f"{float(value):g}"


def _reductions(trials: Sequence[Trial], k: int, name: str) -> Iterator[tuple[str, Change]]:
    trial = trials[0]
    step = trial.tape.steps[k]
    ndim = np.ndim(trial.values[step.operands[0]])
    right = tuple(step.params["axis"])
    other = "sum" if step.op.name == "mean" else "mean"
    yield (
        f"{name} uses {other} instead of {step.op.name}",
        lambda t: changed(t.tape, {k: _step(t, k, op=REGISTRY[other])}),
    )
    if step.op.name == "mean":
        yield f"{name} divides by {count_name(trials, k)}-1", lambda t: _unbiased(t, k)
    for count in range(1, ndim + 1):
        for axes in itertools.combinations(range(ndim), count):
            if axes != right:
                params = {**step.params, "axis": axes, "keepdims": True}
                text = f"{name} reduced over {axes_text(axes, ndim)} instead of {axes_text(right, ndim)}"
                yield text, _with_params(k, params)


def _with_params(k: int, params: Mapping[str, Any]) -> Change:
    return lambda trial: changed(trial.tape, {k: _step(trial, k, params=params)})


def _with_constant(place: int, value: float) -> Change:
    return lambda trial: changed(trial.tape, {}, {place: value})


def _step(trial: Trial, k: int, op: Any = None, params: Any = None, operands: Any = None) -> Step:
    step = trial.tape.steps[k]
    return Step(op or step.op, operands or step.operands, step.params if params is None else params)


def _unbiased(trial: Trial, k: int) -> Tape | None:
    n = count_of(trial, k)
    return None if n < 2 else changed(trial.tape, {k: _step(trial, k, op=Scaled(trial.tape.steps[k].op, n / (n - 1)))})


def _without(k: int, c: int) -> Change:
    """The operation without its constant: the other operand itself."""

    def change(trial: Trial) -> Tape | None:
        others = [j for j in trial.tape.steps[k].operands if j != c]
        if len(others) != 1 or (trial.tape.steps[k].operands[0] == c and trial.tape.steps[k].op.name in ("sub", "div")):
            return None
        return changed(trial.tape, {k: Step(REGISTRY["identity"], (others[0],), {})})

    return change


def _outside(trial: Trial, k: int, c: int, value: Any) -> Iterator[tuple[str, Change]]:
    """sqrt(v + c) as sqrt(v) + c, or the other way round."""
    for root in trial.tape.consumers.get(k, ()):
        if trial.tape.steps[root].op.name == "sqrt":
            name = trial.names.of(trial.tape.tensors[root])

            def change(t: Trial, root: int = root) -> Tape | None:
                (v,) = [j for j in t.tape.steps[k].operands if j != c]
                steps = {k: Step(REGISTRY["sqrt"], (v,), {}), root: Step(REGISTRY["add"], (k, c), {})}
                return changed(t.tape, steps)

            yield f"{_plain(value)} added outside the sqrt ({name})", change
    (v,) = [j for j in trial.tape.steps[k].operands if j != c] or (None,)
    if v in trial.tape.steps and trial.tape.steps[v].op.name == "sqrt":
        name = trial.names.of(trial.tape.tensors[k])

        def inward(t: Trial, v: Any = v) -> Tape | None:
            steps = {
                v: Step(REGISTRY["add"], (t.tape.steps[v].operands[0], c), {}),
                k: Step(REGISTRY["sqrt"], (v,), {}),
            }
            return changed(t.tape, steps)

        yield f"{_plain(value)} added inside the sqrt ({name})", inward


# -- another constant -----------------------------------------------------------------------------------


def _other_constants(case: Case) -> Iterator[Explanation]:
    """Solve for the value of a constant on a probe where it matters, then try it on all."""
    first = case.trials[0]
    small = small_constants(first.tape)
    for node, place, value in [*small, *(c for c in _numbers(first.tape) if c not in small)][:8]:
        probe = next((k for k, t in enumerate(case.trials) if t.low == node), min(1, len(case.trials) - 1))
        solved = _solve(case, place, value, probe)
        if solved is None:
            continue
        name = first.names.of(first.tape.tensors[place])
        if not name.isidentifier():
            name = f"the constant in {first.names.expression(first.tape.tensors[node])}"
        text = f"{name} is {solved:g} in place of {value:g}"
        yield from _under(case, text, _with_constant(place, solved), 3.4)


def _numbers(tape: Tape) -> Iterator[tuple[int, int, float]]:
    """Numbers that a formula holds: (node, place of the number, its value). A 1, 2 or 1/2 is no mistyped constant."""
    for k, step in tape.steps.items():
        for j in step.operands if step.op.name in ("add", "sub", "mul", "div") else ():
            value = tape.constants[j - tape.inputs] if tape.inputs <= j < tape.first else None
            if value is not None and is_number(value) and abs(float(value)) not in (0.0, 0.5, 1.0, 2.0):
                yield k, j, float(value)


def _solve(case: Case, place: int, value: float, k: int) -> float | None:
    """The constant for which the gradient is a combination of the terms, by golden section on its logarithm."""
    trial, y, scale = case.trials[k], case.yours[k], case.scales[k]
    sign = float(np.sign(value))

    def residual(log: float) -> float:
        if not case.spend(1.5, k):
            return np.inf
        other = Other(trial, changed(trial.tape, {}, {place: sign * float(np.exp(log))}))
        terms = other.terms(case)
        c = _least_squares([np.ravel(t) for t in terms], y.ravel())
        if c is None:
            return np.inf
        return float(np.abs(y - sum(a * t for a, t in zip(c, terms, strict=True))).max()) / scale

    low, high = _bracket(residual, float(np.log(abs(value))))
    if not low < high:
        return None
    ratio = (np.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    fa, fb = residual(a), residual(b)
    for _ in range(60):
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - ratio * (high - low)
            fa = residual(a)
        else:
            low, a, fa = a, b, fb
            b = low + ratio * (high - low)
            fb = residual(b)
        if high - low < 1e-13:
            break
    exact = float(np.exp((low + high) / 2))
    if min(fa, fb) > 1e-8 or abs(exact / value - sign) < 1e-6:
        return None
    for digits in (1, 2, 3, 4, 6):
        rounded = float(f"{exact:.{digits - 1}e}")
        if abs(rounded / exact - 1) < 1e-4 and residual(float(np.log(rounded))) <= case.tolerance:
            return sign * rounded
    return sign * exact


def _bracket(residual: Callable[[float], float], at: float) -> tuple[float, float]:
    """Between which logarithms the residual is least; nothing where it is not least near there at all."""
    grid = at + np.log(10) * np.arange(-7, 5)
    found = [residual(g) for g in grid]
    best = int(np.argmin(found))
    if not np.isfinite(found[best]):
        return 0.0, 0.0
    return float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])


# -- values from elsewhere ------------------------------------------------------------------------------


def overridden(case: Case) -> Iterator[Explanation]:
    """Values of nodes replaced by what the kernel is given besides: running statistics, say."""
    first = case.trials[0]
    extras = first.kernel.given(first.arrays)
    arrays = {n: np.asarray(v) for n, v in extras.items() if np.asarray(v).dtype.kind == "f"}
    places = {
        name: [
            k
            for k in first.tape.steps
            if np.shape(first.values[k]) == a.shape and first.tape.tensors[k] in first.names.given
        ]
        for name, a in arrays.items()
    }
    for count in range(1, min(len(arrays), 3) + 1):
        for chosen in itertools.combinations(arrays, count):
            for nodes in itertools.product(*(places[n] for n in chosen)):
                if len(set(nodes)) == count:
                    yield from _overridden(case, dict(zip(chosen, nodes, strict=True)))


def _overridden(case: Case, mapping: Mapping[str, int]) -> Iterator[Explanation]:
    first = case.trials[0]

    def other(trial: Trial) -> Other:
        extras = trial.kernel.given(trial.arrays)
        return Other(trial, trial.tape, {k: np.asarray(extras[n]) for n, k in mapping.items()})

    used = ", ".join(f"{n} in place of {first.names.of(first.tape.tensors[k])}" for n, k in mapping.items())
    cost = 2.8 + 0.2 * len(mapping)
    try:
        here = other(first)
        if _fits(case, 0, here):
            if all(_fits(case, k, other(t)) for k, t in enumerate(case.trials)):
                yield Explanation("overridden", f"uses {used}", cost)
        elif len(case.paths) > 1 and _in_span(case, 0, here.terms(case)):
            for e in explanations(case, [other(t).terms(case) for t in case.trials], simple=True):
                yield Explanation("overridden", f"uses {used}, {_joined(e)}", cost + e.cost, e.term, e.factor)
                return
    except _FAILS:
        return


def _joined(e: Explanation) -> str:
    """``terms through mu and var multiplied by 0``."""
    terms, factors = e.term.split("; "), e.factor.split("; ")
    if len(terms) < 2 or len(set(factors)) > 1 or not all(t.startswith("through ") for t in terms):
        return e.text
    names = sorted(t.removeprefix("through ") for t in terms)
    return f"terms through {' and '.join(names)} multiplied by {factors[0]}"
