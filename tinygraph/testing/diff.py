"""The derived backward as a picture: grey where a hand-written one agrees, thick where it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.convert import tensor
from ..errors import ArgumentError
from ..picture.api import Picture
from ..picture.look import check, look
from ..picture.model import Edge, Fold, Options, View, Wire
from ..picture.naming import partial
from ..picture.values import TITLE, TOOLTIP, clean, minus, row
from ..picture.words import choose
from .doctor import Diagnosis, Finding, diagnose
from .doctor.diagnosis import Notes
from .doctor.fits import NULL
from .doctor.probes import Trial
from .kernel import plain
from .naming import trace_named
from .paths import Path, find_paths, labelled
from .shapes import parameters
from .tape import Tape

MODES = ("backward", "lanes", "both")
LEGEND = (("mute", "grey: agrees"), ("bwd", "thick: wrong, multiplied by the factor"))

# What stands on an edge where it is no factor; other kinds are their own words.
_WORDS = {"mutates": "writes", "nondeterministic": "varies", "non-finite": "not finite",
          "overridden": "other values"}  # fmt: skip
_ELSEWHERE = ("other-forward", "overridden")  # kinds that change the values from which all terms are computed
_ON = "+"  # after the place of a contribution: the edge only passes it on
_LEAVES = ("input", "parameter", "output")
_SHARED = ("mode", "rankdir", "values", "precision", "names", "collapse", "max_nodes", "title", "legend", "theme",
           "engine", "timeout", "wrt", "extras", "dims", "domains", "seed", "specs")  # fmt: skip

Step = tuple[int, int]  # a contribution: the place of a node on the tape, and which operand


def draw_diff(
    reference: Callable[..., Any],
    backward: Callable[..., Any],
    *arrays: Any,
    wrt: Any = None,
    extras: Any = None,
    dims: Mapping[str, Any] | None = None,
    domains: Mapping[str, Any] | None = None,
    seed: int = 0,
    specs: Mapping[str, Any] | None = None,
    mode: str = "backward",
    rankdir: str = "auto",
    values: str = "auto",
    precision: int = 2,
    names: Mapping[str, Any] | None = None,
    collapse: bool | int | Sequence[str] | None = None,
    max_nodes: int | None = 400,
    title: str | None = None,
    legend: bool = True,
    theme: str = "light",
    engine: str = "auto",
    timeout: float = 30.0,
    **shapes: Any,
) -> Picture:
    """The derived backward as a picture, and in it what is wrong with a hand-written one.

    ``diagnose`` compares ``backward(dy, *arrays)`` with the backward derived from ``reference``. Paths
    on which they agree are grey. The path of a wrong term is thick and says by what it is multiplied,
    ``× −1``, or what else is wrong: ``missing``, ``local rule``, ``axis``. What is wrong with a gradient
    as a whole stands where it arrives. Cards of wrong gradients show both, the derived one and ``yours``.

    The numbers are those of one generic problem, with ``arrays`` those of the arrays, with a random dy.
    ``wrt``, ``extras``, ``dims``, ``domains``, ``seed`` and ``**shapes`` are as in ``diagnose``, the rest
    as in ``draw``, but for ``mode``: "backward", the derived one alone; "lanes", below the forward;
    "both", on the forward's wires. Where the reference has an argument of such a name, its shape goes
    into ``specs={"mode": "N C"}``.

    Raises: ArgumentError for a wrong call; GraphTooLarge if no folding makes it small enough.

    >>> import numpy as np, tinygraph as tg
    >>> def centred(x):
    ...     mu = tg.mean(x, axis=0)
    ...     return x - mu
    >>> picture = tg.draw_diff(centred, lambda dy, x: dy + dy.mean(axis=0), x="N C")
    >>> picture.view.title
    'dx: term through mu multiplied by -1 (it has its sign flipped)'
    >>> [edge.label for edge in picture.view.edges if edge.label]
    ['× −1']
    """
    if not arrays:
        _check_names(reference, {**shapes, **(specs or {})})
    choose("draw_diff", "mode", mode, MODES)
    options = Options(mode, rankdir, values, precision, names, None, "", legend, collapse, max_nodes)
    check("draw_diff", options, theme, engine, timeout)
    found = diagnose(
        reference, backward, *arrays, wrt=wrt, extras=extras, dims=dims, domains=domains, seed=seed, specs=specs, **shapes
    )  # fmt: skip
    diff = Diff(found, plain(arrays), seed)
    shown = diff.title if title is None else title
    options = replace(options, names=diff.names(names), seed=diff.dy, title=shown, marks=diff.marks)
    seen = look(diff.graph, diff.graph.outputs, options)
    return Picture(diff.finished(seen, options), mode, theme, engine, timeout)


def _check_names(reference: Any, given: Mapping[str, Any]) -> None:
    """An argument that is called like an option must be told from it."""
    for name in parameters(reference)[1] if callable(reference) else ():
        if name in _SHARED and name not in given:
            raise ArgumentError(
                f"draw_diff: {name!r} is an argument of the reference, and an option here; give the argument's shape in "
                f'specs={{{name!r}: "N C"}}'
            )


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding in the graph: the contributions that are wrong, where the label stands, and the label."""

    finding: Finding
    label: str
    steps: frozenset[Step]
    at: Step


