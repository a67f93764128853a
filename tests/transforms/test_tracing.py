"""A trace holds for other values too, or it raises: nothing is frozen into it without a word."""

import copy

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.errors import ShapeError, StaleError, TraceError

READERS = {
    "branch": lambda x: x if x > 0 else -x,
    "float": lambda x: x * float(x),
    "int": lambda x: x * int(x),
    "item": lambda x: x * x.item(),
    "numpy": lambda x: x * x.numpy(),
    "asarray": lambda x: x * np.asarray(x),
    "array": lambda x: x * np.array(x.detach()),
    "tolist": lambda x: x * x.tolist(),
    "result": lambda x: x * float(2 * x),
}


@pytest.mark.parametrize("fn", READERS.values(), ids=READERS)
def test_a_value_cannot_be_read(fn):
    with pytest.raises(TraceError, match="read while its function is traced"):
        tg.trace(fn, 3.0)
    assert fn(tg.tensor(3.0)).shape == ()  # outside a trace it can


def test_shapes_and_constants_can_be_read():
    scale = tg.tensor(2.0)
    graph = tg.trace(lambda x: x * scale.item() * x.shape[0] * len(x), np.ones(3))
    assert graph.run(np, np.full(3, 2.0))[0].tolist() == [36, 36, 36]


def test_a_captured_parameter_cannot_be_read():
    rate = tg.Parameter(0.1)
    with pytest.raises(TraceError):
        tg.trace(lambda x: x * float(rate), 1.0)


def test_a_parameter_assigned_inside_cannot_be_replayed():
    p = tg.Parameter(2.0, name="p")

    def fn(x):
        y = p * x
        p.assign(np.array(100.0))
        return y

    with pytest.raises(StaleError, match=r"run\(float64\[\] p\): was assigned after the graph had read it"):
        tg.trace(fn, 3.0).run(np, np.array(3.0))


def test_another_shape_is_refused():
    graph = tg.trace(tg.mean, np.ones(3))
    with pytest.raises(ShapeError, match=r"traced for shape \(3,\)"):
        graph.run(np, np.ones(7))


def test_results_are_arrays():
    (out,) = tg.trace(tg.sum, np.ones(3)).run(np, np.ones(3))
    assert type(out) is np.ndarray


def test_a_narrower_run_is_cast_as_traced():
    graph = tg.trace(lambda x: tg.sum(x.astype(np.float32)), np.ones(2))
    assert graph.run(np, np.float16([60000, 60000]))[0] == 120_000


def test_flags_and_words_are_not_inputs():
    graph = tg.trace(lambda x, flag, word: x * 2 if flag and word else x, 1.0, True, "yes")
    assert len(graph.inputs) == 1
    assert len(graph.nodes) == 1


@pytest.mark.parametrize("make", [tg.tensor, tg.Parameter])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copied_leaf_is_a_leaf_of_its_own(make, duplicate):
    leaf = make([1.0, 2.0], requires_grad=True, name="w")
    twin = duplicate(leaf)
    assert (type(twin), twin.name, twin.tolist()) == (type(leaf), "w", [1.0, 2.0])
    twin.requires_grad = False
    assert leaf.requires_grad
    (leaf * 2).sum().backward()
    assert twin.grad is None


def test_a_deep_copy_keeps_what_is_shared():
    p = tg.Parameter([1.0])
    first, second = copy.deepcopy([p, p])
    assert first is second is not p


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_variable_is_the_variable(duplicate):
    assert tg.grad(lambda x: tg.sum(duplicate(x) ** 2))(np.ones(3)).tolist() == [2, 2, 2]
    assert tg.grad(lambda p: duplicate(p)["w"] ** 2)({"w": 3.0})["w"].item() == 6
    assert tg.trace(lambda x: duplicate(x) * 2, 1.0).run(np, np.array(5.0))[0] == 10


@pytest.mark.parametrize("make", [tg.tensor, tg.Tensor, tg.Parameter])
def test_a_copy_that_would_cut_the_graph_is_refused(make):
    with pytest.raises(tg.errors.GradientError, match="a copy would lose its gradient"):
        tg.grad(lambda x: tg.sum(make(x)))(np.ones(2))
    with pytest.raises(TraceError, match="tensor"):
        tg.trace(lambda x: make(x) * 2, np.ones(2))


def test_a_parameter_assigned_from_a_traced_value_cannot_be_replayed():
    def fn(p, x):
        p.assign(x * 2)
        return p * 1

    with pytest.raises(StaleError, match="while it was traced"):
        tg.trace(fn, tg.Parameter([1.0, 1.0]), np.ones(2)).run(np, np.ones(2), np.ones(2))


def test_lists_are_arrays_to_a_replay():
    assert tg.trace(lambda x: x * 2, np.ones(3)).run(np, [1.0, 2.0, 3.0])[0].tolist() == [2, 4, 6]


def test_rounding_to_decimals_is_refused():
    with pytest.raises(tg.errors.DTypeError, match=r"round\(float64\[\], 2\): rounds to integers"):
        round(tg.tensor(1.234), 2)
