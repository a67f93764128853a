"""Zero sums: along the axes of the mean, the sum of ``x - mean(x)`` is zero."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.graph import Graph
from ...core.tensor import OPS, Tensor
from ..graphs import again, apply
from .products import realise, total
from .rewriting import alike, changed, instead, node_of, op_of, replaced
from .sums import Term, axes_of, freed, read_sum


def run(graph: Graph) -> Graph:
    """Leave out of sums and means what adds up to zero: a centred value times what is constant along the axes.

    Eager code gets the rounding errors of the same zero. The one pass that may drop a nan.
    """
    count = freed(graph)

    def find(t: Tensor, new: Mapping[Tensor, Tensor]) -> Tensor | None:
        whole = read_sum(graph, t)
        left = [x for x in whole.terms if not _is_zero(graph, x, t)] if whole else []
        if whole is None or len(left) == len(whole.terms):
            return None
        if not left:
            return _zero(graph, whole.terms[0], t, new)
        negative = all(x.root_negative for x in left)
        rest = total([(x.root_negative ^ negative, x.root) for x in left])
        if len(left) + negative > count(t, whole.added):
            return None
        (x,) = graph.operands(t)
        if rest.shape != x.shape:
            return None
        short = again(t, [realise(rest, new, node_of(t).scope)])
        return instead(t, OPS["neg"], [short]) if negative else short

    after = changed(replaced(graph, find), _without_zeros)
    return after if len(after.nodes) <= len(graph.nodes) else graph


def _without_zeros(t: Tensor, operands: tuple[Tensor, ...]) -> Tensor | None:
    """What is left of an op that adds zeros or multiplies by them."""
    name, zero = op_of(t), [x for x in operands if op_of(x) == "zeros_like"]
    if not zero or t.dtype.kind != "f":
        return None
    found = None
    if name in ("neg", "mul", "mul0") or (name in ("div", "div0") and zero[0] is operands[0]):
        found = zero[0]
    elif name == "sub" and zero[0] is operands[0]:
        return instead(t, OPS["neg"], operands[1:]) if alike(operands[1], t) else None
    elif name in ("add", "sub"):
        found = operands[1] if zero[0] is operands[0] else operands[0]
    return found if found is not None and alike(found, t) else None


def _is_zero(graph: Graph, term: Term, t: Tensor) -> bool:
    """Whether the sum ``t`` of a term is zero, whatever the values."""
    if len(term.core) != 1:
        return False
    (c,) = term.core
    centre = centre_of(graph, c)
    return centre is not None and set(axes_of(centre)) <= set(axes_of(t))


def centre_of(graph: Graph, c: Tensor) -> Tensor | None:
    """The mean of ``x`` over axes, if ``c`` is ``x - mean(x)``."""
    if op_of(c) != "sub":
        return None
    x, m = graph.operands(c)
    repeated = op_of(m) in ("spread", "broadcast_to", "expand_dims", "reshape")
    mean = graph.operands(m)[0] if repeated else m
    if op_of(mean) != "mean" or graph.operands(mean)[0] is not x or c.shape != x.shape:
        return None
    kept = tuple(1 if a in axes_of(mean) else n for a, n in enumerate(x.shape))
    along = _repeated(m)
    return mean if (1,) * (x.ndim - len(along)) + along == kept else None


def _repeated(m: Tensor) -> tuple[int, ...]:
    """The shape of ``m`` before it is repeated."""
    if op_of(m) == "spread" and (axes := axes_of(m)):
        return tuple(1 if a in axes else n for a, n in enumerate(m.shape))
    return node_of(m).inputs[0].shape if op_of(m) in ("spread", "broadcast_to") else m.shape


def _zero(graph: Graph, term: Term, t: Tensor, new: Mapping[Tensor, Tensor]) -> Tensor | None:
    """Zeros in the shape of ``t``, which is that of the mean, or has its axes kept in the other way."""
    mean = centre_of(graph, term.core[0])
    if mean is None or axes_of(mean) != axes_of(t):
        return None
    like, keep = new[mean], node_of(t).params["keepdims"]
    if keep != node_of(mean).params["keepdims"]:
        like = apply(OPS["expand_dims" if keep else "squeeze"], [like], {"axis": axes_of(t)}, node_of(t).scope)
    return instead(t, OPS["zeros_like"], [like]) if alike(like, t) else None
