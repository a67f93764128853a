"""The compiler: a recorded function, simplified, fused, and turned into code that can be read."""

from .api import Compiled, compile
from .source import derive_source

__all__ = ["Compiled", "compile", "derive_source"]
