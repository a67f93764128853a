"""The registry as test cases: every example call of every primitive, with operands drawn from its domain."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import tinygraph as tg
from tinygraph.core.primitive import REGISTRY, Each, Primitive, apply

MARGIN = 0.05


class Shape(tuple):
    """An array to draw, where a plain tuple would be a key or a param."""


# Calls beside those of the records: array values for updates, bounds that are arrays, numbers as exponents.
EXTRA: dict[str, tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]] = {
    "add_at": (
        (((3, 3),), {"key": (slice(None), np.array([0, 2, 0])), "values": Shape((3, 3))}),
        (((3, 3),), {"key": (slice(1, None), None, 0), "values": Shape((2, 1))}),
    ),
    "set_at": (
        (((3, 3),), {"key": (slice(None), np.array([2, 0])), "values": Shape((3, 2))}),
        (((3, 3),), {"key": (slice(1, None), None, 0), "values": Shape(())}),
    ),
    "getitem": ((((2, 3, 4),), {"key": (np.array([[1], [0]]), slice(None), np.array([0, 3, 3]))}),),
    "clip": ((((2, 3), (3,), (2, 1)), {}),),
    "pow": ((((2, 3), 2), {}), (((2, 3), 3), {}), (((2, 3), 1), {}), (((2, 3), -1.5), {}), ((2.0, (2, 3)), {})),
    "concatenate": ((([(2, 1), (2, 2), (2, 3)],), {"axis": 1}),),
    "einsum": ((("ij,kj->ki", (2, 1), (3, 4)), {}), (("iij->j", (2, 2, 3)), {})),
    "mean": ((((3, 2, 2),), {"axis": 1}),),
    "prod": ((((2, 2, 3),), {"axis": (0, 2), "keepdims": True}),),
}


@dataclasses.dataclass(frozen=True, repr=False)
class Call:
    """One way to call a primitive."""

    op: Primitive
    number: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"{self.op.name}-{self.number}"

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The arrays to draw, in order."""
        drawn = [a for a in self.args if isinstance(a, (tuple, list))]
        drawn += [v for v in self.kwargs.values() if isinstance(v, Shape)]
        return [shape for a in drawn for shape in (a if isinstance(a, list) else [a])]

    def draw(self, seed: int, dtype: Any = np.float64) -> Problem:
        """Operands for this call: inside the domain, away from kinks, no two alike; by construction."""
        values = _Values(self, seed, dtype)
        args = [values.fill(a) for a in copy.deepcopy(self.args)]
        kwargs = {k: values.array(v) if isinstance(v, Shape) else copy.deepcopy(v) for k, v in self.kwargs.items()}
        if self.op.name == "astype" and dtype != np.float64:
            kwargs["dtype"] = dtype
        operands, params = self.op.bind(tuple(args), kwargs)
        # A number where a gradient is possible is drawn as an array: its rule is a rule too.
        operands = [
            np.asarray(x, dtype) if type(x) is float and math.isfinite(x) and rule_of(self.op, i) else x
            for i, x in enumerate(operands)
        ]
        return Problem(self.op, tuple(operands), params, seed)


class _Values:
    def __init__(self, call: Call, seed: int, dtype: Any) -> None:
        self.call, self.dtype, self.position = call, dtype, 0
        self.total = sum(math.prod(s) for s in call.shapes)
        rng = np.random.default_rng(seed)
        self.units = (rng.permutation(self.total) + rng.uniform(0.3, 0.7, self.total)) / max(self.total, 1)

    def fill(self, example: Any) -> Any:
        if isinstance(example, list):
            return [self.array(shape) for shape in example]
        return self.array(example) if isinstance(example, tuple) else example

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        domain = self.call.op.domain
        units, self.units = np.split(self.units, [math.prod(shape)])
        if self.call.op.name.startswith("logical"):
            return (units < 0.5).reshape(shape)
        low, high = domain.ranges[min(self.position, len(domain.ranges) - 1)]
        self.position += 1
        return spread(units, low, high, domain.kinks).reshape(shape).astype(self.dtype)


def spread(units: np.ndarray, low: float, high: float, kinks: tuple[float, ...] = ()) -> np.ndarray:
    """Numbers of (0, 1) stretched over low … high without the neighbourhoods of the kinks."""
    inside = sorted(k for k in kinks if low < k < high)
    edges = np.array([low, *(k + side * MARGIN for k in inside for side in (-1, 1)), high])
    lengths = np.diff(edges)
    lengths[1::2] = 0
    return np.interp(units * lengths.sum(), np.cumsum([0, *lengths]), edges)


def rule_of(op: Primitive, position: int) -> Any:
    """The rule of one operand, or None."""
    if isinstance(op.vjps, Each):
        return op.vjps[position]
    return op.vjps[position] if position < len(op.vjps) else None


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A call with its operands: a function of those that are floats."""

    op: Primitive
    operands: tuple[Any, ...]
    params: Mapping[str, Any]
    seed: int

    @property
    def variables(self) -> list[int]:
        return [i for i, x in enumerate(self.operands) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]

    @property
    def arrays(self) -> list[np.ndarray]:
        return [self.operands[i] for i in self.variables]

    def fn(self, *arrays: Any) -> tg.Tensor:
        operands = list(self.operands)
        for i, x in zip(self.variables, arrays, strict=True):
            operands[i] = x
        return apply(self.op, tuple(operands), self.params)

    @property
    def is_real(self) -> bool:
        """Whether it maps floats to floats."""
        return bool(self.variables) and self.fn(*self.arrays).dtype.kind == "f"

    def trace(self) -> tg.Graph:
        return tg.trace(self.fn, *self.arrays)

    def cotangent(self) -> np.ndarray:
        """Random, never ones; in the dtype of the result."""
        out = self.fn(*self.arrays)
        return np.random.default_rng([self.seed, 1]).uniform(-2, 2, out.shape).astype(out.dtype)

    def directions(self, arrays: Any, stream: int = 2) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, stream])
        return [rng.uniform(-1, 1, x.shape) for x in arrays]


CALLS = [
    Call(op, number, args, kwargs)
    for op in REGISTRY.values()
    for number, (args, kwargs) in enumerate((*op.domain.calls, *EXTRA.get(op.name, ())))
]
# Through detach nothing flows on purpose; a draw has no operands.
SMOOTH = [c for c in CALLS if c.op.name != "detach" and c.draw(0).is_real]
RULED = [c for c in SMOOTH if any(rule_of(c.op, i) for i in c.draw(0).variables)]
PRIMITIVES = sorted({c.op.name for c in RULED})


def parametrize(calls: list[Call]) -> Any:
    import pytest

    return pytest.mark.parametrize("call", calls, ids=str)
