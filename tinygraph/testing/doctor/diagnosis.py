"""The doctor: what is wrong with a hand-written backward, said as the simplest fault that accounts for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.graph import argument_names
from ...errors import ArgumentError
from ..kernel import Kernel, check_order, choose_wrt, parse_or_swapped, plain
from ..naming import where
from ..paths import MAX_PATHS, Path, find_paths, labelled
from ..problem import Problem
from ..shapes import Shapes, of_arrays
from . import structure
from .findings import KINDS, Diagnosis, Finding, row
from .fits import Case, Explanation, explanations, within
from .forwards import different_forwards, overridden
from .local import scaled_steps, wrong_axes, wrong_operands, wrong_rules
from .probes import Draw, Trial, draw_trials

Array = np.ndarray[Any, Any]
FIT = 1e-9
COEFFICIENT = 1e-7
FIT_LOW, COEFFICIENT_LOW = 2e-5, 1e-3  # for float32 kernels, whose own rounding is in the way
FIT_HALF, COEFFICIENT_HALF = 1e-2, 3e-2
PRECISION = 1e-4
BUDGET = 2e5  # steps of a graph, on 2048 elements each: a second or two
_EQUIVALENTS = 8


def diagnose(
    reference: Callable[..., Any], backward: Callable[..., Any], *arrays: Any, wrt: Any = None, probes: int = 8,
    max_paths: int = MAX_PATHS, extras: Any = None, dims: Mapping[str, Any] | None = None,
    domains: Mapping[str, Any] | None = None, seed: int = 0, specs: Mapping[str, Any] | None = None, **shapes: Any,
) -> Diagnosis:  # fmt: skip
    """Say which term of a hand-written backward is wrong, and by what factor.

    ``reference`` is made of tinygraph ops; ``backward(dy, *arrays)`` gets NumPy arrays. The kernel runs on
    ``probes`` generic problems, all sizes different, and its gradients are explained as the derived one's
    terms, one for each path through the graph: multiplied by a factor; with a wrong local rule; of a
    different forward; with another axis or operand. What none of these accounts for, on every probe to
    1e-9, is ``unexplained``.

    ``**shapes`` give each argument of the reference a shape, ``x="N C", gamma="C"``: letters are shared
    sizes, and what factors are written in. With arrays and no shapes the sizes are theirs, and what they
    cannot tell apart is said. ``wrt``, ``extras``: as in ``check_backward``; ``dims={"N": (5, 8)}``;
    ``domains={"x": "positive" | "probability" | "labels" | (low, high)}``.

    Returns a Diagnosis; its ``findings`` are empty for a right backward. Raises: ArgumentError for a wrong call.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import diagnose
    >>> def centred(x):
    ...     mu = tg.mean(x, axis=0)
    ...     return x - mu
    >>> print(diagnose(centred, lambda dy, x: dy + dy.mean(axis=0), x="N C"))
    dx: term through mu multiplied by -1 (it has its sign flipped)
        not distinguishable from: sign of the subtrahend in y = x - mu
    """
    if arrays and shapes:
        raise ArgumentError("diagnose: got arrays and shapes; give arrays to keep their sizes, or shapes to vary them")
    if not arrays and not shapes and not specs:
        raise ArgumentError('diagnose: no arguments for the reference; give a shape for each, e.g. x="N C", or arrays')
    given = dict(zip(argument_names(reference, len(arrays)), plain(arrays), strict=True))
    if arrays:
        check_order("diagnose", reference, backward, len(arrays))
        known = of_arrays(reference, list(given.values()))
    else:
        known = parse_or_swapped("diagnose", reference, backward, shapes, specs)
    draw = Draw(known, dims, domains, {n: a.dtype for n, a in given.items()}, given)
    names = list(known.args)
    example = draw.arrays(np.random.default_rng(0), draw.sizes(np.random.default_rng(0)), "real")
    chosen = choose_wrt("diagnose", names, [example[n] for n in names], wrt)
    return _diagnose(reference, Kernel(backward, names, chosen, extras), draw, probes, max_paths, seed)


def diagnose_problem(
    reference: Callable[..., Any], kernel: Kernel, problem: Problem, *, shapes: Shapes | None = None,
    dims: Mapping[str, Any] | None = None, domains: Mapping[str, Any] | None = None, seed: int = 0,
) -> Diagnosis:  # fmt: skip
    """The diagnosis for a failing check: on generic probes of the problem's dtypes, in its shapes or at its sizes."""
    like = problem.arrays
    known = shapes or of_arrays(reference, [like[n] for n in kernel.names])
    draw = Draw(known, dims, domains, {n: a.dtype for n, a in like.items()}, None if shapes else like)
    return _diagnose(reference, kernel, draw, 8, MAX_PATHS, seed)


