"""Compiled and eager agree, through the public door: every backend, values, gradients, second order, errors, training."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from support import examples
from support.rounding import within_rounding

import tinygraph as tg
from tinygraph.errors import ArgumentError, MissingExtra, TinygraphError
from tinygraph.testing.derived import Derived
from tinygraph.testing.programs import programs
from tinygraph.testing.rounding import truth

BACKENDS = [
    pytest.param(
        name, marks=pytest.mark.skipif(not importlib.util.find_spec(needs), reason=f"{needs} is not installed")
    )
    for name, needs in (("numpy", "numpy"), ("numba", "numba"), ("jax", "jax"))
]


def flat(result):
    out, cotangents = result
    return [out, *cotangents]


def twice(fn, *args, **options):
    """The result of the first call, which records, and of the second, which runs the code."""
    fast = tg.compile(fn, **options)
    return fast(*args), fast(*args)


@given(programs(max_ops=8, inputs=3))
@examples(2000)
def test_exact_numpy_gives_every_bit(program):
    args = (*program.inputs, program.cotangent(program.shape))
    recorded, found = twice(tg.vjp_fn(program), *args, backend="numpy", exact=True)
    # A fused op is compiled as the composite that it replaces, which is what the recorded run did.
    fused = any(name == "fused" for name, *_ in program.instructions)
    for expected in [recorded] if fused else [recorded, tg.vjp_fn(program)(*args)]:
        for a, b in zip(flat(found), flat(expected), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@given(programs(max_ops=8, inputs=3))
@examples(200)
def test_numpy_with_all_passes_is_right_within_rounding(program):
    check(program, "numpy")


@pytest.mark.parametrize("backend", BACKENDS[1:])
@given(program=programs(max_ops=5, inputs=2))
@examples(10)  # each is compiled for the machine
def test_other_backends_are_right_within_rounding(backend, program):
    check(program, backend)


def check(program, backend):
    dy = program.cotangent(program.shape)
    both = Derived(program, program.inputs, dy, range(program.count))
    exact = truth(both, np.finfo(np.float64).eps / 2)
    for found in twice(tg.vjp_fn(program), *program.inputs, dy, backend=backend):
        within_rounding([np.asarray(t._data) for t in flat(found)], exact)


@given(programs(max_ops=5, inputs=1))
@examples(60)
def test_second_order(program):
    def slope(x):
        return tg.sum(tg.grad(lambda x: tg.sum(program(x)))(x) ** 2)

    (x,) = program.inputs
    expected = tg.grad(slope)(x)
    for found in twice(tg.grad(slope), x, backend="numpy", exact=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


WRONG = [
    (lambda x, y: x @ y, np.ones((2, 3)), np.ones((2, 3))),
    (lambda x, y: x + y, np.ones(2), np.ones(3)),
    (lambda x, y: tg.reshape(x, (5,)), np.ones(4), 1.0),
    (lambda x, y: x[7], np.ones(4), 1.0),
    (lambda x, y: tg.sum(x, axis=3), np.ones(4), 1.0),
    (lambda x, y: tg.cross_entropy(x, y), np.ones((2, 3)), np.array([0.5, 1.5])),
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_errors_are_those_of_the_eager_engine(wrong):
    fn, *args = wrong
    with pytest.raises(TinygraphError) as eager:
        fn(tg.tensor(args[0]), tg.tensor(args[1]))
    with pytest.raises(type(eager.value)):
        tg.compile(fn, backend="numpy")(*args)


NETWORKS = {
    "weight_scales_mnist": lambda: tg.nn.mlp(16, [10] * 5, 4, batch_norm=True, weight_scale=0.3, rng=0),
    "weight_scale_sweep": lambda: tg.nn.mlp(16, [6] * 7, 4, weight_scale=0.3, rng=0),
    "placement": lambda: tg.nn.mlp(16, [8, 8], 4, batch_norm="fused", norm_position="after", activation="sigmoid", rng=0),
    "dropout": lambda: tg.nn.mlp(16, [8, 8], 4, batch_norm=True, activation="softplus", dropout=0.3, rng=0),
    "convnet": lambda: tg.nn.Sequential(
        tg.nn.Conv2d(1, 3, 3, rng=0), tg.nn.BatchNorm(3), tg.nn.ReLU(), tg.nn.MaxPool2d(2), tg.nn.Flatten(),
        tg.nn.Linear(3, 4, rng=1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_training_gives_the_same_curve(name, backend):
    # By Adam, which divides gradients by their size, rounding errors of a gradient that is 0 become whole steps.
    rule = tg.optim.Adam if name == "weight_scale_sweep" else tg.optim.SGD
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(50, 16)), rng.integers(0, 4, 50)
    x = x.reshape(50, 1, 4, 4) if name == "convnet" else x
    runs = []
    for compiled in (False, backend):
        net = NETWORKS[name]()
        trainer = tg.train.Trainer(net, rule(net.parameters(), lr=0.01), tg.cross_entropy, rng=0, compile=compiled)
        history = trainer.fit((x, y), epochs=3, batch_size=16, validation=(x, y), verbose=0)
        runs.append((history, net.state_dict()))
    (eager, state), (fast, fast_state) = runs
    np.testing.assert_allclose(fast.loss, eager.loss, rtol=1e-9)
    np.testing.assert_allclose(fast.validation["loss"], eager.validation["loss"], rtol=1e-9)
    for key, value in state.items():
        np.testing.assert_allclose(fast_state[key], value, rtol=1e-6, atol=1e-9, err_msg=key)


def test_a_step_that_is_not_finite_is_not_taken():
    net = tg.nn.Linear(2, 2, rng=0)
    trainer = tg.train.Trainer(net, tg.optim.SGD(net.parameters(), lr=0.1), tg.cross_entropy, rng=0, compile="numpy")
    before = net.state_dict()
    with pytest.raises(tg.errors.AnomalyError):
        trainer.fit((np.full((4, 2), np.nan), np.zeros(4, int)), epochs=1, batch_size=4, verbose=0)
    assert all(np.array_equal(before[k], v) for k, v in net.state_dict().items())


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("numba", "jax") else name)
    with pytest.raises(MissingExtra, match=r'pip install "tinygraph\[compile\]"'):
        tg.compile(lambda x: x, backend="numba")(1.0)
    with pytest.raises(MissingExtra, match=r'pip install "tinygraph\[jax\]"'):
        tg.compile(lambda x: x, backend="jax")(1.0)
    assert tg.compile(lambda x: x + 1)(1.0).item() == 2  # auto falls back on NumPy


def test_another_shape_is_another_program_and_the_same_code():
    fast = tg.compile(tg.vjp_fn(lambda x: tg.mean(x**2)), backend="numpy")
    sources = []
    for n in (3, 5):
        fast(np.ones((n, 2)), 1.0)
        sources.append(fast.source)
    assert sources[0] == sources[1]
    assert "2 programs" in repr(fast)


def test_under_debug_anomaly_the_function_itself_runs():
    fast = tg.compile(lambda x: tg.log(x), backend="numpy")
    with np.errstate(all="ignore"):
        assert fast(np.array(0.0)).item() == -np.inf
        with tg.debug_anomaly(), pytest.raises(tg.errors.AnomalyError, match="log"):
            fast(np.array(0.0))


def test_a_trainer_refuses_unknown_backends():
    net = tg.nn.Linear(2, 2, rng=0)
    trainer = tg.train.Trainer(net, tg.optim.SGD(net.parameters(), lr=0.1), tg.cross_entropy, compile="fast")
    with pytest.raises(ArgumentError, match="numba"):
        trainer.fit((np.ones((4, 2)), np.zeros(4, int)), epochs=1, verbose=0)
