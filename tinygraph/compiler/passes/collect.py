"""Common factors: ``a·c + b·c`` is ``(a + b)·c``, and what is small is multiplied first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...core.array import is_weak
from ...core.graph import Graph
from ...core.tensor import Tensor
from ..graphs import is_number, uses
from .products import Expr, chain, cost, factorise, is_regular, op, realise, summands
from .rewriting import at_rest, node_of, op_of, replaced

_LINEAR = frozenset({"add", "sub", "neg", "mul", "div"})
_MODERATE = (1e-4, 1e4)  # numbers whose product with one another is far from overflow
_Known = Mapping[tuple[Tensor, ...], Tensor]


def run(graph: Graph) -> Graph:
    """Write sums of products with fewer ops, and with fewer of the full shape.

    A factor common to several terms is multiplied once, equal factors above and below cancel, and
    a quotient that is computed anyway is used. Additions keep their order, factors do not: equal but
    for rounding, short of overflow.
    """
    return at_rest(_once, graph)


def _once(graph: Graph) -> Graph:
    opens = _opener(graph)
    quotients = {graph.operands(t): t for t in graph.nodes if op_of(t) == "div" and not opens(t)}
    inner: set[Tensor] = set()
    better: dict[Tensor, Expr] = {}
    for t in reversed(graph.nodes):
        if t in inner or op_of(t) not in _LINEAR or not is_regular(graph, t):
            continue
        found, opened = _better(graph, t, opens, quotients)
        inner.update(opened)
        if found is not None:
            better[t] = found

    def find(t: Tensor, new: Mapping[Tensor, Tensor]) -> Tensor | None:
        if t not in better:
            return None
        result = realise(better[t], new, node_of(t).scope)
        result.name = result.name or t.name
        return result

    return replaced(graph, find)


def _opener(graph: Graph) -> Callable[[Tensor], bool]:
    """Which results are but a step of the only one that reads them."""
    read, outputs = uses(graph), set(graph.outputs)

    def opens(x: Tensor) -> bool:
        return op_of(x) in _LINEAR and len(read.get(x, ())) == 1 and x not in outputs and is_regular(graph, x)

    return opens


def _better(
    graph: Graph, t: Tensor, opens: Callable[[Tensor], bool], quotients: _Known
) -> tuple[Expr | None, list[Tensor]]:
    """A cheaper form of ``t``, if there is one, and the ops that it stands for."""

    def here(x: Tensor) -> bool:
        return x is t or opens(x)

    found, added = summands(graph, t, here)
    opened = list(added)
    terms: dict[Tensor, _Term] = {}
    for _, x in found:
        product = factorise(graph, x, here)
        opened += product.opened
        terms[x] = _Term(product.negative, *_cancelled(t, product.nums, product.dens, quotients))
    if len(opened) < 2:
        return None, opened
    best = min((_sum(graph, t, added, dict(terms), share) for share in (False, True)), key=lambda e: cost(e, t.shape))
    full, count = cost(best, t.shape)
    now = sum(x.shape == t.shape for x in opened)
    cheaper = (full, count) < (now, len(opened)) and count <= len(opened)
    return best if cheaper and best.shape == t.shape else None, opened


@dataclass(slots=True)
class _Term:
    negative: bool
    nums: list[Expr]
    dens: list[Expr]


def _cancelled(t: Tensor, nums: list[Tensor], dens: list[Tensor], quotients: _Known) -> tuple[list[Expr], list[Expr]]:
    """Without what is above and below, and with quotients that were computed before ``t``."""
    nums, left = list(nums), []
    for d in dens:
        same = next((k for k, n in enumerate(nums) if n is d or _is_same_number(n, d)), None)
        if same is not None and len(nums) > 1:
            del nums[same]
        else:
            left.append(d)
    kept: list[Expr] = []
    for d in left:
        place = next((k for k, n in enumerate(nums) if _before(quotients.get((n, d)), t)), None)
        if place is None:
            kept.append(d)
        else:
            nums[place] = quotients[nums[place], d]
    return list(nums), kept


def _is_same_number(n: Tensor, d: Tensor) -> bool:
    return is_number(d) and is_number(n, d._data) and d._data != 0


def _before(x: Tensor | None, t: Tensor) -> bool:
    return x is not None and node_of(x).serial < node_of(t).serial


def _sum(graph: Graph, t: Tensor, added: list[Tensor], terms: dict[Tensor, _Term], share: bool) -> Expr:
    """The terms added in the order in which they were: another one could lose what cancels."""
    for x in reversed(added):
        first, *second = (terms[y] for y in graph.operands(x))
        if not second:
            terms[x] = _Term(not first.negative, first.nums, first.dens)
        else:
            last = _Term(second[0].negative ^ (op_of(x) == "sub"), second[0].nums, second[0].dens)
            terms[x] = _added(first, last, share)
    whole = terms[t]
    expr = _product(whole.nums, whole.dens)
    return op("neg", expr) if whole.negative else expr


def _added(x: _Term, y: _Term, share: bool) -> _Term:
    """The sum of two terms as one; with ``share``, what both have stands in front of it."""
    nums = _shared(x.nums, y.nums) if share else []
    dens = _shared(x.dens, y.dens) if share else []
    if len(nums) in (len(x.nums), len(y.nums)):
        nums = nums[:-1]
    a, b = (_product(_without(z.nums, nums), _without(z.dens, dens)) for z in (x, y))
    if x.negative and not y.negative:
        a, b = b, a
    inside = op("add" if x.negative == y.negative else "sub", a, b)
    return _Term(x.negative and y.negative, [*nums, inside], dens)


def _product(nums: list[Expr], dens: list[Expr]) -> Expr:
    """Small factors first, and divided while they are small."""
    most = max(map(_size, nums))
    small = [x for x in nums if _size(x) < most and _is_moderate(x)]
    large = [x for x in nums if _size(x) == most or not _is_moderate(x)]
    if not small:
        return chain("div", chain("mul", *large), *dens)
    early = [x for x in dens if _size(x) < most and _is_moderate(x)]
    late = [x for x in dens if _size(x) == most or not _is_moderate(x)]
    head = chain("div", chain("mul", *small), *early)
    return chain("div", chain("mul", head, *large), *late)


def _size(x: Expr) -> int:
    size = 1
    for n in x.shape:
        size *= n
    return size


def _is_moderate(x: Expr) -> bool:
    low, high = _MODERATE
    return not (isinstance(x, Tensor) and is_number(x)) or low <= abs(x._data) <= high


def _shared(x: list[Expr], y: list[Expr]) -> list[Expr]:
    """The arrays in both lists, as often as in both. Numbers stay inside, where something small may take them."""
    left, shared = list(y), []
    for a in x:
        place = next((k for k, b in enumerate(left) if a is b), None)
        if place is not None and not (isinstance(a, Tensor) and is_weak(a._data)):
            shared.append(left.pop(place))
    return shared


def _without(items: list[Expr], gone: list[Expr]) -> list[Expr]:
    left = list(items)
    for x in gone:
        del left[next(k for k, y in enumerate(left) if y is x)]
    return left
