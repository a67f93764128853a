"""What a compiled JAX step writes stays on the device until it is read, and is then what eager training has."""

import copy
import pickle
import threading

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core import held as held_module
from tinygraph.core.held import held, hold
from tinygraph.core.tensor import describe, make
from tinygraph.errors import ArgumentError, DeviceError

jax = pytest.importorskip("jax")
backend = pytest.importorskip("tinygraph.lower.jax")
JaxBackend = backend.JaxBackend


@pytest.fixture
def fetches(monkeypatch):
    """Every fetch from a device, as it happens."""
    seen, original = [], held_module._demand_here
    monkeypatch.setattr(held_module, "_demand_here", lambda t: (seen.append(t), original(t)))
    return seen


def network(dtype=np.float64):
    """A model, its optimiser, and a step of training, which draws."""
    layers = [tg.nn.Linear(4, 8, rng=0, dtype=dtype), tg.nn.BatchNorm(8, dtype=dtype), tg.nn.ReLU()]
    model = tg.nn.Sequential(*layers, tg.nn.Linear(8, 3, rng=1, dtype=dtype))
    optimizer, rng = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), np.random.default_rng(5)

    def step(x, classes):
        optimizer.zero_grad()
        noise = tg.random.normal(x.shape, rng=rng, dtype=dtype)
        loss = tg.cross_entropy(model(x + 0.1 * noise), classes)
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


def batches(count, dtype=np.float64):
    rng = np.random.default_rng(1)
    return [(rng.normal(size=(16, 4)).astype(dtype), rng.integers(0, 3, 16)) for _ in range(count)]


def state_of(model, optimizer):
    grads = {f"grad {name}": p.grad for name, p in model.named_parameters()}
    return model._state() | optimizer._state() | grads


def is_held(t):
    return isinstance(t._held, jax.Array) and not held_module._has_data(t)


@pytest.fixture(scope="module")
def plain():
    """A compiled function of state and argument that several tests call: w becomes w - x, the sum is returned."""
    w = tg.Parameter(np.zeros(3), name="w")

    def f(x):
        w.assign(w - x)
        return tg.sum(w)

    return w, tg.compile(f, backend="jax")


def test_nothing_is_fetched_from_step_to_step(fetches):
    model, optimizer, step = network()
    fast = tg.compile(step, backend="jax")
    losses = [fast(*batch) for batch in batches(4)]
    assert not fetches
    assert all(map(is_held, losses))
    state = state_of(model, optimizer)
    stays = [name for name, t in state.items() if not is_held(t)]
    assert stays == ["lr"]  # which no step writes
    for t in state.values():
        assert (t.shape, t.ndim, t.size, describe(t), t.dtype) is not None
    assert not fetches


@pytest.mark.parametrize(("dtype", "near"), [(np.float32, 2e-5), (np.float64, 1e-12)], ids=["float32", "float64"])
@pytest.mark.parametrize("donate", [False, True], ids=["kept", "donated"])
def test_every_step_agrees_with_eager(dtype, near, donate):
    (mine, my_optimizer, step), (other, its_optimizer, eager) = network(dtype), network(dtype)
    fast = tg.compile(step, backend=JaxBackend(donate=donate))
    for batch in batches(6, dtype):
        loss, expected = fast(*batch), eager(*batch)
        assert abs(loss.item() - expected.item()) <= near * abs(expected.item())
        found = state_of(mine, my_optimizer)
        for name, right in state_of(other, its_optimizer).items():
            got = found[name]
            assert (got.shape, got.dtype) == (right.shape, right.dtype)
            scale = np.max(np.abs(right.numpy()), initial=1e-3)
            np.testing.assert_allclose(got.numpy(), right.numpy(), rtol=0, atol=near * scale, err_msg=name)
        for name, right in other._state().items():  # the next step of both begins at the same place
            mine._state()[name].assign(right)
        for name, right in its_optimizer._state().items():
            my_optimizer._state()[name].assign(right)


def test_the_first_read_fetches_once(plain, fetches):
    w, fast = plain
    fast(np.arange(3.0))
    start, found = threading.Barrier(8), []

    def read():
        start.wait()
        found.append(w.numpy())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetches) == 1
    assert len({a.__array_interface__["data"][0] for a in found}) == 1
    assert isinstance(held(w), jax.Array)  # the next call takes it from the device


def test_an_assignment_in_between_counts(plain):
    w, fast = plain
    fast(np.ones(3))
    w.assign(np.array([1.0, 2.0, 3.0]))
    assert w._held is None
    assert fast(np.ones(3)).item() == 3.0
    assert (w * 2).tolist() == [0.0, 2.0, 4.0]


def test_a_result_is_an_argument(plain, fetches):
    w, fast = plain
    w.assign(np.zeros(3))
    x = tg.compile(lambda x: x * 2.0, backend="jax")(np.ones(3))
    fast(x)
    fast(x)
    assert not fetches
    assert w.tolist() == [-4.0] * 3


def test_copies_and_pickles_have_the_values(plain):
    w, fast = plain
    w.assign(np.zeros(3))
    fast(np.ones(3))
    for twin in (pickle.loads(pickle.dumps(w)), copy.deepcopy(w), copy.copy(w)):
        assert type(twin) is tg.Parameter
        assert twin._held is None
        assert twin.tolist() == [-1.0] * 3
    result = fast(np.ones(3))
    assert repr(pickle.loads(pickle.dumps(result))) == repr(result) == "tensor(-6.)"


