"""``compile``: a function that records itself once for each kind of call, and from then on runs what was made of that."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.convert import operand
from ..core.foreign import received
from ..core.graph import Graph, argument_names, flatten
from ..core.held import held, local_parts
from ..core.scope import ANOMALY, GRAD, TRACE, mode
from ..core.tensor import Tensor, describe
from ..errors import ArgumentError, DTypeError, IndexingError, MissingExtra, TinygraphError
from .capture import Capture, Place, capture, is_dynamic
from .passes import Stage, optimise

# Where each backend lives: a module with ``build(graph)``, which gives a callable of arrays with a ``source``.
BACKENDS = {
    "numpy": ("tinygraph.compiler.numpy_backend", "numpy"),
    "numba": ("tinygraph.compiler.loops.backend", "numba"),
    "jax": ("tinygraph.lower.jax", "jax"),
}
_EXTRAS = {"numba": "compile", "jax": "jax"}


def compile(fn: Any = None, *, backend: Any = "auto", exact: bool = False) -> Any:
    """``fn`` as a compiled function, also as a decorator: ``@tg.compile`` or ``@tg.compile(backend="numba")``.

    The first call with arguments of new shapes, dtypes or structure runs ``fn`` itself, recorded; what was recorded is
    simplified, fused and turned into code, which later calls run. Parameters, buffers and ``.grad`` that ``fn`` reads
    or writes are inputs and outputs of that code, so a whole training step (forward, ``backward``, ``optimizer.step()``)
    is compiled as it stands. Arguments that are arrays, Tensors or numbers are given anew at each call; words, flags,
    functions and modules are part of the program, and so is everything else that ``fn`` finds outside: a Python number
    or an array that it closes over is a constant. Random draws stay random. Results have no history.

    ``backend`` is ``"numpy"``, ``"numba"`` (the extra ``compile``), ``"jax"`` (the extra ``jax``), ``"auto"`` for numba
    where it is installed, else numpy, or an object with ``build(graph)``, such as ``tinygraph.lower.jax.JaxBackend``.
    With ``exact`` only passes that keep every bit are done, so the numpy backend gives what ``fn`` gives, to the bit.
    Under ``tg.debug_anomaly()``, and inside a traced function, ``fn`` itself runs.

    Raises: TraceError where ``fn`` reads a value that another call may change (``if t:``, ``float(t)``, ``t.numpy()``);
    ArgumentError for an argument that requires a gradient, which would be lost; MissingExtra.

    >>> import numpy as np, tinygraph as tg
    >>> @tg.compile(backend="numpy")
    ... def normalise(x):
    ...     return (x - tg.mean(x)) / tg.std(x)
    >>> normalise(np.array([1.0, 3.0])), normalise(np.array([2.0, 2.0, 5.0])).shape
    (tensor([-1.,  1.]), (3,))
    """
    if fn is None:
        return functools.partial(compile, backend=backend, exact=exact)
    if not callable(fn):
        raise ArgumentError(f"compile({describe(fn)}): compiles a function; write tg.compile(fn)")
    _known(backend)
    return fn if isinstance(fn, Compiled) else Compiled(fn, backend, exact)


@dataclass(frozen=True)
class Program:
    """One recorded call, compiled: what was captured, what each pass made of it, and the code."""

    capture: Capture
    stages: list[Stage]
    kernel: Any

    def __call__(self, arrays: list[Any], state: list[Any]) -> Any:
        """Run it on arguments and state, write the state back, and give the results in their structure."""
        captured = self.capture
        for index, check in captured.checks:
            for part in local_parts(arrays[index]):
                check(part)
        outputs = self.kernel(*arrays, *state)
        for slot, place in captured.writes:
            slot.write(None if place is None else outputs[place])
        results = [r.take(outputs) if isinstance(r, Place) else r for r in captured.results]
        for owner, name, flag in captured.switched:
            setattr(owner, name, flag)
        return captured.tree.build(results)


class Compiled:
    """A function that is compiled once for each kind of call; made by :func:`compile`."""

    def __init__(self, fn: Callable[..., Any], backend: Any, exact: bool) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.backend = backend
        self.exact = exact
        self._programs: dict[Any, list[Program]] = {}
        self._latest: Program | None = None
        self._attribute = ""
        self._lock = threading.RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the code for this kind of call; the first time, run the function itself and make the code."""
        bits = mode.get()
        if bits & (TRACE | ANOMALY):
            return self.fn(*args, **kwargs)
        leaves, structure = _leaves(args, kwargs)
        kinds, arrays = [], []
        for leaf in leaves:
            if type(leaf) is np.ndarray and leaf.dtype.isnative:  # nearly always
                kinds.append((leaf.shape, leaf.dtype))
                arrays.append(leaf)
            else:
                kinds.append(self._kind(leaf))
                if is_dynamic(leaf):
                    arrays.append(_array(leaf, self._anywhere))
        key = (structure, bits, *kinds)
        program, state = self._find(key)
        if program is None:
            with self._lock:
                program, state = self._find(key)
                if program is None:
                    result, program = self._make(key, args, kwargs)
                    if not self._anywhere:
                        return result
                    state = program.capture.state(anywhere=True)
        try:
            return program(arrays, state)
        except (IndexError, ValueError, TypeError, OverflowError) as error:
            if self._anywhere or isinstance(error, TinygraphError):
                raise
            raise self._told(error) from error

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: compiled for each instance, which keeps its programs and takes them along when it goes."""
        if instance is None:
            return self
        own = getattr(instance, "__dict__", None)
        if type(own) is not dict:  # a class, or an instance with slots
            return functools.partial(self, instance)
        name = self._attribute or self._name
        with self._lock:
            if not isinstance(own.get(name), Compiled):
                own[name] = Compiled(self.fn.__get__(instance, owner), self.backend, self.exact)
        return own[name]

    def __set_name__(self, owner: Any, name: str) -> None:
        self._attribute = name

    def __reduce__(self) -> Any:
        return Compiled, (self.fn, self.backend, self.exact)  # a copy compiles anew

    def __repr__(self) -> str:
        count = sum(map(len, self._programs.values()))
        return f"<compiled {self._name}: {count} program{'s' * (count != 1)}>"

    def _told(self, error: Exception) -> Exception:
        """An error of NumPy, in compiled code, as ours."""
        kind = IndexingError if isinstance(error, IndexError) else DTypeError
        return kind(
            f"compiled {self._name}: {error}; under tg.debug_anomaly() the function itself runs, and its error names the op"
        )

    @property
    def _name(self) -> str:
        return getattr(self.fn, "__name__", type(self.fn).__name__)

    def argument_names(self, count: int) -> list[str]:
        """What the function calls its arguments, for traces and checks."""
        return argument_names(self.fn, count)

    def _kind(self, leaf: Any) -> Any:
        """What a program takes for granted of one argument."""
        if isinstance(leaf, Tensor):
            if leaf._requires and mode.get() & GRAD:
                raise ArgumentError(
                    f"compiled {self._name}({describe(leaf)}): this argument requires a gradient, which a compiled function "
                    f"does not pass on; compile the derivative too, tg.compile(tg.vjp_fn({self._name})), or give x.detach()"
                )
            leaf = held(leaf)
            if not is_weak(leaf):
                return leaf.shape, leaf.dtype
        if isinstance(leaf, (np.ndarray, np.generic)):
            return leaf.shape, leaf.dtype
        if is_dynamic(leaf):
            return type(leaf) if is_weak(leaf) else self._kind(received(leaf))
        try:
            hash(leaf)
        except TypeError:
            raise ArgumentError(
                f"compiled {self._name}({type(leaf).__name__}): this argument is no array, and cannot be compared with that of "
                "another call; give arrays, numbers, words, or something that can be hashed"
            ) from None
        return type(leaf), leaf

    def _find(self, key: Any) -> tuple[Any, Any]:
        """The program for a kind of call, and the state that it reads; None if there is none yet."""
        for program in self._programs.get(key, ()):
            state = program.capture.state(self._anywhere)
            if state is not None:
                return program, state
        return None, None

    def _make(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Program]:
        result, captured = capture(self.fn, args, kwargs, rehearse=self._anywhere)
        stages = optimise(captured.graph, exact=self.exact)
        state = (captured.succession(),) if self._anywhere else ()
        self._latest = program = Program(captured, stages, self._builder.build(stages[-1].graph, *state))
        self._programs.setdefault(key, []).append(program)
        return result, program

    @functools.cached_property
    def _builder(self) -> Any:
        return _load(self.backend)

    @functools.cached_property
    def _anywhere(self) -> bool:
        """Whether arrays may be wherever the backend has them; else they have to be in main memory."""
        return getattr(self._builder, "own_arrays", False)

    # -- what was made of it -------------------------------------------------------------------------

    def _program(self, what: str) -> Program:
        if self._latest is None:
            raise ArgumentError(f"{what}(compiled {self._name}): nothing is compiled yet; call it once")
        return self._latest

    @property
    def graph(self) -> Graph:
        """The graph of the latest program, after all passes: shapes and dtypes, no values."""
        return self._program("graph").stages[-1].graph

    @property
    def source(self) -> str:
        """The code of the latest program, as Python text."""
        source: str = self._program("source").kernel.source
        return source

    @property
    def stages(self) -> list[Stage]:
        """The latest program's graph as it was recorded and after each pass that changed it: ``(name, graph)``."""
        return list(self._program("stages").stages)

    def explain(self) -> None:
        """Print what each pass did to the latest program, and how many kernels it became."""
        program = self._program("explain")
        rows = [(stage.name, len(stage.graph.nodes)) for stage in program.stages]
        width = max(len(name) for name, _ in rows)
        lines = [f"{self._name}: {program.stages[0].graph!r}"]
        before = rows[0][1]
        for name, count in rows:
            change = f"{count - before:+d}" if count != before else ""
            lines.append(f"  {name:<{width}}  {count:>5} nodes  {change}".rstrip())
            before = count
        sys.stdout.write("\n".join([*lines, f"  {program.kernel!r}"]) + "\n")

    def draw(self, stage: str | int = -1, **options: Any) -> Any:
        """The picture of the latest program's graph at a stage, by number, or by name (the last of that name); options are
        those of ``tg.draw``.

        Raises: ArgumentError for a stage that there is not.
        """
        stages = self.stages
        names = [found.name for found in stages]
        if isinstance(stage, str):
            if stage not in names:
                raise ArgumentError(f"draw(stage={stage!r}): there is no such stage; choose one of {', '.join(names)}")
            stage = len(names) - 1 - names[::-1].index(stage)
        return stages[stage].graph.draw(**{"values": "shape", "mode": "forward", **options})


