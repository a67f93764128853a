"""What tries to make a compiled loop wrong without a word."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.compiler.graphs import valueless
from tinygraph.compiler.passes import optimise

pytest.importorskip("numba")
from tinygraph import Primitive
from tinygraph.compiler.loops import backend

CORNERS = np.array([0.0, -0.0, 1.0, -1.0, 0.1, 3e-310, np.inf, -np.inf, np.nan])


def build(fn, *args):
    with np.errstate(all="ignore"):
        graph = valueless(tg.trace(fn, *args))
    return backend.build(optimise(graph, exact=True)[-1].graph)


def eager(fn, *args):
    with np.errstate(all="ignore"):
        result = fn(*map(tg.tensor, args))
    return [t.numpy() for t in (result if isinstance(result, tuple) else (result,))]


def to_the_bit(fn, *args):
    kernel = build(fn, *args)
    for got, expected in zip(kernel(*args), eager(fn, *args), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(np.signbit(got[got == got]), np.signbit(expected[expected == expected]))
    assert "loops0" in kernel.source


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic_is_that_of_numpy_to_the_bit(dtype):
    """Contracted, the difference of equal squares would be less than 0, and its root nan."""
    rng = np.random.default_rng(0)
    x, y = (np.concatenate([rng.normal(size=500), CORNERS]).astype(dtype) for _ in range(2))
    to_the_bit(
        lambda a, b: (a * a - b * b, tg.sqrt(a * a - b * b), a * b + 0.1 * a, (a - b) / (a + 3) * b - a / b), x, x
    )
    to_the_bit(
        lambda a, b: (a * b - 0.3 * b + a, abs(a) ** 0.5 / (b**2 - 0.7), tg.where(a < b, a * 1.1, b) - 0.1), x, y
    )
    to_the_bit(lambda a: (1 / tg.sign(a), 1 / tg.relu(a), 1 / tg.floor(a), 1 / tg.ceil(a), 1 / -a), x)


@pytest.mark.parametrize("tiny", [1e-310, 1e-40])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_reciprocal_of_a_tiny_sum_is_not_taken(axis, tiny):
    """exp(x) / sum(exp(x)) without a maximum taken off: the sum is more than 0, one over it is inf."""
    x = np.array([[1.0, 2.0, 0.0], [3.0, 0.0, 4.0]]) * tiny
    x = x.astype(np.float32 if tiny > 1e-300 else np.float64)
    fn = lambda x: (x / tg.sum(x, axis=axis, keepdims=True), x / tg.sqrt(tg.sum(x * x + x, axis=axis, keepdims=True)))
    for got, expected in zip(build(fn, x)(x), eager(fn, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_an_op_may_have_the_name_of_a_loop():
    from tinygraph.core.primitive import REGISTRY
    from tinygraph.core.tensor import OPS

    try:
        mine = Primitive("loops0", lambda xp, x: xp.sin(x), (None,), "elementwise", "", "A test.")
        to_the_bit(lambda x: mine(x) * 2 + x * 3, np.arange(6.0))
    finally:
        del REGISTRY["loops0"], OPS["loops0"]


@pytest.mark.parametrize("shape", [(4, 1), (1, 3), (1, 1), (4, 3), (3, 3)])
def test_axes_of_size_1_in_a_kernel_of_any_size(shape):
    """Kernels are shared by structure: of a graph whose row and column have one element, that is another one."""

    def fn(x, row, column):
        y = x * row + column
        return y - tg.mean(y, axis=0), tg.sum(y * column, axis=1), y

    rng = np.random.default_rng(1)
    x = rng.normal(size=shape)
    for row, column in ((shape[1], shape[0]), (1, shape[0]), (shape[1], 1)):
        args = x, rng.normal(size=row), rng.normal(size=(column, 1))
        for got, expected in zip(build(fn, *args)(*args), eager(fn, *args), strict=True):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
