"""``check_backward`` at one point: its verdicts, in rounding units, and what it takes."""

import numpy as np
import pytest
from support.backwards import batch_norm, others, regimes

import tinygraph as tg
from tinygraph.errors import ArgumentError, GradientMismatch, ShapeError
from tinygraph.testing import Report, assert_backward, check_backward, check_equivalent, rounding_bound
from tinygraph.testing import rounding as rounding_module
from tinygraph.testing.wide import decimals

DTYPES = [np.float64, np.float32]


def problem(regime="generic", dtype=np.float64, seed=0):
    dy, *arrays = regimes.REGIMES[regime](np.random.default_rng(seed), dtype)
    return arrays, dy


def check(backward, regime="generic", dtype=np.float64, seed=0, **options):
    arrays, dy = problem(regime, dtype, seed)
    return check_backward(batch_norm.reference, backward, *arrays, dy=dy, **options)


# -- right and wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("regime", regimes.REGIMES)
def test_right_kernels_raise_no_alarm(regime, dtype):
    for name, backward in batch_norm.STABLE.items():
        for seed in range(3):
            report = check(backward, regime, dtype, seed)
            assert report.ok, f"{name}\n{report}"
            assert report.verdict == "ok"
            assert max(e.ratio for e in report.entries) < 32


def test_right_kernels_of_other_graphs():
    rng = np.random.default_rng(0)
    for case in others.CASES:
        sizes = dict(zip("NCDKM", (5, 4, 3, 6, 7), strict=True))
        arrays = []
        for name, spec in case.shapes.items():
            a = rng.normal(size=[sizes[d] for d in spec.split()])
            if case.domains.get(name) == "probability":
                a = np.exp(a) / np.exp(a).sum(axis=-1, keepdims=True)
            arrays.append(a)
        for backward in case.right.values():
            report = check_backward(case.reference, backward, *arrays, wrt=case.wrt)
            assert report.ok, f"{case.name}\n{report}"


@pytest.mark.parametrize("mutant", [m for m in batch_norm.MUTANTS if m.extras is None], ids=lambda m: f"{m.number:02}")
def test_wrong_kernels_are_caught(mutant):
    report = check(mutant.backward, "scale 1e-3" if mutant.number in (12, 13) else "generic")
    assert not report
    if mutant.number == 27:
        assert report.verdict == "structure"
        return
    assert {e.leaf for e in report.entries if not e.ok} | {f.leaf for f in report.faults} == set(mutant.leaves)
    assert report.verdict in (("unstable",) if mutant.number == 30 else ("structure", "wrong"))


def test_an_unstable_kernel_is_called_unstable():
    report = check(batch_norm.UNSTABLE, "offset 1e4")
    assert report.verdict == "unstable"
    assert "UNSTABLE here" in str(report)
    assert "bits more than the reference loses; the formula is right on generic probes" in str(report)
    assert report.diagnosis.ok
    assert check(batch_norm.UNSTABLE).ok


@pytest.mark.parametrize("extreme", regimes.EXTREME)
def test_what_leaves_the_range(extreme):
    dy, *arrays = regimes.EXTREME[extreme](np.random.default_rng(0), np.float32)
    eps = 0.0 if "-" in extreme else 1e-5

    def reference(x, gamma, beta):
        return batch_norm.reference(x, gamma, beta, eps)

    def power(dy, x, gamma, beta):
        xc = x - x.mean(axis=0)
        v = (xc**2).mean(axis=0) + np.float32(eps)
        dvar = (dy * gamma * xc).sum(axis=0) * np.float32(-0.5) * v ** np.float32(-1.5)
        dx = dy * gamma / np.sqrt(v)
        dx = dx - dx.mean(axis=0) + dvar * 2 * xc / np.float32(len(x))
        return dx.astype(x.dtype), (dy * xc / np.sqrt(v)).sum(axis=0), dy.sum(axis=0)

    report = check_backward(reference, power, *arrays, dy=dy)
    assert report.verdict == "range"
    assert "RANGE" in str(report)


