"""Keys: what they cost, what a trace keeps of them, and what names an element twice."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.primitive import REGISTRY
from tinygraph.errors import IndexingError, TraceError
from tinygraph.ops import indexing

X = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize("key", [0, slice(1), (0, slice(None, None, 2)), (..., 1), None, np.array([1, 0])], ids=str)
def test_a_key_that_fits_writes_no_message(key, monkeypatch):
    """Describing operands took twice as long as reading them."""
    x = tg.tensor(X)
    monkeypatch.setattr(indexing, "describe", None)
    np.testing.assert_array_equal(x[key].numpy(), X[key])


# -- integers that are Tensors ---------------------------------------------------------------------


def test_an_integer_tensor_is_an_operand_of_the_graph():
    graph = tg.trace(lambda x, i: x[i], X, np.array(0))
    for i in (0, 1, -1):
        for given in (i, np.array(i)):
            np.testing.assert_array_equal(graph.run(np, X, given)[0], X[i])


@pytest.mark.parametrize(
    "key", [lambda i: i, lambda i: (slice(None), i), lambda i: (0, i), lambda i: (..., i, None), lambda i: (i, [0, 2])]
)
def test_an_integer_tensor_selects_what_the_integer_does(key):
    x = tg.tensor(X, requires_grad=True)
    for i in (0, 1, -1):
        expected, found = x[key(i)], x[key(tg.tensor(i))]
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
        g = np.ones(expected.shape)
        np.testing.assert_array_equal(tg.gradients(found, x, g).numpy(), tg.gradients(expected, x, g).numpy())


@pytest.mark.parametrize("key", [True, np.True_, (0, np.array(True)), 1.0, tg.tensor(1.0), "a", 2], ids=repr)
def test_no_other_single_value_is_an_index(key):
    with pytest.raises(IndexingError, match=r"getitem\(float64\[2,3,4\]"):
        tg.tensor(X)[key]


# -- masks -----------------------------------------------------------------------------------------


def test_a_mask_that_a_trace_would_freeze_is_refused():
    with pytest.raises(TraceError, match=r"tg\.where"):
        tg.trace(lambda x: tg.sum(x[x > 1]), X)
    with pytest.raises(TraceError, match=r"tg\.where"):
        tg.trace(lambda x, mask: tg.sum(x[mask]), X, X > 1)
    with pytest.raises(TraceError, match=r"tg\.where"):
        tg.trace(lambda x: tg.set_at(x, x > 1, 0.0), X)


@pytest.mark.parametrize("mask", [X > 1, tg.tensor(X > 1)], ids=["array", "leaf"])
def test_a_constant_mask_is_traced(mask):
    (found,) = tg.trace(lambda x: x[mask], X).run(np, -X)
    np.testing.assert_array_equal(found, -X[X > 1])


def test_a_computed_mask_is_fine_outside_a_trace():
    x = tg.tensor(X, requires_grad=True)
    tg.sum(x[x > 1]).backward(create_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), X > 1)


@pytest.mark.parametrize("wrap", [np.array, tg.tensor])
@pytest.mark.parametrize("flag", [True, False])
def test_a_mask_without_axes_takes_all_or_nothing(flag, wrap):
    x = tg.tensor(X, requires_grad=True)
    np.testing.assert_array_equal(x[wrap(flag)].numpy(), X[np.array(flag)])
    tg.sum(x[wrap(flag)] * 2).backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(X.shape, 2.0 * flag))


def test_a_mask_without_elements_takes_nothing():
    for mask in (np.zeros((0, 3), bool), np.zeros((2, 0, 4), bool)):
        assert tg.tensor(X)[mask].shape == X[mask].shape


# -- an element that is set twice ------------------------------------------------------------------


def keys(rng):
    """Random keys with up to three index arrays among integers, slices, None and an ellipsis."""
    arrays = [rng.integers(-n, n, rng.choice([1, 2, 3])) for n in X.shape]
    if rng.random() < 0.3:
        arrays[0] = arrays[0][:, None]
    size = max(len(a.ravel()) for a in arrays)
    parts = []
    for n, a in zip(X.shape, arrays, strict=True):
        a = a if len(a.ravel()) in (1, size) else a.ravel()[:1]
        parts.append([a, a.astype(np.int8), slice(None, None, -1), int(rng.integers(-n, n))][rng.integers(4)])
    if rng.random() < 0.3:
        parts[rng.integers(3)] = ...
    if rng.random() < 0.3:
        parts.insert(rng.integers(4), None)
    return tuple(parts[: rng.integers(1, 5)])


def test_duplicates_are_found_from_the_key_alone(rng):
    counts = [0, 0]
    for _ in range(500):
        key = keys(rng)
        places = np.arange(X.size).reshape(X.shape)[key].ravel()
        twice = len(np.unique(places)) < len(places)
        counts[twice] += 1
        if twice:
            with pytest.raises(IndexingError, match="set twice"):
                tg.set_at(X, key, 0.0)
        else:
            expected = X.copy()
            expected[key] = 0
            np.testing.assert_array_equal(tg.set_at(X, key, 0.0).numpy(), expected)
    assert min(counts) > 50


def test_looking_for_duplicates_costs_nothing_of_the_size_of_the_array():
    huge = np.broadcast_to(0.0, (10**6, 10**6))
    (_, _, places), _ = REGISTRY["set_at"].bind((huge, np.array([5, -1, 10**5]), 0.0), {})
    assert places.tolist() == [5, -1, 10**5]
    with pytest.raises(IndexingError, match="set twice"):
        REGISTRY["set_at"].bind((huge, np.array([10**6 - 1, -1]), 0.0), {})


def test_an_empty_place_is_no_duplicate():
    assert tg.set_at(np.ones((0, 2)), np.array([], int), 1.0).shape == (0, 2)


def test_a_mask_without_elements_is_a_mask():
    assert tg.tensor(np.ones((0, 5, 2)))[np.ones((0, 5), bool)].shape == (0, 2)
    with pytest.raises(tg.errors.IndexingError, match="a mask of shape"):
        tg.tensor(np.ones((4, 0, 1)))[None, np.zeros((0, 1), bool)]
    with pytest.raises(tg.errors.IndexingError, match="integer or boolean"):
        tg.tensor(np.ones(3))[np.zeros((0,))]


def test_a_step_of_zero_is_named():
    with pytest.raises(tg.errors.IndexingError, match="a slice of step 0"):
        tg.tensor(np.ones(3))[::0]
