"""One problem compared: what the kernel did, how far it is off in rounding units, and what that means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import ArgumentError
from .derived import Derived
from .doctor import diagnose_problem
from .kernel import Fault, Kernel, Observed, choose_wrt, observe
from .problem import Problem
from .report import Entry, Report
from .rounding import Truth, truth
from .snippet import snippet
from .wide import double, unit

Array = np.ndarray[Any, Any]
Doctor = Callable[[Kernel, Problem], Any]
NEAR = 100  # times the limit: a wrong formula is farther off, a chance low of sigma is not
SHRINKS = 0.1  # what is left of a rounding error, at most, in longdouble


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
        pair = self.tolerance is None or (
            isinstance(self.tolerance, (tuple, list))
            and len(self.tolerance) == 2
            and all(_number(t, 0) for t in self.tolerance)
        )
        wrong = {
            "kinks": ("is 'hull' or 'exact'", self.kinks in ("hull", "exact")),
            "slack": ("is a positive number", _number(self.slack, 0) and self.slack > 0),
            "samples": ("is a whole number from 1 on", isinstance(self.samples, int) and self.samples > 0),
            "seed": ("is a whole number from 0 on", isinstance(self.seed, int) and self.seed >= 0),
            "tolerance": ("is a pair (atol, rtol) of numbers from 0 on", pair),
            "forward": ("is a function", self.forward is None or callable(self.forward)),
            "extras": (
                "is a function of the inputs, or a dict",
                callable(self.extras) or self.extras is None or isinstance(self.extras, Mapping),
            ),
        }
        for name, (due, fits) in wrong.items():
            if not fits:
                raise ArgumentError(f"check_backward({name}={getattr(self, name)!r}): {name} {due}; give one")


def _number(value: Any, least: float) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(value >= least)


def compare(
    reference: Callable[..., Any],
    backward: Callable[..., Any],
    problem: Problem,
    options: Options,
    doctor: Doctor | None = None,
) -> Report:
    """The check of one problem; ``doctor`` is called when someone asks for its opinion."""
    names, given = list(problem.arrays), list(problem.arrays.values())
    chosen = choose_wrt("check_backward", names, given, options.wrt)
    derived = Derived(reference, given, problem.dy, [names.index(n) for n in chosen])
    outputs = [a for a in derived.native[: derived.count] if a.size]
    if derived.finite and outputs and not any(np.isfinite(a).any() for a in outputs):
        return Report(problem=problem, skipped="the reference itself is nowhere finite here", limit=options.slack)
    kernel = Kernel(backward, names, chosen, options.extras, options.saved)
    seen = observe(kernel, problem.dy, given, nondeterministic=options.nondeterministic)
    exact, entries, faults = _measured(derived, problem, options, chosen, seen)
    warnings = ["blind-reference"] if exact.is_blind(derived.count) else []
    warnings += ["manual-tolerance"] if options.tolerance is not None else []
    failing = [e for e in entries if not e.ok]
    worst = max((e for e in failing if e.kind == "gradient"), key=lambda e: e.ratio, default=None)

    def paste() -> str:
        if worst is None and any(e.kind == "forward" for e in failing):
            assert options.forward is not None
            due = double(exact.exact[0]) if derived.count == 1 else None
            return snippet(options.forward, problem, names, "", due, upstream=False)
        expected = None if worst is None else double(exact.exact[derived.count + chosen.index(worst.leaf)])
        pick = f"[{chosen.index(worst.leaf)}]" if worst is not None and len(chosen) > 1 else ""
        return snippet(backward, problem, names, pick, expected, extras=options.extras, saved=options.saved)

    def second() -> str:
        return (
            ""
            if worst is None
            else _second_look(kernel, problem, worst, exact, derived.count + chosen.index(worst.leaf), options)
        )

    verdict = "wrong" if any(e.tied for e in failing) else None
    if verdict is None and any(e.kind == "forward" for e in failing):
        verdict = _judge_forward(reference, problem, chosen, options)
    return Report(
        entries=entries, faults=faults, verdict=verdict, limit=options.slack, problem=problem, warnings=warnings,
        out_of_range=(seen.out_of_range and not derived.out_of_range) or any(not np.isfinite(e.got) for e in failing),
        skipped=_nothing_compared(derived, problem, entries, faults),
        doctor=partial(doctor or partial(_doctor, reference, options.seed), kernel, problem),
        second=second, snippet=None if hasattr(backward, "derived") else paste,
    )  # fmt: skip


def _doctor(reference: Callable[..., Any], seed: int, kernel: Kernel, problem: Problem) -> Any:
    return diagnose_problem(reference, kernel, problem, seed=seed)


def _nothing_compared(derived: Derived, problem: Problem, entries: Sequence[Entry], faults: Sequence[Fault]) -> str:
    """Why a check says nothing: no gradient of the reference has a finite element."""
    gradients = derived.native[derived.count :]
    if faults or any(np.isfinite(g).any() or not g.size for g in gradients):
        return ""
    return "no gradient of the reference is finite here"


def _measured(
    derived: Derived, problem: Problem, options: Options, chosen: list[str], seen: Observed
) -> tuple[Truth, list[Entry], list[Fault]]:
    """The truth, and what differs from it. Near the limit, sigma is estimated anew from four times the samples."""
    u, seed = unit(derived.floats, options.compute_dtype), problem.crc ^ options.seed
    given = list(problem.arrays.values())
    for samples in (options.samples, 4 * options.samples):
        exact = truth(derived, u, samples=samples, seed=seed)
        faults: list[Fault] = []
        entries = _forward(options, given, derived, exact, faults) if options.forward is not None else []
        faults += seen.faults
        if seen.gradients is not None:
            faults += _structure(seen, derived, chosen, problem)
            entries += _gradients(seen, derived, exact, chosen, faults, options)
        if not any(options.slack < e.ratio < NEAR * options.slack for e in entries):
            break
    return exact, entries, faults


# -- verdicts ---------------------------------------------------------------------------------------


def _judge_forward(reference: Callable[..., Any], problem: Problem, chosen: list[str], options: Options) -> str:
    """``wrong`` if the user's forward differs on generic numbers too, else ``unstable``."""
    rng = np.random.default_rng(problem.crc)
    names, given = list(problem.arrays), list(problem.arrays.values())
    arrays = [np.asarray(rng.uniform(0.5, 2, a.shape), a.dtype) if a.dtype.kind == "f" else a for a in given]
    derived = Derived(reference, arrays, problem.dy, [names.index(n) for n in chosen])
    exact = truth(derived, unit(derived.floats, options.compute_dtype), seed=0)
    faults: list[Fault] = []
    entries = _forward(options, arrays, derived, exact, faults)
    return "wrong" if faults or not all(e.ok for e in entries) else "unstable"


