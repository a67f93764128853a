"""Module: what is registered, in which order and how often; modes; state; repr."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import nn
from tinygraph.core.scope import Recorder, Setting, recorder
from tinygraph.errors import ArgumentError, DTypeError, ShapeError


class Block(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(3, 3, rng=0)
        self.bn = nn.BatchNorm(3)

    def forward(self, x):
        return tg.relu(self.bn(self.linear(x)))


class Net(nn.Module):
    def __init__(self):
        self.scale = tg.Parameter(np.ones(3), name="scale")
        self.block1 = Block()
        self.block2 = Block()
        self.heads = [nn.Linear(3, 2, rng=1), nn.Linear(3, 1, rng=2)]
        self.steps = tg.Parameter(np.zeros(()), requires_grad=False)
        self.history = [0.5, 0.25]

    def forward(self, x):
        x = self.block2(self.block1(self.scale * x))
        return [head(x) for head in self.heads]


def names(pairs):
    return [name for name, _ in pairs]


def test_what_is_assigned_is_registered_in_order():
    net = Net()
    assert names(net.named_modules()) == [
        "", "block1", "block1.linear", "block1.bn", "block2", "block2.linear", "block2.bn", "heads.0", "heads.1",
    ]  # fmt: skip
    assert names(net.named_parameters())[:5] == [
        "scale", "block1.linear.weight", "block1.linear.bias", "block1.bn.weight", "block1.bn.bias",
    ]  # fmt: skip
    assert names(net.named_parameters())[-2:] == ["heads.1.weight", "heads.1.bias"]
    assert names(net.named_buffers())[:3] == ["steps", "block1.bn.running_mean", "block1.bn.running_var"]
    assert len(list(net.parameters())) == 13


def test_containers_of_anything_are_searched():
    class Mixed(nn.Module):
        def __init__(self):
            self.layers = [None, nn.Linear(2, 2, rng=0)]
            self.parts = {"act": "relu", "deep": ([1.0], {"p": tg.Parameter([1.0])}), 3: nn.Flatten()}

    assert names(Mixed().named_parameters()) == ["parts.deep.1.p", "layers.1.weight", "layers.1.bias"]
    assert names(Mixed().named_modules()) == ["", "layers.1", "parts.3"]


def test_shared_parts_appear_once():
    net = Net()
    net.block2.linear = net.block1.linear
    net.heads[1].weight = net.heads[0].weight
    assert len(list(net.parameters())) == 10
    assert "block2.linear.weight" not in net.state_dict()
    twice = nn.Sequential(net.block1, net.block1)
    assert len(twice) == 2
    assert names(twice.named_modules()) == ["", "0", "0.linear", "0.bn"]
    twice.parent = twice  # a circle is walked once
    assert len(list(twice.named_modules())) == 4


def test_a_shared_layer_gets_the_sum_of_its_gradients(rng):
    layer = nn.Linear(2, 2, rng=0)
    x = rng.normal(size=(3, 2))
    tg.sum(nn.Sequential(layer, layer)(x)).backward()
    w, b = layer.weight.numpy(), layer.bias.numpy()
    h = x @ w.T + b
    np.testing.assert_allclose(layer.bias.grad.numpy(), 3 + (np.ones((3, 2)) @ w).sum(0))
    np.testing.assert_allclose(layer.weight.grad.numpy(), np.ones((3, 2)).T @ h + (np.ones((3, 2)) @ w).T @ x)


def test_modes_reach_every_part():
    net = Net()
    assert all(m.training for _, m in net.named_modules())
    assert net.eval() is net
    assert not any(m.training for _, m in net.named_modules())
    assert net.train().heads[0].training


def test_a_recording_hears_that_a_mode_was_read():
    class Heard(Recorder):
        def __init__(self):
            self.modules = []

        def flagged(self, module, name):
            self.modules.append(module)

    net = nn.mlp(2, [3], 2, batch_norm=True, dropout=0.5, rng=0)
    heard = Heard()
    with Setting(recorder, lambda _: heard):
        net(np.ones((4, 2)))
    assert dict.fromkeys(heard.modules) == dict.fromkeys([net["block1"]["bn"], net["block1"]["dropout"]])


def test_what_a_checkpoint_needs_besides_state():
    net = nn.mlp(2, [3, 3], 2, dropout=0.5, rng=0)
    assert names(net.named_generators()) == ["block1.dropout.rng"]  # one generator, held by both


def test_zero_grad():
    net = nn.mlp(2, [3], 2, rng=0)
    tg.sum(net(np.ones((1, 2)))).backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_a_copy_is_independent(rng):
    net = nn.mlp(2, [3], 2, batch_norm=True, rng=0)
    twin = copy.deepcopy(net)
    x = rng.normal(size=(4, 2))
    np.testing.assert_array_equal(net.eval()(x).numpy(), twin.eval()(x).numpy())
    next(twin.parameters()).assign(np.zeros((3, 2)))
    assert next(net.parameters()).numpy().any()


def test_a_copy_shares_what_the_original_shared():
    layer = nn.Linear(2, 2, rng=0)
    net = nn.Sequential(layer, nn.Dropout(0.5, rng=1), layer, nn.Dropout(0.5, rng=2))
    net[3].rng = net[1].rng
    twin = copy.deepcopy(net)
    assert twin[0].weight is twin[2].weight is not layer.weight
    assert twin[1].rng is twin[3].rng is not net[1].rng
    np.testing.assert_array_equal(twin(np.ones((3, 2))).numpy(), net(np.ones((3, 2))).numpy())


# -- state -----------------------------------------------------------------------------------------------


def test_a_state_goes_round(rng):
    one, other = (nn.mlp(3, [4], 2, batch_norm=True, rng=seed) for seed in (0, 1))
    x = rng.normal(size=(6, 3))
    one(x)
    assert other.load_state_dict(one.state_dict()) == ([], [])
    np.testing.assert_array_equal(one.eval()(x).numpy(), other.eval()(x).numpy())


def test_a_state_is_read_only_and_stays(rng):
    bn = nn.BatchNorm(3)
    state = bn.state_dict()
    with pytest.raises(ValueError, match="read-only"):
        state["weight"][0] = 2
    bn(rng.normal(size=(5, 3)))
    bn.weight.assign(np.zeros(3))
    assert state["weight"].tolist() == [1, 1, 1]
    assert state["num_batches_tracked"] == 0


def test_a_state_that_does_not_fit_changes_nothing():
    net = nn.Sequential(nn.Linear(2, 3, rng=0), nn.BatchNorm(3))
    good = net.state_dict()
    bad = {n: v for n, v in good.items() if n != "0.bias"}
    bad |= {"head.weight": np.ones(2), "0.weight": np.ones((3, 5)), "1.running_var": np.ones(3, np.float32)}
    with pytest.raises(ArgumentError) as caught:
        net.load_state_dict(bad)
    assert str(caught.value) == (
        "load_state_dict(Sequential): missing 0.bias; unexpected head.weight; "
        "0.weight is float64[3,5], float64[3,2] is due; 1.running_var is float32[3], float64[3] is due; "
        "give the state of a model made in the same way, or strict=False"
    )
    with pytest.raises(ShapeError, match=r"^load_state_dict\(Sequential\): 0.weight is float64\[3,5\]"):
        net.load_state_dict(bad, strict=False)
    with pytest.raises(DTypeError, match="cast the arrays"):
        net.load_state_dict(good | {"1.running_var": np.ones(3, np.float32)})
    with pytest.raises(ArgumentError, match="a state is a dict"):
        net.load_state_dict([1.0])
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, good[name])


def test_part_of_a_state():
    net = nn.Linear(2, 3, rng=0)
    assert net.load_state_dict({"bias": np.ones(3), "other": 1.0}, strict=False) == (["weight"], ["other"])
    assert net.bias.tolist() == [1, 1, 1]


# -- Sequential, repr ------------------------------------------------------------------------------------


def test_a_sequential_is_a_sequence():
    layers = [nn.Linear(2, 3, rng=0), nn.ReLU(), nn.Linear(3, 1, rng=1)]
    net = nn.Sequential(*layers)
    assert len(net) == 3
    assert list(net) == layers
    assert net[-1] is layers[2]
    assert net["1"] is layers[1]
    head = net[:2]
    assert isinstance(head, nn.Sequential)
    assert list(head) == layers[:2]
    assert nn.Sequential()(3.0) == 3.0


GOLDEN = """\
Net(
  scale: float64[3], steps: float64[]
  block1: Block(
    linear: Linear(3, 3)
    bn: BatchNorm(3)
  )
  block2: Block(
    linear: Linear(3, 3)
    bn: BatchNorm(3)
  )
  heads.0: Linear(3, 2)
  heads.1: Linear(3, 1)
)"""


def test_repr():
    assert repr(Net()) == GOLDEN
    layers = [
        nn.Linear(2, 3, bias=False), nn.Conv2d(4, 6, (3, 2), 2, (1, 0), groups=2, bias=False), nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d((2, 3)), nn.BatchNorm(3, eps=1e-3, momentum=None, affine=False, track_running_stats=False, impl="fused"),
        nn.LayerNorm((2, 3), bias=False), nn.LayerNorm(4, eps=0.1, affine=False), nn.Dropout(0.25), nn.Flatten(), nn.Softplus(),
    ]  # fmt: skip
    assert [repr(layer) for layer in layers] == [
        "Linear(2, 3, bias=False)",
        "Conv2d(4, 6, kernel_size=(3, 2), stride=2, padding=(1, 0), groups=2, bias=False)",
        "MaxPool2d(kernel_size=3, stride=2, padding=1)",
        "AvgPool2d(kernel_size=(2, 3), stride=(2, 3))",
        "BatchNorm(3, eps=0.001, momentum=None, affine=False, track_running_stats=False, impl='fused')",
        "LayerNorm((2, 3), bias=False)",
        "LayerNorm(4, eps=0.1, affine=False)",
        "Dropout(0.25)",
        "Flatten()",
        "Softplus()",
    ]


def test_a_model_from_another_process_trains():
    # There, serials begin anew: a stamp from here would make every node look older than the parameters.
    code = (
        "import pickle, sys, numpy as np, tinygraph as tg\n"
        "net = pickle.load(sys.stdin.buffer)\n"
        "tg.sum(net(np.ones((2, 3)))).backward()\n"
        "print(net.bias.grad.tolist())"
    )
    net = tg.nn.Linear(3, 2, rng=0)
    for _ in range(50):
        net.bias.assign(net.bias + 1)
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(net), capture_output=True, check=True)
    assert done.stdout.strip() == b"[2.0, 2.0]"
