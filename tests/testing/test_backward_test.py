"""``backward_test``, ``equivalent_test`` and ``primitive_test``: whole tests from one decorator."""

import functools
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, assume, example, seed, settings
from support.backwards import batch_norm, others
from support.my_kernels import contiguous_only, my_fused_backward

import tinygraph as tg
from tinygraph.errors import ArgumentError, GradientMismatch
from tinygraph.testing import Problem, backward_test, equivalent_test, primitive_test
from tinygraph.testing import decorators as module

TESTS = Path(__file__).parents[1]
alone = settings(database=None)  # other runs leave no examples here


@backward_test(batch_norm.reference, x="N C", gamma="C", beta="C")
def test_a_right_kernel_passes(dy, x, gamma, beta):
    # Not the closed form, which loses ten bits more than the reference for two rows far from 0.
    return batch_norm.staged(dy, x, gamma, beta)


@backward_test(batch_norm.reference, x="N C", gamma="C", beta="C", dtype=np.float32)
def test_a_right_float32_kernel_passes(dy, x, gamma, beta):
    return batch_norm.staged(dy, x, gamma, beta)


@settings(max_examples=30)
@backward_test(tg.relu, x="N C", regimes=("generic", "degenerate", "nonfinite"))
def test_settings_may_stand_above(dy, x):
    return np.where((x > 0) | np.isnan(x), dy, 0.0)


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
        return batch_norm.staged(dy, x, gamma, beta)

    decorated = backward_test(batch_norm.reference, x="N C", gamma="C", beta="C")(recording)
    settings(max_examples=2)(example(problem=problem)(decorated))()
    assert 7.5 in seen


def test_a_kernel_that_wants_contiguous_memory_is_caught():
    check = backward_test(lambda x: x * x, x="N C")
    with pytest.raises(GradientMismatch):
        check(contiguous_only)()
    settings(max_examples=30)(backward_test(lambda x: x * x, x="N C", layouts=False)(contiguous_only))()


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_unstable_kernel_is_found_and_called_so(number, dtype):
    """E[x²] - E[x]², in 100 examples of the usual regimes: in 79 of 80 seeds; of these ten none may fail."""
    check = backward_test(batch_norm.reference, x="N C", gamma="C", beta="C", dtype=dtype)
    with pytest.raises(GradientMismatch) as caught:
        alone(seed(number)(check(batch_norm.UNSTABLE)))()
    assert caught.value.report.verdict == "unstable"


def test_hunting_looks_for_the_largest_error():
    check = backward_test(batch_norm.reference, x="N C", gamma="C", beta="C", hunt=True)
    settings(max_examples=60)(check(batch_norm.staged))()


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
    assert not inspect.signature(wrong).parameters
    digests = {test_a_right_kernel_passes, test_a_right_float32_kernel_passes}
    assert len({t.hypothesis.inner_test._hypothesis_internal_add_digest for t in digests}) == 2


# -- nothing compared -----------------------------------------------------------------------------------


def anything(dy, x):
    return dy * 77


def test_a_test_that_compares_nothing_fails():
    check = backward_test(lambda x: tg.log(x) * tg.log(-x), x="N")
    with pytest.raises(
        ArgumentError, match=r"anything: none of \d+ examples was compared: .*domains=\{'x': 'positive'\}"
    ):
        check(anything)()
    with pytest.raises(ArgumentError, match="test_equivalent: none of"):
        equivalent_test(lambda x: tg.log(-1 - x * x), lambda x: tg.log(-1 - x * x), x="N")()


def test_one_comparison_is_enough():
    """An explicit example counts; what is skipped besides it does no harm; each run counts anew."""

    def reference(x):
        return tg.log(x - 50)

    def right(dy, x):
        return dy / (x - 50)

    given = backward_test(reference, x="N", regimes=("generic",))
    example(problem=Problem(x=np.array([60.0]), dy=np.array([2.0])))(given(right))()
    with pytest.raises(GradientMismatch):
        example(problem=Problem(x=np.array([60.0]), dy=np.array([2.0])))(given(anything))()
    never = given(right)
    for _ in range(2):
        with pytest.raises(ArgumentError, match="was compared"):
            never()


# -- other decorators, methods, names ----------------------------------------------------------------------


def counting():
    """A right kernel for sin, and its calls."""
    calls = []

    def sin_backward(dy, x):
        calls.append(x)
        return dy * np.cos(x)

    return sin_backward, calls