def test_a_held_state_in_other_backends(plain):
    w, fast = plain
    w.assign(np.ones(3))
    fast(np.ones(3))
    assert tg.compile(lambda x: x + w, backend="numpy")(np.ones(3)).tolist() == [1.0] * 3
    x = fast(np.ones(3))
    assert tg.compile(lambda x: x * x, backend="numpy")(x).item() == 9.0


def test_checkpoints_hold_what_the_device_has(tmp_path):
    (model, optimizer, step), (twin, its, _) = network(), network()
    fast = tg.compile(step, backend="jax")
    for batch in batches(2):
        fast(*batch)
    tg.checkpoint.save(tmp_path / "a.safetensors", model=model, optimizer=optimizer)
    found = tg.checkpoint.load(tmp_path / "a.safetensors")
    twin.load_state_dict(found["model"])
    its.load_state_dict(found["optimizer"])
    for name, p in model._state().items():
        np.testing.assert_array_equal(twin._state()[name].numpy(), p.numpy())


# -- the first call -----------------------------------------------------------------------------------


def test_the_first_call_is_rehearsed_on_zeros_and_leaves_no_trace(fetches):
    rng = np.random.default_rng(3)
    w = hold(tg.Parameter(np.zeros(3)), jax.numpy.arange(3.0, dtype="float32"))
    x = hold(make(None), jax.numpy.full(3, 5.0, dtype="float32"))
    seen = []

    def f(x):
        seen.append(x._data.tolist())
        w.grad = None
        y = tg.sum(w * tg.log(x)) + tg.random.normal((), rng=rng, dtype=np.float32)
        y.backward()
        w.assign(w - w.grad)
        return y

    result = tg.compile(f, backend="jax")(x)
    assert seen == [[0.0, 0.0, 0.0]]
    assert not fetches
    expected = 3 * np.log(np.float32(5)) + np.random.default_rng(3).standard_normal((), np.float32)
    np.testing.assert_allclose(result.item(), expected, rtol=1e-6)
    np.testing.assert_allclose(w.numpy(), np.arange(3) - np.log(np.float32(5)), rtol=1e-6)


def test_a_first_call_that_fails_leaves_everything_as_it_was():
    layer, rng = tg.nn.BatchNorm(2), np.random.default_rng(0)
    before = rng.bit_generator.state, layer.running_mean.tolist()

    def f(x):
        tg.sum(layer(x + tg.random.normal(x.shape, rng=rng))).backward()
        layer.eval()
        raise KeyError

    with pytest.raises(KeyError):
        tg.compile(f, backend="jax")(np.ones((3, 2)))
    assert (rng.bit_generator.state, layer.running_mean.tolist()) == before
    assert layer.training
    assert layer.weight.grad is None


# -- donation -----------------------------------------------------------------------------------------


def test_donated_state_is_gone_and_says_so():
    w = tg.Parameter(np.ones(1000), name="w")

    def f(x):
        old = w.detach()
        w.assign(w * x)
        return tg.sum(old)

    fast = tg.compile(f, backend=JaxBackend(donate=True))
    assert [fast(2.0).item() for _ in range(3)] == [1000.0, 2000.0, 4000.0]
    before = hold(make(None), held(w))
    before.name = "before"
    assert fast(2.0).item() == 8000.0
    with pytest.raises(DeviceError, match=r"values\(float64\[1000\] before\): .*donate=True"):
        before.numpy()
    assert w.numpy()[0] == 16.0


def test_two_parameters_may_get_the_same_value_and_are_donated():
    v, w = tg.Parameter(np.ones(3)), tg.Parameter(np.ones(3))

    def f(x):
        v.assign(v + w * x)
        w.assign(v)
        return v

    fast = tg.compile(f, backend=JaxBackend(donate=True))
    results = [fast(1.0).tolist() for _ in range(4)]
    assert results == [[2.0] * 3, [4.0] * 3, [8.0] * 3, [16.0] * 3]
    assert v.tolist() == w.tolist() == [16.0] * 3


def test_without_donation_old_values_live():
    w = tg.Parameter(np.ones(3))

    def f(x):
        w.assign(w * x)

    fast = tg.compile(f, backend="jax")
    fast(2.0)
    before = hold(make(None), held(w))
    fast(2.0)
    assert (before.tolist(), w.tolist()) == ([2.0] * 3, [4.0] * 3)


# -- training -----------------------------------------------------------------------------------------


def trainer(compiled):
    model = tg.nn.mlp(4, [8], 3, batch_norm=True, rng=0)
    return tg.train.Trainer(model, tg.optim.SGD(model.parameters(), lr=0.1), tg.cross_entropy, rng=0, compile=compiled)


def test_a_trainer_on_jax_is_resumed(tmp_path):
    rng = np.random.default_rng(2)
    data = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    options = {"batch_size": 20, "verbose": 0}
    expected = trainer(False).fit(data, epochs=4, **options)
    path = tmp_path / "run.safetensors"
    trainer(JaxBackend()).fit(data, epochs=2, checkpoint=path, **options)
    found = trainer("jax").fit(data, epochs=4, checkpoint=path, resume=True, **options)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-11)
    assert found.train["accuracy"] == expected.train["accuracy"]


def test_a_step_into_nan_is_put_back():
    rng = np.random.default_rng(2)
    data = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    data[0][-1] = np.nan
    run = trainer("jax")
    with pytest.raises(tg.errors.AnomalyError, match="loss is nan"):
        run.fit(data, epochs=1, batch_size=20, verbose=0)
    assert all(np.isfinite(p.numpy()).all() for p in run.model.parameters())
    with pytest.raises(ArgumentError, match="stop_on_nan=False"):
        trainer(JaxBackend(donate=True)).fit(data, epochs=1, verbose=0)
