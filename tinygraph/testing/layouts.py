"""How an array may lie in memory, its values unchanged: what callers hand to a backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def contiguous(a: Array) -> Array:
    """Row after row, in memory of its own."""
    return np.array(a, order="C")


def fortran(a: Array) -> Array:
    """Column after column."""
    return np.array(a, order="F")


def flipped(a: Array) -> Array:
    """Negative strides along every axis."""
    backwards = _every(a, -1)
    found: Array = contiguous(a[backwards])[backwards]
    return found


def gaps(a: Array) -> Array:
    """Every second element of a larger array, the others being nan: the largest number of an integer dtype."""
    wide = np.full([2 * n for n in a.shape], _poison(a.dtype), a.dtype)
    part: Array = wide[_every(a, 2)]
    part[...] = a
    return part


def _every(a: Array, step: int) -> tuple[Any, ...]:
    """The key of each ``step``-th element along every axis; of an array, also where there is no axis."""
    return (*[slice(None, None, step)] * a.ndim, ...)


def readonly(a: Array) -> Array:
    """An array that cannot be written to."""
    fixed = np.array(a, order="C")
    fixed.flags.writeable = False
    return fixed


def aliased(dy: Array, x: Array) -> tuple[Array, Array]:
    """``dy`` and ``x`` in one piece of memory, dy one element behind x; for as many elements and one dtype.

    The values of x are kept; those of dy become those of x from the second on, then its own last one.
    """
    memory = np.append(x.ravel(), dy.ravel()[-1:])
    return memory[1:].reshape(dy.shape), memory[:-1].reshape(x.shape)


# Those that change no value, by name; the simplest first.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": contiguous,
    "fortran": fortran,
    "reversed": flipped,
    "gaps": gaps,
    "readonly": readonly,
}


def _poison(dtype: Any) -> Any:
    """What a kernel would notice if it read it."""
    if dtype.kind in "fc":
        return np.nan
    return np.iinfo(dtype).max if dtype.kind in "iu" else True
