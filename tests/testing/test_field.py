"""Exact arithmetic in GF(p): the laws of a field, roots that multiply, constants as they were written, and NumPy on it."""

import copy
import math
import operator
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tinygraph.errors import ArgumentError, NotAlgebraic, TinygraphError
from tinygraph.testing.field import MERSENNE, Element, Field, Undefined, as_fraction, is_prime

GF = Field()
GF.restart(3)
SMALL = Field(103)
SMALL.restart(3)

elements = st.integers(0, MERSENNE - 1).map(lambda v: GF.input(0, v))
small_elements = st.integers(0, 102).map(lambda v: SMALL.input(0, v))
numbers = st.one_of(
    st.integers(-1000, 1000),
    st.fractions(-9, 9, max_denominator=50),
    st.sampled_from([0.5, -0.25, 1e-5, 1 / 3, 2.0, True]),
)


def array(*shape, seed=0, field=GF):
    rng = np.random.default_rng(seed)
    field.restart(math.prod(shape))
    flat = [field.input(i, int(v)) for i, v in enumerate(rng.integers(1, field.p, math.prod(shape)))]
    return np.fromiter(flat, object, len(flat)).reshape(shape)


def same(a, b):
    a, b = GF.array(a), GF.array(b)
    return a.shape == b.shape and bool((a == b).all())


# -- the field ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [3, 7, 103, 10007, 2**31 - 1, MERSENNE, 2**127 - 1])
def test_fields(p):
    assert Field(p).p == p
    assert repr(Field(p)) == f"GF({p})"


@pytest.mark.parametrize("p", [0, 1, 2, 5, 13, 15, 2**61, 91, 561, 3215031751, -7, 7.0, "7", 4 * 10**6 + 3])
def test_no_field(p):
    with pytest.raises(ArgumentError, match=r"3 mod 4; give e\.g\. 2\*\*61 - 1"):
        Field(p)


def test_primes_are_the_primes():
    sieve = [n for n in range(2, 3000) if all(n % q for q in range(2, math.isqrt(n) + 1))]
    assert [n for n in range(-3, 3000) if is_prime(n)] == sieve


@pytest.mark.parametrize("n", [3215031751, 341550071728321, 3825123056546413051, MERSENNE * (2**31 - 1)])
def test_strong_pseudoprimes_are_no_primes(n):
    assert not is_prime(n)


@given(small_elements, small_elements, small_elements)
def test_laws_of_a_field(a, b, c):
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a - b == a + -b
    assert +a == a
    assert a + 0 == a * 1 == a
    assert a - a == 0
    if b:
        assert a / b * b == a
        assert b * b.reciprocal() == 1
        assert b**-2 == 1 / (b * b)


@given(elements, numbers)
def test_numbers_mix_from_both_sides(a, n):
    e = GF.number(n)
    assert a + n == n + a == a + e
    assert a * n == n * a == a * e
    assert a - n == a - e
    assert n - a == e - a
    if a:
        assert n / a == e / a
    if n:
        assert a / n == a / e
    assert (a == n) == (a == e)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_the_field_holds_the_fractions(n, d):
    f = Fraction(n, d)
    assert GF.number(f) * d == n
    assert GF.number(f) == GF.number(n) / GF.number(d)
    assert hash(GF.number(n)) == hash(n)
    assert GF.number(n).signed == n