def test_decimals_are_as_wide_as_longdouble(monkeypatch):
    longdouble = check(batch_norm.classic, "offset 1e2")
    monkeypatch.setattr(rounding_module, "wide_for", lambda u: decimals())
    report = check(batch_norm.classic, "offset 1e2")
    assert report.ok
    for a, b in zip(longdouble.entries, report.entries, strict=True):
        assert a.derived == pytest.approx(b.derived, rel=1e-12)
        assert 0.2 < (a.sigma + 1e-300) / (b.sigma + 1e-300) < 5
    assert not check(batch_norm.MUTANTS[0].backward).ok
    assert not check(lambda *a: [g * (1 + 1e-12) for g in batch_norm.classic(*a)]).ok


def test_a_fault_of_a_millionth_is_found():
    for size in (1e-6, 1e-9, 1e-12):
        report = check(lambda *a, s=size: [g * (1 + s) for g in batch_norm.classic(*a)])
        assert not report.ok
        assert all(e.ratio > 64 for e in report.entries)


# -- a check is a function of its example ----------------------------------------------------------------


def test_the_same_example_gives_the_same_numbers():
    first, again = (check(batch_norm.classic, "offset 1e4") for _ in range(2))
    assert first.entries == again.entries
    assert check(batch_norm.classic, "offset 1e4", seed=1).entries != first.entries


def test_dy_is_drawn_and_never_ones():
    arrays, _ = problem()
    dy = check_backward(batch_norm.reference, batch_norm.classic, *arrays).problem.dy
    assert dy.shape == arrays[0].shape
    assert np.ptp(dy) > 0.5


# -- kinks -----------------------------------------------------------------------------------------------

X = np.array([0.0, 1.0, -1.0, 0.0, 0.0, -2.0])
RELU = {
    "0": lambda dy, x: dy * (x > 0), "1": lambda dy, x: dy * (x >= 0),
    "1/2": lambda dy, x: dy * ((x > 0) + 0.5 * (x == 0)),
}  # fmt: skip


@pytest.mark.parametrize("slope", RELU)
def test_every_convention_at_a_kink_is_right(slope):
    assert check_backward(tg.relu, RELU[slope], X).ok
    assert check_backward(tg.relu, RELU[slope], X, kinks="exact").ok == (slope == "0")


@pytest.mark.parametrize("slope", [2.0, -0.5])
def test_no_convention_has_this_slope(slope):
    assert not check_backward(tg.relu, lambda dy, x: dy * ((x > 0) + slope * (x == 0)), X).ok


def test_a_wrong_slope_beside_a_kink_is_no_convention():
    assert not check_backward(tg.relu, lambda dy, x: dy * ((x > 0) + 0.5 * (x == -1)), X).ok


TIES = np.array([[1.0, 1, 0], [2, 2, 2], [0, 0, 0], [0, 1, 2]])


def chosen(x):
    return x == x.max(axis=1, keepdims=True)


def first(x):
    return np.arange(x.shape[1]) == x.argmax(axis=1)[:, None]


@pytest.mark.parametrize(
    ("share", "ok"),
    [
        (lambda x: chosen(x) / chosen(x).sum(axis=1, keepdims=True), True),
        (first, True),
        (lambda x: first(x[:, ::-1])[:, ::-1], True),
        (chosen, False),  # every tied element gets the whole gradient
        (lambda x: 0 * x, False),
    ],
)
def test_ties(share, ok):
    def backward(dy, x):
        return dy[:, None] * share(x)

    assert check_backward(lambda x: tg.max(x, axis=1), backward, TIES).ok is ok


def test_abs_and_clip():
    x = np.array([0.0, 1.0, -1.0])
    for slope in (-1, 0, 0.3, 1):
        assert check_backward(abs, lambda dy, x, s=slope: dy * np.where(x == 0, s, np.sign(x)), x).ok
    assert not check_backward(abs, lambda dy, x: dy * np.where(x == 0, 3, np.sign(x)), x).ok
    for slope in (0, 0.5, 1):
        wall = check_backward(
            lambda x: tg.clip(x, -1, 1), lambda dy, x, s=slope: dy * np.where(np.abs(x) == 1, s, np.abs(x) < 1), x
        )
        assert wall.ok


