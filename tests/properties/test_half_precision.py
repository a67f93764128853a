"""float16 is a storage format: what is summed, squared or exponentiated is computed in float32."""

import numpy as np
import pytest

import tinygraph as tg

RNG = np.random.default_rng(0)
WIDE = (RNG.normal(size=(50, 3)) * 300).astype(np.float16)
MANY = np.zeros(70_000, np.float16)

CASES = {
    "var": (lambda x: tg.var(x / 100), WIDE),
    "std": (tg.std, WIDE),
    "norm": (lambda x: tg.norm(x, axis=1), WIDE),
    "softmax": (tg.softmax, MANY),
    "log_softmax": (tg.log_softmax, MANY),
    "logsumexp": (tg.logsumexp, MANY),
    "mean": (tg.mean, MANY + 1000),
    "batch_norm": (tg.batch_norm, WIDE),
    "fused": (tg.fused.batch_norm, WIDE),
    "layer_norm": (tg.layer_norm, WIDE),
}


@pytest.mark.parametrize(("fn", "x"), CASES.values(), ids=CASES)
def test_it_is_the_float64_result_rounded(fn, x):
    half, full = tg.tensor(x, requires_grad=True), tg.tensor(x, dtype=np.float64, requires_grad=True)
    y, expected = fn(half), fn(full)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=2e-3, atol=2e-3)
    g = RNG.normal(size=y.shape)
    gradient = tg.gradients(y, half, g)
    assert gradient.dtype == np.float16
    reference = tg.gradients(expected, full, g).numpy()
    np.testing.assert_allclose(gradient.numpy(), reference, rtol=4e-3, atol=4e-3 * np.abs(reference).max() + 6e-8)


def test_parameters_decide_about_the_result():
    assert tg.batch_norm(WIDE, np.ones(3, np.float16)).dtype == np.float16
    assert tg.batch_norm(WIDE, np.ones(3, np.float32)).dtype == np.float32
    assert tg.batch_norm(WIDE, gamma=np.ones(3)).dtype == np.float64
