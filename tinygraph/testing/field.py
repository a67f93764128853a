"""Exact arithmetic for proofs: the elements of GF(p), which NumPy's own functions compute with in object arrays.

An element also knows bounds of the degrees of the rational function of the inputs that it is, and
which inputs and square roots it was computed from: what the chance of a false proof depends on.
"""

from __future__ import annotations

import math
import numbers
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, NotAlgebraic

Array = np.ndarray[Any, Any]

MERSENNE = 2**61 - 1
LARGEST = 2**40  # numerator · denominator of a constant that is called rational
_DIGITS = 8
_ULPS = 4
_SINGLE_DIGITS, _SINGLE_LARGEST = 6, 2**14  # the same for a constant that was written as a float32
_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


# -- constants ---------------------------------------------------------------------------------------


def as_fraction(number: float) -> Fraction:
    """The fraction that a float was written as.

    A float of at most 8 decimal digits is that decimal; any other is the simplest fraction within 4
    units in the last place, as in ``1.0 / N``. Failing that, the same is tried for what is a float32 too,
    with 6 digits: object arrays turn ``np.float32(1e-5)`` into a Python float.

    Raises: NotAlgebraic if the fraction has numerator · denominator above 2^40: an irrational number.

    >>> as_fraction(1e-5), as_fraction(1 / 7), as_fraction(np.float32(1e-5))
    (Fraction(1, 100000), Fraction(1, 7), Fraction(1, 100000))
    """
    number = float(number)
    if not math.isfinite(number):
        raise NotAlgebraic(f"the constant {number!r} is no number of a field; leave it out, or check in float64")
    found = _written(number, float, math.ulp(number), _DIGITS, LARGEST)
    if found is None and 2.0**-126 <= abs(number) < 2.0**128 and float(np.float32(number)) == number:
        spacing = abs(float(np.spacing(np.float32(number))))
        found = _written(number, np.float32, spacing, _SINGLE_DIGITS, _SINGLE_LARGEST)
    if found is None:
        raise NotAlgebraic(
            f"the constant {number!r} looks irrational, and a field holds fractions; make it an argument of both "
            "functions, or write a decimal of at most 8 digits"
        )
    return found


