"""The fast NumPy kernel of a primitive computes what its portable kernel does."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from support import examples, seeds
from support.calls import CALLS, REGISTRY, parametrize

FAST = [c for c in CALLS if c.op.numpy is not None]
# Sums of floats that are kept in more precision, or added in another order, differ by roundings.
ROUNDS = {"sum", "mean", "cumsum", "overlap_add"}
SPECIAL = [0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan]


@parametrize(FAST)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: d.__name__)
@given(seed=seeds)
@examples(10)
def test_numpy_kernel_is_the_portable_one(call, dtype, seed):
    problem = call.draw(seed, dtype)
    fast = problem.op.numpy(*problem.operands, **problem.params)
    portable = problem.op.kernel(np, *problem.operands, **problem.params)
    assert (fast.shape, fast.dtype) == (portable.shape, portable.dtype)
    terms = sum(x.size for x in problem.arrays) if call.op.name in ROUNDS else 0
    atol = terms * np.finfo(dtype).eps * max(np.max(np.abs(x), initial=0) for x in problem.arrays)
    np.testing.assert_allclose(fast, portable, rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["mul0", "div0"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_strong_zero_agrees_on_every_pair_of_special_values(name, dtype):
    op = REGISTRY[name]
    x, y = (np.array(v, dtype) for v in zip(*itertools.product(SPECIAL, repeat=2), strict=True))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        fast, portable = op.numpy(x, y), op.kernel(np, x, y)
        plain = x * y if name == "mul0" else x / y
    np.testing.assert_array_equal(fast, portable)
    zero = (x == 0) | (y == 0) if name == "mul0" else x == 0
    np.testing.assert_array_equal(fast, np.where(zero, 0, plain))
    for i in range(len(x)):  # one at a time: no neighbour makes it look twice
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(op.numpy(x[i : i + 1], y[i : i + 1]), portable[i : i + 1])
