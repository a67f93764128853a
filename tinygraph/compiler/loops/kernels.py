"""Kernels: their text compiled by Numba, kept in memory and on disk; and the threads that they run on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.caching import FunctionCache
from numba.core.compiler import Compiler

__all__ = ["add", "compiled", "kernel", "run_all"]

_TYPES = {"f": types.float32, "d": types.float64, "?": types.boolean}
_FORMAT = 3  # counted up when kernels are compiled in another way: old machine code is not for new programs
_VERSIONS = f"format {_FORMAT}, python {sys.version_info[:2]}, numba {numba.__version__}, llvmlite {version('llvmlite')}, numpy {np.__version__}"


class _NoAlias(Compiler):
    """No two arguments of a kernel overlap: results are new arrays, so loops need no test for it."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()  # type: ignore[no-untyped-call]


_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "pipeline_class": _NoAlias,
    "_nrt": False,  # nothing is allocated and no reference counted
}


class _Cache(FunctionCache):
    """Machine code from the disk, without all that Numba makes ready for compiling, a part of SciPy among it."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]


@numba.njit(fastmath={"reassoc"})
def add(total: Any, term: Any) -> Any:
    """``total + term``, in whatever order is fast: the one sum that may be done in another order."""
    return total + term


def kernel(*, reads: str, writes: str, scratch: str) -> Callable[[Any], Any]:
    """Compile a function of flat arrays for the given dtypes, or load it from beside the file of its text.

    Arithmetic is that of NumPy, to the bit: were ``a·a - b·b`` contracted, it would not be 0 where a is b, and may be less.
    """
    arrays = [types.Array(_TYPES[c], 1, "C", readonly=True) for c in reads]
    arrays += [types.Array(_TYPES[c], 1, "C") for c in writes]
    arrays += [types.Array(types.uint64, 1, "C"), types.Array(types.float64, 1, "C")]
    arrays += [types.Array(_TYPES[c], 1, "C") for c in scratch]

    def decorate(function: Any) -> Any:
        def compile(cache: bool) -> Any:
            made: Any = numba.njit(**_OPTIONS)(function)
            if cache:
                made._cache = _Cache(function)  # type: ignore[no-untyped-call]
            made.compile(types.void(*arrays))
            made.disable_compile()
            return made

        path = Path(function.__code__.co_filename)
        if not path.is_file():
            return compile(cache=False)
        try:
            _discard_unsound(path)
            made = compile(cache=True)
            _sign(path)
        except Exception:  # whatever a damaged file does to the one who reads it
            return compile(cache=False)
        return made

    return decorate


# -- in memory and on disk ----------------------------------------------------------------------------

_KERNELS: dict[str, Any] = {}
_COMPILING = threading.RLock()


def compiled(source: str) -> Any:
    """The kernel of a text: compiled once in a process, and once on a machine where there is a cache to write to."""
    found = _KERNELS.get(source)
    if found is None:
        with _COMPILING:
            found = _KERNELS.get(source)
            if found is None:
                found = _KERNELS[source] = _load(source)
    return found


def _load(source: str) -> Any:
    name = hashlib.sha256(f"{_VERSIONS}\n{source}".encode()).hexdigest()[:32]
    path = _stored(name, source)
    module = ModuleType(f"tinygraph_kernel_{name}")
    sys.modules[module.__name__] = module  # machine code from the disk asks for its module by name
    exec(compile(source, str(path or f"<kernel {name}>"), "exec"), vars(module))  # noqa: S102
    return module.run


def cache_folder() -> Path:
    """Where kernels are kept: ``$TINYGRAPH_CACHE``, else ``~/.cache/tinygraph``."""
    given = os.environ.get("TINYGRAPH_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygraph"


def _stored(name: str, source: str) -> Path | None:
    """The file of a text in the cache, written if need be; None where there is no folder that is ours alone to write."""
    try:
        folder = cache_folder() / "kernels"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(folder):
            return None
        path = folder / f"{name}.py"
        if not path.is_file() or path.read_text(encoding="utf-8") != source:
            _replace(path, source.encode())
    except (OSError, ValueError, RuntimeError):
        return None
    return path


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can put files there: loading machine code is running it."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _replace(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _machine_code(path: Path) -> list[Path]:
    """The files that Numba keeps for a text."""
    return sorted((path.parent / "__pycache__").glob(f"{path.stem}.*.nb[ic]"))


def _digest(path: Path) -> str:
    return "".join(f"{p.name} {hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in _machine_code(path))


def _discard_unsound(path: Path) -> None:
    """Delete machine code that is not what was written: Numba would run it as it is."""
    signature = path.with_suffix(".sum")
    if not signature.is_file() or signature.read_text(encoding="utf-8", errors="replace") != _digest(path):
        for file in _machine_code(path):
            file.unlink(missing_ok=True)


def _sign(path: Path) -> None:
    signature, digest = path.with_suffix(".sum"), _digest(path)
    if not signature.is_file() or signature.read_text(encoding="utf-8", errors="replace") != digest:
        _replace(signature, digest.encode())


# -- threads ------------------------------------------------------------------------------------------


def threads() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads(), thread_name_prefix="tinygraph")


class Worker:
    """A thread that wakes on a processor of its own."""

    def __init__(self, processor: int, every: set[int]) -> None:
        self._processor, self._every = {processor}, every
        self._thread = ThreadPoolExecutor(1, "tinygraph", initializer=self._keep_to, initargs=(self._processor,))

    def submit(self, function: Any, arguments: tuple[Any, ...]) -> Future[Any]:
        return self._thread.submit(self._run, function, arguments)

    def _run(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self._keep_to(self._every)  # awake, it goes where there is room
        try:
            function(*arguments)
        finally:
            self._keep_to(self._processor)

    @staticmethod
    def _keep_to(processors: set[int]) -> None:
        with contextlib.suppress(OSError):  # the process may have lost some of them
            os.sched_setaffinity(0, processors)


@functools.cache
def _workers() -> list[Worker]:
    every = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    return [Worker(processor, every) for processor in sorted(every)]


def _forget_threads() -> None:
    _pool.cache_clear()
    _workers.cache_clear()


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_forget_threads)


def run_all(function: Any, calls: Sequence[tuple[Any, ...]], long: bool) -> None:
    """Call a kernel with each of several tuples of arguments, at once, and wait for all.

    A thread often begins on the processor of who wakes it, and waits there while that one computes. Where the work is ``long``,
    the caller takes no part, and its threads wake on different processors; short work is over before that pays.
    """
    if long and len(calls) <= len(_workers()):
        waiting = [worker.submit(function, arguments) for worker, arguments in zip(_workers(), calls, strict=False)]
    else:
        waiting = [_pool().submit(function, *arguments) for arguments in calls[1:]]
        function(*calls[0])
    for future in waiting:
        future.result()
