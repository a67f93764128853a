"""The doctor names the fault: every mutant of the corpora, and says nothing about what is right."""

import cProfile

import numpy as np
import pytest
from support.backwards import batch_norm, others

import tinygraph as tg
from tinygraph.errors import ArgumentError
from tinygraph.testing import Diagnosis, diagnose
from tinygraph.testing.doctor.findings import KINDS

SHAPES = batch_norm.SHAPES


def ask(mutant, **options):
    extras = {"extras": mutant.extras} if mutant.extras is not None else {}
    return diagnose(batch_norm.reference, mutant.backward, **SHAPES, **extras, **options)


@pytest.mark.parametrize("mutant", batch_norm.MUTANTS, ids=lambda m: f"{m.number:02}")
def test_a_wrong_batch_norm_is_named(mutant):
    found = ask(mutant)
    assert not found.ok
    assert not found
    assert mutant.says(str(found).splitlines()[0]), found
    assert {f.kind for f in found.findings} <= set(KINDS)


@pytest.mark.parametrize("seed", [1, 2])
def test_names_do_not_depend_on_the_draw(seed):
    for mutant in batch_norm.MUTANTS[:12]:
        assert mutant.says(str(ask(mutant, seed=seed)).splitlines()[0])


@pytest.mark.parametrize("triple", batch_norm.TRIPLES[::5], ids=str)
def test_three_factors_are_found_exactly(triple):
    (finding,) = diagnose(batch_norm.reference, triple.backward, **SHAPES).findings
    assert finding.kind == "factor"
    assert finding.exact
    assert dict(zip(finding.term.split("; "), finding.factor.split("; "), strict=True)) == triple.wrong


@pytest.mark.parametrize("name", batch_norm.RIGHT)
def test_a_right_batch_norm_is_left_in_peace(name):
    found = diagnose(batch_norm.reference, batch_norm.RIGHT[name], **SHAPES)
    assert found.ok
    assert found.findings == ()
    assert "nothing is wrong" in str(found)


def options(case):
    return {"domains": case.domains or None, "wrt": case.wrt, **case.shapes}


@pytest.mark.parametrize("case", others.CASES, ids=lambda c: c.name)
def test_right_backwards_of_other_graphs(case):
    for backward in case.right.values():
        assert diagnose(case.reference, backward, **options(case)).ok


@pytest.mark.parametrize(("case", "mutant"), [(c, m) for c in others.CASES for m in c.mutants], ids=str)
def test_wrong_backwards_of_other_graphs(case, mutant):
    line = str(diagnose(case.reference, mutant.backward, **options(case))).splitlines()[0]
    assert mutant.judge(line) == "named", line


@pytest.mark.parametrize(("rows", "least"), [(8, 19), (4, 16)])
def test_at_the_sizes_of_given_arrays(rows, least):
    """Fewer symbols can be told apart there: what fits is all printed."""
    rng = np.random.default_rng(5)
    arrays = [rng.normal(size=s) for s in ((rows, 3), 3, 3)]
    lines = {}
    for mutant in batch_norm.MUTANTS[::2]:  # all of them: tests/benchmarks/gradient_testing.py
        extras = {"extras": mutant.extras} if mutant.extras is not None else {}
        lines[mutant] = str(diagnose(batch_norm.reference, mutant.backward, *arrays, **extras)).splitlines()[0]
    assert sum(m.says(line) for m, line in lines.items()) >= least
    assert rows == 8 or any("ambiguous at this shape" in line for line in lines.values())


def test_float32_kernels_are_named_too():
    rng = np.random.default_rng(5)
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((16, 3), 3, 3)]
    named = [
        m.says(str(diagnose(batch_norm.reference, m.backward, *arrays)).splitlines()[0])
        for m in batch_norm.MUTANTS[::2]
        if m.extras is None
    ]
    assert sum(named) >= len(named) - 3
    for backward in batch_norm.STABLE.values():
        assert diagnose(batch_norm.reference, backward, *arrays).ok


# -- structure --------------------------------------------------------------------------------------


def centred(x):
    mu = tg.mean(x, axis=0)
    return x - mu


def right(dy, x):
    return dy - dy.mean(axis=0)


def writes_into_x(dy, x):
    x -= x.mean(axis=0)
    return dy - dy.mean(axis=0)


RNG = np.random.default_rng(0)


def draws(dy, x):
    return dy - dy.mean(axis=0) + RNG.normal(size=x.shape)


def raises(dy, x):
    raise IndexError("index 7 is out of bounds")


def first_row(dy, x):
    dx = dy - dy.mean(axis=0)
    dx[0] = 1
    return dx


def nan(dy, x):
    dx = dy - dy.mean(axis=0)
    dx[1] = np.nan
    return dx


STRUCTURE = [
    (writes_into_x, "mutates", "writes into x"),
    (draws, "nondeterministic", "differs when called again"),
    (raises, "raises", "raises IndexError: index 7 is out of bounds"),
    (lambda dy, x: (dy - dy.mean(axis=0)).astype(np.float32), "dtype", "has dtype float32 where x has float64"),
    (lambda dy, x: right(dy.astype(np.float32), x).astype(np.float64), "precision", "float32 inside?"),
    (lambda dy, x: np.float64(1), "shape", "has shape ()"),
    (lambda dy, x: None, "raises", "returned None for dx"),
    (lambda dy, x: (dy, dy), "raises", "returned 2 arrays where 1 are due"),
    (lambda dy, x: (dy - dy.mean(axis=0)).T, "transposed", "transposed"),
    (first_row, "one-index", "only the first index of axis 0 is wrong"),
    (nan, "non-finite", "nan at [1,0]"),
]