class Diff:
    """A diagnosis on one problem: the graph of the reference there, and which contributions are wrong."""

    def __init__(self, found: Diagnosis, arrays: Sequence[Any], seed: int) -> None:
        notes: Notes = found._notes
        self.findings, self.probes, self.kernel = found.findings, found.probes, notes.kernel
        trial = notes.trial
        if arrays:
            given = Trial(notes.reference, notes.kernel, arrays, {}, seed)
            trial = given if _alike(given.tape, trial.tape) else trial
        dys = list(trial.dy) if isinstance(trial.dy, tuple) else [trial.dy]
        self.dy = dys[0] if len(dys) == 1 else dys
        self.gradients = trial.observe().gradients
        opened = [
            tensor(a, requires_grad=n in trial.place) for n, a in zip(self.kernel.names, trial.arrays, strict=True)
        ]
        self.graph, self._names = trace_named(notes.reference, opened)
        self.tape = Tape(self.graph)
        self.faults = list(_faults(notes, found.findings))
        self.wrong = sorted({step for fault in self.faults for step in fault.steps})

    @property
    def title(self) -> str:
        """What was found."""
        if not self.findings:
            return f"agrees on {self.probes} generic probes"
        first, leaves = self.findings[0], [finding.leaf for finding in self.findings]
        if len({(finding.kind, finding.text, finding.factor) for finding in self.findings}) == 1:
            return clean(replace(first, leaf=", ".join(leaves)).line, TITLE)
        return clean(f"{len(leaves)} findings: {', '.join(f.line.partition(':')[0] for f in self.findings)}", TITLE)

    def names(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """What the wires are called: as in the doctor's words."""
        return {**(given or {}), **{name: t for t, name in self._names.given.items()}}

    @property
    def marks(self) -> dict[Any, tuple[str, str]]:
        """A mark for every contribution. The label of a wrong one is, for now, its place among these."""
        places = {step: str(n) for n, step in enumerate(self.wrong)}
        return {
            (self.tape.tensors[k], i): ("wrong", places[k, i]) if (k, i) in places else ("agrees", "")
            for k, taken in self.tape.steps.items()
            for i in range(len(taken.operands))
        }

    # -- the finished View -------------------------------------------------------------------

    def finished(self, seen: View, options: Options) -> View:
        """The View with every edge marked, labels where they belong, and both numbers on wrong cards."""
        edges = self._said(_settled(seen, list(map(_spoken, seen.edges))))
        nodes = list(seen.nodes)
        for finding in self.findings:
            whole = not any(fault.finding is finding for fault in self.faults) or finding.kind in _ELSEWHERE
            for leaf in finding.leaf.split(", ") if finding.leaf else self.kernel.wrt:
                place = _card(seen, leaf)
                if place is None:
                    continue
                card = nodes[place]
                assert isinstance(card, Wire)
                if whole:
                    edges = _arriving(edges, card, _word(finding), finding.line)
                if finding.leaf and "yours " not in card.gradient:
                    nodes[place] = self._compared(card, leaf, options)
        legend = (*seen.legend, *(LEGEND if self.findings else LEGEND[:1])) if options.legend else ()
        return replace(seen, nodes=tuple(nodes), edges=tuple(edges), legend=legend)

    def _said(self, edges: Sequence[Edge]) -> list[Edge]:
        """Wrong edges with the findings in their tooltips; the label once, where it belongs, else nearest the leaf."""
        steps = [self.wrong[int(edge.label.rstrip(_ON))] if edge.label else None for edge in edges]
        labels: dict[int, list[str]] = {}
        for fault in self.faults:
            own = [i for i, edge in enumerate(edges) if steps[i] in fault.steps and not edge.label.endswith(_ON)]
            if at := [i for i in own if steps[i] == fault.at] or own:
                nearest = at[-1] if edges[at[-1]].backward else at[0]
                labels.setdefault(nearest, []).append(fault.label)
        return [
            replace(
                edge,
                label=", ".join(dict.fromkeys(labels.get(i, ()))),
                tooltip=_lines(edge.tooltip, [f.finding.line for f in self.faults if step in f.steps]),
            )
            for i, (edge, step) in enumerate(zip(edges, steps, strict=True))
        ]

    def _compared(self, card: Wire, leaf: str, options: Options) -> Wire:
        """The card with what the kernel gave."""
        if self.gradients is None:
            return card
        yours = np.asarray(self.gradients[self.kernel.wrt.index(leaf)])
        said, finite = row(yours, options.values, options.precision)
        if yours.shape != np.shape(card.cotangent):
            said = f"{said} {yours.shape}".lstrip()
        if not said:
            return card
        said = f"yours {said}"
        tooltip, gradient = _lines(card.tooltip, [said]), "\n".join(filter(None, (card.gradient, said)))
        return replace(card, gradient=gradient, finite=card.finite and finite, tooltip=tooltip)


def _alike(one: Tape, other: Tape) -> bool:
    """Whether two runs of the reference took the same steps: then a place on one tape is that on the other."""
    steps = [[(k, s.op.name, s.operands) for k, s in tape.steps.items()] for tape in (one, other)]
    return steps[0] == steps[1]


# -- findings as contributions ---------------------------------------------------------------------


def _faults(notes: Notes, findings: Sequence[Finding]) -> Iterator[Fault]:
    """The findings that are about terms or steps, each term by itself."""
    tape = notes.trial.tape
    live = {leaf: _live(notes, leaf) for leaf in notes.kernel.wrt}
    wrong = [(f, label, paths) for f in findings for label, paths in _wrong(f, live.get(f.leaf, ()), tape)]
    about = [path for _, _, paths in wrong for path in paths]
    zero = _cancelled(notes.trial)
    agreeing = [p for paths in live.values() for p in paths if p not in about and zero.isdisjoint(p.nodes)]
    right = {step for path in agreeing for step in _steps(path, tape)}
    for finding, label, paths in wrong:
        others = {step for path in about if path not in paths for step in _steps(path, tape)}
        taken = list(dict.fromkeys(step for path in paths for step in _from(_steps(path, tape), finding._edges)))
        own = [step for step in taken if step not in right] or taken
        special = [step for step in own if step in finding._edges] or [s for s in own if s not in others] or own
        if own:  # not where the output is the leaf
            yield Fault(finding, label, frozenset(own), special[-1])


def _live(notes: Notes, leaf: str) -> list[Path]:
    """The paths to a leaf whose terms do not vanish."""
    trial = notes.trial
    paths = labelled(find_paths(trial.tape, trial.place[leaf], notes.max_paths), trial.tape, trial.names)
    top = trial.mass(leaf, paths).max(initial=0)
    terms = trial.terms(leaf, paths)
    return [p for p, term in zip(paths, terms, strict=True) if np.abs(term).max(initial=0) > NULL * top]


def _cancelled(trial: Trial) -> set[int]:
    """The nodes whose contributions cancel: all that goes on from there vanishes, whoever computes it."""
    tape, dys = trial.tape, [np.abs(d) for d in trial.dys]
    with np.errstate(all="ignore"):
        masses = tape.backward(trial.values, dys, [*trial.place.values()], lambda k, i, g, v, derived: abs(derived()))
    return {k for k, mass in masses.items() if np.abs(trial.totals[k]).max(initial=0) <= NULL * np.max(mass, initial=0)}


def _wrong(finding: Finding, live: Sequence[Path], tape: Tape) -> Iterator[tuple[str, list[Path]]]:
    """The paths that a finding is about, with a label for each term; nothing for a whole gradient."""
    if finding.term not in ("", "all"):
        factors = finding.factor.split("; ") if finding.factor else []
        for n, term in enumerate(finding.term.split("; ")):
            label = _factor(factors[n]) if n < len(factors) else _word(finding)
            if paths := [path for path in live if path.label == term]:
                yield label, paths
    elif paths := [path for path in live if set(finding._edges) & set(_steps(path, tape))]:
        yield _word(finding), paths


def _steps(path: Path, tape: Tape) -> list[Step]:
    """The contributions along a path, from the output to the leaf."""
    return [(k, i) for k, j in path.edges for i, operand in enumerate(tape.steps[k].operands) if operand == j]


def _from(steps: Sequence[Step], edges: Sequence[Step]) -> list[Step]:
    """The steps from the wrong one on: what comes before it is right."""
    first = min((steps.index(edge) for edge in edges if edge in steps), default=0)
    nodes = {k for k, _ in edges}  # whose other operands may be on the path as well
    return [step for step in steps[first:] if step in edges or step[0] not in nodes]


def _word(finding: Finding) -> str:
    """A word or a factor for an edge."""
    if finding.kind == "factor":
        return _factor(finding.factor)
    return _WORDS.get(finding.kind, finding.kind.replace("-", " "))


def _factor(symbol: str) -> str:
    return "missing" if symbol == "0" else minus(f"× {symbol}")


# -- edges and cards of a View ------------------------------------------------------------------------


def _spoken(edge: Edge) -> Edge:
    """The edge without a mark where no gradient runs: the forward is not in question."""
    return edge if edge.backward or edge.gradient else replace(edge, mark="", label="")


def _settled(seen: View, edges: Sequence[Edge]) -> list[Edge]:
    """Marks for all edges on which gradients run; between contributions as what they pass on is marked."""
    before: dict[str, list[Edge]] = {}
    if not seen.lanes:
        for edge in edges:
            if edge.gradient:
                before.setdefault(edge.tail, []).append(edge)
        return [_passed_on(edge, before.get(edge.head, ())) if edge.gradient else edge for edge in edges]
    alive = _seeds(seen)
    settled = []
    for edge in edges:  # in the order of time
        if edge.backward and edge.tail in alive:
            settled.append(_passed_on(edge, before.get(edge.tail, ())))
            before.setdefault(edge.head, []).append(settled[-1])
            alive.add(edge.head)
        else:  # what the forward has saved, and what is computed of that alone, is right
            settled.append(replace(edge, mark="agrees", label="") if edge.backward else edge)
    return settled


def _seeds(seen: View) -> set[str]:
    """Where the backward begins, as far as that is seen."""
    reached = {edge.head for edge in seen.edges}
    wires = {w.id for w in seen.wires if w.backward and w.role not in ("saved", "constant")}
    return wires - reached | {node.id for node in seen.nodes if isinstance(node, Fold)}


def _passed_on(edge: Edge, before: Sequence[Edge]) -> Edge:
    """The edge; if it has no mark of its own, wrong where all is wrong that it passes on."""
    if edge.mark:
        return edge
    wrong = bool(before) and all(e.mark == "wrong" for e in before)
    return (
        replace(edge, mark="wrong", label=before[0].label.rstrip(_ON) + _ON) if wrong else replace(edge, mark="agrees")
    )


def _card(seen: View, leaf: str) -> int | None:
    """Where the card of a gradient is among the nodes: in lanes below, else that of the leaf itself."""
    name = partial(leaf) if seen.lanes else leaf
    for place, node in enumerate(seen.nodes):
        if isinstance(node, Wire) and node.role in _LEAVES and node.backward == seen.lanes and node.name == name:
            return place
    return None


def _arriving(edges: Sequence[Edge], card: Wire, label: str, line: str) -> list[Edge]:
    """The edges with those marked by which a gradient arrives at its card."""
    places = [i for i, e in enumerate(edges) if card.id == (e.head if e.backward else e.tail if e.gradient else "")]
    found = list(edges)
    for i in places:
        said = ", ".join(filter(None, (found[i].label, label))) if i == places[-1] else found[i].label
        found[i] = replace(found[i], mark="wrong", label=said, tooltip=_lines(found[i].tooltip, [line]))
    return found


def _lines(tooltip: str, more: Iterable[str]) -> str:
    """A tooltip with more lines, each said once."""
    lines = tooltip.split("\n")
    return clean("\n".join((*lines, *(line for line in dict.fromkeys(more) if line not in lines))), TOOLTIP)
