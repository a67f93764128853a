"""BatchNorm on JAX and in PyTorch: what the command prints, with both and with one."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "gpu_batchnorm.py"


@pytest.fixture
def example(monkeypatch):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    spec = importlib.util.spec_from_file_location("gpu_batchnorm", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(module, "WORTH", 0.001)
    monkeypatch.setattr(module, "SHAPES", {kind: [(64, 8), (8, 4, 5, 5)] for kind in ("cpu", "gpu")})
    monkeypatch.setattr(module, "ROUNDS", 3)
    monkeypatch.setattr(module, "backend", jax.default_backend(), raising=False)
    return module


def test_both_are_timed_and_agree(example, capsys):
    pytest.importorskip("torch", reason="torch is not installed")
    example.main([])
    out = capsys.readouterr().out
    rows = re.findall(r"^ +(\(.*?\)) +([\d.]+) ms +([\d.]+) ms +([\d.]+) \([\d.]+ to [\d.]+\)$", out, re.MULTILINE)
    assert [shape for shape, *_ in rows] == ["(64, 8)", "(8, 4, 5, 5)"]
    assert all(float(ms) > 0 for _, *both, _ in rows for ms in both)
    assert ("this is the processor's time" in out) == (example.backend != "gpu")


def test_a_wrong_result_is_not_timed(example, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    right = example.on_torch
    monkeypatch.setattr(example, "on_torch", lambda x, gamma, beta, g, device: right(x, 2 * gamma, beta, g, device))
    with pytest.raises(SystemExit, match="the two differ by"):
        example.main([])


def test_without_torch_there_are_no_ratios(example, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    example.main(["--quick", "--dtype", "float64"])
    out = capsys.readouterr().out
    assert "there is nothing to compare with" in out
    assert re.search(r"^ +\(64, 8\) +[\d.]+ ms$", out, re.MULTILINE)
