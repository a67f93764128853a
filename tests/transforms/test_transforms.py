"""grad, vjp, jvp and their kin: structures, integers, nesting, recording modes, what results hold on to."""

from collections import namedtuple

import numpy as np
import pytest

import tinygraph as tg

Point = namedtuple("Point", "x y")
X = np.array([0.5, -1.0, 2.0])


def cube(x):
    return tg.sum(x**3)


def values(tree):
    """A nested structure of Tensors with lists in their place."""
    if isinstance(tree, dict):
        return {k: values(v) for k, v in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(values, tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(map(values, tree))
    return tree if tree is None else tree.tolist()


# -- values, one line each --------------------------------------------------------------------------

TABLE = {
    "grad": (lambda: tg.grad(cube)(X), [0.75, 3.0, 12.0]),
    "grad of a number": (lambda: tg.grad(lambda x: x**3)(2.0), 12.0),
    "grad of a Tensor": (lambda: tg.grad(cube)(tg.tensor(X)), [0.75, 3.0, 12.0]),
    "value_and_grad": (lambda: tg.value_and_grad(cube)(X), (7.125, [0.75, 3.0, 12.0])),
    "argnums": (lambda: tg.grad(lambda x, y: x * y, 1)(2.0, 3.0), 2.0),
    "argnums from the end": (lambda: tg.grad(lambda x, y: x * y, -1)(2.0, 3.0), 2.0),
    "argnums, a tuple": (lambda: tg.grad(lambda x, y: x * y * y, (1, 0))(2.0, 3.0), (12.0, 9.0)),
    "argnums, a tuple of one": (lambda: tg.grad(lambda x: x * x, (0,))(3.0), (6.0,)),
    "argnums, a list": (lambda: tg.grad(lambda x, y: x * y, [0, -1])(2.0, 3.0), (3.0, 2.0)),
    "keywords": (lambda: tg.grad(lambda x, *, k, n=1: k * x**n)(2.0, k=3.0, n=2), 12.0),
    "other arguments": (lambda: tg.grad(lambda x, name, flag: x * len(name) if flag else x)(2.0, "abc", True), 3.0),
    "a dict": (lambda: tg.grad(lambda p: p["w"] ** 2 + p["b"])({"w": 3.0, "b": 1.0}), {"w": 6.0, "b": 1.0}),
    "a list": (lambda: tg.grad(lambda p: p[0] * p[1])([2.0, 3.0]), [3.0, 2.0]),
    "nested": (
        lambda: tg.grad(lambda p: p["a"][0] * p["a"][1]["b"] + p["c"][0])({"a": (2.0, {"b": 3.0}), "c": [1.0]}),
        {"a": (3.0, {"b": 2.0}), "c": [1.0]},
    ),
    "a namedtuple": (lambda: tg.grad(lambda p: p.x * p.y**2)(Point(2.0, 3.0)), Point(9.0, 12.0)),
    "an empty list": (lambda: tg.grad(lambda x, rest: x + sum(rest), (0, 1))(2.0, []), (1.0, [])),
    "has_aux": (lambda: tg.value_and_grad(lambda x: (x * x, {"twice": 2 * x}), has_aux=True)(3.0), ((9.0, {"twice": 6.0}), 6.0)),
    "not reached": (lambda: tg.grad(lambda x, y: x * 1.0, (0, 1))(2.0, X), (1.0, [0.0, 0.0, 0.0])),
    "a constant result": (lambda: tg.grad(lambda x: 5.0)(2.0), 0.0),
    "a result that is the argument": (lambda: tg.grad(lambda x: x)(2.0), 1.0),
    "vjp": (lambda: tg.vjp(lambda x, y: x * y, 2.0, 3.0)[1](10.0), (30.0, 20.0)),
    "vjp with integers": (lambda: tg.vjp(lambda x, n, flag: x * n, 2.0, 3, True)[1](1.0), (3.0, None, None)),
    "vjp with an integer array": (lambda: tg.vjp(lambda x, i: x[i], X, np.array([0, 0]))[1]([1.0, 2.0]), ([3.0, 0.0, 0.0], None)),
    "vjp, unreached": (lambda: tg.vjp(lambda x, y: x * 2, 2.0, X)[1](1.0), (2.0, [0.0, 0.0, 0.0])),
    "vjp of a dict": (
        lambda: tg.vjp(lambda p: {"s": p["a"] + p["b"], "d": p["a"] * p["b"]}, {"a": 2.0, "b": 3.0})[1]({"s": 1.0, "d": 10.0}),
        ({"a": 31.0, "b": 21.0},),
    ),
    "vjp of a tuple": (lambda: tg.vjp(lambda x: (x, x * x), 3.0)[1]((1.0, 1.0)), (7.0,)),
    "vjp_fn": (lambda: tg.vjp_fn(lambda x, y: x * y)(2.0, 3.0, 1.0), (6.0, (3.0, 2.0))),
    "vjp_fn with integers": (lambda: tg.vjp_fn(lambda x, n: x * n)(2.0, 3, 1.0), (6.0, (3.0, None))),
    "jvp": (lambda: tg.jvp(lambda x: x**3, (2.0,), (1.0,)), (8.0, 12.0)),
    "jvp, bare": (lambda: tg.jvp(cube, X, np.ones(3)), (7.125, 15.75)),
    "jvp of two": (lambda: tg.jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 10.0)), (6.0, 23.0)),
    "jvp with an integer": (lambda: tg.jvp(lambda x, n: x * n, (2.0, 3), (1.0, None)), (6.0, 3.0)),
    "jvp of a dict": (lambda: tg.jvp(lambda p: {"y": p["x"] ** 2}, ({"x": 3.0},), ({"x": 1.0},)), ({"y": 9.0}, {"y": 6.0})),
    "jvp of a constant": (lambda: tg.jvp(lambda x: 5.0, (2.0,), (1.0,)), (5.0, 0.0)),
    "jvp of vectors": (lambda: tg.jvp(lambda x: x * x, (X,), (np.array([1.0, 0.0, 2.0]),))[1], [1.0, 0.0, 8.0]),
    "jacobian": (lambda: tg.jacobian(lambda x: x * x)(X), np.diag(2 * X).tolist()),
    "jacobian of a number": (lambda: tg.jacobian(lambda x: x * x)(3.0), 6.0),
    "jacobian, argnums": (lambda: tg.jacobian(lambda a, x: a * x, (0, 1))(2.0, X[:2]), (X[:2].tolist(), [[2.0, 0.0], [0.0, 2.0]])),
    "jacobian of a dict": (lambda: tg.jacobian(lambda x: {"y": x[:1], "z": x[1]})(X), {"y": [[1.0, 0.0, 0.0]], "z": [0.0, 1.0, 0.0]}),
    "jacobian by a dict": (lambda: tg.jacobian(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 3.0}), {"a": 3.0, "b": 2.0}),
    "hessian": (lambda: tg.hessian(cube)(X), np.diag(6 * X).tolist()),
    "hessian of a number": (lambda: tg.hessian(lambda x: x**3)(2.0), 12.0),
    "hessian, unreached": (lambda: tg.hessian(lambda x: tg.sum(x * 2))(X), np.zeros((3, 3)).tolist()),
    "hvp": (lambda: tg.hvp(cube, X, np.array([1.0, 2.0, 0.0])), [3.0, -12.0, 0.0]),
    "hvp, wrapped": (lambda: tg.hvp(lambda x, y: x * x * y, (2.0, 3.0), (1.0, 0.0)), (6.0, 4.0)),
    "grad of grad": (lambda: tg.grad(tg.grad(tg.grad(lambda x: x**4)))(2.0), 48.0),
    "grad of jvp": (lambda: tg.grad(lambda x: tg.jvp(lambda y: y**3, (x,), (1.0,))[1])(2.0), 12.0),
    "grad by the tangent": (lambda: tg.grad(lambda v: tg.jvp(lambda y: y**3, (2.0,), (v,))[1])(1.0), 12.0),
    "jvp of grad": (lambda: tg.jvp(tg.grad(lambda x: x**3), (2.0,), (1.0,)), (12.0, 12.0)),
    "jvp of jvp": (lambda: tg.jvp(lambda x: tg.jvp(lambda y: y**3, (x,), (1.0,))[1], (2.0,), (1.0,)), (12.0, 12.0)),
    "jacobian of grad": (lambda: tg.jacobian(tg.grad(cube))(X), np.diag(6 * X).tolist()),
    "jacobian of jacobian": (lambda: tg.jacobian(tg.jacobian(lambda x: x**3))(2.0), 12.0),
    "grad of vjp": (lambda: tg.grad(lambda x: tg.vjp(lambda y: y**3, x)[1](1.0)[0])(2.0), 12.0),
    "grad by the cotangent": (lambda: tg.grad(lambda g: tg.vjp(lambda y: y**3, 2.0)[1](g)[0])(1.0), 12.0),
    "grad of hvp": (lambda: tg.grad(lambda x: tg.hvp(lambda y: y**4, x, 1.0))(2.0), 48.0),
    "perturbations are not confused": (lambda: tg.grad(lambda x: x * tg.grad(lambda y: x + y)(x))(1.0), 1.0),
    "nor by a jvp inside": (lambda: tg.grad(lambda x: x * tg.jvp(lambda y: x + y, (1.0,), (1.0,))[1])(1.0), 1.0),
    "nor by a jvp outside": (lambda: tg.jvp(lambda x: x * tg.grad(lambda y: x * y)(2.0), (3.0,), (1.0,))[1], 6.0),
    "nor by jvp in jvp": (lambda: tg.jvp(lambda x: x * tg.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))[1], 1.0),
    "an inner gradient of an outer variable": (lambda: tg.grad(lambda x: tg.grad(lambda y: y * y * x)(x))(3.0), 12.0),
    "no_grad inside is a constant": (lambda: tg.grad(lambda x: x * _quietly(x))(3.0), 9.0),
    "detach is a constant": (lambda: tg.grad(lambda x: x * tg.detach(x * x))(3.0), 9.0),
}  # fmt: skip


