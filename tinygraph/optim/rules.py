"""The optimisers: in each formula g is the gradient, lr the rate of this step, and θ a parameter.

Weight decay λ adds λ θ to g first (L2), in all but AdamW. The numbers and their names are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..core.tensor import Parameter, Tensor
from ..errors import ArgumentError
from ..ops.elementwise import sqrt
from .base import Optimizer, Rate, cast

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "RMSProp"]

_State = Mapping[str, Tensor]


class SGD(Optimizer):
    """Gradient descent, plain or with momentum.

    Plain: θ ← θ - lr g. With momentum μ: v ← μ v + g and θ ← θ - lr v; Nesterov's: θ ← θ - lr (g + μ v).
    v is 0 at first, and holds gradients, so that a new rate acts at once.

    Raises: as Optimizer does; ArgumentError for ``nesterov`` without momentum.
    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013),
    equations 1 to 4, with v in units of the gradient.

    >>> import numpy as np, tinygraph as tg
    >>> w = tg.Parameter(np.array([1.0]))
    >>> optimizer = tg.optim.SGD([w], lr=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     w.grad = tg.tensor([1.0]); optimizer.step()
    >>> w.tolist()
    [-0.25]
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: Rate = 1e-3,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = self._number("momentum", momentum)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ArgumentError("SGD(nesterov=True): needs a momentum above 0, e.g. momentum=0.9")
        self.slots = ("momentum",) if self.momentum else ()
        super().__init__(parameters, lr, weight_decay=weight_decay)

    def update(self, p: Tensor, g: Tensor, rate: Tensor, state: _State) -> tuple[Tensor, _State]:
        if not self.momentum:
            return p - rate * g, {}
        v = self.momentum * state["momentum"] + g
        return p - rate * (g + self.momentum * v if self.nesterov else v), {"momentum": v}


class AdaGrad(Optimizer):
    """A rate per element that shrinks with all gradients so far: s ← s + g²; θ ← θ - lr g / (√s + ε).

    Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods" (2011), the diagonal case of section 1.

    >>> import numpy as np, tinygraph as tg
    >>> w = tg.Parameter(np.array([1.0]))
    >>> optimizer = tg.optim.AdaGrad([w], lr=0.5)
    >>> w.grad = tg.tensor([3.0]); optimizer.step(); round(w.item(), 6)
    0.5
    """

    slots = ("squares",)

    def __init__(
        self, parameters: Iterable[Parameter], lr: Rate = 1e-2, *, eps: float = 1e-10, weight_decay: float = 0.0
    ) -> None:
        self.eps = self._number("eps", eps)
        super().__init__(parameters, lr, weight_decay=weight_decay)

    def update(self, p: Tensor, g: Tensor, rate: Tensor, state: _State) -> tuple[Tensor, _State]:
        s = state["squares"] + g * g
        return p - rate * g / (sqrt(s) + self.eps), {"squares": s}


class RMSProp(Optimizer):
    """A rate per element by a running mean of squares: s ← α s + (1 - α) g²; θ ← θ - lr g / (√s + ε).

    Source: Tieleman and Hinton, "Neural Networks for Machine Learning", lecture 6.5 (2012).

    >>> import numpy as np, tinygraph as tg
    >>> w = tg.Parameter(np.array([1.0]))
    >>> optimizer = tg.optim.RMSProp([w], lr=0.1, alpha=0.75)
    >>> w.grad = tg.tensor([3.0]); optimizer.step(); round(w.item(), 6)
    0.8
    """

    slots = ("squares",)

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: Rate = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.alpha = self._number("alpha", alpha, below=1.0)
        self.eps = self._number("eps", eps)
        super().__init__(parameters, lr, weight_decay=weight_decay)

    def update(self, p: Tensor, g: Tensor, rate: Tensor, state: _State) -> tuple[Tensor, _State]:
        s = self.alpha * state["squares"] + (1 - self.alpha) * (g * g)
        return p - rate * g / (sqrt(s) + self.eps), {"squares": s}


class Adam(Optimizer):
    """Running means of the gradient and of its square, each freed of its start at 0.

    m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ);
    θ ← θ - lr m̂ / (√v̂ + ε), where t counts the updates of this parameter, this one included.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), algorithm 1.

    >>> import numpy as np, tinygraph as tg
    >>> w = tg.Parameter(np.array([1.0]))
    >>> optimizer = tg.optim.Adam([w], lr=0.1)
    >>> w.grad = tg.tensor([3.0]); optimizer.step(); round(w.item(), 6)
    0.9
    """

    slots = ("mean", "square")
    counts = True

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.betas = self._pair(betas)
        self.eps = self._number("eps", eps)
        super().__init__(parameters, lr, weight_decay=weight_decay)

    def _pair(self, betas: Any) -> tuple[float, float]:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ArgumentError(f"{type(self).__name__}(betas={betas!r}): give two numbers, e.g. (0.9, 0.999)")
        return self._number("betas[0]", betas[0], below=1.0), self._number("betas[1]", betas[1], below=1.0)

    def update(self, p: Tensor, g: Tensor, rate: Tensor, state: _State) -> tuple[Tensor, _State]:
        b1, b2 = self.betas
        t = state["count"] + 1
        m = b1 * state["mean"] + (1 - b1) * g
        v = b2 * state["square"] + (1 - b2) * (g * g)
        # The corrections are float64 numbers until here, also for a float32 parameter.
        c1, c2 = cast(1 - b1**t, p.dtype), cast(sqrt(1 - b2**t), p.dtype)
        return p - (rate / c1) * m / (sqrt(v) / c2 + self.eps), {"count": t, "mean": m, "square": v}


class AdamW(Adam):
    """Adam with weight decay of its own: θ ← (1 - lr λ) θ, then Adam's step on the bare gradient.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2; as in
    PyTorch the decay is multiplied by the whole rate.

    >>> import numpy as np, tinygraph as tg
    >>> w = tg.Parameter(np.array([1.0]))
    >>> optimizer = tg.optim.AdamW([w], lr=0.1, weight_decay=0.5)
    >>> w.grad = tg.tensor([3.0]); optimizer.step(); round(w.item(), 6)
    0.85
    """

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)
