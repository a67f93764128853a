"""The table of functions (NEP 18), and what its adapters have in common: refusals, casts, plain arguments."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..core.array import is_weak
from ..core.convert import dtype_of, operand
from ..core.primitive import REGISTRY, call, misuse, public
from ..core.tensor import Tensor, describe
from ..errors import AxisError, DTypeError, IndexingError, ShapeError, TinygraphError
from ..functional import COMPOSITES

F = TypeVar("F", bound=Callable[..., Any])

FUNCTIONS: dict[Any, Callable[..., Any]] = {}

# Arguments that are refused unless they say what NumPy does anyway: (that, what they do, what to write).
_UNSUPPORTED = ("is not supported", "leave it out, or leave the graph with x.numpy()")
_REFUSED = {
    "out": (None, "writes in place, and a Tensor never changes", "use the result"),
    "where": (True, "leaves elements out", "choose with tg.where"),
    "casting": ("same_kind", "is not supported", "cast with x.astype(dtype)"),
    "order": ("K", *_UNSUPPORTED),
    "device": ("cpu", "is no place for a Tensor", "leave it out, or write 'cpu'"),
    "subok": (True, *_UNSUPPORTED),
}

_KINDS: dict[type[Exception], type[TinygraphError]] = {
    np.exceptions.AxisError: AxisError, IndexError: IndexingError, OverflowError: DTypeError, Exception: ShapeError,
}  # fmt: skip


def implements(*names: str) -> Callable[[F], F]:
    """Enter an adapter for NumPy's functions of these names; this NumPy may lack some of them."""

    def enter(fn: F) -> F:
        for name in names:
            try:
                FUNCTIONS[operator.attrgetter(name)(np)] = fn
            except AttributeError:
                continue
        return fn

    return enter


@functools.cache
def ours(name: str) -> Callable[..., Any]:
    """The public function of a primitive or a composite."""
    return COMPOSITES[name] if name in COMPOSITES else public(REGISTRY[name])


def refusal(name: str, operands: Iterable[Any], why: str, mend: str) -> DTypeError:
    return DTypeError(f"{call(name, list(operands))}: {why}; {mend}")


def refuse(name: str, operands: Iterable[Any], **given: Any) -> None:
    """Raise for the first argument that asks for something that Tensors don't do."""
    for word, value in given.items():
        usual, why, mend = _REFUSED.get(word, (None, *_UNSUPPORTED))
        default = isinstance(value, (bool, np.bool_, str)) and value == usual
        if not (default or value is None or value is np._NoValue):
            raise refusal(name, operands, f"{word}= {why}", mend)


def in_our_words(name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What the function returns; what NumPy says to a wrong call becomes an error of ours."""
    try:
        return function(*args, **kwargs)
    except TinygraphError:
        raise
    except TypeError as error:
        raise misuse(name, function, args, kwargs, error) from error
    except (ValueError, IndexError, OverflowError, ZeroDivisionError) as error:
        kind = next(ours for theirs, ours in _KINDS.items() if isinstance(error, theirs))
        raise kind(f"{call(name, args, kwargs)}: {str(error).strip('. ')}; see its help()") from error


def refuse_complex(name: str, *operands: Any) -> None:
    if any(dtype_of(x).kind == "c" for x in operands):
        raise refusal(name, operands, "complex numbers have no gradient rule", "leave the graph with x.numpy()")


def cast(name: str, operands: Sequence[Any], dtype: Any, compares: bool = False) -> Sequence[Any]:
    """The operands in the dtype that NumPy is told to compute in; Python numbers stay weak."""
    try:
        dtype = np.dtype(dtype)
    except TypeError as error:
        raise refusal(name, operands, str(error), "give a NumPy dtype, e.g. np.float32") from error
    if compares and dtype.kind == "b":  # a ufunc's dtype= is then that of its result
        return operands
    for x in operands:
        if not is_weak(x) and not np.can_cast(dtype_of(x), dtype, "same_kind"):
            raise refusal(
                name, operands, f"{dtype_of(x)} is not cast to {dtype} unasked", "write x.astype(dtype) first"
            )
    return [x if is_weak(x) or dtype_of(x) == dtype else ours("astype")(x, dtype) for x in operands]


def reduced(name: str, a: Any, axis: Any, dtype: Any, keepdims: Any) -> Tensor:
    """A reduction of ``a`` cast first: NumPy computes in ``dtype``, and casts anything to it."""
    x = operand(a) if dtype is None else ours("astype")(a, dtype)
    out: Tensor = ours(name)(x, axis=axis, keepdims=keepdims is not np._NoValue and keepdims)
    return out if dtype is None or out.dtype == dtype else out.astype(dtype)


def known(name: str, operands: Iterable[Any], value: Any) -> Any:
    """Counts and places that NumPy has to know before it computes, as integers or a mask."""
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "iub" and array.size:
        raise refusal(name, operands, f"{describe(value)} says how many or where", "give integers")
    return array.astype(int) if array.dtype == np.uint64 or not array.size else array
