"""``backward_test``, ``equivalent_test`` and ``primitive_test``: whole tests from one decorator."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, example, settings
from support.backwards import batch_norm, others
from support.my_kernels import contiguous_only, my_fused_backward

import tinygraph as tg
from tinygraph.errors import ArgumentError, GradientMismatch
from tinygraph.testing import Problem, backward_test, equivalent_test, primitive_test
from tinygraph.testing import decorators as module

TESTS = Path(__file__).parents[1]


@backward_test(batch_norm.reference, x="N C", gamma="C", beta="C")
def test_a_right_kernel_passes(dy, x, gamma, beta):
    return batch_norm.classic(dy, x, gamma, beta)


@backward_test(batch_norm.reference, x="N C", gamma="C", beta="C", dtype=np.float32)
def test_a_right_float32_kernel_passes(dy, x, gamma, beta):
    return batch_norm.staged(dy, x, gamma, beta)


@settings(max_examples=30)
@backward_test(tg.relu, x="N C", regimes=("generic", "degenerate", "nonfinite"))
def test_settings_may_stand_above(dy, x):
    return dy * (x > 0) if np.isfinite(x).all() else dy * np.where(np.isnan(x), 1, x > 0)


def test_other_right_kernels_pass():
    for case in others.CASES:
        for backward in case.right.values():
            options = {"domains": case.domains or None, "wrt": case.wrt}
            settings(max_examples=25)(backward_test(case.reference, **options, **case.shapes)(backward))()


@backward_test(batch_norm.reference, x="N C", gamma="C", beta="C")
def wrong(dy, x, gamma, beta):
    return my_fused_backward(dy, x, gamma, beta)


@pytest.fixture(scope="module")
def message():
    with pytest.raises(GradientMismatch) as caught:
        wrong()
    return str(caught.value)


def test_a_failure_names_the_term(message):
    lines = message.splitlines()
    assert lines[0].startswith("dx is WRONG: ")
    assert lines[0].endswith("rounding units, limit 64 (float64)")
    assert "dgamma, dbeta are right" in lines[2]
    assert "    dx: term through mu multiplied by -1 (it has its sign flipped)" in lines
    for line in (
        "derived dx = direct + through var + through mu",
        "yours   dx = direct + through var - through mu",
        "where: mu = tg.mean(x, axis=0)      batch_norm.py:",
        "not distinguishable from: sign of the subtrahend in xc = x - mu",
        "Reproduce without Hypothesis:",
        "from support.my_kernels import my_fused_backward",
        "Keep it:  @example(Problem(x=np.array(",
    ):
        assert line in message, message


def test_the_example_is_small_and_not_zero(message):
    kept = eval(message.rpartition("@example(")[2][:-1], {"np": np, "Problem": Problem})
    x = kept.arrays["x"]
    assert x.size <= 4
    assert np.ptp(x, axis=0).all()
    assert np.array_equal(x, np.round(x))


def test_the_reproduction_reproduces_without_tinygraph(message):
    """Pasted into a fresh interpreter in which tinygraph cannot be imported."""
    code = textwrap.dedent(message.partition("Reproduce without Hypothesis:\n")[2].rpartition("  Keep it:")[0])
    *before, call = code.rstrip().splitlines()
    expected = call.partition("# should be ")[2]
    lines = ["import sys", "sys.modules['tinygraph'] = None", *before, f"found = {call}", "print(found.tolist())"]
    script = "\n".join([f"import sys; sys.path.insert(0, {str(TESTS)!r})", *lines])
    # The package that the kernel lies in imports Hypothesis; the kernel itself does not.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, due = np.array(eval(done.stdout)), np.array(eval(expected))
    assert found.shape == due.shape
    assert np.abs(found - due).max() > 1e-3


def test_a_kept_example_is_tried():
    problem = Problem(x=np.array([[7.5]]), gamma=np.ones(1), beta=np.ones(1), dy=np.ones((1, 1)))
    seen = []

    def recording(dy, x, gamma, beta):
        seen.append(float(x[0, 0]) if x.size else None)
        return batch_norm.classic(dy, x, gamma, beta)

    decorated = backward_test(batch_norm.reference, x="N C", gamma="C", beta="C")(recording)
    settings(max_examples=2)(example(problem=problem)(decorated))()
    assert 7.5 in seen


def test_a_kernel_that_wants_contiguous_memory_is_caught():
    check = backward_test(lambda x: x * x, x="N C")
    with pytest.raises(GradientMismatch):
        check(contiguous_only)()
    settings(max_examples=30)(backward_test(lambda x: x * x, x="N C", layouts=False)(contiguous_only))()


def test_an_unstable_kernel_is_called_so():
    check = backward_test(batch_norm.reference, x="N C", gamma="C", beta="C", regimes=("offset",))
    with pytest.raises(GradientMismatch) as caught:
        check(batch_norm.UNSTABLE)()
    assert caught.value.report.verdict == "unstable"


def test_hunting_looks_for_the_largest_error():
    check = backward_test(batch_norm.reference, x="N C", gamma="C", beta="C", hunt=True)
    settings(max_examples=60)(check(batch_norm.classic))()


def test_without_a_doctor_nothing_is_diagnosed():
    check = backward_test(batch_norm.reference, x="N C", gamma="C", beta="C", doctor=False)
    with pytest.raises(GradientMismatch) as caught:
        check(my_fused_backward)()
    assert "Diagnosis" not in str(caught.value)
    assert "dx is WRONG" in str(caught.value)


def test_it_is_an_ordinary_test():
    assert wrong.__name__ == "wrong"
    assert wrong.__module__ == __name__
    assert wrong.hypothesis.inner_test is not None
    digests = {test_a_right_kernel_passes, test_a_right_float32_kernel_passes}
    assert len({t.hypothesis.inner_test._hypothesis_internal_add_digest for t in digests}) == 2


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: backward_test(batch_norm.reference, x="N C", gamma="C"), "no shape for beta"),
        (lambda: backward_test(batch_norm.reference, x="N C", gamma="C", beta="C", delta="C"), "no argument 'delta'"),
        (lambda: backward_test(tg.relu, x="N C", kinks="any")(contiguous_only), "write 'hull' or 'exact'"),
        (lambda: backward_test(tg.relu, x="N C")(None), "write it above a def"),
        (lambda: backward_test(tg.relu, x="N C", regimes=("huge",))(contiguous_only)(), "huge"),
    ],
)
def test_wrong_calls(call, text):
    with pytest.raises(ArgumentError, match=text):
        call()


# -- the other factories -----------------------------------------------------------------------------


def test_what_is_not_equivalent_is_caught():
    with pytest.raises(GradientMismatch):
        equivalent_test(tg.silu, lambda x: x * tg.sigmoid(1.01 * x), x="N")()


test_tanh = primitive_test("tanh")


def test_a_wrong_primitive_is_caught():
    from support.sabotage import broken_rule

    from tinygraph.core.primitive import REGISTRY

    with (
        broken_rule(REGISTRY["tanh"], 0, lambda g, out, x: g * (1 - out)),
        pytest.raises(GradientMismatch, match="tanh is WRONG"),
    ):
        settings(max_examples=5, phases=[Phase.generate])(primitive_test("tanh"))()


def test_without_hypothesis_the_extra_is_named(monkeypatch):
    """Everything else works without it; see also tests/structure."""
    code = """
