"""Single steps of a backward done wrongly: a local rule, an operand, a reduction."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...core.autodiff import fit
from ...errors import TinygraphError
from ..naming import axes_text
from ..paths import Path, evaluate
from ..tape import Hook
from .factors import aligned
from .fits import Case, Explanation
from .probes import Trial

Array = np.ndarray[Any, Any]
Rule = Callable[..., Any]
Maker = Callable[[Trial], Hook]  # a hook for one probe
FACTORS = ((0.0, "0"), (-1.0, "-1"), (2.0, "2"), (0.5, "1/2"))
EXCHANGED = "the factors exchanged"
COMMON = 5.0  # what a factor on an edge costs: it says less than a factor on a term
_FAILS = (ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, TinygraphError)


def described(trial: Trial, k: int) -> str:
    """``xc = x - mu``, or the expression alone."""
    t, names = trial.tape.tensors[k], trial.names
    text = names.expression(t) if t.node is not None else names.of(t)
    named = t in names.given and names.given[t].partition("(")[0] != text.partition("(")[0]
    return f"{names.given[t]} = {text}" if named and names.given[t] != text else text


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
        for cost, what, maker in _rules(first, edge):
            text = f"{what} in {described(first, edge[0])}"
            predict = _with(case.leaf, maker)
            wrong = _edges(first, edge, what)
            found = Explanation("local-rule", text, cost, predict=predict, common=cost == COMMON, edges=wrong)
            yield from _tried(case, found)


def _edges(trial: Trial, edge: tuple[int, int], what: str) -> tuple[tuple[int, int], ...]:
    """The steps that a wrong rule is about: one, but where factors are exchanged both."""
    k, i = edge
    return tuple((k, j) for j in range(len(trial.tape.steps[k].operands))) if what == EXCHANGED else ((k, i),)


def _with(leaf: str, maker: Maker) -> Callable[[Trial], Any]:
    return lambda trial: trial.gradient(leaf, maker(trial))


def _rules(trial: Trial, edge: tuple[int, int]) -> Iterator[tuple[float, str, Maker]]:
    k, i = edge
    step = trial.tape.steps[k]
    name, operand = step.op.name, trial.names.of(trial.tape.tensors[step.operands[i]])
    for what, position, rule in step.op.mistakes:
        if position == i:
            yield 4.0, what, _on(edge, partial(_by_rule, rule=rule))
    for factor, text in FACTORS:
        what = {"0": f"no gradient to {operand}", "-1": f"sign of {operand}"}.get(
            text, f"derivative by {operand} multiplied by {text}"
        )
        yield COMMON, what, _on(edge, partial(_times, factor=factor))
    if step.op.kind == "elementwise" and name not in ("add", "sub", "neg", "mul"):
        what = "divisor left out" if name == "div" and i == 0 else f"derivative of {name} left out"
        yield 4.1, what, _on(edge, _left_out)
    if name == "matmul":
        other = trial.names.of(trial.tape.tensors[step.operands[1 - i]])
        yield 4.0, f"{other} where its transpose belongs", _on(edge, _untransposed)
    if name == "mul" and i == 0 and len(set(step.operands)) == 2:
        yield 4.1, EXCHANGED, partial(_exchanged, node=k)
    if name in ("max", "min", "prod"):
        yield 4.1, f"derivative of {name} left out", _on(edge, _spread)
    if name == "cumsum":
        yield 4.1, "sums that run the same way, not back,", _on(edge, _forwards)
    if name == "getitem" and i == 0 and len(step.operands) > 1:
        yield 4.1, "what is indexed twice overwritten, not added up,", _on(edge, _overwritten)


def _on(edge: tuple[int, int], build: Callable[[Trial], Any]) -> Maker:
    """For each probe a hook with the rule that is built for it, on one edge."""
    return lambda trial: instead(edge, build(trial))


def _by_rule(trial: Trial, rule: Rule) -> Any:
    return lambda k, i, g, values, derived: trial.tape.pull(k, i, g, values, rule)


def _times(trial: Trial, factor: float) -> Any:
    return lambda k, i, g, values, derived: factor * derived()


def _left_out(trial: Trial) -> Any:
    return lambda k, i, g, values, derived: g


def _untransposed(trial: Trial) -> Any:
    def rule(k: int, i: int, g: Any, values: list[Any], derived: Any) -> Any:
        other = values[trial.tape.steps[k].operands[1 - i]]
        return g @ other if i == 0 else other @ g

    return rule


def _exchanged(trial: Trial, node: int) -> Hook:
    """For a product the rule of the other factor, on both sides."""

    def hook(k: int, i: int, g: Any, values: list[Any], derived: Callable[[], Any]) -> Any:
        return g * values[trial.tape.steps[k].operands[i]] if k == node else derived()

    return hook


def _spread(trial: Trial) -> Any:
    """Every element of what was reduced gets the whole gradient."""

    def rule(k: int, i: int, g: Any, values: list[Any], derived: Any) -> Any:
        step = trial.tape.steps[k]
        full = values[step.operands[i]]
        g = g if step.params.get("keepdims") else np.expand_dims(g, tuple(step.params["axis"]))
        return np.broadcast_to(g, full.shape)

    return rule


def _forwards(trial: Trial) -> Any:
    return lambda k, i, g, values, derived: trial.tape.steps[k].op.run([g], trial.tape.steps[k].params)


def _overwritten(trial: Trial) -> Any:
    def rule(k: int, i: int, g: Any, values: list[Any], derived: Any) -> Any:
        step = trial.tape.steps[k]
        found = np.zeros_like(values[step.operands[0]])
        found[step.params["key"].with_arrays([values[j] for j in step.operands[1:]])] = g
        return found

    return rule


def _tried(case: Case, candidate: Explanation) -> Iterator[Explanation]:
    """The candidate, if it accounts for every probe; the first probe decides quickly."""
    assert candidate.predict is not None
    if not case.spend():
        return
    try:
        if case.fits(0, candidate.predict(case.trials[0])) and case.explained_by(candidate.predict):
            yield candidate
    except _FAILS:
        return


def scaled_steps(case: Case) -> Iterator[Explanation]:
    """The gradient on its way multiplied, or divided, by the value of a node: before the leaf's own rules."""
    first = case.trials[0]
    for edge in edges(first, case.leaf):
        k, i = edge
        place = first.tape.steps[k].operands[i]
        operand = first.names.of(first.tape.tensors[place])
        for other, t in enumerate(first.tape.tensors if case.budget > 0 else ()):
            if t not in first.names.given or aligned(first, other, np.shape(first.values[place])) is None:
                continue
            for power, symbol in ((1, "{}"), (-1, "1/{}")):
                what = f"derivative by {operand} multiplied by {symbol.format(first.names.given[t])}"
                text = f"{what} in {described(first, k)}"
                predict = _with(case.leaf, _by_value(edge, other, power))
                cost = 5.2 + 0.05 * (first.tape.tensors[place] not in first.names.given)
                yield from _tried(case, Explanation("local-rule", text, cost, predict=predict, edges=(edge,)))


