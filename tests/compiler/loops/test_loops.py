"""The Numba backend: what the ops give one by one but for rounding, from few loops that no shape is tied to."""

import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.rounding import within_rounding

import tinygraph as tg
from tinygraph.compiler.graphs import valueless
from tinygraph.compiler.passes import optimise
from tinygraph.testing.derived import Derived
from tinygraph.testing.programs import programs
from tinygraph.testing.rounding import truth

pytest.importorskip("numba")
from tinygraph.compiler.loops import backend, kernels, text, writer
from tinygraph.compiler.loops.regions import LIMIT, Grouping

GOLDEN = Path(__file__).with_name("batch_norm.txt")


def batch_norm(x, gamma, beta, eps=1e-5):
    mu = tg.mean(x, axis=0)
    xc = x - mu
    var = tg.mean(xc**2, axis=0)
    xhat = xc / tg.sqrt(var + eps)
    return gamma * xhat + beta


def pair(fn):
    """Forward and backward of a function of one array."""
    return lambda x, dy: tg.vjp_fn(fn)(x, dy)


FUNCTIONS = {
    "batch_norm": pair(lambda x: tg.batch_norm(x)),
    "layer_norm": pair(lambda x: tg.layer_norm(x)),
    "layer_norm, two axes": pair(lambda x: tg.layer_norm(x, axis=(-2, -1))),
    "softmax": pair(lambda x: tg.softmax(x)),
    "softmax, first axis": pair(lambda x: tg.softmax(x, axis=0)),
    "softmax, second axis": pair(lambda x: tg.softmax(x, axis=1)),
    "squared error": lambda x, dy: tg.vjp_fn(lambda x: tg.mean((x - dy) ** 2))(x, tg.sum(dy)),
    "standardise": pair(lambda x: (x - tg.mean(x)) / tg.std(x)),
    "losses": lambda x, dy: tg.vjp_fn(lambda x: tg.cross_entropy(x, tg.softmax(dy), axis=-1))(x, 1.0),
    "two sums": lambda x, dy: (
        tg.sum(x * dy, axis=(0, -1)),
        tg.where(x > dy, x, 0) * tg.mean(dy, axis=(0, -1), keepdims=True),
    ),
    "rows": lambda x, dy: (
        x / (1 + tg.sum(x * x, axis=-1, keepdims=True)) + tg.sum(dy, axis=-1, keepdims=True) * dy,
        abs(dy),
    ),
    "flags": lambda x, dy: (
        tg.logical_or(x > dy, dy != dy),
        tg.where(x > 0, tg.sign(x), dy),
        (x <= 0.5).astype(np.float32) * 2,
    ),
}
SHAPES = [
    (2, 3), (5, 1), (1, 4), (1, 1), (0, 3), (3, 0), (300, 7), (7, 1300), (3, 4, 5), (2, 3, 4, 5), (1, 3, 1, 5), (4, 1, 5, 1),
    (2, 0, 3, 1), (130, 3, 2), (2, 3, 600),
]  # fmt: skip


def as_python(source):
    """A kernel as plain Python: the same text without the time of the compiler."""
    text = source.replace("from tinygraph.compiler.loops.kernels import add, kernel\n", "").replace(
        "np.uint64(", "int("
    )
    names = {"kernel": lambda **_: lambda f: f, "add": lambda a, b: a + b}
    exec(text, names)
    return lambda *arrays: names["run"](*(a.tolist() if a.dtype == np.uint64 else a for a in arrays))


@pytest.fixture
def interpreted(monkeypatch):
    monkeypatch.setattr(backend, "compiled", as_python)


@pytest.fixture(params=[1, 3])
def workers(request, monkeypatch):
    """One worker, or three of them on blocks of two columns, however small the arrays are."""
    if request.param > 1:
        monkeypatch.setattr(backend, "threads", lambda: request.param)
        monkeypatch.setattr(backend, "WORTH_THREADS", 0)
        monkeypatch.setattr(backend, "WIDTH", 2)
        monkeypatch.setattr(writer, "WIDTH", 2)


