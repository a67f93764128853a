"""What tries to make a compiled function wrong without a word: state, aliases, draws, flags, indices, numbers, memory."""

import collections
import copy
import gc
import importlib.util
import threading
import weakref

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.errors import DTypeError, IndexingError, TraceError

BACKENDS = [
    pytest.param(
        name, marks=pytest.mark.skipif(not importlib.util.find_spec(needs), reason=f"{needs} is not installed")
    )
    for name, needs in (("numpy", "numpy"), ("numba", "numba"), ("jax", "jax"))
]
X = np.array([1.0, 2.0, 3.0])


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def as_arrays(result):
    items = result if isinstance(result, (tuple, list)) else [result]
    return [None if x is None else np.array(getattr(x, "_data", x)) for x in items]


def agree(make, calls, backend):
    """``make()`` gives a function and its state; every call is right, and so is the state in the end."""
    runs = []
    for wrap in (lambda fn: fn, lambda fn: tg.compile(fn, backend=backend)):
        fn, *state = make()
        fn = wrap(fn)
        found = [as_arrays(call(fn, *state)) for call in calls]
        found.append(as_arrays([p for p in state if isinstance(p, tg.Parameter)]))
        runs.append(found)
    for a, b in zip(*runs, strict=True):
        for expected, got in zip(a, b, strict=True):
            if expected is None:
                assert got is None
            else:
                assert expected.dtype == got.dtype
                np.testing.assert_allclose(got, expected, rtol=1e-12)
    return fn


def ask(fn, *_):
    return fn(X)


# -- state ------------------------------------------------------------------------------------------


def two():
    return tg.Parameter(np.ones(3)), tg.Parameter(np.full(3, 2.0))


def test_what_one_parameter_took_from_another_stays_when_that_changes(backend):
    def make():
        a, b = two()

        def f(x):
            a.assign(b)
            b.assign(a * x)
            return a + 0, b + 0

        return f, a, b

    agree(make, [ask] * 4, backend)


def test_swapped_parameters(backend):
    def make():
        a, b = two()

        def f(x):
            before = a.detach()
            a.assign(b)
            b.assign(before)
            return a * x

        return f, a, b

    agree(make, [ask] * 3, backend)


def test_a_copy_taken_before_an_assignment_is_the_old_value(backend):
    def make():
        a, _ = two()

        def f(x):
            old = np.copy(a)
            a.assign(a * x)
            return old, old * x

        return f, a

    agree(make, [ask] * 3, backend)


def test_what_was_computed_outside_is_a_constant(backend):
    def make():
        w = tg.Parameter(np.ones(3))
        y = w * 2
        return lambda x: y * x, w

    agree(make, [ask, lambda f, w: w.assign(X), ask], backend)


def test_a_gradient_that_has_a_history_is_state(backend):
    def make():
        w = tg.Parameter(np.ones(3))
        tg.sum(w**3).backward(create_graph=True)
        return lambda x: w.grad * x, w

    def other(f, w):
        w.grad = tg.tensor(X)
        return f(X)

    agree(make, [ask, ask, other], backend)


@pytest.mark.parametrize("backend", BACKENDS[:2])  # JAX's first run is a rehearsal, which leaves nothing
def test_a_run_that_failed_leaves_gradients_that_add_up(backend):
    def make():
        w, fails = tg.Parameter(np.ones(3)), [True]

        def f(x):
            tg.sum(w * x).backward()
            if fails.pop() if fails else False:
                raise KeyError
            return w.grad

        return f, w

    def failing(f, w):
        with pytest.raises(KeyError):
            f(X)
        assert w.grad.node is None

    agree(make, [failing, ask, ask, ask], backend)


def test_whether_there_is_a_gradient_is_asked_again(backend):
    def make():
        w = tg.Parameter(np.ones(3))
        return lambda x: x if w.grad is None else x * 2, w

    def given(f, w):
        w.grad = tg.tensor(X)
        return f(X)

    def taken(f, w):
        w.grad = None
        return f(X)

    agree(make, [given, taken, given, taken], backend)


def test_the_dtype_of_what_is_only_written_is_seen(backend):
    def make():
        w = tg.Parameter(np.ones(3))
        return lambda i: w.assign(i), w

    def integers(f, w):
        f(np.array([1, 2, 3]))
        return w

    agree(make, [integers, integers, lambda f, w: w.assign(X.astype(np.float32)), integers], backend)


@pytest.mark.parametrize("shared", ["with another", "a parameter", "an array"])
def test_a_gradient_that_is_not_its_own_is_refused(shared):
    p, q = two()
    p.grad = {"with another": tg.tensor(X), "a parameter": q, "an array": X}[shared]
    q.grad = p.grad if shared == "with another" else None
    with pytest.raises(TraceError, match="of its own"):
        tg.compile(lambda x: (p.grad * x, q.grad), backend="numpy")(X)