@pytest.mark.parametrize(
    "scalar", [np.float64(0.5), np.float32(0.5), np.int64(3), np.uint8(3), np.bool_(True), np.longdouble(0.5)]
)
@pytest.mark.parametrize("op", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_numpys_scalars(scalar, op):
    x = array(3)
    value = Fraction(float(scalar))
    for left, right, a, b in (
        (x[0], scalar, x[0], value),
        (scalar, x[0], value, x[0]),
        (x, scalar, x, value),
        (scalar, x, value, x),
    ):
        assert same(op(left, right), op(GF.array(a), GF.array(b)))


@given(elements, st.integers(-5, 5))
def test_integer_powers(a, k):
    assume(a)
    assert a**k == math.prod([a if k > 0 else 1 / a] * abs(k))
    assert a ** float(k) == a ** np.int64(k) == a ** Fraction(k) == a ** GF.number(k) == a**k


# -- square roots ------------------------------------------------------------------------------------


def is_square(a):
    return a.value == 0 or pow(a.value, (a.field.p - 1) // 2, a.field.p) == 1


@given(elements)
def test_the_root_of_a_square_is_a_square_itself(a):
    GF.restart(3)
    assert ((a * a).sqrt()) ** 2 == a * a
    assert is_square((a * a).sqrt())
    assert (a * a).sqrt() == (a if is_square(a) else -a)
    assert not GF.failed


@given(elements, elements)
def test_roots_multiply_as_over_the_positive_reals(a, b):
    assume(a and b)
    GF.restart(3)
    v, w = a * a, b * b
    assert (v * w).sqrt() == v.sqrt() * w.sqrt()
    assert (v / w).sqrt() == v.sqrt() / w.sqrt()
    assert 1 / v.sqrt() == v**-0.5 == (1 / v).sqrt() == v**-1.5 * v
    assert (v**3).sqrt() == v**1.5 == v * v.sqrt()
    assert np.sqrt(np.sqrt(v**2)) == v.sqrt()
    assert not GF.failed


@given(elements)
def test_what_is_no_square_is_kept(a):
    GF.restart(3)
    root = a.sqrt()
    if is_square(a):
        assert not GF.failed
        assert root * root == a
    else:
        assert GF.failed == [0]
        assert root * root == -a
        assert GF.radicals[0].tags == 1


def test_a_root_is_one_condition_however_often_it_is_taken():
    x = array(2)
    for v in (x[0], 1 / x[0], x[0] ** 3, x[0] ** -3, x[1], x[0]):
        v.sqrt()
    assert len(GF.radicals) == 2
    assert GF.radicals[1].tags == 0b10
    GF.restart(2)
    assert GF.radicals == []


def test_roots_of_constants():
    four, minus_one = GF.number(4), GF.number(-1)
    GF.restart(1)
    assert four.sqrt() in (2, -2)
    assert GF.number(0).sqrt() == 0
    assert GF.radicals == []
    with pytest.raises(NotAlgebraic, match="constant is irrational"):
        minus_one.sqrt()


@pytest.mark.parametrize("exponent", [1 / 3, 0.25, Fraction(1, 4), 0.1])
def test_other_powers(exponent):
    with pytest.raises(NotAlgebraic, match="no integer and no half of one; write it with sqrt"):
        array(1)[0] ** exponent


def test_variable_exponents():
    x = array(2)
    for power in (
        lambda: x[0] ** x[1],
        lambda: x ** x[0],
        lambda: 2.0**x,
        lambda: 2 ** x[0],
        lambda: x ** GF.number(Fraction(1, 7)),
    ):
        with pytest.raises(NotAlgebraic, match="a power with a variable exponent"):
            power()
    assert same(x ** np.array([2.0, 3.0]), [x[0] * x[0], x[1] * x[1] * x[1]])
    assert same(x ** GF.array([2.0, -1.0]), [x[0] * x[0], 1 / x[1]])


# -- constants -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "fraction"),
    [
        (1e-5, Fraction(1, 100000)), (0.1, Fraction(1, 10)), (-0.5, Fraction(-1, 2)), (0.0, 0), (-0.0, 0), (3.0, 3),
        (1e-8, Fraction(1, 10**8)), (10e-7, Fraction(1, 10**6)), (0.999, Fraction(999, 1000)), (1.001, Fraction(1001, 1000)),
        (1 / 3, Fraction(1, 3)), (-1 / 7, Fraction(-1, 7)), (2 / 7, Fraction(2, 7)), (1 / 1024, Fraction(1, 1024)),
        (2.0**-20, Fraction(1, 2**20)), (1e-5 * 3, Fraction(3, 100000)), (0.1 + 0.2, Fraction(3, 10)), (7 / 6, Fraction(7, 6)),
        (0.33333333, Fraction(33333333, 10**8)), (1.0 / 31, Fraction(1, 31)), (123456789.0, 123456789), (1e-20, Fraction(1, 10**20)),
    ],
)  # fmt: skip
def test_a_float_is_the_fraction_that_it_was_written_as(number, fraction):
    assert as_fraction(number) == fraction


@given(st.integers(1, 10**5), st.integers(1, 10**5))
@example(1, 3)
@example(99999, 99998)
def test_every_small_quotient_is_found(n, d):
    assert as_fraction(n / d) == Fraction(n, d) or float(f"{n / d:.7e}") == n / d
    assert as_fraction(-n / d) == -as_fraction(n / d)


@given(st.integers(-99999999, 99999999), st.integers(-12, 4))
def test_every_short_decimal_is_itself(digits, exponent):
    assert as_fraction(float(f"{digits}e{exponent}")) == Fraction(f"{digits}e{exponent}")


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(-3, 3))
def test_a_few_units_in_the_last_place_do_no_harm(n, d, ulps):
    x = n / d
    assume(float(f"{x:.7e}") != x)
    for _ in range(abs(ulps)):
        x = math.nextafter(x, math.inf if ulps > 0 else -math.inf)
    assert as_fraction(x) == Fraction(n, d) or float(f"{x:.7e}") == x


