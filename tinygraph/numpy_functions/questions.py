"""Questions about a Tensor that NumPy answers: no gradient is at stake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from .table import implements


def _plain(name: str, given: Callable[[Tensor], Any]) -> None:
    theirs = getattr(np, name)

    def adapter(*args: Any, **kwargs: Any) -> Any:
        unwrap = [given(a) if isinstance(a, Tensor) else a for a in args]
        return theirs(*unwrap, **{k: given(v) if isinstance(v, Tensor) else v for k, v in kwargs.items()})

    implements(name)(adapter)


def _shell(t: Tensor) -> Any:
    """An array of the shape and dtype of ``t``: what it is may be asked in a trace, its values may not."""
    return np.broadcast_to(np.zeros((), t.dtype), t.shape)


for _name in ("shape", "ndim", "size", "result_type", "iscomplexobj", "isrealobj", "can_cast", "common_type"):
    _plain(_name, _shell)
for _name in (
    "allclose", "isclose", "array_equal", "array_equiv", "array_repr", "array_str", "array2string",
    "count_nonzero", "shares_memory", "may_share_memory",
):  # fmt: skip
    _plain(_name, Tensor.numpy)
