"""Proofs: right backwards are equal, wrong ones different in exactly the wrong leaves, and nobody gets in by a trick."""

import itertools
import re
import time
import warnings

import numpy as np
import pytest
from support.backwards import batch_norm, others

import tinygraph as tg
from tinygraph.errors import ArgumentError, NotAlgebraic
from tinygraph.testing.check import check_backward
from tinygraph.testing.field import Field
from tinygraph.testing.points import Case, Unusable
from tinygraph.testing.prove import Proof, prove

BN = batch_norm.SHAPES
ALGEBRAIC = [c for c in (*others.CASES, *others.MORE) if c.name in ("LayerNorm", "RMSNorm", "l2norm distance")]


def squares(x):
    return tg.sum(x * x)


def wrong_leaves(proof):
    return {name for name, verdict in proof.leaves.items() if verdict != "equal"}


def with_extras(mutant):
    def backward(dy, x, gamma, beta):
        return mutant.backward(dy, x, gamma, beta, **mutant.extras(x=x, gamma=gamma, beta=beta))

    return backward if mutant.extras else mutant.backward


# -- right ones --------------------------------------------------------------------------------------


def closed_form(dy, x, gamma, beta):
    n = len(x)
    mu, var = x.mean(axis=0), x.var(axis=0)
    xc = x - mu
    v = var + 1e-5
    dx = 1.0 / n * gamma * v**-0.5 * (n * dy - np.sum(dy, axis=0) - xc * v**-1.0 * np.sum(dy * xc, axis=0))
    return {"x": dx, "gamma": np.sum(dy * xc * v**-0.5, axis=0), "beta": np.ones(n) @ dy}


def staged_with_ones(dy, x, gamma, beta):
    """With arrays of ones divided by N, as published."""
    n, c = x.shape
    mu = 1 / float(n) * np.sum(x, axis=0)
    xmu = x - mu
    sqrtvar = np.sqrt(1.0 / n * np.sum(xmu**2, axis=0) + 1e-5)
    ivar = 1.0 / sqrtvar
    dxhat = dy * gamma
    divar = np.sum(dxhat * xmu, axis=0)
    dsqrtvar = -1.0 / (sqrtvar**2) * divar
    dvar = 0.5 * 1.0 / sqrtvar * dsqrtvar
    dsq = 1.0 / n * np.ones((n, c)) * dvar
    dx1 = dxhat * ivar + 2 * xmu * dsq
    dmu = -1 * np.sum(dx1, axis=0)
    return dx1 + 1.0 / n * np.ones((n, c)) * dmu, np.sum(dy * xmu * ivar, axis=0), np.sum(dy, axis=0)


def roots_of_other_powers(dy, x, gamma, beta):
    v, xc = np.var(x, axis=0) + 1e-5, x - np.mean(x, axis=0)
    d = dy * gamma * np.sqrt(1 / v)
    dx = d - d.mean(axis=0) - xc / np.sqrt(v**3) * np.mean(dy * gamma * xc, axis=0)
    return dx, np.einsum("nc,nc,c->c", dy, xc, v ** (-1 / 2)), dy.sum(axis=0)


RIGHT = batch_norm.RIGHT | {f.__name__: f for f in (closed_form, staged_with_ones, roots_of_other_powers)}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("seed", [0, 1])
def test_right_batch_norms_are_equal(name, seed):
    proof = prove(batch_norm.reference, RIGHT[name], seed=seed, **BN)
    assert proof
    assert proof.verdict == "equal"
    assert dict(proof.leaves) == {"x": "equal", "gamma": "equal", "beta": "equal"}
    assert 0 < proof.bound < 2e-15
    assert proof.trials == 6
    assert proof.redraws > 0
    assert proof.field == 2**61 - 1
    assert proof.counterexample is None
    assert len({repr(dict(s)) for s in proof.shapes}) == 3
    for shapes in proof.shapes:
        n, c = shapes["x"]
        assert shapes["gamma"] == shapes["beta"] == (c,)
        assert 3 <= n <= 7
        assert 2 <= c <= 3
        assert n != c


def test_the_shipped_batch_norm_is_equal():
    proof = prove(tg.batch_norm, RIGHT["staged"], **BN)
    assert proof


@pytest.mark.parametrize(("case", "name"), [(c, name) for c in ALGEBRAIC for name in c.right], ids=str)
def test_other_right_backwards_are_equal(case, name):
    proof = prove(case.reference, case.right[name], wrt=case.wrt, **case.shapes)
    assert proof
    assert proof.bound < 1e-20


def linear(x, w, b):
    return x @ w + b


