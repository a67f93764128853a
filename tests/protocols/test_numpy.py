"""NumPy's functions on Tensors: each is recorded, or a TypeError with the remedy; never an array behind one's back."""

import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.protocols import FUNCTIONS, UFUNCS

MODULES = {"": np, "linalg.": np.linalg, "fft.": np.fft}
ALL_UFUNCS = sorted({v.__name__: v for v in vars(np).values() if isinstance(v, np.ufunc)}.items())
ALL_FUNCTIONS = sorted(
    {
        prefix + name: fn
        for prefix, module in MODULES.items()
        for name, fn in vars(module).items()
        if type(fn).__name__ == "_ArrayFunctionDispatcher" and not name.startswith("_")
    }.items()
)
# Questions about values and types: the answer is no Tensor, and no gradient is at stake.
QUESTIONS = {
    "shape",
    "ndim",
    "size",
    "allclose",
    "isclose",
    "array_equal",
    "result_type",
    "array_repr",
    "array_str",
    "count_nonzero",
    "iscomplexobj",
    "isrealobj",
}

X = np.array([[0.3, 0.7, 0.2], [0.6, 0.1, 0.9]])
BOOLEAN = {"logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or", "invert", "bitwise_not"}


@pytest.fixture
def x():
    return tg.tensor(X, requires_grad=True, name="x")


def only_tensors(result):
    leaves = result if isinstance(result, (list, tuple)) else [result]
    return all(isinstance(t, tg.Tensor) for t in leaves)


@pytest.mark.parametrize(("name", "ufunc"), ALL_UFUNCS, ids=[n for n, _ in ALL_UFUNCS])
def test_every_ufunc(name, ufunc, x):
    operands = [x > 0.5 if name in BOOLEAN else x] * ufunc.nin
    if ufunc is np.matmul:
        operands = [x, x.T]
    if ufunc not in UFUNCS:
        with pytest.raises(
            TypeError, match=rf"np\.{ufunc.__name__}\(.*\): no gradient rule; leave the graph with x\.numpy\(\)"
        ):
            ufunc(*operands)
        return
    plain = [t.numpy() for t in operands]
    found, expected = ufunc(*operands), ufunc(*plain)
    assert isinstance(found, tg.Tensor)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)
    assert found.requires_grad == (expected.dtype.kind == "f")
    if ufunc.nin == 2 and name not in BOOLEAN:
        for mixed in (ufunc(operands[0], plain[1]), ufunc(plain[0], operands[1])):
            np.testing.assert_allclose(mixed.numpy(), expected, rtol=1e-15)
            assert mixed.requires_grad == found.requires_grad


@pytest.mark.parametrize(("name", "ufunc"), ALL_UFUNCS, ids=[n for n, _ in ALL_UFUNCS])
@pytest.mark.parametrize("method", ["accumulate", "outer", "reduceat", "at", "reduce"])
def test_every_method_of_a_ufunc(method, name, ufunc, x):
    if ufunc.nin != 2 or ufunc.nout != 1 or ufunc.signature:
        return
    arguments = {"outer": (x, x), "reduceat": (x, [0]), "at": (x, [0], x)}.get(method, (x,))
    if method == "reduce" and ufunc in (np.add, np.multiply, np.maximum, np.minimum):
        found = ufunc.reduce(x)
        np.testing.assert_allclose(found.numpy(), ufunc.reduce(X), rtol=1e-15)
        np.testing.assert_allclose(
            ufunc.reduce(x, axis=1, keepdims=True).numpy(), ufunc.reduce(X, axis=1, keepdims=True)
        )
        return
    with pytest.raises(TypeError, match=rf"np\.{ufunc.__name__}\.{method}\(.*; leave the graph with x\.numpy\(\)"):
        getattr(ufunc, method)(*arguments)


