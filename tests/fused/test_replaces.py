"""``fused.replaces``: a hand-written forward and backward, and the composite that they stand for."""

import numpy as np
import pytest

import tinygraph as tg


def scaled_composite(x, scale=None, shift=None, *, power=1):
    y = x**power
    y = y if scale is None else y * scale
    return y if shift is None else y + shift


def build():
    """The fused op, and a record of when its forward and its backward ran."""
    ran = []

    @tg.fused.replaces(scaled_composite)
    def scaled(x, scale=None, shift=None, *, power=1):
        """Scaled."""
        ran.append("forward")
        y = x**power
        y = y if scale is None else y * scale
        return (y if shift is None else y + shift), (x**power,)

    @scaled.backward
    def _(g, saved, x, scale, shift, *, power):
        ran.append("backward")
        slope = power * x ** (power - 1)
        dx = g * slope * (1 if scale is None else scale)
        return dx, None if scale is None else g * saved[0], None if shift is None else g

    return scaled, ran


X = np.array([0.5, -1.0, 2.0])
CALLS = {
    "x": lambda f, x: f(x),
    "scale": lambda f, x: f(x, np.array([1.0, 2.0, 3.0])),
    "shift alone": lambda f, x: f(x, None, np.ones(3)),
    "by keyword": lambda f, x: f(x, shift=np.ones(3), power=3),
    "all": lambda f, x: f(shift=np.ones(3), scale=np.full(3, 2.0), x=x, power=2),
    "numbers": lambda f, x: f(x, 2.0, 1.0, power=2),
    "a list": lambda f, x: f(x, [1.0, 2.0, 3.0]),
    "twice": lambda f, x: f(f(x, x), x, x),
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", CALLS)
def test_it_equals_its_composite(name, dtype):
    scaled, ran = build()
    x = X.astype(dtype)
    (y, (g,)), (z, (h,)) = (
        tg.vjp_fn(lambda x, f=f: CALLS[name](f, x))(x, np.ones(3)) for f in (scaled, scaled_composite)
    )
    assert "forward" in ran
    assert "backward" in ran
    tolerance = 4 * np.finfo(dtype).eps
    assert y.dtype == z.dtype
    assert g.dtype == h.dtype == dtype
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=tolerance)
    np.testing.assert_allclose(g.numpy(), h.numpy(), rtol=tolerance)


@pytest.mark.parametrize("name", CALLS)
def test_higher_orders_come_from_the_composite(name):
    scaled, _ = build()
    second, third = (
        [
            fn(X).numpy()
            for f in (scaled, scaled_composite)
            for fn in [nest(lambda x, f=f: tg.sum(CALLS[name](f, x) ** 2))]
        ]
        for nest in (tg.hessian, lambda fn: tg.jacobian(tg.hessian(fn)))
    )
    np.testing.assert_allclose(*second, rtol=1e-12)
    np.testing.assert_allclose(*third, rtol=1e-12)


def test_a_trace_uses_the_composite():
    scaled, ran = build()
    graph = tg.trace(tg.vjp_fn(lambda x: scaled(x, 2.0)), X, np.ones(3))
    assert ran == []
    assert {t.node.op.name for t in graph.nodes} <= set(tg.core.primitive.REGISTRY)


def test_a_recorded_backward_uses_the_composite():
    scaled, ran = build()
    x = tg.tensor(X, requires_grad=True)
    g = tg.gradients(tg.sum(scaled(x, power=3)), x, create_graph=True)
    assert ran == ["forward"]
    np.testing.assert_allclose(tg.gradients(tg.sum(g), x).numpy(), 6 * X)


def test_under_no_grad_only_the_forward_runs():
    scaled, ran = build()
    x = tg.tensor(X, requires_grad=True)
    with tg.no_grad():
        y = scaled(x)
    assert (y.requires_grad, y.node, ran) == (False, None, ["forward"])
    assert scaled(X).node is None


def test_the_backward_runs_once_for_all_operands():
    scaled, ran = build()
    leaves = [tg.tensor(X, requires_grad=True) for _ in range(3)]
    tg.sum(scaled(*leaves)).backward()
    assert ran == ["forward", "backward"]
    assert [leaf.grad.tolist() for leaf in leaves] == [X.tolist(), X.tolist(), [1.0] * 3]


def test_only_what_requires_a_gradient_gets_one():
    scaled, _ = build()
    x, scale = tg.tensor(X, requires_grad=True), tg.tensor(X)
    tg.sum(scaled(x, scale)).backward()
    assert scale.grad is None
    assert tg.gradients(tg.sum(scaled(tg.tensor(X), x)), x).tolist() == X.tolist()