def _second_look(kernel: Kernel, problem: Problem, worst: Entry, exact: Truth, k: int, options: Options) -> str:
    """Why a formula that is right on generic probes is off here, if it is not rounding; else nothing.

    On contiguous copies a kernel that misreads a layout is right. In longdouble an error of rounding shrinks.
    """
    place = kernel.wrt.index(worst.leaf)
    copies = _called(kernel, problem, lambda a: np.array(a, order="C"))
    if copies is not None and _entry(worst.leaf, copies[place], k, exact, options, 0.0).ok:
        return "right on contiguous copies of the same values: it depends on how the arrays lie in memory"
    if np.finfo(np.longdouble).eps > 2.0**-60 or any(
        a.dtype != np.float64 for a in problem.arrays.values() if a.dtype.kind == "f"
    ):
        return ""
    longer = _called(kernel, problem, lambda a: a.astype(np.longdouble) if a.dtype.kind == "f" else np.array(a))
    if longer is None or longer[place].dtype != np.longdouble or longer[place].shape != np.shape(exact.exact[k]):
        return ""
    due = double(exact.exact[k])
    before, after = abs(worst.got - worst.derived), float(np.abs(longer[place] - due)[worst.index])
    return "" if after < SHRINKS * before else "the error is the same in longdouble: it is no rounding"


def _called(kernel: Kernel, problem: Problem, convert: Callable[[Array], Array]) -> list[Array] | None:
    several = isinstance(problem.dy, tuple)
    dy = tuple(map(convert, problem.dy)) if several else convert(problem.dy)
    try:
        with np.errstate(all="ignore"):
            return kernel(dy, [convert(a) for a in problem.arrays.values()])
    except Exception:  # a kernel may not take these
        return None


# -- comparing ----------------------------------------------------------------------------------------


