"""One concrete problem: the arrays that a backward is called with, as code that can be pasted."""

from __future__ import annotations

import base64
import itertools
import keyword
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_SHORT = 64  # elements up to which an array is written out
_FEW, _GAPS, _MUCH = 256, 8, 4096  # elements of memory written for an array with gaps: 8 for each of its own


class Problem:
    """Arrays by argument name, and the upstream gradient ``dy`` (a tuple of them for several outputs).

    Its ``repr`` is code that makes it again, so that a failing example can be kept:
    ``@example(Problem(x=…, dy=…))``. Layouts are part of it: strides, what lies in gaps, read-only arrays
    and memory that arrays share. What NumPy itself ignores is not: strides of axes with one element in
    contiguous or read-only arrays.

    >>> import numpy as np
    >>> from tinygraph.testing import Problem
    >>> Problem(x=np.array([[1.0, np.inf]]), dy=np.array([[1.0, -0.5]], np.float32))
    Problem(x=np.array([[1.0, np.inf]]), dy=np.array([[1.0, -0.5]], dtype='float32'))
    >>> memory = np.array([1.0, 2.0, 3.0])
    >>> Problem(x=memory[:-1], dy=memory[1:])
    Problem(x=(memory := np.array([1.0, 2.0, 3.0]))[:2], dy=memory[1:])
    """

    __slots__ = ("arrays", "dy")

    def __init__(self, /, *, dy: Any = None, specs: Mapping[str, Any] | None = None, **arrays: Any) -> None:
        self.arrays: dict[str, Array] = {k: np.asarray(v) for k, v in {**arrays, **(specs or {})}.items()}
        several = isinstance(dy, (tuple, list))
        self.dy: Any = tuple(map(np.asarray, dy)) if several else None if dy is None else np.asarray(dy)

    @property
    def upstream(self) -> tuple[Array, ...]:
        """``dy`` as a tuple, one per output."""
        return self.dy if isinstance(self.dy, tuple) else () if self.dy is None else (self.dy,)

    @property
    def dtype(self) -> str:
        """The float dtypes of the arrays, e.g. ``float64``."""
        kinds = [a.dtype.name for a in (*self.arrays.values(), *self.upstream) if a.dtype.kind == "f"]
        return ", ".join(dict.fromkeys(kinds))

    @property
    def crc(self) -> int:
        """A number that depends on every byte: the source of all randomness of a check."""
        crc = 0
        for name, a in (*self.arrays.items(), *(("dy", d) for d in self.upstream)):
            crc = zlib.crc32(f"{name}{a.dtype}{a.shape}".encode(), crc)
            crc = zlib.crc32(np.ascontiguousarray(a).tobytes(), crc)
        return crc

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return self.crc

    def __repr__(self) -> str:
        usual, special = (
            [n for n in self.arrays if _can_be_keyword(n)],
            [n for n in self.arrays if not _can_be_keyword(n)],
        )
        arrays, dy = self.expressions([*usual, *special])
        parts = [f"{name}={arrays[name]}" for name in usual]
        parts += [f"specs={{{', '.join(f'{name!r}: {arrays[name]}' for name in special)}}}"] if special else []
        return f"Problem({', '.join(parts + ([f'dy={dy}'] if dy is not None else []))})"

    def expressions(self, names: Sequence[str]) -> tuple[dict[str, str], str | None]:
        """Code of the arrays and of dy, to be run in this order; a later one may refer to what an earlier one binds."""
        found = codes([*(self.arrays[n] for n in names), *self.upstream], names)
        dy = found[len(names) :]
        several = f"({', '.join(dy)}{',' if len(dy) == 1 else ''})"
        return dict(zip(names, found, strict=False)), several if isinstance(self.dy, tuple) else dy[0] if dy else None


def _can_be_keyword(name: str) -> bool:
    """Whether it can be written before an equals sign, beside ``dy=`` and ``specs=``."""
    return name.isidentifier() and not keyword.iskeyword(name) and name not in ("dy", "specs")


