"""Random draws, through a generator that the user passes or seeds; there is no global one."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..core.primitive import Domain, Primitive, public
from ..core.scope import recorder
from ..errors import ArgumentError, DTypeError, ShapeError
from .movement import as_shape


def _draw(name: str, method: str, doc: str) -> Primitive:
    def kernel(xp: Any, *, shape: tuple[int, ...], dtype: Any, rng: np.random.Generator | int) -> Any:
        rng = np.random.default_rng(rng) if isinstance(rng, int) else rng  # of a seed: the same draws each time
        native = dtype if dtype in (np.float32, np.float64) else np.dtype(np.float64)
        return xp.asarray(getattr(rng, method)(shape, dtype=native), dtype=dtype)

    def signature(shape: Any, *, rng: np.random.Generator | int | None = None, dtype: Any = np.float64) -> Any:
        if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0:
            rng = int(rng)
        elif not isinstance(rng, np.random.Generator):
            raise ArgumentError(
                f"random.{name}({shape!r}, rng={rng!r}): draws come from a generator that you hold; "
                "pass rng=np.random.default_rng(seed), or a seed of 0 or more"
            )
        dtype = np.dtype(dtype)
        if dtype.kind != "f":
            raise DTypeError(f"random.{name}({shape!r}, dtype={dtype}): draws are floats; cast them with .astype")
        sizes = as_shape(f"random.{name}", rng, shape)
        if any(n < 0 for n in sizes):
            raise ShapeError(f"random.{name}({shape!r}): a size is negative; give sizes of 0 or more")
        return (), {"shape": sizes, "dtype": dtype, "rng": rng}

    return Primitive(
        f"random_{name}", kernel, (), "other", name, doc, signature=signature,
        domain=Domain((((), {"shape": (2, 3), "rng": 0}),)),
    )  # fmt: skip


random_normal: Primitive = _draw("normal", "standard_normal", "Draws from the standard normal distribution.")
random_uniform: Primitive = _draw("uniform", "random", "Draws from the uniform distribution on [0, 1).")


def _told(draw: Any) -> Any:
    """A recorder is told of each draw: even one that nobody uses moves the generator on."""

    @functools.wraps(draw)
    def function(*args: Any, **kwargs: Any) -> Any:
        listener = recorder.get()
        if listener is None:
            return draw(*args, **kwargs)
        listener.drawing(kwargs.get("rng"))
        drawn = draw(*args, **kwargs)
        listener.drawn(drawn)
        return drawn

    return function


normal = _told(public(random_normal))
uniform = _told(public(random_uniform))
