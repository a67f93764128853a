"""Python numbers compute as NumPy does, whatever Python itself would do."""

import numpy as np
import pytest

import tinygraph as tg


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda: tg.div(1.0, 0.0), np.inf),
        (lambda: tg.div(0.0, 0.0), np.nan),
        (lambda: tg.pow(-8.0, 1 / 3), np.nan),
        (lambda: tg.pow(2, 10), 1024),
        (lambda: tg.remainder(1.0, 0.0), np.nan),
        (lambda: tg.grad(lambda x: 1 / x)(0.0), -np.inf),
        (lambda: tg.xlogy(np.uint8(3), -1), np.nan),
        (lambda: tg.xlogy(np.uint8(0), -1), 0.0),
        (lambda: tg.norm(np.int8([100, 75])), 125.0),
    ],
)
def test_numbers_compute_as_numpy_does(fn, expected):
    assert np.array_equal(fn().item(), expected, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_backward_of_a_number_to_a_power_keeps_its_dtype(dtype):
    graph = tg.trace(tg.grad(lambda y: tg.sum(2**y)), np.ones(3, dtype))
    assert {t.dtype for t in graph.nodes if t.ndim} == {np.dtype(dtype)}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("exponent", [0.5, 1.5, 2.5, -1.0])
def test_a_fractional_power_that_is_not_taken_has_no_slope(exponent):
    assert tg.grad(lambda z: tg.where(z > 0, z**exponent, 0.0))(-1.0).item() == 0


def test_numbers_out_of_range_are_named():
    with pytest.raises(tg.errors.DTypeError, match=r"add\(uint8\[1\], 300\): .*out of bounds"):
        tg.tensor(np.uint8([1])) + 300
