"""A primitive's record as test cases: operands drawn from its domain, and the laws tried on them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.graph import Graph, trace
from ..core.primitive import REGISTRY, Calls, Each, Primitive, apply
from ..core.tensor import Tensor, describe
from ..errors import ArgumentError
from . import laws as law
from .report import Report

MARGIN = 0.05  # how far from a kink operands are drawn
SEEDS = range(3)  # draws of each call


class Shape(tuple[int, ...]):
    """An array to draw, where a plain tuple would be a key or a param."""


@dataclasses.dataclass(frozen=True, repr=False)
class Call:
    """One way to call a primitive; ``ranges`` replace those of its record."""

    op: Primitive
    number: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    ranges: tuple[tuple[float, float], ...] = ()

    def __repr__(self) -> str:
        return f"{self.op.name}-{self.number}"

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The arrays to draw, in order."""
        drawn = [a for a in self.args if isinstance(a, (tuple, list))]
        drawn += [v for v in self.kwargs.values() if isinstance(v, Shape)]
        return [shape for a in drawn for shape in (a if isinstance(a, list) else [a])]

    def draw(self, seed: int, dtype: Any = np.float64) -> Case:
        """Operands for this call: inside the domain, away from kinks, no two alike; by construction."""
        values = _Values(self, seed, dtype)
        args = [values.fill(a) for a in copy.deepcopy(self.args)]
        kwargs = {k: values.array(v) if isinstance(v, Shape) else copy.deepcopy(v) for k, v in self.kwargs.items()}
        if self.op.name == "astype" and dtype != np.float64:
            kwargs["dtype"] = dtype
        operands, params = self.op.bind(tuple(args), kwargs)
        # A number where a gradient is possible is drawn as an array: its rule is a rule too.
        drawn = [
            np.asarray(x, dtype) if type(x) is float and math.isfinite(x) and rule_of(self.op, i) else x
            for i, x in enumerate(operands)
        ]
        return Case(self, tuple(drawn), params, seed)


