"""BatchNorm: the reference, 6 right backwards, 38 wrong ones, and 336 with faults in the coefficients.

The wrong ones edit ``d = dy * gamma / std; dx = d - mean(d) - xhat * mean(d * xhat)``. All run on
object arrays too, so that a proof can feed them its own numbers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

import tinygraph as tg

SHAPES = {"x": "N C", "gamma": "C", "beta": "C"}


def reference(x, gamma, beta, eps=1e-5):
    mu = tg.mean(x, axis=0)
    xc = x - mu
    var = tg.mean(xc**2, axis=0)
    std = tg.sqrt(var + eps)
    xhat = xc / std
    return gamma * xhat + beta


# -- right ones --------------------------------------------------------------------------------------


def classic(dy, x, gamma, beta):
    """Three terms."""
    mu = x.mean(axis=0)
    xc = x - mu
    std = np.sqrt((xc**2).mean(axis=0) + 1e-5)
    xhat = xc / std
    d = dy * gamma / std
    dx = d - d.mean(axis=0) - xhat * (d * xhat).mean(axis=0)
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def inverse_std(dy, x, gamma, beta):
    """As PyTorch's kernel goes about it: an inverse deviation, one projection, one scale."""
    n = x.shape[0]
    xc = x - x.sum(axis=0) / n
    invstd = 1 / np.sqrt((xc * xc).sum(axis=0) / n + 1e-5)
    dot = (dy * xc).sum(axis=0)
    dbeta = dy.sum(axis=0)
    dx = (dy - dbeta / n - xc * (dot * invstd**2 / n)) * (invstd * gamma)
    return dx, dot * invstd, dbeta


def staged(dy, x, gamma, beta):
    """One line back for every line forward, as in the course cs231n."""
    n = x.shape[0]
    mu = x.sum(axis=0) / n
    xmu = x - mu
    var = (xmu**2).sum(axis=0) / n
    std = np.sqrt(var + 1e-5)
    inv = 1 / std
    xhat = xmu * inv
    dxhat = dy * gamma
    dinv = (dxhat * xmu).sum(axis=0)
    dstd = -dinv / std**2
    dvar = dstd / (2 * std)
    dsquares = dvar / n + 0 * xmu
    dxmu = dxhat * inv + 2 * xmu * dsquares
    dmu = -dxmu.sum(axis=0)
    return dxmu + dmu / n, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def paper(dy, x, gamma, beta):
    """The equations of Ioffe and Szegedy, with the variance to the power -3/2."""
    m = x.shape[0]
    mu = x.mean(axis=0)
    var = ((x - mu) ** 2).mean(axis=0)
    dxhat = dy * gamma
    dvar = (dxhat * (x - mu)).sum(axis=0) * -0.5 * (var + 1e-5) ** -1.5
    dmu = (dxhat * -1 / np.sqrt(var + 1e-5)).sum(axis=0) + dvar * (-2 * (x - mu)).sum(axis=0) / m
    dx = dxhat / np.sqrt(var + 1e-5) + dvar * 2 * (x - mu) / m + dmu / m
    return dx, (dy * (x - mu) / np.sqrt(var + 1e-5)).sum(axis=0), dy.sum(axis=0)


def welford(dy, x, gamma, beta):
    """Mean and variance in one sweep, row by row, by Welford's update."""
    mu, m2 = np.zeros_like(x[0]), np.zeros_like(x[0])
    for count, row in enumerate(x, 1):
        delta = row - mu
        mu = mu + delta / count
        m2 = m2 + delta * (row - mu)
    std = np.sqrt(m2 / x.shape[0] + 1e-5)
    xhat = (x - mu) / std
    dgamma, dbeta = (dy * xhat).sum(axis=0), dy.sum(axis=0)
    return gamma / std * (dy - (dbeta + xhat * dgamma) / x.shape[0]), dgamma, dbeta


def one_pass(dy, x, gamma, beta):
    """The variance as E[x²] - E[x]²: the right formula, worthless once the mean is much larger than the spread."""
    mu = x.mean(axis=0)
    std = np.sqrt((x * x).mean(axis=0) - mu * mu + 1e-5)
    xhat = (x - mu) / std
    d = dy * gamma / std
    dx = d - d.mean(axis=0) - xhat * (d * xhat).mean(axis=0)
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


