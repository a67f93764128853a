"""The Python array API standard 2025.12 on Tensors: what ``x.__array_namespace__()`` returns.

Names and signatures are the standard's (``concat``, ``permute_dims``, ``subtract``; arrays by position), so that
libraries written against it record and differentiate. A function without a gradient rule takes constants, and
refuses a Tensor whose gradient would be lost. Dtypes are NumPy's; only real floats have gradients. There is no
``linalg``, no ``fft`` and no assignment to items: write ``tg.set_at(x, k, v)``.

Raises: GradientError where a gradient would be lost; TraceError where an answer (an order, a place, a set) would
freeze a trace.

Source: https://data-apis.org/array-api/2025.12

>>> import tinygraph as tg
>>> x = tg.tensor([1.0, 3.0], requires_grad=True)
>>> xp = x.__array_namespace__()
>>> xp.sum(xp.concat([x, xp.zeros(1)])).backward()
>>> x.grad
tensor([1., 1.])
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import __array_namespace_info__ as __array_namespace_info__

from ..errors import ArgumentError
from . import creation, dtypes, elementwise, manipulation, reductions, searching
from .doors import NAMES

__array_api_version__ = "2025.12"
VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", __array_api_version__)

_CONSTANTS = {"e": math.e, "inf": math.inf, "nan": math.nan, "newaxis": None, "pi": math.pi}
_DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float32", "float64", "complex64", "complex128",
)  # fmt: skip
_NAMES = _CONSTANTS | {name: np.dtype(name) for name in _DTYPES} | NAMES
globals().update(_NAMES)

__all__ = sorted(["__array_api_version__", "__array_namespace_info__", *_NAMES])

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


def namespace(api_version: str | None) -> Any:
    """The module, if it has the version of the standard that is asked for."""
    if api_version not in (None, *VERSIONS):
        raise ArgumentError(
            f"__array_namespace__(api_version={api_version!r}): no such version here; give one of {', '.join(VERSIONS)}"
        )
    return sys.modules[__name__]
