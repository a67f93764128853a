"""Tensors in other libraries: ``torch.from_dlpack(t)``, ``jax.dlpack.from_dlpack(t)``, ``np.from_dlpack(t)``."""

from __future__ import annotations

from typing import Any

from .core.scope import GRAD, mode
from .core.tensor import OPS, Tensor, describe
from .errors import ExportError


def export(t: Tensor, stream: Any, max_version: Any, dl_device: Any, copy: bool | None) -> Any:
    """A DLPack capsule with a copy of the values; with ``copy=False`` the values themselves, marked as read-only.

    PyTorch ignores that mark, so only who asks for it gets the memory that a graph relies on.

    Raises: ExportError, a BufferError, while a gradient would be lost, and for what DLPack or this device cannot do.
    """
    if t._requires and mode.get() & GRAD:
        raise ExportError(f"__dlpack__({describe(t)}): a copy would lose its gradient; export t.detach()")
    values = t._values("__dlpack__")
    try:
        return values.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy is None or copy)
    except (BufferError, RuntimeError, ValueError, TypeError) as error:
        raise ExportError(
            f"__dlpack__({describe(t)}): {str(error).rstrip('.')}; DLPack takes numbers of up to 64 bits in main memory, "
            "and copy=False from max_version=(1, 0) on"
        ) from error


OPS["__dlpack__"] = export
