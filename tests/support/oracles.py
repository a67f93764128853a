"""Derivatives that know nothing of the rules: complex step, Richardson, Cauchy's integral."""

from __future__ import annotations

from math import factorial

import numpy as np

from support import complex_numpy

STEP = 1e-20
WIDE = np.finfo(np.longdouble).eps < 2.0**-60


def complex_step(graph, arrays, directions):
    """d graph(arrays + t · directions) / dt at t = 0, exact to rounding: one array per output."""
    moved = [x + 1j * STEP * np.asarray(v) for x, v in zip(arrays, directions, strict=True)]
    return [np.imag(out) / STEP for out in graph.run(complex_numpy, *moved)]


def richardson(fn, arrays, directions, step=1e-3):
    """The same by central differences of ``fn(*arrays) -> arrays``, in longdouble, error ~ step⁶."""
    wide = [np.asarray(x, np.longdouble) for x in arrays]

    def central(h):
        ahead, behind = (
            fn(*(x + sign * h * v for x, v in zip(wide, directions, strict=True))) for sign in (np.longdouble(1), -1)
        )
        return [(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)]

    coarse, middle, fine = (central(np.longdouble(step) / n) for n in (1, 2, 4))
    return [(64 * f - 20 * m + c) / 45 for f, m, c in zip(fine, middle, coarse, strict=True)]


def cauchy(graph, arrays, directions, order, radius=0.1, points=32):
    """The derivative of any order along ``directions``, by Cauchy's integral over a small circle.

    It needs the forward graph only, so it shares nothing with any rule.
    """
    turns = np.exp(2j * np.pi * np.arange(points) / points)
    runs = [graph.run(np, *(x + radius * z * v for x, v in zip(arrays, directions, strict=True))) for z in turns]
    weights = turns**-order * factorial(order) / (radius**order * points)
    return [np.real(sum(w * out for w, out in zip(weights, outs, strict=True))) for outs in zip(*runs, strict=True)]


def jacobian(derivative, arrays):
    """One array of shape ``out.shape + x.shape`` per input, column by column.

    ``derivative(directions)`` is the directional derivative of one output.
    """
    found = []
    for k, x in enumerate(arrays):
        columns = []
        for place in np.ndindex(*x.shape):
            directions = [np.zeros(a.shape) for a in arrays]
            directions[k][place] = 1
            columns.append(derivative(directions))
        shape = (*np.shape(columns[0]), *x.shape) if columns else ()
        found.append(np.stack(columns, axis=-1).reshape(shape) if columns else None)
    return found


def contract(g, jacobians, shapes):
    """g · J for each input, and its mass |g| · |J|: the scale on which rounding errors live."""
    pulled, masses = [], []
    for J, shape in zip(jacobians, shapes, strict=True):
        g = np.asarray(g)
        pulled.append(np.zeros(shape) if J is None else np.tensordot(g, J, axes=g.ndim))
        masses.append(np.zeros(shape) if J is None else np.tensordot(np.abs(g), np.abs(J), axes=g.ndim))
    return pulled, masses
