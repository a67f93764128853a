"""Problems: what is drawn, that it stays in its domain, and what a failure shrinks to."""

import base64
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from support import examples

import tinygraph as tg
from tinygraph.errors import ArgumentError, MissingExtra
from tinygraph.testing import Problem, arrays, problems, programs
from tinygraph.testing.shapes import parse
from tinygraph.testing.strategies import problems_for, trial
from tinygraph.testing.values import LIMIT, REGIMES, ramp

NORM = {"x": "N C", "gamma": "C", "beta": "C"}
SEARCH = settings(derandomize=True, database=None, deadline=None, phases=(Phase.generate, Phase.shrink))


def drawn(strategy, count=300):
    """So many examples, under Hypothesis's own health checks."""
    found = []

    @given(strategy)
    @settings(max_examples=count, derandomize=True, database=None, deadline=None)
    def collect(example):
        found.append(example)

    collect()
    return found


def everything(problem):
    return [*problem.arrays.values(), *problem.upstream]


# -- values and regimes -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (2, 3), (3, 7), (8, 8), (14, 2), (2, 49), (3, 2, 5), (2, 7, 7), (1, 6), ()])
def test_a_ramp_varies_along_every_axis(shape):
    for begin in range(7):
        z = ramp(shape, begin)
        assert z.shape == shape
        assert set(np.ravel(z)) <= set(range(-3, 4))
        for axis, n in enumerate(shape):
            if n > 1:
                assert (z.max(axis=axis) > z.min(axis=axis)).all()


def test_the_simplest_problem_is_a_ramp():
    found = find(problems(dy="N C", **NORM), lambda p: True, settings=SEARCH)
    assert found == Problem(
        x=np.array([[-3.0], [0.0], [3.0]]), gamma=np.array([2.0]), beta=np.array([0.0]),
        dy=np.array([[3.0], [-1.0], [2.0]]),
    )  # fmt: skip


def test_generic_values_are_eighths_of_moderate_size():
    for problem in drawn(problems(dy="N C", regimes=("generic",), layouts=False, **NORM)):
        for a in everything(problem):
            assert (np.abs(a) <= 7).all()
            np.testing.assert_array_equal(8 * a, np.round(8 * a))


def test_scales():
    sizes = [np.abs(p.arrays["x"]).max() for p in drawn(problems(x="N C", regimes=("scale",)))]
    assert max(sizes) > 500
    assert sum(s < 0.1 for s in sizes) > 10
    assert any(s < 1e-5 for s in sizes)
    assert any(0.1 < s < 10 for s in sizes)


def test_offsets():
    found = drawn(problems(x="N C", dy="N C", regimes=("offset",)))
    for offset in (1, 1e2, 1e4, 1e6):
        assert any(np.all(np.abs(p.arrays["x"] - offset) <= 7) for p in found)
        assert any(np.all(np.abs(p.dy - offset) <= 7) for p in found)


def constant(a):
    return a.size > 1 and bool((a == a.flat[0]).all())


def test_degenerate_problems():
    found = drawn(problems(x="N C", dy="N C", regimes=("degenerate",), layouts=False), 400)
    assert {1, 2} <= {p.arrays["x"].shape[0] for p in found}
    large = [p for p in found if min(p.arrays["x"].shape) > 2]
    assert any(constant(p.arrays["x"][:, 0]) for p in large)
    assert any(constant(p.arrays["x"][0]) for p in large)
    assert any(constant(p.dy) and p.dy.any() for p in large)

    def in_span(p):
        x, dy = p.arrays["x"], p.dy
        basis = np.stack([np.ones(len(x)), x[:, 0]], axis=1)
        rest = dy[:, 0] - basis @ np.linalg.lstsq(basis, dy[:, 0], rcond=None)[0]
        return np.abs(rest).max() < 1e-12 and not constant(dy[:, 0])

    assert sum(map(in_span, large)) > 5