# -- the examination --------------------------------------------------------------------------------------


def _diagnose(reference: Any, kernel: Kernel, draw: Draw, probes: int, max_paths: int, seed: int) -> Diagnosis:
    trials = draw_trials(reference, kernel, draw, max(1, probes), seed)
    narrow = {a.dtype for a in trials[0].arrays}
    fit, digits = (FIT_LOW, COEFFICIENT_LOW) if np.dtype(np.float32) in narrow else (FIT, COEFFICIENT)
    if np.dtype(np.float16) in narrow:
        fit, digits = FIT_HALF, COEFFICIENT_HALF
    with np.errstate(all="ignore"):
        findings = structure.misbehaviour(trials)
        able = [t for t in trials if t.observe().gradients is not None]
        if len(able) == len(trials):
            findings += _numbers(trials, fit, digits, max_paths)
    order = {kind: k for k, kind in enumerate(KINDS)}
    findings.sort(key=lambda f: order[f.kind] if not f.leaf else len(order))
    tried = tuple({n: a.shape for n, a in zip(kernel.names, t.arrays, strict=True)} for t in trials)
    notes = Notes(reference, kernel, trials[0], max_paths)
    return Diagnosis(tuple(findings), len(trials), tried, seed, notes)


def _numbers(trials: Sequence[Trial], fit: float, digits: float, max_paths: int) -> list[Finding]:
    kernel, first = trials[0].kernel, trials[0]
    findings: dict[str, Finding] = {}
    wrong = []
    paths = {
        n: labelled(find_paths(first.tape, first.place[n], max_paths), first.tape, first.names) for n in kernel.wrt
    }
    for leaf in kernel.wrt:
        bounds = [fit * t.bound(leaf) for t in trials]
        if not all(
            within(structure.gradient(t, leaf), t.derived(leaf), b) for t, b in zip(trials, bounds, strict=True)
        ):
            wrong.append(leaf)
    swaps = structure.swapped(trials, wrong, fit)
    done = {n for f in swaps for n in f.leaf.split(", ")}
    for i, swap in enumerate(swaps):
        # Where one gradient is minus the other, it may as well be the sign of both.
        names = swap.leaf.split(", ")
        if first.derived(names[0]).shape != first.derived(names[1]).shape:
            continue
        cases = [Case(n, trials, paths[n], fit, digits, 0.0) for n in names]
        texts = [[e.text for e in explanations(c) if e.term == "all" and e.cost < 1.1] for c in cases]
        swaps[i] = replace(swap, equivalents=tuple(t for t in texts[0] if t in texts[1]))
    left = [leaf for leaf in wrong if leaf not in done]
    for leaf in left:
        findings[leaf] = _examine(trials, leaf, paths[leaf], fit, digits, BUDGET / len(left))
    return [*swaps, *(findings[n] for n in kernel.wrt if n in findings)]


