"""Every rule of every primitive, broken on purpose, is caught by the laws."""

from functools import cache

import numpy as np
import pytest
from support.calls import PRIMITIVES, REGISTRY, RULED, rule_of
from support.sabotage import FREEZING, PERTURBED, broken_rule

from tinygraph.testing import laws
from tinygraph.testing.oracles.derivatives import contract, jacobian, richardson

SEEDS = (0, 1)


@cache
def problems(name, position):
    """The calls of a primitive in which this operand is a variable."""
    drawn = [c.draw(seed) for c in RULED if c.op.name == name for seed in SEEDS]
    return [p for p in drawn if position in p.variables and p.operands[position].size]


def slots():
    """(primitive, operand) for every rule that there is."""
    found = {(c.op.name, i) for c in RULED for i in c.draw(0).variables if rule_of(c.op, i)}
    return sorted(found)


@cache
def is_flat(name, position):
    """Whether the derivative is zero everywhere, so that a factor on it changes nothing."""
    for problem in problems(name, position):
        xs = problem.arrays
        columns = jacobian(lambda v: laws.directional(problem, xs, v), xs)
        _, mass = contract(problem.cotangent(), columns, [x.shape for x in xs])
        if np.any(np.abs(mass[problem.variables.index(position)]) > 1e-9):
            return False
    return True


@cache
def is_linear(name, position):
    """Whether the cotangent of this operand does not depend on the values of the operands."""
    for problem in problems(name, position):
        gradient = laws.gradient_of(problem.fn)
        xs, g = problem.arrays, problem.cotangent()
        place = problem.variables.index(position)
        (moved,) = richardson(lambda *p: [gradient(*p, g)[place].numpy()], xs, problem.directions(xs))
        if np.any(np.abs(moved) > 1e-9):
            return False
    return True


def caught(law, name, position):
    for problem in problems(name, position):
        try:
            law(problem)
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize(("name", "position"), slots())
@pytest.mark.parametrize("how", PERTURBED)
def test_a_perturbed_rule_is_caught(name, position, how):
    op = REGISTRY[name]
    assert not caught(laws.first_order, name, position)
    with broken_rule(op, position, PERTURBED[how](rule_of(op, position))):
        if is_flat(name, position) and how != "shifted":
            assert not caught(laws.first_order, name, position), "a zero slope has no factor"
        else:
            assert caught(laws.first_order, name, position)
    assert not caught(laws.first_order, name, position)


@pytest.mark.parametrize(("name", "position"), slots())
@pytest.mark.parametrize("how", FREEZING)
def test_a_frozen_rule_is_caught_at_second_order(name, position, how):
    op = REGISTRY[name]
    linear = is_linear(name, position)
    with broken_rule(op, position, FREEZING[how](rule_of(op, position))):
        assert not caught(laws.first_order, name, position), "freezing is right at first order"
        assert caught(laws.second_order, name, position) != linear


MISTAKES = [(op.name, i, what, rule) for op in REGISTRY.values() for what, i, rule in op.mistakes]


@pytest.mark.parametrize(
    ("name", "position", "what", "rule"), MISTAKES, ids=lambda v: str(v) if not callable(v) else ""
)
def test_a_typical_mistake_is_caught(name, position, what, rule):
    with broken_rule(REGISTRY[name], position, rule):
        assert caught(_first_order_or_shape, name, position)


def _first_order_or_shape(problem):
    """A wrong rule may also give a shape that does not fit."""
    try:
        laws.first_order(problem)
    except (ValueError, TypeError, IndexError) as error:
        raise AssertionError from error


def test_every_differentiable_primitive_is_among_them():
    assert {name for name, _ in slots()} == set(PRIMITIVES)
    with_rules = {n for n, op in REGISTRY.items() if any(rule_of(op, i) for i in range(2))}
    assert with_rules == set(PRIMITIVES)
