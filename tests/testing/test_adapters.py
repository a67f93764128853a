"""Real kernels of JAX and Numba, right and wrong, through their adapters; and all adapters in every layout."""

import subprocess
import sys

import numpy as np
import pytest
from support.backwards.batch_norm import reference
from support.backwards.foreign import (
    EPS,
    LAYOUTS,
    agrees,
    derived,
    jax_batch_norm,
    numba_kernels,
    problem,
    says,
    torch_batch_norm,
    torch_formula,
)

from tinygraph.errors import ArgumentError, DTypeError, MissingExtra, NotAlgebraic
from tinygraph.testing import check_backward
from tinygraph.testing.adapters import from_jax, from_numba, from_torch

# -- JAX ---------------------------------------------------------------------------------------------


def test_a_custom_vjp_of_jax():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    agrees(jax_batch_norm())
    agrees(jax_batch_norm(), 1e-4, np.float32)
    dy, *arrays = problem()
    assert check_backward(reference, jax_batch_norm(), *arrays, dy=dy)
    assert jax.config.jax_enable_x64 == before
    assert jax.numpy.ones(2).dtype == (np.float64 if before else np.float32)


def test_a_wrong_custom_vjp_of_jax_is_named():
    says(jax_batch_norm(sign=1), "dx: term through mu multiplied by -1")


def test_jaxs_own_derivative():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def batch_norm(x, gamma, beta):
        return gamma * (x - x.mean(0)) / jnp.sqrt(x.var(0) + EPS) + beta

    agrees(from_jax(lambda dy, *inputs: jax.vjp(batch_norm, *inputs)[1](dy)))


def test_jax_makes_new_arrays_and_default_dtypes_of_the_user():
    jax = pytest.importorskip("jax")
    dy = np.ones(3)
    first, second = from_jax(lambda g: (g, g))(dy)
    assert first.flags.writeable
    assert not np.shares_memory(first, dy)
    assert not np.shares_memory(first, second)
    # In 32 bits nothing is widened behind the user's back: zeros are float32 to him.
    narrow = from_jax(lambda g: g + jax.numpy.zeros(3))
    assert narrow(np.ones(3, np.float32)).dtype == np.float32
    assert narrow(np.ones(3)).dtype == np.float64


# -- Numba -------------------------------------------------------------------------------------------


def test_numba():
    right, _ = numba_kernels()
    agrees(from_numba(right))
    agrees(from_numba(right), 1e-4, np.float32)
    dy, *arrays = problem()
    assert check_backward(reference, from_numba(right), *arrays, dy=dy)


def test_a_wrong_numba_kernel_is_named():
    says(from_numba(numba_kernels()[1]), "dx: term through mu multiplied by -1")


def test_a_compiled_function_needs_no_adapter():
    agrees(numba_kernels()[0])


def test_a_numba_signature_for_one_layout():
    numba = pytest.importorskip("numba")
    doubled = numba.njit("float64[:,::1](float64[:,::1])")(lambda g: 2 * g)
    for layout in ("fortran", "slice", "zero stride", "read-only", "reversed"):
        g = LAYOUTS[layout](np.arange(12.0).reshape(4, 3))
        np.testing.assert_array_equal(from_numba(doubled)(g), 2 * g)


def test_what_a_numba_kernel_writes_into_its_arguments_is_seen():
    numba = pytest.importorskip("numba")

    @numba.njit
    def overwriting(dy):
        dy[0, 0] = 7
        return dy.sum()

    for layout in ("plain", "fortran", "slice", "reversed"):
        g = LAYOUTS[layout](np.zeros((2, 3)))
        assert from_numba(overwriting)(g) == 7
        assert g[0, 0] == 7
    with pytest.raises(ValueError, match="read-only"):
        from_numba(overwriting)(LAYOUTS["read-only"](np.zeros((2, 3))))


# -- all of them -------------------------------------------------------------------------------------


KERNELS = {
    "torch function": lambda: from_torch(torch_batch_norm()),
    "torch": lambda: from_torch(torch_formula),
    "jax": jax_batch_norm,
    "numba": lambda: from_numba(numba_kernels()[0]),
}


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("byte order", "0-d")])
def test_layouts(kind, layout):
    """The result is that of the contiguous values, and nothing has been written to."""
    pytest.importorskip(kind.split()[0])
    kernel = KERNELS[kind]()
    dy, x, gamma, beta = problem()
    dy = LAYOUTS[layout](dy)
    for xs in (x, LAYOUTS[layout](x)):
        before = [a.copy() for a in (dy, xs)]
        found = kernel(dy, xs, gamma, beta)
        found = list(found.values()) if isinstance(found, dict) else found
        for f, e in zip(found, derived(reference, [xs.copy(), gamma, beta], dy.copy()), strict=True):
            np.testing.assert_allclose(f, e, rtol=1e-10, atol=1e-10)
            assert not any(np.shares_memory(f, a) for a in (dy, xs, gamma, beta))
        for a, b in zip((dy, xs), before, strict=True):
            np.testing.assert_array_equal(a, b)
    assert check_backward(reference, kernel, LAYOUTS[layout](x), gamma, beta, dy=dy)


ADAPTERS = {"torch": from_torch, "jax": from_jax, "numba": from_numba}


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_cannot_be_handed_over(name):
    pytest.importorskip(name)
    adapted = ADAPTERS[name](lambda a: a)
    with pytest.raises(NotAlgebraic, match=rf"from_{name}\(object\[2\]\): holds Python objects.*check_backward"):
        adapted(np.array([1, 2], object))
    if np.dtype(np.longdouble).itemsize > 8:
        with pytest.raises(
            DTypeError, match=rf"from_{name}\(float\d+\[2\]\): no array of this dtype can be handed over"
        ):
            adapted(np.ones(2, np.longdouble))
    with pytest.raises(ArgumentError, match=rf"from_{name}\(3\): takes a function"):
        ADAPTERS[name](3)


def test_half_precision_is_not_numbas():
    pytest.importorskip("numba")
    with pytest.raises(DTypeError, match="no float16; give float32"):
        from_numba(lambda a: a)(np.ones(2, np.float16))


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_missing_package_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        MissingExtra, match=rf"from_{name}: needs the package {name}; install it with: pip install {name}"
    ):
        ADAPTERS[name](lambda dy, x: dy)


def test_adapters_are_known_by_what_they_adapt():
    for name, adapter in ADAPTERS.items():
        pytest.importorskip(name)
        adapted = adapter(torch_formula)
        assert (adapted.__name__, adapted.adapter, adapted.__wrapped__) == (
            "torch_formula",
            f"from_{name}",
            torch_formula,
        )
        with pytest.raises(ArgumentError, match="swapped"):
            check_backward(adapted, reference, *problem()[1:])


def test_the_module_imports_none_of_them():
    code = (
        "import sys, tinygraph.testing.adapters\n"
        "print([m for m in ('torch', 'jax', 'numba', 'hypothesis') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
