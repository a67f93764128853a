"""BatchNorm is right at every order: the composed form, and the fused form by way of it."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.testing.laws import near
from tinygraph.testing.oracles.derivatives import WIDE, cauchy, complex_step, richardson

FORMS = {"composed": tg.batch_norm, "fused": tg.fused.batch_norm}
SHAPES = [(8, 3), (4, 2, 5), (2, 3, 2, 2)]


def along_a_line(fn, shape, seed=0):
    """t → Σ w · fn(x + t v): a function of one number, in a random direction of x, gamma and beta."""
    rng = np.random.default_rng(seed)
    c = shape[1]
    at = [rng.normal(1, 2, shape), rng.uniform(0.5, 2, c), rng.normal(size=c)]
    directions = [rng.normal(size=a.shape) for a in at]
    w = rng.normal(size=shape)

    def phi(t):
        return tg.sum(w * fn(*(a + t * v for a, v in zip(at, directions, strict=True))))

    return phi


def derivative(phi, order):
    for _ in range(order):
        phi = tg.grad(phi)
    return phi


def forward_derivative(phi, order):
    for _ in range(order):
        phi = lambda t, inner=phi: tg.jvp(inner, (t,), (1.0,))[1]
    return phi


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_directional_derivatives(shape, order, seed):
    """Cauchy's integral over the composed forward graph knows no rule at all."""
    lines = {name: along_a_line(fn, shape, seed) for name, fn in FORMS.items()}
    found = {name: derivative(phi, order)(0.0).item() for name, phi in lines.items()}
    graph = tg.trace(lines["composed"], 0.0)
    (expected,) = cauchy(graph, [np.array(0.0)], [np.array(1.0)], order, radius=0.2)
    near(found["composed"], expected, 1e-8)
    near(found["fused"], found["composed"], 1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_third_order_by_complex_step_and_by_differences(shape, form):
    phi, composed = along_a_line(FORMS[form], shape), along_a_line(tg.batch_norm, shape)
    third = derivative(phi, 3)(0.0).item()
    second = derivative(composed, 2)
    (stepped,) = complex_step(tg.trace(second, 0.0), [np.array(0.0)], [np.array(1.0)])
    near(third, stepped)
    (differences,) = richardson(lambda t: [derivative(phi, 2)(t).numpy()], [np.array(0.0)], [np.array(1.0)])
    near(third, differences, 1e-9 if WIDE else 1e-6)
    near(forward_derivative(phi, 3)(0.0).item(), third)


@pytest.mark.parametrize("form", FORMS)
def test_hessian_is_symmetric_and_its_product_agrees(form, rng):
    x, gamma, beta, w = rng.normal(1, 2, (5, 2)), rng.normal(size=2), rng.normal(size=2), rng.normal(size=(5, 2))

    def loss(x):
        return tg.sum(w * FORMS[form](x, gamma, beta))

    h = tg.hessian(loss)(x).numpy().reshape(10, 10)
    near(h, h.T, 1e-13)
    v = rng.normal(size=(5, 2))
    near(tg.hvp(loss, x, v).numpy().ravel(), h @ v.ravel(), 1e-13)


def test_a_backward_of_the_fused_form_is_called_once_and_only_if_unrecorded(monkeypatch, rng):
    calls = []
    backward = tg.fused.batch_norm._backward
    monkeypatch.setattr(tg.fused.batch_norm, "_backward", lambda *a, **p: calls.append(1) or backward(*a, **p))
    x = tg.tensor(rng.normal(size=(4, 3)), requires_grad=True)
    gamma = tg.Parameter(np.ones(3))
    y = tg.fused.batch_norm(x, gamma, tg.Parameter(np.zeros(3)))
    y.backward(rng.normal(size=(4, 3)))
    assert calls == [1]
    (dx,) = tg.gradients(y, [x], rng.normal(size=(4, 3)), create_graph=True)
    assert calls == [1]
    assert dx.requires_grad


def test_a_trace_holds_the_composite(rng):
    args = rng.normal(size=(4, 3)), np.ones(3), np.zeros(3)
    composed, fused = (str(tg.trace(lambda x, gamma, beta: fn(x, gamma, beta), *args)) for fn in FORMS.values())
    assert fused == composed