def test_bulk_and_nonfinite_values_are_drawn_when_asked_for():
    bulk = drawn(problems(x="N C", regimes=("bulk",)), 50)
    assert {p.arrays["x"].shape[0] for p in bulk} == {31, 32, 33}
    assert all(len(np.unique(p.arrays["x"])) > 25 for p in bulk)
    usual, strange = (drawn(problems(x="N C", **r), 200) for r in ({}, {"regimes": ("nonfinite",)}))
    assert all(np.isfinite(p.arrays["x"]).all() for p in usual)
    marks = np.concatenate([p.arrays["x"][~np.isfinite(p.arrays["x"])] for p in strange])
    assert {str(m) for m in marks} == {"nan", "inf", "-inf"}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("regime", [*REGIMES, "any"])
def test_every_regime_fits_every_dtype(regime, dtype):
    """Values, and their squares, are within the range."""
    for a in drawn(arrays((3, 2), dtype=dtype, regime=regime), 60):
        assert a.dtype == dtype
        assert a.shape == (3, 2)
        if regime != "nonfinite":
            with np.errstate(over="raise"):
                assert np.isfinite(a * a).all()


# -- sizes ----------------------------------------------------------------------------------------------


def test_no_array_has_more_than_64_elements():
    for shapes in ({"x": "N C", "dy": "N C"}, {"x": "N C H W", "w": "C H W"}, {"x": "N C ...", "y": "C N M"}):
        sizes = [a.size for p in drawn(problems(**shapes)) for a in everything(p)]
        assert max(sizes) <= LIMIT
        assert max(sizes) > 40
        assert min(sizes) == 1


def test_letters_are_shared():
    found = drawn(problems(x="N C", w="C M", b="M?", y="3 N"))
    for p in found:
        (n, c), (c2, m), (b,), (three, n2) = (a.shape for a in p.arrays.values())
        assert (c, three, n) == (c2, 3, n2)
        assert b in (1, m)
    assert {p.arrays["x"].shape[0] for p in found} == {1, 2, 3, 4, 5, 6, 8}
    assert any(p.arrays["b"].shape == (1,) != (p.arrays["w"].shape[1],) for p in found)
    assert any(p.arrays["b"].size > 1 for p in found)


def test_trailing_axes_are_shared():
    found = drawn(problems(x="N C ...", y="..."))
    assert all(p.arrays["x"].shape[2:] == p.arrays["y"].shape for p in found)
    assert {p.arrays["y"].ndim for p in found} == {0, 1, 2}


@pytest.mark.parametrize(
    ("sizes", "expected", "simplest"),
    [
        ((1, 8), set(range(1, 9)), 3),
        ([31, 32, 33], {31, 32, 33}, 31),
        (5, {5}, 5),
        ((4, 5), {4, 5}, 4),
        ([0, 2], {0, 2}, 0),
    ],
)
def test_dims(sizes, expected, simplest):
    strategy = problems(dims={"N": sizes}, x="N C", dy="N C")
    assert {p.arrays["x"].shape[0] for p in drawn(strategy)} == expected
    assert find(strategy, lambda p: True, settings=SEARCH).arrays["x"].shape[0] == simplest


def test_large_arrays_are_drawn_by_a_seed():
    for p in drawn(problems(dims={"N": [200]}, x="N 3", dy="N 3"), 30):
        assert len(np.unique(p.arrays["x"])) > 20


# -- domains --------------------------------------------------------------------------------------------

