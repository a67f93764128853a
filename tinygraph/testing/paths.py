"""A gradient as a sum over paths: one term for every way from an output back to an argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.graph import argument_names
from ..errors import ArgumentError
from .derived import draw_upstream
from .kernel import choose_wrt, plain
from .naming import Names, trace_named
from .tape import Hook, Tape

Array = np.ndarray[Any, Any]
MAX_PATHS = 64


@dataclass(frozen=True, slots=True)
class Path:
    """The places of the nodes from ``start`` to the leaf; ``merged`` if all ways to ``start`` are taken together."""

    nodes: tuple[int, ...]
    leaf: int
    output: int | None
    label: str = ""

    @property
    def edges(self) -> list[tuple[int, int]]:
        """(node, what it was applied to) along the path."""
        return list(zip(self.nodes, (*self.nodes[1:], self.leaf), strict=False))


def find_paths(tape: Tape, leaf: int, max_paths: int = MAX_PATHS) -> list[Path]:
    """All paths to a leaf in the order in which reverse mode takes them; above ``max_paths`` those that
    meet at a node are taken together.
    """
    active = tape.active([leaf])
    merged: set[int] = set()
    ends = [k for k in dict.fromkeys(tape.outputs) if k in active and k in tape.steps]
    while _count(tape, leaf, active, ends, merged) > max_paths:
        candidates = [k for k in tape.steps if k in active and k not in merged and len(tape.consumers.get(k, ())) > 1]
        if not candidates:
            break
        counts = {k: _count(tape, leaf, active, ends, merged | {k}) for k in candidates}
        # As many terms as may be kept; where one merger is not enough, the one that saves most.
        few = [k for k in candidates if counts[k] <= max_paths]
        merged.add(max(few, key=counts.__getitem__) if few else min(candidates, key=lambda k: (counts[k], -k)))
    found = [Path((), leaf, o) for o, k in enumerate(tape.outputs) if k == leaf]
    for o, k in enumerate(tape.outputs):
        if k in active and k in tape.steps and k not in merged:
            found += [Path(nodes, leaf, o) for nodes in _walk(tape, k, leaf, active, merged)]
    for k in sorted(merged, reverse=True):
        found += [Path(nodes, leaf, None) for nodes in _walk(tape, k, leaf, active, merged)]
    return found


def _count(tape: Tape, leaf: int, active: set[int], ends: Sequence[int], merged: set[int]) -> int:
    ways = {leaf: 1}
    for k, step in tape.steps.items():
        if k in active:
            ways[k] = sum(
                1 if j == leaf else 0 if j in merged else ways.get(j, 0) for j in _behind(tape, k, step, active)
            )
    return sum(ways[k] for k in {*ends, *merged})


def _behind(tape: Tape, k: int, step: Any, active: set[int]) -> list[int]:
    """What the node was applied to, each once: parallel edges are one."""
    return list(dict.fromkeys(j for i, j in enumerate(step.operands) if j in active and step.op.vjps[i] is not None))


def _walk(tape: Tape, start: int, leaf: int, active: set[int], merged: set[int]) -> list[tuple[int, ...]]:
    found = []
    stack: list[tuple[int, ...]] = [(start,)]
    while stack:
        nodes = stack.pop()
        for j in sorted(_behind(tape, nodes[-1], tape.steps[nodes[-1]], active)):
            if j == leaf:
                found.append(nodes)
            elif j not in merged:
                stack.append((*nodes, j))
    return found


def labelled(paths: Sequence[Path], tape: Tape, names: Names) -> list[Path]:
    """``direct`` for the shortest path, the others by what they go through that it does not."""
    if not paths:
        return []
    shortest = min(paths, key=lambda p: len(p.nodes))
    order = sorted(paths, key=lambda p: (p is not shortest, [-k for k in p.nodes]))
    order.sort(key=lambda p: (p is not shortest, -max((k for k in p.nodes if k not in shortest.nodes), default=0)))
    choices = [_labels(p, shortest, tape, names) for p in order]
    taken: dict[str, int] = {}
    labels = []
    for p, words in zip(order, choices, strict=True):
        label = "direct" if p is shortest else f"through {words[0]}"
        for more in words[1:]:
            if label not in taken:
                break
            label += f" and {more}"
        while label in taken:
            taken[label] += 1
            label = f"{label} ({taken[label]})"
        taken[label] = 1
        labels.append(label)
    return [Path(p.nodes, p.leaf, p.output, label) for p, label in zip(order, labels, strict=True)]


def _labels(path: Path, shortest: Path, tape: Tape, names: Names) -> list[str]:
    """Words for a path, the best first: named reductions off the shortest path, named nodes, other nodes."""
    off = [k for k in path.nodes if k not in shortest.nodes] or list(path.nodes)
    tensors = {k: tape.tensors[k] for k in off}
    named = [k for k in off if tensors[k] in names.given]
    reductions = [k for k in off if tape.steps[k].op.kind == "reduction"]
    order = [k for k in reductions if k in named] + named + reductions + off
    words = [names.given.get(tensors[k]) or names.scope(tensors[k]) or names.of(tensors[k]) for k in order]
    return list(dict.fromkeys(words)) or ["an output"]


def evaluate(
    path: Path, tape: Tape, values: list[Any], dys: Sequence[Any], hook: Hook | None = None, totals: Any = None
) -> Any:
    """The contribution of one path."""
    like = np.asarray(values[path.leaf])
    g = dys[path.output] if path.output is not None else totals[path.nodes[0]]
    for k, j in path.edges:
        total = None
        for i, operand in enumerate(tape.steps[k].operands):
            if operand == j and (c := tape.contribution(k, i, g, values, hook)) is not None:
                total = c if total is None else total + c
        if total is None:
            return np.zeros(like.shape, like.dtype)
        g = total
    return np.broadcast_to(g, like.shape) if np.shape(g) != like.shape else g


def contributions(reference: Callable[..., Any], *arrays: Any, wrt: Any = 0, dy: Any = None) -> dict[str, Array]:
    """The gradient of one argument as a sum over the paths of the graph: ``{"direct": …, "through mu": …}``.

    A path is named by the first reduction that it goes through and the shortest one does not, a node by
    its Tensor's name, the local variable that held it, its scope, or what it computes. The arrays add up
    to the derived gradient. Above 64 paths those that meet at a node are one term.

    ``wrt`` is an argument's position or name; ``dy`` is random by default.

    >>> import numpy as np
    >>> from tinygraph.testing import contributions
    >>> def centred(x):
    ...     mu = x.mean()
    ...     return x - mu
    >>> terms = contributions(centred, np.array([1.0, 2.0]), dy=np.array([3.0, 5.0]))
    >>> {label: term.tolist() for label, term in terms.items()}
    {'direct': [3.0, 5.0], 'through mu': [-4.0, -4.0]}
    """
    if not callable(reference):
        raise ArgumentError(f"contributions({reference!r}): takes a function first; write contributions(fn, *arrays)")
    given = plain(arrays)
    names_of_arguments = argument_names(reference, len(given))
    (leaf,) = choose_wrt("contributions", names_of_arguments, given, [wrt])
    upstream = draw_upstream(reference, given, 0) if dy is None else dy
    graph, names = trace_named(reference, given)
    tape = Tape(graph)
    place = names_of_arguments.index(leaf)
    dys = [
        np.broadcast_to(np.asarray(d, t.dtype), t.shape)
        for d, t in zip(upstream if isinstance(upstream, tuple) else (upstream,), graph.outputs, strict=True)
    ]
    with np.errstate(all="ignore"):
        values = tape.run(given)
        totals = tape.backward(values, dys, [place])
        paths = labelled(find_paths(tape, place), tape, names)
        return {p.label: np.array(evaluate(p, tape, values, dys, totals=totals)) for p in paths}
