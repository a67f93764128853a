"""Sums and products as lists of what is added and multiplied, and expressions built of them before they become nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Union

import numpy as np

from ...core.array import is_weak
from ...core.graph import Graph
from ...core.scope import Scope
from ...core.tensor import OPS, Tensor
from ..graphs import apply
from .rewriting import op_of

Opens = Callable[[Tensor], bool]
TIMES, OVER = frozenset({"mul", "mul0"}), frozenset({"div", "div0"})
STRONG = frozenset({"mul0", "div0"})
PRODUCTS = TIMES | OVER | {"neg"}
_MOST = 64  # ops that are read as one product, so that a long chain of them stays linear


@dataclass(slots=True)
class Product:
    """A result as ``± nums / dens``; ``opened`` are the ops that it was read from, outer ones first."""

    negative: bool = False
    strong: bool = False
    nums: list[Tensor] = field(default_factory=list)
    dens: list[Tensor] = field(default_factory=list)
    opened: list[Tensor] = field(default_factory=list)


def is_regular(graph: Graph, t: Tensor) -> bool:
    """A float32 or float64 array of operands of that dtype and of Python numbers: nothing is cast on the way.

    Float16 ends at 65504, so that another order of its factors may overflow.
    """
    if is_weak(t._data) or t.dtype not in (np.float32, np.float64):
        return False
    return all(is_weak(x._data) or x.dtype == t.dtype for x in graph.operands(t))


def factorise(graph: Graph, t: Tensor, opens: Opens) -> Product:
    """``t`` as a product, read through the products, quotients and negations that ``opens`` allows."""
    product = Product()
    waiting = [(t, False)]
    while waiting:
        x, under = waiting.pop()
        name = op_of(x)
        if name not in PRODUCTS or len(product.opened) == _MOST or not opens(x):
            (product.dens if under else product.nums).append(x)
            continue
        product.opened.append(x)
        product.strong |= name in STRONG
        product.negative ^= name == "neg"
        first, *second = graph.operands(x)
        waiting += [(y, under ^ (name in OVER)) for y in second]
        waiting.append((first, under))
    return product


def summands(graph: Graph, t: Tensor, opens: Opens) -> tuple[list[tuple[bool, Tensor]], list[Tensor]]:
    """What ``t`` adds up, each with whether it is subtracted, and the ops that it was read from, outer ones first."""
    found, opened = [], []
    waiting = [(t, False)]
    while waiting:
        x, negative = waiting.pop()
        name = op_of(x)
        if name not in ("add", "sub", "neg") or not opens(x):
            found.append((negative, x))
            continue
        opened.append(x)
        first, *second = graph.operands(x)
        waiting += [(y, negative ^ (name == "sub")) for y in second]
        waiting.append((first, negative ^ (name == "neg")))
    return found, opened


# -- expressions --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """An op that is no node yet, so that its cost can be known first."""

    name: str
    args: tuple[Expr, ...]
    shape: tuple[int, ...]


Expr = Union[Tensor, Op]  # noqa: UP007 (a forward reference)


def op(name: str, *args: Expr) -> Op:
    return Op(name, args, np.broadcast_shapes(*(a.shape for a in args)))


def chain(name: str, first: Expr, *others: Expr) -> Expr:
    """``((first · second) · third) …`` with one op."""
    for x in others:
        first = op(name, first, x)
    return first


def total(terms: list[tuple[bool, Expr]]) -> Expr:
    """The sum of terms, each with whether it is subtracted; it begins with one that is not, if there is one."""
    start = next((k for k, (negative, _) in enumerate(terms) if not negative), 0)
    (all_negative, result), rest = terms[start], terms[:start] + terms[start + 1 :]
    for negative, x in rest:
        result = op("sub" if negative ^ all_negative else "add", result, x)
    return op("neg", result) if all_negative else result


def cost(expr: Expr, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many ops of the full shape an expression is, and how many in all."""
    full = count = 0
    waiting = [expr]
    while waiting:
        x = waiting.pop()
        if isinstance(x, Op):
            full, count = full + (x.shape == shape), count + 1
            waiting += x.args
    return full, count


def realise(expr: Expr, new: Mapping[Tensor, Tensor], scope: Scope | None) -> Tensor:
    """The nodes of an expression, over what stands in the place of its Tensors."""
    done: list[Tensor] = []
    waiting: list[tuple[Expr, bool]] = [(expr, False)]
    while waiting:
        x, ready = waiting.pop()
        if isinstance(x, Tensor):
            done.append(new.get(x, x))
        elif ready:
            operands = done[len(done) - len(x.args) :]
            del done[len(done) - len(x.args) :]
            done.append(apply(OPS[x.name], operands, scope=scope))
        else:
            waiting.append((x, True))
            waiting += [(a, False) for a in reversed(x.args)]
    return done[0]
