"""Kernels written with PyTorch through ``from_torch``: functions, ``autograd.Function``, memory and layouts."""

import numpy as np
import pytest
from support.backwards.batch_norm import MUTANTS, SHAPES, reference
from support.backwards.foreign import (
    EPS,
    LAYOUTS,
    agrees,
    derived,
    problem,
    says,
    torch_autograd,
    torch_batch_norm,
    torch_formula,
)

import tinygraph as tg
from tinygraph.errors import ArgumentError
from tinygraph.testing import check_backward, diagnose
from tinygraph.testing.adapters import from_torch

torch = pytest.importorskip("torch")


def test_a_torch_function():
    backward = from_torch(torch_batch_norm())
    agrees(backward)
    agrees(backward, 1e-4, np.float32)
    dy, *arrays = problem()
    assert check_backward(reference, backward, *arrays, dy=dy)
    assert diagnose(reference, backward, **SHAPES).findings == ()


def test_a_wrong_torch_function_is_named():
    says(from_torch(torch_batch_norm(sign=1)), "dx: term through mu multiplied by -1")


def test_autograd_of_torchs_own_batch_norm():
    agrees(from_torch(torch_autograd))
    dy, *arrays = problem()
    assert check_backward(reference, from_torch(torch_autograd), *arrays, dy=dy)


def test_a_backward_in_torch_that_returns_a_dict():
    dy, *arrays = problem()
    found = from_torch(torch_formula)(dy, *arrays)
    np.testing.assert_allclose(found["x"], derived(reference, arrays, dy)[0], atol=1e-12)
    assert check_backward(reference, from_torch(torch_formula), *arrays, dy=dy)


def test_none_is_a_gradient_of_zero_to_autograd():
    dy, *arrays = problem()
    _, dgamma, _ = from_torch(torch_batch_norm(what="no dgamma"))(dy, *arrays)
    np.testing.assert_array_equal(dgamma, np.zeros(3))


def test_what_a_torch_kernel_writes_into_its_arguments_is_seen():
    backward = from_torch(torch_batch_norm(what="writes"))
    for dy in (problem()[0], problem()[0][::-1], LAYOUTS["byte order"](problem()[0])):
        before = dy.copy()
        backward(dy, *problem()[1:])
        np.testing.assert_array_equal(dy, before + 1)
    frozen = problem()[0]
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        backward(frozen, *problem()[1:])
    np.testing.assert_array_equal(frozen, problem()[0])
    dy, *arrays = problem()
    for upstream in (dy, frozen):
        report = check_backward(reference, backward, *arrays, dy=upstream)
        assert report.verdict == "structure"
        assert "writes into dy" in str(report)


def test_integers_and_several_outputs_of_a_torch_function():
    class Pick(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, index, w):
            ctx.save_for_backward(x, index, w)
            ctx.mark_non_differentiable(index)
            return x[index] * w, index, x.sum()

        @staticmethod
        def backward(ctx, dy, _, dsum):
            x, index, w = ctx.saved_tensors
            dx = torch.zeros_like(x).index_add_(0, index, dy * w) + dsum
            return dx, None, (dy * x[index]).sum()

    x, index, w = np.array([1.0, 2.0, 4.0]), np.array([2, 0, 2]), np.array(3.0)
    dy, dsum = np.array([1.0, 10.0, 100.0]), np.array(0.5)
    found = from_torch(Pick)((dy, dsum), x, index, w)
    np.testing.assert_array_equal(found[0], [30.5, 0.5, 303.5])
    np.testing.assert_array_equal(found[1], 414.0)
    assert len(found) == 2
    report = check_backward(lambda x, index, w: (x[index] * w, tg.sum(x)), from_torch(Pick), x, index, w, dy=(dy, dsum))
    assert report, report
    with pytest.raises(ArgumentError, match="2 floating outputs where dy has 1"):
        from_torch(Pick)(dy, x, index, w)


def test_gradients_of_a_torch_function_are_arrays_of_their_own():
    class Add(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, dy):
            return dy, dy

    dy = np.ones(3)
    dx, other = from_torch(Add)(dy, np.arange(3.0), np.arange(3.0))
    assert not np.shares_memory(dx, dy)
    assert not np.shares_memory(dx, other)
    assert check_backward(lambda x, y: x + y, from_torch(Add), np.arange(3.0), np.arange(3.0), dy=dy)


def test_extras_reach_a_torch_function_and_get_no_gradient():
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, scale, twice):
            ctx.scale = scale * (2 if twice else 1)
            return x * ctx.scale

        @staticmethod
        def backward(ctx, dy):
            return dy * ctx.scale, None, None

    (dx,) = from_torch(Scaled)(np.ones(2), np.zeros(2), scale=np.array([2.0, 3.0]), twice=True)
    np.testing.assert_array_equal(dx, [4, 6])


# Whether torch sees the strides of the array, and whether it sees its memory.
REACHES_TORCH = {
    "fortran": (True, True), "slice": (True, True), "0-d": (True, True), "zero stride": (True, False), "read-only": (True, False),
    "byte order": (True, False), "reversed": (False, False), "reversed, read-only": (False, False),
}  # fmt: skip


@pytest.mark.parametrize("layout", REACHES_TORCH)
def test_layouts_that_reach_torch(layout):
    array = LAYOUTS[layout](np.arange(12.0).reshape(4, 3) if layout != "0-d" else np.array(2.0))
    seen = []
    result = from_torch(lambda t: (seen.append((t.stride(), t.data_ptr())), t.clone())[1])(array)
    np.testing.assert_array_equal(result, array)
    ((strides, pointer),) = seen
    assert (strides == tuple(s // 8 for s in array.strides), pointer == array.ctypes.data) == REACHES_TORCH[layout]


def test_dtypes_that_torch_gives_back():
    for dtype in (np.float16, np.float32, np.float64, np.int32, np.bool_, np.complex64):
        assert from_torch(lambda t: t.clone())(np.ones(2, dtype)).dtype == dtype
    assert from_torch(lambda t: t.bfloat16())(np.ones(2)).dtype == np.float32
    assert from_torch(lambda t: (t, [3, {"a": t}], None))(np.ones(2))[1:] == (
        (3, {"a": pytest.approx(np.ones(2))}),
        None,
    )
    assert from_torch(torch.nn.Tanh()).__name__ == "Tanh"


def test_dy_may_share_memory_with_an_input():
    _, x, gamma, beta = problem()
    found = from_torch(torch_batch_norm())(x, x, gamma, beta)
    np.testing.assert_allclose(found[0], derived(reference, [x, gamma, beta], x)[0], atol=1e-12)


def test_another_class_is_no_function_of_torch():
    with pytest.raises(ArgumentError, match=r"no torch\.autograd\.Function; give a function, or an instance"):
        from_torch(dict)


def test_a_numpy_mutant_translates():
    """The same fault written with torch is named as in NumPy."""
    halved = next(m for m in MUTANTS if m.what == "variance term halved")

    def backward(dy, x, gamma, beta):
        xc = x - x.mean(0)
        std = torch.sqrt((xc**2).mean(0) + EPS)
        xhat = xc / std
        d = dy * gamma / std
        return d - d.mean(0) - xhat * (d * xhat).mean(0) / 2, (dy * xhat).sum(0), dy.sum(0)

    assert halved.says(str(diagnose(reference, from_torch(backward), **SHAPES)).splitlines()[0])
