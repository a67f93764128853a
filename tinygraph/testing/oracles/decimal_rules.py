"""Functions of one or two Decimals, to the precision of the current decimal context.

They follow NumPy where Python's Decimal does not: 0 to the power 0 is 1, a remainder has the sign of
its divisor, and nan goes through maximum and minimum. The context they run in has no traps.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, getcontext, localcontext

NAN = Decimal("NaN")
_GUARD = 30  # more digits: a float may lie at 1e-19 of itself from a multiple of π
_FAR = 5000  # digits before the point, from which on no period is resolved


def _guarded(rule: Callable[..., Decimal]) -> Callable[..., Decimal]:
    """The rule with more digits inside, its result rounded once; nan for nan."""

    @functools.wraps(rule)
    def rounded(*operands: Decimal) -> Decimal:
        for x in operands:
            if x.is_nan():
                return x
        with localcontext() as inner:
            inner.prec += _GUARD
            found = rule(*operands)
        return +found

    return rounded


def _lost(x: Decimal) -> int:
    """The digits that 1 + x takes away from a small x."""
    return max(-x.adjusted(), 0) if x else 0


# -- exponentials and powers ------------------------------------------------------------------------


@_guarded
def expm1(x: Decimal) -> Decimal:
    lost = _lost(x)
    if lost > getcontext().prec:
        return x + x * x / 2
    with localcontext() as inner:
        inner.prec += lost
        return x.exp() - 1


@_guarded
def log1p(x: Decimal) -> Decimal:
    lost = _lost(x)
    if lost > getcontext().prec:
        return x - x * x / 2
    with localcontext() as inner:
        inner.prec += lost
        return (1 + x).ln()


@_guarded
def sinh(x: Decimal) -> Decimal:
    if x.is_infinite():
        return x
    e = expm1(abs(x))
    return ((e + e / (e + 1)) / 2).copy_sign(x)


@_guarded
def cosh(x: Decimal) -> Decimal:
    e = abs(x).exp()
    return (e + 1 / e) / 2


@_guarded
def tanh(x: Decimal) -> Decimal:
    e = expm1(-2 * abs(x))
    return (-e / (e + 2)).copy_sign(x)


def power(x: Decimal, y: Decimal) -> Decimal:
    if y == 0 or x == 1:
        return Decimal(1)
    return (abs(x) if x.is_infinite() and abs(y % 2) != 1 else x) ** y


# -- circles ------------------------------------------------------------------------------------------


def pi() -> Decimal:
    """π to the current precision and a little more."""
    return _pi(getcontext().prec)


@functools.cache
def _pi(digits: int) -> Decimal:
    """Machin's formula, π = 16 atan(1/5) - 4 atan(1/239), in integers."""
    one: int = 10 ** (digits + 10)

    def arctan_of_inverse(n: int) -> int:
        total, term, k = 0, one // n, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term //= n * n
            k += 2
        return total

    with localcontext() as inner:
        inner.prec = digits + 10
        return Decimal(16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)) / one


def _turned(x: Decimal, quarters: int) -> Decimal:
    """sin(x + quarters · π/2): whole quarters of a turn are taken away, the rest is Taylor's series."""
    if x.is_infinite() or x.adjusted() > _FAR:
        return NAN
    with localcontext() as inner:
        inner.prec += max(x.adjusted(), 0)
        n = (2 * x / pi()).to_integral_value(ROUND_HALF_EVEN)
        rest = x - n * pi() / 2
        turn = int(n % 4 + quarters) % 4
    total = _sum(_taylor(rest, 1) if turn % 2 == 0 else _taylor(rest, 0))
    return -total if turn >= 2 else total


def _taylor(x: Decimal, power: int) -> Iterator[Decimal]:
    """The terms of the sine (power 1) or the cosine (power 0)."""
    term = x if power else Decimal(1)
    while True:
        yield term
        term *= -x * x / ((power + 1) * (power + 2))
        power += 2


def _sum(terms: Iterator[Decimal]) -> Decimal:
    """The sum of a series, up to a term that adds nothing."""
    total = Decimal(0)
    for term in terms:
        if total + term == total:
            break
        total += term
    return total


