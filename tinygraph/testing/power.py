"""What a gradient check is worth: how many wrong backwards, made from the graph itself, it catches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.tensor import describe
from ..errors import ArgumentError, NotAlgebraic
from .doctor.probes import Draw, Trial, draw_trials
from .faults import Run
from .kernel import Kernel, choose_wrt
from .mutants import Mutant, Right, mutants_of
from .shapes import parameters, parse

Array = np.ndarray[Any, Any]
PROBES = 4
NULL, FAINT = 1e-9, 1e-3
LOSSES = {"sum": ("sum()", "y.sum()"), "squares": ("0.5 * (y**2).sum()", "0.5 * (y**2).sum()")}


@dataclass(frozen=True, slots=True)
class NullDirection:
    """A loss that is constant in an argument: ``sum`` (dy = 1) or ``squares`` (dy = y).

    ``share``: how much of the terms of the derived gradient is left, at most, on generic probes.
    """

    loss: str
    leaf: str
    share: float

    def __str__(self) -> str:
        (of, loss), leaf = LOSSES[self.loss], self.leaf
        if self.share <= NULL:
            return f"{of} of this output is constant in {leaf}: a loss {loss} sees no term of d{leaf}"
        return (
            f"{of} of this output is almost constant in {leaf}: with a loss {loss} the terms of d{leaf} cancel "
            f"(to {self.share:.0e}), so that it sees no factor on all of them"
        )


@dataclass(frozen=True, slots=True, repr=False)
class PowerReport:
    """What a check is worth: it caught ``caught`` of the ``total`` wrong backwards in ``mutants``; ``survivors`` are the others.

    ``false_alarm``: it rejects the right backward as well. ``null_directions``: losses that are constant
    in an argument, so that a check built on them says little. ``str`` is the whole message.
    """

    caught: int
    total: int
    survivors: tuple[Mutant, ...]
    mutants: tuple[Mutant, ...]
    false_alarm: bool
    null_directions: tuple[NullDirection, ...]
    _alarm: str = field(default="", compare=False)

    def __str__(self) -> str:
        lines = [f"your check catches {self.caught} of {self.total} wrong backwards"]
        if not self.total:
            lines = ["no wrong backward can be made from this graph"]
        if self.false_alarm:
            lines.append(f"it rejects the right backward as well ({self._alarm}), so its rejections say nothing")
        lines += [f"    {mutant}" for mutant in self.survivors]
        return "\n".join([*lines, *map(str, self.null_directions)])

    def __repr__(self) -> str:
        alarm = "; false alarm" if self.false_alarm else ""
        blind = "".join(f"; blind: {n.loss} in {n.leaf}" for n in self.null_directions)
        return f"<PowerReport: {self.caught} of {self.total} caught{alarm}{blind}>"


def power(
    check: Callable[[Any], Any], reference: Callable[..., Any], *, dims: Mapping[str, Any] | None = None,
    dtype: Any = np.float64, wrt: Any = None, max_mutants: int = 64, seed: int = 0,
    specs: Mapping[str, Any] | None = None, **shapes: Any,
) -> PowerReport:  # fmt: skip
    """Measure a check: hand it the right backward of ``reference`` and wrong ones, and count what it rejects.

    ``check(backward)`` is your own check, written for any backward: it rejects by raising an Exception or
    by returning something false, and accepts with None or something true. It gets first the derived
    backward, then up to ``max_mutants`` others with one fault each, made from the graph: a term dropped,
    negated, or divided by another count, a factor left out, a broadcast not summed, another axis,
    a constant missing, a mean over n - 1. Each is called ``backward(dy, *arrays)`` with NumPy arrays at shapes of
    the check's choice, and gives gradients in the order of ``wrt`` (by default every argument), a tuple,
    or one array where there is one; ``backward.forward(*arrays)`` is the forward, always right.

    Faults that do not show on generic probes, in shapes ``x="N C"`` and of ``dtype``, do not count. A check
    that is a Hypothesis test is fastest with ``phases=(Phase.explicit, Phase.generate)``: nothing has to be shrunk.

    Raises: ArgumentError for a wrong call; NotAlgebraic where the check is a proof, since the wrong
    backwards compute in float64.

    Source: DeMillo, Lipton, Sayward, Hints on test data selection, 1978 (mutation testing).

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import power
    >>> def centred(x):
    ...     mu = tg.mean(x, axis=0)
    ...     return x - mu
    >>> def check(backward):
    ...     x, dx, h = np.array([1.0, 2.0, 4.0]), np.zeros(3), 1e-6
    ...     for i, step in enumerate(h * np.eye(3)):
    ...         dx[i] = (backward.forward(x + step).sum() - backward.forward(x - step).sum()) / (2 * h)
    ...     return np.allclose(backward(np.ones(3), x), dx, atol=1e-5)
    >>> print(power(check, centred, x="N"))
    your check catches 6 of 7 wrong backwards
        dx: term through mu not reduced over axis 0
    sum() of this output is constant in x: a loss y.sum() sees no term of dx
    """
    _check_order(check, reference, {**shapes, **(specs or {})})
    known = parse("power", reference, shapes, specs)
    kind = np.dtype(dtype)
    if kind.kind != "f":
        raise ArgumentError(f"power(dtype={dtype!r}): gradients are real; give a float dtype")
    if isinstance(max_mutants, bool) or not isinstance(max_mutants, int) or max_mutants < 1:
        raise ArgumentError(f"power(max_mutants={max_mutants!r}): counts wrong backwards; give 1 at least")
    draw = Draw(known, dims, None, dict.fromkeys(known.args, kind))
    names, rng = list(known.args), np.random.default_rng(seed)
    chosen = choose_wrt("power", names, list(draw.arrays(rng, draw.sizes(rng), "real").values()), wrt)
    right = Right(reference, names, chosen)
    runs = [Run(t) for t in draw_trials(reference, Kernel(right, names, chosen), draw, PROBES, seed)]
    if not runs:
        raise ArgumentError(
            "power: the reference is not finite on generic numbers, so that there is nothing to compare"
        )
    made = mutants_of(right, runs, max_mutants, kind)
    alarm, reason = _rejects(check, right)
    survivors = tuple(m for m in made if not _rejects(check, m)[0])
    nulls = tuple(null_directions(reference, runs, chosen))
    return PowerReport(
        len(made) - len(survivors), len(made), survivors, tuple(made), alarm, nulls, _said(reason) if alarm else ""
    )


def _check_order(check: Any, reference: Any, shapes: Mapping[str, Any]) -> None:
    """Both callable, and not the other way round."""
    for fn, what in ((check, "check"), (reference, "reference")):
        if not callable(fn):
            raise ArgumentError(
                f'power({describe(fn)}): the {what} is a function; write power(check, reference, x="N C")'
            )
    ours, theirs = parameters(reference)[0], parameters(check)[0]
    if ours and shapes and not set(shapes) & set(ours) and set(shapes) <= set(theirs):
        raise ArgumentError(
            "power: these look swapped: the second function is the reference; write power(check, reference, …)"
        )
    try:
        signature = inspect.signature(check)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None)
    except TypeError:
        name = getattr(check, "__name__", "check")
        raise ArgumentError(
            f"power({name}{signature}, …): the check is called with one argument, the backward; write def {name}(backward)"
        ) from None


def _rejects(check: Callable[[Any], Any], backward: Any) -> tuple[bool, Any]:
    """Whether the check rejects a backward, and the exception or the value by which it does."""
    try:
        verdict = check(backward)
    except NotAlgebraic as error:
        # Neither a yes nor a no: what cannot be proved is not rejected.
        raise NotAlgebraic(f"power: the check cannot judge: {error}") from error
    except Exception as error:
        return True, error
    try:
        return verdict is not None and not verdict, verdict
    except ValueError:
        raise ArgumentError(
            f"power: the check returned {describe(verdict)}; return one truth value, e.g. with np.all"
        ) from None


def _said(reason: Any) -> str:
    """One line about a rejection. It is asked for once: the text of a GradientMismatch is a doctor's visit."""
    if not isinstance(reason, Exception):
        return f"it returned {reason!r}".splitlines()[0]
    return f"{type(reason).__name__}: {str(reason).strip()}".splitlines()[0].rstrip(": ")


def null_directions(reference: Callable[..., Any], runs: Sequence[Run], wrt: Sequence[str]) -> list[NullDirection]:
    """Losses that say nothing about an argument: dy = 1 and dy = y, where the derived gradient all but vanishes."""
    ordinary = runs[::2]  # the others make small constants matter
    found = []
    for loss in LOSSES:
        shares: dict[str, float] = dict.fromkeys(wrt, 0.0)
        for run in ordinary:
            outputs = [run.values[k] for k in run.tape.outputs]
            dys = [np.ones(y.shape) if loss == "sum" else np.asarray(y) for y in outputs]
            upstream = tuple(dys) if isinstance(run.trial.dy, tuple) else dys[0]
            along = Trial(reference, run.trial.kernel, run.trial.arrays, run.trial.sizes, 0, upstream)
            size = max(float(np.sqrt(np.mean(np.square(d)))) for d in dys)
            for leaf in wrt:
                mass = size * run.mass(leaf)
                share = float(np.abs(along.derived(leaf)).max(initial=0)) / mass if mass > 0 else 1.0
                shares[leaf] = max(shares[leaf], share)
        found += [NullDirection(loss, leaf, share) for leaf, share in shares.items() if share <= FAINT]
    return found