@pytest.mark.parametrize(
    "number",
    [
        np.pi,
        -math.e,
        math.sqrt(2),
        math.sqrt(2 / np.pi),
        0.12573022109339334,
        2.0**61,
        1 / math.sqrt(3),
        1.00000000001e-5,
    ],
)
def test_an_irrational_constant(number):
    with pytest.raises(NotAlgebraic, match=re.escape(repr(number)) + " looks irrational.* decimal of at most 8 digits"):
        as_fraction(number)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_number(number):
    with pytest.raises(NotAlgebraic, match="no number of a field"):
        array(1)[0] * number


def test_constants_that_do_not_fit():
    with pytest.raises(NotAlgebraic, match=r"does not fit into GF\(2305843009213693951\); give a larger field="):
        array(1)[0] * 2**61
    with pytest.raises(NotAlgebraic, match=r"does not fit into GF\(103\)"):
        SMALL.number(1e-5)
    with pytest.raises(NotAlgebraic, match="is complex"):
        array(1)[0] * 1j


@pytest.mark.parametrize("thing", [None, "1", [1], {}, object()])
def test_other_things_are_no_numbers(thing):
    x = array(1)[0]
    assert x != thing
    for op in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
        if not isinstance(thing, list):
            with pytest.raises(TypeError):
                op(x, thing)
    with pytest.raises(NotAlgebraic, match="no numbers"):
        GF.array(np.array([None, "a"], object))


# -- degrees and tags ------------------------------------------------------------------------------------


def bounds(x):
    return x.top, x.bottom, x.tags


def test_bounds():
    x, y, z = array(3)
    assert bounds(x) == (1, 0, 1)
    assert bounds(x + y) == (1, 0, 0b11)
    assert bounds(x * y - z) == (2, 0, 0b111)
    assert bounds(x / y) == (1, 1, 0b11)
    assert bounds(x / y + z) == (2, 1, 0b111)
    assert bounds(x / y + 1 / z) == (2, 2, 0b111)
    assert bounds((x * y) ** 3) == (6, 0, 0b11)
    assert bounds((x / y**2) ** -2) == (4, 2, 0b11)
    assert bounds(2 * x - 0.5) == (1, 0, 1)
    assert bounds(x**0) == (0, 0, 0)
    assert bounds(GF.number(3)) == (0, 0, 0)
    assert bounds((x * x + y).sqrt()) == (1, 0, 0b1011)
    assert bounds((x / y).sqrt()) == (1, 1, 0b10011)
    assert bounds(x.square()) == (2, 0, 1)
    assert bounds(x.imag) == (0, 0, 0)


def expression(rng, x):
    """Something of the kinds that backwards compute."""
    e = x
    for _ in range(rng.integers(1, 6)):
        k = int(rng.integers(5))
        c = int(rng.integers(1, 50))
        e = [
            lambda: e * x + c,
            lambda: e / (x + c),
            lambda: (e + c) ** 2,
            lambda: 1 / (e + x),
            lambda: e - x / (x - c),
        ][k]()
    return e


@pytest.mark.parametrize("seed", range(30))
def test_the_degree_bounds_the_number_of_zeros(seed):
    """Over a small field every zero can be counted: an expression has at most as many as its degree says."""
    field = Field(1019)
    values = []
    for v in range(field.p):
        field.restart(1)
        values.append(expression(np.random.default_rng(seed), field.input(0, v)) - 7)
    defined = [e for e in values if not isinstance(e, Undefined)]
    (top,) = {e.top for e in defined}
    assert len(defined) > field.p / 2
    assert sum(e.value == 0 for e in defined) <= top < field.p / 2


# -- division by zero --------------------------------------------------------------------------------------


