"""The table of ufuncs (NEP 13): ours by name, and formulas for those that we have no primitive for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.convert import operand
from ..core.tensor import OPS
from ..functional import norm
from ..ops.contraction import matmul
from ..ops.elementwise import abs as abs_
from ..ops.elementwise import (
    ceil,
    detach,
    equal,
    floor,
    less,
    log,
    log1p,
    logical_and,
    maximum,
    minimum,
    not_equal,
    softplus,
    sqrt,
    where,
)
from ..ops.movement import expand_dims, squeeze, stack
from .movement import broadcast_arrays
from .table import ours, refusal, refuse_complex

# NumPy's ufuncs and our names for them; a name alone stands for both.
_OURS = """
absolute:abs add subtract:sub multiply:mul divide:div floor_divide remainder power:pow
negative:neg positive:identity sqrt square exp expm1 log log1p sin cos tan arcsin arccos arctan sinh cosh
tanh sign floor ceil maximum minimum less less_equal greater greater_equal equal not_equal
logical_and logical_or logical_not matmul
"""
_BITS = "bitwise_and bitwise_or bitwise_xor invert:bitwise_invert left_shift:bitwise_left_shift right_shift:bitwise_right_shift"

UFUNCS: dict[Any, Callable[..., Any]] = {
    getattr(np, theirs): find(name or theirs)
    for names, find in ((_OURS, ours), (_BITS, OPS.__getitem__))
    for theirs, _, name in (entry.partition(":") for entry in names.split())
}
# Comparisons that a trace keeps, so that a compiled graph asks again.
UFUNCS |= {
    np.isnan: lambda x: not_equal(x, x),
    np.isinf: lambda x: equal(abs_(x), np.inf),
    np.isfinite: lambda x: less(abs_(x), np.inf),
}


def _in_numpys_dtype(ufunc: Any, formula: Callable[..., Any]) -> Callable[..., Any]:
    """``formula`` on operands in the dtype that the ufunc computes in; Python numbers stay weak."""
    name = f"np.{ufunc.__name__}"

    def computed(*given: Any) -> Any:
        refuse_complex(name, *given)
        operands = [operand(x) for x in given]
        kinds = [type(x._data) if type(x._data) in (int, float) else x.dtype for x in operands]
        try:
            dtypes = ufunc.resolve_dtypes((*kinds, *[None] * ufunc.nout))
        except TypeError as error:
            raise refusal(name, given, str(error), "convert the operands with .astype(np.float64)") from error
        cast = [
            x if is_weak(x._data) or x.dtype == dtype else x.astype(dtype)
            for x, dtype in zip(operands, dtypes, strict=False)
        ]
        return formula(*cast)

    return computed


def _hypot(x: Any, y: Any) -> Any:
    """√(x² + y²) of operands scaled by their size, on which it does not depend; its slope at 0 is 0."""
    dtype = np.result_type(x._data, y._data)
    pair = stack([t.astype(dtype) for t in broadcast_arrays(x, y)])
    size = detach(ours("max")(abs_(pair), axis=0))
    size = where(equal(size, 0), 1, where(less(size, np.inf), size, 1))
    infinite = ours("any")(equal(abs_(pair), np.inf), axis=0)  # even if the other one is nan
    return where(infinite, np.inf, norm(pair / size, axis=0) * size)


def _logaddexp(x: Any, y: Any) -> Any:
    """log(eˣ + eʸ) = a + softplus(b - a), true of either order, so it may be chosen: no tie has a kink."""
    swap = less(x, y)
    high, low = where(swap, y, x), where(swap, x, y)
    both = logical_and(equal(high, low), equal(abs_(high), np.inf))  # are infinite: no difference is
    return high + softplus(where(both, 0, low) - where(both, 0, high))


def _arccosh(x: Any) -> Any:
    above = x - 1
    return log1p(above + sqrt(above) * sqrt(above + 2))


def _reciprocal(x: Any) -> Any:
    if x.dtype.kind != "f":
        raise refusal("np.reciprocal", (x,), "NumPy's is 0 for integers above 1", "write 1 / x")
    return ours("reciprocal")(x)


def _without_nan(choose: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: choose(where(not_equal(x, x), y, x), where(not_equal(y, y), x, y))


_FORMULAS: dict[str, Callable[..., Any]] = {
    "arccosh": _arccosh,
    "arctanh": lambda x: (log1p(x) - log1p(-x)) / 2,
    "conjugate": lambda x: x,
    "deg2rad": lambda x: x * (math.pi / 180),
    "radians": lambda x: x * (math.pi / 180),
    "rad2deg": lambda x: x * (180 / math.pi),
    "degrees": lambda x: x * (180 / math.pi),
    "exp2": lambda x: 2.0**x,
    "fabs": abs_,
    "float_power": lambda x, y: x**y,
    "fmax": _without_nan(maximum),
    "fmin": _without_nan(minimum),
    "hypot": _hypot,
    "log2": lambda x: log(x) / math.log(2),
    "log10": lambda x: log(x) / math.log(10),
    "logaddexp": _logaddexp,
    "reciprocal": _reciprocal,
    "rint": ours("round"),
    "trunc": lambda x: where(less(x, 0), ceil(x), floor(x)),
    "matvec": lambda x, y: squeeze(matmul(x, expand_dims(y, axis=-1)), axis=-1),
    "vecmat": lambda x, y: squeeze(matmul(expand_dims(x, axis=-2), y), axis=-2),
    "vecdot": lambda x, y: squeeze(matmul(expand_dims(x, axis=-2), expand_dims(y, axis=-1)), axis=(-2, -1)),
}
UFUNCS |= {
    ufunc: _in_numpys_dtype(ufunc, formula)
    for name, formula in _FORMULAS.items()
    if (ufunc := getattr(np, name, None)) is not None
}
