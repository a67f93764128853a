"""Values that stay where another library computed them, such as on a device, until somebody reads them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..errors import DeviceError, aval
from .scope import OUTLINE, mode

NATIVE = (np.ndarray, np.generic, int, float, complex)

_moving = threading.Lock()  # a fetch, and a change of what is to be fetched


def held(t: Any) -> Any:
    """The values of a Tensor as they are and where they are: nothing is fetched."""
    array = t._held
    return t._data if array is None else array


def hold(t: Any, array: Any) -> Any:
    """Make ``array`` the values of the Tensor ``t``, which is returned.

    An array of another library (with ``shape``, ``dtype`` and ``__array__``) stays what and where it is, and is fetched when
    the values are first read. One writer at a time.
    """
    native = isinstance(array, NATIVE)
    if native and t._held is None:
        t._data = array
        return t
    with _moving:
        if native:
            t._data, t._held = array, None
        else:
            t._held = array
            if _has_data(t):
                del t._data
    return t


def fetch(t: Any, symbolic: bool) -> np.ndarray[Any, Any]:
    """The values of a Tensor whose ``_data`` is empty, fetched once.

    Of a ``symbolic`` one, a recording that wants no values gets zeros.

    Raises: DeviceError if they are gone, or spread over several processes.
    """
    array = t._held
    if symbolic and mode.get() & OUTLINE:
        return np.broadcast_to(np.zeros((), array.dtype), array.shape)
    with _moving:
        if not _has_data(t):  # nobody else was faster
            _demand_here(t)
            t._data = np.array(t._held)
        data: np.ndarray[Any, Any] = t._data
        return data


def local_parts(array: Any) -> list[Any]:
    """The values of an array that this process has: the array itself, or its parts on devices."""
    shards = getattr(array, "addressable_shards", None)
    return [array] if shards is None else [np.asarray(shard.data) for shard in shards]


def _has_data(t: Any) -> bool:
    try:
        object.__getattribute__(t, "_data")
    except AttributeError:
        return False
    return True


def _demand_here(t: Any) -> None:
    array, name = t._held, f" {t.name}" if t.name else ""
    head = f"values({aval(array.dtype, array.shape)}{name})"
    if getattr(array, "is_deleted", bool)():
        raise DeviceError(
            f"{head}: a later step was given their memory (donate=True); copy them before, tg.tensor(t), or leave donate out"
        )
    if not (getattr(array, "is_fully_addressable", True) or array.is_fully_replicated):
        raise DeviceError(
            f"{head}: they are spread over several processes; reduce them in the compiled function, or replicate them"
        )
