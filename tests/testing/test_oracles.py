"""The oracles: NumPy in decimals is NumPy, and every derived gradient is what differences in decimals give."""

import math
import warnings
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.calls import CALLS, RULED, SMOOTH, parametrize

import tinygraph as tg
from tinygraph.testing.laws import gradient_of
from tinygraph.testing.oracles import complex_numpy, decimal_numpy
from tinygraph.testing.oracles.derivatives import (
    central_differences,
    complex_step,
    richardson,
    run_in_decimals,
    taylor_rate,
)

D = decimal_numpy
SPECIAL = [0.0, -0.0, 1.5, -2.0, 7.0, 1e-30, -1e30, np.inf, -np.inf, np.nan]


def floats(a):
    return np.asarray(a).astype(np.float64)


# -- decimals ----------------------------------------------------------------------------------------


@parametrize([c for c in CALLS if not c.op.name.startswith("random")])
def test_every_kernel_runs_in_decimals(call):
    for seed in (1, 2):
        case = call.draw(seed)
        found = case.op.kernel(D, *map(D.asarray, case.operands), **case.params)
        expected = np.asarray(case.op.kernel(np, *case.operands, **case.params))
        assert np.shape(found) == expected.shape
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(found, expected)
            continue
        assert all(isinstance(v, Decimal) for v in np.ravel(found))
        assert np.all(np.abs(floats(found) - expected) <= 1e-13 * np.maximum(np.abs(expected), 1))


@parametrize(SMOOTH)
def test_a_derived_gradient_is_that_of_differences_in_decimals(call):
    """Element by element, to 45 digits: any rule that is off by more than its constants' digits shows."""
    case = call.draw(3)
    xs, g = case.arrays, case.cotangent()
    derived = run_in_decimals(tg.trace(gradient_of(case.fn), *xs, g), *xs, g)
    graph = case.trace()
    for k, (x, found) in enumerate(zip(xs, derived, strict=True)):
        for place in list(np.ndindex(*x.shape))[:6]:
            v = [np.zeros(a.shape) for a in xs]
            v[k][place] = 1
            (column,) = central_differences(graph, xs, v)
            difference = np.sum(D.asarray(g) * column) - found[place]
            assert abs(Decimal(difference[()])) < Decimal("1e-45"), (place, difference)


