"""BatchNorm from seven primitives: its graph, its derived backward, the proof, and the picture.

Takes a batch of scikit-learn's handwritten digits, writes batch normalisation with mean, sub, pow,
add, sqrt, div and mul, derives the backward, and holds it against two things that share no code
with it: a backward fused by hand, and complex-step differentiation.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import tinygraph as tg

EPS = 1e-5
STEP = 1e-30  # complex step has no cancellation, so it may be as small as this
MOST_STEPS = 2_000


def named(name, tensor):
    """Give an intermediate result the name that listings and pictures show."""
    tensor.name = name
    return tensor


def batch_norm(x, gamma, beta):
    """γ · (x - μ) / √(σ² + ε) + β, one channel a column."""
    with tg.scope("mean"):
        mean = named("μ", tg.mean(x, axis=0))
    with tg.scope("centre"):
        centred = named("x−μ", x - mean)
    with tg.scope("variance"):
        variance = named("σ²", tg.mean(centred**2, axis=0))
    with tg.scope("normalise"):
        deviation = named("σ", tg.sqrt(variance + EPS))
        normal = named("x̂", centred / deviation)
    with tg.scope("scale and shift"):
        return gamma * normal + beta


def digits(batch: int, features: int, dtype: np.dtype) -> np.ndarray:
    """The ``features`` liveliest pixels of the first ``batch`` handwritten digits."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit('the digits come with scikit-learn: pip install "tinygraph[examples]"')
    images = load_digits().data
    if not (3 <= batch <= len(images) and 1 <= features <= images.shape[1]):
        sys.exit(
            f"there are {len(images)} digits of {images.shape[1]} pixels: choose 3 to {len(images)}, 1 to {images.shape[1]}"
        )
    liveliest = np.sort(np.argsort(images.var(axis=0))[-features:])
    return images[:batch, liveliest].astype(dtype)


def complex_step(arrays: list[np.ndarray], g: np.ndarray, which: int, places: list[tuple[int, ...]]) -> np.ndarray:
    """d(y · g)/d(arrays[which]) at ``places``, by Im f(x + ih) / h: exact to the last digits."""
    graph = tg.trace(batch_norm, *arrays)
    slopes = []
    for place in places:
        moved = [a.astype(np.complex128) for a in arrays]
        moved[which][place] += 1j * STEP
        (y,) = graph.run(np, *moved)
        slopes.append((y.imag / STEP * g).sum())
    return np.array(slopes)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python examples/batchnorm.py --batch 64 --features 4 --dtype float32 --out pictures",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=int, default=32, metavar="N", help="digits in the batch, 3 to 1797 (default: 32)"
    )
    parser.add_argument(
        "--features", type=int, default=4, metavar="D", help="pixels of each digit, 1 to 64 (default: 4)"
    )
    parser.add_argument(
        "--dtype", choices=["float32", "float64"], default="float64", help="precision (default: float64)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="folder for the pictures (default: out/)"
    )
    return parser.parse_args()


def main() -> None:
    options = parse()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"--out {options.out}: cannot make this folder ({error.strerror}); choose another")
    dtype = np.dtype(options.dtype)
    rng = np.random.default_rng(0)
    pixels = digits(options.batch, options.features, dtype)
    x = tg.tensor(pixels, requires_grad=True, name="x")
    gamma = tg.Parameter(rng.uniform(0.5, 1.5, options.features), dtype=dtype, name="γ")
    beta = tg.Parameter(rng.normal(size=options.features), dtype=dtype, name="β")
    leaves = [x, gamma, beta]
    arrays = [t.numpy() for t in leaves]
    g = rng.normal(size=pixels.shape).astype(dtype)

    print(f"BatchNorm on {options.batch} handwritten digits x {options.features} pixels, {dtype}\n")
    print("The forward, from seven primitives:")
    print(tg.trace(batch_norm, *leaves), "\n")
    both = tg.trace(tg.vjp_fn(batch_norm), *leaves, tg.tensor(g, name="g"))
    print("The backward, derived from it (also a graph):")
    print("\n".join(line for line in str(both).splitlines() if "backward" in line), "\n")

    y = batch_norm(*leaves)
    y.backward(g)
    fused = tg.gradients(tg.fused.batch_norm(*leaves), leaves, g)
    # A rounding unit is half the spacing of floats at the largest entry of the gradient.
    print("Largest difference from the derived gradient, in rounding units:")
    print(f"  {'gradient':<10}{'shape':<12}{'fused by hand':>14}{'complex step':>14}")
    for i, (leaf, other) in enumerate(zip(leaves, fused, strict=True)):
        derived = leaf.grad.numpy().astype(np.float64)
        unit = np.finfo(dtype).eps / 2 * np.abs(derived).max()
        places = list(np.ndindex(leaf.shape))
        chosen = [places[k] for k in rng.permutation(len(places))[:MOST_STEPS]]
        stepped = complex_step(arrays, g.astype(np.float64), i, chosen)
        against_step = np.abs(stepped - [derived[place] for place in chosen]).max() / unit
        against_fused = np.abs(other.numpy() - derived).max() / unit
        sampled = f"   ({len(chosen)} of {len(places)} entries)" if len(chosen) < len(places) else ""
        print(f"  d{leaf.name:<9}{leaf.shape!s:<12}{against_fused:>14.1f}{against_step:>14.1f}{sampled}")

    picture = tg.draw(y, title="BatchNorm", names={"y": y})
    print()
    for suffix in ("svg", "png", "html"):
        try:
            print(f"picture  {picture.save(options.out / f'batchnorm.{suffix}')}")
        except tg.errors.GraphvizNotFound as error:  # PNG alone needs an engine
            print(f"no picture: {error}")
    lanes = tg.draw(y, mode="lanes", title="BatchNorm and its derived backward", names={"y": y})
    print(f"picture  {lanes.save(options.out / 'batchnorm-lanes.svg')}")


if __name__ == "__main__":
    main()
