"""The numbers that an optimiser or a schedule is made with, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..errors import ArgumentError


def number(owner: str, name: str, value: Any, low: float = 0.0, below: float = math.inf) -> float:
    """``value`` as a float with ``low <= value < below``.

    Raises: ArgumentError for what is no number, for nan, and outside the range.
    """
    plain = is_weak(value) or isinstance(value, (np.integer, np.floating))
    if isinstance(value, (bool, complex)) or not plain or not low <= value < below:
        upper = "finite" if below == math.inf else f"less than {below:g}"
        raise ArgumentError(f"{owner}({name}={value!r}): give a number of {low:g} or more, {upper}")
    return float(value)


def count(owner: str, name: str, value: Any) -> int:
    """``value`` as an integer of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(f"{owner}({name}={value!r}): a number of steps is an integer of 1 or more")
    return int(value)
