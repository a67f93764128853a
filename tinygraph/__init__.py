"""tinygraph: write a layer from primitive operations, see its graph, get a backward that is derived.

>>> import numpy as np, tinygraph as tg
>>> x = tg.tensor(np.arange(3.0), requires_grad=True, name="x")
>>> tg.mean(x ** 2).backward()
>>> x.grad
tensor([0.        , 0.66666667, 1.33333333])
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import dlpack, errors, functional, fused, ops, picture, protocols, transforms
from .core.autodiff import gradients
from .core.convert import asarray, tensor
from .core.graph import Graph, trace
from .core.node import Node
from .core.primitive import REGISTRY as _REGISTRY
from .core.primitive import Primitive, public
from .core.scope import debug_anomaly, no_grad, scope
from .core.tensor import Parameter, Tensor
from .errors import TinygraphError
from .functional import COMPOSITES as _COMPOSITES
from .ops import random
from .picture import Picture, draw
from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp, vjp_fn

__version__ = "0.1.0"

# Every primitive and composite is a function here, by the name in its record.
_FUNCTIONS = {name: public(op) for name, op in _REGISTRY.items() if not name.startswith("random_")} | _COMPOSITES
globals().update(_FUNCTIONS)

__all__ = sorted(
    {
        "Graph", "Node", "Parameter", "Picture", "Primitive", "Tensor", "TinygraphError", "asarray", "debug_anomaly",
        "draw", "errors", "fused", "grad", "gradients", "hessian", "hvp", "jacobian", "jvp", "no_grad", "random",
        "scope", "tensor", "trace", "value_and_grad", "vjp", "vjp_fn", *_FUNCTIONS,
    }
)  # fmt: skip


# Loaded when they are first asked for, so that ``import tinygraph`` stays light: each name, and the module that has it.
_ON_DEMAND = {
    name: name
    for name in (
        "array_api", "checkpoint", "compiler", "data", "distributed", "lower", "nn", "optim", "testing", "train",
    )
}  # fmt: skip
_ON_DEMAND |= {"compile": "compiler", "derive_source": "compiler", "draw_diff": "testing", "export_onnx": "lower.onnx"}

if TYPE_CHECKING:
    from . import array_api as array_api
    from . import checkpoint as checkpoint
    from . import compiler as compiler
    from . import data as data
    from . import distributed as distributed
    from . import lower as lower
    from . import nn as nn
    from . import optim as optim
    from . import testing as testing
    from . import train as train
    from .compiler import compile as compile
    from .compiler import derive_source as derive_source
    from .lower.onnx import export_onnx as export_onnx
    from .testing import draw_diff as draw_diff

    def __getattr__(name: str) -> Callable[..., Tensor]: ...

else:

    def __getattr__(name):
        home = _ON_DEMAND.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f".{home}", __name__)
        return module if home == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_ON_DEMAND])
