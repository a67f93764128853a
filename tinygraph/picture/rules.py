"""The rule by which a cotangent goes back through an op, as a formula: ``∂x = ∂y·w``.

The text is that of the engine's own rule, applied to operands that are only names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.autodiff import fit
from ..core.graph import Graph
from ..core.scope import ANOMALY, GRAD, TRACE, flags
from ..core.tensor import Tensor, make
from .naming import constants, expressions, inside, partial

LARGEST = 1_000_000  # elements of an operand; the rule is really applied, which takes as long as a backward
WIDEST = 60  # characters of a formula; a longer one says less than the name of the op

# Characters for private use stand for the cotangent, the result and the operands.
_COTANGENT, _RESULT, _OPERAND = "\ue000", "\ue001", 0xE010


class Rules:
    """Formulas for the ops of one picture; each rule is applied once for each kind of operands."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[str, ...]] = {}

    def of(self, t: Tensor, name: str, operands: Sequence[str]) -> tuple[str, ...]:
        """How the cotangent of ``t`` goes to each operand; "" for an operand that gets nothing.

        >>> import tinygraph as tg
        >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
        >>> Rules().of(tg.exp(x), "y", ["x"])
        ('∂x = ∂y·y',)
        """
        node = t.node
        if node is None or node.op.pullback is not None or len(operands) > 16:
            return ()
        if max([t.size, *(x.size for x in node.inputs)]) > LARGEST:
            return ()
        key = (node.op, repr(node.params), tuple((x.shape, x.dtype, type(x._data)) for x in node.inputs))
        if key not in self._known:
            self._known[key] = tuple(_template(t, i) for i in range(len(operands)))
        meant = {_COTANGENT: name, _RESULT: name} | {chr(_OPERAND + i): x for i, x in enumerate(operands)}
        return tuple(
            f"{partial(operand)} = {_filled(template, meant)}" if template else ""
            for template, operand in zip(self._known[key], operands, strict=True)
        )


def _filled(template: str, meant: dict[str, str]) -> str:
    """The template with names in it; one that is a whole argument of a function needs no parentheses."""
    words = []
    for i, c in enumerate(template):
        alone = template[i - 1 : i] in ("(", " ") and template[i + 1 : i + 2] in (")", ",")
        if c == _COTANGENT:
            words.append(partial(meant[c]))
        else:
            words.append(meant[c] if alone and c in meant else inside(meant[c]) if c in meant else c)
    return "".join(words)


def _template(t: Tensor, argument: int) -> str:
    """The rule for one argument, in placeholders; "" if it has none, or none that fits."""
    node = t.node
    assert node is not None
    like = node.inputs[argument]._data
    if not isinstance(like, np.ndarray) or like.dtype.kind != "f":
        return ""
    inputs = [make(x._data) for x in node.inputs]
    g, out = make(np.ones(t.shape, t.dtype)), make(t._data)
    own = {g: _COTANGENT, out: _RESULT, **{x: chr(_OPERAND + i) for i, x in enumerate(inputs)}}
    with np.errstate(all="ignore"), flags(add=TRACE | GRAD, remove=ANOMALY):
        try:
            rule: Any = node.op.vjps[argument]
            contribution = fit(rule(g, out, *inputs, **node.params), like)
        except Exception:  # a picture shows also what cannot be differentiated
            return ""
    graph = Graph([contribution])
    order = (*own, *(x for x in graph.captured if x not in own), *graph.nodes)
    found = expressions(order, graph.operands, own, constants(graph), lambda _: "…", WIDEST)
    text = found[graph.outputs[0]].text
    return "" if "…" in text else text
