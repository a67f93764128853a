"""The JAX backend where JAX is not NumPy: borrowed memory, indices, precision, shardings, export, errors."""

import sys
import threading
import time

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.held import held, hold
from tinygraph.core.tensor import make
from tinygraph.errors import ArgumentError, DTypeError, IndexingError, MissingExtra

jax = pytest.importorskip("jax")
backend = pytest.importorskip("tinygraph.lower.jax")
JaxBackend = backend.JaxBackend
P = jax.sharding.PartitionSpec


def on_jax(fn, **options):
    return tg.compile(fn, backend=JaxBackend(**options))


# -- memory of the caller ----------------------------------------------------------------------------


def test_a_batch_may_be_overwritten_after_the_call():
    fast = on_jax(lambda x: tg.sum(x * x))
    batch = np.ones(3_000_000)
    results = []
    for k in range(6):
        batch[:] = k
        results.append(fast(batch))
        batch[:] = -1e6
    assert [r.item() for r in results] == [3e6 * k * k for k in range(6)]


def test_state_in_main_memory_may_be_assigned_after_the_call():
    w = tg.Parameter(np.ones(1_000_000))
    fast = on_jax(lambda x: tg.sum(w * x))
    results = []
    for k in range(4):
        w.assign(np.full(1_000_000, float(k)))
        results.append(fast(1.0))
    assert [r.item() for r in results] == [1e6 * k for k in range(4)]


def test_results_do_not_share_memory():
    fast = on_jax(lambda x: (x, x * 1.0, tg.reshape(x, (3, 1))))
    x = np.arange(3.0)
    fast(x)
    arrays = [t.numpy() for t in fast(x)] + [x]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    assert all(t.numpy() is not t.numpy() and not t.numpy().flags.writeable for t in fast(x))


# -- indices and numbers -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows():
    return on_jax(lambda x, k: tg.take(x, k, axis=0))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8])
def test_an_index_out_of_range_is_an_error_on_the_spot(rows, dtype):
    x = np.arange(6.0).reshape(3, 2)
    assert rows(x, np.array([2, 0], dtype)).tolist() == [[4, 5], [0, 1]]
    for wrong in (3, 100) + ((-4,) if np.dtype(dtype).kind == "i" else ()):
        with pytest.raises(IndexingError, match=r"out of range; use -3 to 2"):
            rows(x, np.array([0, wrong], dtype))
    with pytest.raises(IndexingError, match=r"out of range; use -3 to 2"):
        rows(x, hold(make(None), jax.numpy.array([0, 7], "int32")))


def test_a_narrow_index_counts_a_long_axis(rows):
    x = np.arange(300.0)
    for index in (np.array([-1, 5], np.int8), np.array([255, 0], np.uint8)):
        assert rows(x, index).tolist() == x[index].tolist()


def test_an_index_that_is_computed_is_looked_at_too():
    fast = on_jax(lambda x, k: tg.sum(tg.take(x, k + 1, axis=0)))
    x = np.arange(3.0)
    assert [fast(x, np.array([k])).item() for k in (0, 1, -1)] == [1, 2, 0]
    with pytest.raises(IndexingError, match="out of range"):
        fast(x, np.array([2]))


@pytest.mark.parametrize("donate", [False, True], ids=["kept", "donated"])
def test_a_refused_call_writes_nothing(donate):
    w = tg.Parameter(np.zeros(3))

    def f(k):
        w.assign(tg.add_at(w, k * 1, 1.0))

    fast = on_jax(f, donate=donate)
    fast(np.array([0, 2]))
    for _ in range(2):
        with pytest.raises(IndexingError):
            fast(np.array([0, 3]))
    assert w.tolist() == [1, 0, 1]


