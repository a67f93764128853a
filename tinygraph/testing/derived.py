"""A reference and its derived backward, traced as one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.graph import Graph, argument_names, flatten, trace
from ..core.tensor import Tensor, describe
from ..errors import ArgumentError, ShapeError
from ..transforms import vjp

Array = np.ndarray[Any, Any]


class Derived:
    """A reference and its derived backward, traced as one graph on example arrays."""

    def __init__(self, reference: Callable[..., Any], arrays: Sequence[Any], dy: Any, wrt: Sequence[int]) -> None:
        count = 0
        several = False

        def both(*given: Any) -> Any:
            nonlocal count, several
            *primals, upstream = given
            out, pullback = vjp(_of_tensors(reference), *primals)
            outputs = flatten(out)[0]
            _check_upstream(outputs, flatten(upstream)[0])
            cotangents = pullback(upstream)
            count, several = len(outputs), isinstance(out, (tuple, list))
            return (*outputs, *(cotangents[i] for i in wrt))

        both.argument_names = lambda n: [*argument_names(reference, n - 1), "dy"]  # type: ignore[attr-defined]
        events: list[str] = []
        with np.errstate(all="ignore", over="call", under="call", call=lambda kind, flag: events.append(kind)):
            self.graph = trace(both, *arrays, dy)
        self.out_of_range = bool(events)
        self.count = count
        self.inputs = [*arrays, *(dy if isinstance(dy, (tuple, list)) else [dy])]
        self.forward = Graph(self.graph.outputs[:count], self.graph.inputs)
        self.wrt = [self.graph.inputs[i] for i in wrt]

    @property
    def floats(self) -> list[Array]:
        """An array of every float dtype that is computed with, inputs and intermediate results included."""
        dtypes = {
            t.dtype for t in (*self.graph.inputs, *self.graph.nodes) if t.dtype.kind == "f" and not is_weak(t._data)
        }
        return [np.empty(0, d) for d in dtypes]

    @property
    def finite(self) -> bool:
        """Whether all inputs are, dy included."""
        return all(np.isfinite(a).all() for a in map(np.asarray, self.inputs) if a.dtype.kind == "f")

    @property
    def native(self) -> list[Array]:
        """Outputs and gradients in the precision of the arrays."""
        return [np.asarray(t._data) for t in self.graph.outputs]


def _of_tensors(reference: Callable[..., Any]) -> Callable[..., Any]:
    """The reference, which must return Tensors."""

    def checked(*inputs: Any) -> Any:
        out = reference(*inputs)
        for t in flatten(out)[0]:
            if not isinstance(t, Tensor):
                raise ArgumentError(
                    f"reference {getattr(reference, '__name__', '')}: returned {describe(t)} where a Tensor is due; "
                    "the reference comes first and is made of tinygraph ops, the backward of NumPy second"
                )
        return out

    return checked


def _check_upstream(outputs: Sequence[Any], upstream: Sequence[Any]) -> None:
    due, given = [t.shape for t in outputs], [t.shape for t in upstream]
    if due != given:
        raise ShapeError(
            f"dy of shape {', '.join(map(str, given))}: the reference returns {', '.join(map(str, due))}; give dy in that shape"
        )


def draw_upstream(reference: Callable[..., Any], arrays: Sequence[Any], seed: int) -> Any:
    """A random upstream gradient for ``reference``, never ones: one array, or one for each output."""
    with np.errstate(all="ignore"):
        graph = trace(reference, *arrays)
    rng = np.random.default_rng([seed, 0xD1])
    drawn = [rng.normal(size=t.shape).astype(t.dtype) for t in graph.outputs]
    return drawn[0] if graph.tree is None or graph.tree.kind is None else graph.tree.build(drawn)
