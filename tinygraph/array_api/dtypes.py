"""Data types and questions about them; they are NumPy's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.array import is_weak
from ..core.tensor import Tensor, describe
from ..errors import DTypeError
from .doors import check_device, recorded, standard


class FloatInfo(NamedTuple):
    """Limits of a floating-point dtype, as Python numbers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]


class IntegerInfo(NamedTuple):
    """Limits of an integer dtype, as Python numbers."""

    bits: int
    max: int
    min: int
    dtype: np.dtype[Any]


def _dtype(x: Any) -> Any:
    return x.dtype if isinstance(x, (Tensor, np.ndarray)) else x


@standard
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """``x`` in another dtype; the cotangent is cast back. A Tensor never changes, so ``copy`` says nothing."""
    check_device("astype", device)
    if x.dtype.kind == "c" and np.dtype(dtype).kind not in "cb":
        raise DTypeError(f"astype({describe(x)}, {np.dtype(dtype)}): the imaginary part would be lost; write real(x)")
    return recorded("astype")(x, dtype)


@standard
def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether a dtype, or that of an array, converts to another without loss."""
    return np.can_cast(_dtype(from_), to)


@standard
def finfo(type: Any, /) -> FloatInfo:
    """The limits of a floating-point dtype; of a complex one, those of its parts."""
    info = np.finfo(_dtype(type))
    eps, high, low, tiny = map(float, (info.eps, info.max, info.min, info.smallest_normal))
    return FloatInfo(int(info.bits), eps, high, low, tiny, info.dtype)


@standard
def iinfo(type: Any, /) -> IntegerInfo:
    """The limits of an integer dtype."""
    info = np.iinfo(_dtype(type))
    return IntegerInfo(info.bits, int(info.max), int(info.min), info.dtype)


@standard
def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind: a dtype, a name such as ``"real floating"``, or a tuple of them."""
    return np.isdtype(dtype, kind)


@standard
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype that an operation on all of these has; Python numbers are weak."""
    weak = [x._data for x in arrays_and_dtypes if isinstance(x, Tensor) and is_weak(x._data)]
    strong = [_dtype(x) for x in arrays_and_dtypes if not (isinstance(x, Tensor) and is_weak(x._data))]
    return np.result_type(*strong, *weak)
