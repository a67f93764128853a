"""What each pass does, line by line: a function, and the ops that are left of it."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.compiler.graphs import valueless
from tinygraph.compiler.passes import (
    algebra,
    centred,
    collect,
    common,
    dead,
    factors,
    folding,
    kept,
    optimise,
    strong,
    transposed,
)

X = np.arange(1.0, 13.0).reshape(4, 3)
ROW, COLUMN = np.array([1.0, 2.0, 3.0]), np.array([[1.0], [2.0], [3.0], [4.0]])


def graph_of(fn, *args):
    return valueless(tg.trace(fn, *args))


def left(run, fn, *args):
    """The listing after a pass, without the head: one string a node, and what is returned."""
    return [line.split(" = ")[-1].strip() for line in str(run(graph_of(fn, *args))).splitlines()[1:]]


@pytest.mark.parametrize(
    ("fn", "args", "lines"),
    [
        (lambda x: x * 1, [X], ["return x"]),
        (lambda x: 1.0 * x, [X], ["return x"]),
        (lambda x: x / 1, [X], ["return x"]),
        (lambda x: x - 0, [X], ["return x"]),
        (lambda x: x + (-0.0), [X], ["return x"]),
        (lambda x: x**1, [X], ["return x"]),
        (lambda x: -(-x), [X], ["return x"]),
        (lambda x: x + 0, [np.arange(3)], ["return x"]),
        (lambda x: x.detach(), [X], ["return x"]),
        (lambda x: x.astype(np.float64), [X], ["return x"]),
        (lambda x: x.astype(np.float64).astype(np.float32), [np.float32([1, 2])], ["return x"]),
        (lambda x: x.T.T, [X], ["return x"]),
        (lambda x: x.reshape(12).reshape(2, 6), [X], ["reshape(x, shape=(2, 6))", "return t0"]),
        (lambda x: x.reshape(12).reshape(4, 3), [X], ["return x"]),
        (lambda x: tg.squeeze(tg.expand_dims(x, 1), 1), [X], ["return x"]),
        (lambda x: tg.flip(tg.flip(x, 0), 0), [X], ["return x"]),
        (lambda x: x.broadcast_to((4, 3)), [X], ["return x"]),
        (lambda x, y: tg.where(y, x, x), [X, X > 3], ["return x"]),
        (lambda x, y: x + (-y), [X, X], ["sub(x, y)", "return t0"]),
        (lambda x, y: x - (-y), [X, X], ["add(x, y)", "return t0"]),
        (lambda x, y: (-x) / (-y), [X, X], ["div(x, y)", "return t0"]),
        (lambda x, r: x * r.broadcast_to((4, 3)), [X, ROW], ["mul(x, r)", "return t0"]),
        (lambda r, x: tg.ops.reduction.spread(tg.ops.reduction.spread(r, x[:, :, 0], axis=0), x, axis=2), [ROW, X.reshape(4, 3, 1)],
         ["spread(r, x, axis=(0, 2))", "return t0"]),
    ],
)  # fmt: skip
def test_algebra(fn, args, lines):
    assert left(algebra.run, fn, *args) == lines


@pytest.mark.parametrize(
    ("fn", "x"),
    [
        (lambda x: x + 0, X),  # -0.0 + 0 is 0.0
        (lambda x: x - (-0.0), X),
        (lambda x: x * 0, X),  # nan, and the sign
        (lambda x: x * 1.0, np.arange(3)),  # a float
        (lambda x: x / 1, np.arange(3)),
        (lambda x: x * 1, np.array([True])),  # an integer
        (lambda x: x * np.float64(1), np.float32([1])),  # promotes
        (lambda x: x.astype(np.float16).astype(np.float32), np.float32([1])),  # rounds
        (lambda x: x.astype(np.float64), np.arange(3)),
        (lambda x: x * ROW.reshape(1, 3), ROW),  # another shape
        (lambda x: x + 1 - 1, X),
        (lambda x: x**0, X),
    ],
)
def test_algebra_leaves_alone_what_changes_a_bit(fn, x):
    graph = graph_of(fn, x)
    assert algebra.run(graph) is graph


def test_a_column_is_not_repeated_as_a_row():
    square = np.ones((3, 3))
    lines = left(algebra.run, lambda x, r: x * tg.expand_dims(r, 1).broadcast_to((3, 3)), square, ROW)
    assert lines == ["expand_dims(r, axis=1)", "mul(x, t0)", "return t1"]


def test_kept_axes():
    lines = left(kept.run, lambda x: x - tg.expand_dims(tg.sum(x, axis=1), 1), X)
    assert lines == ["sum(x, axis=1, keepdims=True)", "sub(x, t0)", "return t1"]


def test_a_reduction_that_is_read_twice_drops_its_axes():
    def fn(x):
        total = tg.sum(x, axis=1)
        return total, tg.expand_dims(total, 1)

    graph = graph_of(fn, X)
    assert kept.run(graph) is graph


def test_constants_are_folded_by_their_own_kernels():
    table = tg.tensor(np.array([0.1, 0.2, 0.3]))
    graph = folding.run(graph_of(lambda x: x + tg.exp(table * 3), ROW))
    assert len(graph.nodes) == 1
    (constant,) = graph.captured
    assert constant._data.tobytes() == np.exp(np.array([0.1, 0.2, 0.3]) * 3).tobytes()


def test_sizes_and_draws_and_inputs_are_not_folded():
    def fn(x, n):
        return x / tg.ops.reduction.size(x) + tg.random.normal((3,), rng=np.random.default_rng(0)) * n

    graph = graph_of(fn, ROW, 2.0)
    assert folding.run(graph) is graph


def test_what_is_read_for_its_shape_is_not_computed():
    size, spread = tg.ops.reduction.size, tg.ops.reduction.spread

    def fn(x, r):
        y = tg.exp(x) * 2
        return spread(r, y, axis=0) / size(y, axis=0), tg.zeros_like(y)

    lines = left(dead.run, fn, X, ROW)
    assert lines == ["spread(r, x, axis=0)", "size(x, axis=0)", "div(t0, t1)", "zeros_like(x)", "return t2, t3"]


def test_equal_ops_are_one():
    lines = left(common.run, lambda x, y: (x * y + tg.exp(x * 2.0)) * (y * x + tg.exp(x * 2.0)), X, X)
    assert lines == ["mul(x, y)", "mul(x, 2.0)", "exp(t1)", "add(t0, t2)", "mul(t3, t3)", "return t4"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: (x - 1, 1 - x),
        lambda x: (x * 2, x * 2.0),
        lambda x: (x + 0.0, x + -0.0),
        lambda x: (tg.sum(x, axis=0), tg.sum(x, axis=1)),
        lambda x: (x[:, 1:], x[:, :1]),
        lambda x: (x[[0, 1]], x[[1, 0]]),
        lambda x: (tg.maximum(x, 0.0), tg.maximum(0.0, x)),  # which zero is told apart
    ],
)
def test_different_ops_are_two(fn):
    graph = graph_of(fn, X)
    assert common.run(graph) is graph


def test_two_draws_stay_two():
    def fn(x):
        rng = np.random.default_rng(0)
        return x + tg.random.uniform((3,), rng=rng), x + tg.random.uniform((3,), rng=rng)

    graph = graph_of(fn, ROW)
    assert common.run(graph) is graph


def test_no_draw_is_lost():
    def fn(x):
        noise = tg.random.normal((4, 3), rng=np.random.default_rng(0))
        return tg.sum(noise - tg.mean(noise, axis=0), axis=0) + tg.sum(tg.zeros_like(x + noise), axis=0)

    stages = optimise(graph_of(fn, X))
    draws = [sum(t.node.op.name == "random_normal" for t in stage.graph.nodes) for stage in stages]
    assert set(draws) == {1}


# -- the passes that round differently -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "lines"),
    [
        (lambda g, x: tg.ops.elementwise.mul0(g, x), ["mul(g, x)", "return t0"]),
        (
            lambda g, x: tg.ops.elementwise.div0(g, tg.sqrt(x**2 + 1e-5)),
            ["pow(x, 2)", "add(t0, 1e-05)", "sqrt(t1)", "div(g, t2)", "return t3"],
        ),
    ],
)
def test_strong_zeros_that_cannot_matter(fn, lines):
    assert left(strong.run, fn, X, X) == lines


@pytest.mark.parametrize(
    "fn",
    [
        lambda g, x: tg.ops.elementwise.div0(g, x),
        lambda g, x: tg.ops.elementwise.mul0(g, tg.log(x)),
        lambda g, x: tg.ops.elementwise.mul0(g, 1 / x),
        lambda g, x: tg.ops.elementwise.div0(g, tg.sqrt(x**2)),
        lambda g, x: tg.ops.elementwise.div0(g, x**2 + x),
        lambda g, x: tg.ops.elementwise.div0(g, tg.sum(tg.exp(x - tg.max(x, axis=0)), axis=1, keepdims=True)),
        lambda g, x: tg.ops.elementwise.div0(g, tg.sum(tg.exp(x - tg.where(g > 0, 20.0, tg.max(x))))),
        lambda g, x: tg.ops.elementwise.div0(g, tg.sqrt(tg.mean(x**2, axis=0) - 1e-5)),
        lambda g, x: tg.ops.elementwise.div0(g.astype(np.float32), x.astype(np.float32) ** 2 + 1e-60),  # 0 in float32
    ],
)
def test_strong_zeros_that_matter(fn):
    graph = graph_of(fn, X, X)
    assert strong.run(graph) is graph


def test_behind_a_relu_zeros_matter_no_more_than_before():
    fn = lambda g, x: tg.ops.elementwise.div0(tg.where(tg.relu(x) <= 0, 0, g), tg.relu(x) + 1)
    assert left(strong.run, fn, X, X)[-2].startswith("div(")


@pytest.mark.parametrize(
    ("fn", "lines"),
    [
        (lambda x, w: (x.T @ w).T, ["transpose(w, axes=(1, 0))", "matmul(t0, x)", "return t1"]),
        (lambda x, w: (x.T @ w.T.T).T, ["transpose(w, axes=(1, 0))", "matmul(t0, x)", "return t1"]),
        (lambda x, w: (x @ w.T).T, ["transpose(x, axes=(1, 0))", "matmul(w, t0)", "return t1"]),
    ],
)
def test_the_transpose_of_a_product_is_that_of_transposes(fn, lines):
    assert left(lambda g: optimise(transposed.run(g))[-1].graph, fn, X, X) == lines


def _both(x, w):
    product = x.T @ w
    return product, product.T


@pytest.mark.parametrize("fn", [lambda x, w: (x @ w).T, _both])
def test_products_that_stay(fn):
    """Without a transpose in it, or read as it is too."""
    graph = graph_of(fn, np.ones((3, 3)), np.ones((3, 3)))
    assert transposed.run(graph) is graph


def test_a_masked_softmax_keeps_its_zeros():
    """-inf where nothing is to be chosen: no nan comes of it, in the value or the gradient."""
    x, dy = np.array([[1.0, -np.inf, 2.0], [-np.inf, -np.inf, 0.5]]), X[:2]
    graph = graph_of(tg.vjp_fn(lambda x: tg.softmax(x, axis=1)), np.ones((2, 3)), dy)
    after = optimise(graph)[-1].graph
    assert len(after.nodes) < len(graph.nodes)
    for a, b in zip(after.run(np, x, dy), graph.run(np, x, dy), strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, atol=1e-15)


@pytest.mark.parametrize("point", [0.0, -1.0])
def test_the_gradient_of_a_branch_not_taken_stays_zero(point):
    """where(x > 0, √x, 0) and its like: an infinite slope in a branch that is not taken."""
    x = np.array([point, 4.0])
    for fn in (
        lambda x: tg.where(x > 0, tg.sqrt(x), 0),
        lambda x: tg.where(x > 0, 1 / x, 0),
        lambda x: tg.where(x > 0, tg.log(x), 0),
        lambda x: tg.where(x > 0, x**0.5, 0),
    ):
        graph = graph_of(tg.vjp_fn(fn), np.ones(2), np.ones(2))
        gradient = optimise(graph)[-1].graph.run(np, x, np.ones(2))[1]
        assert gradient[0] == 0
        assert np.isfinite(gradient[1])


@pytest.mark.parametrize(
    ("fn", "args", "lines"),
    [
        (lambda x, c: tg.sum(c * x, axis=0), [X, ROW], ["sum(x, axis=0)", "mul(t0, c)", "return t1"]),
        (lambda x, c: tg.mean(x / c, axis=0), [X, ROW], ["mean(x, axis=0)", "div(t0, c)", "return t1"]),
        (lambda x, c: tg.sum(-(x * 2 / c)), [X, 3.0],
         ["sum(x, axis=(0, 1))", "mul(t0, 2)", "div(t1, c=3.0)", "neg(t2)", "return t3"]),
        (lambda x, c: tg.sum(x * c, axis=1, keepdims=True), [X, COLUMN],
         ["sum(x, axis=1, keepdims=True)", "mul(t0, c)", "return t1"]),
        (lambda x, c: (tg.sum(x, axis=1), tg.sum(x * c, axis=1, keepdims=True)), [X, COLUMN],
         ["sum(x, axis=1)", "expand_dims(t0, axis=1)", "mul(t1, c)", "return t0, t2"]),
    ],
)  # fmt: skip
def test_constant_factors_leave_a_sum(fn, args, lines):
    assert left(factors.run, fn, *args) == lines


@pytest.mark.parametrize(
    ("fn", "args"),
    [
        (lambda x, c: tg.sum(c * x, axis=0), [X, COLUMN]),  # varies along the axis
        (lambda x, c: tg.sum(c / x, axis=1), [X, X]),
        (lambda x, c: tg.sum(c * x, axis=0), [np.float16(X), np.float16(ROW)]),  # may overflow
        (lambda x, c: tg.sum(c * x, axis=0), [np.arange(12).reshape(4, 3), np.arange(3)]),
        (lambda x, c: tg.sum(c * x, axis=0), [X, np.float32(ROW)]),  # a cast on the way
        (lambda x, c: tg.sum(x - c, axis=0) + tg.sum(x, axis=0) + tg.sum(c, axis=0), [X, X + 1e-9]),  # would cancel
        (lambda x, c: tg.max(c * x, axis=0), [X, ROW]),
        (lambda x, c: tg.sum(c * x, axis=0), [X[:1], ROW]),
    ],
)
def test_other_sums_stay(fn, args):
    graph = graph_of(fn, *args)
    assert factors.run(graph) is graph


def test_equal_sums_are_found_through_their_factors():
    def fn(x, y, c):
        return tg.sum(x * y, axis=0), tg.sum((y * c) * x / 2, axis=0)

    lines = left(factors.run, fn, X, X, ROW)
    assert lines == ["mul(x, y)", "sum(t0, axis=0)", "mul(t1, c)", "div(t2, 2)", "return t1, t3"]


def centre(x):
    return x - tg.mean(x, axis=0)


@pytest.mark.parametrize(
    ("fn", "lines"),
    [
        (lambda x, c: tg.sum(centre(x) * c, axis=0), ["mean(x, axis=0)", "zeros_like(t0)", "return t1"]),
        (lambda x, c: tg.sum(x * x + centre(x) * c, axis=0), ["mul(x, x)", "sum(t0, axis=0)", "return t1"]),
        (lambda x, c: x - tg.sum(centre(x), axis=0, keepdims=True) / 4, ["return x"]),
        (lambda x, c: tg.sum(centre(x) - x, axis=0), ["sum(x, axis=0)", "neg(t0)", "return t1"]),
    ],
)
def test_centred_values_add_up_to_zero(fn, lines):
    assert left(centred.run, fn, X, ROW) == lines


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tg.sum(x - tg.mean(x, axis=0), axis=1),  # other axes
        lambda x: tg.sum((x - tg.mean(x, axis=0)) ** 2, axis=0),
        lambda x: tg.sum((x - tg.mean(x, axis=0)) * x, axis=0),
        lambda x: tg.sum(x - tg.mean(x * 2, axis=0), axis=0),  # another mean
        lambda x: tg.sum(x[:3] - tg.mean(x[:3], axis=1), axis=1),  # along the wrong axis of a square
        lambda x: tg.sum(x - tg.max(x, axis=0), axis=0),
    ],
)
def test_other_values_do_not(fn):
    graph = graph_of(fn, X)
    assert centred.run(graph) is graph


def test_the_zero_sum_alone_may_drop_a_nan():
    x = np.array([[np.inf, 1.0], [2.0, 3.0]])
    graph = graph_of(lambda x: tg.sum(centre(x), axis=0), np.ones((2, 2)))
    assert np.isnan(graph.run(np, x)[0][0])
    stages = optimise(graph)
    assert "centred" in [stage.name for stage in stages]
    np.testing.assert_array_equal(stages[-1].graph.run(np, x)[0], [0, 0])


@pytest.mark.parametrize(
    ("fn", "lines"),
    [
        (lambda x, y, c: x * c - y * c, ["sub(x, y)", "mul(c, t0)", "return t1"]),
        (lambda x, y, c: x * c / 3 * 2, ["mul(c, 2)", "div(t0, 3)", "mul(t1, x)", "return t2"]),
        (lambda x, y, c: (x / c, x * 2 * y / c), ["div(x, c)", "mul(2, t0)", "mul(t1, y)", "return t0, t2"]),
        (lambda x, y, c: 2 * x * y / (2 * c), ["mul(x, y)", "div(t0, c)", "return t1"]),
        (lambda x, y, c: x + (-(y * c)), ["mul(c, y)", "sub(x, t0)", "return t1"]),
    ],
)
def test_common_factors(fn, lines):
    assert left(collect.run, fn, X, X, ROW) == lines


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, y, c: x + (y - c),  # (x + y) - c could lose what cancels in y - c
        lambda x, y, c: x * 1e-300 * 1e-300,  # the product of the numbers would be 0
        lambda x, y, c: [z := x * c, z + y * c],  # x * c is there anyway
        lambda x, y, c: x / c / c,
    ],
)
def test_what_is_no_cheaper_or_less_accurate_stays(fn):
    graph = graph_of(fn, X, X, ROW)
    assert len(collect.run(graph).nodes) == len(graph.nodes)
    assert collect.run(graph) is graph
