"""Ways to break the engine on purpose, each undone on leaving the context."""

from __future__ import annotations

from contextlib import contextmanager
from types import ModuleType

import numpy as np

import tinygraph as tg
from tinygraph.core import autodiff
from tinygraph.core.primitive import REGISTRY, Each


@contextmanager
def replaced(owner, name, value):
    """``owner.name`` is ``value`` inside; frozen records included."""
    write = setattr if isinstance(owner, ModuleType) else object.__setattr__
    before = getattr(owner, name)
    write(owner, name, value)
    try:
        yield
    finally:
        write(owner, name, before)


def broken_rule(op, position, rule):
    """The rule of one operand of one primitive replaced."""
    before = op.vjps
    if isinstance(before, Each):
        return replaced(op, "vjps", Each(lambda i: rule if i == position else before[i]))
    return replaced(op, "vjps", tuple(rule if i == position else r for i, r in enumerate(before)))


# Each takes a right rule and makes a wrong one.
PERTURBED = {
    "scaled": lambda rule: lambda *a, **p: rule(*a, **p) * 1.001,
    "negated": lambda rule: lambda *a, **p: -rule(*a, **p),
    "doubled": lambda rule: lambda *a, **p: 2 * rule(*a, **p),
    "dropped": lambda rule: lambda *a, **p: None,
    "zeroed": lambda rule: lambda *a, **p: 0 * rule(*a, **p),
    "shifted": lambda rule: lambda *a, **p: rule(*a, **p) + 0.001,
}


def _stopped(x):
    return x.detach() if isinstance(x, tg.Tensor) else x


def _frozen(x):
    return tg.tensor(np.asarray(x._data)) if isinstance(x, tg.Tensor) and isinstance(x._data, np.ndarray) else x


# Right at first order, wrong at second: the rule does not see that its inputs vary.
FREEZING = {
    "detached": lambda rule: lambda g, *a, **p: rule(g, *map(_stopped, a), **p),
    "saved as arrays": lambda rule: lambda g, *a, **p: rule(g, *map(_frozen, a), **p),
}


# -- the traversal ---------------------------------------------------------------------------------


class _Pending:
    """The dict of pending cotangents, with another idea of how a second contribution is added."""

    def __init__(self, real):
        self.real = real

    def get(self, x):
        return None


class _Overwriting(_Pending):
    def __setitem__(self, x, contribution):
        self.real[x] = contribution


class _KeepingTheFirst(_Pending):
    def __setitem__(self, x, contribution):
        self.real.setdefault(x, contribution)


class _InPlace(_Pending):
    def __setitem__(self, x, contribution):
        if x in self.real and self.real[x].flags.writeable:
            np.add(self.real[x], contribution, out=self.real[x])
        else:
            self.real[x] = contribution if x not in self.real else self.real[x] + contribution


class _LosingTheThird(_Pending):
    counts: dict = {}

    def __setitem__(self, x, contribution):
        used = self.counts[x] = self.counts.get(x, 0) + 1
        if used == 1:
            self.real[x] = contribution
        elif used == 2:
            self.real[x] = self.real[x] + contribution


def _visiting(pending):
    visit = autodiff._visit

    def wrapped(t, g, active, cotangents, *rest, **params):
        return visit(t, g, active, pending(cotangents), *rest, **params)

    return replaced(autodiff, "_visit", wrapped)


def _same_operand_twice_once():
    visit = autodiff._visit

    def wrapped(t, g, active, cotangents, *rest, **params):
        inputs = t.node.inputs
        before = dict(cotangents)
        found = visit(t, g, active, cotangents, *rest, **params)
        if len(set(inputs)) < len(inputs) and len(found) > 1:
            x = inputs[0]
            cotangents[x] = found[0][-1] if x not in before else before[x] + found[0][-1]
        return found

    return replaced(autodiff, "_visit", wrapped)


def _fit(sum_axes):
    real = autodiff.fit

    def fit(contribution, like):
        if contribution.shape == like.shape:
            return real(contribution, like)
        full = np.asarray(contribution)
        extra = full.ndim - like.ndim
        return sum_axes(full, extra, like)

    return replaced(autodiff, "fit", fit)


def _mean_not_sum(full, extra, like):
    summed = full.sum(axis=tuple(range(extra)))
    kept = tuple(i for i, n in enumerate(like.shape) if n == 1 and summed.shape[i] != 1)
    return summed.mean(axis=kept, keepdims=True) if kept else summed


def _first_not_sum(full, extra, like):
    return full[(0,) * extra][tuple(slice(0, n) for n in like.shape)]


def _depth_first():
    """From the outputs down one branch after the other, as a recursion without an order would."""
    paths = autodiff._paths

    def wrapped(outputs, wrt, since):
        order, active = paths(outputs, wrt, since)
        left, found, stack = set(order), [], list(outputs)
        while stack:
            t = stack.pop()
            if t in left:
                left.discard(t)
                found.append(t)
                stack.extend(t.node.inputs)
        return found[::-1], active

    return replaced(autodiff, "_paths", wrapped)


def _mean_over_axis_1():
    """Divided by the number of rows, not of columns."""
    op = REGISTRY["mean"]
    rule = op.vjps[0]

    def wrong(g, out, x, *, axis, keepdims):
        right = rule(g, out, x, axis=axis, keepdims=keepdims)
        return right * (x.shape[1] / x.shape[0]) if axis == (1,) else right

    return broken_rule(op, 0, wrong)


def _backwards_order(t):
    return -t.node.serial


def _by_name(t):
    return t.node.op.name


def _by_depth(t):
    """Distance from the leaves by the shortest path: no topological order."""
    depth = 0
    while t.node is not None:
        t = min(t.node.inputs, key=lambda x: x.node is not None)
        depth += 1
    return depth


TRAVERSAL = {
    "a later contribution overwrites": lambda: _visiting(_Overwriting),
    "only the first contribution is kept": lambda: _visiting(_KeepingTheFirst),
    "the third contribution is lost": lambda: _visiting(type("Fresh", (_LosingTheThird,), {"counts": {}})),
    "accumulation in place, on an array that is shared": lambda: _visiting(_InPlace),
    "an operand that is used twice counts once": _same_operand_twice_once,
    "a broadcast axis is averaged, not summed": lambda: _fit(_mean_not_sum),
    "a broadcast axis takes the first copy": lambda: _fit(_first_not_sum),
    "results are visited from first to last": lambda: replaced(autodiff, "by_serial", _backwards_order),
    "results are visited by the name of their op": lambda: replaced(autodiff, "by_serial", _by_name),
    "results are visited by distance": lambda: replaced(autodiff, "by_serial", _by_depth),
    "results are visited depth first": _depth_first,
    "a mean over axis 1 is scaled wrongly": _mean_over_axis_1,
}
