"""float32 sums whose error does not grow with length, along whichever axis."""

import numpy as np
import pytest

import tinygraph as tg


@pytest.mark.parametrize("shape", [(5_000_000, 2), (2, 5_000_000)], ids=str)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("name", ["sum", "mean"])
def test_float32_reductions(shape, order, name):
    values = np.asarray(np.random.default_rng(0).random(shape, dtype=np.float32), order=order)
    x = tg.asarray(values)
    for axis in (0, 1, None):
        exact = getattr(np, name)(values, axis=axis, dtype=np.float64)
        found = getattr(tg, name)(x, axis=axis)
        assert found.dtype == np.float32
        assert np.max(np.abs(found.numpy() / exact - 1)) <= 2e-7


def test_float16_accumulates_in_float32():
    x = tg.tensor(np.ones((5000, 2)), dtype=np.float16)
    assert tg.sum(x, axis=0).tolist() == [5000, 5000]
    assert tg.mean(x).item() == 1
    # The sum itself would overflow, the mean does not.
    assert tg.mean(tg.tensor(np.full(5000, 60.0), dtype=np.float16)).item() == 60


# What one block of 128 may lose, and what a sum of any length therefore may.
BLOCK = 128 * 2.0**-24


@pytest.mark.parametrize("shape", [(1000, 3), (129, 2, 130), (3, 1000, 4), (257,)], ids=str)
@pytest.mark.parametrize("layout", ["C", "F", "flipped"])
def test_every_axis_of_every_layout(shape, layout, rng):
    values = rng.random(shape, dtype=np.float32)
    values = np.flip(values) if layout == "flipped" else np.asarray(values, order=layout)
    axes = [None, *range(len(shape)), (0, -1) if len(shape) > 1 else (0,)]
    for axis in axes:
        for keepdims in (False, True):
            found = tg.sum(values, axis=axis, keepdims=keepdims).numpy()
            exact = values.sum(axis=axis, keepdims=keepdims, dtype=np.float64)
            assert found.shape == exact.shape
            assert np.max(np.abs(found / exact - 1)) <= BLOCK
