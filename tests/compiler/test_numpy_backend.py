"""The NumPy backend computes what the ops compute one by one: to the last bit, on new arrays, and readably."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import examples

import tinygraph as tg
from tinygraph.compiler.graphs import valueless
from tinygraph.compiler.names import identifier
from tinygraph.compiler.numpy_backend import build
from tinygraph.core.primitive import REGISTRY, Primitive, apply
from tinygraph.testing.primitives import calls
from tinygraph.testing.programs import Program, programs

DTYPES = (np.float64, np.float32, np.float16, np.int64, np.bool_)


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_array_equal(a, b)
    if a.dtype.kind == "f":  # nor do zeros differ in sign
        np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))


def check(graph, *arrays):
    """The compiled graph against the graph run op by op: results, inputs left alone, memory of its own."""
    kernel = build(valueless(graph))
    arrays = [a for a in arrays if not isinstance(a, bool)]  # a flag, for a trace
    kept = [np.copy(a) for a in arrays]
    for a in arrays:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False
    with np.errstate(all="ignore"):
        expected = graph.run(np, *arrays)
    for _ in range(2):  # a second call finds nothing of the first
        results = kernel(*arrays)
        assert isinstance(results, tuple)
        for a, b in zip(results, expected, strict=True):
            same(a, b)
    for a, k in zip(arrays, kept, strict=True):
        same(a, k)
    strong = [a for a in results if isinstance(a, np.ndarray)]
    given = [a for a in arrays if isinstance(a, np.ndarray)]
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(strong, 2))
    assert not any(np.shares_memory(a, b) for a in strong for b in given)
    assert all(a.flags.writeable for a in strong)
    return kernel


def traced(fn, *arrays):
    with np.errstate(all="ignore"):
        return tg.trace(fn, *arrays)


def backward(program):
    return lambda *args: tg.vjp_fn(program)(*args)


@given(programs(max_ops=10, inputs=4))
@example(Program((("add", 0, 0),), count=4))
@example(Program((("cumsum", 0, 0), ("total", 0, 0), ("prod", 1, 0)), count=4))
@examples(2000)
def test_programs_and_their_gradients(program):
    xs = program.inputs
    g = program.cotangent(program.shape)
    check(traced(backward(program), *xs, g), *xs, g)


@given(programs(max_ops=6, inputs=3), st.sampled_from([np.float32, np.float16]))
@examples(300)
def test_programs_in_low_precision(program, dtype):
    xs = [x.astype(dtype) for x in program.inputs]
    check(traced(program, *xs), *xs)


@given(programs(max_ops=6, inputs=2), st.integers(0, 3))
@examples(200)
def test_programs_on_arrays_in_other_orders(program, layout):
    xs = program.inputs
    views = [np.asfortranarray, lambda x: np.repeat(x, 2, axis=-1)[..., ::2], lambda x: x[::-1], lambda x: x]
    odd = [views[layout](x) if x.ndim else x for x in xs]
    check(traced(program, *odd), *odd)


@given(programs(max_ops=4, inputs=2))
@examples(100)
def test_second_order(program):
    xs = program.inputs
    g = program.cotangent(program.shape)

    def gradient(*args):
        return tg.vjp_fn(program)(*args)[1][0]

    h = program.cotangent(xs[0].shape, 2)
    check(traced(lambda *a: tg.vjp_fn(gradient)(*a), *xs, g, h), *xs, g, h)


EVERY = [call for op in REGISTRY.values() for call in calls(op)]


@pytest.mark.parametrize("call", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_every_primitive(call, dtype):
    case = call.draw(0)
    operands = [np.asarray(x).astype(dtype) if getattr(x, "dtype", None) == np.float64 else x for x in case.operands]
    try:
        with np.errstate(all="ignore"):
            case.op.run(operands, case.params)
    except Exception:
        pytest.skip(f"{call.op.name} does not take {np.dtype(dtype)}")
    if call.op.name.startswith("random"):
        return  # each run draws anew; below
    strong = [x for x in operands if isinstance(x, np.ndarray)]

    def fn(*given):
        left = iter(given)
        return apply(case.op, tuple(next(left) if isinstance(x, np.ndarray) else x for x in operands), case.params)

    check(traced(fn, *strong), *strong)


@pytest.mark.parametrize("op", [op for op in REGISTRY.values() if op.kind == "elementwise" and op.arity], ids=repr)
@pytest.mark.parametrize("numbers", [(2, 3), (0.5, -1.5), (True, 2), (0, 0)], ids=repr)
def test_python_numbers(op, numbers):
    """Numbers among themselves, and next to arrays: none promotes, and 1 / 0 is inf."""
    arrays = [np.array([1.5, -2.0, 0.0], np.float32), np.array([1, 2, 3])]
    for operands in (numbers[: op.arity], (arrays[0], numbers[0])[: op.arity], (numbers[1], arrays[1])[-op.arity :]):
        try:
            with np.errstate(all="ignore"):
                op.run(operands, {})
        except Exception:
            continue
        check(traced(lambda *xs: apply(op, xs, {}), *operands), *operands)


def test_values_that_are_not_finite(rng):
    x = rng.normal(size=(6, 4))
    x[0, 0], x[1, 1], x[2, 2] = np.nan, np.inf, -0.0
    dy = rng.normal(size=(6, 4))
    dy[:, 3] = 0
    check(traced(lambda x, g: tg.vjp_fn(lambda x: tg.sqrt(tg.log(x)) / x)(x, g), x, dy), x, dy)
    check(traced(lambda x, g: tg.vjp_fn(lambda x: tg.batch_norm(x, eps=0.0))(x, g), x, dy), x, dy)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (1, 4), (4, 1)])
def test_empty_and_single_axes(shape, rng):
    x, dy = rng.normal(size=shape), rng.normal(size=shape)
    fn = lambda x, g: tg.vjp_fn(lambda x: tg.softmax(x - tg.mean(x, axis=0), axis=1) * x.T.reshape(shape))(x, g)
    if 0 in shape:
        fn = lambda x, g: (x - tg.sum(x, axis=0) + g.T.reshape(shape), tg.concatenate([x, g]))
    check(traced(fn, x, dy), x, dy)


def test_results_are_copies(rng):
    """What is no new array of its own is copied: an input, a view, the same result twice, a constant."""
    x, c = rng.normal(size=(3, 4)), rng.normal(size=(2,))

    def fn(x):
        y = x * 2
        return x, x.T, y, y, y.reshape((4, 3)), tg.broadcast_to(y[0], (5, 4)), tg.tensor(c), y[1:], tg.detach(y)

    check(traced(fn, x), x)


def test_random_draws_follow_the_generator(rng):
    def fn(x, rng):
        return x * (tg.random.uniform(x.shape, rng=rng) > 0.5)

    seeds = np.random.default_rng(3)
    graph = tg.trace(lambda x: fn(x, seeds), np.ones(40))
    before = seeds.bit_generator.state
    kernel = build(valueless(graph))
    assert seeds.bit_generator.state == before  # building draws nothing
    first, second = kernel(np.ones(40))[0], kernel(np.ones(40))[0]
    assert (first != second).any()
    state = seeds.bit_generator.state
    drawn = kernel(np.ones(40))[0]
    seeds.bit_generator.state = state
    same(drawn, fn(np.ones(40), seeds).numpy())


def test_kernels_of_others_are_called(rng):
    """They may hand an operand through, or ask for the namespace; what they return is not written to."""
    through = Primitive("through", lambda xp, x: x, (), "elementwise", "", "", pullback=tuple, numpy=lambda x: x)
    asks = Primitive("is it?", lambda xp, x: x + (1 if xp is np else 2), (), "elementwise", "", "", pullback=tuple)

    def fn(x):
        y = apply(through, (x,), {})
        return tg.exp(y) * 2.0 - y, apply(asks, (tg.exp(y),), {})

    x = rng.normal(size=(3, 4))
    check(traced(fn, x), x)


def batch_norm(x, gamma, beta):
    return tg.batch_norm(x, gamma, beta)


def layer(shape, dtype=np.float64):
    rng = np.random.default_rng(5)
    x, dy = rng.normal(size=(2, *shape)).astype(dtype)
    gamma, beta = rng.normal(size=(2, shape[1])).astype(dtype)
    fn = lambda x, gamma, beta, dy: tg.vjp_fn(batch_norm)(x, gamma, beta, dy)
    return tg.trace(fn, x, gamma, beta, dy), (x, gamma, beta, dy)


GOLDEN = Path(__file__).with_name("batch_norm_numpy.txt")


def test_the_source_of_batch_norm():
    """Golden, and the same for every size and dtype. To renew it: print it, look at the difference, and store it."""
    graph, arrays = layer((8, 3))
    kernel = check(graph, *arrays)
    assert kernel.source == GOLDEN.read_text()
    assert build(valueless(layer((64, 50), np.float32)[0])).source == kernel.source


@pytest.mark.parametrize("shape", [(300, 7), (2, 3, 9, 5), (700, 600)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_batch_norm_to_the_last_bit(shape, dtype):
    graph, arrays = layer(shape, dtype)
    check(graph, *arrays)


def test_memory_is_used_again(rng):
    """A chain of 600 ops needs fewer than three arrays."""
    import tracemalloc

    def chain(x):
        for _ in range(200):
            x = tg.exp(x * 0.5) - 1.0
        return x

    x = rng.uniform(0, 1, 100_000)
    kernel = build(valueless(tg.trace(chain, x)))
    tracemalloc.start()
    kernel(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * x.nbytes


def test_a_matrix_product_is_in_c_order(rng):
    """Whatever its operands: what follows in a network is planned, and sums are those of the ops to the last bit."""

    def fn(x, w):
        y = tg.exp(tg.tanh(x.T @ w.T) * 2.0)
        return tg.sum(y, axis=0), tg.sum(y * 0.5, axis=1), (y - 1.0).T @ y

    x, w = rng.normal(size=(40, 300)), rng.normal(size=(70, 40))
    kernel = check(traced(fn, x, w), x, w)
    assert kernel.source.count("out=") >= 3
    check(traced(fn, np.asfortranarray(x), w), np.asfortranarray(x), w)


def test_a_deep_graph_is_built_without_recursion():
    """10,000 nodes one after the other, ten times as deep as Python's stack, give what the ops give."""

    def chain(x, n):
        for _ in range(n):
            x = x * 0.5 + 1.0
        return x

    x = np.arange(3.0)
    check(traced(lambda x: chain(x, 5_000), x), x)


