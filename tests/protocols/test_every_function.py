"""All of NumPy's ufuncs and dispatched functions, really called, with a Tensor in each place that takes an array.

Each is recorded, or a TypeError with the remedy; never a plain array, an object array, or a lost gradient.
"""

import contextlib
import functools
import inspect
import itertools
import warnings

import numpy as np
import pytest
from protocols.numpys_calls import ALL, ARRAYS, ASKED_LINES, FLOATS, RECORDED_LINES, REFUSED_LINES, called

import tinygraph as tg
from tinygraph.protocols import FUNCTIONS, UFUNCS
from tinygraph.testing import check_grad

TABLE = UFUNCS | FUNCTIONS
# Of these no gradient is asked: booleans, positions, and what does not depend on the values.
WITHOUT = {"zeros_like", "ones_like", "imag", "argmax", "argmin", "full_like"}
# NumPy takes a number of these, which is an explicit float(t).
BY_FLOAT = {"np.interp(x, v.cumsum(), w, left=s)"}
WRITE = "writes in place, and a Tensor never changes; write tg.where(mask, v, x)"
RULE = "no gradient rule; leave the graph with x.numpy()"


def lines(given):
    return pytest.mark.parametrize("line", given, ids=repr)


def quietly(fn, **values):
    """NumPy's warnings of nan, of rank and of what is deprecated are not what is tested."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return fn(**values)


def is_differentiable(line):
    return line.name not in WITHOUT and line.text != "np.linalg.matrix_power(M, 0)"


def flat(result):
    return list(result) if isinstance(result, (list, tuple)) else [result]


def places(line):
    """Each letter alone, and all of them."""
    return [*([letter] for letter in line.letters), *([line.letters] if len(line.letters) > 1 else [])]


def tensors(letters, arrays=ARRAYS):
    return {n: tg.tensor(arrays[n], requires_grad=arrays[n].dtype.kind == "f", name=n) for n in letters}


class Spy:
    """Stands where an array stands, and sees which function asks it what to do."""

    asked_by = None

    def __array_function__(self, func, types, args, kwargs):
        self.asked_by = self.asked_by or func
        raise NotImplementedError

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        self.__array_function__(ufunc, (), (), {})

    def __iter__(self):
        return iter([self])

    def __getitem__(self, key):
        return self

    def cumsum(self):
        return self

    def astype(self, dtype):
        return self

    def __radd__(self, other):
        return self


@functools.cache
def asks(line, letter):
    """Whether this function dispatches on this argument, not only one that it calls."""
    spy = Spy()
    with contextlib.suppress(Exception):
        quietly(line, **{letter: spy})
    return spy.asked_by is called(line)


# -- the tables are closed ------------------------------------------------------------------------


def test_every_function_is_called_here():
    """A NumPy with a new function needs a line in ``numpys_calls.py``."""
    assert {called(line) for line in (*RECORDED_LINES, *ASKED_LINES, *REFUSED_LINES)} == set(ALL.values())
    assert {called(line) for line in (*RECORDED_LINES, *ASKED_LINES)} == set(TABLE)


@lines([*RECORDED_LINES, *ASKED_LINES, *REFUSED_LINES])
def test_the_call_is_real(line):
    """NumPy computes it of arrays; those that it refuses are about dates."""
    try:
        quietly(line, **{letter: ARRAYS[letter].copy() for letter in line.letters})
    except TypeError:
        assert line.name in ("isnat", "busday_count", "busday_offset", "is_busday", "datetime_as_string")


@pytest.mark.parametrize("name", [name for name, fn in ALL.items() if fn in FUNCTIONS])
def test_an_adapter_has_numpys_signature(name):
    """Each argument of NumPy's, of its kind, in its place; a later NumPy's may come on top."""
    try:
        theirs = inspect.signature(ALL[name]).parameters.values()
    except ValueError:
        pytest.skip("this NumPy does not tell the signatures of its compiled functions")
    found = inspect.signature(FUNCTIONS[ALL[name]]).parameters
    kinds = {p.kind for p in found.values()}
    for position, p in enumerate(theirs):
        if p.VAR_POSITIONAL in kinds or p.kind is p.VAR_KEYWORD or p.name == "newshape":  # which is deprecated
            continue
        if p.kind is p.POSITIONAL_ONLY:
            assert list(found.values())[position].kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        else:
            assert p.name in found or p.VAR_KEYWORD in kinds, f"{name} lacks {p.name}="
        if p.kind is p.POSITIONAL_OR_KEYWORD:
            assert list(found)[position] == p.name


# -- what is recorded -----------------------------------------------------------------------------


@lines(RECORDED_LINES)
def test_it_is_recorded_with_numpys_result(line):
    expected = flat(quietly(line))
    for letters in places(line):
        if len(letters) == 1 and not asks(line, letters[0]):
            continue
        given = tensors(letters)
        found = flat(quietly(line, **given))
        assert len(found) == len(expected)
        gradient = any(t.requires_grad for t in given.values()) and is_differentiable(line)
        for t, array in zip(found, expected, strict=True):
            assert isinstance(t, tg.Tensor), f"{line} of {letters}"
            assert (t.shape, t.dtype) == (np.shape(array), np.asarray(array).dtype)
            np.testing.assert_allclose(t.numpy(), array, rtol=2e-15 if "arc" not in line.name else 1e-14, atol=1e-15)
        if gradient and all(t.dtype.kind == "f" for t in found):
            assert any(t.requires_grad for t in found), f"{line} of {letters} lost the gradient"


DTYPES = (np.float32, np.float16, np.int64, np.int8)


def as_dtype(array, dtype):
    if array.dtype.kind != "f":
        return array
    return array.astype(dtype) if np.dtype(dtype).kind == "f" else np.nan_to_num(np.ceil(array * 4)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@lines(RECORDED_LINES)
def test_dtypes_are_numpys(line, dtype):
    arrays = {letter: as_dtype(ARRAYS[letter], dtype) for letter in line.letters}
    given = {letter: tg.tensor(array) for letter, array in arrays.items()}
    try:
        expected = quietly(line, **arrays)
    except TypeError:  # NumPy has no loop for it
        expected = None
    if expected is None or (line.name == "reciprocal" and expected.dtype.kind == "i"):
        with pytest.raises(TypeError):
            quietly(line, **given)
        return
    for t, array in zip(flat(quietly(line, **given)), flat(expected), strict=True):
        assert (t.shape, t.dtype) == (np.shape(array), np.asarray(array).dtype)
        exact = t.dtype.kind not in "fc"
        close = 0 if exact else 32 * float(np.finfo(t.dtype).eps)
        np.testing.assert_allclose(t.numpy().astype(float), np.asarray(array).astype(float), rtol=close, atol=close)


def variables(line):
    return [letter for letter in line.letters if letter in FLOATS and letter != "n"]


GRADIENTS = [
    line for line in RECORDED_LINES
    if is_differentiable(line) and any(asks(line, letter) for letter in variables(line))
    and all(np.asarray(a).dtype.kind == "f" for a in flat(quietly(line)))
]  # fmt: skip


@lines(GRADIENTS)
def test_its_gradient_is_right(line):
    names = variables(line)
    fn = eval(f"lambda {', '.join(names)}: call({', '.join(f'{n}={n}' for n in names)})", {"call": line})
    report = check_grad(fn, *(ARRAYS[n] for n in names))
    assert report.ok, str(report)


@lines([line for line in RECORDED_LINES if "n" in line.letters])
def test_a_nan_that_is_left_out_gets_no_gradient(line):
    """The gradient of the rest is that of the function without it; isnan and its like have none."""
    n = tg.tensor(ARRAYS["n"], requires_grad=True)
    out = line(n=n)
    if out.dtype == bool:
        return
    tg.sum(out).backward()
    assert not np.isnan(n.grad.numpy()).any()
    assert not n.grad.numpy()[np.isnan(ARRAYS["n"])].any()


@lines(ASKED_LINES)
def test_a_question_is_answered(line):
    expected = quietly(line)
    for letters in places(line):
        if len(letters) > 1 or asks(line, letters[0]):
            assert np.array_equal(quietly(line, **tensors(letters)), expected), f"{line} of {letters}"


# -- what is refused ------------------------------------------------------------------------------


@lines(REFUSED_LINES)
def test_it_is_refused(line):
    """The message names the function, the Tensor and the remedy; nothing is written to."""
    reached = 0
    for letters in places(line):
        if len(letters) == 1 and not asks(line, letters[0]):
            continue
        given = {n: ARRAYS[n].copy() for n in line.letters} | tensors(letters)
        with pytest.raises(TypeError) as caught:
            quietly(line, **given)
        assert isinstance(caught.value, tg.TinygraphError)
        message = str(caught.value)
        assert message.startswith(f"np.{line.name}(")
        assert RULE in message or WRITE in message
        reached += 1
        for n in set(line.letters) - set(letters):
            np.testing.assert_array_equal(given[n], ARRAYS[n])
    assert reached


SPECIAL = np.array([
    0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 8.0, 1000.0, 1e-9, 1 - 1e-12, 1 + 1e-12, 5e-324, 1e-300, 1e200, -1e300,
    np.inf, -np.inf, np.nan,
])  # fmt: skip


@pytest.mark.parametrize("ufunc", [u for u in UFUNCS if not u.signature], ids=lambda u: u.__name__)
def test_special_values_are_numpys(ufunc):
    """Zeros of either sign, huge, tiny and infinite numbers, nan, and each beside each."""
    arrays = [SPECIAL] if ufunc.nin == 1 else np.meshgrid(SPECIAL, SPECIAL)
    if ufunc.__name__.startswith(("logical", "bitwise", "invert")):
        arrays = [array > 0 for array in arrays]
    if "shift" in ufunc.__name__:
        arrays = [np.arange(-4, 4), np.arange(8)[:, None]]
    found, expected = quietly(lambda: (ufunc(*map(tg.tensor, arrays)).numpy(), ufunc(*arrays)))
    np.testing.assert_allclose(found, expected, rtol=2e-15)
    np.testing.assert_array_equal(np.signbit(found * 1.0)[expected == 0], np.signbit(expected * 1.0)[expected == 0])


METHODS = {
    "accumulate": lambda x, y: (x,),
    "reduce": lambda x, y: (x,),
    "reduceat": lambda x, y: (x, [0]),
    "outer": lambda x, y: (x, y),
    "at": lambda x, y: (x, [0], y),
}
BINARY = sorted({
    fn.__name__ for fn in ALL.values() if isinstance(fn, np.ufunc) and (fn.nin, fn.nout, fn.signature) == (2, 1, None)
})  # fmt: skip
REDUCTIONS = ("add", "multiply", "maximum", "minimum")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BINARY)
def test_every_method_of_a_ufunc(name, method):
    x, y = ARRAYS["x"].copy(), ARRAYS["y"].copy()
    bound = getattr(getattr(np, name), method)
    if method == "reduce" and name in REDUCTIONS:
        for keywords in ({}, {"axis": 1, "keepdims": True}, {"axis": None}, {"dtype": np.float32}):
            found, expected = bound(tg.tensor(x, requires_grad=True), **keywords), bound(x, **keywords)
            np.testing.assert_array_almost_equal_nulp(found.numpy(), expected, 2)
            assert found.requires_grad
        assert check_grad(lambda x: bound(x, axis=1), x).ok
        return
    for given in ((tg.tensor(x), y), (x, tg.tensor(y, requires_grad=True)), tuple(tensors("xy").values())):
        arguments = METHODS[method](*given)
        if not any(isinstance(a, tg.Tensor) for a in arguments):
            continue
        with pytest.raises(TypeError) as caught:
            bound(*arguments)
        assert str(caught.value).startswith(f"np.{name}.{method}(")
        assert (WRITE if method == "at" else RULE) in str(caught.value)
    np.testing.assert_array_equal(x, ARRAYS["x"])


UNASKED = [
    (line, letter)
    for line in (*RECORDED_LINES, *ASKED_LINES, *REFUSED_LINES)
    for letter in line.letters
    if not asks(line, letter)
]


@pytest.mark.parametrize(("line", "letter"), UNASKED, ids=str)
def test_where_numpy_does_not_ask(line, letter):
    """There the strict ``__array__`` refuses what requires a gradient, and serves constants."""
    try:
        found = flat(quietly(line, **tensors([letter])))
    except (TypeError, tg.errors.GradientError):
        assert letter in FLOATS
        return
    if letter in FLOATS and line.text not in BY_FLOAT:  # a function that it calls has recorded it
        assert all(t.requires_grad for t in found)
    for mine, theirs in itertools.zip_longest(found, flat(quietly(line))):
        np.testing.assert_array_equal(mine.detach() if isinstance(mine, tg.Tensor) else mine, theirs)
