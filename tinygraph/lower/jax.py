"""A graph on JAX: every primitive's own kernel, run on ``jax.numpy`` under ``jax.jit``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.graph import Graph
from ..core.tensor import Tensor
from ..errors import DTypeError, IndexingError, MissingExtra, TinygraphError, aval

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise MissingExtra('compile(backend="jax"): jax is not installed; run: pip install "tinygraph[jax]"') from error


def build(graph: Graph) -> Lowered:
    """The backend ``"jax"`` of :func:`tinygraph.compile`."""
    return Lowered(graph)


def lower(graph: Graph) -> Callable[..., tuple[Any, ...]]:
    """The graph as a pure function of JAX arrays: one for each input, then one for each random draw, in program order.

    To be traced in JAX's 64-bit mode, without which it narrows numbers. An index out of range is what JAX makes of it.

    Raises: DTypeError, when it is traced, for an op to whose result JAX gives another shape or dtype than NumPy.
    """
    checked = _checked_function(graph, [])
    return lambda *arrays: checked(*arrays)[0]


def draws(graph: Graph) -> list[Tensor]:
    """The random draws of a graph. NumPy's generators make them, before JAX begins: they are those of the eager run."""
    return [t for t in graph.nodes if "rng" in t.node.params]  # type: ignore[union-attr]


class Lowered:
    """A graph as a function of NumPy arrays that JAX runs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.drawn = draws(graph)
        self._refusals: list[TinygraphError] = []
        for t in (*graph.inputs, *graph.captured, *graph.nodes):
            if t.dtype.char in "gG":
                raise DTypeError(f"compile(backend='jax'): JAX has no {t.dtype}; cast with .astype(np.float64)")
        self.function = jax.jit(_checked_function(graph, self._refusals))
        with jax.enable_x64(True):
            jax.eval_shape(self.function, *self._samples())  # what JAX cannot do is said now

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        with jax.enable_x64(True):
            found, right = self.function(*map(_copied, arrays), *self._draw())
            if right is not None and not (holds := np.asarray(right)).all():
                refusal = self._refusals[int(np.argmin(holds))]
                raise type(refusal)(*refusal.args)
            return tuple(np.array(x) for x in found)

    def _draw(self) -> list[Any]:
        return [t.node.op.run((), t.node.params) for t in self.drawn]  # type: ignore[union-attr]

    def _samples(self) -> list[Any]:
        return [_copied(t._data) for t in (*self.graph.inputs, *self.drawn)]

    @property
    def source(self) -> str:
        """What JAX compiles, as a jaxpr."""
        with jax.enable_x64(True):
            return str(jax.make_jaxpr(lower(self.graph))(*self._samples()))

    def __repr__(self) -> str:
        return f"jax {jax.__version__} on {jax.default_backend()}"


def _checked_function(graph: Graph, refusals: list[TinygraphError]) -> Callable[..., tuple[tuple[Any, ...], Any]]:
    """Results, and which of the conditions hold under which NumPy computes them; ``refusals`` are NumPy's errors else."""
    drawn = draws(graph)
    names = graph.names

    def function(*arrays: Any) -> tuple[tuple[Any, ...], Any]:
        values: dict[Tensor, Any] = dict(zip((*graph.inputs, *drawn), arrays, strict=True))
        values.update((t, t._data) for t in graph.captured)
        right: list[Any] = []
        found: list[TinygraphError] = []
        for t in graph.nodes:
            if t in values:
                continue
            node: Any = t.node
            operands = [values[x] for x in graph.operands(t)]
            for holds, refusal in _conditions(t, graph.operands(t), operands):
                right.append(holds)
                found.append(refusal)
            with jax.named_scope(node.scope.path if node.scope else names[t]):
                values[t] = _value(t, graph.operands(t), operands)
        refusals[:] = found
        return tuple(jnp.asarray(values[t]) for t in graph.outputs), jnp.stack(right) if right else None

    return function