sin = _guarded(lambda x: _turned(x, 0))
cos = _guarded(lambda x: _turned(x, 1))
tan = _guarded(lambda x: _turned(x, 0) / _turned(x, 1))


@_guarded
def arctan(x: Decimal) -> Decimal:
    right = (pi() / 2).copy_sign(x)
    if x.is_infinite():
        return right
    if abs(x) > 1:
        return right - arctan(1 / x)
    for _ in range(3):  # atan(x) = 2 atan(x / (1 + sqrt(1 + x²)))
        x = x / (1 + (1 + x * x).sqrt())
    return 8 * _sum(_arctan_terms(x))


def _arctan_terms(x: Decimal) -> Iterator[Decimal]:
    power = x
    for k in itertools.count(1, 2):
        yield power / k
        power *= -x * x


@_guarded
def arcsin(x: Decimal) -> Decimal:
    return arctan(x / ((1 - x) * (1 + x)).sqrt()) if abs(x) <= 1 else NAN


@_guarded
def arccos(x: Decimal) -> Decimal:
    return 2 * arctan(((1 - x) / (1 + x)).sqrt()) if abs(x) <= 1 else NAN


# -- selection, rounding ------------------------------------------------------------------------------


def sign(x: Decimal) -> Decimal:
    return x if x.is_nan() else Decimal((x > 0) - (x < 0))


def maximum(x: Decimal, y: Decimal) -> Decimal:
    return x if x.is_nan() or x >= y else y


def minimum(x: Decimal, y: Decimal) -> Decimal:
    return x if x.is_nan() or x <= y else y


def clip(x: Decimal, low: Decimal, high: Decimal) -> Decimal:
    return minimum(maximum(x, low), high)


def remainder(x: Decimal, y: Decimal) -> Decimal:
    with _enough_for_the_quotient(x, y):
        rest = x % y
        return rest + y if rest and (rest < 0) != (y < 0) else rest


def floor_divide(x: Decimal, y: Decimal) -> Decimal:
    if not y:
        return x / y
    if y.is_infinite() and x.is_finite():
        return Decimal(-1 if x * y < 0 else 0)
    with _enough_for_the_quotient(x, y):
        return ((x - remainder(x, y)) / y).to_integral_value(ROUND_HALF_EVEN)


@contextmanager
def _enough_for_the_quotient(x: Decimal, y: Decimal) -> Iterator[None]:
    with localcontext() as inner:
        if x.is_finite() and y.is_finite():
            inner.prec += max(x.adjusted() - y.adjusted(), 0) + 5
        yield


def _rounded(how: str) -> Callable[[Decimal], Decimal]:
    return lambda x: x.to_integral_value(how)


# Which rule takes the place of which ufunc, and how many operands it has.
RULES: dict[str, tuple[Callable[..., Decimal], int]] = {
    "exp": (Decimal.exp, 1), "expm1": (expm1, 1), "log": (Decimal.ln, 1), "log1p": (log1p, 1),
    "sqrt": (Decimal.sqrt, 1), "power": (power, 2), "sinh": (sinh, 1), "cosh": (cosh, 1), "tanh": (tanh, 1),
    "sin": (sin, 1), "cos": (cos, 1), "tan": (tan, 1), "arcsin": (arcsin, 1), "arccos": (arccos, 1),
    "arctan": (arctan, 1), "sign": (sign, 1), "absolute": (Decimal.copy_abs, 1), "maximum": (maximum, 2),
    "minimum": (minimum, 2), "clip": (clip, 3), "remainder": (remainder, 2), "floor_divide": (floor_divide, 2),
    "floor": (_rounded(ROUND_FLOOR), 1), "ceil": (_rounded(ROUND_CEILING), 1), "trunc": (_rounded(ROUND_DOWN), 1),
    "rint": (_rounded(ROUND_HALF_EVEN), 1),
}  # fmt: skip
PREDICATES: dict[str, Callable[[Decimal], bool]] = {
    "isnan": Decimal.is_nan, "isinf": Decimal.is_infinite, "isfinite": Decimal.is_finite,
}  # fmt: skip
