"""The laws of differentiation as functions: they raise AssertionError where one is broken."""

from __future__ import annotations

import numpy as np

import tinygraph as tg
from support.oracles import WIDE, complex_step, contract, jacobian, richardson

RTOL = 1e-10


def close(got, expected, mass=0.0, rtol=RTOL):
    """Elementwise: the error is within ``rtol`` of the mass that the element was summed from."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"shape {got.shape}, not {expected.shape}"
    bad = ~(np.abs(got - expected) <= rtol * np.asarray(mass))
    assert not bad.any(), f"at {np.argwhere(bad)[0].tolist()}: {got[bad][0]!r}, not {expected[bad][0]!r}"


def near(got, expected, rtol=RTOL):
    """As a whole: the error is within ``rtol`` of the largest element, or of 1."""
    close(got, expected, np.max(np.abs(expected), initial=1), rtol)


def arrays_of(tensors):
    return [t.numpy() for t in tensors]


def directional(problem, arrays, directions):
    """The derivative of a primitive along a direction, by whatever oracle fits it."""
    if problem.op.domain.analytic:
        return complex_step(problem.trace(), arrays, directions)[0]
    return richardson(lambda *xs: [problem.fn(*xs).numpy()], arrays, directions)[0]


def first_order(problem):
    """P1: reverse mode is g times the Jacobian that complex step gives, element by element."""
    xs, g = problem.arrays, problem.cotangent()
    if problem.op.domain.analytic:
        graph = problem.trace()
        columns = jacobian(lambda v: complex_step(graph, xs, v)[0], xs)
    else:
        columns = jacobian(lambda v: directional(problem, xs, v), xs)
    expected, mass = contract(g, columns, [x.shape for x in xs])
    _, pullback = tg.vjp(problem.fn, *xs)
    for got, e, m in zip(pullback(g), expected, mass, strict=True):
        close(got.numpy(), e, m)


def forward_mode(problem):
    """P2: jvp along v is complex step along v."""
    xs = problem.arrays
    vs = problem.directions(xs)
    _, got = tg.jvp(problem.fn, tuple(xs), tuple(v.astype(x.dtype) for x, v in zip(xs, vs, strict=True)))
    near(got.numpy(), directional(problem, xs, vs))


def gradient_of(fn):
    """(*primals, g) -> cotangents, as arrays or as Tensors."""
    both = tg.vjp_fn(fn)
    return lambda *primals_and_g: both(*primals_and_g)[1]


def second_order(problem):
    """P9: derivatives of the gradient are those of complex step and of the gradient evaluated nearby."""
    gradient = gradient_of(problem.fn)
    at = [*problem.arrays, problem.cotangent()]
    vs = problem.directions(at, 3)
    _, got = tg.jvp(gradient, tuple(at), tuple(vs))
    us = problem.directions([t.numpy() for t in got], 4)
    _, pullback = tg.vjp(gradient, *at)
    pulled = sum(np.sum(p.numpy() * v) for p, v in zip(pullback(tuple(us)), vs, strict=True))
    moved = sum(np.sum(d.numpy() * u) for d, u in zip(got, us, strict=True))
    near(pulled, moved)
    if problem.op.domain.analytic:
        # The traced gradient: catches a derivative of it that is wrong.
        for d, e in zip(got, complex_step(tg.trace(gradient, *at), at, vs), strict=True):
            near(d.numpy(), e)
    # The gradient evaluated afresh: catches also what a trace would freeze.
    afresh = richardson(lambda *p: arrays_of(gradient(*p)), at, vs)
    for d, e in zip(got, afresh, strict=True):
        near(d.numpy(), e, RTOL if WIDE else 1e-7)