def _value(t: Tensor, inputs: Sequence[Tensor], operands: list[Any]) -> Any:
    """What the op of ``t`` gives on JAX, in the dtype that it has on NumPy."""
    op, params = t.node.op, t.node.params  # type: ignore[union-attr]
    try:
        value = op.kernel(jnp, *_promoted(t, inputs, operands), **params)
        if t.dtype.kind == "f" and not is_weak(t._data) and jnp.asarray(value).dtype.itemsize < t.dtype.itemsize:
            # Of booleans and integers, NumPy makes wider floats.
            wide = [
                jnp.asarray(a, t.dtype) if x.dtype.kind in "biu" else a for x, a in zip(inputs, operands, strict=True)
            ]
            value = op.kernel(jnp, *wide, **params)
    except (ValueError, TypeError, OverflowError) as error:
        raise DTypeError(
            f"compile(backend='jax'): {op.name}: {error}; cast its operands with .astype, or choose another backend"
        ) from error
    if op.name == "floor_divide" and t.dtype.kind in "iu":
        value = jnp.where(operands[1] == 0, 0, value)  # as NumPy has it
    if is_weak(t._data):
        return value
    value = jnp.asarray(value)
    # JAX computes some things in a wider dtype, such as exp of booleans.
    if value.dtype != t.dtype and value.dtype.kind == t.dtype.kind and np.can_cast(t.dtype, value.dtype):
        value = value.astype(t.dtype)
    if (value.shape, value.dtype) != (t.shape, t.dtype):
        raise DTypeError(
            f"compile(backend='jax'): {op.name} gives {aval(value.dtype, value.shape)} on JAX and "
            f"{aval(t.dtype, t.shape)} on NumPy; cast its operands with .astype"
        )
    return value


def _promoted(t: Tensor, inputs: Sequence[Tensor], operands: Sequence[Any]) -> list[Any]:
    """The operands in the dtypes that NumPy computes with."""
    count = _indices(t, inputs)
    if count:  # by an index of int8, JAX cannot count a long axis
        return [*operands[:-count], *(jnp.asarray(a, np.int64) for a in operands[-count:])]
    strong = [not is_weak(x._data) and x.dtype.kind != "b" for x in inputs]
    dtypes = {x.dtype for x, is_strong in zip(inputs, strong, strict=True) if is_strong}
    if t.node.op.kind != "elementwise" or len(dtypes) < 2:  # type: ignore[union-attr]
        return list(operands)
    common = np.result_type(*dtypes)  # of int64 and float32, JAX makes float32
    return [jnp.asarray(a, common) if is_strong else a for a, is_strong in zip(operands, strong, strict=True)]


def _indices(t: Tensor, inputs: Sequence[Tensor]) -> int:
    """How many of the operands are index arrays; they are the last."""
    key = t.node.params.get("key")  # type: ignore[union-attr]
    return 0 if key is None else len(key.indexed(inputs[0].shape))


def _conditions(t: Tensor, inputs: Sequence[Tensor], operands: Sequence[Any]) -> Iterator[tuple[Any, TinygraphError]]:
    """Where NumPy raises an error, JAX goes on with some other number: what has to hold, and the error if it does not."""
    op, params = t.node.op, t.node.params  # type: ignore[union-attr]
    if count := _indices(t, inputs):
        for n, index in zip(params["key"].indexed(inputs[0].shape), operands[-count:], strict=True):
            text = f"{op.name}({aval(inputs[0].dtype, inputs[0].shape)}): an index is out of range; use -{n} to {n - 1}"
            wide = jnp.asarray(index, np.int64)
            yield jnp.all((wide >= -n) & (wide < n)), IndexingError(text)
    if op.kind != "elementwise" or t.dtype.kind not in "iu" or is_weak(t._data):
        return
    if op.name == "pow":
        text = f"pow({aval(t.dtype, t.shape)}): integers to negative integer powers are not allowed; cast with .astype"
        yield jnp.all(jnp.asarray(operands[1]) >= 0), DTypeError(text)
    limits = np.iinfo(t.dtype)
    for x, number in zip(inputs, operands, strict=True):
        if is_weak(x._data) and not is_weak(number) and t.dtype.itemsize < 8:
            text = f"{op.name}({aval(t.dtype, t.shape)}): a Python integer is out of bounds; cast with .astype"
            yield (number >= limits.min) & (number <= limits.max), DTypeError(text)


def _copied(array: Any) -> Any:
    """JAX may read the caller's memory after the call has returned: it gets its own."""
    if not is_weak(array):
        return jnp.array(array, copy=True)
    return float(array) if type(array) is int and not -(2**63) <= array < 2**63 else array
