"""Constant factors: ``sum(c·x)`` is ``c·sum(x)`` where ``c`` is constant along the axes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from ...core.graph import Graph
from ...core.tensor import OPS, Tensor
from ..graphs import again, apply, uses
from . import collect, common
from .products import PRODUCTS, chain, op, realise
from .rewriting import at_rest, node_of, op_of, replaced
from .sums import Sum, Term, axes_of, freed, is_spread_along, read_sum

_MOST_READINGS = 16
Key = tuple[object, ...]
Sums = Mapping[Tensor, Sum]


def run(graph: Graph) -> Graph:
    """Move factors constant along the reduced axes out of sums and means, so that more of them are the same sum.

    Through products, signs and divisions by them. Equal but for rounding, short of overflow.
    """
    return at_rest(_once, graph)


def _once(graph: Graph) -> Graph:
    sums = _readings(graph)
    if all(_is_plain(found.terms[0]) for found in sums.values()):
        return graph
    # What is moved out of a sum may pay only later, once it stands next to others of its kind.
    for bold in (True, False):
        moved = _move(graph, sums, bold)
        if moved is not graph:
            moved = common.run(collect.run(moved))
        if len(moved.nodes) <= len(graph.nodes):
            return moved
    return graph


def _readings(graph: Graph) -> Sums:
    """How each sum of one product is to be read.

    What other ops read as well stays one factor, unless the sum of what is inside it is computed anyway.
    """
    read, outputs = uses(graph), set(graph.outputs)
    busy = {t for t in graph.nodes if op_of(t) in PRODUCTS and (len(read.get(t, ())) > 1 or t in outputs)}
    found = {t: whole for t in graph.nodes if (whole := read_sum(graph, t, busy)) and len(whole.terms) == 1}
    computed = {_key(t, whole.terms[0]) for t, whole in found.items() if _is_plain(whole.terms[0])}
    chosen = {t: _inside(graph, t, whole, busy, computed) for t, whole in found.items()}
    # Sums that are the same deep inside are one, even if none of them is there as it stands.
    deepest = {t: deep for t in found if (deep := read_sum(graph, t)) and len(deep.terms) == 1}
    forms: dict[Key, set[Key]] = {}
    for t, deep in deepest.items():
        forms.setdefault(_key(t, deep.terms[0]), set()).add(_key(t, chosen[t].terms[0]))
    return {
        t: deepest[t] if t in deepest and len(forms[_key(t, deepest[t].terms[0])]) > 1 else x for t, x in chosen.items()
    }


def _inside(graph: Graph, t: Tensor, whole: Sum, busy: set[Tensor], computed: set[Key]) -> Sum:
    """The reading of ``t`` that opens the fewest busy factors and comes down to another sum; else ``whole``."""
    own = _key(t, whole.terms[0])
    tried = {frozenset[Tensor]()}
    waiting = deque([(frozenset[Tensor](), whole)])
    while waiting:
        opened, reading = waiting.popleft()
        term = reading.terms[0]
        if not _is_plain(term) and (key := _key(t, term)) in computed and key != own:
            return reading
        for x in term.core:
            wider = opened | {x}
            if x in busy and wider not in tried and len(tried) < _MOST_READINGS:
                tried.add(wider)
                deeper = read_sum(graph, t, busy - wider)
                if deeper is not None and len(deeper.terms) == 1:
                    waiting.append((wider, deeper))
    first = whole.terms[0]
    if not _is_plain(first) or len(first.core) > 1:
        return whole
    deeper = read_sum(graph, t, busy.difference(first.core))
    return deeper if deeper is not None and len(deeper.terms) == 1 else whole


def _move(graph: Graph, sums: Sums, bold: bool) -> Graph:
    """Each sum of ``sums`` as its factors and what is left of it; all of them if ``bold``, or those that make no more ops."""
    computed: dict[Key, Tensor] = {}
    for t, found in sums.items():
        if _is_plain(found.terms[0]):
            computed.setdefault(_key(t, found.terms[0]), t)
    made: dict[Key, Tensor] = {}
    count = freed(graph)

    def pays(t: Tensor, term: Term) -> bool:
        known = _key(t, term) in computed or _key(t, term) in made
        moved = [*term.times, *term.over]
        ops = (0 if known else len(term.core)) + len(moved) + term.negative
        ops += sum(_axes_to_drop(c, t) != () for c in moved)
        return bold or ops <= count(t, sums[t].opened)

    def core(t: Tensor, term: Term, new: Mapping[Tensor, Tensor]) -> Tensor:
        """The sum of what varies, once for all sums that come down to it."""
        key = _key(t, term)
        known = made.get(key)
        if known is None and computed.get(key) in new:
            known = new[computed[key]]
        if known is None:
            what = realise(chain("mul0" if term.strong else "mul", *term.core), new, node_of(t).scope)
            known = made[key] = _resummed(graph, t, what)
        return _kept_as(t, known)

    def find(t: Tensor, new: Mapping[Tensor, Tensor]) -> Tensor | None:
        term = sums[t].terms[0] if t in sums else None
        if term is None or (not _is_plain(term) and not pays(t, term)):
            return None
        if _is_plain(term):
            return _kept_as(t, made[_key(t, term)]) if _key(t, term) in made else None
        times, over = ([_reduced(graph, c, t, new) for c in group] for group in (term.times, term.over))
        by, into = ("mul0", "div0") if term.strong else ("mul", "div")
        expr = chain(into, chain(by, core(t, term, new), *times), *over)
        expr = op("neg", expr) if term.negative else expr
        assert expr.shape == t.shape
        result = realise(expr, new, node_of(t).scope)
        result.name = result.name or t.name
        return result

    return replaced(graph, find)


def _is_plain(term: Term) -> bool:
    return not (term.negative or term.times or term.over)


def _key(t: Tensor, term: Term) -> Key:
    """What two sums have in common that are one, whether or not they keep their axes."""
    return op_of(t), axes_of(t), term.strong and len(term.core) > 1, *sorted(map(id, term.core))


def _resummed(graph: Graph, t: Tensor, what: Tensor) -> Tensor:
    """The sum or mean ``t`` of something else."""
    if what.shape != graph.operands(t)[0].shape:
        return apply(node_of(t).op, [what], node_of(t).params, node_of(t).scope)
    result = again(t, [what])
    result.name = None
    return result


def _kept_as(t: Tensor, known: Tensor) -> Tensor:
    """A sum with its axes kept or dropped as ``t`` does it."""
    has, wants = node_of(known).params.get("keepdims", False), node_of(t).params["keepdims"]
    if has == wants:
        return known
    return apply(OPS["expand_dims" if wants else "squeeze"], [known], {"axis": axes_of(t)}, node_of(t).scope)


def _axes_to_drop(c: Tensor, t: Tensor) -> tuple[int, ...]:
    """The axes of size 1 of a constant factor that the sum ``t`` does not have."""
    if node_of(t).params["keepdims"]:
        return ()
    missing = t.ndim + len(axes_of(t)) - c.ndim
    return tuple(a - missing for a in axes_of(t) if a >= missing)


def _reduced(graph: Graph, c: Tensor, t: Tensor, new: Mapping[Tensor, Tensor]) -> Tensor:
    """A constant factor in a shape that fits the sum ``t``."""
    if is_spread_along(c, graph.operands(t)[0].ndim, axes_of(t)):
        small = new[graph.operands(c)[0]]
        keep = node_of(t).params["keepdims"]
        return apply(OPS["expand_dims"], [small], {"axis": axes_of(t)}, node_of(t).scope) if keep else small
    drop = _axes_to_drop(c, t)
    return apply(OPS["squeeze"], [new[c]], {"axis": drop}, node_of(t).scope) if drop else new[c]
