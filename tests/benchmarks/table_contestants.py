"""Who takes part in ``table.py``: BatchNorm forward and backward, and a training step, in every library.

A contestant is made from the arrays, with all that a user would do once, and gives a call without arguments.
Libraries are imported where they are used.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygraph as tg
from tinygraph.compiler import compile

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]

EPS = 1e-5
RATE = 0.01
LAYERS, BATCH = (784, 100, 100, 100, 100, 100, 10), 100


# -- BatchNorm: y, dx, dgamma, dbeta from x, gamma, beta, dy; the channels are axis 1 -------------------


def batch_norm_arrays(shape: tuple[int, ...], dtype: str) -> list[Array]:
    rng = np.random.default_rng(0)
    channels = shape[1]
    x, dy = (rng.standard_normal(shape, np.float32).astype(dtype) for _ in range(2))
    return [x, rng.uniform(0.5, 1.5, channels).astype(dtype), rng.normal(size=channels).astype(dtype), dy]


def compiled(backend: str) -> Callable[..., Call]:
    def make(x: Array, gamma: Array, beta: Array, dy: Array) -> Call:
        function = compile(tg.vjp_fn(tg.batch_norm), backend=backend)
        return lambda: function(x, gamma, beta, dy)

    return make


def eager(x: Array, gamma: Array, beta: Array, dy: Array) -> Call:
    leaves = [tg.tensor(a, requires_grad=True) for a in (x, gamma, beta)]

    def run() -> Any:
        y = tg.batch_norm(*leaves)
        return y, tg.gradients(y, leaves, dy)

    return run


def torch_fused(x: Array, gamma: Array, beta: Array, dy: Array) -> Call:
    import torch
    from torch.nn import functional

    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    seed = torch.from_numpy(dy)

    def run() -> Any:
        data, weight, bias = leaves
        y = functional.batch_norm(data, None, None, weight, bias, training=True, eps=EPS)
        return y, torch.autograd.grad(y, leaves, seed)

    return with_threads(run)


def with_threads(call: Call) -> Call:
    """PyTorch with one thread or two, whichever is faster for this call."""
    import torch

    def mean(threads: int) -> float:
        torch.set_num_threads(threads)
        return statistics.mean(seconds(call) for _ in range(10))

    torch.set_num_threads(min((1, 2), key=mean))
    return call


def composed(xp: Any, x: Any, gamma: Any, beta: Any) -> Any:
    """BatchNorm from primitives, as tinygraph composes it, for a library that takes NumPy's names."""
    axes = tuple(i for i in range(x.ndim) if i != 1)
    along = (-1,) + (1,) * (x.ndim - 2)
    xc = x - xp.mean(x, axis=axes, keepdims=True)
    var = xp.mean(xc**2, axis=axes, keepdims=True)
    return xp.reshape(gamma, along) * (xc / xp.sqrt(var + x.dtype.type(EPS))) + xp.reshape(beta, along)


def autograd_composed(x: Array, gamma: Array, beta: Array, dy: Array) -> Call:
    import autograd.numpy as anp
    from autograd.core import make_vjp

    def forward(leaves: tuple[Any, ...]) -> Any:
        return composed(anp, *leaves)

    def run() -> Any:
        pullback, y = make_vjp(forward, (x, gamma, beta))
        return y, pullback(dy)

    return run


def mygrad_composed(x: Array, gamma: Array, beta: Array, dy: Array) -> Call:
    import mygrad

    def run() -> Any:
        leaves = [mygrad.tensor(a, copy=False) for a in (x, gamma, beta)]
        y = composed(mygrad, *leaves)
        y.backward(dy)
        return y.data, [leaf.grad for leaf in leaves]

    return run


def by_hand(x: Array, gamma: Array, beta: Array, dy: Array) -> Call:
    """NumPy by hand: three terms, in place, with the sums that are the fastest at this shape."""
    arrays = x, gamma, beta, dy
    calls: list[Call] = [lambda sums=sums: three_terms(*arrays, *sums) for sums in SUMS]  # type: ignore[misc]
    return min(calls, key=lambda call: min(seconds(call) for _ in range(4)))


