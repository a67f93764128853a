"""Seven more graphs with right backwards and 58 wrong ones, each with what may truly be said about it.

``Mutant.accept`` are patterns; one of them must match the doctor's first line, or the line says
``unexplained``. They hold for the fault itself: where ``gamma`` varies along the axis that a term is
averaged over, "gamma left out of the mean term" is true and "the mean term multiplied by 1/gamma" is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygraph as tg

from .cases import MISSING, Case, by, missing, shown, words

# -- LayerNorm ---------------------------------------------------------------------------------------


def _over(a: Any, axis: int = 1) -> Any:
    return a.mean(axis=axis, keepdims=True)


def layer_norm(x, gamma, beta):
    mu = tg.mean(x, axis=1, keepdims=True)
    xc = x - mu
    var = tg.mean(xc**2, axis=1, keepdims=True)
    std = tg.sqrt(var + 1e-5)
    xhat = xc / std
    return gamma * xhat + beta


def _layer_norm(dx=None, dgamma=None, std=None):
    dx = dx or (lambda d, xhat, g, s, gamma: d - _over(d) - xhat * _over(d * xhat))
    dgamma = dgamma or (lambda dy, xhat, xc, gamma: (dy * xhat).sum(axis=0))
    std = std or (lambda xc: np.sqrt(_over(xc**2) + 1e-5))

    def backward(dy, x, gamma, beta):
        xc = x - _over(x)
        s = std(xc)
        xhat = xc / s
        return dx(dy * gamma / s, xhat, dy, s, gamma), dgamma(dy, xhat, xc, gamma), dy.sum(axis=0)

    return backward


def _layer_norm_rstd(dy, x, gamma, beta):
    c = x.shape[1]
    rstd = 1 / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    xhat = (x - x.mean(axis=1, keepdims=True)) * rstd
    wdy = dy * gamma
    c1, c2 = (xhat * wdy).sum(axis=1, keepdims=True) / c, wdy.sum(axis=1, keepdims=True) / c
    return (wdy - (xhat * c1 + c2)) * rstd, (dy * xhat).sum(axis=0), dy.sum(axis=0)


LAYER_NORM = Case(
    "LayerNorm", layer_norm, {"x": "N C", "gamma": "C", "beta": "C"},
    {"three terms": _layer_norm(), "reciprocal deviation": _layer_norm_rstd},
)  # fmt: skip
_SIGN = words("sign of the subtrahend", r"xc\b")
for what, change, *accept in (
    ("mean negated", lambda d, xhat, g, s, gamma: d + _over(d) - xhat * _over(d * xhat), by("-1", "through mu"), _SIGN),
    ("mean missing", lambda d, xhat, g, s, gamma: d - xhat * _over(d * xhat), by("0", "through mu")),
    ("mean / N", lambda d, xhat, g, s, gamma: d - _over(d) / len(d) - xhat * _over(d * xhat), by("1/N", "through mu")),
    ("mean without 1/C", lambda d, xhat, g, s, gamma: d - d.sum(axis=1, keepdims=True) - xhat * _over(d * xhat),
     by("C", "through mu"), missing("1/[NC]", "mu")),
    ("mean over the wrong axis", lambda d, xhat, g, s, gamma: d - _over(d, 0) - xhat * _over(d * xhat),
     words("through mu", "axis 0 (instead of|in place of) axis 1")),
    ("variance missing", lambda d, xhat, g, s, gamma: d - _over(d), by("0", "through var")),
    ("variance halved", lambda d, xhat, g, s, gamma: d - _over(d) - xhat * _over(d * xhat) / 2,
     by("1/2", "through var"), missing("exponent", r"\bxc\b")),
    ("mean without gamma", lambda d, xhat, g, s, gamma: d - _over(g / s) - xhat * _over(d * xhat),
     missing("gamma", "through mu")),
    ("variance without gamma", lambda d, xhat, g, s, gamma: d - _over(d) - xhat * _over(g / s * xhat),
     missing("gamma", "through var")),
):  # fmt: skip
    LAYER_NORM.add(what, _layer_norm(change), "x", *accept)
LAYER_NORM.add(
    "eps outside the sqrt", _layer_norm(std=lambda xc: np.sqrt(_over(xc**2)) + 1e-5), "x gamma",
    shown("(1e-05|eps)", "outside the (sqrt|root)"),
)  # fmt: skip
LAYER_NORM.add(
    "dgamma over axis 1", _layer_norm(dgamma=lambda dy, xhat, xc, gamma: (dy * xhat).sum(axis=1)), "gamma",
    words("axis 1"), words("shape"),
)  # fmt: skip
LAYER_NORM.add(
    "dgamma without xhat", _layer_norm(dgamma=lambda dy, xhat, xc, gamma: dy.sum(axis=0)), "gamma",
    missing("xhat"), words("holds the gradient of beta"),
)  # fmt: skip
LAYER_NORM.add(
    "dgamma with xc", _layer_norm(dgamma=lambda dy, xhat, xc, gamma: (dy * xc).sum(axis=0)), "gamma",
    words(r"uses xc (where xhat belongs|in place of xhat)"), missing("std"),
)  # fmt: skip
LAYER_NORM.add(
    "dgamma times gamma",
    _layer_norm(dgamma=lambda dy, xhat, xc, gamma: (dy * xhat).sum(axis=0) * gamma),
    "gamma",
    by("gamma"),
)


# -- RMSNorm -----------------------------------------------------------------------------------------


def rms_norm(x, gamma):
    ms = tg.mean(x**2, axis=1, keepdims=True)
    s = tg.sqrt(ms + 1e-5)
    xhat = x / s
    return gamma * xhat


def _rms_norm(dx=lambda d, xhat, x, s: d - xhat * _over(d * xhat), weighted=True):
    def backward(dy, x, gamma):
        s = np.sqrt(_over(x**2) + 1e-5)
        xhat = x / s
        return dx((dy * gamma if weighted else dy) / s, xhat, x, s), (dy * xhat).sum(axis=0)

    return backward


def _rms_norm_cubed(dy, x, gamma):
    s = np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5)
    g = dy * gamma
    dx = g / s - x * (g * x).sum(axis=1, keepdims=True) / (x.shape[1] * s**3)
    return dx, (dy * x / s).sum(axis=0)


RMS_NORM = Case(
    "RMSNorm", rms_norm, {"x": "N C", "gamma": "C"}, {"two terms": _rms_norm(), "over s³": _rms_norm_cubed}
)  # fmt: skip
for what, change, *accept in (
    ("term missing", lambda d, xhat, x, s: 1 * d, by("0", "through ms")),
    ("term negated", lambda d, xhat, x, s: d + xhat * _over(d * xhat), by("-1", "through ms")),
    ("term doubled", lambda d, xhat, x, s: d - 2 * xhat * _over(d * xhat), by("2", "through ms"), missing("half")),
    ("term without 1/C", lambda d, xhat, x, s: d - xhat * (d * xhat).sum(axis=1, keepdims=True),
     by("C", "through ms"), missing("1/[NC]", "ms")),
    ("s² for s³", lambda d, xhat, x, s: d - x * _over(d * s * x) / s**2, by("s", "through ms")),
):  # fmt: skip
    RMS_NORM.add(what, _rms_norm(change), "x", *accept)
RMS_NORM.add(
    "no gamma", _rms_norm(weighted=False), "x", missing("gamma"), words(r"\* gamma|gamma \*", "factor", MISSING)
)


# -- softmax -----------------------------------------------------------------------------------------


def softmax(x):
    e = tg.exp(x)
    total = tg.sum(e, axis=1, keepdims=True)
    p = e / total
    return p  # noqa: RET504 (the name is what the doctor reads)


def _softmax(dx=lambda dy, p, e: p * (dy - (p * dy).sum(axis=1, keepdims=True))):
    def backward(dy, x):
        e = np.exp(x)
        return dx(dy, e / e.sum(axis=1, keepdims=True), e)

    return backward


def _softmax_shifted(dy, x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    g = p * dy
    return g - p * g.sum(axis=1, keepdims=True)


SOFTMAX = Case("softmax", softmax, {"x": "N C"}, {"p (dy - Σ p dy)": _softmax(), "shifted": _softmax_shifted})
_T = "through total"
for what, change, *accept in (
    ("diagonal only", lambda dy, p, e: p * (1 - p) * dy,
     words(_T, "(not summed|no sum|not reduced|reduced over (no axis|nothing)|(sum|reduction)[^;]*" + MISSING + ")")),
    ("no sum", lambda dy, p, e: p * dy, by("0", _T)),
    ("sum negated", lambda dy, p, e: p * (dy + (p * dy).sum(axis=1, keepdims=True)), by("-1", _T)),
    ("no p", lambda dy, p, e: dy - (p * dy).sum(axis=1, keepdims=True),
     by("1/p"), by("total/e"), missing("p")),
    ("mean for sum", lambda dy, p, e: p * (dy - _over(p * dy)), by("1/C", _T)),
    ("Σ dy", lambda dy, p, e: p * (dy - dy.sum(axis=1, keepdims=True)),
     missing("p", _T)),
    ("e for p", lambda dy, p, e: e * (dy - (e * dy).sum(axis=1, keepdims=True)),
     words(r"uses e (where|in place of)"),
     lambda leaves: rf"^{leaves}: (term )?direct multiplied by total; (term )?{_T} multiplied by total\^2(?: \([^;]*\))?$"),
    ("sum over axis 0", lambda dy, p, e: p * (dy - (p * dy).sum(axis=0)), words(_T, "axis 0 (instead of|in place of) axis 1")),
):  # fmt: skip
    SOFTMAX.add(what, _softmax(change), "x", *accept)


# -- cross-entropy with probabilities as targets -------------------------------------------------------


def cross_entropy(z, t):
    total = tg.sum(tg.exp(z), axis=1, keepdims=True)
    logp = z - tg.log(total)
    return -tg.mean(tg.sum(t * logp, axis=1))


def _cross_entropy(dz=lambda p, t, n, c: (p - t) / n):
    def backward(dy, z, t):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return dy * dz(e / e.sum(axis=1, keepdims=True), t, *z.shape)

    return backward


CROSS_ENTROPY = Case(
    "cross-entropy", cross_entropy, {"z": "N C", "t": "N C"}, {"(p - t) / N": _cross_entropy()},
    domains={"t": "probability"}, wrt=("z",),
)  # fmt: skip
for what, change, *accept in (
    ("no 1/N", lambda p, t, n, c: p - t, by("N"), missing("1/N")),
    ("1/C for 1/N", lambda p, t, n, c: (p - t) / c, by("N/C")),
    ("no t", lambda p, t, n, c: p / n, by("0", "direct")),
    ("no p", lambda p, t, n, c: -t / n, by("0", _T)),
    ("p + t", lambda p, t, n, c: (p + t) / n, by("-1", "direct")),
    ("negated", lambda p, t, n, c: (t - p) / n, by("-1"), words("sign", "neg")),
):
    CROSS_ENTROPY.add(what, _cross_entropy(change), "z", *accept)


# -- a layer with tanh -------------------------------------------------------------------------------


def tanh_layer(x, W, b):
    a = x @ W + b
    h = tg.tanh(a)
    return h  # noqa: RET504 (the name is what the doctor reads)


def _tanh_layer(slope=lambda h, a: 1 - h**2, dx=None, dW=None, db=None):
    def backward(dy, x, W, b):
        a = x @ W + b
        da = dy * slope(np.tanh(a), a)
        return (
            da @ W.T if dx is None else dx(da, W),
            x.T @ da if dW is None else dW(x, da, dy),
            da.sum(axis=0) if db is None else db(da, dy),
        )

    return backward


def _tanh_layer_einsum(dy, x, W, b):
    da = dy / np.cosh(x @ W + b) ** 2
    return np.einsum("ij,kj->ik", da, W), np.einsum("ni,nj->ij", x, da), np.ones(len(x)) @ da


# W is square, so that a transpose left out is no matter of shapes.
TANH_LAYER = Case(
    "tanh layer",
    tanh_layer,
    {"x": "N D", "W": "D D", "b": "D"},
    {"1 - h²": _tanh_layer(), "1 / cosh²": _tanh_layer_einsum},
)
_RULE = words(r"\b(tanh|h)\b", MISSING)
_FROM_DY = words(r"(uses dy (where|in place of)|from dy\b)")
for what, backward, leaves, *accept in (
    ("1 - h", _tanh_layer(lambda h, a: 1 - h), "x W b", words(r"1 ?- ?h\b")),
    ("1 - a²", _tanh_layer(lambda h, a: 1 - a**2), "x W b", words(r"1 ?- ?[ax](²|\^2|\*\*2)")),
    ("1 + h²", _tanh_layer(lambda h, a: 1 + h**2), "x W b", words(r"1 ?\+ ?h(²|\^2|\*\*2)")),
    ("no derivative", _tanh_layer(lambda h, a: 1), "x W b", _RULE, _FROM_DY),
    ("W for Wᵀ", _tanh_layer(dx=lambda da, W: da @ W), "x", words(r"\bW", r"(transpos|\.T\b|ᵀ)")),
    ("dWᵀ", _tanh_layer(dW=lambda x, da, dy: da.T @ x), "W", words("transposed")),
    ("dW / N", _tanh_layer(dW=lambda x, da, dy: x.T @ da / len(x)), "W", by("1/N")),
    ("dW from dy", _tanh_layer(dW=lambda x, da, dy: x.T @ dy), "W", _RULE, _FROM_DY),
    ("db not summed", _tanh_layer(db=lambda da, dy: da), "b", words("not summed", "axis 0")),
    ("db over axis 1", _tanh_layer(db=lambda da, dy: da.sum(axis=1)), "b", words("axis 1"), words("shape")),
    ("db a mean", _tanh_layer(db=lambda da, dy: da.mean(axis=0)), "b", by("1/N")),
    ("db from dy", _tanh_layer(db=lambda da, dy: dy.sum(axis=0)), "b", _RULE, _FROM_DY),
    (
        "db one number",
        _tanh_layer(db=lambda da, dy: da.sum()),
        "b",
        words("shape"),
        words("all axes"),
        words("axes 0, 1"),
    ),
):
    TANH_LAYER.add(what, backward, leaves, *accept)


# -- SiLU --------------------------------------------------------------------------------------------


def silu(x):
    s = tg.sigmoid(x)
    return x * s


def _silu(dx=lambda dy, x, s: dy * (s + x * s * (1 - s))):
    return lambda dy, x: dx(dy, x, 1 / (1 + np.exp(-x)))


SILU = Case(
    "SiLU", silu, {"x": "N C"},
    {"two terms": _silu(), "factored": _silu(lambda dy, x, s: dy * s * (1 + x * (1 - s)))},
)  # fmt: skip
for what, change, *accept in (
    ("direct term missing", lambda dy, x, s: dy * x * s * (1 - s), by("0", "direct")),
    ("term through s missing", lambda dy, x, s: dy * s, by("0", "through s")),
    ("no x", lambda dy, x, s: dy * (s + s * (1 - s)), by("1/x", "through s"), missing("x"), words("factor " + MISSING)),
    ("negated", lambda dy, x, s: dy * (s - x * s * (1 - s)), by("-1", "through s")),
    ("relu's gradient", lambda dy, x, s: dy * (x > 0), words("unexplained")),
):
    SILU.add(what, _silu(change), "x", *accept)


# -- the distance of a direction from a target ---------------------------------------------------------


def direction_distance(x, t):
    n = tg.sqrt(tg.sum(x**2, axis=1, keepdims=True))
    u = x / n
    r = u - t
    return tg.sum(r**2, axis=1)


def _distance(dx=lambda g, u, n: (g - u * (u * g).sum(axis=1, keepdims=True)) / n, two=2, dt=lambda g: -g):
    def backward(dy, x, t):
        n = np.sqrt((x**2).sum(axis=1, keepdims=True))
        u = x / n
        g = two * dy[:, None] * (u - t)
        return dx(g, u, n), dt(g)

    return backward


def _distance_cubed(dy, x, t):
    n2 = (x * x).sum(axis=1, keepdims=True)
    g = 2 * dy.reshape(-1, 1) * (x / n2**0.5 - t)
    return g / n2**0.5 - x * (g * x).sum(axis=1, keepdims=True) / n2**1.5, -g


DISTANCE = Case(
    "l2norm distance", direction_distance, {"x": "N D", "t": "N D"}, {"projection": _distance(), "over n³": _distance_cubed}
)  # fmt: skip
DISTANCE.add("no 2", _distance(two=1), "x t", by("1/2"), missing("exponent", r"\br\b"))
for what, change, *accept in (
    ("no projection", lambda g, u, n: g / n, by("0", "through n")),
    ("projection negated", lambda g, u, n: (g + u * (u * g).sum(axis=1, keepdims=True)) / n, by("-1", "through n")),
    ("/n once more", lambda g, u, n: (g - u * (u * g).sum(axis=1, keepdims=True)) / n**2, by("1/n")),
    ("/n once less", lambda g, u, n: g - u * (u * g).sum(axis=1, keepdims=True), by("n")),
):
    DISTANCE.add(what, _distance(change), "x", *accept)
DISTANCE.add("dt negated", _distance(dt=lambda g: g), "t", by("-1"), words("sign of the subtrahend"))

CASES = [LAYER_NORM, RMS_NORM, SOFTMAX, CROSS_ENTROPY, TANH_LAYER, SILU, DISTANCE]
MUTANTS = [m for case in CASES for m in case.mutants]


# -- beyond the 58: two paths that cancel each other, so that no factor of either can be known -----------


def shifted_softmax(x):
    peak = tg.max(x, axis=1, keepdims=True)
    e = tg.exp(x - peak)
    total = tg.sum(e, axis=1, keepdims=True)
    return e / total


SHIFTED_SOFTMAX = Case("shifted softmax", shifted_softmax, {"x": "N C"}, SOFTMAX.right)
for what, change, *accept in (
    ("no sum", lambda dy, p, e: p * dy, by("0", _T)),
    ("sum negated", lambda dy, p, e: p * (dy + (p * dy).sum(axis=1, keepdims=True)), by("-1", _T)),
    ("halved", lambda dy, p, e: p * (dy - (p * dy).sum(axis=1, keepdims=True)) / 2, by("1/2")),
):
    SHIFTED_SOFTMAX.add(what, _softmax(change), "x", *accept)
MORE = [SHIFTED_SOFTMAX]
