"""A sum or mean over axes, read as what it adds up: products of factors that vary along the axes and factors that do not."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

import numpy as np

from ...core.graph import Graph
from ...core.tensor import Tensor
from ..graphs import uses
from .products import OVER, factorise, is_regular, summands
from .rewriting import node_of, op_of

SUMS = frozenset({"sum", "mean"})
_MOST = 32  # ops that are read for one sum, so that many sums of one long chain stay linear


@dataclass(slots=True)
class Term:
    """``± core · times / over``, of which only ``core`` varies along the axes; or ``± root``, as it stands."""

    negative: bool
    core: list[Tensor]
    times: list[Tensor]
    over: list[Tensor]
    strong: bool
    root: Tensor
    root_negative: bool


@dataclass(slots=True)
class Sum:
    """What a sum adds up."""

    terms: list[Term]
    added: list[Tensor]  # the additions and signs that the terms were read from
    opened: list[Tensor]  # these, and the products inside the terms


def axes_of(t: Tensor) -> tuple[int, ...]:
    axes: tuple[int, ...] = node_of(t).params["axis"]
    return axes


def is_spread_along(x: Tensor, ndim: int, axes: tuple[int, ...]) -> bool:
    """Whether ``x`` only repeats something along the axes of ``ndim``, which that does not have."""
    return x.ndim == ndim and op_of(x) == "spread" and axes_of(x) == axes


def varies(x: Tensor, ndim: int, axes: tuple[int, ...]) -> bool:
    """Whether ``x`` has more than one value along the axes of something of ``ndim`` axes that it broadcasts to."""
    if is_spread_along(x, ndim, axes):
        return False
    missing = ndim - x.ndim
    return any(a >= missing and x.shape[a - missing] != 1 for a in axes)


def read_sum(graph: Graph, t: Tensor, closed: Set[Tensor] = frozenset()) -> Sum | None:
    """What a sum or mean adds up, with the products ``closed`` as they are; None where it is not to be taken apart."""
    if op_of(t) not in SUMS or not axes_of(t):
        return None
    (x,) = graph.operands(t)
    if not is_regular(graph, t):
        return None
    axes, ndim = axes_of(t), x.ndim
    left = _MOST

    def within(y: Tensor) -> bool:
        nonlocal left
        left -= 1
        return left > 0 and is_regular(graph, y)

    def adds(y: Tensor) -> bool:
        full = all(z.shape == x.shape and varies(z, ndim, axes) for z in graph.operands(y))
        return full and within(y)

    def multiplies(y: Tensor) -> bool:
        if y in closed or not varies(y, ndim, axes) or (op_of(y) in OVER and varies(graph.operands(y)[1], ndim, axes)):
            return False
        return within(y)

    found, added = summands(graph, x, adds)
    terms, opened = [], list(added)
    for negative, root in found:
        product = factorise(graph, root, multiplies)
        core = [y for y in product.nums if varies(y, ndim, axes)]
        rest = [y for y in product.nums if not varies(y, ndim, axes)]
        shape = np.broadcast_shapes(*(y.shape for y in core))
        if len(shape) != ndim or any(shape[a] != x.shape[a] for a in axes):
            return None
        opened += product.opened
        terms.append(Term(negative ^ product.negative, core, rest, product.dens, product.strong, root, negative))
    return Sum(terms, added, opened)


def freed(graph: Graph) -> Callable[[Tensor, list[Tensor]], int]:
    """How many of the ops ``opened`` for ``t`` nothing else reads, so that they go with it; ``t`` itself counts."""
    read, outputs = uses(graph), set(graph.outputs)

    def count(t: Tensor, opened: list[Tensor]) -> int:
        gone = {t}
        for x in opened:
            if x not in outputs and all(y in gone for y in read[x]):
                gone.add(x)
        return len(gone)

    return count
