"""NumPy's protocols on Tensors: ufuncs by a closed table, functions by another, and a strict way out of the graph."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .core.foreign import has_its_own
from .core.scope import GRAD, mode
from .core.tensor import OPERANDS, OPS, Tensor, describe
from .errors import ArgumentError, GradientError
from .numpy_functions import FUNCTIONS, UFUNCS, cast, in_our_words, reduced, refusal, refuse

_REDUCTIONS = {np.add: "sum", np.multiply: "prod", np.maximum: "max", np.minimum: "min"}
_WRITERS = {np.copyto, np.fill_diagonal, np.place, np.put, np.put_along_axis, np.putmask}
_NO_RULE = ("no gradient rule", "leave the graph with x.numpy()")
_NO_WRITE = (
    "writes in place, and a Tensor never changes",
    "write tg.where(mask, v, x), tg.set_at(x, k, v) or tg.add_at(x, k, v)",
)


def _taken(kind: type, protocol: str) -> bool:
    """Whether we take operands of this type; a subclass of ndarray with a protocol of its own has its turn."""
    return issubclass(kind, OPERANDS) and not has_its_own(kind, protocol)


def array_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """NEP 13: a ufunc on Tensors is ours, or a TypeError that says what to do."""
    if not all(_taken(type(x), "__array_ufunc__") for x in (*inputs, *kwargs.get("out", ()))):
        return NotImplemented
    # SciPy's ufuncs come here too, so the prefix is for NumPy's own.
    name = "np." * (getattr(np, ufunc.__name__, None) is ufunc) + ufunc.__name__
    name = name if method == "__call__" else f"{name}.{method}"
    reduces = method == "reduce" and ufunc in _REDUCTIONS
    if not reduces and (method != "__call__" or ufunc not in UFUNCS):
        raise refusal(name, inputs, *(_NO_WRITE if method == "at" else _NO_RULE))
    dtype = kwargs.pop("dtype", None)
    if reduces:
        axis, keepdims = kwargs.pop("axis", 0), kwargs.pop("keepdims", False)
        refuse(name, inputs, **kwargs)
        return reduced(_REDUCTIONS[ufunc], inputs[0], axis, dtype, keepdims)
    refuse(name, inputs, **kwargs)
    out = UFUNCS[ufunc](*(inputs if dtype is None else cast(name, inputs, dtype, compares=True)))
    if dtype is not None and out.dtype != dtype:
        raise refusal(
            name, inputs, f"computes {out.dtype} here, not {np.dtype(dtype)}", "cast the result with .astype(dtype)"
        )
    return out


def array(t: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
    """``np.asarray(t)``: a read-only view, refused while a gradient would be lost."""
    if t._requires and mode.get() & GRAD:
        raise GradientError(
            f"np.asarray({describe(t)}): NumPy would lose its gradient; write t.numpy() for the values, or tg functions to stay in the graph"
        )
    view = t.numpy()
    if dtype is not None and np.dtype(dtype) != view.dtype:
        if copy is False:
            raise ValueError(f"np.asarray({describe(t)}, dtype={dtype}): a cast needs a copy; leave out copy=False")
        return view.astype(dtype)
    return view.copy() if copy else view


def array_function(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """NEP 18: a NumPy function on Tensors is ours, or a TypeError that says what to do."""
    if not all(_taken(t, "__array_function__") for t in types):
        return NotImplemented
    name = f"{func.__module__}.{func.__name__}".replace("numpy.", "np.", 1)
    if func not in FUNCTIONS:
        raise refusal(name, [*args, *kwargs.values()], *(_NO_WRITE if func in _WRITERS else _NO_RULE))
    return in_our_words(name, FUNCTIONS[func], args, kwargs)


def array_namespace(api_version: str | None = None) -> Any:
    """The array API standard for Tensors: ``tinygraph.array_api``, loaded when it is first asked for."""
    return importlib.import_module("tinygraph.array_api").namespace(api_version)


def to_device(t: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The Tensor itself: arrays live in main memory."""
    if device != "cpu":
        raise ArgumentError(
            f"to_device({describe(t)}, {device!r}): arrays live in main memory; the one device is 'cpu'"
        )
    return t


OPS["__array__"] = array
OPS["__array_ufunc__"] = array_ufunc
OPS["__array_function__"] = array_function
OPS["__array_namespace__"] = array_namespace
OPS["to_device"] = to_device