@pytest.mark.parametrize("seed", range(5))
def test_ties_inside_a_graph_take_every_convention(seed):
    """Units at exactly 0, bounds of both sides, an element that is the largest and the smallest at once."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, size=(5, 3)).astype(float)
    w = rng.integers(-1, 2, size=(3, 4)).astype(float)

    def layer(open_at_zero):
        def backward(dy, x, w):
            d = dy * ((x @ w) >= 0 if open_at_zero else (x @ w) > 0)
            return d @ w.T, x.T @ d

        return backward

    for choice in (True, False):
        assert check_backward(lambda x, w: tg.relu(x @ w), layer(choice), x, w, seed=seed).ok
    assert not check_backward(lambda x, w: tg.relu(x @ w), lambda dy, x, w: (dy @ w.T, x.T @ dy), x, w, seed=seed).ok
    for bound in (np.less, np.less_equal):
        assert check_backward(lambda x: tg.clip(x, -1, 1), lambda dy, x, b=bound: dy * b(np.abs(x), 1), x, seed=seed).ok
    both = check_backward(
        lambda x: tg.max(x, axis=0) + tg.min(x, axis=0),
        lambda dy, x: dy * ((np.arange(5)[:, None] == x.argmax(0)) * 1.0 + (np.arange(5)[:, None] == x.argmin(0))),
        x,
        seed=seed,
    )
    assert both.ok, both


def test_every_group_of_ties_adds_up_by_itself():
    """One column gets twice its gradient, the other nothing: their sum alone would be right."""
    x, dy = np.ones((2, 2)), np.ones(2)
    doubled = check_backward(lambda x: tg.max(x, axis=0), lambda dy, x: dy * (x == x.max(0)) * [1.0, 0.0], x, dy=dy)
    assert doubled.verdict == "wrong"
    assert "at a kink" in str(doubled)


def test_longdouble_kernels():
    x = np.linspace(-1, 1, 5).astype(np.longdouble)
    assert check_backward(tg.relu, lambda dy, x: dy * (x > 0), x).ok
    assert check_backward(tg.tanh, lambda dy, x: dy * (1 - np.tanh(x) ** 2), x).ok
    assert not check_backward(tg.tanh, lambda dy, x: dy * (1 - np.tanh(x.astype(float)) ** 2), x + 0.1).ok


# -- what is no rounding ------------------------------------------------------------------------------------


def test_a_kernel_that_misreads_a_layout_is_wrong():
    def doubles(dy, x):
        return dy * x * (2 if 0 in dy.strides else 1)

    dy = np.broadcast_to(np.array([[1.0, 2.0, -1.0]]), (2, 3))
    report = check_backward(lambda x: x * x / 2, doubles, np.ones((2, 3)), dy=dy)
    assert report.verdict == "wrong"
    assert "right on contiguous copies of the same values" in str(report)


def test_a_kernel_that_is_wrong_at_one_number_is_wrong():
    report = check_backward(tg.sin, lambda dy, x: dy * np.cos(x) * (1 + (x == 100)), np.array([100.0, 1.0]))
    assert report.verdict == "wrong"
    assert "the error is the same in longdouble: it is no rounding" in str(report)


def test_a_wrong_formula_is_wrong_also_where_something_underflows():
    def softmax(dy, z):
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return 2 * p * (dy - (dy * p).sum(axis=1, keepdims=True))

    assert check_backward(lambda z: tg.softmax(z, axis=1), softmax, np.array([[-800.0, 0.0, 1.0]])).verdict == "wrong"


def test_the_lowest_precision_of_all_inputs_counts():
    x, w = np.random.default_rng(0).normal(size=(2, 4))
    w = w.astype(np.float32)
    reference = check_backward(lambda x, w: x * tg.tanh(w), lambda dy, x, w: dy * np.tanh(w), x, w, wrt=["x"])
    assert reference.ok
    cast = check_backward(
        lambda x: tg.sin(tg.astype(x, np.float32)), lambda dy, x: (dy * np.cos(x.astype(np.float32))).astype(float), x
    )
    assert cast.ok


def test_nan_and_inf_are_compared_both_ways():
    x = np.array([np.nan, 1.0, 2.0])
    for wrong in (lambda dy, x: dy * np.nan, lambda dy, x: 3 * dy * x, lambda dy, x: (2 * dy * x).astype(np.float32)):
        assert not check_backward(lambda x: x * x, wrong, x, dy=np.ones(3)).ok
    assert check_backward(lambda x: x * x, lambda dy, x: 2 * dy * x, x, dy=np.ones(3)).ok
    beside = np.array([-1.0, 1.0, 2.0])
    assert check_backward(tg.relu, lambda dy, x: dy * (x > 0), beside, dy=np.array([np.nan, 1, np.nan])).ok


def test_what_a_forward_does_wrong_is_a_fault():
    def writing(x):
        x[0] = 0
        return 2 * x

    for forward, text in [
        (lambda x: 1 / 0, "the forward raises ZeroDivisionError"),
        (writing, "the forward writes into its arguments"),
        (lambda x: x.astype(complex), "the forward returns complex128"),
    ]:
        report = check_backward(double, lambda dy, x: 2 * dy, np.ones(3), forward=forward)
        assert report.verdict == "structure"
        assert text in str(report)


# -- structure ---------------------------------------------------------------------------------------------


def scaled(dy, x):
    return 2 * dy


def double(x):
    return 2 * x


def writes(dy, x):
    dy *= 2
    return dy.copy()


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("backward", "text"),
    [
        (writes, "writes into dy"),
        (lambda dy, x: dy.astype(np.float32) * 2, "has dtype float32 where x has float64"),
        (lambda dy, x: (2 * dy)[None], "has shape (1, 3) where x has (3,)"),
        (lambda dy, x: 2 * dy + RNG.normal(size=3), "differs when called again"),
        (lambda dy, x: 1 / 0, "raises ZeroDivisionError: division by zero"),
        (lambda dy, x: 2 * dy * np.nan, "is nan at [0]"),
        (lambda dy, x: dy, "shares memory with dy"),
        (lambda dy, x: (dy, dy), "returned 2 arrays where 1 are due"),
        (lambda dy, x: {"y": dy}, "returned a dict without x"),
        (lambda dy, x: None, "returned None for dx"),
    ],
)
def test_structure(backward, text):
    x = np.array([1.0, 2.0, 4.0])
    dy = np.array([1.0, -2.0, 0.5])
    report = check_backward(double, backward, x, dy=dy)
    assert report.verdict == "structure"
    assert text in str(report)
    np.testing.assert_array_equal(dy, [1.0, -2.0, 0.5])


def test_writing_into_read_only_arrays_is_named_too():
    x, dy = np.ones(3), np.arange(3.0)
    dy.flags.writeable = False
    assert "writes into dy" in str(check_backward(double, writes, x, dy=dy))


def test_no_gap_of_a_slice_is_written():
    wide = np.arange(12.0).reshape(4, 3)

    def fills_the_base(dy, x):
        dy.base[...] = 0
        return 2 * dy

    report = check_backward(double, fills_the_base, np.ones((2, 3)), dy=wide[::2])
    assert "writes into dy" in str(report)
    np.testing.assert_array_equal(wide, np.arange(12.0).reshape(4, 3))


@pytest.mark.parametrize("returned", [dict, tuple, list, "d"])
def test_a_backward_may_return(returned):
    arrays, dy = problem()

    def backward(dy, x, gamma, beta):
        found = batch_norm.classic(dy, x, gamma, beta)
        if returned == "d":
            return dict(zip(("dx", "dgamma", "dbeta"), found, strict=True))
        return dict(zip(("x", "gamma", "beta"), found, strict=True)) if returned is dict else returned(found)

    assert check_backward(batch_norm.reference, backward, *arrays, dy=dy).ok


# -- options -------------------------------------------------------------------------------------------------


def test_wrt():
    arrays, dy = problem()
    only = check_backward(batch_norm.reference, lambda *a: batch_norm.classic(*a)[1], *arrays, dy=dy, wrt="gamma")
    assert [e.leaf for e in only.entries] == ["gamma"]
    assert only.ok
    two = check_backward(
        batch_norm.reference, lambda *a: batch_norm.classic(*a)[::-2], *arrays, dy=dy, wrt=["beta", "x"]
    )
    assert two.ok


def test_a_forward_is_compared_first():
    arrays, dy = problem()
    right = check_backward(
        batch_norm.reference, batch_norm.classic, *arrays, dy=dy, forward=lambda *a: batch_norm.reference(*a).numpy()
    )
    assert right.ok
    assert right.entries[0].kind == "forward"
    wrong = check_backward(batch_norm.reference, batch_norm.classic, *arrays, dy=dy, forward=lambda x, g, b: x)
    assert not wrong.ok
    assert [e.ok for e in wrong.entries] == [False, True, True, True]
    assert str(wrong).startswith("y is WRONG")
    shape = check_backward(batch_norm.reference, batch_norm.classic, *arrays, dy=dy, forward=lambda x, g, b: x[0])
    assert "the forward returns float64 of shape (3,) for y where float64 of shape (6, 3) is due" in str(shape)


def test_extras_and_what_a_forward_kept():
    arrays, dy = problem()

    def with_mean(dy, x, gamma, beta, mean):
        assert mean.shape == gamma.shape
        return batch_norm.classic(dy, x, gamma, beta)

    extras = {"extras": lambda x, gamma, beta: {"mean": x.mean(axis=0)}}
    assert check_backward(batch_norm.reference, with_mean, *arrays, dy=dy, **extras).ok

    def forward(x, gamma, beta):
        xc = x - x.mean(axis=0)
        std = np.sqrt((xc**2).mean(axis=0) + 1e-5)
        return gamma * xc / std + beta, (xc / std, std, gamma)

    def from_cache(dy, cache):
        xhat, std, gamma = cache
        d = dy * gamma / std
        return d - d.mean(axis=0) - xhat * (d * xhat).mean(axis=0), (dy * xhat).sum(axis=0), dy.sum(axis=0)

    saved = {"saved": lambda *a: forward(*a)[1], "forward": forward}
    assert check_backward(batch_norm.reference, from_cache, *arrays, dy=dy, **saved).ok
    both = check_backward(
        batch_norm.reference, lambda dy, cache, x, g, b: from_cache(dy, cache), *arrays, dy=dy, **saved
    )
    assert both.ok


def test_tolerances_by_hand_are_said():
    arrays, dy = problem()
    backward = batch_norm.MUTANTS[36].backward  # 0.1 % too large
    loose = check_backward(batch_norm.reference, backward, *arrays, dy=dy, tolerance=(0.0, 1e-2))
    assert loose.ok
    assert loose.warnings == ("manual-tolerance",)
    tight = check_backward(batch_norm.reference, backward, *arrays, dy=dy, tolerance=(0.0, 1e-4))
    assert not tight.ok
    assert "10 times the tolerance that was given" in str(tight)


def test_arithmetic_of_lower_precision():
    arrays, dy = problem(dtype=np.float32)

    def tf32(a):
        return (a.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)

    def backward(dy, x, gamma, beta):
        return [tf32(g) for g in batch_norm.classic(tf32(dy), tf32(x), gamma, beta)]

    assert not check_backward(batch_norm.reference, backward, *arrays, dy=dy).ok
    assert check_backward(batch_norm.reference, backward, *arrays, dy=dy, compute_dtype="tf32").ok
    with pytest.raises(ArgumentError, match="is no float type"):
        check_backward(batch_norm.reference, backward, *arrays, dy=dy, compute_dtype="int")


def test_a_nondeterministic_kernel_may_say_so():
    rng = np.random.default_rng(0)

    def backward(dy, x):
        return 2 * dy * (1 + 1e-13 * rng.normal(size=3))

    x, dy = np.ones(3), np.array([1.0, -2.0, 0.5])
    assert check_backward(double, backward, x, dy=dy).verdict == "structure"
    assert check_backward(double, backward, x, dy=dy, nondeterministic=True, slack=1e4).ok


def test_a_blind_reference_says_so():
    report = check_backward(
        lambda x: tg.sum((x + 1e14) - 1e14) ** 2, lambda dy, x: 2 * dy * x.sum() * np.ones(3), np.array([0.1, 0.2, 0.3])
    )
    assert report.warnings == ("blind-reference",)
    assert "cannot judge" in str(report)


def test_only_what_is_finite_is_compared():
    x = np.array([0.0, 1.0, 2.0])
    assert check_backward(tg.log, lambda dy, x: dy / np.where(x == 0, 1, x), x).ok
    assert not check_backward(tg.log, lambda dy, x: 77 * dy, x).ok
    report = check_backward(lambda x: tg.log(-x * x), lambda dy, x: 77 * dy, x + 1)
    assert report.ok
    assert str(report) == "skipped: the reference itself is nowhere finite here"


def test_nan_comes_out_where_it_is_due():
    x = np.array([np.nan, 1.0])
    assert check_backward(tg.sin, lambda dy, x: dy * np.cos(x), x, dy=np.ones(2)).ok
    report = check_backward(tg.sin, lambda dy, x: dy * np.nan_to_num(np.cos(x)), x, dy=np.ones(2))
    assert report.verdict == "structure"
    assert "is finite at [0] where the derived gradient is not" in str(report)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: check_backward(scaled, double, np.ones(3)), "look swapped"),
        (lambda: check_backward(double, scaled, np.ones(3), dy=np.ones(2)), "give dy in that shape"),
        (lambda: check_backward(double, scaled, np.ones(3), kinks="soft"), "kinks is 'hull' or 'exact'"),
        (lambda: check_backward(double, scaled, np.ones(3), slack=0), "slack is a positive number"),
        (lambda: check_backward(double, scaled, np.ones(3), samples=1.5), "samples is a whole number"),
        (lambda: check_backward(double, scaled, np.ones(3), seed=-1), "seed is a whole number"),
        (lambda: check_backward(double, scaled, np.ones(3), tolerance=1e-6), "tolerance is a pair"),
        (lambda: check_backward(double, scaled, np.ones(3), tolerance=(-1, 0)), "tolerance is a pair"),
        (lambda: check_backward(double, scaled, np.ones(3), forward=3), "forward is a function"),
        (lambda: check_backward(double, scaled, np.ones(3), extras=3), "extras is a function"),
        (lambda: check_backward(lambda x: 3, scaled, np.ones(3)), "returned 3 where a Tensor is due"),
        (lambda: check_backward(double, scaled, np.ones(3, int)), "no argument is floating"),
        (lambda: check_backward(double, None, np.ones(3)), "the backward is a function"),
        (lambda: check_backward(double, scaled, np.ones(3), wrt="z"), "no floating argument of the reference"),
        (lambda: check_equivalent(double, 2, np.ones(3)), "compares two functions"),
    ],
)
def test_wrong_calls(call, text):
    with pytest.raises((ArgumentError, ShapeError), match=text):
        call()


# -- the report ----------------------------------------------------------------------------------------------


def test_a_report_is_frozen_and_short():
    report = check(batch_norm.classic)
    assert isinstance(report, Report)
    assert repr(report).startswith("<Report: ok, worst 0.")
    assert str(report).startswith("dx, dgamma, dbeta are right (")
    assert report.diagnosis is None
    with pytest.raises(AttributeError, match="frozen"):
        report.ok = False


def test_assert_backward_raises_with_the_whole_message():
    arrays, dy = problem()
    assert_backward(batch_norm.reference, batch_norm.classic, *arrays, dy=dy)
    with pytest.raises(GradientMismatch) as caught:
        assert_backward(batch_norm.reference, batch_norm.MUTANTS[0].backward, *arrays, dy=dy)
    assert isinstance(caught.value, AssertionError)
    assert "term through mu multiplied by -1" in str(caught.value)
    assert caught.value.report.problem.dy is dy or np.array_equal(caught.value.report.problem.dy, dy)


def test_the_doctor_is_asked_once_and_only_if_someone_reads(monkeypatch):
    from tinygraph.testing import compare as module

    asked = []
    real = module.diagnose_problem
    monkeypatch.setattr(module, "diagnose_problem", lambda *a, **k: asked.append(1) or real(*a, **k))
    report = check(batch_norm.MUTANTS[0].backward)
    assert not report.ok
    assert repr(report)
    assert not asked
    assert report.verdict == "wrong"
    assert str(report) == str(report)
    assert len(asked) == 1


def test_equivalent_functions():
    arrays, dy = problem("offset 1e2")
    assert check_equivalent(tg.batch_norm, tg.fused.batch_norm, *arrays, dy=dy).ok
    report = check_equivalent(tg.batch_norm, lambda *a: tg.batch_norm(*a, eps=2e-5), *arrays)
    assert not report.ok
    assert any(e.kind == "forward" and not e.ok for e in report.entries)


def test_the_rounding_bound_of_other_dtypes():
    x = np.random.default_rng(0).normal(size=(5, 3))
    wide, narrow = (rounding_bound(tg.batch_norm, x.astype(d))["x"].max() for d in (np.float64, np.float32))
    assert 1e8 < narrow / wide < 1e10
