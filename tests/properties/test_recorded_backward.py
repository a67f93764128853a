"""A backward that is recorded computes the same bits as one that is not."""

import numpy as np
from hypothesis import given
from support import examples, seeds
from support.calls import RULED, parametrize

import tinygraph as tg


def leaves(problem):
    return [tg.tensor(x, requires_grad=True) for x in problem.arrays]


@parametrize(RULED)
@given(seed=seeds)
@examples(5)
def test_recording_changes_no_bit(call, seed):
    problem = call.draw(seed)
    xs = leaves(problem)
    y, g = problem.fn(*xs), problem.cotangent()
    plain = tg.gradients(y, xs, g)
    recorded = tg.gradients(y, xs, g, create_graph=True)
    for a, b in zip(plain, recorded, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert a.dtype == b.dtype
        assert a.node is None


@parametrize(RULED)
@given(seed=seeds)
@examples(3)
def test_every_door_gives_the_same_gradient(call, seed):
    problem = call.draw(seed)
    xs, again = leaves(problem), leaves(problem)
    g = problem.cotangent()
    found = tg.gradients(problem.fn(*xs), xs, g)
    problem.fn(*again).backward(g)
    _, pullback = tg.vjp(problem.fn, *problem.arrays)
    traced = tg.trace(tg.vjp_fn(problem.fn), *problem.arrays, g).run(np, *problem.arrays, g)[1:]
    for a, x, p, t in zip(found, again, pullback(g), traced, strict=True):
        b = np.zeros(x.shape) if x.grad is None else x.grad.numpy()
        np.testing.assert_array_equal(a.numpy(), b)
        np.testing.assert_array_equal(a.numpy(), p.numpy())
        np.testing.assert_allclose(a.numpy(), t, rtol=1e-12, atol=1e-14)


@parametrize(RULED)
def test_a_second_backward_adds_once_more(call):
    problem = call.draw(1)
    xs = leaves(problem)
    y, g = problem.fn(*xs), problem.cotangent()
    y.backward(g)
    once = [None if x.grad is None else x.grad.numpy() for x in xs]
    y.backward(g)
    for x, first in zip(xs, once, strict=True):
        if first is not None:
            np.testing.assert_array_equal(x.grad.numpy(), 2 * first)
