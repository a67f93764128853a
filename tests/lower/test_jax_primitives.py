"""Every primitive on JAX: equal to NumPy in value, shape and dtype, or refused with a reason."""

import numpy as np
import pytest
from support.calls import CALLS

import tinygraph as tg
from tinygraph.core.primitive import apply
from tinygraph.errors import DTypeError, TinygraphError

jax = pytest.importorskip("jax")
backend = pytest.importorskip("tinygraph.lower.jax")

FLOATS = np.float64, np.float32, np.float16
OTHERS = np.int64, np.int32, np.int8, np.uint8, np.bool_
QUICK = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # later versions have no such option
    QUICK["xla_cpu_use_fusion_emitters"] = False
TOLERANCE = {"d": 1e-12, "f": 2e-5, "e": 4e-3}
# Ops of the registry that JAX refuses: (op, dtype), and what it says.
REFUSED = {
    ("round", np.bool_): "round: ",
    ("add_at", np.bool_): "add does not accept dtype bool",
    ("argmax", np.complex128): "does not order complex numbers",
    ("argmin", np.complex128): "does not order complex numbers",
}


def case_of(call, dtype):
    """A function of arrays, the arrays, and what NumPy makes of them; None where NumPy refuses them."""
    try:
        case = call.draw(4, dtype)
        arrays = [x for x in case.operands if isinstance(x, np.ndarray)]

        def fn(*given):
            rest = iter(given)
            operands = [next(rest) if isinstance(x, np.ndarray) else x for x in case.operands]
            return apply(case.op, tuple(operands), case.params)

        with np.errstate(all="ignore"):
            return fn, arrays, fn(*arrays)
    except (TinygraphError, ValueError, OverflowError):
        return None


def cases(*dtypes, calls=CALLS):
    drawn = [(call, dtype, case_of(call, dtype)) for dtype in dtypes for call in calls]
    return [(call, dtype, *found) for call, dtype, found in drawn if found]


def graph_of(fn, arrays):
    with np.errstate(all="ignore"):
        return tg.trace(fn, *arrays)


def lowered(fn, arrays):
    return backend.build(graph_of(fn, arrays))


def first_of_each():
    seen = {}
    for call in CALLS:
        seen.setdefault(call.op.name, call)
    return list(seen.values())


@pytest.mark.parametrize("dtype", [*FLOATS, *OTHERS, np.complex128], ids=lambda d: d.__name__)
def test_shape_and_dtype_of_every_primitive_are_numpys(dtype):
    refused, reasons = set(), []
    for call, _, fn, arrays, _ in cases(dtype):
        try:
            lowered(fn, arrays)  # which compares them
        except DTypeError as error:
            refused.add((call.op.name, dtype))
            reasons.append((REFUSED.get((call.op.name, dtype), f"nothing of {call}"), str(error)))
    assert [reason in text for reason, text in reasons] == [True] * len(reasons), reasons
    assert refused == {key for key in REFUSED if key[1] is dtype}


def all_of(chosen):
    """One program that computes them all."""
    counts = [len(arrays) for _, _, _, arrays, _ in chosen]

    def fn(*given):
        rest = iter(given)
        return [f(*(next(rest) for _ in range(n))) for (_, _, f, _, _), n in zip(chosen, counts, strict=True)]

    return fn, [a for _, _, _, arrays, _ in chosen for a in arrays]


@pytest.fixture(scope="module")
def program():
    """Every call in float64, and the first of each op in the other dtypes; compiled without XLA's optimisations."""
    chosen = cases(np.float64) + cases(np.float32, np.int8, np.bool_, calls=first_of_each())
    chosen = [c for c in chosen if (c[0].op.name, c[1]) not in REFUSED]
    fn, arrays = all_of(chosen)
    made = lowered(fn, arrays)
    made._compiled[(None,) * len(arrays)] = jax.jit(made._function, compiler_options=QUICK)
    return chosen, arrays, made


@pytest.mark.parametrize("setting", ["off", "on", "off in a context", "on in a context"])
def test_every_primitive_has_numpys_values(program, setting):
    chosen, arrays, made = program
    before = jax.config.jax_enable_x64
    wanted = setting.startswith("on")
    try:
        if setting.endswith("context"):
            with jax.enable_x64(wanted):
                found = made(*arrays)
        else:
            jax.config.update("jax_enable_x64", wanted)
            found = made(*arrays)
            assert jax.config.jax_enable_x64 is wanted  # the user's setting stays
    finally:
        jax.config.update("jax_enable_x64", before)
    for (call, dtype, _, _, expected), got in zip(chosen, found, strict=True):
        got, expected = np.asarray(got), expected.numpy()
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype), (call, dtype)
        near = TOLERANCE.get(expected.dtype.char, 0)
        np.testing.assert_allclose(got, expected, rtol=near, atol=near, err_msg=f"{call} {dtype.__name__}")
