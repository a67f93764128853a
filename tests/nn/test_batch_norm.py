"""nn.BatchNorm: its modes, running and population statistics, and what its words mean."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import nn
from tinygraph.core.scope import TRACE, Recorder, Setting, flags, recorder
from tinygraph.core.tensor import Argument
from tinygraph.errors import ArgumentError, ShapeError, StaleError

SHAPES = [(8, 3), (4, 3, 5), (4, 3, 2, 3)]


def axes_of(x):
    return (0, *range(2, x.ndim))


def spread(p, x):
    return np.reshape(p, (-1,) + (1,) * (x.ndim - 2))


@pytest.mark.parametrize("impl", ["composed", "fused"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gamma_std_and_beta_mean_give_the_input_back(shape, impl, rng):
    x = rng.normal(5, 3, shape)
    bn = nn.BatchNorm(3, eps=0.0, impl=impl)
    bn.gamma.assign(x.std(axis=axes_of(x)))
    bn.beta.assign(x.mean(axis=axes_of(x)))
    np.testing.assert_allclose(bn(x).numpy(), x, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_running_update_is_the_formula(shape, rng):
    bn = nn.BatchNorm(3, momentum=0.3)
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = rng.normal(2, 3, shape)
        bn(x)
        mean = 0.7 * mean + 0.3 * x.mean(axis=axes_of(x))
        var = 0.7 * var + 0.3 * x.var(axis=axes_of(x), ddof=1)
    np.testing.assert_allclose(bn.running_mean.numpy(), mean, rtol=1e-14)
    np.testing.assert_allclose(bn.running_var.numpy(), var, rtol=1e-14)
    assert bn.num_batches_tracked.item() == 3
    expected = (x - spread(mean, x)) / np.sqrt(spread(var, x) + 1e-5)
    np.testing.assert_allclose(bn.eval()(x).numpy(), expected, rtol=1e-13)


def test_decay_is_one_minus_momentum(rng):
    x = rng.normal(size=(5, 2))
    one, other = nn.BatchNorm(2, decay=0.75), nn.BatchNorm(2, momentum=0.25)
    one(x), other(x)
    assert one.momentum == 0.25
    np.testing.assert_array_equal(one.running_var.numpy(), other.running_var.numpy())
    assert nn.BatchNorm(2).momentum == 0.1
    with pytest.raises(ArgumentError, match="give one of them"):
        nn.BatchNorm(2, momentum=0.1, decay=0.9)


def test_the_update_is_traceable(rng):
    """Tensor operations throughout: no value is read, and all that is assigned was computed by recorded operations."""
    x = rng.normal(size=(4, 2, 3))
    for momentum in (0.1, None):
        eager, traced = (nn.BatchNorm(2, momentum=momentum) for _ in range(2))
        eager(x)
        assigned = {}
        with pytest.MonkeyPatch.context() as patch, flags(add=TRACE), Setting(recorder, lambda _: Recorder()):
            patch.setattr(tg.Parameter, "assign", lambda p, value: assigned.update({p: value}))
            traced(Argument(x))
        assert list(assigned) == [p for _, p in traced.named_buffers()]
        for value, (_, buffer) in zip(assigned.values(), eager.named_buffers(), strict=True):
            assert value.node.scope.path == "BatchNorm/running statistics"
            assert not value.requires_grad
            np.testing.assert_array_equal(value._data, buffer.numpy())


def test_momentum_none_is_the_plain_average(rng):
    bn, batches = nn.BatchNorm(2, momentum=None), rng.normal(size=(4, 6, 2))
    for x in batches:
        bn(x)
    np.testing.assert_allclose(bn.running_mean.numpy(), batches.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(bn.running_var.numpy(), batches.var(axis=1, ddof=1).mean(axis=0), rtol=1e-12)


def test_evaluation_changes_no_state_and_trace_neither(rng):
    bn, x = nn.BatchNorm(2), rng.normal(size=(5, 2))
    bn(x)
    before = bn.state_dict()
    bn.eval()(x)
    tg.trace(bn.train(), x)
    for name, value in bn.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_one_example_or_none_in_evaluation():
    assert nn.BatchNorm(2).eval()(np.ones((0, 2))).shape == (0, 2)
    assert nn.BatchNorm(2).eval()(np.ones((1, 2))).shape == (1, 2)
    with pytest.raises(ShapeError, match="one value per channel"):
        nn.BatchNorm(2)(np.ones((1, 2)))
    assert nn.BatchNorm(2)(np.ones((1, 2, 3))).shape == (1, 2, 3)


def test_no_gradient_through_running_statistics(rng):
    bn, x = nn.BatchNorm(2), tg.tensor(rng.normal(size=(5, 2)), requires_grad=True)
    y = bn(x)
    assert not any(t is p for t in tg.Graph([y]).nodes for _, p in bn.named_buffers())
    y.backward(np.ones(y.shape))
    assert bn.running_mean.grad is None
    assert bn.running_mean.node is None


def test_a_forward_in_evaluation_and_an_update_between_is_an_error(rng):
    bn, x = nn.BatchNorm(2), tg.tensor(rng.normal(size=(5, 2)), requires_grad=True)
    y = tg.sum(bn.eval()(x) ** 2)
    bn.train()(x)
    with pytest.raises(StaleError, match="running"):
        y.backward()


def test_the_buffers_keep_the_dtype_of_the_layer(rng):
    bn = nn.BatchNorm(2, dtype=np.float32)
    bn(rng.normal(size=(5, 2)))
    assert bn.running_mean.dtype == bn.running_var.dtype == np.float32
    assert nn.BatchNorm(2, dtype=np.float16)(rng.normal(300, 90, (50, 2)).astype(np.float16)).dtype == np.float16


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_one_of_weight_and_bias_alone_counts_in_both_modes(missing, rng):
    x = rng.normal(size=(5, 2))
    bn = nn.BatchNorm(2, momentum=1.0)
    bn.weight.assign([2.0, 3.0])
    bn.bias.assign([4.0, 5.0])
    setattr(bn, missing, None)
    training = bn(x).numpy()
    bn.running_var.assign(x.var(axis=0))  # the biased one, as in training
    np.testing.assert_allclose(bn.eval()(x).numpy(), training, rtol=1e-13)


def test_huge_values_that_are_constant():
    bn = nn.BatchNorm(1, momentum=1.0)
    assert bn(np.full((3, 1), 1e170)).tolist() == [[0.0]] * 3
    assert bn.running_var.tolist() == [0.0]
    nn.population_statistics(bn, np.full((3, 1), 1e170))
    assert (bn.running_mean.tolist(), bn.running_var.tolist()) == ([1e170], [0.0])


def test_gamma_and_beta_are_the_same_objects():
    bn = nn.BatchNorm(2)
    assert bn.gamma is bn.weight
    assert bn.beta is bn.bias
    bn.gamma = tg.Parameter(np.full(2, 3.0), name="γ")
    assert bn.weight.tolist() == [3.0, 3.0]
    assert [name for name, _ in bn.named_parameters()] == ["weight", "bias"]
    plain = nn.BatchNorm(2, affine=False, track_running_stats=False)
    assert plain.gamma is plain.beta is plain.running_mean is None
    assert plain.state_dict() == {}


def test_composed_and_fused_train_alike(rng):
    x, target = rng.normal(size=(20, 5)), rng.integers(0, 3, 20)
    curves = []
    for impl in ("composed", "fused"):
        net = nn.mlp(5, [8, 8], 3, batch_norm=impl, rng=7)
        curve = []
        for _ in range(12):
            net.zero_grad()
            loss = tg.cross_entropy(net(x), target)
            loss.backward()
            curve.append(loss.item())
            for p in net.parameters():
                p.assign(p.numpy() - 0.2 * p.grad.numpy())
        curves.append(curve)
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-11)
    assert curves[0][-1] < 0.7 * curves[0][0]


# -- population statistics -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 2)])
def test_population_statistics_are_the_direct_formula(shape, rng):
    data = rng.normal(1e3, 2, (23, *shape))
    bn = nn.BatchNorm(3)
    nn.population_statistics(bn, [data[:10], data[10:12], data[12:]])
    np.testing.assert_allclose(bn.running_mean.numpy(), data.mean(axis=axes_of(data)), rtol=1e-14)
    np.testing.assert_allclose(bn.running_var.numpy(), data.var(axis=axes_of(data), ddof=1), rtol=1e-12)
    assert bn.num_batches_tracked.item() == 3


def test_each_layer_gets_those_of_what_it_sees_in_training(rng):
    net = nn.mlp(4, [5, 6], 3, batch_norm=True, rng=0)
    batches = [rng.normal(size=(n, 4)) for n in (9, 7, 12)]
    w1, b1, w2, b2 = (net.state_dict()[f"block{i}.linear.{p}"] for i in (1, 2) for p in ("weight", "bias"))
    first = [x @ w1.T + b1 for x in batches]
    hidden = [np.maximum((h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5), 0) for h in first]
    second = [h @ w2.T + b2 for h in hidden]
    nn.population_statistics(net.eval(), [(x, None) for x in batches])  # in training mode whatever it was in
    assert not net.training
    for block, seen in (("block1", first), ("block2", second)):
        pooled = np.concatenate(seen)
        np.testing.assert_allclose(net[block]["bn"].running_mean.numpy(), pooled.mean(0), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(net[block]["bn"].running_var.numpy(), pooled.var(0, ddof=1), rtol=1e-11)


def test_of_one_batch_they_make_evaluation_equal_training(rng):
    x = rng.normal(size=(50, 4))
    net = nn.mlp(4, [5, 6], 3, batch_norm=True, rng=0)
    training = net(x).numpy()
    nn.population_statistics(net, x)
    for i in (1, 2):  # biased, as the variance of the batch is
        bn = net[f"block{i}"]["bn"]
        bn.running_var.assign(bn.running_var.numpy() * 49 / 50)
    np.testing.assert_allclose(net.eval()(x).numpy(), training, rtol=1e-10, atol=1e-12)


def test_modes_come_back_and_a_failure_changes_nothing(rng):
    net = nn.mlp(4, [5], 3, batch_norm=True, rng=0)
    net["block1"].eval()
    before = net.state_dict()
    with pytest.raises(ShapeError):
        nn.population_statistics(net, [rng.normal(size=(6, 4)), rng.normal(size=(6, 3))])
    with pytest.raises(ArgumentError, match="holds no batch"):
        nn.population_statistics(net, [])
    assert [m.training for _, m in net.named_modules()] == [True, False, False, False, False, True]
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    nn.population_statistics(nn.Linear(4, 2, rng=0), [])  # nothing to set
