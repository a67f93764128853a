"""An operand that was broadcast gets the sum of what its copies would have got: for every pattern."""

import itertools

import numpy as np
import pytest
from support.calls import REGISTRY, Call

import tinygraph as tg

FULL = (2, 3, 2)
PATTERNS = sorted({tuple(s) for k in range(4) for s in itertools.product(*({1, n} for n in FULL[3 - k :]))})
PAIRS = list(itertools.product(PATTERNS, repeat=2))
EMPTY = [((0, 3), (3,)), ((1, 3), (0, 1)), ((), (0,)), ((0,), (2, 1))]
BINARY = [op.name for op in REGISTRY.values() if op.kind == "elementwise" and op.arity == 2 and any(op.vjps)]


def summed_back(array, shape):
    """NumPy's own words for it: the axes that are new, then those of size 1."""
    array = array.sum(axis=tuple(range(array.ndim - len(shape))))
    return array.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True).reshape(shape)


def check(fn, arrays, differentiated):
    full = np.broadcast_shapes(*(a.shape for a in arrays))
    out, pullback = tg.vjp(fn, *arrays)
    expected, expected_pullback = tg.vjp(fn, *(np.broadcast_to(a, full).copy() for a in arrays))
    assert out.shape == full
    np.testing.assert_array_equal(out.numpy(), expected.numpy())
    g = np.random.default_rng(0).uniform(-2, 2, full)
    pulled = list(zip(pullback(g), expected_pullback(g), strict=True))
    for i in differentiated:
        got, copies = pulled[i]
        np.testing.assert_allclose(got.numpy(), summed_back(copies.numpy(), arrays[i].shape), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    for shapes in (*PAIRS, *EMPTY):
        problem = Call(REGISTRY[name], 0, shapes, {}).draw(1)
        check(problem.fn, problem.arrays, (0, 1))


@pytest.mark.parametrize("name", ["where", "clip"])
def test_ternary(name):
    rng = np.random.default_rng(0)
    for shapes in itertools.product([(), (3,), (2, 1), (1, 3), (2, 3)], repeat=3):
        arrays = [rng.uniform(-2, 2, s) for s in shapes]
        if name == "where":
            arrays[0] = arrays[0] > 0
        check(getattr(tg, name), arrays, (1, 2) if name == "where" else (0, 1, 2))


@pytest.mark.parametrize("stacks", [((2, 1), (3,)), ((), (2,)), ((1,), (4, 1)), ((3,), (1,)), ((0,), (1,))])
def test_matmul_stacks(stacks):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(*s, *m)) for s, m in zip(stacks, ((2, 3), (3, 4)), strict=True))
    full = np.broadcast_shapes(*stacks)
    out, pullback = tg.vjp(tg.matmul, x, y)
    g = rng.normal(size=out.shape)
    dx, dy = pullback(g)
    wide_x, wide_y = np.broadcast_to(x, (*full, 2, 3)), np.broadcast_to(y, (*full, 3, 4))
    np.testing.assert_allclose(dx.numpy(), summed_back(g @ wide_y.mT, x.shape), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(dy.numpy(), summed_back(wide_x.mT @ g, y.shape), rtol=1e-11, atol=1e-12)
