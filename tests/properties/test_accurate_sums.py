"""float32 sums whose error does not grow with length, along whichever axis."""

import itertools

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


def off(found, values, axis):
    """The largest relative error; of equal terms, whose roundings all go one way, unless they are random."""
    exact = values.sum(axis=axis, dtype=np.float64)
    return np.max(np.abs(found.numpy() / exact - 1))


SHORT_AXES = [
    ((128, 128, 128, 2), (0, 1, 2)),
    ((100, 120, 120, 3), (0, 1, 2)),
    ((64, 100, 2, 50), (0, 1, 3)),
    ((16, 16, 16, 16, 5), (0, 1, 2, 3)),
    ((8,) * 6, (0, 1, 2, 3, 4)),
]


@pytest.mark.parametrize(("shape", "axis"), SHORT_AXES, ids=str)
def test_many_terms_over_several_short_axes(shape, axis, rng):
    assert off(tg.sum(np.full(shape, 0.1, np.float32), axis=axis), np.full(shape, 0.1, np.float32), axis) <= BLOCK
    values = rng.random(shape, dtype=np.float32)
    assert off(tg.sum(values, axis=axis), values, axis) <= 4e-7
    assert off(tg.mean(values, axis=axis) * (values.size // np.prod(values.sum(axis=axis).shape)), values, axis) <= 4e-7


@pytest.mark.parametrize("memory", list(itertools.permutations(range(4))), ids=str)
@pytest.mark.parametrize("how", ["whole", "every second", "flipped", "broadcast"])
def test_numpys_innermost_loop_is_known_for_every_layout(memory, how):
    """Which axes NumPy adds pairwise depends on strides alone; a wrong guess would show as 1e-4."""
    values = np.full((30, 40, 2, 50), 0.1, np.float32).transpose(memory)
    if how == "every second":
        values = values[..., ::2, ::2]
    elif how == "flipped":
        values = values[::-1, :, ::-1]
    elif how == "broadcast":
        values = np.broadcast_to(values[:, :1], values.shape)
    for count in (2, 3, 4):
        for axis in itertools.combinations(range(4), count):
            assert off(tg.sum(values, axis=axis), values, axis) <= BLOCK


@pytest.mark.parametrize("reverse", [False, True])
def test_float32_cumsum(reverse):
    values = np.random.default_rng(0).random(2_000_000, dtype=np.float32)
    exact = np.cumsum(values[::-1] if reverse else values, dtype=np.float64)
    found = tg.cumsum(values, reverse=reverse)
    assert found.dtype == np.float32
    assert np.max(np.abs(found.numpy()[:: -1 if reverse else 1] / exact - 1)) <= 2.0**-24