def test_a_broadcast_operand_gets_its_own_shape_and_dtype():
    scaled, _ = build()
    x, scale = tg.tensor(X, requires_grad=True), tg.tensor([[2.0]], dtype=np.float32, requires_grad=True)
    tg.sum(scaled(x, scale)).backward()
    assert (scale.grad.shape, scale.grad.dtype) == ((1, 1), np.float32)
    assert x.grad.shape == (3,)


def test_until_a_backward_is_there_the_composite_runs():
    double = tg.fused.replaces(lambda x: x * 2)(lambda x: pytest.fail("the fused forward ran"))
    assert tg.grad(double)(3.0).item() == 2.0


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_wrong_number_of_cotangents(count):
    op = tg.fused.replaces(lambda x, y: x * y)(lambda x, y: (x * y, None))
    op.backward(lambda g, saved, x, y: (g,) * count)
    y = op(tg.tensor(1.0, requires_grad=True), 2.0)
    with pytest.raises(
        tg.errors.ArgumentError, match=f"returned {count} cotangents for 2 operands; return one for each"
    ):
        y.backward()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, x: f(x, gain=2), r"unknown keyword 'gain'"),
        (lambda f, x: f(x, dim=1), r"unknown keyword 'dim'; write axis="),
        (lambda f, x: f(), r"missing a required argument: 'x'"),
        (lambda f, x: f(x, None, None, 1), r"too many positional arguments"),
    ],
)
def test_a_wrong_call_is_told_by_the_fused_op(call, message):
    with pytest.raises(tg.errors.ArgumentError, match=rf"^fused\.batch_norm\(.*\): {message}"):
        call(tg.fused.batch_norm, np.ones((2, 3)))


def product(out=lambda x, y: (x * y, None), back=lambda g, x, y: (g * y, g * x)):
    """A fused product of a Tensor and an array, whose forward or backward may be wrong."""

    @tg.fused.replaces(lambda x, y: x * y)
    def product(x, y):
        return out(x, y)

    product.backward(lambda g, saved, x, y: back(g, x, y))
    return product(tg.tensor([1.0, 2.0], requires_grad=True, name="x"), np.array([3.0, 4.0]))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda x, y: x * y, r"returned float64\[2\]; return a tuple \(out, saved\)"),
        (lambda x, y: [x * y, None], r"returned \[float64\[2\], None\]; return a tuple \(out, saved\)"),
        (lambda x, y: (x * y,), r"returned \[float64\[2\]\]; return a tuple \(out, saved\)"),
        (lambda x, y: None, r"returned None; return a tuple \(out, saved\)"),
        (lambda x, y: (None, x * y), r"returned None, no numbers; return an array"),
        (lambda x, y: ("abc", x * y), r"returned str, no numbers; return an array"),
    ],
)
def test_a_forward_that_returns_something_else(out, message):
    with pytest.raises(TypeError, match=rf"^product\(float64\[2\] x, float64\[2\]\): the forward {message}") as caught:
        product(out)
    assert isinstance(caught.value, tg.TinygraphError)


@pytest.mark.parametrize(
    ("back", "error", "message"),
    [
        (lambda g, x, y: g * y, TypeError, r"returned float64\[2\]; return a tuple, one cotangent for each operand"),
        (lambda g, x, y: [g * y, g * x], TypeError, r"returned \[float64\[2\], float64\[2\]\]; return a tuple"),
        (lambda g, x, y: None, TypeError, r"returned None; return a tuple"),
        (lambda g, x, y: (0.0, g * x), ValueError, r"returned float64\[\] for float64\[2\] x; .* shape \(2,\)"),
        (lambda g, x, y: (g.sum(), None), ValueError, r"returned float64\[\] for float64\[2\] x"),
        (lambda g, x, y: (g[:, None] * y, None), ValueError, r"returned float64\[2,2\] for float64\[2\] x"),
        (lambda g, x, y: (g * y, np.ones(3)), ValueError, r"returned float64\[3\] for float64\[2\]; .* shape \(2,\)"),
        (lambda g, x, y: (g > 0, None), TypeError, r"returned bool\[2\] for float64\[2\] x; return an array of floats"),
        (lambda g, x, y: ("abc", None), TypeError, r"returned str for float64\[2\] x; return an array of floats"),
        (lambda g, x, y: (g * 1j, None), TypeError, r"returned complex128\[2\] for float64\[2\] x"),
    ],
)
def test_a_backward_that_returns_something_else(back, error, message):
    y = product(back=back)
    with pytest.raises(error, match=rf"^backward of product\(float64\[2\] x, float64\[2\]\): {message}") as caught:
        y.backward(np.ones(2))
    assert isinstance(caught.value, tg.TinygraphError)


