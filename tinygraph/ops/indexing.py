"""Indexing: reading parts of an array, and functional updates in place of assignment."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.array import is_weak
from ..core.convert import dtype_of, shape_of
from ..core.primitive import Domain, Each, Primitive, Rule
from ..core.scope import TRACE, mode
from ..core.tensor import Argument, Parameter, Tensor, describe
from ..errors import DTypeError, IndexingError, ShapeError, TraceError
from .elementwise import zeros_like
from .movement import expand_dims, reshape


class Span(NamedTuple):
    """A slice that can be hashed."""

    start: int | None
    stop: int | None
    step: int | None

    def __repr__(self) -> str:
        text = f"{'' if self.start is None else self.start}:{'' if self.stop is None else self.stop}"
        return text if self.step is None else f"{text}:{self.step}"


class Place(NamedTuple):
    """Where an index array stands in a key: its position among the index operands."""

    position: int

    def __repr__(self) -> str:
        return f"@{self.position}"


class Key(tuple[Any, ...]):
    """A normal form of ``x[…]``: integers, Spans, None, Ellipsis and Places."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"[{', '.join('…' if k is Ellipsis else repr(k) for k in self)}]"

    def with_arrays(self, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """The key as users write it."""
        return tuple(
            [slice(*k) if isinstance(k, Span) else arrays[k.position] if isinstance(k, Place) else k for k in self]
        )

    def place(self, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """The key as kernels take it: the array standard wants an index, or an ellipsis, for every axis."""
        key = self.with_arrays(arrays)
        return key if arrays or Ellipsis in key else (*key, Ellipsis)

    def indexed(self, shape: tuple[int, ...]) -> list[int]:
        """The sizes of the axes that the index arrays stand for, in order."""
        used = [k for k in self if k is not None]
        gap = used.index(Ellipsis) if Ellipsis in used else len(used)
        return [shape[i if i < gap else i - len(used)] for i, k in enumerate(used) if isinstance(k, Place)]

    @property
    def is_basic(self) -> bool:
        return not any(isinstance(k, Place) for k in self)


def parse(op: str, x: Any, key: Any) -> tuple[Key, list[Any]]:
    """A key as users write it, as a normal form and its index arrays; masks become positions."""
    items = key if isinstance(key, tuple) else (key,)
    try:
        return _parse(items, shape_of(x))
    except (IndexingError, TraceError) as error:
        raise type(error)(f"{op}({describe(x)}, {_show(items)}): {error}") from None


def _parse(items: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Key, list[Any]]:
    arrays: list[Any] = []
    parts: list[Any] = []
    axis = 0
    used = list(map(_axes_used, items))
    left = len(shape) - sum(used)
    if left < 0:
        raise IndexingError(f"{len(shape) - left} indices for {len(shape)} axes; leave some out")
    for k, count in zip(items, used, strict=True):
        if isinstance(k, slice):
            step = _bound(k.step)
            if step == 0:
                raise IndexingError("a slice of step 0 goes nowhere; give a step of 1 or more, or a negative one")
            parts.append(Span(_bound(k.start), _bound(k.stop), step))
        elif k is None or k is Ellipsis:
            parts.append(k)
            axis += 0 if k is None else left
        elif _is_array(k):
            found = _index_arrays(k, shape[axis : axis + count])
            parts.extend(Place(len(arrays) + i) for i in range(len(found)))
            arrays.extend(found)
        else:
            place = _integer(k)
            if not -shape[axis] <= place < shape[axis]:
                raise IndexingError(f"index {place} is out of range; {_range(shape[axis])} on axis {axis}")
            parts.append(place)
        axis += count
    if len(arrays) > 1:
        _check_together(arrays)
    return Key(parts), arrays


def _check_together(arrays: list[Any]) -> None:
    try:
        np.broadcast_shapes(*map(shape_of, arrays))
    except ValueError:
        shapes = " and ".join(str(shape_of(a)) for a in arrays)
        raise IndexingError(
            f"index arrays of shapes {shapes} do not broadcast; make them equal, or index one axis after the other"
        ) from None


def _is_array(k: Any) -> bool:
    """Whether k is an operand: every Tensor is, of any rank, since another run may have another value there."""
    if isinstance(k, (np.ndarray, Tensor)):
        return k.ndim > 0 or k.dtype != np.bool_
    return isinstance(k, list)


def _axes_used(k: Any) -> int:
    if type(k) is int or type(k) is slice:
        return 1
    if k is None or k is Ellipsis:
        return 0
    return len(shape_of(k)) if _is_array(k) and dtype_of(k) == np.bool_ else 1


def _integer(k: Any) -> int:
    try:
        if isinstance(k, (bool, np.bool_)):
            raise TypeError
        return operator.index(k)
    except TypeError:
        raise IndexingError(
            f"{describe(k)} is no index; use integers, slices, None, ..., or integer and boolean arrays"
        ) from None


def _bound(k: Any) -> int | None:
    return None if k is None else _integer(k)


def _index_arrays(k: Any, sizes: tuple[int, ...]) -> list[Any]:
    values = np.asarray(_values(k))
    kind = "i" if isinstance(k, list) and not values.size else values.dtype.kind
    if kind == "b":
        if len(values.shape) != len(sizes) or any(n not in (0, m) for n, m in zip(values.shape, sizes, strict=True)):
            raise IndexingError(f"a mask of shape {values.shape} for axes of shape {sizes}; make them equal")
        if (
            isinstance(k, Tensor)
            and mode.get() & TRACE
            and (k.node is not None or isinstance(k, (Argument, Parameter)))
        ):
            raise TraceError(
                "the graph would keep the positions that this mask has now; write tg.where(mask, x, 0) for x[mask], "
                "or take the positions outside the function that is traced"
            )
        return list(np.nonzero(values))
    if kind not in "iu":
        raise IndexingError("index arrays are integer or boolean; write .astype(np.int64)")
    if values.size and not (-sizes[0] <= values.min() and values.max() < sizes[0]):
        worst = values.max() if values.max() >= sizes[0] else values.min()
        raise IndexingError(f"index {worst} is out of range; {_range(sizes[0])} on this axis")
    return [k if isinstance(k, Tensor) else values.astype(np.int64) if not values.size else values]


def _range(n: int) -> str:
    return f"use -{n} to {n - 1}" if n else "there is nothing to index"


def _show(items: tuple[Any, ...]) -> str:
    def one(k: Any) -> str:
        if isinstance(k, slice):
            return repr(Span(k.start, k.stop, k.step))
        return "…" if k is Ellipsis else repr(k) if isinstance(k, int) or k is None else describe(k)

    return f"[{', '.join(map(one, items))}]"


def _getitem_signature(x: Any, key: Any) -> Any:
    if isinstance(key, (np.ndarray, Tensor)) and key.ndim == 0 and key.dtype == np.bool_:
        x, key = expand_dims(x, axis=0), reshape(key, (1,))  # the mask of a new axis of size 1
    parsed, arrays = parse("getitem", x, key)
    return (x, *arrays), {"key": parsed}


def _add_at_kernel(xp: Any, x: Any, values: Any, *arrays: Any, key: Key) -> Any:
    x, place = xp.asarray(x), key.place(arrays)
    if hasattr(x, "at"):  # a JAX array, which cannot be written to
        return x.at[place].add(values)
    if key.is_basic:
        out = xp.asarray(x, copy=True)
        out[place] += values
        return out
    # Many values may meet in one element: float16 would stop counting them at 2048.
    out = np.array(x, np.float32 if x.dtype.char == "e" else x.dtype)
    np.add.at(out, place, values)
    return out.astype(x.dtype, copy=False)


def _set_at_kernel(xp: Any, x: Any, values: Any, *arrays: Any, key: Key) -> Any:
    x, place = xp.asarray(x), key.place(arrays)
    if hasattr(x, "at"):
        return x.at[place].set(values)
    out = xp.asarray(x, copy=True)
    out[place] = values
    return out


def _update_signature(op: str) -> Any:
    def signature(x: Any, key: Any, values: Any) -> Any:
        parsed, arrays = parse(op, x, key)
        strong = np.result_type(dtype_of(x), values) if is_weak(values) else dtype_of(values)
        if not np.can_cast(strong, dtype_of(x), "same_kind"):
            raise DTypeError(
                f"{op}({describe(x)}, {describe(values)}): the values would lose precision; cast x or the values with .astype"
            )
        target = np.broadcast_to(np.empty((), bool), shape_of(x))[
            parsed.with_arrays([_values(a) for a in arrays])
        ].shape
        given = shape_of(values)
        if len(given) > len(target) or any(n not in (1, m) for n, m in zip(given[::-1], target[::-1], strict=False)):
            raise ShapeError(
                f"{op}({describe(x)}, {describe(values)}): the values do not fit the place; give values that broadcast to its shape {target}"
            )
        if op == "set_at" and arrays:
            _refuse_duplicates(x, parsed, [_values(a) for a in arrays])
        return (x, values, *arrays), {"key": parsed}

    return signature


def _values(x: Any) -> Any:
    return x._data if isinstance(x, Tensor) else x


def _refuse_duplicates(x: Any, key: Key, arrays: list[Any]) -> None:
    sizes = key.indexed(shape_of(x))
    columns = np.broadcast_arrays(*(np.asarray(a, np.int64) % max(n, 1) for a, n in zip(arrays, sizes, strict=True)))
    if columns[0].size < 2:
        return
    places = np.ravel_multi_index(columns, sizes)
    if np.unique(places).size != places.size:
        raise IndexingError(
            f"set_at({describe(x)}): an element is set twice, so its value would depend on the order; use add_at, or distinct indices"
        )


_MASK = np.array([[True, False, True], [False, False, True], [True, True, True]])
_UNIQUE: tuple[Any, ...] = (
    0,
    (slice(None), slice(1, None)),
    (slice(None, None, -2), None, 1),
    (..., 0),
    (slice(None), np.array([[0, 2]])),
    (np.array([0, 1]), np.array([2, 0])),
    _MASK,
)
_REPEATED: tuple[Any, ...] = (np.array([2, 0, 2]), (slice(None), np.array([[0, 2], [2, 0]])))


def _rules(*rules: Rule) -> Each:
    """The given rules, and none for the index arrays that follow."""
    return Each(lambda position: rules[position] if position < len(rules) else None)


getitem: Primitive = Primitive(
    "getitem",
    lambda xp, x, *arrays, key: xp.asarray(x)[key.place(arrays)],
    _rules(lambda g, out, x, *arrays, key: add_at(zeros_like(x), key.with_arrays(arrays), g)),
    "movement",
    "x[·]",
    "x[key]: slices, integers, None, Ellipsis, integer and boolean arrays, as NumPy has them.",
    signature=_getitem_signature,
    domain=Domain(tuple((((3, 3),), {"key": key}) for key in (*_UNIQUE, *_REPEATED))),
)
add_at: Primitive = Primitive(
    "add_at",
    _add_at_kernel,
    _rules(
        lambda g, out, x, values, *arrays, key: g,
        lambda g, out, x, values, *arrays, key: getitem(g, key.with_arrays(arrays)),
    ),
    "movement",
    "+at",
    "x with values added at x[key]; an element that is named twice gets both.",
    signature=_update_signature("add_at"),
    domain=Domain(tuple((((3, 3),), {"key": key, "values": 1.5}) for key in (*_UNIQUE, *_REPEATED))),
)
set_at: Primitive = Primitive(
    "set_at",
    _set_at_kernel,
    _rules(
        lambda g, out, x, values, *arrays, key: set_at(g, key.with_arrays(arrays), 0),
        lambda g, out, x, values, *arrays, key: getitem(g, key.with_arrays(arrays)),
    ),
    "movement",
    "set",
    "x with values in place of x[key]; each element may be named once.",
    signature=_update_signature("set_at"),
    domain=Domain(tuple((((3, 3),), {"key": key, "values": 1.5}) for key in _UNIQUE)),
)
