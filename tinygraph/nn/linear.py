"""Linear, Flatten, Dropout, and activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.scope import TRACE, flags
from ..core.tensor import Parameter, Tensor
from ..errors import ArgumentError, ShapeError
from ..ops import random
from ..ops.elementwise import greater_equal, relu, sigmoid, softplus, tanh, where
from ..ops.movement import reshape, transpose
from . import init
from .module import Module

__all__ = ["Dropout", "Flatten", "Linear", "ReLU", "Sigmoid", "Softplus", "Tanh"]


class Linear(Module):
    """An affine map of the last axis: y = x · weightᵀ + bias.

    Shapes: x [*, in_features], weight [out_features, in_features], bias [out_features] → [*, out_features]. The
    names and shapes are PyTorch's. ``initial(shape, rng, dtype)`` makes the weight, ``nn.init.he`` by default;
    the bias starts at 0.

    Raises: ArgumentError for sizes or a generator that are none, DTypeError; on a call ShapeError for another
    number of features.

    >>> import numpy as np, tinygraph as tg
    >>> layer = tg.nn.Linear(3, 2, rng=0)
    >>> layer, layer(np.ones((4, 3))).shape
    (Linear(3, 2), (4, 2))
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *,
        initial: init.Initial = init.he, dtype: Any = np.float64, rng: init.Rng = None,
    ) -> None:  # fmt: skip
        self.in_features = init.count("Linear", "in_features", in_features)
        self.out_features = init.count("Linear", "out_features", out_features)
        kind = init.float_dtype("Linear", dtype)
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(init.weight("Linear", initial, shape, rng, kind), name="weight")
        self.bias = Parameter(init.zeros(shape[:1], dtype=kind), name="bias") if bias else None

    def forward(self, x: Any) -> Tensor:
        """The affine map: x · weightᵀ + bias."""
        x = self.operand(x)
        if not x.ndim or x.shape[-1] != self.in_features:
            mend = "put nn.Flatten() before it" if math.prod(x.shape[1:]) == self.in_features else "mend in_features"
            raise ShapeError(
                f"{self.head(x)}: the last axis has {x.shape[-1] if x.ndim else 'no'} features, {self.in_features} are due; "
                f"give [N, {self.in_features}], or {mend}"
            )
        y: Tensor = x @ transpose(self.weight)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """The two sizes."""
        return f"{self.in_features}, {self.out_features}" + ", bias=False" * (self.bias is None)


class Flatten(Module):
    """All axes but the first as one: [N, *S] → [N, S].

    Raises: ShapeError for a number, which has no first axis.

    >>> import numpy as np, tinygraph as tg
    >>> tg.nn.Flatten()(np.ones((5, 2, 3))).shape
    (5, 6)
    """

    def forward(self, x: Any) -> Tensor:
        """One row for each example."""
        x = self.operand(x)
        if not x.ndim:
            raise ShapeError(f"{self.head(x)}: a number has no examples; give an array [N, …]")
        return reshape(x, (x.shape[0], math.prod(x.shape[1:])))  # type: ignore[no-any-return]


class Dropout(Module):
    """In training every element is 0 with probability ``p``, else x / (1 - p); in evaluation x itself.

    So the expected value stays. The draws come from ``rng``, anew at every call and every replay of a graph. Shapes: any.

    Raises: ArgumentError unless 0 ≤ p < 1. Source: Srivastava et al., Dropout, 2014, section 10 (inverted).

    >>> import numpy as np, tinygraph as tg
    >>> layer = tg.nn.Dropout(0.5, rng=1)
    >>> layer(np.ones(4)).tolist(), layer.eval()(np.ones(4)).tolist()
    ([2.0, 2.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(self, p: float = 0.5, *, rng: init.Rng = None) -> None:
        if isinstance(p, bool) or not isinstance(p, (int, float, np.number)) or not 0 <= p < 1:
            raise ArgumentError(f"Dropout(p={p!r}): p is the share that is dropped, 0 ≤ p < 1; give e.g. p=0.5")
        self.p = float(p)
        self.rng = init.generator("Dropout", rng)

    def forward(self, x: Any) -> Tensor:
        """Inverted dropout in training, the identity in evaluation."""
        y: Tensor = self.operand(x)
        if self.training and self.p:
            with flags(add=TRACE):  # recorded, although no gradient needs it: pictures show where it comes from
                kept = greater_equal(random.uniform(y.shape, rng=self.rng), self.p)
            kept.name = "kept"
            y = where(kept, y / (1 - self.p), 0)
        return y

    def extra_repr(self) -> str:
        """The share that is dropped."""
        return f"{self.p:g}"


class ReLU(Module):
    """max(x, 0); its slope at 0 is 0. Shapes: any.

    >>> import tinygraph as tg
    >>> tg.nn.ReLU()([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def forward(self, x: Any) -> Tensor:
        """max(x, 0)."""
        return relu(self.operand(x))  # type: ignore[no-any-return]


class Sigmoid(Module):
    """1 / (1 + exp(-x)). Shapes: any.

    >>> import tinygraph as tg
    >>> tg.nn.Sigmoid()([0.0]).tolist()
    [0.5]
    """

    def forward(self, x: Any) -> Tensor:
        """1 / (1 + exp(-x))."""
        return sigmoid(self.operand(x))  # type: ignore[no-any-return]


class Tanh(Module):
    """The hyperbolic tangent. Shapes: any.

    >>> import tinygraph as tg
    >>> tg.nn.Tanh()([0.0]).tolist()
    [0.0]
    """

    def forward(self, x: Any) -> Tensor:
        """The hyperbolic tangent."""
        return tanh(self.operand(x))  # type: ignore[no-any-return]


class Softplus(Module):
    """log(1 + exp(x)), a smooth ReLU. Shapes: any.

    >>> import tinygraph as tg
    >>> round(tg.nn.Softplus()(0.0).item(), 4)
    0.6931
    """

    def forward(self, x: Any) -> Tensor:
        """The logarithm of 1 + exp(x)."""
        return softplus(self.operand(x))  # type: ignore[no-any-return]
