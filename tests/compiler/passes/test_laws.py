"""What every pass promises: the value, idempotence, never more nodes; over random programs and their gradients."""

import numpy as np
import pytest
from hypothesis import given
from support import examples
from support.rounding import within_rounding

import tinygraph as tg
from tinygraph.compiler.graphs import valueless
from tinygraph.compiler.passes import PASSES, optimise
from tinygraph.testing.derived import Derived
from tinygraph.testing.programs import programs
from tinygraph.testing.rounding import truth


def derived(program):
    """A program and its gradient as one graph, on float64."""
    return Derived(program, program.inputs, program.cotangent(program.shape), range(program.count))


def run(graph, arrays):
    return [np.asarray(a) for a in graph.run(np, *arrays)]


def same_bits(got, expected):
    """Bit for bit; one nan is as good as another."""
    for a, b in zip(got, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a[a == a]), np.signbit(b[b == b]))


@given(programs(max_ops=8, inputs=3))
@examples(400)
def test_exact_passes_keep_every_bit(program):
    both = derived(program)
    stages = optimise(valueless(both.graph), exact=True)
    for stage in stages:
        same_bits(run(stage.graph, both.inputs), both.native)


@given(programs(max_ops=8, inputs=3))
@examples(150)
def test_all_passes_keep_the_value_within_rounding(program):
    both = derived(program)
    exact = truth(both, np.finfo(np.float64).eps / 2)
    for stage in optimise(valueless(both.graph)):
        within_rounding(run(stage.graph, both.inputs), exact)


@pytest.mark.parametrize("each", PASSES, ids=lambda p: p.name)
@given(program=programs(max_ops=8, inputs=3))
@examples(60)
def test_each_pass_alone(each, program):
    both = derived(program)
    before = valueless(both.graph)
    after = each.run(before)
    if after is before:
        return
    assert len(after.nodes) <= len(before.nodes)
    assert each.run(after) is after
    assert (after.inputs, after.tree) == (before.inputs, before.tree)
    if each.exact:
        same_bits(run(after, both.inputs), both.native)
    else:
        within_rounding(run(after, both.inputs), truth(both, np.finfo(np.float64).eps / 2))


@given(programs(max_ops=8, inputs=3))
@examples(100)
def test_all_passes_never_add_nodes_and_come_to_rest(program):
    graph = valueless(derived(program).graph)
    stages = optimise(graph)
    assert stages[0].graph is graph
    counts = [len(stage.graph.nodes) for stage in stages]
    assert counts == sorted(counts, reverse=True)
    assert [stage.name for stage in optimise(stages[-1].graph)] == ["trace"]


@given(programs(max_ops=6, inputs=2))
@examples(40)
def test_a_graph_is_optimised_in_the_same_way_each_time(program):
    graph = valueless(derived(program).graph)
    first, second = ([str(stage.graph) for stage in optimise(graph)] for _ in range(2))
    assert first == second


def test_the_traced_graph_stays_as_it_was():
    graph = valueless(tg.trace(tg.vjp_fn(tg.batch_norm), *batch((4, 3))))
    before = str(graph)
    optimise(graph)
    assert str(graph) == before


def batch(shape, dtype=np.float64):
    rng = np.random.default_rng(7)
    channels = shape[1]
    x, dy = (rng.normal(1, 2, shape).astype(dtype) for _ in range(2))
    return x, *(rng.uniform(0.5, 2, channels).astype(dtype) for _ in range(2)), dy


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 3), (1, 3), (5, 1), (4, 3, 2, 5), (3, 1, 2, 1), (1, 2, 1, 1)])
@pytest.mark.parametrize("layer", [tg.batch_norm, tg.layer_norm])
def test_layers_at_many_shapes(layer, shape, dtype):
    x, _, _, dy = batch(shape, dtype)
    size = shape[1] if layer is tg.batch_norm else shape[-1]
    rng = np.random.default_rng(8)
    both = Derived(layer, (x, *(rng.uniform(0.5, 2, size).astype(dtype) for _ in range(2))), dy, [0, 1, 2])
    exact = truth(both, float(np.finfo(dtype).eps / 2))
    within_rounding(run(optimise(valueless(both.graph))[-1].graph, both.inputs), exact)
    same_bits(run(optimise(valueless(both.graph), exact=True)[-1].graph, both.inputs), both.native)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty_axes(shape):
    def fn(x, c):
        y = c * x
        return tg.sum(y, axis=0), tg.mean(y, axis=1), tg.sum(y - tg.mean(y, axis=0), axis=0)

    x, c = np.ones(shape), 2.0
    with np.errstate(all="ignore"):
        expected = fn(tg.tensor(x), c)
        got = optimise(valueless(tg.trace(fn, x, c)))[-1].graph.run(np, x, c)
    for a, t in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, t.numpy())


def test_a_long_chain_takes_linear_time_and_no_recursion():
    def fn(x):
        for k in range(3000):
            x = (x * 0.25 + x) - tg.mean(x) * 0.25
        return x

    graph = valueless(tg.trace(fn, np.ones(3)))
    assert len(optimise(graph)[-1].graph.nodes) <= len(graph.nodes)