def _examine(
    trials: Sequence[Trial], leaf: str, paths: Sequence[Path], fit: float, digits: float, budget: float
) -> Finding:
    """One wrong gradient: structure first, then every kind of fault, the simplest that accounts for all of it."""
    scales = [t.mass(leaf, paths) for t in trials]
    shaped = structure.shapes(trials, leaf, fit) or structure.non_finite(trials, leaf)
    if shaped is None:
        shaped = structure.transposed(trials, leaf, fit)
    if shaped is None:
        shaped = structure.one_index(trials, leaf, scales, fit)
    if shaped is not None:
        return shaped
    case = Case(leaf, trials, paths, fit, digits, budget)
    found = _explained(case)
    other = structure.another(trials, leaf, fit)
    if other is not None and not (found and found[0].kind == "factor" and found[0].cost < 2.8):
        return replace(other, equivalents=_others(found, other.text))
    if found:
        best = found[0]
        more = (other.text,) if other is not None else ()
        # A factor made of two values says no more than a plain one.
        rest = [e for e in found[1:] if e.kind != "factor" or best.kind != "factor" or e.cost < best.cost + 1]
        others = _others(rest, best.text, best.term == "all")
        return Finding(best.kind, leaf, best.term, best.factor, best.text, others + more, _edges=best.edges)
    return _inexact(case)


def _others(found: Sequence[Explanation], first: str, whole: bool = False) -> tuple[str, ...]:
    """What else it may be, each thing said once: a factor on a term is the same factor on every edge of its path."""
    rules = [e for e in found if e.kind == "local-rule"]
    telling = [e for e in rules if not e.common]
    common = [e for e in rules if e.common]
    if not whole:  # the whole gradient's factor stands next to the leaf, where no other leaf has it
        common.sort(key=lambda e: ("…" in e.text, len(e.text)))
    kept = {id(e) for e in (telling or common[:1])}
    kept |= {id(e) for e in [e for e in found if e.kind == "operand"][:2]}
    texts = [e.text for e in found if id(e) in kept or e.kind not in ("local-rule", "operand")]
    texts = [t for t in texts if t != first and t.partition(": ")[2] not in texts]  # in all terms, so in one
    return tuple(dict.fromkeys(texts))[:_EQUIVALENTS]


def _explained(case: Case) -> list[Explanation]:
    """Everything that accounts for the gradient, the simplest first; costly searches only where cheap ones fail."""
    found = list(explanations(case))
    found += wrong_rules(case)
    if not any(e.cost <= 2.3 and not e.odd for e in found):
        found += wrong_axes(case)
    if not any(e.cost <= 3.0 and not e.odd for e in found):
        found += overridden(case)
    if not any(e.cost <= 3.5 and not e.odd for e in found):
        with case.half():
            found += different_forwards(case)
        found += wrong_operands(case)
    if not found:
        found += proportional(case)
    if not found:
        found += scaled_steps(case)
    return sorted(found, key=lambda e: e.cost)


def proportional(case: Case) -> Iterator[Explanation]:
    """The rest of one term is a node's value, times something along one axis: ``x``, not ``xhat``."""
    first = case.trials[0]
    for position, path in enumerate(case.paths):
        for k in range(len(first.values)):
            value = first.values[k]
            if (
                not isinstance(value, np.ndarray)
                or value.shape != case.yours[0].shape
                or value.ndim < 2
                or value.dtype.kind != "f"
            ):
                continue
            for axis in range(value.ndim):
                if all(_along(case, j, position, k, axis) for j in range(len(case.trials))):
                    name = first.names.of(first.tape.tensors[k])
                    text = f"term {path.label} is proportional to {name}"
                    yield Explanation("proportional", text, 6.0, path.label)
                    break


def _along(case: Case, j: int, position: int, k: int, axis: int) -> bool:
    terms, value = case.terms[j], case.trials[j].values[k]
    rest = np.moveaxis(case.yours[j] - (sum(terms) - terms[position]), axis, 0).reshape(value.shape[axis], -1)
    rows = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
    squares = (rows * rows).sum(axis=1, keepdims=True)
    if not (squares > 0).all() or rows.shape[1] < 3:
        return False
    factors = (rest * rows).sum(axis=1, keepdims=True) / squares
    return bool(np.abs(rest - factors * rows).max() <= case.tolerance * case.scales[j])


