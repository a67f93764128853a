"""NumPy's functions on Tensors: each is recorded, or a TypeError with the remedy; never an array behind one's back."""

import math
import operator
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.testing import check_grad

X = np.array([[0.3, 0.7, 0.2], [0.6, 0.1, 0.9]])


@pytest.fixture
def x():
    return tg.tensor(X, requires_grad=True, name="x")


# -- what is recorded, what is refused, what leaves ----------------------------------------------------------

RECORDED = """
    np.exp(t)
    arr + t
    t + arr
    arr @ M
    M @ arr
    arr > t
    np.float32(2) * t
    t * np.float32(2)
    np.add.reduce(t)
    np.mean(t, axis=0)
    np.sum(t)
    np.var(t)
    np.max(t)
    np.clip(t, 0, 1)
    np.where(arr > 0, t, 0.0)
    np.concatenate([t, arr])
    np.stack([arr, t])
    np.reshape(t, (3, 2))
    np.dot(arr, M)
    np.dot(M, arr)
    sum([t, t])
    [1.0, 2.0, 3.0] * t
    t - [1.0, 2.0, 3.0]
    2 ** t
    arr ** t
    np.add(t, 1, dtype=np.float32)
    np.sqrt(t).sum()
    np.int64(2) * t
    np.maximum(arr + 0.05, t)
    t // 2
"""
TYPE_ERRORS = """
    arr += t
    arr *= t
    arr[:1] @= M @ t
    np.add(arr, t, out=arr)
    np.add(arr, arr, out=t)
    np.exp(t, out=arr)
    np.sum(t, out=s)
    np.sum(arr, axis=0, out=t)
    np.sum(t, where=arr > 0.5)
    np.sum(t, initial=1.0)
    np.exp(t, where=arr > 0)
    np.exp(arr, where=t > 0)
    np.exp(t, casting="unsafe")
    np.exp(t, order="F")
    np.exp(t, subok=False)
    np.matmul(t, M, axes=[(0, 1), (0, 1), (0, 1)])
    np.vecdot(t, t, axis=0)
    np.add.at(arr, [0], t)
    np.add.at(t, [0], arr)
    np.add.accumulate(t)
    np.add.reduceat(t, [0])
    np.add.outer(t, t)
    np.logaddexp.reduce(t)
    np.fft.fft(t)
    np.linalg.inv(M)
    np.linalg.svd(t)
    np.sort(t)
    np.unique(t)
    np.interp(t, arr[0], arr[0])
    np.cumprod(t)
    np.copyto(arr, t)
    np.put(arr, [0], t)
    np.save("x.npy", t)
    np.apply_along_axis(lambda v: v, 0, t)
    np.zeros(3, like=t)
    np.asarray([1.0], like=t)
    np.lib.stride_tricks.sliding_window_view(t, 2)
    np.frompyfunc(abs, 1, 1)(t)
    memoryview(t)
    bytes(t)
    t + object()
    t + Decimal(1)
    t * Fraction(1, 2)
    np.add(t, Decimal(1))
    np.add(t, None)
    t[0:2] = 1
"""
REFUSED = """
    np.asarray(t)
    np.array(t)
    np.array([t, t])
    np.array([s, s])
    np.array(t, dtype=object)
    np.array(s, dtype=object)
    np.array([s, s], dtype=object)
    np.asarray([[t]])
    np.asanyarray(t)
    np.ascontiguousarray(t)
    np.asarray(t, dtype=np.float32)
    np.ma.array(t)
    arr[:] = t
    arr[0] = t[0]
    arr[arr > 0.5] = t[0]
    np.full((2, 3), t)
    np.full((2, 3), s)
    np.fromiter(t, float)
    np.array(list(t))
    np.random.default_rng(0).normal(t)
    np.lib.stride_tricks.as_strided(t)
    np.testing.assert_allclose(t, arr)
    np.savetxt("x", t)
    np.frombuffer(t)
    np.vectorize(lambda v: v)(t)
    arr.dot(t)
    arr.clip(s, 1)
    arr.fill(t)
    float(t)
    complex(t)
    math.sin(t)
"""
# A number is asked for, which is an explicit float(t): no gradient follows, as the documents say.
LEAVES = """
    float(s)
    complex(s)
    math.exp(s)
    arr.__setitem__((0, 0), s) or arr
    arr.fill(s) or arr
    arr.sum(initial=s)
    np.sum(arr, initial=s)
    np.fromiter([s, s], float)
    np.interp(arr, [0.3, 0.5], [1.0, 2.0], left=s)
"""


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


