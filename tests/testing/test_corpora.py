"""The corpora are what they say: right backwards are right, wrong ones are wrong in exactly the leaves they name."""

import re

import numpy as np
import pytest
from support.backwards import batch_norm, others, regimes

import tinygraph as tg

SIZES = {"N": 6, "C": 4, "D": 5}
CLOSE = 1e-10
FAR = 1e-8  # float32 inside is 1e-7 off


def derived(reference, arrays, dy):
    _, cotangents = tg.vjp_fn(reference)(*arrays, dy)
    return [c.numpy() for c in cotangents]


def off(found, expected):
    """The largest error, relative to the gradient's size; infinite where the shape is wrong."""
    if np.shape(found) != expected.shape:
        return np.inf
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


def draw(case, rng):
    arrays = {}
    for name, spec in case.shapes.items():
        a = rng.normal(size=[SIZES[letter] for letter in spec.split()])
        if case.domains.get(name) == "probability":
            a = np.exp(a) / np.exp(a).sum(axis=-1, keepdims=True)
        arrays[name] = a
    values = list(arrays.values())
    dy = np.asarray(rng.normal(size=case.reference(*map(tg.tensor, values)).shape))
    expected = dict(zip(case.shapes, derived(case.reference, values, dy), strict=True))
    return dy, values, [expected[name] for name in case.leaves]


def wrong_leaves(backward, dy, arrays, expected, names, **extras):
    found = backward(dy.copy(), *arrays, **extras)
    found = found if isinstance(found, tuple) else (found,)
    errors = {name: off(f, e) for name, f, e in zip(names, found, expected, strict=True)}
    assert all(error < CLOSE or error > FAR for error in errors.values()), errors
    return tuple(name for name, error in errors.items() if error > FAR)


# -- BatchNorm ---------------------------------------------------------------------------------------

BATCH_NORM = others.Case("BatchNorm", batch_norm.reference, batch_norm.SHAPES, batch_norm.RIGHT)


@pytest.mark.parametrize("name", batch_norm.RIGHT)
def test_right_batch_norms(name, rng):
    dy, arrays, expected = draw(BATCH_NORM, rng)
    assert wrong_leaves(batch_norm.RIGHT[name], dy, arrays, expected, BATCH_NORM.shapes) == ()


@pytest.mark.parametrize("mutant", batch_norm.MUTANTS, ids=str)
def test_wrong_batch_norms(mutant, rng):
    dy, arrays, expected = draw(BATCH_NORM, rng)
    extras = mutant.extras(**dict(zip(BATCH_NORM.shapes, arrays, strict=True))) if mutant.extras else {}
    assert wrong_leaves(mutant.backward, dy, arrays, expected, BATCH_NORM.shapes, **extras) == mutant.leaves


def test_numbers_of_the_wrong_batch_norms():
    assert [m.number for m in batch_norm.MUTANTS] == list(range(1, 39))
    assert [m.number for m in batch_norm.MUTANTS if not m.algebraic] == [27, 30]
    assert [m.number for m in batch_norm.MUTANTS if m.extras] == [25, 26]


def test_only_one_writes_into_an_argument(rng):
    dy, arrays, _ = draw(BATCH_NORM, rng)
    writing = []
    for m in batch_norm.MUTANTS:
        given = [dy.copy(), *(a.copy() for a in arrays)]
        extras = m.extras(**dict(zip(BATCH_NORM.shapes, given[1:], strict=True))) if m.extras else {}
        m.backward(*given, **extras)
        if any((a != b).any() for a, b in zip(given, [dy, *arrays], strict=True)):
            writing.append(m.number)
    assert writing == [27]


def test_a_line_is_judged_by_whole_words():
    doubled = batch_norm.MUTANTS[7]
    assert doubled.says("dx: term through var multiplied by 2")
    assert doubled.says("dx: term through var multiplied by 2 (twice as large)")
    assert not doubled.says("dx: term through var multiplied by 2/N")
    assert not doubled.says("dx: term through mu multiplied by 2")
    both = batch_norm.MUTANTS[3]
    assert both.says("dx: term through var multiplied by 0; term through mu multiplied by 0")
    assert not both.says("dx: term through var multiplied by 0")


def test_triples(rng):
    """336, all different, and each what its factors say: terms from the derived backward, not from the formula."""
    assert len(batch_norm.TRIPLES) == 336
    assert len({str(t) for t in batch_norm.TRIPLES}) == 336
    dy, arrays, expected = draw(BATCH_NORM, rng)
    terms = terms_of_batch_norm(dy, arrays)
    assert off(sum(terms.values()), expected[0]) < CLOSE
    for triple in batch_norm.TRIPLES:
        due = sum(batch_norm.FACTORS[f](len(dy)) * terms[name] for name, f in triple.factors.items())
        found = triple.backward(dy, *arrays)
        np.testing.assert_allclose(found[0], due, rtol=1e-10, atol=1e-12)
        assert off(found[0], expected[0]) > FAR
        assert max(map(off, found[1:], expected[1:])) < CLOSE