def _forward(
    options: Options, arrays: Sequence[Array], derived: Derived, exact: Truth, faults: list[Fault]
) -> list[Entry]:
    """The user's forward against the reference's, output by output."""
    assert options.forward is not None
    copies = [np.array(a) for a in arrays]
    try:
        with np.errstate(all="ignore"):
            returned = options.forward(*copies)
    except Exception as error:
        faults.append(Fault("raises", "", f"the forward raises {type(error).__name__}: {error}"))
        return []
    if any(not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(copies, arrays, strict=True)):
        faults.append(Fault("mutates", "", "the forward writes into its arguments"))
    # A forward may also return what its backward wants to see again.
    found = list(returned)[: derived.count] if isinstance(returned, (tuple, list)) else [returned]
    entries = []
    for k in range(derived.count):
        name = (derived.graph.outputs[k].name or "y") if derived.count == 1 else f"output {k}"
        y = np.asarray(getattr(found[k], "_data", found[k])) if k < len(found) else None
        due = derived.native[k]
        if y is None or y.shape != due.shape or y.dtype.kind != "f":
            got = "nothing" if y is None else f"{y.dtype} of shape {y.shape}"
            faults.append(
                Fault(
                    "shape", "", f"the forward returns {got} for {name} where {due.dtype} of shape {due.shape} is due"
                )
            )
            continue
        entries.append(replace(_entry(name, y, k, exact, options, 0.0), kind="forward"))
    return entries


def _structure(seen: Observed, derived: Derived, wrt: Sequence[str], problem: Problem) -> list[Fault]:
    assert seen.gradients is not None
    faults = []
    for g, name, due in zip(seen.gradients, wrt, derived.native[derived.count :], strict=True):
        if g.shape != due.shape:
            faults.append(Fault("shape", name, f"has shape {g.shape} where {name} has {due.shape}"))
            continue
        if g.dtype != due.dtype:
            faults.append(Fault("dtype", name, f"has dtype {g.dtype} where {name} has {due.dtype}"))
        lost = np.isnan(g) & np.isfinite(due)
        # 0 · nan is nan in one formula and not there in another: no fault beside a number that is not finite.
        for a in (*problem.arrays.values(), *problem.upstream):
            lost &= np.isfinite(a) if a.shape == g.shape and a.dtype.kind == "f" else True
        if lost.any() and not seen.out_of_range:
            faults.append(Fault("non-finite", name, f"is nan at {_place(lost)} where the derived gradient is finite"))
        made_up = np.isfinite(g) & np.isnan(due)
        if made_up.any() and not derived.finite:
            faults.append(
                Fault("non-finite", name, f"is finite at {_place(made_up)} where the derived gradient is not")
            )
    return faults


def _place(where: Array) -> str:
    return f"[{','.join(str(int(i)) for i in np.argwhere(where)[0])}]"


def _gradients(
    seen: Observed, derived: Derived, exact: Truth, wrt: Sequence[str], faults: Sequence[Fault], options: Options
) -> list[Entry]:
    broken = {f.leaf for f in faults if f.kind in ("shape", "non-finite")}
    assert seen.gradients is not None
    return [
        _entry(name, g, derived.count + k, exact, options, seen.spread[k], _left_out(g, derived, derived.count + k))
        for k, (name, g) in enumerate(zip(wrt, seen.gradients, strict=True))
        if name not in broken and g.dtype.kind == "f"
    ]


def _left_out(got: Array, derived: Derived, k: int) -> Array:
    """Where nothing is compared: the reference is not finite, or an input is not and the kernel says so."""
    return np.asarray(~np.isfinite(derived.native[k]) | (not derived.finite) & ~np.isfinite(got))


def _entry(name: str, got: Array, k: int, exact: Truth, options: Options, spread: Any, left_out: Any = False) -> Entry:
    """Compare one array where the reference is finite; the entry is that of its worst element."""
    g, mass, sigma = exact.exact[k], double(exact.mass[k]), double(exact.sigma[k])
    slack = 1.0 if options.tolerance is not None else options.slack
    tiny = float(np.finfo(got.dtype).tiny) if got.dtype.kind == "f" else 0.0
    with np.errstate(all="ignore"):
        error = np.abs(_difference(got, g, exact))
        scale = np.asarray(sigma + exact.u * mass + tiny + spread)
        if options.tolerance is not None:
            atol, rtol = options.tolerance
            scale = atol + rtol * np.abs(double(g)) + tiny
        ratio = np.where(error <= tiny, 0.0, error / scale).astype(np.float64)
        tied = np.zeros(ratio.shape, bool)
        if (hull := exact.hulls[k]) is not None and options.tolerance is None:
            scale = scale + exact.u * np.maximum(np.abs(hull.low), np.abs(hull.high))
            tied = hull.high - hull.low > slack * scale
            if options.kinks == "hull":
                ratio = np.where(tied, hull.beyond(got) / scale, ratio)
        ratio = np.where(np.isnan(ratio), np.inf, ratio)
        ratio = np.where(left_out | ~np.isfinite(double(g)), 0.0, ratio)
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
