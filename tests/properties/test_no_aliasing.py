"""Nothing that a user holds is written to, and nothing that a user writes later changes a result."""

import numpy as np
from support.calls import CALLS, RULED, parametrize

import tinygraph as tg


def is_array(x):
    return isinstance(x, np.ndarray)


@parametrize(CALLS)
def test_operands_are_not_written_to(call):
    problem = call.draw(1)
    before = [x.copy() if is_array(x) else x for x in problem.operands]
    out = problem.fn(*problem.arrays)
    if out.dtype.kind == "f" and problem.arrays:
        tg.vjp(problem.fn, *problem.arrays)[1](problem.cotangent())
    for x, b in zip(problem.operands, before, strict=True):
        np.testing.assert_array_equal(x, b)
        if is_array(x):
            assert x.flags.writeable or not b.flags.writeable


@parametrize(CALLS)
def test_a_result_does_not_share_memory_with_what_was_given(call):
    problem = call.draw(1)
    out = problem.fn(*problem.arrays)
    kept = out.numpy().copy()
    for x in problem.operands:
        if is_array(x) and x.flags.writeable:
            assert not np.shares_memory(out.numpy(), x)
            x[...] = 0
    np.testing.assert_array_equal(out.numpy(), kept)


@parametrize(RULED)
def test_later_writes_change_no_gradient(call):
    def gradients(spoil):
        problem = call.draw(1)
        operands = [x.copy() if is_array(x) else x for x in problem.operands]
        leaves = [tg.tensor(operands[i], requires_grad=True) for i in problem.variables]
        y = problem.fn(*leaves)
        g = problem.cotangent()
        seed = tg.tensor(g)
        if spoil:
            for a in (*problem.arrays, *operands, g):
                if is_array(a):
                    a[...] = 0
        y.backward(seed)
        y.backward(seed)
        return [x.grad for x in leaves]

    for spoilt, clean in zip(gradients(True), gradients(False), strict=True):
        assert (spoilt is None) == (clean is None)
        if clean is not None:
            np.testing.assert_array_equal(spoilt.numpy(), clean.numpy())


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