def test_undefined():
    x = array(2)
    u = x[0] / 0
    assert isinstance(u, Undefined)
    for v in (x[0] / (x[1] - x[1]), 1 / (x[0] - x[0]), (x[0] - x[0]) ** -1, u + 1, 1 + u, x[0] - u, u * x[1], x[1] / u, u**2,
              u.sqrt(), -u, 3 / u, 2 - u, u - 2, u.square(), u.reciprocal(), x[0] * u, x[0] + u):  # fmt: skip
        assert v is u
    assert u != u
    assert not bool(u == 0)
    assert repr(u) == "undefined"
    assert {u}
    strong = np.where(x * 0 == 0, 0, x / 0)
    assert same(strong, [0, 0])


# -- NumPy on object arrays ------------------------------------------------------------------------------------

X = array(4, 3)
EXACT = {
    "square": lambda x: (np.square(x), x * x),
    "power": lambda x: (np.power(x, 3), x * x * x),
    "reciprocal": lambda x: (np.reciprocal(x), 1 / x),
    "negative": lambda x: (np.negative(x), 0 - x),
    "mean": lambda x: (np.mean(x, axis=0), x.sum(axis=0) / 4),
    "mean of all": lambda x: (x.mean(), x.sum() / 12),
    "mean, keepdims": lambda x: (x.mean(axis=1, keepdims=True), (x @ np.ones((3, 1))) / 3),
    "var": lambda x: (np.var(x, axis=0), ((x - x.mean(0)) ** 2).sum(0) / 4),
    "var of all": lambda x: (x.var(), (x * x).mean() - x.mean() ** 2),
    "unbiased var": lambda x: (x.var(axis=0, ddof=1), ((x - x.mean(0)) ** 2).sum(0) / 3),
    "average": lambda x: (np.average(x, axis=0, weights=[0.5, 0.25, 0.25, 0.0]), x[0] / 2 + x[1] / 4 + x[2] / 4),
    "dot": lambda x: (np.dot(x.T, x), (x[:, :, None] * x[:, None, :]).sum(0)),
    "matmul": lambda x: (x.T @ x, np.dot(x.T, x)),
    "matmul of floats": lambda x: (np.eye(4) @ x, x),
    "stacked matmul": lambda x: (x.reshape(2, 2, 3) @ x[:3], np.stack([x[:2] @ x[:3], x[2:] @ x[:3]])),
    "einsum": lambda x: (np.einsum("ij,kj->ik", x, x), x @ x.T),
    "einsum of three": lambda x: (np.einsum("ij,ij,ij->j", x, x, x, optimize=True), (x**3).sum(0)),
    "outer": lambda x: (np.outer(x[0], x[1]), x[0][:, None] * x[1]),
    "tensordot": lambda x: (np.tensordot(x, x, ([0], [0])), x.T @ x),
    "cumsum": lambda x: (np.cumsum(x, axis=0)[-1], x.sum(0)),
    "prod": lambda x: (x.prod(axis=0), x[0] * x[1] * x[2] * x[3]),
    "ones_like": lambda x: (np.ones_like(x) / 4 * x, x / 4),
    "ones": lambda x: (np.ones(x.shape) / 7 * x, x / 7),
    "zeros_like": lambda x: (np.zeros_like(x) + x, x),
    "filled": lambda x: (_filled(x), 2 * x),
    "fancy": lambda x: (x[[1, 0], [2, 2]], np.stack([x[1, 2], x[0, 2]])),
    "mask": lambda x: (x * (np.arange(3) > 0), np.concatenate([0 * x[:, :1], x[:, 1:]], axis=1)),
    "where": lambda x: (np.where(x == x[0], x, 0)[0], x[0]),
    "transposes": lambda x: (x.T.swapaxes(0, 1).reshape(-1), x.ravel()),
    "in place": lambda x: (_in_place(x), x * x + 1),
    "add.at": lambda x: (_add_at(x), 2 * x),
    "conjugate": lambda x: (np.conj(x).real + x.imag, x),
    "norm": lambda x: (np.linalg.norm(x, axis=1) ** 4, (x * x).sum(1) ** 2),
    "norm of all": lambda x: (np.linalg.norm(x) ** 4, (x * x).sum() ** 2),
    "std": lambda x: (x.std(axis=0) ** 4, x.var(axis=0) ** 2),
    "std of all": lambda x: (x.std() ** 4, x.var() ** 2),
    "sqrt": lambda x: (np.sqrt(x * x) ** 2, x * x),
    "deepcopy": lambda x: (copy.deepcopy(x), x),
    "copy": lambda x: (copy.copy(x[0, 0]), x[0, 0]),
    "scalar methods": lambda x: (x.sum().reshape(1, 1).sum() + x.sum().mean() + x.sum().T, 3 * x.sum()),
    "scalar attributes": lambda x: (np.ones(x.sum().shape) * x.sum().size * x.sum().item(), x.sum()),
    "numbers of a batch": lambda x: (np.sum(x, axis=0, keepdims=True) * (1.0 / x.shape[0]), x.mean(0, keepdims=True)),
    "pad": lambda x: (np.pad(x, 1)[1:-1, 1:-1], x),
    "diag": lambda x: (np.diag(x[0]) @ x[1], x[0] * x[1]),
}  # fmt: skip


