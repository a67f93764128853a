"""Symbols and a symbolic NumPy, on which a kernel is run to write down what it asks of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..core.array import is_weak
from .steps import (
    AND,
    ATOM,
    COMPARISON,
    MARK,
    OR,
    POWER,
    PRODUCT,
    SUM,
    Dims,
    Expression,
    Size,
    Step,
    Value,
    fill,
    infix,
    literal,
    prefix,
)

BINARY = {
    "add": ("+", SUM, "add"),
    "sub": ("-", SUM, "subtract"),
    "mul": ("*", PRODUCT, "multiply"),
    "truediv": ("/", PRODUCT, "divide"),
    "pow": ("**", POWER, ""),
    "and": ("&", AND, "bitwise_and"),
    "or": ("|", OR, "bitwise_or"),
    "lt": ("<", COMPARISON, "less"),
    "le": ("<=", COMPARISON, "less_equal"),
    "gt": (">", COMPARISON, "greater"),
    "ge": (">=", COMPARISON, "greater_equal"),
    "eq": ("==", COMPARISON, "equal"),
    "ne": ("!=", COMPARISON, "not_equal"),
}
# Functions of NumPy whose result is memory of its own; that of others may be a view.
FRESH = frozenset([
    "where", "concat", "stack", "roll", "full", "full_like", "zeros_like", "astype", "take", "round", "sum", "mean",
    "prod", "max", "min", "all", "any", "argmax", "argmin", "cumsum", "cumulative_sum",
])  # fmt: skip
# Views that keep the order of elements in memory.
ORDERLY = frozenset(["reshape", "squeeze", "broadcast_to", "asarray"])


class Unwritable(Exception):
    """A kernel asks a symbol for what has no text."""


class DType:
    """The dtype of a symbol: compared like NumPy's, written as what it was read from."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, dtype: Any, text: str) -> None:
        self.dtype, self.text = np.dtype(dtype), text

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dtype, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.dtype == (other.dtype if isinstance(other, DType) else other))


class Symbol:
    """An array of which shape and dtype are known; what is done with it is written down."""

    __slots__ = ("_data", "_writer", "value")
    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __init__(self, writer: Writer, value: Value, data: Any) -> None:
        self._writer, self.value, self._data = writer, value, data

    @property
    def data(self) -> Any:
        """Values of its dtype: of one element where elements don't meet, else of its shape, made when asked for."""
        if callable(self._data):
            self._data = self._data()
            if self.value.shape is None:
                self.value.shape, self.value.dtype = np.shape(self._data), np.asarray(self._data).dtype
                self.value.weak = is_weak(self._data)
        return self._data

    @property
    def shape(self) -> tuple[int, ...]:
        if self.value.shape is None:
            _ = self.data
        return self._writer.sizes(self.value)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> DType:
        return DType(np.asarray(self.data).dtype, f"{self._writer.mark(self.value)}.dtype")

    def __neg__(self) -> Symbol:
        return self._writer.record(partial(prefix, "-"), (self,), lambda: -self.data, ufunc="negative")

    def __getitem__(self, key: Any) -> Symbol:
        items = key if isinstance(key, tuple) else (key,)
        shown = items[:-1] if len(items) > 1 and items[-1] is Ellipsis else items
        listed = ", ".join(map(self._writer.text, shown))
        return self._writer.call(f"{self._writer.mark(self.value)}[{listed}]", lambda: self.data[_plain(items)])

    def _refuse(self, *args: Any) -> Any:
        raise Unwritable

    __bool__ = __array__ = __iter__ = __len__ = __setitem__ = __int__ = __float__ = __index__ = _refuse


def _operator(name: str, reflected: bool = False) -> Callable[[Symbol, Any], Symbol]:
    def operator(self: Symbol, other: Any) -> Symbol:
        return self._writer.binary(name, *((other, self) if reflected else (self, other)))

    return operator


for _name in BINARY:
    setattr(Symbol, f"__{_name}__", _operator(_name))
    if BINARY[_name][1] != COMPARISON:
        setattr(Symbol, f"__r{_name}__", _operator(_name, reflected=True))


def _plain(argument: Any) -> Any:
    """An argument of a kernel with data in the place of symbols."""
    if isinstance(argument, Symbol):
        return argument.data
    if isinstance(argument, DType):
        return argument.dtype
    if isinstance(argument, slice):
        return slice(_plain(argument.start), _plain(argument.stop), _plain(argument.step))
    if isinstance(argument, (tuple, list)):
        return type(argument)(map(_plain, argument))
    return int(argument) if isinstance(argument, Size) else argument


