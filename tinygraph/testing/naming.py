"""What the nodes of a reference are called: by the user, by his local variables, or by what they compute."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.graph import Graph, argument_names, trace
from ..core.primitive import resolve_line
from ..core.tensor import Tensor

_PACKAGE = str(Path(__file__).parents[1])
_COMPOSITES = str(Path(__file__).parents[1] / "functional.py")
_INFIX = {"add": " + ", "sub": " - ", "mul": " * ", "div": " / ", "mul0": " * ", "div0": " / ", "matmul": " @ "}


class Names:
    """The name of every Tensor of a graph, and whether a person gave it."""

    def __init__(self, graph: Graph, locals_: dict[Tensor, str], numbers: dict[float, str]) -> None:
        self.graph = graph
        self.numbers = numbers
        self.given: dict[Tensor, str] = {}
        used: dict[str, int] = {}
        for t in (*graph.inputs, *graph.captured, *graph.nodes):
            name = t.name or locals_.get(t)
            if name:
                count = used[name] = used.get(name, 0) + 1
                self.given[t] = name if count == 1 else f"{name}_{count}"
        unnamed = [t for t in graph.outputs if t not in self.given and t.node is not None]
        if len(graph.outputs) == 1 and unnamed and "y" not in used:
            self.given[unnamed[0]] = "y"  # what everyone calls the output

    def of(self, t: Tensor) -> str:
        """Its name; else the expression that made it, as short as it can be said."""
        if t in self.given:
            return self.given[t]
        if t.node is None:
            return self.number(t._data) if is_weak(t._data) or t.size == 1 else "constant"
        return self.expression(t)

    def number(self, value: Any) -> str:
        """A constant by the variable that held it, else as a number."""
        value = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
        return self.numbers.get(value, f"{value:g}" if isinstance(value, float) else repr(value))

    def expression(self, t: Tensor) -> str:
        """How the result was computed from what has names: ``x - mu``, ``mean over axis 0``."""
        node = t.node
        assert node is not None
        operands = [self._inside(x) for x in self.graph.operands(t)]
        name = node.op.name
        if name in _INFIX and len(operands) == 2:
            return _INFIX[name].join(operands)
        if name == "pow":
            return "**".join(operands)
        if name == "neg":
            return f"-{operands[0]}"
        if "axis" in node.params and node.op.kind == "reduction":
            return (
                f"{name} of {operands[0]} over {axes_text(node.params['axis'], len(self.graph.operands(t)[0].shape))}"
            )
        return f"{name}({', '.join(operands)})"

    def _inside(self, x: Tensor) -> str:
        if x in self.given or x.node is None:
            return self.of(x)
        inner = x.node
        operands = [self.of(y) if y in self.given or y.node is None else "…" for y in self.graph.operands(x)]
        text = _INFIX.get(inner.op.name)
        if text and len(operands) == 2:
            return f"({text.join(operands)})"
        if inner.op.name == "pow":
            return "**".join(operands)
        return f"{inner.op.name}({', '.join(operands)})"

    def scope(self, t: Tensor) -> str:
        """The innermost scope that the user was in, if it holds nothing else."""
        scope = t.node.scope if t.node is not None else None
        alone = scope is not None and sum(s.node is not None and s.node.scope is scope for s in self.graph.nodes) == 1
        return scope.name if scope is not None and alone else ""


def axes_text(axis: Any, ndim: int) -> str:
    """``axis 0``, ``axes 0, 2``, ``all axes``."""
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    if len(axes) == ndim and ndim > 1:
        return "all axes"
    return f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"


def trace_named(reference: Callable[..., Any], arrays: Sequence[Any]) -> tuple[Graph, Names]:
    """Trace a reference, and note what its local variables were bound to when it returned.

    Outer functions return last, so their names win over those of the helpers that they call; the
    composites of this library name only what no one else has named.
    """
    locals_: dict[Tensor, str] = {}
    numbers: dict[float, str] = {}

    def watch(frame: Any, event: str, result: Any) -> None:
        if event != "return":
            return
        file = frame.f_code.co_filename
        if file.startswith(_PACKAGE):
            if file == _COMPOSITES:
                parameters = frame.f_code.co_varnames[: frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount]
                for name, value in frame.f_locals.items():
                    if isinstance(value, Tensor) and value.node is not None and name not in parameters:
                        locals_.setdefault(value, name)
            return
        for name, value in frame.f_locals.items():
            if name.startswith(("_", ".")):
                continue
            if isinstance(value, Tensor) and value.node is not None:
                locals_[value] = name
            elif isinstance(value, float):
                numbers[value] = name
        for name in frame.f_code.co_names:
            if isinstance(value := frame.f_globals.get(name), float):
                numbers.setdefault(value, name)

    def watched(*inputs: Any) -> Any:
        before = sys.getprofile()
        sys.setprofile(watch)
        try:
            return reference(*inputs)
        finally:
            _restore(before)

    watched.argument_names = lambda count: argument_names(reference, count)  # type: ignore[attr-defined]
    with np.errstate(all="ignore"):
        graph = trace(watched, *arrays)
    return graph, Names(graph, locals_, numbers)


def _restore(profile: Any) -> None:
    """What profiled before; cProfile's own object is no function, but can enable itself."""
    if profile is None or callable(profile):
        sys.setprofile(profile)
    else:
        profile.enable()


def where(t: Tensor) -> str:
    """The user's line that made a result, and its place: ``mu = tg.mean(x, axis=0)      bn.py:12``."""
    if t.node is None or t.node.where is None:
        return ""
    file, _, line = resolve_line(t.node.where).rpartition(":")
    text = linecache.getline(file, int(line)).strip() if line.isdigit() else ""
    return f"{text}      {Path(file).name}:{line}" if text else ""
