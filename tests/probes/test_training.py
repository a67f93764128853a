"""What a training loop lives on: failed backwards leave no halves, nothing piles up, a growing graph is named."""

import gc
import sys
import warnings

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.primitive import Primitive
from tinygraph.errors import GraphGrowthWarning


def faulty(fails):
    """An identity whose rule raises while ``fails`` holds something; it is not in the registry."""

    def rule(g, saved, x):
        if fails:
            raise fails.pop()
        return (g,)

    op = tg.fused.replaces(lambda x: x * 1)(lambda x: (x.copy(), None))
    op.backward(rule)
    return op


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt(), FloatingPointError("x")])
@pytest.mark.parametrize("before", [None, 7.0])
def test_a_backward_that_fails_half_way_changes_nothing(error, before):
    fails = [error]
    op = faulty(fails)
    leaves = [tg.tensor(float(k), requires_grad=True) for k in range(1, 6)]
    for leaf in leaves:
        leaf.grad = None if before is None else tg.tensor(before)
    y = op(leaves[0] * leaves[1]) * leaves[2] * leaves[3] + leaves[4]
    grads = [leaf.grad for leaf in leaves]
    with pytest.raises(type(error)):
        y.backward()
    assert (
        [leaf.grad for leaf in leaves] == grads
        if before is None
        else all(leaf.grad is g for leaf, g in zip(leaves, grads, strict=True))
    )
    assert y.seed is None
    y.backward()
    start = before or 0.0
    assert [leaf.grad.item() - start for leaf in leaves] == [24.0, 12.0, 8.0, 6.0, 1.0]


def test_a_wrong_shape_out_of_a_rule_changes_nothing():
    op = tg.fused.replaces(lambda x: x * 1)(lambda x: (x.copy(), None))
    op.backward(lambda g, saved, x: (np.ones((5, 5)),))
    a, b = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in "ab")
    y = tg.sum(op(a) + b)
    with pytest.raises(tg.TinygraphError):
        y.backward()
    assert a.grad is None
    assert b.grad is None


def network(rng):
    w1, w2 = tg.Parameter(rng.normal(size=(4, 8))), tg.Parameter(rng.normal(size=(8, 3)))
    gamma, beta = tg.Parameter(np.ones(8)), tg.Parameter(np.zeros(8))
    x, target = rng.normal(size=(16, 4)), rng.integers(0, 3, 16)
    parameters = (w1, w2, gamma, beta)

    def step():
        for p in parameters:
            p.grad = None
        h = tg.relu(tg.fused.batch_norm(x @ w1, gamma, beta))
        loss = tg.cross_entropy(h @ w2, target)
        loss.backward()
        for p in parameters:
            p.assign(p.numpy() - 0.1 * p.grad.numpy())
        return loss.item()

    return step


def test_a_thousand_steps_leave_nothing_behind(rng):
    step = network(rng)
    first = step()
    gc.collect()
    gc.disable()
    try:
        for _ in range(1500):  # until free lists and caches are full
            step()
        start = sys.getallocatedblocks()
        for _ in range(1000):
            last = step()
        growth = sys.getallocatedblocks() - start
    finally:
        gc.enable()
    assert gc.collect() == 0, "unreachable objects: something refers to itself"
    assert growth < 500, "one small object in two steps"
    assert last < first


def test_second_order_leaves_no_cycles():
    x = tg.tensor(np.ones(4), requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            y = tg.sum(tg.exp(x) * x)
            (g,) = tg.gradients(y, [x], create_graph=True)
            tg.gradients(tg.sum(g * g), [x])
            tg.hessian(lambda v: tg.sum(v**3))(x)
            tg.trace(tg.vjp_fn(tg.batch_norm), np.ones((3, 2)), np.ones(2), np.ones(2), np.ones((3, 2)))
        del y, g
    finally:
        gc.enable()
    assert gc.collect() == 0


def test_a_fused_op_leaves_no_cycles():
    x = tg.tensor(np.random.default_rng(0).normal(size=(4, 2)), requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            y = tg.sum(tg.fused.batch_norm(x) ** 3)
            (g,) = tg.gradients(y, [x], create_graph=True)
            tg.gradients(tg.sum(g * g), [x])
        del y, g
    finally:
        gc.enable()
    assert gc.collect() == 0


def test_results_are_freed_at_once():
    x = tg.tensor(np.ones(2), requires_grad=True)
    before = sys.getrefcount(x)
    y = tg.sum(x * x)
    y.backward()
    del y
    assert sys.getrefcount(x) == before


# -- the growing total ------------------------------------------------------------------------------


def losses(w, steps, backward=True):
    for k in range(steps):
        loss = tg.sum(w * float(k))
        if backward:
            loss.backward()
        yield loss


@pytest.mark.parametrize("start", [0, 0.0, np.float64(0), tg.tensor(0.0)])
def test_a_total_of_finished_losses_warns(start):
    def train(total):
        for loss in losses(tg.Parameter([1.0, 2.0]), 60):
            total += loss

    with pytest.warns(GraphGrowthWarning, match=r"write total \+= loss.item\(\)") as caught:
        train(start)
    assert caught[0].filename == __file__


def test_no_warning_before_fifty():
    w = tg.Parameter([1.0, 2.0])
    total = 0
    for loss in losses(w, 49):
        total += loss


@pytest.mark.parametrize(
    "add",
    [
        lambda total, loss: total + loss.item(),
        lambda total, loss: total + loss.detach(),
        lambda total, loss: loss,
    ],
)
def test_a_total_of_numbers_does_not_warn(add):
    w = tg.Parameter([1.0, 2.0])
    total = 0.0
    for loss in losses(w, 100):
        total = add(total, loss)


def test_a_recurrent_loss_does_not_warn():
    """Terms without a backward of their own: the graph is meant to grow until the one backward."""
    w = tg.Parameter([1.0, 2.0])
    total = 0.0
    for loss in losses(w, 200, backward=False):
        total += loss
    total.backward()
    assert w.grad.tolist() == [sum(range(200))] * 2


def test_no_warning_under_no_grad():
    w = tg.Parameter([1.0, 2.0])
    total = 0.0
    for loss in losses(w, 100):
        with tg.no_grad():
            total += loss
    assert total.node is None


def test_the_warning_can_be_an_error_and_is_a_user_warning():
    assert issubclass(GraphGrowthWarning, UserWarning)
    w = tg.Parameter([1.0])
    with warnings.catch_warnings(), pytest.raises(GraphGrowthWarning):
        warnings.simplefilter("error")
        total = 0
        for loss in losses(w, 60):
            total += loss


def test_no_primitive_was_entered_by_these_tests():
    assert all(isinstance(op, Primitive) for op in tg.core.primitive.REGISTRY.values())
