"""NumPy's own arguments: ``dtype=`` says what is computed in, defaults may be written out, names are NumPy's."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.primitive import REGISTRY

X = np.array([[0.3, 0.7, 0.2], [0.6, 0.1, 0.9]])
HALF = np.array([300.0, 2.0], np.float16)
BYTES = np.int8([100, 3])
FROM_2_1 = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="NumPy 2.0 does not refuse it itself"
)


@pytest.fixture
def x():
    return tg.tensor(X, requires_grad=True, name="x")


def same(found, expected):
    assert isinstance(found, tg.Tensor)
    assert (found.shape, found.dtype) == (np.shape(expected), expected.dtype)
    np.testing.assert_array_equal(found.numpy(), expected)


# -- dtype= ---------------------------------------------------------------------------------------

IN_A_DTYPE = """
    np.add(BYTES, BYTES, dtype=np.int32)
    np.add(BYTES, np.int8(100), dtype="int16")
    np.add(BYTES, 1000, dtype=np.int32)
    np.add(BYTES, [1000, 2], dtype=np.int32)
    np.multiply(HALF, HALF, dtype=np.float32)
    np.multiply(HALF, 300.0, dtype=np.float32)
    np.divide(BYTES, 3, dtype=np.float32)
    np.subtract(HALF, 1, dtype=None)
    np.matmul(HALF, HALF, dtype=np.float32)
    np.sqrt(BYTES, dtype=np.float32)
    np.less(HALF, 3, dtype=bool)
    np.isnan(HALF, dtype=np.bool_)
    np.add.reduce(np.full(100, 1000, np.float16), dtype=np.float32)
    np.multiply.reduce(BYTES, dtype=np.int16)
    np.add.reduce(BYTES, dtype=np.int8)
    np.add.reduce(X, axis=1, dtype=np.float32, keepdims=True)
    np.add.reduce(X, dtype=int)
    np.sum(np.full(100, 1000, np.float16), dtype=np.float32)
    np.sum(BYTES, dtype=np.int8)
    np.prod(BYTES, dtype=np.float32)
    np.mean(BYTES, dtype=np.float32)
    np.mean(X * 9, dtype=int)
    np.concatenate([HALF, BYTES], dtype=np.float32)
    np.stack([HALF, HALF], dtype=np.float64, casting="same_kind")
    np.vstack([HALF, BYTES], dtype=np.float32)
    np.hstack([HALF, HALF[:1]], dtype=np.float32)
"""


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


class Tensors:
    """NumPy's names for arrays, as Tensors where the line says HALF, BYTES or X."""

    HALF, BYTES, X = tg.tensor(HALF), tg.tensor(BYTES), tg.tensor(X)


@pytest.mark.parametrize("line", lines(IN_A_DTYPE))
def test_it_computes_in_the_dtype(line):
    expected = eval(line, {"np": np, "HALF": HALF, "BYTES": BYTES, "X": X})
    found = line.replace("np.full(100, 1000, np.float16)", "F")
    same(eval(found, {"np": np, "F": tg.tensor(np.full(100, 1000, np.float16)), **vars(Tensors)}), np.asarray(expected))


def test_the_cast_is_recorded():
    x = tg.tensor(HALF, requires_grad=True)
    y = np.multiply(x, x, dtype=np.float32)
    assert [t.node.op.name for t in tg.Graph([y]).nodes].count("astype") >= 1
    y.backward(np.ones(2))
    assert (x.grad.dtype, x.grad.tolist()) == (np.float16, [600.0, 4.0])


@pytest.mark.parametrize(
    "line",
    [
        "np.add(X, X, dtype=np.int32)",
        pytest.param("np.add(BYTES, 1.5, dtype=np.int32)", marks=FROM_2_1),
        "np.add(BYTES, 300, dtype=np.int8)",
        "np.divide(BYTES, 2, dtype=np.int32)",
        "np.less(X, 1, dtype=float)",
        "np.add(X, X, dtype=bool)",
        "np.add(X, X, dtype='letters')",
        "np.add(X, X, dtype='U3')",
        "np.concatenate([X, X], dtype=int)",
    ],
)
def test_what_numpy_refuses_is_refused(line):
    with pytest.raises((TypeError, OverflowError)):
        eval(line, {"np": np, "X": X, "BYTES": BYTES})
    with pytest.raises(tg.errors.DTypeError, match=r"^(np\.)?\w+\(.*\): .+; .+"):
        eval(line, {"np": np, **vars(Tensors)})


