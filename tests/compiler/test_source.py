"""Derived sources: text that runs without tinygraph, is proved equal to the derived backward, and reads like a textbook."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from support import examples

import tinygraph as tg
from tinygraph.compiler.source import derive_source
from tinygraph.errors import ArgumentError
from tinygraph.testing import check_backward, prove
from tinygraph.testing.programs import programs

RNG = np.random.default_rng(0)
X, GAMMA, BETA = RNG.normal(size=(7, 5)), RNG.normal(size=5), RNG.normal(size=5)


def batch_norm(x, gamma, beta, eps=1e-5):
    mu = tg.mean(x, axis=0)
    xc = x - mu
    var = tg.mean(xc**2, axis=0)
    std = tg.sqrt(var + eps)
    xhat = xc / std
    return gamma * xhat + beta


def channels(x, gamma, beta):
    return tg.batch_norm(x, gamma, beta)


def layer_norm(x, gamma, beta):
    return tg.layer_norm(x, gamma, beta)


def affine(x, w, b):
    return tg.tanh(x @ w + b)


def softmax(x):
    return tg.softmax(x, axis=1)


def loss(logits, target):
    return tg.cross_entropy(logits, target)


def picked(x, w):
    y = x[1:, ::2] * w
    return tg.concatenate([y, tg.cumsum(y, axis=0)], axis=0)


def convolution(x, w):
    return tg.einsum("nchwij,ocij->nohw", tg.sliding_windows(x, (3, 3), axis=(2, 3)), w)


def rows(x):
    return tg.reshape(x, (x.shape[0], -1))[np.array([1, 0, 1])] * tg.maximum(tg.abs(x[0, 0, 0, 0]), 0.5)


IMAGES = RNG.normal(size=(3, 4, 6, 5))
CASES = [
    (batch_norm, (X, GAMMA, BETA)),
    (channels, (X, GAMMA, BETA)),
    (channels, (IMAGES, GAMMA[:4], BETA[:4])),
    (layer_norm, (X, GAMMA, BETA)),
    (affine, (X, RNG.normal(size=(5, 4)), BETA[:4])),
    (softmax, (X,)),
    (loss, (X, np.arange(7) % 5)),
    (picked, (X, GAMMA[:3])),
    (convolution, (IMAGES, RNG.normal(size=(2, 4, 3, 3)))),
    (rows, (IMAGES,)),
]


def load(text, fn):
    """The function in a text, which finds there nothing but NumPy."""
    namespace = {}
    exec(compile(text, "<derived>", "exec"), namespace)
    return namespace[f"{fn.__name__}_backward"]


TEXTBOOK = '''\
import numpy as np


def batch_norm_backward(dy, x, gamma, beta):
    """The backward of batch_norm: cotangents of x, gamma, beta."""
'''


def test_batch_norm_is_the_textbook_formula():
    """Three terms, two sums over dy: the mean of dy, and that of dy · x̂, both shared with dγ and dβ."""
    text = derive_source(batch_norm, X, GAMMA, BETA)
    assert text.startswith(TEXTBOOK)
    assert text == derive_source(batch_norm, RNG.normal(size=(64, 3)).astype(np.float32), *np.ones((2, 3), np.float32))
    assert text.count("np.sum") == 2
    assert text.count("np.mean") == 2
    assert re.search(r"dbeta = np\.sum\(dy, axis=0\)", text)
    assert re.search(r"dgamma = np\.sum\(dy \* (xhat|xc), axis=0\)", text)
    assert re.search(r"dx = .*dy.*dgamma.*dbeta.*|dx = .*dy.*dbeta.*dgamma.*", text)
    assert not re.search(r"float|dtype|\b7\b|\b5\b", text)


@pytest.mark.parametrize(("fn", "shapes"), [
    (batch_norm, {"x": "N C", "gamma": "C", "beta": "C"}),
    (channels, {"x": "N C H W", "gamma": "C", "beta": "C"}),
    (layer_norm, {"x": "N C", "gamma": "C", "beta": "C"}),
], ids=lambda v: getattr(v, "__name__", ""))  # fmt: skip
def test_it_is_proved(fn, shapes):
    """Exactly, on a finite field: the text computes on object arrays as it stands, at other sizes than it was made for."""
    x = IMAGES if "H" in shapes["x"] else X
    c = x.shape[1]
    proof = prove(fn, load(derive_source(fn, x, np.ones(c), np.ones(c)), fn), **shapes)
    assert proof, proof


@pytest.mark.parametrize(("fn", "args"), CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_it_is_the_derived_backward(fn, args):
    backward = load(derive_source(fn, *args), fn)
    out, pullback = tg.vjp(fn, *args)
    dy = np.random.default_rng(1).normal(size=out.shape)
    kept = [np.copy(a) for a in (dy, *args)]
    found = backward(dy, *args)
    expected = [g.numpy() for g in pullback(dy) if g is not None]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    for a, k in zip((dy, *args), kept, strict=True):
        np.testing.assert_array_equal(a, k)
    assert not any(np.shares_memory(a, b) for a in found for b in (dy, *args))


@pytest.mark.parametrize(("fn", "args"), CASES[:5], ids=lambda v: getattr(v, "__name__", ""))
def test_check_backward_finds_nothing(fn, args):
    report = check_backward(fn, load(derive_source(fn, *args), fn), *args)
    assert report, report


def test_it_runs_without_tinygraph(tmp_path):
    """In an interpreter that cannot import it."""
    np.savez(tmp_path / "data.npz", dy=X[::-1], x=X, gamma=GAMMA, beta=BETA)
    script = tmp_path / "script.py"
    text = derive_source(batch_norm, X, GAMMA, BETA)
    script.write_text(
        "import sys\nsys.modules['tinygraph'] = None\n" + text + "\nd = np.load('data.npz')\n"
        "np.savez('out.npz', *batch_norm_backward(d['dy'], d['x'], d['gamma'], d['beta']))\n"
    )
    subprocess.run([sys.executable, "-I", str(script)], check=True, cwd=tmp_path)
    found = np.load(tmp_path / "out.npz")
    for k, g in enumerate(tg.vjp(batch_norm, X, GAMMA, BETA)[1](X[::-1])):
        np.testing.assert_allclose(found[f"arr_{k}"], g.numpy(), rtol=1e-11, atol=1e-13)


@given(programs(max_ops=6, inputs=3))
@examples(300)
def test_random_programs(program):
    def fn(x, y, z):
        return program(x, y, z) * 1.0

    xs = program.inputs
    backward = load(derive_source(fn, *xs), fn)
    out, pullback = tg.vjp(fn, *xs)
    g = program.cotangent(out.shape)
    with np.errstate(all="ignore"):
        for a, b in zip(backward(g, *xs), pullback(g), strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-9, atol=1e-10)


def test_low_precision_stays():
    """No dtype is named, so the cotangents have that of the arguments."""
    text = derive_source(batch_norm, X, GAMMA, BETA)
    for dtype in (np.float32, np.float16):
        arrays = [a.astype(dtype) for a in (X, X, GAMMA, BETA)]
        assert {a.dtype for a in load(text, batch_norm)(*arrays)} == {np.dtype(dtype)}


def test_a_number_is_an_argument():
    def power(x, n):
        return x * n

    assert derive_source(power, X, 3.0).splitlines()[3] == "def power_backward(dy, x, n):"
    dx, dn = load(derive_source(power, X, 3.0), power)(X, X, 2.0)
    np.testing.assert_allclose(dx, 2 * X)
    np.testing.assert_allclose(dn, np.sum(X * X))


def test_names():
    """Those of tensors, in ASCII; never one of Python's or one that is taken."""

    def fn(dy, lambda_):
        mu = tg.exp(dy) * lambda_
        mu.name = "γ̂"
        np = mu * mu
        return tg.sin(mu) * np

    text = derive_source(fn, X, GAMMA)
    assert "gammahat = " in text
    backward = load(text, fn)
    out, pullback = tg.vjp(fn, X, GAMMA)
    for a, b in zip(backward(out.numpy(), X, GAMMA), pullback(out), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-9)


def uses_constant(x):
    return x * np.arange(100.0)


def draws(x):
    return x * tg.random.normal(x.shape, rng=0)


def two(x):
    return x, x * 2


@pytest.mark.parametrize(("fn", "args", "message"), [
    (two, (X,), r"derive_source\(two\): .*one Tensor"),
    (lambda x: x * 0.5, (np.arange(3),), "no argument is floating point"),
    (batch_norm, ({"x": X}, GAMMA, BETA), "no array; give arrays and numbers"),
    (uses_constant, (np.ones(100),), "make it an argument"),
    (draws, (X,), "random_normal has no text that stands alone"),
], ids=["two", "integers", "dict", "constant", "draws"])  # fmt: skip
def test_what_has_no_text(fn, args, message):
    with pytest.raises(ArgumentError, match=message):
        derive_source(fn, *args)