def test_a_user_name_is_no_name_of_ours():
    def fn(np_, def_, sum_):
        y = tg.sum(np_ * def_, axis=0)
        y.name = "sum"
        z = y - sum_
        z.name = "np"
        w = z * z
        w.name = "γ̂ 层 <b>&amp;"
        return w

    x = np.arange(6.0).reshape(2, 3)
    check(traced(fn, x, x, x[0].copy()), x, x, x[0].copy())


@pytest.mark.parametrize(
    ("text", "word"), [("μ", "mu"), ("σ²", "sigma2"), ("x̂", "xhat"), ("x−μ", "x_minus_mu"), ("3", ""), ("层", "")]
)
def test_identifiers(text, word):
    assert identifier(text) == word


def test_another_unit_in_the_driver(rng):
    """A function that computes several nodes stands in the driver as one call."""

    class Fused:
        name = "fused"

        def __init__(self, operands, results):
            self.operands, self.results = operands, results

        @staticmethod
        def function(x, y):
            return x * y, x * y + 1.0

    x, y = rng.normal(size=(2, 4))
    graph = valueless(tg.trace(lambda x, y: tg.exp(x * y + 1.0) * (x * y), x, y))
    units = [Fused(graph.inputs, graph.nodes[:2]), *graph.nodes[2:]]
    kernel = build(graph, units)
    assert "t0, t1 = fused(x, y)" in kernel.source
    same(kernel(x, y)[0], np.exp(x * y + 1.0) * (x * y))


def test_numba_and_passes_are_not_needed():
    """The backend alone brings in nothing of the other parts."""
    code = "import sys, tinygraph.compiler.numpy_backend; print('numba' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
