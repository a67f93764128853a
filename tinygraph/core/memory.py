"""Memory that is used again: large arrays cost more to get from the system than to fill."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LARGE = 1 << 20  # bytes, from which on it pays
KEPT = 2  # pieces: in a loop, the last result is still held when the next one is made
LINE = 64  # bytes of a cache line, at which an array begins: loops that write it are faster


class Loan:
    """The owner of an array's memory, which it gives back when the array and all its views are gone."""

    __slots__ = ("__array_interface__", "__weakref__", "free", "memory")

    def __init__(self, memory: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: Any, free: list[Any]) -> None:
        self.memory = memory
        self.free = free
        start = -(-memory.ctypes.data // LINE) * LINE
        self.__array_interface__ = {
            "version": 3, "shape": shape, "typestr": np.dtype(dtype).str, "data": (start, False),
        }  # fmt: skip

    def __del__(self) -> None:
        if len(self.free) < KEPT:
            self.free.append(self.memory)


class Maker:
    """Makes arrays of one shape and dtype; where they are large, the memory of some that are gone is kept for the next."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.bytes = self.dtype.itemsize * math.prod(shape)
        self._free: list[Any] = []

    def __call__(self) -> np.ndarray[Any, Any]:
        """An array with arbitrary values."""
        if self.bytes < LARGE:
            return np.empty(self.shape, self.dtype)
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self.bytes + LINE, np.uint8)
        return np.asarray(Loan(memory, self.shape, self.dtype, self._free))
