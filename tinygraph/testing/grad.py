"""The derived gradient itself, of any order, against oracles that share nothing with its rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
    for the comparison itself.

    Returns a Report. Raises: ArgumentError for an unknown oracle or an order below 1.
    Source: Squire and Trapp (1998) for the complex step.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import check_grad
    >>> check_grad(lambda x: tg.tanh(x) * x, np.array([0.3, -1.2]), order=3).ok
    True
    """
    if oracle not in ORACLES:
        raise ArgumentError(f"check_grad(oracle={oracle!r}): unknown; write one of {', '.join(ORACLES)}")
    if not isinstance(order, int) or order < 1:
        raise ArgumentError(f"check_grad(order={order!r}): the order of a gradient is 1, 2, …; give one of these")
    given = plain(arrays)
    names = argument_names(fn, len(given))
    wrt = [names.index(n) for n in choose_wrt("check_grad", names, given, None)]
    rng = np.random.default_rng([seed, 0x6AD])
    phi = _weighted(fn, given, rng)
    problem = Problem(specs=dict(zip(names, given, strict=True)))
    entries: list[Entry] = []
    for k in range(1, order + 1):
        entries += _compare(phi, given, names, wrt, oracle, slack, rng, k)
        if k > 1 or order > 1:
            entries += _fresh(phi, given, names, wrt, rng, k)
        if not all(e.ok for e in entries):
            break
        phi = _directional(phi, given, wrt, rng)
    return Report(entries=entries, problem=problem, verdict="wrong", limit=slack, words=("derived", "oracle"))


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
) -> list[Entry]:  # fmt: skip
    graph = trace(phi, *arrays)
    derived = Derived(phi, arrays, np.asarray(1.0, graph.outputs[0].dtype), wrt)
    if not all(np.isfinite(a).all() for a in derived.native):
        raise ArgumentError(
            f"check_grad: the function or its gradient of order {order} is not finite here; choose other arrays"
        )
    chosen = _oracle(oracle, graph, arrays)
    if chosen == "taylor":
        return [_taylor(phi, arrays, names, wrt, derived, rng, order)]
    found = truth(derived, unit(derived.native), seed=0)
    entries = []
    for k, i in enumerate(wrt, start=1):
        places = _places(arrays[i].shape, rng)
        expected = np.array([_slope(chosen, graph, arrays, i, p) for p in places])
        got = np.array([derived.native[k][p] for p in places], np.float64)
        scale = np.array([found.sigma[k][p] + found.u * double(found.mass[k])[p] for p in places], np.float64)
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
    return entries


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


def _slope(oracle: str, graph: Graph, arrays: Sequence[Array], argument: int, place: tuple[int, ...]) -> float:
    directions = [np.zeros(a.shape) for a in arrays]
    directions[argument][place] = 1.0
    derive = complex_step if oracle == "complex" else central_differences
    return float(np.asarray(derive(graph, arrays, directions)[0]))


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
    slope = sum(
        float(np.sum(np.asarray(g, np.float64) * directions[i])) for g, i in zip(derived.native[1:], wrt, strict=True)
    )

    def along(t: float) -> float:
        moved = [a + t * directions[i] if i in directions else a for i, a in enumerate(arrays)]
        return float(np.asarray(phi(*moved)._data))

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
    directions = [rng.normal(size=a.shape) if i in wrt else np.zeros(a.shape) for i, a in enumerate(arrays)]
    if any(a.dtype.kind != "f" for a in arrays):
        return []
    gradient = _gradient(phi, wrt)
    scale = max([1.0, *(float(np.abs(a).max(initial=0)) for a in arrays)])
    fresh = richardson(lambda *p: [t.numpy() for t in gradient(*p)], arrays, [v / scale for v in directions])
    pushed = _pushed(gradient, arrays, directions, rng)
    moved = sum(float(np.sum(np.asarray(f, np.float64) * u)) for f, u in zip(fresh, pushed[1], strict=True)) * scale
    mass = (
        sum(float(np.sum(np.abs(np.asarray(f, np.float64) * u))) for f, u in zip(fresh, pushed[1], strict=True)) * scale
    )
    error = abs(pushed[0] - moved) / (mass + abs(pushed[0]) + 1e-300)
    ok = error <= FRESH or abs(pushed[0] - moved) < 1e-12
    leaf = f"{', '.join(names[i] for i in wrt)} (order {order + 1}, evaluated afresh)"
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
