"""NumPy's protocols on Tensors: ufuncs by a closed table, functions by another, and a strict way out of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .core.scope import GRAD, mode
from .core.tensor import OPERANDS, OPS, Tensor, describe
from .errors import GradientError
from .numpy_functions import FUNCTIONS, cast, ours, reduced, refusal, refuse
from .ops.elementwise import abs as abs_
from .ops.elementwise import equal, less, not_equal

# NumPy's ufuncs and our names for them; a name alone stands for both.
_UFUNCS = """
absolute:abs fabs:abs add subtract:sub multiply:mul divide:div floor_divide remainder power:pow
negative:neg positive:identity sqrt square reciprocal exp expm1 log log1p sin cos tan arcsin arccos arctan sinh cosh
tanh sign floor ceil rint:round maximum minimum less less_equal greater greater_equal equal not_equal
logical_and logical_or logical_not bitwise_and:logical_and bitwise_or:logical_or invert:logical_not matmul
"""
_REDUCTIONS = {np.add: "sum", np.multiply: "prod", np.maximum: "max", np.minimum: "min"}

UFUNCS: dict[Any, Callable[..., Any]] = {
    getattr(np, theirs): ours(name or theirs) for theirs, _, name in (e.partition(":") for e in _UFUNCS.split())
}
# Comparisons that a trace keeps, so that a compiled graph asks again.
UFUNCS |= {
    np.isnan: lambda x: not_equal(x, x),
    np.isinf: lambda x: equal(abs_(x), np.inf),
    np.isfinite: lambda x: less(abs_(x), np.inf),
}


def array_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """NEP 13: a ufunc on Tensors is ours, or a TypeError that says what to do."""
    if not all(isinstance(x, OPERANDS) for x in inputs):
        return NotImplemented
    # SciPy's ufuncs come here too, so the prefix is for NumPy's own.
    name = "np." * (getattr(np, ufunc.__name__, None) is ufunc) + ufunc.__name__
    name = name if method == "__call__" else f"{name}.{method}"
    reduces = method == "reduce" and ufunc in _REDUCTIONS
    if not reduces and (method != "__call__" or ufunc not in UFUNCS):
        raise refusal(name, inputs, "no gradient rule", "leave the graph with x.numpy()")
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
    if not all(issubclass(t, OPERANDS) for t in types):
        return NotImplemented
    if func not in FUNCTIONS:
        name = f"{func.__module__}.{func.__name__}".replace("numpy.", "np.", 1)
        raise refusal(name, [*args, *kwargs.values()], "no gradient rule", "leave the graph with x.numpy()")
    return FUNCTIONS[func](*args, **kwargs)


OPS["__array__"] = array
OPS["__array_ufunc__"] = array_ufunc
OPS["__array_function__"] = array_function
