"""NumPy's own functions on Tensors: two closed tables, and a strict way out of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .core.primitive import REGISTRY, public
from .core.scope import GRAD, mode
from .core.tensor import OPERANDS, OPS, Tensor, describe, operand
from .errors import DTypeError, GradientError
from .functional import COMPOSITES

# NumPy's ufuncs and our names for them; a name alone stands for both.
_UFUNCS = """
absolute:abs fabs:abs add subtract:sub multiply:mul divide:div floor_divide remainder power:pow
negative:neg positive:identity sqrt square reciprocal exp expm1 log log1p sin cos tan arcsin arccos arctan sinh cosh
tanh sign floor ceil rint:round maximum minimum less less_equal greater greater_equal equal not_equal
logical_and logical_or logical_not bitwise_and:logical_and bitwise_or:logical_or invert:logical_not matmul
"""
_REDUCTIONS = {np.add: "sum", np.multiply: "prod", np.maximum: "max", np.minimum: "min"}
_REFUSED = ("out", "where", "casting", "order", "subok", "signature")


def ours(name: str) -> Callable[..., Any]:
    """The public function of a primitive or a composite."""
    return COMPOSITES[name] if name in COMPOSITES else public(REGISTRY[name])


UFUNCS: dict[Any, Callable[..., Any]] = {
    getattr(np, theirs): ours(name or theirs) for theirs, _, name in (e.partition(":") for e in _UFUNCS.split())
}


def _refuse(name: str, operands: Any, why: str, mend: str) -> DTypeError:
    return DTypeError(f"np.{name}({', '.join(map(describe, operands))}): {why}; {mend}")


def array_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """NEP 13: a ufunc on Tensors is ours, or a TypeError that says what to do."""
    if not all(isinstance(x, OPERANDS) for x in inputs):
        return NotImplemented
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    used = [k for k in _REFUSED if kwargs.get(k) is not None and kwargs.get(k) is not True]
    if used:
        raise _refuse(
            name,
            inputs,
            f"{used[0]}= writes or selects in place",
            "a Tensor never changes; use the result, or tg.where",
        )
    dtype, kwargs = kwargs.get("dtype"), {k: v for k, v in kwargs.items() if k not in (*_REFUSED, "dtype")}
    reduces = method == "reduce" and ufunc in _REDUCTIONS
    if not reduces and (method != "__call__" or ufunc not in UFUNCS):
        raise _refuse(name, inputs, "no gradient rule", "leave the graph with x.numpy()")
    for word in kwargs:
        if not reduces or word not in ("axis", "keepdims"):
            raise _refuse(name, inputs, f"{word}= is not supported", "leave it out")
    out = ours(_REDUCTIONS[ufunc])(inputs[0], **{"axis": 0, **kwargs}) if reduces else UFUNCS[ufunc](*inputs)
    return out if dtype is None else out.astype(dtype)


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


# -- NEP 18: NumPy's functions, with NumPy's signatures -------------------------------------------

FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def _implements(*theirs: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(fn: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update(dict.fromkeys(theirs, fn))
        return fn

    return enter


def _nothing(name: str, x: Any, **refused: Any) -> None:
    for word, value in refused.items():
        if value is not None and value is not np._NoValue:
            raise _refuse(name, (x,), f"{word}= is not supported", "leave it out, or leave the graph with x.numpy()")


def _reduction(name: str, *theirs: Any) -> None:
    def adapter(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = np._NoValue,
        initial: Any = None, where: Any = None,
    ) -> Any:  # fmt: skip
        _nothing(name, a, out=out, initial=initial, where=where)
        x = operand(a) if dtype is None else ours("astype")(a, dtype)
        return ours(name)(x, axis=axis, keepdims=keepdims is not np._NoValue and keepdims)

    _implements(*theirs)(adapter)


def _extreme(name: str, *theirs: Any) -> None:
    def adapter(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue, initial: Any = None, where: Any = None
    ) -> Any:
        _nothing(name, a, out=out, initial=initial, where=where)
        return ours(name)(a, axis=axis, keepdims=keepdims is not np._NoValue and keepdims)

    _implements(*theirs)(adapter)


for _name in ("sum", "mean", "prod"):
    _reduction(_name, getattr(np, _name))
for _name in ("max", "min", "all", "any"):
    _extreme(_name, getattr(np, _name), *([getattr(np, f"a{_name}")] if _name in ("max", "min") else []))


def _moment(name: str, theirs: Any) -> None:
    def adapter(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: Any = np._NoValue, *,
        where: Any = None, mean: Any = None, correction: Any = np._NoValue,
    ) -> Any:  # fmt: skip
        _nothing(name, a, out=out, where=where, mean=mean, dtype=dtype)
        n = ddof if correction is np._NoValue else correction
        return ours(name)(a, axis, correction=n, keepdims=keepdims is not np._NoValue and keepdims)

    _implements(theirs)(adapter)


_moment("var", np.var)
_moment("std", np.std)


@_implements(np.where)
def _where(condition: Any, *branches: Any) -> Any:
    if len(branches) != 2:
        raise _refuse("where", (condition,), "positions have no gradient", "write np.nonzero(mask.numpy())")
    return ours("where")(condition, *branches)


@_implements(np.concatenate)
def _concatenate(arrays: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Any:
    _nothing("concatenate", arrays, out=out, dtype=dtype, casting=casting)
    if axis is None:
        arrays, axis = [ours("ravel")(a) for a in arrays], 0
    return ours("concatenate")(list(arrays), axis=axis)


@_implements(np.stack)
def _stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Any:
    _nothing("stack", arrays, out=out, dtype=dtype, casting=casting)
    return ours("stack")(list(arrays), axis=axis)


@_implements(np.reshape)
def _reshape(a: Any, /, shape: Any, order: str = "C", *, copy: Any = None) -> Any:
    _nothing("reshape", a, order=None if order == "C" else order)
    return ours("reshape")(a, shape)


@_implements(np.clip)
def _clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None, **kwargs: Any
) -> Any:
    _nothing("clip", a, out=out, **kwargs)
    return ours("clip")(a, min if a_min is None else a_min, max if a_max is None else a_max)


@_implements(np.pad)
def _pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    _nothing("pad", array, mode=None if mode == "constant" else mode)
    return ours("pad")(array, pad_width, constant_values)


@_implements(np.cumsum)
def _cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    _nothing("cumsum", a, dtype=dtype, out=out)
    return ours("cumsum")(ours("ravel")(a) if axis is None else a, axis=0 if axis is None else axis)


@_implements(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    _nothing("dot", a, out=out)
    a, b = operand(a), operand(b)
    if a.ndim and b.ndim > 2:
        raise _refuse("dot", (a, b), "pairs every matrix with every other", "write matmul or einsum")
    return ours("matmul" if a.ndim and b.ndim else "mul")(a, b)


@_implements(np.outer)
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    _nothing("outer", a, out=out)
    return ours("expand_dims")(ours("ravel")(a), axis=1) * ours("ravel")(b)


@_implements(np.einsum)
def _einsum(subscripts: str, *operands: Any, out: Any = None, optimize: Any = None, **kwargs: Any) -> Any:
    _nothing("einsum", operands[0], out=out, **kwargs)
    return ours("einsum")(subscripts, *operands)


@_implements(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    euclidean = ord is None or (ord == 2 and (operand(x).ndim == 1 or isinstance(axis, int)))
    _nothing("linalg.norm", x, ord=None if euclidean else ord)
    return ours("norm")(x, axis, keepdims=keepdims)


@_implements(np.round, np.around)
def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    _nothing("round", a, out=out, decimals=decimals or None)
    return ours("round")(a)


@_implements(np.split)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return ours("split")(ary, indices_or_sections, axis)


@_implements(np.take)
def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    _nothing("take", a, out=out, mode=None if mode == "raise" else mode)
    return ours("take")(a, indices, axis)


@_implements(np.argmax)
def _argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = None) -> Any:
    _nothing("argmax", a, out=out, keepdims=keepdims)
    return ours("argmax")(a, axis)


@_implements(np.argmin)
def _argmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = None) -> Any:
    _nothing("argmin", a, out=out, keepdims=keepdims)
    return ours("argmin")(a, axis)


@_implements(np.zeros_like)
def _zeros_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Any:
    return operand(np.zeros(a.shape if shape is None else shape, dtype or a.dtype))


@_implements(np.ones_like)
def _ones_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Any:
    return operand(np.ones(a.shape if shape is None else shape, dtype or a.dtype))


for _theirs, _ours in {
    np.transpose: "transpose", np.permute_dims: "transpose", np.swapaxes: "swapaxes", np.moveaxis: "moveaxis",
    np.ravel: "ravel", np.expand_dims: "expand_dims", np.squeeze: "squeeze", np.broadcast_to: "broadcast_to",
    np.flip: "flip", np.roll: "roll", np.astype: "astype",
}.items():  # fmt: skip
    FUNCTIONS[_theirs] = ours(_ours)


def _plain(theirs: Any) -> None:
    """A question about values or types, answered by NumPy: no gradient is at stake."""

    def adapter(*args: Any, **kwargs: Any) -> Any:
        unwrap = [a.numpy() if isinstance(a, Tensor) else a for a in args]
        return theirs(*unwrap, **{k: v.numpy() if isinstance(v, Tensor) else v for k, v in kwargs.items()})

    FUNCTIONS[theirs] = adapter


for _theirs in (
    np.shape,
    np.ndim,
    np.size,
    np.allclose,
    np.isclose,
    np.array_equal,
    np.result_type,
    np.array_repr,
    np.array_str,
    np.count_nonzero,
):
    _plain(_theirs)


def array_function(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """NEP 18: a NumPy function on Tensors is ours, or a TypeError that says what to do."""
    if not all(issubclass(t, OPERANDS) for t in types):
        return NotImplemented
    if func not in FUNCTIONS:
        tensors = [a for a in args if isinstance(a, Tensor)]
        module = func.__module__.removeprefix("numpy").lstrip(".")
        name = f"{module}.{func.__name__}" if module else func.__name__
        raise _refuse(name, tensors, "no gradient rule", "leave the graph with x.numpy()")
    return FUNCTIONS[func](*args, **kwargs)


OPS["__array__"] = array
OPS["__array_ufunc__"] = array_ufunc
OPS["__array_function__"] = array_function
