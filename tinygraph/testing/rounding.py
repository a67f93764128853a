"""What rounding may do to a derived gradient: the truth in wide arithmetic, its mass, and its sigma.

A gradient is compared with the derived one, evaluated in an arithmetic wide enough to be called
exact, in units of what rounding can do to it::

    ratio = |yours - g| / (sigma + u · mass + tiny)

``mass`` is what the absolute contributions add up to, and ``sigma`` the spread of the derived
gradient when every input and every rounded result is multiplied by 1 ± u, at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.autodiff import fit
from ..core.convert import shape_of
from ..core.graph import argument_names
from ..core.tensor import Tensor
from .derived import Derived, draw_upstream
from .kernel import choose_wrt, plain
from .wide import Array, Wide, double, unit, wide_for

# Results that are one of the operands' values, or a decision about them: no rounding happens.
EXACT = frozenset(
    [
        "neg",
        "abs",
        "sign",
        "floor",
        "ceil",
        "round",
        "maximum",
        "minimum",
        "where",
        "clip",
        "max",
        "min",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "equal",
        "not_equal",
        "logical_and",
        "logical_or",
        "logical_not",
        "all",
        "any",
        "argmax",
        "argmin",
        "identity",
        "detach",
        "astype",
        "zeros_like",
        "size",
        "spread",
        "reshape",
        "transpose",
        "broadcast_to",
        "expand_dims",
        "squeeze",
        "flip",
        "roll",
        "pad",
        "concatenate",
        "stack",
        "getitem",
        "set_at",
        "shift",
        "sliding_windows",
        "random_normal",
        "random_uniform",
    ]
)
# Results that add up many terms.
SUMS = frozenset(["sum", "mean", "cumsum", "matmul", "einsum", "add_at", "overlap_add"])
# What decides which way a derivative goes: where one of these changes, a kink was crossed.
DECISIONS = frozenset(
    [
        "sign",
        "floor",
        "ceil",
        "round",
        "floor_divide",
        "argmax",
        "argmin",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "equal",
        "not_equal",
    ]
)


@dataclass(slots=True)
class Truth:
    """Outputs and gradients in wide arithmetic, and what rounding may do to each of them."""

    exact: list[Array]
    mass: list[Array]
    sigma: list[Array]
    hulls: list[tuple[Array, Array, list[Array]] | None]
    u: float
    wide: Wide


def truth(derived: Derived, u: float, *, samples: int = 8, seed: int = 0, kinks: bool = True) -> Truth:
    """The truth about a graph: see the module's text."""
    wide = wide_for(u)
    rng = np.random.default_rng(seed)
    with wide.context(), np.errstate(all="ignore"):
        inputs = [wide.array(a) for a in derived.inputs]
        values, decisions = dict(zip(derived.graph.inputs, inputs, strict=True)), {}

        def watch(t: Tensor, operands: list[Any], value: Any) -> Any:
            values[t] = value
            if t.node.op.name in DECISIONS:  # type: ignore[union-attr]
                decisions[t] = value
            return value

        exact = _run(derived, wide, inputs, watch)
        perturbed = [_perturbed(derived, wide, inputs, decisions, rng, u) for _ in range(samples)]
        calm = [run for run, flipped in perturbed if not flipped]
        sigma = [_spread([run[k] for run in calm], e) for k, e in enumerate(exact)]
        hulls: list[Any] = [None] * len(exact)
        if kinks and decisions:
            moved = [run for run, flipped in perturbed if flipped]
            for nudges in _nudges(inputs, rng, samples):
                run, flipped = _perturbed(derived, wide, inputs, decisions, rng, u, nudges)
                moved += [run] if flipped else []
            if moved:
                hulls = [_hull(e, [run[k] for run in moved]) for k, e in enumerate(exact)]
    if wide.name == "decimal":
        values = _float_values(derived)
    mass = [np.abs(double(e)) for e in exact[: derived.count]] + _masses(derived, values)
    return Truth(exact, mass, sigma, hulls, u, wide)


def _run(derived: Derived, wide: Wide, inputs: Sequence[Any], each: Any) -> list[Any]:
    return list(derived.graph.run(wide.xp, *inputs, constant=wide.constant, each=each))


def _float_values(derived: Derived) -> dict[Tensor, Any]:
    values = dict(zip(derived.graph.inputs, (np.asarray(a) for a in derived.inputs), strict=True))

    def watch(t: Tensor, operands: list[Any], value: Any) -> Any:
        values[t] = value
        return value

    derived.graph.run(np, *derived.inputs, each=watch)
    return values


