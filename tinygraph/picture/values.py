"""Text for pictures: one line that sums up an array, and user text made harmless."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

LABEL, TITLE, TOOLTIP = 40, 120, 1000  # the longest texts, in characters
MODES = ("auto", "stats", "shape", "full", "none")

_FEW = 64
_VECTOR, _GRID = 4, 6  # the largest vector written out; the largest side of a matrix in mode "full"
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_DROPPED = re.compile(f"[\x00-\x09\x0b-\x1f\x7f-\x9f{_BIDI}\ufffe\uffff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One line (or, in mode "full", a few) about an array, and whether all its entries are finite."""

    text: str
    finite: bool = True


def clean(text: str, limit: int = LABEL) -> str:
    r"""``text`` without characters that cannot be drawn or that reorder others, cut to ``limit``.

    >>> clean("a\tb\x00c"), clean("x" * 99, 5)
    ('a bc', 'xxxx…')
    """
    if len(text) <= limit and (text.isprintable() or text.replace("\n", "").isprintable()):  # nearly always
        return text
    text = _LONE_SURROGATE.sub("?", _DROPPED.sub("", text.replace("\t", " ")))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def minus(text: str) -> str:
    """Numbers with a real minus sign, as wide as a plus."""
    return text.replace("-", "\u2212")


def numbers(values: Sequence[Any], precision: int = 2) -> list[str]:
    """Numbers of one row in one format: fixed point, or exponents where the largest asks for them.

    >>> numbers([2.1967, -0.001]), numbers([1.23e-5, 0.0])
    (['2.20', '0.00'], ['1.2e−05', '0.0e+00'])
    """
    largest = max(map(abs, values), default=0.0)
    fixed = largest == 0 or max(0.01, 10.0**-precision) <= largest < 1000
    spec = f"z.{precision}f" if fixed else f"z.{max(precision - 1, 0)}e"
    return [minus(format(v, spec)) for v in values]


def number(value: Any) -> str:
    """One number: integers and booleans exact, floats with four digits."""
    if isinstance(value, int):
        return minus(str(value)) if value.bit_length() < 128 else f"integer of {value.bit_length()} bits"
    return minus(format(value, "z.4g")).replace("nan", "NaN")


def row(data: Any, how: str = "auto", precision: int = 2) -> Row:
    """What a picture says about an array.

    One element is written out, so is a vector of up to four; more entries become mean ± standard
    deviation. Entries that are not finite take the row.

    >>> import numpy as np
    >>> row(np.array([2.1967, 1.74, 2.25])).text, row(np.arange(12.0)).text
    ('[2.20, 1.74, 2.25]', '5.50 ± 3.45')
    >>> row(np.array([1.0, np.nan, np.inf]))
    Row(text='NaN×1 inf×1', finite=False)
    """
    if isinstance(data, float) and math.isfinite(data) and how not in ("none", "shape"):  # often; of NumPy too
        return Row(number(float(data)))
    array = np.asarray(data)
    if how == "none":
        return Row("")
    if how == "shape":
        return Row(f"{array.dtype} {array.shape}")
    if array.size == 0:
        return Row("empty")
    kind = array.dtype.kind
    if array.dtype.char in "gG":  # long: pictures count in float64
        with np.errstate(over="ignore"):
            array = array.astype(np.complex128 if kind == "c" else np.float64)
    if array.size == 1 and (kind in "biuO" or (kind == "f" and math.isfinite(array.item()))):
        return Row(number(array.item()))
    if kind not in "biufc":
        return Row(str(array.dtype))
    finite = np.isfinite(array)
    if np.count_nonzero(finite) < array.size:
        return Row(_not_finite(array, finite), finite=False)
    return Row(_summary(array, how, precision))


def _not_finite(array: np.ndarray[Any, Any], finite: np.ndarray[Any, Any]) -> str:
    nan = int(np.isnan(array).sum())
    negative = int((array == -np.inf).sum())
    counts = {"NaN": nan, "inf": array.size - int(finite.sum()) - nan - negative, "\u2212inf": negative}
    if array.size == 1:
        return next(word for word, count in counts.items() if count)
    return " ".join(f"{word}×{count}" for word, count in counts.items() if count)


def _summary(array: np.ndarray[Any, Any], how: str, precision: int) -> str:
    if array.size == 1:
        return number(array.item())
    if how == "full" and array.ndim == 2 and max(array.shape) <= _GRID:
        return _grid(array, precision)
    if array.ndim == 1 and array.size <= (_GRID if how == "full" else _VECTOR):
        return f"[{', '.join(_entries(array, precision))}]"
    if array.dtype.kind == "c":
        return f"|z| {_spread(np.abs(array), how, precision)}"
    return _spread(array, how, precision)


def _entries(array: np.ndarray[Any, Any], precision: int) -> list[str]:
    if array.dtype.kind in "biu":
        return [number(v) for v in array.tolist()]
    if array.dtype.kind == "c":
        return [minus(format(v, f".{precision}f")) for v in array.tolist()]
    return numbers(array.astype(np.float64).tolist(), precision)


def _grid(array: np.ndarray[Any, Any], precision: int) -> str:
    entries = _entries(array.ravel(), precision)
    width = array.shape[1]
    return "\n".join(f"[{', '.join(entries[i : i + width])}]" for i in range(0, len(entries), width))


def _spread(array: np.ndarray[Any, Any], how: str, precision: int) -> str:
    if how == "stats":
        return " … ".join(numbers([float(array.min()), float(array.max())], precision))
    return " ± ".join(numbers((_few if array.size <= _FEW else _many)(array), precision))


def _few(array: np.ndarray[Any, Any]) -> list[float]:
    """Mean and standard deviation of some numbers: Python's own sums are faster here, and exact."""
    values = array.ravel().astype(np.float64).tolist()
    scale = 2.0 ** max(math.frexp(max(map(abs, values)))[1] - 1, 0)
    small = values if scale == 1 else [v / scale for v in values]
    mean = math.fsum(small) / len(small)
    spread = math.sqrt(math.fsum([(v - mean) ** 2 for v in small]) / len(small))
    return [mean * scale, spread * scale]


def _many(array: np.ndarray[Any, Any]) -> list[float]:
    wide = array.astype(np.float64)
    # A power of two keeps the square in range without touching a digit.
    scale = 2.0 ** max(int(np.frexp(np.abs(wide).max())[1]) - 1, 0)
    small = wide / scale
    first = small.flat[0]  # without it equal entries are exact, and a small spread is not lost in a large mean
    small -= first
    return [float(first + small.mean()) * scale, float(small.std()) * scale]
