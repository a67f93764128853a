"""What the nodes of a reference are called: by the user, by his local variables, or by what they compute."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.graph import Graph, argument_names, trace
from ..core.primitive import resolve_line
from ..core.tensor import Tensor
from ..functional import COMPOSITES

_PACKAGE = str(Path(__file__).parents[1])
_COMPOSITES = str(Path(__file__).parents[1] / "functional.py")
_INFIX = {
    "add": " + ", "sub": " - ", "mul": " * ", "div": " / ", "mul0": " * ", "div0": " / ", "matmul": " @ ", "less": " < ",
    "less_equal": " <= ", "greater": " > ", "greater_equal": " >= ", "equal": " == ", "not_equal": " != ",
}  # fmt: skip
_SAME = ("reshape", "expand_dims", "squeeze", "broadcast_to", "astype", "identity")  # the same numbers, and name
_PLAIN = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 10.0)  # literals that a variable may equal by chance


class Names:
    """The name of every Tensor of a graph, and whether a person gave it."""

    def __init__(
        self, graph: Graph, locals_: dict[Tensor, str], inner: dict[Tensor, str], numbers: dict[float, str],
        calls: dict[Tensor, tuple[str, Any]],
    ) -> None:  # fmt: skip
        self.graph = graph
        self.numbers = numbers
        self.given: dict[Tensor, str] = {}
        # What composites of this library call their steps says less than what the user calls his.
        self.inner = {t for t in inner if t not in locals_ and not t.name}
        used: dict[str, int] = {}
        for t in (*graph.inputs, *graph.captured, *graph.nodes):
            name = t.name or locals_.get(t) or (None if t in calls else inner.get(t))
            if name:
                count = used[name] = used.get(name, 0) + 1
                self.given[t] = name if count == 1 else f"{name}_{count}"
        unnamed = [t for t in graph.outputs if t not in self.given and t.node is not None]
        self.output = unnamed[0] if len(graph.outputs) == 1 and unnamed and "y" not in used else None
        if self.output is not None:
            self.given[self.output] = "y"  # what everyone calls the output
        self._said: dict[Tensor, str] = {}
        for t, (name, x) in calls.items():
            self.given.setdefault(t, f"{name}({self.of(x)})")
        self._said.clear()

    def of(self, t: Tensor) -> str:
        """Its name; else the expression that made it, as short as it can be said."""
        if t in self.given:
            return self.given[t]
        if t.node is None:
            return self.number(t._data) if is_weak(t._data) or t.size == 1 else "constant"
        if t not in self._said:
            self._said[t] = self.of(self.graph.operands(t)[0]) if self.same(t) else self.expression(t)
        return self._said[t]

    def same(self, t: Tensor) -> bool:
        """Whether an unnamed result holds its operand's numbers in their order, and so has its name."""
        if t in self.given or t.node is None:
            return False
        name, key = t.node.op.name, t.node.params.get("key", ())
        whole = all(k is None or k is Ellipsis or tuple(k) == (None, None, None) for k in key if not isinstance(k, int))
        return name in _SAME or (name == "getitem" and whole and not any(isinstance(k, int) for k in key))

    def number(self, value: Any) -> str:
        """A constant by the variable that held it, else as a number."""
        value = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
        return self.numbers.get(value, f"{value:g}" if isinstance(value, float) else repr(value))

    def expression(self, t: Tensor) -> str:
        """How the result was computed from what has names: ``x - mu``, ``mean of v over axis 0``."""
        node = t.node
        assert node is not None
        operands = self.graph.operands(t)
        if "axis" in node.params and node.op.kind == "reduction":
            over = axes_text(node.params["axis"], len(operands[0].shape))
            return f"{node.op.name} of {self._inside(operands[0], True)} over {over}"
        return self._text(t, lambda x, bare: self._inside(x, not bare))

    def _inside(self, x: Tensor, wrapped: bool) -> str:
        """An operand in one more step: what lies deeper is an ellipsis."""
        if x in self.given or x.node is None or self.same(x):
            return self._atom(x, wrapped)
        text = self._text(x, self._power if x.node.op.name == "pow" else self._nothing_deeper)
        return f"({text})" if wrapped and x.node.op.name in (*_INFIX, "neg") else text

    def _nothing_deeper(self, x: Tensor, bare: bool) -> str:
        return self._atom(x, not bare) if self._short(x) else "…"

    def _power(self, x: Tensor, bare: bool) -> str:
        """The base of a power in one step more: ``(x - …)**2`` says something, ``…**2`` does not."""
        if self._short(x) or x.node is None or x.node.op.name == "pow":
            return self._nothing_deeper(x, bare)
        return f"({self._text(x, self._nothing_deeper)})"

    def _short(self, x: Tensor) -> bool:
        return x in self.given or x.node is None or (self.same(x) and self._short(self.graph.operands(x)[0]))

    def _atom(self, x: Tensor, wrapped: bool) -> str:
        name = self.of(x)
        number = x.node is None and x not in self.given and not name.startswith("-")
        return name if not wrapped or number or not set(name) & set("+-*/−@ ") else f"({name})"

    def _text(self, t: Tensor, say: Callable[[Tensor, bool], str]) -> str:
        """One operation: ``say(operand, bare)`` gives an operand's words, in parentheses unless ``bare``."""
        assert t.node is not None
        operands, name, params = self.graph.operands(t), t.node.op.name, t.node.params
        if name in _INFIX and len(operands) == 2:
            return _INFIX[name].join(say(x, False) for x in operands)
        if name == "pow":
            return "**".join(say(x, False) for x in operands)
        if name == "neg":
            return f"-{say(operands[0], False)}"
        if name == "transpose" and params["axes"][-2:] == (len(params["axes"]) - 1, len(params["axes"]) - 2):
            return f"{say(operands[0], False)}.T"
        if name == "getitem":
            key = [say(operands[k.position + 1], True) if hasattr(k, "position") else _key(k) for k in params["key"]]
            return f"{say(operands[0], False)}[{', '.join(key)}]"
        return f"{name}({', '.join(say(x, True) for x in operands)})"

    def scope(self, t: Tensor) -> str:
        """The innermost scope that the user was in, if it holds nothing else."""
        scope = t.node.scope if t.node is not None else None
        alone = scope is not None and sum(s.node is not None and s.node.scope is scope for s in self.graph.nodes) == 1
        return scope.name if scope is not None and alone else ""


