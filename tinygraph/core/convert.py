"""The doors through which data becomes a Tensor: by copy, by lending, or as an operand."""

from __future__ import annotations

from typing import Any

import numpy as np

from .array import as_array, check_differentiable, is_weak, lock
from .tensor import Tensor, make, plain_data


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> Tensor:
    """A new leaf with a copy of ``data``: numbers, nested lists, or arrays, also of PyTorch and JAX.

    Raises: ShapeError for ragged lists; DTypeError for objects, strings, and for integers, booleans
    or complex numbers with ``requires_grad``; GradientError for a Tensor whose gradient would be lost.

    >>> import tinygraph as tg
    >>> tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    tensor([1., 2.], requires_grad=True, name='x')
    """
    return Tensor(data, dtype=dtype, requires_grad=requires_grad, name=name)


def asarray(data: Any, *, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> Tensor:
    """A leaf that shares the memory of ``data`` where it can: the one zero-copy door.

    The array that owns the memory becomes read-only, so that no later write can falsify a gradient.
    Only a view made *before* this call can still write: keep none. What cannot be locked is copied:
    arrays of PyTorch and JAX, which come by DLPack, and bytearrays. A Tensor is returned as it is.

    >>> import numpy as np, tinygraph as tg
    >>> a = np.zeros(3); t = tg.asarray(a)
    >>> a.flags.writeable
    False
    """
    plain = dtype is None and name is None and not requires_grad
    if isinstance(data, Tensor):
        return data if plain else tensor(data, dtype=dtype, requires_grad=requires_grad, name=name)
    array = as_array(plain_data(data), dtype, copy=False)
    check_differentiable(array, requires_grad, name)
    leaf = make(array.view() if lock(array) else array.copy(), bool(requires_grad))
    leaf.name = name
    return leaf


def operand(value: Any) -> Tensor:
    """What an op is given, as a Tensor: Python numbers stay weak, arrays become constants."""
    if isinstance(value, Tensor):
        return value
    if is_weak(value):
        return make(value)
    return make(as_array(plain_data(value), None, copy=True))


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a Tensor, an array, a number or a nested list."""
    shape = getattr(value, "shape", None)
    return operand(value).shape if shape is None else shape


def dtype_of(value: Any) -> np.dtype[Any]:
    """The dtype of a Tensor, an array, a number or a nested list."""
    dtype = getattr(value, "dtype", None)
    return dtype if isinstance(dtype, np.dtype) else operand(value).dtype
