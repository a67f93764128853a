"""Every function against array_api_strict, on every dtype that it takes: values, shapes, dtypes."""

import inspect
import itertools
import operator
import types

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import array_api as xp

strict = pytest.importorskip("array_api_strict", "2.6")

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS, COMPLEX = ["float32", "float64"], ["complex64", "complex128"]
DTYPES = ["bool", *INTEGERS, *FLOATS, *COMPLEX]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -1.5, 2.5, 1e-30, 3e20]
TOLERANCE = {"float32": 1e-6, "complex64": 1e-6, "float64": 1e-14, "complex128": 1e-14}


@pytest.fixture(autouse=True)
def _latest_and_quiet():
    before = strict.get_array_api_strict_flags()["api_version"]
    strict.set_array_api_strict_flags(api_version="2025.12")
    with np.errstate(all="ignore"):
        yield
    strict.set_array_api_strict_flags(api_version=before)


def plain(value):
    """A result as NumPy has it: (shape, dtype, values), in whatever it is wrapped."""
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, tg.Tensor):
        return value.numpy()
    return np.asarray(value) if isinstance(value, type(strict.ones(1))) else value


def assert_same(found, expected):
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            assert_same(f, e)
    elif isinstance(expected, np.ndarray):
        assert isinstance(found, np.ndarray), f"{type(found)} for an array"
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE.get(expected.dtype.name, 0), atol=0)
        if expected.dtype.kind == "f":  # zeros have signs, and nans none that counts
            np.testing.assert_array_equal(np.copysign(1, found)[expected == 0], np.copysign(1, expected)[expected == 0])
    else:
        assert found == expected