@pytest.mark.parametrize(("backward", "kind", "text"), STRUCTURE, ids=[f"{k}-{t}" for _, k, t in STRUCTURE])
def test_faults_that_need_no_fit(backward, kind, text):
    found = diagnose(centred, backward, x="N C")
    assert found.findings[0].kind == kind
    assert text in str(found)


def test_what_has_no_name_is_unexplained():
    found = diagnose(centred, lambda dy, x: np.sin(dy * x) ** 3, x="N C")
    assert found.findings[0].kind == "unexplained"
    assert not found.findings[0].exact
    assert "in the span of the terms direct, through mu" in str(found)


# -- what a person is told -----------------------------------------------------------------------------


def test_the_text():
    found = diagnose(centred, lambda dy, x: dy + dy.mean(axis=0), x="N C")
    assert isinstance(found, Diagnosis)
    (finding,) = found.findings
    assert (finding.kind, finding.leaf, finding.term, finding.factor) == ("factor", "x", "through mu", "-1")
    assert finding.text == "term through mu multiplied by -1"
    assert "sign of the subtrahend in y = x - mu" in finding.equivalents
    assert str(found).splitlines()[0] == "dx: term through mu multiplied by -1 (it has its sign flipped)"
    assert found.probes == 8
    assert len(found.shapes) == 8
    assert all(len(set(s["x"])) == 2 and min(s["x"]) >= 5 for s in found.shapes)
    with pytest.raises(AttributeError):
        found.probes = 3


def test_two_faults_in_one():
    """The layer class of the seed texts: its ε is 1e-6, and its mean term has the wrong sign."""

    def layer(dy, x, gamma, beta):
        xc = x - x.mean(axis=0)
        std = np.sqrt((xc**2).mean(axis=0) + 10e-7)
        d = dy * gamma / std
        xhat = xc / std
        return d + d.mean(axis=0) - xhat * (d * xhat).mean(axis=0), (dy * xhat).sum(axis=0), dy.sum(axis=0)

    line = str(diagnose(batch_norm.reference, layer, **SHAPES)).splitlines()[0]
    assert "eps is 1e-06 in place of 1e-05" in line
    assert "term through mu multiplied by -1" in line


def test_a_mean_without_its_count():
    def wrong(dy, x, gamma, beta):
        """The right backward of a forward that sums where it should average."""

        def forward(x, gamma, beta, eps=1e-5):
            xc = x - tg.sum(x, axis=0)
            return gamma * (xc / tg.sqrt(tg.mean(xc**2, axis=0) + eps)) + beta

        return tuple(g.numpy() for g in tg.vjp(forward, x, gamma, beta)[1](dy))

    assert "mu uses sum instead of mean" in str(diagnose(batch_norm.reference, wrong, **SHAPES))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: diagnose(right, centred, x="N C"), "look swapped"),
        (lambda: diagnose(centred, right), "no arguments for the reference"),
        (lambda: diagnose(centred, right, z="N C"), "no argument 'z'"),
        (lambda: diagnose(centred, right, x="N C", wrt="y"), "no floating argument"),
        (lambda: diagnose(centred, right, x="N-C"), "is no shape"),
        (lambda: diagnose(centred, right, np.ones((3, 2)), x="N C"), "arrays and shapes"),
        (lambda: diagnose(centred, 3, x="N C"), "the backward is a function"),
        (lambda: diagnose(batch_norm.reference, batch_norm.classic, x="N C"), "no shape for gamma"),
        (lambda: diagnose(lambda x: tg.log(-abs(x)), right, x="N C"), "not finite on ordinary numbers"),
    ],
)
def test_wrong_calls(call, text):
    with pytest.raises(ArgumentError, match=text):
        call()


def test_a_reference_that_needs_positive_numbers():
    assert diagnose(lambda x: tg.log(x), lambda dy, x: dy / x, x="N").ok
    assert diagnose(lambda p: tg.log(p), lambda dy, p: dy / p, p="N C", domains={"p": "probability"}).ok
    assert diagnose(lambda p: tg.log(p), lambda dy, p: dy / p, p="N C", domains={"p": (0.5, 2.0)}).ok


def test_labels_and_several_outputs():
    def loss(z, t):
        return tg.cross_entropy(z, t)

    def backward(dy, z, t):
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(t)), t] -= 1
        return dy * p / len(t)

    assert diagnose(loss, backward, z="N C", t="N", domains={"t": "labels"}).ok
    halved = diagnose(loss, lambda *a: backward(*a) / 2, z="N C", t="N", domains={"t": "labels"})
    assert halved.findings[0].factor == "1/2"

    def both(x):
        return tg.sin(x), x * x

    assert diagnose(both, lambda dy, x: dy[0] * np.cos(x) + dy[1] * 2 * x, x="N").ok
    assert not diagnose(both, lambda dy, x: dy[0] * np.cos(x) + dy[1] * x, x="N").ok


def test_a_deep_graph_merges_its_paths():
    def deep(x):
        for _ in range(12):
            x = x + tg.tanh(x)
        return x

    def backward(dy, x):
        return tg.vjp(deep, x)[1](dy)[0].numpy()

    assert diagnose(deep, backward, x="N", probes=3).ok
    assert diagnose(deep, lambda dy, x: 2 * backward(dy, x), x="N", probes=3).findings[0].factor == "2"


def test_tracing_leaves_no_profile_hook():
    import sys

    before = sys.getprofile()
    diagnose(centred, right, x="N C")
    assert sys.getprofile() is before


def test_it_works_under_a_profiler():
    plain, profiled = ask(batch_norm.MUTANTS[0]), cProfile.Profile().runcall(ask, batch_norm.MUTANTS[0])
    assert [f.kind for f in profiled.findings] == [f.kind for f in plain.findings]  # names of locals are not seen
