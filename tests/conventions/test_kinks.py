"""Gradients at kinks, poles and ties, first and second order, as the table has them."""

import numpy as np
import pytest
from conventions.table import KINKS

import tinygraph as tg

CASES = [pytest.param(c, id=f"{row.what}: {c.text} at {c.inputs}".replace(" ", "")) for row in KINKS for c in row.cases]


def shaped(values, inputs):
    return [np.broadcast_to(np.asarray(v, float), np.shape(x)) for v, x in zip(values, inputs, strict=True)]


def arrays(case, dtype):
    return tuple(np.asarray(x, dtype) for x in case.inputs)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_first_order(case, dtype):
    found = tg.grad(case.fn, tuple(range(len(case.inputs))))(*arrays(case, dtype))
    for g, expected in zip(found, shaped(case.gradients, case.inputs), strict=True):
        assert g.dtype == dtype
        np.testing.assert_array_equal(g.numpy(), expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", CASES)
def test_first_order_on_a_standing_graph(case):
    leaves = [tg.tensor(x, requires_grad=True) for x in arrays(case, float)]
    case.fn(*leaves).backward()
    for leaf, expected in zip(leaves, shaped(case.gradients, case.inputs), strict=True):
        np.testing.assert_array_equal(leaf.grad.numpy(), expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", [c for c in CASES if c.values[0].second is not None])
def test_second_order(case):
    numbers = tuple(range(len(case.inputs)))

    def slopes(*inputs):
        return sum(tg.sum(g) for g in tg.grad(case.fn, numbers)(*inputs))

    found = tg.grad(slopes, numbers)(*arrays(case, float))
    for g, expected in zip(found, shaped(case.second, case.inputs), strict=True):
        np.testing.assert_array_equal(g.numpy(), expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("fn", [tg.sqrt, tg.log, tg.reciprocal, lambda x: x**-0.5], ids=["sqrt", "log", "1/x", "pow"])
def test_a_genuine_infinity_or_nan_passes(fn, value):
    """Strong zero mends 0 · inf, and nothing else."""
    _, pullback = tg.vjp(fn, 0.0)
    assert not np.isfinite(pullback(value)[0].item())
