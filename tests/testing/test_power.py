"""A check is worth what it rejects: the mutants are wrong as they say, and known checks get their known marks."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import Phase, settings
from support import gradient_checks
from support.backwards import batch_norm, others

import tinygraph as tg
from tinygraph.errors import ArgumentError, NotAlgebraic, ShapeError
from tinygraph.testing import assert_backward, backward_test, check_backward, diagnose, prove
from tinygraph.testing.mutants import OPERATORS
from tinygraph.testing.power import power

BN = batch_norm.SHAPES
SEES_NOTHING = "{} of this output is constant in {}: a loss {} sees no term of d{}"


def arrays_for(shapes, seed=0, dtype=np.float64, **sizes):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=[sizes[n] for n in spec.split()]), dtype) for spec in shapes.values()]


def at_generic_problems(reference, shapes, sizes, dtype=np.float64):
    """A check that is built from ours: a few random problems, one of them so small that constants matter."""

    def check(backward):
        for seed, letters in enumerate(sizes):
            x, *others = arrays_for(shapes, seed, dtype, **letters)
            x = x * dtype(0.003 if seed == 2 else 1)
            assert_backward(reference, backward, x, *others, seed=seed)

    return check


def accepts(backward):
    return None


def rejects(backward):
    return False


def sum_of_batch_norm(backward):
    """dx against finite differences of y.sum()."""
    gradient_checks.sum_against_differences(backward.forward, backward, arrays_for(BN, N=8, C=3), 0)


def linear(x, W, b):
    return x @ W + b


def unit(x):
    n = tg.sqrt(tg.sum(x**2, axis=1, keepdims=True))
    return x / n


# -- the marks that checks get -------------------------------------------------------------------------


def test_the_loss_y_sum_sees_few_faults_of_batch_norm():
    report = power(sum_of_batch_norm, batch_norm.reference, **BN)
    assert not report.false_alarm
    assert 0 < report.caught < report.total / 2
    missed = {str(m) for m in report.survivors}
    assert "dx: term through var multiplied by 0 (it is missing)" in missed
    assert "dx: term through var multiplied by N" in missed
    assert "dx: leaves out gamma in gamma * xhat" in missed
    assert "dx: term through mu multiplied by 0 (it is missing)" not in missed
    through_var = {m for m in report.mutants if m.term == "through var" and m.factor}
    assert len(through_var) == 4
    assert through_var <= set(report.survivors), "with dy = 1 this term is zero, whatever it is multiplied by"


def test_the_text_says_what_a_check_misses():
    report = power(sum_of_batch_norm, batch_norm.reference, **BN)
    lines = str(report).splitlines()
    assert lines[0] == f"your check catches {report.caught} of {report.total} wrong backwards"
    assert lines[1 : 1 + len(report.survivors)] == [f"    {m}" for m in report.survivors]
    assert SEES_NOTHING.format("sum()", "x", "y.sum()", "x") in lines
    assert SEES_NOTHING.format("sum()", "gamma", "y.sum()", "gamma") in lines
    assert lines[1 + len(report.survivors) :] == list(map(str, report.null_directions))
    assert "\n" not in repr(report)
    assert f"{report.caught} of {report.total}" in repr(report)


CASES = [case for case in others.CASES if not case.domains]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rounding_units_catch_everything(case):
    check = at_generic_problems(
        case.reference, case.shapes, [{"N": 6, "C": 4, "D": 5}, {"N": 5, "C": 7, "D": 3}, {"N": 8, "C": 3, "D": 4}]
    )
    report = power(check, case.reference, max_mutants=40, **case.shapes)
    assert (report.survivors, report.false_alarm) == ((), False)
    assert report.caught == report.total == len(report.mutants) >= 6


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rounding_units_catch_every_batch_norm(dtype):
    check = at_generic_problems(batch_norm.reference, BN, [{"N": 6, "C": 4}, {"N": 5, "C": 2}, {"N": 8, "C": 3}], dtype)
    report = power(check, batch_norm.reference, dtype=dtype, **BN)
    assert (report.survivors, report.false_alarm) == ((), False)
    assert report.total > 40


def test_the_decorator_catches_everything():
    def check(backward):
        test = backward_test(batch_norm.reference, doctor=False, **BN)(
            lambda dy, x, gamma, beta: backward(dy, x, gamma, beta)
        )
        settings(max_examples=20, phases=(Phase.explicit, Phase.generate))(test)()

    report = power(check, batch_norm.reference, max_mutants=24, **BN)
    assert (report.survivors, report.false_alarm, report.total) == ((), False, 24)


def test_who_accepts_everything_catches_nothing():
    report = power(accepts, others.softmax, x="N C")
    assert (report.caught, report.false_alarm) == (0, False)
    assert report.survivors == report.mutants
    assert report.total == len(report.mutants) > 8


def test_who_rejects_everything_raises_a_false_alarm():
    report = power(rejects, others.softmax, x="N C")
    assert (report.caught, report.false_alarm, report.survivors) == (report.total, True, ())
    assert "it rejects the right backward as well (it returned False)" in str(report)
    assert "false alarm" in repr(report)


@pytest.mark.parametrize(
    ("verdict", "accepted"),
    [
        (None, True),
        (True, True),
        (1, True),
        (np.True_, True),
        ("ok", True),
        (False, False),
        (0, False),
        (np.False_, False),
        ("", False),
    ],
)
def test_a_verdict_is_a_truth_value_and_none_accepts(verdict, accepted):
    report = power(lambda backward: verdict, tg.tanh, x="N")
    assert report.false_alarm is not accepted
    assert report.caught == (0 if accepted else report.total)


def test_a_report_is_a_verdict():
    report = power(lambda b: check_backward(tg.tanh, b, np.array([0.3, -1.0])), tg.tanh, x="N")
    assert (report.caught, report.false_alarm) == (report.total, False)


def test_exceptions_reject_and_interrupts_pass():
    def check(backward):
        raise ValueError("first line\nsecond")

    report = power(check, tg.tanh, x="N")
    assert report.false_alarm
    assert "(ValueError: first line)" in str(report)
    for stop in (KeyboardInterrupt, SystemExit):

        def stopped(backward, stop=stop):
            raise stop

        with pytest.raises(stop):
            power(stopped, tg.tanh, x="N")


def test_the_right_backward_comes_first_and_is_the_derived_one():
    seen = []
    report = power(seen.append, batch_norm.reference, **BN)
    assert seen[1:] == list(report.mutants)
    dy, *arrays = arrays_for({"dy": "N C", **BN}, N=7, C=3)
    _, expected = tg.vjp_fn(batch_norm.reference)(*arrays, dy)
    for found, due in zip(seen[0](dy, *arrays), expected, strict=True):
        np.testing.assert_allclose(found, due.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(seen[0].forward(*arrays), batch_norm.reference(*map(tg.tensor, arrays)).numpy())


# -- the checks of other packages: the table of what eleven realistic faults they catch ------------------

ELEVEN = [m for m in batch_norm.MUTANTS if m.number in (1, 2, 3, 7, 8, 9, 13, 14, 15, 21, 22)]
NOT_ALWAYS = {13}  # eps missing: beside their tolerances at ordinary scale
forward = gradient_checks.batch_norm


def numbers_caught(check, n, seed=0):
    """Which of the eleven a check rejects; it must accept the right one."""
    arrays = arrays_for(BN, seed, N=n, C=3)
    check(forward, batch_norm.classic, arrays, seed)
    caught = set()
    for mutant in ELEVEN:
        try:
            check(forward, mutant.backward, arrays, seed)
        except Exception:
            caught.add(mutant.number)
    return caught


every = {m.number for m in ELEVEN}


def test_eleven_against_torch():
    pytest.importorskip("torch")
    assert numbers_caught(gradient_checks.torch_gradcheck, 8) | NOT_ALWAYS == every
    assert len(numbers_caught(gradient_checks.torch_fast, 8)) >= 9
    fast = numbers_caught(gradient_checks.torch_fast, 64)
    assert {1, 2, 14, 21, 22} <= fast
    assert len(fast) <= 7, "one random projection loses the variance term among the others"


def test_eleven_against_jax():
    pytest.importorskip("jax")
    assert numbers_caught(gradient_checks.jax_check_grads, 8) | NOT_ALWAYS == every


def test_eleven_against_autograd():
    pytest.importorskip("autograd")
    assert numbers_caught(gradient_checks.autograd_check_grads, 8) | NOT_ALWAYS == every


def test_eleven_against_the_loss_y_sum():
    assert numbers_caught(gradient_checks.sum_against_differences, 8) == {1, 2}
    assert numbers_caught(gradient_checks.sum_against_differences, 64) == {1, 2}


def test_eleven_against_rounding_units_and_the_doctor():
    arrays = arrays_for(BN, N=8, C=3)
    assert check_backward(batch_norm.reference, batch_norm.classic, *arrays)
    for mutant in ELEVEN:
        assert not check_backward(batch_norm.reference, mutant.backward, *arrays)
        assert mutant.says(diagnose(batch_norm.reference, mutant.backward, **BN).findings[0].line)


@pytest.mark.parametrize(
    ("package", "check", "least"),
    [("torch", "torch_fast", 40), ("autograd", "autograd_check_grads", 46)],
)
def test_power_of_other_checks(package, check, least):
    pytest.importorskip(package)
    run, arrays = getattr(gradient_checks, check), arrays_for(BN, N=8, C=3)
    report = power(lambda b: run(b.forward, b, arrays, 0), batch_norm.reference, **BN)
    assert not report.false_alarm
    assert least <= report.caught
    # What was not summed torch sums itself; eps is too small a matter for its tolerances.
    assert {m.operator for m in report.survivors} <= {"eps", *(["missing-unbroadcast"] if package == "torch" else [])}


def test_power_of_jax():
    pytest.importorskip("jax")
    arrays = arrays_for(BN, N=6, C=2)
    check = functools.partial(_jax, arrays=arrays)
    report = power(check, batch_norm.reference, max_mutants=8, **BN)
    assert not report.false_alarm
    assert report.caught >= 7
    assert {m.operator for m in report.survivors} <= {"eps"}


def _jax(backward, arrays):
    gradient_checks.jax_check_grads(backward.forward, backward, arrays, 0)


# -- the mutants ---------------------------------------------------------------------------------------


def mutants(reference, **options):
    return power(accepts, reference, **options).mutants


def test_every_operator_has_its_faults():
    made = mutants(batch_norm.reference, **BN)
    assert {m.operator for m in made} == set(OPERATORS)
    assert {m.leaf for m in made} == {"x", "gamma", "beta"}
    assert [OPERATORS.index(m.operator) for m in made] == sorted(OPERATORS.index(m.operator) for m in made)
    assert {m.term for m in made if m.leaf == "x"} == {"all", "direct", "through var", "through mu"}, "no null term"
    assert {m.term for m in made if m.leaf != "x"} == {"all"}
    assert {m.factor for m in made if m.operator == "wrong-count" and m.leaf == "x"} == {"N", "N/(N-1)"}
    assert {m.factor for m in made if m.operator == "wrong-count" and m.leaf == "beta"} == {"1/N", "N/(N-1)"}


def test_a_mutant_is_wrong_in_its_leaf_alone():
    names = list(BN)
    dy, *arrays = arrays_for({"dy": "N C", **BN}, N=7, C=3)
    right = batch_norm.classic(dy, *arrays)
    for mutant in mutants(batch_norm.reference, **BN):
        found = mutant(dy, *arrays)
        for name, f, e in zip(names, found, right, strict=True):
            same = f.shape == e.shape and np.allclose(f, e, rtol=1e-9, atol=1e-9)
            assert same is (name != mutant.leaf), (str(mutant), name)
            assert f.dtype == np.float64
            assert not any(np.shares_memory(f, a) for a in (dy, *arrays))
        np.testing.assert_allclose(mutant.forward(*arrays), forward(*arrays), rtol=1e-12, atol=1e-12)


def test_mutants_are_different():
    dy, *arrays = arrays_for({"dy": "N C", **BN}, N=7, C=3)
    flat = [np.concatenate([np.ravel(g) for g in m(dy, *arrays)]) for m in mutants(batch_norm.reference, **BN)]
    for i, a in enumerate(flat):
        assert not any(a.shape == b.shape and np.allclose(a, b, rtol=1e-12, atol=1e-12) for b in flat[:i])


@pytest.mark.parametrize(
    "case", [others.LAYER_NORM, others.SOFTMAX, others.TANH_LAYER, others.DISTANCE], ids=lambda c: c.name
)
def test_the_doctor_finds_what_a_mutant_says(case):
    """Two ways to the same words: the fault is made by one, and found in the numbers by the other."""
    made = [
        m for m in mutants(case.reference, **case.shapes) if m.factor or m.operator in ("missing-unbroadcast", "eps")
    ]
    assert len(made) >= 6
    for m in made:
        findings = diagnose(case.reference, m, **case.shapes).findings
        assert [str(m)] == [f.line for f in findings]


def test_the_variants_of_one_fault():
    """The numbers, against a formula typed for each."""
    dy, *arrays = arrays_for({"dy": "N C", **BN}, N=7, C=3)
    x, gamma, _ = arrays
    xc = x - x.mean(axis=0)
    std = np.sqrt((xc**2).mean(axis=0) + 1e-5)
    xhat, d = xc / std, dy * gamma / std
    mean, var = d.mean(axis=0), xhat * (d * xhat).mean(axis=0)
    bare, unbiased = np.sqrt((xc**2).mean(axis=0)), np.sqrt((xc**2).sum(axis=0) / 6 + 1e-5)
    formulas = {
        "dx: term direct multiplied by 0 (it is missing)": -mean - var,
        "dx: term through mu multiplied by -1 (it has its sign flipped)": d + mean - var,
        "dx: term through var multiplied by N": d - mean - 7 * var,
        "dx: term through mu multiplied by N/(N-1)": d - mean * 7 / 6 - var,
        "dx: leaves out gamma in gamma * xhat": (d - mean - var) / gamma,
        "dx: term through mu leaves out gamma in gamma * xhat": d - (dy / std).mean(axis=0) - var,
        "dx: term through var: exponent left out in xc**2": d - mean - var / 2,
        "dx: term through mu reduced over axis 1 instead of axis 0": d - d.mean(axis=1, keepdims=True) - var,
        "dx: term through mu reduced over all axes instead of axis 0": d - d.mean() - var,
        "dx: backward of a different forward: 1e-05 missing in var + eps":
            (dy * gamma - (dy * gamma).mean(axis=0) - xc * (dy * gamma * xc).mean(axis=0) / bare**2) / bare,
        "dx: backward of a different forward: var divides by N-1":
            (dy * gamma - (dy * gamma).mean(axis=0) - xc * (dy * gamma * xc).sum(axis=0) / 6 / unbiased**2) / unbiased,
        "dgamma: all terms multiplied by 1/N": (dy * xhat).mean(axis=0),
        "dgamma: leaves out xhat in gamma * xhat": dy.sum(axis=0),
        "dgamma: not summed over broadcast axis 0": dy * xhat,
        "dbeta: summed over axis 1 instead of axis 0": dy.sum(axis=1),
        "dbeta: all terms multiplied by -1": -dy.sum(axis=0),
    }  # fmt: skip
    made = {str(m): m for m in mutants(batch_norm.reference, **BN)}
    for text, due in formulas.items():
        found = made[text](dy, *arrays)[list(BN).index(made[text].leaf)]
        np.testing.assert_allclose(found, due, rtol=1e-9, atol=1e-11, err_msg=text)


def test_terms_of_a_linear_layer():
    made = mutants(linear, x="N D", W="D M", b="M")
    texts = {str(m) for m in made}
    assert {"dW: all terms multiplied by 1/N", "db: all terms multiplied by 1/N", "db: not summed over broadcast axis 0",
            "dx: leaves out W in x @ W", "db: summed over axis 1 instead of axis 0"} <= texts  # fmt: skip
    dy, x, W, b = arrays_for({"dy": "N M", "x": "N D", "W": "D M", "b": "M"}, N=5, D=4, M=3)
    by_text = {str(m): m(dy, x, W, b) for m in made}
    np.testing.assert_allclose(by_text["dW: all terms multiplied by 1/N"][1], x.T @ dy / 5)
    np.testing.assert_allclose(by_text["db: not summed over broadcast axis 0"][2], dy)
    np.testing.assert_allclose(by_text["db: summed over axis 1 instead of axis 0"][2], dy.sum(axis=1))


def test_the_shape_of_a_parameter_that_was_reshaped():
    """Not summed: in the shape of the activations, not of (1, C, 1, 1)."""
    made = mutants(tg.batch_norm, x="N C H W", gamma="C", beta="C")
    (mutant,) = [m for m in made if m.operator == "missing-unbroadcast" and m.leaf == "gamma"]
    assert str(mutant) == "dgamma: not summed over broadcast axes 0, 2, 3"
    x, gamma, beta, dy = arrays_for({"x": "N C H W", "gamma": "C", "beta": "C", "dy": "N C H W"}, N=4, C=3, H=2, W=5)
    assert mutant(dy, x, gamma, beta)[1].shape == x.shape
    assert {m.factor for m in made if m.operator == "wrong-count"} == {"N*H*W", "1/(N*H*W)", "N*H*W/(N*H*W-1)"}


def test_one_argument_gives_one_array():
    dy, x = arrays_for({"dy": "N C", "x": "N C"}, N=4, C=3)
    for m in mutants(others.softmax, x="N C"):
        assert isinstance(m(dy, x), np.ndarray)
        assert not np.allclose(m(dy, x), others.SOFTMAX.right[next(iter(others.SOFTMAX.right))](dy, x))


def test_the_order_and_choice_of_gradients():
    dy, *arrays = arrays_for({"dy": "N C", **BN}, N=7, C=3)
    made = mutants(batch_norm.reference, wrt=["beta", "x"], **BN)
    assert {m.leaf for m in made} == {"x", "beta"}
    dbeta, dx = made[0](dy, *arrays)
    assert (dbeta.shape, dx.shape) == ((3,), (7, 3))
    assert {m.leaf for m in mutants(batch_norm.reference, wrt=1, **BN)} == {"gamma"}


def test_several_outputs():
    def both(x, w):
        mu = tg.mean(x, axis=0)
        return mu, w * (x - mu)

    shapes = {"x": "N C", "w": "C"}

    def check(backward):
        x, w, dmu, dy = arrays_for({**shapes, "dmu": "C", "dy": "N C"}, N=6, C=4)
        assert len(backward.forward(x, w)) == 2
        assert_backward(both, backward, x, w, dy=(dmu, dy))

    report = power(check, both, **shapes)
    assert (report.survivors, report.false_alarm) == ((), False)
    assert report.total > 12


def test_numbers_and_trailing_axes():
    assert {m.operator for m in mutants(lambda x: 0.5 * x * x, x="")} == {"drop-path", "flip-sign", "drop-factor"}
    assert "dgamma: not summed over broadcast axes 0, 2, 3" in {
        str(m) for m in mutants(tg.batch_norm, x="N C ...", gamma="C", beta="C")
    }


@pytest.mark.parametrize("n", [1, 2])
def test_degenerate_sizes_do_not_raise(n):
    dy, *arrays = arrays_for({"dy": "N C", **BN}, N=n, C=1)
    for m in mutants(batch_norm.reference, **BN):
        assert len(m(dy, *arrays)) == 3


def test_float32():
    made = mutants(batch_norm.reference, dtype=np.float32, **BN)
    dy, *arrays = arrays_for({"dy": "N C", **BN}, dtype=np.float32, N=7, C=3)
    for m in made:
        assert {g.dtype for g in m(dy, *arrays)} == {np.dtype(np.float32)}
        assert m.forward(*arrays).dtype == np.float32


def test_what_rounding_hides_does_not_count():
    def normed(x):
        xc = x - tg.mean(x, axis=0)
        return xc / tg.sqrt(1.0 + tg.mean(xc**2, axis=0) + 1e-7)

    by_dtype = {dtype: {m.operator for m in mutants(normed, dtype=dtype, x="N")} for dtype in (np.float64, np.float32)}
    assert "eps" in by_dtype[np.float64]
    assert "eps" not in by_dtype[np.float32]


def test_a_graph_without_the_term_has_not_the_fault():
    """The reference branches on a size: at other shapes the mutant has no place to be wrong in."""

    def branching(x):
        mu = tg.mean(x, axis=0)
        return x - mu if x.shape[0] > 4 else tg.tanh(x)

    made = mutants(branching, x="N")
    dy, x = arrays_for({"dy": "N", "x": "N"}, N=3)
    for m in made:
        if m.term == "through mu":
            np.testing.assert_allclose(m(dy, x), dy * (1 - np.tanh(x) ** 2), rtol=1e-12)
    assert any(m.term == "through mu" for m in made)


def test_a_trace_of_its_own_at_each_call():
    calls = []

    def reference(x):
        calls.append(x.shape)
        return tg.tanh(x)

    (mutant, *_) = mutants(reference, x="N")
    calls.clear()
    mutant(np.ones(3), np.zeros(3))
    mutant(np.ones(9), np.zeros(9))
    assert calls == [(3,), (9,)]


@pytest.mark.parametrize("reference", [tg.tanh, unit, batch_norm.reference])
@pytest.mark.parametrize("dy", [1.0, np.ones(3), np.ones((3, 4)), (np.ones((4, 3)),) * 2])
def test_an_upstream_gradient_of_another_shape_is_an_error(reference, dy):
    shapes = BN if reference is batch_norm.reference else {"x": "N C"}
    (mutant, *_) = mutants(reference, max_mutants=2, **shapes)
    with pytest.raises(ShapeError, match=r"^backward\(dy of shape .*the output has shape \(4, 3\); give dy in that"):
        mutant(dy, *arrays_for(shapes, N=4, C=3))


def test_a_proof_is_no_check_to_measure():
    with pytest.raises(NotAlgebraic, match=r"power: the check cannot judge: prove\(…, Right\).*compute in float64"):
        power(lambda b: prove(batch_norm.reference, b, **BN), batch_norm.reference, **BN)
    with pytest.raises(NotAlgebraic, match="tanh has no exact counterpart"):
        power(lambda b: prove(tg.tanh, b, x="N"), tg.tanh, x="N")


# -- null directions -----------------------------------------------------------------------------------


def nulls(reference, **shapes):
    return [(n.loss, n.leaf) for n in power(accepts, reference, max_mutants=1, **shapes).null_directions]


def test_null_directions():
    assert nulls(others.softmax, x="N C") == [("sum", "x")]
    assert nulls(unit, x="N C") == [("squares", "x")]
    assert nulls(linear, x="N D", W="D M", b="M") == []
    assert nulls(tg.tanh, x="N") == []
    assert nulls(batch_norm.reference, **BN) == [("sum", "x"), ("sum", "gamma"), ("squares", "x")]
    assert str(power(accepts, unit, x="N C")).endswith(
        SEES_NOTHING.format("0.5 * (y**2).sum()", "x", "0.5 * (y**2).sum()", "x")
    )


def test_an_almost_null_direction_says_so():
    *_, almost = power(accepts, batch_norm.reference, **BN).null_directions
    assert (almost.loss, almost.leaf) == ("squares", "x")
    assert 1e-9 < almost.share < 1e-3, "eps is all that is left"
    assert "almost constant in x" in str(almost)


def test_an_argument_without_influence_is_no_null_direction():
    assert nulls(lambda x, w: x + w.detach(), x="N", w="N") == []


# -- the choice of mutants, and wrong calls --------------------------------------------------------------


def test_a_few_are_chosen_evenly():
    few = mutants(batch_norm.reference, max_mutants=16, **BN)
    assert len(few) == 16
    count = {op: sum(m.operator == op for m in few) for op in OPERATORS}
    assert set(count.values()) == {2}, count
    assert {m.leaf for m in few} == {"x", "gamma", "beta"}
    texts = {str(m) for m in mutants(batch_norm.reference, **BN)}
    assert {str(m) for m in few} <= texts


def test_the_same_seed_gives_the_same_mutants():
    first, second = (list(map(str, mutants(batch_norm.reference, seed=3, **BN))) for _ in range(2))
    assert first == second


def test_a_deep_graph_keeps_to_the_limit():
    def deep(x):
        for _ in range(8):
            x = x + tg.tanh(x)
        return x

    made = mutants(deep, x="N")
    assert len(made) == 64
    assert len({m.operator for m in made}) == 3


def test_sizes_may_be_given():
    seen = []

    def reference(x):
        seen.append(x.shape)
        return tg.tanh(x)

    mutants(reference, dims={"N": [31, 32]}, x="N")
    assert {n for (n,) in seen} <= {31, 32}


def test_specs_for_arguments_that_are_called_like_options():
    def reference(seed):
        return tg.tanh(seed)

    assert {m.leaf for m in mutants(reference, specs={"seed": "N"})} == {"seed"}


def test_a_report_is_frozen():
    report = power(accepts, tg.tanh, x="N")
    for thing, name in ((report, "caught"), (report.mutants[0], "leaf")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, "z")
        assert not hasattr(thing, "__dict__")
    assert repr(report.mutants[0]) == "Mutant(operator='drop-path', leaf='x', term='all', factor='0')"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power(None, tg.tanh, x="N"), "check is a function"),
        (lambda: power(accepts, None, x="N"), "reference is a function"),
        (lambda: power(unit, accepts, x="N"), "look swapped"),
        (lambda: power(accepts, unit), "no shape for x"),
        (
            lambda: power(lambda: None, unit, x="N C"),
            r"power\(<lambda>\(\), …\): the check is called with one argument",
        ),
        (lambda: power(lambda a, b: None, unit, x="N C"), "the check is called with one argument"),
        (lambda: power(accepts, unit, x="N C", z="N"), "no argument 'z'"),
        (lambda: power(accepts, unit, x="N C", dtype=int), "give a float dtype"),
        (lambda: power(accepts, unit, x="N C", max_mutants=0), "give 1 at least"),
        (lambda: power(accepts, unit, x="N C", wrt="t"), "no floating argument"),
        (lambda: power(lambda b: np.array([True, False]), unit, x="N C"), "return one truth value"),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
