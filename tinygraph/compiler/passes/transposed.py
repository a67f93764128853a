"""Transposed products: the transpose of ``a @ b`` is ``bᵀ @ aᵀ``, which needs none where ``a`` is a transpose itself."""

from __future__ import annotations

from ...core.graph import Graph
from ...core.tensor import OPS, Tensor
from ..graphs import uses
from .rewriting import changed, instead, node_of, op_of

_SWAPPED = (1, 0)


def run(graph: Graph) -> Graph:
    """Write the transpose of a product of matrices, one of which is a transpose, as the product that is in order.

    The gradient of ``x @ Wᵀ`` by ``W`` is then ``dyᵀ @ x``, as ``W`` lies in memory. Equal but for the order of sums.
    """
    read, outputs = uses(graph), set(graph.outputs)

    def rule(t: Tensor, operands: tuple[Tensor, ...]) -> Tensor | None:
        (x,) = graph.operands(t) if op_of(t) == "transpose" else (None,)
        if x is None or node_of(t).params["axes"] != _SWAPPED or op_of(x) != "matmul":
            return None
        if len(read[x]) > 1 or x in outputs:
            return None
        a, b = node_of(operands[0]).inputs
        if not (_is_transposed(a) or _is_transposed(b)):
            return None
        return instead(t, OPS["matmul"], (_transposed(t, b), _transposed(t, a)))

    return changed(graph, rule)


def _is_transposed(x: Tensor) -> bool:
    return op_of(x) == "transpose" and x.ndim == 2


def _transposed(t: Tensor, x: Tensor) -> Tensor:
    if _is_transposed(x):
        inner: Tensor = node_of(x).inputs[0]
        return inner
    return instead(t, OPS["transpose"], (x,), {"axes": _SWAPPED})