def codes(arrays: Sequence[Array], taken: Sequence[str] = ()) -> list[str]:
    """``code`` of each array; the first of those that share memory binds it to a name, ``memory``."""
    groups: list[list[int]] = []
    for i, a in enumerate(arrays):
        joined = [g for g in groups if any(np.may_share_memory(a, arrays[j]) for j in g)]
        groups = [g for g in groups if g not in joined] + [[*(j for g in joined for j in g), i]]
    texts, names = [code(a) for a in arrays], memory_names(taken)
    for group in map(sorted, groups):
        if len(group) > 1 and (found := _of_one_memory([arrays[i] for i in group], next(names))):
            for i, text in zip(group, found, strict=True):
                texts[i] = text
    return texts


def memory_names(taken: Sequence[str]) -> Iterator[str]:
    """What pieces of memory are called: none of the names of arrays."""
    names = ("memory" + str(i or "") for i in itertools.count())
    return (name for name in names if name not in taken)


def code(array: Array) -> str:
    """An expression that makes the array again: every bit of its values, and its layout."""
    a = np.asarray(array)
    return _frozen(_laid_out(a), a)


def _frozen(text: str, a: Array) -> str:
    """``np.broadcast_to`` gives a read-only array, to the same shape as well."""
    writable = a.flags.writeable or text.startswith("np.broadcast_to(")
    return text if writable else f"np.broadcast_to({text}, {a.shape})"


def _laid_out(a: Array) -> str:
    repeated = [i for i, n in enumerate(a.shape) if a.strides[i] == 0 and n > 1]
    if a.flags.c_contiguous:
        return _plain(a)
    if repeated and not a.flags.writeable:
        once = a[tuple(slice(0, 1) if i in repeated else slice(None) for i in range(a.ndim))]
        return f"np.broadcast_to({_laid_out(once)}, {a.shape})"
    if a.flags.f_contiguous:
        return f"np.asfortranarray({_plain(a)})"
    order = _order(a)
    if order != sorted(order):
        inverse = ", ".join(str(order.index(i)) for i in range(a.ndim))
        return f"{_laid_out(a.transpose(order))}.transpose({inverse})"
    return _sliced(a) or _strided(a) or _spread(a)


def _order(a: Array) -> list[int]:
    """The axes from the longest stride to the shortest."""
    return sorted(range(a.ndim), key=lambda i: -abs(a.strides[i]))


def _owner(a: Array) -> Array:
    """The array that it is a view of, in the order of its memory; as_strided puts an object of its own in between."""
    below: Any = a
    while below is not None:
        a = below if isinstance(below, np.ndarray) else a
        below = getattr(below, "base", None)
    return a.transpose(_order(a))


def _start(a: Array) -> int:
    return int(a.__array_interface__["data"][0])


