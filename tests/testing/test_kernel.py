"""One observed call of a hand-written backward: what it returns, and what it does besides."""

import numpy as np
import pytest
from hypothesis.errors import UnsatisfiedAssumption

import tinygraph as tg
from tinygraph.errors import ArgumentError
from tinygraph.testing import check_backward
from tinygraph.testing.kernel import Kernel, check_call, observe

X = np.array([0.5, -1.0, 2.0])
DY = np.array([1.0, 2.0, -3.0])


def right(dy, x):
    return dy * (1 - np.tanh(x) ** 2)


def observed(backward, dy=DY, *arrays, **options):
    arrays = arrays or (X,)
    return observe(Kernel(backward, ["x", "w"][: len(arrays)], ["x"]), dy, arrays, **options)


def texts(seen):
    return [f.text for f in seen.faults]


def test_a_calm_kernel_has_no_faults():
    seen = observed(right)
    assert seen.faults == []
    np.testing.assert_array_equal(seen.gradients[0], right(DY, X))


# -- in place --------------------------------------------------------------------------------------------


def in_place(dy, x):
    dy *= 1 - np.tanh(x) ** 2
    return dy


def into_a_part(dy, x):
    dy[:1] = 0
    return dy * x


@pytest.mark.parametrize("kernel", [in_place, into_a_part])
def test_what_writes_into_dy_is_called_that_and_nothing_else(kernel):
    dy = DY.copy()
    seen = observed(kernel, dy)
    assert texts(seen) == ["writes into dy"]
    np.testing.assert_array_equal(dy, DY)
    np.testing.assert_array_equal(seen.gradients[0], kernel(DY.copy(), X))


def test_the_numbers_of_an_in_place_kernel_are_its_own():
    report = check_backward(tg.tanh, in_place, X, dy=DY)
    assert report.verdict == "structure"
    assert all(e.ok for e in report.entries)
    assert len(report.entries) == 1


def test_a_read_only_dy_is_no_excuse():
    dy = DY.copy()
    dy.flags.writeable = False
    assert texts(observed(in_place, dy)) == ["writes into dy"]


def test_a_result_is_a_copy_even_where_only_memory_is_shared():
    assert texts(observed(lambda dy, x: dy)) == [
        "shares memory with dy, so that += on one changes the other; return a copy"
    ]


# -- what is kept between calls ---------------------------------------------------------------------------


def keeping(pick, spoil):
    """A kernel that spoils at each call what it kept at the one before."""
    kept = []

    def kernel(dy, x):
        for old in kept:
            spoil(old)
        g = right(dy, x)
        kept[:] = [pick(dy, x, g)]
        return g

    return kernel


def zero(a):
    a[...] = 0


def double(a):
    a *= 2


@pytest.mark.parametrize(
    ("pick", "spoil", "text"),
    [
        (lambda dy, x, g: x, zero, "writes into x when called again: it keeps a reference"),
        (lambda dy, x, g: dy, zero, "writes into dy when called again: it keeps a reference"),
        (lambda dy, x, g: g, double, "is changed by a later call of the kernel; return a copy"),
    ],
    ids=["x", "dy", "result"],
)
def test_a_kernel_that_keeps_references_is_found(pick, spoil, text):
    x, dy = X.copy(), DY.copy()
    seen = observed(keeping(pick, spoil), dy, x)
    assert texts(seen) == [text]
    assert seen.faults[0].kind == "mutates"
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(dy, DY)
    np.testing.assert_array_equal(seen.gradients[0], right(DY, X))


def test_one_buffer_for_all_calls_is_found():
    buffer = np.empty(3)

    def static(dy, x):
        return np.multiply(dy, 1 - np.tanh(x) ** 2, out=buffer)

    assert texts(observed(static)) == [
        "shares memory with the result of an earlier call, which it overwrites; return a new array"
    ]


def test_what_may_be_kept():
    """A cache of values, results that are copied, memory of its own."""
    cache, scratch = {}, np.empty(3)

    def cached(dy, x):
        key = x.tobytes()
        cache.setdefault(key, 1 - np.tanh(x) ** 2)
        np.multiply(dy, cache[key], out=scratch)
        return scratch.copy()

    assert observed(cached).faults == []


def test_chance():
    rng = np.random.default_rng(0)
    assert texts(observed(lambda dy, x: right(dy, x) * rng.uniform(1, 2))) == [
        "differs when called again on the same arrays"
    ]
    seen = observed(lambda dy, x: right(dy, x) * rng.uniform(1, 2), nondeterministic=True)
    assert seen.faults == []
    assert (seen.spread[0] > 0).all()


def test_the_second_call_may_raise():
    calls = []

    def once(dy, x):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("only once")
        return right(dy, x)

    assert texts(observed(once)) == ["raises RuntimeError: only once"]


def test_an_assumption_is_no_fault():
    def assuming(dy, x):
        raise UnsatisfiedAssumption

    with pytest.raises(UnsatisfiedAssumption):
        observed(assuming)


# -- how it is called --------------------------------------------------------------------------------------


def two(x, w):
    return x * w


@pytest.mark.parametrize(
    ("backward", "options"),
    [
        (lambda dy, x, w: None, {}),
        (lambda g, a, b: None, {}),
        (lambda g, w, b: None, {}),  # other names altogether, one of them by chance the reference's
        (lambda *args: None, {}),
        (lambda dy, x, w, scale=2.0: None, {}),
        (lambda dy, x, w, mean: None, {"extras": lambda x, w: {"mean": 0}}),
        (lambda dy, x, w, *, mean: None, {"extras": {"mean": 0}}),
        (lambda dy, saved: None, {"saved": 1}),
        (lambda dy, saved, x, w: None, {"saved": 1}),
        (lambda dy, saved, *, mean: None, {"saved": 1, "extras": {"mean": 0}}),
        (lambda dy, saved, x, w, mean: None, {"saved": 1, "extras": {"mean": 0}}),
        (np.hypot, {"saved": 1}),
    ],
)
def test_what_fits(backward, options):
    check_call("op", two, backward, ["x", "w"], **options)


@pytest.mark.parametrize(
    ("backward", "options", "text"),
    [
        (lambda dy, x: None, {}, r"op: <lambda> takes dy, x, not 3; write def <lambda>\(dy, x, w\)"),
        (lambda dy, x, w, mean: None, {}, "takes dy, x, w, mean, not 3"),
        (lambda: None, {}, "takes nothing, not 3"),
        (lambda x: None, {}, "these look swapped"),
        (lambda x, w, dy: None, {}, r"takes x, w, dy, in another order; write def <lambda>\(dy, x, w\)"),
        (lambda dy, w, x: None, {}, "in another order"),
        (lambda x, g, w: None, {}, "in another order"),
        (lambda dy, x, w, saved: None, {"saved": 1}, r"in another order; write def <lambda>\(dy, saved, x, w\)"),
        (lambda dy, saved, x: None, {"saved": 1}, "takes dy, saved, x, not 4"),
    ],
)
def test_what_does_not_fit(backward, options, text):
    with pytest.raises(ArgumentError, match=text):
        check_call("op", two, backward, ["x", "w"], **options)


def test_a_kernel_of_what_was_saved_alone():
    seen = []
    kernel = Kernel(
        lambda dy, saved, *, mean: seen.append((saved, mean)) or dy, ["x"], ["x"], {"mean": 3}, lambda x: x + 1
    )
    kernel(DY, [X])
    np.testing.assert_array_equal(seen[0][0], X + 1)
    assert seen[0][1] == 3
