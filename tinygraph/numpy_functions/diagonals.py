"""Diagonals and triangles."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.convert import operand
from ..core.primitive import call
from ..errors import ShapeError
from ..functional import moveaxis, ravel, swapaxes
from ..ops.elementwise import where
from ..ops.movement import expand_dims, pad
from .table import implements, reduced, refuse


@implements("diagonal")
def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    x = moveaxis(a, (axis1, axis2), (-2, -1))
    below, right = max(-offset, 0), max(offset, 0)
    places = np.arange(max(0, min(x.shape[-2] - below, x.shape[-1] - right)))
    return x[..., places + below, places + right]


@implements("trace")
def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    refuse("np.trace", (a,), out=out)
    return reduced("sum", _diagonal(a, offset, axis1, axis2), -1, dtype, False)


implements("linalg.diagonal")(lambda x, /, *, offset=0: _diagonal(x, offset, -2, -1))
implements("linalg.trace")(lambda x, /, *, offset=0, dtype=None: _trace(x, offset, -2, -1, dtype))


@implements("diag")
def _diag(v: Any, k: int = 0) -> Any:
    x = operand(v)
    if x.ndim == 2:
        return _diagonal(x, k)
    if x.ndim != 1:
        raise ShapeError(f"{call('np.diag', (x,))}: takes a vector or a matrix; write np.diagonal for a stack")
    beyond = abs(k)
    mask = np.eye(x.size + beyond, k=beyond, dtype=bool)
    out = where(mask, expand_dims(pad(x, ((0, beyond),)), axis=1), _zero(x))
    return out if k >= 0 else swapaxes(out, 0, 1)


implements("diagflat")(lambda v, k=0: _diag(ravel(v), k))


@implements("tril")
def _tril(m: Any, k: int = 0) -> Any:
    x = operand(m)
    return where(_lower("np.tril", x, k), x, _zero(x))


@implements("triu")
def _triu(m: Any, k: int = 0) -> Any:
    x = operand(m)
    return where(_lower("np.triu", x, k - 1), _zero(x), x)


def _lower(name: str, x: Any, k: int) -> Any:
    if not x.ndim:
        raise ShapeError(f"{call(name, (x,))}: a number has no triangles; give a matrix")
    return np.tri(x.shape[-2:][0], x.shape[-1], k, bool)


def _zero(x: Any) -> Any:
    return np.zeros((), x.dtype)
