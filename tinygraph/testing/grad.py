"""The derived gradient itself, of any order, against oracles that share nothing with its rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.convert import operand
from ..core.graph import Graph, argument_names, flatten, trace
from ..errors import ArgumentError
from ..ops.reduction import sum as sum_
from ..transforms import vjp
from .derived import Derived
from .kernel import choose_wrt, plain
from .oracles.derivatives import central_differences, complex_step, richardson, taylor_rate
from .problem import Problem
from .report import Entry, Report
from .rounding import truth
from .wide import double, unit

Array = np.ndarray[Any, Any]
ORACLES = ("auto", "complex", "decimal", "taylor")
ELEMENTS = 256  # compared one by one; of larger arguments as many, chosen at random
FRESH = 1e-6  # what differences in working precision can tell: a rule that freezes its inputs
RATE = 1.9


def check_grad(
    fn: Callable[..., Any], *arrays: Any, order: int = 1, oracle: str = "auto", slack: float = 64.0, seed: int = 0
) -> Report:
    """Compare the derived gradient of ``fn``, of any order, with an oracle that knows no rules.

    With random weights w and directions u, let φ₁ = Σ w · fn(x) and φₖ₊₁ = Σ u · ∇φₖ. The derived ∇φₖ is
    compared element by element for k = 1 … ``order``, in rounding units, with

    ``"complex"``: complex step, Im φₖ(x + ih) / h, for analytic functions away from ties;
    ``"decimal"``: central differences in decimals, step 1e-31, for any function, away from kinks;
    ``"taylor"``: φ(t) - φ(0) - t·slope must vanish like t² (rate above 1.9), in float64.

    ``"auto"`` takes the first of them that applies. From order 2 on the gradient is also evaluated afresh
    nearby, which shows a rule that froze its inputs. Finite differences in working precision are never used
    for the comparison itself. What ``fn`` detaches is a constant for the derived gradient and not for an
    oracle: where that matters, the verdict is ``wrong``.

    Arguments are of any float dtype, or integer, and then held fixed. Returns a Report. Raises: ArgumentError for
    an unknown oracle, an order below 1, or arrays at which the function or a gradient is not finite.
    Source: Squire and Trapp (1998) for the complex step.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import check_grad
    >>> check_grad(lambda x: tg.tanh(x) * x, np.array([0.3, -1.2]), order=3).ok
    True
    """
    if oracle not in ORACLES:
        raise ArgumentError(f"check_grad(oracle={oracle!r}): unknown; write one of {', '.join(ORACLES)}")
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ArgumentError(f"check_grad(order={order!r}): the order of a gradient is 1, 2, …; give one of these")
    given = plain(arrays)
    names = argument_names(fn, len(given))
    wrt = [names.index(n) for n in choose_wrt("check_grad", names, given, None)]
    rng = np.random.default_rng([seed, 0x6AD])
    problem = Problem(specs=dict(zip(names, given, strict=True)))
    entries: list[Entry] = []
    blind = False
    with np.errstate(all="ignore"):
        phi = before = _weighted(fn, given, rng)
        for k in range(1, order + 1):
            found, unjudged = _compare(phi, given, names, wrt, oracle, slack, rng, k)
            entries, blind = entries + found, blind or unjudged
            if k > 1:
                entries += _fresh(before, given, names, wrt, rng, k)
            if not all(e.ok for e in entries):
                break
            before, phi = phi, _directional(phi, given, wrt, rng)
    return Report(
        entries=entries, problem=problem, verdict="wrong", limit=slack, words=("derived", "oracle"),
        warnings=["blind-reference"] * blind,
    )  # fmt: skip


def _weighted(fn: Callable[..., Any], arrays: Sequence[Array], rng: Any) -> Callable[..., Any]:
    """Σ w · fn, a number."""
    weights = [rng.normal(size=t.shape).astype(t.dtype) for t in trace(fn, *arrays).outputs]

    def phi(*inputs: Any) -> Any:
        outputs = flatten(fn(*inputs))[0]
        return sum(sum_(t * w) for t, w in zip(outputs, weights, strict=True))

    return phi


def _gradient(phi: Callable[..., Any], wrt: Sequence[int]) -> Callable[..., Any]:
    def gradient(*inputs: Any) -> Any:
        cotangents = vjp(phi, *inputs)[1](1.0)
        return tuple(cotangents[i] for i in wrt)

    return gradient


def _directional(phi: Callable[..., Any], arrays: Sequence[Array], wrt: Sequence[int], rng: Any) -> Callable[..., Any]:
    """Σ u · ∇φ, a number again."""
    directions = [rng.normal(size=arrays[i].shape).astype(arrays[i].dtype) for i in wrt]
    gradient = _gradient(phi, wrt)
    return lambda *inputs: sum(sum_(g * u) for g, u in zip(gradient(*inputs), directions, strict=True))


# -- comparing ---------------------------------------------------------------------------------------


def _compare(
    phi: Callable[..., Any], arrays: Sequence[Array], names: Sequence[str], wrt: Sequence[int], oracle: str, slack: float,
    rng: Any, order: int,
) -> tuple[list[Entry], bool]:  # fmt: skip
    """The worst element of each argument, and whether rounding hides some so that nothing could be told."""
    graph = trace(phi, *arrays)
    derived = Derived(phi, arrays, np.asarray(1.0, graph.outputs[0].dtype), wrt)
    if not all(np.isfinite(a).all() for a in derived.native):
        raise ArgumentError(
            f"check_grad: the function or its gradient of order {order} is not finite here; choose other arrays"
        )
    chosen = _oracle(oracle, graph, arrays)
    if chosen == "taylor":
        return [_taylor(phi, arrays, names, wrt, derived, rng, order)], False
    # Steps on the way may be narrower than what comes out.
    u = unit([*derived.native, *(t._data for t in derived.graph.nodes)])
    found = truth(derived, u, seed=0)
    entries = []
    for k, i in enumerate(wrt, start=1):
        places = _places(arrays[i].shape, rng)
        expected = np.array([_slope(chosen, graph, arrays, i, p) for p in places], np.longdouble)
        got = np.array([derived.native[k][p] for p in places], np.longdouble)
        scale = np.array([found.sigma[k][p] + found.u * double(found.mass[k])[p] for p in places], np.longdouble)
        ratio = np.abs(got - expected) / (scale + np.finfo(np.float64).tiny)
        worst = int(np.argmax(ratio)) if ratio.size else -1
        if worst >= 0:
            mass = float(double(found.mass[k])[places[worst]])
            leaf = names[i] if order == 1 else f"{names[i]} (order {order})"
            entries.append(
                Entry(
                    leaf,
                    bool(ratio[worst] <= slack),
                    float(ratio[worst]),
                    places[worst],
                    float(got[worst]),
                    float(expected[worst]),
                    mass,
                    float(scale[worst]),
                )
            )
    return entries, found.is_blind(derived.count)


def _oracle(oracle: str, graph: Graph, arrays: Sequence[Array]) -> str:
    if oracle != "auto":
        return oracle
    ops = [t.node.op for t in graph.nodes if t.node is not None]
    analytic = all(op.domain.analytic and not op.domain.kinks and not op.domain.ties for op in ops)
    return "complex" if analytic and all(a.dtype.kind == "f" for a in arrays) else "decimal"


def _places(shape: tuple[int, ...], rng: Any) -> list[tuple[int, ...]]:
    count = int(np.prod(shape))
    flat = range(count) if count <= ELEMENTS else sorted(rng.choice(count, ELEMENTS, replace=False))
    return [tuple(int(n) for n in np.unravel_index(k, shape)) for k in flat]


def _slope(oracle: str, graph: Graph, arrays: Sequence[Array], argument: int, place: tuple[int, ...]) -> np.longdouble:
    directions = [np.zeros(a.shape) for a in arrays]
    directions[argument][place] = 1.0
    derive = complex_step if oracle == "complex" else central_differences
    found = np.asarray(derive(graph, arrays, directions)[0])
    return np.longdouble(str(found.item()) if found.dtype == object else found[()])  # no decimal by way of a float64


def _taylor(
    phi: Callable[..., Any],
    arrays: Sequence[Array],
    names: Sequence[str],
    wrt: Sequence[int],
    derived: Derived,
    rng: Any,
    order: int,
) -> Entry:
    """The rate at which the remainder vanishes along a random direction."""
    directions = {i: rng.normal(size=arrays[i].shape) for i in wrt}
    # In float64 throughout: the rounding of a float32 gradient would be a remainder of the first order.
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in derived.inputs]
    gradients = derived.graph.run(np, *wide)[1:]
    slope = sum(float(np.sum(np.asarray(g) * directions[i])) for g, i in zip(gradients, wrt, strict=True))

    def along(t: float) -> float:
        moved = [a + t * directions[i] if i in directions else a for i, a in enumerate(wide[:-1])]
        return float(plain([phi(*map(operand, moved))])[0])

    rate = taylor_rate(along, slope)
    leaf = ", ".join(names[i] for i in wrt) + (f" (order {order})" if order > 1 else "")
    ok = rate > RATE
    return Entry(leaf, ok, 0.0 if ok else float("inf"), (), rate, 2.0, 0.0, 0.0, "Taylor rate")


def _fresh(
    phi: Callable[..., Any], arrays: Sequence[Array], names: Sequence[str], wrt: Sequence[int], rng: Any, order: int
) -> list[Entry]:
    """d∇φ along a direction, of the gradient evaluated anew at each point, against its own derivative.

    A traced gradient would keep what a rule froze; a fresh one shows it.
    """
    # Not in a narrower type: its rounding would be as large as what is looked for.
    floats = [arrays[i].astype(np.result_type(arrays[i], np.float64)) for i in wrt]
    # A small number moves by a share of itself: zero may be the end of what the function is defined on.
    sizes = [np.minimum(np.abs(a), 1.0) for a in floats]
    directions = [rng.normal(size=a.shape) * np.where(s > 0, s, 1.0) for a, s in zip(floats, sizes, strict=True)]

    def gradient(*moved: Any) -> Any:
        at = dict(zip(wrt, moved, strict=True))
        return _gradient(phi, wrt)(*(at.get(i, a) for i, a in enumerate(arrays)))

    scale = max([1.0, *(float(np.abs(a).max(initial=0)) for a in floats)])
    fresh = richardson(lambda *p: [t.numpy() for t in gradient(*p)], floats, [v / scale for v in directions])
    pushed = _pushed(gradient, floats, directions, rng)
    moved = sum(float(np.sum(np.asarray(f, np.float64) * u)) for f, u in zip(fresh, pushed[1], strict=True)) * scale
    mass = (
        sum(float(np.sum(np.abs(np.asarray(f, np.float64) * u))) for f, u in zip(fresh, pushed[1], strict=True)) * scale
    )
    if not np.isfinite(moved):
        return []  # beyond what the function is defined on: nothing can be said
    error = abs(pushed[0] - moved) / (mass + abs(pushed[0]) + 1e-300)
    # A function that rounds to a narrower type on the way is a step function to differences.
    steps = 1e4 * unit(t._data for t in trace(gradient, *floats).nodes)
    ok = error <= max(FRESH, steps) or abs(pushed[0] - moved) < 1e-12
    leaf = f"{', '.join(names[i] for i in wrt)} (order {order}, evaluated afresh)"
    return [] if ok else [Entry(leaf, False, float("inf"), (), pushed[0], moved, mass, 0.0)]


def _pushed(
    gradient: Callable[..., Any], arrays: Sequence[Array], directions: Sequence[Array], rng: Any
) -> tuple[float, list[Array]]:
    """Σ v · (u · d∇φ) by reverse mode, and the weights u."""
    out, pullback = vjp(gradient, *arrays)
    weights = [rng.normal(size=t.shape).astype(t.dtype) for t in out]
    pulled = pullback(tuple(weights))
    total = sum(float(np.sum(p.numpy() * v)) for p, v in zip(pulled, directions, strict=True) if p is not None)
    return total, weights
