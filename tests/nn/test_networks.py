"""nn.mlp and nn.init: every choice that an experiment varies."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import nn


def test_the_order_of_a_block():
    def parts(**options):
        return list(nn.mlp(2, [3], 2, **options)["block1"]._layers())

    assert parts() == ["linear", "activation"]
    assert parts(batch_norm=True) == ["linear", "bn", "activation"]
    assert parts(batch_norm=True, norm_position="after", dropout=0.5) == ["linear", "activation", "bn", "dropout"]
    assert list(nn.mlp(2, [], 2)._layers()) == ["out"]


def test_the_same_weights_with_and_without_batch_norm():
    plain, normed = (nn.mlp(4, [5, 6], 3, batch_norm=b, rng=3) for b in (False, "fused"))
    for name, value in plain.state_dict().items():
        np.testing.assert_array_equal(value, normed.state_dict()[name])
    assert normed["block1"]["bn"].impl == "fused"


@pytest.mark.parametrize(("scale", "due"), [(0.3, 0.3), ("he", (2 / 300) ** 0.5), ("xavier", (2 / 500) ** 0.5)])
def test_weight_scales(scale, due):
    net = nn.mlp(300, [200], 2, weight_scale=scale, rng=0)
    weight = net["block1"]["linear"].weight.numpy()
    assert abs(weight.std() / due - 1) < 0.02
    assert abs(weight.mean() / due) < 0.02
    assert not net["block1"]["linear"].bias.numpy().any()


def test_the_fans_of_a_convolution():
    assert abs(nn.init.he((64, 32, 3, 3), 0).std() * (32 * 9 / 2) ** 0.5 - 1) < 0.02
    assert abs(nn.init.xavier((64, 32, 3, 3), 0).std() * (96 * 9 / 2) ** 0.5 - 1) < 0.02


def test_generators_and_dtypes():
    first, again, other = (nn.Linear(3, 2, rng=rng).weight.numpy() for rng in (5, np.random.default_rng(5), None))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    net = nn.mlp(3, [4], 2, batch_norm=True, dropout=0.5, dtype=np.float32, rng=0)
    assert {v.dtype.name for v in net.state_dict().values()} == {"float32", "int64"}
    y = net(np.ones((5, 3), np.float32))
    y.backward(np.ones(y.shape, np.float32))
    assert y.dtype == next(net.parameters()).grad.dtype == np.float32
    assert {p.dtype.name for p in net.parameters()} == {"float32"}


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "softplus", nn.Tanh])
def test_activations(activation):
    net = nn.mlp(2, [3], 1, activation=activation, rng=0)
    x = np.array([[0.5, -1.0]])
    h = net["block1"]["linear"](x)
    name = activation if isinstance(activation, str) else "tanh"
    expected = net["out"](getattr(tg, name)(h))
    np.testing.assert_array_equal(net(x).numpy(), expected.numpy())


def test_dropout_draws_anew_and_stops_in_evaluation():
    net = nn.mlp(2, [50], 3, dropout=0.5, rng=0)
    x = np.ones((1, 2))
    assert not np.array_equal(net(x).numpy(), net(x).numpy())
    np.testing.assert_array_equal(net.eval()(x).numpy(), net(x).numpy())