def terms_of_batch_norm(dy, arrays):
    """Each path alone, by holding the other nodes constant."""
    x, gamma, _ = arrays
    mu, xc = x.mean(axis=0), x - x.mean(axis=0)
    std = np.sqrt((xc**2).mean(axis=0) + 1e-5)

    def mean_moves(x):
        return gamma * (x - x.mean(axis=0)) / std

    def deviation_moves(x):
        return gamma * xc / tg.sqrt(tg.mean((x - mu) ** 2, axis=0) + 1e-5)

    (direct,) = derived(lambda x: gamma * (x - mu) / std, [x], dy)
    return {
        "direct": direct,
        "through mu": derived(mean_moves, [x], dy)[0] - direct,
        "through var": derived(deviation_moves, [x], dy)[0],
    }


# -- the other graphs --------------------------------------------------------------------------------

ALL = [*others.CASES, *others.MORE]


@pytest.mark.parametrize(("case", "name"), [(c, name) for c in ALL for name in c.right], ids=str)
def test_other_right_backwards(case, name, rng):
    dy, arrays, expected = draw(case, rng)
    assert wrong_leaves(case.right[name], dy, arrays, expected, case.leaves) == ()


@pytest.mark.parametrize("case", ALL, ids=lambda c: c.name)
def test_other_wrong_backwards(case, rng):
    dy, arrays, expected = draw(case, rng)
    for m in case.mutants:
        assert wrong_leaves(m.backward, dy, arrays, expected, case.leaves) == tuple(
            sorted(m.leaves, key=case.leaves.index)
        ), m


def test_other_wrong_backwards_are_58():
    assert [len(c.mutants) for c in others.CASES] == [14, 6, 8, 6, 13, 5, 6]
    assert len({str(m) for m in others.MUTANTS}) == 58
    assert all(re.compile(p) for m in others.MUTANTS for p in m.accept)


def test_lines_are_judged():
    by_name = {str(m): m for m in others.MUTANTS}
    negated = by_name["LayerNorm: mean negated"]
    assert negated.judge("dx: term through mu multiplied by -1 (it has its sign flipped)") == "named"
    assert negated.judge("dx: unexplained: 30 % lie outside the terms") == "unexplained"
    assert negated.judge("dx: term through mu multiplied by -1; term through var multiplied by 2") == "misnamed"
    assert negated.judge("dgamma: term through mu multiplied by -1") == "misnamed"
    weighted = by_name["LayerNorm: mean without gamma"]
    assert weighted.judge("dx: term through mu with gamma left out") == "named"
    assert weighted.judge("dx: term through mu multiplied by 1/gamma") == "misnamed"
    assert by_name["LayerNorm: mean without 1/C"].judge("dx: term through mu multiplied by C") == "named"
    assert by_name["LayerNorm: mean without 1/C"].judge("dx: term through mu multiplied by C/N") == "misnamed"
    both = by_name["tanh layer: 1 - h"]
    assert both.judge("dx, dW, db: tanh: 1-h for 1-h²") == "named"
    assert both.judge("dx, dW, db: tanh: 1+h² for 1-h²") == "misnamed"


# -- regimes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_regimes(dtype, rng):
    assert len(regimes.REGIMES) == 18
    for name, draw_arrays in {**regimes.REGIMES, **regimes.EXTREME}.items():
        dy, x, gamma, beta = draw_arrays(rng, dtype)
        assert dy.shape == x.shape == (len(x), *gamma.shape), name
        assert gamma.shape == beta.shape, name
        assert {a.dtype for a in (dy, x, gamma, beta)} == {np.dtype(dtype)}, name
        assert all(np.isfinite(a).all() for a in (dy, x, gamma, beta)), name
        assert len(x) <= 8 or name.startswith("bulk"), name


def test_regimes_are_what_they_are_called(rng):
    def spread(name):
        _, x, _, _ = regimes.REGIMES[name](rng, np.float64)
        return np.abs(x.mean()), x.std(axis=0)

    offset, scale = spread("scale 1e-3, offset 1e2")
    assert abs(offset - 100) < 0.1
    assert (scale < 0.01).all()
    assert spread("constant feature")[1][0] == 0
    dy, x, gamma, beta = regimes.REGIMES["dy in the span of 1 and xhat"](rng, np.float64)
    dx = batch_norm.classic(dy, x, gamma, beta)[0]
    assert np.abs(dx).max() < 1e-3
    dy, x, gamma, beta = regimes.REGIMES["dy constant, x a ramp"](rng, np.float64)
    assert (dy == dy[0]).all()
