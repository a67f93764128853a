"""An array namespace, this module itself: NumPy in decimal arithmetic of 50 digits.

``asarray`` makes a ``Decimals``: an object array of ``decimal.Decimal`` that stays one under operators,
ufuncs, indexing and the functions of this module. Every operation runs in a decimal context of its own,
without traps, so that nan and inf come out as they do in floats, and with exponents of 18 digits. A
number that meets a ``Decimals`` is converted exactly.

>>> from tinygraph.testing.oracles import decimal_numpy as dnp
>>> print(dnp.exp(dnp.asarray(1.0)))
2.7182818284590452353602874713526624977572470937000
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

import numpy as np

from .decimal_rules import PREDICATES, RULES

_digits: ContextVar[int] = ContextVar("digits", default=50)


@contextmanager
def precision(digits: int) -> Iterator[None]:
    """Another number of digits, for what is computed inside."""
    token = _digits.set(digits)
    try:
        yield
    finally:
        _digits.reset(token)


def context() -> Any:
    """The decimal context that every operation here runs in."""
    return decimal.localcontext(
        decimal.Context(
            prec=_digits.get(), rounding=decimal.ROUND_HALF_EVEN, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[]
        )
    )


class Decimals(np.ndarray[Any, Any]):
    """An object array of Decimals; what is computed of it is one too, 0-d arrays included."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **params: Any) -> Any:
        name, convert = ufunc.__name__, _booleans if ufunc.__name__.startswith("logical") else _objects
        with context():
            if method == "at":
                return getattr(ufunc, method)(np.asarray(inputs[0]), inputs[1], *map(convert, inputs[2:]))
            found = getattr(_UFUNCS.get(name, ufunc), method)(*map(convert, inputs), **params)
        if out is None:
            return _wrapped(found)
        np.asarray(out[0])[...] = found
        return out[0]

    def __setitem__(self, key: Any, value: Any) -> None:
        np.asarray(self)[key] = _objects(value)

    def astype(self, dtype: Any, *args: Any, **params: Any) -> Any:
        """A cast as NumPy has it; to floats it rounds."""
        return _wrapped(np.asarray(self).astype(dtype, *args, **params))


def asarray(x: Any, dtype: Any = None, copy: bool | None = None) -> Any:
    """Floats as Decimals, exactly; integers and booleans as they are, unless ``dtype`` is a float's."""
    if isinstance(x, Decimals) and not copy:
        return x
    floating = dtype is not None and np.dtype(dtype).kind in "fO"
    array = np.asarray(x, dtype=None if floating else dtype)
    if floating or array.dtype.kind in "fO":
        return _objects(array).view(Decimals)
    return array.copy() if copy else array


def number(x: Any) -> Decimal:
    """One real number as the Decimal that is exactly it."""
    if isinstance(x, np.longdouble):
        if not np.isfinite(x):
            return Decimal(float(x))
        with decimal.localcontext(prec=200):  # more digits than a long double near 1 has
            above, below = x.as_integer_ratio()
            return Decimal(above) / below
    return Decimal(x.item() if isinstance(x, np.generic) else x)


_numbers: Any = np.frompyfunc(number, 1, 1)


def _objects(x: Any) -> np.ndarray[Any, Any]:
    """An operand as a plain array of Decimals, on which NumPy's own loops run."""
    return np.asarray(x) if isinstance(x, Decimals) else np.asarray(_numbers(x), object)


def _booleans(x: Any) -> np.ndarray[Any, Any]:
    return np.asarray(x, bool)


def _wrapped(found: Any) -> Any:
    """What NumPy gave: objects as ``Decimals``, all else as it is."""
    if isinstance(found, tuple):
        return tuple(map(_wrapped, found))
    objects = found.dtype.kind == "O" if isinstance(found, np.ndarray) else isinstance(found, Decimal)
    return np.asarray(_numbers(found), object).view(Decimals) if objects else found


# ``identity=None``: no value to begin with, and the order does not matter.
_UFUNCS: dict[str, Any] = {name: np.frompyfunc(rule, n, 1, identity=None) for name, (rule, n) in RULES.items()}
_UFUNCS |= {name: np.vectorize(rule, otypes=[bool]) for name, rule in PREDICATES.items()}


# -- functions ----------------------------------------------------------------------------------------


def _in_decimals(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **params: Any) -> Any:
        with context():
            return _wrapped(function(*args, **params))

    return run


def __getattr__(name: str) -> Any:
    function = getattr(np, name)
    return _in_decimals(function) if callable(function) and not isinstance(function, type) else function


round = _in_decimals(np.rint)
_max, _min, _isnan = _in_decimals(np.max), _in_decimals(np.min), _in_decimals(np.isnan)


def astype(x: Any, dtype: Any) -> Any:
    """A cast; between floats there is nothing to do."""
    return asarray(x, dtype) if np.dtype(dtype).kind == "f" else np.asarray(x).astype(dtype)


def argmax(x: Any, *, axis: Any = None) -> Any:
    """The index of the first largest element, or of the first nan."""
    return np.argmax((x == _max(x, axis=axis, keepdims=True)) | _isnan(x), axis=axis)


def argmin(x: Any, *, axis: Any = None) -> Any:
    """The index of the first smallest element, or of the first nan."""
    return np.argmax((x == _min(x, axis=axis, keepdims=True)) | _isnan(x), axis=axis)
