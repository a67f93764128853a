"""float16 ends at 65504 and counts to 2048: what counts or adds many of its elements does so in float32."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.primitive import REGISTRY

MANY = 70_000


def half(values):
    return tg.tensor(values, dtype=np.float16, requires_grad=True)


@pytest.mark.parametrize("name", ["mean", "max", "min"])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_share_of_many_elements_is_not_zero(name, create_graph):
    x = half(np.ones(MANY))
    getattr(tg, name)(x).backward(create_graph=create_graph)
    assert x.grad.dtype == np.float16
    np.testing.assert_array_equal(x.grad.numpy(), np.float16(1 / MANY))


def test_a_mean_whose_sum_overflows_is_right_in_a_replay_too():
    x = np.full(MANY, 1000, np.float16)
    (found,) = tg.trace(tg.mean, x).run(np, x)
    assert found == tg.mean(x).item() == 1000


def test_an_element_that_is_read_often_gets_every_cotangent():
    w = half(np.ones(3))
    w[np.zeros(5000, int)].backward(np.ones(5000))
    assert w.grad.tolist() == [5000, 0, 0]
    (found,) = tg.trace(tg.grad(lambda w: tg.sum(w[np.zeros(5000, int)])), w.numpy()).run(np, w.numpy())
    assert (found.dtype, found.tolist()) == (np.float16, [5000, 0, 0])


def test_an_element_of_many_windows_gets_every_cotangent():
    w = half(np.ones(5999))
    windows = REGISTRY["sliding_windows"](w, 3000)
    windows.backward(np.ones(windows.shape))
    assert w.grad.dtype == np.float16
    assert w.grad.numpy().max() == 3000
