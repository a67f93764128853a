"""BatchNorm with its running and population statistics, and LayerNorm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ..core.scope import TRACE, Setting, mode, no_grad, recorder, scope
from ..core.tensor import Parameter, Tensor, describe
from ..errors import ArgumentError, DTypeError, ShapeError
from ..functional import batch_norm as composed_batch_norm
from ..functional import layer_norm
from ..fused import batch_norm as fused_batch_norm
from ..ops.elementwise import sqrt
from ..ops.movement import reshape
from ..ops.reduction import mean, size
from ..ops.reduction import sum as sum_
from . import init
from .module import Module

__all__ = ["BatchNorm", "LayerNorm", "population_statistics"]

Array = np.ndarray[Any, Any]
IMPLEMENTATIONS: dict[str, Callable[..., Tensor]] = {"composed": composed_batch_norm, "fused": fused_batch_norm}


class _Unset:
    """A default that tells whether an argument was given."""

    def __repr__(self) -> str:
        return "0.1"


UNSET: Final = _Unset()


class BatchNorm(Module):
    """Batch normalisation of each channel over all other axes, with running statistics for evaluation.

    In training, with the mini-batch's mean μ and biased variance σ² of each channel, over m = N · S values::

        y = weight · (x - μ) / √(σ² + ε) + bias
        running_mean = (1 - momentum) · running_mean + momentum · μ
        running_var  = (1 - momentum) · running_var  + momentum · σ² · m / (m - 1)

    and in evaluation the same y with the running statistics in place of μ and σ². ``momentum=None`` takes
    1 / num_batches_tracked in its place, the plain average. ``decay`` is 1 - momentum, given instead of it. No gradient goes
    through the running statistics, and ``tg.trace`` does not change them: it is a recording, no training step.
    Without ``track_running_stats`` evaluation takes the mini-batch's statistics too. ``impl="fused"`` computes
    the training forward and backward by hand-written NumPy, ``"composed"`` by seven primitives.

    Shapes: x [N, C], [N, C, L], [N, C, H, W] or [N, C, *S]; weight, bias, running_mean, running_var [C]; y as x. ``gamma`` and
    ``beta`` are other names of weight and bias, γ and β in pictures. The state is PyTorch's, name by name.

    Raises: ArgumentError for sizes, numbers or words that are none, or both momentum and decay; on a call ShapeError (a
    ValueError) for another number of channels, or one value per channel in training, DTypeError for integers.

    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithms 1 and 2.

    >>> import numpy as np, tinygraph as tg
    >>> bn = tg.nn.BatchNorm(1)
    >>> bn, bn(np.array([[1.0], [3.0]])).numpy().round(4).tolist()
    (BatchNorm(1), [[-1.0], [1.0]])
    >>> bn.running_mean.tolist(), bn.running_var.tolist()
    ([0.2], [1.1])
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | _Unset | None = UNSET, affine: bool = True,
        track_running_stats: bool = True, *,
        decay: float | None = None, impl: str = "composed", dtype: Any = np.float64, name: str | None = None,
    ) -> None:  # fmt: skip
        self.num_features = init.count("BatchNorm", "num_features", num_features)
        self.eps = _eps("BatchNorm", eps)
        self.momentum = _momentum(momentum, decay)
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        if impl not in IMPLEMENTATIONS:
            raise ArgumentError(f"BatchNorm(impl={impl!r}): unknown; write {' or '.join(map(repr, IMPLEMENTATIONS))}")
        self.impl = impl
        self.name = name
        kind, shape = init.float_dtype("BatchNorm", dtype), (self.num_features,)
        self.weight = Parameter(init.ones(shape, dtype=kind), name="γ") if affine else None
        self.bias = Parameter(init.zeros(shape, dtype=kind), name="β") if affine else None
        self.running_mean: Parameter | Any = None
        self.running_var: Parameter | Any = None
        self.num_batches_tracked: Parameter | Any = None
        if self.track_running_stats:
            self.running_mean = _buffer(init.zeros(shape, dtype=kind), "running mean")
            self.running_var = _buffer(init.ones(shape, dtype=kind), "running variance")
            self.num_batches_tracked = _buffer(np.asarray(0, np.int64), "batches")

    @property
    def gamma(self) -> Parameter | None:
        """The weight, γ."""
        return self.weight

    @gamma.setter
    def gamma(self, value: Parameter | None) -> None:
        self.weight = value

    @property
    def beta(self) -> Parameter | None:
        """The bias, β."""
        return self.bias

    @beta.setter
    def beta(self, value: Parameter | None) -> None:
        self.bias = value

    def forward(self, x: Any) -> Tensor:
        """Normalise by the mini-batch in training, by the running statistics in evaluation."""
        x = self.operand(x)
        self._check(x)
        if not self.training and self.track_running_stats:
            return self._evaluate(x)
        if x.size <= self.num_features:
            several = "one value per channel has no variance to train by; give two examples or more, or call eval()"
            mend = several if x.size else "no values per channel; leave out empty batches"
            raise ShapeError(f"{self.head(x)}: {mend}")
        # A trace is a recording, no training step; but a compiler wants to see what a step assigns.
        if self.training and self.track_running_stats and (recorder.get() or not mode.get() & TRACE):
            self._track(x)
        return IMPLEMENTATIONS[self.impl](x, self.weight, self.bias, axis=1, eps=self.eps)

    def _check(self, x: Tensor) -> None:
        due = f"give [N, {self.num_features}] or [N, {self.num_features}, …]"
        if x.ndim < 2:
            raise ShapeError(f"{self.head(x)}: x has a batch axis and a channel axis at least; {due}")
        if x.shape[1] != self.num_features:
            raise ShapeError(f"{self.head(x)}: axis 1 has {x.shape[1]} channels, {self.num_features} are due; {due}")
        if x.dtype.kind != "f":
            raise DTypeError(f"{self.head(x)}: normalises floats; cast x with .astype(np.float64)")

    def _evaluate(self, x: Tensor) -> Tensor:
        along = (-1,) + (1,) * (x.ndim - 2)

        def spread(p: Tensor) -> Any:
            return p if x.ndim == 2 else reshape(p, along)

        with scope("normalise"):
            y = (x - spread(self.running_mean)) / sqrt(spread(self.running_var) + self.eps)
        with scope("scale and shift"):
            y = y if self.weight is None else spread(self.weight) * y
            return y if self.bias is None else y + spread(self.bias)  # type: ignore[no-any-return]

    def _track(self, x: Tensor) -> None:
        """Move the running statistics towards those of this batch, or hand the batch to a census."""
        census = _census.get()
        if self in census:
            census[self].add(x)
            return
        with no_grad(), scope("running statistics"):
            # As the layer itself computes them, so that a compiler does so once; squares leave float16 soon.
            x = x.astype(np.float32) if x.dtype == np.float16 else x
            axes = (0, *range(2, x.ndim))
            mu = mean(x, axis=axes, keepdims=x.ndim > 2)
            var = mean((x - mu) ** 2, axis=axes, keepdims=x.ndim > 2)
            count = size(x, axis=axes)
            batches = self.num_batches_tracked + 1
            share = 1 / batches if self.momentum is None else self.momentum
            running_mean = (1 - share) * self.running_mean + share * reshape(mu, (-1,))
            running_var = (1 - share) * self.running_var + share * (reshape(var, (-1,)) * (count / (count - 1)))
            _set(self.running_mean, running_mean)
            _set(self.running_var, running_var)
            self.num_batches_tracked.assign(batches)

    def extra_repr(self) -> str:
        """The number of channels, and what differs from the defaults."""
        options = [
            f"eps={self.eps:g}" * (self.eps != 1e-5),
            (f"momentum={self.momentum:g}" if self.momentum is not None else "momentum=None") * (self.momentum != 0.1),
            "affine=False" * (not self.affine),
            "track_running_stats=False" * (not self.track_running_stats),
            f"impl={self.impl!r}" * (self.impl != "composed"),
        ]
        return ", ".join([str(self.num_features), *filter(None, options)])


