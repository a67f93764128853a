"""Where a derivative jumps: the ties of a graph, and the gradients on all sides of them.

Every rule that selects asks first: a comparison, a sign, an equality with a maximum. Where the two sides
of such a question are equal up to rounding, any answer is a convention. The graph is run again with
the answers given, and what comes out spans the gradients that are accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from .derived import Derived
from .wide import Array, double

COMPARISONS = frozenset(["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"])
# What decides which way a derivative goes. Perturbed runs keep the answers of the exact one.
DECISIONS = COMPARISONS | {"sign", "floor", "ceil", "round", "floor_divide", "argmax", "argmin"}
REACH = 8.0  # deviations within which a side may be taken for the other
SINGLE = 6  # questions that are also answered one by one
RANDOM = 24  # runs with random answers


@dataclass(slots=True)
class Question:
    """A decision that ties: the nodes that ask it, where, and how answers depend on each other.

    ``axes`` of a reduction to one of several: its ties share. ``rival``: of two operands, one is larger.
    """

    nodes: list[Tensor]
    tied: Array
    axes: tuple[int, ...] | None = None
    rival: int = -1
    pair: Any = None


@dataclass(slots=True)
class Watch:
    """The answers of the exact run, and how far rounding moves the two sides of each question."""

    answers: dict[Tensor, Any] = field(default_factory=dict)
    gaps: dict[Tensor, Array] = field(default_factory=dict)
    sizes: dict[Tensor, Array] = field(default_factory=dict)
    moved: dict[Tensor, Array] = field(default_factory=dict)

    def note(self, t: Tensor, operands: list[Any], value: Any) -> None:
        """Keep what the exact run answers."""
        self.answers[t] = value
        gap = _gap(t, operands)
        if gap is not None:
            self.gaps[t] = gap
            self.sizes[t] = sum(np.abs(double(x)) for x in operands)  # type: ignore[assignment]

    def held(self, t: Tensor, operands: list[Any]) -> Any:
        """The exact run's answer for a perturbed one; how far the sides have moved is kept."""
        if t in self.gaps:
            distance = np.abs(_gap(t, operands) - self.gaps[t])
            before = self.moved.get(t)
            self.moved[t] = distance if before is None else np.maximum(before, distance)
        return self.answers[t]


def _gap(t: Tensor, operands: list[Any]) -> Any:
    """The distance of the two sides, where there is one that rounding can close."""
    name = t.node.op.name  # type: ignore[union-attr]
    if name == "sign":
        return double(operands[0])
    inputs = t.node.inputs  # type: ignore[union-attr]
    if name not in COMPARISONS or inputs[0] is inputs[1] or all(x.dtype.kind != "f" for x in inputs):
        return None
    with np.errstate(all="ignore"):
        return np.asarray(double(operands[0]) - double(operands[1]))


def questions(derived: Derived, watch: Watch, u: float) -> list[Question]:
    """The decisions of a graph that tie at this point."""
    found: dict[Any, Question] = {}
    for t, gap in watch.gaps.items():
        moved = watch.moved.get(t, 0.0)
        with np.errstate(all="ignore"):
            tied = np.broadcast_to(np.abs(gap) <= REACH * (moved + u * watch.sizes[t]), np.shape(watch.answers[t]))
        if not tied.any():
            continue
        key, question = _question(derived, t, np.array(tied))
        if key in found:
            found[key].nodes.append(t)
        elif question.axes is None or (tied.sum(axis=question.axes) > 1).any():
            found[key] = question
    return list(found.values())


def _question(derived: Derived, t: Tensor, tied: Array) -> tuple[Any, Question]:
    graph, node = derived.graph, t.node
    assert node is not None
    operands = graph.operands(t)
    if node.op.name == "equal":
        made = operands[1].node
        if made is not None and made.op.name == "spread":
            chosen = graph.operands(operands[1])[0]
            if chosen.node is not None and chosen.node.op.name in ("max", "min"):
                axes = chosen.node.params["axis"]
                several = tied & (tied.sum(axis=axes, keepdims=True) > 1)
                return ("group", operands[0], chosen), Question([t], several, axes)
        if made is not None and made.op.name in ("maximum", "minimum"):
            rival = next(i for i, x in enumerate(graph.operands(operands[1])) if x is operands[0])
            return ("pair", operands[1], rival), Question([t], tied, rival=rival, pair=operands[1])
    return (node.op.name, *operands), Question([t], tied)


# -- answers -----------------------------------------------------------------------------------------


