"""Random graphs with shared nodes, fan-out and operands used twice: reverse mode is complex step."""

import pytest
from hypothesis import example, given
from support import examples

from tinygraph.testing.programs import Program, first_order, programs, second_order


@given(programs(max_ops=10, inputs=4))
@example(Program((("add", 0, 0),), count=4))
@example(Program((("mul", 0, 0), ("mul", 0, 0), ("add", 1, 0), ("sub", 0, 3), ("matmul", 0, 0)), count=4))
@examples(2000)
def test_first_order(program):
    first_order(program)


@given(programs(max_ops=6, inputs=4))
@examples(600)
def test_second_order(program):
    second_order(program)


@pytest.mark.parametrize("uses", [1, 2, 3, 7])
def test_fan_out(uses):
    """One value used many times, one operand on both sides."""
    body = (("exp", 0, 0), *(("mul", k, k) for k in range(uses)), *(("add", k, 0) for k in range(uses)))
    first_order(Program(body, count=4))


@pytest.mark.deep
@given(programs(max_ops=40, inputs=4))
@examples(100)
def test_long_programs(program):
    first_order(program)