STABLE = {f.__name__: f for f in (classic, inverse_std, staged, paper, welford)}
UNSTABLE = one_pass
RIGHT = STABLE | {"one_pass": UNSTABLE}


# -- wrong ones --------------------------------------------------------------------------------------


_START, _END = r"(?<!\w)", r"(?![\w/^*.])"


@dataclass(frozen=True)
class Mutant:
    """A wrong backward, and what the doctor's first line about it must say.

    ``line``: a text, or several, that the line contains. ``leaves``: the arguments whose gradient is wrong.
    ``algebraic``: an exact comparison of the values sees it. ``extras``: what else it must be given.
    """

    number: int
    what: str
    backward: Callable[..., Any]
    line: str | tuple[str, ...]
    leaves: tuple[str, ...]
    algebraic: bool = True
    extras: Callable[..., dict[str, Any]] | None = None

    def __str__(self) -> str:
        return f"{self.number:02d} {self.what}"

    def says(self, line: str) -> bool:
        """Whether the line contains the due texts, each as whole words: ``by 2`` is not in ``by 2/N``."""
        parts = (self.line,) if isinstance(self.line, str) else self.line
        return all(
            re.search(rf"{_START * part[0].isalnum()}{re.escape(part)}{_END * part[-1].isalnum()}", line)
            for part in parts
        )


def mean(a):
    return a.mean(axis=0)


def three_terms(p):
    return p.d - mean(p.d) - p.xhat * mean(p.d * p.xhat)


def edited(
    dx=three_terms,
    dgamma=lambda p: (p.dy * p.xhat).sum(axis=0),
    dbeta=lambda p: p.dy.sum(axis=0),
    std=lambda xc: np.sqrt((xc**2).mean(axis=0) + 1e-5),
):
    """A backward with one part exchanged; a part is a function of the named values ``p``."""

    def backward(dy, x, gamma, beta):
        xc = x - x.mean(axis=0)
        p = SimpleNamespace(dy=dy, x=x, gamma=gamma, beta=beta, N=x.shape[0], std=std(xc))
        p.xhat = xc / p.std
        p.y = gamma * p.xhat + beta
        p.d = dy * gamma / p.std
        return dx(p), dgamma(p), dbeta(p)

    return backward


def published(dy, x, gamma, beta):
    """The layer class of a text on the web: the gradient through the mean is added."""
    n = x.shape[0]
    xc = x - x.mean(axis=0)
    std = np.sqrt((xc**2).mean(axis=0) + 1e-5)
    dxn = dy * gamma
    dxc = dxn / std
    dstd = -(dxn * xc / (std * std)).sum(axis=0)
    dxc = dxc + (2 / n) * xc * (dstd / (2 * std))
    dmu = dxc.sum(axis=0)
    return dxc + dmu / n, (dy * xc / std).sum(axis=0), dy.sum(axis=0)


def overwriting(dy, x, gamma, beta):
    xc = x - x.mean(axis=0)
    std = np.sqrt((xc**2).mean(axis=0) + 1e-5)
    xhat = xc / std
    dgamma, dbeta = (dy * xhat).sum(axis=0), dy.sum(axis=0)
    dy *= gamma
    d = dy / std
    return d - mean(d) - xhat * mean(d * xhat), dgamma, dbeta


def single(p):
    d, xhat = p.d.astype(np.float32), p.xhat.astype(np.float32)
    return (d - mean(d) - xhat * mean(d * xhat)).astype(p.x.dtype)


def last_row_zero(p):
    dx = three_terms(p)
    dx[-1] = 0 * dx[-1]
    return dx


def with_running_statistics(dy, x, gamma, beta, running_mean, running_var):
    std = np.sqrt(running_var + 1e-5)
    xhat = (x - running_mean) / std
    d = dy * gamma / std
    return d - mean(d) - xhat * mean(d * xhat), (dy * xhat).sum(axis=0), dy.sum(axis=0)


def of_evaluation(dy, x, gamma, beta, running_mean, running_var):
    std = np.sqrt(running_var + 1e-5)
    return dy * gamma / std, (dy * (x - running_mean) / std).sum(axis=0), dy.sum(axis=0)


