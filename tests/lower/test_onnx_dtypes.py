"""ONNX promotes nothing: the casts that NumPy makes are nodes, and the special values are NumPy's."""

import numpy as np
import pytest
from support.onnx_runs import evaluated, lacks_a_kernel, off, ran

import tinygraph as tg
from tinygraph.errors import DTypeError, TinygraphError

NAMES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
DTYPES = [np.dtype(name) for name in NAMES.split()]
MIXED = [("int32", "float32"), ("int64", "float32"), ("bool", "float32"), ("bool", "int8"), ("int8", "uint8"),
         ("float16", "int8"), ("uint32", "int32"), ("float32", "float64")]  # fmt: skip
UNARY = "neg sqrt exp expm1 log log1p tanh sign floor ceil round abs relu zeros_like".split()
BINARY = "add sub mul mul0 div div0 remainder floor_divide maximum minimum less less_equal greater greater_equal equal not_equal".split()
REDUCTIONS = "sum mean prod max min all any cumsum argmax argmin".split()
BOUND = {"float64": 1e-14, "float32": 1e-6, "float16": 2e-3}


def values(dtype):
    """Zeros, signs, and the ends of the range."""
    if dtype.kind == "b":
        return np.array([False, True, True, False])
    if dtype.kind == "f":
        return np.array([0.0, -0.0, 1, -1, 2.5, -2.5, 0.3, -7, np.inf, -np.inf, np.nan, 1e-3, 40, -40], dtype)
    ends = np.iinfo(dtype)
    return np.array([0, 1, 7, 3, 2, ends.max, *((-1, -7, -2, ends.min) if dtype.kind == "i" else ())], dtype)


def pairs(*dtypes):
    """Each value with each."""
    return [np.ascontiguousarray(a.ravel()) for a in np.meshgrid(*map(values, dtypes))]


def right(fn, *arrays, runtime=True):
    """Whether the exported function gives each element within its bound; None where NumPy itself refuses."""
    with np.errstate(all="ignore"):
        try:
            expected = fn(*map(tg.tensor, arrays)).numpy()
        except TinygraphError:
            return None
        model = tg.export_onnx(fn, None, *arrays)
    feeds = dict(zip([x.name for x in model.graph.input], arrays, strict=True))
    found = [evaluated(model, feeds)["out"]]
    try:
        found += [ran(model, feeds)["out"]] if runtime else []
    except Exception as error:
        if not lacks_a_kernel(error):
            raise
    return all(close(each, expected) for each in found)


