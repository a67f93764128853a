"""Find a Graphviz engine and run it: as a child process, with a time limit, and with errors that help.

Only GraphvizNotFound, GraphvizError and RenderTimeout come out of here.
"""

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
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from ..errors import GraphvizError, GraphvizNotFound, RenderTimeout

VARIABLE = "TINYGRAPH_DOT"
LARGEST_SIDE = 32_766  # px; cairo scales what is larger, and then calls that a success

_WINDOWS = os.name == "nt"
_FOLDERS = (
    (
        r"C:\Program Files\Graphviz\bin",
        r"C:\Program Files (x86)\Graphviz\bin",
        rf"{sys.prefix}\Library\bin",
    )
    if _WINDOWS
    else (f"{sys.prefix}/bin", "/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin")
)
# How a whole file of each format begins and ends.
_MARKS = {"png": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"), "pdf": (b"%PDF", b"%%EOF"), "svg": (b"<", b"</svg>")}

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


@dataclass(frozen=True, slots=True)
class Place:
    """A place where an engine may live: the engine that starts there, or why there is none."""

    where: str
    engine: Engine | None
    problem: str = ""


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
    for place in search(choice):
        if place.engine is not None:
            return place.engine
        if place.where == f"${VARIABLE}" and place.problem != "not set":
            warnings.warn(f"${VARIABLE} is {place.problem}; looking elsewhere for dot", stacklevel=2)
    return None


def search(choice: str = "auto") -> Iterator[Place]:
    """Every place where ``choice`` may live, in the order in which they are tried; nothing is drawn."""
    if choice in ("auto", "dot"):
        yield _chosen(os.environ.get(VARIABLE))
        yield _place("PATH", shutil.which("dot"))
        yield _place("usual folders", shutil.which("dot", path=os.pathsep.join(_FOLDERS)))
    if choice in ("auto", "pygraphviz"):
        folder = _pygraphviz()
        engine = None if folder is None else Engine("pygraphviz", folder)
        yield Place("pygraphviz", engine, "" if engine else "not installed")


def render(engine: Engine, dot: str, format: str, *, dpi: int | None = None, timeout: float = 30.0) -> bytes:
    """DOT text drawn as ``format``.

    Raises: RenderTimeout; GraphvizError if the engine fails, or succeeds with a picture that is not
    the one asked for.
    """
    status, out, noise = run(engine.command(format, dpi), dot.encode("utf-8", "replace"), timeout)
    lines = noise.decode("utf-8", "replace").splitlines()
    said = " ".join(line.strip() for line in lines if not line.startswith("Fontconfig "))[:2000]
    problem = _failure(engine, status, out, said, format)
    if problem:
        raise GraphvizError(f"draw(engine={engine.name!r}): {problem}")
    if "size too small" in said:
        warnings.warn(f"draw(engine={engine.name!r}): some text is wider than its node ({said}); install the font "
                      "Helvetica or Arial, or one that has these characters", stacklevel=2)  # fmt: skip
    return out


def run(command: list[str], data: bytes, timeout: float) -> tuple[int, bytes, bytes]:
    """Run a program in a process group of its own: ``(status, output, errors)``.

    However it ends, the whole group ends with it: a wrapper script's child would live on otherwise.

    Raises: RenderTimeout; GraphvizError if the program does not start.
    """
    process = _start(command)
    try:
        out, noise = process.communicate(data, timeout)
    except subprocess.TimeoutExpired:
        raise RenderTimeout(
            f"draw(timeout={timeout:g}): {Path(command[0]).name} took longer than {timeout:g} s; raise timeout=, or "
            "draw a smaller part of the graph (its text is in .dot)"
        ) from None
    except OSError as error:
        raise GraphvizError(f"draw(...): the talk with {command[0]} broke off ({error}); try once more") from error
    finally:
        _end(process)
    return process.returncode, out, noise


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) if _WINDOWS else 0
    try:
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=not _WINDOWS, creationflags=flags
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise GraphvizError(
            f"draw(...): {command[0]} does not start ({_reason(error)}); install Graphviz anew, or point ${VARIABLE} at a dot that runs"
        ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process and its children, and close the pipes that they may still hold."""
    if not _WINDOWS:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: no permission to kill the dead
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was left to write has no reader any more
                pipe.close()
    process.wait()


# -- where engines live ---------------------------------------------------------------------------


def _chosen(path: str | None) -> Place:
    """The program that the user names in the environment."""
    where = f"${VARIABLE}"
    if not path:
        return Place(where, None, "not set")
    found = shutil.which(path)
    if found is not None:
        place = _place(where, found)
        return place if place.engine else Place(where, None, f"{path!r}: {place.problem}")
    if Path(path).is_dir():
        why = "that is a folder; name the program in it"
    elif Path(path).exists():
        why = "that file may not be run"
    else:
        why = "there is no such program"
    return Place(where, None, f"{path!r}: {why}")


def _place(where: str, path: str | None) -> Place:
    """A place with the program at ``path``, if that starts: a file may be no program for this machine."""
    if path is None:
        return Place(where, None, "no dot")
    try:
        _end(_start([path, "-V"]))
    except GraphvizError as error:
        return Place(where, None, f"{path} does not start: {_reason(error.__cause__)}")
    return Place(where, Engine("dot", path))


def _reason(error: BaseException | None) -> str:
    """What the system says, without the path that it repeats."""
    return getattr(error, "strerror", None) or str(error)


def _pygraphviz() -> str | None:
    """The folder that holds pygraphviz. It is never imported here: its C library may crash or write noise."""
    return package("pygraphviz") if sys.executable else None


def package(name: str) -> str | None:
    """The folder where a Python package is installed, or None; the package is not imported."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return str(Path(spec.origin).parents[1]) if spec is not None and spec.origin else None


@lru_cache(maxsize=8)
def _version(name: str, place: str) -> str:
    if name == "pygraphviz":
        try:
            return f"pygraphviz {metadata.version('pygraphviz')}"
        except metadata.PackageNotFoundError:
            return name
    try:
        _, out, noise = run([place, "-V"], b"", 2.0)
    except (GraphvizError, RenderTimeout):
        return name
    found = re.search(r"version (\d[\w.]*)", (out + noise).decode("utf-8", "replace"))
    return f"dot {found[1]}" if found else name


# -- messages -------------------------------------------------------------------------------------


def _failure(engine: Engine, status: int, out: bytes, said: str, format: str) -> str:
    """What is wrong with a picture, and how to mend it; "" if nothing is. Exit status 0 proves nothing."""
    name, begin, end = engine.version, *_MARKS[format]
    whole = out.lstrip().startswith(begin) and out.rstrip().endswith(end)
    if "too large for cairo" in said or (whole and format == "png" and _side(out) >= LARGEST_SIDE):
        scaled = said or "it would be scaled to 32767 px"
        return f"the picture is too large for {format.upper()} ({scaled}); lower dpi=, or save it as .svg"
    if "not recognized" in said:
        return f"{name} cannot write {format.upper()} ({said}); run once, as administrator: dot -c"
    if status:
        how = f"was ended by signal {-status}" if status < 0 else f"exited with {status}"
        return f"{name} {how}: {said or 'it said nothing'}; the text that it was given is in .dot"
    if not whole:
        return f"{name} wrote no valid {format.upper()}; {said or 'it said nothing'}; is {engine.place!r} Graphviz?"
    return ""


def _side(png: bytes) -> int:
    """The longer side of a PNG in pixels: its header says so at fixed places."""
    return max(int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big"))


def _not_found(choice: str, target: str, format: str, stem: str) -> str:
    lines = [f'tinygraph cannot {target}: {format.upper()} needs the Graphviz program "dot", and none was found.']
    if package("graphviz"):
        lines.append('(The Python package "graphviz" is installed, but it only calls "dot".)')
    if choice == "dot" and _pygraphviz():
        lines.append('  draw(engine="auto"): pygraphviz is installed, and draws without "dot"')
    else:
        lines.append('  pip install "tinygraph[graphviz]"     # Graphviz inside a wheel, no system package')
    return "\n".join([
        *lines,
        "  or  apt-get install graphviz | brew install graphviz | winget install Graphviz.Graphviz | conda install graphviz",
        f"  or  save '{stem}.svg' or '{stem}.html': these need nothing",
        f"Looked for: {_looked(choice)}",
    ])  # fmt: skip


def _looked(choice: str) -> str:
    places = []
    for place in search(choice):
        if place.where == f"${VARIABLE}":
            places.append(f"{place.where} ({place.problem})")
        elif place.where == "PATH":
            places.append("PATH" if place.problem == "no dot" else f"PATH ({place.problem})")
        elif place.where == "usual folders":
            places.extend(_FOLDERS)
    both = [", ".join(places)] if places else []
    return "; ".join([*both, "pygraphviz: not installed"] if choice != "dot" else both)
