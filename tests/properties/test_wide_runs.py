"""A graph that was traced in one dtype runs in longdouble, complex and object arithmetic and stays there."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from support.calls import REGISTRY, RULED, parametrize

import tinygraph as tg
from tinygraph.testing.laws import gradient_of
from tinygraph.testing.oracles import complex_numpy

# Where every operation is exact in fields: no roots, no exponentials, no order.
ALGEBRAIC = {
    "add", "sub", "mul", "mul0", "div", "div0", "neg", "sum", "mean", "prod", "cumsum", "matmul", "reshape",
    "transpose", "broadcast_to", "expand_dims", "squeeze", "flip", "roll", "pad", "concatenate", "stack", "getitem",
    "add_at", "set_at", "spread", "shift", "identity",
}  # fmt: skip


def loss(x, y):
    """Every cast that a backward has: float32 against float64, a count of ties, a mean."""
    return tg.mean(tg.max(tg.tanh(x) * y, axis=1) / (1 + y[:, 0] ** 2)).astype(np.float64)


@pytest.mark.parametrize("wide", [np.longdouble, np.complex128, np.clongdouble], ids=lambda d: d.__name__)
@pytest.mark.parametrize("narrow", [np.float16, np.float32, np.float64], ids=lambda d: d.__name__)
def test_casts_between_floats_are_dropped(narrow, wide, rng):
    x, y = rng.normal(size=(3, 4)).astype(narrow), rng.normal(size=(3, 4)).astype(np.float32)
    graph = tg.trace(lambda x, y: (loss(x, y), *tg.grad(loss, (0, 1))(x, y)), x, y)
    exact = [x.astype(wide), y.astype(wide)]
    xp = complex_numpy if np.dtype(wide).kind == "c" else np
    results = graph.run(xp, *exact)
    assert {r.dtype for r in results} == {np.dtype(wide)}
    value, *gradients = tg.value_and_grad(loss, (0, 1))(x.astype(np.float64), y.astype(np.float64))
    for r, e in zip(results, (value, *gradients[0]), strict=True):
        np.testing.assert_allclose(np.real(r).astype(np.float64), e.numpy(), rtol=1e-12, atol=1e-14)


@parametrize([c for c in RULED if c.op.name in ALGEBRAIC or str(c) in ("pow-4", "pow-5", "pow-6")])
def test_fractions_are_exact(call):
    """Forward and derived backward on exact fractions: what float64 computes, with no rounding at all."""
    problem = call.draw(2)
    xs, g = problem.arrays, problem.cotangent()
    graph = tg.trace(lambda *p: (problem.fn(*p[:-1]), *gradient_of(problem.fn)(*p)), *xs, g)

    def fractions(a):
        return np.vectorize(Fraction, otypes=[object])(np.round(a * 64) / 64)

    exact = [fractions(a) for a in (*xs, g)]
    found = graph.run(np, *exact, constant=lambda c: Fraction(c) if isinstance(c, float) else c)
    expected = graph.run(np, *(a.astype(np.float64) for a in exact))
    for f, e in zip(found, expected, strict=True):
        # A float is a constant of the call, or the zero of an input that nothing reaches.
        assert all(isinstance(v, (Fraction, int)) or v in (0.0, 3.0) for v in np.ravel(f))
        np.testing.assert_allclose(np.asarray(f, np.float64), e, rtol=1e-12, atol=1e-13)


def test_every_algebraic_primitive_is_named():
    assert set(REGISTRY) >= ALGEBRAIC


@pytest.mark.parametrize("axis", [1, 0])
def test_batch_norm_in_decimals(axis, rng):
    """The derived BatchNorm backward in 50 digits: float64 is its rounding, and Σdx vanishes to 45 digits."""
    x, g = rng.normal(2, 2, (4, 3)), rng.normal(size=(4, 3))
    gamma, beta = rng.normal(size=(2, x.shape[axis]))
    fn = tg.vjp_fn(lambda *p: tg.batch_norm(*p, axis=axis))
    graph = tg.trace(fn, x, gamma, beta, g)
    narrow = graph.run(np, x, gamma, beta, g)
    with localcontext() as context:
        context.prec = 50
        decimals = [np.vectorize(Decimal, otypes=[object])(a) for a in (x, gamma, beta, g)]
        exact = graph.run(np, *decimals, constant=lambda c: Decimal(repr(c)))
        sums = exact[1].sum(axis=1 - axis)
    assert all(abs(s) < Decimal("1e-45") for s in sums)
    for e, f in zip(exact, narrow, strict=True):
        assert all(isinstance(v, Decimal) for v in np.ravel(e))
        np.testing.assert_allclose(f, e.astype(np.float64), rtol=1e-12, atol=1e-13)