# How each function of the table is called: the arguments, on a Tensor and on its array.
CALLS = {
    "sum": [(), {"axis": 0}, {"axis": -1, "keepdims": True}, {"dtype": np.float32}],
    "mean": [(), {"axis": 0}, {"axis": (0, 1), "keepdims": True}],
    "prod": [(), {"axis": 1}],
    "max": [(), {"axis": 1}],
    "min": [(), {"axis": 1}],
    "amax": [(), {"axis": 1}],
    "amin": [(), {"axis": 1}],
    "var": [(), {"axis": 0, "ddof": 1}, {"correction": 1, "keepdims": True}],
    "std": [(), {"axis": 0, "ddof": 1}],
    "reshape": [((3, 2),), (-1,)],
    "clip": [(0.2, 0.5), (None, 0.5), {"min": 0.3}, {"a_min": 0.2, "a_max": None}],
    "pad": [(1,), (((0, 1), (2, 0)), "constant"), {"pad_width": 1, "constant_values": np.float64(3)}],
    "cumsum": [(), {"axis": 1}],
    "dot": [
        (X.T,),
        (np.ones(3),),
        (2.0,),
        (np.array(2.0),),
        (np.arange(60.0).reshape(4, 3, 5),),
        (np.ones((4, 1, 3, 2)),),
    ],
    "outer": [(np.ones(2),)],
    "linalg.norm": [(), {"axis": 0}, {"axis": 1, "ord": 2}, {"axis": (0, 1), "keepdims": True}],
    "round": [()],
    "around": [()],
    "split": [(3, 1), ([1],), (np.array([1, 2]), 1), (np.int64(3), 1)],
    "take": [([0, 5],), ([1, 1], 0)],
    "argmax": [(), {"axis": 0}],
    "argmin": [(), {"axis": 0}],
    "zeros_like": [(), {"dtype": np.float32}],
    "ones_like": [()],
    "full_like": [(2,), {"fill_value": 2.5, "dtype": np.int8, "shape": (4,)}],
    "copy": [(), {"order": "C"}],
    "transpose": [(), ((1, 0),), {"axes": (1, 0)}],
    "permute_dims": [((1, 0),)],
    "swapaxes": [(0, 1)],
    "moveaxis": [(0, 1)],
    "ravel": [(), {"order": "C"}],
    "expand_dims": [(0,), ((0, -1),)],
    "squeeze": [()],
    "broadcast_to": [((4, 2, 3),), {"shape": (4, 2, 3), "subok": False}],
    "flip": [(), (0,)],
    "roll": [(1, 0), (1,), ((1, -2), (0, 1)), ((1, 2),), ((1, 1), 0), (4, (0, 1))],
    "astype": [(np.float32,)],
    "shape": [()],
    "ndim": [()],
    "size": [(), (0,)],
    "allclose": [(X,)],
    "isclose": [(X,)],
    "array_equal": [(X,)],
    "result_type": [(np.float32,)],
    "count_nonzero": [()],
    "iscomplexobj": [()],
    "isrealobj": [()],
    "any": [()],
    "all": [()],
}
SPECIAL = {
    "where": lambda t: np.where(X > 0.4, t, 0.0),
    "concatenate": lambda t: np.concatenate([t, X, t], axis=1),
    "concat": lambda t: np.concat([t, X]),
    "vstack": lambda t: np.vstack([t, t[0], [1.0, 2.0, 3.0]]),
    "hstack": lambda t: np.hstack([t, X]),
    "column_stack": lambda t: np.column_stack([t[0], t.T, 1.0 * X[1]]),
    "stack": lambda t: np.stack([X, t], axis=-1),
    "einsum": lambda t: np.einsum("ij,kj->ik", t, X),
    "matrix_transpose": lambda t: np.matrix_transpose(t),
    "linalg.matrix_transpose": lambda t: np.linalg.matrix_transpose(t),
}


def call(fn, given, arguments):
    return fn(given, **arguments) if isinstance(arguments, dict) else fn(given, *arguments)


@pytest.mark.parametrize(
    ("name", "fn"), [p for p in ALL_FUNCTIONS if p[1] in FUNCTIONS], ids=[n for n, f in ALL_FUNCTIONS if f in FUNCTIONS]
)
def test_every_function_of_the_table_is_numpys(name, fn, x):
    if name in ("array_repr", "array_str"):
        assert fn(x) == fn(X)
        return
    cases = [(SPECIAL[name](x), SPECIAL[name](X))] if name in SPECIAL else [
        (call(fn, x, a), call(fn, X, a)) for a in CALLS[name]
    ]  # fmt: skip
    for found, expected in cases:
        if name in QUESTIONS:
            assert np.array_equal(found, expected)
            continue
        assert only_tensors(found)
        for t, array in zip(*((found, expected) if isinstance(found, list) else ([found], [expected])), strict=True):
            assert (t.shape, t.dtype) == (array.shape, array.dtype)
            np.testing.assert_allclose(t.numpy(), array, rtol=1e-14)
            assert t.requires_grad == (array.dtype.kind == "f" and not name.endswith("_like"))