OTHERS = {
    "linear": (linear, lambda dy, x, w, b: (dy @ w.T, x.T @ dy, dy.sum(axis=0)), {"x": "N D", "w": "D H", "b": "H"}),
    "linear, by loops": (linear, lambda dy, x, w, b: _loops(dy, x, w), {"x": "N D", "w": "D H", "b": "H"}),
    "norm": (tg.norm, lambda dy, x: dy * x / np.linalg.norm(x), {"x": "N"}),
    "a number": (lambda x: x**3, lambda dy, x: 3 * dy * x**2, {"x": ""}),
    "std": (lambda x: tg.std(x, axis=0), lambda dy, x: dy * (x - x.mean(0)) / x.std(0) / len(x), {"x": "N C"}),
    "two outputs": (
        lambda x, y: (x * y, x / y),
        lambda dys, x, y: (dys[0] * y + dys[1] / y, dys[0] * x - dys[1] * x / y**2),
        {"x": "N", "y": "N"},
    ),
    "nested roots": (
        lambda x: tg.sqrt(1 + tg.sqrt(tg.sum(x * x))),
        lambda dy, x: _nested(dy, x),
        {"x": "N"},
    ),
    "trailing axes": (lambda x: tg.mean(x**2), lambda dy, x: 2 * x * dy / x.size, {"x": "N C ..."}),
    "an axis that may be 1": (lambda x, y: tg.sum(x * y), lambda dy, x, y: _unbroadcast(dy * y + 0 * x, dy * x, y), {"x": "N C", "y": "N? C"}),
    "captured": (lambda x: x * np.array([0.5, 1 / 3]), lambda dy, x: dy * np.array([0.5, 1 / 3]), {"x": "N 2"}),
    "not reached": (lambda x, y: x * x, lambda dy, x, y: (2 * dy * x, np.zeros(y.shape)), {"x": "N", "y": "C"}),
    "indexing": (lambda x: x[1:] * x[:-1], lambda dy, x: _neighbours(dy, x), {"x": "N"}),
    "rules with strong zeros": (lambda x: tg.where(x == 0, 0.0, 1 / x), lambda dy, x: -dy / x**2, {"x": "N"}),
}  # fmt: skip


def _loops(dy, x, w):
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(w[0])
    for n in range(len(x)):
        for h in range(w.shape[1]):
            dx[n] += dy[n, h] * w[:, h]
            dw[:, h] += dy[n, h] * x[n]
            db[h] += dy[n, h]
    return dx, dw, db


def _nested(dy, x):
    inner = np.sqrt((x * x).sum())
    return dy * x / (2 * np.sqrt(1 + inner) * inner)


def _unbroadcast(dx, dy, y):
    return dx, dy.sum(axis=0, keepdims=True) if y.shape != dy.shape else dy


def _neighbours(dy, x):
    dx = np.zeros_like(x)
    dx[1:] += dy * x[:-1]
    dx[:-1] += dy * x[1:]
    return dx


@pytest.mark.parametrize("name", OTHERS)
def test_other_references(name):
    reference, backward, shapes = OTHERS[name]
    proof = prove(reference, backward, **shapes)
    assert proof
    assert proof.bound < 1e-15
    assert not prove(reference, lambda *a: _spoiled(backward(*a)), **shapes)


def _spoiled(gradients):
    first, *rest = gradients if isinstance(gradients, tuple) else (gradients,)
    return (first * 1.001, *rest) if rest else first * 1.001


# -- wrong ones ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", batch_norm.MUTANTS, ids=str)
def test_wrong_batch_norms_are_different_in_exactly_the_wrong_leaves(mutant):
    if mutant.number == 30:
        with pytest.raises(NotAlgebraic, match=r"batch_norm\.py:\d+: a conversion to float \(astype"):
            prove(batch_norm.reference, mutant.backward, **BN)
        return
    proof = prove(batch_norm.reference, with_extras(mutant), **BN)
    assert not proof
    assert proof.verdict == "different"
    assert wrong_leaves(proof) == set(mutant.leaves)
    if mutant.number == 27:
        assert proof.counterexample.text == "the backward writes into dy"
    else:
        assert proof.counterexample.leaf == mutant.leaves[0]


@pytest.mark.parametrize("mutant", [m for c in ALGEBRAIC for m in c.mutants], ids=str)
def test_other_wrong_backwards_are_different_in_exactly_the_wrong_leaves(mutant):
    case = next(c for c in ALGEBRAIC if c.name == mutant.case)
    proof = prove(case.reference, mutant.backward, wrt=case.wrt, **case.shapes)
    assert proof.verdict == "different"
    assert wrong_leaves(proof) == set(mutant.leaves)


