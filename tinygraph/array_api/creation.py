"""Creation of arrays. The results are constants, but for what is made of a Tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import convert
from ..core.tensor import Tensor, describe, holds_tensor
from ..errors import ArgumentError
from .doors import check_device, enter, numpys, recorded, standard, wrap


@enter
def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A Tensor as it is, cast if need be; a copy of anything else, or with ``copy=False`` its memory, locked.

    Raises: ValueError if ``copy=False`` and a copy is needed.
    """
    check_device("asarray", device)
    if isinstance(obj, Tensor):
        same = dtype is None or obj.dtype == dtype
        if copy is False and not same:
            raise ValueError(f"asarray({describe(obj)}, dtype={dtype}): a cast needs a copy; leave out copy=False")
        return obj if same and not copy else recorded("astype")(obj, obj.dtype if same else dtype)
    if isinstance(obj, (list, tuple)) and holds_tensor(obj):
        stacked = recorded("stack")([asarray(item) for item in obj])
        return asarray(stacked, dtype=dtype)
    if copy is not False:
        return convert.tensor(obj, dtype=dtype)
    shared = convert.asarray(obj, dtype=dtype)
    if not (isinstance(obj, np.ndarray) and np.may_share_memory(obj, shared.numpy())):
        raise ValueError(f"asarray({describe(obj)}): its memory cannot be shared; leave out copy=False")
    return shared


@standard
def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """The array of another library; a Tensor as it is."""
    check_device("from_dlpack", device)
    if not hasattr(x, "__dlpack__"):
        raise ArgumentError(f"from_dlpack({describe(x)}): it does not speak DLPack; write asarray(x)")
    return x if isinstance(x, Tensor) else asarray(x, copy=copy)


@standard
def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Numbers from ``start`` (0 if only one is given) to below ``stop``."""
    check_device("arange", device)
    bounds: Any = (0, start, step) if stop is None else (start, stop, step)
    return wrap(np.arange(*bounds, dtype=dtype))


@standard
def linspace(
    start: complex, stop: complex, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``."""
    check_device("linspace", device)
    return wrap(np.linspace(start, stop, num, endpoint=endpoint, dtype=dtype))


@standard
def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on the ``k``-th diagonal, zeros elsewhere."""
    check_device("eye", device)
    return wrap(np.eye(n_rows, n_cols, k, np.float64 if dtype is None else dtype))


@standard
def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """One value everywhere; a Tensor as the value gets the sum of the cotangents."""
    check_device("full", device)
    if isinstance(fill_value, Tensor):
        return recorded("broadcast_to")(asarray(fill_value, dtype=dtype), shape)
    return wrap(np.full(shape, fill_value, dtype))


@standard
def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """0 everywhere."""
    return full(shape, 0.0 if dtype is None else 0, dtype=dtype, device=device)


@standard
def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """1 everywhere."""
    return full(shape, 1.0 if dtype is None else 1, dtype=dtype, device=device)


@standard
def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros: a Tensor never changes, so what is not written now never will be."""
    return zeros(shape, dtype=dtype, device=device)


@standard
def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """One value in the shape and dtype of ``x``."""
    return full(x.shape, fill_value, dtype=x.dtype if dtype is None else dtype, device=device)


@standard
def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """0 in the shape and dtype of ``x``."""
    return full_like(x, 0, dtype=dtype, device=device)


@standard
def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """1 in the shape and dtype of ``x``."""
    return full_like(x, 1, dtype=dtype, device=device)


@standard
def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros in the shape and dtype of ``x``."""
    return zeros_like(x, dtype=dtype, device=device)


@standard
def meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinate arrays of the grid that 1-d arrays span; ``"xy"`` exchanges the first two axes."""
    return tuple(numpys("meshgrid")(*arrays, indexing=indexing))


@standard
def tril(x: Any, /, *, k: int = 0) -> Tensor:
    """``x`` with zeros above the ``k``-th diagonal of its last two axes."""
    return numpys("tril")(x, k)


@standard
def triu(x: Any, /, *, k: int = 0) -> Tensor:
    """``x`` with zeros below the ``k``-th diagonal of its last two axes."""
    return numpys("triu")(x, k)
