"""One concrete problem: the arrays that a backward is called with, as code that can be pasted."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_SHORT = 64  # elements up to which an array is written out


class Problem:
    """Arrays by argument name, and the upstream gradient ``dy`` (a tuple of them for several outputs).

    Its ``repr`` is code that makes it again, layouts included, so that a failing example can be kept:
    ``@example(Problem(x=…, dy=…))``.

    >>> import numpy as np
    >>> from tinygraph.testing import Problem
    >>> Problem(x=np.array([[1.0, np.inf]]), dy=np.array([[1.0, -0.5]], np.float32))
    Problem(x=np.array([[1.0, np.inf]]), dy=np.array([[1.0, -0.5]], dtype='float32'))
    """

    __slots__ = ("arrays", "dy")

    def __init__(self, *, dy: Any = None, specs: Mapping[str, Any] | None = None, **arrays: Any) -> None:
        self.arrays: dict[str, Array] = {k: np.asarray(v) for k, v in {**arrays, **(specs or {})}.items()}
        several = isinstance(dy, (tuple, list))
        self.dy: Any = tuple(map(np.asarray, dy)) if several else None if dy is None else np.asarray(dy)

    @property
    def upstream(self) -> tuple[Array, ...]:
        """``dy`` as a tuple, one per output."""
        return self.dy if isinstance(self.dy, tuple) else () if self.dy is None else (self.dy,)

    @property
    def dtype(self) -> str:
        """The float dtypes of the arrays, e.g. ``float64``."""
        kinds = [a.dtype.name for a in (*self.arrays.values(), *self.upstream) if a.dtype.kind == "f"]
        return ", ".join(dict.fromkeys(kinds))

    @property
    def crc(self) -> int:
        """A number that depends on every byte: the source of all randomness of a check."""
        crc = 0
        for name, a in (*self.arrays.items(), *(("dy", d) for d in self.upstream)):
            crc = zlib.crc32(f"{name}{a.dtype}{a.shape}".encode(), crc)
            crc = zlib.crc32(np.ascontiguousarray(a).tobytes(), crc)
        return crc

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return self.crc

    def __repr__(self) -> str:
        parts = [f"{name}={code(a)}" for name, a in self.arrays.items() if name not in ("dy", "specs")]
        special = ", ".join(f"{name!r}: {code(a)}" for name, a in self.arrays.items() if name in ("dy", "specs"))
        parts += [f"specs={{{special}}}"] if special else []
        if self.dy is not None:
            several = isinstance(self.dy, tuple)
            parts.append(f"dy=({', '.join(map(code, self.dy))},)" if several else f"dy={code(self.dy)}")
        return f"Problem({', '.join(parts)})"


def code(array: Array) -> str:
    """An expression that makes the array again: every bit of its values, and its layout."""
    a = np.asarray(array)
    if a.ndim and a.size > 1:
        repeated = [i for i in range(a.ndim) if a.strides[i] == 0 and a.shape[i] > 1]
        if repeated:
            once = a[tuple(slice(0, 1) if i in repeated else slice(None) for i in range(a.ndim))]
            return f"np.broadcast_to({code(once)}, {a.shape})"
        backwards = [i for i in range(a.ndim) if a.strides[i] < 0 and a.shape[i] > 1]
        if backwards:
            key = tuple(slice(None, None, -1) if i in backwards else slice(None) for i in range(a.ndim))
            text = ", ".join("::-1" if i in backwards else ":" for i in range(a.ndim))
            return f"{code(a[key])}[{text}]"
        if not a.flags.c_contiguous and a.flags.f_contiguous:
            return f"np.asfortranarray({_plain(a)})"
        if not a.flags.c_contiguous and a.T.flags.c_contiguous is False and _steps(a):
            steps = _steps(a)
            inner = _plain(a)
            for i, k in enumerate(steps):
                inner = f"np.repeat({inner}, {k}, axis={i})" if k > 1 else inner
            return f"{inner}[{', '.join(f'::{k}' if k > 1 else ':' for k in steps)}]"
    return _plain(a)


def _steps(a: Array) -> tuple[int, ...]:
    """The step along each axis of a slice of a larger C-ordered array, or () where it is none."""
    steps, below = [], a.itemsize
    for n, stride in zip(a.shape[::-1], a.strides[::-1], strict=True):
        if below == 0 or stride % below or stride < below:
            return ()
        step = stride // below
        steps.append(step if n > 1 else 1)
        below = stride * n if n > 1 else below * n
    return tuple(steps[::-1])


def _plain(a: Array) -> str:
    dtype = "" if a.dtype in (np.float64, np.int64, np.bool_) else f", dtype={a.dtype.name!r}"
    if a.size > _SHORT or a.dtype.kind not in "biuf" or a.dtype.itemsize > 8:
        raw = base64.b85encode(np.ascontiguousarray(a).tobytes()).decode()
        return f"np.frombuffer(base64.b85decode({raw!r}), {a.dtype.name!r}).reshape({a.shape}).copy()"
    if not a.size:
        return f"np.empty({a.shape}, {a.dtype.name!r})"
    return f"np.array({_numbers(a.tolist())}{dtype})"


def _numbers(values: Any) -> str:
    if isinstance(values, list):
        return f"[{', '.join(map(_numbers, values))}]"
    if isinstance(values, float) and not np.isfinite(values):
        return "np.nan" if values != values else "np.inf" if values > 0 else "-np.inf"
    return repr(values)
