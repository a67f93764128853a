"""What rounding may do to a derived gradient: the truth in wide arithmetic, its mass, and its sigma.

A gradient is compared with the derived one, evaluated in an arithmetic wide enough to be called
exact, in units of what rounding can do to it::

    ratio = |yours - g| / (sigma + u · mass + tiny)

``mass`` is what the absolute contributions add up to, and ``sigma`` the spread of the derived
gradient when every input and every rounded result is multiplied by 1 ± u, at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.autodiff import fit
from ..core.convert import shape_of
from ..core.graph import argument_names
from ..core.tensor import Tensor
from .derived import Derived, draw_upstream
from .kernel import choose_wrt, plain
from .kinks import DECISIONS, RANDOM, Hull, Watch, answers, hulls, questions
from .wide import Array, Wide, double, unit, wide_for

BLIND = 1e-3

# Results that are one of the operands' values, or a decision about them: no rounding happens.
EXACT = DECISIONS - {"floor_divide"} | {
    "neg", "abs", "maximum", "minimum", "where", "clip", "max", "min", "logical_and", "logical_or", "logical_not", "all",
    "any", "identity", "detach", "astype", "zeros_like", "size", "spread", "reshape", "transpose", "broadcast_to",
    "expand_dims", "squeeze", "flip", "roll", "pad", "concatenate", "stack", "getitem", "set_at", "shift",
    "sliding_windows", "random_normal", "random_uniform",
}  # fmt: skip
# Results that add up many terms.
SUMS = frozenset(["sum", "mean", "cumsum", "matmul", "einsum", "add_at", "overlap_add"])


@dataclass(slots=True)
class Truth:
    """Outputs and gradients in wide arithmetic, and what rounding may do to each of them."""

    exact: list[Array]
    mass: list[Array]
    sigma: list[Array]
    hulls: list[Hull | None]
    u: float
    wide: Wide

    def is_blind(self, count: int) -> bool:
        """Whether rounding does so much to some gradient, after ``count`` outputs, that nothing can be told."""
        for g, sigma in zip(self.exact[count:], self.sigma[count:], strict=True):
            size = float(np.abs(double(g)).max(initial=0, where=np.isfinite(double(g))))
            if size > 0 and float(double(sigma).max(initial=0)) > max(BLIND, 16 * self.u) * size:
                return True
        return False


def truth(derived: Derived, u: float, *, samples: int = 8, seed: int = 0) -> Truth:
    """The truth about a graph: see the module's text."""
    wide = wide_for(u)
    rng = np.random.default_rng(seed)
    with wide.context(), np.errstate(all="ignore"):
        inputs = [wide.array(a) for a in derived.inputs]
        values, watch = dict(zip(derived.graph.inputs, inputs, strict=True)), Watch()

        def look(t: Tensor, operands: list[Any], value: Any) -> Any:
            values[t] = value
            if t.node.op.name in DECISIONS:  # type: ignore[union-attr]
                watch.note(t, operands, value)
            return value

        exact = _run(derived, wide, inputs, look)
        perturbed = [_perturbed(derived, wide, inputs, watch, rng, u) for _ in range(samples)]
        sigma = [_spread([run[k] for run in perturbed], e) for k, e in enumerate(exact)]
        asked = questions(derived, watch, u) if watch.gaps else []
        beside = [_run(derived, wide, inputs, each) for each in answers(asked, watch, rng, RANDOM)] if asked else []
    if wide.name == "decimal":
        values = _float_values(derived)
    mass = [np.abs(double(e)) for e in exact[: derived.count]] + _masses(derived, values)
    found = hulls(derived, exact, beside, asked) if beside else [None] * len(exact)
    return Truth(exact, mass, sigma, list(found), u, wide)


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


def _perturbed(derived: Derived, wide: Wide, inputs: Sequence[Any], watch: Watch, rng: Any, u: float) -> list[Any]:
    """One run in which every rounding happens with a random sign; decisions stay as they are."""
    one, unit_ = wide.number(1.0), wide.number(u)
    near_one, sign = _Signs(rng, one + unit_, one - unit_), _Signs(rng, one, -one)
    moving = set(derived.graph.inputs)

    def rounded(t: Tensor, operands: list[Any], value: Any) -> Any:
        name = t.node.op.name  # type: ignore[union-attr]
        if name in DECISIONS:
            return watch.held(t, operands)
        fixed = moving.isdisjoint(derived.graph.operands(t))
        if not fixed:
            moving.add(t)
        if name in EXACT or not isinstance(value, np.ndarray) or value.dtype.kind not in "fO":
            return value
        if fixed and _is_representable(value, u):  # such as the 3.0 - 1 of a constant exponent
            return value
        out = value * near_one(value.shape)
        if name in SUMS or name == "prod":
            terms, count = _terms(t, operands, value, wide)
            out = out + sign(value.shape) * (terms * (unit_ * wide.number(math.sqrt(count))))
        return np.asanyarray(out)

    floats = [isinstance(x, np.ndarray) and x.dtype.kind in "fO" for x in inputs]
    moved = [np.asanyarray(x * near_one(x.shape)) if f else x for x, f in zip(inputs, floats, strict=True)]
    return _run(derived, wide, moved, rounded)


def _is_representable(value: Array, u: float) -> bool:
    """Whether numbers have so few digits that a precision of ``u`` does not round them."""
    floats = double(value)
    digits = np.frexp(floats)[0] / u
    return bool(np.all((floats == value) & (digits == np.rint(digits))))


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
        slope = rule(np.ones_like(m), out, *operands, **node.params)
        return None if slope is None else np.abs(slope) * m
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
