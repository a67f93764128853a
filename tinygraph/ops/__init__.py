"""Every primitive, each in one place; importing a module enters its records into the registry."""

from . import contraction, elementwise, indexing, movement, random, reduction, windows

__all__ = ["contraction", "elementwise", "indexing", "movement", "random", "reduction", "windows"]
