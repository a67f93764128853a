"""PyTorch as an oracle: values, first and second gradients; and where its fused layer loses an order."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.testing.laws import near
from tinygraph.testing.oracles.derivatives import cauchy

torch = pytest.importorskip("torch")
F = torch.nn.functional


def theirs(fn, arrays, order):
    """The value, then ``order`` times the gradient of Σ w · (the one before), each by the first argument."""
    leaves = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
    results = [fn(*leaves)]
    for k in range(order):
        scalar = (torch.tensor(weight(results[-1].shape, k)) * results[-1]).sum()
        grads = torch.autograd.grad(scalar, leaves[0], create_graph=True)
        results.append(grads[0])
    return [r.detach().numpy() for r in results]


def weight(shape, k):
    return np.random.default_rng([7, k]).normal(size=tuple(shape))


def ours(fn, arrays, order):
    results = [fn(*arrays)]
    current = fn
    for k in range(order):
        current = _gradient(current, k)
        results.append(current(*arrays))
    return [r.numpy() for r in results]


def _gradient(fn, k):
    def scalar(*p):
        r = fn(*p)
        return tg.sum(weight(r.shape, k) * r)

    return tg.grad(scalar)


RNG = np.random.default_rng(0)
X = RNG.normal(1, 2, (4, 3))
IMAGE = RNG.normal(1, 2, (2, 3, 2, 2))
CHANNELS = [RNG.uniform(0.5, 2, 3), RNG.normal(size=3)]
CASES = {
    "softmax": (lambda x: tg.softmax(x), lambda x: F.softmax(x, -1), [X]),
    "log_softmax": (lambda x: tg.log_softmax(x, 0), lambda x: F.log_softmax(x, 0), [X]),
    "logsumexp": (lambda x: tg.logsumexp(x, 1), lambda x: torch.logsumexp(x, 1), [X]),
    "cross_entropy": (
        lambda x: tg.cross_entropy(x, np.array([0, 2, 1, 1])),
        lambda x: F.cross_entropy(x, torch.tensor([0, 2, 1, 1])),
        [X],
    ),
    "layer_norm": (tg.layer_norm, lambda x, g, b: F.layer_norm(x, (3,), g, b), [X, *CHANNELS]),
    "batch_norm": (tg.batch_norm, lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True), [X, *CHANNELS]),
    "batch_norm 4d": (
        tg.fused.batch_norm,
        lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True),
        [IMAGE, *CHANNELS],
    ),
    "std": (lambda x: tg.std(x, 0, correction=1), lambda x: torch.std(x, 0), [X]),
    "norm": (lambda x: tg.norm(x, 1), lambda x: torch.linalg.vector_norm(x, dim=1), [X]),
    "matmul": (lambda x, y: tg.tanh(x @ y), lambda x, y: torch.tanh(x @ y), [X, RNG.normal(size=(3, 2))]),
    "prod": (lambda x: tg.prod(x, 1), lambda x: torch.prod(x, 1), [X]),
    "cumsum": (lambda x: tg.cumsum(tg.sin(x), 1), lambda x: torch.cumsum(torch.sin(x), 1), [X]),
    "silu": (tg.silu, F.silu, [X]),
    "pow": (lambda x, y: tg.abs(x) ** y, lambda x, y: torch.pow(torch.abs(x), y), [X, RNG.normal(size=3)]),
    "maximum": (lambda x, y: tg.maximum(x, y) ** 3, lambda x, y: torch.maximum(x, y) ** 3, [X, RNG.normal(size=3)]),
    "gather": (lambda x: tg.sin(x)[np.array([0, 0, 3])], lambda x: torch.sin(x)[[0, 0, 3]], [X]),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_two_orders(name):
    mine, torchs, arrays = CASES[name]
    for a, b in zip(ours(mine, arrays, 2), theirs(torchs, arrays, 2), strict=True):
        near(a, b, 1e-11)


def test_the_third_derivative_of_their_fused_batch_norm_is_wrong():
    """Ours is Cauchy's; composed PyTorch agrees; PyTorch's fused one does not."""
    rng = np.random.default_rng(3)
    at = [rng.normal(1, 2, (8, 3)), rng.uniform(0.5, 2, 3), rng.normal(size=3)]
    vs = [rng.normal(size=a.shape) for a in at]
    w = rng.normal(size=(8, 3))

    def line(fn):
        return lambda t: (w * fn(*(a + t * v for a, v in zip(at, vs, strict=True)))).sum()

    def torch_line(fn):
        return lambda t: (
            torch.tensor(w) * fn(*(torch.tensor(a) + t * torch.tensor(v) for a, v in zip(at, vs, strict=True)))
        ).sum()

    def torch_third(fn):
        t = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
        value = torch_line(fn)(t)
        for _ in range(3):
            (value,) = torch.autograd.grad(value, t, create_graph=True)
        return value.item()

    def composed(x, g, b):
        xc = x - x.mean(0)
        return g * xc / torch.sqrt((xc**2).mean(0) + 1e-5) + b

    third = {
        name: tg.grad(tg.grad(tg.grad(line(fn))))(0.0).item()
        for name, fn in (("c", tg.batch_norm), ("f", tg.fused.batch_norm))
    }
    (expected,) = cauchy(tg.trace(line(tg.batch_norm), 0.0), [np.array(0.0)], [np.array(1.0)], 3, radius=0.2)
    near(third["c"], expected, 1e-8)
    near(third["f"], third["c"])
    near(torch_third(composed), third["c"])
    fused = torch_third(lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True))
    if abs(fused - expected) <= 1e-6 * abs(expected):
        pytest.skip("this PyTorch differentiates its fused batch_norm three times")
    assert abs(fused - expected) > 0.01 * abs(expected)
