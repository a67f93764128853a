"""Random programs: lists of instructions whose operands are counted back from the newest value.

Every instruction is total: any operands, any shapes, values that stay of moderate size. Operands may
be the same value twice, and a value may be used any number of times: the result is a DAG, not a tree.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st

import tinygraph as tg
from support import laws
from support.oracles import complex_step, contract, jacobian

# The shapes of the inputs; every value of a program broadcasts to the first.
SHAPES = ((2, 3), (3,), (2, 1), ())
FULL = SHAPES[0]


def _full(x):
    return tg.broadcast_to(x, FULL)


def _gather(x, y):
    return _full(x)[:, np.array([2, 0, 2])] * tg.sin(y)


def _windows(x, y):
    return tg.sum(tg.sliding_windows(_full(x), 2, axis=1) * tg.cos(_full(y))[:, :2, None], axis=(0, 2))[0] + x


def _scatter(x, y):
    return tg.add_at(_full(x), (slice(None), np.array([1, 1])), tg.tanh(_full(y))[:, 1:])


# Instructions by name. None jumps where two values are equal but for rounding. New ones go to the end, so that old failures replay.
OPS = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: tg.sin(x) * y,
    "sub": lambda x, y: x - y,
    "square": lambda x, y: tg.tanh(x) ** 2,
    "exp": lambda x, y: tg.exp(tg.tanh(x)),
    "sqrt": lambda x, y: tg.sqrt(1 + x * x),
    "div": lambda x, y: x / (1 + y**2),
    "pow": lambda x, y: (1 + tg.sigmoid(x)) ** tg.tanh(y),
    "log": lambda x, y: tg.log(1 + tg.exp(tg.sin(x))) - 0.5 * y,
    "mean": lambda x, y: tg.mean(_full(x), axis=0),
    "mean1": lambda x, y: tg.mean(_full(x), axis=1, keepdims=True),
    "total": lambda x, y: tg.sum(tg.tanh(_full(x) * y)),
    "max": lambda x, y: tg.max(_full(x), axis=1, keepdims=True) - tg.min(_full(y), axis=0),
    "prod": lambda x, y: tg.prod(tg.tanh(_full(x)), axis=0) * y,
    "cumsum": lambda x, y: tg.cumsum(_full(x), axis=1) / 3,
    "maximum": lambda x, y: tg.maximum(x, y),
    "where": lambda x, y: tg.where(x > y + 0.37, tg.sin(x), y),
    "abs": lambda x, y: abs(x),
    "relu": lambda x, y: tg.relu(x) - tg.clip(y, -0.5, 0.5),
    "matmul": lambda x, y: tg.tanh(_full(x)) @ tg.sin(_full(y)).T @ tg.cos(_full(x)),
    "einsum": lambda x, y: tg.einsum("ij,kj->i", tg.sin(_full(x)), tg.cos(_full(y)))[:, None] + x,
    "gather": _gather,
    "scatter": _scatter,
    "set": lambda x, y: tg.set_at(_full(x), (slice(None), 1), _full(y)[:, 2]),
    "concatenate": lambda x, y: tg.concatenate([_full(x)[:, 1:], _full(y)[:, 2:] ** 2 / 2], axis=1),
    "stack": lambda x, y: tg.mean(tg.stack([_full(x), tg.sin(_full(y)), _full(x)]), axis=0),
    "move": lambda x, y: tg.roll(tg.flip(_full(x), axis=1), 1, axis=0) + tg.reshape(_full(y).T, FULL),
    "pad": lambda x, y: tg.pad(_full(x), ((0, 0), (-1, 1))) + y,
    "windows": _windows,
    "softmax": lambda x, y: tg.softmax(_full(x) + y, axis=1),
    "logsumexp": lambda x, y: tg.logsumexp(_full(x), axis=0, keepdims=True) + y,
    "fused": lambda x, y: tg.fused.batch_norm(_full(x) + y, axis=1, eps=0.5),
    "norm": lambda x, y: tg.norm(1 + tg.exp(tg.sin(_full(x))), axis=0) / 3 - y,
}
NAMES = list(OPS)


@dataclasses.dataclass(frozen=True)
class Program:
    """Instructions ``(name, i, j)``: operand 0 is the newest value, 1 the one before, and so on."""

    instructions: tuple[tuple[str, int, int], ...]
    seed: int = 0

    @property
    def inputs(self) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        return [rng.uniform(-2, 2, shape) for shape in SHAPES]

    @property
    def shape(self) -> tuple[int, ...]:
        return self(*self.inputs).shape

    def __call__(self, *inputs):
        values = [tg.asarray(x) for x in reversed(inputs)]
        for name, i, j in self.instructions:
            x, y = (values[-1 - k % len(values)] for k in (i, j))
            values.append(OPS[name](x, y))
        return values[-1]


def programs(max_ops=10):
    back = st.integers(0, max_ops)
    instruction = st.tuples(st.sampled_from(NAMES), back, back)
    body = st.lists(instruction, min_size=1, max_size=max_ops).map(tuple)
    return st.builds(Program, body, st.integers(0, 2**16))


def _cotangent(program, shape, stream):
    return np.random.default_rng([program.seed, stream]).uniform(-2, 2, shape)


def first_order(program):
    """P1 for a whole graph: every element of every gradient."""
    xs = program.inputs
    graph = tg.trace(program, *xs)
    out, pullback = tg.vjp(program, *xs)
    g = _cotangent(program, out.shape, 1)
    columns = jacobian(lambda v: complex_step(graph, xs, v)[0], xs)
    expected, _ = contract(g, columns, [x.shape for x in xs])
    scale = max(1, *(np.max(np.abs(e)) for e in expected))
    for got, e in zip(pullback(g), expected, strict=True):
        laws.close(got.numpy(), e, scale)


def second_order(program):
    """P9: a derivative of the derived gradient is complex step through its graph, and its own transpose."""
    gradient = laws.gradient_of(program)
    at = program.inputs
    at = [*at, _cotangent(program, program.shape, 1)]
    vs = [_cotangent(program, x.shape, 2 + k) for k, x in enumerate(at)]
    _, got = tg.jvp(gradient, tuple(at), tuple(vs))
    expected = complex_step(tg.trace(gradient, *at), at, vs)
    scale = max(1, *(np.max(np.abs(e)) for e in expected))
    for d, e in zip(got, expected, strict=True):
        laws.close(d.numpy(), e, scale)
