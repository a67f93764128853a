"""How long BatchNorm's forward and backward take: tinygraph's derived one on JAX, and PyTorch's fused kernel.

Both run where the arrays are, on the GPU where both packages have one, else on the processor, and both give the output and
the gradients of x, γ and β. The two take turns, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygraph as tg
from tinygraph import distributed
from tinygraph.core.held import held

SHAPES = {
    "gpu": [(8192, 1024), (65536, 512), (64, 128, 56, 56), (256, 64, 32, 32)],
    "cpu": [(1024, 256), (8192, 512), (16, 64, 28, 28), (64, 32, 32, 32)],
}
ROUNDS, QUICK_ROUNDS = 31, 5
WORTH = 0.02  # seconds that one measurement lasts at least, for the clock to be exact


def on_jax(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, g: np.ndarray) -> tuple[Callable, Callable]:
    """A function that starts a forward and backward, and one that waits for what it gives."""
    import jax

    state = [tg.Parameter(a) for a in (x, gamma, beta, g)]
    distributed.replicate(state, distributed.mesh({"batch": 1}))  # there they stay
    both = tg.compile(lambda: tg.vjp_fn(tg.batch_norm)(*state), backend="jax")
    return both, lambda found: jax.block_until_ready([held(t) for t in (found[0], *found[1])])


def on_torch(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, g: np.ndarray, device: str
) -> tuple[Callable, Callable]:
    import torch

    leaves = [torch.tensor(a, device=device, requires_grad=True) for a in (x, gamma, beta)]
    seed = torch.tensor(g, device=device)

    def both() -> Any:
        y = torch.nn.functional.batch_norm(leaves[0], None, None, *leaves[1:], training=True)
        return y.detach(), torch.autograd.grad(y, leaves, seed)

    return both, lambda found: torch.cuda.synchronize() if device == "cuda" else found


def seconds(both: Callable, wait: Callable, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        found = both()
    wait(found)
    return (time.perf_counter() - begin) / calls


def measured(contestants: dict[str, tuple[Callable, Callable]], rounds: int) -> dict[str, list[float]]:
    """Seconds of a call, in each round, after as many calls as warm everything up."""
    calls = {}
    for name, (both, wait) in contestants.items():
        seconds(both, wait, 3)
        calls[name] = max(3, int(WORTH / seconds(both, wait, 3)) + 1)
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (both, wait) in contestants.items():
            found[name].append(seconds(both, wait, calls[name]))
    return found


def numbers(found: Any) -> list[np.ndarray]:
    """Output and gradients, in main memory."""
    arrays = (found[0], *found[1])
    return [a.numpy() if isinstance(a, tg.Tensor) else a.cpu().numpy() for a in arrays]


def furthest(found: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The largest difference between two, each as a part of the largest entry."""
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, other, strict=True))


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("gpu_batchnorm", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small shape, and few rounds")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    options = parser.parse_args(argv)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave memory to PyTorch
    try:
        import jax
    except ImportError:
        sys.exit('gpu_batchnorm: jax is not installed; run: pip install "tinygraph[jax]"')
    try:
        import torch
    except ImportError:
        torch = None

    kind = jax.default_backend()
    cuda = torch is not None and torch.cuda.is_available()
    device = "cuda" if kind == "gpu" and cuda else "cpu"
    print(f"machine: {processor()}; python {platform.python_version()}, jax {jax.__version__}", end="")
    print(f", torch {torch.__version__} with {torch.get_num_threads()} threads" if torch else "")
    print(f"JAX runs on: {jax.devices()[0].device_kind} ({kind})", end="; ")
    if torch is None:
        print("PyTorch is not installed: there is nothing to compare with")
    else:
        print(f"PyTorch runs on: {torch.cuda.get_device_name() if device == 'cuda' else 'cpu'}")
    if kind != "gpu":
        print("there is no GPU that JAX can use: this is the processor's time")
    elif torch is not None and device == "cpu":
        print("PyTorch has no GPU: the two run on different devices, so there are no ratios")
        torch = None

    shapes = SHAPES["gpu" if kind == "gpu" else "cpu"][: 1 if options.quick else None]
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    print(f"\nforward and backward, {options.dtype}, medians of {rounds} rounds (quartiles of the ratio)")
    print(f"{'shape':>18} {'tinygraph on JAX':>18} {'PyTorch, fused':>16} {'ratio':>7}")
    for shape in shapes:
        rng = np.random.default_rng(0)
        x, g = (rng.normal(size=shape).astype(options.dtype) for _ in range(2))
        gamma, beta = (rng.normal(size=shape[1]).astype(options.dtype) for _ in range(2))
        contestants = {"jax": on_jax(x, gamma, beta, g)}
        if torch is not None:
            contestants["torch"] = on_torch(x, gamma, beta, g, device)
            off = furthest(*(numbers(both()) for both, _ in contestants.values()))
            if not off <= {"float32": 1e-4, "float64": 1e-11}[options.dtype]:
                sys.exit(f"gpu_batchnorm: {shape}: the two differ by {off:.0e} of the largest entry")
        found = measured(contestants, rounds)
        line = f"{shape!s:>18} {1e3 * statistics.median(found['jax']):>15.3f} ms"
        if torch is not None:
            ratios = [a / b for a, b in zip(found["jax"], found["torch"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            line += f" {1e3 * statistics.median(found['torch']):>13.3f} ms {middle:>7.2f} ({low:.2f} to {high:.2f})"
        print(line)


if __name__ == "__main__":
    main()
