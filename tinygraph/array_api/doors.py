"""How the standard's functions meet ours: as recorded operations, or as NumPy's on constants."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..core.primitive import call
from ..core.scope import GRAD, mode
from ..core.tensor import Tensor, make
from ..errors import ArgumentError, GradientError
from ..numpy_functions import FUNCTIONS, in_our_words, ours

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)


def recorded(name: str) -> Callable[..., Tensor]:
    """Our primitive or composite of that name."""
    return ours(name)


def numpys(name: str) -> Callable[..., Tensor]:
    """Our adapter of NumPy's function of that name."""
    return FUNCTIONS[getattr(np, name)]


def wrap(value: Any) -> Tensor:
    """A fresh NumPy result as a Tensor."""
    return make(np.asarray(value))


def values(x: Any) -> Any:
    """What a question is asked of: its answer, an index or a boolean, has no gradient."""
    return x.numpy() if isinstance(x, Tensor) else x


def constants(name: str, *operands: Any) -> list[Any]:
    """The values of operands that need no gradient, since ``name`` has no rule."""
    if mode.get() & GRAD and any(isinstance(x, Tensor) and x.requires_grad for x in operands):
        raise GradientError(f"{call(name, operands)}: no gradient rule; leave the graph with x.detach()")
    return [values(x) for x in operands]


def by_numpy(name: str, theirs: Function) -> Function:
    """A function of constants, computed by NumPy."""
    return lambda *operands: wrap(theirs(*constants(name, *operands)))


def check_device(name: str, device: Any) -> None:
    if device not in (None, "cpu"):
        raise ArgumentError(f"{name}(device={device!r}): arrays live in main memory; leave it out, or write 'cpu'")


# -- the names of the standard --------------------------------------------------------------------

NAMES: dict[str, Any] = {}


def enter(function: F) -> F:
    """Enter a function by its name, as it is."""
    NAMES[function.__name__] = function
    return function


def standard(function: F) -> F:
    """Enter a function by its name; what NumPy says to a wrong call is said in our words."""

    @functools.wraps(function)
    def entered(*args: Any, **kwargs: Any) -> Any:
        return in_our_words(function.__name__, function, args, kwargs)

    return enter(entered)  # type: ignore[return-value]


def named(name: str, function: Function) -> Function:
    """Enter a function that comes from a table."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"``{name}`` of the array API standard."
    return standard(function)


def unary(name: str, fn: Function) -> Function:
    """Enter ``fn`` with the standard's signature for one array."""

    def function(x: Any, /) -> Any:
        return fn(x)

    return named(name, function)


def binary(name: str, fn: Function) -> Function:
    """Enter ``fn`` with the standard's signature for two arrays, one of which may be a number."""

    def function(x1: Any, x2: Any, /) -> Any:
        return fn(x1, x2)

    return named(name, function)
