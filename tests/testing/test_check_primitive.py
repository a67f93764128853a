"""``check_primitive``: right records pass, and every law finds the record that breaks it."""

import numpy as np
import pytest
from support.calls import PRIMITIVES, REGISTRY, rule_of
from support.sabotage import FREEZING, PERTURBED, broken_rule, replaced

import tinygraph as tg
from tinygraph.core.primitive import OPS, Domain, Primitive
from tinygraph.errors import ArgumentError, GradientMismatch
from tinygraph.testing import check_primitive
from tinygraph.testing.primitives import ALWAYS, RULED, calls

(WRITES,) = ALWAYS
REVERSE, FORWARD, SECOND, LINEAR, SUMS, TYPED, LATER = RULED


@pytest.fixture
def make():
    """Primitives that are gone again after the test."""
    made = []

    def primitive(kernel, *rules, kind="elementwise", calls=(), **domain):
        made.append(Primitive("mine", kernel, rules, kind, "?", "A test.", domain=Domain(calls, **domain)))
        return made[-1]

    yield primitive
    for op in made:
        REGISTRY.pop(op.name, None)
        OPS.pop(op.name, None)


def broken(report):
    return {law for law, _, _ in report.failures}


@pytest.mark.parametrize("name", [n for n in REGISTRY if not n.startswith("random")])
def test_ours_are_right(name):
    report = check_primitive(name)
    assert report, report
    assert report.ok
    assert str(report) == f"{name} is right: every law holds in {report.tried} cases"
    report.check()


@pytest.mark.parametrize("name", PRIMITIVES)
def test_a_wrong_rule_is_wrong(name):
    op = REGISTRY[name]
    position = 0 if rule_of(op, 0) else 1
    with broken_rule(op, position, PERTURBED["shifted"](rule_of(op, position))):
        assert {REVERSE, LINEAR} <= broken(check_primitive(op))


@pytest.mark.parametrize("name", ["tanh", "mul", "prod", "einsum"])
def test_a_frozen_rule_is_wrong_at_second_order_only(name):
    op = REGISTRY[name]
    with broken_rule(op, 0, FREEZING["saved as arrays"](rule_of(op, 0))):
        assert broken(check_primitive(op)) == {SECOND}


def test_the_report_names_law_case_and_element(make):
    report = check_primitive(make(lambda xp, x: xp.tanh(x), lambda g, out, x: g * (1 - out)))
    assert not report
    assert broken(report) == {REVERSE, FORWARD, SECOND}
    text = str(report)
    assert text.startswith(f"mine is WRONG:\n  {REVERSE}\n    mine(float64[2,3]), seed 0: cotangent 0 is at [0, 0] ")
    with pytest.raises(GradientMismatch, match="mine is WRONG"):
        report.check()


def test_a_record_without_example_calls_is_called_on_shapes_that_broadcast(make):
    op = make(lambda xp, x, y: x * y, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)
    assert [c.args for c in calls(op)] == [((2, 3), (3,)), ((), (2, 1)), ((2, 3), (2, 3))]
    assert check_primitive(op)


def test_sums_over_copies(make):
    """A rule that sums by itself takes part in the broadcasting that is none of its business."""

    def rule(g, out, x, y):
        return g * y if x.shape == out.shape else tg.core.primitive.OPS["mean"](g * y)

    op = make(lambda xp, x, y: x * y, rule, lambda g, out, x, y: g * x)
    assert SUMS in broken(check_primitive(op))


def test_dtypes(make):
    report = check_primitive(make(lambda xp, x: xp.sin(x) + np.zeros(1), lambda g, out, x: g))
    assert TYPED in broken(report)
    assert "the result of float16 is float64" in str(report)


def test_a_kernel_that_writes(make):
    def kernel(xp, x):
        out = x * 1
        x *= 2
        return out

    report = check_primitive(make(kernel, lambda g, out, x: g * 1, calls=((((2, 3),), {}),)))
    assert WRITES in broken(report)
    assert "operand 0 was written to" in str(report)


