"""Backwards of BatchNorm that were published, held against the derived one.

Three of them, as their pages print them: the staged backward and the closed form of a solution to
Stanford's course cs231n, and a layer class. Each is checked on 36 problems, diagnosed, and proved or
refuted. Then come the claims that the pages make besides, and what the doctor says at length.

Every word of the output is computed. The exit status is 1 if anything differs from what is expected,
which stands next to each kernel and each claim.
"""

# What linters have to say about the published code stays unsaid.
# ruff: noqa: RET504, RUF059, UP031

from __future__ import annotations

import argparse
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygraph as tg
from tinygraph.testing import Proof, check_backward, check_equivalent, contributions, diagnose, prove

LIMIT = 64.0  # rounding units
DTYPES = ("float64", "float32")

# -- as published ----------------------------------------------------------------------------------
# Statements and names are the pages'. Indentation, which they lost, is restored; comments are left out.
# fmt: off


def batchnorm_forward(x, gamma, beta, bn_param):
    mode = bn_param['mode']
    eps = bn_param.get('eps', 1e-5)
    momentum = bn_param.get('momentum', 0.9)

    N, D = x.shape
    running_mean = bn_param.get('running_mean', np.zeros(D, dtype=x.dtype))
    running_var = bn_param.get('running_var', np.zeros(D, dtype=x.dtype))

    out, cache = None, None

    if mode == 'train':
        sample_mean = np.mean(x, axis=0)
        sample_var = np.var(x, axis=0)
        x_hat = (x - sample_mean) / (np.sqrt(sample_var + eps))
        out = gamma * x_hat + beta
        cache = (gamma, x, sample_mean, sample_var, eps, x_hat)
        running_mean = momentum * running_mean + (1 - momentum) * sample_mean
        running_var = momentum * running_var + (1 - momentum) * sample_var
    elif mode == 'test':
        scale = gamma / (np.sqrt(running_var + eps))
        out = x * scale + (beta - running_mean * scale)
    else:
        raise ValueError('Invalid forward batchnorm mode "%s"' % mode)

    bn_param['running_mean'] = running_mean
    bn_param['running_var'] = running_var

    return out, cache


def batchnorm_backward(dout, cache):
    dx, dgamma, dbeta = None, None, None
    gamma, x, u_b, sigma_squared_b, eps, x_hat = cache
    N = x.shape[0]

    dx_1 = gamma * dout
    dx_2_b = np.sum((x - u_b) * dx_1, axis=0)
    dx_2_a = ((sigma_squared_b + eps) ** -0.5) * dx_1
    dx_3_b = (-0.5) * ((sigma_squared_b + eps) ** -1.5) * dx_2_b
    dx_4_b = dx_3_b * 1
    dx_5_b = np.ones_like(x) / N * dx_4_b
    dx_6_b = 2 * (x - u_b) * dx_5_b
    dx_7_a = dx_6_b * 1 + dx_2_a * 1
    dx_7_b = dx_6_b * 1 + dx_2_a * 1
    dx_8_b = -1 * np.sum(dx_7_b, axis=0)
    dx_9_b = np.ones_like(x) / N * dx_8_b
    dx_10 = dx_9_b + dx_7_a

    dgamma = np.sum(x_hat * dout, axis=0)
    dbeta = np.sum(dout, axis=0)
    dx = dx_10

    return dx, dgamma, dbeta


def batchnorm_backward_alt(dout, cache):

    dx, dgamma, dbeta = None, None, None
    gamma, x, sample_mean, sample_var, eps, x_hat = cache
    N = x.shape[0]
    dx_hat = dout * gamma
    dvar = np.sum(dx_hat * (x - sample_mean) * -0.5 * np.power(sample_var + eps, -1.5), axis=0)
    dmean = np.sum(dx_hat * -1 / np.sqrt(sample_var + eps), axis=0) + dvar * np.mean(-2 * (x - sample_mean), axis=0)
    dx = 1 / np.sqrt(sample_var + eps) * dx_hat + dvar * 2.0 / N * (x - sample_mean) + 1.0 / N * dmean
    dgamma = np.sum(x_hat * dout, axis=0)
    dbeta = np.sum(dout, axis=0)

    return dx, dgamma, dbeta


