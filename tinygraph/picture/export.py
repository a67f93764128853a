"""View → plain data for JSON: all that a picture says, for the interactive page and for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from .model import Edge, Fold, Item, Op, Step, View, Wire
from .values import TOOLTIP, clean, minus, row

ELEMENTS = 1_000  # arrays up to this size are written out
LIMIT = 20_000_000  # characters that all arrays together may take

_WIDTH, _DIGITS = 88, 4


def record(view: View) -> dict[str, Any]:
    """All that a picture says, as dicts, lists, words and whole numbers: fit for JSON as it is.

    An array is text: all its numbers, or from ``ELEMENTS`` on a summary. When the arrays together pass
    ``LIMIT`` characters the rest become summaries too, and ``"shortened"`` is true.

    >>> import tinygraph as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> found = record(tg.draw(tg.sum(x * x)).view)
    >>> found["nodes"][0]["data"], found["nodes"][0]["uses"], found["edges"][0]["tail"]
    ('[1. 2.]', ['op1'], 'v1')
    """
    arrays = _Arrays()
    uses: dict[str, list[str]] = {}
    for edge in view.edges:
        if edge.role in ("use", "constant", "saved") and edge.head not in uses.setdefault(edge.tail, []):
            uses[edge.tail].append(edge.head)
    nodes = [_node(node, uses, arrays) for node in view.nodes]
    return {
        "title": view.title,
        "mode": view.mode,
        "rankdir": view.rankdir,
        "legend": [list(line) for line in view.legend],
        "counts": view.counts,
        "folded": {"folds": view.folded[0], "nodes": view.folded[1]},
        "shortened": arrays.shortened,
        "nodes": nodes,
        "edges": [_edge(edge) for edge in view.edges],
        "boxes": [{**asdict(box), "name": clean(box.name, TOOLTIP)} for box in view.boxes],
        "steps": steps(view),
    }


def steps(view: View) -> list[dict[str, Any]]:
    """The steps of the traversal: forward, the seed, backward.

    >>> import tinygraph as tg
    >>> x = tg.tensor(3.0, requires_grad=True, name="x")
    >>> [(step["dir"], step["text"]) for step in steps(tg.draw(tg.exp(x)).view)]
    [('forward', 'exp(x) = exp(x)')]
    """
    return [_step(step) for step in view.steps]


def _step(step: Step) -> dict[str, Any]:
    return {
        "dir": step.direction,
        "op": step.op,
        "inputs": list(step.inputs),
        "outputs": list(step.outputs),
        "edges": list(step.edges),
        "contributions": [asdict(contribution) for contribution in step.contributions],
        "text": step.text,
    }


def _edge(edge: Edge) -> dict[str, Any]:
    names = ("id", "tail", "head", "role", "gradient", "backward", "mark", "label")
    return {**{name: getattr(edge, name) for name in names}, "text": edge.tooltip}


def _node(node: Item, uses: Mapping[str, list[str]], arrays: _Arrays) -> dict[str, Any]:
    common = {"id": node.id, "text": node.tooltip, "box": node.box, "backward": node.backward}
    if isinstance(node, Fold):
        return {**common, "kind": "fold", "name": node.title, "caption": node.caption}
    if isinstance(node, Op):
        return {
            **common,
            "kind": "op",
            "name": node.symbol,
            "caption": node.caption,
            "fused": node.fused,
            "sum": node.sum,
            "rules": [rule for rule in node.rules if rule],
        }
    return {**common, **_wire(node, arrays), "uses": uses.get(node.id, [])}


def _wire(wire: Wire, arrays: _Arrays) -> dict[str, Any]:
    like = wire.data if wire.data is not None else wire.cotangent
    known = None if like is None else np.asarray(like)
    return {
        "kind": "tensor",
        "role": wire.role,
        "name": wire.name,
        "caption": wire.caption,
        "shape": None if known is None else list(known.shape),
        "dtype": None if known is None else str(known.dtype),
        "value": wire.value,
        "gradient": wire.gradient,
        "data": arrays.text(wire.data, wire.value),
        "cotangent": arrays.text(wire.cotangent, wire.gradient),
        "finite": wire.finite,
        "of": wire.of,
    }


class _Arrays:
    """Writes arrays out while there is room for them."""

    def __init__(self) -> None:
        self.room, self.shortened = LIMIT, False

    def text(self, data: Any, summary: str) -> str:
        """All elements of an array; what the picture says about it, where there are too many.

        The user's own ``np.set_printoptions`` change nothing: the same graph is the same page.
        """
        if data is None:
            return summary
        array = np.asarray(data)
        if array.size > ELEMENTS:
            count = f"{array.size:_} elements".replace("_", "\u00a0")
            return f"{count}\n{row(array).text}\n{row(array, 'stats').text}"
        with np.printoptions(formatter=None, nanstr="nan", infstr="inf", sign="-", suppress=False, legacy=False):
            text = minus(
                np.array2string(
                    array, max_line_width=_WIDTH, precision=_DIGITS, threshold=ELEMENTS, floatmode="maxprec"
                )
            )
        if len(text) > self.room:
            self.shortened = True
            return summary
        self.room -= len(text)
        return text
