"""Random programs: lists of instructions whose operands are counted back from the newest value.

Every instruction of ours is total: any operands, any shapes, values that stay of moderate size. Operands
may be the same value twice, and a value may be used any number of times: the result is a DAG, not a tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import functional, fused
from ..core.convert import operand
from ..core.graph import trace
from ..core.tensor import OPS as REGISTERED
from ..errors import ArgumentError
from ..transforms import jvp, vjp
from . import laws
from .extras import need
from .oracles.derivatives import complex_step, contract, jacobian

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Op = Callable[..., Any]

# The primitives and composites by name, on Tensors.
op = SimpleNamespace(**(REGISTERED | functional.COMPOSITES))

# The shapes of the inputs, which repeat; every value of a program broadcasts to the first.
SHAPES = ((2, 3), (3,), (2, 1), ())
FULL = SHAPES[0]


def _full(x: Any) -> Any:
    return op.broadcast_to(x, FULL)


def _gather(x: Any, y: Any) -> Any:
    return _full(x)[:, np.array([2, 0, 2])] * op.sin(y)


def _windows(x: Any, y: Any) -> Any:
    return op.sum(op.sliding_windows(_full(x), 2, axis=1) * op.cos(_full(y))[:, :2, None], axis=(0, 2))[0] + x


def _scatter(x: Any, y: Any) -> Any:
    return op.add_at(_full(x), (slice(None), np.array([1, 1])), op.tanh(_full(y))[:, 1:])


# Instructions by name. None jumps where two values are equal but for rounding. New ones go to the end, so that old failures replay.
OPS: dict[str, Op] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: op.sin(x) * y,
    "sub": lambda x, y: x - y,
    "square": lambda x, y: op.tanh(x) ** 2,
    "exp": lambda x, y: op.exp(op.tanh(x)),
    "sqrt": lambda x, y: op.sqrt(1 + x * x),
    "div": lambda x, y: x / (1 + y**2),
    "pow": lambda x, y: (1 + op.sigmoid(x)) ** op.tanh(y),
    "log": lambda x, y: op.log(1 + op.exp(op.sin(x))) - 0.5 * y,
    "mean": lambda x, y: op.mean(_full(x), axis=0),
    "mean1": lambda x, y: op.mean(_full(x), axis=1, keepdims=True),
    "total": lambda x, y: op.sum(op.tanh(_full(x) * y)),
    "max": lambda x, y: op.max(_full(x), axis=1, keepdims=True) - op.min(_full(y), axis=0),
    "prod": lambda x, y: op.prod(op.tanh(_full(x)), axis=0) * y,
    "cumsum": lambda x, y: op.cumsum(_full(x), axis=1) / 3,
    "maximum": op.maximum,
    "where": lambda x, y: op.where(x > y + 0.37, op.sin(x), y),
    "abs": lambda x, y: abs(x),
    "relu": lambda x, y: op.relu(x) - op.clip(y, -0.5, 0.5),
    "matmul": lambda x, y: op.tanh(_full(x)) @ op.sin(_full(y)).T @ op.cos(_full(x)),
    "einsum": lambda x, y: op.einsum("ij,kj->i", op.sin(_full(x)), op.cos(_full(y)))[:, None] + x,
    "gather": _gather,
    "scatter": _scatter,
    "set": lambda x, y: op.set_at(_full(x), (slice(None), 1), _full(y)[:, 2]),
    "concatenate": lambda x, y: op.concatenate([_full(x)[:, 1:], _full(y)[:, 2:] ** 2 / 2], axis=1),
    "stack": lambda x, y: op.mean(op.stack([_full(x), op.sin(_full(y)), _full(x)]), axis=0),
    "move": lambda x, y: op.roll(op.flip(_full(x), axis=1), 1, axis=0) + op.reshape(_full(y).T, FULL),
    "pad": lambda x, y: op.pad(_full(x), ((0, 0), (-1, 1))) + y,
    "windows": _windows,
    "softmax": lambda x, y: op.softmax(_full(x) + y, axis=1),
    "logsumexp": lambda x, y: op.logsumexp(_full(x), axis=0, keepdims=True) + y,
    "fused": lambda x, y: fused.batch_norm(_full(x) + y, axis=1, eps=0.5),
    "norm": lambda x, y: op.norm(1 + op.exp(op.sin(_full(x))), axis=0) / 3 - y,
}


@dataclass(frozen=True, repr=False)
class Program:
    """A function of Tensors as data: instructions ``(name, i, j)``, and the seed of its inputs.

    An instruction applies the op ``name`` to two values made so far: ``i ≥ 0`` counts back from the
    newest (0), ``i < 0`` on from the oldest (-1, the last input), modulo their number. The result is
    the last value. Inputs have the shapes [2, 3], [3], [2, 1], [] in turn. ``ops`` are functions of
    two Tensors by name, where they are not ours; its ``repr`` is code that makes it again.

    >>> from tinygraph.testing import Program
    >>> program = Program((("sqrt", 0, 0), ("add", 0, 0)))
    >>> program
    Program((('sqrt', 0, 0), ('add', 0, 0)))
    >>> program(0.0, 1.0)
    tensor(2.)
    """

    instructions: tuple[tuple[str, int, int], ...]
    seed: int = 0
    count: int = 2
    ops: Mapping[str, Op] | None = field(default=None, hash=False)

    @property
    def inputs(self) -> list[np.ndarray[Any, Any]]:
        """Values to call it with, of moderate size; float64."""
        rng = np.random.default_rng(self.seed)
        return [rng.uniform(-2, 2, SHAPES[k % len(SHAPES)]) for k in range(self.count)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its result."""
        return tuple(self(*self.inputs).shape)

    def cotangent(self, shape: tuple[int, ...], stream: int = 1) -> np.ndarray[Any, Any]:
        """A random upstream gradient or direction, never ones; another one for every ``stream``."""
        return np.random.default_rng([self.seed, stream]).uniform(-2, 2, shape)

    def __call__(self, *inputs: Any) -> Any:
        ops = OPS if self.ops is None else self.ops
        values = list(map(operand, reversed(inputs)))
        for name, i, j in self.instructions:
            x, y = (values[-1 - k % len(values) if k >= 0 else ~k % len(values)] for k in (i, j))
            values.append(ops[name](x, y))
        return values[-1]

    def __repr__(self) -> str:
        parts = [repr(self.instructions)]
        parts += [f"seed={self.seed}"] if self.seed else []
        parts += [f"count={self.count}"] if self.count != 2 else []
        if self.ops is not None:
            named = (f"{name!r}: {getattr(fn, '__name__', fn)}" for name, fn in self.ops.items())
            parts.append(f"ops={{{', '.join(named)}}}")
        return f"Program({', '.join(parts)})"