def three_terms(
    x: Array, gamma: Array, beta: Array, dy: Array, sum_: Callable[..., Array], dot: Callable[..., Array]
) -> tuple[Array, tuple[Array, ...]]:
    """dx = γ/σ (dy - mean(dy) - x̂ mean(dy x̂)), in two arrays beside y and the statistics; x̂ is never stored."""
    along = (-1,) + (1,) * (x.ndim - 2)
    n = x.dtype.type(x.size // x.shape[1])
    y, dx = np.empty_like(x), np.empty_like(x)
    xc = x - (sum_(x) / n).reshape(along)
    inverse = 1 / np.sqrt(dot(xc, xc, y) / n + x.dtype.type(EPS))
    scale = gamma * inverse
    np.multiply(xc, scale.reshape(along), out=y)
    y += beta.reshape(along)
    dbeta, dgamma = sum_(dy), inverse * dot(dy, xc, dx)
    np.multiply(dy, scale.reshape(along), out=dx)
    xc *= (scale * inverse * dgamma / n).reshape(along)
    dx -= xc
    dx -= (scale * dbeta / n).reshape(along)
    return y, (dx, dgamma, dbeta)


def _maps(x: Array) -> Array:
    """[N, C, H, W] as [N, C, H·W]."""
    return x.reshape(*x.shape[:2], -1)


def plain_sum(x: Array) -> Array:
    return x.sum(axis=0) if x.ndim == 2 else _maps(x).sum(axis=2).sum(axis=0)


def plain_dot(a: Array, b: Array, room: Array) -> Array:
    return plain_sum(np.multiply(a, b, out=room))


def einsum_dot(a: Array, b: Array, room: Array) -> Array:
    return np.einsum("nc,nc->c", a, b) if a.ndim == 2 else np.vecdot(_maps(a), _maps(b)).sum(axis=0)


def blas_sum(x: Array) -> Array:
    if x.ndim == 2:
        return np.ones(x.shape[0], x.dtype) @ x
    maps = _maps(x)
    return (maps @ np.ones(maps.shape[2], x.dtype)).sum(axis=0)


SUMS = [(plain_sum, plain_dot), (plain_sum, einsum_dot), (blas_sum, einsum_dot)]


def two_copies(x: Array, gamma: Array, beta: Array, dy: Array) -> Call:
    return lambda: (x.copy(), dy.copy())


def two_copies_in_place(x: Array, gamma: Array, beta: Array, dy: Array) -> Call:
    """Into arrays that stand: no page is new, so less than anything that returns fresh arrays can do."""
    into, into_dy = np.empty_like(x), np.empty_like(dy)
    return lambda: (np.copyto(into, x), np.copyto(into_dy, dy))


def seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


BATCH_NORM: dict[str, Callable[..., Call]] = {
    "compiled, Numba": compiled("numba"),
    "compiled, NumPy": compiled("numpy"),
    "eager": eager,
    "PyTorch fused": torch_fused,
    "NumPy by hand": by_hand,
    "autograd": autograd_composed,
    "mygrad": mygrad_composed,
    "two copies": two_copies,
    "two copies in place": two_copies_in_place,
}


def outcome(result: Any) -> list[Array]:
    """y, dx, dgamma and dbeta of any contestant as arrays; none of a copy."""
    y, gradients = result
    return [_array(a) for a in (y, *gradients)] if isinstance(gradients, (tuple, list)) else []


def _array(a: Any) -> Array:
    return np.asarray(a.numpy() if isinstance(a, tg.Tensor) else a.detach() if hasattr(a, "detach") else a)


# -- a training step: Linear, BatchNorm with running statistics, ReLU; cross entropy; SGD ---------------


def network() -> Any:
    return tg.nn.mlp(LAYERS[0], LAYERS[1:-1], LAYERS[-1], batch_norm=True, dtype=np.float32, rng=0)


def batch() -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(BATCH, LAYERS[0])).astype(np.float32), rng.integers(0, LAYERS[-1], BATCH)


