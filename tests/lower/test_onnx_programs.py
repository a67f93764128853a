"""Forwards, backwards and whole training steps run elsewhere as they run here; the state of a step is in its interface."""

import numpy as np
import pytest
from support.onnx_runs import evaluated, loaded, off, onnx, ran

import tinygraph as tg
from tinygraph import nn, optim
from tinygraph.compiler.capture import capture

BOUND = {np.float64: 1e-14, np.float32: 1e-6}
both = pytest.mark.parametrize("dtype", BOUND, ids=["float64", "float32"])


def mlp(dtype):
    """Without biases before BatchNorm: their gradients are 0, and what is computed of them is rounding alone."""
    layers = [nn.Linear(4, 6, bias=False, dtype=dtype, rng=0), nn.BatchNorm(6, dtype=dtype), nn.ReLU(),
              nn.Linear(6, 5, bias=False, dtype=dtype, rng=1), nn.BatchNorm(5, dtype=dtype), nn.ReLU(),
              nn.Linear(5, 3, dtype=dtype, rng=2)]  # fmt: skip
    return nn.Sequential(*layers)


def conv_net(dtype):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False, dtype=dtype, rng=0), nn.BatchNorm(4, dtype=dtype), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, stride=2, groups=2, dtype=dtype, rng=1), nn.Tanh(), nn.AvgPool2d((1, 2), stride=1),
        nn.Flatten(), nn.Linear(4, 3, dtype=dtype, rng=2),
    )  # fmt: skip


def step_of(net, optimizer):
    def step(x, labels):
        loss = tg.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def same(model, feeds, expected, bound):
    """Both runtimes give the expected outputs, by name."""
    for run in (evaluated, ran):
        found = run(model, feeds)
        for name, value in expected.items():
            assert off(found[name], value) <= bound, (run.__name__, name)


@both
def test_batch_norm_forward_and_backward(rng, dtype):
    x, gamma, beta, g = (rng.normal(size=s).astype(dtype) for s in ((8, 3, 5), 3, 3, (8, 3, 5)))
    model = tg.export_onnx(tg.vjp_fn(tg.batch_norm), None, x, gamma, beta, g)
    assert [v.name for v in model.graph.input] == ["x", "gamma", "beta", "cotangent"]
    y, gradients = tg.vjp_fn(tg.batch_norm)(x, gamma, beta, g)
    assert "BatchNormalization" not in {n.op_type for f in (model.graph, *model.functions) for n in f.node}
    names = [o.name for o in model.graph.output]
    feeds = {"x": x, "gamma": gamma, "beta": beta, "cotangent": g}
    same(model, feeds, dict(zip(names, [t.numpy() for t in (y, *gradients)], strict=True)), BOUND[dtype])


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "rmsprop": lambda p: optim.RMSProp(p, lr=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=optim.Cosine(0.01, 4)),
}


@both
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_outside(rng, dtype, name):
    """Five steps, each fed with what the one before has assigned."""
    net = mlp(dtype)
    optimizer = OPTIMIZERS[name](net.parameters())
    step = step_of(net, optimizer)
    batches = [(rng.normal(size=(8, 4)).astype(dtype), rng.integers(0, 3, 8)) for _ in range(5)]
    model = tg.export_onnx(step, None, *batches[0])
    assert [v.name for v in model.graph.input[:3]] == ["x", "labels", "weight"]
    runtime = loaded(model)
    state, names = {}, [o.name for o in model.graph.output]
    inputs = {v.name for v in model.graph.input}
    for x, labels in batches:
        eager = step(x, labels)
        found = dict(zip(names, runtime.run(names, {"x": x, "labels": labels, **state}), strict=True))
        assert off(found["out"], eager.numpy()) <= 10 * BOUND[dtype]  # rounding feeds on itself
        state = {n.removeprefix("new/"): v for n, v in found.items() if n.removeprefix("new/") in inputs}
    bn = net[4]
    for n, p in (("weight_3", net[6].weight), ("γ_2", bn.gamma), ("running variance_2", bn.running_var)):
        assert off(state[n], p.numpy()) <= 10 * BOUND[dtype], n
    assert state["batches"] == 5