# -- sigma: every rounding made at random -----------------------------------------------------------


class _Signs:
    """Random choices between two numbers, drawn in blocks: most arrays here are small."""

    def __init__(self, rng: Any, plus: Any, minus: Any) -> None:
        self.rng, self.table = rng, np.array([plus, minus])
        self.pool, self.used = self.table[:0], 0

    def __call__(self, shape: tuple[int, ...]) -> Any:
        count = math.prod(shape)
        if self.used + count > self.pool.size:
            self.pool, self.used = self.table[self.rng.integers(0, 2, max(2048, count), dtype=np.int8)], 0
        self.used += count
        return self.pool[self.used - count : self.used].reshape(shape)


def _perturbed(
    derived: Derived,
    wide: Wide,
    inputs: Sequence[Any],
    decisions: dict[Tensor, Any],
    rng: Any,
    u: float,
    nudges: Any = None,
) -> tuple[list[Any], bool]:
    """One run in which every rounding happens with a random sign, and whether a decision changed."""
    one, unit_ = wide.number(1.0), wide.number(u)
    near_one, sign = _Signs(rng, one + unit_, one - unit_), _Signs(rng, one, -one)
    flipped = False

    def rounded(t: Tensor, operands: list[Any], value: Any) -> Any:
        nonlocal flipped
        name = t.node.op.name  # type: ignore[union-attr]
        if name in DECISIONS and not flipped:
            flipped = not np.array_equal(value, decisions[t])
        if name in EXACT or not isinstance(value, np.ndarray) or value.dtype.kind not in "fO":
            return value
        out = value * near_one(value.shape)
        if name in SUMS or name == "prod":
            terms, count = _terms(t, operands, value, wide)
            error = terms * (unit_ * wide.number(math.sqrt(count)))
            out = out + sign(value.shape) * error
        elif nudges is not None and name in ("add", "sub"):
            zero = value == 0
            if zero.any():
                scale = wide.array(np.abs(double(operands[0])) + np.abs(double(operands[1])))
                out = np.where(zero, sign(value.shape) * scale * unit_, out)
        return np.asarray(out)

    moved = []
    for k, x in enumerate(inputs):
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fO":
            moved.append(x)
        elif nudges is None:
            moved.append(np.asarray(x * near_one(x.shape)))
        else:
            moved.append(np.asarray(x + wide.array(nudges[k] * u)))
    return _run(derived, wide, moved, rounded), flipped


