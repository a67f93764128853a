"""Memory of large results is used again, and never while somebody can still see it."""

import gc
import pickle
import threading

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.array import lock
from tinygraph.core.memory import LARGE, Maker

SHAPE = (LARGE // 8, 1)


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_of_an_array_that_is_gone_is_used_again():
    make = Maker(SHAPE, np.float64)
    first = make()
    place = address(first)
    second = make()
    assert address(second) != place
    del first
    assert address(make()) == place


def test_a_view_keeps_it():
    make = Maker(SHAPE, np.float64)
    view = make()[::2].T
    view[...] = 7.0
    other = make()
    other[...] = 1.0
    assert (view == 7.0).all()
    place = address(view)
    del view
    gc.collect()
    assert address(make()) == place


def test_no_more_than_two_arrays_are_kept():
    make = Maker(SHAPE, np.float64)
    arrays = [make() for _ in range(5)]
    del arrays
    assert len(make._free) == 2


def test_a_loop_that_holds_its_last_result_needs_no_new_memory():
    make = Maker(SHAPE, np.float64)
    places = set()
    result = None
    for _ in range(10):
        result = make()
        places.add(address(result))
    assert len(places) == 2


def test_small_arrays_are_ordinary_ones():
    assert Maker((3,), np.float32)().base is None
    assert Maker((0, 5), np.float64)().shape == (0, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_, np.float16, np.int64])
def test_it_is_an_array_like_any_other(dtype):
    array = Maker((1100, 1000), dtype)()
    array[...] = 1
    assert (array.shape, array.dtype, array.flags.c_contiguous, array.flags.writeable) == (
        (1100, 1000),
        dtype,
        True,
        True,
    )
    assert np.array_equal(pickle.loads(pickle.dumps(array)), array)
    assert np.array_equal(array.copy(), array)


def test_it_can_be_locked():
    array = Maker(SHAPE, np.float64)()
    view = array.view()
    assert lock(view)
    assert not view.flags.writeable


def test_a_result_does_not_change_when_later_calls_come():
    pytest.importorskip("numba")
    fast = tg.compile(lambda x: (x * 2 + 1, tg.sum(x * x, axis=0)), backend="numba")
    x = np.ones((1000, 600))
    kept = [fast(x * k)[0] for k in range(4)]
    assert [t.numpy()[0, 0] for t in kept] == [1.0, 3.0, 5.0, 7.0]
    assert not kept[-1].numpy().flags.writeable


def test_threads_do_not_share_it():
    make, wrong = Maker(SHAPE, np.float64), []

    def work(k):
        for _ in range(200):
            array = make()
            array[0] = k
            array[-1] = k
            wrong.extend(v for v in (array[0, 0], array[-1, 0]) if v != k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong
