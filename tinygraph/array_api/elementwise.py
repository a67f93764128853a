"""Elementwise functions: most are ours, or NumPy's on constants, by the standard's name."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.convert import dtype_of
from ..core.tensor import Tensor, describe
from ..errors import DTypeError
from ..numpy_functions import UFUNCS
from ..ops import elementwise as primitives
from .doors import Function, binary, by_numpy, recorded, standard, unary, values, wrap

# The standard's names and ours; a name alone stands for both.
_UNARY = """
abs acos:arccos asin:arcsin atan:arctan ceil cos cosh exp expm1 floor log log1p logical_not negative:neg
positive:identity reciprocal round sign sin sinh sqrt square tan tanh
"""
_BINARY = """
add divide:div equal floor_divide greater greater_equal less less_equal logical_and logical_or maximum minimum
multiply:mul not_equal pow remainder subtract:sub
"""
# The standard's names and NumPy's: formulas of ours for real floats, and what has no gradient rule.
_FORMULAS = "acosh:arccosh atanh:arctanh log10 log2"
_FORMULAS_OF_TWO = "hypot logaddexp"
_CONSTANT = "asinh:arcsinh"
_CONSTANT_OF_TWO = "atan2:arctan2 copysign nextafter"
_BITS = "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift"


def _pairs(table: str) -> list[tuple[str, str]]:
    return [(name, other or name) for name, _, other in (entry.partition(":") for entry in table.split())]


def _by_formula(name: str, theirs: Any) -> Function:
    """Recorded for real numbers; of complex ones NumPy's."""
    constant = by_numpy(name, theirs)
    return lambda x: constant(x) if dtype_of(x).kind == "c" else UFUNCS[theirs](x)


def _logical_xor(x: Any, y: Any) -> Any:
    for b in (x, y):
        recorded("logical_not")(b)  # refuses what is no boolean
    return recorded("not_equal")(x, y)


def _conj(x: Any) -> Any:
    return wrap(np.conj(values(x))) if dtype_of(x).kind == "c" else recorded("identity")(x)


def _real(x: Any) -> Any:
    return wrap(np.real(values(x)).copy()) if dtype_of(x).kind == "c" else recorded("identity")(x)


def _imag(x: Any) -> Any:
    if dtype_of(x).kind != "c":
        raise DTypeError(f"imag({describe(x)}): it has no imaginary part; leave it out")
    return wrap(np.imag(values(x)).copy())


def _asked(theirs: Any) -> Function:
    """A question of numbers: by comparisons that a trace keeps; of complex ones, and of integers, by NumPy."""
    return lambda x: UFUNCS[theirs](x) if dtype_of(x).kind == "f" else wrap(theirs(values(x)))


for _name, _ours in _pairs(_UNARY):
    unary(_name, recorded(_ours))
for _name, _ours in _pairs(_BINARY):
    binary(_name, recorded(_ours))
for _name, _theirs in _pairs(_FORMULAS):
    unary(_name, _by_formula(_name, getattr(np, _theirs)))
for _name in _FORMULAS_OF_TWO.split():
    binary(_name, UFUNCS[getattr(np, _name)])
for _name, _theirs in _pairs(_CONSTANT):
    unary(_name, by_numpy(_name, getattr(np, _theirs)))
for _name, _theirs in _pairs(_CONSTANT_OF_TWO):
    binary(_name, by_numpy(_name, getattr(np, _theirs)))
for _name in _BITS.split():
    binary(_name, getattr(primitives, _name))
binary("logical_xor", _logical_xor)
unary("bitwise_invert", primitives.bitwise_invert)
unary("trunc", UFUNCS[np.trunc])
unary("conj", _conj)
unary("real", _real)
unary("imag", _imag)
unary("signbit", lambda x: wrap(np.signbit(values(x))))
for _name in ("isnan", "isinf", "isfinite"):
    unary(_name, _asked(getattr(np, _name)))


@standard
def clip(x: Any, /, min: Any = None, max: Any = None) -> Tensor:
    """``x`` held between the bounds that are given, in its own dtype."""
    if min is None and max is None:
        return recorded("identity")(x)
    held = recorded("clip")(x, min, max)
    return held if held.dtype == dtype_of(x) else recorded("astype")(held, dtype_of(x))


@standard
def where(condition: Any, x1: Any, x2: Any, /) -> Tensor:
    """``x1`` where the condition holds, else ``x2``."""
    return recorded("where")(condition, x1, x2)
