"""An array namespace, this module itself: NumPy for complex step.

The real part is the value, the imaginary part a first-order perturbation that rides along. Whatever
looks at values (comparison, sign, rounding, selection) looks at the real part only.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def __getattr__(name: str) -> Any:
    return getattr(np, name)


def _of_real(name: str) -> Any:
    function = getattr(np, name)
    return lambda *operands, **params: function(*map(np.real, operands), **params)


less, less_equal, equal = _of_real("less"), _of_real("less_equal"), _of_real("equal")
greater, greater_equal, not_equal = _of_real("greater"), _of_real("greater_equal"), _of_real("not_equal")
sign, floor, ceil, round = _of_real("sign"), _of_real("floor"), _of_real("ceil"), _of_real("round")
argmax, argmin, floor_divide = _of_real("argmax"), _of_real("argmin"), _of_real("floor_divide")


def abs(x: Any) -> Any:
    """|x| of the real part; its slope at 0 is 0, as that of sign."""
    return x * np.sign(np.real(x))


def remainder(x: Any, y: Any) -> Any:
    """The value of NumPy's, with the slopes 1 and -floor(x / y)."""
    slope = np.imag(x) - np.imag(y) * floor_divide(x, y)
    return np.remainder(np.real(x), np.real(y)) + 1j * slope


def maximum(x: Any, y: Any) -> Any:
    """X where its real part is the larger one, is as large, or is nan."""
    return np.where((np.real(x) >= np.real(y)) | np.isnan(x), x, y)


def minimum(x: Any, y: Any) -> Any:
    """X where its real part is the smaller one, is as small, or is nan."""
    return np.where((np.real(x) <= np.real(y)) | np.isnan(x), x, y)


def clip(x: Any, low: Any, high: Any) -> Any:
    """X held between two bounds by its real part."""
    return minimum(maximum(x, low), high)


def max(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest real part over axes."""
    return _extreme(np.max, x, axis, keepdims)


def min(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest real part over axes."""
    return _extreme(np.min, x, axis, keepdims)


def _extreme(of: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """The value exactly, the perturbation as the mean over ties."""
    real, params = np.real(x), {"axis": axis, "keepdims": keepdims}
    chosen = real == of(real, axis=axis, keepdims=True)
    return of(real, **params) + 1j * (np.sum(np.where(chosen, np.imag(x), 0), **params) / np.sum(chosen, **params))
