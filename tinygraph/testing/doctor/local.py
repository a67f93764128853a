"""Single steps of a backward done wrongly: a local rule, an operand, a reduction."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...core.autodiff import fit
from ...errors import TinygraphError
from ..naming import axes_text
from ..paths import Path
from ..tape import Hook
from .fits import Case, Explanation
from .probes import Trial

Array = np.ndarray[Any, Any]
Rule = Callable[..., Any]
FACTORS = ((0.0, "0"), (-1.0, "-1"), (2.0, "2"), (0.5, "1/2"))
_FAILS = (ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, TinygraphError)


def described(trial: Trial, k: int) -> str:
    """``xc = x - mu``, or the expression alone."""
    t, names = trial.tape.tensors[k], trial.names
    text = names.expression(t) if t.node is not None else names.of(t)
    return f"{names.given[t]} = {text}" if t in names.given and names.given[t] != text else text


def edges(trial: Trial, leaf: str) -> list[tuple[int, int]]:
    """(node, operand) on some way to the leaf, where a rule leads back."""
    active = trial.tape.active([trial.place[leaf]])
    return [
        (k, i)
        for k, step in trial.tape.steps.items()
        if k in active
        for i, j in enumerate(step.operands)
        if j in active and step.op.vjps[i] is not None
    ]


def instead(edge: tuple[int, int], rule: Callable[[int, int, Any, list[Any], Callable[[], Any]], Any]) -> Hook:
    """A hook that acts on one edge only."""

    def hook(k: int, i: int, g: Any, values: list[Any], derived: Callable[[], Any]) -> Any:
        return rule(k, i, g, values, derived) if (k, i) == edge else derived()

    return hook


# -- local rules ------------------------------------------------------------------------------------


def wrong_rules(case: Case) -> Iterator[Explanation]:
    """The whole gradient with one local rule exchanged: a typical mistake, a factor, a factor left out."""
    first = case.trials[0]
    for edge in edges(first, case.leaf):
        for cost, what, hook in _rules(first, edge):
            text = f"{what} in {described(first, edge[0])}"
            yield from _tried(case, Explanation("local-rule", text, cost, predict=_with(case.leaf, hook)))


def _with(leaf: str, hook: Hook) -> Callable[[Trial], Any]:
    return lambda trial: trial.gradient(leaf, hook)


def _rules(trial: Trial, edge: tuple[int, int]) -> Iterator[tuple[float, str, Hook]]:
    k, i = edge
    step = trial.tape.steps[k]
    operand = trial.names.of(trial.tape.tensors[step.operands[i]])
    for what, position, rule in step.op.mistakes:
        if position == i:
            yield 4.0, what, instead(edge, _by_rule(trial, rule))
    for factor, text in FACTORS:
        what = {"0": f"no gradient to {operand}", "-1": f"sign of {operand}"}.get(
            text, f"derivative by {operand} multiplied by {text}"
        )
        yield 5.0, what, instead(edge, _times(factor))
    if step.op.kind == "elementwise" and step.op.name not in ("add", "sub", "neg"):
        yield 4.5, f"derivative of {step.op.name} left out", instead(edge, lambda k, i, g, v, d: g)
    if step.op.name == "matmul":
        yield from _matmul_rules(trial, edge)


def _by_rule(trial: Trial, rule: Rule) -> Any:
    return lambda k, i, g, values, derived: trial.tape.pull(k, i, g, values, rule)


def _times(factor: float) -> Any:
    return lambda k, i, g, values, derived: factor * derived()


def _matmul_rules(trial: Trial, edge: tuple[int, int]) -> Iterator[tuple[float, str, Hook]]:
    k, i = edge
    other = trial.tape.steps[k].operands[1 - i]
    name = trial.names.of(trial.tape.tensors[other])

    def untransposed(k: int, i: int, g: Any, values: list[Any], derived: Any) -> Any:
        return g @ values[other] if i == 0 else values[other] @ g

    yield 4.0, f"{name} where its transpose belongs", instead(edge, untransposed)


def _tried(case: Case, candidate: Explanation) -> Iterator[Explanation]:
    """The candidate, if it accounts for every probe; the first probe decides quickly."""
    assert candidate.predict is not None
    try:
        if case.fits(0, candidate.predict(case.trials[0])) and case.explained_by(candidate.predict):
            yield candidate
    except _FAILS:
        return


# -- operands -----------------------------------------------------------------------------------------


def wrong_operands(case: Case) -> Iterator[Explanation]:
    """A rule that was given another stored value of the same shape, or none: in all terms, or in one."""
    first = case.trials[0]
    for edge in edges(first, case.leaf):
        users = [p.label for p in case.paths if (edge[0], first.tape.steps[edge[0]].operands[edge[1]]) in p.edges]
        term = users[0] if len(users) == 1 and len(case.paths) > 1 else ""
        for what, hook in _operands(first, edge):
            text = f"term {term} {what}" if term else what
            yield from _tried(case, Explanation("operand", text, 4.2, term, predict=_with(case.leaf, hook)))
    if len(case.paths) < 2:
        return
    for position, path in enumerate(case.paths):
        for k, j in path.edges:
            for i, operand in enumerate(first.tape.steps[k].operands):
                if operand == j:
                    for what, hook in _operands(first, (k, i)):
                        predict = _one_path(case, position, hook)
                        text = f"term {path.label} {what}"
                        yield from _tried(case, Explanation("operand", text, 4.6, path.label, predict=predict))


def _one_path(case: Case, position: int, hook: Hook) -> Callable[[Trial], Any]:
    """All terms as they are, one with a hook."""

    def predict(trial: Trial) -> Any:
        terms = case.terms[case.trials.index(trial)]
        return sum(terms) - terms[position] + trial.term(case.paths[position], hook)

    return predict


def _operands(trial: Trial, edge: tuple[int, int]) -> Iterator[tuple[str, Hook]]:
    """(words, hook) for every value that the rule of this edge may have been given instead."""
    k, _ = edge
    step, values, names = trial.tape.steps[k], trial.values, trial.names
    inside = [*enumerate(step.operands), (-1, k)]
    for position, place in inside:
        value = values[place]
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.ndim:
            continue
        right = names.of(trial.tape.tensors[place])
        for other, candidate in enumerate(values):
            if (
                other != place
                and isinstance(candidate, np.ndarray)
                and candidate.shape == value.shape
                and candidate.dtype == value.dtype
            ):
                wrong = names.of(trial.tape.tensors[other])
                yield f"uses {wrong} where {right} belongs", instead(edge, _given(trial, position, other))
        yield f"leaves out {right}", instead(edge, _given(trial, position, None))


def _given(trial: Trial, position: int, other: int | None) -> Any:
    def rule(k: int, i: int, g: Any, values: list[Any], derived: Any) -> Any:
        step = trial.tape.steps[k]
        out, operands = values[k], [values[j] for j in step.operands]
        target = out if position < 0 else operands[position]
        value = np.ones_like(target) if other is None else values[other]
        if position < 0:
            out = value
        else:
            operands[position] = value
        local = step.op.vjps[i]
        assert local is not None
        return local(g, out, *operands, **step.params)

    return rule


# -- reductions of one term ----------------------------------------------------------------------------


def wrong_axes(case: Case) -> Iterator[Explanation]:
    """One term reduced over other axes, or over none."""
    first = case.trials[0]
    for position, path in enumerate(case.paths):
        reductions = [k for k in path.nodes if first.tape.steps[k].op.name in ("sum", "mean")]
        for node in reductions:
            step = first.tape.steps[node]
            ndim = np.ndim(first.values[step.operands[0]])
            right = tuple(step.params["axis"])
            for count in range(ndim + 1):
                for axes in itertools.combinations(range(ndim), count):
                    if axes == right:
                        continue
                    text = f"term {path.label} reduced over {axes_text(axes, ndim)} instead of {axes_text(right, ndim)}"
                    if not axes:
                        text = f"term {path.label} not reduced over {axes_text(right, ndim)}"
                    for inside in (None, *_reduced_values(first, node)):
                        predict = _reduced(case, position, node, axes, inside)
                        yield from _tried(case, Explanation("axis", text, 3.5, path.label, predict=predict))


def _reduced_values(trial: Trial, node: int) -> list[int]:
    """Values in the shape of a reduction: what a formula may write before the sum or after it."""
    shape = np.shape(trial.values[node])
    return [k for k in trial.tape.steps if np.shape(trial.values[k]) == shape and shape and k != node] + [node]


def _reduced(case: Case, position: int, node: int, axes: tuple[int, ...], inside: int | None) -> Callable[[Trial], Any]:
    def predict(trial: Trial) -> Any:
        terms = case.terms[case.trials.index(trial)]
        found = _path_reduced(trial, case.paths[position], node, axes, inside)
        return None if found is None else sum(terms) - terms[position] + found

    return predict


def _path_reduced(trial: Trial, path: Path, node: int, axes: tuple[int, ...], inside: int | None) -> Any:
    """A path's contribution when what a broadcast sums back to ``node`` is summed over ``axes`` instead.

    Once the axis is another, it matters whether a factor of the reduced shape stands before the sum or
    after it: ``inside`` is a value by which the summand is multiplied, and the sum divided.
    """
    tape, values = trial.tape, trial.values
    factor = 1.0 if inside is None else _aligned(values[inside], node, trial)
    full = np.shape(values[tape.steps[node].operands[0]])
    g = trial.dys[path.output] if path.output is not None else trial.totals[path.nodes[0]]
    kept, passed = False, False
    for k, j in path.edges:
        if k == node:
            if not kept:
                return None
            count = int(np.prod([full[a] for a in axes]))
            g = np.broadcast_to(g / count if tape.steps[k].op.name == "mean" else g, full)
            kept, passed = False, True
            continue
        found = [
            c for i, x in enumerate(tape.steps[k].operands) if x == j and (c := tape.pull(k, i, g, values)) is not None
        ]
        if not found:
            return None
        g = np.asarray(sum(found))
        summed = np.shape(values[j]) != g.shape
        if summed and not kept and not passed and g.shape == full:
            g = (g * factor).sum(axis=axes, keepdims=True) / factor if axes else g
            kept = True
        elif not kept:
            g = fit(g, np.asarray(values[j]))
    return g if passed else None


def _aligned(value: Any, node: int, trial: Trial) -> Any:
    """A value of a reduced shape against what was reduced."""
    step = trial.tape.steps[node]
    axes = step.params["axis"]
    return value if step.params.get("keepdims") else np.expand_dims(value, tuple(axes))