class Namespace:
    """One of the two, and its arrays of what NumPy holds."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        return getattr(self.module, name)

    def dtype(self, array):
        return getattr(self.module, array.dtype.name)

    def array(self, array):
        return self.module.asarray(array.copy(), dtype=self.dtype(array))


OURS, THEIRS = Namespace(xp), Namespace(strict)


def compare(call, *arrays):
    """``call(namespace, *arrays)`` on both; False if the strict one does not take such arrays."""
    try:
        expected = plain(call(THEIRS, *map(THEIRS.array, arrays)))
    except TypeError:
        return False
    assert_same(plain(call(OURS, *map(OURS.array, arrays))), expected)
    return True


def draw(dtype, shape, rng):
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype in INTEGERS:
        return rng.integers(0 if dtype[0] == "u" else -5, 9, shape).astype(dtype)
    numbers = rng.normal(0, 2, shape).round(2)
    return (numbers + 1j * rng.normal(0, 2, shape).round(2) if dtype in COMPLEX else numbers).astype(dtype)


def special(dtype):
    if dtype in FLOATS:
        return np.array(SPECIAL, dtype)
    if dtype in COMPLEX:
        return np.array([complex(a, b) for a, b in itertools.product(SPECIAL[1:9], repeat=2)], dtype)
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        return np.array([0, 1, 2, 7, info.max, info.min], dtype)
    return np.array([True, False])


# -- elementwise ----------------------------------------------------------------------------------


def takes(*names):
    return [
        name
        for name in xp.__all__
        if inspect.isfunction(fn := getattr(strict, name, None)) and [*inspect.signature(fn).parameters] == [*names]
    ]


REDUCING = {"nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values", "matrix_transpose", "matmul"}
UNARY = [n for n in takes("x") if n not in REDUCING]
BINARY = [n for n in takes("x1", "x2") if n not in REDUCING]
SHIFTS = ("bitwise_left_shift", "bitwise_right_shift")  # by up to the number of bits


@pytest.mark.parametrize("name", UNARY)
def test_unary(name, rng):
    def call(ns, x):
        return getattr(ns, name)(x)

    taken = [d for d in DTYPES if compare(call, draw(d, (2, 3), rng)) and compare(call, draw(d, (), rng))]
    assert taken
    for dtype in taken:
        compare(call, draw(dtype, (2, 0, 3), rng))
        if not (name == "sign" and dtype in COMPLEX):  # its x / |x| makes nan of 0
            compare(call, special(dtype))


def pairs(dtype, name):
    """All pairs of the special values."""
    left, right = special(dtype), special(dtype)
    if name in SHIFTS:
        right = np.array([0, 1, 3, 7], dtype)
    if name == "pow" and dtype in INTEGERS:
        right = np.array([0, 1, 2, 5], dtype)
    return left[:, None], right


@pytest.mark.parametrize("name", BINARY)
def test_binary(name, rng):
    def call(ns, x, y):
        return getattr(ns, name)(x, y)

    taken = [d for d in DTYPES if compare(call, *pairs(d, name))]
    assert taken
    for first, second in itertools.product(taken, repeat=2):
        x, y = draw(first, (2, 1), rng), np.abs(draw(second, (3,), rng)).astype(second)
        compare(call, x, y)


@pytest.mark.parametrize("name", BINARY)
def test_a_python_number_takes_the_dtype_of_the_array(name, rng):
    for dtype in DTYPES:
        x = np.abs(draw(dtype, (2, 3), rng)).astype(dtype)
        number = True if dtype == "bool" else 2 if dtype in INTEGERS else 1.5
        compare(lambda ns, x: getattr(ns, name)(x, number), x)
        compare(lambda ns, x: getattr(ns, name)(number, x), x)


OPERATORS = "add sub mul truediv floordiv mod pow and_ or_ xor lshift rshift lt le gt ge eq ne".split()


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name, rng):
    op = getattr(operator, name)
    taken = [d for d in DTYPES if compare(lambda ns, x, y: op(x, y), *pairs(d, "pow" if name == "pow" else SHIFTS[0]))]
    assert taken
    for dtype in taken:
        number = True if dtype == "bool" else 2 if dtype in INTEGERS else 1.5
        x = np.abs(draw(dtype, (2, 3), rng)).astype(dtype)
        compare(lambda ns, x: op(x, number), x)
        compare(lambda ns, x: op(number, x), x)


@pytest.mark.parametrize("name", ["neg", "pos", "abs", "invert"])
def test_unary_operators(name, rng):
    taken = [d for d in DTYPES if compare(lambda ns, x: getattr(operator, name)(x), special(d))]
    assert taken


# -- all the others: examples of how each is called ------------------------------------------------

AXES = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"axis": ()}]
SHAPE = (2, 3, 2)


def case(name, *shapes, dtypes=DTYPES, **kwargs):
    """A call of ``name`` with arrays of the given shapes and keywords."""
    return name, lambda ns, *xs: getattr(ns, name)(*xs, **kwargs), shapes, dtypes


def how(name, call, *shapes, dtypes=DTYPES):
    return name, call, shapes, dtypes


NUMBERS = [*INTEGERS, *FLOATS, *COMPLEX]
REAL = [*INTEGERS, *FLOATS]
CASES = [
    *(case(n, SHAPE, **kw) for n in "sum prod mean all any count_nonzero".split() for kw in AXES),
    *(case(n, SHAPE, dtypes=REAL, **kw) for n in "max min".split() for kw in AXES[:4]),
    *(case(n, SHAPE, dtypes=FLOATS, **kw) for n in "var std".split() for kw in [*AXES, {"correction": 1.0}]),
    *(how(n, lambda ns, x, n=n: getattr(ns, n)(x, dtype=ns.complex128), SHAPE) for n in ("sum", "prod")),
    *(how(n, lambda ns, x, n=n: getattr(ns, n)(x, dtype=ns.float64), SHAPE, dtypes=REAL) for n in ("sum", "prod")),
    *(case(n, SHAPE, **kw, axis=-2) for n in ("cumulative_sum", "cumulative_prod") for kw in [{}, {"include_initial": True}]),
    *(case(n, (4,)) for n in ("cumulative_sum", "cumulative_prod")),
    *(how(n, lambda ns, x, n=n: getattr(ns, n)(x, dtype=ns.float64), (4,), dtypes=REAL)
      for n in ("cumulative_sum", "cumulative_prod")),
    *(case("diff", (3, 5), dtypes=NUMBERS, **kw) for kw in [{}, {"axis": 0}, {"n": 2}, {"n": 0}, {"n": 9}]),
    how("diff", lambda ns, x, y: ns.diff(x, prepend=y, append=y), (3, 4), (3, 2), dtypes=NUMBERS),
    *(case(n, (3, 4), dtypes=REAL, **kw) for n in ("argmax", "argmin")
      for kw in [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True}]),
    *(case(n, (3, 9), dtypes=REAL, **kw) for n in ("sort", "argsort")
      for kw in [{}, {"axis": 0}, {"descending": True}, {"descending": True, "axis": 0}]),
    case("nonzero", (3, 4)), case("nonzero", (0, 4)),
    *(case(n, (3, 9)) for n in ("unique_all", "unique_counts", "unique_inverse")),
    how("unique_values", lambda ns, x: ns.sort(ns.unique_values(x)), (3, 9), dtypes=REAL),  # in any order
    *(how("searchsorted", lambda ns, x, y, side=side: ns.searchsorted(ns.sort(x), y, side=side), (9,), (2, 3), dtypes=REAL)
      for side in ("left", "right")),
    how("searchsorted", lambda ns, x, y: ns.searchsorted(x, y, sorter=ns.argsort(x)), (9,), (2, 3), dtypes=REAL),
    case("isin", (3, 4), (5,)),
    how("isin", lambda ns, x: ns.isin(x, 1), (3, 4), dtypes=INTEGERS),
    how("take", lambda ns, x: ns.take(x, ns.asarray([2, 0, 2]), axis=1), (2, 3)),
    how("take", lambda ns, x: ns.take(x, ns.asarray([2, -1])), (3,)),
    how("take_along_axis", lambda ns, x: ns.take_along_axis(x, ns.asarray([[2, 0], [1, 1]]), axis=-1), (2, 3)),
    how("take_along_axis", lambda ns, x: ns.take_along_axis(x, ns.asarray([[1, 0, 1]]), axis=0), (2, 3)),
    # shapes
    how("broadcast_to", lambda ns, x: ns.broadcast_to(x, (4, 2, 3)), (2, 1)),
    case("broadcast_arrays", (2, 1), (3,)), case("broadcast_arrays", (2, 1), ()),
    how("broadcast_shapes", lambda ns: ns.broadcast_shapes((2, 1), (3,), ())),
    how("concat", lambda ns, x, y: ns.concat([x, y], axis=-1), (2, 1), (2, 3)),
    how("concat", lambda ns, x, y: ns.concat((x, y), axis=None), (2, 1), (3,)),
    how("stack", lambda ns, x, y: ns.stack([x, y], axis=-2), (2, 3), (2, 3)),
    case("unstack", SHAPE), case("unstack", SHAPE, axis=-1),
    *(case("expand_dims", (2, 3), axis=a) for a in (0, -1, 1)),
    case("squeeze", (2, 1, 3, 1), axis=1), case("squeeze", (2, 1, 3, 1), axis=(1, -1)),
    *(case("flip", SHAPE, axis=a) for a in (None, 1, (0, -1))),
    how("moveaxis", lambda ns, x: ns.moveaxis(x, 0, -1), SHAPE),
    how("moveaxis", lambda ns, x: ns.moveaxis(x, (0, 1), (-1, 0)), SHAPE),
    case("permute_dims", (2, 3, 4), axes=(2, 0, 1)), case("permute_dims", (), axes=()),
    case("reshape", SHAPE, shape=(3, -1)), case("reshape", SHAPE, shape=(12,), copy=True), case("reshape", (1,), shape=()),
    *(case("roll", SHAPE, shift=s, axis=a) for s, a in ((2, None), (-1, 1), ((1, 2), (0, 1)))),
    how("repeat", lambda ns, x: ns.repeat(x, 2), (2, 3)),
    how("repeat", lambda ns, x: ns.repeat(x, 3, axis=1), (2, 3)),
    how("repeat", lambda ns, x: ns.repeat(x, ns.asarray([0, 1, 3]), axis=1), (2, 3)),
    *(how("tile", lambda ns, x, r=r: ns.tile(x, r), (2, 3)) for r in ((2,), (2, 1), (3, 1, 2), (0, 2))),
    how("tile", lambda ns, x: ns.tile(x, (2,)), ()),
    *(case(n, SHAPE, k=k) for n in ("tril", "triu") for k in (0, 1, -1, 9, -9)),
    how("meshgrid", lambda ns, x, y: ns.meshgrid(x, y), (2,), (3,), dtypes=NUMBERS),
    how("meshgrid", lambda ns, x, y, z: ns.meshgrid(x, y, z, indexing="ij"), (2,), (3,), (1,), dtypes=NUMBERS),
    how("meshgrid", lambda ns, x, y, z: ns.meshgrid(x, y, z), (2,), (3,), (4,), dtypes=NUMBERS),
    how("meshgrid", lambda ns, x: ns.meshgrid(x), (2,), dtypes=NUMBERS),
    # products
    *(case("matmul", a, b, dtypes=NUMBERS) for a, b in [((2, 3), (3, 2)), ((3,), (3,)), ((4, 2, 3), (3,)), ((2, 1, 2, 3), (5, 3, 1))]),
    case("matrix_transpose", (4, 2, 3)),
    case("vecdot", (2, 3), (2, 3), dtypes=NUMBERS), case("vecdot", (3, 2), (3, 1), axis=-2, dtypes=NUMBERS),
    case("tensordot", (2, 3, 4), (3, 4, 2), dtypes=NUMBERS), case("tensordot", (2,), (3,), axes=0, dtypes=NUMBERS),
    case("tensordot", (2, 3, 4), (4, 5, 2), axes=((0, -1), (2, 0)), dtypes=NUMBERS),
    # elementwise with more than arrays
    *(case("clip", (3, 4), dtypes=REAL, **kw) for kw in [{}, {"min": 1}, {"max": 2}, {"min": 1, "max": 2}]),
    how("clip", lambda ns, x, low: ns.clip(x, low, 99), (3, 4), (4,), dtypes=REAL),
    how("where", lambda ns, x, y: ns.where(ns.equal(x, x), x, y), (3, 4), (4,)),
    how("where", lambda ns, x: ns.where(ns.not_equal(x, x), x, 1), (3, 4), dtypes=NUMBERS),
    # creation and dtypes
    *(how(n, lambda ns, n=n: getattr(ns, n)((2, 3))) for n in ("ones", "zeros")),
    *(how(n, lambda ns, n=n, d=d: getattr(ns, n)(3, dtype=getattr(ns, d))) for n in ("ones", "zeros") for d in DTYPES),
    *(case(n, (2, 3)) for n in ("ones_like", "zeros_like")),
    *(how(n, lambda ns, x, n=n: getattr(ns, n)(x, dtype=ns.int8), (2, 3)) for n in ("ones_like", "zeros_like")),
    *(how("full", lambda ns, v=v: ns.full((2,), v)) for v in (True, 3, 2.5, 1j)),
    how("full", lambda ns: ns.full((), 3, dtype=ns.float32)), how("full", lambda ns: ns.full(2, 3)),
    case("full_like", (2, 3), fill_value=1),
    how("full_like", lambda ns, x: ns.full_like(x, 1.5, dtype=ns.float32), (2, 3)),
    *(how("arange", lambda ns, a=a: ns.arange(*a)) for a in [(3,), (1, 5), (5, 1, -2), (0.0, 1.0, 0.25), (3, 1), (2.5,)]),
    how("arange", lambda ns: ns.arange(7, step=3)), how("arange", lambda ns: ns.arange(3, dtype=ns.float32)),
    *(how("linspace", lambda ns, kw=kw: ns.linspace(0, 2, 5, **kw)) for kw in [{}, {"endpoint": False}]),
    how("linspace", lambda ns: ns.linspace(0.0, 1.0, 4, dtype=ns.float32)), how("linspace", lambda ns: ns.linspace(0, 1j, 3)),
    how("linspace", lambda ns: ns.linspace(0, 1, 0)), how("linspace", lambda ns: ns.linspace(1, 2, 1)),
    *(how("eye", lambda ns, a=a, k=k: ns.eye(*a, k=k)) for a in [(3,), (2, 3), (3, None), (0, 2), (3, 0)] for k in (0, 1, -2, 99, -99)),
    how("eye", lambda ns: ns.eye(2, dtype=ns.int16)),
    *(how("asarray", lambda ns, v=v: ns.asarray(v)) for v in (True, 2, 2.5, 1j, [1, 2], [[True], [False]], [1, 2.5], [])),
    how("asarray", lambda ns: ns.asarray([1, 2], dtype=ns.float32)), case("asarray", (2, 3), copy=True),
    case("asarray", (2, 3), copy=False),
    *(how("astype", lambda ns, x, d=d: ns.astype(x, getattr(ns, d)), (2, 3), dtypes=["bool", *REAL]) for d in DTYPES),
    how("astype", lambda ns, x: ns.astype(x, ns.complex64), (2, 3), dtypes=COMPLEX),
    *(how("result_type", lambda ns, a=a, b=b: str(ns.result_type(getattr(ns, a), getattr(ns, b))).split(".")[-1])
      for kind in (INTEGERS[:4], INTEGERS[4:], [*FLOATS, *COMPLEX]) for a in kind for b in kind),
    how("result_type", lambda ns, x: str(ns.result_type(x, 1)).split(".")[-1], (2,), dtypes=NUMBERS),
    how("result_type", lambda ns, x: str(ns.result_type(x, ns.float64)).split(".")[-1], (), dtypes=FLOATS),
    *(how("can_cast", lambda ns, a=a, b=b: ns.can_cast(getattr(ns, a), getattr(ns, b)))
      for kind in (INTEGERS, [*FLOATS, *COMPLEX]) for a in kind for b in kind),
    how("can_cast", lambda ns, x: ns.can_cast(x, ns.float64), (2,), dtypes=FLOATS),
    *(how("isdtype", lambda ns, a=a, kind=kind: ns.isdtype(getattr(ns, a), kind)) for a in DTYPES
      for kind in ("bool", "integral", "signed integer", "unsigned integer", "real floating", "complex floating", "numeric",
                   ("bool", "integral"))),
    how("isdtype", lambda ns: ns.isdtype(ns.int8, (ns.int8, "bool"))),
]  # fmt: skip
BY_NAME = {name: [c for c in CASES if c[0] == name] for name, *_ in CASES}
# Tested beside these tables.
APART = {"empty", "empty_like", "finfo", "iinfo", "from_dlpack"}


@pytest.mark.parametrize("name", BY_NAME)
def test_function(name, rng):
    for _, call, shapes, dtypes in BY_NAME[name]:
        taken = [compare(call, *(draw(d, s, rng) for s in shapes)) for d in (dtypes if shapes else [None])]
        assert any(taken), "the strict one takes none of these"


def test_every_function_is_compared():
    functions = {n for n in xp.__all__ if isinstance(getattr(xp, n), types.FunctionType)}
    assert functions == {*UNARY, *BINARY, *BY_NAME, *APART}


# -- what has no equal there ----------------------------------------------------------------------


@pytest.mark.parametrize("times", [np.array([], np.float64), np.array([], np.uint64)])
def test_repeat_of_nothing(times):
    assert xp.repeat(tg.tensor(np.zeros((2, 0))), tg.tensor(times), axis=1).shape == (2, 0)


def test_repeat_counts_are_integers():
    assert xp.repeat(tg.tensor([1, 2]), tg.tensor(np.array([2, 1], np.uint64))).tolist() == [1, 1, 2]
    with pytest.raises(TypeError):
        xp.repeat(tg.tensor([1, 2]), tg.tensor([1.5, 2.0]))


@pytest.mark.parametrize(("dtype", "wide"), [("float32", "float64"), ("int8", "int64")])
def test_clip_keeps_the_dtype_of_the_array(dtype, wide):
    x, low = tg.tensor(np.array([1, 2, 3], dtype)), tg.tensor(np.array([2, 2, 2], wide))
    out = xp.clip(x, low)
    assert out.dtype == dtype
    assert out.tolist() == [2, 2, 3]


def test_isin_inverted():  # 2.6 of the strict one forgets to
    assert xp.isin(tg.tensor([1, 2]), tg.tensor([1]), invert=True).tolist() == [False, True]


def test_empty_is_zero():
    np.testing.assert_array_equal(xp.empty((2, 3), dtype=xp.int8).numpy(), np.zeros((2, 3), np.int8))
    assert xp.empty_like(tg.tensor([1.5, 2.5])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", [*FLOATS, *COMPLEX])
def test_finfo(name):
    found, expected = xp.finfo(getattr(xp, name)), strict.finfo(getattr(strict, name))
    assert found == xp.finfo(tg.tensor(np.ones(1, name)))
    assert found.dtype == np.dtype(str(expected.dtype).split(".")[-1])
    for field, kind in {"bits": int, "eps": float, "max": float, "min": float, "smallest_normal": float}.items():
        assert getattr(found, field) == getattr(expected, field)
        assert type(getattr(found, field)) is kind


@pytest.mark.parametrize("name", INTEGERS)
def test_iinfo(name):
    found, expected = xp.iinfo(getattr(xp, name)), strict.iinfo(getattr(strict, name))
    assert found == xp.iinfo(tg.tensor(np.ones(1, name)))
    assert found.dtype == np.dtype(name)
    for field in ("bits", "max", "min"):
        assert getattr(found, field) == getattr(expected, field)
        assert type(getattr(found, field)) is int


KEYS = [
    0, -1, (1, 2), ..., (..., 0), None, (None, 1), (slice(None), 0), slice(None, None, -1), (slice(2), ..., slice(1, 2)),
    (0, 0, 0), (0, 0, 0, ...), (None, ..., None),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_getitem(key, rng):
    for dtype in DTYPES:
        x = draw(dtype, (3, 4, 2), rng)
        full = key if isinstance(key, tuple) else (key,)
        if len([k for k in full if k is not None and k is not ...]) < 3 and ... not in full:
            full = (*full, ...)  # the standard wants every axis named
        assert_same(OURS.array(x)[key].numpy(), np.asarray(THEIRS.array(x)[full]))


def test_getitem_by_arrays(rng):
    x = draw("float64", (3, 4), rng)
    for mask in (x > 0, np.array(True), np.array(False)):
        assert_same(OURS.array(x)[OURS.array(mask)].numpy(), np.asarray(THEIRS.array(x)[THEIRS.array(mask)]))
    index = np.array([2, 0, -1])
    assert compare(lambda ns, x, i: x[i, 1], x, index)
    assert compare(lambda ns, x, i: x[i, i], x, index)
    empty = OURS.array(x)[tg.tensor(np.zeros((0, 4), bool))]  # a mask may have no elements
    assert empty.shape == np.asarray(x)[np.zeros((0, 4), bool)].shape == (0,)
    with pytest.raises(IndexError):
        OURS.array(x)[tg.tensor(np.ones((2, 4), bool))]
