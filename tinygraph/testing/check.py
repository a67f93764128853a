"""Checks at one point: a hand-written backward, a derived gradient, two functions that should be one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..core.graph import argument_names, flatten
from ..errors import ArgumentError
from ..transforms import vjp
from .derived import Derived, draw_upstream
from .doctor import diagnose_problem
from .kernel import Fault, Kernel, Observed, check_order, choose_wrt, observe, plain
from .problem import Problem
from .report import Entry, Report
from .rounding import Truth, truth
from .snippet import snippet
from .wide import double, unit

Array = np.ndarray[Any, Any]
BLIND = 1e-3
NEAR = 100  # times the limit: a wrong formula is farther off, a chance low of sigma is not


def check_backward(
    reference: Callable[..., Any],
    backward: Callable[..., Any],
    *arrays: Any,
    dy: Any = None,
    wrt: Any = None,
    forward: Callable[..., Any] | None = None,
    extras: Any = None,
    saved: Any = None,
    slack: float = 64.0,
    samples: int = 8,
    kinks: str = "hull",
    compute_dtype: Any = None,
    nondeterministic: bool = False,
    tolerance: tuple[float, float] | None = None,
    seed: int = 0,
) -> Report:
    """Compare ``backward(dy, *arrays)`` with the derived backward of ``reference`` at one point.

    The error of every element is counted in rounding units, |yours - derived| / (sigma + u · mass),
    where the derived gradient is evaluated in longdouble or decimals; up to ``slack`` of them are
    allowed. The verdict is ``ok``, ``structure``, ``range``, ``unstable`` or ``wrong``.

    ``reference(*arrays)`` is made of tinygraph ops. ``backward`` gets NumPy arrays and returns one
    gradient for each name in ``wrt`` (by default every floating argument): a tuple, a dict, or one
    array. ``dy`` is random by default. ``forward`` is the user's forward, compared first;
    ``extras(**inputs)`` gives keywords for the backward; ``saved(*arrays)`` what it kept from its
    forward, passed after dy. ``compute_dtype``: the arithmetic's precision where it is lower than the
    arrays'; ``nondeterministic``: called twice, and the spread is allowed; ``kinks="exact"`` wants
    the derived convention at ties; ``tolerance=(atol, rtol)`` replaces rounding units.

    Returns a Report, never raises for a wrong backward. Raises: ArgumentError for a wrong call.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import check_backward
    >>> report = check_backward(lambda x: tg.tanh(x), lambda dy, x: dy * (1 - np.tanh(x)), np.array([0.5, -1.0]))
    >>> report.verdict, str(report.diagnosis).splitlines()[0]
    ('wrong', 'dx: 1-h for 1-h² in y = tanh(x)')
    """
    given = plain(arrays)
    check_order("check_backward", reference, backward, len(given))
    names = argument_names(reference, len(given))
    upstream = draw_upstream(reference, given, seed) if dy is None else _upstream(dy)
    problem = Problem(dy=upstream, specs=dict(zip(names, given, strict=True)))
    options = Options(
        wrt, forward, extras, saved, slack, samples, kinks, compute_dtype, nondeterministic, tolerance, seed
    )
    return compare(reference, backward, problem, options)


@dataclass(frozen=True, slots=True)
class Options:
    """How to check: the keywords of ``check_backward``."""

    wrt: Any = None
    forward: Callable[..., Any] | None = None
    extras: Any = None
    saved: Any = None
    slack: float = 64.0
    samples: int = 8
    kinks: str = "hull"
    compute_dtype: Any = None
    nondeterministic: bool = False
    tolerance: tuple[float, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kinks not in ("hull", "exact"):
            raise ArgumentError(f"check_backward(kinks={self.kinks!r}): unknown; write 'hull' or 'exact'")


Doctor = Callable[[Kernel, Problem], Any]


def compare(
    reference: Callable[..., Any],
    backward: Callable[..., Any],
    problem: Problem,
    options: Options,
    doctor: Doctor | None = None,
) -> Report:
    """The check of one problem; ``doctor`` is called when someone asks for its opinion."""
    names, given, slack = list(problem.arrays), list(problem.arrays.values()), options.slack
    chosen = choose_wrt("check_backward", names, given, options.wrt)
    derived = Derived(reference, given, problem.dy, [names.index(n) for n in chosen])
    if not all(np.isfinite(a).all() for a in (*given, *problem.upstream, *derived.native) if a.dtype.kind == "f"):
        return _of_non_finite(derived, backward, problem, options, names, chosen)
    kernel = Kernel(backward, names, chosen, options.extras, options.saved)
    seen = observe(kernel, problem.dy, given, nondeterministic=options.nondeterministic)
    exact, entries, faults = _measured(derived, problem, options, chosen, seen)
    warnings = ["blind-reference"] if _is_blind(exact, derived.count) else []
    warnings += ["manual-tolerance"] if options.tolerance is not None else []
    worst = max((e for e in entries if not e.ok and e.kind == "gradient"), key=lambda e: e.ratio, default=None)

    def paste() -> str:
        expected = None if worst is None else double(exact.exact[derived.count + chosen.index(worst.leaf)])
        pick = f"[{chosen.index(worst.leaf)}]" if worst is not None and len(chosen) > 1 else ""
        return snippet(backward, problem, names, pick, expected)

    def opinion() -> Any:
        return (doctor or partial(_doctor, reference, options.seed))(kernel, problem)

    verdict = "range" if seen.out_of_range or any(not np.isfinite(e.got) for e in entries if not e.ok) else None
    if verdict is None and any(e.tied and not e.ok for e in entries):
        verdict = "wrong"
    if verdict is None and any(e.kind == "forward" and not e.ok for e in entries):
        verdict = _judge_forward(reference, problem, chosen, options)
    return Report(
        entries=entries, faults=faults, verdict=verdict, limit=slack, problem=problem, warnings=warnings,
        doctor=opinion, snippet=None if hasattr(backward, "derived") else paste,
    )  # fmt: skip


def _measured(
    derived: Derived, problem: Problem, options: Options, chosen: list[str], seen: Observed
) -> tuple[Truth, list[Entry], list[Fault]]:
    """The truth, and what differs from it. Near the limit, sigma is estimated anew from four times the samples."""
    u, seed = unit(derived.native, options.compute_dtype), problem.crc ^ options.seed
    given = list(problem.arrays.values())
    for samples in (options.samples, 4 * options.samples):
        exact = truth(derived, u, samples=samples, seed=seed)
        faults: list[Fault] = []
        entries = _forward(options, given, derived, exact, faults) if options.forward is not None else []
        faults += seen.faults
        if seen.gradients is not None:
            faults += _structure(seen.gradients, derived, chosen, seen)
            entries += _gradients(seen, derived, exact, chosen, faults, options)
        if not any(options.slack < e.ratio < NEAR * options.slack for e in entries):
            break
    return exact, entries, faults


def _judge_forward(reference: Callable[..., Any], problem: Problem, chosen: list[str], options: Options) -> str:
    """``wrong`` if the user's forward differs on generic numbers too, else ``unstable``."""
    rng = np.random.default_rng(problem.crc)
    names = list(problem.arrays)
    given = list(problem.arrays.values())
    arrays = [np.asarray(rng.uniform(0.5, 2, a.shape), a.dtype) if a.dtype.kind == "f" else a for a in given]
    derived = Derived(reference, arrays, problem.dy, [names.index(n) for n in chosen])
    exact = truth(derived, unit(derived.native, options.compute_dtype), seed=0)
    faults: list[Fault] = []
    entries = _forward(options, arrays, derived, exact, faults)
    return "wrong" if faults or not all(e.ok for e in entries) else "unstable"