# What Decimals know that floats do not: names of ufuncs, with where to try them.
ELEMENTWISE = {
    "exp": (-700, 700), "expm1": (-50, 700), "log": (1e-300, 1e300), "log1p": (-0.99, 1e300), "sqrt": (0, 1e300),
    "sin": (-1e9, 1e9), "cos": (-1e9, 1e9), "tan": (-1e5, 1e5), "arcsin": (-1, 1), "arccos": (-1, 1),
    "arctan": (-1e9, 1e9), "sinh": (-700, 700), "cosh": (-700, 700), "tanh": (-1e3, 1e3), "floor": (-1e9, 1e9),
    "ceil": (-1e9, 1e9), "trunc": (-1e9, 1e9), "rint": (-1e9, 1e9), "sign": (-2, 2), "absolute": (-2, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTWISE)
@given(data=st.data())
@examples(60)
def test_functions_are_numpys_to_the_last_bit_or_two(name, data):
    low, high = ELEMENTWISE[name]
    x = data.draw(
        st.floats(low, high) | st.floats(max(low, -1e-8), min(high, 1e-8)) if low < 0 else st.floats(low, high)
    )
    exact, expected = getattr(D, name)(D.asarray(x)), getattr(np, name)(x)
    assert float(exact) == pytest.approx(float(expected), rel=1e-15 if name != "tan" else 1e-14, abs=1e-320)


@pytest.mark.parametrize("name", [*ELEMENTWISE, "isnan", "isinf", "isfinite"])
def test_special_values_of_functions(name):
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(np.array(SPECIAL))
    found = getattr(D, name)(D.asarray(SPECIAL))
    for x, f, e in zip(SPECIAL, np.ravel(found), expected, strict=True):
        if abs(x) == 1e30 and not math.isfinite(e):
            continue  # exponents do not overflow here
        np.testing.assert_allclose(float(f), float(e), rtol=1e-15, err_msg=f"{name}({x})")


BINARY = ["add", "subtract", "multiply", "true_divide", "power", "maximum", "minimum", "remainder", "floor_divide"]
COMPARISONS = ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"]


@pytest.mark.parametrize("name", [*BINARY, *COMPARISONS])
def test_special_values_of_operations(name):
    x, y = (np.array([[v] for v in SPECIAL]), np.array(SPECIAL))
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
    found = getattr(D, name)(D.asarray(x), D.asarray(y))
    for place in np.ndindex(*expected.shape):
        a, b = SPECIAL[place[0]], SPECIAL[place[1]]
        if name == "power" and (abs(b) == 1e30 or math.isinf(b) or (a == 0 and math.copysign(1, a) < 0)):
            continue  # 1.5**1e30 is no float, and of the sign of 0 nothing is promised
        if name == "floor_divide" and b == 1e-30:
            continue  # not a float's 1e30
        if name == "true_divide" and b == 0:
            assert math.isinf(found[place]) == math.isinf(expected[place])
            continue
        np.testing.assert_allclose(
            float(found[place]), float(expected[place]), rtol=1e-13, atol=1e-45, err_msg=f"{a}, {b}"
        )


def test_a_power_is_real():
    x = D.asarray([2.0, 0.0, -8.0, -2.0, 1.0])
    y = D.asarray([-1.5, 0.0, 0.5, 3.0, np.nan])
    np.testing.assert_allclose(floats(x**y), [2**-1.5, 1, np.nan, -8, 1])


def test_results_have_fifty_digits():
    one = D.asarray(1.0)
    assert str(D.exp(one)) == "2.7182818284590452353602874713526624977572470937000"
    assert str(4 * D.arctan(one)) == "3.1415926535897932384626433832795028841971693993751"
    with D.precision(20):
        assert str(D.exp(one)) == "2.7182818284590452354"
    assert abs(D.expm1(D.log1p(D.asarray(1e-40))) - 1e-40) < 1e-89


@pytest.mark.parametrize("x", [22.0, -355.0, 1e-9, 0.75, 1e22, -1e-40])
def test_identities(x):
    """And what is left of an argument after many turns is exact."""
    x = D.asarray(x)
    sin, cos, small = D.sin(x), D.cos(x), D.arctan(x)
    assert abs(sin * sin + cos * cos - 1) < 1e-49
    assert abs(D.tan(x) * cos - sin) <= 1e-48 * abs(sin)
    assert abs(D.tan(small) - x) <= 1e-27 * abs(x)
    assert abs(D.sin(D.arcsin(sin)) - sin) < 1e-49
    assert abs(D.cos(D.arccos(cos)) - cos) < 1e-49
    for name in ("sin", "cos", "tan", "arctan", "log1p"):
        with D.precision(100):
            longer = getattr(D, name)(abs(x))
        assert abs(getattr(D, name)(abs(x)) - longer) <= 1e-49 * abs(longer), name


@pytest.mark.parametrize("x", [1e-30, 0.3, -2.5, 40.0, -152.0])
def test_hyperbolic_identities(x):
    x = D.asarray(x)
    sinh, cosh = D.sinh(x), D.cosh(x)
    assert abs(sinh + cosh - D.exp(x)) <= 1e-49 * cosh
    assert abs(sinh - D.tanh(x) * cosh) <= 1e-48 * abs(sinh)
    assert abs(2 * sinh * cosh - D.sinh(2 * x)) <= 1e-48 * abs(D.sinh(2 * x))


def test_the_context_is_local():
    """A user's own decimal context neither matters nor changes."""
    import decimal

    with decimal.localcontext(prec=3) as own:
        before = own.flags.copy()
        third = D.asarray(1.0) / 3
        assert str(third) == "0." + "3" * 50
        assert str(D.asarray(1.0) / 0) == "Infinity"
        assert own.prec == 3
        assert {k: v for k, v in own.flags.items() if v} == {k: v for k, v in before.items() if v}


def test_arrays_stay_arrays_of_decimals():
    x = D.asarray([[1.0, 2.0], [3.0, 4.5]])
    for found in (
        x + 0.1, 2 - x, x @ x, x.sum(), x.mean(), x[0, 0, ...], x.T, -x, x**2, 1.0 / x, np.exp(x), np.sum(x, axis=0),
        np.mean(x, axis=(0, 1)), np.maximum(x, 2), D.concat([x, x]), D.stack([x, x]),
        D.zeros_like(x), D.full((2,), 3.0, dtype=object), D.broadcast_to(x, (3, 2, 2)), D.where(x > 2, x, 1.5),
        D.einsum("ij,ij->", x, x), D.cumulative_sum(x, axis=0) if hasattr(np, "cumulative_sum") else x,
    ):  # fmt: skip
        assert all(isinstance(v, Decimal) for v in np.ravel(found)), found
    assert isinstance(x.sum(), D.Decimals)
    assert x.sum().shape == ()
    assert (x > 2).dtype == bool
    assert D.argmax(x) == 3
    assert D.argmax(D.asarray([1.0, np.nan, 3.0])) == 1
    assert D.argmin(x, axis=1).tolist() == [0, 0]
    assert D.asarray([0.5])[0] == Decimal("0.5")
    x[0] = 0.5
    assert all(isinstance(v, Decimal) for v in np.ravel(x))
    x += 0.25
    assert floats(x).tolist() == [[0.75, 0.75], [3.25, 4.75]]


def test_casts():
    x = D.asarray([1.5, -2.5])
    assert D.asarray(x) is x
    assert D.asarray(x, copy=True) is not x
    assert D.astype(x, np.float32) is x
    assert D.astype(x, np.int64).tolist() == [1, -2]
    assert x.astype(np.float64).dtype == np.float64
    assert D.asarray([1, 2]).dtype == np.int64
    assert isinstance(D.asarray([1, 2], dtype=np.float64), D.Decimals)
    assert D.asarray(np.array([True])).dtype == bool


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_conversion_is_exact(dtype):
    x = dtype(1) / dtype(3)
    converted = D.number(x)
    assert Decimal(x.as_integer_ratio()[0]) == converted * x.as_integer_ratio()[1] if dtype != np.longdouble else True
    assert dtype(str(converted)) == x if dtype != np.float16 else float(converted) == float(x)
    assert D.number(dtype("nan")).is_nan()
    assert D.number(dtype("-inf")) == Decimal("-Infinity")


def test_a_graph_of_another_dtype_runs_in_decimals():
    """Casts between floats are dropped, constants converted, and ``each`` sees every result."""
    x = np.float32([[0.1, 0.7, -0.3], [0.2, 0.5, 1.1]])
    graph = tg.trace(lambda x: tg.sum((x * 0.1).astype(np.float64) + tg.std(x, axis=0)), x)
    seen = []
    (found,) = run_in_decimals(graph, x, each=lambda t, operands, value: seen.append(type(value)) or value)
    assert set(seen[:-1]) == {D.Decimals, np.ndarray}  # what counts elements is an integer
    assert seen[-1] is D.Decimals
    (expected,) = graph.run(np, x.astype(np.float64))
    assert float(found) == pytest.approx(float(expected), rel=1e-14)


# -- complex step --------------------------------------------------------------------------------------


@parametrize([c for c in SMOOTH if c.op.domain.analytic])
def test_complex_step_is_differences_in_decimals(call):
    case = call.draw(5)
    vs = case.directions(case.arrays)
    (stepped,), (exact,) = (how(case.trace(), case.arrays, vs) for how in (complex_step, central_differences))
    np.testing.assert_allclose(stepped, floats(exact), rtol=1e-12, atol=1e-12)


@parametrize([c for c in RULED if c.op.name in ("remainder", "floor_divide")])
def test_what_only_jumps_is_analytic_between_the_jumps(call):
    case = call.draw(5)
    vs = case.directions(case.arrays)
    (stepped,), (exact,) = (how(case.trace(), case.arrays, vs) for how in (complex_step, central_differences))
    np.testing.assert_allclose(stepped, floats(exact), rtol=1e-12, atol=1e-12)


def test_complex_selections_look_at_the_real_part():
    x, y = np.array([1 + 9j, 2 - 1j, np.nan]), np.array([2 + 0j, 1 + 5j, 0])
    np.testing.assert_array_equal(complex_numpy.maximum(x, y), [2, 2 - 1j, np.nan])
    np.testing.assert_array_equal(complex_numpy.minimum(y, x), [1 + 9j, 1 + 5j, np.nan])
    assert complex_numpy.max(x[:2]) == 2 - 1j
    assert complex_numpy.abs(np.array(-3 + 1j)) == 3 - 1j
    assert complex_numpy.argmax(x[:2]) == 1


@pytest.mark.parametrize("scale", [1e-150, 1e-15, 1.0, 1e15, 1e100])
def test_the_step_goes_with_the_scale(scale):
    x = np.array([1.0, 2.0, 4.0]) * scale
    graph = tg.trace(lambda x: tg.sum(x * tg.log(x / scale)), x)
    (found,) = complex_step(graph, [x], [np.ones(3)])
    assert found == pytest.approx(np.sum(np.log([1.0, 2.0, 4.0])) + 3, rel=1e-14)


# -- Taylor ---------------------------------------------------------------------------------------------

CURVES = {
    "sine": (math.sin, math.cos),
    "steep": (lambda t: math.exp(5 * t), lambda t: 5 * math.exp(5 * t)),
    "offset": (lambda t: 1e6 + t * t + t, lambda t: 1 + 2 * t),
    "small": (lambda t: 1e-9 * math.cosh(t), lambda t: 1e-9 * math.sinh(t)),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("at", [0.3, 2.0])
def test_taylor_tells_a_slope_from_a_wrong_one(name, at):
    curve, slope = CURVES[name]
    size = max(abs(slope(at)), 1e-9)
    assert taylor_rate(lambda t: curve(at + t), slope(at)) > 1.9
    for wrong in (slope(at) + 0.01 * size, -slope(at) if slope(at) else 1.0, 0.0):
        assert taylor_rate(lambda t, wrong=wrong: curve(at + t), wrong) < 1.5


def test_taylor_of_a_line():
    assert taylor_rate(lambda t: 3 * t + 1, 3.0) == math.inf
    assert taylor_rate(lambda t: 3 * t + 1, 2.99) < 1.1


def test_richardson_needs_no_graph():
    (found,) = richardson(lambda x: [x**3], [np.array(2.0)], [np.array(1.0)])
    assert float(found) == pytest.approx(12, rel=1e-10)


def test_no_warning_leaves_a_run_in_decimals():
    graph = tg.trace(lambda x: tg.log(x) / x, np.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = run_in_decimals(graph, np.zeros(2))
    assert floats(found).tolist() == [-np.inf, -np.inf]
