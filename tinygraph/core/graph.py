"""Graphs as data: pytrees, the reachable set in order of creation, tracing, listing and replay."""

from __future__ import annotations

import inspect
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError, StaleError, TinygraphError, aval
from .array import is_weak, read_only
from .convert import operand, shape_of
from .node import next_serial
from .scope import GRAD, TRACE, flags
from .tensor import Argument, Parameter, Tensor, describe, make

by_serial = attrgetter("node.serial")

# -- pytrees: nested dicts, lists and tuples ------------------------------------------------------


class Tree:
    """The structure of a nested dict, list or tuple, without its leaves."""

    __slots__ = ("children", "keys", "kind")

    def __init__(self, kind: Any, keys: tuple[Any, ...], children: tuple[Tree, ...]) -> None:
        self.kind, self.keys, self.children = kind, keys, children

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Tree)
            and self.kind is other.kind
            and self.keys == other.keys
            and self.children == other.children
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.keys, self.children))

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        inner = ", ".join(
            f"{k!r}: {c!r}" if self.kind is dict else repr(c) for k, c in zip(self.keys, self.children, strict=True)
        )
        return f"{self.kind.__name__}({inner})"

    def build(self, leaves: Iterable[Any]) -> Any:
        """The structure again, around new leaves."""
        return self._build(iter(leaves))

    def _build(self, leaves: Any) -> Any:
        if self.kind is None:
            return next(leaves)
        items = [child._build(leaves) for child in self.children]
        if self.kind is dict:
            return dict(zip(self.keys, items, strict=True))
        return self.kind(*items) if hasattr(self.kind, "_fields") else self.kind(items)


LEAF = Tree(None, (), ())


def flatten(value: Any) -> tuple[list[Any], Tree]:
    """The leaves of nested dicts, lists and tuples from left to right, and their structure."""
    leaves: list[Any] = []
    return leaves, _flatten(value, leaves)


def _flatten(value: Any, leaves: list[Any]) -> Tree:
    if isinstance(value, dict):
        return Tree(dict, tuple(value), tuple(_flatten(v, leaves) for v in value.values()))
    if isinstance(value, (list, tuple)):
        return Tree(type(value), tuple(range(len(value))), tuple(_flatten(v, leaves) for v in value))
    leaves.append(value)
    return LEAF


def leaves_like(head: str, tree: Tree, value: Any) -> list[Any]:
    """The leaves of ``value`` in the order of ``tree``, matched by key; it must have that structure."""
    if tree.kind is None:
        return [value]
    if tree.kind is dict:
        fits = isinstance(value, dict) and value.keys() == set(tree.keys)
    else:
        fits = isinstance(value, (list, tuple)) and len(value) == len(tree.keys)
    if not fits:
        raise ArgumentError(f"{head} has structure {flatten(value)[1]} where {tree} is due; give one for each leaf")
    return [x for k, child in zip(tree.keys, tree.children, strict=True) for x in leaves_like(head, child, value[k])]


def paths(tree: Tree, prefix: str) -> list[str]:
    """A name for every leaf: ``params.w``, ``layers.0``."""
    if tree.kind is None:
        return [prefix]
    return [p for k, c in zip(tree.keys, tree.children, strict=True) for p in paths(c, f"{prefix}.{k}")]


# -- graphs ---------------------------------------------------------------------------------------


def reachable(outputs: Iterable[Tensor]) -> list[Tensor]:
    """Every result that ``outputs`` were computed from, in order of creation."""
    stack = [t for t in outputs if t.node is not None]
    seen = set(stack)
    while stack:
        for x in stack.pop().node.inputs:  # type: ignore[union-attr]
            if x.node is not None and x not in seen:
                seen.add(x)
                stack.append(x)
    return sorted(seen, key=by_serial)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def source(t: Tensor) -> Tensor:
    """The Tensor that a chain of ``identity`` passes on."""
    while t.node is not None and t.node.op.name == "identity":
        t = t.node.inputs[0]
    return t