def _buffer(value: Array, name: str) -> Parameter:
    return Parameter(value, requires_grad=False, name=name)


def _set(buffer: Parameter, value: Any) -> None:
    """Assign without a change of dtype."""
    buffer.assign(value if value.dtype == buffer.dtype else value.astype(buffer.dtype))


def _eps(op: str, eps: Any) -> float:
    if isinstance(eps, bool) or not isinstance(eps, (int, float, np.floating)) or not 0 <= eps < math.inf:
        raise ArgumentError(f"{op}(eps={eps!r}): no small number; give e.g. eps=1e-5")
    return float(eps)


def _momentum(momentum: Any, decay: Any) -> float | None:
    """The weight of the new batch, from either of the two words for it."""
    if decay is not None and momentum is not UNSET:
        raise ArgumentError(
            f"BatchNorm(momentum={momentum!r}, decay={decay!r}): decay is 1 - momentum; give one of them"
        )
    if momentum is None:
        return None
    word, value = ("momentum", momentum) if decay is None else ("decay", decay)
    if value is UNSET:
        return 0.1
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
        raise ArgumentError(f"BatchNorm({word}={value!r}): no number from 0 to 1; give momentum=0.1, or decay=0.9")
    return float(value) if decay is None else 1 - float(value)


class LayerNorm(Module):
    """Each example normalised over its last axes, then scaled and shifted: y = weight · (x - μ) / √(σ² + ε) + bias.

    Shapes: x [N, …, *normalized_shape], weight and bias [*normalized_shape] → as x. The same in training and evaluation.

    Raises: ArgumentError for sizes that are none; on a call ShapeError for other last axes, DTypeError for integers.

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016.

    >>> import tinygraph as tg
    >>> tg.nn.LayerNorm(2)([[1.0, 3.0]]).numpy().round(4).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, affine: bool = True, bias: bool = True, *,
        dtype: Any = np.float64,
    ) -> None:  # fmt: skip
        sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(init.count("LayerNorm", "normalized_shape", n) for n in sizes)
        if not sizes:
            raise ArgumentError("LayerNorm(normalized_shape=()): no axis to normalise over; give the last sizes of x")
        self.eps = _eps("LayerNorm", eps)
        kind, shape = init.float_dtype("LayerNorm", dtype), self.normalized_shape
        self.weight = Parameter(init.ones(shape, dtype=kind), name="γ") if affine else None
        self.bias = Parameter(init.zeros(shape, dtype=kind), name="β") if affine and bias else None

    def forward(self, x: Any) -> Tensor:
        """Normalise over the last axes."""
        x = self.operand(x)
        due = self.normalized_shape
        if x.shape[-len(due) :] != due:
            raise ShapeError(f"{self.head(x)}: the last axes are not {due}; give [N, …, {', '.join(map(str, due))}]")
        if x.dtype.kind != "f":
            raise DTypeError(f"{self.head(x)}: normalises floats; cast x with .astype(np.float64)")
        return layer_norm(x, self.weight, self.bias, axis=tuple(range(-len(due), 0)), eps=self.eps)

    def extra_repr(self) -> str:
        """The normalised shape, and what differs from the defaults."""
        shape = self.normalized_shape[0] if len(self.normalized_shape) == 1 else self.normalized_shape
        return (
            f"{shape}"
            + f", eps={self.eps:g}" * (self.eps != 1e-5)
            + (", affine=False" if self.weight is None else ", bias=False" * (self.bias is None))
        )


# -- population statistics ---------------------------------------------------------------------------


def _moments(x: Tensor) -> tuple[Any, Any, Any]:
    """The number of values per channel, their mean, and the sum of their squared deviations, in two passes."""
    wide = x if x.dtype == np.float64 else x.astype(np.float64)
    axes = (0, *range(2, x.ndim))
    centre = mean(wide, axis=axes, keepdims=True)
    return size(wide, axis=axes), reshape(centre, (-1,)), sum_((wide - centre) ** 2, axis=axes)


class _Census:
    """Count, mean and sum of squared deviations per channel, of all batches so far."""

    def __init__(self) -> None:
        self.batches, self.count = 0, 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, x: Tensor) -> None:
        """Two sets combine by Chan's formula, which is exact."""
        count, centre, squares = (t.numpy() for t in _moments(x))
        shift, total = centre - self.mean, self.count + int(count)
        self.mean = self.mean + shift * (count / total)
        self.squares = self.squares + squares + shift * (shift * (self.count * count / total))
        self.count = total
        self.batches += 1

    @property
    def variance(self) -> Any:
        """The unbiased estimate."""
        return self.squares / (self.count - 1)


