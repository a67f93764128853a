"""What tries to make a pass, the NumPy text or a derived source wrong without a word."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import Primitive
from tinygraph.compiler import numpy_backend
from tinygraph.compiler.graphs import valueless
from tinygraph.compiler.passes import collect, optimise, products
from tinygraph.compiler.source import derive_source
from tinygraph.core.tensor import OPS
from tinygraph.ops.reduction import spread

SQUARE = np.arange(9.0).reshape(3, 3) ** 1.5
ROW = np.array([1.0, 2.0, 3.0])


def arrays(result):
    return [np.asarray(getattr(t, "_data", t)) for t in (result if isinstance(result, tuple) else (result,))]


def agree(fn, *args, rtol=0.0):
    """What the passes leave gives what the function gives: to the bit, and within ``rtol`` where they round."""
    with np.errstate(all="ignore"):
        graph, expected = tg.trace(fn, *args), arrays(fn(*map(tg.tensor, args)))
    for exact, tolerance in ((True, 0.0), (False, rtol)):
        kernel = numpy_backend.build(optimise(valueless(graph), exact)[-1].graph)
        for got, e in zip(kernel(*args), expected, strict=True):
            assert (np.shape(got), np.asarray(got).dtype) == (e.shape, e.dtype)
            np.testing.assert_allclose(got, e, rtol=tolerance)
    return kernel


# -- numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_the_negative_of_an_integer_may_be_another_number(dtype):
    """-uint8(1) is 255, and -int8(-128) is -128."""
    x, n = ROW.astype(np.float32), np.array([1, 2, 128], np.uint8).astype(dtype)
    agree(lambda x, n: (x + (-n), (-n) + x, x - (-n), (-x) * (-n), (-x) / (-n)), x, n)


@pytest.mark.parametrize("compare", [tg.equal, tg.less, tg.greater_equal])
def test_a_number_that_is_repeated_is_compared_as_an_array(compare):
    """float32(0.1) is not 0.1, but is as near as the Python number comes to it."""
    x = np.full((3, 3), 0.1, np.float32)
    agree(lambda x: (compare(x, tg.broadcast_to(0.1, (3, 3))), compare(x, 0.1)), x)


def test_numbers_are_not_divided_into_nothing():
    """1e-4 / 1e38 has few digits in float32."""
    agree(lambda x: 1e-4 * x / 1e38, np.array([1e38, 3e38], np.float32), rtol=1e-6)
    agree(lambda x: 1e-4 * x / 1e308, np.array([1e308, 1.5e308]), rtol=1e-14)
    agree(lambda x: (2 * x / 0, 2 * x / 0.0 + 3 * x / 0.0), ROW)


# -- axes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placed", [0, 1])
@pytest.mark.parametrize("summed", [0, 1, (0, 1)])
@pytest.mark.parametrize("averaged", [0, 1])
def test_a_mean_along_another_axis_does_not_centre(averaged, placed, summed):
    """A square hides which axis was put back."""

    def fn(x):
        mean = tg.mean(x, axis=averaged)
        by_spread, by_shape = spread(mean, x, axis=placed), tg.expand_dims(mean, placed)
        return tuple(tg.sum((x - m) * 2, axis=summed) + 1 for m in (by_spread, by_shape))

    agree(fn, SQUARE, rtol=1e-12)


@pytest.mark.parametrize("keepdims", [False, True])
def test_a_spread_of_fewer_axes_is_a_factor_of_its_own_shape(keepdims):
    """Its first axis is the second one of what is summed."""
    x, like = np.arange(1.0, 6.0).reshape(5, 1, 1) * np.ones((5, 1, 3)), np.ones((4, 3))
    agree(lambda x, r, like: tg.sum(x * spread(r, like, axis=0), axis=0, keepdims=keepdims), x, ROW, like, rtol=1e-14)


def test_sums_add_in_the_order_of_memory():
    """The negative of what is repeated is an array, beside which a transposed one loses its order."""
    x = np.random.default_rng(0).normal(size=(20, 7, 7))
    fn = lambda x, r: tg.sum((x.T - 0.1 + (-spread(r, x, axis=1))) * 1.1, axis=(0, 1))
    for each in x:
        agree(fn, each, each[0], rtol=1e-13)


# -- size -------------------------------------------------------------------------------------------


def test_a_chain_of_products_is_read_in_parts(monkeypatch):
    """Factors above are looked for among those below: in all of a long chain, that takes the square of its length."""
    lengths = []

    def factorise(*args):
        product = products.factorise(*args)
        lengths.append(len(product.nums) + len(product.dens))
        return product

    def fn(x, *rows):
        for i in range(500):
            x = x * rows[i % 7] / rows[(i + 3) % 7]
        return x

    monkeypatch.setattr(collect, "factorise", factorise)
    rows = [np.full(3, 1.0 + i) for i in range(7)]
    agree(fn, np.ones((4, 3)), *rows, rtol=1e-12)
    assert max(lengths) < 100


# -- text -------------------------------------------------------------------------------------------


@pytest.fixture
def made():
    """Records of a user; they leave the registry afterwards."""
    from tinygraph.core.primitive import REGISTRY

    before = dict(REGISTRY), dict(OPS)
    yield lambda name, kernel: Primitive(name, kernel, (None,), "elementwise", name, "A test.")
    for table, known in zip((REGISTRY, OPS), before, strict=True):
        for name in set(table) - set(known):
            del table[name]


@pytest.mark.parametrize(
    ("first", "second"), [("my-op", "my op"), ("twice", "twice"), ("np", "compiled"), ("class", "x"), ("t0", "exp_1")]
)
def test_ops_of_others_are_told_apart_in_the_text(made, first, second):
    sine, cosine = made(first, lambda xp, x: xp.sin(x)), made(second, lambda xp, x: xp.cos(x))
    agree(lambda x: (sine(x), cosine(x), sine(cosine(x)) * tg.exp(x) + x), ROW)


HOSTILE = ["a\nraise SystemExit\n", "a\rraise SystemExit", '"""\nraise SystemExit\n"""', "back\\", "\0", "\ud800", "a\x0cb\u2028c"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_only_words(name):
    def fn(x):
        with tg.scope(name):
            y = tg.exp(x)
            y.name = name
            return y * x

    agree(fn, ROW)
    fn.__name__ = name
    x = tg.tensor(ROW)
    x.name = name
    check_source(fn, x)


def check_source(fn, *args):
    """The derived source is Python, and its gradients are those of the function, in their dtypes."""
    out, pull = tg.vjp(fn, *args)
    dy = np.linspace(1, 2, out.size).reshape(out.shape).astype(out.dtype)
    namespace = {}
    exec(compile(derive_source(fn, *args), "<derived>", "exec"), namespace)
    (backward,) = (f for name, f in namespace.items() if name.endswith("_backward"))
    floats = [i for i, a in enumerate(args) if np.asarray(a).dtype.kind == "f"]
    expected = arrays(tuple(pull(dy)))
    for got, i in zip(backward(dy, *map(np.asarray, args)), floats, strict=True):
        assert got.dtype == expected[i].dtype
        np.testing.assert_allclose(got, expected[i], rtol=1e-6)


def with_keywords(ef, el, rue, N):
    return tg.sin(ef) * el * tg.cos(rue) + N  # d + el …


def with_builtins(int, sum, np):
    return tg.sin(sum) * (int > 0).astype("int8") * tg.exp(np)


def unused(x, y):
    return x * 2.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("fn", "count"),
    [
        (with_keywords, 4),
        (with_builtins, 3),
        (unused, 2),
        (lambda x: x * np.array([np.inf, 1.0, np.nan]).astype(x.dtype), 1),
        (lambda x: x * np.full(3, -np.inf, x.dtype), 1),
        (lambda x: tg.sum(x * np.array(np.nan, x.dtype)), 1),
        (lambda x, y: x * (y > 2).astype(np.uint8), 2),
    ],
)
def test_derived_sources_of_odd_functions(fn, count, dtype):
    check_source(fn, *(ROW.astype(dtype) + i for i in range(count)))
