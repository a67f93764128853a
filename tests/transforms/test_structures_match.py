"""Tangents, cotangents and seeds are matched with what they belong to by key, never by position."""

import pytest

import tinygraph as tg
from tinygraph.errors import ArgumentError


def product(d):
    return d["a"] ** 2 * d["b"]


AT, DIRECTION = {"a": 2.0, "b": 3.0}, {"b": 0.0, "a": 1.0}


def test_tangents_in_another_order():
    assert tg.jvp(product, (AT,), (DIRECTION,))[1].item() == 12
    assert tg.hvp(product, (AT,), (DIRECTION,))[0]["a"].item() == 6


def test_cotangents_in_another_order():
    _, pullback = tg.vjp(lambda x: {"u": 2 * x, "v": 3 * x}, 1.0)
    assert pullback({"v": 1.0, "u": 0.0})[0].item() == 3


def test_seeds_in_another_order():
    a = tg.tensor(1.0, requires_grad=True)
    assert tg.gradients({"u": a * 2, "v": a * 3}, a, {"v": 1.0, "u": 0.0}).item() == 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: tg.jvp(product, (AT,), ({"a": 1.0},)),
        lambda: tg.jvp(product, (AT,), ({"a": 1.0, "c": 1.0},)),
        lambda: tg.vjp(lambda x: (x, x), 1.0)[1]((1.0, 1.0, 1.0)),
        lambda: tg.gradients([tg.tensor(1.0, requires_grad=True)], tg.tensor(1.0, requires_grad=True), 1.0),
    ],
)
def test_another_structure_is_refused(wrong):
    with pytest.raises(ArgumentError, match=r"has structure .* where .* is due"):
        wrong()


def test_an_outer_gradient_flows_through_aux():
    def outer(y):
        (_, aux), _ = tg.value_and_grad(lambda x: (x * x, y * x), has_aux=True)(2.0)
        return aux

    assert tg.grad(outer)(3.0).item() == 2
