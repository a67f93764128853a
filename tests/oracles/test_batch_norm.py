"""The proof: the derived BatchNorm backward is the analytic one, the textbook's, and complex step's.

Every comparison is bounded by rounding units of the absolute contributions (``Problem.masses``), not
by a tolerance. Cotangents are random and gamma is not trivial: ``y.sum()`` would see no term of dx.
"""

import numpy as np
import pytest
from hypothesis import example, given
from support import examples
from support.batch_norms import EPS, UNITS, Problem, problems, run

import tinygraph as tg
from tinygraph.testing.laws import close


@given(problems)
@example(Problem((1, 3)))
@example(Problem((2, 1), offset=1e4, dtype=np.float32))
@examples(400)
def test_derived_is_the_textbook(problem):
    problem.check(run(tg.batch_norm, problem), problem.textbook, conditioned=True)


@given(problems)
@examples(400)
def test_fused_is_the_textbook(problem):
    """Its mean is corrected: no offset costs it a digit."""
    problem.check(run(tg.fused.batch_norm, problem), problem.textbook, conditioned=False)


@given(problems)
@examples(150)
def test_derived_is_complex_step(problem):
    found = run(tg.batch_norm, problem)
    problem.check(found[1:], problem.complex_step, conditioned=True, which=slice(1, None))


@given(problems)
@examples(200)
def test_derived_is_fused(problem):
    derived, fused = run(tg.batch_norm, problem), run(tg.fused.batch_norm, problem)
    problem.check(derived, [f.astype(np.longdouble) for f in fused], conditioned=True, units=2 * UNITS)


@given(problems)
@examples(100)
def test_textbook_is_complex_step(problem):
    """The two references against each other, far below the precision of what they judge."""
    for e, c, m in zip(problem.textbook[1:], problem.complex_step, problem.masses(True)[1:], strict=True):
        close(e, c, m, 64 * np.finfo(np.longdouble).eps)


FORMS = pytest.mark.parametrize("fn", [tg.batch_norm, tg.fused.batch_norm], ids=["composed", "fused"])


@FORMS
@given(problems)
@examples(100)
def test_invariants(fn, problem):
    """What dx must obey, whatever its formula."""
    _, dx, dgamma, dbeta = run(fn, problem)
    x, gamma, beta = problem.arrays
    axes = problem.axes
    u = np.finfo(problem.dtype).eps / 2
    mass = problem.masses(conditioned=True)[1]

    def close_to(found, expected, scale):
        close(np.asarray(found, np.longdouble), expected, scale, UNITS * u)

    # y does not see a shift of x.
    wide = dx.astype(np.longdouble)
    close_to(wide.sum(axis=axes), np.zeros(len(gamma)), mass.sum(axis=axes))
    # It nearly ignores its scale: Σ dx · (x - μ) = γ · (Σ g x̂) · ε / σ², all of it from ε.
    xc = problem.wide[0] - problem.wide[0].mean(axis=axes, keepdims=True)
    variance = (xc**2).mean(axis=axes)
    expected = problem.wide[1] * problem.textbook[2] * EPS / (variance + EPS)
    close_to((wide * xc).sum(axis=axes), expected, (mass * np.abs(xc)).sum(axis=axes))
    # Odd in gamma, blind to beta: to the bit.
    _, flipped, same, _ = (t.numpy() for t in _results(fn, x, -gamma, beta + 1, problem.g))
    np.testing.assert_array_equal(flipped, -dx)
    np.testing.assert_array_equal(same, dgamma)
    # Linear in the cotangent: a power of two to the bit.
    _, *doubled = (t.numpy() for t in _results(fn, x, gamma, beta, 2 * problem.g))
    for a, b in zip(doubled, (dx, dgamma, dbeta), strict=True):
        np.testing.assert_array_equal(a, 2 * b)
    # x · 2 with ε · 4 has half the slope: to the bit.
    _, halved, _, _ = (t.numpy() for t in _results(fn, 2 * x, gamma, beta, problem.g, eps=4 * EPS))
    np.testing.assert_array_equal(halved, dx / 2)


def _results(fn, x, gamma, beta, g, **params):
    out, cotangents = tg.vjp_fn(lambda *p: fn(*p, **params))(x, gamma, beta, g)
    return out, *cotangents


@FORMS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_value_per_channel(fn, dtype):
    problem = Problem((1, 3), offset=5.0, dtype=dtype)
    y, dx, dgamma, dbeta = run(fn, problem)
    np.testing.assert_array_equal(y[0], problem.arrays[2])
    np.testing.assert_array_equal(dx, 0)
    np.testing.assert_array_equal(dgamma, 0)
    np.testing.assert_array_equal(dbeta, problem.g[0])


@FORMS
def test_the_loss_sum_sees_no_term_of_dx(fn):
    """Why no test here uses it: with ones as cotangent even 0 would pass for dx."""
    x, gamma, beta = Problem((6, 3)).arrays
    _, dx, _, _ = _results(fn, x, gamma, beta, np.ones((6, 3)))
    np.testing.assert_allclose(dx.numpy(), 0, atol=1e-14)


@FORMS
@pytest.mark.parametrize("given", [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("axis", [0, 1, -1, 2])
def test_axis_and_optional_parameters(fn, given, axis, rng):
    """Any channel axis, with gamma or beta left out, is the full form on moved axes."""
    x, g = rng.normal(2, 3, (3, 4, 5)), rng.normal(size=(3, 4, 5))
    channels = x.shape[axis]
    present = [rng.normal(size=channels) if there else None for there in given]
    full = [
        np.ones(channels) if present[0] is None else present[0],
        np.zeros(channels) if present[1] is None else present[1],
    ]

    def moved(a):
        return np.moveaxis(a, axis, 1)

    y, (dx, *rest) = tg.vjp_fn(lambda x, *p: fn(x, *_filled(present, p), axis=axis))(
        x, *(p for p in present if p is not None), g
    )
    expected_y, (expected_dx, *expected_rest) = tg.vjp_fn(tg.batch_norm)(moved(x), *full, moved(g))
    np.testing.assert_allclose(moved(y.numpy()), expected_y.numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(moved(dx.numpy()), expected_dx.numpy(), rtol=1e-12, atol=1e-13)
    kept = [e for e, there in zip(expected_rest, given, strict=True) if there]
    for a, b in zip(rest, kept, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-13)


def _filled(present, given):
    rest = iter(given)
    return [None if p is None else next(rest) for p in present]