def _leaves(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The leaves of the arguments, and what tells their structure from others."""
    if kwargs or any(isinstance(a, (dict, list, tuple)) for a in args):
        return flatten((args, kwargs))
    return args, len(args)


def _array(leaf: Any, anywhere: bool) -> Any:
    """The array of an argument, or the Python number."""
    if isinstance(leaf, Tensor):
        return held(leaf) if anywhere else leaf._data
    return leaf if is_weak(leaf) else operand(leaf)._data


def _known(backend: Any) -> None:
    if isinstance(backend, type) or (not hasattr(backend, "build") and backend not in ("auto", *BACKENDS)):
        names = ", ".join(map(repr, ("auto", *BACKENDS)))
        raise ArgumentError(
            f"compile(backend={backend!r}): unknown; write one of {names}, or give an object with build(graph)"
        )


def _load(backend: Any) -> Any:
    if hasattr(backend, "build"):
        return backend
    if backend == "auto":
        backend = "numba" if importlib.util.find_spec("numba") else "numpy"
    module, needs = BACKENDS[backend]
    if not importlib.util.find_spec(needs):
        raise MissingExtra(
            f'compile(backend={backend!r}): {needs} is not installed; run: pip install "tinygraph[{_EXTRAS[backend]}]"'
        )
    return importlib.import_module(module)


__all__ = ["BACKENDS", "Compiled", "Program", "compile"]
