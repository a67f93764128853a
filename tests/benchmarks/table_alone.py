"""What ``table.py`` measures in a process of its own: ``python tests/benchmarks/table_alone.py first`` or ``memory``.

Prints one line of JSON.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

FIRST_SHAPE = (256, 256)


def first() -> dict[str, float]:
    """Seconds until the compiled BatchNorm has run once: the call that records it, and the first call of what was made."""
    start = time.perf_counter()
    import numba

    imported = time.perf_counter() - start
    from benchmarks.table_contestants import batch_norm_arrays, compiled

    assert numba
    arrays = batch_norm_arrays(FIRST_SHAPE, "float32")
    start = time.perf_counter()
    call = compiled("numba")(*arrays)
    call()
    call()
    return {"import numba": imported, "calls": time.perf_counter() - start}


def memory(contestant: str, shape: tuple[int, ...]) -> dict[str, float]:
    """Bytes of the inputs, of the results, and of all that is resident at the peak of one call beyond what was before."""
    from benchmarks.table_contestants import BATCH_NORM, batch_norm_arrays, outcome

    arrays = batch_norm_arrays(shape, "float32")
    call = BATCH_NORM[contestant](*arrays)
    held = [call() for _ in range(3)]  # so that the call that counts finds no memory that was used before
    results = sum(a.nbytes for a in outcome(held[0]))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    kept = call()
    peak = resident("VmHWM") - before
    del kept, held
    return {"inputs": sum(a.nbytes for a in arrays), "results": results, "call": peak}


def resident(field: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def ask(what: str, *arguments: str, cache: str | None = None) -> dict[str, float]:
    """The figures of a fresh process."""
    environment = dict(os.environ) if cache is None else {**os.environ, "TINYGRAPH_CACHE": cache}
    done = subprocess.run(
        [sys.executable, __file__, what, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{what} {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def first_calls(repeats: int) -> dict[str, list[dict[str, float]]]:
    """Fresh processes, each with an empty cache and then with the cache that it has left."""
    found: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for calls in found.values():
                calls.append(ask("first", cache=cache))
    return found


def main(what: str, *arguments: Any) -> None:
    if what == "first":
        print(json.dumps(first()))
    else:
        contestant, *shape = arguments
        print(json.dumps(memory(contestant, tuple(map(int, shape)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