def _inexact(case: Case) -> Finding:
    """Nothing accounts for it: rounding on the way, or something that has no name here."""
    errors = [np.abs(y - t.derived(case.leaf)) for y, t in zip(case.yours, case.trials, strict=True)]
    if not any(case.scales):
        text = "unexplained: not zero, where the derived gradient is: the output does not depend on it"
        return Finding("unexplained", case.leaf, text=text, exact=False)
    parts = [float(e.max(initial=0)) / (s or 1) for e, s in zip(errors, case.scales, strict=True)]
    worst, k = max(parts), int(np.argmax(parts))
    smooth = worst < PRECISION and _smooth(case)
    if worst < PRECISION and not smooth:
        text = f"precision: error {worst:.1e} of the contributions"
        text += " (float32 inside?)" if 1e-9 < worst < 1e-5 and case.tolerance == FIT else ""
        return Finding("precision", case.leaf, text=text, exact=False)
    index = np.unravel_index(int(np.argmax(errors[k])), errors[k].shape)
    at = f"[{','.join(str(int(i)) for i in index)}]"
    share = _share(case, k)
    labels = ", ".join(case.labels[:6]) + (f" and {len(case.labels) - 6} more" if len(case.labels) > 6 else "")
    text = f"unexplained: {int(100 * share)} % of the error lies in the span of the terms {labels}; worst at {at} of shape {errors[k].shape}"
    text += (
        f"; an error of {worst:.1e} of the contributions, and no rounding: it changes little with the inputs" * smooth
    )
    return Finding("unexplained", case.leaf, text=text, exact=False)


def _smooth(case: Case) -> bool:
    """Whether the error is nearly the same at neighbouring inputs, as no rounding error is."""
    here, there = [], []
    for k, trial in enumerate(case.trials[:4]):
        rng = np.random.default_rng(k)
        near = [_near(a, rng) for a in trial.arrays]
        dy = tuple(_near(d, rng) for d in trial.dy) if isinstance(trial.dy, tuple) else _near(trial.dy, rng)
        other = Trial(trial.reference, trial.kernel, near, trial.sizes, 0, dy)
        if other.observe().gradients is None or structure.gradient(other, case.leaf).shape != case.yours[k].shape:
            return False
        here.append(np.ravel(case.yours[k] - trial.derived(case.leaf)) / (case.scales[k] or 1))
        there.append(np.ravel(structure.gradient(other, case.leaf) - other.derived(case.leaf)) / (case.scales[k] or 1))
    a, b = np.concatenate(here), np.concatenate(there)
    return bool(a @ b > 0.9 * np.sqrt((a @ a) * (b @ b)))


def _near(a: Array, rng: Any) -> Array:
    """The array with every float moved by a hundred-thousandth of it."""
    return a * (1 + 1e-5 * rng.choice([-1, 1], a.shape)).astype(a.dtype) if a.dtype.kind == "f" else a


def _share(case: Case, k: int) -> float:
    """How much of the error's square a combination of the terms can account for."""
    error = (case.yours[k] - case.trials[k].derived(case.leaf)).ravel()
    if not case.terms[k]:
        return 0.0
    matrix = np.stack([np.ravel(t) for t in case.terms[k]], axis=1)
    solution = np.linalg.lstsq(matrix, error, rcond=None)[0]
    total = float(error @ error)
    rest = error - matrix @ solution
    return max(0.0, 1.0 - float(rest @ rest) / total) if total > 0 else 0.0


# -- the terms of the failing example ---------------------------------------------------------------------


