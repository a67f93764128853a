"""Indexing: reading parts of an array, and functional updates in place of assignment."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.array import is_weak
from ..core.primitive import Domain, Primitive
from ..core.tensor import Tensor, describe, dtype_of, shape_of
from ..errors import DTypeError, IndexingError, ShapeError
from .elementwise import zeros_like


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
        """The key as NumPy takes it."""
        return tuple(
            slice(*k) if isinstance(k, Span) else arrays[k.position] if isinstance(k, Place) else k for k in self
        )

    @property
    def is_basic(self) -> bool:
        return not any(isinstance(k, Place) for k in self)


def parse(op: str, x: Any, key: Any) -> tuple[Key, list[Any]]:
    """A key as users write it, as a normal form and its index arrays; masks become positions."""
    items = key if isinstance(key, tuple) else (key,)
    shape = shape_of(x)
    arrays: list[Any] = []
    parts: list[Any] = []
    axis = 0
    consumed = sum(_axes_used(k) for k in items)
    head = f"{op}({describe(x)}, {_show(items)})"
    if consumed > len(shape):
        raise IndexingError(f"{head}: {consumed} indices for {len(shape)} axes; leave some out")
    for k in items:
        if k is None or k is Ellipsis:
            parts.append(k)
            axis += len(shape) - consumed if k is Ellipsis else 0
            continue
        if isinstance(k, slice):
            parts.append(Span(*(None if b is None else _integer(head, b) for b in (k.start, k.stop, k.step))))
        elif _is_array(k):
            found = _index_arrays(head, k, shape[axis : axis + _axes_used(k)])
            parts.extend(Place(len(arrays) + i) for i in range(len(found)))
            arrays.extend(found)
        else:
            place = _integer(head, k)
            if not -shape[axis] <= place < shape[axis]:
                raise IndexingError(f"{head}: index {place} is out of range; {_range(shape[axis])} on axis {axis}")
            parts.append(place)
        axis += _axes_used(k)
    if len(arrays) > 1:
        _check_together(head, arrays)
    return Key(parts), arrays


def _check_together(head: str, arrays: list[Any]) -> None:
    try:
        np.broadcast_shapes(*map(shape_of, arrays))
    except ValueError:
        shapes = " and ".join(str(shape_of(a)) for a in arrays)
        raise IndexingError(
            f"{head}: index arrays of shapes {shapes} do not broadcast; make them equal, or index one axis after the other"
        ) from None


def _is_array(k: Any) -> bool:
    return isinstance(k, (np.ndarray, list)) or (isinstance(k, Tensor) and (k.ndim > 0 or k.node is not None))


def _axes_used(k: Any) -> int:
    if k is None or k is Ellipsis:
        return 0
    return len(shape_of(k)) if _is_array(k) and dtype_of(k) == np.bool_ else 1


def _integer(head: str, k: Any) -> int:
    try:
        if isinstance(k, (bool, np.bool_)):
            raise TypeError
        return operator.index(k)
    except TypeError:
        raise IndexingError(
            f"{head}: {describe(k)} is no index; use integers, slices, None, ..., or integer and boolean arrays"
        ) from None


def _index_arrays(head: str, k: Any, sizes: tuple[int, ...]) -> list[Any]:
    values = k._data if isinstance(k, Tensor) else np.asarray(k)
    kind = values.dtype.kind if values.size else "i"
    if kind == "b":
        if values.shape != sizes:
            raise IndexingError(f"{head}: a mask of shape {values.shape} for axes of shape {sizes}; make them equal")
        return list(np.nonzero(values))
    if kind not in "iu":
        raise IndexingError(f"{head}: index arrays are integer or boolean; write .astype(np.int64)")
    if values.size and not (-sizes[0] <= values.min() and values.max() < sizes[0]):
        worst = values.max() if values.max() >= sizes[0] else values.min()
        raise IndexingError(f"{head}: index {worst} is out of range; {_range(sizes[0])} on this axis")
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
    parsed, arrays = parse("getitem", x, key)
    return (x, *arrays), {"key": parsed}


def _add_at_kernel(xp: Any, x: Any, values: Any, *arrays: Any, key: Key) -> Any:
    out = xp.asarray(x).copy() if xp is np else xp.asarray(x, copy=True)
    place = key.with_arrays(arrays)
    if key.is_basic:
        out[place] += values
    else:
        np.add.at(out, place, values)
    return out


def _set_at_kernel(xp: Any, x: Any, values: Any, *arrays: Any, key: Key) -> Any:
    out = xp.asarray(x).copy() if xp is np else xp.asarray(x, copy=True)
    out[key.with_arrays(arrays)] = values
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
    shape = shape_of(x)
    places = np.arange(int(np.prod(shape))).reshape(shape)[key.with_arrays(arrays)].ravel()
    if len(np.unique(places)) != len(places):
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

getitem: Primitive = Primitive(
    "getitem",
    lambda xp, x, *arrays, key: xp.asarray(x)[key.with_arrays(arrays)],
    (lambda g, out, x, *arrays, key: add_at(zeros_like(x), key.with_arrays(arrays), g), *(None,) * 32),
    "movement",
    "x[·]",
    "x[key]: slices, integers, None, Ellipsis, integer and boolean arrays, as NumPy has them.",
    signature=_getitem_signature,
    domain=Domain(tuple((((3, 3),), {"key": key}) for key in (*_UNIQUE, *_REPEATED))),
)
add_at: Primitive = Primitive(
    "add_at",
    _add_at_kernel,
    (
        lambda g, out, x, values, *arrays, key: g,
        lambda g, out, x, values, *arrays, key: getitem(g, key.with_arrays(arrays)),
        *(None,) * 32,
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
    (
        lambda g, out, x, values, *arrays, key: set_at(g, key.with_arrays(arrays), 0),
        lambda g, out, x, values, *arrays, key: getitem(g, key.with_arrays(arrays)),
        *(None,) * 32,
    ),
    "movement",
    "set",
    "x with values in place of x[key]; each element may be named once.",
    signature=_update_signature("set_at"),
    domain=Domain(tuple((((3, 3),), {"key": key, "values": 1.5}) for key in _UNIQUE)),
)