def test_the_cotangent_of_a_number_may_be_a_number():
    for number in (float, np.float64, np.asarray):
        double = tg.fused.replaces(lambda x: x * 2)(lambda x: (x * 2, None))
        double.backward(lambda g, saved, x, number=number: (number(2 * g),))
        x = tg.tensor(3.0, requires_grad=True)
        double(x).backward()
        assert (x.grad.item(), x.grad.shape) == (2.0, ())


def test_a_forward_may_return_a_number():
    total = tg.fused.replaces(lambda x: tg.sum(x))(lambda x: (float(np.sum(x)), None))
    total.backward(lambda g, saved, x: (np.full(x.shape, g),))
    assert tg.grad(total)(X).tolist() == [1.0] * 3


def test_an_operand_that_is_no_array_is_told_by_the_fused_op():
    scaled, ran = build()
    for fn, name in ((scaled, "scaled"), (tg.fused.batch_norm, r"fused\.batch_norm")):
        with pytest.raises(tg.errors.DTypeError, match=rf"^{name}\(str\): a Tensor holds numbers"):
            fn("abc")
    assert ran == []


def test_a_check_sees_tensors_before_anything_runs():
    seen = []
    double = tg.fused.replaces(lambda x: x * 2, check=lambda x: seen.append(x.name))(lambda x: (x * 2, None))
    double.backward(lambda g, saved, x: (2 * g,))
    x = tg.tensor(X, name="x")
    double(x)
    tg.trace(lambda: double(x))
    assert seen == ["x", "x"]


def test_batch_norm_names_the_users_tensors():
    x, gamma = tg.tensor(np.ones((2, 3)), name="x"), tg.tensor(np.ones(2), name="γ")
    with pytest.raises(
        tg.errors.ShapeError, match=r"^fused\.batch_norm\(float64\[2,3\] x, float64\[2\] γ, axis=1\): gamma"
    ):
        tg.fused.batch_norm(x, gamma)


def test_the_record():
    scaled, _ = build()
    assert (scaled.__name__, scaled.__doc__, repr(scaled)) == ("scaled", "Scaled.", "<fused scaled>")
    assert scaled.composite is scaled_composite
    assert "scaled" not in tg.core.primitive.REGISTRY
    y = scaled(tg.tensor(X, requires_grad=True, name="x"))
    assert y.node.op.name == "scaled"
    assert str(tg.Graph([y])).endswith("= scaled(x, power=1)\n  return t0")


def test_a_scope_and_a_name_are_kept():
    scaled, _ = build()
    with tg.scope("block"):
        y = scaled(tg.tensor(X, requires_grad=True))
    assert y.node.scope.path == "block"
    g = tg.gradients(tg.sum(y), y.node.inputs[0], create_graph=True)
    assert "block" in g.node.scope.path or g.node.scope.path == "backward"


# -- the one that is shipped ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("given", [(), ("gamma",), ("beta",), ("gamma", "beta")], ids="+".join)
@pytest.mark.parametrize(
    ("shape", "axis"), [((6, 3), 1), ((4, 3, 5), 1), ((2, 3, 2, 2), 1), ((2, 4, 3), -1), ((3, 5), 0)]
)
def test_batch_norm(dtype, given, shape, axis, rng):
    x = rng.normal(2, 3, shape).astype(dtype)
    channels = shape[axis]
    extra = {"gamma": rng.normal(size=channels).astype(dtype), "beta": rng.normal(size=channels).astype(dtype)}
    operands = [x, *(extra[k] for k in given)]
    seed = rng.normal(size=shape).astype(dtype)

    def run(f):
        return tg.vjp_fn(lambda x, *rest: f(x, **dict(zip(given, rest, strict=True)), axis=axis))(*operands, seed)

    (y, cotangents), (z, expected) = run(tg.fused.batch_norm), run(tg.batch_norm)
    assert y.dtype == z.dtype == dtype
    rtol = 200 * np.finfo(dtype).eps
    for a, b in zip((y, *cotangents), (z, *expected), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=rtol, atol=rtol * 4)


def test_one_value_per_channel_gives_beta():
    beta = np.array([1.0, 2.0])
    for f in (tg.batch_norm, tg.fused.batch_norm):
        assert f([[5.0, 6.0]], None, beta).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("shape", [(3, 0), (0, 0), (2, 0, 4)])
def test_no_channels(shape):
    for f in (tg.batch_norm, tg.fused.batch_norm):
        out, (dx, dgamma) = tg.vjp_fn(f)(np.ones(shape), np.ones(0), np.ones(shape))
        assert (out.shape, dx.shape, dgamma.shape) == (shape, shape, (0,))
