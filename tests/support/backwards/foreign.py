"""BatchNorm's backward in PyTorch, JAX and Numba, right and wrong; and arrays in every layout."""

import functools

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.testing import check_backward, diagnose
from tinygraph.testing.adapters import from_jax

from .batch_norm import SHAPES, reference

EPS = 1e-5


def problem(dtype=np.float64):
    rng = np.random.default_rng(5)
    dy, x = rng.normal(size=(2, 6, 3))
    return [a.astype(dtype) for a in (dy, x, rng.uniform(0.5, 2, 3), rng.normal(size=3))]


def derived(fn, arrays, dy):
    return [c.numpy() for c in tg.vjp_fn(fn)(*arrays, dy)[1]]


def agrees(backward, tolerance=1e-10, dtype=np.float64):
    dy, *arrays = problem(dtype)
    found = backward(dy, *arrays)
    for f, e in zip(found, derived(reference, arrays, dy), strict=True):
        assert type(f) is np.ndarray
        assert f.dtype == dtype
        np.testing.assert_allclose(f, e, rtol=tolerance, atol=tolerance)


def says(backward, *texts):
    """Only dx is found to be wrong, and the doctor's first line holds the texts."""
    dy, *arrays = problem()
    report = check_backward(reference, backward, *arrays, dy=dy)
    assert report.verdict == "wrong", report
    assert [e.leaf for e in report.entries if not e.ok] == ["x"]
    found = diagnose(reference, backward, **SHAPES)
    for text in texts:
        assert text in str(found).splitlines()[0]


# -- kernels ------------------------------------------------------------------------------------------


def torch_batch_norm(sign=-1, what="right"):
    torch = pytest.importorskip("torch")

    class BatchNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, gamma, beta):
            xc = x - x.mean(0)
            std = ((xc * xc).mean(0) + EPS).sqrt()
            xhat = xc / std
            ctx.save_for_backward(xhat, std, gamma)
            return gamma * xhat + beta

        @staticmethod
        def backward(ctx, dy):
            xhat, std, gamma = ctx.saved_tensors
            if what == "writes":
                dy.mul_(1)
                dy.add_(1)
            d = dy * gamma / std
            dx = d + sign * d.mean(0) - xhat * (d * xhat).mean(0)
            return dx, None if what == "no dgamma" else (dy * xhat).sum(0), dy.sum(0)

    return BatchNorm


def torch_autograd(dy, x, gamma, beta):
    torch = pytest.importorskip("torch")
    leaves = [t.requires_grad_() for t in (x, gamma, beta)]
    y = torch.nn.functional.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)
    return torch.autograd.grad(y, leaves, dy)


def torch_formula(dy, x, gamma, beta):
    xc = x - x.mean(0)
    std = ((xc * xc).mean(0) + EPS).sqrt()
    xhat = xc / std
    d = dy * gamma / std
    return {"x": d - d.mean(0) - xhat * (d * xhat).mean(0), "gamma": (dy * xhat).sum(0), "beta": dy.sum(0)}


def jax_batch_norm(sign=-1):
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    @jax.custom_vjp
    def batch_norm(x, gamma, beta):
        return forward(x, gamma, beta)[0]

    def forward(x, gamma, beta):
        xc = x - x.mean(0)
        std = jnp.sqrt((xc * xc).mean(0) + EPS)
        xhat = xc / std
        return gamma * xhat + beta, (xhat, std, gamma)

    def backward(saved, dy):
        xhat, std, gamma = saved
        d = dy * gamma / std
        return d + sign * d.mean(0) - xhat * (d * xhat).mean(0), (dy * xhat).sum(0), dy.sum(0)

    batch_norm.defvjp(forward, backward)
    return from_jax(jax.jit(lambda dy, *inputs: jax.vjp(batch_norm, *inputs)[1](dy)))


@functools.cache
def numba_kernels():
    numba = pytest.importorskip("numba")

    def backward(dy, x, gamma, beta, sign):
        n, c = x.shape
        dx, dgamma, dbeta = np.empty_like(x), np.zeros_like(gamma), np.zeros_like(gamma)
        for j in range(c):
            mu = 0.0
            for i in range(n):
                mu += x[i, j] / n
            var = 0.0
            for i in range(n):
                var += (x[i, j] - mu) ** 2 / n
            std = np.sqrt(var + 1e-5)
            for i in range(n):
                dgamma[j] += dy[i, j] * (x[i, j] - mu) / std
                dbeta[j] += dy[i, j]
            for i in range(n):
                inner = dy[i, j] + sign * dbeta[j] / n - (x[i, j] - mu) / std * dgamma[j] / n
                dx[i, j] = gamma[j] / std * inner
        return dx, dgamma, dbeta

    shared = numba.njit(backward)

    @numba.njit
    def right(dy, x, gamma, beta):
        return shared(dy, x, gamma, beta, -1.0)

    @numba.njit
    def wrong(dy, x, gamma, beta):
        return shared(dy, x, gamma, beta, 1.0)

    return right, wrong


# -- layouts ------------------------------------------------------------------------------------------


def sliced(a):
    gaps = np.full((2 * a.shape[0], 3 * a.shape[1]), np.nan)
    gaps[::2, ::3] = a
    return gaps[::2, ::3]


def frozen(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "plain": lambda a: a.copy(),
    "fortran": np.asfortranarray,
    "slice": sliced,
    "zero stride": lambda a: np.broadcast_to(a[0], a.shape),
    "zero strides": lambda a: np.broadcast_to(a[0, 0], a.shape),
    "read-only": frozen,
    "reversed": lambda a: a.copy()[::-1, ::-1],
    "reversed, read-only": lambda a: frozen(a)[:, ::-1],
    "byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "0-d": lambda a: a.copy(),
}
