"""What several threads or suspended generators do at once is right, or raises."""

import threading

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.scope import scope_var
from tinygraph.errors import StaleError


def test_a_parameter_assigned_while_it_is_read_is_stale(monkeypatch):
    """An assignment between the reading of an operand and the end of the operation is always found."""
    p, q = tg.Parameter(np.ones(2), name="p"), tg.Parameter(np.ones(2))
    mul = tg.ops.elementwise.mul
    kernel = mul.kernel

    def assign_meanwhile(xp, x, y):
        out = kernel(xp, x, y)
        thread = threading.Thread(target=p.assign, args=(np.full(2, 5.0),))
        thread.start()
        thread.join()
        return out

    object.__setattr__(mul, "kernel", assign_meanwhile)
    try:
        y = p * q
    finally:
        object.__setattr__(mul, "kernel", kernel)
    with pytest.raises(StaleError, match="p was assigned after mul had read it"):
        y.backward(np.ones(2))


@pytest.mark.parametrize("enter", [tg.no_grad, lambda: tg.scope("a")], ids=["no_grad", "scope"])
@pytest.mark.parametrize("order", ["first in, first out", "last in, first out"])
def test_suspended_generators_leave_nothing_behind(enter, order):
    def generator():
        with enter():
            yield
            yield

    one, two = generator(), generator()
    for g in (one, two, one, two):
        next(g)
    for g in (one, two) if order == "first in, first out" else (two, one):
        assert next(g, None) is None
    assert scope_var.get() is None
    assert (tg.tensor(1.0, requires_grad=True) * 2).requires_grad
