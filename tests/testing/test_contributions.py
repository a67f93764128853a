"""The terms of a gradient: they add up to it, and are called what a person calls what they go through."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.errors import ArgumentError, DTypeError, ShapeError, TraceError
from tinygraph.testing import contributions

RNG = np.random.default_rng(0)
X, GAMMA, BETA = RNG.normal(size=(5, 3)), RNG.normal(size=3), RNG.normal(size=3)
DY = RNG.normal(size=(5, 3))


def named(x, gamma, beta, eps=1e-5):
    mu = tg.mean(x, axis=0)
    xc = x - mu
    var = tg.mean(xc**2, axis=0)
    std = tg.sqrt(var + eps)
    xhat = xc / std
    return gamma * xhat + beta


def scoped(x, gamma, beta, eps=1e-5):
    """As in the architecture's example: names from local variables, scopes around them."""
    with tg.scope("mean"):
        mu = tg.mean(x, axis=0)
    with tg.scope("centre"):
        xc = x - mu
    with tg.scope("variance"):
        var = tg.mean(xc**2, axis=0)
    with tg.scope("normalise"):
        xhat = xc / tg.sqrt(var + eps)
    with tg.scope("scale and shift"):
        return gamma * xhat + beta


def only_scopes(x, gamma, beta, eps=1e-5):
    def within(name, value):
        return value

    with tg.scope("the mean"):
        mean = [tg.mean(x, axis=0)]
    xc = [x - mean.pop()]
    with tg.scope("the variance"):
        square = tg.mean(xc[0] ** 2, axis=0)
    return within("out", gamma * (xc[0] / tg.sqrt(square + eps)) + beta)


def unnamed(x, gamma, beta):
    return gamma * (x - x.mean(axis=0)) / tg.sqrt(((x - x.mean(axis=0)) ** 2).mean(axis=0) + 1e-5) + beta


def derived(reference, *arrays, wrt=0, dy=None):
    cotangents = tg.vjp(reference, *arrays)[1](dy)
    return cotangents[wrt].numpy()


def add_up(reference, *arrays, wrt=0, dy=None):
    terms = contributions(reference, *arrays, wrt=wrt, dy=dy)
    total = sum(terms.values())
    due = derived(reference, *arrays, wrt=wrt, dy=dy)
    mass = sum(np.abs(t) for t in terms.values()).max()
    assert total.shape == due.shape
    assert np.abs(total - due).max() <= 1e-12 * mass
    assert all(isinstance(t, np.ndarray) and t.shape == due.shape for t in terms.values())
    return terms


@pytest.mark.parametrize("reference", [named, scoped])
def test_batch_norm_has_three_terms_and_one_that_vanishes(reference):
    terms = add_up(reference, X, GAMMA, BETA, dy=DY)
    assert list(terms) == ["direct", "through var", "through var and mu", "through mu"]
    d = DY * GAMMA / np.sqrt(X.var(axis=0) + 1e-5)
    xhat = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0) + 1e-5)
    assert np.allclose(terms["direct"], d, rtol=1e-13)
    assert np.allclose(terms["through mu"], -d.mean(axis=0), rtol=1e-13)
    assert np.allclose(terms["through var"], -xhat * (d * xhat).mean(axis=0), rtol=1e-12)
    assert np.abs(terms["through var and mu"]).max() < 1e-14


def test_the_composite_goes_by_its_own_names():
    terms = add_up(lambda x, gamma, beta: tg.batch_norm(x, gamma, beta), X, GAMMA, BETA, dy=DY)
    assert list(terms) == ["direct", "through σ²", "through σ² and μ", "through μ"]
    image = RNG.normal(size=(2, 3, 4, 2))
    terms = add_up(tg.batch_norm, image, GAMMA, BETA, dy=RNG.normal(size=image.shape))
    assert "through μ" in terms
    assert terms["through μ"].shape == image.shape


def test_a_node_without_a_variable_goes_by_its_scope_or_by_what_it_computes():
    assert "through the mean" in add_up(only_scopes, X, GAMMA, BETA, dy=DY)
    terms = add_up(unnamed, X, GAMMA, BETA, dy=DY)
    assert "through mean of x over axis 0" in terms
    assert "through mean of (x - …)**2 over axis 0" in terms


@pytest.mark.parametrize(
    ("reference", "wrt", "due"),
    [
        (named, "gamma", ["direct"]),
        (named, 2, ["direct"]),
        (lambda x, gamma, beta: tg.softmax(x), 0, ["direct", "through sum of e over axis 1"]),
        (lambda x, gamma, beta: tg.var(x, axis=0), 0, ["direct", "through mean of x over axis 0"]),
        (lambda x, gamma, beta: x * tg.relu(x - gamma), 0, ["direct", "through relu(x - gamma)"]),
        (lambda x, gamma, beta: (x - x.mean()) / tg.std(x), 0, ["direct", "through var(x)", "through mean of x over all axes"]),
    ],
)  # fmt: skip
def test_labels(reference, wrt, due):
    terms = add_up_by_name(reference, wrt)
    assert set(due) <= set(terms)
    assert next(iter(terms)) == "direct"


