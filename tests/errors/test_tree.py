"""The tree of exceptions is the one that its docstring draws."""

import re

import pytest

import tinygraph as tg
from tinygraph import errors

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, tg.TinygraphError)]


def drawn():
    """{class: (parent, what a NumPy user catches)} of the docstring."""
    parents, found = ["TinygraphError"], {}
    line = r"^    ([│ ]*)[├└]── ((?:\w+, )*\w+)(?: \((\w+)\))?(?: .*)?$"
    for indent, names, builtin in re.findall(line, errors.__doc__, re.MULTILINE):
        depth = len(indent) // 4 + 1
        for name in names.split(", "):
            found[name] = parents[depth - 1], builtin
            parents[depth:] = [name]
    return found


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not tg.TinygraphError])
def test_a_class_stands_where_it_is_drawn(kind):
    parent, builtin = drawn()[kind.__name__]
    assert [base.__name__ for base in kind.__bases__] == [parent] + [builtin] * bool(builtin)


def test_nothing_else_is_drawn():
    assert set(drawn()) == {kind.__name__ for kind in CLASSES} - {"TinygraphError"}


def test_one_class_under_each_name():
    assert tg.data.DataError is errors.DataError
    assert tg.data.DataMissing is errors.DataMissing
    assert tg.checkpoint.CheckpointError is errors.CheckpointError