class _Values:
    """The elements of all arrays of a call, no two of them alike, handed out in order."""

    def __init__(self, call: Call, seed: int, dtype: Any) -> None:
        self.call, self.dtype, self.position = call, dtype, 0
        total = sum(math.prod(s) for s in call.shapes)
        rng = np.random.default_rng(seed)
        self.units = (rng.permutation(total) + rng.uniform(0.3, 0.7, total)) / max(total, 1)

    def fill(self, example: Any) -> Any:
        if isinstance(example, list):
            return [self.array(shape) for shape in example]
        return self.array(example) if isinstance(example, tuple) else example

    def array(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        domain = self.call.op.domain
        units, self.units = np.split(self.units, [math.prod(shape)])
        if self.call.op.name.startswith("logical"):
            return (units < 0.5).reshape(shape)
        ranges = self.call.ranges or domain.ranges
        low, high = ranges[min(self.position, len(ranges) - 1)]
        self.position += 1
        return spread(units, low, high, domain.kinks).reshape(shape).astype(self.dtype)


def spread(units: np.ndarray[Any, Any], low: float, high: float, kinks: tuple[float, ...] = ()) -> np.ndarray[Any, Any]:
    """Numbers of (0, 1) stretched over low … high without the neighbourhoods of the kinks."""
    inside = sorted(k for k in kinks if low < k < high)
    edges = np.array([low, *(k + side * MARGIN for k in inside for side in (-1, 1)), high])
    lengths = np.diff(edges)
    lengths[1::2] = 0
    stretched: np.ndarray[Any, Any] = np.interp(units * lengths.sum(), np.cumsum([0, *lengths]), edges)
    return stretched


def rule_of(op: Primitive, position: int) -> Any:
    """The rule of one operand, or None."""
    if isinstance(op.vjps, Each):
        return op.vjps[position]
    return op.vjps[position] if position < len(op.vjps) else None


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A call with its operands: a function of those that are floats."""

    call: Call
    operands: tuple[Any, ...]
    params: Mapping[str, Any]
    seed: int

    @property
    def op(self) -> Primitive:
        """The primitive that is called."""
        return self.call.op

    @property
    def variables(self) -> list[int]:
        """The operands that are floating arrays."""
        return [i for i, x in enumerate(self.operands) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]

    @property
    def arrays(self) -> list[np.ndarray[Any, Any]]:
        """Their values."""
        return [self.operands[i] for i in self.variables]

    def fn(self, *arrays: Any) -> Tensor:
        """The primitive of these arrays, everything else as it was drawn."""
        operands = list(self.operands)
        for i, x in zip(self.variables, arrays, strict=True):
            operands[i] = x
        return apply(self.op, tuple(operands), self.params)

    @property
    def is_real(self) -> bool:
        """Whether it maps floats to floats."""
        return bool(self.variables) and self.fn(*self.arrays).dtype.kind == "f"

    @property
    def is_ruled(self) -> bool:
        """Whether some of its variables has a rule."""
        return any(rule_of(self.op, i) for i in self.variables)

    def trace(self) -> Graph:
        """The call as a graph."""
        return trace(self.fn, *self.arrays)

    def cotangent(self, stream: int = 1) -> np.ndarray[Any, Any]:
        """Random, never ones; in the dtype of the result."""
        out = self.fn(*self.arrays)
        return np.random.default_rng([self.seed, stream]).uniform(-2, 2, out.shape).astype(out.dtype)

    def directions(self, arrays: Sequence[Any], stream: int = 2) -> list[np.ndarray[Any, Any]]:
        """A random tangent for each array."""
        rng = np.random.default_rng([self.seed, stream])
        return [rng.uniform(-1, 1, x.shape) for x in arrays]

    def again(self, dtype: Any = np.float64) -> Case:
        """The same draw anew, in any float dtype."""
        return self.call.draw(self.seed, dtype)

    def __str__(self) -> str:
        params = [f"{k}={v!r}" for k, v in self.params.items()]
        return f"{self.op.name}({', '.join([*map(describe, self.operands), *params])}), seed {self.seed}"


# -- the calls of a record ----------------------------------------------------------------------------

_NAMED = {"real": (-2.0, 2.0), "positive": (0.2, 3.0), "probability": (0.05, 0.95)}


def calls(op: Primitive, domains: Mapping[Any, Any] | None = None, extra: Calls = ()) -> list[Call]:
    """Every example call of the record, with operands drawn from ``domains`` where they are given.

    A record without examples is called on a few shapes that broadcast, if it takes operands only.
    """
    ranges = _ranges(op, domains or {})
    examples = (*op.domain.calls, *extra)
    if not examples and op.arity:
        shapes = [((2, 3), (3,)), ((), (2, 1)), ((2, 3), (2, 3))]
        examples = tuple((tuple(pair[i % 2] for i in range(op.arity)), {}) for pair in shapes)
    if not examples:
        raise ArgumentError(
            f"check_primitive({op.name}): its record has no example calls to draw operands for; "
            "give it domain=Domain(calls=((((2, 3),), {}),))"
        )
    return [Call(op, number, args, kwargs, ranges) for number, (args, kwargs) in enumerate(examples)]


def _ranges(op: Primitive, domains: Mapping[Any, Any]) -> tuple[tuple[float, float], ...]:
    """The range of each array drawn: as given by the operand's name or number, else as in the record."""
    if not domains:
        return ()
    names = list(inspect.signature(op.kernel).parameters)[1:]
    places = {name: k for k, name in enumerate(names)} | {k: k for k in range(max(len(names), 1))}
    ranges = [*op.domain.ranges, *[op.domain.ranges[-1]] * (len(names) - len(op.domain.ranges))]
    for key, given in domains.items():
        bounds = _NAMED.get(given) if isinstance(given, str) else given
        if key not in places or not (isinstance(bounds, tuple) and len(bounds) == 2 and bounds[0] < bounds[1]):
            raise ArgumentError(
                f"check_primitive({op.name}, domains={dict(domains)!r}): give an operand ({', '.join(names)}, or its "
                f"number) a range (lo, hi), or one of {', '.join(map(repr, _NAMED))}"
            )
        ranges[places[key]] = bounds
    return tuple(ranges)


# -- check_primitive ----------------------------------------------------------------------------------

Law = Callable[[Case], None]
ALWAYS: dict[str, Law] = {"nothing is written to, nothing is shared": law.writes_to_nothing}
RULED: dict[str, Law] = {
    "reverse mode is the cotangent times the Jacobian": law.first_order,
    "forward mode is the derivative along the tangent": law.forward_mode,
    "second order is the derivative of the first": law.second_order,
    "a pullback is linear": law.linear,
    "what is broadcast gets the sum over its copies": law.broadcasting,
    "a gradient has the shape and dtype of its operand": law.typed,
    "later writes change no gradient": law.keeps_nothing,
}


def laws(op: Primitive) -> list[tuple[str, Law]]:
    """The laws that a primitive must obey, by name; without a rule there is no derivative to look at."""
    ruled = isinstance(op.vjps, Each) or any(op.vjps)
    return list((ALWAYS | RULED if ruled else ALWAYS).items())


class PrimitiveReport(Report):
    """Which laws a primitive breaks: ``failures`` are (law, case, what is wrong), the first of each law."""

    __slots__ = ("failures", "op", "tried")
    op: str
    failures: tuple[tuple[str, str, str], ...]
    tried: int

    def __init__(self, op: str, failures: Sequence[tuple[str, str, str]], tried: int) -> None:
        super().__init__(ok=not failures, verdict="wrong")
        for name, value in (("op", op), ("failures", tuple(failures)), ("tried", tried)):
            object.__setattr__(self, name, value)

    def _text(self) -> str:
        if self.ok:
            return f"{self.op} is right: every law holds in {self.tried} cases"
        lines = [f"  {law}\n    {case}: {what}" for law, case, what in self.failures]
        return "\n".join([f"{self.op} is WRONG:", *lines])

    def __repr__(self) -> str:
        return f"<Report: {self.verdict}, {self.op}: {len(self.failures)} laws broken in {self.tried} cases>"


def find(
    what: str, op: Primitive | Callable[..., Any] | str, domains: Mapping[Any, Any] | None = None
) -> tuple[Primitive, list[Call]]:
    """The primitive that is meant, by its record, its function (``tg.tanh``) or its name, and its example calls."""
    is_ours = getattr(op, "__module__", "").partition(".")[0] == __name__.partition(".")[0]
    name = op if isinstance(op, str) else getattr(op, "__name__", "") if is_ours else ""
    found = op if isinstance(op, Primitive) else REGISTRY.get(name)
    if found is None:
        raise ArgumentError(f"{what}({op!r}): is no primitive; give a Primitive, or the name of one, e.g. 'tanh'")
    if found.pullback is not None:
        raise ArgumentError(
            f"{what}({found.name}): is fused, and has no rules; compare it with its composite: "
            f"check_equivalent({found.name}, composite, *arrays)"
        )
    return found, calls(found, domains)


def check_primitive(
    op: Primitive | Callable[..., Any] | str, *, domains: Mapping[Any, Any] | None = None, seed: int | None = None
) -> Report:
    """Whether the record of a primitive obeys the laws of differentiation.

    Its rules are compared with complex step (with differences in decimals where its record says
    ``analytic=False``), forward mode and second order too; broadcasting, linearity, dtypes, shapes,
    writes to operands and shared memory are looked at. Operands come from the record's domain, or
    from ``domains``: ``{"x": (lo, hi)}``, by the operand's name in the kernel or its number; three times
    for each example call of the record, or once with a ``seed``.

    Raises: ArgumentError for a name that is no primitive's, or a record without example calls.

    >>> from tinygraph.testing.primitives import check_primitive
    >>> print(check_primitive("tanh"))
    tanh is right: every law holds in 6 cases
    """
    found, examples = find("check_primitive", op, domains)
    seeds = SEEDS if seed is None else [seed]
    cases = [call.draw(k) for call in examples for k in seeds]
    failures: dict[str, tuple[str, str, str]] = {}
    for name, holds in laws(found):
        for case in cases:
            what = _broken(holds, case)
            if what:
                failures[name] = (name, str(case), what)
                break
    return PrimitiveReport(found.name, list(failures.values()), len(cases))


def _broken(holds: Law, case: Case) -> str:
    """What is wrong, or nothing."""
    if holds in RULED.values() and not (case.is_real and case.is_ruled):
        return ""
    try:
        holds(case)
    except AssertionError as error:
        return " ".join(str(error).split())
    except Exception as error:  # a wrong rule may raise anything
        return f"{type(error).__name__}: {error}"
    return ""