@pytest.mark.parametrize("triple", batch_norm.TRIPLES[::28], ids=str)
def test_wrong_coefficients(triple):
    assert wrong_leaves(prove(batch_norm.reference, triple.backward, trials=2, **BN)) == {"x"}


def test_a_counterexample_shows_it_in_float64():
    proof = prove(batch_norm.reference, batch_norm.MUTANTS[12].backward, **BN)
    problem = proof.counterexample.problem
    report = check_backward(
        batch_norm.reference, batch_norm.MUTANTS[12].backward, *problem.arrays.values(), dy=problem.dy
    )
    assert not report
    assert {e.leaf for e in report.entries if not e.ok} == {"x", "gamma"}
    assert problem.arrays["x"].dtype == np.float64


@pytest.mark.parametrize("eps", [1e-5, 1e-8, 1e-12, 1e-16])
def test_however_small_a_constant_is_it_is_missed(eps):
    def reference(x):
        return x / tg.sqrt(tg.sum(x * x) + eps)

    def backward(dy, x, eps=eps):
        n = np.sqrt(np.sum(x * x) + eps)
        return dy / n - x * np.sum(dy * x) / n**3

    assert prove(reference, backward, x="N")
    assert prove(reference, lambda dy, x: backward(dy, x, 0.0), x="N").verdict == "different"
    assert prove(reference, lambda dy, x: backward(dy, x, 2 * eps), x="N").verdict == "different"


# -- what is no array, or no gradient --------------------------------------------------------------------

