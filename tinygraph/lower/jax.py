"""A graph on JAX: every primitive's own kernel, run on ``jax.numpy`` under ``jax.jit``."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from hashlib import sha256
from typing import Any

import numpy as np

from ..compiler.capture import Succession, capture
from ..core.array import is_weak
from ..core.graph import Graph
from ..core.held import local_parts
from ..core.tensor import Tensor, describe
from ..errors import ArgumentError, DTypeError, MissingExtra, aval

try:
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec
except ImportError as error:
    raise MissingExtra('compile(backend="jax"): jax is not installed; run: pip install "tinygraph[jax]"') from error

from .jax_ops import Condition, conditions, value_of

_P: Any = PartitionSpec
_Specification: Any = jax.ShapeDtypeStruct

PRECISIONS = ("default", "high", "highest")

# Called with the description of a program before it is compiled, such as to compare it with those of other processes.
on_compile: list[Callable[[str], None]] = []


class JaxBackend:
    """The backend ``"jax"`` of :func:`tinygraph.compile`, with options.

    Parameters, buffers, gradients and results stay on the device until they are read. ``precision``, one of ``"default"``,
    ``"high"`` and ``"highest"``, is that of products on accelerators. With ``donate`` a call may use the memory of the
    state that it replaces, so whoever holds an old value, such as a gradient of the step before, cannot read it any more.

    Raises: ArgumentError for another precision.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.lower.jax import JaxBackend
    >>> square = tg.compile(lambda x: x * x, backend=JaxBackend(precision="highest"))
    >>> square(np.array([1.0, 3.0]))
    tensor([1., 9.])
    """

    own_arrays = True

    def __init__(self, precision: str | None = None, donate: bool = False) -> None:
        if precision not in (None, *PRECISIONS):
            names = ", ".join(map(repr, PRECISIONS))
            raise ArgumentError(f"JaxBackend(precision={precision!r}): unknown; write one of {names}")
        self.precision = precision
        self.donate = donate

    def build(self, graph: Graph, state: Succession | None = None) -> Lowered:
        """A graph as a function of arrays."""
        return Lowered(graph, state or Succession({}, ()), self.precision, self.donate)

    def __repr__(self) -> str:
        return f"JaxBackend(precision={self.precision!r}, donate={self.donate})"


own_arrays = JaxBackend.own_arrays
build = JaxBackend().build


def lower(graph: Graph) -> Callable[..., tuple[Any, ...]]:
    """The graph as a pure function of JAX arrays: one for each input, then one for each random draw, in program order.

    To be traced in JAX's 64-bit mode, without which it narrows numbers. Where an index is out of range, floats are nan.

    Raises: DTypeError, when it is traced, for an op to whose result JAX gives another shape or dtype than NumPy.
    """

    def function(*arrays: Any) -> tuple[Any, ...]:
        values = _values(graph, arrays)
        return tuple(jnp.asarray(values[t]) for t in graph.outputs)

    return function


def export(fn: Callable[..., Any], *args: Any, platforms: Sequence[str] = ("cpu",)) -> Any:
    """``fn``, as it is for arguments like these, for JAX without tinygraph: a ``jax.export.Exported``.

    ``platforms`` are ``"cpu"``, ``"cuda"``, ``"tpu"``: it is lowered for all of them here. ``exported.serialize()`` gives
    bytes, ``jax.export.deserialize(data).call(*arrays)`` runs them and gives a tuple of results; with 64-bit numbers under
    ``jax.enable_x64(True)``. Parameters are constants. Needs the package flatbuffers.

    Raises: ArgumentError for random draws and for state that is written; DTypeError for what JAX cannot do; MissingExtra.
    """
    platforms = (platforms,) if isinstance(platforms, str) else tuple(platforms)
    _, captured = capture(fn, args, {}, rehearse=True)
    for slot, _ in captured.writes:
        raise ArgumentError(f"export: the function writes to {describe(slot.parameter)}; return the new values instead")
    graph, state = captured.graph, captured.state()
    for t in graph.nodes:
        if "rng" in t.node.params:  # type: ignore[union-attr]
            name = t.node.op.name  # type: ignore[union-attr]
            raise ArgumentError(f"export: {name}({describe(t)}) would be a constant; give the draws as an argument")
    given = graph.inputs[: len(graph.inputs) - len(captured.reads)]
    program = jax.jit(lambda *arrays: lower(graph)(*arrays, *(state or ())))
    with jax.enable_x64(True):
        return _export().export(program, platforms=platforms)(*map(_specified, given))


def _export() -> Any:
    try:
        importlib.import_module("flatbuffers")  # by which it writes
        return importlib.import_module("jax.export")
    except ImportError as error:
        raise MissingExtra("export: flatbuffers is not installed; run: pip install flatbuffers") from error


class Lowered:
    """A graph as a function that JAX runs, of arrays of NumPy or JAX.

    NumPy's generators make the random draws, before JAX begins: they are those of the eager run.
    """

    def __init__(self, graph: Graph, state: Succession, precision: str | None, donate: bool) -> None:
        for t in (*graph.inputs, *graph.captured, *graph.nodes):
            if t.dtype.char in "gG":
                raise DTypeError(f"compile(backend='jax'): JAX has no {t.dtype}; cast with .astype(np.float64)")
        self.graph = graph
        self.state = state
        self.draws = [t for t in graph.nodes if "rng" in t.node.params]  # type: ignore[union-attr]
        self._precision = precision
        self._places = {t: i for i, t in enumerate(graph.inputs)}
        found = [c for t in graph.nodes for c in conditions(t, graph.operands(t))]
        self._before = [c for c in found if c.operand in self._places]  # these are known before the call
        self._within = [c for c in found if c.operand.node is not None]
        self._spent = (
            self._reusable() if donate and not self._within else ()
        )  # a call that is refused leaves the old state
        self._compiled: dict[Any, Any] = {}  # by the shardings of the inputs
        self._latest: Any = None
        self._lock = threading.Lock()
        with jax.enable_x64(True):
            jax.eval_shape(self._function, *self._specified())  # what JAX cannot do is said now

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        for condition in self._before:
            for part in local_parts(arrays[self._places[condition.operand]]):
                _demand(condition, condition.holds(part))
        shardings = tuple(map(_sharding, arrays))
        program = self._for(shardings, arrays)
        drawn = [t.node.op.run((), t.node.params) for t in self.draws]  # type: ignore[union-attr]
        with jax.enable_x64(True):
            found, right = program(*map(_owned, arrays), *drawn)
            if _one_processor(shardings):
                for result in found:
                    result.block_until_ready()
        for number, holds in right.items():  # what the host has to wait for: nothing, for most programs
            _demand(self._within[number], holds)
        return found  # type: ignore[no-any-return]

    def _function(self, *arrays: Any) -> tuple[tuple[Any, ...], dict[int, Any]]:
        """Results, and whether conditions on values within the graph hold, by number."""
        with nullcontext() if self._precision is None else jax.default_matmul_precision(self._precision):
            values = _values(self.graph, arrays)
        right = {i: condition.holds(values[condition.operand]) for i, condition in enumerate(self._within)}
        for i in [i for i, holds in right.items() if isinstance(holds, bool)]:  # of sizes: known now
            _demand(self._within[i], right.pop(i))
        return tuple(jnp.asarray(values[t]) for t in self.graph.outputs), right

    def _for(self, shardings: tuple[Any, ...], arrays: Sequence[Any]) -> Any:
        """The compiled function for inputs that are there."""
        made = self._compiled.get(shardings)
        if made is None:
            with self._lock:
                made = self._compiled.get(shardings)
                if made is None:
                    for listener in on_compile:
                        listener(self._description(shardings, arrays))
                    made = self._compiled[shardings] = jax.jit(
                        self._function, donate_argnums=self._spent, out_shardings=self._outgoing(shardings)
                    )
        self._latest = made
        return made

    def _reusable(self) -> tuple[int, ...]:
        """The inputs whose memory the outputs in their place can take."""
        outputs, inputs = self.graph.outputs, self.graph.inputs
        like = {i for o, i in self.state.follows.items() if _outline(outputs[o]) == _outline(inputs[i])}
        return tuple(i for i in self.state.spent if i in like)

    def _outgoing(self, shardings: Sequence[Any]) -> Any:
        """State stays where it was; what else there is will be everywhere."""
        mesh = next((s.mesh for s in shardings if s is not None), None)
        if mesh is None:
            return None
        everywhere = NamedSharding(mesh, _P())
        sources = [self.state.follows.get(i) for i in range(len(self.graph.outputs))]
        found = (None if i is None else shardings[i] for i in sources)
        return tuple(everywhere if s is None else s for s in found), everywhere

    def _description(self, shardings: Sequence[Any], arrays: Sequence[Any]) -> str:
        """The program, for comparison: versions, inputs and where they are, or else their values, constants, ops; a line for each."""
        names = self.graph.names
        inputs = [
            f"{names[t]}: {aval(t.dtype, t.shape)} {sharding or _checksum(array)}"
            for t, sharding, array in zip(self.graph.inputs, shardings, arrays, strict=True)
        ]
        constants = [f"{names[t]}: {_checksum(t._data)}" for t in self.graph.captured if not is_weak(t._data)]
        return "\n".join([f"jax {jax.__version__}, numpy {np.__version__}", *inputs, *constants, str(self.graph)])

    def _specified(self) -> list[Any]:
        return [_specified(t) for t in (*self.graph.inputs, *self.draws)]

    def compiled_text(self) -> str:
        """What XLA made of the program of the latest call."""
        shardings = next(s for s, made in self._compiled.items() if made is self._latest)
        given = [
            _specified(t) if sharding is None else _Specification(t.shape, t.dtype, sharding=sharding)
            for t, sharding in zip(self.graph.inputs, shardings, strict=True)
        ]
        with jax.enable_x64(True):
            text: str = self._latest.lower(*given, *map(_specified, self.draws)).compile().as_text()
        return text

    @property
    def source(self) -> str:
        """What JAX compiles, as a jaxpr."""
        with jax.enable_x64(True):
            return str(jax.make_jaxpr(self._function)(*self._specified()))

    def __repr__(self) -> str:
        return f"jax {jax.__version__} on {jax.default_backend()}"


def _values(graph: Graph, arrays: Sequence[Any]) -> dict[Tensor, Any]:
    """Everything that the graph computes of its inputs and its draws."""
    drawn = [t for t in graph.nodes if "rng" in t.node.params]  # type: ignore[union-attr]
    values: dict[Tensor, Any] = dict(zip((*graph.inputs, *drawn), arrays, strict=True))
    values.update((t, t._data) for t in graph.captured)
    for t in graph.nodes:
        if t not in values:
            inputs = graph.operands(t)
            node: Any = t.node
            with jax.named_scope(node.scope.path if node.scope else graph.names[t]):
                values[t] = value_of(t, inputs, [values[x] for x in inputs])
    return values


def _checksum(array: Any) -> str:
    return f"sha256 {sha256(np.asarray(array).tobytes()).hexdigest()}"


def _outline(t: Tensor) -> tuple[Any, ...]:
    return t.shape, t.dtype


def _demand(condition: Condition, holds: Any) -> None:
    if not holds:
        raise type(condition.refusal)(*condition.refusal.args)


def _specified(t: Tensor) -> Any:
    """Shape and dtype of an input of JAX; a Python number is its own."""
    return _number(t._data) if is_weak(t._data) else _Specification(t.shape, t.dtype)


def _sharding(array: Any) -> Any:
    """Where an array is, if that was said; all other inputs go where the program runs."""
    sharding = array.sharding if isinstance(array, jax.Array) else None
    return sharding if isinstance(sharding, NamedSharding) else None


def _one_processor(shardings: Sequence[Any]) -> bool:
    """Whether a processor poses as several devices: of calls that run side by side JAX runs out of threads, and hangs."""
    mesh = next((s.mesh for s in shardings if s is not None), None)
    return mesh is not None and mesh.local_mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"


def _owned(array: Any) -> Any:
    """JAX may read the caller's memory after the call has returned: it gets its own."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np.array(array)
    return _number(array)


def _number(array: Any) -> Any:
    """A Python integer that JAX cannot hold, as a float."""
    return float(array) if type(array) is int and not -(2**63) <= array < 2**63 else array
