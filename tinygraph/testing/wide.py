"""Arithmetic wide enough to be called exact beside float64, and the rounding unit of narrower ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError
from .oracles import decimal_numpy

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Wide:
    """An arithmetic in which float64 is exact: how to enter it, and its conversions."""

    name: str
    xp: Any
    array: Callable[[Any], Array]
    constant: Callable[[Any], Any] | None
    number: Callable[[float], Any]
    context: Callable[[], AbstractContextManager[Any]]


def _floats(dtype: Any) -> Wide:
    def convert(a: Any) -> Array:
        array: Array = np.asarray(a)
        return array.astype(dtype) if array.dtype.kind == "f" else array

    return Wide(np.dtype(dtype).name, np, convert, None, dtype, nullcontext)


def decimals() -> Wide:
    """Fifty decimal digits: where longdouble is no wider than float64."""

    def constant(data: Any) -> Any:
        return decimal_numpy.asarray(data) if np.asarray(data).dtype.kind == "f" else data

    return Wide("decimal", decimal_numpy, constant, constant, decimal_numpy.number, decimal_numpy.context)


def wide_for(u: float) -> Wide:
    """float64 for what is narrower; for float64 longdouble, if that is wider; else, and for longdouble itself, decimals."""
    if u > 2.0**-40:
        return _floats(np.float64)
    enough = u > 2.0**-55 and np.finfo(np.longdouble).eps < 2.0**-60
    return _floats(np.longdouble) if enough else decimals()


def unit(arrays: Iterable[Any], compute_dtype: Any = None) -> float:
    """The rounding unit u = eps/2 of the lowest precision among the arrays, or of ``compute_dtype``."""
    if compute_dtype is not None:
        named = {"tf32": 2.0**-11, "tensorfloat32": 2.0**-11, "bfloat16": 2.0**-8, "bf16": 2.0**-8}
        if str(compute_dtype).lower() in named:
            return named[str(compute_dtype).lower()]
        try:
            return float(np.finfo(compute_dtype).eps) / 2
        except (TypeError, ValueError):
            raise ArgumentError(
                f"compute_dtype={compute_dtype!r}: is no float type; give a NumPy float dtype, 'tf32' or 'bfloat16'"
            ) from None
    kinds = [a.dtype for a in map(np.asarray, arrays) if a.dtype.kind == "f"]
    return max(float(np.finfo(d).eps) for d in kinds) / 2 if kinds else 2.0**-53


def double(a: Any) -> Array:
    """A wide array as floats, for what is only a scale."""
    array: Array = np.asarray(a)
    return array.astype(np.float64) if array.dtype == object else array
