"""A graph on JAX: every primitive's own kernel, run on ``jax.numpy`` under ``jax.jit``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.graph import Graph
from ..core.tensor import Tensor
from ..errors import DTypeError, MissingExtra, aval

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

    Raises: DTypeError, when it is traced, for an op to whose result JAX gives another shape or dtype than NumPy.
    """
    drawn = draws(graph)
    names = graph.names

    def function(*arrays: Any) -> tuple[Any, ...]:
        values: dict[Tensor, Any] = dict(zip((*graph.inputs, *drawn), arrays, strict=True))
        values.update((t, t._data) for t in graph.captured)
        for t in graph.nodes:
            if t in values:
                continue
            node: Any = t.node
            with jax.named_scope(node.scope.path if node.scope else names[t]):
                value = node.op.kernel(jnp, *[values[x] for x in graph.operands(t)], **node.params)
            values[t] = value if is_weak(value) else _checked(t, jnp.asarray(value))
        return tuple(jnp.asarray(values[t]) for t in graph.outputs)

    return function


def draws(graph: Graph) -> list[Tensor]:
    """The random draws of a graph. NumPy's generators make them, before JAX begins: they are those of the eager run."""
    return [t for t in graph.nodes if "rng" in t.node.params]  # type: ignore[union-attr]


class Lowered:
    """A graph as a function of NumPy arrays that JAX runs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.drawn = draws(graph)
        self.function = jax.jit(lower(graph))
        # Without its 64-bit mode, JAX would silently narrow them.
        everything = (*graph.inputs, *graph.captured, *graph.nodes)
        self.wide = any(
            not is_weak(t._data) and t.dtype.itemsize == 8 * (1 + (t.dtype.kind == "c")) for t in everything
        )

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        with jax.enable_x64(self.wide):
            found = self.function(*map(_copied, arrays), *self._draw())
            return tuple(np.array(x) for x in found)

    def _draw(self) -> list[Any]:
        return [t.node.op.run((), t.node.params) for t in self.drawn]  # type: ignore[union-attr]

    @property
    def source(self) -> str:
        """What JAX compiles, as a jaxpr."""
        samples = [t._data for t in (*self.graph.inputs, *self.drawn)]
        with jax.enable_x64(self.wide):
            return str(jax.make_jaxpr(lower(self.graph))(*samples))

    def __repr__(self) -> str:
        return f"jax {jax.__version__} on {jax.default_backend()}"


def _copied(array: Any) -> Any:
    """JAX may read the caller's memory after the call has returned: it gets its own."""
    return array if is_weak(array) else jnp.array(array, copy=True)


def _checked(t: Tensor, value: Any) -> Any:
    if (value.shape, value.dtype) == (t.shape, t.dtype):
        return value
    node: Any = t.node
    raise DTypeError(
        f"compile(backend='jax'): {node.op.name} gives {aval(value.dtype, value.shape)} on JAX and "
        f"{aval(t.dtype, t.shape)} on NumPy; cast its operands with .astype"
    )