BROKEN = {
    "raises": (lambda dy, x: dy * x.reshape(-1, 7, 11, 13), "the backward raises ValueError: cannot reshape"),
    "arguments": (lambda dy: dy, "the backward raises TypeError"),
    "None": (lambda dy, x: None, "returned None for dx where an array is due"),
    "too many": (lambda dy, x: (dy, x), "returned 2 arrays where 1 are due"),
    "shape": (lambda dy, x: (2 * dy * x)[:, None], r"dx has shape \(\d, 1\) where x has \(\d,\)"),
    "not spread": (lambda dy, x: dy, r"dx has shape \(\) where x has"),
    "zero divisor": (lambda dy, x: 2 * dy * x + 1 / (x - x), r"divides by zero at x\[0\]"),
    "a root of what has none": (lambda dy, x: 2 * dy * x + 0 * np.sqrt(-x * x), "some radicand was no square"),
    "a root of a negative constant": (
        lambda dy, x: 2 * dy * x + 0 * np.sqrt(x - x - 1),
        "constant there, and no square",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_broken_backwards_are_different(name):
    backward, says = BROKEN[name]
    proof = prove(squares, backward, trials=1, x="N")
    assert proof.verdict == "different"
    assert dict(proof.leaves) == {"x": "different"}
    assert re.search(says, proof.counterexample.text), proof.counterexample.text
    assert re.search(says, str(proof))


def test_writing_into_an_input_is_told():
    def backward(dy, x):
        x *= 2
        return dy * x

    proof = prove(squares, backward, x="N")
    assert proof.verdict == "different"
    assert dict(proof.leaves) == {"x": "equal"}
    assert str(proof.counterexample) == "the backward writes into x"


def test_writing_what_was_there_is_no_writing():
    def backward(dy, x):
        x[...] = x
        x += 0
        return 2 * dy * x

    assert prove(squares, backward, x="N")


# -- attempts to be accepted -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_sign_of_a_root_is_not_a_matter_of_luck(seed):
    """√(x²) is |x|: a backward without the sign is right at every second point, over one x."""
    proof = prove(lambda x: tg.sqrt(x * x), lambda dy, x: dy, seed=seed, trials=1, x="")
    assert proof.verdict == "different"
    right = prove(lambda x: tg.sqrt(x * x), lambda dy, x: dy * x / np.sqrt(x * x), seed=seed, trials=1, x="")
    assert right.verdict == "equal"
    assert 2**-52 < right.bound < 2e-15  # and says that it knows the sign by trying only


@pytest.mark.parametrize("seed", range(3))
def test_two_signs_at_once(seed):
    """Wrong only where both roots take the other sign: one point in four shows it."""

    def reference(x, y):
        return (tg.sqrt(x * x) - x) * (tg.sqrt(y * y) - y)

    def backward(dy, x, y):
        return 0 * dy * x, 0 * dy * y

    assert prove(reference, backward, seed=seed, x="", y="").verdict == "different"


@pytest.mark.parametrize("seed", range(5))
def test_the_sign_of_a_product_of_roots(seed):
    """√x·√(x·q²) is x·|q|: neither radicand is a square, their product is one."""

    def reference(x, q):
        return tg.sqrt(x) * tg.sqrt(x * q * q)

    def right(dy, x, q):
        r, s = np.sqrt(x), np.sqrt(x * q * q)
        return dy * (s / r / 2 + r * q * q / s / 2), dy * r * x * q / s

    def positive(dy, x, q):
        return dy * q, dy * x

    assert prove(reference, right, seed=seed, trials=1, x="", q="")
    assert not prove(reference, positive, seed=seed, trials=1, x="", q="")


@pytest.mark.parametrize("seed", range(10))
def test_the_sign_of_a_product_of_roots_taken_at_once(seed):
    """The same, with both roots in one array: where the first radicand is no square, neither is the other."""

    def reference(x, q):
        return tg.prod(tg.sqrt(tg.stack([x, x * q * q])))

    def right(dy, x, q):
        return dy * q * q * np.sqrt(x) / np.sqrt(x * q * q), dy * np.sqrt(x) * x * q / np.sqrt(x * q * q)

    for backward, wrong in ((right, set()), (lambda dy, x, q: (dy * q, dy * x), {"x", "q"})):
        case = Case(reference, backward, {"x": (), "q": ()}, Field(), None, [seed])
        case.trial()
        case.settle_signs()
        assert set(case.wrong) == wrong
        assert case._unsettled == (0b10 if case.settled else 0b11)
        assert wrong or case.bound == pytest.approx(2.0**-case.trials, rel=1e-6, abs=0) == pytest.approx(0, abs=1e-14)


def test_the_bound_counts_the_signs():
    """Two signs in one entry: each trial sees a wrong pair with a chance of 1/4."""

    def reference(x, y):
        return tg.sqrt(x * x) * tg.sqrt(y * y)

    def backward(dy, x, y):
        u, v = np.sqrt(x * x), np.sqrt(y * y)
        return dy * v * x / u, dy * u * y / v

    proof = prove(reference, backward, x="", y="")
    assert proof
    assert proof.bound == pytest.approx(0.75**100, rel=1e-6, abs=0)


def test_the_bound_of_one_trial():
    """2^(r+R) · D / p with one root in each entry, three in all, and a degree as measured for such sizes."""
    case = Case(
        batch_norm.reference, batch_norm.RIGHT["paper"], {"x": (7, 3), "gamma": (3,), "beta": (3,)}, Field(), None, [0]
    )
    case.trial()
    assert case.count == 3
    assert {roots.bit_count() for roots in case.roots} == {0, 1}
    degree = case.chance * case.field.p / 2 ** (1 + 3)
    assert degree == int(degree)
    assert 50 < degree < 260
    assert case.bound == case.chance or case._unsettled
    case.settle_signs()
    assert case.bound == case.chance**case.trials < 2e-15


def test_right_over_the_reals_and_not_in_the_field_is_undecided():
    def reference(x):
        return tg.sqrt((x * x + 1) ** 2)

    proof = prove(reference, lambda dy, x: 2 * dy * x, x="N")
    assert proof.verdict == "undecided"
    assert not proof
    assert dict(proof.leaves) == {"x": "undecided"}
    assert re.search(r"dx is another number at x\[\d\], with x\[\d\], and is right in float64: √\(v²\) = v", str(proof))
    assert proof.counterexample is None


def test_some_leaves_undecided_and_others_different():
    def reference(x, y):
        return tg.sqrt((x * x + 1) ** 2) * y

    proof = prove(reference, lambda dy, x, y: (2 * dy * x * y, dy * y), x="N", y="N")
    assert proof.verdict == "different"
    assert dict(proof.leaves) == {"x": "undecided", "y": "different"}


def looks_at_the_dtype(dy, x):
    return 2 * dy * x if x.dtype == object else dy * x


def one_in_this_field(dy, x):
    return 2 * dy * x * 2**30 * 2**31


def fermat(dy, x):
    return 2 * dy * x * x ** (2**61 - 2)


@pytest.mark.parametrize("backward", [looks_at_the_dtype, one_in_this_field, fermat])
def test_what_holds_in_this_field_only_is_not_equal(backward):
    proof = prove(squares, backward, x="N")
    assert proof.verdict == "undecided"
    assert "dx is equal in the field, and wrong in float64 (dx: " in str(proof)
    assert "does the backward look at the dtype" in str(proof)


@pytest.mark.parametrize("factor", [1.0001, 1.001, 0.5])
def test_a_small_difference_between_the_dtypes_is_not_equal(factor):
    right = batch_norm.RIGHT["classic"]

    def backward(dy, *arrays):
        dx, dgamma, dbeta = right(dy, *arrays)
        return dx if dx.dtype == object else dx * factor, dgamma, dbeta

    proof = prove(batch_norm.reference, backward, **BN)
    assert proof.verdict == "undecided"
    assert wrong_leaves(proof) == {"x"}
    assert f"wrong in float64 (dx: all terms multiplied by {factor if factor != 0.5 else '1/2'}" in str(proof)


def test_a_degree_near_the_size_of_the_field_proves_nothing():
    proof = prove(squares, lambda dy, x: 2 * dy * x + 0 * x ** (2**61 - 2), x="N")
    assert proof.verdict == "undecided"
    assert proof.bound == 1.0
    assert "passes with a chance of up to 1.0e+00; give more trials, or a larger field=" in str(proof)


def test_a_small_field_proves_little():
    weak = prove(squares, lambda dy, x: 2 * dy * x, field=103, x="N")
    assert weak.verdict == "undecided"
    assert prove(squares, lambda dy, x: 2 * dy * x, field=103, trials=60, x="N")
    larger = prove(squares, lambda dy, x: 2 * dy * x, field=2**127 - 1, x="N")
    assert larger.bound < 1e-70


def test_wrong_at_one_of_the_shapes_only():
    def backward(dy, x):
        return (2 if len(x) != 6 else 3) * dy * x

    assert prove(squares, backward, dims={"N": [5, 6, 7]}, trials=3, x="N").verdict == "different"
    assert prove(squares, backward, dims={"N": [4, 5, 7]}, x="N")  # and sizes not tried are not covered


def test_a_constant_not_quite_right():
    for factor in (2.0000001, 1.9999999, 2 + 1 / 99999):
        assert prove(squares, lambda dy, x, f=factor: f * dy * x, x="N").verdict == "different"
    with pytest.raises(NotAlgebraic, match=r"2\.000000001 looks irrational"):
        prove(squares, lambda dy, x: 2.000000001 * dy * x, x="N")


def test_constants_in_float32():
    eps, share = np.float32(1e-5), np.float32(1 / 7)

    def reference(x):
        return x * x * (0.1 / 7) + 1e-5 * x

    assert prove(reference, lambda dy, x: np.float32(0.2) * share * dy * x + eps * dy, x="N")
    assert prove(reference, lambda dy, x: np.float32(0.3) * share * dy * x + eps * dy, x="N").verdict == "different"
    assert prove(reference, lambda dy, x: np.float32(0.2) * share * dy * x + 2 * eps * dy, x="N").verdict == "different"
    with pytest.raises(NotAlgebraic, match=r"3\.14159274\d+ looks irrational"):
        prove(reference, lambda dy, x: np.float32(np.pi) * dy * x, x="N")


@pytest.mark.parametrize("seed", range(8))
def test_false_accepts_are_as_rare_as_the_bound_says(seed):
    """Over a small field a wrong backward passes now and then, and not more often than promised."""
    rng = np.random.default_rng(seed)
    a, b, c = (int(v) for v in rng.integers(1, 50, 3))

    def backward(dy, x, g, h):
        v = g * g + h
        return dy / np.sqrt(v) + dy * (x - a) * (x - b) * (x - c) * v, dy, dy

    case = Case(lambda x, g, h: x / tg.sqrt(g * g + h), backward, {"x": (), "g": (), "h": ()}, Field(523), "x", [seed])
    case.wrt, accepted = ["x"], 0
    for _ in range(400):
        case.wrong.clear()
        case.trial()
        accepted += not case.wrong
    assert accepted <= 400 * min(case.chance, 1)
    assert accepted < 40


# -- draws ---------------------------------------------------------------------------------------------------


def test_only_what_a_failing_radicand_depends_on_is_drawn_again():
    """7 rows with a root each: all at once would take 2^7 draws a trial, row by row it is about 4."""
    case = ALGEBRAIC[0]
    proof = prove(case.reference, case.right["three terms"], dims={"N": [7], "C": [3]}, **case.shapes)
    assert proof
    assert 6 < proof.redraws < 60


@pytest.mark.parametrize("roots", [1, 2, 3, 5])
def test_roots_of_the_same_inputs_are_drawn_together(roots):
    def reference(x):
        return sum(tg.sqrt(tg.sum(x * x) + k) for k in range(1, roots + 1))

    def backward(dy, x):
        return sum(dy * x / np.sqrt((x * x).sum() + k) for k in range(1, roots + 1))

    proof = prove(reference, backward, trials=3, x="N")
    assert proof
    assert proof.bound < 1e-9


def test_too_many_roots_are_an_error():
    def reference(x):
        return sum(tg.sqrt(tg.sum(x * x) + k) for k in range(1, 40))

    with pytest.raises(
        NotAlgebraic, match=r"prove\(reference, …\) at x\[\d\]: some radicand was no square in 1024 draws; have fewer"
    ):
        prove(reference, lambda dy, x: dy * x, x="2")


def test_warnings_of_a_backward_are_no_verdict():
    def backward(dy, x):
        warnings.warn("slow", stacklevel=1)
        return 2 * dy * x

    assert prove(squares, backward, x="N")


def test_a_root_of_a_constant():
    with pytest.raises(NotAlgebraic, match="of what is constant there, and no square"):
        prove(lambda x: tg.sqrt(x - x - 1), lambda dy, x: dy, x="N")


def test_sizes_at_which_the_reference_is_not_defined_are_left_out():
    """One row without eps: 0 / 0."""

    def reference(x):
        xc = x - tg.mean(x, axis=0)
        return xc / tg.sqrt(tg.mean(xc**2, axis=0))

    def backward(dy, x):
        xhat = (x - x.mean(axis=0)) / x.std(axis=0)
        return (dy - dy.mean(axis=0) - xhat * (dy * xhat).mean(axis=0)) / x.std(axis=0)

    proof = prove(reference, backward, dims={"N": [1, 3, 4, 5], "C": [2]}, x="N C")
    assert proof
    assert sorted(s["x"][0] for s in proof.shapes) == [3, 4, 5]
    with pytest.raises(NotAlgebraic, match=r"at x\[1,\d\]: the derived gradient divides by zero there"):
        prove(reference, backward, dims={"N": 1}, x="N C")


def test_redrawing_in_parts_does_not_bend_the_distribution():
    """χ² of one input over GF(11), against all points where both radicands are squares.

    The first radicand is a square for almost every y or for almost none, as x has it. Were only y and z
    drawn again where the second one fails, x would stay where it passes easily.
    """

    def first(x, y):
        return 3 * x * x + x + 3 * x * y**5 + 1

    def others(y, z):
        return [y + z + k for k in (0, 1, 2)]

    def reference(x, y, z):
        return tg.sqrt(first(x, y)) + sum(map(tg.sqrt, others(y, z)))

    squares = {v * v % 11 for v in range(1, 11)}
    allowed = np.zeros(11)
    for x, y, z in itertools.product(range(11), repeat=3):
        allowed[x] += {v % 11 for v in (first(x, y), *others(y, z))} <= squares
    case = Case(reference, None, {"x": (), "y": (), "z": ()}, Field(11), None, [1])
    counts = np.zeros(11)
    while counts.sum() < 250:
        case._draw()
        try:
            case.gradients(kernel=False)
        except Unusable:  # divides by a root of 0, as happens in so small a field
            continue
        x, y, z = (e.value for e in case.point[:3])
        counts[x] += {v % 11 for v in (first(x, y), *others(y, z))} <= squares
    expected = 250 * allowed / allowed.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 30  # 10 degrees of freedom


def test_the_same_seed_gives_the_same_proof():
    proofs = [prove(batch_norm.reference, batch_norm.RIGHT["paper"], seed=s, **BN) for s in (3, 3, 4)]
    assert str(proofs[0]) == str(proofs[1]) != str(proofs[2])


# -- what is not algebraic -------------------------------------------------------------------------------------


def in_scope(x):
    with tg.scope("activation"):
        return tg.tanh(x) * 2


def filling(dy, x):
    out = np.zeros(x.shape)
    for i in range(len(x)):
        out[i] = 2 * dy * x[i]
    return out


def adding(dy, x):
    out = np.zeros(x.shape)
    out += 2 * dy * x
    return out


KERNELS = {
    "exp": (lambda dy, x: dy * np.exp(x), "exp has no exact counterpart in a finite field; "),
    "tanh": (lambda dy, x: dy * np.tanh(x), "tanh has no exact"),
    "maximum": (lambda dy, x: dy * np.maximum(x, 0), "the comparison >= .*max, min, relu"),
    "where": (lambda dy, x: dy * np.where(x > 0, x, 0), "the comparison > "),
    "abs": (lambda dy, x: dy * np.abs(x), "the absolute value has no exact"),
    "astype": (lambda dy, x: dy * x.astype(np.float32), "a conversion to float .astype"),
    "filling np.zeros": (filling, "filling np.zeros.*fill np.zeros_like"),
    "adding to np.zeros": (adding, "filling np.zeros.*fill np.zeros_like"),
    "np.pi": (lambda dy, x: dy * x * np.pi, "the constant 3.141592653589793 looks irrational"),
    "a constant result": (lambda dy, x: np.full(x.shape, np.pi), "in dx, the constant 3.141592653589793"),
    "isnan": (lambda dy, x: np.where(np.isnan(x), 0, dy * x), "isnan has no exact"),
    "inverse": (lambda dy, x: np.linalg.inv(np.diag(x)) @ x, "inv has no exact"),
    "float_power": (lambda dy, x: np.float_power(x, 2), "float_power has no exact"),
    "finfo": (lambda dy, x: x + np.finfo(x.dtype).eps, "something that raises ValueError on arrays of exact numbers"),
    "a power": (lambda dy, x: x ** (1 / 3), "the power 0.333.* is no integer"),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_backward_that_is_not_algebraic(name):
    backward, says = KERNELS[name]
    with pytest.raises(NotAlgebraic, match=says) as caught:
        prove(squares, backward, x="N")
    text = str(caught.value)
    assert text.startswith(f"prove(…, {backward.__name__})")
    assert name == "a constant result" or re.search(r"test_prove\.py:\d+: ", text)
    assert isinstance(caught.value, TypeError)


REFERENCES = {
    "exp": (lambda x: tg.exp(x), r"exp\(float64\[3\] x\), .*test_prove.py:\d+: exp has no exact"),
    "scope": (in_scope, r"prove\(in_scope, …\): tanh\(float64\[3\] x\) in scope activation, .*: tanh has no exact"),
    "relu": (tg.relu, r"less_equal\(float64\[3\] x, 0\).*the comparison <="),
    "max": (lambda x: tg.max(x), r"max\(float64\[3\] x\).*the comparison >="),
    "abs": (lambda x: tg.abs(x), r"sign\(float64\[3\] x\)"),
    "np.pi": (lambda x: x * np.pi, r"mul\(float64\[3\] dy, 3.14159.*\) in scope backward.*irrational"),
    "an array": (lambda x: x * np.array([np.pi, 1, 2]), r"it holds the array float64\[3\].*irrational"),
    "a power": (lambda x: x**0.3, r"pow\(float64\[3\] x, -0.7\).*no integer and no half"),
    "log": (lambda x: tg.log(x) * tg.log(x), r"log\(float64\[3\] x\).*log has no exact"),
}


LABELS = {
    "an index": (lambda x, t: tg.sum(x[np.arange(3), t]), lambda dy, x, t: dy, "index arrays are integer"),
    "classes": (lambda x, t: tg.cross_entropy(x, t), lambda dy, x, t: dy, "or integer classes"),
    "the backward alone": (
        lambda x, t: tg.sum(x * t[:, None]), lambda dy, x, t: x[np.arange(3), t], r"test_prove\.py:\d+: arrays used as ind",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
def test_integer_arguments_are_refused(name):
    reference, backward, says = LABELS[name]
    with pytest.raises(
        NotAlgebraic, match=rf"{says}.*never integers: labels, indices and masks belong into the functions"
    ):
        prove(reference, backward, x="3 C", t="3")


def test_labels_held_fixed():
    t = np.array([2, 0, 1])

    def backward(dy, x):
        dx = np.zeros_like(x)
        dx[np.arange(3), t] = dy
        return dx

    assert prove(lambda x: tg.sum(x[np.arange(3), t]), backward, x="3 3")


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_that_is_not_algebraic(name):
    reference, says = REFERENCES[name]
    with pytest.raises(NotAlgebraic, match=says):
        prove(reference, lambda dy, x: dy, x="3")


# -- arguments ---------------------------------------------------------------------------------------------------


def test_wrt():
    backward = batch_norm.RIGHT["paper"]
    proof = prove(batch_norm.reference, lambda *a: backward(*a)[2], wrt="beta", **BN)
    assert dict(proof.leaves) == {"beta": "equal"}
    pair = prove(
        batch_norm.reference, lambda *a: {"dbeta": backward(*a)[2], "dx": backward(*a)[0]}, wrt=["x", "beta"], **BN
    )
    assert dict(pair.leaves) == {"x": "equal", "beta": "equal"}
    with pytest.raises(ArgumentError, match="'sigma' is no floating argument"):
        prove(batch_norm.reference, backward, wrt="sigma", **BN)


def test_an_argument_named_like_an_option():
    assert prove(lambda field, dims: field * dims, lambda dy, a, b: (dy * b, dy * a), specs={"field": "N", "dims": "N"})


def test_dims():
    proof = prove(squares, lambda dy, x: 2 * dy * x, dims={"N": (1, 4)}, trials=9, x="N C")
    assert {s["x"][0] for s in proof.shapes} <= {1, 2, 3, 4}
    fixed = prove(squares, lambda dy, x: 2 * dy * x, dims={"N": 11, "C": [13]}, x="N C")
    assert [dict(s) for s in fixed.shapes] == [{"x": (11, 13)}]
    assert fixed.bound < 1e-90  # six trials at one shape
    wide = prove(squares, lambda dy, x: 2 * dy * x, dims={"N": (2, 10**6)}, x="N")
    assert max(s["x"][0] for s in wide.shapes) <= 8
    assert {s["x"] for s in prove(squares, lambda dy, x: 2 * dy * x, dims={"N": np.int64(4)}, x="N").shapes} == {(4,)}
    one = prove(squares, lambda dy, x: 2 * dy * x, trials=1, x="N C")
    assert len(one.shapes) == one.trials == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dims": {"M": 3}}, "no shape has a letter 'M'; it takes N"),
        ({"dims": {"N": []}}, "no size is left"),
        ({"dims": {"N": (8, 1)}}, "no size is left"),
        ({"dims": {"N": (0, 1)}}, "nothing to compare in an empty array"),
        ({"dims": {"N": [-3]}}, "sizes are 1 at least"),
        ({"dims": {"N": "8"}}, "sizes are integers"),
        ({"dims": {"N": 2.5}}, "sizes are integers"),
        ({"dims": {"N": [True]}}, "sizes are integers"),
        ({"x": "N 0"}, "nothing to compare in an empty array"),
        ({"trials": 0}, "give 1 at least"),
        ({"trials": 2.5}, "give 1 at least"),
        ({"field": 2**61}, "3 mod 4"),
        ({"field": 91}, "3 mod 4"),
        ({"y": "N"}, "no argument 'y'"),
    ],
)
def test_wrong_calls(options, says):
    with pytest.raises(ArgumentError, match=says):
        prove(squares, lambda dy, x: dy, **{"x": "N", **options})


def test_swapped_functions():
    with pytest.raises(ArgumentError, match="these look swapped"):
        prove(lambda dy, x: dy * x, squares, x="N")
    with pytest.raises(ArgumentError, match="the backward is a function"):
        prove(squares, 3, x="N")


# -- what comes back -----------------------------------------------------------------------------------------------


def test_a_proof_reads_well():
    proof = prove(batch_norm.reference, batch_norm.RIGHT["classic"], **BN)
    text = str(proof)
    assert text.splitlines()[0] == "equal: this backward is the derived one, exactly"
    assert "dx, dgamma, dbeta equal" in text
    assert re.search(
        r"6 trials in GF\(2305843009213693951\), \d+ redraws, at the shapes\n    x\[\d,\d\], gamma\[\d\], beta\[\d\]\n",
        text,
    )
    assert f"passes with a chance of at most {proof.bound:.1e}" in text
    assert "not covered: rounding, range, layouts, sizes not tried, a wrong reference, branches on a size" in text
    assert repr(proof) == f"<Proof equal: dx, dgamma, dbeta equal; 6 trials, bound {proof.bound:.1e}>"


def test_a_rejection_reads_well():
    proof = prove(batch_norm.reference, batch_norm.MUTANTS[0].backward, **BN)
    lines = str(proof).splitlines()
    assert lines[0] == "different: this backward is not the derived one"
    assert lines[1] == "  dgamma, dbeta equal, dx different"
    assert re.fullmatch(
        r"  counterexample: dx is another number at x\[0,0\], with x\[\d,\d\], gamma\[\d\], beta\[\d\]", lines[2]
    )
    assert lines[3].startswith("    Problem(x=np.array([[")
    assert "chance" not in str(proof)
    assert repr(proof) == "<Proof different: dgamma, dbeta equal, dx different; 6 trials>"
    assert not proof


def test_a_proof_is_frozen():
    proof = prove(squares, lambda dy, x: 2 * dy * x, x="N")
    assert isinstance(proof, Proof)
    with pytest.raises(AttributeError):
        proof.verdict = "different"
    with pytest.raises(TypeError):
        proof.leaves["x"] = "different"
    assert not hasattr(proof, "__dict__")


def test_it_is_quick():
    case = Case(
        batch_norm.reference, batch_norm.RIGHT["paper"], {"x": (8, 3), "gamma": (3,), "beta": (3,)}, Field(), None, [0]
    )
    best = np.inf
    for _ in range(20):
        start = time.process_time()
        case.trial()
        best = min(best, time.process_time() - start)
    assert not case.wrong
    assert best < 0.02  # about 2 ms where nothing else runs