def names(tensor=lambda array: tg.tensor(array, requires_grad=True)):
    plain = {"np": np, "math": math, "Decimal": Decimal, "Fraction": Fraction, "arr": X.copy()}
    return plain | {"t": tensor(X), "M": tensor(X.T.copy()), "s": tensor(np.float64(0.4))}


@pytest.mark.parametrize("line", lines(RECORDED))
def test_recorded(line):
    found, expected = eval(line, names()), eval(line, names(np.asarray))
    assert isinstance(found, tg.Tensor)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-15)
    if found.dtype != bool:
        assert found.requires_grad
        report = check_grad(lambda t, M: eval(line, names() | {"t": t, "M": M}), X, X.T.copy())
        assert report.ok, str(report)


@pytest.mark.parametrize("line", lines(TYPE_ERRORS))
def test_a_type_error(line):
    scope = names()
    with pytest.raises(TypeError) as caught:
        exec(line, scope)
    np.testing.assert_array_equal(scope["arr"], X)
    if "np." in line and "Decimal" not in line and "None" not in line:
        assert isinstance(caught.value, tg.errors.DTypeError)
        assert re.match(r"(np\.[\w.]+|abs \(vectorized\))\(.*\): .+; .+", str(caught.value))


def test_the_text_of_the_error(x):
    square = tg.tensor(np.eye(3), requires_grad=True, name="x")
    with pytest.raises(TypeError) as caught:
        np.linalg.inv(square)
    assert str(caught.value) == "np.linalg.inv(float64[3,3] x): no gradient rule; leave the graph with x.numpy()"


@pytest.mark.parametrize("line", lines(LEAVES))
def test_a_number_leaves_the_graph(line):
    found, expected = eval(line, names()), eval(line, names(float_or_array))
    assert not isinstance(found, tg.Tensor)
    assert np.asarray(found).dtype == np.asarray(expected).dtype != object
    np.testing.assert_array_equal(found, expected)


def float_or_array(array):
    return array if array.ndim else float(array)


@pytest.mark.parametrize("line", lines(REFUSED))
def test_no_way_out_without_a_word(line):
    scope = names()
    with pytest.raises((tg.TinygraphError, TypeError, ValueError)):
        exec(line, scope)
    np.testing.assert_array_equal(scope["arr"], X)


# -- the strict way out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.tensor(X),
        lambda: tg.tensor(X, requires_grad=True).detach(),
        lambda: tg.tensor(X) * 2 / 2,
        lambda: tg.Parameter(X, requires_grad=False),
    ],
)
def test_constants_are_served_as_read_only_views(make):
    t = make()
    array = np.asarray(t)
    assert np.shares_memory(array, t.numpy())
    assert not array.flags.writeable
    copied = np.array(t)
    assert copied.flags.writeable
    assert not np.shares_memory(copied, array)
    assert np.asarray(t, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.array(t, dtype=object).astype(float), X)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(t, dtype=np.float32, copy=False)


def test_everything_is_served_under_no_grad(x):
    with tg.no_grad():
        np.testing.assert_array_equal(np.asarray(x), X)
        np.testing.assert_array_equal(np.asarray(x * 2), X * 2)


def test_a_boolean_result_is_served(x):
    assert np.asarray(x > 0.5).dtype == bool


