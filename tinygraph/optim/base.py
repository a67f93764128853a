"""What all optimisers share: their parameters, their state, and how a step is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ..core.convert import operand
from ..core.scope import TRACE, mode, no_grad, scope
from ..core.tensor import Parameter, Tensor, describe
from ..errors import ArgumentError, DTypeError, ShapeError, aval
from .numbers import number

Rate: TypeAlias = float | Callable[[Any], Any]


class Optimizer:
    """Base of the optimisers; a subclass names its per-parameter ``slots`` and writes ``update``.

    ``parameters`` are float Parameters, each once; ``lr`` is a number of 0 or more, or a schedule: a
    callable of the number of steps taken. A parameter whose ``grad`` is None is left out of a step.

    Float32 parameters stay float32; float16 ones are updated in float32, which their state is kept in, and
    rounded at the end. ``lr`` and the count of steps are 0-d Parameters, so that a compiled step follows
    them; the other numbers (momentum, betas, …) are constants in it.

    Raises: ArgumentError for no parameters, for something else than a Parameter, for the same one twice,
    and for a number that is nan or out of its range; DTypeError for a Parameter that is not float.

    >>> import numpy as np, tinygraph as tg
    >>> class Sign(tg.optim.Optimizer):
    ...     def update(self, p, g, rate, state):
    ...         return p - rate * tg.sign(g), {}
    >>> w = tg.Parameter(np.array([1.0, 2.0]))
    >>> optimizer = Sign([w], lr=0.5)
    >>> tg.sum(w * w).backward(); optimizer.step(); w.tolist()
    [0.5, 1.5]
    """

    slots: tuple[str, ...] = ()  # buffers like the parameter
    counts: ClassVar[bool] = False  # whether each parameter's own updates are counted, as state["count"]
    decoupled: ClassVar[bool] = False  # weight decay acts on the parameter, and not on its gradient

    def __init__(self, parameters: Iterable[Parameter], lr: Rate, *, weight_decay: float = 0.0) -> None:
        self.parameters = self._checked(parameters)
        self.weight_decay = self._number("weight_decay", weight_decay)
        self.schedule = lr if callable(lr) else None
        self._shared = {"steps": _buffer(0)}
        if self.schedule is None:
            self._shared["lr"] = _buffer(self._number("lr", lr))
        self._own = [self._buffers(p) for p in self.parameters]

    def _checked(self, parameters: Any) -> tuple[Parameter, ...]:
        head = type(self).__name__
        if isinstance(parameters, Tensor):
            raise ArgumentError(f"{head}({describe(parameters)}): give a list of Parameters; write [parameter]")
        if hasattr(parameters, "parameters") or not isinstance(parameters, Iterable):
            raise ArgumentError(f"{head}({describe(parameters)}): no list of Parameters; write model.parameters()")
        listed = tuple(parameters)
        if not listed:
            raise ArgumentError(f"{head}([]): there is nothing to optimise; give at least one Parameter")
        for i, p in enumerate(listed):
            if not isinstance(p, Parameter):
                raise ArgumentError(
                    f"{head}(parameters): number {i}, {describe(p)}, is no Parameter; give model.parameters(), or "
                    "make it with tg.Parameter"
                )
            if p.dtype.kind != "f":
                raise DTypeError(f"{head}(parameters): number {i}, {describe(p)}, is not float; leave it out")
        places: dict[Parameter, int] = {}
        for i, p in enumerate(listed):
            if p in places:
                raise ArgumentError(
                    f"{head}(parameters): {describe(p)} stands twice, as number {places[p]} and {i}; give it once"
                )
            places[p] = i
        return listed

    def _number(self, name: str, value: Any, below: float = math.inf) -> float:
        return number(type(self).__name__, name, value, below=below)

    def _buffers(self, p: Parameter) -> dict[str, Parameter]:
        own = {slot: _buffer(np.zeros(p.shape, _wide(p))) for slot in self.slots}
        return own | ({"count": _buffer(0)} if self.counts else {})

    # -- the learning rate ---------------------------------------------------------------------

    @property
    def lr(self) -> float:
        """The rate of the next step. Settable where it is a number and no schedule."""
        return float(self._rate())

    @lr.setter
    def lr(self, value: float) -> None:
        if self.schedule is not None:
            raise ArgumentError(
                f"{type(self).__name__}.lr = {value!r}: the rate follows {self.schedule!r}; make the optimiser with a number"
            )
        self._shared["lr"].assign(self._number("lr", value))

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return int(self._shared["steps"])

    def _rate(self) -> Tensor:
        if self.schedule is None:
            return self._shared["lr"]
        rate = operand(self.schedule(self._shared["steps"]))
        if rate.shape != () or rate.dtype.kind not in "fiu":
            raise ArgumentError(f"{self.schedule!r}: a schedule returns one number, not {describe(rate)}")
        if not mode.get() & TRACE:
            number(type(self).__name__, f"lr at step {self.steps}", rate.item())
        return rate

    # -- a step --------------------------------------------------------------------------------

    @no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient: all new values are computed, then assigned.

        Raises: ShapeError for a gradient of another shape; then nothing has changed.
        """
        with scope(type(self).__name__):
            rate = self._rate()
            updates = [(self._shared["steps"], self._shared["steps"] + 1)]
            for p, own in zip(self.parameters, self._own, strict=True):
                if p.grad is not None:
                    updates += self._updates(p, operand(p.grad), rate, own)
        for buffer, value in updates:
            buffer.assign(value)

    def _updates(
        self, p: Parameter, grad: Tensor, rate: Tensor, own: dict[str, Parameter]
    ) -> list[tuple[Parameter, Tensor]]:
        if grad.shape != p.shape:
            raise ShapeError(
                f"{type(self).__name__}.step(): {describe(p)} has a gradient of {aval(grad.dtype, grad.shape)}; "
                f"give it the shape {p.shape}"
            )
        wide = _wide(p)
        old, g, rate = (cast(t, wide) for t in (p, grad, rate))
        if self.weight_decay and self.decoupled:
            old = old * (1 - rate * self.weight_decay)
        elif self.weight_decay:
            g = g + self.weight_decay * old
        new, state = self.update(old, g, rate, own)
        pairs = [(p, new), *((own[slot], value) for slot, value in state.items())]
        return [(buffer, cast(value, buffer.dtype)) for buffer, value in pairs]

    def update(
        self, p: Tensor, g: Tensor, rate: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The new value of one parameter and those of its buffers, by Tensor operations."""
        raise NotImplementedError(f"{type(self).__name__}.update(p, g, rate, state): write the rule")

    def zero_grad(self) -> None:
        """Forget the gradients: ``grad`` is None afterwards."""
        for p in self.parameters:
            p.grad = None

    # -- its state -----------------------------------------------------------------------------

    def _state(self) -> dict[str, Parameter]:
        own = {f"{slot}.{i}": buffer for i, slots in enumerate(self._own) for slot, buffer in slots.items()}
        return self._shared | own

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """All that a step depends on beside the parameters, as read-only arrays by name.

        ``steps``, ``lr`` (unless a schedule gives it), and each slot of each parameter, by its place in
        the list: ``momentum.0``. What the optimiser is made with (betas, schedule…) is not among them.

        >>> import numpy as np, tinygraph as tg
        >>> sorted(tg.optim.SGD([tg.Parameter(np.ones(2))], lr=0.1, momentum=0.9).state_dict())
        ['lr', 'momentum.0', 'steps']
        """
        return {name: buffer.numpy() for name, buffer in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state_dict``; everything is checked before anything is assigned.

        Raises: ArgumentError for missing or unknown names and for counts below 0 or a bad ``lr``;
        ShapeError and DTypeError for an array that is not like the one that it replaces.
        """
        head, mine = f"{type(self).__name__}.load_state_dict", self._state()
        missing, unknown = sorted(set(mine) - set(state)), sorted(map(str, set(state) - set(mine)))
        if missing or unknown:
            raise ArgumentError(
                f"{head}: missing {_some(missing)}; unknown {_some(unknown)}; load the state of an optimiser of the "
                "same kind over the same parameters"
            )
        arrays = {name: np.asarray(state[name]) for name in mine}
        for name, array in arrays.items():
            buffer = mine[name]
            if array.shape != buffer.shape:
                raise ShapeError(f"{head}: {name} has shape {array.shape}; it must be {buffer.shape}")
            if array.dtype != buffer.dtype:
                raise DTypeError(f"{head}: {name} is {array.dtype}; it must be {buffer.dtype}")
            if array.dtype.kind == "i" and array < 0:
                raise ArgumentError(f"{head}: {name} is {array}; a count is 0 or more")
        if "lr" in arrays:
            self._number("lr", arrays["lr"][()])
        for name, array in arrays.items():
            mine[name].assign(array)

    def __repr__(self) -> str:
        rate = f"lr={self.lr:g}" if self.schedule is None else f"lr={self.schedule!r}"
        return f"{type(self).__name__}({len(self.parameters)} parameters, {rate}, steps={self.steps})"


def _buffer(value: Any) -> Parameter:
    return Parameter(value, requires_grad=False)


def _wide(p: Tensor) -> np.dtype[Any]:
    """What a parameter is updated in: its own dtype, but not float16, where squares of gradients vanish."""
    return np.promote_types(p.dtype, np.float32)


def cast(t: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """The Tensor in this dtype, itself where it has it."""
    return t if t.dtype == dtype else t.astype(dtype)


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "nothing"
