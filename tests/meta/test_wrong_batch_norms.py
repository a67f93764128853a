"""The proof of BatchNorm has teeth: wrong backwards, hand-written or derived from a wrong rule, are caught."""

import numpy as np
import pytest
from support.batch_norms import EPS, Problem, run
from support.calls import REGISTRY
from support.sabotage import broken_rule, replaced

import tinygraph as tg

DTYPES = [np.float64, np.float32]
PROBLEMS = [
    Problem(shape, scale, offset, seed=seed, dtype=dtype)
    for dtype in DTYPES
    for seed, (shape, scale, offset) in enumerate([((6, 3), 1, 0), ((4, 2, 3), 1, 1), ((2, 3, 2, 2), 1e3, 0), ((5, 1), 1e-3, 0)])
]  # fmt: skip


def three_terms(direct=1.0, mean=1.0, variance=1.0, *, dgamma=None, scale=None, reduce=None, term=None):
    """The analytic backward with a factor on each term, and with parts that can be exchanged."""

    def backward(g, saved, x, gamma, beta, *, axis, eps):
        xhat, sigma, axes, along = saved

        def average(a):
            return a.mean(axis=axes if reduce is None else reduce, keepdims=True)

        m = x.size // x.shape[axis]
        factors = [f(m, sigma, gamma.reshape(along)) if callable(f) else f for f in (direct, mean, variance)]
        direct_, mean_, variance_ = factors
        last = xhat if term is None else term(x, xhat)
        d = direct_ * g - mean_ * average(g) - variance_ * last * average(g * xhat)
        d = d * (gamma.reshape(along) / sigma if scale is None else scale(gamma.reshape(along), sigma))
        pulled = (g * xhat).sum(axis=axes) if dgamma is None else dgamma(g, x, xhat, axes)
        return d.astype(x.dtype), pulled, g.sum(axis=axes)

    return backward


WRONG = {
    "the mean term is added": three_terms(mean=-1),
    "the mean term is missing": three_terms(mean=0),
    "the variance term is missing": three_terms(variance=0),
    "both are missing": three_terms(mean=0, variance=0),
    "the variance term is halved": three_terms(variance=0.5),
    "the variance term is negated": three_terms(variance=-1),
    "the mean term lacks 1/m": three_terms(mean=lambda m, sigma, gamma: m),
    "the variance term divides by m - 1": three_terms(variance=lambda m, sigma, gamma: m / (m - 1)),
    "the mean term lacks gamma": three_terms(mean=lambda m, sigma, gamma: 1 / gamma),
    "gamma is missing": three_terms(scale=lambda gamma, sigma: 1 / sigma),
    "gamma is squared": three_terms(scale=lambda gamma, sigma: gamma**2 / sigma),
    "divided by the variance": three_terms(scale=lambda gamma, sigma: gamma / sigma**2),
    "ε is forgotten": three_terms(scale=lambda gamma, sigma: gamma / np.sqrt(sigma**2 - EPS)),
    "ε is outside the root": three_terms(scale=lambda gamma, sigma: gamma / (np.sqrt(sigma**2 - EPS) + EPS)),
    "reduced over one axis": three_terms(reduce=(1,)),
    "x in place of x̂": three_terms(term=lambda x, xhat: x),
    "0.1 % too large": three_terms(scale=lambda gamma, sigma: 1.001 * gamma / sigma),
    "dgamma with x": three_terms(dgamma=lambda g, x, xhat, axes: (g * x).sum(axis=axes)),
    "dgamma is a mean": three_terms(dgamma=lambda g, x, xhat, axes: (g * xhat).mean(axis=axes)),
}


def caught(fn, dtype, conditioned):
    for problem in PROBLEMS:
        if problem.dtype is dtype:
            try:
                problem.check(run(fn, problem), problem.textbook, conditioned)
            except AssertionError:
                return True
    return False


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_right_one_passes(dtype):
    assert not caught(tg.batch_norm, dtype, conditioned=True)
    assert not caught(tg.fused.batch_norm, dtype, conditioned=False)
    with replaced(tg.fused.batch_norm, "_backward", three_terms()):
        assert not caught(tg.fused.batch_norm, dtype, conditioned=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_analytic_backward_is_caught(how, dtype):
    with replaced(tg.fused.batch_norm, "_backward", WRONG[how]):
        assert caught(tg.fused.batch_norm, dtype, conditioned=False)


RULES = {
    "mean without 1/m": ("mean", 0, REGISTRY["mean"].mistakes[0][2]),
    "sub with the sign of add": ("sub", 1, lambda g, out, x, y: g),
    "div without its numerator": ("div", 1, REGISTRY["div"].mistakes[0][2]),
    "mul without a factor": ("mul", 0, lambda g, out, x, y: g),
    "sqrt without its half": ("sqrt", 0, lambda g, out, x: g / out),
    "pow without its exponent": ("pow", 0, lambda g, out, x, y: g * x),
    "add that drops an operand": ("add", 1, lambda g, out, x, y: 0 * g),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", RULES)
def test_a_wrong_rule_of_a_primitive_is_caught(how, dtype):
    name, position, rule = RULES[how]
    with broken_rule(REGISTRY[name], position, rule):
        assert caught(tg.batch_norm, dtype, conditioned=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_uncorrected_mean_is_caught_at_an_offset(dtype):
    """What the composed form is allowed at a large offset, the fused one is not."""
    problem = Problem((32, 3), 1, 1e4, dtype=dtype)
    problem.check(run(tg.batch_norm, problem), problem.textbook, conditioned=True)
    with pytest.raises(AssertionError):
        problem.check(run(tg.batch_norm, problem), problem.textbook, conditioned=False)
