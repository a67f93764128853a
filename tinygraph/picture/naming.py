"""Names for the wires of a picture: the user's, else a short expression, else that of the listing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from operator import not_
from typing import Any, NamedTuple

import numpy as np

from ..core.array import is_weak
from ..core.graph import Graph, source
from ..core.tensor import Parameter, Tensor
from .values import clean, number

WIDEST = 14  # characters of a derived expression

_SUM, _MATMUL, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4, 5
_INFIX = {  # the symbol, how strongly it binds, and how strongly its operands must
    "add": ("+", _SUM, _SUM),
    "sub": ("\u2212", _SUM, _SUM),
    "mul": ("·", _PRODUCT, _PRODUCT),
    "mul0": ("·", _PRODUCT, _PRODUCT),
    "div": ("/", _PRODUCT, _PRODUCT),
    "div0": ("/", _PRODUCT, _PRODUCT),
    "matmul": ("@", _MATMUL, _POWER),
}
_SAME_VALUES = frozenset({"reshape", "broadcast_to", "expand_dims", "squeeze", "ravel", "astype", "detach"})
_ASSOCIATIVE = frozenset("+·")
_PREFIX = {"neg": ("\u2212", _SUM), "sqrt": ("√", _POWER)}
_SUPERSCRIPT = {"2": "²", "3": "³"}
_OPERATOR = re.compile(r"[\s+\-\u2212*/·×÷@^]")


class Expression(NamedTuple):
    """A formula in short, and how strongly its outermost operator binds."""

    text: str
    binds: int = _ATOM

    def inside(self, binds: int) -> str:
        """The text as an operand, in parentheses where it binds less than its surroundings."""
        return self.text if self.binds >= binds else f"({self.text})"


def constants(graph: Graph) -> frozenset[Tensor]:
    """Leaves of one element that stand for a number: nothing trains, passes in or comes out there."""
    outputs = frozenset(graph.outputs)
    return frozenset(
        t
        for t in graph.captured
        if (is_weak(t._data) or t.size == 1) and not (isinstance(t, Parameter) or t.requires_grad or t in outputs)
    )


def labels(
    graph: Graph, names: Mapping[str, Any] | None = None, numbers: Container[Tensor] | None = None
) -> dict[Tensor, str]:
    """A label for every Tensor of a graph; labels need not be unique.

    ``names`` maps names to Tensors, as ``locals()`` does; what is no Tensor is skipped. ``numbers`` are
    the graph's ``constants``, where they are known.

    >>> import tinygraph as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> mu = tg.mean(x)
    >>> y = (x - mu) ** 2
    >>> list(labels(tg.Graph([y]), {"μ": mu}).values())
    ['x', '2', 'μ', 'x−μ', '(x−μ)²']
    """
    fallback, own = graph.names, _chosen(names)
    numbers = constants(graph) if numbers is None else numbers
    own.update({t: name for t in fallback if t.name and (name := clean(t.name))})
    order = (*graph.inputs, *graph.captured, *graph.nodes)
    found = expressions(order, graph.operands, own, numbers, lambda t: clean(fallback[t]))
    return {t: expression.text for t, expression in found.items()}


def expressions(
    order: Iterable[Tensor],
    operands: Callable[[Tensor], Sequence[Tensor]],
    own: Mapping[Tensor, str],
    numbers: Container[Tensor],
    fallback: Callable[[Tensor], str],
    widest: int = WIDEST,
) -> dict[Tensor, Expression]:
    """An expression for every Tensor in ``order``, operands first: its own name, a short formula, or ``fallback``."""
    known: dict[Tensor, Expression] = {}
    for t in order:
        name = own.get(t)
        if name:
            known[t] = _named(name)
        elif t in numbers:
            known[t] = _constant(t)
        else:
            formula = _derived(t.node.op.name, [known[x] for x in operands(t)], widest) if t.node is not None else None
            known[t] = formula or Expression(fallback(t))
    return known


def _named(name: str) -> Expression:
    whole = name.startswith("∂") and " " not in name  # as ``partial`` writes it
    return Expression(name, _ATOM if whole or not _OPERATOR.search(name) else 0)


def inside(name: str) -> str:
    """A name as part of a formula: in parentheses if it reads like one itself."""
    return _named(name).inside(_ATOM)


def partial(name: str) -> str:
    """The gradient with respect to what is called ``name``.

    >>> partial("x"), partial("x−μ")
    ('∂x', '∂(x−μ)')
    """
    return f"∂{inside(name)}"


def _chosen(names: Mapping[str, Any] | None) -> dict[Tensor, str]:
    chosen: dict[Tensor, str] = {}
    for name, t in (names or {}).items():
        if isinstance(t, Tensor):
            chosen.setdefault(source(t), clean(str(name)))
    return chosen


def _constant(t: Tensor) -> Expression:
    text = number(np.asarray(t._data).item())
    return Expression(text, _SUM if text.startswith("\u2212") else _ATOM)


def _derived(op: str, operands: Sequence[Expression], widest: int) -> Expression | None:
    expression = operands[0] if op in _SAME_VALUES else _formula(op, operands)
    return expression if _narrow(expression.text, widest) else None


def _narrow(text: str, widest: int) -> bool:
    """Whether a text fits; a combining accent, as in x̂, takes no room."""
    if len(text) <= widest or text.isascii():
        return len(text) <= widest
    return sum(map(not_, map(unicodedata.combining, text))) <= widest


def _formula(op: str, operands: Sequence[Expression]) -> Expression:
    if op in _INFIX and len(operands) == 2:
        return _infix(*_INFIX[op], *operands)
    if op == "pow" and len(operands) == 2:
        base, exponent = operands[0].inside(_ATOM), operands[1]
        return Expression(base + _SUPERSCRIPT.get(exponent.text, f"^{exponent.inside(_ATOM)}"), _POWER)
    if op in _PREFIX and len(operands) == 1:
        symbol, binds = _PREFIX[op]
        return Expression(symbol + operands[0].inside(binds + 1), binds)
    return Expression(f"{op}({', '.join([x.text for x in operands])})")


def _infix(symbol: str, binds: int, needs: int, left: Expression, right: Expression) -> Expression:
    plain = symbol in _ASSOCIATIVE and not right.text.startswith("\u2212")
    return Expression(left.inside(needs) + symbol + right.inside(needs if plain else needs + 1), binds)
