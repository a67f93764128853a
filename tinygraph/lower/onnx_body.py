"""ONNX nodes in the making: the body of a graph, or of a function, one line for each node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.array import is_weak
from ..core.graph import Graph
from ..core.primitive import call
from ..core.tensor import Tensor
from ..errors import ArgumentError, DTypeError, aval

DOMAIN = "tinygraph"  # of the functions that scopes become
SHAPE_ONLY = {"size": 0, "zeros_like": 0, "spread": 1}  # how many operands are read for more than their shape


class Line(NamedTuple):
    """One node. Attributes are numbers, strings, dtypes, arrays, and tuples of integers."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    scope: str
    domain: str = ""


class Function(NamedTuple):
    """A body with formal inputs and outputs."""

    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    lines: Sequence[Line]


class Typed(NamedTuple):
    """A value of a graph."""

    name: str
    dtype: Any
    shape: tuple[int, ...]


class Model(NamedTuple):
    """All that goes into a file. ``between`` are the values that are neither inputs nor outputs."""

    name: str
    inputs: Sequence[Typed]
    outputs: Sequence[Typed]
    initializers: Mapping[str, Any]
    between: Sequence[Typed]
    lines: Sequence[Line]
    functions: Sequence[Function]


class Names:
    """Names that are given out once each: ``x``, ``x_2``, ``x_3``, …"""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """The name, or the name with a number behind it."""
        name = plain = name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)
        while name in self._used:
            self._used[plain] += 1
            name = f"{plain}_{self._used[plain]}"
        self._used[name] = 1
        return name


class Reads:
    """What the ops of a graph read: values, and Python numbers that are known, and written where they are used."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.numbers: dict[Tensor, Any] = {t: t._data for t in graph.captured if is_weak(t._data)}
        for t in graph.nodes:
            if is_weak(t._data) and all(x in self.numbers for x in self.operands(t)):
                self.numbers[t] = t._data

    def operands(self, t: Tensor) -> tuple[Tensor, ...]:
        """The operands whose values, not only shapes, make ``t``."""
        if t.size == 0:
            return ()
        op = t.node.op.name  # type: ignore[union-attr]
        return self._graph.operands(t)[: SHAPE_ONLY.get(op)]

    def values(self, t: Tensor) -> tuple[Tensor, ...]:
        """The operands that are no known numbers."""
        return tuple(x for x in self.operands(t) if x not in self.numbers)

    def needed(self, ends: Iterable[Tensor]) -> list[Tensor]:
        """The results that the ends are computed from, in program order."""
        stack = [t for t in ends if t not in self.numbers]
        seen = set(stack)
        while stack:
            t = stack.pop()
            for x in self.values(t) if t.node is not None else ():
                if x not in seen:
                    seen.add(x)
                    stack.append(x)
        return [t for t in self._graph.nodes if t in seen]


class Body(Names):
    """Lines, and the names of the values that they make."""

    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self.reads = reads
        self.lines: list[Line] = []
        self.values: dict[Tensor, str] = {}
        self.chosen: dict[Tensor, str] = {}  # names that are given before the values are made
        self.scope = ""
        self._known: dict[Any, str] = {}  # constants and casts, written once
        self._shared: set[str] = set()  # their names

    def bind(self, x: Tensor, plain: str) -> str:
        """A name for a value that is given, or about to be made."""
        name = self.chosen.get(x) or self.unique(x.name or plain)
        self.values[x] = name
        return name

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Write a node of ONNX with one output: the name of that."""
        output = self.unique(op)
        self.lines.append(Line(op, inputs, (output,), attributes, self.scope))
        return output

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A constant array."""
        array = np.asarray(value, dtype)
        return self._once((array.dtype, array.shape, array.tobytes()), "Constant", value=array)

    def integers(self, values: Sequence[int]) -> str:
        """Shapes, axes and positions, as ONNX takes them."""
        return self.constant(values, np.int64)

    def take(self, x: Tensor, dtype: Any = None) -> str:
        """The value of an operand, in a dtype."""
        dtype = np.dtype(dtype or x.dtype)
        if x in self.reads.numbers:
            return self.constant(self.reads.numbers[x], dtype)
        if x.dtype == dtype:
            return self.values[x]
        return self._once((x, dtype), "Cast", self.values[x], to=dtype)

    def _once(self, key: Any, op: str, *inputs: str, **attributes: Any) -> str:
        if key not in self._known:
            self._known[key] = self(op, *inputs, **attributes)
            self._shared.add(self._known[key])
        return self._known[key]

    def emit(self, t: Tensor, rules: Mapping[str, Any], refused: Mapping[str, str]) -> None:
        """Write the nodes of one result."""
        op, start = t.node.op.name, len(self.lines)  # type: ignore[union-attr]
        operands = self.reads.operands(t)
        if op not in rules:
            why = refused.get(
                op, "this op has no ONNX form; write it with others, or leave it outside the exported function"
            )
            raise ArgumentError(f"export_onnx: {call(op, operands)}: {why}")
        found = self.constant(np.empty(t.shape, t.dtype)) if t.size == 0 else rules[op](self, t, *operands)
        if len(self.lines) == start or found in self._shared or self.lines[-1].outputs != (found,):
            self("Identity", found)
        self._name_last(self.bind(t, "t"))

    def copy(self, t: Tensor, name: str) -> None:
        """Give the value of ``t`` another name."""
        self("Identity", self.take(t))
        self._name_last(name)

    def _name_last(self, name: str) -> None:
        self.lines[-1] = self.lines[-1]._replace(outputs=(name,))


def in_single(dtype: Any) -> Any:
    """Where sums of that dtype are accumulated: those of float16 in float32."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def check_dtypes(tensors: Iterable[Tensor]) -> None:
    """Refuse what no ONNX operator takes."""
    for t in tensors:
        if t.dtype.kind == "c" or t.dtype.char == "g":
            label = f" {t.name}" if t.name else ""
            raise DTypeError(
                f"export_onnx({aval(t.dtype, t.shape)}{label}): no ONNX operator takes {t.dtype}; "
                "cast with .astype(np.float64), or take real and imaginary parts"
            )
