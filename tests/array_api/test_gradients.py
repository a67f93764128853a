"""What the namespace records, it differentiates."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import array_api as xp
from tinygraph.testing import check_grad

X = np.array([[0.3, -0.7, 0.25], [0.6, 0.1, -0.9]])
Y = np.array([[1.2, 0.4, -0.5], [-0.8, 0.9, 0.15]])

UNARY = "abs asin acos atan atanh cos cosh exp expm1 negative positive reciprocal sin sinh square tan tanh real conj trunc floor ceil round sign"
POSITIVE = "acosh log log10 log1p log2 sqrt"
BINARY = "add divide hypot logaddexp maximum minimum multiply subtract"


def one(fn, offset=0):
    return lambda x: fn(x + offset)


def two(fn):
    return lambda x, y: fn(x, y)


CASES = {
    **{name: one(getattr(xp, name)) for name in UNARY.split()},
    **{name: one(getattr(xp, name), 2) for name in POSITIVE.split()},
    **{name: two(getattr(xp, name)) for name in BINARY.split()},
    "pow": lambda x, y: xp.pow(x + 2, y),
    "remainder": lambda x, y: xp.remainder(x, y + 3),
    "clip": lambda x: xp.clip(x, -0.5, 0.5),
    "where": lambda x, y: xp.where(xp.less(x, 0.2), x, y),
    "sum": lambda x: xp.sum(x, axis=0),
    "sum in another dtype": lambda x: xp.sum(x * x, dtype=xp.float64),
    "mean": lambda x: xp.mean(x, axis=(0, 1), keepdims=True),
    "prod": lambda x: xp.prod(x, axis=1),
    "max": lambda x: xp.max(x, axis=1),
    "min": lambda x: xp.min(x),
    "var": lambda x: xp.var(x, axis=0, correction=1),
    "std": lambda x: xp.std(x, axis=1),
    "cumulative_sum": lambda x: xp.cumulative_sum(x * x, axis=1, include_initial=True),
    "diff": lambda x, y: xp.diff(x * x, n=2, prepend=y),
    "take": lambda x: xp.take(x, np.array([2, 0, 2]), axis=1),
    "take_along_axis": lambda x: xp.take_along_axis(x * x, np.array([[2, 2], [0, 1]])),
    "broadcast_to": lambda x: xp.broadcast_to(x, (4, 2, 3)) * Y,
    "broadcast_arrays": lambda x, y: xp.multiply(*xp.broadcast_arrays(x[:, :1], y[0])),
    "concat": lambda x, y: xp.concat([x, y * y], axis=None),
    "stack": lambda x, y: xp.stack([x, y * y], axis=1),
    "unstack": lambda x: xp.multiply(*xp.unstack(x)),
    "expand_dims": lambda x: xp.expand_dims(x, axis=1) * Y,
    "squeeze": lambda x: xp.squeeze(x[:1], axis=0) ** 2,
    "flip": lambda x: xp.flip(x) * Y,
    "moveaxis": lambda x: xp.moveaxis(x, 0, -1) * Y.T,
    "permute_dims": lambda x: xp.permute_dims(x, (1, 0)) * Y.T,
    "matrix_transpose": lambda x: xp.matrix_transpose(x) * Y.T,
    "reshape": lambda x: xp.reshape(x, (3, 2)) * Y.T,
    "roll": lambda x: xp.roll(x, 2) * Y,
    "repeat": lambda x: xp.repeat(x, np.array([2, 1, 0]), axis=1) ** 2,
    "tile": lambda x: xp.tile(x, (2, 1, 2)) ** 2,
    "tril": lambda x: xp.tril(x * x),
    "triu": lambda x: xp.triu(x * x, k=1),
    "meshgrid": lambda x: xp.multiply(*xp.meshgrid(x[0], x[1])),
    "matmul": lambda x, y: xp.matmul(x, y.T),
    "vecdot": lambda x, y: xp.vecdot(x, y, axis=-2),
    "tensordot": lambda x, y: xp.tensordot(x, y, axes=((0,), (0,))),
    "full": lambda x: xp.full((2, 2), x[0, 0]) ** 2,
    "asarray": lambda x: xp.asarray([x[0, 0], [x[0, 1]][0]]) * 3,
    "astype": lambda x: xp.astype(x, xp.float64, copy=True) ** 2,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradient(name):
    fn = CASES[name]
    report = check_grad(fn, *[X, Y][: fn.__code__.co_argcount])
    assert report.ok, report


@pytest.mark.parametrize("descending", [False, True])
def test_sort_sends_each_cotangent_back_to_its_place(descending):
    x, w = tg.tensor(X, requires_grad=True), np.arange(6.0).reshape(2, 3)
    xp.sum(xp.sort(x, descending=descending) * w).backward()
    order = np.argsort(-X if descending else X)
    expected = np.zeros_like(X)
    np.put_along_axis(expected, order, w, axis=-1)
    np.testing.assert_array_equal(x.grad.numpy(), expected)


# -- what asarray does with each kind of data ------------------------------------------------------


def test_asarray_of_a_tensor_keeps_its_history():
    x = tg.tensor(X, requires_grad=True)
    assert xp.asarray(x) is x
    assert xp.asarray(x, dtype=xp.float64, copy=False) is x
    for y in (xp.asarray(x, copy=True), xp.asarray(x, dtype=xp.float32), xp.asarray([x[0, 0], 1.0])):
        assert y is not x
        assert y.requires_grad
    with pytest.raises(ValueError, match=r"asarray\(float64\[2,3\], dtype=float32\): a cast needs a copy"):
        xp.asarray(x, dtype=xp.float32, copy=False)


def test_asarray_of_an_array_copies_unless_it_is_told_not_to():
    a = X.copy()
    t = xp.asarray(a)
    a[0, 0] = 9.0
    assert t[0, 0] == X[0, 0]
    shared = xp.asarray(a, copy=False)
    assert np.shares_memory(shared.numpy(), a)
    assert not a.flags.writeable
    for data in ([1.0, 2.0], memoryview(bytearray(8)).cast("d")):
        with pytest.raises(ValueError, match="cannot be shared; leave out copy=False"):
            xp.asarray(data, copy=False)


def test_from_dlpack():
    x = tg.tensor(X, requires_grad=True)
    assert xp.from_dlpack(x) is x
    a = X.copy()
    t = xp.from_dlpack(a)
    a[0, 0] = 9.0
    np.testing.assert_array_equal(t.numpy(), X)


@pytest.mark.parametrize("call", [lambda d: xp.zeros(2, device=d), lambda d: xp.asarray(1.0, device=d), lambda d: xp.arange(3, device=d),
                                  lambda d: xp.astype(tg.tensor(X), xp.float32, device=d)])  # fmt: skip
def test_there_is_one_device(call):
    call("cpu")
    with pytest.raises(TypeError, match=r"\(device='cuda'\): arrays live in main memory"):
        call("cuda")


def test_a_cast_that_would_lose_the_imaginary_part_is_refused():
    with pytest.raises(TypeError, match=r"astype\(complex128\[1\], float64\): .* write real\(x\)"):
        xp.astype(tg.tensor([1j]), xp.float64)
