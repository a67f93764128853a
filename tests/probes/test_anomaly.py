"""``tg.debug_anomaly``: each planted fault is found where it is made, and named."""

import inspect
import re

import numpy as np
import pytest

import tinygraph as tg

BIG, TINY = 1e308, 1e-320


def leaf(*values, dtype=float):
    return tg.tensor(np.array(values, dtype), requires_grad=True, name="culprit")


# (op, shape, what the message says of it, a function whose marked line makes the first nan or inf)
FORWARD = [
    ("log", "3", lambda: tg.log(leaf(1, 0, 2))),
    ("log", "2", lambda: tg.log(leaf(-1, 1))),
    ("sqrt", "2", lambda: tg.sqrt(leaf(1, -1))),
    ("div", "2", lambda: leaf(1, 2) / 0.0),
    ("div", "2", lambda: 1.0 / leaf(0, 2)),
    ("div", "1", lambda: leaf(0) / np.zeros(1)),
    ("exp", "2", lambda: tg.exp(leaf(0, 1000))),
    ("exp", "1", lambda: tg.exp(leaf(100, dtype=np.float32))),
    ("expm1", "1", lambda: tg.expm1(leaf(1000))),
    ("log1p", "1", lambda: tg.log1p(leaf(-1))),
    ("mul", "1", lambda: leaf(BIG) * 10.0),
    ("add", "1", lambda: leaf(BIG) + np.array([BIG])),
    ("sub", "1", lambda: leaf(-BIG) - np.array([BIG])),
    ("pow", "1", lambda: leaf(0) ** -1),
    ("pow", "1", lambda: leaf(-2) ** 0.5),
    ("pow", "1", lambda: leaf(1e200) ** 2),
    ("arcsin", "1", lambda: tg.arcsin(leaf(2))),
    ("sinh", "1", lambda: tg.sinh(leaf(1000))),
    ("sum", "2", lambda: tg.sum(leaf(BIG, BIG))),
    ("prod", "2", lambda: tg.prod(leaf(BIG, 10))),
    ("cumsum", "2", lambda: tg.cumsum(leaf(BIG, BIG))),
    ("matmul", "2", lambda: leaf(BIG, BIG) @ np.ones(2)),
    ("remainder", "1", lambda: leaf(1) % 0.0),
    ("astype", "1", lambda: leaf(1e10).astype(np.float32).astype(np.float16)),
]
BACKWARD = [
    ("sqrt", "2", lambda x: tg.sum(tg.sqrt(x)), (0, 1)),
    ("log", "1", lambda x: tg.sum(tg.log(x + 0.0)), (TINY,)),
    ("div", "1", lambda x: tg.sum(1.0 / x), (1e-200,)),
    ("pow", "1", lambda x: tg.sum(x**0.5), (0,)),
    ("pow", "1", lambda x: tg.sum(x**-0.5), (1e-250,)),
    ("mul", "1", lambda x: tg.sum(x * BIG) * 10.0, (1e-300,)),
    ("arcsin", "1", lambda x: tg.sum(tg.arcsin(x)), (1,)),
]


def caught(run):
    with np.errstate(all="ignore"), pytest.raises(tg.errors.AnomalyError) as error, tg.debug_anomaly():
        run()
    return str(error.value)


def names_the_line(message, fn):
    first = fn.__code__.co_firstlineno
    assert f"{__file__}:{first}; " in message, message
    assert inspect.getsourcelines(fn)[1] == first


@pytest.mark.parametrize(("op", "shape", "fault"), FORWARD)
def test_forward(op, shape, fault):
    message = caught(fault)
    assert re.match(rf"{op}\(.*: made (nan|-?inf) of finite operands at index \(", message), message
    assert "culprit" in message or op == "astype"
    assert f"[{shape}]" in message
    names_the_line(message, fault)


@pytest.mark.parametrize(("op", "shape", "fault", "values"), BACKWARD)
def test_backward(op, shape, fault, values):
    x = leaf(*values)
    with np.errstate(all="ignore"):
        message = caught(lambda: fault(x).backward())
    assert re.match(rf"{op}\(.*: its backward made (nan|-?inf) of finite operands at index \(", message), message
    assert "culprit" in message or op == "log"
    assert f"[{shape}]" in message
    names_the_line(message, fault)
    assert x.grad is None


def test_thirty_faults():
    assert len(FORWARD) + len(BACKWARD) >= 30


def test_a_recorded_backward():
    x = leaf(0, 1)
    message = caught(lambda: tg.gradients(tg.sum(tg.sqrt(x)), x, create_graph=True))
    assert "made inf" in message
    assert __file__ in message


def test_the_sum_of_two_cotangents():
    x = leaf(0.1)
    y = tg.sum(x * BIG - x * -BIG * 0.999 - 1.5e308)
    assert "the sum of cotangents in its backward made inf" in caught(lambda: y.backward())


def test_a_scope_is_named():
    def fault():
        with tg.scope("variance"):
            return tg.log(leaf(0))

    assert "log(float64[1] culprit) in scope variance: made -inf" in caught(fault)


def test_a_fused_op():
    @tg.fused.replaces(lambda x: x * 1)
    def broken(x):
        return x / 0.0, None

    broken.backward(lambda g, saved, x: (g / 0.0,))

    @tg.fused.replaces(lambda x: x * 1)
    def half_broken(x):
        return x * 1, None

    half_broken.backward(lambda g, saved, x: (g / 0.0,))
    message = caught(lambda: broken(leaf(1)))
    assert message.startswith("broken(float64[1] culprit): made inf")
    assert __file__ in message
    message = caught(lambda: tg.sum(half_broken(leaf(1))).backward())
    assert message.startswith("half_broken(float64[1], float64[1] culprit): its backward made inf")


def test_what_came_in_is_not_blamed_on_the_op():
    with np.errstate(all="ignore"), tg.debug_anomaly():
        assert np.isnan(tg.exp(leaf(np.nan)).numpy()).all()
        assert (leaf(np.inf) * 2).item() == np.inf
        assert tg.log(leaf(np.inf)).item() == np.inf


def test_the_line_of_a_graph_made_outside_is_that_of_backward():
    x = leaf(0.0)
    y = tg.sum(tg.sqrt(x))
    assert __file__ in caught(lambda: y.backward())


def test_nothing_is_left_on():
    with tg.debug_anomaly():
        pass
    with np.errstate(all="ignore"):
        assert tg.log(leaf(0)).item() == -np.inf
