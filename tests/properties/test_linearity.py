"""P5: a pullback is linear in its cotangent."""

import numpy as np
from hypothesis import given
from support import examples, seeds
from support.calls import RULED, parametrize
from support.laws import near

import tinygraph as tg


@parametrize(RULED)
@given(seed=seeds)
@examples(5)
def test_a_pullback_is_linear(call, seed):
    problem = call.draw(seed)
    out, pullback = tg.vjp(problem.fn, *problem.arrays)
    g, h = (np.random.default_rng([seed, k]).uniform(-2, 2, out.shape) for k in (7, 8))
    for whole, first, second in zip(pullback(g - 3 * h), pullback(g), pullback(h), strict=True):
        near(whole.numpy(), first.numpy() - 3 * second.numpy(), 1e-12)
    for once, four_times, nothing in zip(pullback(g), pullback(4 * g), pullback(0 * g), strict=True):
        np.testing.assert_array_equal(four_times.numpy(), 4 * once.numpy())  # a power of two: exactly
        np.testing.assert_array_equal(nothing.numpy(), 0)