class Notes:
    """What is printed under a finding: the terms as they are and as the kernel has them, and where they come from."""

    def __init__(self, reference: Any, kernel: Kernel, trial: Trial, max_paths: int) -> None:
        self.reference, self.kernel, self.trial, self.max_paths = reference, kernel, trial, max_paths

    def __call__(self, finding: Finding, problem: Problem | None, place: tuple[int, ...] | None = None) -> list[str]:
        """The lines for one finding."""
        if (
            finding.kind not in ("factor", "axis", "operand", "proportional", "other-forward")
            or finding.leaf not in self.kernel.wrt
        ):
            return []
        trial = self.trial if problem is None else self._at(problem)
        paths = labelled(find_paths(trial.tape, trial.place[finding.leaf], self.max_paths), trial.tape, trial.names)
        lines = self._sum(finding, trial, paths)
        if problem is not None:
            lines += self._values(finding, trial, paths, place)
        return lines + self._where(finding, trial, paths)

    def _at(self, problem: Problem) -> Trial:
        arrays = [problem.arrays[n] for n in self.kernel.names]
        return Trial(self.reference, self.kernel, arrays, {}, 0, problem.dy)

    def _sum(self, finding: Finding, trial: Trial, paths: Sequence[Path]) -> list[str]:
        """``derived dx = direct + through var + through mu`` and the same with the factors."""
        labels = [p.label for p in paths if not self._null(trial, finding.leaf, paths, p)]
        factors = dict(zip(finding.term.split("; "), finding.factor.split("; "), strict=False))
        if finding.kind != "factor" or len(labels) < 2 or len(labels) > 6:
            return []
        name = f"d{finding.leaf}"
        parts = []
        for label in labels:
            factor = factors.get(label, factors.get("all", "1"))
            sign, text = {"1": ("+", label), "-1": ("-", label), "0": ("", "")}.get(
                factor, ("+", f"{factor} · {label}")
            )
            parts += [(sign, text)] if sign else []
        yours = " ".join(f"{s} {t}" for s, t in parts).removeprefix("+ ") or "0"
        return [f"derived {name} = {' + '.join(labels)}", f"yours   {name} = {yours}"]

    def _null(self, trial: Trial, leaf: str, paths: Sequence[Path], path: Path) -> bool:
        terms, mass = self.trial.terms(leaf, paths), self.trial.mass(leaf, paths)
        k = [p.label for p in paths].index(path.label)
        return bool(np.abs(terms[k]).max(initial=0) <= 1e-10 * mass.max(initial=0))

    def _values(
        self, finding: Finding, trial: Trial, paths: Sequence[Path], worst: tuple[int, ...] | None
    ) -> list[str]:
        """Each term on the failing example, and what the wrong one is in the kernel."""
        terms = trial.terms(finding.leaf, paths)
        if not terms or len(terms) > 6 or terms[0].size > 4096:
            return []
        yours = structure.gradient(trial, finding.leaf) if trial.observe().gradients is not None else None
        at: list[Any] = [slice(None), *(worst or (0,) * terms[0].ndim)[1:]][: terms[0].ndim or 1]
        shown = [(p, t) for p, t in zip(paths, terms, strict=True) if not self._null(trial, finding.leaf, paths, p)]
        width = max(len(p.label) for p, _ in shown)
        place = trial.place[finding.leaf]
        given = f"for {finding.leaf} = {row(trial.values[place], at)}"
        if trial.dys[0].shape == terms[0].shape:
            given += f", dy = {row(trial.dys[0], at)}"
        picked = (
            f" (at [:,{','.join(map(str, at[1:]))}])" if len(at) > 1 and any(n > 1 for n in terms[0].shape[1:]) else ""
        )
        lines = [f"{given}{picked}:"]
        single = "; " not in finding.term and finding.term not in ("", "all")
        for p, t in shown:
            line = f"    {p.label:<{width}}  {row(t, at)}"
            if single and p.label == finding.term and yours is not None and yours.shape == t.shape:
                line += f"   <- yours: {row(yours - (trial.derived(finding.leaf) - t), at)}"
            lines.append(line)
        return lines

    def _where(self, finding: Finding, trial: Trial, paths: Sequence[Path]) -> list[str]:
        """The user's line that made what a wrong term goes through."""
        lines = []
        for term in finding.term.split("; "):
            name = term.removeprefix("through ").split(" and ")[0]
            k = self.trial.place_of(name)
            if k is not None and term.startswith("through ") and (text := where(self.trial.tape.tensors[k])):
                lines.append(f"where: {text}")
        return lines