# -- foreign classes ----------------------------------------------------------------------------------------


class Foreign:
    """A class with operators of its own, as pint, xarray and dask have."""

    def _mine(self, *_):
        return "mine"

    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rpow__ = __rmatmul__ = __rmod__ = __rfloordiv__ = _mine
    __add__ = __sub__ = __mul__ = __truediv__ = __pow__ = __matmul__ = __mod__ = __floordiv__ = _mine
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __and__ = __rand__ = __or__ = __ror__ = _mine
    __hash__ = object.__hash__


class Ducked(Foreign):
    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return "mine"

    def __array_function__(self, func, types, args, kwargs):
        return "mine"


@pytest.mark.parametrize("op", ["+", "-", "*", "/", "**", "@", "%", "//", "==", "!=", "<", "<=", ">", ">=", "&", "|"])
@pytest.mark.parametrize("other", [Foreign(), Ducked()])
def test_a_foreign_class_gets_its_turn(op, other, x):
    assert eval(f"x {op} other") == "mine"
    assert eval(f"other {op} x") == "mine"


def test_a_foreign_class_gets_its_turn_in_numpys_functions(x):
    assert np.add(x, Ducked()) == "mine"
    assert np.concatenate([x, Ducked()]) == "mine"


class Quantity(np.ndarray):
    """An array with a unit, that answers for itself as astropy's does."""

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return "mine"

    def __array_function__(self, func, types, args, kwargs):
        return "mine"


def test_a_subclass_of_ndarray_with_protocols_of_its_own_gets_its_turn(x):
    metres = X.view(Quantity)
    assert np.add(x, metres) == np.add(metres, x) == metres + x == np.concatenate([x, metres]) == "mine"
    for op in OPERATORS:
        assert op(x, metres) == op(metres, x) == "mine"


def test_a_plain_subclass_of_ndarray_is_an_array(x):
    class Plain(np.ndarray):
        pass

    assert np.add(x, X.view(Plain)).requires_grad
    assert (x * X.view(Plain)).requires_grad
    with pytest.raises(tg.errors.DTypeError, match="the mask would be lost"):
        np.add(x, np.ma.array(X, mask=X > 0.5))


def test_a_foreign_class_gets_its_turn_for_its_out(x):
    assert np.add(x, x, out=Ducked()) == "mine"


def test_a_foreign_class_without_operators_is_a_type_error(x):
    for op in OPERATORS:
        with pytest.raises(TypeError, match="unsupported operand"):
            op(x, object())
        with pytest.raises(TypeError, match="unsupported operand"):
            op(object(), x)


def test_comparison_with_none_is_pythons(x):
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert x not in ({}, [None])[0]


OPERATORS = [getattr(operator, name) for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")]


@pytest.mark.parametrize("op", OPERATORS)
def test_numpys_scalars_are_strong_and_pythons_are_weak(op):
    """``np.float64`` is a ``float`` too, and must not be taken for one."""
    t, array = tg.tensor(X, dtype=np.float32), X.astype(np.float32)
    for scalar in (
        2,
        2.0,
        True,
        np.float32(2),
        np.float16(2),
        np.int8(2),
        np.int64(2),
        np.float64(2),
        np.longdouble(2),
    ):
        for found, expected in ((op(t, scalar), op(array, scalar)), (op(scalar, t), op(scalar, array))):
            assert found.dtype == expected.dtype, f"{scalar!r} beside float32"
    if op is not operator.pow or np.lib.NumpyVersion(np.__version__) >= "2.3.0":  # NumPy's own power by a scalar
        assert op(t, np.float64(2)).dtype == op(np.float64(2), t).dtype == np.float64


def test_an_int64_reduction_is_numpys():
    t = tg.tensor([1, 2, 3])
    assert (np.sum(t).dtype, np.mean(t).dtype, np.prod(t).dtype) == (np.int64, np.float64, np.int64)
