"""Learning rates that change: callables of the number of steps already taken.

A schedule is called with t = 0 before the first step. Given a number it returns a float; given a Tensor, a
Tensor, so that it stays right inside a compiled step. Any function of t will do in its place, if it is written
with Tensor operations; one that branches on t runs, but cannot be compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core.convert import operand
from ..core.tensor import Tensor
from ..errors import ArgumentError
from ..ops.elementwise import cos, floor, minimum
from .numbers import count, number

__all__ = ["Constant", "Cosine", "Exponential", "Schedule", "StepDecay", "WarmUp"]


class Schedule:
    """A learning rate as a function of the number of steps taken; subclasses define ``at(t)`` on a Tensor.

    >>> import tinygraph as tg
    >>> class Halving(tg.optim.Schedule):
    ...     def at(self, t):
    ...         return 0.5 ** t
    >>> Halving()(3)
    0.125
    """

    def at(self, t: Tensor) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.at(t): write the rate after t steps")

    def __call__(self, t: Any) -> Any:
        if isinstance(t, Tensor):
            return self.at(t)
        return float(self.at(operand(number(type(self).__name__, "t", t))))


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate at every step: lr(t) = lr.

    >>> import tinygraph as tg
    >>> tg.optim.Constant(0.1)(1000)
    0.1
    """

    lr: float

    def __post_init__(self) -> None:
        number("Constant", "lr", self.lr)

    def at(self, t: Tensor) -> Tensor:
        return t * 0.0 + self.lr


@dataclass(frozen=True)
class _Decay(Schedule):
    lr: float
    factor: float
    steps: int

    def __post_init__(self) -> None:
        op = type(self).__name__
        number(op, "lr", self.lr)
        number(op, "factor", self.factor)
        count(op, "steps", self.steps)


@dataclass(frozen=True)
class Exponential(_Decay):
    """A rate that shrinks by the same factor over every ``steps`` steps: lr(t) = lr · factor^(t / steps).

    >>> import tinygraph as tg
    >>> rate = tg.optim.Exponential(0.1, factor=0.5, steps=10)
    >>> rate(0), rate(10), rate(20)
    (0.1, 0.05, 0.025)
    """

    steps: int = 1

    def at(self, t: Tensor) -> Any:
        return self.lr * self.factor ** (t / self.steps)


@dataclass(frozen=True)
class StepDecay(_Decay):
    """A rate that drops once in ``steps`` steps: lr(t) = lr · factor^⌊t / steps⌋.

    >>> import tinygraph as tg
    >>> rate = tg.optim.StepDecay(1.0, factor=0.5, steps=10)
    >>> rate(9), rate(10), rate(29)
    (1.0, 0.5, 0.25)
    """

    def at(self, t: Tensor) -> Any:
        return self.lr * self.factor ** floor(t / self.steps)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from ``lr`` down to ``end``: lr(t) = end + (lr - end) · (1 + cos(π · min(t / steps, 1))) / 2.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), equation 5,
    without restarts.

    >>> import tinygraph as tg
    >>> rate = tg.optim.Cosine(1.0, steps=100)
    >>> rate(0), round(rate(50), 12), rate(100), rate(1000)
    (1.0, 0.5, 0.0, 0.0)
    """

    lr: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        number("Cosine", "lr", self.lr)
        count("Cosine", "steps", self.steps)
        number("Cosine", "end", self.end)

    def at(self, t: Tensor) -> Any:
        return self.end + (self.lr - self.end) * ((1 + cos(math.pi * minimum(t / self.steps, 1.0))) / 2)


@dataclass(frozen=True)
class WarmUp(Schedule):
    """Another schedule, or a number, reached along a ramp: lr(t) = min((t + 1) / steps, 1) · then(t).

    ``then`` counts its steps from the very first one, the ramp's included.
    Source: Goyal et al., "Accurate, Large Minibatch SGD" (2017), section 2.2.

    >>> import tinygraph as tg
    >>> rate = tg.optim.WarmUp(0.5, steps=4)
    >>> [rate(t) for t in range(5)]
    [0.125, 0.25, 0.375, 0.5, 0.5]
    """

    then: float | Callable[[Any], Any]
    steps: int

    def __post_init__(self) -> None:
        if not callable(self.then):
            number("WarmUp", "then", self.then)
        count("WarmUp", "steps", self.steps)

    def at(self, t: Tensor) -> Any:
        rate = self.then(t) if callable(self.then) else self.then
        if isinstance(rate, str) or rate is None:
            raise ArgumentError(f"WarmUp(then): the schedule returned {rate!r}; return a number or a Tensor")
        return minimum((t + 1) / self.steps, 1.0) * rate