class Graph:
    """A computation as data: ``inputs``, ``outputs`` and ``nodes``, the results in program order.

    ``print(graph)`` lists one node a line; ``graph.run`` replays it on other arrays and in other
    array namespaces; ``graph.draw`` draws it. ``captured`` are the leaves that are no inputs.
    """

    draw: Callable[..., Any]

    def __init__(
        self,
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor] = (),
        tree: Tree | None = None,
        since: float = math.inf,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(source(t) for t in outputs)
        self.tree = tree
        self.nodes = tuple(t for t in reachable(self.outputs) if t.node.op.name != "identity")  # type: ignore[union-attr]
        self._operands = {t: tuple(map(source, t.node.inputs)) for t in self.nodes}  # type: ignore[union-attr]
        known = {*self.inputs, *self.nodes}
        leaves = dict.fromkeys(x for used in self._operands.values() for x in used if x not in known)
        leaves.update(dict.fromkeys(t for t in self.outputs if t not in known))
        self.captured = tuple(leaves)
        self._constants = tuple(read_only(t._data) for t in leaves)
        # What was assigned after a node read it, or at all since the trace began, cannot be replayed.
        self._stale = [
            x
            for t, used in self._operands.items()
            for x in used
            if x.stamp and x.stamp > min(since, t.node.serial)  # type: ignore[union-attr]
        ]

    def operands(self, t: Tensor) -> tuple[Tensor, ...]:
        """What the node that made ``t`` was applied to."""
        known = self._operands.get(t)
        if known is not None or t.node is None:
            return known or ()
        return tuple(map(source, t.node.inputs))

    @property
    def names(self) -> dict[Tensor, str]:
        """A unique name for every Tensor: its own where it has one, else ``t0``, ``t1``, …"""
        names: dict[Tensor, str] = {}
        used: dict[str, int] = {}
        inputs = set(self.inputs)
        for count, t in enumerate(self.nodes):
            names[t] = t.name or f"t{count}"
        for t in (*self.inputs, *self.captured):
            names[t] = t.name or (repr(t._data) if is_weak(t._data) else f"c{len(names) - len(self.nodes)}")
        for t in sorted(names, key=lambda t: t.node.serial if t.node else 0):
            number = is_weak(t._data) and t.node is None
            if number and not t.name:  # a constant is its own name
                continue
            name = plain = _printable(names[t])
            if not number or t in inputs:
                while name in used:
                    used[plain] += 1
                    name = f"{plain}_{used[plain]}"
                used[name] = 1
            names[t] = f"{name}={t._data!r}" if number else name
        return names

    def __str__(self) -> str:
        names = self.names

        def typed(t: Tensor) -> str:
            return f"{names[t]}: {_type(t)}"

        captured = [t for t in self.captured if not is_weak(t._data)]
        lines = [f"graph({', '.join(map(typed, self.inputs))})"]
        lines += [f"  captured {', '.join(map(typed, captured))}"] if captured else []
        rows = []
        for t in self.nodes:
            node = t.node
            assert node is not None
            arguments = [names[x] for x in self.operands(t)]
            arguments += [f"{k}={_param(v)}" for k, v in node.params.items() if v is not False]
            rows.append(
                (names[t], _type(t), f"{node.op.name}({', '.join(arguments)})", node.scope.path if node.scope else "")
            )
        widths = [max((_width(row[i]) for row in rows), default=0) for i in range(3)]
        for row in rows:
            name, kind, text = (cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=False))
            lines.append(
                f"  {name} : {kind} = {text}  # {row[3]}" if row[3] else f"  {name} : {kind} = {text}".rstrip()
            )
        lines.append(f"  return {', '.join(names[t] for t in self.outputs)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Graph: {len(self.inputs)} inputs, {len(self.nodes)} nodes, {len(self.outputs)} outputs>"

    def run(
        self,
        xp: Any,
        *arrays: Any,
        constant: Callable[[Any], Any] | None = None,
        each: Callable[[Tensor, list[Any], Any], Any] | None = None,
    ) -> tuple[Any, ...]:
        """Replay on other arrays, one per input, in the array namespace ``xp``: a tuple of results.

        Captured leaves keep their traced value; ``constant`` converts each of them. Casts between
        float dtypes are dropped where an array is wider than what was traced (longdouble, complex,
        objects), so that a wide run stays wide. ``each(t, operands, value)`` sees every result as it
        is computed, and returns what is to be used in its place.

        >>> import numpy as np, tinygraph as tg
        >>> graph = tg.trace(lambda x: x * x, 3.0)
        >>> complex(graph.run(np, np.array(1j))[0])
        (-1+0j)
        """
        if len(arrays) != len(self.inputs):
            raise ArgumentError(
                f"run({len(arrays)} arrays): the graph has {len(self.inputs)} inputs; give one array each"
            )
        if self._stale:
            raise StaleError(
                f"run({describe(self._stale[0])}): was assigned after the graph had read it, or while it was traced; "
                "assign after tracing, or trace again"
            )
        arrays = tuple(xp.asarray(a) if isinstance(a, (list, tuple)) else a for a in arrays)
        for t, a in zip(self.inputs, arrays, strict=True):
            if shape_of(a) != t.shape:
                raise ShapeError(
                    f"run({describe(t)}, {describe(a)}): the graph was traced for shape {t.shape}; trace again for another"
                )
        values: dict[Tensor, Any] = dict(zip(self.inputs, arrays, strict=True))
        wide = [a.dtype for t, a in zip(self.inputs, arrays, strict=True) if _is_float(a) and a.dtype != t.dtype]
        convert = constant or (lambda data: _widen(data, wide))
        values.update(zip(self.captured, map(convert, self._constants), strict=True))

        def compute(op: Any, operands: Any, params: Any) -> Any:
            return op.run(operands, params) if xp is np else op.kernel(xp, *operands, **params)

        with np.errstate(all="ignore"):
            for t in self.nodes:
                node = t.node
                assert node is not None
                operands = [values[x] for x in self.operands(t)]
                if node.op.name == "astype" and _widened(node.inputs[0], t, operands[0]):
                    values[t] = operands[0]
                else:
                    values[t] = compute(node.op, operands, node.params)
                if each is not None:
                    values[t] = each(t, operands, values[t])
        return tuple(xp.asarray(values[t]) for t in self.outputs)


def _type(t: Tensor) -> str:
    return type(t._data).__name__ if is_weak(t._data) else aval(t.dtype, t.shape)


def _param(value: Any) -> str:
    """A param as the user would write it: ``0`` for a single axis, ``float32`` for a dtype."""
    if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], int):
        return repr(value[0])
    if isinstance(value, (np.dtype, np.random.Generator)):
        return getattr(value, "name", type(value).__name__)
    return repr(value)