_census: ContextVar[Mapping[Module, _Census]] = ContextVar("tinygraph_census", default=MappingProxyType({}))


def population_statistics(model: Module, data: Any) -> None:
    """After training: set the running statistics of every BatchNorm to those of a whole data set.

    The model runs once over the batches, in training mode and without gradients. What reaches a BatchNorm is
    pooled over all batches: the exact mean and the unbiased variance Σ(x - mean)² / (n - 1) of its n values
    per channel. So every BatchNorm still normalises by mini-batches meanwhile, as it did in training, and the
    statistics are of the inputs that it sees in training, dropout included; batches of the training's size
    are the right ones. Unlike the mean of the batches' variances, times m / (m - 1), as the
    paper has it, this variance counts how the batches' means differ too, and batches may differ in size.

    ``data`` is an array [N, …], which is one batch, or an iterable of batches: arrays, or tuples that begin
    with one. ``num_batches_tracked`` becomes the number of batches. Modes are as before afterwards. All
    statistics are set at the end, or none if an error is raised. Without a BatchNorm nothing is done.

    Raises: ArgumentError for what is no Module or holds no batch, and what the layers raise.

    Source: Ioffe and Szegedy, 2015, algorithm 2; Chan, Golub and LeVeque, Algorithms for computing the sample
    variance, 1983 (combination of batches).

    >>> import numpy as np, tinygraph as tg
    >>> bn = tg.nn.BatchNorm(1)
    >>> tg.nn.population_statistics(bn, [np.array([[1.0], [2.0]]), np.array([[3.0], [6.0]])])
    >>> bn.running_mean.tolist(), bn.running_var.numpy().round(4).tolist()
    ([3.0], [4.6667])
    """
    head = f"population_statistics({describe(model)})"
    if not isinstance(model, Module):
        raise ArgumentError(f"{head}: no Module; give the model, then the data")
    norms = [m for _, m in model.named_modules() if isinstance(m, BatchNorm) and m.track_running_stats]
    if not norms:
        return
    census = {norm: _Census() for norm in norms}
    before = [(module, module.training) for _, module in model.named_modules()]
    batches = 0
    try:
        model.train()
        with no_grad(), Setting(_census, lambda _: census):
            for batch in _batches(data):
                model(batch)
                batches += 1
    finally:
        for module, training in before:
            module.training = training
    if not batches:
        raise ArgumentError(f"{head}: the data holds no batch; give an array, or a list that can be read again")
    for norm, moments in census.items():
        if moments.count > 1:
            _settle(norm, moments)


def _batches(data: Any) -> Iterable[Any]:
    if isinstance(data, (np.ndarray, Tensor)):
        return [data]
    return (_inputs(batch) for batch in data)


def _inputs(batch: Any) -> Any:
    """The first of a batch (inputs, targets, …); a nested list of numbers is inputs only."""
    several = isinstance(batch, (tuple, list)) and len(batch) > 0 and isinstance(batch[0], (np.ndarray, Tensor))
    return batch[0] if several else batch


def _settle(norm: Any, moments: _Census) -> None:
    _set(norm.running_mean, moments.mean)
    _set(norm.running_var, moments.variance)
    norm.num_batches_tracked.assign(moments.batches)
