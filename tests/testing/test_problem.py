"""The repr of a Problem makes it again: values, dtypes, and how its arrays lie in memory."""

import base64
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from support import examples

from tinygraph.testing import Problem, problems

DTYPES = ["f2", "f4", "f8", "g", "i4", "i8", "?", "u1", ">f8", ">i4", "c16", "U3"]
SHAPES = [(), (0,), (1,), (3,), (1, 1), (2, 3), (3, 1), (1, 3), (0, 3), (2, 3, 2), (5, 20), (100,), (3, 0)]
NAMES = {"Problem": Problem, "np": np, "base64": base64}


def again(problem):
    """Evaluated twice, so that one evaluation leaves nothing behind for the other."""
    eval(repr(problem), dict(NAMES))
    return eval(repr(problem), dict(NAMES))


def owner(a):
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def same_values(a, b):
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and (a.tolist() == b.tolist() if a.dtype == "g" else bits(a) == bits(b))
    )


def bits(a):
    return np.ascontiguousarray(a).tobytes()


def strides(a):
    """All of them, but for axes of one element in arrays that NumPy calls contiguous, or that are read-only."""
    loose = a.flags.forc or not a.flags.writeable
    return [s for s, n in zip(a.strides, a.shape, strict=True) if n > 1 or not loose] if a.size else []


def filled(shape, dtype):
    found = np.empty(shape, dtype)
    found[...] = (np.arange(found.size).reshape(shape) * 3 % 251 + found.itemsize / 8).astype(dtype)
    return found


def layouts(a):
    """Ways for these values to lie."""
    yield a
    yield np.asfortranarray(a)
    frozen = a.copy()
    frozen.flags.writeable = False
    yield frozen
    if not a.ndim:
        return
    big, backwards = filled([2 * n + 1 for n in a.shape], a.dtype), (slice(None, None, -1),) * a.ndim
    gaps, columns = big[(slice(None, -1, 2),) * a.ndim], big[tuple(slice(n, 2 * n) for n in a.shape)]
    for view in (gaps, columns, a, np.asfortranarray(a)):
        yield from (view, view.T, view[::-1], view[backwards], view[:1], view[..., ::2])
    yield from (
        big[-1, ...],
        big[(..., *[0] * a.ndim)],
        big.ravel()[::2],
        big.reshape(-1, 1)[:2],
        a[None],
        a[..., None],
    )
    yield np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0)
    yield np.lib.stride_tricks.sliding_window_view(big.ravel(), 1)
    for once in (a[:1], a[(slice(0, 1),) * a.ndim], gaps[:1]):
        if a.size:
            repeated = np.broadcast_to(once, a.shape)
            yield from (repeated, repeated[::-1], repeated.T)
    if a.size:
        yield np.lib.stride_tricks.as_strided(a, a.shape, (0,) * a.ndim)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_layout_return(dtype):
    for shape in SHAPES:
        for a in layouts(filled(shape, dtype)):
            text = repr(Problem(x=a))
            b = again(Problem(x=a)).arrays["x"]
            assert same_values(a, b), text
            assert a.flags.writeable == b.flags.writeable, text
            assert strides(a) == strides(b), text


def test_what_lies_in_gaps_returns():
    whole = np.full((6, 4), np.nan)
    whole[::2, ::2] = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    whole[1, 1] = 7.0
    found = again(Problem(x=whole[::2, ::2])).arrays["x"]
    assert np.array_equal(owner(found), whole, equal_nan=True)


def test_the_usual_case_is_plain():
    problem = Problem(x=np.array([[-3.0], [0.0]]), gamma=np.array([2], np.float32), n=np.array([1, 2]), dy=np.ones(1))
    assert repr(problem) == (
        "Problem(x=np.array([[-3.0], [0.0]]), gamma=np.array([2.0], dtype='float32'), n=np.array([1, 2]), dy=np.array([1.0]))"
    )
    assert repr(Problem(x=np.arange(3.0)[:, None])) == "Problem(x=np.array([[0.0], [1.0], [2.0]]))"


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (lambda m: m[:3].T, "np.asfortranarray(np.array([[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]))"),
        (lambda m: m[::2].T, "np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])[::2, :].transpose(1, 0)"),
        (lambda m: m[:2, 0], "np.ndarray((2,), 'float64', np.array([0.0, 1.0, 2.0]), 0, (16,))"),
        (lambda m: m[:, :1], "np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])[:, :1]"),
        (lambda m: m[:, ::-1], "np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])[:, ::-1]"),
        (lambda m: np.broadcast_to(m[:1, :1], (3, 2)), "np.broadcast_to(np.array([[0.0]]), (3, 2))"),
        (lambda m: np.broadcast_to(m, m.shape)[:1], "np.broadcast_to(np.array([[0.0, 1.0]]), (1, 2))"),
    ],
)
def test_layouts_read_well(layout, text):
    assert repr(Problem(x=layout(np.arange(8.0).reshape(4, 2).copy()))) == f"Problem(x={text})"


