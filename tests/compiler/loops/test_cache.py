"""Kernels on disk: loaded by the next process, and never a reason to fail."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("numba")

PROGRAM = """
import sys
import numpy as np
import tinygraph as tg
from tinygraph.compiler.graphs import valueless
from tinygraph.compiler.loops import backend, kernels
x = np.arange(12.0).reshape(4, 3)
kernel = backend.build(valueless(tg.trace(lambda x: tg.sum(x * 2 + 1, axis=0), x)))
np.testing.assert_array_equal(kernel(x)[0], (x * 2 + 1).sum(axis=0))
(made,) = kernels._KERNELS.values()
loaded, missed = (sum(counts.values()) for counts in (made.stats.cache_hits, made.stats.cache_misses))
assert loaded + missed <= 1
if loaded:  # what takes the time of a first call: all that is needed for compiling
    assert "numba.np.arraymath" not in sys.modules
    assert "scipy.linalg" not in sys.modules
print("loaded" if loaded else "compiled")
"""


EVERYTHING = """
import numpy as np
import tinygraph as tg
from tinygraph.compiler.graphs import valueless
from tinygraph.compiler.loops import backend, kernels

def fn(x, y):
    a = tg.floor(x) + tg.ceil(y) * tg.sqrt(abs(x)) - tg.sign(y) / 3 + tg.mul0(x, y) - tg.div0(x, y) + x**0.5
    b = tg.where(tg.logical_and(x > y, tg.logical_not(x == y)), tg.maximum(a, x), tg.minimum(a, y))
    return [c * tg.mean(b * c, axis=axis, keepdims=True) for axis, c in ((0, a), (1, b))] + [a * b]

for dtype in (np.float32, np.float64):
    x, y = np.random.default_rng(0).uniform(1, 9, (2, 30, 20)).astype(dtype)
    graph = tg.trace(fn, x, y)
    for got, due in zip(backend.build(valueless(graph))(x, y), graph.run(np, x, y)):
        np.testing.assert_allclose(got, due, rtol=1e-5)
print(all(k.stats.cache_hits for k in kernels._KERNELS.values()))
"""


def run(folder, program=PROGRAM):
    """What a process of its own did for its kernel."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "TINYGRAPH_CACHE": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache") / "made" / "here"
    assert run(folder) == "compiled"
    assert run(folder) == "loaded"
    return folder


def test_loaded_code_lacks_nothing(tmp_path):
    """Whatever a kernel calls is there without what Numba makes ready for compiling."""
    assert run(tmp_path, EVERYTHING) == "False"
    assert run(tmp_path, EVERYTHING) == "True"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "damage"),
    [("sum", "gone"), ("sum", "flipped"), ("nbi", "cut"), ("nbi", "empty"), ("nbc", "flipped"), ("nbc", "gone")],
)
def test_damage_is_repaired(warm, suffix, damage):
    (path,) = warm.rglob(f"*.{suffix}")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:middle], "flipped": flipped, "empty": b""}[damage])
    assert run(warm) == "compiled"
    assert run(warm) == "loaded"


def test_a_text_that_was_changed_is_written_again(warm):
    (path,) = warm.rglob("*.py")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"* x0", b"+ x0") + b"raise SystemExit(3)")
    assert run(warm) in ("loaded", "compiled")  # the machine code is that of the right text still
    assert path.read_bytes() == content


@pytest.mark.slow
def test_processes_at_the_same_time(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: run(tmp_path), range(3)))
    assert run(tmp_path) in ("loaded", "compiled")
    assert run(tmp_path) == "loaded"


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(0o777)
    assert run(tmp_path) == run(tmp_path) == "compiled"
    assert not list(folder.iterdir())


def test_no_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder")
    assert run(file) == "compiled"
    assert file.read_text() == "no folder"