def close(found, expected):
    """Whether each element is within its bound: a nan is equal to a nan, and -0 to 0."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind != "f":
        return np.array_equal(found, expected)
    bound = BOUND[expected.dtype.name]
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return np.allclose(found, expected, rtol=bound, atol=1e-300, equal_nan=True)


@pytest.mark.parametrize("op", UNARY)
def test_one_operand(op):
    for dtype in DTYPES:
        half = op == "sign" and dtype == np.float16  # onnxruntime's is 0 for a nan
        assert right(getattr(tg, op), values(dtype), runtime=not half) in (None, True), dtype


@pytest.mark.parametrize("op", BINARY)
def test_two_operands(op):
    fn = getattr(tg, op)
    for dtype in DTYPES:
        assert right(fn, *pairs(dtype, dtype)) in (None, True), dtype
    for both in MIXED:
        assert right(fn, *pairs(*map(np.dtype, both))) in (None, True), both


@pytest.mark.parametrize("op", [*BINARY, "pow"])
def test_python_numbers_take_the_dtype_of_the_array(op):
    fn = getattr(tg, op)
    for dtype in DTYPES:
        for number in (2, 0.5, 0, 1, True):
            assert right(lambda x: fn(x, number), values(dtype)) in (None, True), (dtype, number)


@pytest.mark.parametrize("op", REDUCTIONS)
def test_reductions(op):
    fn = getattr(tg, op)
    for dtype in DTYPES:
        x = np.resize([3, 1, 0, 5, 2, 7, 4], (2, 4)).astype(dtype)
        assert right(lambda x: fn(x, axis=1), x) is True, dtype
        if op in ("sum", "mean", "prod", "all", "any"):
            if op != "mean" or dtype.kind == "f":
                assert right(lambda x: fn(x, axis=0), np.zeros((0, 3), dtype)) is True, dtype
            assert right(lambda x: fn(x, axis=(), keepdims=True), x) is True, dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_rest(dtype):
    x = np.resize(values(dtype)[2:4], (3, 4))
    assert right(lambda x: x[:, :3] @ x, x) is True
    assert right(lambda x: tg.einsum("ij,kj->ik", x, x), x) in (None, True)
    assert right(lambda x: tg.where(tg.tensor([True, False, True, False]), x, x[::-1]), x) is True
    assert right(lambda x: tg.clip(x, 1, 5), x) is True
    assert right(lambda x: tg.pad(x, 1, constant_values=1), x) is True
    assert right(lambda x: tg.add_at(x, np.array([-1, 0, -1]), x), x) in (None, True)
    assert right(lambda x: tg.set_at(x, (..., -1), x[:, 0]), x) is True
    for other in DTYPES:
        assert right(lambda x: x.astype(other), x) is True, other


def test_half_precision_counts_as_far_as_it_reaches():
    """Its own sums would stop at 2048, and ours do not."""
    ones = np.ones(5000, np.float16)
    assert right(lambda x: tg.sum(x, axis=0), np.ones((5000, 2), np.float16)) is True
    assert right(tg.mean, ones * 20) is True
    assert right(lambda x: tg.cumsum(x)[::1000], ones) is True
    assert right(lambda x: tg.add_at(x[:1], np.zeros(5000, np.int64), x), ones) is True
    windows = {"shape": (2501,), "axis": (0,), "stride": (1,)}
    assert right(lambda x: tg.overlap_add(x, **windows)[::500], np.ones((2, 2500), np.float16)) is True


def test_onnxruntime_selects_booleans():
    c, x = np.array([True, False, True, False]), np.array([True, True, False, False])
    model = tg.export_onnx(lambda c, x: tg.where(c, x, ~x), None, c, x)
    assert np.array_equal(ran(model, {"c": c, "x": x})["out"], [True, False, False, True])


def test_numbers_as_arguments_are_weak_inputs():
    def fn(x, rate, count):
        return x * rate + count * rate

    x = np.float32([1, 2])
    model = tg.export_onnx(fn, None, x, 0.1, 3)
    assert [(i.name, i.type.tensor_type.elem_type) for i in model.graph.input] == [("x", 1), ("rate", 11), ("count", 7)]
    feeds = {"x": x, "rate": np.float64(0.3), "count": np.int64(2)}
    expected = fn(tg.tensor(x), 0.3, 2).numpy()
    for run in (evaluated, ran):
        assert off(run(model, {k: np.asarray(v) for k, v in feeds.items()})["out"], expected) == 0.0


def test_what_no_size_has():
    for fn, x in [
        (lambda x: tg.exp(x)[:0], np.ones((3, 2))),
        (lambda x: tg.concatenate([x, x[:0]]), np.ones((1, 2))),
        (lambda x: x @ x.T, np.ones((2, 0))),
        (lambda x: tg.sum(x * 2), np.ones((0, 3))),
        (lambda x: tg.mean(x), np.ones(0)),
    ]:
        assert right(fn, x) is True


@pytest.mark.parametrize("fn", [lambda x: x < -1, lambda x: tg.equal(x, 300)])
def test_a_number_that_the_dtype_does_not_hold_is_refused(fn):
    with pytest.raises(DTypeError, match=r"export_onnx: \w+\(uint8\[2\] x, .*cast with .astype"):
        tg.export_onnx(fn, None, np.zeros(2, np.uint8))


@pytest.mark.parametrize("dtype", ["complex128", "longdouble"])
def test_a_dtype_without_operators_is_refused(dtype):
    x = np.ones(3, dtype)
    if x.dtype == np.float64:
        pytest.skip("long doubles are doubles here")
    with pytest.raises(DTypeError, match=rf"export_onnx\({x.dtype}\[3\] x\): no ONNX operator takes"):
        tg.export_onnx(lambda x: x + x, None, x)
