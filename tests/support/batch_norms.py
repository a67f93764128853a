"""BatchNorm three ways: problems to try, the chain of the paper in long double, and how exact to be."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
from hypothesis import strategies as st

import tinygraph as tg
from tinygraph.testing.laws import close
from tinygraph.testing.oracles.derivatives import complex_step, contract, jacobian

EPS = 1e-5
# Rounding errors of an element, in units of u · mass: its operations, and sums of at most 150 terms.
UNITS = 16


@dataclasses.dataclass(frozen=True)
class Problem:
    """A mini-batch: values = offset + scale · normal, exactly representable in ``dtype``."""

    shape: tuple[int, ...]
    scale: float = 1.0
    offset: float = 0.0
    degenerate: str = ""
    seed: int = 0
    dtype: type = np.float64

    @property
    def axes(self):
        return tuple(i for i in range(len(self.shape)) if i != 1)

    def along(self, p):
        return np.reshape(p, [-1 if i == 1 else 1 for i in range(len(self.shape))])

    @cached_property
    def arrays(self):
        """x, gamma, beta: gamma is neither near 0 nor 1, and of both signs."""
        rng = np.random.default_rng(self.seed)
        x = self.offset + self.scale * rng.normal(size=self.shape)
        if self.degenerate == "constant channel":
            x[:, 0] = x[0, 0].flat[0] if x[0, 0].ndim else x[0, 0]
        gamma = rng.uniform(0.3, 2, self.shape[1]) * rng.choice([-1, 1], self.shape[1])
        return [a.astype(self.dtype) for a in (x, gamma, rng.normal(size=self.shape[1]))]

    @cached_property
    def g(self):
        rng = np.random.default_rng([self.seed, 1])
        g = rng.normal(size=self.shape)
        if self.degenerate == "constant cotangent":
            g[...] = rng.normal()
        return g.astype(self.dtype)

    @cached_property
    def wide(self):
        return [a.astype(np.longdouble) for a in (*self.arrays, self.g)]

    # -- the truth ---------------------------------------------------------------------------

    @cached_property
    def textbook(self):
        """y, dx, dgamma, dbeta by the chain rule of Ioffe and Szegedy (2015), term by term."""
        x, gamma, beta, g = self.wide
        axes, along = self.axes, self.along
        m = x.size // x.shape[1]
        xc = x - x.sum(axis=axes, keepdims=True) / m
        xc = xc - xc.sum(axis=axes, keepdims=True) / m  # the mean to the last bit: the truth may not depend on it
        var = (xc**2).sum(axis=axes, keepdims=True) / m
        xhat = xc / np.sqrt(var + EPS)
        dxhat = g * along(gamma)
        dvar = (dxhat * xc).sum(axis=axes, keepdims=True) * -0.5 * (var + EPS) ** np.longdouble(-1.5)
        dmu = (-dxhat / np.sqrt(var + EPS)).sum(axis=axes, keepdims=True)
        dmu = dmu + dvar * (-2 * xc).sum(axis=axes, keepdims=True) / m
        dx = dxhat / np.sqrt(var + EPS) + dvar * 2 * xc / m + dmu / m
        return along(gamma) * xhat + along(beta), dx, (g * xhat).sum(axis=axes), g.sum(axis=axes)

    @cached_property
    def complex_step(self):
        """dx, dgamma, dbeta from the forward graph alone, in complex long double."""
        graph = tg.trace(tg.batch_norm, *self.arrays)
        *primals, g = self.wide
        columns = jacobian(lambda v: complex_step(graph, primals, v)[0], primals)
        return contract(g, columns, [p.shape for p in primals])[0]

    # -- the bound ---------------------------------------------------------------------------

    def masses(self, conditioned):
        """The absolute contributions to y, dx, dgamma and dbeta, times what a rounding of x grows to.

        Two passes round the mean, and so shift every x̂ by up to u · max|x| / σ = u · κ. A mean whose
        rounding is corrected does not: there κ is 1.
        """
        x, gamma, beta, g = (np.abs(a) for a in self.wide)
        axes, along = self.axes, self.along

        def mean(a):
            return a.mean(axis=axes, keepdims=True)

        sigma = np.sqrt(self.wide[0].var(axis=axes, keepdims=True) + EPS)
        xhat = np.abs(self.wide[0] - mean(self.wide[0])) / sigma
        kappa = 1 + x.max(axis=axes, keepdims=True) / sigma if conditioned else np.ones_like(sigma)
        near = 1 + xhat
        y = kappa * along(gamma) * near + along(beta)
        dx = kappa * along(gamma) / sigma * (g + near * mean(g) + near * mean(near * g))
        return y, dx, (kappa * g * near).sum(axis=axes), g.sum(axis=axes)

    def check(self, found, expected, conditioned, which=slice(None), units=UNITS):
        u = np.finfo(self.dtype).eps / 2
        for f, e, m in zip(found, expected, self.masses(conditioned)[which], strict=True):
            close(np.asarray(f, np.longdouble), e, m, units * u)


def run(fn, problem):
    """y, dx, dgamma, dbeta of a BatchNorm by reverse mode."""
    out, cotangents = tg.vjp_fn(fn)(*problem.arrays, problem.g)
    found = [t.numpy() for t in (out, *cotangents)]
    assert {a.dtype for a in found} == {np.dtype(problem.dtype)}
    return found


sizes = st.sampled_from([3, 2, 4, 1, 5, 6])
problems = st.builds(
    Problem,
    shape=st.one_of(
        st.tuples(sizes, sizes),
        st.tuples(sizes, st.integers(1, 3), sizes),
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    ),
    scale=st.sampled_from([1.0, 1e3, 1e-3]),
    offset=st.sampled_from([0.0, 1.0, -1e2, 1e4]),
    degenerate=st.sampled_from(["", "constant channel", "constant cotangent"]),
    seed=st.integers(0, 2**16),
    dtype=st.sampled_from([np.float64, np.float32]),
)