def _doctor(reference: Callable[..., Any], seed: int, kernel: Kernel, problem: Problem) -> Any:
    return diagnose_problem(reference, kernel, problem, seed=seed)


def _of_non_finite(
    derived: Derived,
    backward: Callable[..., Any],
    problem: Problem,
    options: Options,
    names: list[str],
    chosen: list[str],
) -> Report:
    """Where arrays are not finite: nan must come out where the derived gradient has it. Else there is nothing to compare."""
    given = list(problem.arrays.values())
    if all(np.isfinite(a).all() for a in (*given, *problem.upstream) if a.dtype.kind == "f"):
        return Report(problem=problem, skipped="the reference itself is not finite here", limit=options.slack)
    kernel = Kernel(backward, names, chosen, options.extras, options.saved)
    seen = observe(kernel, problem.dy, given, nondeterministic=options.nondeterministic)
    faults = list(seen.faults)
    for name, got, due in zip(chosen, seen.gradients or (), derived.native[derived.count :], strict=False):
        if got.shape != due.shape:
            faults.append(Fault("shape", name, f"has shape {got.shape} where {name} has {due.shape}"))
        elif np.isfinite(got[~np.isfinite(due)]).sum() != 0:
            place = ",".join(str(int(i)) for i in np.argwhere(~np.isfinite(due) & np.isfinite(got))[0])
            faults.append(Fault("non-finite", name, f"is finite at [{place}] where the derived gradient is not"))
    return Report(problem=problem, faults=faults, limit=options.slack)


