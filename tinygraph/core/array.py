"""Arrays at the door: what may become a Tensor's data, who may still write to it, words of other libraries."""

from __future__ import annotations

import weakref
from collections.abc import Container
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError, aval
from .foreign import is_foreign, received
from .memory import Loan

Data = Any  # an ndarray, or a Python number kept as written (weak, as NumPy's promotion has it)


def is_weak(data: object) -> bool:
    """True for an exact Python number; NumPy's own scalars are strong."""
    return type(data) in WEAK


WEAK = frozenset({bool, int, float, complex})

# Words of other libraries and ours, for errors.
KEYWORDS = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "ddof": "correction",
    "unbiased": "correction",
    "newshape": "shape",
    "a_min": "min",
    "a_max": "max",
}
ATTRIBUTES = {
    "assign": "p = tg.Parameter(data), which has p.assign(value)",
    "requires_grad_": "tg.tensor(data, requires_grad=True)",
    "view": "t.reshape(shape)",
    "permute": "t.transpose(axes)",
    "unsqueeze": "t.expand_dims(axis)",
    "expand": "t.broadcast_to(shape)",
    "dim": "t.ndim",
    "numel": "t.size",
    "cpu": "t.numpy()",
    "cuda": "t itself: arrays live in main memory",
    "to": "t.astype(dtype)",
    "float": "t.astype(np.float32)",
    "double": "t.astype(np.float64)",
    "half": "t.astype(np.float16)",
    "long": "t.astype(np.int64)",
    "clone": "t itself: a Tensor never changes",
    "copy": "t itself: a Tensor never changes",
    "mm": "t @ other",
    "zero_grad": "t.grad = None",
    "zero_": "t.grad = None to clear a gradient; a Tensor itself never changes",
    "fill": "tg.tensor(np.full(shape, value)): a Tensor never changes",
    "sort": "np.sort(t.numpy()): there is no gradient rule for sort",
}


def printed(array: np.ndarray[Any, Any]) -> list[str]:
    """The values, and the dtype where they do not show it."""
    dtype = [] if array.dtype in (np.float64, np.int64, np.bool_) else [f"dtype={array.dtype}"]
    return [np.array2string(array, separator=", ", threshold=100, prefix="tensor("), *dtype]


def remedy(name: str, functions: Container[str]) -> str:
    """What to write instead of an attribute that Tensors do not have."""
    if name in ATTRIBUTES:
        return f"write {ATTRIBUTES[name]}"
    return f"write tg.{name}(t)" if name in functions else "see help(tg.Tensor)"


def as_array(data: Any, dtype: Any, *, copy: bool) -> np.ndarray[Any, Any]:
    """Any data that a user may give as a numeric ndarray, or the error that says what to do."""
    if data is None:
        raise DTypeError("tensor(None): it holds no numbers; perhaps a function lacks its return")
    if isinstance(data, np.ma.MaskedArray):
        raise DTypeError("tensor(MaskedArray): the mask would be lost; write a.filled(value)")
    try:
        dtype = None if dtype is None else np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"tensor(dtype={dtype!r}): {error}; give a NumPy dtype, e.g. np.float32") from error
    data = received(data) if is_foreign(data) else data
    try:
        array = np.array(data, dtype=dtype, order="K") if copy else np.asarray(data, dtype=dtype)
    except (ValueError, TypeError) as error:
        if isinstance(data, (list, tuple)):
            raise ShapeError(
                f"tensor({type(data).__name__}): rows of different lengths, or items that are no numbers; "
                "give every row the same length"
            ) from error
        raise DTypeError(f"tensor({type(data).__name__}): {error}; give numbers or a numeric array") from error
    if array.dtype.kind not in "biufc":
        raise DTypeError(
            f"tensor({aval(array.dtype, array.shape)} from {type(data).__name__}): a Tensor holds numbers; "
            "convert it first, e.g. np.asarray(x, dtype=np.float64)"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_differentiable(array: np.ndarray[Any, Any], requires_grad: bool, name: str | None) -> None:
    if name is not None and not isinstance(name, str):
        raise ArgumentError(f"tensor(name={name!r}): a name is a string; write name={str(name)!r}")
    if requires_grad and array.dtype.kind != "f":
        label = f" {name}" if name else ""
        data = "x.real" if array.dtype.kind == "c" else "x, dtype=np.float64"
        raise DTypeError(
            f"tensor({aval(array.dtype, array.shape)}{label}): gradients are for real floats; write "
            f"tg.tensor({data}, requires_grad=True)"
        )


def read_only(data: Data) -> Data:
    """A view that its holder cannot write through; a Python number as it is."""
    if not isinstance(data, np.ndarray):
        return data
    view = data.view()
    view.flags.writeable = False
    return view


# NumPy refuses to resize an array that has a weak reference, even with refcheck=False.
_LOCKED: weakref.WeakValueDictionary[int, np.ndarray[Any, Any]] = weakref.WeakValueDictionary()


def lock(array: np.ndarray[Any, Any]) -> bool:
    """Make an array and the owner of its memory read-only; False if the owner is out of reach."""
    chain = [array]
    while isinstance(chain[-1].base, np.ndarray):
        chain.append(chain[-1].base)
    owner = chain[-1]
    if not (owner.base is None or isinstance(owner.base, (bytes, Loan))):
        return False
    for view in chain:
        view.flags.writeable = False
    _LOCKED[id(owner)] = owner
    return True