class Writer:
    """The steps of one application. ``elementwise`` kernels are tried on one element, all others on outlines."""

    def __init__(self, elementwise: bool) -> None:
        self.steps: list[Step] = []
        self.elementwise = elementwise
        self.named: dict[int, Value] = {}  # sizes that the text has no source for
        self._values: list[Value] = []
        self._places: dict[Value, int] = {}

    def mark(self, value: Value) -> str:
        """How a template names a value."""
        if value not in self._places:
            self._places[value] = len(self._values)
            self._values.append(value)
        return f"{{{self._places[value]}}}"

    def sizes(self, value: Value) -> tuple[Size, ...]:
        return tuple(
            Size.of(n, Expression(f"{self.mark(v)}.shape[{axis}]"), (v, axis))
            for n, (v, axis) in zip(value.shape or (), value.dims, strict=True)
        )

    def text(self, argument: Any) -> str:
        """An argument of a kernel as it is written."""
        if isinstance(argument, Symbol):
            return self.mark(argument.value)
        if isinstance(argument, DType):
            return argument.text
        if isinstance(argument, Size):
            return argument.expression.text
        if id(argument) in self.named:
            return self.mark(self.named[id(argument)])
        if isinstance(argument, (tuple, list)):
            return self._sequence(argument)
        if isinstance(argument, slice):
            parts = ["" if part is None else self.text(part) for part in (argument.start, argument.stop, argument.step)]
            return ":".join(parts if parts[2] else parts[:2])
        if isinstance(argument, np.dtype):
            return f"np.{argument.name}"
        if isinstance(argument, type):
            return f"np.{argument.__name__}"
        if argument is Ellipsis:
            return "..."
        if argument is None or isinstance(argument, (bool, int, float, complex, str)):
            return literal(argument)
        raise Unwritable

    def subscript(self, argument: Any) -> str:
        """A key as an argument, where it is written with ``np.s_``."""
        parts = argument if isinstance(argument, tuple) else ()
        if any(isinstance(k, slice) for k in parts):
            return f"np.s_[{', '.join(map(self.text, parts))}]"
        return self.text(argument)

    def _sequence(self, items: Any) -> str:
        source = _whole(items)
        if source is not None:
            return f"{self.mark(source)}.shape"
        listed = ", ".join(map(self.text, items))
        return f"[{listed}]" if isinstance(items, list) else f"({listed}{',' * (len(items) == 1)})"

    def function(self, name: str, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Symbol:
        """A call of one of NumPy's functions."""
        listed = [self.text(a) for a in args]
        for k, v in kwargs.items():
            if v is not False:
                listed.append(f"{k}={self.text(v[0] if k == 'axis' and isinstance(v, tuple) and len(v) == 1 else v)}")
        is_ufunc = isinstance(function, np.ufunc) and function.nout == 1 and function.signature is None and not kwargs
        return self.call(
            f"np.{name}({', '.join(listed)})",
            lambda: function(*map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()}),
            ufunc=name if is_ufunc else "",
            fresh=is_ufunc or name in FRESH,
            orderly=is_ufunc or name in FRESH or name in ORDERLY,
        )

    def binary(self, name: str, x: Any, y: Any) -> Symbol:
        sign, binds, ufunc = BINARY[name]
        function = getattr(operator, f"{name}_" if name in ("and", "or") else name)
        if name == "pow":  # NumPy's scalars have a power of their own
            x = self.function("asarray", np.asarray, (x,), {}) if self._no_axes(x, y) and isinstance(x, Symbol) else x
            known = type(y) is int and y == 2 and isinstance(x, Symbol) and x.dtype.kind in "fi"
            ufunc = "square" if known else ""
        write = partial(infix, sign, binds)
        return self.record(write, (x, y), lambda: function(_plain(x), _plain(y)), ufunc=ufunc)

    def _no_axes(self, *operands: Any) -> bool:
        return all(not isinstance(x, Symbol) or x.value.shape == () for x in operands)

    def call(self, template: str, data: Callable[[], Any], binds: int = ATOM, **kinds: Any) -> Symbol:
        """A step whose text is a template with marks."""
        used: dict[Value, str] = {}
        sizes: dict[Value, bool] = {}
        for mark in MARK.finditer(template):
            value = self._values[int(mark[1])]
            used.setdefault(value, f"{{{len(used)}}}")
            sizes[value] = sizes.get(value, True) and mark[2] in (".shape", ".dtype")
        template = MARK.sub(lambda mark: used[self._values[int(mark[1])]], template)
        only = tuple(value for value, is_size in sizes.items() if is_size)
        return self._add(Step((), tuple(used), partial(fill, template, binds=binds), only, **kinds), data)

    def record(self, write: Callable[..., Expression], operands: Sequence[Any], data: Any, ufunc: str = "") -> Symbol:
        """A step of an operator."""
        values = tuple(self._value(x) for x in operands)
        return self._add(Step((), values, write, ufunc=ufunc, fresh=True, orderly=True), data)

    def _value(self, x: Any) -> Value:
        if isinstance(x, Symbol):
            return x.value
        if isinstance(x, Size):
            raise Unwritable
        return Value.number(x)

    def _add(self, step: Step, data: Any) -> Symbol:
        value = Value(None, None)
        if self.elementwise:
            data = data()
            shapes = [v.shape for v in step.operands if v.shape is not None and v not in step.sizes]
            value.shape, value.dtype = np.broadcast_shapes(*shapes), np.asarray(data).dtype
            value.weak = is_weak(data)
            value.dims = _broadcast_dims(value, [v for v in step.operands if not v.weak])
        step.targets = (value,)
        self.steps.append(step)
        return Symbol(self, value, data)