def test_an_argument_put_into_grad_becomes_state(backend):
    def make():
        p = tg.Parameter(np.ones(3))

        def f(x):
            p.grad = x if p.grad is None else p.grad * x
            return p.grad

        return f, p

    agree(make, [ask] * 4, backend)


def test_many_assignments_of_one_parameter_cost_in_proportion():
    w = tg.Parameter(np.array(0.0))

    def f(x):
        for _ in range(4000):
            w.assign(w + x)
        return w

    fast = tg.compile(f, backend="numpy", exact=True)
    assert [fast(np.array(1.0)).item() for _ in range(2)] == [4000, 8000]


@pytest.mark.parametrize("use", [lambda w: tg.Parameter(np.zeros(3)), copy.copy, copy.deepcopy])
def test_a_parameter_made_inside_is_refused(use):
    w = tg.Parameter(np.ones(3))
    with pytest.raises(TraceError):
        tg.compile(lambda x: use(w) * x, backend="numpy")(X)


def test_an_argument_that_is_changed_is_refused():
    w = tg.Parameter(np.ones(3), requires_grad=False)

    def f(p, x):
        w.assign(w + x)
        return p * w

    with pytest.raises(TraceError, match="argument"):
        tg.compile(f, backend="numpy")(w, X)
    assert tg.compile(f, backend="numpy")(w.detach(), X).shape == (3,)


# -- flags -------------------------------------------------------------------------------------------


def test_modes_that_a_function_sets_are_set_by_the_code(backend):
    net = tg.nn.Sequential(tg.nn.Linear(3, 3, rng=0), tg.nn.Dropout(0.5, rng=0))

    @tg.compile(backend=backend)
    def score(x):
        net.eval()
        return net(x)

    for _ in range(4):
        net.train()
        score(X)
        assert not net.training
    assert "1 program" in repr(score)


def test_modes_that_are_put_back_make_one_program(backend):
    net = tg.nn.Sequential(tg.nn.Linear(3, 3, rng=0), tg.nn.Dropout(0.5, rng=0))

    @tg.compile(backend=backend)
    def score(x):
        net.eval()
        y = net(x)
        net.train()
        return y

    for _ in range(4):
        score(X)
    assert net.training
    assert "1 program" in repr(score)


def test_requires_grad_that_a_function_sets_is_set_by_the_code(backend):
    w = tg.Parameter(np.ones(3))

    @tg.compile(backend=backend)
    def freeze(x):
        w.requires_grad = False
        return w * x

    for _ in range(4):
        w.requires_grad = True
        freeze(X)
        assert not w.requires_grad
    assert "1 program" in repr(freeze)


# -- draws -------------------------------------------------------------------------------------------


def test_a_draw_that_nobody_uses_moves_its_generator_on(backend):
    def make():
        rng = np.random.default_rng(1)

        def f(x):
            tg.random.normal((3,), rng=rng)
            return x * tg.random.normal((3,), rng=rng)

        return (f,)

    agree(make, [ask] * 4, backend)


def test_a_seed_draws_the_same_each_time(backend):
    agree(lambda: (lambda x: x * tg.random.uniform((3,), rng=5),), [ask] * 3, backend)


# -- arguments and results -------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [3, -1, -7])
def test_classes_out_of_range_are_refused_in_every_call(wrong, backend):
    fast = tg.compile(lambda x, y: tg.cross_entropy(x, y), backend=backend)
    z = np.ones((2, 3))
    for _ in range(2):
        fast(z, np.array([0, 2]))
    with pytest.raises(IndexingError, match=f"class {wrong} is not in"):
        fast(z, np.array([0, wrong]))


READS = {
    "getitem": lambda x, i: x[i],
    "set_at": lambda x, i: tg.set_at(x, i, 0.0),
    "add_at": lambda x, i: tg.add_at(x, i, 1.0),
    "computed": lambda x, i: x[i + 0],
}


@pytest.mark.parametrize("read", READS)
def test_indices_out_of_range_are_refused_in_every_call(read, backend):
    fast = tg.compile(READS[read], backend=backend)
    x = np.arange(200.0)
    for _ in range(2):
        fast(x, np.array([0, -199, 199]))
    for wrong in (200, -201):
        with pytest.raises(IndexingError, match="out of"):
            fast(x, np.array([0, 1, wrong]))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64])
def test_indices_of_every_dtype_are_right(dtype, backend):
    fast = tg.compile(lambda x, i: x[i], backend=backend)
    for _ in range(2):
        assert fast(np.arange(200.0), np.array([0, 1, 127], dtype)).tolist() == [0, 1, 127]


def test_a_mask_that_is_state_is_refused():
    mask = tg.Parameter(np.array([True, False, True]), requires_grad=False)
    with pytest.raises(TraceError, match="mask"):
        tg.compile(lambda x: x[mask], backend="numpy")(X)