def _key(k: Any) -> str:
    """One part of an index, as it is written."""
    return "…" if k is Ellipsis else repr(k)


def axes_text(axis: Any, ndim: int) -> str:
    """``axis 0``, ``axes 0, 2``, ``all axes``."""
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    if len(axes) == ndim and ndim > 1:
        return "all axes"
    return f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"


def trace_named(reference: Callable[..., Any], arrays: Sequence[Any]) -> tuple[Graph, Names]:
    """Trace a reference, and note what its local variables were bound to when it returned.

    Outer functions return last, so their names win over those of the helpers that they call. The
    composites of this library name what no one else has named; their results are called ``var(x)``.
    """
    locals_: dict[Tensor, str] = {}
    inner: dict[Tensor, str] = {}
    calls: dict[Tensor, tuple[str, Any]] = {}
    numbers: dict[float, str] = {}

    def watch(frame: Any, event: str, result: Any) -> None:
        if event != "return":
            return
        code = frame.f_code
        if code.co_filename == _COMPOSITES:
            parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            for name, value in frame.f_locals.items():
                if _made(value) and name not in parameters:
                    inner.setdefault(value, name)
            first = frame.f_locals.get(parameters[0]) if parameters else None
            composite = code.co_name in COMPOSITES and isinstance(first, Tensor) and _made(result)
            if composite and result is not first and result.node.op.kind != "movement":
                calls[result] = (code.co_name, first)
        if code.co_filename.startswith(_PACKAGE):
            return
        locals_.update((value, name) for name, value in _tensors(frame.f_locals))
        globals_ = {name: frame.f_globals.get(name) for name in code.co_names}
        numbers.update({v: n for n, v in globals_.items() if _telling(n, v) and v not in numbers})
        numbers.update({v: n for n, v in frame.f_locals.items() if _telling(n, v)})

    def watched(*inputs: Any) -> Any:
        before = sys.getprofile()
        if before is not None and not callable(before):  # cProfile's, which cannot be put back
            return reference(*inputs)
        sys.setprofile(watch)
        try:
            return reference(*inputs)
        finally:
            sys.setprofile(before)

    watched.argument_names = lambda count: argument_names(reference, count)  # type: ignore[attr-defined]
    with np.errstate(all="ignore"):
        graph = trace(watched, *arrays)
    return graph, Names(graph, locals_, inner, numbers, {t: c for t, c in calls.items() if t not in locals_})


def _telling(name: str, value: Any) -> bool:
    """Whether a variable of this value names it: 1 and 2 are literals, more often than not."""
    return isinstance(value, float) and abs(value) not in _PLAIN and not name.startswith(("_", "."))


def _made(value: Any) -> bool:
    return isinstance(value, Tensor) and value.node is not None


def _tensors(variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The results that variables hold, alone or in a list: (name, Tensor)."""
    for name, value in variables.items():
        if name.startswith(("_", ".")):
            continue
        if _made(value):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from ((f"{name}[{i}]", v) for i, v in enumerate(value[:64]) if _made(v))


def where(t: Tensor) -> str:
    """The user's line that made a result, and its place: ``mu = tg.mean(x, axis=0)      bn.py:12``."""
    if t.node is None or t.node.where is None:
        return ""
    file, _, line = resolve_line(t.node.where).rpartition(":")
    text = linecache.getline(file, int(line)).strip() if line.isdigit() else ""
    return f"{text}      {Path(file).name}:{line}" if text else ""