def test_a_step_does_not_wait_for_what_is_known_before(rows):
    assert rows._latest.kernel._within == []
    model = tg.nn.mlp(4, [8], 3, batch_norm=True, rng=0)

    def step(x, classes):
        loss = tg.cross_entropy(model(x), classes)
        loss.backward()
        return loss

    fast = on_jax(step)
    x, classes = np.ones((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    fast(x, classes)
    assert fast._latest.kernel._within == []


def test_labels_are_looked_at_in_each_call():
    fast = on_jax(tg.cross_entropy)
    logits, classes = np.ones((6, 3)), np.array([0, 1, 2, 0, 1, 2])
    fast(logits, classes)
    for wrong in (classes + 1, hold(make(None), jax.numpy.array(classes + 1, "int32")), classes - 1):
        with pytest.raises(IndexingError, match=r"class (3|-1) is not in 0"):
            fast(logits, wrong)
    assert fast(logits, classes).item() == pytest.approx(np.log(3))


def test_lowered_alone_an_index_out_of_range_gives_nan():
    graph = tg.trace(lambda x, k: tg.take(x, k, axis=0), np.arange(3.0), np.array([0, 1]))
    with jax.enable_x64(True):
        (found,) = map(np.asarray, jax.jit(backend.lower(graph))(np.arange(3.0), np.array([-3, 3])))
    assert found[0] == 0
    assert np.isnan(found[1])


@pytest.mark.parametrize("labels", [np.int64, np.int32, np.uint8])
def test_labels_of_any_width(labels):
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    classes = np.array([0, 2, 1, 2], labels)
    found = on_jax(tg.value_and_grad(tg.cross_entropy))(logits, classes)
    expected = tg.value_and_grad(tg.cross_entropy)(logits, classes)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5)


def test_wide_integers_are_not_narrowed():
    fast = on_jax(lambda n: n * 3)
    assert [fast(np.array([2**40, -7])).tolist() for _ in range(2)] == [[3 * 2**40, -21]] * 2


# -- options -----------------------------------------------------------------------------------------


def test_precision_is_said_to_every_product():
    x = np.ones((2, 2), np.float32)
    for precision, word in ((None, None), ("highest", "HIGHEST"), ("high", "Precision.HIGH")):
        fast = on_jax(lambda x: x @ x, precision=precision)
        fast(x)
        assert word in fast.source if word else "HIGH" not in fast.source
        assert fast(x).tolist() == [[2, 2], [2, 2]]


def test_an_unknown_precision_is_refused():
    with pytest.raises(ArgumentError, match=r"JaxBackend\(precision='best'\): unknown; write one of 'default', 'high'"):
        JaxBackend(precision="best")


# -- shardings, on a mesh of one device ---------------------------------------------------------------


@pytest.fixture
def mesh():
    axis = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((1,), ("batch",), axis_types=axis, devices=jax.devices()[:1])


def placed(t, mesh, *spec):
    with jax.enable_x64(True):
        return hold(t, jax.device_put(t.numpy(), jax.sharding.NamedSharding(mesh, P(*spec))))


@pytest.fixture
def described():
    seen = []
    backend.on_compile.append(seen.append)
    yield seen
    backend.on_compile.remove(seen.append)


def test_state_stays_where_it_was(mesh, described):
    w = placed(tg.Parameter(np.ones((4, 2)), name="w"), mesh, None, "batch")
    b = placed(tg.Parameter(np.zeros(2), name="b"), mesh)
    constant = np.array([1.0, 2.0])
    model = tg.optim.SGD([w, b], lr=0.5)

    def step(x):
        model.zero_grad()
        loss = tg.mean((x @ w + b - constant) ** 2)
        loss.backward()
        model.step()
        return loss, x @ w

    fast = on_jax(step)
    x = placed(tg.tensor(np.arange(12.0).reshape(3, 4)), mesh, "batch")
    for _ in range(3):
        loss, y = fast(x)
        w.numpy()  # a look does not move it
        assert held(w).sharding.spec == held(w.grad).sharding.spec == P(None, "batch")
        assert [held(t).sharding.spec for t in (b, b.grad, loss, y)] == [P()] * 4
    (first, *others) = described
    assert len(others) <= 1  # the optimiser's own numbers are on the mesh from the second step on
    lines = first.splitlines()
    assert lines[0] == f"jax {jax.__version__}, numpy {np.__version__}"
    assert lines[1].startswith("x: float64[3,4] NamedSharding(")
    assert any(line.startswith("w: float64[4,2] NamedSharding(") for line in lines)
    assert any("sha256 " in line for line in lines)
    assert "matmul" in fast._latest.kernel.compiled_text() or "dot" in fast._latest.kernel.compiled_text()


def test_what_a_listener_refuses_is_not_run(described):
    def refuse(text):
        raise RuntimeError("differs")

    w = tg.Parameter(np.zeros(2))
    backend.on_compile.append(refuse)
    try:
        fast = on_jax(lambda x: w.assign(w + x))
        with pytest.raises(RuntimeError, match="differs"):
            fast(np.ones(2))
    finally:
        backend.on_compile.remove(refuse)
    assert w.tolist() == [0, 0]
    fast(np.ones(2))
    assert w.tolist() == [1, 1]
    assert len(described) == 2


# -- export ------------------------------------------------------------------------------------------


def test_an_export_comes_back_exactly():
    pytest.importorskip("flatbuffers")
    w = tg.Parameter(np.random.default_rng(1).normal(size=(4, 3)))

    def f(x):
        return tg.softmax(x @ w), tg.sum(tg.exp(x))

    x = np.random.default_rng(0).normal(size=(5, 4))
    expected = tg.compile(f, backend="jax")(x)
    for platforms, near in ((("cpu",), 0), (("cpu", "cuda", "tpu"), 3e-8)):
        exported = backend.export(f, x, platforms=platforms)
        assert exported.platforms == platforms
        again = jax.export.deserialize(exported.serialize())
        with jax.enable_x64(True):
            found = again.call(x)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(np.asarray(a), b.numpy(), rtol=near, atol=0)


def test_draws_are_not_exported():
    with pytest.raises(ArgumentError, match=r"export: random_normal\(float64\[2\]\) .*as an argument"):
        backend.export(lambda x: x + tg.random.normal((2,), rng=0), np.ones(2))


def test_what_writes_state_is_not_exported_and_writes_nothing():
    w = tg.Parameter(np.ones(2), name="w")

    def f(x):
        w.assign(w + x)
        return tg.sum(w)

    with pytest.raises(ArgumentError, match=r"export: the function writes to float64\[2\] w; return the new values"):
        backend.export(f, np.ones(2))
    assert w.tolist() == [1, 1]


def test_an_export_without_flatbuffers_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(MissingExtra, match="pip install flatbuffers"):
        backend.export(tg.exp, np.ones(2))


# -- errors ------------------------------------------------------------------------------------------


def test_what_jax_cannot_do_is_said_at_the_first_call():
    with pytest.raises(DTypeError, match=r"JAX has no (float128|longdouble|float96); cast with .astype"):
        on_jax(lambda x: x * x)(np.ones(2, np.longdouble))
    with pytest.raises(DTypeError, match=r"compile\(backend='jax'\): argmax: JAX does not order complex numbers; cast"):
        on_jax(tg.argmax)(np.ones(2, complex))


def test_jax_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "tinygraph.lower.jax")
    with pytest.raises(MissingExtra, match=r'pip install "tinygraph\[jax\]"'):
        __import__("tinygraph.lower.jax")