def answers(asked: list[Question], watch: Watch, rng: Any, samples: int) -> Iterator[Callable[..., Any]]:
    """Ways to answer all questions, each as an ``each`` for a run: one side, the other, first, last, one by one, at random."""
    every: dict[Tensor, tuple[Question, Any]] = {t: (q, watch.answers[t]) for q in asked for t in q.nodes}

    def run(choose: Callable[[Question, Any], Any]) -> Callable[..., Any]:
        chosen: dict[int, Any] = {}

        def each(t: Tensor, operands: list[Any], value: Any) -> Any:
            if t not in every:
                return value
            question, base = every[t]
            if id(question) not in chosen:
                chosen[id(question)] = choose(question, base)
            return np.where(question.tied, chosen[id(question)], value)

        return each

    def on_side(side: int, only: Question | None = None) -> Callable[[Question, Any], Any]:
        return lambda q, base: base if only is not None and q is not only else _side(q, base, side)

    def at_random(rank: int) -> Callable[[Question, Any], Any]:
        draws: dict[Any, Array] = {}
        return lambda q, base: _random(q, base, rng, draws, rank)

    yield from (run(on_side(side)) for side in (1, -1))
    yield from (run(on_side(side, question)) for question in asked[:SINGLE] for side in (1, -1))
    yield from (run(at_random(rank)) for rank in range(samples))


def _side(q: Question, base: Any, side: int) -> Any:
    if q.axes is not None:
        order = np.arange(q.tied.size, dtype=float).reshape(q.tied.shape)
        return _one_of(q, -side * order)
    if q.rival >= 0:
        return np.full(q.tied.shape, q.rival == (0 if side > 0 else 1))
    return np.full(q.tied.shape, side > 0 if np.asarray(base).dtype == bool else float(side))


def _random(q: Question, base: Any, rng: Any, draws: dict[Any, Array], rank: int) -> Any:
    if q.axes is not None:
        # One tied element after the other, so that each is the one at some time.
        place = _places(q)
        count = np.where(q.tied, place + 1, 0).max(axis=q.axes, keepdims=True)
        return q.tied & (place == rank % np.maximum(count, 1))
    if q.rival >= 0:
        if q.pair not in draws:  # the two operands must agree on who is larger
            draws[q.pair] = rng.integers(0, 2, q.tied.shape)
        return draws[q.pair] == q.rival
    if np.asarray(base).dtype == bool:
        return rng.random(q.tied.shape) < 0.5
    return rng.uniform(-1, 1, q.tied.shape)


def _places(q: Question) -> Array:
    """The number of each tied element within its group, from 0."""
    kept = [i for i in range(q.tied.ndim) if i not in (q.axes or ())]
    order = [*kept, *(q.axes or ())]
    moved = q.tied.transpose(order)
    flat = moved.reshape(*[q.tied.shape[i] for i in kept], -1)
    counted = (np.cumsum(flat, axis=-1) - 1).reshape(moved.shape)
    return np.asarray(counted.transpose(np.argsort(order)))


def _one_of(q: Question, score: Array) -> Array:
    """Of the tied elements of each group the one with the highest score."""
    score = np.where(q.tied, score, -np.inf)
    return np.asarray(q.tied & (score == score.max(axis=q.axes, keepdims=True)))


# -- what is accepted ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Hull:
    """The gradients beside a kink: their range per element, and per group of ties their sums' range."""

    low: Array
    high: Array
    runs: list[Array]
    groups: list[tuple[Array, tuple[int, ...]]]

    def beyond(self, got: Array) -> Array:
        """How far each element is outside the range; the elements of a group together, by their sum."""
        found = np.maximum(np.maximum(self.low - got, got - self.high), 0)
        for tied, axes in self.groups:
            sums = [np.where(tied, r, 0).sum(axis=axes, keepdims=True) for r in (got, *self.runs)]
            total, others = sums[0], np.stack(sums[1:])
            excess = np.maximum(np.maximum(others.min(axis=0) - total, total - others.max(axis=0)), 0)
            found = np.where(tied, np.maximum(found, excess), found)
        return np.asarray(found)


def hulls(derived: Derived, exact: list[Any], runs: list[list[Any]], asked: list[Question]) -> list[Hull | None]:
    """One for every result that differs between the runs."""
    found: list[Hull | None] = []
    for k, e in enumerate(exact):
        every = [np.where(np.isfinite(r), r, double(e)) for r in (double(run[k]) for run in (exact, *runs))]
        leaf = derived.wrt[k - derived.count] if k >= derived.count else None
        groups = [
            (q.tied, q.axes)
            for q in asked
            if q.axes is not None and leaf is not None and derived.graph.operands(q.nodes[0])[0] is leaf
        ]
        low, high = np.minimum.reduce(every), np.maximum.reduce(every)
        found.append(Hull(low, high, every, groups) if (high > low).any() else None)
    return found
