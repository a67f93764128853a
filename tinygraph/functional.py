"""Composites: functions built from primitives. Their derivatives are derived, at every order."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .core.convert import dtype_of, operand, shape_of
from .core.primitive import call, misuse, named
from .core.scope import recorder, scope
from .core.tensor import OPS, Tensor, describe, make
from .errors import ArgumentError, AxisError, DTypeError, IndexingError, ShapeError, TinygraphError
from .ops.elementwise import abs as abs_
from .ops.elementwise import astype, detach, div, equal, exp, log, sqrt, where
from .ops.indexing import getitem
from .ops.movement import expand_dims, reshape, transpose
from .ops.reduction import Axis, mean, normalize, single, size
from .ops.reduction import max as max_
from .ops.reduction import sum as sum_

F = TypeVar("F", bound=Callable[..., Any])

COMPOSITES: dict[str, Callable[..., Any]] = {}


def composite(fn: F) -> F:
    """Enter a composite beside the primitives; a wrong keyword gets our word for it."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except TinygraphError as error:
            raise named(fn.__name__, args, error) from error.__cause__
        except TypeError as error:
            raise misuse(fn.__name__, fn, args, kwargs, error) from error

    COMPOSITES[fn.__name__] = OPS[fn.__name__] = wrapper
    return wrapper  # type: ignore[return-value]


def half_by_float32(fn: F) -> F:
    """Compute a float16 ``x`` in float32 and cast the result: its squares and sums would leave float16's range."""

    @functools.wraps(fn)
    def wrapper(x: Any, *rest: Any, **kwargs: Any) -> Any:
        x = operand(x)
        if x.dtype != np.float16:
            return fn(x, *rest, **kwargs)
        arrays = [p for p in (*rest, *kwargs.values()) if isinstance(p, (Tensor, np.ndarray))]
        others = [p.dtype for p in arrays]
        return fn(astype(x, np.float32), *rest, **kwargs).astype(np.result_type(x.dtype, *others))

    return wrapper  # type: ignore[return-value]


# -- statistics -----------------------------------------------------------------------------------


@composite
@half_by_float32
def var(x: Any, axis: Axis = None, *, correction: float = 0, keepdims: bool = False) -> Tensor:
    """The variance, in two passes: Σ(x - mean)² / (n - correction).

    ``correction=1`` is the unbiased estimate (NumPy's ``ddof=1``).

    >>> import tinygraph as tg
    >>> tg.var(tg.tensor([1.0, 2.0, 3.0]), correction=1)
    tensor(1.)
    """
    x = operand(x)
    axes = normalize("var", x, axis)
    centred = x - mean(x, axis=axes, keepdims=True)
    if not correction:
        return mean(centred**2, axis=axes, keepdims=keepdims)  # type: ignore[no-any-return]
    return sum_(centred**2, axis=axes, keepdims=keepdims) / (size(x, axis=axes) - correction)  # type: ignore[no-any-return]


def _root(square: Any) -> Any:
    """√s whose slope at s = 0 is 0, not infinite: for norms and standard deviations."""
    zero = equal(square, 0)
    return where(zero, 0, sqrt(where(zero, 1, square)))


@composite
@half_by_float32
def std(x: Any, axis: Axis = None, *, correction: float = 0, keepdims: bool = False) -> Tensor:
    """The standard deviation, √var; its slope is 0 where the values are constant."""
    return _root(var(x, axis, correction=correction, keepdims=keepdims))  # type: ignore[no-any-return]


