"""Padding that crops, and joining many arrays."""

import itertools

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.graph import reachable

WIDTHS = [(a, b) for a, b in itertools.product(range(-4, 5), repeat=2) if 3 + a + b >= 0]


@pytest.mark.parametrize("width", WIDTHS, ids=str)
def test_pad_moves_the_elements_into_a_window(width, rng):
    """Element i of the result is element i - before of x, where there is one."""
    x, (before, after) = rng.normal(size=(3, 2)), width
    leaf = tg.tensor(x, requires_grad=True)
    y = tg.pad(leaf, (width, (1, 0)), constant_values=7.0)
    expected = np.full((3 + before + after, 3), 7.0)
    for i in range(3):
        if 0 <= i + before < len(expected):
            expected[i + before, 1:] = x[i]
    np.testing.assert_array_equal(y.numpy(), expected)
    # Its transpose takes every element of the window back.
    g = rng.normal(size=y.shape)
    pulled = tg.gradients(y, leaf, g).numpy()
    inside = [0 <= i + before < len(g) for i in range(3)]
    np.testing.assert_array_equal(pulled, [g[i + before, 1:] if there else [0, 0] for i, there in enumerate(inside)])


@pytest.mark.parametrize("count", [63, 64, 65, 1000, 5000])
def test_no_join_hands_more_than_a_few_operands_to_its_rules(count, rng):
    """A rule is given all operands of its node; with n of them at one node, backward would cost n²."""
    arrays = [rng.normal(size=(2, 1 + i % 3)) for i in range(count)]
    leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
    y = tg.concatenate(leaves, axis=-1)
    assert max(len(t.node.inputs) for t in reachable([y])) <= 64
    np.testing.assert_array_equal(y.numpy(), np.concatenate(arrays, axis=-1))
    g = rng.normal(size=y.shape)
    places = np.cumsum([a.shape[1] for a in arrays])[:-1]
    for found, expected in zip(tg.gradients(y, leaves, g), np.split(g, places, axis=1), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("name", ["sum", "max", "cumsum", "flip"])
def test_true_is_no_axis(name):
    with pytest.raises(tg.TinygraphError, match="an axis is an integer, not bool"):
        getattr(tg, name)(np.ones((2, 3)), axis=True)


@pytest.mark.parametrize("value", [np.inf, np.nan, 0.0])
def test_the_product_of_one_number_has_slope_1_whatever_it_is(value):
    for x, axis in ((tg.tensor(value, requires_grad=True), None), (tg.tensor([value], requires_grad=True), ())):
        np.testing.assert_array_equal(
            tg.gradients(tg.prod(x, axis=axis), x, np.ones(x.shape)).numpy(), np.ones(x.shape)
        )


@pytest.mark.parametrize("width", [1.5, "1", [[0.5, 1]]])
def test_widths_are_integers(width):
    with pytest.raises(tg.errors.ArgumentError, match="the widths are"):
        tg.pad(tg.tensor(np.ones(3)), width)