def shared(problem):
    """Which of its arrays share memory, and where each begins within it."""
    arrays = [*problem.arrays.values(), *problem.upstream]
    pairs = list(itertools.combinations(arrays, 2))
    start = [a.__array_interface__["data"][0] for a in arrays]
    both = [np.may_share_memory(a, b) for a, b in pairs]
    apart = [t - s for s, t in itertools.combinations(start, 2)]
    return both, [d for d, together in zip(apart, both, strict=True) if together]


def frozen(a):
    a = a[...]
    a.flags.writeable = False
    return a


MEMORY = np.arange(24.0)
GRID = np.arange(24.0).reshape(4, 6)
SHARING = {
    "one behind": Problem(x=MEMORY[:-1], dy=MEMORY[1:]),
    "shaped": Problem(x=MEMORY[:-4].reshape(5, 4), dy=MEMORY[4:].reshape(5, 4)),
    "the same": Problem(x=GRID, dy=GRID),
    "transposed": Problem(x=GRID, dy=GRID.T),
    "reversed": Problem(x=MEMORY, dy=MEMORY[::-1]),
    "read-only": Problem(x=GRID, dy=frozen(GRID)),
    "both read-only": Problem(x=frozen(GRID), dy=frozen(GRID)[1:]),
    "columns": Problem(x=GRID[:, :3], y=GRID[:, 3:], dy=GRID[:, 2:5]),
    "tuple": Problem(x=np.ones(2), dy=(MEMORY[:3], GRID, MEMORY[2:5])),
    "two pairs": Problem(x=MEMORY[:3], y=GRID[0], memory=MEMORY[1:4], specs={"dy": GRID[:2]}, dy=GRID[1]),
    "joined late": Problem(x=MEMORY[:3], y=MEMORY[3:6], dy=MEMORY[2:5]),
    "other dtype": Problem(x=MEMORY, dy=MEMORY.view(np.float32)[1:]),
    "numbers": Problem(x=MEMORY[:1].reshape(()), dy=MEMORY[0:1]),
    "Fortran": Problem(x=np.asfortranarray(GRID)),
}


@pytest.mark.parametrize("name", SHARING)
def test_shared_memory_returns(name):
    problem = SHARING[name]
    found = again(problem)
    assert list(found.arrays) == list(problem.arrays)
    assert shared(found) == shared(problem), repr(problem)
    for a, b in zip(
        [*problem.arrays.values(), *problem.upstream], [*found.arrays.values(), *found.upstream], strict=True
    ):
        assert same_values(a, b)
        assert (a.flags.writeable, strides(a)) == (b.flags.writeable, strides(b))


def test_any_name_returns():
    given = {
        "self": np.ones(2),
        "dy": np.zeros(1),
        "specs": np.ones(1),
        "lambda": np.ones(1),
        "a b": np.ones(1),
        "x": np.ones(1),
    }
    problem = Problem(specs=given, dy=np.ones(3))
    assert again(problem) == problem
    assert set(again(problem).arrays) == set(given)
    assert repr(Problem(self=np.ones(1))) == "Problem(self=np.array([1.0]))"
    for dy in (None, (), (np.ones(1),), (np.ones(1), np.ones(2))):
        assert again(Problem(x=np.ones(1), dy=dy)) == Problem(x=np.ones(1), dy=dy)


def test_special_numbers_return():
    values = np.array([np.nan, -0.0, np.inf, -np.inf, 0.1, 5e-324, 1e308])
    for a in (values, np.tile(values, 20), values[:5].astype(np.float32)):
        assert bits(again(Problem(x=a)).arrays["x"]) == bits(a)
    objects = np.array([[1, None]], dtype=object)
    assert again(Problem(x=objects)).arrays["x"].tolist() == [[1, None]]


def test_a_slice_of_much_keeps_what_can_be_written():
    big = np.arange(10**6, dtype=float).reshape(1000, 1000)
    for a, step in ((big[:3, 0], 8000), (big[:2, :2], 8000), (big.T[:2, :2], 8)):
        problem = Problem(x=a)
        assert len(repr(problem)) < 500 + 200 * step
        assert same_values(again(problem).arrays["x"], a)


@examples(100)
@given(problems(x="N C", y="N C", gamma="C", dy="N C"))
def test_what_is_drawn_returns(problem):
    found = again(problem)
    assert found == problem
    assert hash(found) == hash(problem)
    assert shared(found) == shared(problem)
    for a, b in zip(
        [*problem.arrays.values(), *problem.upstream], [*found.arrays.values(), *found.upstream], strict=True
    ):
        assert (a.flags.writeable, strides(a)) == (b.flags.writeable, strides(b))
        if not a.flags.c_contiguous and a.base is not None and a.flags.writeable:
            assert bits(owner(a)) == bits(owner(b))


def test_a_fresh_interpreter_needs_problem_and_numpy():
    texts = [repr(p) for p in SHARING.values()]
    script = (
        "import json, sys; sys.modules['hypothesis'] = None; import numpy as np; from tinygraph.testing import Problem; "
        "texts = json.load(sys.stdin); sys.exit(any(repr(eval(t)) != t for t in texts))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(texts), text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
