"""Every code block of the README and of the docs runs, and prints what the text says it prints."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Commands that a reader types; CI runs the first two in a fresh environment.
COMMANDS = {
    'pip install -e ".[examples]" && python examples/batchnorm.py',
    'pip install -e ".[dev]" && pytest',
    "python tests/benchmarks/chains.py",
    "pytest tests/benchmarks --benchmark-only",
    "python tests/benchmarks/gradient_testing.py",
    "python examples/published_backwards.py",
    "pytest examples/test_my_backward.py",
    "python -m tinygraph demo batchnorm",
    "python -m tinygraph doctor",
    "python examples/gallery.py",
    "python -m examples.experiments.weight_scales_mnist",
    "python examples/distributed_digits.py",
    "python examples/gpu_batchnorm.py",
}
# What a page needs whose code has such a word.
EXTRAS = {
    "sklearn": "tg.data.load_digits",
    "jax": "distributed.mesh",
    "onnx": "tg.export_onnx",
    "onnxruntime": "import onnxruntime",
}
# Those whose output stands below them.
SHOWN = {"python examples/published_backwards.py --brief"}


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """The language, the text, and the lines above it."""
    whole = page.read_text(encoding="utf-8")
    return [(m[1], m[2], whole.count("\n", 0, m.start(2))) for m in BLOCK.finditer(whole)]


def output(command: str) -> str:
    arguments = [sys.executable, "-W", "error", *command.split()[1:]]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_code_runs_and_prints_what_the_text_says(page, tmp_path, monkeypatch):
    code = "".join(text for language, text, _ in blocks(page) if language == "python")
    for package, word in EXTRAS.items():
        if word in code:
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    for language, text, above in blocks(page):
        if language == "python":
            stream = io.StringIO()
            with contextlib.redirect_stdout(stream):
                exec(compile("\n" * above + text, str(page), "exec"), namespace)
            printed = stream.getvalue()
        elif language == "text":
            assert text == printed
        elif language == "sh":
            typed = [line for line in text.splitlines() if line]
            assert set(typed) <= COMMANDS | SHOWN
            printed = "".join(output(line) for line in typed if line in SHOWN)
        else:
            pytest.fail(f"a block in the unknown language {language!r}")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "batchnorm.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_main_job(tmp_path, dtype):
    pytest.importorskip("sklearn")
    done = run("--batch", "8", "--features", "3", "--dtype", dtype, "--out", "pictures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mean(x, axis=0)" in done.stdout
    units = [float(u) for row in re.findall(r"^  d[xγβ].*$", done.stdout, re.MULTILINE) for u in row.split()[-2:]]
    assert len(units) == 6
    assert max(units) < 64
    assert (tmp_path / "pictures" / "batchnorm.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "pictures" / "batchnorm.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", [["--batch", "2"], ["--features", "65"], ["--dtype", "int8"], ["--batch", "many"]])
def test_the_main_job_says_what_is_wrong(tmp_path, wrong):
    pytest.importorskip("sklearn")
    done = run(*wrong, cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert wrong[1] in done.stderr or "choose 3 to 1797" in done.stderr
