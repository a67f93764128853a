"""Floats keep their dtype through every op, a gradient has its leaf's, and Python numbers never promote."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from support import examples, seeds
from support.calls import REGISTRY, RULED, SMOOTH, parametrize

import tinygraph as tg
from tinygraph.testing import laws
from tinygraph.testing.laws import FLOATS, close, directional
from tinygraph.testing.oracles.derivatives import contract, jacobian

BINARY = [n for n, op in REGISTRY.items() if op.kind == "elementwise" and op.arity == 2]
NUMERIC = [n for n in BINARY if any(REGISTRY[n].vjps)]


@parametrize(SMOOTH)
def test_a_float_keeps_its_dtype(call):
    laws.typed(call.draw(3))


# The constant says how many roundings of its mass an element may be off: a rule has fewer than 16,
# and a factor 1 + x of a well-conditioned rule may double a rounding of x.
@parametrize(RULED)
@pytest.mark.parametrize("dtype", FLOATS[:2], ids=lambda d: d.__name__)
@given(seed=seeds)
@examples(2)
def test_low_precision_gradients_are_accurate(call, dtype, seed):
    problem = call.draw(seed, dtype)
    g = problem.cotangent()
    _, pullback = tg.vjp(problem.fn, *problem.arrays)
    exact = [x.astype(np.float64) for x in problem.arrays]
    if not problem.op.domain.analytic:
        return
    columns = jacobian(lambda v: directional(problem, exact, v), exact)
    expected, mass = contract(g.astype(np.float64), columns, [x.shape for x in exact])
    for got, e, m in zip(pullback(g), expected, mass, strict=True):
        close(got.numpy().astype(np.float64), e, m + np.max(m, initial=0), 32 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.__name__)
@pytest.mark.parametrize("number", [0.5, 2])
def test_a_python_number_never_promotes(name, dtype, number):
    x = tg.tensor(np.array([0.6, 0.7]), dtype=dtype, requires_grad=True)
    fn = getattr(tg, name)
    for y in (fn(x, number), fn(number, x)):
        assert y.dtype == dtype
        (g,) = tg.gradients(y, [x], np.ones(2, dtype), create_graph=True)
        assert g.dtype == dtype
        if g.requires_grad:
            assert tg.gradients(g, [x], np.ones(2, dtype))[0].dtype == dtype


@pytest.mark.parametrize("name", NUMERIC)
def test_mixed_dtypes_promote_as_numpy_has_it(name):
    for pair in itertools.permutations([*FLOATS, np.int64, np.int8], 2):
        arrays = [np.array([2, 1], dtype) for dtype in pair]
        leaves = [tg.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        y = getattr(tg, name)(*leaves)
        expected = REGISTRY[name].kernel(np, *arrays)
        assert y.dtype == expected.dtype, pair
        np.testing.assert_array_equal(y.numpy(), expected)
        floats = [x for x in leaves if x.requires_grad]
        if floats:
            found = tg.gradients(y, floats, np.array([0.5, -1]))
            assert [g.dtype for g in found] == [x.dtype for x in floats]


@pytest.mark.parametrize("narrow", FLOATS[:2], ids=lambda d: d.__name__)
def test_a_cast_casts_its_cotangent_back(narrow, rng):
    x = tg.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    y = x.astype(narrow)
    np.testing.assert_array_equal(y.numpy(), x.numpy().astype(narrow))
    g = rng.normal(size=(2, 3)).astype(narrow)
    y.backward(g)
    np.testing.assert_array_equal(x.grad.numpy(), g.astype(np.float64))
    back = tg.tensor(g, requires_grad=True)
    back.astype(np.float64).backward(x.numpy())
    np.testing.assert_array_equal(back.grad.numpy(), x.numpy().astype(narrow))