DOMAINS = {
    "positive": lambda a: (a > 0).all(),
    "probability": lambda a: (a > 0).all() and np.allclose(a.sum(axis=-1), 1, rtol=1e-2 if a.dtype == np.float16 else 1e-6),
    (0.0, 1.0): lambda a: ((a > 0) & (a < 1)).all(),
    (-3.0, -1.0): lambda a: ((a > -3) & (a < -1)).all(),
    (2.0, np.inf): lambda a: (a > 2).all(),
    (-np.inf, 0.0): lambda a: (a < 0).all(),
    (-np.inf, np.inf): lambda a: np.isfinite(a).all(),
}  # fmt: skip


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("regime", ["any", "bulk"])
def test_domains_are_kept(domain, dtype, regime):
    found = drawn(arrays((3, 4), domain=domain, dtype=dtype, regime=regime), 150)
    assert all(DOMAINS[domain](a) for a in found)
    assert len({a.tobytes() for a in found}) > 20


def test_labels():
    found = drawn(problems(z="N C", t="N", domains={"t": "labels"}))
    assert {p.arrays["t"].dtype for p in found} == {np.dtype(np.int64)}
    assert all(((p.arrays["t"] >= 0) & (p.arrays["t"] < p.arrays["z"].shape[1])).all() for p in found)
    assert {int(t) for p in found for t in p.arrays["t"]} == set(range(8))
    simplest = find(problems(z="N 3", t="N", domains={"t": "labels"}), lambda p: True, settings=SEARCH)
    assert sorted(simplest.arrays["t"]) == [0, 1, 2]
    assert set(np.unique(drawn(arrays(4, domain="labels"), 30))) == {0, 1}


def test_a_strategy_is_a_domain():
    of_numbers = drawn(arrays((2, 2), domain=st.floats(5, 6), dtype=np.float32), 30)
    assert all(a.dtype == np.float32 and a.shape == (2, 2) and ((a >= 5) & (a <= 6)).all() for a in of_numbers)
    of_arrays = drawn(arrays((2, 2), domain=st.just(np.eye(2, dtype=int))), 3)
    assert all((a == np.eye(2)).all() and a.dtype == int for a in of_arrays)


# -- layouts --------------------------------------------------------------------------------------------


def layout(a, others=()):
    if any(np.shares_memory(a, b) for b in others):
        return "aliased"
    long = [s for s, n in zip(a.strides, a.shape, strict=True) if n > 1]
    if 0 in long:
        return "broadcast"
    if not a.flags.writeable:
        return "readonly"
    if any(s < 0 for s in long):
        return "reversed"
    if a.flags.c_contiguous:
        return "contiguous"
    return "fortran" if a.flags.f_contiguous else "gaps"


def test_every_layout_occurs():
    found = drawn(problems(x="N C", dy="N C"), 500)
    of_dy = [layout(p.dy, p.arrays.values()) for p in found if min(p.dy.shape) > 1]
    assert set(of_dy) == {"contiguous", "fortran", "broadcast", "reversed", "gaps", "readonly", "aliased"}
    assert all(of_dy.count(name) >= 5 for name in set(of_dy))
    of_x = [layout(p.arrays["x"]) for p in found if min(p.dy.shape) > 1]
    assert set(of_x) == {"contiguous", "fortran", "reversed", "gaps", "readonly"}
    axes = {tuple(s == 0 for s in p.dy.strides) for p in found if min(p.dy.shape) > 1}
    assert {(True, False), (False, True), (True, True)} <= axes
    plain = drawn(problems(x="N C", dy="N C", layouts=False), 100)
    assert {layout(a) for p in plain for a in everything(p)} == {"contiguous"}


