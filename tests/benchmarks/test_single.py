"""Single figures under pytest-benchmark: ``pytest tests/benchmarks --benchmark-only``."""

from __future__ import annotations

import numpy as np
import pytest

import tinygraph as tg

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(8, 8), (256, 256)])
def test_mul_forward_and_backward(benchmark, size):
    x, w = tg.tensor(RNG.normal(size=size), requires_grad=True), tg.tensor(RNG.normal(size=size))
    g = RNG.normal(size=size)
    benchmark(lambda: tg.gradients(x * w, x, g))


@pytest.mark.parametrize("implementation", [tg.batch_norm, tg.fused.batch_norm], ids=["composed", "fused"])
@pytest.mark.parametrize(("shape", "dtype"), [((100, 500), np.float64), ((256, 256), np.float32)])
def test_batch_norm_forward_and_backward(benchmark, implementation, shape, dtype):
    x = tg.tensor(RNG.normal(size=shape), dtype=dtype, requires_grad=True)
    gamma, beta = tg.Parameter(np.ones(shape[1], dtype)), tg.Parameter(np.zeros(shape[1], dtype))
    g = RNG.normal(size=shape).astype(dtype)
    benchmark(lambda: tg.gradients(implementation(x, gamma, beta), [x, gamma, beta], g))


def test_derive_a_backward_graph(benchmark):
    arrays = RNG.normal(size=(4, 3)), np.ones(3), np.zeros(3), RNG.normal(size=(4, 3))
    benchmark(lambda: tg.trace(tg.vjp_fn(tg.batch_norm), *arrays))


def test_draw_dot_text(benchmark):
    x = tg.tensor(RNG.normal(size=(4, 3)), requires_grad=True)
    y = tg.batch_norm(x, tg.Parameter(np.ones(3)), tg.Parameter(np.zeros(3)))
    benchmark(lambda: tg.draw(y, seed=np.ones((4, 3))).dot)