def after_one(step, x, labels, model):
    """What each output of the model should be: the loss, and all state that the step has written."""
    _, run = capture(step, (x, labels), {}, rehearse=True)
    loss = step(x, labels).numpy()
    state = [slot.read(False) for slot, place in run.writes if place is not None]
    return dict(zip([o.name for o in model.graph.output], [loss, *state], strict=True))


@both
@pytest.mark.parametrize("functions", [True, False], ids=["functions", "flat"])
def test_one_training_step_and_its_whole_state(rng, dtype, functions):
    net = mlp(dtype)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    step, x, labels = step_of(net, optimizer), rng.normal(size=(8, 4)).astype(dtype), rng.integers(0, 3, 8)
    model = tg.export_onnx(step, None, x, labels, functions=functions)
    assert bool(model.functions) is functions
    expected = after_one(step, x, labels, model)
    assert {"new/weight", "new/∂weight_3", "new/running mean_2", "new/γ", "new/batches_2"} <= expected.keys()
    same(model, {"x": x, "labels": labels}, expected, BOUND[dtype])


@both
def test_the_convolutional_network(rng, dtype):
    net = conv_net(dtype)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    step, x, labels = step_of(net, optimizer), rng.normal(size=(3, 2, 7, 10)).astype(dtype), np.array([0, 2, 1])
    model = tg.export_onnx(step, None, x, labels)
    evaluation = tg.export_onnx(net.eval(), None, x)
    net.train()
    same(model, {"x": x, "labels": labels}, after_one(step, x, labels, model), BOUND[dtype])

    assert [v.name for v in evaluation.graph.input] == ["x"]
    assert [o.name for o in evaluation.graph.output] == ["out"]
    fresh = conv_net(dtype).eval()
    same(evaluation, {"x": x}, {"out": fresh(x).numpy()}, BOUND[dtype])


def test_exporting_a_step_does_not_take_it(rng):
    net = mlp(np.float64)
    optimizer = optim.Adam(net.parameters())
    step, x, labels = step_of(net, optimizer), rng.normal(size=(8, 4)), rng.integers(0, 3, 8)
    before = {n: v.copy() for n, v in net.state_dict().items()}
    tg.export_onnx(step, None, x, labels)
    after = net.state_dict()
    assert all(np.array_equal(after[n], v) for n, v in before.items())
    assert all(p.grad is None for p in net.parameters())
    assert optimizer.steps == 0


def test_state_that_is_written_only_and_state_that_is_read_only():
    scale = tg.Parameter(np.array([2.0, 3.0]), name="scale")
    seen = tg.Parameter(np.zeros(2), requires_grad=False, name="seen")
    total = tg.Parameter(1.0, requires_grad=False, name="total")
    table = np.array([10.0, 20.0])

    def fn(x):
        y = x * scale + table
        seen.assign(y)
        total.assign(total + tg.sum(y))
        return y, total, x

    x = np.array([1.0, 5.0])
    model = tg.export_onnx(fn, None, x)
    assert [v.name for v in model.graph.input] == ["x", "total"]
    assert [o.name for o in model.graph.output] == ["out.0", "out.1", "out.2", "new/seen", "new/total"]
    assert {i.name for i in model.graph.initializer} == {"scale", "total", "c"}
    y = np.array([12.0, 35.0])
    expected = {"out.0": y, "out.1": np.array(48.0), "out.2": x, "new/seen": y, "new/total": np.array(48.0)}
    same(model, {"x": x}, expected, 0.0)
    same(model, {"x": x, "total": np.array(3.0)}, {"new/total": np.array(50.0)}, 0.0)


