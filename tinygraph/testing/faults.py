"""Faults that the backward of a graph can have: one in one term of one gradient, or another forward's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.primitive import REGISTRY
from .doctor.findings import Finding
from .doctor.forwards import PREFIX, Scaled, changed
from .doctor.local import _given, _path_reduced, described, instead
from .doctor.probes import Trial, small_constants
from .naming import axes_text
from .paths import Path, evaluate, find_paths, labelled
from .tape import Hook, Step, Tape

SAME = 1e-10  # of the mass: above the rounding of float64


class Run:
    """One problem: the reference traced on it, its derived gradients, and their terms by label."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.tape, self.values = trial, trial.tape, trial.values
        self._paths: dict[str, dict[str, Path]] = {}

    def paths(self, leaf: str) -> dict[str, Path]:
        """The paths to a leaf, by label."""
        if leaf not in self._paths:
            found = labelled(find_paths(self.tape, self.trial.place[leaf]), self.tape, self.trial.names)
            self._paths[leaf] = {p.label: p for p in found}
        return self._paths[leaf]

    def mass(self, leaf: str) -> float:
        """The largest sum of absolute terms."""
        return float(self.trial.mass(leaf, list(self.paths(leaf).values())).max(initial=0))

    def ops(self, path: Path) -> list[str]:
        """What a path goes through: at other shapes it must be the same to be meant by the same label."""
        return [self.tape.steps[k].op.name for k in path.nodes]


