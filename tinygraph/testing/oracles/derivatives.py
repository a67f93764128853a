"""Derivatives that know nothing of the rules: complex step, differences in decimals, Cauchy's integral, Taylor.

Differences in working precision are not among them: they lose up to all digits where scales are mixed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from ...core.graph import Graph
from . import complex_numpy, decimal_numpy

Array = Any
WIDE = bool(np.finfo(np.longdouble).eps < 2.0**-60)


def complex_step(graph: Graph, arrays: Sequence[Array], directions: Sequence[Array]) -> list[Array]:
    """D graph(arrays + t · directions) / dt at t = 0, exact to rounding: one array per output.

    The forward must be analytic around ``arrays``; selections count as they are taken there, so that a
    tie is no place for it. The step is 1e-20 of the smallest input's size.

    Source: W. Squire, G. Trapp, "Using complex variables to estimate derivatives of real functions" (1998).
    """
    sizes = [float(np.max(np.abs(x), initial=0)) for x in arrays]
    h = 1e-20 * min((s for s in sizes if 0 < s < 1), default=1.0)
    moved = [x + 1j * (h * np.asarray(v)) for x, v in zip(arrays, directions, strict=True)]
    return [np.imag(out) / h for out in graph.run(complex_numpy, *moved)]


def run_in_decimals(graph: Graph, *arrays: Array, each: Callable[..., Any] | None = None) -> tuple[Array, ...]:
    """The graph in ``decimal_numpy``, its constants included; ``each`` as in ``Graph.run``."""

    def wide(t: Any, operands: Any, value: Any) -> Any:
        value = decimal_numpy.asarray(value)
        return value if each is None else each(t, operands, value)

    convert = decimal_numpy.asarray
    return graph.run(decimal_numpy, *map(convert, arrays), constant=convert, each=wide)


def central_differences(
    graph: Graph, arrays: Sequence[Array], directions: Sequence[Array], step: str = "1e-31", digits: int = 110
) -> list[Array]:
    """The same as ``complex_step`` by central differences in decimals: any forward, error ~ step².

    The step is below every distance between floats, so that no kink lies within it unless ``arrays`` is on one.
    """
    with decimal_numpy.precision(digits):
        h = decimal_numpy.asarray(Decimal(step))
        at = [decimal_numpy.asarray(x) for x in arrays]
        moves = [h * decimal_numpy.asarray(v) for v in directions]
        ahead = run_in_decimals(graph, *(x + m for x, m in zip(at, moves, strict=True)))
        behind = run_in_decimals(graph, *(x - m for x, m in zip(at, moves, strict=True)))
        return [(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)]


def richardson(
    fn: Callable[..., Sequence[Array]], arrays: Sequence[Array], directions: Sequence[Array], step: float = 1e-3
) -> list[Array]:
    """The same for any ``fn(*arrays) -> arrays``: differences in longdouble, extrapolated; error ~ step⁶.

    ``fn`` runs afresh at every point. Where longdouble is no wider than float64, expect seven digits.
    """
    wide = [np.asarray(x, np.longdouble) for x in arrays]

    def central(h: Any) -> list[Array]:
        ahead, behind = (
            fn(*(x + sign * h * v for x, v in zip(wide, directions, strict=True))) for sign in (np.longdouble(1), -1)
        )
        return [(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)]

    coarse, middle, fine = (central(np.longdouble(step) / n) for n in (1, 2, 4))
    return [(64 * f - 20 * m + c) / 45 for f, m, c in zip(fine, middle, coarse, strict=True)]


def cauchy(
    graph: Graph,
    arrays: Sequence[Array],
    directions: Sequence[Array],
    order: int,
    radius: float = 0.1,
    points: int = 32,
) -> list[Array]:
    """The derivative of any order along ``directions``, by Cauchy's integral over a small circle.

    It needs the forward graph only, so it shares nothing with any rule.
    """
    turns = np.exp(2j * np.pi * np.arange(points) / points)
    runs = [graph.run(np, *(x + radius * z * v for x, v in zip(arrays, directions, strict=True))) for z in turns]
    weights = turns**-order * math.factorial(order) / (radius**order * points)
    return [np.real(sum(w * out for w, out in zip(weights, outs, strict=True))) for outs in zip(*runs, strict=True)]


def taylor_rate(phi: Callable[[float], float], slope: float, step: float = 1e-2) -> float:
    """How fast φ(t) - φ(0) - t · slope vanishes with t: about 2 if ``slope`` is φ'(0), about 1 if it is not.

    Halves ``step`` until the remainder drowns in the noise of φ, which is measured by third differences
    over a step so small that φ is a line; inf if there is no remainder, as of a linear φ.
    """
    here = phi(0.0)
    tiny = step * 2.0**-36
    noise = float(np.max(np.abs(np.diff([phi(k * tiny) for k in range(8)], 3)))) + np.finfo(float).eps * abs(here)
    steps = [step / 2**k for k in range(12)]
    remainders = [abs(phi(t) - here - t * slope) for t in steps]
    rates = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(remainders) if fine > 100 * noise]
    return rates[-1] if rates else math.inf


def jacobian(derivative: Callable[[list[Array]], Array], arrays: Sequence[Array]) -> list[Array | None]:
    """One array of shape ``out.shape + x.shape`` per input, column by column; None for one without elements.

    ``derivative(directions)`` is the directional derivative of one output.
    """
    found: list[Array | None] = []
    for k, x in enumerate(arrays):
        columns = []
        for place in np.ndindex(*x.shape):
            directions = [np.zeros(a.shape) for a in arrays]
            directions[k][place] = 1
            columns.append(derivative(directions))
        shape = (*np.shape(columns[0]), *x.shape) if columns else ()
        found.append(np.stack(columns, axis=-1).reshape(shape) if columns else None)
    return found


def contract(
    g: Array, jacobians: Sequence[Array | None], shapes: Sequence[tuple[int, ...]]
) -> tuple[list[Array], list[Array]]:
    """G · J for each input, and its mass |g| · |J|: the scale on which rounding errors live."""
    pulled, masses = [], []
    for j, shape in zip(jacobians, shapes, strict=True):
        g = np.asarray(g)
        pulled.append(np.zeros(shape) if j is None else np.tensordot(g, j, axes=g.ndim))
        masses.append(np.zeros(shape) if j is None else np.tensordot(np.abs(g), np.abs(j), axes=g.ndim))
    return pulled, masses