def _by_value(edge: tuple[int, int], other: int, power: int) -> Maker:
    def maker(trial: Trial) -> Hook:
        shape = np.shape(trial.values[trial.tape.steps[edge[0]].operands[edge[1]]])
        value = aligned(trial, other, shape)
        return instead(edge, lambda k, i, g, v, derived: derived() * value**power)  # type: ignore[operator]

    return maker


# -- operands -----------------------------------------------------------------------------------------


def wrong_operands(case: Case) -> Iterator[Explanation]:
    """A rule that was given another stored value of the same shape, or none: in all terms, or in one."""
    first = case.trials[0]
    yield from _without_upstream(case)
    for edge in edges(first, case.leaf):
        if case.budget < 0:
            return
        users = [p.label for p in case.paths if (edge[0], first.tape.steps[edge[0]].operands[edge[1]]) in p.edges]
        term = users[0] if len(users) == 1 and len(case.paths) > 1 else ""
        for cost, what, maker in _operands(first, edge):
            text = f"term {term} {what}" if term else what
            predict = _with(case.leaf, maker)
            yield from _tried(case, Explanation("operand", text, 4.2 + cost, term, predict=predict, edges=(edge,)))
    if len(case.paths) < 2:
        return
    for position, path in enumerate(case.paths):
        for k, j in path.edges:
            for i, operand in enumerate(first.tape.steps[k].operands):
                if operand == j:
                    yield from _in_one_term(case, position, (k, i))


def _in_one_term(case: Case, position: int, edge: tuple[int, int]) -> Iterator[Explanation]:
    """Another operand, or a wrong local rule, in one term only."""
    if case.budget < 0:
        return
    first, label = case.trials[0], case.paths[position].label
    for cost, what, maker in _operands(first, edge):
        predict = _one_path(case, position, maker)
        text = f"term {label} {what}"
        yield from _tried(case, Explanation("operand", text, 4.6 + cost, label, predict=predict, edges=(edge,)))
    for cost, what, maker in _rules(first, edge):
        if cost < COMMON:
            text = f"term {label}: {what} in {described(first, edge[0])}"
            predict = _one_path(case, position, maker)
            wrong = _edges(first, edge, what)
            yield from _tried(case, Explanation("local-rule", text, cost + 0.6, label, predict=predict, edges=wrong))


def _one_path(case: Case, position: int, maker: Maker) -> Callable[[Trial], Any]:
    """All terms as they are, one with a hook."""

    def predict(trial: Trial) -> Any:
        terms = case.terms[case.trials.index(trial)]
        return sum(terms) - terms[position] + trial.term(case.paths[position], maker(trial))

    return predict