import sys
sys.modules["hypothesis"] = None
import numpy as np, tinygraph as tg
from tinygraph.errors import MissingExtra
t = tg.testing
assert t.check_backward(tg.exp, lambda dy, x: dy * np.exp(x), np.ones(3)).ok
assert t.diagnose(tg.exp, lambda dy, x: dy * np.exp(x), x="N").ok
assert t.prove(lambda x: x * x, lambda dy, x: 2 * x * dy, x="N")
assert t.check_primitive("exp").ok
assert t.check_grad(tg.exp, np.ones(3)).ok
assert t.contributions(tg.exp, np.ones(3))
assert t.power(lambda b: False, lambda x: x * x, x="N").false_alarm
for use in (lambda: t.backward_test(tg.exp, x="N")(lambda dy, x: dy), lambda: t.equivalent_test(tg.exp, tg.exp, x="N"),
            lambda: t.primitive_test("exp"), lambda: t.arrays((2,)), lambda: t.problems(x="N"), lambda: t.programs()):
    try:
        use()
    except MissingExtra as error:
        assert 'tinygraph[testing]' in str(error), error
    else:
        raise AssertionError(use)
print("fine")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr


def test_no_profile_and_no_plugin_come_with_it():
    assert not hasattr(module, "pytest")
    before = settings.default
    backward_test(tg.relu, x="N")(contiguous_only)
    assert settings.default is before
