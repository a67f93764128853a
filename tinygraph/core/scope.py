"""Scopes and recording modes: what surrounds an operation, kept in context variables."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from ..errors import ArgumentError

F = TypeVar("F", bound=Callable[..., Any])

# Flags of the recording mode. GRAD: record what needs a gradient. TRACE: record everything.
# ANOMALY: stop at the first nan or inf. OUTLINE: of values on a device, shape and dtype will do.
GRAD, TRACE, ANOMALY, OUTLINE = 1, 2, 4, 8

mode: ContextVar[int] = ContextVar("tinygraph_mode", default=GRAD)


class Recorder:
    """What a compiler wants to know of a run that it records: reads and writes of what outlives the run."""

    def assigned(self, parameter: Any, value: Any, dtype: Any) -> None:
        """A Parameter is about to get a new value, which becomes an array of that dtype."""

    def graded(self, leaf: Any, before: Any, reading: bool) -> None:
        """The ``.grad`` of a leaf, now ``before``, is about to be read, or replaced; if no Parameter's, by ``backward``."""

    def flagged(self, owner: Any, name: str) -> None:
        """A flag, ``_training`` of a module or ``_requires`` of a Parameter, is about to be read or set."""

    def made(self, parameter: Any) -> None:
        """A Parameter is being made, which will not outlive the run."""

    def drawing(self, rng: Any) -> None:
        """A generator is about to move on."""

    def drawn(self, draw: Any) -> None:
        """A generator has moved on."""

    def checked(self, value: Any, check: Callable[[Any], None]) -> None:
        """The values of a Tensor have been looked at by ``check``, which raises an error for wrong ones."""


recorder: ContextVar[Recorder | None] = ContextVar("tinygraph_recorder", default=None)


def tell_flag(owner: Any, name: str) -> None:
    listener = recorder.get()
    if listener is not None:
        listener.flagged(owner, name)


class Observed:
    """The ``.grad`` of a Parameter: the slot behind it, of which a recorder is told."""

    def __init__(self, slot: Any) -> None:
        self._slot = slot

    def __get__(self, leaf: Any, owner: Any = None) -> Any:
        found = self._slot.__get__(leaf, owner)
        listener = recorder.get()
        if listener is not None and leaf is not None:
            listener.graded(leaf, found, reading=True)
        return found

    def __set__(self, leaf: Any, value: Any) -> None:
        listener = recorder.get()
        if listener is not None:
            try:
                before = self._slot.__get__(leaf)
            except AttributeError:
                listener.made(leaf)
            else:
                listener.graded(leaf, before, reading=False)
        self._slot.__set__(leaf, value)


class Scope:
    """One entry of ``with tg.scope(name)``: a name, its parent, and the node it is the backward of."""

    __slots__ = ("name", "of", "parent")

    def __init__(self, name: str, parent: Scope | None = None, of: Any = None) -> None:
        self.name = name
        self.parent = parent
        self.of = of

    @property
    def path(self) -> str:
        """The names from the outermost scope to this one, joined by ``/``."""
        names, here = [], self
        while True:
            names.append(here.name)
            if here.parent is None:
                return "/".join(reversed(names))
            here = here.parent

    def __repr__(self) -> str:
        return f"<Scope {self.path}>"


scope_var: ContextVar[Scope | None] = ContextVar("tinygraph_scope", default=None)


# What this thread or task has entered, innermost first: (setting, value before, outer entry).
_entered: ContextVar[Any] = ContextVar("tinygraph_entered", default=None)


