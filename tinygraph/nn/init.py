"""Initial values: functions of a shape and a generator; and the checks of what a layer is made with.

The fans of a weight [out, in, *window] are fan_in = in · window and fan_out = out · window.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import describe
from ..errors import ArgumentError, DTypeError, ShapeError

__all__ = ["he", "normal", "ones", "xavier", "zeros"]

Array = np.ndarray[Any, Any]
Rng = np.random.Generator | int | None
Shape = tuple[int, ...]
Initial = Callable[..., Array]  # (shape, rng, dtype) -> array


def normal(scale: float) -> Initial:
    """A function of (shape, rng, dtype) that draws N(0, scale²).

    Raises: ArgumentError if ``scale`` is not a finite number of 0 or more.

    >>> import tinygraph as tg
    >>> tg.nn.init.normal(0.01)((2, 3), 0).shape
    (2, 3)
    """
    if isinstance(scale, bool) or not isinstance(scale, (int, float, np.number)) or not 0 <= scale < math.inf:
        raise ArgumentError(f"init.normal({scale!r}): a scale is a number of 0 or more; give e.g. 0.01")

    def draw(shape: Shape, rng: Rng = None, dtype: Any = np.float64) -> Array:
        return _normal("init.normal", shape, rng, dtype, float(scale))

    return draw


def xavier(shape: Shape, rng: Rng = None, dtype: Any = np.float64) -> Array:
    """N(0, 2 / (fan_in + fan_out)): keeps the variance of activations and of gradients, for tanh and sigmoid.

    With as many outputs as inputs this is the 1 / fan_in that is also called by this name.

    Raises: ShapeError for a shape without two axes. Source: Glorot and Bengio, Understanding the difficulty of training
    deep feedforward neural networks, 2010, equation 12.

    >>> import tinygraph as tg
    >>> round(float(tg.nn.init.xavier((200, 300), 0).std() * (500 / 2) ** 0.5), 1)
    1.0
    """
    fan_in, fan_out = fans("init.xavier", shape)
    return _normal("init.xavier", shape, rng, dtype, math.sqrt(2 / max(1, fan_in + fan_out)))


def he(shape: Shape, rng: Rng = None, dtype: Any = np.float64) -> Array:
    """N(0, 2 / fan_in): keeps the variance through layers followed by ReLU.

    Raises: ShapeError for a shape without two axes. Source: He, Zhang, Ren and Sun, Delving Deep into Rectifiers, 2015,
    equation 10.

    >>> import tinygraph as tg
    >>> round(float(tg.nn.init.he((200, 300), 0).std() * (300 / 2) ** 0.5), 1)
    1.0
    """
    fan_in, _ = fans("init.he", shape)
    return _normal("init.he", shape, rng, dtype, math.sqrt(2 / max(1, fan_in)))


def zeros(shape: Shape, rng: Rng = None, dtype: Any = np.float64) -> Array:
    """All 0; the generator is not used.

    >>> import tinygraph as tg
    >>> tg.nn.init.zeros((2,))
    array([0., 0.])
    """
    return np.zeros(shape, float_dtype("init.zeros", dtype))


def ones(shape: Shape, rng: Rng = None, dtype: Any = np.float64) -> Array:
    """All 1; the generator is not used.

    >>> import tinygraph as tg
    >>> tg.nn.init.ones((2,))
    array([1., 1.])
    """
    return np.ones(shape, float_dtype("init.ones", dtype))


def _normal(op: str, shape: Shape, rng: Rng, dtype: Any, scale: float) -> Array:
    kind = float_dtype(op, dtype)
    return (scale * generator(op, rng).standard_normal(shape)).astype(kind)


def fans(op: str, shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight [out, in, *window]."""
    if len(shape) < 2:
        raise ShapeError(f"{op}({shape}): a weight has two axes or more, [out, in, …]; use normal(scale) for a vector")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


# -- what a layer is made with -----------------------------------------------------------------------


def weight(op: str, initial: Any, shape: Shape, rng: Any, dtype: np.dtype[Any]) -> Array:
    """What ``initial`` makes of a shape, a generator and a dtype, checked."""
    if not callable(initial):
        raise ArgumentError(f"{op}(initial={initial!r}): no function; give nn.init.he, or nn.init.normal(0.01)")
    array = np.asarray(initial(shape, generator(op, rng), dtype), dtype)
    if array.shape != shape:
        raise ShapeError(
            f"{op}(initial): it made an array of shape {array.shape}; return one of the shape given, {shape}"
        )
    return array


def generator(op: str, rng: Any) -> np.random.Generator:
    """A Generator as it is, a new one from a seed, or for None one with fresh entropy."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None or (isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0):
        return np.random.default_rng(rng)
    raise ArgumentError(
        f"{op}(rng={describe(rng)}): no generator; give np.random.default_rng(seed), a seed of 0 or more, or None"
    )


def float_dtype(op: str, dtype: Any) -> np.dtype[Any]:
    """A dtype of real floats."""
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"{op}(dtype={dtype!r}): {error}; give a NumPy dtype, e.g. np.float32") from error
    if found.kind != "f":
        raise DTypeError(f"{op}(dtype={found}): layers compute with real floats; give np.float32 or np.float64")
    return found


def count(op: str, name: str, value: Any, least: int = 1) -> int:
    """A whole number of ``least`` or more."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if number < least:
        raise ArgumentError(f"{op}({name}={value!r}): a whole number of {least} or more is due; give e.g. {name}=3")
    return number


def pair(op: str, name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """One whole number for both axes of an image, or two."""
    values = value if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ArgumentError(f"{op}({name}={value!r}): an image has two axes; give one number, or (height, width)")
    first, second = (count(op, name, v, least) for v in values)
    return first, second