# Calls that reach the dispatcher of every other function: some function of these signatures takes it.
SIGNATURES = (
    lambda t: (t,), lambda t: (t, t), lambda t: (t, 0), lambda t: ([t, t],), lambda t: (t, t, t), lambda t: (t, 0, 1),
    lambda t: (t, [0], t), lambda t: ([t], [t], t), lambda t: ("a", t), lambda t: (t, "a"), lambda t: (t, t, t, t),
    lambda t: (t, [True], [t]), lambda t: (lambda a: a, 0, t), lambda t: (lambda a, _: a, t, [0]), lambda t: (1, t), lambda t: ("f", t),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fn"),
    [p for p in ALL_FUNCTIONS if p[1] not in FUNCTIONS],
    ids=[n for n, f in ALL_FUNCTIONS if f not in FUNCTIONS],
)
def test_every_other_function_refuses(name, fn, x):
    """A Tensor as its data gives the TypeError, whatever else it takes; never an array."""
    refused = 0
    for signature in SIGNATURES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                arguments = signature(x)
                result = fn(*arguments)
            except tg.TinygraphError as error:
                refused += f"np.{name}(" in str(error) and "no gradient rule; leave the graph with x.numpy()" in str(
                    error
                )
            except Exception:  # these arguments are not for this function
                continue
            else:
                assert not isinstance(arguments[0], (tg.Tensor, list)), f"np.{name} returned {type(result).__name__}"
    assert refused, f"np.{name} was not reached"


def test_the_tables_hold_only_numpys_functions():
    assert set(UFUNCS) <= {v for _, v in ALL_UFUNCS}
    assert set(FUNCTIONS) <= {v for _, v in ALL_FUNCTIONS}


# -- what is recorded, and what is not -------------------------------------------------------------------

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
    np.maximum(arr, t)
    t // 2
"""
TYPE_ERRORS = """
    arr += t
    arr *= t
    arr @= M
    np.add(arr, t, out=arr)
    np.exp(t, out=arr)
    np.exp(t, where=arr > 0)
    np.exp(t, casting="unsafe")
    np.exp(t, order="F")
    np.exp(t, subok=False)
    np.matmul(t, M, axes=[(0, 1), (0, 1), (0, 1)])
    np.add.at(arr, [0], t)
    np.add.accumulate(t)
    np.add.outer(t, t)
    np.fft.fft(t)
    np.linalg.inv(M)
    np.linalg.svd(t)
    np.sort(t)
    np.unique(t)
    np.interp(t, arr[0], arr[0])
    np.cumprod(t)
    np.float_power(t, 2)
    np.copyto(arr, t)
    np.put(arr, [0], t)
    np.save("x.npy", t)
    np.apply_along_axis(lambda v: v, 0, t)
    memoryview(t)
    bytes(t)
    t + object()
    t + Decimal(1)
    t * Fraction(1, 2)
    np.add(t, Decimal(1))
    np.add(t, None)
    math.sin(t)
    float(t)
    complex(t)
    t[0:2] = 1
"""
REFUSED = """
    np.asarray(t)
    np.array(t)
    np.array([t, t])
    np.array(t, dtype=object)
    np.asarray([[t]])
    np.asanyarray(t)
    np.ascontiguousarray(t)
    np.asarray(t, dtype=np.float32)
    np.ma.array(t)
    arr[:] = t
    arr[0] = t[0]
    np.full((2, 3), t)
    np.fromiter(t, float)
    np.array(list(t))
    np.random.default_rng(0).normal(t)
    np.lib.stride_tricks.as_strided(t)
    np.testing.assert_allclose(t, arr)
    np.savetxt("x", t)
    np.frombuffer(t)
    np.vectorize(lambda v: v)(t)
    arr.dot(t)
"""


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


def names():
    import math

    return {"np": np, "t": tg.tensor(X, requires_grad=True, name="t"), "M": tg.tensor(X.T.copy(), requires_grad=True), "arr": X.copy(),
            "math": math, "Decimal": Decimal, "Fraction": Fraction}  # fmt: skip


@pytest.mark.parametrize("line", lines(RECORDED))
def test_recorded(line):
    found = eval(line, names())
    assert isinstance(found, tg.Tensor)
    assert found.node is not None or found.dtype == bool


@pytest.mark.parametrize("line", lines(TYPE_ERRORS))
def test_a_type_error(line):
    scope = names()
    with pytest.raises((TypeError, tg.errors.ShapeError)):
        exec(line, scope)
    np.testing.assert_array_equal(scope["arr"], X)


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


def test_comparison_with_none_is_pythons(x):
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert x not in ({}, [None])[0]


def test_strong_and_weak_scalars():
    t = tg.tensor(X, dtype=np.float32)
    assert {(t * s).dtype for s in (2, 2.0, True, np.float32(2), np.int8(2))} == {np.dtype(np.float32)}
    assert {(s * t).dtype for s in (2, 2.0, True, np.float32(2), np.int8(2))} == {np.dtype(np.float32)}
    assert (t * np.float64(2)).dtype == (np.float64(2) * t).dtype == np.float64


def test_an_int64_reduction_is_numpys():
    t = tg.tensor([1, 2, 3])
    assert (np.sum(t).dtype, np.mean(t).dtype, np.prod(t).dtype) == (np.int64, np.float64, np.int64)