def agree(got, expected, bound):
    got = np.asarray(got)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    with np.errstate(all="ignore"):
        scale = np.max(np.abs(expected), initial=1, where=np.isfinite(expected))
        error = np.where((got == expected) | np.isnan(expected), 0, np.abs(got.astype(float) - expected) / scale)
    assert np.max(error, initial=0) <= bound


def draw(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def check(fn, *arrays, passes=False, units=32):
    with np.errstate(all="ignore"):
        graph = tg.trace(fn, *arrays)
    kernel = backend.build(optimise(valueless(graph))[-1].graph if passes else valueless(graph))
    expected = graph.run(np, *arrays)
    for got, e in zip(kernel(*arrays), expected, strict=True):
        agree(got, e, units * (np.finfo(e.dtype).eps if e.dtype.kind == "f" else 0))
    return kernel


# -- values -----------------------------------------------------------------------------------------


@given(programs(max_ops=8, inputs=4), st.booleans(), st.booleans())
@examples(1000)
def test_random_programs(program, derived, passes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "compiled", as_python)
        xs = program.inputs
        if derived:
            xs = [*xs, program.cotangent(program.shape)]
        check(tg.vjp_fn(program) if derived else program, *xs, passes=passes, units=1e4)


@given(programs(max_ops=8, inputs=3))
@examples(300)
def test_random_programs_are_right_within_rounding(program):
    both = Derived(program, program.inputs, program.cotangent(program.shape), range(program.count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "compiled", as_python)
        kernel = backend.build(optimise(valueless(both.graph))[-1].graph)
    got = [np.asarray(a) for a in kernel(*both.inputs)]
    within_rounding(got, truth(both, np.finfo(np.float64).eps / 2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_shapes(name, dtype, interpreted, workers):
    for shape, passes in itertools.product(SHAPES, (False, True)):
        x, dy = draw(shape, dtype), draw(shape, dtype, 1)
        try:
            tg.trace(FUNCTIONS[name], x, dy)
        except tg.errors.TinygraphError:  # this function has no such shape
            continue
        check(FUNCTIONS[name], x, dy, passes=passes, units=512)


COMPILED = [
    ("batch_norm", (300, 70), np.float32),
    ("batch_norm", (4, 6, 9, 5), np.float64),
    ("layer_norm", (30, 700), np.float32),
    ("softmax", (50, 10), np.float64),
    ("rows", (40, 33), np.float32),
    ("flags", (13, 5), np.float64),
]


@pytest.mark.parametrize(("name", "shape", "dtype"), COMPILED)
def test_compiled(name, shape, dtype):
    check(FUNCTIONS[name], draw(shape, dtype), draw(shape, dtype, 1), passes=True, units=64)


@pytest.mark.parametrize("shape", [(2500, 300), (60, 4200), (40, 10, 30, 20)])
@pytest.mark.parametrize("long", [False, True])
def test_large_arrays_are_shared_among_threads(shape, long, monkeypatch):
    count = min(kernels.threads(), 4) if long else 4
    monkeypatch.setattr(backend, "threads", lambda: count)
    monkeypatch.setattr(backend, "LONG", 0 if long else math.inf)
    asked = []

    def run_all(kernel, calls, long):
        asked.append((len(calls), long))
        kernels.run_all(kernel, calls, long)

    monkeypatch.setattr(backend, "run_all", run_all)
    check(FUNCTIONS["batch_norm"], draw(shape, np.float32), draw(shape, np.float32, 1), passes=True, units=64)
    assert max(asked, default=(1, long)) == (count, long)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not tell threads where to wake")
def test_threads_for_long_work_wake_apart_and_then_go_anywhere():
    every, seen = os.sched_getaffinity(0), []
    kernels.run_all(lambda part: seen.append((part, os.sched_getaffinity(0))), [(k,) for k in range(len(every))], True)
    assert sorted(part for part, _ in seen) == list(range(len(every)))
    assert all(places == every for _, places in seen)
    asleep = [worker._thread.submit(os.sched_getaffinity, 0).result() for worker in kernels._workers()]
    assert asleep == [{processor} for processor in sorted(every)]
    assert os.sched_getaffinity(0) == every


def test_an_error_in_one_thread_reaches_the_caller():
    for long in (False, True):
        with pytest.raises(ZeroDivisionError):
            kernels.run_all(lambda x: 1 / x, [(1,), (0,)], long)


def test_nan_and_infinity_are_kept():
    x = draw((6, 5), np.float32)
    x[1, 2], x[3, 4], x[0, 0] = np.nan, np.inf, -np.inf
    for name in ("batch_norm", "rows", "flags"):
        check(FUNCTIONS[name], x, draw((6, 5), np.float32, 1), units=64)
    corners = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan])
    a, b = (v.ravel() for v in np.meshgrid(corners, corners))
    fn = lambda a, b: (
        tg.mul0(a, b) + 0,
        tg.div0(a, b) + 0,
        tg.maximum(a, b) + 0,
        tg.minimum(a, b) + 0,
        abs(a) / b,
        tg.sqrt(a) - b,
    )
    check(fn, a, b)


@pytest.mark.parametrize("axis", [0, 1])
def test_long_float32_sums_are_accurate(axis):
    x = np.random.default_rng(0).uniform(size=(1_000_000, 2) if axis == 0 else (2, 1_000_000)).astype(np.float32)
    kernel = backend.build(valueless(tg.trace(lambda x: tg.sum(x * 1.0, axis=axis), x)))
    (got,) = kernel(x)
    np.testing.assert_allclose(got, x.sum(axis=axis, dtype=np.float64), rtol=2e-7)


def test_a_correction_is_not_reassociated():
    """x - a - b is not x - (a + b), which would lose what a small b corrects."""
    x = np.float32(1e4) + draw((1000, 3), np.float32)
    a, b = np.full(3, 1e4, np.float32), np.full(3, 3e-4, np.float32)
    check(lambda x, a, b: tg.sum((x - a - b) * 1e3, axis=0) * 1e-3, x, a, b, units=8)
    check(lambda x, a, b: tg.sum((x - a - b) * 1e3, axis=1) * 1e-3, x.T.copy(), a[:1], b[:1], units=8)


def test_rows_are_taken_together_and_the_rest_one_by_one(interpreted, workers):
    fn = lambda x, y: (x * tg.sum(x * y, axis=0), tg.mean(y - x, axis=0))
    for rows in (*range(1, 40), 127, 513, 600):
        kernel = check(fn, draw((rows, 3), np.float64), draw((rows, 3), np.float64, 1))
    assert "x0_3" in kernel.source


def test_long_elements_take_one_row_at_a_time(interpreted):
    def fn(x):
        y = x
        for _ in range(text.SHORT):
            y = y * 0.5 + x
        return tg.sum(y, axis=0)

    kernel = check(fn, draw((70, 3), np.float32))
    assert "x0_1" not in kernel.source


# -- arrays -----------------------------------------------------------------------------------------


def test_inputs_are_only_read_and_results_are_new():
    fn = FUNCTIONS["batch_norm"]
    x, dy = np.asfortranarray(draw((40, 30), np.float64))[::-1], draw((30, 80), np.float64).T[::2]
    kernel = backend.build(valueless(tg.trace(fn, x, dy)))
    kept = x.copy(), dy.copy()
    for a in (x, dy):
        a.flags.writeable = False
    first, second = kernel(x, dy), kernel(x, dy)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(dy, kept[1])
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations([*first, *second, x, dy], 2))
    for a, b in zip(first, kernel(*kept), strict=True):
        np.testing.assert_array_equal(a, b)


def test_unaligned_arrays():
    x = np.frombuffer(bytes(1) + draw((40, 30), np.float64).tobytes(), np.uint8)[1:].view(np.float64).reshape(40, 30)
    assert not x.flags.aligned
    check(FUNCTIONS["rows"], x, draw((40, 30), np.float64))


def test_numbers_are_arguments():
    graph = valueless(tg.trace(lambda x, a: a * x + 2.5 * x, draw((5, 3), np.float32), 2.0))
    kernel, x = backend.build(graph), draw((5, 3), np.float32, 1)
    for a in (2.0, -3.0):
        (got,) = kernel(x, a)
        np.testing.assert_allclose(got, np.float32(a) * x + np.float32(2.5) * x, rtol=1e-6)
    assert "2.5" not in kernel.source


def test_eight_threads_on_one_kernel():
    fn = FUNCTIONS["batch_norm"]
    arrays = [(draw((700, 200), np.float32, i), draw((700, 200), np.float32, i + 1)) for i in range(8)]
    kernel = backend.build(optimise(valueless(tg.trace(fn, *arrays[0])))[-1].graph)
    expected = [kernel(*pair) for pair in arrays]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, due in zip(pool.map(lambda p: kernel(*p), arrays), expected, strict=True):
                for a, b in zip(got, due, strict=True):
                    np.testing.assert_array_equal(a, b)


# -- structure --------------------------------------------------------------------------------------


def batch_norm_graph(shape, dtype=np.float32):
    x, c = draw(shape, dtype), draw(shape[1:], dtype)
    return optimise(
        valueless(tg.trace(lambda x, gamma, beta, dy: tg.vjp_fn(batch_norm)(x, gamma, beta, dy), x, c, c, x))
    )[-1].graph


def test_batch_norm_forward_and_backward_is_one_kernel():
    _, made = backend.plan(batch_norm_graph((100, 5)))
    assert len(made) == 1
    assert made[0].text.source == GOLDEN.read_text(encoding="utf-8")


def test_another_shape_compiles_nothing():
    backend.build(batch_norm_graph((100, 5)))
    known = len(kernels._KERNELS)
    for shape in ((64, 32), (3, 2000), (7000, 40)):
        backend.build(batch_norm_graph(shape))
    assert len(kernels._KERNELS) == known


def test_channel_axis_in_the_middle():
    x, c = draw((4, 3, 5, 6), np.float32), draw((3,), np.float32)
    graph = tg.trace(lambda x, g, b, dy: tg.vjp_fn(tg.batch_norm)(x, g, b, dy), x, c, c, x)
    _, made = backend.plan(optimise(valueless(graph))[-1].graph)
    assert [m.nest.kinds for m in made] == ["RKR"]


def test_arithmetic_on_rows_is_done_where_they_are_read():
    """A running mean is updated in the loops that compute the mean."""
    x, old = draw((40, 7), np.float32), draw((7,), np.float32, 1)
    kernel = check(lambda x, old: (0.9 * old + 0.1 * tg.mean(x, axis=0), x - tg.mean(x, axis=0)), x, old)
    assert kernel.source.startswith("def compiled(x, old):\n    t0, t1 = loops0(old, x)\n    return (t0, t1)\n")


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_that_others_read_too_stay_apart(axis):
    def fn(x, old, rate):
        rate = rate * 0.5 + 1
        scaled = 0.9 * old + 1
        means = [tg.mean(z, axis=axis) for z in (x, tg.exp(x) @ x.T @ x)]
        return [old - rate * m for m in means] + [scaled * m for m in means] + [scaled]

    x = draw((5, 7), np.float64)
    check(fn, x, draw((7, 5)[axis], np.float64, 1), np.array(0.3))


def test_regions_never_wait_for_each_other(interpreted):
    """a feeds a matrix product that comes back to what else is made of a."""

    def fn(x):
        a = x * 2 + 1
        b = a @ a
        return a * b + a, tg.sum(b * a - 1, axis=0) * tg.sum(a, axis=1)

    check(fn, draw((4, 4), np.float64))


def test_long_chains_are_cut_and_cost_no_more_than_their_length(interpreted):
    def fn(x):
        for _ in range(3000):
            x = x * 1.0001 + 0.5
        return x

    graph = valueless(tg.trace(fn, draw((3, 2), np.float64)))
    sizes = [len(r.nodes) for r in Grouping(graph).regions()]
    assert sum(sizes) == 6000
    assert max(sizes) <= LIMIT
    assert len(sizes) <= math.ceil(6000 / LIMIT) + 1


def test_one_op_alone_is_left_to_numpy():
    units, made = backend.plan(valueless(tg.trace(lambda x: tg.exp(x) + 1, draw((3, 2), np.float64))))
    assert not made
    assert len(units) == 2
