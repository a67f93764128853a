"""Many devices and many hosts: the same training step on JAX, with its batch spread over them and its state on each.

::

    distributed.initialize()                       # several processes only; before anything touches JAX
    mesh = distributed.mesh()                      # all devices
    distributed.replicate((model, optimizer), mesh)
    step = tg.compile(train_step, backend="jax")   # forward, backward, optimizer.step(), return loss
    for batch in loader:
        loss = step(*distributed.shard_batch(batch, mesh))  # each process passes its own rows

JAX's partitioner puts the collectives where the sharding of the inputs asks for them; there is none in this library. So sums and
means over the batch, BatchNorm's statistics among them, are global by construction. Statistics of each replica are
another network, and written as one: reshape the batch to ``[replicas, N / replicas, C]`` and normalise over axis 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .processes import initialize

__all__ = ["initialize", "mesh", "replicate", "shard", "shard_batch"]

if TYPE_CHECKING:
    from .placement import mesh as mesh
    from .placement import replicate as replicate
    from .placement import shard as shard
    from .placement import shard_batch as shard_batch


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import placement  # noqa: PLC0415 -- loads JAX

    return getattr(placement, name)
