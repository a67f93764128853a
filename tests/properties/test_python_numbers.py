"""A Python number is an operand like any other: as a primal, as a cotangent, and in a trace."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.testing.laws import near


def cube(t):
    return t * t**2


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("number", [3.0, np.float64(3), np.array(3.0)], ids=lambda v: type(v).__name__)
def test_a_traced_derivative_depends_on_its_input(order, number):
    fn = cube
    for _ in range(order):
        fn = tg.grad(fn)
    graph = tg.trace(fn, number)
    for at in (np.array(2.0), np.array(-1.5)):
        near(graph.run(np, at)[0], fn(at).numpy(), 1e-14)
    near(graph.run(np, np.array(2.0))[0], [12, 12, 6][order - 1])


@pytest.mark.parametrize("number", [2.0, np.float64(2), np.array(2.0)], ids=lambda v: type(v).__name__)
def test_every_transform_in_a_trace_is_linked_to_its_input(number):
    cases = {
        "vjp": lambda t: tg.vjp(cube, t)[1](1.0)[0],
        "cotangent": lambda t: tg.vjp(cube, 3.0)[1](t)[0],
        "jvp": lambda t: tg.jvp(cube, (t,), (t,))[1],
        "hvp": lambda t: tg.hvp(cube, (t,), (1.0,))[0],
        "jacobian": lambda t: tg.jacobian(cube)(t),
    }
    for fn in cases.values():
        found = tg.trace(fn, number).run(np, np.array(1.25))[0]
        near(found, fn(1.25).numpy(), 1e-14)


def test_a_number_computed_by_an_op_is_a_cotangent():
    seed = tg.sin(1.0)
    assert tg.vjp(lambda s: s + 1, 2.0)[1](seed)[0].item() == seed.item()
    assert tg.vjp(lambda s: s + 1, np.array([2.0]))[1](tg.tensor([1.0]))[0].tolist() == [1.0]


def test_nested_transforms():
    assert tg.grad(lambda x: x * tg.grad(lambda y: x + y)(x))(1.0).item() == 1
    assert tg.grad(lambda a: tg.grad(lambda b: a * b * b)(a))(2.0).item() == 8
