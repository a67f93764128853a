"""An operand that was broadcast gets the sum of what its copies would have got: for every pattern."""

import itertools

import numpy as np
import pytest
from support.calls import REGISTRY

import tinygraph as tg
from tinygraph.testing.laws import summed_back, sums_copies
from tinygraph.testing.primitives import Call

FULL = (2, 3, 2)
PATTERNS = sorted({tuple(s) for k in range(4) for s in itertools.product(*({1, n} for n in FULL[3 - k :]))})
PAIRS = list(itertools.product(PATTERNS, repeat=2))
EMPTY = [((0, 3), (3,)), ((1, 3), (0, 1)), ((), (0,)), ((0,), (2, 1))]
BINARY = [op.name for op in REGISTRY.values() if op.kind == "elementwise" and op.arity == 2 and any(op.vjps)]


def check(fn, arrays, differentiated):
    assert fn(*arrays).shape == np.broadcast_shapes(*(a.shape for a in arrays))
    sums_copies(fn, arrays, differentiated)


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