def add_up_by_name(reference, wrt):
    place = wrt if isinstance(wrt, int) else ["x", "gamma", "beta"].index(wrt)
    graph = tg.trace(reference, X, GAMMA, BETA)
    dy = RNG.normal(size=graph.outputs[0].shape)
    assert (
        contributions(reference, X, GAMMA, BETA, wrt=wrt, dy=dy).keys()
        == contributions(reference, X, GAMMA, BETA, wrt=place, dy=dy).keys()
    )
    return add_up(reference, X, GAMMA, BETA, wrt=place, dy=dy)


def test_softmax_and_cross_entropy():
    z = RNG.normal(size=(4, 5))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    terms = add_up(tg.softmax, z, dy=np.ones_like(z))
    assert np.allclose(terms["direct"], p)
    labels = np.array([0, 4, 2, 2])

    def loss(z):
        return tg.cross_entropy(z, labels)

    terms = add_up(loss, z, dy=np.array(1.0))
    assert np.allclose(terms["direct"], -np.eye(5)[labels] / 4)
    assert np.allclose(terms["through sum of exp(shifted) over axis 1"], p / 4)


def test_labels_are_an_argument_like_any_other():
    terms = contributions(tg.cross_entropy, RNG.normal(size=(4, 5)), np.array([0, 1, 2, 3]))
    assert len(terms) == 2
    with pytest.raises(ArgumentError, match="no floating argument"):
        contributions(tg.cross_entropy, RNG.normal(size=(4, 5)), np.array([0, 1, 2, 3]), wrt=1)


@pytest.mark.parametrize("layers", [6, 12, 40])
def test_above_64_paths_those_that_meet_are_one(layers):
    def deep(x):
        for _ in range(layers):
            x = x + tg.tanh(x)
        return x

    terms = add_up(deep, X[0], dy=DY[0])
    assert 32 <= len(terms) <= 64
    assert len(set(terms)) == len(terms)


def test_the_label_of_a_path_that_is_no_other_path():
    """Two ways through ``lo``: the one that goes through nothing else has the plain name."""

    def scaled(x):
        lo = tg.min(x, axis=0)
        hi = tg.max(x, axis=0)
        return (x - lo) / (hi - lo)

    terms = add_up(scaled, X, dy=DY)
    low = X == X.min(axis=0)
    span = X.max(axis=0) - X.min(axis=0)
    assert np.allclose(terms["through lo"], -1.0 * low * (DY / span).sum(axis=0))
    assert sorted(terms) == ["direct", "through hi", "through lo", "through lo and hi - lo"]


def test_several_outputs():
    def both(x):
        h = tg.tanh(x)
        loss = tg.mean(h * h)
        return h, loss

    dy = (DY, np.array(3.0))
    terms = contributions(both, X, dy=dy)
    assert list(terms) == ["direct", "through loss"]
    slope = 1 - np.tanh(X) ** 2
    assert np.allclose(terms["direct"], DY * slope)
    assert np.allclose(terms["through loss"], 3 * 2 * np.tanh(X) / X.size * slope)
    assert len(contributions(both, X)) == 2  # dy is drawn, one for each output


def test_an_output_that_is_the_argument():
    terms = contributions(lambda x: (x, 2 * x), X, dy=(DY, DY))
    assert list(terms) == ["direct", "through 2 * x"]
    assert np.array_equal(terms["direct"], DY)


def test_lists_and_repeated_names():
    def steps(x):
        hidden = [tg.tanh(x)]
        hidden.append(tg.sin(hidden[0]))
        return hidden[1] + hidden[0] * x

    assert list(add_up(steps, X, dy=DY)) == ["direct", "through hidden[1]", "through hidden[0]"]


def test_dtypes_and_numbers():
    narrow = contributions(named, *(a.astype(np.float32) for a in (X, GAMMA, BETA)), dy=DY.astype(np.float32))
    assert all(t.dtype == np.float32 for t in narrow.values())
    assert contributions(lambda x: x * x, 3.0, dy=2.0) == {"direct": 12.0}
    assert contributions(lambda x, y: y * 2.0, X, DY) == {}


def test_the_same_dy_is_drawn_again():
    first, again = (contributions(named, X, GAMMA, BETA) for _ in range(2))
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert not np.allclose(first["direct"], contributions(named, X, GAMMA, BETA, dy=np.ones_like(X))["direct"])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: contributions(3, X), ArgumentError, "takes a function first"),
        (lambda: contributions(named, X, GAMMA, BETA, wrt="delta"), ArgumentError, "no floating argument"),
        (lambda: contributions(named, X, GAMMA, BETA, wrt=7), ArgumentError, "no floating argument"),
        (lambda: contributions(lambda x: x * 2, np.arange(3)), ArgumentError, "no argument is floating"),
        (lambda: contributions(named, X, GAMMA, BETA, dy=DY[:2]), ShapeError, r"dy of shape \(2, 3\)"),
        (lambda: contributions(lambda x: (x, x), X, dy=DY), ShapeError, "dy"),
        (lambda: contributions(lambda x: np.asarray(x), X), TraceError, "read while its function is traced"),
        (lambda: contributions(lambda x: None, X), DTypeError, "Tensor is due"),
    ],
)
def test_wrong_calls(call, error, text):
    with pytest.raises(error, match=text):
        call()
