"""Scopes are functions of the model: shared where they are equal, flat where they cannot be one node."""

import numpy as np
import pytest
from support.onnx_runs import evaluated, off, onnx, ran

import tinygraph as tg
from tinygraph.core.graph import flatten
from tinygraph.core.scope import Scope, Setting, scope_var

onnx_inliner = pytest.importorskip("onnx.inliner")
SCOPE = "tinygraph.scope"


def batch_norm(x, gamma, beta):
    with tg.scope("BatchNorm"):
        return tg.batch_norm(x, gamma, beta)


def blocks(x, parameters):
    """Three blocks, each with a BatchNorm."""
    for w, gamma, beta in parameters:
        x = tg.relu(batch_norm(x @ w, gamma, beta))
    return tg.sum(x * x)


def draw(rng, dtype, *sizes):
    return [rng.normal(size=size).astype(dtype) for size in sizes]


def calls(model):
    """How often each function is called by the graph and by other functions."""
    nodes = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    names = [n.op_type for n in nodes if n.domain == "tinygraph"]
    return {name: names.count(name) for name in names}


def scope_of(node):
    return next((p.value for p in node.metadata_props if p.key == SCOPE), "")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_three_blocks_call_one_forward_and_one_backward_three_times(rng, dtype):
    fn = tg.vjp_fn(blocks)
    (x,) = draw(rng, dtype, (7, 4))
    given = (x, [draw(rng, dtype, (4, 4), 4, 4) for _ in range(3)], np.ones((), dtype))
    model = tg.export_onnx(fn, None, *given)
    found = calls(model)
    assert found["BatchNorm"] == found["BatchNorm_backward"] == 3
    # Inside, the shared body calls each of its parts once.
    assert found["normalise"] == found["normalise_backward"] == 1

    flat = tg.export_onnx(fn, None, *given, functions=False)
    inlined = onnx_inliner.inline_local_functions(model)
    assert not flat.functions
    assert not inlined.functions
    assert len(model.graph.node) < len(flat.graph.node) / 2
    feeds = dict(zip([v.name for v in model.graph.input], flatten(given)[0], strict=True))
    expected = [t.numpy() for t in flatten(fn(*given))[0]]
    for each in (model, flat, inlined):
        assert [o.name for o in each.graph.output] == [o.name for o in model.graph.output]
        for run, bound in ((evaluated, 0.0), (ran, 1e-14)):
            for a, e in zip(run(each, feeds).values(), expected, strict=True):
                assert off(a, e) <= (bound if dtype == np.float64 else 1e-6)


def test_each_node_has_the_path_of_its_scope(rng):
    x, gamma, beta = draw(rng, np.float64, (7, 4), 4, 4)
    flat = tg.export_onnx(tg.vjp_fn(batch_norm), None, x, gamma, beta, x, functions=False)
    paths = [scope_of(n) for n in flat.graph.node]
    assert set(paths) == {
        f"{before}BatchNorm/{part}"
        for before in ("", "backward/")
        for part in ("mean", "centre", "variance", "normalise", "scale and shift")
    }
    assert [p.startswith("backward/") for p in paths] == sorted(p.startswith("backward/") for p in paths)

    model = tg.export_onnx(tg.vjp_fn(batch_norm), None, x, gamma, beta, x)
    assert [(n.op_type, scope_of(n)) for n in model.graph.node] == [
        ("BatchNorm", "BatchNorm"),
        ("BatchNorm_backward", "backward/BatchNorm"),
    ]
    bodies = {f.name: f for f in model.functions}
    assert {scope_of(n) for n in bodies["BatchNorm"].node if n.op_type == "normalise"} == {"BatchNorm/normalise"}
    assert {scope_of(n) for n in bodies["normalise_backward"].node} == {"backward/normalise"}
    assert all(scope_of(n) for f in model.functions for n in f.node)


def test_equal_bodies_are_shared_and_others_get_a_name_of_their_own(rng):
    def fn(x):
        for exponent in (3, 3, 4):
            with tg.scope("cell"):
                x = tg.tanh(x**exponent) + 1
        with tg.scope("cell"):
            return tg.tanh(x**4) + 1

    model = tg.export_onnx(fn, None, rng.normal(size=5))
    assert calls(model) == {"cell": 2, "cell_2": 2}
    assert [n.op_type for n in model.graph.node] == ["cell", "cell", "cell_2", "cell_2"]