@pytest.mark.parametrize(("place", "what"), [(0, "the cotangent"), (1, "the result"), (2, "operand 0")])
def test_a_rule_that_writes(make, place, what):
    def rule(*given):
        pulled = given[0] * 2
        if isinstance(given[place], np.ndarray):
            np.add(given[place], 1, out=given[place])
        return pulled

    report = check_primitive(make(lambda xp, x: x * 2, rule, calls=((((2, 3),), {}),)))
    assert WRITES in broken(report)
    assert f"{what} was written to" in str(report)


def test_a_rule_that_raises_is_a_failure(make):
    report = check_primitive(make(lambda xp, x: xp.sin(x), lambda g, out, x: undefined))  # noqa: F821
    assert broken(report) == {WRITES, *RULED}
    assert "NameError: name 'undefined' is not defined" in str(report)


def test_domains(make):
    """Operands of their own, by name and by number; without them a logarithm is nan."""
    op = make(
        lambda xp, base, x: xp.log(x) * base, lambda g, out, base, x: g * tg.core.primitive.OPS["log"](x),
        lambda g, out, base, x: g * base / x,
    )  # fmt: skip
    with np.errstate(all="ignore"):
        assert not check_primitive(op)
    for given in ({"x": "positive"}, {1: (0.5, 4.0)}, {"x": (10.0, 20.0), "base": (-1.0, 1.0)}):
        assert check_primitive(op, domains=given)
    case = calls(op, {"x": (10.0, 20.0)})[0].draw(0)
    assert ((case.arrays[1] > 10) & (case.arrays[1] < 20)).all()
    assert ((case.arrays[0] > -2) & (case.arrays[0] < 2)).all()


def test_a_function_that_only_jumps_is_compared_in_decimals(make):
    op = make(lambda xp, x: xp.floor(x) + x, lambda g, out, x: g, ranges=((0.2, 0.8),), analytic=False)
    assert check_primitive(op)
    op = make(lambda xp, x: xp.floor(x) + x, lambda g, out, x: 2 * g, ranges=((0.2, 0.8),), analytic=False)
    assert {REVERSE, FORWARD} <= broken(check_primitive(op))


def test_what_has_no_rule_is_looked_at_too(make):
    assert check_primitive("less")
    with replaced(REGISTRY["less"], "kernel", lambda xp, x, y: np.negative(x, out=x) < y):
        assert not check_primitive("less")


def test_one_seed_is_one_draw():
    assert check_primitive("tanh", seed=5).tried * 3 == check_primitive("tanh").tried


@pytest.mark.parametrize(
    ("given", "options", "what"),
    [
        ("nothing", {}, r"check_primitive\('nothing'\): is no primitive; give a Primitive, or the name of one"),
        (np.tanh, {}, "is no primitive"),
        (
            "tanh",
            {"domains": {"y": (0, 1)}},
            r"give an operand \(x, or its number\) a range \(lo, hi\), or one of 'real'",
        ),
        ("tanh", {"domains": {"x": "labels"}}, "give an operand"),
        ("tanh", {"domains": {0: (1, 0)}}, "give an operand"),
    ],
)
def test_errors(given, options, what):
    with pytest.raises(ArgumentError, match=what):
        check_primitive(given, **options)


def test_errors_of_records(make):
    op = make(lambda xp, *x: x[0], kind="other")
    with pytest.raises(ArgumentError, match=r"check_primitive\(mine\): its record has no example calls"):
        check_primitive(op)
    y = tg.fused.batch_norm(tg.tensor(np.ones((2, 3)), requires_grad=True))
    node = y.node
    while node.op.pullback is None:
        node = node.inputs[0].node
    with pytest.raises(ArgumentError, match="is fused, and has no rules; compare it with its composite: check_equiv"):
        check_primitive(node.op)
