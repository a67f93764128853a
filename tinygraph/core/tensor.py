"""Tensor, Parameter and Node: an immutable array, and the record of the operation that made it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import DialectError, DTypeError, GradientError, ShapeError, TraceError, aval
from .array import Data, as_array, check_differentiable, is_weak, lock, printed, remedy
from .foreign import is_foreign, takes, title
from .held import fetch, held, hold
from .node import LATEST, Node, is_constant, next_serial, warn_if_growing
from .scope import GRAD, TRACE, Observed, mode, recorder, tell_flag

# Everything that operators, methods and the traversal reach by name; ops and composites enter themselves.
OPS: dict[str, Callable[..., Any]] = {}

_ROWS = 32  # an iteration over more is split


def _binary(name: str, reflected: bool = False) -> Callable[[Tensor, Any], Tensor]:
    def operator(self: Tensor, other: Any) -> Tensor:
        if type(other) not in _COMMON and not takes(name, other, OPERANDS):
            return NotImplemented  # type: ignore[no-any-return]
        return OPS[name](other, self) if reflected else OPS[name](self, other)  # type: ignore[no-any-return]

    operator.__name__ = name
    return operator


def _both(name: str) -> tuple[Callable[[Tensor, Any], Tensor], Callable[[Tensor, Any], Tensor]]:
    return _binary(name), _binary(name, reflected=True)


def _method(name: str) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return OPS[name](self, *args, **kwargs)  # type: ignore[no-any-return]

    method.__name__ = name
    method.__doc__ = f"``tg.{name}`` of this Tensor."
    return method


class Tensor:
    """An immutable array that may know how it was computed.

    ``Tensor(data, *, dtype=None, requires_grad=False, name=None)`` copies ``data``, as
    :func:`tinygraph.tensor` does. ``grad`` is None until ``backward`` has reached this leaf, then a
    Tensor of the same shape and dtype. ``node`` is the application that made it, None on a leaf.
    Tensors hash by identity and compare elementwise.
    """

    __slots__ = ("_data", "_held", "_requires", "grad", "name", "node", "seed")
    stamp = 0

    def __init__(self, data: Any, *, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> None:
        if isinstance(data, Tensor):
            data._leave("tensor")
        array = as_array(plain_data(data), dtype, copy=True)
        check_differentiable(array, requires_grad, name)
        self._data: Data = array
        self._held: Any = None  # values of another library; _data is empty until it is read
        self._requires = bool(requires_grad)
        self.grad: Tensor | None = None
        self.name = name
        self.node: Node | None = None
        self.seed: Tensor | None = None

    # -- the array ---------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        data = self._data if (array := self._held) is None else array
        return data.shape if type(data) is np.ndarray else np.shape(data)

    @property
    def dtype(self) -> np.dtype[Any]:
        data = self._data if (array := self._held) is None else array
        return data.dtype if type(data) is np.ndarray or array is not None else np.asarray(data).dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The values as a read-only NumPy view; the same as ``numpy()``."""
        return self.numpy()

    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a read-only NumPy array that shares this Tensor's memory."""
        return self._values("numpy").view()

    def _leave(self, op: str) -> None:
        """Refuse a copy of the values where it would silently cut the graph."""
        if self._requires and mode.get() & GRAD:
            raise GradientError(
                f"{op}({describe(self)}): a copy would lose its gradient; use the Tensor itself, or tg.tensor(t.detach())"
            )
        self._values(op)

    def _values(self, op: str) -> np.ndarray[Any, Any]:
        """The locked array, for who leaves the graph with it; refused where that would freeze a trace."""
        known = recorder.get() is None or self.node is None  # what a compiler records may be new at its next call
        if mode.get() & TRACE and not (known and is_constant(self, (Argument, Parameter))):
            raise TraceError(
                f"{op}({describe(self)}): this value is read while its function is traced, so the graph would hold for "
                "this value alone; write tg.where for a branch, or read it outside the function"
            )
        array = np.asarray(self._data)
        lock(array)
        return array

    def item(self) -> Any:
        """The value of a one-element Tensor as a Python number."""
        if self.size != 1:
            raise ShapeError(
                f"item({describe(self)}): a Python number has one element, this has {self.size}; "
                "index it first, or use .numpy()"
            )
        return self._values("item").item()

    def tolist(self) -> Any:
        return self._values("tolist").tolist()

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError(f"len({describe(self)}): a 0-d Tensor has no length; use .size")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        n = len(self)
        if n > _ROWS:  # in halves, so that the cotangent of a row fills its part and not the whole
            return itertools.chain(self[: n // 2], self[n // 2 :])
        return iter([self[i] for i in range(n)])

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(
                f"bool({describe(self)}): the truth value of {self.size} elements is ambiguous; "
                "write (t != 0).any() or .all()"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DTypeError(f"index({describe(self)}): only an integer can index; write int(t)")
        return int(self.item())

    # -- the graph ---------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this Tensor. Settable on a floating-point leaf."""
        tell_flag(self, "_requires")
        return self._requires

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.node is not None:
            raise GradientError(
                f"requires_grad({describe(self)}): only a leaf can change it; this is the result of "
                f"{self.node.op.name}; use t.detach() to leave the graph"
            )
        check_differentiable(np.asarray(self._data), value, self.name)
        tell_flag(self, "_requires")
        self._requires = bool(value)

    def backward(self, gradient: Any = None, *, create_graph: bool = False, **unknown: Any) -> None:
        """Add d(self · gradient)/d(leaf) to ``.grad`` of every leaf that requires a gradient.

        ``gradient`` has this Tensor's shape; it may be left out for one element (then it is 1).
        With ``create_graph`` the gradients are themselves recorded. The graph is kept: a second
        call is right, and adds once more. All gradients are computed before one is stored.

        Raises: GradientError if nothing requires a gradient or ``gradient`` is missing; ShapeError
        if it has another shape; StaleError if a parameter was assigned since.
        """
        OPS["backward"](self, gradient, create_graph=create_graph, **unknown)

    def detach(self) -> Tensor:
        """The same values outside the graph: no gradient flows through."""
        return OPS["detach"](self)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return describe_values(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    __hash__ = object.__hash__

    def __copy__(self) -> Tensor:
        """A leaf of its own that shares the array; a result, or a transform's variable, is returned as it is."""
        if self.node is not None or isinstance(self, Argument):
            return self
        twin = make(self._data, self._requires, kind=type(self))
        twin.name = self.name
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        twin: Tensor = memo.setdefault(id(self), self.__copy__())
        return twin

    def __round__(self, ndigits: None = None) -> Tensor:
        if ndigits is not None:
            raise DTypeError(
                f"round({describe(self)}, {ndigits}): rounds to integers; scale it, tg.round(t * 100) / 100"
            )
        return OPS["round"](self)  # type: ignore[no-any-return]

    def __setitem__(self, key: Any, value: Any) -> None:
        raise DTypeError(
            f"set item ({describe(self)}): a Tensor never changes; write x = tg.set_at(x, k, v) or tg.where(mask, v, x)"
        )

    def __getstate__(self) -> Any:
        state: Any = object.__getstate__(self)
        return state[0], state[1] | {"_held": None}

    def __getattr__(self, name: str) -> Any:
        if name == "_data":  # empty as long as the values are held elsewhere
            return fetch(self, isinstance(self, (Parameter, Argument)))
        raise DialectError(f"Tensor has no attribute {name!r}: {remedy(name, OPS)}")

    # -- protocols, filled by tinygraph.protocols and dlpack --------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return OPS["__array__"](self, dtype, copy)  # type: ignore[no-any-return]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return OPS["__array_ufunc__"](ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return OPS["__array_function__"](func, types, args, kwargs)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        return OPS["__dlpack__"](self, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return OPS["__array_namespace__"](api_version)

    device, to_device = "cpu", _method("to_device")

    # -- operators and methods: one look-up each -------------------------------------------------

    __add__, __radd__, __sub__, __rsub__ = *_both("add"), *_both("sub")
    __mul__, __rmul__, __truediv__, __rtruediv__ = *_both("mul"), *_both("div")
    __floordiv__, __rfloordiv__, __mod__, __rmod__ = *_both("floor_divide"), *_both("remainder")
    __pow__, __rpow__, __matmul__, __rmatmul__ = *_both("pow"), *_both("matmul")
    __and__, __rand__, __or__, __ror__ = *_both("bitwise_and"), *_both("bitwise_or")
    __xor__, __rxor__ = _both("bitwise_xor")
    __lshift__, __rlshift__, __rshift__, __rrshift__ = *_both("bitwise_left_shift"), *_both("bitwise_right_shift")
    __lt__, __le__ = _binary("less"), _binary("less_equal")
    __gt__, __ge__ = _binary("greater"), _binary("greater_equal")
    __eq__, __ne__ = _binary("equal"), _binary("not_equal")  # type: ignore[assignment]
    __neg__, __abs__, __invert__ = _method("neg"), _method("abs"), _method("bitwise_invert")
    __getitem__ = _method("getitem")

    def __pos__(self) -> Tensor:
        return self

    def __iadd__(self, other: Any) -> Tensor:
        total: Tensor = self + other
        if isinstance(other, Tensor) and other.seed is not None:
            warn_if_growing(total)
        return total

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return OPS["transpose"](self)  # type: ignore[no-any-return]

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return OPS["swapaxes"](self, -1, -2)  # type: ignore[no-any-return]

    sum, mean, prod = _method("sum"), _method("mean"), _method("prod")
    max, min, var, std = _method("max"), _method("min"), _method("var"), _method("std")
    all, any, cumsum = _method("all"), _method("any"), _method("cumsum")
    argmax, argmin = _method("argmax"), _method("argmin")
    reshape, transpose, swapaxes = _method("reshape"), _method("transpose"), _method("swapaxes")
    ravel = flatten = _method("ravel")
    squeeze, expand_dims = _method("squeeze"), _method("expand_dims")
    broadcast_to, astype, clip = _method("broadcast_to"), _method("astype"), _method("clip")
    take, dot, round = _method("take"), _method("dot"), _method("round")


class Parameter(Tensor):
    """A leaf that training changes: the one kind of Tensor with ``assign``.

    ``Parameter(data, *, dtype=None, requires_grad=True, name=None)``. A buffer (state that no
    gradient reaches, such as a running mean) is a ``Parameter(…, requires_grad=False)``.

    >>> import numpy as np, tinygraph as tg
    >>> w = tg.Parameter(np.ones(2), name="w")
    >>> w.assign(np.array([3.0, 4.0]))
    >>> w.tolist()
    [3.0, 4.0]
    """

    __slots__ = ("stamp",)
    grad = Observed(Tensor.__dict__["grad"])

    def __init__(self, data: Any, *, dtype: Any = None, requires_grad: bool = True, name: str | None = None) -> None:
        super().__init__(data, dtype=dtype, requires_grad=requires_grad, name=name)
        self.stamp = 0

    def __copy__(self) -> Parameter:
        return Parameter(self._values("copy"), requires_grad=self._requires, name=self.name)

    def __setstate__(self, state: tuple[Any, dict[str, Any]]) -> None:
        for name, value in {**state[1], "stamp": 0}.items():  # in another process serials begin anew
            setattr(self, name, value)

    def assign(self, value: Any) -> None:
        """Replace the values. The shape stays; a float value brings its own dtype.

        Graphs made before keep the old array; a backward through them raises StaleError, since it
        would mix old and new values.

        Raises: ShapeError for another shape; DTypeError for a value that is no number of this kind.
        """
        data = plain_data(value)
        array = as_array(data, None, copy=not isinstance(value, Tensor))
        if array.shape != self.shape:
            raise ShapeError(
                f"assign({describe(self)}, {aval(array.dtype, array.shape)}): the shape of a parameter is "
                f"fixed; give an array of shape {self.shape}"
            )
        if is_weak(data) or (array.dtype.kind in "iub" and self.dtype.kind == "f"):
            array = array.astype(self.dtype)
        check_differentiable(array, self._requires, self.name)
        if (listener := recorder.get()) is not None:
            listener.assigned(self, value, array.dtype)
        self._replace(array)

    def _replace(self, array: Any) -> None:
        """Take an array, wherever it lies, as the new values; what reads the old or the new ones meanwhile is stale."""
        self.stamp = LATEST[0] = next_serial()
        hold(self, array)
        self.stamp = LATEST[0] = next_serial()


OPERANDS = (Tensor, np.ndarray, np.generic, int, float, complex, list, tuple)
_COMMON = {Tensor, Parameter, np.ndarray, np.float32, np.float64, int, float, bool, complex, list, tuple}


class Argument(Tensor):
    """A leaf that stands for an argument of a function while it is traced or differentiated."""

    __slots__ = ()


def make(data: Data, requires: bool = False, node: Node | None = None, kind: type[Tensor] = Tensor) -> Tensor:
    """A Tensor around an array that nobody else writes to; the engine's own constructor."""
    tensor = object.__new__(kind)
    tensor._data = data
    tensor._requires = requires
    tensor.grad = tensor.name = tensor.seed = tensor._held = None
    tensor.node = node
    return tensor


def plain_data(data: Any) -> Any:
    """The data of a Tensor, or anything else as it is; a list of Tensors has no data of its own."""
    if isinstance(data, Tensor):
        return data._data
    if isinstance(data, (list, tuple)) and holds_tensor(data):
        raise DTypeError(
            f"tensor({describe(data)}): a list of Tensors would lose their graphs; write tg.stack(tensors)"
        )
    return data


def holds_tensor(items: Any) -> bool:
    return any(isinstance(item, Tensor) or (isinstance(item, (list, tuple)) and holds_tensor(item)) for item in items)


def describe(value: Any) -> str:
    """``float64[2,3] x`` for a Tensor or an array, the number itself, or the type's name."""
    if isinstance(value, Tensor):
        if is_weak(held(value)):
            return f"{value.name}={value._data!r}" if value.name else repr(value._data)
        return aval(value.dtype, value.shape) + (f" {value.name}" if value.name else "")
    if isinstance(value, (np.ndarray, np.generic)) or is_foreign(value):
        return title(value)
    if is_weak(value):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(describe, value[:4]))}{', …' if len(value) > 4 else ''}]"
    return "None" if value is None else type(value).__name__


def describe_values(t: Tensor) -> str:
    parts = printed(np.asarray(t._data))
    parts += [f"op={t.node.op.name}"] if t.node is not None else ["requires_grad=True"] * t._requires
    if t.name:
        parts.append(f"name={t.name!r}")
    return f"{'Parameter' if isinstance(t, Parameter) else 'tensor'}({', '.join(parts)})"
