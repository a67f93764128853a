"""The derived gradient of every layer, in its input and its parameters, at first and second order."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import nn
from tinygraph.testing import check_grad

RNG = np.random.default_rng(0)
FLAT = RNG.normal(1, 2, (4, 3))
IMAGE = RNG.normal(size=(2, 4, 5, 4))
LAYERS = {
    "linear": (lambda: nn.Linear(3, 2, rng=0), FLAT),
    "linear without bias": (lambda: nn.Linear(3, 2, bias=False, rng=0), FLAT),
    "linear of a stack": (lambda: nn.Linear(4, 2, rng=0), IMAGE),
    "flatten": (nn.Flatten, IMAGE),
    "relu": (nn.ReLU, FLAT),
    "sigmoid": (nn.Sigmoid, FLAT),
    "tanh": (nn.Tanh, FLAT),
    "softplus": (nn.Softplus, FLAT),
    "convolution": (lambda: nn.Conv2d(4, 3, 3, rng=0), IMAGE),
    "convolution with everything": (lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), groups=2, rng=0), IMAGE),
    "convolution by channel": (lambda: nn.Conv2d(4, 4, 2, groups=4, bias=False, rng=0), IMAGE),
    "maxima": (lambda: nn.MaxPool2d(2), IMAGE[:1, :2]),
    "maxima that overlap": (lambda: nn.MaxPool2d(3, 2, 1), IMAGE[:1, :1]),
    "means": (lambda: nn.AvgPool2d((2, 3), 1, 1), IMAGE),
    "batch norm": (lambda: nn.BatchNorm(3), FLAT),
    "batch norm of lines": (lambda: nn.BatchNorm(4), IMAGE[:, :, 0]),
    "batch norm of images": (lambda: nn.BatchNorm(4), IMAGE[:, :, :2, :3]),
    "fused batch norm": (lambda: nn.BatchNorm(3, impl="fused"), FLAT),
    "batch norm without affine": (lambda: nn.BatchNorm(3, affine=False), FLAT),
    "batch norm in evaluation": (lambda: nn.BatchNorm(3).eval(), FLAT),
    "batch norm of images in evaluation": (lambda: nn.BatchNorm(4).eval(), IMAGE),
    "layer norm": (lambda: nn.LayerNorm(3), FLAT),
    "layer norm of two axes": (lambda: nn.LayerNorm((5, 4)), IMAGE[:1, :2]),
}


def function_of(layer):
    """The layer as a function of its input and of all that it learns."""
    names = [name for name, _ in layer.named_parameters()]

    def call(x, *values):
        kept = {name: getattr(layer, name) for name in names}
        try:
            for name, value in zip(names, values, strict=True):
                vars(layer)[name] = value
            return layer(x)
        finally:
            vars(layer).update(kept)

    return call, [RNG.normal(1, 0.5, p.shape) for p in layer.parameters()]


@pytest.mark.parametrize("name", LAYERS)
def test_first_and_second_order(name):
    make, x = LAYERS[name]
    call, values = function_of(make())
    report = check_grad(call, x, *values, order=2)
    assert report.ok, report


def test_dropout_with_its_draws_held(monkeypatch):
    held = np.random.default_rng(3).random(FLAT.shape)
    monkeypatch.setattr(tg.random, "uniform", lambda shape, *, rng: tg.tensor(held))
    assert check_grad(nn.Dropout(0.4, rng=0), FLAT, order=2).ok


def test_dropout_scales_what_it_keeps():
    x = tg.tensor(np.ones((200, 100)), requires_grad=True)
    y = nn.Dropout(0.25, rng=0)(x)
    y.backward(np.ones(y.shape))
    assert set(np.unique(y.numpy())) == {0.0, 1 / 0.75}
    assert abs((y.numpy() == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_a_wrong_layer_is_caught():
    class Frozen(nn.BatchNorm):
        def forward(self, x):
            return (x - tg.mean(x, axis=0).detach()) * self.weight + self.bias

    call, values = function_of(Frozen(3))
    assert not check_grad(call, FLAT, *values).ok


def test_a_whole_network():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 2, rng=1), nn.BatchNorm(2), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 2, rng=2)
    )
    x = RNG.normal(size=(3, 1, 3, 3))
    assert check_grad(lambda x: tg.cross_entropy(net(x), [0, 1, 1]), x, order=2).ok