# -- defaults and names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda t: np.exp(t, order="K", casting="same_kind", subok=True, where=True, out=None),
        lambda t: np.add(t, t, where=True),
        lambda t: np.add.reduce(t, where=True),
        lambda t: np.sum(t, where=True),
        lambda t: np.var(t, where=True),
        lambda t: np.sum(t, axis=0, where=np.True_),
        lambda t: np.argmax(t, keepdims=False),
        lambda t: np.clip(t, 0.2, 0.5, where=True),
    ],
)
def test_a_default_may_be_written_out(call, x):
    np.testing.assert_allclose(call(x).numpy(), call(X), rtol=1e-15)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: np.transpose(a=t, axes=(1, 0)),
        lambda t: np.swapaxes(a=t, axis1=0, axis2=1),
        lambda t: np.moveaxis(a=t, source=0, destination=1),
        lambda t: np.flip(m=t, axis=0),
        lambda t: np.expand_dims(a=t, axis=0),
        lambda t: np.squeeze(a=t, axis=None),
        lambda t: np.broadcast_to(array=t, shape=(4, 2, 3)),
        lambda t: np.ravel(a=t, order="C"),
        lambda t: np.roll(a=t, shift=1),
        lambda t: np.copy(a=t),
        lambda t: np.astype(t, np.float64, copy=False),
        lambda t: np.vstack(tup=[t, t]),
        lambda t: np.split(ary=t, indices_or_sections=2)[0],
        lambda t: np.dot(a=t, b=X.T),
        lambda t: np.take(a=t, indices=[1], axis=0),
    ],
)
def test_argument_names_are_numpys(call, x):
    y = call(x)
    np.testing.assert_array_equal(y.numpy(), call(X))
    assert y.requires_grad


def test_joining_numbers_and_vectors_as_numpy_does():
    s = tg.tensor(2.0)
    for stack in (np.vstack, np.hstack, np.column_stack):
        same(stack([s, s]), stack([2.0, 2.0]))
        same(stack([tg.tensor(X[0]), X[1]]), stack([X[0], X[1]]))


def test_a_tensor_to_fill_with_keeps_its_gradient():
    fill = tg.tensor(2.0, requires_grad=True)
    y = np.full_like(tg.tensor(X), fill)
    same(y, np.full_like(X, 2.0))
    tg.sum(y).backward()
    assert fill.grad.item() == 6.0


SMALL = np.float16([1, 3])
EXACT = """
    np.linalg.norm(BYTES)
    np.linalg.vector_norm(BYTES)
    np.var(X, ddof=10)
    np.std(X, axis=0, correction=2.5)
    np.cov(X, ddof=5)
    np.cov(X[:0, 0])
    np.diff(X, n=0, prepend=0)
    np.average(SMALL, weights=BYTES)
    np.average(X, axis=(1,), weights=[1, 2, 3])
    np.nan_to_num(SMALL, nan=np.float64(2))
    np.take(X, [True, False], 0)
    np.hypot(SMALL, [np.inf, np.nan])
"""


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("line", lines(EXACT))
def test_odd_arguments_mean_what_they_mean_in_numpy(line):
    expected = eval(line, {"np": np, "X": X, "BYTES": BYTES, "SMALL": SMALL})
    found = eval(line, {"np": np, "SMALL": tg.tensor(SMALL), **vars(Tensors)})
    assert (found.shape, found.dtype) == (np.shape(expected), expected.dtype)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)


REFUSALS = """
    np.pad(X, -1): ShapeError: crop with tg.pad
    np.pad(BYTES, 1, constant_values=np.nan): ShapeError: NaN
    np.full_like(BYTES, 300): DTypeError: out of bounds
    np.zeros_like(X, device="gpu"): DTypeError: no place for a Tensor
    np.astype(X, int, device="gpu"): DTypeError: no place for a Tensor
    np.rollaxis(X, 1, -4): AxisError: no such start
    np.delete(X, 6): IndexingError: out of bounds
    np.repeat(X, -1): ShapeError: negative
    np.repeat(X, [1, 2, 3], 0): ShapeError: broadcast
    np.diff(X, n=1.0): DTypeError: integer
    np.linalg.matrix_power(X, 2.0): DTypeError: integer
    np.var(X * 1j): DTypeError: complex
    np.var(X, ddof=1, correction=1): DTypeError: are one
    np.cov(X * 1j): DTypeError: complex
    np.linalg.norm(X * 1j): DTypeError: complex
    BYTES & 1000: DTypeError: out of bounds
    BYTES & tg.tensor([1, 2, 3]): ShapeError: broadcast
"""


