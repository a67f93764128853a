"""Layouts change where an array lies, never what it holds."""

import base64

import numpy as np
import pytest

from tinygraph.testing import Problem
from tinygraph.testing.layouts import LAYOUTS, aliased

SHAPES = [(), (1,), (4,), (3, 2), (2, 1, 3), (0, 2), (1, 1), (2, 3, 2)]


def array(shape, dtype=np.float64):
    return np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def strides(a):
    """Along the axes where they matter."""
    return [s for s, n in zip(a.strides, a.shape, strict=True) if n > 1] if a.size > 1 else []


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, bool])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LAYOUTS)
def test_values_and_dtype_stay(name, shape, dtype):
    before = array(shape, dtype)
    found = LAYOUTS[name](before)
    np.testing.assert_array_equal(found, before)
    assert (found.shape, found.dtype) == (before.shape, before.dtype)
    assert not np.shares_memory(found, before)
    assert found.flags.writeable == (name != "readonly")


def test_they_lie_as_they_are_called():
    a = array((3, 2))
    assert strides(LAYOUTS["contiguous"](a.T)) == [24, 8]
    assert strides(LAYOUTS["fortran"](a)) == [8, 24]
    assert strides(LAYOUTS["reversed"](a)) == [-16, -8]
    assert strides(LAYOUTS["gaps"](a)) == [64, 16]
    assert strides(LAYOUTS["readonly"](a)) == [16, 8]


@pytest.mark.parametrize(("dtype", "poison"), [(np.float32, np.nan), (np.int64, np.iinfo(np.int64).max)])
def test_gaps_hold_what_a_kernel_would_notice(dtype, poison):
    part = LAYOUTS["gaps"](array((3, 2), dtype))
    whole = part.base
    assert whole.shape == (6, 4)
    assert np.array_equal(whole[1::2], np.full((3, 4), poison), equal_nan=dtype == np.float32)
    assert np.array_equal(whole[:, 1::2], np.full((6, 2), poison), equal_nan=dtype == np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_aliased_arrays_share_memory(shape):
    x, dy = array(shape), -array(shape)
    new_dy, new_x = aliased(dy, x)
    np.testing.assert_array_equal(new_x, x)
    np.testing.assert_array_equal(new_dy.ravel()[:-1], x.ravel()[1:])
    np.testing.assert_array_equal(new_dy.ravel()[-1:], dy.ravel()[-1:])
    assert np.shares_memory(new_x, new_dy) == (x.size > 1)
    if x.size > 1:
        new_x[...] = 0
        assert not new_dy.ravel()[:-1].any()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("shape", [*SHAPES, (9, 8)], ids=str)
@pytest.mark.parametrize("name", [*LAYOUTS, "broadcast"])
def test_the_code_of_a_problem_makes_the_layout_again(name, shape, dtype):
    before = array(shape, dtype) * (-1 if dtype == np.float32 else 1)
    laid = (
        np.broadcast_to(before[:1], before.shape)
        if name == "broadcast" and shape
        else LAYOUTS.get(name, np.array)(before)
    )
    problem = Problem(x=laid, dy=laid)
    again = eval(repr(problem), {"Problem": Problem, "np": np, "base64": base64})
    assert again == problem
    for a, b in ((again.arrays["x"], laid), (again.dy, laid)):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
        if a.size <= 64:
            assert strides(a) == strides(b)
