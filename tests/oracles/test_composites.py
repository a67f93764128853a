"""Composites against formulas of their own: value, gradient by a formula, and complex step of the graph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples, seeds

import tinygraph as tg
from tinygraph.testing.laws import near
from tinygraph.testing.oracles.derivatives import complex_step, contract, jacobian

AXES = st.sampled_from([0, 1, -1, -2])


def check(fn, arrays, value, gradients, seed):
    """``value(*arrays)`` and ``gradients(g, *arrays)`` are NumPy; the last oracle needs neither."""
    out, pullback = tg.vjp(fn, *arrays)
    near(out.numpy(), value(*arrays), 1e-12)
    g = np.random.default_rng([seed, 1]).uniform(-2, 2, out.shape)
    found = [t.numpy() for t in pullback(g)]
    if gradients is not None:
        for f, e in zip(found, gradients(g, *arrays), strict=True):
            near(f, e, 1e-12)
    graph = tg.trace(fn, *arrays)
    columns = jacobian(lambda v: complex_step(graph, arrays, v)[0], arrays)
    for f, e in zip(found, contract(g, columns, [a.shape for a in arrays])[0], strict=True):
        near(f, e, 1e-12)


def matrix(seed, shape=(3, 4), scale=2.0):
    return np.random.default_rng(seed).normal(0, scale, shape)


def np_softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@given(seeds, AXES)
@examples(30)
def test_softmax(seed, axis):
    def gradient(g, x):
        p = np_softmax(x, axis)
        return [p * (g - (g * p).sum(axis=axis, keepdims=True))]

    check(lambda x: tg.softmax(x, axis), [matrix(seed)], lambda x: np_softmax(x, axis), gradient, seed)


@given(seeds, AXES)
@examples(30)
def test_log_softmax(seed, axis):
    def gradient(g, x):
        return [g - np_softmax(x, axis) * g.sum(axis=axis, keepdims=True)]

    check(lambda x: tg.log_softmax(x, axis), [matrix(seed)], lambda x: np.log(np_softmax(x, axis)), gradient, seed)


@given(seeds, st.sampled_from([0, 1, None, (0, 1)]), st.booleans())
@examples(30)
def test_logsumexp(seed, axis, keepdims):
    def value(x):
        return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))

    def gradient(g, x):
        kept = np.exp(x).sum(axis=axis, keepdims=True)
        return [np.reshape(g, kept.shape) * np.exp(x) / kept]

    check(lambda x: tg.logsumexp(x, axis, keepdims=keepdims), [matrix(seed)], value, gradient, seed)


@given(seeds, st.sampled_from(["mean", "sum", "none"]))
@examples(30)
def test_cross_entropy(seed, reduction):
    rng = np.random.default_rng(seed)
    logits, classes = matrix(seed, (5, 3)), rng.integers(0, 3, 5)
    hot = np.eye(3)[classes]
    scale = 1 / 5 if reduction == "mean" else 1

    def value(x):
        losses = -np.log(np_softmax(x, 1))[np.arange(5), classes]
        return losses if reduction == "none" else getattr(np, reduction)(losses)

    def gradient(g, x):
        return [np.reshape(g, (-1, 1)) * scale * (np_softmax(x, 1) - hot)]

    check(lambda x: tg.cross_entropy(x, classes, reduction=reduction), [logits], value, gradient, seed)
    check(lambda x: tg.cross_entropy(x, hot, reduction=reduction), [logits], value, gradient, seed)
    check(
        lambda x: tg.cross_entropy(x, classes, axis=0, reduction=reduction),
        [logits.T],
        lambda x: value(x.T),
        None,
        seed,
    )


@given(seeds, st.sampled_from([0, 1, None]), st.sampled_from([0, 1, 0.5]))
@examples(30)
def test_var_and_std(seed, axis, correction):
    def centred(x):
        return x - x.mean(axis=axis, keepdims=True), (x.size if axis is None else x.shape[axis]) - correction

    def kept(g, x):
        return np.reshape(g, x.mean(axis=axis, keepdims=True).shape)

    def d_var(g, x):
        xc, n = centred(x)
        return [kept(g, x) * 2 * xc / n]

    def d_std(g, x):
        return [d_var(g, x)[0] / (2 * x.std(axis=axis, ddof=correction, keepdims=True))]

    x = [matrix(seed)]
    check(lambda x: tg.var(x, axis, correction=correction), x, lambda x: x.var(axis=axis, ddof=correction), d_var, seed)
    check(lambda x: tg.std(x, axis, correction=correction), x, lambda x: x.std(axis=axis, ddof=correction), d_std, seed)


@given(seeds, st.sampled_from([0, 1, None]), st.booleans())
@examples(30)
def test_norm(seed, axis, keepdims):
    def gradient(g, x):
        length = np.sqrt((x**2).sum(axis=axis, keepdims=True))
        return [np.reshape(g, length.shape) * x / length]

    def value(x):
        return np.sqrt((x**2).sum(axis=axis, keepdims=keepdims))

    check(lambda x: tg.norm(x, axis, keepdims=keepdims), [matrix(seed)], value, gradient, seed)


@given(seeds, st.sampled_from([(2, 5), (3, 2, 4), (4, 1)]))
@examples(30)
def test_layer_norm(seed, shape):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(1, 2, shape), rng.uniform(0.5, 2, shape[-1]), rng.normal(size=shape[-1])]
    eps = 1e-5

    def normalised(x):
        xc = x - x.mean(axis=-1, keepdims=True)
        sigma = np.sqrt((xc**2).mean(axis=-1, keepdims=True) + eps)
        return xc / sigma, sigma

    def gradient(g, x, gamma, beta):
        xhat, sigma = normalised(x)
        d = g * gamma
        dx = (d - d.mean(axis=-1, keepdims=True) - xhat * (d * xhat).mean(axis=-1, keepdims=True)) / sigma
        rest = tuple(range(x.ndim - 1))
        return [dx, (g * xhat).sum(axis=rest), g.sum(axis=rest)]

    check(tg.layer_norm, arrays, lambda x, gamma, beta: gamma * normalised(x)[0] + beta, gradient, seed)


@given(seeds)
@examples(20)
def test_matmul_is_einsum(seed):
    x, y = matrix(seed, (2, 3, 4)), matrix(seed + 1, (4, 5))

    def gradient(g, x, y):
        return [np.einsum("bik,jk->bij", g, y), np.einsum("bij,bik->jk", x, g)]

    def value(x, y):
        return np.einsum("bij,jk->bik", x, y)

    check(tg.matmul, [x, y], value, gradient, seed)
    check(lambda x, y: tg.einsum("bij,jk", x, y), [x, y], value, gradient, seed)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ii", [(3, 3)]), ("ii->i", [(3, 3)]), ("iij->j", [(2, 2, 3)]), ("ij->ji", [(2, 3)]), ("ij->i", [(2, 3)]),
        ("i,j->ij", [(2,), (3,)]), ("ij,ij->", [(2, 3), (2, 3)]), ("...ij,...jk->...ik", [(2, 1, 2, 3), (4, 3, 2)]),
        ("ij,jk,kl->il", [(2, 3), (3, 2), (2, 4)]), ("i...,i->...", [(2, 3, 2), (2,)]), ("ij,kj->ki", [(2, 1), (3, 4)]),
        ("i,i,i->i", [(3,), (3,), (3,)]), (",i->i", [(), (3,)]), ("ab,ab,c->", [(2, 2), (2, 2), (3,)]),
    ],
)  # fmt: skip
def test_einsum(subscripts, shapes):
    arrays = [matrix(k, shape) for k, shape in enumerate(shapes)]
    check(lambda *p: tg.einsum(subscripts, *p), arrays, lambda *p: np.einsum(subscripts, *p), None, 0)


SIMPLE = {
    "square": (lambda x: x**2, lambda x: 2 * x),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2),
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "silu": (lambda x: x / (1 + np.exp(-x)), lambda x: (1 + np.exp(-x) * (1 + x)) / (1 + np.exp(-x)) ** 2),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
    "softplus": (lambda x: np.log1p(np.exp(x)), lambda x: 1 / (1 + np.exp(-x))),
}


@pytest.mark.parametrize("name", SIMPLE)
@given(seed=seeds)
@examples(10)
def test_activations(name, seed):
    value, slope = SIMPLE[name]
    x = np.random.default_rng(seed).uniform(0.1, 2, (2, 3)) * np.array([1, -1, 1])
    check(getattr(tg, name), [x], value, lambda g, x: [g * slope(x)], seed)


REARRANGED = {
    "swapaxes": (lambda x: tg.swapaxes(x, 0, 2), lambda x: x.swapaxes(0, 2)),
    "moveaxis": (lambda x: tg.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1)),
    "moveaxis of two": (lambda x: tg.moveaxis(x, (0, 2), (1, 0)), lambda x: np.moveaxis(x, (0, 2), (1, 0))),
    "ravel": (tg.ravel, np.ravel),
    "take": (lambda x: tg.take(x, np.array([[1, 1], [0, 1]]), axis=1), lambda x: np.take(x, [[1, 1], [0, 1]], axis=1)),
    "take of all": (lambda x: tg.take(x, np.array([5, 5, 0])), lambda x: np.take(x, [5, 5, 0])),
    "split": (lambda x: tg.split(x, [1, 3], axis=2)[1], lambda x: np.split(x, [1, 3], axis=2)[1]),
    "split evenly": (lambda x: tg.split(x, 2, axis=-1)[0], lambda x: np.split(x, 2, axis=-1)[0]),
}


@pytest.mark.parametrize("name", REARRANGED)
def test_rearranging(name):
    ours, theirs = REARRANGED[name]
    check(ours, [matrix(0, (3, 2, 4))], theirs, None, 0)


@pytest.mark.parametrize(
    ("dtype", "huge"), [(np.float32, 1e3), (np.float32, 1e38), (np.float64, 1e3), (np.float64, 1e300)]
)
def test_nothing_overflows(dtype, huge):
    """Softmax and its relatives where exp would overflow: values, and gradients at two orders."""
    x = np.array([[huge, -huge, 0], [-huge, -huge, -huge]], dtype)
    for fn in (tg.softmax, tg.log_softmax, tg.logsumexp, tg.sigmoid, tg.softplus, tg.tanh):
        gradient = tg.grad(lambda t, fn=fn: tg.sum(fn(t)[0:1]) if fn(t).ndim else fn(t))
        first = gradient(x)
        second = tg.vjp(gradient, x)[1](np.ones_like(x))[0]
        assert first.dtype == dtype
        assert np.isfinite(first.numpy()).all()
        assert np.isfinite(second.numpy()).all()
    np.testing.assert_allclose(tg.softmax(x).numpy(), [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
