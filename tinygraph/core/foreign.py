"""Classes of other libraries: their turn at an operator, and what their arrays hold, seen through DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, GradientError, aval

_MAIN_MEMORY = (1, 3, 11, 13)  # DLPack's numbers for memory that the processor reads


def is_foreign(data: Any) -> bool:
    """True for an array of another library that speaks DLPack."""
    return not isinstance(data, (np.ndarray, np.generic)) and hasattr(data, "__dlpack__")


# Foreign classes get their turn at an operator; these have none, so the op says what is wrong.
_NEVER = (type(None), str, bytes, dict, set)
_COMPARED = ("equal", "not_equal")


def takes(name: str, other: Any, operands: tuple[type, ...]) -> bool:
    """Whether an operator of ours takes this other side, or leaves the turn to its class."""
    if isinstance(other, _NEVER):
        return name not in _COMPARED
    return isinstance(other, operands) and not has_its_own(type(other), "__array_ufunc__")


def has_its_own(kind: type, protocol: str) -> bool:
    """Whether this is a subclass of ndarray that answers for itself, as arrays with units do."""
    return issubclass(kind, np.ndarray) and getattr(kind, protocol) is not getattr(np.ndarray, protocol)


def title(data: Any) -> str:
    """``torch.float32[2,3]``, or the name of its type."""
    try:
        return aval(data.dtype, tuple(data.shape))
    except (AttributeError, TypeError):
        return type(data).__name__


def received(data: Any) -> np.ndarray[Any, Any]:
    """The values of a foreign array where they lie; its owner may still write to them.

    Raises: GradientError for one that requires a gradient; DTypeError for what NumPy has no array for.
    """
    head = f"tensor({title(data)})"
    if getattr(data, "requires_grad", False) is True:
        raise GradientError(f"{head}: a copy would lose its gradient; give x.detach()")
    if hasattr(data, "is_neg") and data.is_neg():  # PyTorch exports such values before their sign is changed
        raise DTypeError(f"{head}: its sign is still to be changed; give x.resolve_neg()")
    try:
        device = tuple(map(int, data.__dlpack_device__()))
        if device[0] in _MAIN_MEMORY:
            return np.from_dlpack(data)
    except (BufferError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        what = str(error).partition("\n")[0].rstrip(".")
        raise DTypeError(
            f"{head}: {what}; make it a dense array of a dtype that NumPy has, on one device (np.asarray(x) gathers one)"
        ) from error
    raise DTypeError(f"{head}: it lies on device {device}; copy it to main memory, with x.cpu() or np.asarray(x)")
