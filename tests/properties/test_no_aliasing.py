"""Nothing that a user holds is written to, and nothing that a user writes later changes a result."""

import numpy as np
from support.calls import CALLS, RULED, parametrize

import tinygraph as tg
from tinygraph.testing import laws


@parametrize(CALLS)
def test_nothing_is_written_to_and_nothing_is_shared(call):
    laws.writes_to_nothing(call.draw(1))


@parametrize(CALLS)
def test_a_result_does_not_share_memory_with_what_was_given(call):
    problem = call.draw(1)
    out = problem.fn(*problem.arrays)
    kept = out.numpy().copy()
    for x in problem.operands:
        if isinstance(x, np.ndarray) and x.flags.writeable:
            assert not np.shares_memory(out.numpy(), x)
            x[...] = 0
    np.testing.assert_array_equal(out.numpy(), kept)


@parametrize(RULED)
def test_later_writes_change_no_gradient(call):
    laws.keeps_nothing(call.draw(1))


@parametrize(RULED)
def test_a_seed_array_is_copied(call):
    problem = call.draw(1)
    leaves = [tg.tensor(x, requires_grad=True) for x in problem.arrays]
    g = problem.cotangent()
    problem.fn(*leaves).backward(g)
    kept = [None if x.grad is None else x.grad.numpy().copy() for x in leaves]
    g[...] = 0
    for x, k in zip(leaves, kept, strict=True):
        if k is not None:
            np.testing.assert_array_equal(x.grad.numpy(), k)
            assert not x.grad.numpy().flags.writeable
