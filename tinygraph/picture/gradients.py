"""The gradients of a picture: one reverse pass, by the engine's own traversal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.autodiff import as_seed, sweep
from ..core.graph import Graph, source
from ..core.scope import ANOMALY, GRAD, TRACE, flags
from ..core.tensor import Tensor, describe
from ..errors import ArgumentError, StaleError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Pass:
    """What one reverse pass found, or the ``note`` that says why there was none.

    ``totals`` are the gradients; ``parts`` holds what each argument of each result contributed;
    both in the order in which the engine visits them. ``seeds`` are the cotangents it began with.
    """

    totals: dict[Tensor, Any] = field(default_factory=dict)
    parts: dict[tuple[Tensor, int], Any] = field(default_factory=dict)
    seeds: dict[Tensor, Array] = field(default_factory=dict)
    note: str = ""


def reverse(graph: Graph, outputs: Sequence[Tensor], seed: Any = None) -> Pass:
    """One reverse pass from ``outputs``, with ``seed`` or those of the last ``backward()``.

    >>> import tinygraph as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> y = x * x
    >>> found = reverse(tg.Graph([y]), [y], seed=1.0)
    >>> found.totals[x].item(), [part.item() for part in found.parts.values()]
    (6.0, [3.0, 3.0])
    """
    if not graph.nodes:
        return Pass(note="nothing recorded: use tg.trace(fn, *args).draw()")
    pending = _seeds(outputs, seed)
    if not any(t.requires_grad for t in graph.outputs):
        return Pass(note="no gradients: nothing here requires one")
    if not pending:
        return Pass(note="no gradients yet: call backward() or pass seed=")
    return _pass(graph, pending)


def _pass(graph: Graph, pending: dict[Tensor, Any]) -> Pass:
    wanted = [t for t in (*graph.inputs, *graph.captured, *graph.nodes) if t.requires_grad]
    seeds = {t: np.asarray(g) for t, g in pending.items()}
    parts: dict[tuple[Tensor, int], Any] = {}
    # A picture shows a nan instead of stopping at it, and is itself never recorded.
    with np.errstate(all="ignore"), flags(remove=GRAD | TRACE | ANOMALY):
        try:
            for t, argument, part in sweep(pending, wanted):
                parts[t, argument] = part
        except StaleError:
            names = [f"'{t.name}'" if t.name else "a parameter" for t in stale(graph)]
            verb = "was" if len(names) == 1 else "were"
            return Pass(note=f"no gradients: {_listed(names)} {verb} assigned after the forward")
    return Pass({t: pending[t] for t in wanted if t in pending}, parts, seeds)


def stale(graph: Graph) -> list[Tensor]:
    """Parameters that were assigned after a node of the graph had read them."""
    if not any(x.stamp for x in (*graph.inputs, *graph.captured)):  # nothing was ever assigned
        return []
    found = dict.fromkeys(
        x
        for t in graph.nodes
        for x in graph.operands(t)
        if x.stamp > t.node.serial  # type: ignore[union-attr]
    )
    return list(found)


def _seeds(outputs: Sequence[Tensor], seed: Any) -> dict[Tensor, Any]:
    """The cotangents to begin with: what is given twice adds up, what is remembered counts once."""
    pending: dict[Tensor, Any] = {}
    remembered: set[Tensor] = set()
    for t, given in zip(outputs, _one_each(outputs, seed), strict=True):
        found, output = given, source(t)
        if found is None and t not in remembered:
            found = t.seed
            remembered.add(t)
        if found is None:
            continue
        g = as_seed(output, found, "draw", "seed")._data  # raises, whether it is needed or not
        if output.requires_grad:
            with np.errstate(all="ignore"):
                pending[output] = pending[output] + g if output in pending else g
    return pending


def _one_each(outputs: Sequence[Tensor], seed: Any) -> list[Any]:
    if seed is None or len(outputs) == 1:
        return [seed] * len(outputs)
    if not isinstance(seed, (list, tuple)) or len(seed) != len(outputs):
        raise ArgumentError(
            f"draw({', '.join(map(describe, outputs))}, seed={describe(seed)}): there are {len(outputs)} outputs; "
            "give a list with one seed, or None, for each"
        )
    return list(seed)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