def programs(
    *, max_ops: int = 8, ops: Mapping[str, Op] | Iterable[str] | None = None, inputs: int = 2
) -> SearchStrategy[Program]:
    """Random programs of 1 to ``max_ops`` instructions, to test what works on graphs.

    They have fan-out, shared nodes, operands used twice, reductions and broadcasting, and are total:
    none needs a filter. ``ops`` chooses among ours by name, or gives functions of two Tensors of
    shapes that broadcast to [2, 3], with a result that does so too.

    Raises: ArgumentError for ops that there are not, or no ops; MissingExtra without Hypothesis.

    >>> from hypothesis import Phase, find, settings
    >>> from tinygraph.testing import programs
    >>> find(programs(inputs=1), lambda p: True, settings=settings(phases=[Phase.generate]))
    Program((('add', 0, 0),), count=1)
    """
    st = need("hypothesis.strategies", "testing", "programs()")
    functions = ops if isinstance(ops, Mapping) else None
    names = list(OPS if ops is None else ops)
    unknown = [n for n in names if n not in OPS] if functions is None else []
    uncallable = [n for n, fn in (functions or {}).items() if not callable(fn)]
    if not names or unknown or uncallable or inputs < 1 or max_ops < 1:
        raise ArgumentError(
            f"programs(max_ops={max_ops}, ops={names}, inputs={inputs}): {_why(unknown, uncallable)}; give "
            f"functions of two Tensors by name, or names among {', '.join(OPS)}"
        )
    # An add hands one array to both operands, which is what accumulation could spoil: a third of the instructions are.
    names += ["add"] * (len(names) // 2 if functions is None and "add" in names else 0)
    place = st.integers(-max_ops, max_ops)
    body = st.lists(st.tuples(st.sampled_from(names), place, place), min_size=1, max_size=max_ops).map(tuple)
    program: SearchStrategy[Program] = st.builds(
        Program, body, st.integers(0, 2**16), count=st.just(inputs), ops=st.just(functions)
    )
    return program


def _why(unknown: list[str], uncallable: list[str]) -> str:
    if unknown:
        return f"there is no op {unknown[0]!r}"
    return f"{uncallable[0]!r} is no function" if uncallable else "needs one op, one instruction and one input at least"


# -- laws of a whole graph ----------------------------------------------------------------------------


def first_order(program: Program) -> None:
    """P1: every element of every gradient is that of complex step, or AssertionError."""
    xs = program.inputs
    graph = trace(program, *xs)
    out, pullback = vjp(program, *xs)
    g = program.cotangent(out.shape)
    columns = jacobian(lambda v: complex_step(graph, xs, v)[0], xs)
    expected, _ = contract(g, columns, [x.shape for x in xs])
    scale = max(1, *(np.max(np.abs(e)) for e in expected))
    for got, e in zip(pullback(g), expected, strict=True):
        laws.close(got.numpy(), e, scale)


def second_order(program: Program) -> None:
    """P9: a derivative of the derived gradient is complex step through its graph, or AssertionError."""
    gradient = laws.gradient_of(program)
    at = [*program.inputs, program.cotangent(program.shape)]
    vs = [program.cotangent(x.shape, 2 + k) for k, x in enumerate(at)]
    _, got = jvp(gradient, tuple(at), tuple(vs))
    expected = complex_step(trace(gradient, *at), at, vs)
    scale = max(1, *(np.max(np.abs(e)) for e in expected))
    for d, e in zip(got, expected, strict=True):
        laws.close(d.numpy(), e, scale)