def _quietly(x):
    with tg.no_grad():
        return x * x


@pytest.mark.parametrize("name", TABLE)
def test_value(name):
    make, expected = TABLE[name]
    found = values(make())
    assert type(found) is type(expected)
    assert found == pytest.approx(expected) if not isinstance(expected, (dict, tuple, list)) else found == expected


@pytest.mark.parametrize("name", TABLE)
def test_the_same_inside_no_grad(name):
    make, expected = TABLE[name]
    with tg.no_grad():
        result = make()
    assert values(result) == expected
    assert not any(t.requires_grad for t in tensors(result))


@pytest.mark.parametrize("name", TABLE)
def test_results_hold_no_graph(name):
    for t in tensors(TABLE[name][0]()):
        assert not t.requires_grad
        assert t.node is None


def tensors(tree):
    return [t for t in tg.core.graph.flatten(tree)[0] if isinstance(t, tg.Tensor)]


def test_dtypes_are_kept():
    for dtype in (np.float16, np.float32, np.float64, np.longdouble):
        x = X.astype(dtype)
        results = (tg.grad(cube)(x), *tg.jvp(cube, x, x), tg.hvp(cube, x, x), tg.jacobian(lambda x: x * 2)(x))
        assert {t.dtype for t in tensors(results)} == {np.dtype(dtype)}


