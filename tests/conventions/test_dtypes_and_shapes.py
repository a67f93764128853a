"""Dtypes that are kept, promotions, refusals, layouts: each row of the table."""

import numpy as np
import pytest
from conventions.table import ACCUMULATING, FLOATS, LAYOUTS, MIXED, NO_GRADIENT, WEAK

import tinygraph as tg

NAMED = {"ids": lambda row: row[0] if isinstance(row, tuple) else None}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("row", WEAK, **NAMED)
def test_a_python_number_never_promotes(row, dtype):
    x = tg.tensor([0.5, 1.5], dtype=dtype, requires_grad=True)
    y = row[1](x)
    assert y.dtype == np.dtype(dtype)
    y.backward(np.ones(y.shape))
    assert x.grad.dtype == np.dtype(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_weak_constant_stays_weak_in_a_replay(dtype):
    graph = tg.trace(lambda x: 2.5 * x + 1, np.ones(2))
    (out,) = graph.run(np, np.ones(2, dtype))
    assert out.dtype == np.dtype(dtype)


@pytest.mark.parametrize("op", [tg.add, tg.mul, tg.div, tg.maximum, lambda a, b: tg.concatenate([a, b])])
@pytest.mark.parametrize("pair", MIXED, ids="-".join)
def test_mixed_dtypes_promote_as_numpy(pair, op):
    a, b = (tg.tensor([1, 1], dtype=d, requires_grad=d.startswith("float")) for d in pair)
    for x, y in ((a, b), (b, a)):
        out = op(x, y)
        assert out.dtype == np.result_type(*pair)
        a.grad = b.grad = None
        out.backward(np.ones(out.shape))
        for leaf in (x, y):
            assert leaf.grad is None if leaf.dtype.kind != "f" else leaf.grad.dtype == leaf.dtype


def test_numpy_scalars_are_strong():
    x = tg.tensor([1.0], dtype=np.float32)
    assert (x * np.float64(2)).dtype == (np.float64(2) * x).dtype == np.float64
    assert (x * 2.0).dtype == (2.0 * x).dtype == np.float32


@pytest.mark.parametrize("make", [tg.tensor, tg.asarray, tg.Parameter, tg.Tensor])
@pytest.mark.parametrize("row", NO_GRADIENT, **NAMED)
def test_no_gradient_is_promised_for(row, make):
    what, data, error, cast = row
    with pytest.raises(getattr(tg.errors, error)) as caught:
        make(data, requires_grad=True)
    assert cast in str(caught.value), what


def test_a_cast_makes_integers_differentiable():
    x = tg.tensor([1, 2], dtype=np.float64, requires_grad=True)
    tg.sum(x * x).backward()
    assert x.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("row", ACCUMULATING, **NAMED)
def test_float16_is_accumulated_in_float32(row, rng):
    x = rng.uniform(0.5, 1.5, size=(3000, 2)).astype(np.float16)
    half, single = row[1](tg.tensor(x)), row[1](tg.tensor(x.astype(np.float32)))
    assert half.dtype == np.float16
    with np.errstate(over="ignore"):
        expected = single.numpy().astype(np.float16)
    np.testing.assert_array_max_ulp(half.numpy(), expected, maxulp=1)


@pytest.mark.parametrize("row", LAYOUTS, **NAMED)
@pytest.mark.parametrize(
    "fn", [lambda x: x * x, tg.tanh, lambda x: tg.sum(x * x, axis=-1) if x.ndim else x * x, lambda x: x.T * 2.0]
)
def test_layouts(row, fn, rng):
    given = row[1](rng)
    x, plain = (tg.tensor(a, requires_grad=True) for a in (given, np.array(given, dtype=float, order="C")))
    y, expected = fn(x), fn(plain)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    for t in (y, expected):
        t.backward(np.ones(t.shape))
    np.testing.assert_array_equal(x.grad.numpy(), plain.grad.numpy())


@pytest.mark.parametrize("target", [np.zeros(3), np.zeros((1, 3)), np.zeros((3, 3))])
def test_losses_never_broadcast(target):
    with pytest.raises(tg.errors.ShapeError, match="cross_entropy"):
        tg.cross_entropy(np.zeros((3, 1)), target)
    with pytest.raises(tg.errors.ShapeError, match="cross_entropy"):
        tg.cross_entropy(np.zeros((3, 2)), np.zeros((3, 1), int))


def test_truth_value():
    assert bool(tg.tensor([[1.0]]))
    assert not tg.tensor(0.0)
    for many in ([1.0, 2.0], []):
        with pytest.raises(tg.errors.ShapeError, match="ambiguous"):
            bool(tg.tensor(many))