class BatchNorm:
    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma = gamma
        self.beta = beta
        self.momentum = momentum
        self.input_shape = None

        self.running_mean = running_mean
        self.running_var = running_var

        self.batch_size = None
        self.xc = None
        self.xn = None
        self.std = None
        self.dgamma = None
        self.dbeta = None

    def forward(self, x, train_flg=True):
        self.input_shape = x.shape
        if x.ndim != 2:
            N, C, H, W = x.shape
            x = x.reshape(N, -1)
        out = self.__forward(x, train_flg)
        return out.reshape(*self.input_shape)

    def __forward(self, x, train_flg):
        if self.running_mean is None:
            N, D = x.shape
            self.running_mean = np.zeros(D)
            self.running_var = np.zeros(D)

        if train_flg:
            mu = x.mean(axis = 0)
            xc = x - mu
            var = np.mean(xc**2, axis = 0)
            std = np.sqrt(var + 10e-7)
            xn = xc / std

            self.batch_size = x.shape[0]
            self.xc = xc
            self.xn = xn
            self.std = std
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            xc = x - self.running_mean
            xn = xc / np.sqrt(self.running_var + 10e-7)

        out = self.gamma * xn + self.beta
        return out

    def backward(self, dout):
        if dout.ndim != 2:
            N, C, H, W = dout.shape
            dout = dout.reshape(N, -1)
        dx = self.__backward(dout)
        dx = dx.reshape(*self.input_shape)
        return dx

    def __backward(self, dout):
        dbeta = dout.sum(axis = 0)
        dgamma = np.sum(self.xn * dout, axis = 0)
        dxn = self.gamma * dout
        dxc = dxn / self.std
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis = 0)
        dvar = 0.5 * dstd / self.std
        dxc += (2.0 / self.batch_size) * self.xc * dvar
        dmu = np.sum(dxc, axis = 0)
        dx = dxc + dmu / self.batch_size

        self.dgamma = dgamma
        self.dbeta = dbeta

        return dx


# fmt: on
# -- the reference, and one signature for all ----------------------------------------------------------

SHAPES = {"x": "N C", "gamma": "C", "beta": "C"}


def reference(eps=1e-5):
    """The definition of BatchNorm in primitives; its backward is derived."""

    def batch_norm(x, gamma, beta):
        mu = tg.mean(x, axis=0)
        xc = x - mu
        var = tg.mean(xc**2, axis=0)
        std = tg.sqrt(var + eps)
        xhat = xc / std
        return gamma * xhat + beta

    return batch_norm


def of_cs231n(x, gamma, beta):
    return batchnorm_forward(x, gamma, beta, {"mode": "train"})[0]


def staged(dy, x, gamma, beta, eps=1e-5):
    cache = batchnorm_forward(x, gamma, beta, {"mode": "train", "eps": eps})[1]
    return batchnorm_backward(dy, cache)


def closed_form(dy, x, gamma, beta, eps=1e-5):
    cache = batchnorm_forward(x, gamma, beta, {"mode": "train", "eps": eps})[1]
    return batchnorm_backward_alt(dy, cache)


def of_the_class(x, gamma, beta):
    return BatchNorm(gamma, beta).forward(x)


def layer_class(dy, x, gamma, beta):
    layer = BatchNorm(gamma, beta)
    layer.forward(x)
    return layer.backward(dy), layer.dgamma, layer.dbeta


def of_tinygraph(dy, x, gamma, beta, eps=1e-5):
    """This library's fused kernel, for comparison."""
    pull = tg.vjp(lambda *leaves: tg.fused.batch_norm(*leaves, eps=eps), x, gamma, beta)[1]
    return tuple(np.array(g) for g in pull(dy))


# -- who is judged, and what is expected ---------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """A published backward with its forward and its eps; then what the table should say."""

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    eps: float
    expected: tuple[str, ...]


