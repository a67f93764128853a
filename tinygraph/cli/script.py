"""Run a file of the user, and find in it what to draw."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from ..core.graph import Graph
from ..core.tensor import Tensor
from ..picture import Picture

MODULE = "_tinygraph_script"  # not "__main__": what a file does only as a program is left out
FOREIGN = (Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")))
KINDS = "a Tensor, a list of Tensors, a Graph, a Picture, or a function that returns one of them"


class Mistake(Exception):
    """What the user asked for cannot be done; the text says why, and how to mend it."""


class UserError(Mistake):
    """An exception in the user's file; ``trace`` is its traceback, without our own frames."""

    def __init__(self, problem: str, trace: str) -> None:
        super().__init__(problem)
        self.trace = trace


@dataclass(frozen=True, slots=True)
class Run:
    """A file that ran: where it is, its global names, and which of them to draw ("" if none is named)."""

    path: Path
    values: dict[str, Any]
    name: str

    @property
    def names(self) -> dict[str, Any]:
        """The public globals, which name the wires that have no name of their own."""
        return {name: value for name, value in self.values.items() if not name.startswith("_")}


def split(target: str) -> tuple[str, str]:
    """``FILE.py:NAME`` in two; NAME is "" if there is none. A drive of Windows is no file.

    >>> split("bn.py:y"), split("C:/bn.py"), split("C:/bn.py:y")
    (('bn.py', 'y'), ('C:/bn.py', ''), ('C:/bn.py', 'y'))
    """
    file, _, name = target.rpartition(":")
    return (file, name) if file and name.isidentifier() else (target, "")


@contextlib.contextmanager
def running(target: str) -> Iterator[Run]:
    """Run a file as a module of its own; its folder can be imported from until the block ends.

    Nothing is written, not even bytecode, and ``if __name__ == "__main__":`` is false.

    Raises: Mistake if there is no such file; UserError if it raises.
    """
    file, name = split(target)
    path = _file(file, name)
    loader = SourceFileLoader(MODULE, str(path))
    spec = importlib.util.spec_from_loader(MODULE, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.argv, sys.dont_write_bytecode, sys.path.copy()
    sys.argv, sys.dont_write_bytecode = [str(path)], True
    sys.path.insert(0, str(path.parent))
    sys.modules[MODULE] = module
    try:
        _guarded(path, lambda: loader.exec_module(module))
        yield Run(path, vars(module), name)
    finally:
        sys.argv, sys.dont_write_bytecode, sys.path[:] = before
        sys.modules.pop(MODULE, None)


def drawable(run: Run) -> Any:
    """What NAME stands for, after a call if it is a function; without NAME the only thing that can be drawn.

    Raises: Mistake, which lists what there is; UserError if the function raises.
    """
    name = run.name or _only(run)
    if name not in run.values:
        raise Mistake(f"{run.path.name} has no {name!r}{_close(name, run)}")
    value = run.values[name]
    if callable(value) and not is_drawable(value):
        needed = _needed(value)
        if needed:
            raise Mistake(
                f"{name}() needs arguments ({', '.join(needed)}); write a function without any that calls it and "
                f"returns the result, and name that"
            )
        value, name = _guarded(run.path, value), f"{name}()"
    if not is_drawable(value):
        kind = "None" if value is None else f"of type {type(value).__name__}"
        raise Mistake(f"{name} is {kind}, which cannot be drawn; name {KINDS}{_offer(run)}")
    return value


def is_drawable(value: Any) -> bool:
    """Whether ``draw`` takes it, or it is drawn already.

    >>> is_drawable([]), is_drawable(3.0)
    (False, False)
    """
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(item, Tensor) for item in value)
    return isinstance(value, (Tensor, Graph, Picture))


# -- files ----------------------------------------------------------------------------------------


