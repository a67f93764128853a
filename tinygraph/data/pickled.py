"""The python version of a CIFAR-10 batch is a pickle; this reads the few pickles of its kind and runs nothing.

No unpickler is involved. ``pickletools`` splits the file into operations; a small machine carries out those
that build dicts, lists, tuples, numbers, strings and bytes, and knows what the files mean by NumPy's three
names: an array of unsigned bytes. Whatever else a pickle can ask for is refused by name.
"""

from __future__ import annotations

import io
import math
import pickletools
from typing import Any

import numpy as np

from ..errors import DataError
from .arrays import Array


class _Name:
    """A global of the pickle: never looked up, compared by its text alone."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Blank:
    """An array, or with ``dtype`` an element type, between its REDUCE and its BUILD."""

    __slots__ = ("array", "dtype")

    def __init__(self, dtype: bool) -> None:
        self.dtype = dtype
        self.array: Array | None = None


_MARK = object()
_ARRAY, _DTYPE, _ENCODE = "reconstruct", "dtype", "encode"
# What each global stands for; NumPy 2 moved the first, Python 3 writes bytes through the last in protocol 2.
_NAMES = {
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy ndarray": "ndarray",
    "numpy dtype": _DTYPE,
    "_codecs encode": _ENCODE,
}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(data: bytes, path: object) -> Any:
    """What a pickle of dicts, lists, numbers, text, bytes and arrays of uint8 holds; str of Python 2 as bytes.

    Raises: DataError for every other operation or name, and for a file that is no pickle.
    """
    machine = _Machine(path, budget=2 * len(data))
    try:
        for op, argument, _ in pickletools.genops(io.BytesIO(data)):
            machine.run(op.name, argument)
    except DataError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError, Warning) as error:
        raise DataError(f"{path}: is no pickle of plain data ({error!s:.80}); fetch the file again") from error
    return machine.result


class _Machine:
    def __init__(self, path: object, budget: int) -> None:
        self.path = path
        self.budget = budget  # of bytes that operations may make out of others
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.result: Any = None

    def refuse(self, what: str) -> DataError:
        return DataError(
            f"{self.path}: asks for {what:.80}, which no CIFAR-10 batch needs; it was refused and nothing of it has run"
        )

    def run(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in ("SHORT_BINSTRING", "BINSTRING"):
            self.stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self.stack.append(tuple(self.pop(_TUPLES[name])))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self.stack.append(self.name(argument))
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name not in ("PROTO", "FRAME"):
            operation = getattr(self, f"op_{name}", None)
            if operation is None:
                raise self.refuse(f"the operation {name}")
            operation()

    def pop(self, n: int) -> list[Any]:
        if n > len(self.stack):
            raise DataError(f"{self.path}: is no pickle, it takes more than it has; fetch the file again")
        taken = self.stack[len(self.stack) - n :]
        del self.stack[len(self.stack) - n :]
        return taken

    def marked(self) -> list[Any]:
        """All that was put on the stack since the last mark."""
        place = next((i for i in reversed(range(len(self.stack))) if self.stack[i] is _MARK), None)
        if place is None:
            raise DataError(f"{self.path}: is no pickle, a mark is missing; fetch the file again")
        taken = self.pop(len(self.stack) - place)
        return taken[1:]

    def name(self, argument: str | None) -> _Name:
        parts = self.pop(2) if argument is None else [argument]
        text = " ".join(part for part in parts if type(part) is str)
        if text not in _NAMES:
            raise self.refuse(f"the name {text.replace(' ', '.')!r}")
        return _Name(_NAMES[text])

    # -- one method for each remaining operation -------------------------------------------------

    def op_MARK(self) -> None:
        self.stack.append(_MARK)

    def op_EMPTY_DICT(self) -> None:
        self.stack.append({})

    def op_EMPTY_LIST(self) -> None:
        self.stack.append([])

    def op_TUPLE(self) -> None:
        self.stack.append(tuple(self.marked()))

    def op_APPEND(self) -> None:
        self.extend(self.pop(1))

    def op_APPENDS(self) -> None:
        self.extend(self.marked())

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise self.refuse("an append to what is no list")
        self.stack[-1].extend(items)

    def op_SETITEM(self) -> None:
        self.update(self.pop(2))

    def op_SETITEMS(self) -> None:
        self.update(self.marked())

    def update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or not all(type(key) in (str, bytes) for key in items[::2]):
            raise self.refuse("a dict whose keys are not all text")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def op_REDUCE(self) -> None:
        called, arguments = self.pop(2)
        what = called.text if type(called) is _Name else None
        if what == _ARRAY and type(arguments) is tuple and len(arguments) == 3 and arguments[1] == (0,):
            self.stack.append(_Blank(dtype=False))
        elif what == _DTYPE and type(arguments) is tuple and arguments[:1] in (("u1",), (b"u1",)):
            self.stack.append(_Blank(dtype=True))
        elif what == _ENCODE and type(arguments) is tuple and arguments[1:] in (("latin1",), ("latin-1",)):
            self.budget -= len(arguments[0])
            if self.budget < 0:
                raise self.refuse("more bytes than the file has")
            self.stack.append(arguments[0].encode("latin-1"))
        else:
            raise self.refuse("a call other than an array of uint8 needs")

    def op_BUILD(self) -> None:
        blank, state = self.pop(2)
        if type(blank) is not _Blank or type(state) is not tuple:
            raise self.refuse("a state for what is no array")
        self.stack.append(blank)
        if blank.dtype:
            return  # byte order and alignment, which a byte has none of
        if len(state) != 5 or blank.array is not None:
            raise self.refuse("an array with a state of another form")
        _, shape, element, fortran, data = state
        if type(element) is not _Blank or not element.dtype or type(data) is not bytes or type(shape) is not tuple:
            raise self.refuse("an array of something else than uint8")
        if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 4 or math.prod(shape) != len(data):
            raise DataError(f"{self.path}: an array of {len(data)} bytes has another shape; fetch the file again")
        blank.array = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")

    def op_STOP(self) -> None:
        (self.result,) = self.pop(1)
        if self.stack:
            raise DataError(f"{self.path}: is no pickle, something is left over; fetch the file again")


def array_of(value: Any) -> Array | None:
    """The array that a value of ``read_pickle`` stands for, if it is one."""
    return value.array if type(value) is _Blank else None