@pytest.mark.parametrize(("out", "into"), [((0,), (3,)), ((2,), (0,)), ((0,), (0,)), ((), (0,))])
def test_empty_jacobians(out, into):
    found = tg.jacobian(lambda x: tg.reshape(tg.zeros_like(tg.sum(x)), (1,) * len(out)) * np.ones(out))(np.ones(into))
    assert found.shape == out + into


# -- what surrounds a transform -----------------------------------------------------------------------


def test_a_parameter_in_a_closure_gets_its_gradient():
    w = tg.Parameter(3.0, name="w")
    g = tg.grad(lambda x: w * x * x)(2.0)
    assert g.item() == 12.0
    assert g.requires_grad
    g.backward()
    assert w.grad.item() == 4.0


def test_not_under_no_grad():
    w = tg.Parameter(3.0)
    with tg.no_grad():
        assert not tg.grad(lambda x: w * x * x)(2.0).requires_grad


def test_a_primal_that_requires_a_gradient_stays_in_the_graph():
    x = tg.tensor(2.0, requires_grad=True)
    value, g = tg.value_and_grad(lambda v: v**3)(x)
    assert g.requires_grad
    (g + value).backward()
    assert x.grad.item() == 24.0


def test_a_result_of_the_outer_graph_does():
    x = tg.tensor(2.0, requires_grad=True)
    out, pullback = tg.vjp(lambda v: v * v, x * 3)
    (g,) = pullback(1.0)
    (out * g).backward()  # 9x² · 6x
    assert x.grad.item() == 54 * 3 * 4


def test_a_transform_stores_no_gradient():
    x, w = tg.tensor(2.0, requires_grad=True), tg.Parameter(3.0)
    tg.grad(lambda v: v * w)(x)
    tg.jacobian(lambda v: v * w)(x)
    tg.hvp(lambda v: v * v * w, x, 1.0)
    assert x.grad is None
    assert w.grad is None


def test_a_pullback_is_right_twice():
    _, pullback = tg.vjp(lambda x: x**3, 2.0)
    assert [pullback(1.0)[0].item(), pullback(2.0)[0].item()] == [12.0, 24.0]


def test_the_function_keeps_its_name():
    def loss(x):
        """Of x."""
        return x

    for wrapped in (tg.grad(loss), tg.value_and_grad(loss), tg.jacobian(loss), tg.hessian(loss), tg.vjp_fn(loss)):
        assert (wrapped.__name__, wrapped.__doc__) == ("loss", "Of x.")


