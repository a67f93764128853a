"""Sums, extremes, moments, norms, differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.convert import dtype_of, operand
from ..core.primitive import call
from ..core.tensor import Tensor
from ..errors import ShapeError
from ..functional import ravel
from ..ops.elementwise import abs as abs_
from ..ops.elementwise import not_equal, where
from ..ops.movement import broadcast_to, concatenate, pad, reshape, squeeze, transpose
from ..ops.reduction import normalize, single, size
from .movement import at_least
from .table import implements, ours, reduced, refusal, refuse, refuse_complex


def _reduction(name: str) -> None:
    def adapter(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = np._NoValue,
        initial: Any = None, where: Any = None,
    ) -> Any:  # fmt: skip
        refuse(f"np.{name}", (a,), out=out, initial=initial, where=where)
        return reduced(name, a, axis, dtype, keepdims)

    implements(name)(adapter)


def _extreme(name: str) -> None:
    def adapter(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue, initial: Any = None, where: Any = None
    ) -> Any:
        refuse(f"np.{name}", (a,), out=out, initial=initial, where=where)
        return reduced(name, a, axis, None, keepdims)

    implements(name, f"a{name}")(adapter)


def _moment(name: str) -> None:
    def adapter(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: Any = np._NoValue, *,
        where: Any = None, mean: Any = None, correction: Any = np._NoValue,
    ) -> Any:  # fmt: skip
        refuse(f"np.{name}", (a,), out=out, where=where, mean=mean, dtype=dtype)
        refuse_complex(f"np.{name}", a)
        if ddof and correction is not np._NoValue:
            raise refusal(f"np.{name}", (a,), "ddof= and correction= are one", "give one of them")
        x = operand(a)
        count = math.prod(x.shape[i] for i in normalize(f"np.{name}", x, axis))
        n = min(ddof if correction is np._NoValue else correction, count)  # a divisor below 0 is 0 in NumPy
        return ours(name)(x, axis, correction=n, keepdims=keepdims is not np._NoValue and keepdims)

    implements(name)(adapter)


def _arg(name: str) -> None:
    def adapter(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = None) -> Any:
        refuse(f"np.{name}", (a,), out=out, keepdims=None if keepdims is False else keepdims)
        return ours(name)(a, axis)

    implements(name)(adapter)


for _name in ("sum", "mean", "prod"):
    _reduction(_name)
for _name in ("max", "min", "all", "any"):
    _extreme(_name)
for _name in ("var", "std"):
    _moment(_name)
for _name in ("argmax", "argmin"):
    _arg(_name)


@implements("ptp")
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue) -> Any:
    refuse("np.ptp", (a,), out=out)
    return reduced("max", a, axis, None, keepdims) - reduced("min", a, axis, None, keepdims)


@implements("average")
def _average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = np._NoValue
) -> Any:
    refuse("np.average", (a,), returned=returned or None)
    if weights is None:
        return reduced("mean", a, axis, None, keepdims)
    x, w = operand(a), operand(weights)
    x = x.astype(np.result_type(x.dtype, w.dtype, *[np.float64] * (x.dtype.kind in "iub")))
    if w.shape != x.shape:
        along = None if axis is None else single("np.average", x, axis)
        if along is None or w.shape != (x.shape[along],):
            raise ShapeError(f"{call('np.average', (a, w))}: the weights do not fit; give one each, or one along axis=")
        w = _along(w, x, along)
    return reduced("sum", x * w, axis, None, keepdims) / reduced("sum", w, axis, x.dtype, keepdims)


def _along(vector: Any, x: Any, axis: int) -> Any:
    """A vector that lies along an axis of x."""
    return reshape(vector, tuple(-1 if i == axis % x.ndim else 1 for i in range(x.ndim)))


@implements("cov")
def _cov(
    m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None, fweights: Any = None,
    aweights: Any = None, *, dtype: Any = None,
) -> Any:  # fmt: skip
    refuse("np.cov", (m,), fweights=fweights, aweights=aweights)
    refuse_complex("np.cov", m, *(() if y is None else (y,)))
    parts = [at_least(2, p if rowvar or operand(p).ndim < 2 else transpose(p)) for p in (m, y) if p is not None]
    x = concatenate(parts, axis=0)
    x = x.astype(np.result_type(x.dtype, np.float64) if dtype is None else dtype)
    centred = x - ours("mean")(x, axis=1, keepdims=True)
    n = min((not bias) if ddof is None else ddof, x.shape[1])  # a divisor below 0 is 0 in NumPy
    return squeeze(centred @ centred.T / (size(x, axis=1) - n))


# -- without nan ----------------------------------------------------------------------------------


def _filled(a: Any, fill: float) -> tuple[Tensor, Any]:
    """The values with ``fill`` for nan, and where that is."""
    x = operand(a)
    missing = not_equal(x, x)
    return (where(missing, fill, x) if x.dtype.kind in "fc" else x), missing


def _nan_sum(name: str, neutral: int) -> None:
    def adapter(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = np._NoValue,
        initial: Any = None, where: Any = None,
    ) -> Any:  # fmt: skip
        refuse(f"np.nan{name}", (a,), out=out, initial=initial, where=where)
        return reduced(name, _filled(a, neutral)[0], axis, dtype, keepdims)

    implements(f"nan{name}")(adapter)


def _nan_extreme(name: str, least: float) -> None:
    def adapter(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = np._NoValue, initial: Any = None, where: Any = None
    ) -> Any:
        refuse(f"np.nan{name}", (a,), out=out, initial=initial, where=where)
        x, missing = _filled(a, least)
        out = reduced(name, x, axis, None, keepdims)
        return out if x.dtype.kind != "f" else _or_nan(out, reduced("all", missing, axis, None, keepdims))

    implements(f"nan{name}")(adapter)


def _or_nan(out: Any, nothing: Any) -> Any:
    return where(nothing, np.nan, out)


_nan_sum("sum", 0)
_nan_sum("prod", 1)
_nan_extreme("max", -np.inf)
_nan_extreme("min", np.inf)


@implements("nanmean")
def _nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = np._NoValue, *, where: Any = None
) -> Any:
    refuse("np.nanmean", (a,), out=out, where=where)
    x, missing = _filled(a, 0)
    if x.dtype.kind != "f":
        return reduced("mean", x, axis, dtype, keepdims)
    total = reduced("sum", x, axis, dtype, keepdims)
    return total / reduced("sum", ~missing, axis, total.dtype, keepdims)


# -- running sums and differences -----------------------------------------------------------------


@implements("cumsum")
def _cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    refuse("np.cumsum", (a,), dtype=dtype, out=out)
    return ours("cumsum")(ravel(a) if axis is None else a, axis=0 if axis is None else axis)


@implements("nancumsum")
def _nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    refuse("np.nancumsum", (a,), dtype=dtype, out=out)
    return _cumsum(_filled(a, 0)[0], axis)


@implements("cumulative_sum")
def _cumulative_sum(
    x: Any, /, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False
) -> Any:
    refuse("np.cumulative_sum", (x,), dtype=dtype, out=out)
    total = ours("cumsum")(x, axis=axis)
    along = 0 if axis is None else axis % total.ndim
    return pad(total, tuple((int(i == along), 0) for i in range(total.ndim))) if include_initial else total


@implements("diff")
def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue) -> Any:
    x = operand(a)
    along = single("np.diff", x, axis)
    if n < 0:
        raise ShapeError(f"{call('np.diff', (x, n))}: differences of order {n}; give n=0 or more")
    if not n:
        return ours("identity")(x)
    one = tuple(1 if i == along else m for i, m in enumerate(x.shape))
    ends = [
        () if e is np._NoValue else (broadcast_to(e, one) if not operand(e).ndim else e,) for e in (prepend, append)
    ]
    x = concatenate([*ends[0], x, *ends[1]], axis=along) if any(ends) else x
    here = (slice(None),) * along
    for _ in range(n):
        x = x[(*here, slice(1, None))] - x[(*here, slice(None, -1))]
    return x


@implements("trapezoid")
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = operand(y)
    here = (slice(None),) * single("np.trapezoid", y, axis)
    step = dx
    if x is not None:
        step = _diff(x, axis=axis) if operand(x).ndim > 1 else _along(_diff(x), y, axis)
    return ours("sum")(step * (y[(*here, slice(1, None))] + y[(*here, slice(None, -1))]) / 2.0, axis=axis)


# -- norms ----------------------------------------------------------------------------------------

_BY_MAGNITUDE = {1: "sum", np.inf: "max", -np.inf: "min"}


@implements("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    axes = operand(x).ndim if axis is None else np.size(axis)
    if ord is None or (axes == 2 and ord == "fro"):
        return _of_vectors("np.linalg.norm", x, 2, axis, keepdims)
    return _of_vectors("np.linalg.norm", x, ord if axes == 1 else f"{ord} of matrices", axis, keepdims)


@implements("linalg.vector_norm")
def _vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    return _of_vectors("np.linalg.vector_norm", x, ord, axis, keepdims)


@implements("linalg.matrix_norm")
def _matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return _norm(x, ord, (-2, -1), keepdims)


def _of_vectors(name: str, x: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    refuse_complex(name, x)
    if ord == 2:
        return ours("norm")(x, axis, keepdims=keepdims)
    if ord not in _BY_MAGNITUDE:
        raise refusal(name, (x,), f"ord={ord} has no gradient rule", "leave the graph with x.numpy()")
    floats = x if dtype_of(x).kind == "f" else ours("astype")(x, np.float64)
    return ours(_BY_MAGNITUDE[ord])(abs_(operand(floats)), axis=axis, keepdims=keepdims)
