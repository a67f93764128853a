"""JAX as an oracle: composed functions, and their third derivatives along a line."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.testing.laws import near

jax = pytest.importorskip("jax")


@pytest.fixture(autouse=True)
def _double_precision():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def batch_norm(xp, x, gamma, beta):
    xc = x - xp.mean(x, axis=0)
    return gamma * xc / xp.sqrt(xp.mean(xc**2, axis=0) + 1e-5) + beta


def network(xp, x, w, b):
    hidden = xp.tanh(x @ w + b)
    return xp.log(1 + xp.exp(hidden @ hidden.T)) * xp.sin(x @ x.T)


def reduction(xp, x, y, z):
    return xp.max(x, axis=1) * xp.prod(y, axis=0) / (1 + xp.sum(z**2)) + xp.cumulative_sum(z)[0]


RNG = np.random.default_rng(1)
CASES = {
    "batch_norm": (batch_norm, [(8, 3), (3,), (3,)]),
    "network": (network, [(3, 4), (4, 2), (2,)]),
    "reduction": (reduction, [(2, 3), (3, 2), (4,)]),
}


class Ours:
    """tinygraph under NumPy's names."""

    cumulative_sum = staticmethod(lambda x: tg.cumsum(x))

    def __getattr__(self, name):
        return getattr(tg, name)


@pytest.mark.parametrize("name", CASES)
def test_third_order_along_a_line(name):
    fn, shapes = CASES[name]
    at, vs = ([RNG.normal(size=s) for s in shapes] for _ in range(2))
    w = RNG.normal(size=fn(np, *at).shape)

    def line(xp):
        return lambda t: (w * fn(xp, *(a + t * v for a, v in zip(at, vs, strict=True)))).sum()

    mine, theirs = line(Ours()), line(jax.numpy)
    for _ in range(3):
        mine, theirs = tg.grad(mine), jax.grad(theirs)
    near(mine(0.0).item(), float(jax.jit(theirs)(0.0)))


@pytest.mark.parametrize("name", CASES)
def test_all_gradients_and_jacobians(name):
    fn, shapes = CASES[name]
    at = [RNG.normal(size=s) for s in shapes]
    arguments = tuple(range(len(at)))
    mine = tg.jacobian(lambda *p: fn(Ours(), *p), arguments)(*at)
    theirs = jax.jit(jax.jacobian(lambda *p: fn(jax.numpy, *p), arguments))(*at)
    for a, b in zip(mine, theirs, strict=True):
        near(a.numpy(), np.asarray(b), 1e-12)
