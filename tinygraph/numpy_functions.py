"""NumPy's functions on Tensors (NEP 18): a closed table of adapters with NumPy's signatures."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .core.array import is_weak
from .core.convert import dtype_of, operand
from .core.primitive import REGISTRY, call, public
from .core.tensor import Tensor
from .errors import ArgumentError, DTypeError, ShapeError
from .functional import COMPOSITES, composite, moveaxis
from .ops.contraction import matmul
from .ops.elementwise import mul
from .ops.movement import reshape

FUNCTIONS: dict[Any, Callable[..., Any]] = {}

# Arguments that are refused unless they say what NumPy does anyway: (that, what they do, what to write).
_UNSUPPORTED = ("is not supported", "leave it out, or leave the graph with x.numpy()")
_REFUSED = {
    "out": (None, "writes in place, and a Tensor never changes", "use the result"),
    "where": (True, "leaves elements out", "choose with tg.where"),
    "casting": ("same_kind", "is not supported", "cast with x.astype(dtype)"),
    "order": ("K", *_UNSUPPORTED),
    "subok": (True, *_UNSUPPORTED),
}


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


def _implements(*theirs: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(fn: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update(dict.fromkeys(theirs, fn))
        return fn

    return enter


# -- reductions -----------------------------------------------------------------------------------


def _reduction(name: str, theirs: Any) -> None:
    def adapter(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = np._NoValue,
        initial: Any = None, where: Any = None,
    ) -> Any:  # fmt: skip
        refuse(f"np.{name}", (a,), out=out, initial=initial, where=where)
        return reduced(name, a, axis, dtype, keepdims)

    _implements(theirs)(adapter)


def _extreme(name: str, *theirs: Any) -> None:
    def adapter(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue, initial: Any = None, where: Any = None
    ) -> Any:
        refuse(f"np.{name}", (a,), out=out, initial=initial, where=where)
        return reduced(name, a, axis, None, keepdims)

    _implements(*theirs)(adapter)


def _moment(name: str, theirs: Any) -> None:
    def adapter(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: Any = np._NoValue, *,
        where: Any = None, mean: Any = None, correction: Any = np._NoValue,
    ) -> Any:  # fmt: skip
        refuse(f"np.{name}", (a,), out=out, where=where, mean=mean, dtype=dtype)
        n = ddof if correction is np._NoValue else correction
        return ours(name)(a, axis, correction=n, keepdims=keepdims is not np._NoValue and keepdims)

    _implements(theirs)(adapter)


def _arg(name: str, theirs: Any) -> None:
    def adapter(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = None) -> Any:
        refuse(f"np.{name}", (a,), out=out, keepdims=None if keepdims is False else keepdims)
        return ours(name)(a, axis)

    _implements(theirs)(adapter)


for _name in ("sum", "mean", "prod"):
    _reduction(_name, getattr(np, _name))
for _name in ("max", "min", "all", "any"):
    _extreme(_name, getattr(np, _name), *([getattr(np, f"a{_name}")] if _name in ("max", "min") else []))
for _name in ("var", "std"):
    _moment(_name, getattr(np, _name))
for _name in ("argmax", "argmin"):
    _arg(_name, getattr(np, _name))


@_implements(np.cumsum)
def _cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    refuse("np.cumsum", (a,), dtype=dtype, out=out)
    return ours("cumsum")(ours("ravel")(a) if axis is None else a, axis=0 if axis is None else axis)


@_implements(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    euclidean = ord is None or (ord == 2 and (operand(x).ndim == 1 or isinstance(axis, int)))
    refuse("np.linalg.norm", (x,), ord=None if euclidean else ord)
    return ours("norm")(x, axis, keepdims=keepdims)


# -- products -------------------------------------------------------------------------------------


@composite
def dot(a: Any, b: Any) -> Tensor:
    """NumPy's product: of numbers, vectors and matrices as ``matmul``; of stacks, each matrix with each.

    Shapes: a [*A, K], b [*B, K, M] or [K] → [*A, *B, M] or [*A]; a 0-d operand multiplies.

    >>> import numpy as np, tinygraph as tg
    >>> tg.tensor(np.ones((2, 3))).dot(np.ones((4, 3, 5))).shape
    (2, 4, 5)
    """
    a, b = operand(a), operand(b)
    if not a.ndim or not b.ndim:
        return mul(a, b)  # type: ignore[no-any-return]
    inner = a.shape[-1]
    if inner != b.shape[-2:][0]:
        raise ShapeError(
            f"{call('dot', (a, b))}: the inner sizes {inner} and {b.shape[-2:][0]} differ; make them equal, e.g. with y.mT"
        )
    if b.ndim < 3:
        return matmul(a, b)  # type: ignore[no-any-return]
    kept = (*b.shape[:-2], b.shape[-1])
    rows, columns = reshape(a, (math.prod(a.shape[:-1]), inner)), reshape(moveaxis(b, -2, 0), (inner, math.prod(kept)))
    return reshape(matmul(rows, columns), (*a.shape[:-1], *kept))  # type: ignore[no-any-return]


@_implements(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    refuse("np.dot", (a, b), out=out)
    return dot(a, b)


@_implements(np.outer)
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    refuse("np.outer", (a, b), out=out)
    return ours("expand_dims")(ours("ravel")(a), axis=1) * ours("ravel")(b)


@_implements(np.einsum)
def _einsum(subscripts: str, *operands: Any, out: Any = None, optimize: Any = None, **kwargs: Any) -> Any:
    refuse("np.einsum", operands, out=out, **kwargs)
    return ours("einsum")(subscripts, *operands)


# -- joining, cutting, moving ---------------------------------------------------------------------


def _parts(name: str, arrays: Any, dtype: Any, casting: Any, out: Any = None) -> Sequence[Any]:
    refuse(f"np.{name}", (arrays,), out=out, casting=casting)
    return list(arrays) if dtype is None else cast(f"np.{name}", list(arrays), dtype)


def _at_least(ndim: int, a: Any, new_axis: int) -> Tensor:
    x = operand(a)
    while x.ndim < ndim:
        x = x.expand_dims(new_axis if x.ndim else 0)
    return x


@_implements(np.concatenate)
def _concatenate(arrays: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Any:
    parts = _parts("concatenate", arrays, dtype, casting, out)
    return ours("concatenate")(parts if axis is not None else [*map(ours("ravel"), parts)], axis=axis or 0)


@_implements(np.stack)
def _stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: Any = None) -> Any:
    return ours("stack")(_parts("stack", arrays, dtype, casting, out), axis=axis)


@_implements(np.vstack)
def _vstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Any:
    return ours("concatenate")([_at_least(2, a, 0) for a in _parts("vstack", tup, dtype, casting)], axis=0)


@_implements(np.hstack)
def _hstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Any:
    parts = [_at_least(1, a, 0) for a in _parts("hstack", tup, dtype, casting)]
    return ours("concatenate")(parts, axis=0 if parts and parts[0].ndim == 1 else 1)


@_implements(np.column_stack)
def _column_stack(tup: Any) -> Any:
    return ours("concatenate")([_at_least(2, a, 1) for a in tup], axis=1)


@_implements(np.split)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return ours("split")(ary, np.asarray(indices_or_sections).tolist(), axis)


@_implements(np.reshape)
def _reshape(a: Any, /, shape: Any, order: str = "C", *, copy: Any = None) -> Any:
    refuse("np.reshape", (a,), order=order != "C" or None)
    return ours("reshape")(a, shape)


@_implements(np.ravel)
def _ravel(a: Any, order: str = "C") -> Any:
    refuse("np.ravel", (a,), order=order != "C" or None)
    return ours("ravel")(a)


@_implements(np.roll)
def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        return ours("reshape")(_roll(ours("ravel")(a), shift, 0), operand(a).shape)
    shift, axis = (tuple(v.ravel().tolist()) for v in np.broadcast_arrays(*map(np.asarray, (shift, axis))))
    return ours("roll")(a, shift, axis)


@_implements(np.pad)
def _pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    refuse("np.pad", (array,), mode=None if mode == "constant" else mode)
    if not isinstance(constant_values, (int, float, complex, np.generic)):
        raise refusal(
            "np.pad", (array, constant_values), "constant_values= is one number", "pad with 0, and fill with tg.where"
        )
    return ours("pad")(array, pad_width, constant_values)


@_implements(np.take)
def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    refuse("np.take", (a,), out=out, mode=None if mode == "raise" else mode)
    return ours("take")(a, indices, axis)


FUNCTIONS |= {
    np.transpose: lambda a, axes=None: ours("transpose")(a, axes=axes),
    np.permute_dims: lambda a, axes=None: ours("transpose")(a, axes=axes),
    np.swapaxes: lambda a, axis1, axis2: ours("swapaxes")(a, axis1, axis2=axis2),
    np.moveaxis: lambda a, source, destination: ours("moveaxis")(a, source, destination=destination),
    np.expand_dims: lambda a, axis: ours("expand_dims")(a, axis=axis),
    np.squeeze: lambda a, axis=None: ours("squeeze")(a, axis),
    np.broadcast_to: lambda array, shape, subok=False: ours("broadcast_to")(array, shape),
    np.flip: lambda m, axis=None: ours("flip")(m, axis),
    np.astype: lambda x, dtype, /, *, copy=True, device=None: ours("astype")(x, dtype),
    # A Tensor never changes, so it is as good as its copy.
    np.copy: lambda a, order="K", subok=False: ours("identity")(a),
}

# -- elementwise, filling -------------------------------------------------------------------------


@_implements(np.where)
def _where(condition: Any, *branches: Any) -> Any:
    if len(branches) != 2:
        raise refusal("np.where", (condition,), "positions have no gradient", "write np.nonzero(mask.numpy())")
    return ours("where")(condition, *branches)


@_implements(np.clip)
def _clip(
    a: Any, a_min: Any = np._NoValue, a_max: Any = np._NoValue, out: Any = None, *,
    min: Any = np._NoValue, max: Any = np._NoValue, **kwargs: Any,
) -> Any:  # fmt: skip
    refuse("np.clip", (a,), out=out, **kwargs)
    old, new = ([v for v in pair if v is not np._NoValue] for pair in ((a_min, a_max), (min, max)))
    if len(old) == 1 or (old and new):
        raise ArgumentError(
            f"{call('np.clip', (a, *old, *new))}: bounds are given in two ways, or only one of a_min and a_max; give a_min and a_max, or min= and max="
        )
    low, high = old or (None if v is np._NoValue else v for v in (min, max))
    return ours("clip")(a, low, high)


@_implements(np.round, np.around)
def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    refuse("np.round", (a,), out=out, decimals=decimals or None)
    return ours("round")(a)


@_implements(np.full_like)
def _full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    shape, dtype = a.shape if shape is None else shape, dtype or a.dtype
    if isinstance(fill_value, Tensor):
        return ours("broadcast_to")(ours("astype")(fill_value, dtype), shape)
    return operand(np.full(shape, fill_value, dtype))


@_implements(np.zeros_like)
def _zeros_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Any:
    return _full_like(a, 0, dtype, shape=shape)


@_implements(np.ones_like)
def _ones_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Any:
    return _full_like(a, 1, dtype, shape=shape)


# -- questions ------------------------------------------------------------------------------------


def _plain(theirs: Any, given: Callable[[Tensor], Any]) -> None:
    """A question that NumPy answers: no gradient is at stake."""

    def adapter(*args: Any, **kwargs: Any) -> Any:
        unwrap = [given(a) if isinstance(a, Tensor) else a for a in args]
        return theirs(*unwrap, **{k: given(v) if isinstance(v, Tensor) else v for k, v in kwargs.items()})

    FUNCTIONS[theirs] = adapter


def _shell(t: Tensor) -> Any:
    """An array of the shape and dtype of ``t``: what it is may be asked in a trace, its values may not."""
    return np.broadcast_to(np.zeros((), t.dtype), t.shape)


for _name in ("shape", "ndim", "size", "result_type", "iscomplexobj", "isrealobj"):
    _plain(getattr(np, _name), _shell)
for _name in ("allclose", "isclose", "array_equal", "array_repr", "array_str", "count_nonzero"):
    _plain(getattr(np, _name), Tensor.numpy)