def test_numbers_that_numpy_refuses_are_refused(backend):
    small = np.array([1, 2, 3], np.uint8)
    times = tg.compile(lambda x, n: x * n, backend=backend)
    assert [times(small, n).tolist() for n in (2, 3)] == [[2, 4, 6], [3, 6, 9]]
    for n in (300, -1, 2**70):
        with pytest.raises(DTypeError):
            times(small, n)
    power = tg.compile(lambda x, n: x**n, backend=backend)
    assert [power(np.array([1, 2, 3]), n).tolist() for n in (2, 3)] == [[1, 4, 9], [1, 8, 27]]
    with pytest.raises(DTypeError):
        power(np.array([1, 2, 3]), -1)


def test_numbers_beyond_64_bits_are_as_in_numpy(backend):
    times = tg.compile(lambda x, n: x * n, backend=backend)
    for dtype in (np.float64, np.float32):
        for n in (2, 2**40, 2**70):
            got = times(X.astype(dtype), n)
            assert got.dtype == dtype
            assert got.tolist() == (X.astype(dtype) * n).tolist()


def test_a_number_that_is_returned_stays_weak(backend):
    product = tg.compile(lambda a, b: a * b, backend=backend)
    for _ in range(3):
        assert tg.mul(np.ones(2, np.float32), product(2.0, 3.0)).dtype == np.float32


MIXED = [
    (lambda x, y: x * y, np.float32, np.int64),
    (lambda x, y: x < y, np.float32, np.int64),
    (lambda x, y: x // (y - y), np.int64, np.int64),
    (lambda x, y: tg.exp(x > 0) + y, np.float64, np.float16),
    (lambda x, y: tg.mean(x > 0) + y, np.float32, np.float32),
]


@pytest.mark.parametrize("case", MIXED, ids=range(len(MIXED)))
def test_dtypes_promote_as_in_numpy(case, backend):
    fn, *dtypes = case
    big = 100 if np.float16 in dtypes else 2**24 + 1
    x, y = (np.array([1, big, 3]).astype(d) for d in dtypes)
    with np.errstate(all="ignore"):
        expected = fn(tg.tensor(x), tg.tensor(y))
    fast = tg.compile(fn, backend=backend)
    for _ in range(2):
        with np.errstate(all="ignore"):
            got = fast(x, y)
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-6)


def test_structures_of_equal_names_are_not_the_same():
    first = collections.namedtuple("Pair", "a b")
    second = collections.namedtuple("Pair", "c d")
    swap = tg.compile(lambda pair: type(pair)(pair[1], pair[0]), backend="numpy")
    for kind in (first, second, first, second):
        assert type(swap(kind(X, X))) is kind

    class Key:
        def __init__(self, n):
            self.n = n

        def __repr__(self):
            return "Key"

    scale = tg.compile(lambda tree: [v * k.n for k, v in tree.items()], backend="numpy")
    assert [scale({Key(n): X})[0].tolist()[0] for n in (1, 5)] == [1, 5]


def test_no_program_keeps_what_was_recorded(backend):
    kept = []

    def f(x):
        y = tg.exp(x)
        kept.append(weakref.ref(y._data))
        return tg.sum(y)

    fast = tg.compile(f, backend=backend)
    fast(np.ones((50, 50)))
    gc.collect()
    assert kept[0]() is None


class Layer(tg.nn.Module):
    def __init__(self):
        self.w = tg.Parameter(np.ones(3))

    @tg.compile(backend="numpy")
    def forward(self, x):
        return self.w * x


def test_a_compiled_method_goes_with_its_instance():
    layers = [Layer() for _ in range(3)]
    for layer in layers:
        layer(X)
        layer(X)
    assert "1 program" in repr(layers[0].forward)
    assert "parameter * x" in layers[0].forward.source
    twin = copy.deepcopy(layers[0])
    twin.w.assign(X)
    assert [layers[0](X).tolist(), twin(X).tolist(), twin(X).tolist()] == [[1, 2, 3], [1, 4, 9], [1, 4, 9]]
    assert list(twin.state_dict()) == ["w"]
    gone = [weakref.ref(layer) for layer in layers]
    del layers, layer
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_first_calls_at_the_same_time(backend):
    fast = tg.compile(tg.vjp_fn(lambda x, w: tg.mean((x * w) ** 2)), backend=backend)
    start, wrong = threading.Barrier(8), []

    def work(seed):
        rng = np.random.default_rng(seed)
        start.wait()
        for _ in range(20):
            n = int(rng.integers(1, 6))
            x, w = rng.normal(size=(n, 3)), rng.normal(size=3)
            y, (dx, dw) = fast(x, w, 1.0)
            count = 3 * n
            for got, expected in (
                (y, np.mean((x * w) ** 2)),
                (dx, 2 * x * w * w / count),
                (dw, 2 * np.sum(x * x * w, 0) / count),
            ):
                if not np.allclose(got.numpy(), expected):
                    wrong.append(n)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert "5 programs" in repr(fast)