def _filled(x):
    out = np.zeros_like(x)
    for i in range(len(x)):
        out[i] = 2 * x[i]
    return out


def _in_place(x):
    y = x.copy()
    y *= x
    y += 1
    return y


def _add_at(x):
    y = x.copy()
    np.add.at(y, (slice(None),), x)
    return y


@pytest.mark.parametrize("name", EXACT)
def test_numpy_computes_with_elements(name):
    found, due = EXACT[name](array(4, 3))
    assert same(found, due)
    assert not same(found, due + 1)  # and is able to find a difference


FUNCTIONS = "exp expm1 exp2 log log2 log10 log1p sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh cbrt rint"
REFUSED = {name: (name, lambda x, f=getattr(np, name): f(x)) for name in FUNCTIONS.split()} | {
    "hypot": ("hypot", lambda x: np.hypot(x, x)),
    "arctan2": ("arctan2", lambda x: np.arctan2(x, x)),
    "abs": ("absolute value", np.abs),
    "maximum": ("comparison", lambda x: np.maximum(x, 0)),
    "minimum": ("comparison", lambda x: np.minimum(x, 0)),
    "max": ("comparison", lambda x: x.max(axis=0)),
    "clip": ("comparison", lambda x: np.clip(x, 0, 1)),
    "sign": ("comparison <", np.sign),
    "sort": ("comparison <", np.sort),
    "argmax": ("comparison", np.argmax),
    "greater": ("comparison >", lambda x: np.where(x > 0, x, 0)),
    "less or equal": ("comparison <=", lambda x: x <= 0),
    "mod": ("rounding", lambda x: x % 2),
    "floor division": ("rounding", lambda x: x // 2),
    "floor": ("rounding", np.floor),
    "round": ("rounding", lambda x: round(x[0, 0])),
    "astype": ("conversion to float", lambda x: x.astype(np.float32)),
    "dtype": ("conversion to float", lambda x: x.sum(axis=0, dtype=np.float64)),
    "fill": ("np.zeros_like", lambda x: np.zeros(3).__setitem__(0, x[0, 0])),
    "fill all": ("np.zeros_like", lambda x: np.zeros((4, 3)).__setitem__(..., x)),
    "float": ("conversion to float", lambda x: float(x[0, 0])),
    "int": ("conversion to int", lambda x: int(x[0, 0])),
    "complex": ("conversion to complex", lambda x: complex(x[0, 0])),
    "index": ("conversion to index", lambda x: [1, 2][x[0, 0]]),
    "math.sqrt": ("conversion to float", lambda x: math.sqrt(x[0, 0])),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_algebraic_is_named(name):
    named, function = REFUSED[name]
    with pytest.raises(NotAlgebraic) as caught:
        function(array(4, 3))
    assert str(caught.value).startswith(
        f"{named} has no exact" if name in FUNCTIONS.split() else ("the ", "rounding", "a conv", named)
    )
    assert named in str(caught.value)
    assert "; " in str(caught.value)  # how to mend it
    assert isinstance(caught.value, TinygraphError)
    assert isinstance(caught.value, TypeError)


def test_elements_are_small_and_hold_still():
    x = array(1)[0]
    assert not hasattr(x, "__dict__")
    assert repr(GF.number(-3)) == f"-3 mod {MERSENNE}"
    assert isinstance(x, Element)
    assert bool(x)
    assert not bool(x - x)
    assert x.dtype == object
    with pytest.raises(AttributeError):
        x.__array_interface__
    with pytest.raises(AttributeError):
        x.no_such_thing