def _width(text: str) -> int:
    """Columns on a terminal: a combining accent, as in x̂, takes none."""
    return sum(not unicodedata.combining(c) for c in text)


def _is_float(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "fc"


def _widen(data: Any, dtypes: Sequence[Any]) -> Any:
    """A captured array in the precision of a wide run, lest what is computed of it alone is rounded."""
    return data.astype(np.result_type(data, *dtypes)) if dtypes and _is_float(data) else data


def _widened(before: Tensor, after: Tensor, array: Any) -> bool:
    """Whether a cast between floats meets an array wider than the traced one: it must not narrow it."""
    dtype = getattr(array, "dtype", np.dtype(object))
    kind = getattr(dtype, "kind", "")  # other namespaces have dtypes of their own, and none that is wider
    wider = kind and (kind in "Oc" or (kind == "f" and dtype.itemsize > before.dtype.itemsize))
    return bool(wider) and before.dtype.kind == after.dtype.kind == "f"


def trace(fn: Callable[..., Any], *args: Any) -> Graph:
    """Run ``fn`` once on ``args`` with everything recorded, and return what was recorded.

    Arguments may be Tensors, arrays, numbers, and nested dicts, lists and tuples of them. The graph
    is that of this one run: a Python branch is recorded as it was taken.

    >>> import numpy as np, tinygraph as tg
    >>> print(tg.trace(lambda x: tg.mean(x ** 2, axis=0), np.ones((4, 3))))
    graph(x: float64[4,3])
      t0 : float64[4,3] = pow(x, 2)
      t1 : float64[3]   = mean(t0, axis=0)
      return t1
    """
    if not callable(fn):
        raise ArgumentError(f"trace({fn!r}): traces a function; write tg.trace(fn, *args), or tg.draw(y) for a result")
    leaves, tree = flatten(args)
    names = [
        p for arg, name in zip(tree.children, argument_names(fn, len(args)), strict=True) for p in paths(arg, name)
    ]
    opened = [_open(leaf, name) for leaf, name in zip(leaves, names, strict=True)]
    inputs = [t for t in opened if isinstance(t, Tensor)]
    since = next_serial()
    with flags(add=TRACE | GRAD):
        result = fn(*tree.build(opened))
        outputs, out_tree = flatten(result)
        tensors = [_result(fn, t) for t in outputs]
    return Graph(tensors, inputs, out_tree, since)


def _result(fn: Any, value: Any) -> Tensor:
    try:
        return operand(value)
    except TinygraphError:
        raise DTypeError(
            f"trace of {getattr(fn, '__name__', type(fn).__name__)}: returned {describe(value)} where a Tensor is due; "
            "return Tensors"
        ) from None


def _open(leaf: Any, name: str) -> Any:
    """A fresh leaf with the same values, for a traced run; flags, words and functions are passed on."""
    if leaf is None or isinstance(leaf, (str, bytes, bool)) or callable(leaf):
        return leaf
    given = operand(leaf)
    if isinstance(given, Parameter):
        fresh: Tensor = Parameter(given._data, requires_grad=given._requires)
    else:
        fresh = make(given._data, given._requires, kind=Argument)
    fresh.name = given.name or name
    return fresh


def argument_names(fn: Callable[..., Any], count: int) -> list[str]:
    """What ``fn`` calls its first ``count`` positional arguments; a transform may say so itself."""
    if hasattr(fn, "argument_names"):
        return fn.argument_names(count)  # type: ignore[no-any-return]
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return (names + [f"x{i}" for i in range(len(names), count)])[:count]
