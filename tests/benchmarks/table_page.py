"""The lines of ``table.py``: how they are judged, printed, and written into docs/performance.md."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
MARKS = "<!-- the table -->", "<!-- end of the table -->"
ABOUT = """\
Each ratio is the median of our time over that of the peer, from repetitions that take turns in one run: below 1 we are
faster, and 0.067 is 15 times as fast. Peers get the arrays in their own form beforehand, all results are fresh arrays,
and all contestants must agree. PyTorch runs with one thread or two, whichever is faster. The aims were set before anything
was built."""
PACKAGES = "numpy", "numba", "torch", "jax", "autograd", "mygrad"


class Line(NamedTuple):
    """One line of a table, as text."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    aim: str = ""
    verdict: str = ""


HEAD = Line("", "ours", "peer", "ratio", "aim", "")


def line(what: str, ours: str, peer: str, ratio: float, limit: float | None) -> Line:
    aim = "" if limit is None else f"≤ {limit:.2g}"
    return Line(what, ours, peer, f"{ratio:.{2 if ratio >= 0.1 else 3}f}", aim, verdict(ratio, limit))


def verdict(value: float, limit: float | None) -> str:
    return "" if limit is None else "met" if value <= limit else "missed"


def absent(what: str, reason: str) -> Line:
    return Line(what, "–", reason)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def machine() -> str:
    """What this was measured on."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        named = [entry for entry in cpus.read_text().splitlines() if entry.startswith("model name")]
        model = named[0].split(":", 1)[1].strip() if named else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return f"{model}, {cores} cores; {platform.system()}; {', '.join(versions)}"


def environment() -> str:
    """The settings before a command that change what it measures, as they are typed."""
    names = sorted(name for name in os.environ if name.endswith("_NUM_THREADS"))
    return "".join(f"{name}={os.environ[name]} " for name in names)


def plain(title: str, lines: list[Line]) -> str:
    cells = [HEAD, *lines]
    widths = [max(len(row[k]) for row in cells) for k in range(len(HEAD))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n  ".join([title, *rows]) + "\n"


def markdown(title: str, lines: list[Line]) -> str:
    cells = [HEAD, Line(*["---"] * len(HEAD)), *lines]
    return "\n".join([f"**{title}**", "", *(f"| {' | '.join(row)} |" for row in cells)])


def write(command: str, found: list[tuple[str, list[Line]]]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    head = f"Measured by `{environment()}{command}` on {machine()}."
    body = "\n\n".join([MARKS[0], ABOUT, head, *(markdown(*table) for table in found), MARKS[1]])
    PAGE.write_text(before + body + after, encoding="utf-8")
