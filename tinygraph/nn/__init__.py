"""Layers and networks: modules that hold what they learn, and open a scope each so that pictures fold.

>>> import numpy as np, tinygraph as tg
>>> net = tg.nn.mlp(4, [8, 8], 3, batch_norm=True, rng=0)
>>> loss = tg.cross_entropy(net(np.eye(4)), [0, 1, 2, 0])
>>> loss.backward()
>>> net["block2"]["bn"].gamma.grad.shape
(8,)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DialectError
from . import init
from .conv import AvgPool2d, Conv2d, MaxPool2d
from .linear import Dropout, Flatten, Linear, ReLU, Sigmoid, Softplus, Tanh
from .module import Module, Sequential
from .networks import mlp
from .norm import BatchNorm, LayerNorm, population_statistics

__all__ = [
    "AvgPool2d", "BatchNorm", "Conv2d", "Dropout", "Flatten", "LayerNorm", "Linear", "MaxPool2d", "Module", "ReLU",
    "Sequential", "Sigmoid", "Softplus", "Tanh", "init", "mlp", "population_statistics",
]  # fmt: skip

# Words of other libraries, for errors.
_WORDS = {
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), "nn.BatchNorm"),
    **dict.fromkeys(("ModuleList", "ModuleDict"), "a plain list or dict"),
    "CrossEntropyLoss": "tg.cross_entropy(logits, target)",
    "MSELoss": "tg.mean((y - target) ** 2)",
    "Parameter": "tg.Parameter(data)",
    "functional": "tg.relu, tg.softmax, …: functions are in tinygraph itself",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        known = f"write {_WORDS[name]}" if name in _WORDS else f"it has {', '.join(__all__)}"
        raise DialectError(f"tinygraph.nn has no {name!r}: {known}")