@composite
@half_by_float32
def norm(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The Euclidean norm √Σx²; its slope at 0 is 0.

    >>> import tinygraph as tg
    >>> tg.grad(tg.norm)(tg.tensor([0.0, 0.0]))
    tensor([0., 0.])
    """
    x = operand(x)
    x = x if x.dtype.kind in "fc" else astype(x, np.float64)  # a square of small integers may not fit in them
    return _root(sum_(x * x, axis=axis, keepdims=keepdims))  # type: ignore[no-any-return]


def _shift_of(x: Tensor, axis: Any) -> Any:
    """The maximum, as a constant: log-sum-exp does not depend on what is subtracted, at any order."""
    highest = detach(max_(x, axis=axis, keepdims=True))
    return where(equal(abs_(highest), np.inf), 0, highest)


@composite
@half_by_float32
def logsumexp(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Log Σ exp(x), without overflow.

    >>> import tinygraph as tg
    >>> tg.logsumexp(tg.tensor([1000.0, 1000.0])).item()
    1000.6931471805599
    """
    x = operand(x)
    axes = normalize("logsumexp", x, axis)
    highest = _shift_of(x, axes)
    out = log(sum_(exp(x - highest), axis=axes, keepdims=True)) + highest
    return out if keepdims else OPS["squeeze"](out, axis=axes)  # type: ignore[no-any-return]


# -- rearranging ----------------------------------------------------------------------------------


@composite
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged."""
    x = operand(x)
    first, second = single("swapaxes", x, axis1), single("swapaxes", x, axis2)
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return transpose(x, tuple(order))  # type: ignore[no-any-return]


@composite
def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places; the rest keep their order."""
    x = operand(x)
    given = [(v if isinstance(v, (tuple, list)) else (v,)) for v in (source, destination)]
    old, new = ([single("moveaxis", x, a) for a in axes] for axes in given)
    if len(old) != len(new) or len(set(old)) != len(old) or len(set(new)) != len(new):
        raise AxisError(
            f"moveaxis({describe(x)}, {source}, {destination}): axes and places do not pair up; name as many of each, each once"
        )
    order = [a for a in range(x.ndim) if a not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return transpose(x, tuple(order))  # type: ignore[no-any-return]


@composite
def ravel(x: Any) -> Tensor:
    """All elements along one axis."""
    return reshape(operand(x), (-1,))  # type: ignore[no-any-return]


@composite
def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Parts along an axis: a number of equal ones, or the places where to cut.

    >>> import tinygraph as tg
    >>> [p.tolist() for p in tg.split(tg.tensor([1.0, 2.0, 3.0]), [1])]
    [[1.0], [2.0, 3.0]]
    """
    x = operand(x)
    along = single("split", x, axis)
    n = x.shape[along]
    if isinstance(sections, (list, tuple)):
        cuts = [0, *map(operator.index, sections), n]
    else:
        count = operator.index(sections)  # type: ignore[arg-type]
        if count < 1 or n % count:
            raise ShapeError(
                f"split({describe(x)}, {count}): {n} does not divide into {count} parts; give the places where to cut"
            )
        cuts = list(range(0, n + 1, n // count)) if n else [0] * (count + 1)
    before = (slice(None),) * along
    return [getitem(x, (*before, slice(a, b))) for a, b in itertools.pairwise(cuts)]


@composite
def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The elements at integer ``indices`` along an axis; of the flattened array by default."""
    x = operand(x)
    if axis is None:
        return getitem(ravel(x), indices)  # type: ignore[no-any-return]
    return getitem(x, ((slice(None),) * single("take", x, axis) + (indices,)))  # type: ignore[no-any-return]


# -- activations and losses ------------------------------------------------------------------------


@composite
def square(x: Any) -> Tensor:
    """x²."""
    return operand(x) ** 2


@composite
def reciprocal(x: Any) -> Tensor:
    """1 / x."""
    return div(1.0, operand(x))  # type: ignore[no-any-return]


@composite
def silu(x: Any) -> Tensor:
    """X · sigmoid(x)."""
    x = operand(x)
    return x * OPS["sigmoid"](x)  # type: ignore[no-any-return]


@composite
@half_by_float32
def softmax(x: Any, axis: Axis = -1) -> Tensor:
    """exp(x) / Σ exp(x) along an axis, without overflow.

    >>> import tinygraph as tg
    >>> tg.softmax(tg.tensor([0.0, 0.0]))
    tensor([0.5, 0.5])
    """
    x = operand(x)
    axes = normalize("softmax", x, axis)
    with scope("softmax"):
        e = exp(x - _shift_of(x, axes))
        return e / sum_(e, axis=axes, keepdims=True)  # type: ignore[no-any-return]


@composite
@half_by_float32
def log_softmax(x: Any, axis: Axis = -1) -> Tensor:
    """Log softmax(x) = x - log Σ exp(x), without overflow."""
    x = operand(x)
    axes = normalize("log_softmax", x, axis)
    with scope("log_softmax"):
        shifted = x - _shift_of(x, axes)
        return shifted - log(sum_(exp(shifted), axis=axes, keepdims=True))  # type: ignore[no-any-return]


@composite
def cross_entropy(logits: Any, target: Any, *, axis: int = -1, reduction: str = "mean") -> Tensor:
    """-Σ target · log softmax(logits) along ``axis``, reduced over the rest.

    Shapes: logits [N, …, C]; target integer classes [N, …], or probabilities of the logits' shape.
    ``reduction``: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises: ShapeError (nothing is broadcast); IndexingError for a class outside 0 … C-1.

    >>> import tinygraph as tg
    >>> round(tg.cross_entropy(tg.tensor([[2.0, 0.0]]), [0]).item(), 6)
    0.126928
    """
    logits, target = operand(logits), operand(target)
    along = single("cross_entropy", logits, axis)
    head = f"cross_entropy({describe(logits)}, {describe(target)})"
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f"{head}: unknown reduction {reduction!r}; write 'mean', 'sum' or 'none'")
    with scope("cross entropy"):
        logp = log_softmax(logits, along)
        if target.dtype.kind in "iub":
            picked = where(_one_hot(head, logits, target, along), -logp, 0)
        else:
            if target.shape != logits.shape:
                raise ShapeError(
                    f"{head}: probabilities have the shape of the logits; give {logits.shape}, or integer classes"
                )
            picked = -OPS["mul0"](target, logp)
        losses = sum_(picked, axis=along)
        return losses if reduction == "none" else OPS[reduction](losses)  # type: ignore[no-any-return]


def _one_hot(head: str, logits: Tensor, target: Tensor, along: int) -> Any:
    rest = logits.shape[:along] + logits.shape[along + 1 :]
    if target.shape != rest:
        raise ShapeError(f"{head}: one class per example is due, shape {rest}; reshape the target")
    classes = logits.shape[along]
    check = functools.partial(_refuse_classes, head, classes)
    check(target._data)
    listener = recorder.get()
    if listener is not None:
        listener.checked(target, check)
    places = np.arange(classes).reshape([-1 if i == along else 1 for i in range(logits.ndim)])
    return equal(expand_dims(target, axis=along), places)


def _refuse_classes(head: str, classes: int, target: Any) -> None:
    values = np.asarray(target)
    # A negative number is a large one without its sign.
    plain = values.view(f"u{values.itemsize}") if values.dtype.kind == "i" else values
    if values.size and np.maximum.reduce(plain, axis=None) >= classes:
        worst = values.max() if values.max() >= classes else values.min()
        raise IndexingError(f"{head}: class {worst} is not in 0 … {classes - 1}; mend the target")


# -- normalisation ---------------------------------------------------------------------------------


def _named(value: Any, name: str) -> Any:
    """Give a result the name that the formula has for it."""
    value.name = name
    return value


def _constant(value: float, name: str) -> Tensor:
    return _named(make(float(value)), name)  # type: ignore[no-any-return]


@composite
@half_by_float32
def batch_norm(x: Any, gamma: Any = None, beta: Any = None, *, axis: int = 1, eps: float = 1e-5) -> Tensor:
    """Batch normalisation over a mini-batch, from seven primitives: mean, sub, pow, add, sqrt, div, mul.

    μ = mean(x), σ² = mean((x - μ)²), x̂ = (x - μ) / √(σ² + ε), y = γ · x̂ + β, with the statistics of
    each channel over all other axes.

    Shapes: x [N, C, *S] (``axis=1`` is the channel axis), gamma [C], beta [C] → [N, C, *S]. The
    variance is the biased one, in two passes. One value per channel gives y = β.

    Raises: ShapeError if x has no values per channel, or gamma or beta are not of shape [C]; DTypeError for integers.

    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithm 1.

    >>> import tinygraph as tg
    >>> y = tg.batch_norm(tg.tensor([[1.0], [3.0]]), eps=0.0)
    >>> y.tolist()
    [[-1.0], [1.0]]
    """
    x = operand(x)
    gamma, beta = (None if p is None else operand(p) for p in (gamma, beta))
    channel = check_batch_norm("batch_norm", x, gamma, beta, axis, eps)
    axes = tuple(i for i in range(x.ndim) if i != channel)
    # The statistics broadcast as they are when the channels come last; else they keep their axes.
    keep = channel != x.ndim - 1
    with scope("mean"):
        mu = _named(mean(x, axis=axes, keepdims=keep), "μ")
    with scope("centre"):
        xc = _named(x - mu, "x−μ")
    with scope("variance"):
        var = _named(mean(xc**2, axis=axes, keepdims=keep), "σ²")
    with scope("normalise"):
        sigma = _named(sqrt(var + _constant(eps, "ε")), "σ")
        y = _named(xc / sigma, "x̂")
    if gamma is None and beta is None:
        return y  # type: ignore[no-any-return]
    with scope("scale and shift"):
        along = tuple(-1 if i == channel else 1 for i in range(x.ndim))
        if gamma is not None:
            y = (reshape(gamma, along) if keep else gamma) * y
        if beta is not None:
            y = y + (reshape(beta, along) if keep else beta)
    return y  # type: ignore[no-any-return]


def check_batch_norm(op: str, x: Any, gamma: Any, beta: Any, axis: int, eps: float) -> int:
    """The channel axis as a non-negative number, after checking everything that a user can get wrong."""
    shape = shape_of(x)

    def head() -> str:
        return call(op, [p for p in (x, gamma, beta) if p is not None], {"axis": axis})

    if len(shape) < 2:
        raise ShapeError(f"{head()}: x has a batch axis and a channel axis at least; give shape (N, C) or (N, C, …)")
    channel = single(op, x, axis)
    if dtype_of(x).kind != "f":
        raise DTypeError(f"{head()}: normalises floats; cast x with .astype(np.float64)")
    channels = shape[channel]
    if 0 in shape and channels:
        raise ShapeError(f"{head()}: no values per channel, so no mean; leave out empty batches")
    for name, p in (("gamma", gamma), ("beta", beta)):
        if p is not None and shape_of(p) != (channels,):
            raise ShapeError(
                f"{head()}: {name} has shape {shape_of(p)}, one value for each of the {channels} channels is due; give shape ({channels},)"
            )
    if not _is_small(eps):
        raise ArgumentError(f"{head()}: eps={eps!r} is no small number; give e.g. eps=1e-5")
    return channel


def _is_small(eps: Any) -> bool:
    return isinstance(eps, (int, float, np.floating)) and not isinstance(eps, bool) and bool(0 <= eps < np.inf)


@composite
@half_by_float32
def layer_norm(x: Any, gamma: Any = None, beta: Any = None, *, axis: Axis = -1, eps: float = 1e-5) -> Tensor:
    """Layer normalisation: each example normalised over the given (last) axes, then scaled and shifted.

    Shapes: x [N, …, C], gamma and beta of the normalised axes' shape → as x.

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016.
    """
    x = operand(x)
    axes = normalize("layer_norm", x, axis)
    due = tuple(x.shape[a] for a in axes)
    if x.dtype.kind != "f":
        raise DTypeError(f"layer_norm({describe(x)}): normalises floats; cast x with .astype(np.float64)")
    if not _is_small(eps):
        raise ArgumentError(f"layer_norm({describe(x)}): eps={eps!r} is no small number; give e.g. eps=1e-5")
    with scope("layer norm"):
        xc = x - mean(x, axis=axes, keepdims=True)
        y = xc / sqrt(mean(xc**2, axis=axes, keepdims=True) + _constant(eps, "ε"))
        full = tuple(n if i in axes else 1 for i, n in enumerate(x.shape))
        for name, given in (("gamma", gamma), ("beta", beta)):
            if given is None:
                continue
            p = operand(given)
            if p.shape != due:
                raise ShapeError(
                    f"layer_norm({describe(x)}): {name} has shape {p.shape}; give shape {due}, that of the normalised axes"
                )
            spread = p if axes[-1] == x.ndim - 1 and len(axes) == p.ndim == 1 else reshape(p, full)
            y = spread * y if name == "gamma" else y + spread
    return y  # type: ignore[no-any-return]
