"""Elementwise primitives. Binary ones broadcast as NumPy does; no rule here mentions it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.convert import dtype_of
from ..core.primitive import Calls, Domain, Primitive, Rule, apply, call
from ..core.tensor import OPS, Tensor, describe, make
from ..errors import ArgumentError, DTypeError, ShapeError

_UNARY: Calls = ((((2, 3),), {}), (((),), {}))
_BINARY: Calls = ((((2, 3), (2, 3)), {}), (((2, 3), (3,)), {}), (((2, 1), (1, 3)), {}), (((), (2, 3)), {}))
POSITIVE = (0.2, 3.0)
AWAY = (0.2, 2.0)


def _unary(
    name: str, kernel: Any, rule: Rule | None, doc: str, *, symbol: str = "", numpy: Any = None, **domain: Any
) -> Primitive:
    mistakes = domain.pop("mistakes", ())
    return Primitive(
        name, kernel, (rule,), "elementwise", symbol or name, doc, numpy=numpy, mistakes=mistakes,
        domain=Domain(_UNARY, **domain),
    )  # fmt: skip


def _binary(
    name: str, kernel: Any, x: Rule | None, y: Rule | None, doc: str, *, symbol: str, numpy: Any = None, **domain: Any
) -> Primitive:
    mistakes = domain.pop("mistakes", ())
    return Primitive(
        name, kernel, (x, y), "elementwise", symbol, doc, numpy=numpy, mistakes=mistakes,
        domain=Domain(_BINARY, **domain),
    )  # fmt: skip


def literal(x: Any) -> Any:
    """The Python number behind a constant operand, so that a rule can compute with it; else ``x``."""
    return x._data if isinstance(x, Tensor) and x.node is None and is_weak(x._data) else x


# -- arithmetic ----------------------------------------------------------------------------------

add: Primitive = _binary(
    "add", lambda xp, x, y: x + y, lambda g, out, x, y: g, lambda g, out, x, y: g, "x + y.", symbol="+"
)
sub: Primitive = _binary(
    "sub", lambda xp, x, y: x - y, lambda g, out, x, y: g, lambda g, out, x, y: -g, "x - y.", symbol="−",
    mistakes=(("sign of the subtrahend", 1, lambda g, out, x, y: g),),
)  # fmt: skip
mul: Primitive = _binary(
    "mul", lambda xp, x, y: x * y, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x, "x · y.", symbol="×",
    mistakes=(("factor left out", 0, lambda g, out, x, y: g), ("factor left out", 1, lambda g, out, x, y: g)),
)  # fmt: skip


_least: Any = np.minimum.reduce


def _repaired(out: Any, *factors: Any) -> Any:
    """``out`` with 0 where it is nan although one of ``factors`` is exactly 0."""
    least = _least(out, axis=None) if out.size else 0
    if least == least:  # a nan would have come through
        return out
    zero = np.logical_or.reduce([np.equal(np.broadcast_to(f, np.shape(out)), 0) for f in factors])
    return np.where(np.isnan(out) & zero, 0, out)


def _div0(x: Any, y: Any) -> Any:
    out = np.true_divide(x, y)
    # 0 / y is nan only where y is 0 or nan: a number or a smaller y, as in a division by a row, tells it sooner.
    return out if _is_short(y, out) and _divides(y) else _repaired(out, x)


def _is_short(y: Any, out: Any) -> bool:
    return is_weak(y) or y.size < out.size


def _divides(y: Any) -> bool:
    """Whether y is neither 0 nor nan anywhere."""
    return bool(y == y and y != 0 if is_weak(y) else _least(np.abs(y), axis=None, initial=1) > 0)


mul0: Primitive = _binary(
    "mul0",
    lambda xp, x, y: xp.where((x == 0) | (y == 0), 0, x * y),
    lambda g, out, x, y: mul0(g, y),
    lambda g, out, x, y: mul0(g, x),
    "x · y, and 0 where a factor is exactly 0, even if the other is inf or nan (strong zero).",
    numpy=lambda x, y: _repaired(x * y, x, y),
    symbol="×",
)
div0: Primitive = _binary(
    "div0",
    lambda xp, x, y: xp.where(x == 0, 0, x / y),
    lambda g, out, x, y: div0(g, y),
    lambda g, out, x, y: -div0(mul0(g, out), y),
    "x / y, and 0 where x is exactly 0, even if y is 0 or nan (strong zero).",
    numpy=_div0,
    symbol="÷",
    ranges=((-2.0, 2.0), AWAY),
)
div: Primitive = _binary(
    "div", lambda xp, x, y: x / y, lambda g, out, x, y: div0(g, y), lambda g, out, x, y: -div0(mul0(g, out), y),
    "x / y.", symbol="÷", ranges=((-2.0, 2.0), AWAY),
    mistakes=(("the numerator is missing", 1, lambda g, out, x, y: -g / (y * y)),
              ("the divisor is not squared", 1, lambda g, out, x, y: -g * x / y)),
)  # fmt: skip
neg: Primitive = _unary("neg", lambda xp, x: -x, lambda g, out, x: -g, "-x.", symbol="−")


def _pow_base(g: Any, out: Any, x: Any, y: Any) -> Any:
    y = literal(y)
    if is_weak(y) and y == 2:
        return g * (2 * x)
    if is_weak(y) and y >= 1 and y == int(y):
        return g * (y * x ** (y - 1))
    return mul0(g, mul0(y, x ** (y - 1)))


def _pow_exponent(g: Any, out: Any, x: Any, y: Any) -> Any:
    x = literal(x)
    if is_weak(x) and x > 0:
        return g * (out * log(x))
    # 0**0 is 1 for every exponent near it from above, so its slope there is 0, not log(0).
    corner = logical_and(equal(x, 0), equal(y, 0))
    return mul0(g, mul0(out, log(where(corner, 1, x))))


pow: Primitive = _binary(
    "pow", lambda xp, x, y: x**y, _pow_base, _pow_exponent, "x to the power y.", symbol="xⁿ",
    ranges=((0.2, 2.0), (-2.0, 2.0)),
    mistakes=(("exponent left out", 0, lambda g, out, x, y: g * x ** (literal(y) - 1)),),
)  # fmt: skip
remainder: Primitive = _binary(
    "remainder",
    lambda xp, x, y: xp.remainder(x, y),
    lambda g, out, x, y: g,
    lambda g, out, x, y: -g * floor_divide(x, y),
    "x - y · floor(x / y), with the sign of y.",
    symbol="mod",
    ranges=((0.6, 0.7), (0.25, 0.28)),
    analytic=False,
)
floor_divide: Primitive = _binary(
    "floor_divide",
    lambda xp, x, y: xp.floor_divide(x, y),
    lambda g, out, x, y: zeros_like(x),
    lambda g, out, x, y: zeros_like(y),
    "floor(x / y); its slope is 0.",
    symbol="⌊÷⌋",
    ranges=((0.6, 0.7), (0.25, 0.28)),
    analytic=False,
)

# -- powers, exponentials, trigonometry -----------------------------------------------------------

sqrt: Primitive = _unary(
    "sqrt", lambda xp, x: xp.sqrt(x), lambda g, out, x: div0(g, 2 * out),
    "√x; a cotangent of exactly 0 stays 0 at x = 0.", symbol="√", ranges=(POSITIVE,),
    mistakes=(("half left out", 0, lambda g, out, x: g / out), ("1/x for 1/√x", 0, lambda g, out, x: g / (2 * x))),
)  # fmt: skip
exp: Primitive = _unary("exp", lambda xp, x: xp.exp(x), lambda g, out, x: g * out, "e to the power x.")
expm1: Primitive = _unary("expm1", lambda xp, x: xp.expm1(x), lambda g, out, x: g * (out + 1), "exp(x) - 1.")
log: Primitive = _unary(
    "log", lambda xp, x: xp.log(x), lambda g, out, x: div0(g, x), "The natural logarithm.", ranges=(POSITIVE,)
)
log1p: Primitive = _unary(
    "log1p", lambda xp, x: xp.log1p(x), lambda g, out, x: div0(g, 1 + x), "log(1 + x).", ranges=((-0.7, 3.0),)
)
sin: Primitive = _unary("sin", lambda xp, x: xp.sin(x), lambda g, out, x: g * cos(x), "The sine of x radians.")
cos: Primitive = _unary(
    "cos", lambda xp, x: xp.cos(x), lambda g, out, x: -(g * sin(x)), "The cosine of x radians.",
    mistakes=(("sign", 0, lambda g, out, x: g * sin(x)),),
)  # fmt: skip
tan: Primitive = _unary(
    "tan", lambda xp, x: xp.tan(x), lambda g, out, x: g * (1 + out * out), "The tangent of x radians.",
    ranges=((-1.2, 1.2),),
)  # fmt: skip
arcsin: Primitive = _unary(
    "arcsin", lambda xp, x: xp.asin(x), lambda g, out, x: div0(g, sqrt(1 - x * x)), "The inverse sine, in radians.",
    ranges=((-0.9, 0.9),),
)  # fmt: skip
arccos: Primitive = _unary(
    "arccos", lambda xp, x: xp.acos(x), lambda g, out, x: -div0(g, sqrt(1 - x * x)),
    "The inverse cosine, in radians.", ranges=((-0.9, 0.9),),
)  # fmt: skip
arctan: Primitive = _unary(
    "arctan", lambda xp, x: xp.atan(x), lambda g, out, x: g / (1 + x * x), "The inverse tangent, in radians."
)
sinh: Primitive = _unary("sinh", lambda xp, x: xp.sinh(x), lambda g, out, x: g * cosh(x), "The hyperbolic sine.")
cosh: Primitive = _unary("cosh", lambda xp, x: xp.cosh(x), lambda g, out, x: g * sinh(x), "The hyperbolic cosine.")
tanh: Primitive = _unary(
    "tanh", lambda xp, x: xp.tanh(x), lambda g, out, x: g * (1 - out * out), "The hyperbolic tangent.",
    mistakes=(("1-h for 1-h²", 0, lambda g, out, x: g * (1 - out)),
              ("1-x² for 1-h²", 0, lambda g, out, x: g * (1 - x * x)),
              ("1+h² for 1-h²", 0, lambda g, out, x: g * (1 + out * out))),
)  # fmt: skip


def _sigmoid(xp: Any, x: Any) -> Any:
    e = xp.exp(0.0 - xp.abs(x))  # unsigned numbers have no -|x|
    return xp.where(xp.greater_equal(x, 0), 1, e) / (1 + e)


sigmoid: Primitive = _unary(
    "sigmoid", _sigmoid, lambda g, out, x: g * out * (1 - out), "1 / (1 + exp(-x)), without overflow.", symbol="σ",
    mistakes=(("1-x for 1-σ", 0, lambda g, out, x: g * out * (1 - x)),),
)  # fmt: skip
softplus: Primitive = _unary(
    "softplus",
    lambda xp, x: xp.log1p(xp.exp(0.0 - xp.abs(x))) + xp.maximum(x, 0),
    lambda g, out, x: g * sigmoid(x),
    "log(1 + exp(x)), without overflow.",
)
xlogy: Primitive = _binary(
    "xlogy",
    lambda xp, x, y: xp.where(x == 0, 0, x * xp.log(xp.where(x == 0, x + 1.0, y))),
    lambda g, out, x, y: mul0(g, log(y)),
    lambda g, out, x, y: div0(mul0(g, x), y),
    "x · log(y), and 0 where x is exactly 0.",
    symbol="x·log",
    ranges=(POSITIVE,),
)

# -- selection, comparison ------------------------------------------------------------------------

zeros_like: Primitive = _unary(
    "zeros_like", lambda xp, x: xp.zeros_like(xp.asarray(x)), None, "0 in the shape of x.", symbol="0"
)
sign: Primitive = _unary(
    "sign", lambda xp, x: xp.sign(x), lambda g, out, x: zeros_like(x), "-1, 0 or 1; its slope is 0.",
    ranges=(AWAY,), kinks=(0.0,),
)  # fmt: skip
floor: Primitive = _unary(
    "floor", lambda xp, x: xp.floor(x), lambda g, out, x: zeros_like(x),
    "The largest integer not above x; its slope is 0.", ranges=((0.2, 0.8),), kinks=(0.0,),
)  # fmt: skip
ceil: Primitive = _unary(
    "ceil", lambda xp, x: xp.ceil(x), lambda g, out, x: zeros_like(x),
    "The smallest integer not below x; its slope is 0.", ranges=((0.2, 0.8),), kinks=(0.0,),
)  # fmt: skip
round: Primitive = _unary(
    "round", lambda xp, x: xp.round(x), lambda g, out, x: zeros_like(x),
    "The nearest integer, ties to even; its slope is 0.", ranges=((0.6, 0.9),), kinks=(0.5,),
)  # fmt: skip
abs: Primitive = _unary(
    "abs", lambda xp, x: xp.abs(x), lambda g, out, x: g * sign(x), "|x|; its slope at 0 is 0.", symbol="|x|",
    kinks=(0.0,),
)  # fmt: skip


def _share(g: Any, out: Any, x: Any, y: Any) -> Any:
    """The part of ``g`` that x gets as the one selected of x and y: half at a tie; a nan is selected."""
    chosen = logical_or(equal(x, out), not_equal(x, x))
    tied = logical_or(equal(y, out), not_equal(y, y))
    return where(chosen, where(tied, g / 2, g), 0)


maximum: Primitive = _binary(
    "maximum", lambda xp, x, y: xp.maximum(x, y), _share, lambda g, out, x, y: _share(g, out, y, x),
    "The larger of x and y; a tie shares the cotangent evenly, a nan takes it.", symbol="max", ties=True,
)  # fmt: skip
minimum: Primitive = _binary(
    "minimum", lambda xp, x, y: xp.minimum(x, y), _share, lambda g, out, x, y: _share(g, out, y, x),
    "The smaller of x and y; a tie shares the cotangent evenly, a nan takes it.", symbol="min", ties=True,
)  # fmt: skip
relu: Primitive = _unary(
    "relu", lambda xp, x: xp.maximum(x, 0), lambda g, out, x: where(less_equal(x, 0), 0, g),
    "max(x, 0); its slope at 0 is 0, a nan stays.", kinks=(0.0,),
    mistakes=(("passes everywhere", 0, lambda g, out, x: g),),
)  # fmt: skip


def _boolean(name: str, symbol: str, doc: str, arity: int = 2) -> Primitive:
    def kernel(xp: Any, *operands: Any) -> Any:
        return getattr(xp, name)(*operands)

    signature = _of_booleans(name, arity) if name.startswith("logical") else None
    calls = _BINARY if arity == 2 else _UNARY
    return Primitive(
        name, kernel, (None,) * arity, "elementwise", symbol, doc, signature=signature, domain=Domain(calls)
    )


def _of_booleans(name: str, arity: int) -> Any:
    def signature(*operands: Any) -> Any:
        if len(operands) != arity:
            raise ArgumentError(f"{call(name, operands)}: takes {arity} operands, got {len(operands)}")
        for x in operands:
            if dtype_of(x) != np.bool_:
                raise DTypeError(f"{call(name, operands)}: combines booleans; compare first, e.g. x != 0")
        return operands, {}

    return signature


less: Primitive = _boolean("less", "<", "x < y.")
less_equal: Primitive = _boolean("less_equal", "≤", "x ≤ y.")
greater: Primitive = _boolean("greater", ">", "x > y.")
greater_equal: Primitive = _boolean("greater_equal", "≥", "x ≥ y.")
equal: Primitive = _boolean("equal", "=", "x = y, elementwise.")
not_equal: Primitive = _boolean("not_equal", "≠", "x ≠ y, elementwise.")
logical_and: Primitive = _boolean("logical_and", "and", "Both are true.")
logical_or: Primitive = _boolean("logical_or", "or", "One is true or both are.")
logical_not: Primitive = _boolean("logical_not", "not", "It is false.", arity=1)


def _bits(name: str, theirs: Any, logic: Primitive | None = None) -> Callable[..., Any]:
    """An operator such as ``&``: of booleans recorded logic, of integers the bits by NumPy, which have no gradient."""
    takes = "shifts the bits of integers" if logic is None else "combines booleans, or the bits of integers"

    def function(*operands: Any) -> Any:
        kinds = {dtype_of(x).kind for x in operands}
        if logic and kinds == {"b"}:
            return apply(logic, operands, {})
        if not kinds <= {"i", "u"}:
            raise DTypeError(f"{call(name, operands)}: {takes}; compare first, e.g. x != 0")
        values = [x.numpy() if isinstance(x, Tensor) else x for x in operands]
        try:
            return make(np.asarray(theirs(*values)))
        except (TypeError, OverflowError, ValueError) as error:
            kind, mend = (
                (ShapeError, "give shapes that broadcast")
                if isinstance(error, ValueError)
                else (DTypeError, "cast one with .astype(dtype)")
            )
            raise kind(f"{call(name, operands)}: {str(error).rstrip('. ')}; {mend}") from error

    function.__name__ = name
    OPS[name] = function
    return function


bitwise_and = _bits("bitwise_and", np.bitwise_and, logical_and)
bitwise_or = _bits("bitwise_or", np.bitwise_or, logical_or)
bitwise_xor = _bits("bitwise_xor", np.bitwise_xor, not_equal)
bitwise_invert = _bits("bitwise_invert", np.invert, logical_not)
bitwise_left_shift = _bits("bitwise_left_shift", np.left_shift)
bitwise_right_shift = _bits("bitwise_right_shift", np.right_shift)


def _where(condition: Any, x: Any, y: Any) -> Any:
    if dtype_of(condition) != np.bool_:
        raise DTypeError(
            f"where({describe(condition)}, {describe(x)}, {describe(y)}): the condition is boolean; "
            "write e.g. condition != 0"
        )
    return (condition, x, y), {}


where: Primitive = Primitive(
    "where",
    lambda xp, c, x, y: xp.where(c, x, y),
    (None, lambda g, out, c, x, y: where(c, g, 0), lambda g, out, c, x, y: where(c, 0, g)),
    "elementwise",
    "?:",
    "x where the condition holds, else y. The branch that is not taken gets a cotangent of exactly 0.",
    signature=_where,
    domain=Domain((((np.array([[True, False, True], [False, True, True]]), (2, 3), (3,)), {}),)),
)


def _clip(x: Any, min: Any = None, max: Any = None) -> Any:
    if min is None and max is None:
        raise ArgumentError(f"clip({describe(x)}): no bound is given; write clip(x, min, max) with one at least")
    dtype = dtype_of(x)
    info = np.iinfo(dtype) if dtype.kind in "iu" else None
    low = (int(info.min) if info else -np.inf) if min is None else min
    high = (int(info.max) if info else np.inf) if max is None else max
    return (x, low, high), {}


clip: Primitive = Primitive(
    "clip",
    lambda xp, x, low, high: xp.minimum(xp.maximum(x, low), high),
    (
        lambda g, out, x, low, high: where(logical_or(less(x, low), greater(x, high)), 0, g),
        lambda g, out, x, low, high: where(logical_and(less(x, low), less_equal(low, high)), g, 0),
        lambda g, out, x, low, high: where(logical_or(greater(x, high), greater(low, high)), g, 0),
    ),
    "elementwise",
    "clip",
    "x held between min and max; the cotangent passes on the closed interval, its bounds included.",
    signature=_clip,
    domain=Domain(
        ((((2, 3), -0.5, 0.5), {}), (((2, 3), (3,), 5.0), {}), (((2, 3), -5.0, (2, 1)), {})),
        kinks=(-0.5, 0.5),
        ties=True,
    ),
)

# -- identity, casts ------------------------------------------------------------------------------

identity: Primitive = _unary(
    "identity", lambda xp, x: x, lambda g, out, x: g, "x itself; graphs leave it out.", symbol="id"
)
detach: Primitive = _unary("detach", lambda xp, x: x, None, "x itself, through which no gradient flows.", symbol="stop")


def _astype(x: Any, dtype: Any) -> Any:
    try:
        dtype = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"astype({describe(x)}, {dtype!r}): {error}; give a NumPy dtype") from error
    if dtype.kind not in "biufc":
        raise DTypeError(f"astype({describe(x)}, {dtype}): a Tensor holds numbers; give a numeric dtype")
    return (x,), {"dtype": dtype}


astype: Primitive = Primitive(
    "astype",
    lambda xp, x, *, dtype: xp.astype(xp.asarray(x), getattr(xp, dtype.name, dtype)),
    (lambda g, out, x, *, dtype: g,),
    "elementwise",
    "cast",
    "x in another dtype; the cotangent is cast back.",
    signature=_astype,
    domain=Domain(((((2, 3),), {"dtype": np.float64}),)),
)