@pytest.mark.parametrize("line", lines(REFUSALS))
def test_what_numpy_says_is_said_in_our_words(line):
    source, kind, text = line.rsplit(": ", 2)
    with pytest.raises(getattr(tg.errors, kind), match=rf"^[\w.]+\(.*\): .*{text}.*") as caught:
        eval(source, {"np": np, "tg": tg, **vars(Tensors)})
    assert ";" in str(caught.value)


@pytest.mark.parametrize("name", ["isnan", "isinf", "isfinite"])
@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64, np.complex128, np.bool_])
def test_what_is_finite_is_asked_by_a_recorded_comparison(name, dtype):
    ufunc = getattr(np, name)
    values = np.array([0, 1] if dtype in (np.int64, np.bool_) else [-np.inf, np.nan, np.inf, 0, -3], dtype)
    same(ufunc(tg.tensor(values)), ufunc(values))
    graph = tg.trace(lambda t: ufunc(t), values)
    assert {t.node.op.name for t in graph.nodes} <= set(REGISTRY)
    np.testing.assert_array_equal(graph.run(np, np.ones_like(values))[0], ufunc(np.ones_like(values)))


def test_a_trace_may_ask_for_shapes_and_types_but_not_for_values(x):
    def ask(t):
        asked = np.shape(t), np.ndim(t), np.size(t, 0), np.result_type(t, np.float32), np.iscomplexobj(t)
        assert asked == ((2, 3), 2, 2, np.float64, False)
        return t * 2

    tg.trace(ask, X)
    for question in (lambda t: np.allclose(t, 0), lambda t: np.count_nonzero(t > 0)):
        with pytest.raises(tg.TinygraphError, match="traced"):
            tg.trace(lambda t, question=question: t * question(t), X)


# -- edges ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["nanmax", "nanmin", "nanmean", "nansum", "nanprod"])
def test_where_all_is_nan(name):
    x = np.where([[True, False, True], [True, True, False]], np.nan, X)
    same(getattr(np, name)(tg.tensor(x), axis=0), getattr(np, name)(x, axis=0))


@pytest.mark.parametrize(
    ("ufunc", "point", "hessian"),
    [
        (np.logaddexp, [0.3, 0.3], [[0.25, -0.25], [-0.25, 0.25]]),
        (np.hypot, [3.0, 3.0], [[18**-0.5 / 2, -(18**-0.5) / 2], [-(18**-0.5) / 2, 18**-0.5 / 2]]),
        (np.hypot, [0.0, 2.0], [[0.5, 0.0], [0.0, 0.0]]),
        (np.hypot, [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]),
    ],
)
def test_no_tie_and_no_zero_has_a_false_second_derivative(ufunc, point, hessian):
    found = tg.hessian(lambda p: ufunc(p[0], p[1]))(np.array(point))
    np.testing.assert_allclose(found.detach(), hessian, rtol=1e-14, atol=1e-15)


# -- t.dot ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes",
    [((2, 3), (4, 3, 5)), ((3,), (4, 3, 5)), ((2, 2, 3), (4, 1, 3, 5)), ((2, 3), (3,)), ((3,), (3,)), ((), (2, 3)),
     ((2, 3), ()), ((), ()), ((2, 0), (4, 0, 5)), ((0, 3), (4, 3, 5)), ((2, 3), (0, 3, 5)), ((2, 2, 3), (3, 4))],
)  # fmt: skip
def test_dot_is_numpys(shapes, rng):
    a, b = (rng.normal(size=shape) for shape in shapes)
    expected = np.dot(a, b)
    dot = tg.core.tensor.OPS["dot"]
    for found in (dot(tg.tensor(a), b), np.dot(tg.tensor(a), tg.tensor(b))):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13, atol=1e-14)
    seed = rng.normal(size=expected.shape)
    da, db = tg.vjp(dot, a, b)[1](seed)
    if a.ndim and b.ndim > 2:  # ⟨seed, dot(a, b)⟩ is linear in a, and in b
        for cotangent, operand in ((da, a), (db, b)):
            assert np.vdot(cotangent.numpy(), operand) == pytest.approx(np.vdot(seed, expected))


