"""Values of random problems: generic ones that shrink to a ramp, moved into a regime and a domain.

Everything starts from numbers z of about -7 to 7: a ramp of small integers plus draws in eighths. Where all
draws are 0 the ramp is left, on which every term of a gradient shows; zeros would hide most of them.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LIMIT = 64  # elements of an array up to which each of them is drawn
SIZES = (3, 2, 4, 1, 5, 6, 8)  # the simplest first: at 3 every term shows
OTHERS = (1, 3, 2, 4, 5, 6, 8)  # and of the letters after the first, for short examples
BULK = (31, 32, 33)
REGIMES = ("generic", "scale", "offset", "degenerate", "bulk", "nonfinite")
USUAL = REGIMES[:4]
SCALES = (1.0, 1e3, 1e-3, 1e-6)
OFFSETS = (1.0, 1e2, 1e4, 1e6)
UNEVEN = 0.7  # the scale beside an offset: squares of eighths are exact, and hide what cancellation costs
NAMES = ("real", "positive", "probability", "labels")
UPSTREAM = 2  # where dy's ramp begins
_REACH = 8.0  # no |z| is as large


@functools.cache
def ramp(shape: tuple[int, ...], begin: int) -> Array:
    """-3, 0, 3, -1, 2, -2, 1 and again, from place ``begin``; never constant along an axis, however long."""
    places = begin + sum((i % 5 + 1) * n for i, n in enumerate(np.indices(shape)))
    z = np.array(3.0 * places % 7 - 3)
    z.flags.writeable = False
    return z


def eighths(raw: bytes, size: int) -> Array:
    """Multiples of 1/8 from -31/8 to 4, one for each of the first ``size`` bytes; 0 for a byte of 0."""
    b = np.frombuffer(raw, np.uint8, size).astype(np.int64) & 63
    return np.where(b & 1, b + 1, -b) / 16


def normals(seed: int, size: int) -> Array:
    """As many normal numbers of standard deviation 2, none of them far out."""
    return np.clip(np.random.default_rng(seed).normal(0, 2, size), -7, 7)


def constant_feature(z: Array, rows: bool) -> Array:
    """Z with its first column (its first row) constant; all of it where it has one axis only."""
    z = np.array(z)
    if z.size:
        z[() if z.ndim < 2 else 0 if rows else (slice(None), 0)] = z.flat[0]
    return z


def in_span(x: Array, a: float, b: float) -> Array:
    """A + b · x̂ with x normalised along its first axis: what a normalisation annihilates."""
    mean, std = x.mean(axis=0, keepdims=True), x.std(axis=0, keepdims=True)
    return a + b * (x - mean) / np.where(std > 0, std, 1)  # type: ignore[no-any-return]


def scales(dtype: Any) -> tuple[float, ...]:
    """The scales at which squares of the values are within the range of a dtype."""
    largest, least = float(np.finfo(dtype).max), float(np.finfo(dtype).tiny)
    return tuple(s for s in SCALES if (s * _REACH) ** 2 < largest and s**2 / 64 > least)


def offsets(dtype: Any) -> tuple[float, ...]:
    """The offsets whose squares are."""
    return tuple(o for o in OFFSETS if (o + _REACH) ** 2 < float(np.finfo(dtype).max))


def in_domain(z: Array, domain: Any, scale: float = 1.0, offset: float = 0.0) -> Array:
    """The values of a domain that z stands for: inside it by construction, whatever z, scale and offset are."""
    if domain == "real":
        return offset + scale * z
    if domain == "positive":
        return offset + scale * (z + _REACH) / 4
    if domain == "probability":
        p = z + _REACH
        return p / p.sum(axis=-1, keepdims=True) if z.ndim else p / (2 * _REACH)
    low, high = domain
    if math.isinf(low) or math.isinf(high):
        z = offset + scale * (z + _REACH) / 4
        return low + z if math.isfinite(low) else high - z if math.isfinite(high) else z
    return low + (high - low) * (0.5 + min(scale, 1.0) * z / (2 * _REACH))  # type: ignore[no-any-return]


def labels(raw: bytes, size: int, begin: int, classes: int) -> Array:
    """Integers from 0 to ``classes - 1``: all of them in turn where every byte is 0."""
    return (np.arange(size) + begin + np.frombuffer(raw, np.uint8, size)) % max(classes, 1)
