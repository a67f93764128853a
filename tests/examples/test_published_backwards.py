"""The show-case of published backwards: its verdicts, its exit status, and that a surprise is one."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "published_backwards.py"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **variables}
    command = [sys.executable, "-W", "error", str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8")


def rows(text: str) -> dict[str, list[str]]:
    """The lines of tables, by their first cell."""
    cells = [re.split(r" {3,}", line.strip()) for line in text.splitlines()]
    return {first: rest for first, *rest in reversed(cells) if rest}


@pytest.fixture(scope="module")
def script():
    """The program, imported."""
    spec = importlib.util.spec_from_file_location("published_backwards", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def whole():
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_two_are_right_and_one_has_a_wrong_sign(whole):
    found = rows(whole.partition("rounding units")[0])
    assert found["cs231n, staged"] == ["ok", "ok", "nothing is wrong", "equal"]
    assert found["cs231n, closed form"] == ["ok", "ok", "nothing is wrong", "equal"]
    assert found["layer class"] == ["dx wrong", "dx wrong", "dx: term through mu multiplied by -1", "dx different"]


def test_the_figures_leave_no_doubt(whole):
    _, _, after = whole.partition("The largest error")
    table = after.partition("float32 at its edges")[0]
    units = [[float(u) for u in line.split()[-4:]] for line in table.splitlines() if re.search(r"float(32|64) ", line)]
    assert len(units) == 6
    assert max(u for row in units[:4] for u in row) < 16
    assert all(row[1] > 1e6 and max(row[0], *row[2:]) < 16 for row in units[4:])


def test_the_edges_of_float32(whole):
    found = rows(whole.partition("at its edges")[2].partition("What else")[0])
    assert found["cs231n, staged"] == found["cs231n, closed form"] == ["range", "range"]
    assert found["tg.fused.batch_norm"] == ["ok", "ok"]


@pytest.mark.parametrize(
    "text",
    [
        "eps is 1e-06 in place of 1e-05; term through mu multiplied by -1",
        "dgamma: backward of a different forward: eps is 1e-06 in place of 1e-05",
        "ok, since the term through mu is 0",
        "structure: raises ValueError",
        "wrong: forward, gradient",
        "dx: backward of a different forward: mu uses sum instead of mean",
        "0.8333 of what is printed",
        "dx: term through mu multiplied by -1 (it has its sign flipped)",
        "yours dx = direct + through var - through mu",
    ],
)
def test_it_says(whole, text):
    assert text in re.sub(r"\s+", " ", whole)


def test_it_fits_into_a_terminal(whole):
    assert max(map(len, whole.splitlines())) <= 100
    assert "\x1b" not in whole


def test_brief_is_the_first_table_and_needs_numpy_only(whole, tmp_path):
    """Neither Hypothesis nor another framework can be imported here."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfor name in ('hypothesis', 'torch', 'jax', 'numba', 'autograd'):\n    sys.modules[name] = None\n"
    )
    done = run("--brief", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert done.stdout in whole


def test_other_problems_give_the_same_verdicts(whole):
    done = run("--seed", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout != whole
    assert rows(done.stdout)["layer class"] == rows(whole)["layer class"]


@pytest.mark.parametrize("wrong", [["--seed", "-1"], ["--seed", "many"], ["--short"]])
def test_what_is_wrong_with_the_call(wrong):
    done = run(*wrong)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert wrong[-1] in done.stderr


def test_help():
    assert "--brief" in run("--help").stdout


def test_a_surprise_is_a_failure(script, monkeypatch, capsys):
    """A minus in the class is what the book has; then the table is not the one that is expected."""
    source = SCRIPT.read_text(encoding="utf-8")
    mended = source.replace("dx = dxc + dmu / self.batch_size", "dx = dxc - dmu / self.batch_size")
    assert mended != source
    exec(compile(mended, str(SCRIPT), "exec"), script.__dict__)
    monkeypatch.setattr(sys, "argv", ["published_backwards.py", "--brief"])
    with pytest.raises(SystemExit) as stop:
        script.main()
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert rows(printed.out)["layer class"] == ["ok", "ok", "nothing is wrong", "equal"]
    assert "dx different" in printed.err
