"""The shortest test that a user writes: it is short, it passes, and a mistake in it is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "test_my_backward.py"


def run(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file), f"--rootdir={folder}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")


def test_it_is_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 20


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("", "", "1 passed"),
        ("return d - d.mean", "return d + d.mean", "dx: term through mu multiplied by -1 (it has its sign flipped)"),
    ],
)
def test_what_pytest_says(tmp_path, right, wrong, says):
    source = EXAMPLE.read_text(encoding="utf-8")
    assert right in source
    file = tmp_path / "test_it.py"
    file.write_text(source.replace(right, wrong), encoding="utf-8")
    done = run(file, tmp_path)
    assert says in done.stdout, done.stdout + done.stderr
    assert done.returncode == (0 if right == wrong else 1)