def _file(text: str, name: str) -> Path:
    path = Path(text).absolute()
    if path.is_dir():
        raise Mistake(f"{text} is a folder; name a file in it, e.g. {Path(text) / 'bn.py'}:{name or 'y'}")
    if path.is_file():
        return path
    there = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, there, n=1, cutoff=0.6)
    if f"{path.name}.py" in there:
        close = [f"{path.name}.py"]
    if close:
        advice = f"did you mean {Path(text).with_name(close[0])}?"
    elif path.parent.is_dir():
        advice = f"{path.parent} holds {_list(sorted(there)) or 'no Python file'}; give FILE.py:NAME"
    else:
        advice = f"there is no folder {path.parent}; give FILE.py:NAME"
    raise Mistake(f"no file {text!r}; {advice}")


def _guarded(path: Path, call: Callable[[], Any]) -> Any:
    """Call what the user wrote; what it raises is a UserError."""
    try:
        return call()
    except SystemExit as error:
        raise Mistake(
            f"{path.name} ended itself with sys.exit({'' if error.code is None else repr(error.code)}); "
            'put that below  if __name__ == "__main__":'
        ) from error
    except Exception as error:
        trace = traceback.TracebackException.from_exception(error)
        _shorten(trace)
        problem = f"{_place(path, error, trace)}: {type(error).__name__}; mend it there, then draw again"
        raise UserError(problem, "".join(trace.format())) from error


def _place(path: Path, error: Exception, trace: traceback.TracebackException) -> str:
    """Where the user's mistake is: the file may not even compile, or not be readable."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{Path(error.filename).name}, line {error.lineno}"
    if trace.stack:
        return f"{Path(trace.stack[-1].filename).name}, line {trace.stack[-1].lineno}"
    return path.name


def _shorten(trace: traceback.TracebackException) -> None:
    """Leave the user's frames, and the causes that have some."""
    part: traceback.TracebackException | None = trace
    while part is not None:
        part.stack[:] = _of_the_user(part)
        cause = before = _before(part)
        while before is not None and not _of_the_user(before):
            before = _before(before)
        if before is not cause:
            part.__cause__, part.__context__ = None, before
            part.__suppress_context__ = False
        part = before


def _before(trace: traceback.TracebackException) -> traceback.TracebackException | None:
    """The exception that a traceback would print before this one."""
    return trace.__cause__ or (None if trace.__suppress_context__ else trace.__context__)


def _of_the_user(trace: traceback.TracebackException) -> list[traceback.FrameSummary]:
    return [
        frame
        for frame in trace.stack
        if not frame.filename.startswith("<frozen") and not any(map(Path(frame.filename).is_relative_to, FOREIGN))
    ]


# -- names ----------------------------------------------------------------------------------------


def _only(run: Run) -> str:
    found = _candidates(run)
    if len(found) == 1:
        return found[0]
    if found:
        raise Mistake(
            f"{run.path.name} has {len(found)} things to draw: {_list(found)}; name one: {run.path.name}:{found[-1]}"
        )
    functions = _functions(run)
    if functions:
        raise Mistake(
            f"{run.path.name} has no Tensor at its top level, but functions: {_list(functions)}; "
            f"name one: {run.path.name}:{functions[-1]}"
        )
    raise Mistake(
        f"{run.path.name} has nothing to draw at its top level (what stands below "
        f'if __name__ == "__main__": is not run); add {KINDS}'
    )


def _candidates(run: Run) -> list[str]:
    return [name for name, value in run.names.items() if is_drawable(value)]


def _functions(run: Run) -> list[str]:
    """Functions of the file itself that can be called without arguments."""
    return [
        name
        for name, value in run.names.items()
        if inspect.isfunction(value) and value.__module__ == MODULE and not _needed(value)
    ]


def _needed(function: Callable[..., Any]) -> list[str]:
    """The parameters without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ["…"]
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


def _close(name: str, run: Run) -> str:
    close = difflib.get_close_matches(name, run.names, n=1)
    return f"; did you mean {close[0]}?" if close else _offer(run) or f"; define it there: {KINDS}"


def _offer(run: Run) -> str:
    offered = _candidates(run) or _functions(run)
    return f"; {run.path.name} has {_list(offered)}" if offered else ""


def _list(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