RIGHT = ("ok", "ok", "nothing is wrong", "equal")
PUBLISHED = [
    Published("cs231n, staged", of_cs231n, staged, 1e-5, RIGHT),
    Published("cs231n, closed form", of_cs231n, closed_form, 1e-5, RIGHT),
    # The book that the class goes back to has a minus here, "dx = dxc - dmu / self.batch_size".
    Published(
        "layer class", of_the_class, layer_class, 1e-6,
        ("dx wrong", "dx wrong", "dx: term through mu multiplied by -1", "dx different"),
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line of a table: what it is about, its cells, and the cells that were expected."""

    label: str
    found: tuple[str, ...]
    expected: tuple[str, ...]


def drawn(seed, dtype, n=6, scale=1.0, offset=0.0):
    """A random dy, and x, gamma, beta; the mean of x is offset · scale."""
    rng = np.random.default_rng(seed)
    x = scale * (offset + rng.normal(size=(n, 3)))
    gamma = rng.uniform(0.3, 2, 3) * rng.choice([-1, 1], 3)
    dy, *leaves = (a.astype(dtype) for a in (rng.normal(size=(n, 3)), x, gamma, rng.normal(size=3)))
    return dy, leaves


def worst_errors(p: Published, dtype: str, seed: int) -> dict[str, float]:
    """The largest error of y and of each gradient over 18 problems, in rounding units: 2, 6 and 64
    rows at three scales, centred and a hundred spreads away from 0.
    """
    worst: dict[str, float] = {}
    for k, (n, scale, offset) in enumerate(itertools.product((2, 6, 64), (1e-3, 1, 1e3), (0, 100))):
        dy, leaves = drawn([seed, k], dtype, n, scale, offset)
        report = check_backward(reference(p.eps), p.backward, *leaves, dy=dy, forward=p.forward)
        if report.faults:
            raise SystemExit(f"{p.name}: {report}")
        for e in report.entries:
            worst[e.name] = max(worst.get(e.name, 0.0), e.ratio)
    return worst


# -- what is found ---------------------------------------------------------------------------------------


def verdict(p: Published, errors: list[dict[str, float]], proof: Proof) -> Line:
    """The check in both precisions, the doctor, and the proof."""
    cells = []
    for worst in errors:
        beyond = [name for name, units in worst.items() if units > LIMIT]
        cells.append(f"{', '.join(beyond)} wrong" if beyond else "ok")
    cells.append("; ".join(findings(reference(p.eps), p.backward)) or "nothing is wrong")
    differ = [f"d{leaf}" for leaf, found in proof.leaves.items() if found != "equal"]
    cells.append(f"{', '.join(differ)} {proof.verdict}".strip())
    return Line(p.name, tuple(cells), p.expected)


def findings(of: Callable[..., Any], backward: Callable[..., Any]) -> tuple[str, ...]:
    """The doctor's findings, one a gradient."""
    return tuple(f"d{f.leaf}: {f.text}" for f in diagnose(of, backward, **SHAPES).findings)


def edges(seed: int) -> Iterator[Line]:
    """float32 with x so large or small that the variance to the power -3/2 leaves the range."""

    def judge(backward: Callable[..., Any], scale: float, eps: float) -> str:
        dy, leaves = drawn(seed, np.float32, scale=scale)
        return check_backward(reference(eps), lambda *arrays: backward(*arrays, eps=eps), *leaves, dy=dy).verdict

    for name, backward, expected in [
        ("cs231n, staged", staged, ("range", "range")),
        ("cs231n, closed form", closed_form, ("range", "range")),
        ("tg.fused.batch_norm", of_tinygraph, ("ok", "ok")),
    ]:
        yield Line(name, (judge(backward, 1e15, 1e-5), judge(backward, 1e-15, 0.0)), expected)


def claims(seed: int) -> Iterator[Line]:
    """What the pages print besides."""
    x, gamma, beta = drawn(seed, np.float64)[1]
    eps = "backward of a different forward: eps is 1e-06 in place of 1e-05"
    yield Line(
        "The class writes its eps as 10e-7, where its page says 10^-7. Against a reference with 1e-5:",
        findings(reference(1e-5), layer_class),
        (f"dx: {eps}; term through mu multiplied by -1", f"dgamma: {eps}"),
    )

    one, zero = np.ones_like(gamma), np.zeros_like(beta)
    y = of_the_class(x, one, zero)
    seen = check_backward(reference(1e-6), layer_class, x, one, zero, dy=y).verdict
    lost = np.abs(contributions(reference(1e-6), x, one, zero, dy=y)["through mu"]).max() < 1e-12
    yield Line(
        "Its wrong sign is invisible to the loss 0.5·Σy² at gamma = 1, beta = 0, which gives dy = y:",
        (f"{seen}, since the term through mu is {'0' if lost else 'not 0'}",),
        ("ok, since the term through mu is 0",),
    )

    images = np.random.default_rng(seed).normal(size=(2, 3, 4, 4))
    report = check_backward(
        lambda x, gamma, beta: tg.batch_norm(x, gamma, beta, axis=1), layer_class, images, one, zero
    )
    yield Line(
        "It flattens (N, C, H, W) to (N, C·H·W). With gamma and beta of shape (C,), one for each channel:",
        tuple(f"{report.verdict}: {fault.text.split(' (')[0]}" for fault in report.faults),
        ("structure: raises ValueError: operands could not be broadcast together with shapes",),
    )

    def flattened(x):
        """The class as it stands, on a Tensor."""
        return BatchNorm(np.ones(48), np.zeros(48)).forward(x)

    report = check_equivalent(lambda x: tg.batch_norm(x, axis=1, eps=1e-6), flattened, images)
    yield Line(
        "With C·H·W of them it runs, but is not the normalisation of channels, tg.batch_norm(axis=1):",
        (f"{report.verdict}: {', '.join(e.kind for e in report.entries if not e.ok)}",),
        ("wrong: forward, gradient",),
    )

    def as_printed(x, gamma, beta):
        mu = tg.sum(x, axis=0)
        xc = x - mu
        return gamma * xc / tg.sqrt(tg.mean(xc**2, axis=0) + 1e-5) + beta

    mean = "backward of a different forward: mu uses sum instead of mean"
    yield Line(
        "One page prints the mean without 1/m. The backward of that formula, against the definition:",
        findings(reference(1e-5), lambda dy, *leaves: tuple(g.numpy() for g in tg.vjp(as_printed, *leaves)[1](dy))),
        (f"dx: {mean}", f"dgamma: {mean}"),
    )

    kept, m = {"mode": "train", "momentum": 0.0}, len(x)
    batchnorm_forward(x, gamma, beta, kept)
    shares = kept["running_var"] / (m / (m - 1) * np.var(x, axis=0))
    yield Line(
        f"One page prints m/(m-1)·E[var] for test time. Its code averages the biased variance; at m = {m}:",
        tuple(sorted({f"{share:.4f} of what is printed" for share in shares})),
        (f"{(m - 1) / m:.4f} of what is printed",),
    )


def message() -> str:
    """What the doctor says at length of the layer class, on a batch of three."""
    x, dy = np.array([[-3.0], [0.0], [3.0]]), np.array([[3.0], [-1.0], [2.0]])
    report = check_backward(reference(1e-6), layer_class, x, np.array([2.0]), np.array([0.0]), dy=dy)
    return report.diagnosis.explain(report.problem)


# -- on paper --------------------------------------------------------------------------------------------


def table(header: list[str], rows: list[list[str]], numbers: int = 99) -> str:
    """Aligned columns under a rule; from the column ``numbers`` on they are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    side = ["<" if k < numbers else ">" for k in range(len(header))]
    lines = ["   ".join(map("{:{}{}}".format, row, side, widths)) for row in (header, *rows)]
    lines.insert(1, "─" * (sum(widths) + 3 * len(widths) - 3))
    return "\n".join(f"  {line}".rstrip() for line in lines)


def units(error: float) -> str:
    return f"{error:.0e}" if error > LIMIT else f"{error:.1f}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python examples/published_backwards.py --brief",
    )  # fmt: skip
    parser.add_argument("--brief", action="store_true", help="print the first table only")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draw other problems, 0 or more (default: 0)")
    options = parser.parse_args()
    if options.seed < 0:
        parser.error(f"--seed {options.seed}: seeds start at 0")
    return options


def main() -> None:
    options = parse()
    errors = [[worst_errors(p, dtype, options.seed) for dtype in DTYPES] for p in PUBLISHED]
    proofs = [prove(reference(p.eps), p.backward, **SHAPES) for p in PUBLISHED]
    lines = list(map(verdict, PUBLISHED, errors, proofs))
    if not options.brief:
        print("Published backwards of BatchNorm, held against the derived one\n")
    print(table(["backward", "float64", "float32", "the doctor", "the proof"], [[n.label, *n.found] for n in lines]))
    if not options.brief:
        print(f"\nA wrong backward is proved equal with a chance of at most {max(p.bound for p in proofs if p):.0e}.")
        lines += details(errors, options.seed)
    surprises = [n for n in lines if n.found != n.expected]
    for n in surprises:
        print(f"{n.label}: {n.found}, where {n.expected} was expected", file=sys.stderr)
    sys.exit(bool(surprises))


def details(errors: list[list[dict[str, float]]], seed: int) -> list[Line]:
    """Print the figures, the edges of float32, the claims, and the doctor's words."""
    rows = [
        [p.name * (dtype == "float64"), dtype, *map(units, worst.values())]
        for p, both in zip(PUBLISHED, errors, strict=True)
        for dtype, worst in zip(DTYPES, both, strict=True)
    ]
    print("\nThe largest error in 18 problems, in rounding units; 64 are allowed:\n")
    print(table(["backward", "", *errors[0][0]], rows, numbers=2))

    on_edge = list(edges(seed))
    print("\nfloat32 at its edges. Both solutions raise the variance to the power -3/2:\n")
    print(table(["backward", "x of scale 1e15", "x of scale 1e-15, eps = 0"], [[n.label, *n.found] for n in on_edge]))

    claimed = list(claims(seed))
    print("\nWhat else the pages print:")
    for n in claimed:
        print(f"\n  {n.label}")
        for text in n.found:
            print(textwrap.fill(text, 100, initial_indent="    → ", subsequent_indent="      "))

    print("\nThe doctor at length, on the layer class and a batch of three:\n")
    print(textwrap.indent(message(), "  "))
    return on_edge + claimed


if __name__ == "__main__":
    main()
