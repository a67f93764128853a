"""Whole networks: the multi-layer perceptron with every choice that an experiment varies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.tensor import describe
from ..errors import ArgumentError
from . import init
from .linear import Dropout, Linear, ReLU, Sigmoid, Softplus, Tanh
from .module import Module, Sequential
from .norm import IMPLEMENTATIONS, BatchNorm

__all__ = ["mlp"]

ACTIVATIONS: dict[str, Callable[[], Module]] = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh, "softplus": Softplus}
SCALES: dict[str, init.Initial] = {"he": init.he, "xavier": init.xavier}
POSITIONS = ("before", "after")


def mlp(
    in_features: int, hidden: Sequence[int], out_features: int, *, batch_norm: bool | str = False,
    activation: str | Callable[[], Module] = "relu", weight_scale: float | str = "he", dropout: float = 0.0,
    norm_position: str = "before", dtype: Any = np.float64, rng: init.Rng = None,
) -> Sequential:  # fmt: skip
    """A multi-layer perceptron: one block for each hidden size, then a Linear to the logits.

    A block is ``linear``, ``bn`` (with ``batch_norm``), ``activation``, ``dropout`` (above 0); with
    ``norm_position="after"`` bn follows the activation. Blocks are ``block1``, ``block2``, …, the last layer is ``out``.

    ``batch_norm`` is True, False, ``"composed"`` or ``"fused"``; ``activation`` one of ``"relu"``, ``"sigmoid"``, ``"tanh"``,
    ``"softplus"``, or a Module class; ``weight_scale`` a standard deviation, ``"he"`` or ``"xavier"``. Biases start at
    0. The same ``rng`` gives the same weights with and without BatchNorm.

    Shapes: [N, in_features] → [N, out_features].

    Raises: ArgumentError for an unknown word or a size that is none.

    >>> import tinygraph as tg
    >>> tg.nn.mlp(64, [100], 10, batch_norm=True, rng=0)
    Sequential(
      block1: Sequential(
        linear: Linear(64, 100)
        bn: BatchNorm(100)
        activation: ReLU()
      )
      out: Linear(100, 10)
    )
    """
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise ArgumentError(f"mlp(hidden={describe(hidden)}): the hidden sizes are a list; give e.g. hidden=[100, 100]")
    if norm_position not in POSITIONS:
        raise ArgumentError(f"mlp(norm_position={norm_position!r}): unknown; write 'before' or 'after' the activation")
    initial, make_activation, impl = _initial(weight_scale), _activation(activation), _implementation(batch_norm)
    rng = init.generator("mlp", rng)
    sizes = [in_features, *hidden]
    blocks: dict[str, Module] = {}
    for i, (fan_in, fan_out) in enumerate(zip(sizes, hidden, strict=False), start=1):
        linear = Linear(fan_in, fan_out, initial=initial, dtype=dtype, rng=rng)
        parts: list[tuple[str, Module]] = [("activation", make_activation())]
        if impl:
            bn = BatchNorm(fan_out, impl=impl, dtype=dtype)
            parts.insert(POSITIONS.index(norm_position), ("bn", bn))
        if dropout:
            parts.append(("dropout", Dropout(dropout, rng=rng)))
        blocks[f"block{i}"] = Sequential({"linear": linear, **dict(parts)})
    out = Linear(sizes[-1], out_features, initial=initial, dtype=dtype, rng=rng)
    return Sequential({**blocks, "out": out})


def _initial(weight_scale: float | str) -> init.Initial:
    if not isinstance(weight_scale, str):
        return init.normal(weight_scale)
    if weight_scale not in SCALES:
        raise ArgumentError(f"mlp(weight_scale={weight_scale!r}): unknown; write a number, 'he' or 'xavier'")
    return SCALES[weight_scale]


def _activation(activation: Any) -> Callable[[], Module]:
    found = ACTIVATIONS.get(activation) if isinstance(activation, str) else activation
    if not (isinstance(found, type) and issubclass(found, Module)):
        raise ArgumentError(
            f"mlp(activation={activation!r}): unknown; write one of {', '.join(ACTIVATIONS)}, or a Module class"
        )
    return found


def _implementation(batch_norm: bool | str) -> str | None:
    if isinstance(batch_norm, bool):
        return "composed" if batch_norm else None
    if batch_norm not in IMPLEMENTATIONS:
        raise ArgumentError(f"mlp(batch_norm={batch_norm!r}): unknown; write True, False, 'composed' or 'fused'")
    return batch_norm