@given(problems(dy="N C", **NORM))
@examples(200)
def test_a_problem_is_code(problem):
    again = eval(repr(problem), {"Problem": Problem, "np": np, "base64": base64})
    for a, b in zip(everything(again), everything(problem), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
        assert layout(a) == layout(b) or not b.flags.writeable or b.size == 1


# -- with a reference -----------------------------------------------------------------------------------


def for_reference(reference, shapes, **options):
    return problems_for(reference, parse("t", reference, shapes), **options)


def test_dy_is_shaped_by_the_reference():
    found = drawn(
        for_reference(lambda x, y: tg.sum(x[:, None] * y, axis=1), {"x": "N C", "y": "M C"}, dtype=np.float32)
    )
    for p in found:
        assert p.dy.shape == (p.arrays["x"].shape[0], p.arrays["x"].shape[1])
        assert p.dy.dtype == np.float32
    assert all(p.dy.shape == () for p in drawn(for_reference(tg.sum, {"x": "N"}), 20))


def test_several_outputs_have_several_dys():
    found = drawn(for_reference(lambda x: (tg.mean(x, axis=0), x * 2), {"x": "N C"}))
    for p in found:
        assert [d.shape for d in p.dy] == [p.arrays["x"].shape[1:], p.arrays["x"].shape]
    assert any(layout(p.dy[0], p.arrays.values()) == "readonly" for p in found)


def test_labels_reach_the_reference():
    strategy = for_reference(tg.cross_entropy, {"logits": "N C", "target": "N"}, domains={"target": "labels"})
    assert all(p.dy.shape == () for p in drawn(strategy, 50))


def test_an_argument_may_be_called_as_an_option_is():
    (p,) = drawn(problems(specs={"dy": "N", "dtype": "N"}, dims={"N": [2]}, layouts=False), 1)
    assert p.dy is None
    assert {name: a.shape for name, a in p.arrays.items()} == {"dy": (2,), "dtype": (2,)}


# -- what a failure shrinks to --------------------------------------------------------------------------


def batch_norm_backward(p, direct=1.0, mean=1.0, variance=1.0, gamma_factor=None, xhat_is_x=False):
    x, gamma, dy = p.arrays["x"], p.arrays["gamma"], p.dy
    mu, std = x.mean(axis=0), np.sqrt(x.var(axis=0) + 1e-5)
    xhat = (x - mu) / std
    d = dy * (gamma if gamma_factor is None else gamma_factor(gamma)) / std
    last = x if xhat_is_x else xhat
    return direct * d - mean * d.mean(axis=0) - variance * last * (d * xhat).mean(axis=0), np.abs(d).max()


def truth(p):
    x, gamma, beta = p.arrays.values()
    return tg.vjp_fn(tg.batch_norm)(x, gamma, beta, p.dy)[1][0].numpy()


WRONG = {
    "the mean term has its sign flipped": {"mean": -1},
    "the mean term is missing": {"mean": 0},
    "the variance term is missing": {"variance": 0},
    "the variance term is halved": {"variance": 0.5},
    "gamma is missing": {"gamma_factor": np.ones_like},
    "gamma is squared": {"gamma_factor": np.square},
    "all twice": {"direct": 2, "mean": 2, "variance": 2},
    "x for xhat": {"xhat_is_x": True},
}


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_backward_shrinks_to_the_ramp(how):
    calls = []

    def fails(p):
        calls.append(1)
        with np.errstate(all="ignore"):
            mine, scale = batch_norm_backward(p, **WRONG[how])
            return not np.allclose(mine, truth(p), rtol=1e-6, atol=1e-8 * scale)

    found = find(problems(dy="N C", **NORM), fails, settings=SEARCH)
    np.testing.assert_array_equal(found.arrays["x"], [[-3], [0], [3]])
    np.testing.assert_array_equal(found.dy, [[3], [-1], [2]])
    assert len(calls) < 20


def test_a_fault_that_needs_a_constant_channel_shrinks_too():
    """A backward that divides by the standard deviation without eps: nan where a channel is constant."""

    def fails(p):
        return bool((p.arrays["x"].std(axis=0) == 0).any() and len(p.arrays["x"]) > 1)

    found = find(problems(dy="N C", **NORM), fails, settings=settings(SEARCH, max_examples=300))
    np.testing.assert_array_equal(found.arrays["x"], [[-3], [-3], [-3]])
    assert found.dy.any()


def test_a_fault_of_an_offset_shrinks_to_the_smallest_one():
    found = find(
        problems(x="N", dy="N", regimes=("generic", "offset")),
        lambda p: p.arrays["x"].mean() > 50,
        settings=settings(SEARCH, max_examples=300),
    )
    np.testing.assert_allclose(found.arrays["x"], [97.9, 100, 102.1], rtol=1e-15)
    np.testing.assert_array_equal(found.dy, [3, -1, 2])


def test_beside_an_offset_no_square_is_exact():
    """Else E[x²] - E[x]² would be right by chance."""
    found = drawn(problems(x="N", dy="N", regimes=("offset",), dims={"N": [5]}, layouts=False), 100)
    large = [p.arrays["x"] for p in found if p.arrays["x"][0] > 50 and np.ptp(p.arrays["x"])]
    inexact = [any(float(v) ** 2 != Fraction(float(v)) ** 2 for v in x) for x in large]
    assert len(large) > 30
    assert sum(inexact) > 0.9 * len(large)
    assert sum(abs(p.dy).max() < 20 for p in found) > 50


def test_a_trial_has_sizes_that_differ():
    x, w, b = trial(lambda x, w, b: x @ w + b, parse("t", None, {"x": "N C", "w": "C M", "b": "M"}))
    assert x.shape == (3, 2)
    assert w.shape == (2, 4)
    assert b.shape == (4,)
    np.testing.assert_array_equal(x[:, 0], [-3, 0, 3])
    (x,) = trial(tg.log, parse("t", None, {"x": "N"}), dims={"N": [31]}, domains={"x": "positive"}, dtype=np.float32)
    assert x.shape == (31,)
    assert x.dtype == np.float32
    assert (x > 0).all()
    assert trial(tg.cross_entropy, parse("t", None, {"z": "N C", "t": "N"}), domains={"t": "labels"})[1].dtype == int


def test_a_trial_says_what_does_not_fit():
    with pytest.raises(ArgumentError, match=r'f\(x="N C", b="D"\): the reference raises .*x\[3, 2\], b\[4\]'):
        trial(lambda x, b: x + b, parse("t", None, {"x": "N C", "b": "D"}), op="f")


# -- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"x": "N C", "dims": {"M": 3}}, r"dims=\{'M': …\}\): no argument has that size; the sizes are N, C"),
        ({"x": "N", "dims": {"N": (5, 1)}}, r"are no sizes"),
        ({"x": "N", "dims": {"N": (-1, 2)}}, r"are no sizes; write \{'N': \(1, 8\)\} or a list"),
        ({"x": "N", "dims": [3]}, r"dims=\[3\]\): is no dict; write dims="),
        ({"x": "N", "domains": "positive"}, r"domains='positive'\): is no dict; write dims="),
        ({"x": "N", "regimes": ("wild",)}, "there is no regime 'wild'; use generic, scale, offset"),
        ({"x": "N", "regimes": ()}, "there is no regime"),
        ({"x": "N", "domains": {"y": "positive"}}, "there is no such argument; the arguments are x"),
        ({"x": "N", "domains": {"x": "odd"}}, r"domains=\{'x': 'odd'\}\): is no domain; give bounds"),
        ({"x": "N", "domains": {"x": (1, 0)}}, "is no domain"),
        ({"x": "N", "dtype": np.int64}, "is no floating dtype; give np.float64"),
        ({"x": "N+1"}, "is no shape"),
    ],
)
def test_errors(given, what):
    with pytest.raises(ArgumentError, match=rf"problems\(.*{what}"):
        problems(**given)


def test_errors_of_arrays():
    with pytest.raises(ArgumentError, match=r"arrays\(.*there is no regime 'wild'"):
        arrays((2,), regime="wild")


@pytest.mark.parametrize(
    "make", [lambda: problems(x="N"), lambda: arrays(3), programs], ids=["problems", "arrays", "programs"]
)
def test_without_hypothesis(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis.strategies", None)
    with pytest.raises(
        MissingExtra, match=r'needs the package hypothesis; install it with: pip install "tinygraph\[testing\]"'
    ):
        make()