def test_dot_tells_which_sizes_differ(x):
    with pytest.raises(
        tg.errors.ShapeError, match=r"^dot\(float64\[2,3\] x, float64\[4,2,3\]\): the inner sizes 3 and 2"
    ):
        np.dot(x, np.ones((4, 2, 3)))


# -- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: np.exp(t, order="F"), r"np.exp(float64[2,3] x): order= is not supported; leave it out"),
        (lambda t: np.exp(t, casting="unsafe"), r"casting= is not supported; cast with x.astype(dtype)"),
        (lambda t: np.exp(t, out=X.copy()), r"out= writes in place, and a Tensor never changes; use the result"),
        (lambda t: np.exp(t, where=X > 1), r"where= leaves elements out; choose with tg.where"),
        (lambda t: np.exp(t, signature="d->d"), r"signature= is not supported"),
        (lambda t: np.lexsort((t, t)), r"np.lexsort([float64[2,3] x, float64[2,3] x]): no gradient rule"),
        (lambda t: np.median(a=t), r"np.median(float64[2,3] x): no gradient rule"),
        (lambda t: np.linalg.inv(t), r"np.linalg.inv(float64[2,3] x): no gradient rule"),
        (lambda t: np.frompyfunc(abs, 1, 1)(t), r"abs (vectorized)(float64[2,3] x): no gradient rule"),
        pytest.param(lambda t: np.clip(t, 0, min=0), r"np.clip(float64[2,3] x, 0, 0): bounds are given in two ways, or only one", marks=FROM_2_1),
        (lambda t: np.clip(t, 0, 1, min=0), r"bounds are given in two ways"),
        pytest.param(lambda t: np.clip(t, 0), r"give a_min and a_max, or min= and max=", marks=FROM_2_1),
        (lambda t: np.pad(t, 1, constant_values=t), r"np.pad(float64[2,3] x, float64[2,3] x): constant_values= is one"),
        (lambda t: np.pad(t, 1, constant_values=(1, 2)), r"np.pad(float64[2,3] x, [1, 2]): constant_values= is one"),
        (lambda t: np.ravel(t, order="F"), r"np.ravel(float64[2,3] x): order= is not supported"),
        (lambda t: np.reshape(t, 6, order="K"), r"np.reshape(float64[2,3] x): order= is not supported"),
        (lambda t: np.argmax(t, keepdims=True), r"np.argmax(float64[2,3] x): keepdims= is not supported"),
        (lambda t: np.roll(t, 1.5), r"roll("),
        (lambda t: np.split(t, 2.5), r"split("),
    ],
)  # fmt: skip
def test_the_message(call, message, x):
    with pytest.raises(TypeError) as caught:
        call(x)
    assert message in str(caught.value)
    assert isinstance(caught.value, tg.TinygraphError)


def test_the_message_tells_the_scope(x):
    with tg.scope("block"), pytest.raises(TypeError, match=r"np\.sort\(float64\[2,3\] x\) in scope block: "):
        np.sort(x)


# -- einsum ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subscripts", "shape"),
    [("ii", (1, 3)), ("ii->i", (3, 1)), ("iji->j", (1, 2, 3)), ("...i->i", (2, 3)), ("i...->", (2, 3))],
)
def test_einsum_refuses_what_numpy_refuses(subscripts, shape):
    with pytest.raises(ValueError):
        np.einsum(subscripts, np.ones(shape))
    with pytest.raises(tg.TinygraphError, match=r"^einsum\('"):
        tg.einsum(subscripts, np.ones(shape))


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [("...i->i", [(3,)]), ("ii", [(1, 1)]), ("ii,i", [(1, 1), (3,)]), ("ij,jk", [(2, 1), (3, 4)]), ("...i", [(2, 3)])],
)
def test_einsum_takes_what_numpy_takes(subscripts, shapes, rng):
    arrays = [rng.normal(size=shape) for shape in shapes]
    np.testing.assert_allclose(tg.einsum(subscripts, *arrays).numpy(), np.einsum(subscripts, *arrays), rtol=1e-13)
