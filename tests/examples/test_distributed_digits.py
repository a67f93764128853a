"""The digits on one device, on eight, and in two processes: what the command prints, draws and refuses."""

import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "distributed_digits.py"


@pytest.fixture
def example(monkeypatch):
    for package in ("jax", "matplotlib", "sklearn"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.setenv("PYTHONPATH", str(SCRIPT.parents[1]))
    spec = importlib.util.spec_from_file_location("distributed_digits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_three_curves_agree(example, tmp_path, capsys):
    example.main(["--quick", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    lines = re.findall(
        r"^(\d \w+) +33 steps in +[\d.]+ s, loss (2\.[\d]+) to (0\.\d+), (\d+\.\d) % of the test", out, re.MULTILINE
    )
    assert [name for name, *_ in lines] == ["1 process", "8 devices", "2 processes"]
    assert all(float(loss) < 0.2 and float(right) > 95 for *_, loss, right in lines)
    (largest,) = re.findall(r"^largest relative difference between the curves: (\S+) \(float32", out, re.MULTILINE)
    assert 0 < float(largest) < 1e-5
    assert (tmp_path / "distributed_digits.png").read_bytes().startswith(b"\x89PNG")


def test_curves_that_do_not_agree_are_a_failure(example, tmp_path, monkeypatch):
    runs = iter([[2.0, 1.0], [2.0, 1.0], [2.0, 1.1]])
    monkeypatch.setattr(example, "start", lambda *_: {"losses": next(runs), "seconds": 1.0, "accuracy": 0.5})
    with pytest.raises(SystemExit, match="the curves do not agree"):
        example.main(["--out", str(tmp_path)])


def test_a_process_that_fails_ends_the_command(example, capfd):
    integers = example.tg.data.Dataset(x=example.np.zeros((20, 64), int), y=example.np.zeros(20, int))
    with pytest.raises(SystemExit, match="a process failed"):
        example.start(integers, 1, 1, 1)
    assert "DTypeError" in capfd.readouterr().err


def test_what_is_not_installed_is_named(example, monkeypatch):
    monkeypatch.setattr(example.importlib.util, "find_spec", lambda name: name != "jax")
    with pytest.raises(SystemExit, match="jax is not installed; run: pip install"):
        example.main([])
