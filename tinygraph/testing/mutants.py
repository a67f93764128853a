"""Wrong backwards that can be called, made from the faults of a graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.graph import Graph, trace
from ..errors import NotAlgebraic, ShapeError, TinygraphError
from .doctor.probes import Trial
from .faults import SAME, Edit, Fault, Run, Terms
from .kernel import Kernel

OPERATORS = ("drop-path", "flip-sign", "wrong-count", "drop-factor", "missing-unbroadcast", "wrong-axis", "eps", "ddof")
SLACK = 64  # rounding units of the checked dtype, below which no check can see a fault
_FAILS = (ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, KeyError, TinygraphError)


class Right:
    """The derived backward of a reference, at whatever shapes it is called with."""

    __slots__ = ("names", "reference", "wrt")

    def __init__(self, reference: Callable[..., Any], names: Sequence[str], wrt: Sequence[str]) -> None:
        self.reference, self.names, self.wrt = reference, list(names), list(wrt)

    def forward(self, *arrays: Any) -> Any:
        """The reference on arrays."""
        graph = trace(self.reference, *map(np.asarray, arrays))
        values = [np.array(t._data) for t in graph.outputs]
        return values[0] if graph.tree is None or graph.tree.kind is None else graph.tree.build(values)

    def __call__(self, dy: Any, *arrays: Any) -> Any:
        return self.gradients(self.run(dy, arrays), {})

    def run(self, dy: Any, arrays: Sequence[Any]) -> Run:
        """The reference traced anew."""
        given = [np.asarray(a) for a in arrays]
        upstream = tuple(map(np.asarray, dy)) if isinstance(dy, (tuple, list)) else np.asarray(dy)
        if any(a.dtype == object for a in (*given, *(upstream if isinstance(upstream, tuple) else [upstream]))):
            raise NotAlgebraic(
                "the backwards that power makes compute in float64, on no other objects; give power a check that runs "
                "on numbers, e.g. with check_backward"
            )
        try:
            trial = Trial(self.reference, Kernel(self, self.names, self.wrt), given, {}, 0, upstream)
        except (TinygraphError, ValueError, IndexError):
            self._check_upstream(upstream, trace(self.reference, *given))
            raise
        self._check_upstream(upstream, trial.graph)
        return Run(trial)

    def _check_upstream(self, dy: Any, graph: Graph) -> None:
        due = [t.shape for t in graph.outputs]
        given = [d.shape for d in (dy if isinstance(dy, tuple) else [dy])]
        if given != due:
            due_text, text = (", ".join(map(str, shapes)) for shapes in (due, given))
            raise ShapeError(
                f"backward(dy of shape {text}): the output has shape {due_text}; give dy in that shape"
            ) from None

    def gradients(self, run: Run, edited: Mapping[str, Any]) -> Any:
        """One array per name in ``wrt``, or the array itself if there is only one; computed in float64, then rounded."""
        with np.errstate(all="ignore"):
            found = [
                np.array(edited.get(n, run.trial.derived(n)), run.trial.arrays[run.trial.place[n]].dtype)
                for n in self.wrt
            ]
        return tuple(found) if len(found) > 1 else found[0]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong backward: ``mutant(dy, *arrays)`` gives gradients in the order of ``wrt``, ``mutant.forward(*arrays)`` is right.

    ``operator``: how it was made (``drop-path flip-sign wrong-count drop-factor missing-unbroadcast
    wrong-axis eps ddof``). ``leaf``: whose gradient is wrong; ``term`` and ``factor``: which part of it is
    multiplied by what, where that is the fault. ``str`` says it in the doctor's words. With one name in
    ``wrt`` the gradient itself is returned. The reference is traced anew at every call; where the
    graph that comes out has no such term, the gradient is right.
    """

    operator: str
    leaf: str
    term: str
    factor: str
    _text: str = field(repr=False)
    _right: Right = field(repr=False)
    _edit: Edit = field(repr=False)

    @property
    def forward(self) -> Callable[..., Any]:
        """The right forward, on arrays."""
        return self._right.forward

    def __call__(self, dy: Any, *arrays: Any) -> Any:
        run = self._right.run(dy, arrays)
        found = _edited(self._edit, run)
        return self._right.gradients(run, {} if found is None else {self.leaf: found})

    def __str__(self) -> str:
        return self._text


def _edited(edit: Edit, run: Run) -> Any:
    try:
        with np.errstate(all="ignore"):
            return edit(run)
    except _FAILS:
        return None


# -- the choice of mutants ---------------------------------------------------------------------------


def mutants_of(right: Right, runs: Sequence[Run], most: int, dtype: Any) -> list[Mutant]:
    """Up to ``most`` different faults that show on generic probes, taken in turn from operators, leaves and terms."""
    every = [fault for leaf in right.wrt for fault in Terms(leaf, runs).faults()]
    every.sort(key=lambda f: OPERATORS.index(f.operator))
    place = {id(fault): k for k, fault in enumerate(every)}
    visible = max(SAME, SLACK * float(np.finfo(dtype).eps) / 2)
    known: dict[str, list[list[Any]]] = {leaf: [] for leaf in right.wrt}

    def is_new(fault: Fault) -> bool:
        """Whether it differs from the truth as far as this dtype can tell, and from what was taken before."""
        leaf = fault.finding.leaf
        found, masses = [_edited(fault.edit, run) for run in runs], [run.mass(leaf) for run in runs]
        if any(f is None for f in found) or _alike(found, [run.trial.derived(leaf) for run in runs], masses, visible):
            return False
        if any(_alike(found, other, masses, SAME) for other in known[leaf]):
            return False
        known[leaf].append(found)
        return True

    taken = sorted(itertools.islice(_in_turn(every, is_new), most), key=lambda f: place[id(f)])
    return [
        Mutant(f.operator, f.finding.leaf, f.finding.term, f.finding.factor, f.finding.line, right, f.edit)
        for f in taken
    ]


def _alike(a: Sequence[Any], b: Sequence[Any], masses: Sequence[float], tolerance: float) -> bool:
    with np.errstate(all="ignore"):
        return all(
            np.shape(x) == np.shape(y)
            and bool(np.all((np.abs(x - y) <= tolerance * mass) | (np.isnan(x) & np.isnan(y))))
            for x, y, mass in zip(a, b, masses, strict=True)
        )


_KEYS: tuple[Callable[[Fault], str], ...] = (
    lambda f: f.operator,
    lambda f: f.finding.leaf,
    lambda f: f.finding.term,
)


def _in_turn(faults: Sequence[Fault], wanted: Callable[[Fault], bool], depth: int = 0) -> Iterator[Fault]:
    """What is wanted, one of each operator in turn, within it of each leaf, within that of each term."""
    if depth == len(_KEYS):
        yield from filter(wanted, faults)
        return
    groups: dict[str, list[Fault]] = {}
    for fault in faults:
        groups.setdefault(_KEYS[depth](fault), []).append(fault)
    piles = [_in_turn(group, wanted, depth + 1) for group in groups.values()]
    while piles:
        for pile in tuple(piles):
            found = next(pile, None)
            if found is None:
                piles.remove(pile)
            else:
                yield found
