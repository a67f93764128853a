"""The traversal, broken on purpose, is caught by random programs within 200 of them, and shrinks well."""

import pytest
from hypothesis import Phase, find, settings
from hypothesis.errors import NoSuchExample
from support.sabotage import TRAVERSAL

from tinygraph.testing.programs import Program, first_order, programs


def fails(program):
    try:
        first_order(program)
    except AssertionError:
        return True
    return False


SEARCH = settings(
    max_examples=200, derandomize=True, database=None, deadline=None, phases=(Phase.generate, Phase.shrink)
)


@pytest.mark.parametrize("how", TRAVERSAL)
def test_a_broken_traversal_is_caught(how):
    with TRAVERSAL[how]():
        found = find(programs(), fails, settings=SEARCH)
    assert len(found.instructions) <= 4, found
    assert not fails(found)


def test_the_search_finds_nothing_in_a_right_one():
    with pytest.raises(NoSuchExample):
        find(programs(), fails, settings=SEARCH)


def test_a_program_replays():
    program = Program((("add", 0, 1), ("mul", 0, -3)), seed=3, count=4)
    assert program == eval(repr(program))