def _terms(t: Tensor, operands: list[Any], value: Any, wide: Wide) -> tuple[Any, int]:
    """The sum of the absolute terms of a reduction or contraction, and how many they are."""
    node = t.node
    assert node is not None
    if node.op.name == "prod":
        return wide.xp.abs(value), max(1, math.prod(shape_of(operands[0])) // max(1, value.size))
    absolute = [wide.xp.abs(x) if isinstance(x, np.ndarray) and x.dtype.kind in "fO" else x for x in operands]
    compute = node.op.run(absolute, node.params) if wide.xp is np else node.op.kernel(wide.xp, *absolute, **node.params)
    size = max([math.prod(shape_of(x)) for x in operands], default=1)
    if node.op.name == "matmul":
        return compute, operands[0].shape[-1]
    if node.op.name == "einsum":
        return compute, _einsum_terms(node.params, operands, value)
    if node.op.name == "cumsum":
        return compute, operands[0].shape[node.params["axis"]]
    return compute, max(1, -(-size // max(1, value.size)))


def _einsum_terms(params: Any, operands: Sequence[Any], value: Any) -> int:
    """At most the product of all sizes that the result does not have."""
    total = math.prod(int(n) for x in operands for n in x.shape)
    return max(1, total // max(1, int(value.size)))


def _spread(runs: Sequence[Any], exact: Any) -> Array:
    if not runs:
        return np.zeros(np.shape(exact))
    squares = sum(double((run - exact) ** 2) for run in runs)
    sigma = np.asarray(np.sqrt(squares / len(runs)))
    # Where rounding may make it nan, the reference can say nothing at all.
    return np.where(np.isnan(sigma), np.inf, sigma)


# -- kinks -------------------------------------------------------------------------------------------


def _nudges(inputs: Sequence[Any], rng: Any, samples: int) -> Iterable[list[Any]]:
    """Displacements in units of u that break ties in every way that conventions know: all up, all down,
    one argument against the others, the first or the last ahead, and at random.
    """
    scales = []
    for x in inputs:
        a = np.abs(double(x)) if np.asarray(x).dtype.kind in "fO" else np.zeros(np.shape(x))
        largest = a[np.isfinite(a)].max(initial=0) or 1.0
        scales.append(np.where(a > 0, a, largest))
    ramps = [np.linspace(-1, 1, s.size).reshape(s.shape) if s.size > 1 else np.ones(s.shape) for s in scales]
    for sign in (1, -1):
        yield [sign * s for s in scales]
        yield [sign * s * r for s, r in zip(scales, ramps, strict=True)]
        for k in range(len(scales) - 1):
            yield [(sign if i == k else -sign) * s for i, s in enumerate(scales)]
    for _ in range(samples):
        yield [rng.uniform(-1, 1, s.shape) * s for s in scales]


def _hull(exact: Any, runs: Sequence[Any]) -> tuple[Array, Array, list[Array]]:
    """Per element the smallest and the largest of the gradients beside a kink, and these gradients."""
    every = [double(r) for r in (exact, *runs)]
    return np.minimum.reduce(every), np.maximum.reduce(every), every


# -- mass: one reverse sweep with absolute local derivatives -----------------------------------------


def _masses(derived: Derived, values: dict[Tensor, Any]) -> list[Array]:
    """|J1|ᵀ |J2|ᵀ … |dy| for every argument asked for."""
    forward = derived.forward
    for t, data in zip(forward.captured, forward._constants, strict=True):
        values.setdefault(t, data)
    asked = set(derived.wrt)
    active = set(asked)
    for t in forward.nodes:
        if not active.isdisjoint(forward.operands(t)):
            active.add(t)
    upstream = derived.inputs[len(derived.inputs) - derived.count :]
    pending: dict[Tensor, Any] = {}
    with np.errstate(all="ignore"):
        for t, dy in zip(forward.outputs, upstream, strict=True):
            m = np.abs(np.asarray(dy, np.asarray(values[t]).dtype))
            pending[t] = pending[t] + m if t in pending else m
        for t in reversed(forward.nodes):
            m = pending.get(t) if t in asked else pending.pop(t, None)
            if m is None:
                continue
            operands = [values[x] for x in forward.operands(t)]
            for i, x in enumerate(forward.operands(t)):
                if x in active and (c := _absolute(t.node, i, m, values[t], operands)) is not None:
                    c = fit(np.abs(c), np.asarray(values[x]))
                    pending[x] = pending[x] + c if x in pending else c
    return [np.asarray(pending.get(x, np.zeros(x.shape))) for x in derived.wrt]


def _absolute(node: Any, i: int, m: Any, out: Any, operands: list[Any]) -> Any:
    """What one node passes back to operand ``i`` if nothing cancels."""
    op, rule = node.op, node.op.vjps[i]
    if rule is None:
        return None
    if op.name in ("matmul", "einsum", "prod"):
        return rule(m, np.abs(out), *map(_abs, operands), **node.params)
    if op.kind == "elementwise":
        return np.abs(rule(np.ones_like(m), out, *operands, **node.params)) * m
    return rule(m, out, *operands, **node.params)


def _abs(x: Any) -> Any:
    return np.abs(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


# -- for users -------------------------------------------------------------------------------------


def rounding_bound(reference: Callable[..., Any], *arrays: Any, dy: Any = None, samples: int = 8) -> dict[str, Array]:
    """What rounding may do to each gradient of ``reference``: sigma + u · mass, per argument.

    ``arrays`` are its arguments; ``dy`` is the upstream gradient, random by default. A right backward
    in the precision of the arrays is within a small multiple of it (measured: 16); the tests allow 64.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import rounding_bound
    >>> bound = rounding_bound(lambda x: x * x, np.array([1.0, 1e3]), dy=np.ones(2))
    >>> bool((bound["x"] < 1e-12).all())
    True
    """
    given = plain(arrays)
    names = argument_names(reference, len(given))
    wrt = choose_wrt("rounding_bound", names, given, None)
    upstream = dy if dy is not None else draw_upstream(reference, given, 0)
    derived = Derived(reference, given, upstream, [names.index(n) for n in wrt])
    found = truth(derived, unit(derived.native), samples=samples)
    bounds = [s + found.u * m for s, m in zip(found.sigma, found.mass, strict=True)]
    return {n: double(b).astype(np.float64) for n, b in zip(wrt, bounds[derived.count :], strict=True)}
