"""A small BatchNorm, engines that are there, engines that misbehave."""

import os
import shutil
import stat
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.picture import engine


@pytest.fixture
def bn():
    """BatchNorm from primitives after a backward pass: its output ``y`` and all its Tensors by name."""
    rng = np.random.default_rng(3)
    x = tg.tensor(rng.normal(2, 2, (4, 3)), requires_grad=True, name="x")
    gamma = tg.Parameter([1.5, 0.5, 1.0], name="γ")
    beta = tg.Parameter([0.1, -0.2, 0.3], name="β")
    epsilon = tg.tensor(1e-5, name="ε")
    with tg.scope("mean"):
        mu = tg.mean(x, axis=0)
    with tg.scope("centre"):
        centred = x - mu
    with tg.scope("variance"):
        squares = centred**2
        variance = tg.mean(squares, axis=0)
    with tg.scope("normalise"):
        shifted = variance + epsilon
        sigma = tg.sqrt(shifted)
        x_hat = centred / sigma
    with tg.scope("scale and shift"):
        scaled = gamma * x_hat
        y = scaled + beta
    seed = rng.normal(size=(4, 3))
    y.backward(seed)
    names = {"μ": mu, "σ²": variance, "σ": sigma, "x̂": x_hat, "y": y}
    tensors = {
        "x": x, "γ": gamma, "β": beta, "x−μ": centred, "(x−μ)²": squares, "σ²+ε": shifted, "γ·x̂": scaled, **names
    }  # fmt: skip
    return SimpleNamespace(y=y, x=x, gamma=gamma, names=names, tensors=tensors, seed=seed)


@pytest.fixture
def dot():
    """Skips where the program dot is not installed."""
    if shutil.which("dot") is None:
        pytest.skip("needs the Graphviz program dot")


@pytest.fixture
def pygraphviz():
    """Skips where the wheel is not installed. It is never imported: its C library stays out of here."""
    if engine.available("pygraphviz") is None:
        pytest.skip("needs pygraphviz")


@pytest.fixture
def no_engine(monkeypatch):
    """A machine without Graphviz."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(engine.VARIABLE, raising=False)
    monkeypatch.setattr(engine, "_FOLDERS", ())
    monkeypatch.setattr(engine, "_pygraphviz", lambda: None)


@pytest.fixture
def fake_dot(tmp_path, monkeypatch):
    """Make ``$TINYGRAPH_DOT`` a Python script with the given body."""
    if os.name == "nt":
        pytest.skip("a script is no program on Windows")

    def install(body):
        script = tmp_path / "dot"
        script.write_text(f"#!{sys.executable} -S\nimport os, sys, time\n{body}\n", encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(engine.VARIABLE, str(script))
        return script

    return install
