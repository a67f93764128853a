"""The same kernel line runs in every array namespace: NumPy, array_api_strict, jax.numpy."""

import numpy as np
import pytest
from support.calls import CALLS, parametrize

import tinygraph as tg
from tinygraph.testing.laws import gradient_of

# Draws come from NumPy's generators.
PORTABLE = [c for c in CALLS if not c.op.name.startswith("random")]
FIRST = list({c.op.name: c for c in reversed(PORTABLE)}.values())  # of each op; tests/lower has all of them on JAX
TOLERANCE = {np.float64: 1e-13, np.float32: 2e-5}
# What a namespace does not have, and why. Each entry must fail, so that the table stays true.
FULL = "the standard wants an index array for every axis"
MIXED = "the standard does not mix index arrays with slices"
NO_PLACES = "the standard has no assignment, and no add.at, to index arrays"
STRICT = {
    "einsum": "the standard has no einsum",
    "getitem-7": FULL,
    **dict.fromkeys(("getitem-4", "getitem-8", "getitem-9"), MIXED),
    **{f"{op}-{k}": NO_PLACES for op, ks in (("add_at", range(4, 10)), ("set_at", range(4, 8))) for k in ks},
    **dict.fromkeys(("add_at-2", "add_at-10", "set_at-2", "set_at-8"), "the standard does not assign to a new axis"),
}


def check(xp, call, exceptions, dtype=np.float64):
    reason = exceptions.get(str(call)) or exceptions.get(call.op.name)
    problem = call.draw(4, dtype)
    operands = [xp.asarray(x) if isinstance(x, np.ndarray) else x for x in problem.operands]
    expected = np.asarray(problem.op.kernel(np, *problem.operands, **problem.params))
    if reason:
        with pytest.raises((AttributeError, IndexError, TypeError)):
            problem.op.kernel(xp, *operands, **problem.params)
        pytest.skip(reason)
    found = np.asarray(problem.op.kernel(xp, *operands, **problem.params))
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / 10)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: d.__name__)
@parametrize(PORTABLE)
def test_array_api_strict(call, dtype):
    check(pytest.importorskip("array_api_strict"), call, STRICT, dtype)


@pytest.fixture
def jax_numpy():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax.numpy
    jax.config.update("jax_enable_x64", before)


@parametrize(FIRST)
def test_jax(call, jax_numpy):
    check(jax_numpy, call, {})


@parametrize([c for c in CALLS if c.op.name in ("getitem", "add_at", "set_at")])
def test_the_backward_of_indexing_runs_on_jax(call, jax_numpy):
    problem = call.draw(5)
    backward = tg.trace(gradient_of(problem.fn), *problem.arrays, problem.cotangent())
    arrays = [*problem.arrays, problem.cotangent()]
    found = backward.run(jax_numpy, *map(jax_numpy.asarray, arrays))
    for f, e in zip(found, backward.run(np, *arrays), strict=True):
        assert isinstance(f, jax_numpy.ndarray)
        np.testing.assert_array_equal(np.asarray(f), e)