@pytest.mark.parametrize("above", [True, False])
def test_settings_may_stand_above_or_below(above):
    kernel, calls = counting()
    few, check = settings(max_examples=7, database=None), backward_test(tg.sin, x="N")
    (few(check(kernel)) if above else check(few(kernel)))()
    assert 7 <= len(calls) / 2 <= 8


@pytest.mark.parametrize("above", [True, False])
def test_examples_may_stand_above_or_below(above):
    kernel, calls = counting()
    one, check = example(problem=Problem(x=np.array([7.5]), dy=np.array([1.0]))), backward_test(tg.sin, x="N")
    (one(check(kernel)) if above else check(one(kernel)))()
    assert calls[0].tolist() == [7.5]


def test_no_deadline_is_set():
    assert wrong._hypothesis_internal_use_settings.deadline is None
    assert test_tanh._hypothesis_internal_use_settings.deadline is None


def test_marks_stay():
    def kernel(dy, x):
        return dy

    decorated = backward_test(tg.sin, x="N")(pytest.mark.xfail(strict=True)(kernel))
    assert [m.name for m in decorated.pytestmark] == ["xfail"]


def test_a_decorated_kernel_keeps_its_test_apart():
    """``functools.wraps`` leaves a ``__wrapped__`` that is no part of the test."""

    @functools.wraps(anything)
    def wrapped(*args):
        return args[0] * np.cos(args[1])

    backward_test(tg.sin, x="N")(wrapped)()


class TestMethods:
    factor = 1.0

    @backward_test(tg.sin, x="N")
    def test_a_method(self, dy, x):
        return self.factor * dy * np.cos(x)

    @staticmethod
    @backward_test(tg.sin, x="N")
    def test_a_static_method(dy, x):
        return dy * np.cos(x)


def test_a_wrong_method_is_caught():
    class Wrong(TestMethods):
        factor = 2.0

    with pytest.raises(GradientMismatch, match="all terms multiplied by 2"):
        Wrong().test_a_method()


def test_an_assumption_skips_an_example():
    seen = []

    @backward_test(tg.sin, x="N")
    def longer(dy, x):
        assume(x.size > 1)
        seen.append(x.size)
        return dy * np.cos(x)

    longer()
    assert min(seen) == 2

    @alone
    @backward_test(tg.sin, x="N")
    def wrong_and_longer(dy, x):
        assume(0 < x.size < 4)
        return dy

    with pytest.raises(GradientMismatch, match="dx is WRONG") as caught:
        wrong_and_longer()
    assert "UnsatisfiedAssumption" not in str(caught.value)


@pytest.mark.parametrize(
    "kernel",
    [
        lambda dy, x: dy * 77,
        functools.partial(lambda s, dy, x: dy * s, 77),
        np.multiply,
        type("Kernel", (), {"__call__": lambda self, dy, x: dy * 77})(),
    ],
    ids=["lambda", "partial", "ufunc", "object"],
)
def test_what_has_no_name_is_tested_too(kernel):
    check = alone(backward_test(tg.sin, x="N")(kernel))
    assert check.__name__.isidentifier()
    with pytest.raises(GradientMismatch, match="dx is WRONG"):
        check()


def test_a_traceback_shows_none_of_our_frames(tmp_path):
    """What pytest prints is the message, not the source of this library."""
    file = tmp_path / "test_it.py"
    file.write_text(
        textwrap.dedent("""
        import tinygraph as tg
        from tinygraph.testing import backward_test

        @backward_test(tg.sin, x="N")
        def test_mine(dy, x):
            return dy * 2
    """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "E   tinygraph.errors.GradientMismatch: dx is WRONG" in done.stdout
    assert "__tracebackhide__" not in done.stdout
    assert "def of_function" not in done.stdout


# -- wrong calls ---------------------------------------------------------------------------------------------


def in_other_order(x, gamma, dy, beta):
    return dy


NORM = {"x": "N C", "gamma": "C", "beta": "C"}


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: backward_test(batch_norm.reference, x="N C", gamma="C"), "no shape for beta"),
        (lambda: backward_test(batch_norm.reference, x="N C", gamma="C", beta="C", delta="C"), "no argument 'delta'"),
        (lambda: backward_test(tg.relu, x="N C", kinks="any")(contiguous_only), "'hull' or 'exact'"),
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
test_exp = primitive_test(tg.exp)


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
