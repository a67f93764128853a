"""The DOT text of BatchNorm, to the byte.

Renew the file after a wanted change, and look at the difference::

    TINYGRAPH_RENEW=1 python -m pytest tests/golden/test_dot.py
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinygraph as tg

GOLDEN = Path(__file__).with_name("batch_norm.dot")
X = [[4.5, 0.5, 2.0], [1.0, 2.5, -1.0], [-2.0, 4.0, 3.5], [3.0, -1.5, 1.0]]
SEED = [[0.5, -1.0, 0.25], [-1.5, 0.75, 0.5], [1.0, 0.5, -2.0], [0.25, -0.5, 1.5]]


def picture():
    """BatchNorm written from primitives, as a reader would draw it."""
    x = tg.tensor(X, requires_grad=True, name="x")
    gamma = tg.Parameter([1.5, 0.5, 1.0], name="γ")
    beta = tg.Parameter([0.1, -0.2, 0.3], name="β")
    epsilon = tg.tensor(1e-5, name="ε")
    with tg.scope("mean"):
        mu = tg.mean(x, axis=0)
    with tg.scope("centre"):
        centred = x - mu
    with tg.scope("variance"):
        variance = tg.mean(centred**2, axis=0)
    with tg.scope("normalise"):
        sigma = tg.sqrt(variance + epsilon)
        x_hat = centred / sigma
    with tg.scope("scale and shift"):
        y = gamma * x_hat + beta
    y.backward(SEED)
    return tg.draw(y, names={"μ": mu, "σ²": variance, "σ": sigma, "x̂": x_hat, "y": y}, title="BatchNorm")


def test_dot_of_batch_norm():
    text = picture().dot
    if os.environ.get("TINYGRAPH_RENEW"):
        GOLDEN.write_text(text, encoding="utf-8", newline="\n")
    assert text == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("hash_seed", ["0", "1", "42"])
def test_same_under_every_hash_seed(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout == GOLDEN.read_bytes()


if __name__ == "__main__":
    sys.stdout.buffer.write(picture().dot.encode("utf-8"))