Edit = Callable[[Run], Any]  # the wrong gradient of a leaf; None where the fault has no place
Term = Callable[[Run, Path], Any]  # the wrong term
Rule = Callable[[Run], Hook]  # a wrong local rule


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to the gradient of a leaf, how it is described, and how it is computed."""

    operator: str
    finding: Finding
    edit: Edit


class Terms:
    """The terms of one leaf that are not always zero, and the faults that they can have."""

    def __init__(self, leaf: str, runs: Sequence[Run]) -> None:
        self.leaf, self.run = leaf, runs[0]
        self.paths = [p for p in self.run.paths(leaf).values() if not all(_is_null(r, leaf, p.label) for r in runs)]
        self.single = len(self.paths) == 1

    def faults(self) -> Iterator[Fault]:
        """Every fault of every operator."""
        for path in self.paths:
            yield self._factor("drop-path", path, "0", lambda n: 0.0)
            yield self._factor("flip-sign", path, "-1", lambda n: -1.0)
            yield from self._counts(path)
            yield from self._factors(path)
            yield from self._sums(path)
            yield from self._axes(path)
        yield from self._forwards()

    def _edit(self, path: Path, term: Term, *, whole: bool = False) -> Edit:
        """The gradient with one term computed in another way, or all of it."""
        leaf, ops, whole = self.leaf, self.run.ops(path), whole or self.single

        def edit(run: Run) -> Any:
            here = run.paths(leaf).get(path.label)
            if here is None or run.ops(here) != ops or (found := term(run, here)) is None:
                return None
            return found if whole else run.trial.derived(leaf) - run.trial.term(here) + found

        return edit

    def _fault(self, operator: str, kind: str, path: Path, text: str, term: Term, factor: str = "") -> Fault:
        label = "all" if self.single else path.label
        text = text if self.single else f"term {label}{':' * (kind == 'local-rule')} {text}"
        return Fault(operator, Finding(kind, self.leaf, label, factor, text), self._edit(path, term))

    def _factor(
        self, operator: str, path: Path, symbol: str, factor: Callable[[int], float], at: int | None = None
    ) -> Fault:
        """The term times a function of the count at one of its edges."""
        text = f"{'all terms ' if self.single else ''}multiplied by {symbol}"
        return self._fault(operator, "factor", path, text, partial(_scaled, factor, at), symbol)

    def _counts(self, path: Path) -> Iterator[Fault]:
        """Where the term is divided by a count: not, or by one less; where it is not: divided."""
        counts = {n: at for at, edge in reversed([*enumerate(path.edges)]) if (n := _count(self.run, edge)) > 1}
        divided = {_count(self.run, edge) for edge in path.edges if self.run.tape.steps[edge[0]].op.name == "mean"}
        for n, at in counts.items():
            many, inverse, less = _symbols(self.run, n, "{}", "1/{}", "{}/({}-1)")
            if n in divided:
                yield self._factor("wrong-count", path, many, float, at)
            else:
                yield self._factor("wrong-count", path, inverse, lambda n: 1 / n, at)
            yield self._factor("wrong-count", path, less, _over_less, at)

    def _factors(self, path: Path) -> Iterator[Fault]:
        """A local rule with a factor left out: in this term, and in all of them where all share it."""
        for at, (k, j) in enumerate(path.edges):
            shared = not self.single and path is self.paths[0] and all((k, j) in p.edges for p in self.paths)
            for i in [i for i, operand in enumerate(self.run.tape.steps[k].operands) if operand == j]:
                for kind, text, rule in self._rules(k, i):
                    yield self._fault("drop-factor", kind, path, text, partial(_term_by, at, i, rule))
                    if shared:
                        edit = self._edit(path, partial(_all_by, self.leaf, at, i, rule), whole=True)
                        yield Fault("drop-factor", Finding(kind, self.leaf, "all", "", text), edit)

    def _rules(self, k: int, i: int) -> Iterator[tuple[str, str, Rule]]:
        """The rule of one operand with 1 in place of what it stores; and what its record knows to be left out."""
        tape, step, where = self.run.tape, self.run.tape.steps[k], described(self.run.trial, k)
        for position in _stored(self.run, k):
            name = self.run.trial.names.of(tape.tensors[k if position < 0 else step.operands[position]])
            yield "operand", f"leaves out {name} in {where}", partial(_with_one, position)
        for what, operand, rule in step.op.mistakes:
            if operand == i and what.endswith("left out"):
                yield "local-rule", f"{what} in {where}", partial(_mistaken, rule)
        if step.op.kind == "elementwise":
            yield "local-rule", f"derivative of {step.op.name} left out in {where}", lambda run: _passed_on

    def _sums(self, path: Path) -> Iterator[Fault]:
        """What a broadcast of the leaf asks to be summed: not summed, or over another axis."""
        g, (_, place) = _unsummed(self.run, path), _last_edge(self.run, path)
        like = np.shape(self.run.values[place])
        if g is None or g.shape == like or g.ndim < len(like):
            return
        extra = g.ndim - len(like)
        right = (*range(extra), *(i + extra for i, n in enumerate(like) if n == 1 and g.shape[i + extra] != 1))
        text = f"not summed over broadcast {axes_text(right, g.ndim)}"
        yield self._fault("missing-unbroadcast", "not-summed", path, text, _unsummed)
        for axes in _other_axes(right, g.ndim) if self.single else ():
            text = f"summed over {axes_text(axes, g.ndim)} instead of {axes_text(right, g.ndim)}"
            yield self._fault("wrong-axis", "axis", path, text, partial(_summed_over, axes))

    def _axes(self, path: Path) -> Iterator[Fault]:
        """A reduction on the way done over other axes, or over none."""
        for at, k in enumerate(path.nodes):
            step = self.run.tape.steps[k]
            if step.op.name in ("sum", "mean"):
                ndim, right = np.ndim(self.run.values[step.operands[0]]), tuple(step.params["axis"])
                for axes in (*_other_axes(right, ndim), ()):
                    over = f"reduced over {axes_text(axes, ndim)} instead of" if axes else "not reduced over"
                    text = f"{over} {axes_text(right, ndim)}"
                    yield self._fault("wrong-axis", "axis", path, text, partial(_reduced_over, at, axes))

    def _forwards(self) -> Iterator[Fault]:
        """Right for another forward: without a small constant, or with a mean over n - 1."""
        tape, names = self.run.tape, self.run.trial.names
        for count, (k, _, value) in enumerate(small_constants(tape)):
            text = f"{value:g} missing in {names.expression(tape.tensors[k])}"
            yield self._forward("eps", text, partial(_without_constant, count))
        for count, k in enumerate(_means(tape)):
            (less,) = _symbols(self.run, _count(self.run, (k, tape.steps[k].operands[0])), "{}-1")
            yield self._forward("ddof", f"{names.of(tape.tensors[k])} divides by {less}", partial(_unbiased, count))

    def _forward(self, operator: str, text: str, change: Callable[[Run], Tape]) -> Fault:
        finding = Finding("other-forward", self.leaf, "all", "", PREFIX + text)
        return Fault(operator, finding, partial(_under, change, self.leaf))


def _is_null(run: Run, leaf: str, label: str) -> bool:
    path = run.paths(leaf).get(label)
    return path is None or bool(np.abs(run.trial.term(path)).max(initial=0) <= SAME * run.mass(leaf))


# -- terms done wrongly --------------------------------------------------------------------------------


def _scaled(factor: Callable[[int], float], at: int | None, run: Run, path: Path) -> Any:
    return factor(1 if at is None else _count(run, path.edges[at])) * run.trial.term(path)


def _over_less(n: int) -> float:
    return n / (n - 1) if n > 1 else np.inf


def _term_by(at: int, i: int, rule: Rule, run: Run, path: Path) -> Any:
    return run.trial.term(path, instead((path.nodes[at], i), rule(run)))


def _all_by(leaf: str, at: int, i: int, rule: Rule, run: Run, path: Path) -> Any:
    return run.trial.gradient(leaf, instead((path.nodes[at], i), rule(run)))


def _with_one(position: int, run: Run) -> Hook:
    return _given(run.trial, position, None)  # type: ignore[no-any-return]


def _mistaken(rule: Any, run: Run) -> Hook:
    return lambda k, i, g, values, derived: run.tape.pull(k, i, g, values, rule)


def _passed_on(k: int, i: int, g: Any, values: list[Any], derived: Any) -> Any:
    return g


def _last_edge(run: Run, path: Path) -> tuple[int, int]:
    """Where the gradient comes out of arithmetic: the last edge but those that only reshape; (-1, leaf) if there is none."""
    edges = [
        edge for edge in path.edges if run.tape.steps[edge[0]].op.name not in ("reshape", "expand_dims", "squeeze")
    ]
    return edges[-1] if edges else (-1, path.leaf)


def _unsummed(run: Run, path: Path) -> Any:
    """What the last step of a path gives, before it is summed to the shape that was broadcast."""
    trial, tape, (last, place) = run.trial, run.tape, _last_edge(run, path)
    if last < 0:
        return None
    before = path.nodes[: path.nodes.index(last)]
    if before:
        g = evaluate(Path(before, last, path.output), tape, run.values, trial.dys, None, trial.totals)
    else:
        g = trial.totals[last] if path.output is None else trial.dys[path.output]
    operands = enumerate(tape.steps[last].operands)
    found = [c for i, j in operands if j == place and (c := tape.pull(last, i, g, run.values)) is not None]
    return np.asarray(sum(found)) if found else None


def _summed_over(axes: tuple[int, ...], run: Run, path: Path) -> Any:
    g = _unsummed(run, path)
    return None if g is None else g.sum(axis=axes)


def _reduced_over(at: int, axes: tuple[int, ...], run: Run, path: Path) -> Any:
    found = _path_reduced(run.trial, path, path.nodes[at], axes, None)
    return found if np.shape(found) == np.shape(run.values[path.leaf]) else None


def _other_axes(right: tuple[int, ...], ndim: int) -> Iterator[tuple[int, ...]]:
    """As many axes, but others; and all."""
    every = tuple(range(ndim))
    yield from (axes for axes in itertools.combinations(every, len(right)) if axes != right)
    if len(right) < ndim:
        yield every


# -- other forwards ------------------------------------------------------------------------------------


def _under(change: Callable[[Run], Tape], leaf: str, run: Run) -> Any:
    tape, place = change(run), run.trial.place[leaf]
    return tape.backward(tape.run(run.values[: tape.inputs]), run.trial.dys, [place]).get(place)


def _means(tape: Tape) -> list[int]:
    return [k for k, step in tape.steps.items() if step.op.name == "mean"]


def _unbiased(count: int, run: Run) -> Tape:
    k = _means(run.tape)[count]
    step = run.tape.steps[k]
    mean: Any = Scaled(step.op, _over_less(_count(run, (k, step.operands[0]))))
    return changed(run.tape, {k: Step(mean, step.operands, step.params)})


def _without_constant(count: int, run: Run) -> Tape:
    k, place, _ = small_constants(run.tape)[count]
    (other,) = [j for j in run.tape.steps[k].operands if j != place]
    return changed(run.tape, {k: Step(REGISTRY["identity"], (other,), {})})


# -- what a graph says about its steps -----------------------------------------------------------------


def _count(run: Run, edge: tuple[int, int]) -> int:
    """How many numbers one step back adds up, or would divide by: those of a reduction, a broadcast, a batch."""
    k, j = edge
    step, size, operand = run.tape.steps[k], np.size(run.values[k]), np.size(run.values[j])
    if step.op.name in ("sum", "mean"):
        return operand // max(size, 1)
    if step.op.name == "matmul" and j == step.operands[1] and np.ndim(run.values[k]) > 1:
        return int(np.shape(run.values[k])[-2])
    return size // max(operand, 1) if step.op.kind == "elementwise" or step.op.name == "broadcast_to" else 1


def _symbols(run: Run, n: int, *patterns: str) -> list[str]:
    """A count in letters, written into patterns: ``1/N``, ``1/(N*C)``."""
    sizes = run.trial.sizes
    every = (c for r in range(1, len(sizes) + 1) for c in itertools.combinations(sizes, r))
    letters = next((c for c in every if math.prod(sizes[x] for x in c) == n), ("n",))
    text = "*".join(letters)
    return [p.replace("/{}", "/({})" if len(letters) > 1 else "/{}").replace("{}", text) for p in patterns]


def _stored(run: Run, k: int) -> list[int]:
    """The operands of a step whose values its rule may need, and -1 for its result; a number only where it is a factor."""
    step = run.tape.steps[k]
    product = step.op.name in ("mul", "div", "mul0", "div0")
    places = [*enumerate(step.operands), (-1, k)]
    return [i for i, j in places if (product if is_weak(v := run.values[j]) else np.asarray(v).dtype.kind == "f")]
