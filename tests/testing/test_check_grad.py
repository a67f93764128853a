"""The derived gradient against oracles without rules: right of any order, wrong where a rule is wrong or frozen."""

import inspect

import numpy as np
import pytest
from support import sabotage
from support.backwards import batch_norm, others

import tinygraph as tg
from tinygraph.core.graph import argument_names
from tinygraph.core.primitive import REGISTRY
from tinygraph.errors import ArgumentError, DTypeError
from tinygraph.testing import check_backward, check_grad

ORACLES = ("auto", "complex", "decimal", "taylor")
FLOATS = (np.float16, np.float32, np.float64, np.longdouble)


def drawn(*shapes, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def shifted_softmax(x):
    e = tg.exp(x - tg.max(x, axis=1, keepdims=True).detach())
    return e / tg.sum(e, axis=1, keepdims=True)


FUNCTIONS = {
    "batch norm": (batch_norm.reference, [(4, 3), (3,), (3,)]),
    "layer norm": (others.layer_norm, [(4, 3), (3,), (3,)]),
    "softmax": (others.softmax, [(3, 4)]),
    "tanh layer": (others.tanh_layer, [(3, 4), (4, 2), (2,)]),
    "silu": (others.silu, [(5,)]),
    "distance": (others.direction_distance, [(3, 4), (3, 4)]),
    "two outputs": (lambda x, y: (x * y, {"quotient": x / (2 + tg.tanh(y))}), [(3,), (3,)]),
    "a number": (lambda x: tg.tanh(x) * x, [()]),
    "linear": (lambda x: 3 * x, [(3,)]),
    "no elements": (tg.tanh, [(0, 3)]),
}


# -- right ones ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_right_up_to_the_third_order(name, oracle):
    fn, shapes = FUNCTIONS[name]
    report = check_grad(fn, *drawn(*shapes), order=3, oracle=oracle)
    assert report.ok
    assert report.verdict == "ok"
    assert report.entries or not np.prod(shapes[0])
    assert all(e.ratio < 8 for e in report.entries)


@pytest.mark.parametrize("oracle", ["auto", "decimal", "taylor"])
@pytest.mark.parametrize("fn", [tg.relu, tg.abs, lambda x: tg.max(x, axis=0), lambda x: tg.clip(x, -0.5, 0.5) * x])
def test_right_beside_kinks(fn, oracle):
    assert check_grad(fn, *drawn((4, 3)), order=2, oracle=oracle)


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
def test_every_float_dtype(dtype, oracle):
    assert check_grad(batch_norm.reference, *drawn((5, 3), (3,), (3,), dtype=dtype), order=3, oracle=oracle)


@pytest.mark.parametrize("oracle", ORACLES)
def test_integer_arguments_are_held_fixed(oracle):
    (z,), t = drawn((4, 3)), np.array([0, 2, 1, 1])
    report = check_grad(tg.cross_entropy, z, t, order=2, oracle=oracle)
    assert report.ok
    assert {e.leaf.split(" ")[0] for e in report.entries} == {argument_names(tg.cross_entropy, 1)[0]}
    with sabotage.broken_rule(REGISTRY["exp"], 0, sabotage.FREEZING["detached"](REGISTRY["exp"].vjps[0])):
        assert check_grad(tg.cross_entropy, z, t, oracle=oracle)
        assert not check_grad(tg.cross_entropy, z, t, order=2, oracle=oracle)


def test_a_narrower_type_on_the_way():
    (x,) = drawn((4, 3))
    assert check_grad(lambda x: tg.tanh(tg.astype(x, np.float32)) * x, x, order=3)


@pytest.mark.parametrize("fn", [tg.log, tg.sqrt, lambda x: 1 / x, lambda x: tg.log(x) * tg.sqrt(x)])
def test_near_the_end_of_the_domain(fn):
    x = np.array([1e-6, 1e-3, 0.02, 1.0, 30.0])
    assert check_grad(fn, x, order=3)
    assert check_grad(fn, x[2:], order=3, oracle="complex")


def test_large_arguments_are_sampled():
    report = check_grad(tg.tanh, *drawn((1000,)))
    assert report.ok
    with sabotage.broken_rule(REGISTRY["tanh"], 0, lambda g, out, x: g * (1 - out)):
        assert not check_grad(tg.tanh, *drawn((1000,)))


def test_the_entries():
    report = check_grad(batch_norm.reference, *drawn((4, 3), (3,), (3,)), order=2)
    assert [e.leaf for e in report.entries] == [
        "x",
        "gamma",
        "beta",
        "x (order 2)",
        "gamma (order 2)",
        "beta (order 2)",
    ]
    assert str(report).startswith("dx, dgamma, dbeta, dx (order 2)")
    assert set(report.problem.arrays) == {"x", "gamma", "beta"}


def test_the_same_seed_gives_the_same_report():
    first, second, third = (str(check_grad(others.softmax, *drawn((3, 4)), seed=s)) for s in (1, 1, 2))
    assert first == second != third


def test_slack():
    arrays = drawn((4, 3), (3,), (3,))
    assert not check_grad(batch_norm.reference, *arrays, slack=1e-6)
    assert check_grad(batch_norm.reference, *arrays, slack=8)


# -- wrong ones ----------------------------------------------------------------------------------------

OPS = {
    "tanh": lambda x: tg.tanh(x),
    "exp": lambda x: tg.exp(x),
    "sqrt": lambda x: tg.sqrt(x),
    "mul": lambda x: x * (x + 1),
    "div": lambda x: x / (x + 1),
    "matmul": lambda x: x @ (x + 1),
    "prod": lambda x: tg.prod(x, axis=0),
}


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("how", [n for n in sabotage.PERTURBED if n != "dropped"])
@pytest.mark.parametrize("name", OPS)
def test_a_wrong_rule(name, how, oracle):
    op, x = REGISTRY[name], np.abs(drawn((3, 3))[0]) + 0.1
    assert check_grad(OPS[name], x, oracle=oracle)
    with sabotage.broken_rule(op, 0, sabotage.PERTURBED[how](op.vjps[0])):
        report = check_grad(OPS[name], x, oracle=oracle)
    assert not report.ok
    assert report.verdict == "wrong"
    assert [e.leaf for e in report.entries if not e.ok] == [argument_names(OPS[name], 1)[0]]
    assert "dx is WRONG: " in str(report)


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("how", sabotage.FREEZING)
@pytest.mark.parametrize("name", OPS)
def test_a_rule_that_freezes_its_inputs_is_found_at_order_2(name, how, oracle):
    op, x = REGISTRY[name], np.abs(drawn((3, 3))[0]) + 0.1
    with sabotage.broken_rule(op, 0, sabotage.FREEZING[how](op.vjps[0])):
        first, second = (check_grad(OPS[name], x, order=k, oracle=oracle) for k in (1, 2))
    assert first.ok
    assert second.verdict == "wrong"
    assert check_grad(OPS[name], x, order=2, oracle=oracle)


def test_an_order_is_checked_up_to_itself():
    """Frozen in the second derivative only: right at the orders 1 and 2."""
    op = REGISTRY["tanh"]

    def rule(g, out, x):
        h = tg.tensor(np.asarray(out._data)) if isinstance(out, tg.Tensor) else out
        # The slope of 1 - out² is kept, and that of its slope is lost.
        return g * (1 - h**2 - 2 * h * (out - h))

    (x,) = drawn((4,))
    with sabotage.broken_rule(op, 0, rule):
        assert [check_grad(tg.tanh, x, order=k).ok for k in (1, 2, 3)] == [True, True, False]


def test_what_a_detach_hides_is_wrong():
    """The derived gradient is meant to be another one there; an oracle knows of no such intention."""
    (x,) = drawn((4,))
    for oracle in ORACLES:
        assert check_grad(lambda x: x * x.detach(), x, oracle=oracle).verdict == "wrong"


@pytest.mark.parametrize("oracle", ["auto", "decimal", "taylor"])
def test_a_detach_that_does_not_matter(oracle):
    assert check_grad(shifted_softmax, *drawn((3, 4)), order=3, oracle=oracle)


def test_the_taylor_rate_in_words():
    with sabotage.broken_rule(REGISTRY["tanh"], 0, lambda g, out, x: g * (1 - out)):
        report = check_grad(tg.tanh, *drawn((4,)), oracle="taylor")
    assert "along a random direction the remainder vanishes at the rate 1.0" in str(report)
    assert [(e.kind, e.ok) for e in report.entries] == [("Taylor rate", False)]
    assert report.entries[0].got == pytest.approx(1, abs=0.1)


def test_longdouble_is_compared_in_longdouble():
    """Wrong by 1e-17 of the gradient: less than float64 can tell."""
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("longdouble is float64 here")
    op, (x,) = REGISTRY["exp"], drawn((4,), dtype=np.longdouble)

    def rule(g, out, x):
        return g * out * (1 + np.longdouble(1e-17) * 100)

    with sabotage.broken_rule(op, 0, rule):
        for oracle in ("complex", "decimal"):
            assert not check_grad(tg.exp, x, oracle=oracle)
            assert check_grad(tg.exp, x.astype(np.float64), oracle=oracle)
    assert check_grad(tg.exp, x, oracle="complex")


# -- wrong calls -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda x: check_grad(tg.tanh, x, oracle="finite"),
            ArgumentError,
            "write one of auto, complex, decimal, taylor",
        ),
        (lambda x: check_grad(tg.tanh, x, order=0), ArgumentError, r"order=0.*is 1, 2, …"),
        (lambda x: check_grad(tg.tanh, x, order=1.5), ArgumentError, r"order=1\.5"),
        (lambda x: check_grad(tg.tanh, x, order=True), ArgumentError, "order=True"),
        (lambda x: check_grad(tg.tanh, np.arange(3)), ArgumentError, "no argument is floating"),
        (lambda x: check_grad(tg.tanh, x + 1j), ArgumentError, "no argument is floating"),
        (lambda x: check_grad(tg.tanh), ArgumentError, "no argument is floating"),
        (lambda x: check_grad(tg.tanh, x, x), ArgumentError, "takes 1 operand, got 2"),
        (lambda x: check_grad(3, x), ArgumentError, "traces a function"),
        (lambda x: check_grad(lambda x: None, x), DTypeError, "returned None where a Tensor is due"),
        (lambda x: check_grad(tg.log, -np.abs(x)), ArgumentError, "gradient of order 1 is not finite here"),
        (lambda x: check_grad(tg.log, [-1.0]), ArgumentError, "choose other arrays"),
        (lambda x: check_grad(tg.sqrt, 0 * x), ArgumentError, "not finite"),
    ],
)
def test_wrong_calls(call, error, says):
    with pytest.raises(error, match=says):
        call(drawn((4,))[0])


