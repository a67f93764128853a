"""Random programs: what is drawn, how it is written, and that user's own ops take part."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from support import examples

import tinygraph as tg
from tinygraph.errors import ArgumentError
from tinygraph.testing import Program, programs
from tinygraph.testing.programs import OPS, SHAPES, first_order, second_order

SEARCH = settings(derandomize=True, database=None, deadline=None, phases=(Phase.generate, Phase.shrink))


def cubed(x, y):
    return x * x * x + tg.sin(y)


@given(programs())
@examples(200)
def test_programs_are_total(program):
    out = program(*program.inputs)
    assert isinstance(out, tg.Tensor)
    assert np.isfinite(out.numpy()).all()
    assert np.broadcast_shapes(out.shape, SHAPES[0]) == SHAPES[0]
    assert 1 <= len(program.instructions) <= 8
    assert eval(repr(program)) == program
    assert hash(program) == hash(eval(repr(program)))


def test_every_instruction_occurs_and_operands_are_counted_from_both_ends():
    seen, ends = set(), set()

    @given(programs())
    @settings(max_examples=400, derandomize=True, database=None, deadline=None)
    def collect(program):
        seen.update(name for name, _, _ in program.instructions)
        ends.update(np.sign([k for _, i, j in program.instructions for k in (i, j)]))

    collect()
    assert seen == set(OPS)
    assert ends == {-1, 0, 1}


@pytest.mark.parametrize("name", OPS)
def test_each_instruction_alone(name):
    for places in ((0, 0), (0, 1), (-1, 0)):
        first_order(Program(((name, *places),), seed=1, count=4))
    second_order(Program(((name, 0, 1),), seed=1))


def test_operands():
    ops = {"first": lambda x, y: x, "sub": lambda x, y: x - y}
    inputs = [10.0, 1.0]  # the values begin as [1, 10]: the first input is the newest

    def run(*instructions):
        return Program(instructions, ops=ops)(*inputs).item()

    assert run(("sub", 0, 1)) == 9
    assert run(("sub", -1, -2)) == -9
    assert run(("sub", 0, 1), ("sub", 0, 1)) == -1
    assert run(("sub", 0, 1), ("first", -1, 0)) == 1
    assert run(("sub", 2, 3)) == 9  # modulo the number of values
    assert run(("sub", 0, 1), ("first", -6, 0)) == 9


def test_inputs_have_the_shapes_in_turn():
    program = Program((("add", 0, 0),), seed=3, count=6)
    assert [x.shape for x in program.inputs] == [*SHAPES, *SHAPES[:2]]
    assert all((np.abs(x) <= 2).all() for x in program.inputs)


def test_ops_of_a_user():
    drawn = programs(ops={"cubed": cubed, "add": OPS["add"]}, inputs=1)
    found = find(drawn, lambda p: any(name == "cubed" for name, _, _ in p.instructions), settings=SEARCH)
    assert repr(found) == "Program((('cubed', 0, 0),), count=1, ops={'cubed': cubed, 'add': <lambda>})"
    first_order(found)
    assert eval(repr(Program((("cubed", 0, 0),), ops={"cubed": cubed}))).ops == {"cubed": cubed}


def test_a_choice_of_ops():
    assert find(programs(ops=["exp", "mean"]), lambda p: True, settings=SEARCH).instructions == (("exp", 0, 0),)


def test_a_wrong_op_is_found_and_named():
    """The point of it all: a derivative that someone typed, wrong where its operand is shared."""

    def wrong(program):
        try:
            first_order(program)
        except AssertionError:
            return True
        return False

    broken = {**OPS, "square": lambda x, y: x.detach() * x}
    found = find(programs(ops=broken), wrong, settings=SEARCH)
    assert found.instructions == (("square", 0, 0),)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"ops": ["nothing"]}, r"there is no op 'nothing'; give functions .* or names among add, mul"),
        ({"ops": {"f": 3}}, "'f' is no function"),
        ({"ops": []}, "needs one op"),
        ({"inputs": 0}, "one input at least"),
        ({"max_ops": 0}, "one instruction"),
    ],
)
def test_errors(given, what):
    with pytest.raises(ArgumentError, match=rf"programs\(.*{what}"):
        programs(**given)