def _written(number: float, kind: Any, ulp: float, digits: int, largest: int) -> Fraction | None:
    """The short decimal, or the simple fraction, that a number of this type was made of."""
    short = f"{number:.{digits - 1}e}"
    if float(kind(short)) == number:
        return Fraction(short)
    exact, reach = abs(Fraction(number)), _ULPS * Fraction(ulp)
    found = _simplest(exact - reach, exact + reach)
    if found.numerator * found.denominator > largest:
        return None
    return found if number > 0 else -found


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction of least denominator in [low, high], by continued fractions."""
    whole = math.ceil(low)
    if whole <= high:
        return Fraction(whole)
    return whole - 1 + 1 / _simplest(1 / (high - whole + 1), 1 / (low - whole + 1))


# -- the field ---------------------------------------------------------------------------------------


class Radical(NamedTuple):
    """What a root was taken of: the tags and the value of the radicand, and whether that is a square."""

    tags: int
    value: int
    square: bool


class Field:
    """GF(p) for a prime p = 3 mod 4, and what has been computed in it since ``restart``.

    There -1 is no square, so of v and -v exactly one is, and of the two roots of a square exactly one
    is a square itself. Choosing that one makes the root multiplicative, as over the positive reals.
    A value that is no square has no root: it goes on with a root of -v, and is kept in ``failed``.

    Raises: ArgumentError unless p is a prime, 3 mod 4.
    """

    __slots__ = ("_inverses", "_numbers", "_roots", "inputs", "p", "radicals", "single", "undefined")

    def __init__(self, p: int = MERSENNE) -> None:
        if not isinstance(p, int) or p % 4 != 3 or not is_prime(p):
            raise ArgumentError(
                f"prove(field={p!r}): square roots are chosen in a prime field with p = 3 mod 4; give e.g. 2**61 - 1"
            )
        self.p = p
        self._numbers: dict[Any, Element] = {}
        self.single = False  # whether a constant was a float32
        self.undefined = Undefined(self, 0)
        self.restart(0)

    def restart(self, inputs: int) -> None:
        """Forget the roots: from now on the elements are functions of that many inputs."""
        self.inputs = (1 << inputs) - 1  # their bits
        self.radicals: list[Radical] = []
        self._roots: dict[int, tuple[int, int]] = {0: (0, 0)}
        self._inverses: dict[int, int] = {}

    def input(self, number: int, value: int) -> Element:
        """The input of that number, drawn as ``value``."""
        return Element(self, value % self.p, 1, 0, 1 << number)

    def number(self, x: Any) -> Any:
        """A constant as an element; NotImplemented for what is no number."""
        if isinstance(x, Element):
            return x
        try:
            return self._numbers[x]
        except (KeyError, TypeError):  # not yet met, or not hashable: an array
            pass
        if isinstance(x, (bool, np.bool_, int, np.integer)):
            fraction = Fraction(int(x))
        elif isinstance(x, (float, np.floating)):
            fraction = as_fraction(float(x))
            self.single = self.single or not math.isclose(fraction, x, rel_tol=1e-14)
        elif isinstance(x, numbers.Rational):
            fraction = Fraction(x)
        elif isinstance(x, (complex, np.complexfloating)):
            raise NotAlgebraic(f"the constant {x!r} is complex, and a proof is about real numbers; take its real part")
        else:
            return NotImplemented
        if max(abs(fraction.numerator), fraction.denominator) >= self.p:
            raise NotAlgebraic(f"the constant {x!r} does not fit into GF({self.p}); give a larger field=")
        value = fraction.numerator * pow(fraction.denominator, -1, self.p) % self.p
        self._numbers[x] = found = Element(self, value)
        return found

    def array(self, a: Any) -> Array:
        """Numbers, and elements, as an object array of elements; NotAlgebraic for anything else."""
        given = np.asarray(a)
        flat = [self.number(v) for v in given.ravel().tolist()]
        if any(v is NotImplemented for v in flat):
            raise NotAlgebraic(f"an array of {given.dtype} holds things that are no numbers; return numbers")
        # Other ways to fill an object array ask every element whether it is an array itself.
        return np.fromiter(flat, object, len(flat)).reshape(given.shape)

    def root(self, x: Element) -> tuple[int, int]:
        """The root of an element that is a square itself, and the root's own bit among the tags."""
        v, p = x.value, self.p
        known = self._roots.get(v)
        if known is not None:
            return known
        root = pow(v, (p + 1) // 4, p)
        square = root * root % p == v
        if x.tags:
            bit = self.inputs + 1 << len(self.radicals)
            self.radicals.append(Radical(x.tags, v, square))
        elif square:
            bit = 0  # the root of a constant is one
        else:
            raise NotAlgebraic("the root of this constant is irrational in the field; make it an argument")
        # Powers of v have roots that are powers of this one: no new condition.
        for k in (1, 3, -1, -3):
            self._roots.setdefault(pow(v, k, p), (pow(root, k, p), bit))
        return root, bit

    def inverse(self, value: int) -> int:
        """1 / value: a whole column is often divided by the same."""
        found = self._inverses.get(value)
        if found is None:
            found = self._inverses[value] = pow(value, -1, self.p)
        return found

    @property
    def failed(self) -> list[int]:
        """The places of the radicals that are no squares."""
        return [k for k, radical in enumerate(self.radicals) if not radical.square]

    def __repr__(self) -> str:
        return f"GF({self.p})"


def is_prime(n: int) -> bool:
    """Miller and Rabin's test; no composite number below 3e24 passes it."""
    if n < 2 or any(n % q == 0 for q in _BASES):
        return n in _BASES
    odd = (n - 1) // ((n - 1) & (1 - n))
    for base in _BASES:
        power, exponent = pow(base, odd, n), odd
        while power not in (1, n - 1) and exponent * 2 < n - 1:
            power, exponent = power * power % n, exponent * 2
        if power != n - 1 and (power != 1 or exponent != odd):
            return False
    return True


# -- elements ----------------------------------------------------------------------------------------


class Element:
    """An element of a field, as a rational function of the inputs and of square roots of such.

    ``top`` and ``bottom`` bound the degrees of numerator and denominator, a root counting half of its
    radicand's; ``tags`` has one bit for each input, then one for each root that went into it.
    Everything else that a NumPy scalar can do is asked of the 0-d array that holds the element.
    """

    __slots__ = ("bottom", "field", "tags", "top", "value")

    def __init__(self, field: Field, value: int, top: int = 0, bottom: int = 0, tags: int = 0) -> None:
        self.field, self.value, self.top, self.bottom, self.tags = field, value, top, bottom, tags

    def __add__(self, other: Any) -> Any:
        if type(other) is not Element:
            other = self.field.number(other)
            if other is NotImplemented:
                return other
        field, below, above = self.field, other.bottom, self.bottom
        left, right = self.top + below, other.top + above
        return Element(
            field, (self.value + other.value) % field.p, max(left, right), above + below, self.tags | other.tags,
        )  # fmt: skip

    def __sub__(self, other: Any) -> Any:
        if type(other) is not Element:
            other = self.field.number(other)
            if other is NotImplemented:
                return other
        field, below, above = self.field, other.bottom, self.bottom
        left, right = self.top + below, other.top + above
        return Element(
            field, (self.value - other.value) % field.p, max(left, right), above + below, self.tags | other.tags,
        )  # fmt: skip

    def __mul__(self, other: Any) -> Any:
        if type(other) is not Element:
            other = self.field.number(other)
            if other is NotImplemented:
                return other
        field = self.field
        return Element(
            field, self.value * other.value % field.p, self.top + other.top, self.bottom + other.bottom,
            self.tags | other.tags,
        )  # fmt: skip

    def __truediv__(self, other: Any) -> Any:
        if type(other) is not Element:
            other = self.field.number(other)
            if other is NotImplemented:
                return other
        field, divisor = self.field, other.value
        if not divisor:
            return field.undefined
        return Element(
            field, self.value * field.inverse(divisor) % field.p, self.top + other.bottom, self.bottom + other.top,
            self.tags | other.tags,
        )  # fmt: skip

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __rtruediv__(self, other: Any) -> Any:
        return self.reciprocal() * other

    def __neg__(self) -> Element:
        return Element(self.field, -self.value % self.field.p, self.top, self.bottom, self.tags)

    def __pos__(self) -> Element:
        return self

    def __pow__(self, exponent: Any) -> Any:
        if self.field.number(exponent) is NotImplemented:
            return NotImplemented
        twice = _twice(exponent)
        if twice % 2:
            return self.sqrt() ** twice
        k = twice // 2
        if k < 0:
            return self.reciprocal() ** -k
        value = pow(self.value, k, self.field.p)
        return Element(self.field, value, self.top * k, self.bottom * k, self.tags if k else 0)

    def __rpow__(self, base: Any) -> Any:
        raise refusal("a power with a variable exponent")

    def reciprocal(self) -> Element:
        """1 / x; undefined where x is 0."""
        if not self.value:
            return self.field.undefined
        return Element(self.field, self.field.inverse(self.value), self.bottom, self.top, self.tags)

    def sqrt(self) -> Element:
        """The root that is itself a square."""
        root, bit = self.field.root(self)
        # √(A/B) = √(A·B) / B: one root of a polynomial.
        return Element(self.field, root, (self.top + self.bottom + 1) // 2, self.bottom, self.tags | bit)

    def square(self) -> Element:
        """X times x."""
        return self * self  # type: ignore[no-any-return]

    def conjugate(self) -> Element:
        """X itself: it is real."""
        return self

    conj = conjugate

    @property
    def real(self) -> Element:
        """X itself."""
        return self

    @property
    def imag(self) -> Element:
        """Zero."""
        return Element(self.field, 0)

    def __eq__(self, other: object) -> Any:
        found = self.field.number(other)
        return found if found is NotImplemented else self.value == found.value

    def __bool__(self) -> bool:
        return self.value != 0

    def __hash__(self) -> int:
        return hash(self.signed)

    @property
    def signed(self) -> int:
        """The representative of least absolute value."""
        return self.value if 2 * self.value < self.field.p else self.value - self.field.p

    def __copy__(self, memo: Any = None) -> Element:
        return self

    __deepcopy__ = __copy__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def __repr__(self) -> str:
        return f"{self.signed} mod {self.field.p}"


def _twice(exponent: Any) -> int:
    """Two times a half-integer, whatever it is written as."""
    if isinstance(exponent, Element):
        doubled: Element = exponent + exponent
        if doubled.tags or abs(doubled.signed) > LARGEST:
            raise refusal("a power with a variable exponent")
        return doubled.signed
    twice = 2 * (as_fraction(float(exponent)) if isinstance(exponent, (float, np.floating)) else exponent)
    if twice != int(twice):
        raise NotAlgebraic(
            f"the power {exponent!r} is no integer and no half of one; write it with sqrt and integers, or check in float64"
        )
    return int(twice)


class Undefined(Element):
    """What a division by zero leaves: whatever is computed with it is undefined, and it equals nothing."""

    __slots__ = ()

    def _same(self, *_: Any) -> Any:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _same
    __neg__ = __pow__ = reciprocal = sqrt = square = conjugate = _same

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = Element.__hash__

    def __repr__(self) -> str:
        return "undefined"


# -- what a field has no counterpart of ----------------------------------------------------------------

IN_FLOATS = "prove what is algebraic, and compare the rest in float64 with check_backward"


def refusal(what: str, remedy: str = IN_FLOATS) -> NotAlgebraic:
    """The error for an operation that has no exact counterpart in a finite field."""
    return NotAlgebraic(f"{what} has no exact counterpart in a finite field; {remedy}")


def _refuse(names: str, what: str = "{}", remedy: str = IN_FLOATS) -> None:
    for name in names.split():

        def method(self: Element, *_: Any, text: str = what.format(name.strip("_")), **__: Any) -> Any:
            raise refusal(text, remedy)

        setattr(Element, name, method)


# NumPy calls the method of a function's name on every object.
_refuse("""
exp exp2 expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh
cbrt rint hypot fmod deg2rad rad2deg degrees radians fabs""")
_refuse("__abs__", "the absolute value")
_ROUNDING = "__floordiv__ __rfloordiv__ __mod__ __rmod__ __divmod__ __rdivmod__ __round__ __trunc__ __floor__ __ceil__"
_refuse(_ROUNDING, "rounding ({})")
for _name, _sign in {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}.items():
    _refuse(_name, f"the comparison {_sign} (max, min, relu, clip, sort …)")
_CONVERTED = "a conversion to {} (astype, a dtype=, or filling np.zeros(n))"
_INSTEAD = "compute in the dtype of the inputs, and fill np.zeros_like(x) or np.zeros(n, x.dtype)"
_refuse("__float__ __int__ __complex__ __index__", _CONVERTED, _INSTEAD)
CONVERSION = refusal(_CONVERTED.format("float"), _INSTEAD)
