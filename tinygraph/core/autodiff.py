"""Reverse mode: one traversal from outputs to leaves, and what is built on it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, GradientError, ShapeError, StaleError, TinygraphError
from .graph import by_serial, flatten, leaves_like
from .node import LATEST
from .primitive import bad_keyword, call, check_finite, named
from .scope import ANOMALY, GRAD, TRACE, Scope, flags, mode, recorder, scope_var
from .tensor import OPS, Tensor, describe, make

_commit = threading.Lock()
_data = attrgetter("_data")


def sweep(
    cotangents: dict[Tensor, Any], wrt: Collection[Tensor] | None = None, *, record: bool = False, since: int = 0
) -> Iterator[tuple[Tensor, int, Any]]:
    """Reverse mode, one contribution at a time: ``(result, argument, contribution)``.

    ``cotangents`` holds the seeds, as arrays, or as Tensors if the backward is to be recorded. Each
    contribution is added to it under the argument's Tensor; a result's entry is taken out when
    it is visited, unless ``wrt`` names it. What remains are the cotangents of ``wrt`` (by default:
    of the leaves). A node is visited only if it lies on a path to something asked for; nodes older
    than serial ``since`` are not looked at.
    """
    latest = LATEST[0]
    order, active = _paths(cotangents, wrt, since)
    keep = set(wrt or ())
    visit = _visit_recorded if record else _visit
    anomaly = mode.get() & ANOMALY != 0
    for t in reversed(order):
        g = cotangents.get(t) if t in keep else cotangents.pop(t, None)
        if g is not None:
            yield from visit(t, g, active, cotangents, anomaly)
    if LATEST[0] != latest:  # by another thread, or between two steps of this iterator
        for t in order:
            _refuse_stale(t)


def _paths(
    outputs: Mapping[Tensor, Any], wrt: Collection[Tensor] | None, since: int
) -> tuple[list[Tensor], set[Tensor]]:
    """Results between ``outputs`` and ``wrt`` in order of creation, and every Tensor on such a path."""
    seen = {t for t in outputs if t._requires}
    stack = [t for t in seen if t.node is not None]
    order = []
    while stack:
        t = stack.pop()
        node = t.node
        if node is None or node.serial < since:
            continue
        order.append(t)
        for x in node.inputs:
            if x._requires and x not in seen:
                seen.add(x)
                if x.node is not None:
                    stack.append(x)
            if x.stamp > node.serial:
                _refuse_stale(t)
    order.sort(key=by_serial)
    if wrt is None:
        return order, seen
    active = set(wrt)
    on_path = []
    for t in order:
        if not active.isdisjoint(t.node.inputs):  # type: ignore[union-attr]
            active.add(t)
            on_path.append(t)
    return on_path, active


def _refuse_stale(t: Tensor) -> None:
    """Raise StaleError if an operand has another value than the node of ``t`` has read."""
    node: Any = t.node
    for x in node.inputs:
        if x.stamp > node.serial:
            raise StaleError(
                f"backward({describe(t)}): {describe(x)} was assigned after {node.op.name} had read it; "
                "run the forward again before backward"
            )


def _visit(
    t: Tensor, g: Any, active: set[Tensor], cotangents: dict[Tensor, Any], anomaly: bool, record: bool = False
) -> list[tuple[Tensor, int, Any]]:
    """Add what one node passes back to its inputs; each contribution in its input's shape and dtype."""
    node = t.node
    assert node is not None
    op, inputs, params = node.op, node.inputs, node.params
    pulled: Any = op.pullback(node, g, record) if op.pullback is not None else None
    operands, out = (inputs, t) if record else (list(map(_data, inputs)), t._data)
    contributions = []
    for i, x in enumerate(inputs):
        if x not in active:
            continue
        if pulled is not None:
            contribution = pulled[i]
        elif (rule := op.vjps[i]) is not None:
            contribution = rule(g, out, *operands, **params) if params else rule(g, out, *operands)
        else:
            continue
        if contribution is None:
            continue
        like = x._data
        if contribution.shape != like.shape or contribution.dtype is not like.dtype:
            contribution = fit(contribution, like)
        if anomaly:
            check_finite(op, (g, *inputs), contribution, "its backward ", node.where)
        before = cotangents.get(x)
        cotangents[x] = contribution if before is None else before + contribution
        if before is not None and mode.get() & ANOMALY:
            check_finite(
                op, (before, contribution), cotangents[x], "the sum of cotangents in its backward ", node.where
            )
        contributions.append((t, i, contribution))
    return contributions


def _visit_recorded(
    t: Tensor, g: Any, active: set[Tensor], cotangents: dict[Tensor, Any], anomaly: bool
) -> list[tuple[Tensor, int, Any]]:
    node = t.node
    assert node is not None
    parent = scope_var.get()
    scope_var.set(Scope("backward", node.scope, node))
    try:
        return _visit(t, g, active, cotangents, anomaly, record=True)
    finally:
        scope_var.set(parent)


def fit(contribution: Any, like: np.ndarray[Any, Any]) -> Any:
    """Sum a cotangent back to the shape that was broadcast, and cast it to the dtype that was promoted."""
    if contribution.shape != like.shape:
        extra = contribution.ndim - like.ndim
        axes = tuple(range(extra)) + tuple(
            i + extra for i, n in enumerate(like.shape) if n == 1 and contribution.shape[i + extra] != 1
        )
        contribution = OPS["sum"](contribution, axis=axes)
        if contribution.shape != like.shape:
            contribution = OPS["reshape"](contribution, like.shape)
    if contribution.dtype != like.dtype:
        contribution = OPS["astype"](contribution, like.dtype)
    return contribution