def test_an_exception_leaves_no_mode_behind():
    def fails(x):
        raise ZeroDivisionError

    for transform in (
        tg.grad(fails),
        tg.jacobian(fails),
        lambda x: tg.jvp(fails, x, x),
        lambda x: tg.vjp(fails, x),
        lambda x: tg.trace(fails, x),
    ):
        with pytest.raises(ZeroDivisionError):
            transform(1.0)
    assert not (tg.tensor(1.0) * 2).node


def test_aux_is_released_too():
    _, aux = tg.value_and_grad(lambda x: (x * x, [x * 2, "text", None, 3]), has_aux=True)(3.0)[0]
    assert aux[0].node is None
    assert aux[1:] == ["text", None, 3]


# -- gradients and backward on a graph that stands -------------------------------------------------------


@pytest.fixture
def graph():
    x, y = tg.tensor(X, requires_grad=True, name="x"), tg.tensor(2.0, requires_grad=True, name="y")
    h = x * y
    z = h * h
    return x, y, h, z


def test_gradients_of_intermediate_results(graph):
    x, y, h, z = graph
    found = tg.gradients(tg.sum(z), {"x": x, "rest": (y, [h, z])})
    assert values(found) == {"x": (8 * X).tolist(), "rest": (21.0, [(4 * X).tolist(), [1.0, 1.0, 1.0]])}
    assert x.grad is None


def test_gradients_of_several_outputs(graph):
    x, _, h, z = graph
    seeds = [np.ones(3), np.array([1.0, 0.0, 2.0])]
    found = tg.gradients([h, z], x, seeds)
    assert found.tolist() == (2 * seeds[0] + 8 * X * seeds[1]).tolist()
    assert tg.gradients([h, h], x, [np.ones(3), np.ones(3)]).tolist() == [4.0] * 3
    assert tg.gradients([tg.sum(h), tg.sum(z)], x).tolist() == (2 + 8 * X).tolist()


def test_gradients_not_reached_are_zeros(graph):
    x, *_ = graph
    other = tg.tensor([1.0, 2.0], dtype=np.float32, requires_grad=True)
    zero = tg.gradients(tg.sum(x), other)
    assert (zero.tolist(), zero.dtype) == ([0.0, 0.0], np.float32)


def test_gradients_wrt_the_output_itself_and_twice(graph):
    x, _, h, _ = graph
    assert tg.gradients(h, [h, h], np.ones(3))[1].tolist() == [1.0] * 3
    total = tg.sum(x)
    assert values(tg.gradients(total, [x, x])) == [[1.0] * 3] * 2


def test_create_graph(graph):
    x, y, _, z = graph
    g = tg.gradients(tg.sum(z), x, create_graph=True)
    assert g.requires_grad
    assert g.node.scope.path == "backward"
    second = tg.gradients(tg.sum(g), [x, y])
    assert values(second) == [[8.0] * 3, float(8 * X.sum())]
    assert not tg.gradients(tg.sum(z), x).requires_grad


def test_backward_twice_doubles_and_keeps_the_graph(graph):
    x, y, _, z = graph
    total = tg.sum(z)
    total.backward()
    first = x.grad
    total.backward()
    assert x.grad.tolist() == (2 * first).tolist()
    assert first.tolist() == (8 * X).tolist()
    assert y.grad.item() == 42.0


def test_backward_through_two_parts_of_one_graph(graph):
    x, _, h, z = graph
    tg.sum(h).backward()
    tg.sum(z).backward()
    assert x.grad.tolist() == (2 + 8 * X).tolist()


def test_backward_with_create_graph():
    x = tg.tensor(2.0, requires_grad=True)
    (x**3).backward(create_graph=True)
    g, x.grad = x.grad, None
    assert g.requires_grad
    g.backward()
    assert x.grad.item() == 12.0


def test_backward_of_a_leaf():
    x = tg.tensor(X, requires_grad=True)
    x.backward(np.ones(3))
    x.backward(tg.tensor([1, 2, 3]))
    assert x.grad.tolist() == [2.0, 3.0, 4.0]


def test_a_seed_takes_the_dtype_of_its_output():
    x = tg.tensor(X, dtype=np.float32, requires_grad=True)
    y = x * 2
    y.backward(np.ones(3))
    assert x.grad.dtype == np.float32
    assert y.seed.dtype == np.float32


def test_a_leaf_that_stops_requiring():
    x, y = (tg.tensor(2.0, requires_grad=True) for _ in "xy")
    z = x * y
    y.requires_grad = False
    z.backward()
    assert x.grad.item() == 2.0
    assert y.grad is None
