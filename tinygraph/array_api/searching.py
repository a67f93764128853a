"""Searching, sorting and sets. Places have no gradient; what is taken from them has."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.convert import operand
from ..core.tensor import Tensor
from ..errors import ArgumentError
from .doors import Function, constants, named, numpys, recorded, standard, values, wrap


def _place(name: str) -> Function:
    def function(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Any:
        x = operand(x)
        place = recorded(name)(x, axis)
        if not keepdims:
            return place
        return (
            recorded("reshape")(place, shape=(1,) * x.ndim)
            if axis is None
            else recorded("expand_dims")(place, axis=axis)
        )

    return named(name, function)


_place("argmax")
_place("argmin")


@standard
def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The places of the elements in order along an axis; of equal ones the first comes first."""
    array = values(x)
    if not descending:
        return wrap(np.argsort(array, axis, stable=True))
    # Sorted from the back, so that equal elements keep their order when all is turned around.
    places = np.flip(np.argsort(np.flip(array, axis), axis, stable=True), axis)
    return wrap(array.shape[axis] - 1 - places)


@standard
def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in order along an axis; each one's cotangent goes back to its place."""
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis=axis)


@standard
def nonzero(x: Any, /) -> tuple[Tensor, ...]:
    """The places of the elements that are not 0, one array for each axis."""
    return tuple(map(wrap, np.nonzero(values(x))))


@standard
def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Tensor:
    """Where in the sorted ``x1`` the elements of ``x2`` belong."""
    if side not in ("left", "right"):
        raise ArgumentError(f"searchsorted(side={side!r}): no such side; write 'left' or 'right'")
    return wrap(np.searchsorted(values(x1), values(x2), side, values(sorter)))  # type: ignore[call-overload]


@standard
def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Tensor:
    """Whether each element of ``x1`` is one of ``x2``."""
    return wrap(np.isin(values(x1), values(x2), invert=invert))


@standard
def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Tensor:
    """The elements at integer indices along an axis, which a 1-d array need not name."""
    return recorded("take")(x, indices, axis)


@standard
def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Tensor:
    """For each place along the other axes, the elements at its own indices."""
    return numpys("take_along_axis")(x, indices, axis)


# -- sets -----------------------------------------------------------------------------------------


class UniqueAll(NamedTuple):
    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    values: Tensor
    inverse_indices: Tensor


@standard
def unique_all(x: Any, /) -> UniqueAll:
    """The distinct elements, where each first stands, which one each element is, and how often each occurs."""
    return UniqueAll(*map(wrap, np.unique_all(*constants("unique_all", x))))


@standard
def unique_counts(x: Any, /) -> UniqueCounts:
    """The distinct elements, and how often each occurs."""
    return UniqueCounts(*map(wrap, np.unique_counts(*constants("unique_counts", x))))


@standard
def unique_inverse(x: Any, /) -> UniqueInverse:
    """The distinct elements, and which one each element is."""
    return UniqueInverse(*map(wrap, np.unique_inverse(*constants("unique_inverse", x))))


@standard
def unique_values(x: Any, /) -> Tensor:
    """The distinct elements."""
    return wrap(np.unique_values(*constants("unique_values", x)))