def _broadcast_dims(value: Value, operands: Sequence[Value]) -> Dims | None:
    """From where the sizes of an elementwise result are read: from one operand if it has them all."""
    for v in operands:
        if v.shape == value.shape:
            return v.dims
    shape = value.shape or ()
    found = list(value.dims)
    for v in reversed(operands):
        for axis in range(-len(v.shape or ()), 0):
            if v.dims[axis][0] is not v and v.shape[axis] == shape[axis]:  # type: ignore[index]
                found[axis] = v.dims[axis]
    return tuple(found)


def _sources(sizes: Any) -> Dims | None:
    """From where sizes are read, if all of them are read from somewhere."""
    sources = tuple(n.source for n in sizes if isinstance(n, Size) and n.source)
    return sources if sources and len(sources) == len(sizes) else None


def _whole(sizes: Any) -> Value | None:
    """The value whose shape these sizes are, all of them in order."""
    sources = _sources(sizes)
    value = sources[0][0] if sources else None
    if value is None or value.shape is None or len(value.shape) != len(sizes):
        return None
    return value if sources == tuple((value, axis) for axis in range(len(sizes))) else None


class Namespace:
    """NumPy, as a kernel sees it while it is written down."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        if isinstance(function, type) or not callable(function):
            return function
        return lambda *args, **kwargs: self._writer.function(name, function, args, kwargs)

    def asarray(self, x: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise Unwritable
        strong = isinstance(x, Symbol) and not x.value.weak
        return x if strong else self._writer.function("asarray", np.asarray, (x,), {})

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        old = tuple(map(int, x.shape))
        new = tuple(i for i, n in enumerate(shape) if type(n) is int and n == 1)
        kept = tuple(int(n) for i, n in enumerate(shape) if i not in new)
        if not new and kept == old:
            return x
        if new and kept == old:
            return self.expand_dims(x, axis=new)
        return self._writer.function("reshape", np.reshape, (x, shape), {})

    def expand_dims(self, x: Any, *, axis: Any) -> Any:
        axes = axis if isinstance(axis, tuple) else (axis,)
        keys = ["None" if i in axes else ":" for i in range(x.ndim + len(axes))]
        while keys[-1:] == [":"]:
            keys.pop()
        template = f"{self._writer.mark(x.value)}[{', '.join(keys) or '...'}]"
        out = self._writer.call(template, lambda: np.expand_dims(_plain(x), axis), orderly=True)
        old = iter(x.value.dims)
        out.value.dims = tuple((out.value, i) if i in axes else next(old) for i in range(x.ndim + len(axes)))
        if axes == tuple(range(len(axes))):
            out.value.narrow = x.value.narrow or x.value
        return out

    def broadcast_to(self, x: Any, shape: tuple[int, ...]) -> Any:
        if tuple(map(int, x.shape)) == tuple(map(int, shape)):
            return x
        out = self._writer.function("broadcast_to", np.broadcast_to, (x, shape), {})
        out.value.narrow = x.value.narrow or x.value
        out.value.dims = _sources(shape)
        return out

    def permute_dims(self, x: Any, axes: tuple[int, ...]) -> Any:
        if axes == tuple(range(len(axes)))[::-1]:
            return self._writer.call(f"{self._writer.mark(x.value)}.T", lambda: _plain(x).T)
        return self._writer.function("permute_dims", np.permute_dims, (x, axes), {})

    def matmul(self, x: Any, y: Any) -> Any:
        values = tuple(v.value for v in (x, y) if isinstance(v, Symbol))
        if len(values) < 2:
            raise Unwritable
        flat = x.ndim < 3 and y.ndim < 3
        step = Step((), values, partial(infix, "@", PRODUCT), fresh=True, orderly=True, contiguous=flat)
        return self._writer._add(step, lambda: np.matmul(_plain(x), _plain(y)))

    def einsum(self, subscripts: str, *operands: Any) -> Any:
        more = {"optimize": True} if len(operands) > 2 else {}  # as the op's kernel has it for NumPy
        out = self._writer.function("einsum", np.einsum, (subscripts, *operands), more)
        self._writer.steps[-1].fresh = len(operands) > 1  # of one it may be a view
        return out