def assert_backward(reference: Callable[..., Any], backward: Callable[..., Any], *arrays: Any, **options: Any) -> None:
    """``check_backward`` that raises GradientMismatch, with the whole message, unless the verdict is ``ok``.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import assert_backward
    >>> assert_backward(tg.exp, lambda dy, x: dy * np.exp(x), np.array([0.5, -1.0]))
    """
    __tracebackhide__ = True
    check_backward(reference, backward, *arrays, **options).check()


def check_equivalent(
    f: Callable[..., Any], g: Callable[..., Any], *arrays: Any, dy: Any = None, slack: float = 64.0, samples: int = 8
) -> Report:
    """Whether ``g`` is ``f``, forward and backward, up to rounding: fused against composed, compiled against eager.

    Both are made of tinygraph ops; ``f`` is the one that is evaluated in wide arithmetic.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import check_equivalent
    >>> x = np.random.default_rng(0).normal(size=(5, 3))
    >>> check_equivalent(tg.batch_norm, tg.fused.batch_norm, x).ok
    True
    """
    for fn in (f, g):
        if not callable(fn):
            raise ArgumentError(
                f"check_equivalent({fn!r}): compares two functions; write check_equivalent(f, g, *arrays)"
            )
    given = plain(arrays)
    upstream = draw_upstream(f, given, 0) if dy is None else _upstream(dy)
    problem = Problem(dy=upstream, specs=dict(zip(argument_names(f, len(given)), given, strict=True)))
    return compare_equivalent(f, g, problem, Options(slack=slack, samples=samples))


def compare_equivalent(f: Callable[..., Any], g: Callable[..., Any], problem: Problem, options: Options) -> Report:
    """``compare`` with the forward and the derived backward of ``g`` in the place of hand-written ones."""
    names = list(problem.arrays)
    chosen = choose_wrt("check_equivalent", names, list(problem.arrays.values()), None)

    def forward(*inputs: Any) -> Any:
        return tuple(t.numpy() for t in flatten(vjp(g, *inputs)[0])[0])

    def backward(cotangent: Any, *inputs: Any) -> Any:
        cotangents = vjp(g, *inputs)[1](cotangent)
        return tuple(np.array(cotangents[names.index(n)].numpy()) for n in chosen)

    backward.__name__ = backward.__qualname__ = f"the backward of {getattr(g, '__name__', 'g')}"
    backward.derived = True  # type: ignore[attr-defined]
    return compare(f, backward, problem, replace(options, forward=forward))


def _upstream(dy: Any) -> Any:
    several = isinstance(dy, (tuple, list)) and not np.isscalar(dy[0])
    return tuple(plain(dy)) if several else plain([dy])[0]


# -- comparing ----------------------------------------------------------------------------------------


def _forward(
    options: Options, arrays: Sequence[Array], derived: Derived, exact: Truth, faults: list[Fault]
) -> list[Entry]:
    """The user's forward against the reference's, output by output."""
    assert options.forward is not None
    with np.errstate(all="ignore"):
        returned = options.forward(*(np.array(a) for a in arrays))
    # A forward may also return what its backward wants to see again.
    found = list(returned)[: derived.count] if isinstance(returned, (tuple, list)) else [returned]
    entries = []
    for k in range(derived.count):
        name = (derived.graph.outputs[k].name or "y") if derived.count == 1 else f"output {k}"
        y = np.asarray(getattr(found[k], "_data", found[k])) if k < len(found) else None
        due = derived.native[k]
        if y is None or y.shape != due.shape:
            got = "nothing" if y is None else f"shape {y.shape}"
            faults.append(Fault("shape", "", f"the forward returns {got} for {name} where shape {due.shape} is due"))
            continue
        entries.append(replace(_entry(name, y, k, exact, options, 0.0), kind="forward"))
    return entries