def our_step(backend: str | None) -> Callable[[], Call]:
    def make() -> Call:
        model = network()
        optimizer = tg.optim.SGD(model.parameters(), lr=RATE)
        x, classes = batch()

        def step(x: Any, classes: Any) -> Any:
            optimizer.zero_grad()
            loss = tg.cross_entropy(model(x), classes)
            loss.backward()
            optimizer.step()
            return loss

        run = compile(step, backend=backend) if backend else step
        return lambda: run(x, classes)

    return make


def torch_step() -> Call:
    import torch
    from torch import nn

    blocks = [nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()) for a, b in itertools.pairwise(LAYERS[:-1])]
    model = nn.Sequential(*blocks, nn.Linear(*LAYERS[-2:]))
    ours = network().state_dict().values()
    initial = {name: torch.tensor(value) for name, value in zip(model.state_dict(), ours, strict=True)}
    model.load_state_dict(initial)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    x, classes = map(torch.from_numpy, batch())

    def step() -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), classes)
        loss.backward()
        optimizer.step()
        return loss.detach()

    fast = with_threads(step)
    model.load_state_dict(initial)
    return fast


def jax_step() -> Call:
    import jax
    import jax.numpy as jnp

    state = {name: jnp.asarray(value) for name, value in network().state_dict().items() if "batches" not in name}
    running = {name: state.pop(name) for name in list(state) if "running" in name}
    blocks = range(1, len(LAYERS) - 1)
    x, classes = map(jnp.asarray, batch())

    def forward(weights: Any, running: Any, x: Any, classes: Any) -> Any:
        tracked = {}
        for i in blocks:
            linear, bn = f"block{i}.linear", f"block{i}.bn"
            x = x @ weights[f"{linear}.weight"].T + weights[f"{linear}.bias"]
            mean, var = x.mean(axis=0), x.var(axis=0)
            unbiased = var * (BATCH / (BATCH - 1))
            tracked[f"{bn}.running_mean"] = 0.9 * running[f"{bn}.running_mean"] + 0.1 * mean
            tracked[f"{bn}.running_var"] = 0.9 * running[f"{bn}.running_var"] + 0.1 * unbiased
            x = weights[f"{bn}.weight"] * ((x - mean) / jnp.sqrt(var + EPS)) + weights[f"{bn}.bias"]
            x = jax.nn.relu(x)
        logp = jax.nn.log_softmax(x @ weights["out.weight"].T + weights["out.bias"])
        return -logp[jnp.arange(BATCH), classes].mean(), tracked

    def update(weights: Any, running: Any, x: Any, classes: Any) -> Any:
        (loss, tracked), grads = jax.value_and_grad(forward, has_aux=True)(weights, running, x, classes)
        return loss, jax.tree.map(lambda w, g: w - RATE * g, weights, grads), tracked

    fast = jax.jit(update, donate_argnums=(0, 1))

    def step() -> Any:
        nonlocal state, running
        loss, state, running = jax.block_until_ready(fast(state, running, x, classes))
        return loss

    return step


STEPS: dict[str, Callable[[], Call]] = {
    "compiled, Numba": our_step("numba"),
    "compiled, NumPy": our_step("numpy"),
    "eager": our_step(None),
    "PyTorch eager": torch_step,
    "jax.jit": jax_step,
}


# -- who is here --------------------------------------------------------------------------------------

MODULES = {"PyTorch": "torch", "autograd": "autograd", "mygrad": "mygrad", "jax.jit": "jax"}


def missing(name: str) -> str | None:
    """Why a contestant is not there; None if it is."""
    try:
        for start, module in MODULES.items():
            if name.startswith(start):
                __import__(module)
        if name.startswith("compiled"):
            compile(lambda x: x, backend=name.removeprefix("compiled, ").lower())(np.ones(1))
    except (ImportError, AttributeError) as error:
        return f"not there: {error}"
    return None


def same(found: Sequence[Array], due: Sequence[Array]) -> bool:
    """Whether two contestants have computed the same thing, up to rounding of the narrower arrays."""
    limit = 3e3 * np.finfo(due[0].dtype).eps
    return all(
        (a.shape, a.dtype) == (b.shape, b.dtype) and np.abs(a - b).max() <= limit * np.abs(b).max()
        for a, b in zip(found, due, strict=True)
    )
