"""Optimisers: their formulas in plain NumPy, PyTorch's, dtypes, gradients that are missing."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.scope import TRACE, flags
from tinygraph.optim import SGD, AdaGrad, Adam, AdamW, RMSProp

STEPS = 20
SHAPES = [(3, 4), (4,), ()]

# (ours, PyTorch's name, keywords; PyTorch's take the same names)
CASES = [
    (SGD, "SGD", {"lr": 0.1}),
    (SGD, "SGD", {"lr": 0.1, "weight_decay": 0.3}),
    (SGD, "SGD", {"lr": 0.1, "momentum": 0.9}),
    (SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    (SGD, "SGD", {"lr": 0.1, "momentum": 0.7, "nesterov": True}),
    (SGD, "SGD", {"lr": 0.1, "momentum": 0.7, "nesterov": True, "weight_decay": 0.2}),
    (AdaGrad, "Adagrad", {"lr": 0.3}),
    (AdaGrad, "Adagrad", {"lr": 0.3, "eps": 1e-3, "weight_decay": 0.1}),
    (RMSProp, "RMSprop", {"lr": 0.05}),
    (RMSProp, "RMSprop", {"lr": 0.05, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
    (Adam, "Adam", {"lr": 0.05}),
    (Adam, "Adam", {"lr": 0.05, "betas": (0.5, 0.8), "eps": 1e-3, "weight_decay": 0.1}),
    (AdamW, "AdamW", {"lr": 0.05}),
    (AdamW, "AdamW", {"lr": 0.05, "betas": (0.5, 0.8), "eps": 1e-3, "weight_decay": 0.4}),
]
IDS = [f"{name}-{'-'.join(kw)}" for _, name, kw in CASES]


def start():
    rng = np.random.default_rng(3)
    return [rng.normal(size=shape) for shape in SHAPES]


def gradient(theta, step):
    """Some field that depends on the values, so that an error at one step shows in all that follow."""
    return np.sin(3 * theta + step) + 0.5 * theta


def sgd(x, g, t, s, *, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    g = g + weight_decay * x
    s["v"] = momentum * s.get("v", 0) + g
    return x - lr * (g + momentum * s["v"] if nesterov else s["v"])


def adagrad(x, g, t, s, *, lr, eps=1e-10, weight_decay=0.0):
    g = g + weight_decay * x
    s.setdefault("all", []).append(g**2)
    return x - lr * g / (np.sqrt(np.sum(s["all"], axis=0)) + eps)


def rmsprop(x, g, t, s, *, lr, alpha=0.99, eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * x
    s.setdefault("all", []).append(g**2)
    weights = (1 - alpha) * alpha ** np.arange(t)[::-1]
    return x - lr * g / (np.sqrt(np.tensordot(weights, np.array(s["all"]), 1)) + eps)


def adam(x, g, t, s, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """The bias-corrected means as what they are: weighted means of all gradients so far."""
    s.setdefault("g", []).append(g + weight_decay * x)
    gs = np.array(s["g"])
    w1, w2 = (b ** np.arange(t)[::-1] for b in betas)
    mean, square = np.tensordot(w1 / w1.sum(), gs, 1), np.tensordot(w2 / w2.sum(), gs**2, 1)
    return x - lr * mean / (np.sqrt(square) + eps)


def adamw(x, g, t, s, *, weight_decay=1e-2, **kw):
    return adam(x, g, t, s, **kw) - kw["lr"] * weight_decay * x


FORMULAS = {SGD: sgd, AdaGrad: adagrad, RMSProp: rmsprop, Adam: adam, AdamW: adamw}


def run(make, keywords, dtype=np.float64, skip=lambda step, i: False):
    parameters = [tg.Parameter(x.astype(dtype)) for x in start()]
    optimizer = make(parameters, **keywords)
    for step in range(STEPS):
        for i, p in enumerate(parameters):
            if not skip(step, i):
                p.grad = tg.tensor(gradient(p.numpy(), step).astype(p.dtype))
        optimizer.step()
        optimizer.zero_grad()
        assert all(p.grad is None for p in parameters)
    assert optimizer.steps == STEPS
    return [p.numpy() for p in parameters]


@pytest.mark.parametrize(("make", "_", "keywords"), CASES, ids=IDS)
def test_the_formula(make, _, keywords):
    for ours, x in zip(run(make, keywords), start(), strict=True):
        state = {}
        for step in range(STEPS):
            x = FORMULAS[make](x, gradient(x, step), step + 1, state, **keywords)
        np.testing.assert_allclose(ours, x, rtol=1e-12, atol=1e-12)


def skips(step, i):
    return (step + i) % 3 == 0


@pytest.mark.parametrize("skip", [lambda step, i: False, skips], ids=["all", "some gradients missing"])
@pytest.mark.parametrize(("make", "name", "keywords"), CASES, ids=IDS)
def test_pytorch_agrees(make, name, keywords, skip):
    torch = pytest.importorskip("torch")
    theirs = [torch.tensor(x, requires_grad=True) for x in start()]
    optimizer = getattr(torch.optim, name)(theirs, **keywords)
    for step in range(STEPS):
        for i, p in enumerate(theirs):
            p.grad = None if skip(step, i) else torch.tensor(gradient(p.detach().numpy(), step))
        optimizer.step()
    for a, b in zip(run(make, keywords, skip=skip), theirs, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", FORMULAS)
def test_defaults_are_pytorchs(make):
    torch = pytest.importorskip("torch")
    name = {AdaGrad: "Adagrad", RMSProp: "RMSprop"}.get(make, make.__name__)
    theirs = getattr(torch.optim, name)([torch.zeros(1)]).defaults
    ours = make([tg.Parameter([0.0])])
    for key in ("lr", "momentum", "nesterov", "alpha", "betas", "eps", "weight_decay"):
        if hasattr(ours, key):
            assert getattr(ours, key) == theirs[key], key


@pytest.mark.parametrize(("make", "_", "keywords"), CASES, ids=IDS)
def test_float32_stays_float32_and_close(make, _, keywords):
    for single, double in zip(run(make, keywords, np.float32), run(make, keywords), strict=True):
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=0, atol=2e-5)


@pytest.mark.parametrize("make", FORMULAS)
def test_float16_works_on_a_wide_state(make):
    p = tg.Parameter(np.ones(2, np.float16))
    optimizer = make([p], lr=0.01)
    for _ in range(3):  # squares of this gradient are 0 in float16, and so is Adam's eps
        p.grad = tg.tensor(np.array([1e-5, 0.0], np.float16))
        optimizer.step()
    assert p.dtype == np.float16
    assert p.numpy()[1] == pytest.approx(1, abs=1e-3)
    assert (p.numpy()[0] < 0.98) == (make is not SGD)
    assert all(a.dtype == np.float32 for k, a in optimizer.state_dict().items() if k.startswith(("squ", "mean")))


def test_a_gradient_of_another_dtype_does_not_change_the_parameters():
    p = tg.Parameter(np.ones(2, np.float32))
    optimizer = SGD([p], lr=0.5, momentum=0.5)
    p.grad = tg.tensor(np.ones(2))
    optimizer.step()
    assert p.dtype == optimizer.state_dict()["momentum.0"].dtype == np.float32


def test_a_parameter_without_gradient_is_left_alone():
    a, b = tg.Parameter([1.0]), tg.Parameter([1.0])
    optimizer = Adam([a, b], lr=0.1, weight_decay=0.1)
    a.grad = tg.tensor([1.0])
    optimizer.step()
    assert b.tolist() == [1.0]
    assert b.stamp == 0
    assert optimizer.state_dict()["count.1"] == 0
    b.grad = tg.tensor([0.5])
    optimizer.step()
    np.testing.assert_allclose(b.numpy(), 0.9, rtol=1e-7)  # its own first update: corrected for t = 1


@pytest.mark.parametrize("make", FORMULAS)
def test_a_nan_in_a_gradient_stays_where_it_is(make):
    p, q = tg.Parameter([1.0, 1.0]), tg.Parameter([1.0])
    optimizer = make([p, q], lr=0.1)
    for _ in range(2):
        p.grad, q.grad = tg.tensor([np.nan, 1.0]), tg.tensor([1.0])
        optimizer.step()
    assert np.isnan(p.numpy()).tolist() == [True, False]
    assert q.item() == p.numpy()[1] < 1


def test_a_gradient_may_be_given_as_numbers():
    p = tg.Parameter([1.0])
    for grad in (np.ones(1), [1.0]):
        p.grad = grad
        SGD([p], lr=0.25).step()
    assert p.item() == 0.5


def test_a_gradient_of_another_shape_changes_nothing():
    a, b = tg.Parameter([1.0]), tg.Parameter([1.0])
    optimizer = SGD([a, b], lr=0.1)
    a.grad, b.grad = tg.tensor([1.0]), tg.tensor([1.0, 2.0])
    with pytest.raises(tg.errors.ShapeError, match="has a gradient of float64"):
        optimizer.step()
    assert a.tolist() == [1.0]
    assert optimizer.steps == 0


def test_nothing_is_recorded_and_a_backward_through_old_values_is_an_error():
    w = tg.Parameter([2.0])
    optimizer = Adam([w])
    loss = tg.sum(w * w)
    loss.backward(create_graph=True)
    optimizer.step()
    assert w.node is None
    assert all(t.node is None and not t.requires_grad for t in optimizer._state().values())
    with pytest.raises(tg.errors.StaleError):
        loss.backward()


@pytest.mark.parametrize("make", FORMULAS)
def test_a_whole_step_can_be_traced(make, monkeypatch):
    """While everything is recorded no value is read, and all that is assigned was computed by recorded operations."""
    rate = tg.optim.WarmUp(tg.optim.Cosine(0.1, 10), 3)
    assigned = []

    def take(w, optimizer):
        optimizer.zero_grad()
        tg.sum(w * w).backward()
        optimizer.step()

    traced, eager = (tg.Parameter([2.0, 3.0]) for _ in range(2))
    first, second = make([traced], lr=rate), make([eager], lr=rate)
    whole = tg.Parameter.assign
    monkeypatch.setattr(tg.Parameter, "assign", lambda p, value: (assigned.append(value), whole(p, value))[1])
    with flags(add=TRACE):
        take(traced, first)
    assert len(assigned) == len(first._state()) + 1  # and the parameter itself
    assert all(value.node is not None and value.node.scope.path == make.__name__ for value in assigned)
    take(eager, second)
    assert traced.tolist() == eager.tolist() != [2.0, 3.0]


@pytest.mark.parametrize("make", FORMULAS)
def test_each_goes_down_a_valley(make):
    w = tg.Parameter(np.array([3.0, -2.0]))
    optimizer = make([w], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = tg.sum((w - 1.0) ** 2)
        loss.backward()
        optimizer.step()
    assert loss.item() < {AdaGrad: 5.0, RMSProp: 0.1}.get(make, 1e-2)