# -- what it cannot judge -----------------------------------------------------------------------------------


def centred_power(exponent):
    return lambda x: tg.mean((x - tg.mean(x)) ** exponent)


def test_a_constant_exponent_is_not_rounded():
    """3.0 - 1 is exactly 2: perturbed, it would make nan of negative numbers, and the check would pass whatever came."""
    x, exponent = drawn((4, 3))[0], tg.tensor(3.0)
    assert check_grad(centred_power(exponent), x, order=2)
    rule = REGISTRY["pow"].vjps[0]
    with sabotage.broken_rule(REGISTRY["pow"], 0, sabotage.PERTURBED["doubled"](rule)):
        assert check_grad(centred_power(exponent), x).verdict == "wrong"


def test_it_says_so_where_rounding_hides_everything():
    report = check_grad(lambda x: tg.sin(1e16 * x), drawn((3,))[0])
    assert "blind-reference" in report.warnings
    assert "cannot judge" in str(report)
    assert not check_grad(lambda x: tg.sin(x), drawn((3,))[0]).warnings


# -- the names of arguments --------------------------------------------------------------------------------


def test_primitives_say_what_their_operands_are_called():
    for name, op in REGISTRY.items():
        if name.startswith("random_"):
            continue
        fn = getattr(tg, name)
        assert inspect.signature(fn) == inspect.signature(op)
        assert (
            op.arity is None or argument_names(fn, op.arity) == argument_names(op, op.arity) == ["x", "y"][: op.arity]
        )
    assert argument_names(tg.where, 3) == ["condition", "x", "y"]
    assert argument_names(tg.fused.batch_norm, 3) == ["x", "gamma", "beta"]
    assert str(inspect.signature(tg.add)) == "(x, y, /)"


def test_reports_on_primitives_use_those_names():
    x, y = drawn((3,), (3,))
    report = check_backward(tg.mul, lambda dy, x, y: (dy * y, dy * x), x, y, wrt=["x", "y"])
    assert [e.leaf for e in report.entries] == ["x", "y"]
    assert check_backward(tg.tanh, lambda dy, x: dy / np.cosh(x) ** 2, x, wrt="x").entries[0].leaf == "x"
    assert [e.leaf for e in check_grad(REGISTRY["mul"], x, y).entries] == ["x", "y"]
    assert str(tg.trace(tg.mul, x, y)).startswith("graph(x: float64[3], y: float64[3])")