def running(x, **others):
    """Statistics as they stand after one update with momentum 0.1 of what an earlier batch had left."""
    before = np.arange(1, x.shape[1] + 1) / 8
    xc = x - x.mean(axis=0)
    return {
        "running_mean": 0.9 * before + 0.1 * x.mean(axis=0),
        "running_var": 0.9 * (1 + before) + 0.1 * (xc**2).mean(axis=0),
    }


def wrong_dx(number, what, dx, line, **more):
    return Mutant(number, what, edited(dx), f"dx: {line}" if isinstance(line, str) else ("dx", *line), ("x",), **more)


def another_std(number, what, std, *line):
    return Mutant(number, what, edited(std=std), ("dx", *line), ("x", "gamma"))


FORWARD = "backward of a different forward: "
MUTANTS = [
    Mutant(1, "dx = dxc + dmu / N", published, "dx: term through mu multiplied by -1", ("x",)),
    wrong_dx(2, "mean term missing", lambda p: p.d - p.xhat * mean(p.d * p.xhat), "term through mu multiplied by 0"),
    wrong_dx(3, "variance term missing", lambda p: p.d - mean(p.d), "term through var multiplied by 0"),
    wrong_dx(4, "both missing", lambda p: 1 * p.d, ("through mu multiplied by 0", "through var multiplied by 0", "; ")),
    wrong_dx(5, "1/N missing in the variance term", lambda p: p.d - mean(p.d) - p.xhat * (p.d * p.xhat).sum(axis=0),
             "term through var multiplied by N"),
    wrong_dx(6, "1/N missing in the mean term", lambda p: p.d - p.d.sum(axis=0) - p.xhat * mean(p.d * p.xhat),
             "term through mu multiplied by N"),
    wrong_dx(7, "variance term halved", lambda p: p.d - mean(p.d) - p.xhat * mean(p.d * p.xhat) / 2,
             "term through var multiplied by 1/2"),
    wrong_dx(8, "variance term doubled", lambda p: p.d - mean(p.d) - 2 * p.xhat * mean(p.d * p.xhat),
             "term through var multiplied by 2"),
    wrong_dx(9, "variance term negated", lambda p: p.d - mean(p.d) + p.xhat * mean(p.d * p.xhat),
             "term through var multiplied by -1"),
    wrong_dx(10, "gamma missing", lambda p: three_terms(p) / p.gamma, "all terms multiplied by 1/gamma"),
    wrong_dx(11, "gamma squared", lambda p: three_terms(p) * p.gamma, "all terms multiplied by gamma"),
    another_std(12, "eps outside the sqrt", lambda xc: np.sqrt(mean(xc**2)) + 1e-5,
                FORWARD + "1e-05 added outside the sqrt (std); term through var multiplied by (var+eps)/std"),
    another_std(13, "eps missing", lambda xc: np.sqrt(mean(xc**2)), FORWARD + "1e-05 missing in var + eps"),
    another_std(14, "unbiased variance", lambda xc: np.sqrt((xc**2).sum(axis=0) / (xc.shape[0] - 1) + 1e-5),
                FORWARD + "var divides by N-1; term through var multiplied by (N-1)/N"),
    wrong_dx(15, "variance term / (N-1)",
             lambda p: p.d - mean(p.d) - p.xhat * (p.d * p.xhat).sum(axis=0) / (p.N - 1),
             "term through var multiplied by N/(N-1)"),
    wrong_dx(16, "divided by the variance", lambda p: three_terms(p) / p.std, "all terms multiplied by 1/std"),
    wrong_dx(17, "variance term without 1/std²",
             lambda p: p.d - mean(p.d) - p.xhat * p.std * mean(p.d * p.xhat * p.std),
             "term through var multiplied by std^2"),
    wrong_dx(18, "mean term over axis 1",
             lambda p: p.d - p.d.mean(axis=1, keepdims=True) - p.xhat * mean(p.d * p.xhat),
             "term through mu reduced over axis 1 instead of axis 0"),
    wrong_dx(19, "mean term over all axes", lambda p: p.d - p.d.mean() - p.xhat * mean(p.d * p.xhat),
             "term through mu reduced over all axes instead of axis 0"),
    Mutant(20, "dgamma not summed", edited(dgamma=lambda p: p.dy * p.xhat),
           "dgamma: not summed over broadcast axis 0", ("gamma",)),
    Mutant(21, "dbeta a mean", edited(dbeta=lambda p: mean(p.dy)), "dbeta: all terms multiplied by 1/N", ("beta",)),
    Mutant(22, "dgamma with x", edited(dgamma=lambda p: (p.dy * p.x).sum(axis=0)),
           "dgamma: uses x where xhat belongs", ("gamma",)),
    Mutant(23, "dgamma and dbeta swapped",
           edited(dgamma=lambda p: p.dy.sum(axis=0), dbeta=lambda p: (p.dy * p.xhat).sum(axis=0)),
           "dgamma, dbeta: swapped", ("gamma", "beta")),
    wrong_dx(24, "y in place of xhat in the variance term", lambda p: p.d - mean(p.d) - p.y * mean(p.d * p.xhat),
             "term through var is proportional to y"),
    Mutant(25, "running statistics", with_running_statistics,
           ("dx", "uses running_mean in place of mu", "running_var in place of var"), ("x", "gamma"), extras=running),
    Mutant(26, "evaluation-mode backward", of_evaluation,
           ("dx", "running_var in place of var", "through mu", "var multiplied by 0"), ("x", "gamma"), extras=running),
    Mutant(27, "dy *= gamma", overwriting, "writes into dy", (), algebraic=False),
    wrong_dx(28, "dx.T", lambda p: three_terms(p).T, "transposed"),
    wrong_dx(29, "twice", lambda p: 2 * three_terms(p), "all terms multiplied by 2"),
    wrong_dx(30, "float32 inside", single, ("precision: error", "of the contributions (float32 inside?)"), algebraic=False),
    wrong_dx(31, "divided by N", lambda p: three_terms(p) / p.N, "all terms multiplied by 1/N"),
    wrong_dx(32, "mean term without gamma",
             lambda p: p.d - mean(p.dy / p.std) - p.xhat * mean(p.d * p.xhat), "term through mu multiplied by 1/gamma"),
    wrong_dx(33, "last row zero", last_row_zero, "only the last index of axis 0 is wrong (it is zero)"),
    wrong_dx(34, "mean negated and variance times N", lambda p: p.d + mean(p.d) - p.xhat * (p.d * p.xhat).sum(axis=0),
             ("through mu multiplied by -1", "through var multiplied by N")),
    wrong_dx(35, "gamma and mean missing", lambda p: (p.d - p.xhat * mean(p.d * p.xhat)) / p.gamma,
             ("1/gamma", "through mu multiplied by 0")),
    wrong_dx(36, "x in place of xhat in the variance term", lambda p: p.d - mean(p.d) - p.x * mean(p.d * p.xhat),
             "term through var is proportional to x"),
    wrong_dx(37, "0.1 % too large", lambda p: three_terms(p) * 1.001, "all terms multiplied by 1.001"),
    wrong_dx(38, "variance term without gamma",
             lambda p: p.d - mean(p.d) - p.xhat * mean(p.dy / p.std * p.xhat), "term through var multiplied by 1/gamma"),
]  # fmt: skip