# -- threads -----------------------------------------------------------------------------------------


def test_one_compilation_for_many_threads(described, request):
    backend.on_compile.append(slow := lambda text: time.sleep(0.05))
    request.addfinalizer(lambda: backend.on_compile.remove(slow))
    fast = on_jax(lambda x, w: tg.sum(tg.sin(x) * w))
    x, start, found = np.arange(50.0), threading.Barrier(8), []

    def work(k):
        start.wait()
        found.extend((k, fast(x, float(k)).item()) for _ in range(20))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert len({(k, value) for k, value in found}) == 8
    np.testing.assert_allclose([v for _, v in found], [np.sin(x).sum() * k for k, _ in found], rtol=1e-12)
    assert len(described) == 1


def test_values_that_are_on_no_mesh_are_described(described):
    for value in (1.0, 2.0):
        on_jax(lambda x: x + 1)(np.full(3, value))
    first, second = described
    assert first != second


def test_an_option_object_is_due_not_its_class():
    with pytest.raises(tg.errors.ArgumentError, match="give an object with build"):
        tg.compile(lambda x: x, backend=backend.JaxBackend)


def test_one_platform_may_be_a_word():
    pytest.importorskip("flatbuffers", reason="flatbuffers is not installed")
    assert tuple(backend.export(lambda x: x + 1, np.ones(2), platforms="cpu").platforms) == ("cpu",)


def test_a_python_integer_beyond_64_bits():
    assert float(on_jax(lambda n, x: x * n)(2**70, np.float64(2.0))) == 2.0**71
