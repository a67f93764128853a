"""Arrays for BatchNorm in 18 regimes of scale, offset and degeneracy; and in two beyond what float32 can square."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Draw = Callable[[np.random.Generator, Any], tuple[np.ndarray, ...]]


def drawn(n=6, c=3, *, scale=1.0, offset=0.0, upstream=1.0, x=None, dy=None) -> Draw:
    """``(dy, x, gamma, beta)`` with x = offset + scale · normal, gamma of both signs; ``x``, ``dy`` rework the draws."""

    def draw(rng, dtype):
        values = offset + scale * rng.normal(size=(n, c))
        values = values if x is None else x(values, rng)
        g = upstream * rng.normal(size=(n, c))
        g = g if dy is None else dy(values, rng)
        gamma = rng.uniform(0.3, 2, c) * rng.choice([-1, 1], c)
        return tuple(np.asarray(a).astype(dtype) for a in (g, values, gamma, rng.normal(size=c)))

    return draw


def constant_feature(x, rng):
    x[:, 0] = x[0, 0]
    return x


def ramp(x, rng):
    """A ramp with small integer steps, as examples shrink to."""
    return np.arange(x.shape[0])[:, None] + np.round(8 * rng.normal(size=x.shape[1])) / 8


def constant(x, rng):
    return np.broadcast_to(rng.normal(size=x.shape[1]), x.shape)


def annihilated(x, rng):
    """In the span of 1 and xhat, which BatchNorm maps to almost nothing."""
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    return rng.normal(size=x.shape[1]) + rng.normal(size=x.shape[1]) * xhat


REGIMES: dict[str, Draw] = {
    "generic": drawn(),
    "scale 1e3": drawn(scale=1e3),
    "scale 1e-3": drawn(5, 2, scale=1e-3),
    "scale 1e-6": drawn(8, 3, scale=1e-6),
    "offset 1": drawn(4, 3, offset=1),
    "offset 1e2": drawn(8, 2, offset=1e2),
    "offset 1e4": drawn(7, 3, offset=1e4),
    "offset 1e6": drawn(5, 4, offset=1e6),
    "scale 1e3, offset 1e6": drawn(scale=1e3, offset=1e6),
    "scale 1e-3, offset 1e2": drawn(8, 2, scale=1e-3, offset=1e2),
    "mixed scales": drawn(6, 4, x=lambda x, rng: x * np.array([1e3, 1, 1e-3, 1e-6])),
    "tiny upstream": drawn(7, 3, upstream=1e-6),
    "one row": drawn(1, 3, offset=1),
    "two rows": drawn(2, 3),
    "constant feature": drawn(5, 3, offset=1, x=constant_feature),
    "dy constant, x a ramp": drawn(4, 3, x=ramp, dy=constant),
    "dy in the span of 1 and xhat": drawn(8, 3, dy=annihilated),
    "bulk, offset 1e3": drawn(4096, 3, offset=1e3),
}  # fmt: skip

# The variance, or its power -3/2, leaves the range of float32.
EXTREME: dict[str, Draw] = {"scale 1e15": drawn(scale=1e15), "scale 1e-15": drawn(scale=1e-15)}