def _structure(found: Sequence[Array], derived: Derived, wrt: Sequence[str], seen: Observed) -> list[Fault]:
    faults = []
    for g, name, due in zip(found, wrt, derived.native[derived.count :], strict=True):
        if g.shape != due.shape:
            faults.append(Fault("shape", name, f"has shape {g.shape} where {name} has {due.shape}"))
        elif g.dtype != due.dtype:
            faults.append(Fault("dtype", name, f"has dtype {g.dtype} where {name} has {due.dtype}"))
        elif not seen.out_of_range and np.isnan(g).any():
            place = ",".join(str(int(i)) for i in np.argwhere(np.isnan(g))[0])
            faults.append(Fault("non-finite", name, f"is nan at [{place}] where the derived gradient is finite"))
    return faults


def _gradients(
    seen: Observed, derived: Derived, exact: Truth, wrt: Sequence[str], faults: Sequence[Fault], options: Options
) -> list[Entry]:
    broken = {f.leaf for f in faults if f.kind in ("shape", "non-finite")}
    assert seen.gradients is not None
    return [
        _entry(name, g, derived.count + k, exact, options, seen.spread[k])
        for k, (name, g) in enumerate(zip(wrt, seen.gradients, strict=True))
        if name not in broken
    ]


def _entry(name: str, got: Array, k: int, exact: Truth, options: Options, spread: Any) -> Entry:
    """Compare one array; the entry is that of its worst element."""
    g, mass, sigma = exact.exact[k], double(exact.mass[k]), double(exact.sigma[k])
    slack, tolerance = options.slack, options.tolerance
    tiny = float(np.finfo(got.dtype).tiny) if got.dtype.kind == "f" else 0.0
    with np.errstate(all="ignore"):
        error = np.abs(_difference(got, g, exact))
        scale = sigma + exact.u * mass + tiny + spread
        if tolerance is not None:
            atol, rtol = tolerance
            scale, slack = atol + rtol * np.abs(double(g)) + tiny, 1.0
        ratio = np.where(error <= tiny, 0.0, error / scale).astype(np.float64)
        tied = np.zeros(ratio.shape, bool)
        if (hull := exact.hulls[k]) is not None and tolerance is None:
            tied = hull[1] - hull[0] > slack * scale
            ratio = _inside(got, hull, tied, ratio, scale) if options.kinks == "hull" else ratio
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratio)), ratio.shape)) if ratio.size else ()
    worst = float(ratio[index]) if ratio.size else 0.0
    here = [float(np.asarray(a)[index]) if ratio.size else 0.0 for a in (got, double(g), mass, sigma)]
    yours, right, weight, spread_ = here
    kink = bool(ratio.size and tied[index] and worst > slack)
    return Entry(name, bool(worst <= slack), worst, index, yours, right, weight, spread_, tied=kink)


def _difference(got: Array, g: Any, exact: Truth) -> Array:
    with exact.wide.context():
        if exact.wide.name == "decimal" and np.isfinite(got).all():
            return double(exact.wide.array(got) - g)
    return np.asarray(got - double(g))


def _inside(got: Array, hull: Any, tied: Array, ratio: Array, scale: Any) -> Array:
    """At a kink: within the hull of the gradients beside it, element by element and in sum."""
    low, high, runs = hull
    if not tied.any():
        return ratio
    beyond = np.maximum(np.maximum(low - got, got - high), 0) / scale
    sums = [float(r[tied].sum()) for r in runs]
    total, room = float(got[tied].sum()), float(np.sum(np.broadcast_to(scale, got.shape)[tied]))
    excess = max(min(sums) - total, total - max(sums), 0.0) / room
    return np.where(tied, np.maximum(beyond, excess), ratio)


def _is_blind(exact: Truth, count: int) -> bool:
    for g, sigma in zip(exact.exact[count:], exact.sigma[count:], strict=True):
        size = float(np.abs(double(g)).max(initial=0))
        if size > 0 and float(double(sigma).max(initial=0)) > max(BLIND, 16 * exact.u) * size:
            return True
    return False