class Setting:
    """A context manager that sets a context variable and restores the old value by value.

    As a decorator it also serves generators and coroutines: there it is entered for every step,
    so that nothing leaks to whoever runs between two steps.
    """

    def __init__(self, var: ContextVar[Any], change: Callable[[Any], Any]) -> None:
        self._var = var
        self._change = change

    def __enter__(self) -> Any:
        previous = self._var.get()
        value = self._change(previous)
        self._var.set(value)
        _entered.set((self, previous, _entered.get()))
        return value

    def __exit__(self, *exc_info: object) -> None:
        newer, entry = [], _entered.get()
        if entry is not None and entry[0] is self:  # nearly always
            self._var.set(entry[1])
            _entered.set(entry[2])
            return
        while entry is not None and entry[0] is not self:
            newer.append(entry)
            entry = entry[2]
        if entry is None:  # entered in another thread or task: nothing was changed here
            return
        # If the same variable was set again since, by a generator that is still suspended, it is that
        # one's business to bring back the old value.
        before, rest = entry[1], entry[2]
        pending = True
        for setting, previous, _ in reversed(newer):
            inherits = pending and setting._var is self._var
            rest = (setting, before if inherits else previous, rest)
            pending = pending and not inherits
        if pending:
            self._var.set(before)
        _entered.set(rest)

    def _fresh(self) -> Setting:
        return Setting(self._var, self._change)

    def __call__(self, fn: F) -> F:
        if not callable(fn):
            raise ArgumentError(
                f"decorator({type(fn).__name__}): a setting decorates a function; write @tg.no_grad() above a def"
            )
        return _decorate(self._fresh, fn)  # type: ignore[no-any-return]


def _decorate(fresh: Callable[[], Setting], fn: Any) -> Any:
    if inspect.isasyncgenfunction(fn):

        @functools.wraps(fn)
        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            inner = fn(*args, **kwargs)
            step = inner.asend(None)
            try:
                while True:
                    try:
                        value = await _Steps(step.__await__(), fresh)
                    except StopAsyncIteration:
                        return
                    try:
                        step = inner.asend((yield value))
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        step = inner.athrow(error)
            finally:
                await _Steps(inner.aclose().__await__(), fresh)

        return async_generator
    if inspect.isgeneratorfunction(fn):

        @functools.wraps(fn)
        def generator(*args: Any, **kwargs: Any) -> Any:
            return (yield from _Steps(fn(*args, **kwargs), fresh))

        return generator
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await _Steps(fn(*args, **kwargs).__await__(), fresh)

        return coroutine

    @functools.wraps(fn)
    def function(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return fn(*args, **kwargs)

    return function


class _Steps:
    """A generator whose every step runs inside a fresh setting."""

    def __init__(self, inner: Any, fresh: Callable[[], Setting]) -> None:
        self._inner = inner
        self._fresh = fresh

    def __iter__(self) -> _Steps:
        return self

    __await__ = __iter__

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        with self._fresh():
            return next(self._inner) if value is None else self._inner.send(value)

    def throw(self, *exc: Any) -> Any:
        with self._fresh():
            return self._inner.throw(*exc)

    def close(self) -> None:
        with self._fresh():
            self._inner.close()


def scope(name: str) -> Setting:
    """Name the part of a computation that is recorded inside: ``with tg.scope("variance"): …``.

    Every entry is a scope of its own, nested in the one around it. Scopes become boxes in
    pictures, comments in listings and names in exported graphs.

    Raises: ArgumentError if the name is not a string.

    >>> import tinygraph as tg
    >>> with tg.scope("square"):
    ...     y = tg.tensor(3.0, requires_grad=True) ** 2
    >>> y.node.scope.path
    'square'
    """
    if not isinstance(name, str):
        raise ArgumentError(f"scope({name!r}): a scope is named by a string; write scope({str(name)!r})")
    return Setting(scope_var, lambda parent: Scope(name, parent))


def flags(add: int = 0, remove: int = 0) -> Setting:
    """Switch recording flags on and off for a while."""
    return Setting(mode, lambda bits: (bits | add) & ~remove)


def no_grad() -> Setting:
    """Record nothing inside: results do not require a gradient. A context manager and a decorator.

    Decorating a generator or a coroutine enters it for each step; a plain ``with`` around a
    ``yield`` lasts until the generator resumes, as with every context manager.

    >>> import tinygraph as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """
    return flags(remove=GRAD)


def debug_anomaly() -> Setting:
    """Stop at the first operation that makes nan or inf of finite operands, forward or backward.

    Raises inside: AnomalyError with the op, its operands and the user's file and line.

    >>> import numpy as np, tinygraph as tg
    >>> with np.errstate(all="ignore"), tg.debug_anomaly():
    ...     tg.log(tg.tensor(0.0, name="p"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tinygraph.errors.AnomalyError: log(float64[] p): made -inf of finite operands ...
    """
    return flags(add=ANOMALY)