def test_inputs_keep_order_and_names_and_what_no_one_reads(tmp_path):
    def fn(first, unused, pair, flag, third):
        return {"sum": first + pair["b"], "kept": pair["a"]} if flag else first

    given = (np.ones(2), np.ones((3, 1), np.int32), {"a": np.float32(1), "b": 2.0}, True, np.zeros(1))
    path = tmp_path / "model.onnx"
    returned = tg.export_onnx(fn, str(path), *given)
    model = onnx.load(path)
    assert model == returned
    assert [v.name for v in model.graph.input] == ["first", "unused", "pair.a", "pair.b", "third"]
    assert [o.name for o in model.graph.output] == ["out.sum", "out.kept"]
    assert (model.ir_version, model.opset_import[0].version, model.producer_name) == (10, 18, "tinygraph")
    feeds = {"first": np.ones(2), "unused": np.ones((3, 1), np.int32), "pair.a": np.array(1, np.float32),
             "pair.b": np.array(5.0), "third": np.zeros(1)}  # fmt: skip
    same(model, feeds, {"out.sum": np.full(2, 6.0), "out.kept": np.array(1, np.float32)}, 0.0)


def test_a_traced_graph(rng):
    w = rng.normal(size=(3, 2))
    graph = tg.trace(lambda x: tg.tanh(x @ w), np.ones((4, 3)))
    model = tg.export_onnx(graph, None)
    x = rng.normal(size=(4, 3))
    assert [i.name for i in model.graph.initializer] == ["c"]
    same(model, {"x": x}, {"out": graph.run(np, x)[0]}, 1e-14)


def test_one_result_under_two_names():
    def fn(x):
        y = tg.exp(x)
        return y, y, 3.0, None, tg.sum(x * 0 + 1) * 0 + x.size

    x = np.array([0.5, 1.5])
    model = tg.export_onnx(fn, None, x)
    names = ["out.0", "out.1", "out.2", "out.4"]
    assert [o.name for o in model.graph.output] == names
    same(model, {"x": x}, dict(zip(names, [np.exp(x), np.exp(x), np.array(3.0), np.array(2.0)], strict=True)), 1e-15)


def test_a_constant_that_is_a_result_serves_others_too():
    def fn(x):
        two = tg.squeeze(2.0)
        return two, x * 2.0, tg.squeeze(x, axis=()) + 2.0

    x = np.array([0.5, 1.5])
    model = tg.export_onnx(fn, None, x)
    same(model, {"x": x}, {"out.0": np.array(2.0), "out.1": x * 2, "out.2": x + 2}, 0.0)


@pytest.mark.parametrize("key", [
    (slice(None), np.array([-1, 0, -3], np.int8)), (np.array([0, -1]), slice(1, 3), np.array([-1, 2])),
    (0, slice(None), np.array([1, 1])), (slice(None, None, -1), None, np.array([[0], [1]]), 1), (..., np.array(2)),
    (np.array([[1, 0]]), np.array([[2], [-2]]), np.array([0, 1])), (slice(3, 0, -2), slice(-1, None, -1)),
], ids=str)  # fmt: skip
def test_indices_where_numpy_puts_them(rng, key):
    x = rng.normal(size=(2, 3, 4))
    arrays = [k for k in key if isinstance(k, np.ndarray)]

    def with_arrays(given):
        rest = iter(given)
        return tuple(next(rest) if isinstance(k, np.ndarray) else k for k in key)

    def fn(x, *given):
        part = x[with_arrays(given)]
        return part, tg.add_at(x, with_arrays(given), part * 2)

    model = tg.export_onnx(fn, None, x, *arrays)
    added = x.copy()
    np.add.at(added, key, x[key] * 2)
    feeds = dict(zip([v.name for v in model.graph.input], [x, *arrays], strict=True))
    same(model, feeds, {"out.0": x[key], "out.1": added}, 1e-15)


def test_what_is_only_written_is_not_taken_for_what_is_read():
    written, read = (tg.Parameter(np.zeros(2), name="w") for _ in range(2))

    def step(x):
        written.assign(x * 7)
        read.assign(read + x)

    model = tg.export_onnx(step, None, np.ones(2))
    assert [i.name for i in model.graph.input] == ["x", "w"]
    assert [o.name for o in model.graph.output] == ["new/w_2", "new/w"]