def pull_back(
    outputs: Collection[Tensor], seeds: Collection[Tensor], wrt: Collection[Tensor], *, record: bool, since: int = 0
) -> list[Tensor]:
    """The cotangents of ``wrt`` as Tensors, zeros where nothing reaches; recorded if asked."""
    pending = _seeded(outputs, seeds, record)
    with _pass(record):
        for _ in sweep(pending, wrt, record=record, since=since):
            pass
    return [_tensor(pending[x]) if x in pending else make(np.zeros(x.shape, x.dtype)) for x in wrt]


def _seeded(outputs: Collection[Tensor], seeds: Collection[Tensor], record: bool) -> dict[Tensor, Any]:
    pending: dict[Tensor, Any] = {}
    for output, seed in zip(outputs, seeds, strict=True):
        g = seed if record else seed._data
        pending[output] = pending[output] + g if output in pending else g
    return pending


@contextmanager
def _pass(record: bool) -> Iterator[None]:
    """One reverse pass: NumPy's warnings are silent, and it is recorded or not."""
    with np.errstate(all="ignore"), flags(add=GRAD) if record else flags(remove=GRAD):
        yield


def _tensor(cotangent: Any) -> Tensor:
    return cotangent if isinstance(cotangent, Tensor) else make(np.asarray(cotangent))


def as_seed(output: Tensor, seed: Any, op: str = "backward", word: str = "gradient") -> Tensor:
    """A cotangent for ``output``: given in its shape, or 1 for one element; in its dtype."""
    if seed is None:
        if output.size != 1:
            raise GradientError(
                f"{op}({describe(output)}): the output has {output.size} elements, so a cotangent must say how "
                f"they count; pass {word}= of shape {output.shape}, or reduce it first, e.g. with tg.sum"
            )
        return make(np.ones(output.shape, output.dtype))
    try:
        seed = seed if isinstance(seed, Tensor) else Tensor(seed)
    except TinygraphError as error:
        raise named(op, (output, seed), error) from error.__cause__
    if seed.shape != output.shape:
        rule = (
            "a tangent has the shape of its primal" if word == "tangents" else "a cotangent has the shape of its output"
        )
        raise ShapeError(f"{call(op, (output, seed))}: {rule}; pass {word}= of shape {output.shape}")
    if seed.dtype.kind == "c":
        raise DTypeError(f"{call(op, (output, seed))}: a direction of real numbers is real; pass its real part")
    fits = isinstance(seed._data, np.ndarray) and seed.dtype == output.dtype
    return seed if fits else OPS["astype"](seed, output.dtype)  # type: ignore[no-any-return]


def gradients(output: Any, wrt: Any, seed: Any = None, create_graph: bool = False) -> Any:
    """d(output · seed)/d(wrt) on a graph that stands, for leaves or intermediate results.

    ``output`` is a Tensor, or a list of them with a list of seeds; ``wrt`` a Tensor or a nested dict,
    list or tuple of Tensors. The result has the structure of ``wrt``; what is not reached gets zeros.
    With ``create_graph`` the result is itself recorded. Nothing is stored in ``.grad``.

    Raises: GradientError if something in ``wrt`` does not require a gradient, or a seed is missing;
    ShapeError if a seed has another shape.

    >>> import tinygraph as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> y = x * x
    >>> tg.gradients(y * y, [x, y])
    [tensor(108.), tensor(18.)]
    """
    outputs, structure = flatten(output)
    leaves, tree = flatten(wrt)
    if seed is None:
        seeds = [None] * len(outputs)
    else:
        seeds = leaves_like(f"{call('gradients', outputs)}: the seed", structure, seed)
    for x in (*outputs, *leaves):
        if not isinstance(x, Tensor):
            raise DTypeError(f"gradients({describe(x)}): works on Tensors; use tg.grad(fn) for a function of arrays")
    for x in leaves:
        if not x._requires:
            raise GradientError(
                f"gradients({describe(x)}): this Tensor does not require a gradient; make it with "
                "requires_grad=True before the forward"
            )
    record = bool(create_graph or mode.get() & TRACE)
    given = [as_seed(t, s, "gradients", "seed") for t, s in zip(outputs, seeds, strict=True)]
    return tree.build(pull_back(outputs, given, leaves, record=record))


def backward(output: Tensor, gradient: Any = None, *, create_graph: bool = False, **unknown: Any) -> None:
    """``Tensor.backward``: gradients of every leaf, computed first, then added to ``.grad``."""
    message = bad_keyword(f"backward({describe(output)})", unknown, ("gradient", "create_graph"))
    if message:
        raise ArgumentError(message)
    if not output._requires:
        raise GradientError(
            f"backward({describe(output)}): nothing here requires a gradient; make a leaf with "
            "requires_grad=True, and compute outside no_grad"
        )
    seed = as_seed(output, gradient)
    record = bool(create_graph or mode.get() & TRACE)
    pending = _seeded([output], [seed], record)
    with _pass(record):
        for _ in sweep(pending, record=record):
            pass
        with _commit:
            totals = [
                (x, _tensor(g) if x.grad is None else x.grad + _tensor(g)) for x, g in pending.items() if x.node is None
            ]
            listener = recorder.get()
            for x, total in totals:
                if listener is not None:
                    listener.graded(x, x.grad, reading=False)
                x.grad = total
    output.seed = seed


OPS["backward"] = backward