# -- faults in the coefficients ------------------------------------------------------------------------

FACTORS: dict[str, Callable[[int], float]] = {
    "0": lambda N: 0, "1": lambda N: 1, "-1": lambda N: -1, "2": lambda N: 2, "1/2": lambda N: 0.5,
    "N": lambda N: N, "1/N": lambda N: 1 / N,
}  # fmt: skip
TERMS = ("direct", "through mu", "through var")


@dataclass(frozen=True)
class Triple:
    """A backward whose three terms of dx each have a factor: ``factors`` by the name of the term."""

    factors: dict[str, str]
    backward: Callable[..., Any]

    @property
    def wrong(self) -> dict[str, str]:
        """The factors that are not 1."""
        return {term: f for term, f in self.factors.items() if f != "1"}

    def __str__(self) -> str:
        return ", ".join(f"{f} {term}" for term, f in self.factors.items())


def triples() -> Iterator[Triple]:
    """All of the 7³ but those with three equal factors, which are one factor on the whole gradient: 336."""
    for symbols in itertools.product(FACTORS, repeat=3):
        if len(set(symbols)) > 1:
            yield Triple(dict(zip(TERMS, symbols, strict=True)), edited(_combined(*map(FACTORS.get, symbols))))


def _combined(direct, mu, var):
    return lambda p: direct(p.N) * p.d - mu(p.N) * mean(p.d) - var(p.N) * p.xhat * mean(p.d * p.xhat)


TRIPLES = list(triples())
