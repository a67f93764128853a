"""The namespace: names, signatures, constants, dtypes, and how a library finds it."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import array_api as xp
from tinygraph.errors import ArgumentError, DTypeError, GradientError, TraceError

strict = pytest.importorskip("array_api_strict", "2.6")

# What array_api_strict has for itself, and the extensions that we leave out.
OTHERS = {
    "ArrayAPIStrictFlags", "Device", "__version__", "fft", "get_array_api_strict_flags", "linalg",
    "reset_array_api_strict_flags", "set_array_api_strict_flags",
}  # fmt: skip
X = np.array([[0.3, -0.7, 0.2], [0.6, 0.1, -0.9]])
FUNCTIONS = [n for n in xp.__all__ if inspect.isfunction(getattr(xp, n))]


def test_every_name_of_the_standard_is_there_and_no_other():
    assert set(xp.__all__) == set(strict.__all__) - OTHERS
    assert xp.__array_api_version__ == "2025.12"


def test_what_is_missing_is_an_attribute_error():
    for name in ("linalg", "fft", "cross", "nonsense"):
        assert not hasattr(xp, name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature(name):
    def parameters(fn):
        # Its own "not given" is the standard's None.
        return [
            (p.name, p.kind, None if type(p.default).__name__ == "Undef" else p.default)
            for p in inspect.signature(fn).parameters.values()
        ]

    assert parameters(getattr(xp, name)) == parameters(getattr(strict, name))
    assert inspect.getdoc(getattr(xp, name))


def test_constants():
    for name in ("e", "inf", "pi", "newaxis"):
        assert getattr(xp, name) == getattr(strict, name)
        assert type(getattr(xp, name)) is type(getattr(strict, name))
    assert type(xp.nan) is float
    assert xp.nan != xp.nan


def test_dtypes_are_numpys():
    for name in ("bool", "int8", "uint64", "float32", "complex128"):
        assert getattr(xp, name) == np.dtype(name)
        assert tg.tensor(np.ones(1, name)).dtype == getattr(xp, name)


def test_info():
    info, theirs = xp.__array_namespace_info__(), strict.__array_namespace_info__()
    assert list(info.devices()) == ["cpu"]
    assert info.default_device() == "cpu"
    assert info.capabilities() == theirs.capabilities()
    for kind in (None, "bool", "integral", "real floating", "numeric", ("bool", "complex floating")):
        assert info.dtypes(kind=kind) == {name: getattr(xp, name) for name in theirs.dtypes(kind=kind)}
    assert info.default_dtypes(device="cpu") == {
        "real floating": xp.float64, "complex floating": xp.complex128, "integral": xp.int64, "indexing": xp.int64,
    }  # fmt: skip


def test_a_tensor_names_its_namespace():
    x = tg.tensor([1.0])
    assert x.__array_namespace__() is xp
    assert tg.Parameter([1.0]).__array_namespace__(api_version="2022.12") is xp
    with pytest.raises(ArgumentError, match=r"api_version='1999\.1'\): no such version here; give one of 2021\.12"):
        x.__array_namespace__(api_version="1999.1")


def test_the_array_object():
    x = tg.tensor([1.0], requires_grad=True)
    assert x.device == "cpu"
    assert x.to_device("cpu") is x
    with pytest.raises(ArgumentError, match=r"to_device\(float64\[1\], 'cuda'\): arrays live in main memory"):
        x.to_device("cuda")
    assert complex(tg.tensor(1 + 2j)) == 1 + 2j
    assert complex(tg.tensor(2.5)) == 2.5
    with pytest.raises(DTypeError, match=r"set item \(float64\[1\]\): .* tg\.set_at\(x, k, v\) or tg\.where"):
        x[0] = 2.0


def test_it_is_loaded_when_it_is_asked_for():
    code = (
        "import sys, tinygraph as tg; x = tg.tensor([1.0]); assert 'tinygraph.array_api' not in sys.modules;"
        "assert x.__array_namespace__() is tg.array_api; print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "tinygraph.array_api" in run.stdout.split()
    assert not {"array_api_strict", "scipy"} & set(run.stdout.split())


# -- wrong calls ----------------------------------------------------------------------------------

WRONG = {
    "sum(float64[2,3] x)": lambda x: xp.sum(x, dim=0),
    "sum(float64[2,3] x, axis=5)": lambda x: xp.sum(x, axis=5),
    "argsort(float64[2,3] x, axis=5)": lambda x: xp.argsort(x, axis=5),
    "nonzero(float64[])": lambda x: xp.nonzero(x[0, 0]),
    "searchsorted(float64[2,3] x, 1.0)": lambda x: xp.searchsorted(x, 1.0),
    "broadcast_shapes": lambda x: xp.broadcast_shapes((2,), (3,)),
    "finfo": lambda x: xp.finfo(xp.int8),
    "full([-1], 0.0": lambda x: xp.zeros((-1,)),
    "arange(0, 1, 0)": lambda x: xp.arange(0, 1, 0),
    "linspace": lambda x: xp.linspace(0, 1, -1),
    "permute_dims": lambda x: xp.permute_dims(x),
    "atan2(float64[2,3] x, float64[4])": lambda x: xp.atan2(x, np.ones(4)),
    "full": lambda x: xp.full((2,), 300, dtype=xp.int8),
    "vecdot": lambda x: xp.vecdot(x, x[:, :2]),
    "tensordot": lambda x: xp.tensordot(x, x, axes=1),
    "clip(float64[2,3] x)": lambda x: xp.clip(x, low=0),
    "asarray": lambda x: xp.asarray("text"),
}


@pytest.mark.parametrize("head", WRONG)
def test_a_wrong_call_is_told_in_our_words(head):
    x = tg.tensor(X, name="x")
    with pytest.raises(tg.TinygraphError) as caught:
        WRONG[head](x)
    text = str(caught.value)
    assert head in text or head == "asarray", text
    assert ": " in text
    assert "; " in text


# -- no gradient is lost --------------------------------------------------------------------------

# What has no gradient rule, with operands as it takes them.
NO_RULE = {
    "asinh": lambda f, x: f(x),
    **dict.fromkeys("atan2 copysign nextafter".split(), lambda f, x: f(x, X)),
    **dict.fromkeys("unique_all unique_counts unique_inverse unique_values".split(), lambda f, x: f(x)),
    "cumulative_prod": lambda f, x: f(x, axis=0),
}


@pytest.mark.parametrize("name", NO_RULE)
def test_a_gradient_that_would_be_lost(name):
    fn = getattr(xp, name)
    x = tg.tensor(X, requires_grad=True, name="x")
    with pytest.raises(GradientError, match=rf"{name}\(float64\[2,3\] x.*no gradient rule; leave the graph with"):
        NO_RULE[name](fn, x)
    with np.errstate(all="ignore"):
        NO_RULE[name](fn, x.detach())
        with tg.no_grad():
            NO_RULE[name](fn, x)
    with pytest.raises(TraceError), np.errstate(all="ignore"):
        tg.trace(lambda x: NO_RULE[name](fn, x), X)


# What answers with a place, a number of places or a boolean: no gradient is at stake, but a trace would freeze it.
ANSWERS = {
    "argsort": lambda x: xp.argsort(x),
    "isin": lambda x: xp.isin(x, X[0]),
    "nonzero": lambda x: xp.nonzero(x),
    "searchsorted": lambda x: xp.searchsorted(np.sort(X[0]), x),
    "signbit": lambda x: xp.signbit(x),
    "sort": lambda x: xp.sort(x),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_a_trace_would_freeze(name):
    ANSWERS[name](tg.tensor(X, requires_grad=True))
    with pytest.raises(TraceError):
        tg.trace(ANSWERS[name], X)


# -- logic and bits -------------------------------------------------------------------------------


def test_operators_of_booleans_are_recorded():
    graph = tg.trace(lambda x, y: ((x > 0) & (y > 0), (x > 0) | ~(y > 0), (x > 0) ^ (y > 0)), X, -X)
    assert [t.node.op.name for t in graph.nodes] == [
        "greater", "greater", "logical_and", "greater", "greater", "logical_not", "logical_or", "greater", "greater",
        "not_equal",
    ]  # fmt: skip


def test_bits_of_integers_are_values():
    k = tg.tensor([5, 6])
    assert (k & 3).tolist() == [1, 2]
    assert (1 << k).tolist() == [32, 64]
    with pytest.raises(TraceError):
        tg.trace(lambda k: k & 3, np.array([5, 6]))
    for wrong in (lambda: k & True, lambda: k ^ 1.5, lambda: tg.tensor(X) | 1, lambda: tg.tensor([True]) << 1):
        with pytest.raises(DTypeError, match=r"bitwise_\w+\(.*compare first, e\.g\. x != 0"):
            wrong()


# -- what a trace may read ------------------------------------------------------------------------


def test_a_trace_may_read_what_no_argument_went_into():
    """SciPy asks of its options, as arrays, whether they are integers."""
    order = xp.asarray(3.0)
    graph = tg.trace(lambda x: x * 2 if xp.any(order != xp.round(order)) else x * 3, X)
    np.testing.assert_array_equal(graph.run(np, X)[0], X * 3)


@pytest.mark.parametrize(
    "value",
    [
        lambda x, p, rng: tg.sum(x),
        lambda x, p, rng: tg.sum(tg.sum(x * 0) + p.detach()),
        lambda x, p, rng: p * 2,
        lambda x, p, rng: tg.random.normal((), rng=rng),
        lambda x, p, rng: tg.random.normal((), rng=rng) * 0 + 1,
    ],
)
def test_a_trace_may_read_nothing_else(value, rng):
    p = tg.Parameter(2.0)
    with pytest.raises(TraceError):
        tg.trace(lambda x: x * float(value(x, p, rng)), X)


def test_a_compiled_function_may_read_nothing_that_it_computed():
    """What looks like a constant may be a gradient from before, which is an input there."""
    c = tg.tensor(X)
    with pytest.raises(TraceError):
        tg.compile(lambda x: x * float(tg.sum(c * 2)))(X)


def test_dlpack_by_the_standards_name():
    array = np.arange(3.0)
    copied, shared = xp.from_dlpack(array), xp.from_dlpack(array, copy=False)
    assert np.shares_memory(shared.numpy(), array)
    assert not array.flags.writeable
    assert not np.shares_memory(copied.numpy(), array)
    assert xp.from_dlpack(copied) is copied
    with pytest.raises(tg.errors.ArgumentError, match="does not speak DLPack"):
        xp.from_dlpack([1.0])


def test_a_gradient_of_another_library_is_not_lost():
    torch = pytest.importorskip("torch")
    with pytest.raises(tg.errors.GradientError, match="a copy would lose its gradient"):
        xp.from_dlpack(torch.ones(2, requires_grad=True))


@pytest.mark.parametrize("name", ["std", "var"])
def test_moments_are_of_real_numbers(name):
    with pytest.raises(tg.errors.DTypeError, match="complex"):
        getattr(xp, name)(tg.tensor([1j, 2]))