def test_bodies_that_differ_in_their_wiring_only_are_not_shared(rng):
    def fn(x, y):
        with tg.scope("cell"):
            first = tg.exp(x) - y
        with tg.scope("cell"):
            return y - tg.exp(first)

    x, y = rng.normal(size=(2, 3))
    model = tg.export_onnx(fn, None, x, y)
    assert calls(model) == {"cell": 1, "cell_2": 1}
    assert off(evaluated(model, {"x": x, "y": y})["out"], fn(*map(tg.tensor, (x, y))).numpy()) == 0.0


def inside(scope):
    """The same scope again, as a generator may enter it."""
    return Setting(scope_var, lambda _: scope)


def test_a_region_that_is_left_and_entered_again_stays_flat(rng):
    def fn(x):
        outer = Scope("outer")
        with inside(outer):
            with tg.scope("first"):
                y = tg.exp(x) + 1
            z = y * 2
        z = tg.sin(z)
        with inside(outer), tg.scope("second"):
            return tg.cos(z) + y

    x = rng.normal(size=4)
    model = tg.export_onnx(fn, None, x)
    assert calls(model) == {"first": 1, "second": 1}  # the inner ones are still whole
    assert [scope_of(n) for n in model.graph.node] == ["outer/first", "outer", "outer", "", "outer/second"]
    assert off(evaluated(model, {"x": x})["out"], fn(tg.tensor(x)).numpy()) == 0.0


def test_two_regions_that_need_each_other_are_not_both_a_node(rng):
    one, other = Scope("one"), Scope("other")

    def within(scope, op, x):
        with inside(scope):
            return op(x)

    def fn(x, y):
        a, b = within(one, tg.exp, x), within(other, tg.sin, y)
        return within(other, tg.cos, a), within(one, tg.tanh, b)

    x, y = rng.normal(size=3), rng.normal(size=3)
    model = tg.export_onnx(fn, None, x, y)
    assert calls(model) == {"one": 1}
    for run in (evaluated, ran):
        for a, e in zip(run(model, {"x": x, "y": y}).values(), fn(*map(tg.tensor, (x, y))), strict=True):
            assert off(a, e.numpy()) <= 1e-15


def test_names_with_spaces_and_greek_and_worse(rng, tmp_path):
    def fn(x):
        with tg.scope("scale & shift/σ²"):
            y = tg.exp(x) * 2
            y.name = "x̂ − μ"
        with tg.scope(""):
            z = tg.exp(y) * y
        with tg.scope("new\nline"):
            return {"loss of α": tg.sin(z) + 1}

    x = tg.tensor(rng.normal(size=3), name="the input ∂x")
    path = tmp_path / "μ model.onnx"
    model = tg.export_onnx(fn, path, x)
    assert [f.name for f in model.functions] == ["scale & shift/σ²", "scope", "new?line"]
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["the input ∂x", "out.loss of α"]
    assert model.functions[0].output == ["x̂ − μ"]
    for run in (evaluated, ran):
        found = run(onnx.load(path), {"the input ∂x": x.numpy()})
        assert off(found["out.loss of α"], fn(x)["loss of α"].numpy()) <= 1e-15


def test_a_scope_of_one_op_is_that_op_and_one_of_constants_too(rng):
    def fn(x):
        with tg.scope("one"):
            y = tg.exp(x)
        with tg.scope("constants"):
            c = tg.zeros_like(x) + 1
        return y + c

    x = rng.normal(size=3)
    model = tg.export_onnx(fn, None, x)
    assert calls(model) == {"constants": 1}
    assert not model.functions[0].input
    for run in (evaluated, ran):
        assert off(run(model, {"x": x})["out"], np.exp(x) + 1) <= 1e-15


def test_second_derivatives_are_backward_twice(rng):
    def cube(x):
        with tg.scope("cube"):
            return tg.sum(tg.exp(x) * x)

    x = rng.normal(size=3)
    model = tg.export_onnx(tg.grad(lambda x: tg.sum(tg.grad(cube)(x) ** 2)), None, x)
    flat = tg.export_onnx(tg.grad(lambda x: tg.sum(tg.grad(cube)(x) ** 2)), None, x, functions=False)
    assert "cube_backward_backward" in calls(model)
    assert {"cube", "backward/cube", "backward/backward/cube"} <= {scope_of(n) for n in flat.graph.node}
    for each in (model, flat):
        expected = tg.grad(lambda x: tg.sum(tg.grad(cube)(x) ** 2))(x).numpy()
        assert off(evaluated(each, {"x": x})["out"], expected) <= 1e-15