def _without_upstream(case: Case) -> Iterator[Explanation]:
    """As if dy were 1: in the whole gradient, or in one term."""

    def ones(trial: Trial) -> list[Any]:
        return [np.ones_like(d) for d in trial.dys]

    def whole(trial: Trial) -> Any:
        return trial.tape.backward(trial.values, ones(trial), [trial.place[case.leaf]]).get(trial.place[case.leaf])

    yield from _tried(case, Explanation("operand", "leaves out dy", 3.9, predict=whole))
    for position, path in enumerate(case.paths if len(case.paths) > 1 else ()):

        def one(trial: Trial, position: int = position, path: Path = path) -> Any:
            terms = case.terms[case.trials.index(trial)]
            totals = trial.tape.backward(trial.values, ones(trial), [trial.place[case.leaf]])
            found = evaluate(path, trial.tape, trial.values, ones(trial), None, totals)
            return sum(terms) - terms[position] + found

        yield from _tried(
            case, Explanation("operand", f"term {path.label} leaves out dy", 4.2, path.label, predict=one)
        )


def _operands(trial: Trial, edge: tuple[int, int]) -> Iterator[tuple[float, str, Maker]]:
    """(cost, words, hook) for every value that the rule of this edge may have been given instead."""
    k, _ = edge
    step, values, names = trial.tape.steps[k], trial.values, trial.names
    for position, place in [*enumerate(step.operands), (-1, k)]:
        value = values[place]
        number = trial.tape.inputs <= place < trial.tape.first and not np.ndim(value)
        if number or not isinstance(value, (np.ndarray, np.floating)) or value.dtype.kind != "f":
            continue
        right = names.of(trial.tape.tensors[place])
        last = trial.tape.tensors[place] is names.output  # y is our name for it, and so is explained
        yield (
            0.0,
            f"leaves out {described(trial, place) if last else right}",
            _on(edge, partial(_given, position=position, other=None)),
        )
        for other, candidate in enumerate(values):
            if other == place or not isinstance(candidate, (np.ndarray, np.floating)) or candidate.dtype != value.dtype:
                continue
            if candidate.size == value.size and (wrong := names.of(trial.tape.tensors[other])) != right:
                unnamed = trial.tape.tensors[other] not in names.given or trial.tape.tensors[other] is names.output
                what = f"uses {wrong} where {right} belongs"
                yield 0.05 + 0.05 * unnamed, what, _on(edge, partial(_given, position=position, other=other))


def _given(trial: Trial, position: int, other: int | None) -> Any:
    def rule(k: int, i: int, g: Any, values: list[Any], derived: Any) -> Any:
        step = trial.tape.steps[k]
        out, operands = values[k], [values[j] for j in step.operands]
        target = out if position < 0 else operands[position]
        value = np.ones_like(target) if other is None else np.reshape(values[other], target.shape)
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
                    for inside in _reduced_values(first, node) if axes else ((),):
                        predict = _reduced(case, position, node, axes, inside)
                        yield from _tried(case, Explanation("axis", text, 3.5, path.label, predict=predict))


Inside = Sequence[tuple[int, int]]  # a product of powers of values: [(place, power), …]


def _reduced_values(trial: Trial, node: int) -> Iterator[Inside]:
    """What a formula may write before the sum or after it: values in the shape of the reduction, and two of them."""
    yield ()
    shape = np.shape(_aligned(trial.values[node], node, trial))
    tensors, given = trial.tape.tensors, trial.names.given
    found = [k for k, v in enumerate(trial.values) if shape and np.shape(v) in (shape, np.shape(trial.values[node]))]
    yield from ([(k, 1)] for k in found if k in trial.tape.steps)
    named = [k for k in found if tensors[k] in given]
    for a, b in itertools.permutations(named, 2):
        yield [(a, 1), (b, -1)]
    for a, b in itertools.combinations(named, 2):
        yield [(a, 1), (b, 1)]


def _reduced(case: Case, position: int, node: int, axes: tuple[int, ...], inside: Inside) -> Callable[[Trial], Any]:
    def predict(trial: Trial) -> Any:
        terms = case.terms[case.trials.index(trial)]
        found = _path_reduced(trial, case.paths[position], node, axes, inside)
        return None if found is None else sum(terms) - terms[position] + found

    return predict


def _path_reduced(trial: Trial, path: Path, node: int, axes: tuple[int, ...], inside: Inside | None) -> Any:
    """A path's contribution when what a broadcast sums back to ``node`` is summed over ``axes`` instead.

    Once the axis is another, it matters whether a factor of the reduced shape stands before the sum or
    after it: ``inside`` are values by which the summand is multiplied, and the sum divided.
    """
    tape, values = trial.tape, trial.values
    factor: Any = 1.0
    for k, power in inside or ():
        factor = factor * _aligned(values[k], node, trial) ** power
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
    full = np.ndim(trial.values[step.operands[0]])
    return value if np.ndim(value) == full else np.expand_dims(value, tuple(step.params["axis"]))