def _sliced(a: Array) -> str:
    """A slice of the array that it lies in, or nothing."""
    owner = _owner(a)
    fits = owner.ndim == a.ndim and owner.dtype == a.dtype and owner.flags.c_contiguous and owner.size
    if not fits or owner.size > _room([a]):
        return ""
    key, offset = [], _start(a) - _start(owner)
    for n, size, stride, whole in zip(a.shape, owner.shape, a.strides, owner.strides, strict=True):
        first, offset = divmod(offset, whole)
        key.append(_slice(n, size, first, stride // whole))
    part = owner[tuple(key)] if all(s.step != 0 for s in key) else owner
    if (_start(part), part.shape, part.strides) != (_start(a), a.shape, a.strides):
        return ""
    return f"{_plain(owner)}[{', '.join(map(_colons, key))}]"


def _slice(n: int, size: int, first: int, step: int) -> slice:
    """``n`` elements of ``size`` from ``first`` on, in as few words as will do."""
    start = None if first == (0 if step > 0 else size - 1) else first
    stop = first + n * step
    enough = step != 0 and len(range(size)[slice(start, None, step)]) == n
    return slice(start, None if enough or stop < 0 else stop, step if step != 1 else None)


def _colons(s: slice) -> str:
    start, stop, step = ("" if v is None else str(v) for v in (s.start, s.stop, s.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _memory(arrays: Sequence[Array]) -> Array | None:
    """The memory that some arrays with one owner lie in, as a flat array of its dtype; None where there is too much."""
    owner = _owner(arrays[0])
    if not (owner.flags.c_contiguous and owner.size and owner.itemsize):
        return None
    bounds = [np.lib.array_utils.byte_bounds(a) for a in arrays]
    low = (min(b[0] for b in bounds) - _start(owner)) // owner.itemsize
    high = -((_start(owner) - max(b[1] for b in bounds)) // owner.itemsize)
    return owner.reshape(-1)[low:high] if 0 <= low and high <= owner.size and high - low <= _room(arrays) else None


def _room(arrays: Sequence[Array]) -> int:
    size = sum(a.size for a in arrays)
    return max(_FEW, min(_GAPS * size, max(_MUCH, 2 * size)))


def _strided(a: Array) -> str:
    memory = _memory([a])
    return "" if memory is None else _view(a, memory, _plain(memory))


def _view(a: Array, memory: Array, text: str) -> str:
    """The array as a part of a flat piece of memory, of which ``text`` is the code."""
    offset = _start(a) - _start(memory)
    if not a.flags.c_contiguous or a.dtype != memory.dtype or offset % a.itemsize:
        return f"np.ndarray({a.shape}, {_dtype(a)!r}, {text}, {offset}, {a.strides})"
    key = _slice(a.size, memory.size, offset // a.itemsize, 1)
    part = text if key == slice(None) else f"{text}[{_colons(key)}]"
    return part if a.ndim == 1 else f"{part}.reshape({a.shape})"


def _of_one_memory(arrays: Sequence[Array], name: str) -> list[str]:
    """Code of arrays that share memory: the first names it."""
    memory = _memory(arrays) if len({_start(_owner(a)) for a in arrays}) == 1 else None
    if memory is None:
        return []
    text = f"({name} := {_plain(memory)})"
    return [_frozen(_view(a, memory, text if i == 0 else name), a) for i, a in enumerate(arrays)]


def _spread(a: Array) -> str:
    """In the steps of a slice whose array is too large to write out: the gaps hold copies of its own elements."""
    steps, below = [], a.itemsize
    for n, stride in zip(a.shape[::-1], a.strides[::-1], strict=True):
        if below == 0 or stride % below or stride < below:
            return _plain(a)
        steps.append(stride // below if n > 1 else 1)
        below = stride * n if n > 1 else below * n
    text = _plain(a)
    for i, k in enumerate(steps[::-1]):
        text = f"np.repeat({text}, {k}, axis={i})" if k > 1 else text
    return f"{text}[{', '.join(f'::{k}' if k > 1 else ':' for k in steps[::-1])}]"


def _plain(a: Array) -> str:
    """The values, row after row."""
    dtype = "" if a.dtype in (np.float64, np.int64, np.bool_) and a.dtype.isnative else f", dtype={_dtype(a)!r}"
    if a.dtype.kind == "O":
        return f"np.array({a.tolist()!r}, dtype=object)"
    if a.size > _SHORT or a.dtype.kind not in "biuf" or a.dtype.itemsize > 8:
        raw = base64.b85encode(np.ascontiguousarray(a).tobytes()).decode()
        return f"np.frombuffer(base64.b85decode({raw!r}), {_dtype(a)!r}).reshape({a.shape}).copy()"
    if not a.size:
        return f"np.empty({a.shape}, {_dtype(a)!r})"
    return f"np.array({_numbers(a.tolist())}{dtype})"


def _dtype(a: Array) -> str:
    """Its name, or the code that also says which byte comes first."""
    return str(a.dtype.name if a.dtype.isnative and a.dtype.kind in "biufc" else a.dtype.str)


def _numbers(values: Any) -> str:
    if isinstance(values, list):
        return f"[{', '.join(map(_numbers, values))}]"
    if isinstance(values, float) and not np.isfinite(values):
        return "np.nan" if values != values else "np.inf" if values > 0 else "-np.inf"
    return repr(values)
