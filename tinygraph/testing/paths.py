"""A gradient as a sum over paths: one term for every way from an output back to an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.graph import argument_names
from ..errors import ArgumentError, ShapeError
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
    behind = _behind(tape, leaf)
    merged: set[int] = set()
    ends = [k for k in dict.fromkeys(tape.outputs) if k in behind]
    while _count(ways := _ways(behind, leaf, merged), ends, merged) > max_paths:
        candidates = [k for k in behind if k not in merged and len(tape.consumers.get(k, ())) > 1]
        if not candidates:
            break
        counts = {k: _count(_ways(behind, leaf, merged | {k}), ends, merged | {k}) for k in candidates}
        # As many terms as may be kept; where one merger is not enough, the one that saves most.
        few = [k for k in candidates if counts[k] <= max_paths]
        merged.add(max(few, key=counts.__getitem__) if few else min(candidates, key=lambda k: (counts[k], -k)))
    found = [Path((), leaf, o) for o, k in enumerate(tape.outputs) if k == leaf]
    for o, k in enumerate(tape.outputs):
        if k in behind and k not in merged:
            found += [Path(nodes, leaf, o) for nodes in _walk(behind, k, leaf, merged, ways)]
    for k in sorted(merged, reverse=True):
        found += [Path(nodes, leaf, None) for nodes in _walk(behind, k, leaf, merged, ways)]
    return found


def _behind(tape: Tape, leaf: int) -> dict[int, list[int]]:
    """For every node on a way to the leaf, what it was applied to, each once: parallel edges are one."""
    active = tape.active([leaf])
    return {
        k: list(dict.fromkeys(j for i, j in enumerate(s.operands) if j in active and s.op.vjps[i] is not None))
        for k, s in tape.steps.items()
        if k in active
    }


def _ways(behind: Mapping[int, Sequence[int]], leaf: int, merged: set[int]) -> dict[int, int]:
    """The number of ways from each node to the leaf that pass no merged node."""
    ways = {leaf: 1}
    for k, nodes in behind.items():
        ways[k] = sum(0 if j in merged else ways[j] for j in nodes)
    return ways


def _count(ways: Mapping[int, int], ends: Sequence[int], merged: set[int]) -> int:
    return sum(ways[k] for k in {*ends, *merged})


def _walk(
    behind: Mapping[int, Sequence[int]], start: int, leaf: int, merged: set[int], ways: Mapping[int, int]
) -> list[tuple[int, ...]]:
    found = []
    stack: list[tuple[int, ...]] = [(start,)]
    while stack:
        nodes = stack.pop()
        for j in sorted(behind[nodes[-1]]):
            if j == leaf:
                found.append(nodes)
            elif j not in merged and ways[j]:  # what only leads to merged nodes is part of theirs
                stack.append((*nodes, j))
    return found


def labelled(paths: Sequence[Path], tape: Tape, names: Names) -> list[Path]:
    """``direct`` for the shortest path, the others by what they go through that it does not."""
    if not paths:
        return []
    shortest = min(paths, key=lambda p: len(p.nodes))

    def place(p: Path) -> tuple[Any, ...]:
        """The later it leaves the shortest path, the earlier; then the shorter: the plain label is the simpler path's."""
        off = max((k for k in p.nodes if k not in shortest.nodes), default=0)
        return p is not shortest, -off, len(p.nodes), [-k for k in p.nodes]

    order = sorted(paths, key=place)
    words = [_labels(p, shortest, tape, names) for p in order]
    said = ["direct" if p is shortest else f"through {w[0]}" for p, w in zip(order, words, strict=True)]
    depth = [1] * len(order)
    while len(set(said)) < len(said):
        for label in [s for s in dict.fromkeys(said) if said.count(s) > 1]:
            # The plain name is that of the path with the least to say; the others say one word more.
            same = sorted((i for i, s in enumerate(said) if s == label), key=lambda i: len(words[i]))
            for number, i in enumerate(same[1:], 2):
                words[i][depth[i] :] = sorted(words[i][depth[i] :], key=words[same[0]].__contains__)
                more = depth[i] < len(words[i])
                said[i] += f" and {words[i][depth[i]]}" if more else f" ({number})"
                depth[i] += more
    return [Path(p.nodes, p.leaf, p.output, label) for p, label in zip(order, said, strict=True)]


def _labels(path: Path, shortest: Path, tape: Tape, names: Names) -> list[str]:
    """Words for a path, the best first: named reductions off the shortest path, named nodes, other nodes."""
    off = [k for k in path.nodes if k not in shortest.nodes] or list(path.nodes)
    tensors = {k: tape.tensors[k] for k in off}
    reductions = [k for k in off if tape.steps[k].op.kind == "reduction"]
    named = [k for k in off if tensors[k] in names.given and tensors[k] not in names.inner]
    inner = [k for k in off if tensors[k] in names.inner]
    order = [k for k in reductions if k in named] + named + reductions + inner + off
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

    ``wrt`` is an argument's position or name; ``dy`` is random by default, a tuple for several outputs.

    Raises: ArgumentError for an argument without a gradient; ShapeError for dy of another shape than the output's.

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
    dys = [np.asarray(d) for d in (upstream if isinstance(upstream, (tuple, list)) else (upstream,))]
    due = [t.shape for t in graph.outputs]
    if [d.shape for d in dys] != due:
        shapes = " and ".join(str(d.shape) for d in dys)
        raise ShapeError(
            f"contributions(dy of shape {shapes}): the reference returns {' and '.join(map(str, due))}; give dy in that shape"
        )
    dys = [d.astype(t.dtype) for d, t in zip(dys, graph.outputs, strict=True)]
    with np.errstate(all="ignore"):
        values = tape.run(given)
        totals = tape.backward(values, dys, [place])
        paths = labelled(find_paths(tape, place), tape, names)
        return {p.label: np.array(evaluate(p, tape, values, dys, totals=totals)) for p in paths}
