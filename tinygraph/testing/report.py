"""What a check comes back with: a verdict, the numbers, the doctor's opinion, and code to reproduce it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import GradientMismatch
from .problem import Problem

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One compared array at its worst element: error in rounding units, and what stands on both sides."""

    leaf: str
    ok: bool
    ratio: float
    index: tuple[int, ...]
    got: float
    derived: float
    mass: float
    sigma: float
    kind: str = "gradient"
    tied: bool = False

    @property
    def name(self) -> str:
        """``dx`` for a gradient, the output's own name for a forward value."""
        return f"d{self.leaf}" if self.kind == "gradient" else self.leaf


class Report:
    """The result of a check. It is true if the check passed; ``str`` is the whole message.

    ``verdict``: ``"ok"``, ``"structure"`` (raises, shape, dtype, writes into arguments, nan …),
    ``"range"`` (overflow or underflow where the reference has none), ``"unstable"`` (the formula is right but
    loses more than the reference), or ``"wrong"``. ``entries``: the worst element of each argument.
    ``diagnosis``: what the doctor says, asked when read. ``snippet``: plain NumPy that reproduces the
    failure. ``warnings``: ``"blind-reference"``, ``"manual-tolerance"``. ``problem``: the arrays.
    """

    __slots__ = (
        "_doctor",
        "_memo",
        "_range",
        "_second",
        "_snippet",
        "_verdict",
        "_words",
        "entries",
        "faults",
        "limit",
        "ok",
        "problem",
        "skipped",
        "warnings",
    )

    def __init__(
        self,
        *,
        entries: Sequence[Entry] = (),
        faults: Sequence[Any] = (),
        verdict: str | None = None,
        limit: float = 64.0,
        problem: Problem | None = None,
        warnings: Sequence[str] = (),
        skipped: str = "",
        doctor: Callable[[], Any] | None = None,
        snippet: Callable[[], str] | None = None,
        words: tuple[str, str] = ("yours", "derived"),
        ok: bool = True,
        out_of_range: bool = False,
        second: Callable[[], str] | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "entries", tuple(entries))
        put(self, "faults", tuple(faults))
        put(self, "limit", limit)
        put(self, "problem", problem)
        put(self, "warnings", tuple(warnings))
        put(self, "skipped", skipped)
        put(self, "ok", ok and not faults and all(e.ok for e in entries))
        put(self, "_verdict", "ok" if self.ok else "structure" if faults else verdict)
        put(self, "_doctor", doctor)
        put(self, "_snippet", snippet)
        put(self, "_memo", {})
        put(self, "_words", words)
        put(self, "_range", out_of_range)
        put(self, "_second", second)

    ok: bool
    entries: tuple[Entry, ...]
    faults: tuple[Any, ...]
    limit: float
    problem: Problem | None
    warnings: tuple[str, ...]
    skipped: str

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Report is frozen: {name} cannot be set")

    def __bool__(self) -> bool:
        return self.ok

    @property
    def diagnosis(self) -> Any:
        """The doctor's opinion, or None where nothing is wrong or no doctor was asked for."""
        if self.ok or self._doctor is None:  # type: ignore[attr-defined]
            return None
        return self._once("diagnosis", self._doctor)  # type: ignore[attr-defined]

    @property
    def verdict(self) -> str:
        """``ok``, ``structure``, ``range``, ``unstable`` or ``wrong``; the last two need the doctor."""
        known: str | None = self._verdict  # type: ignore[attr-defined]
        return known or str(self._once("verdict", self._judge))

    def _judge(self) -> str:
        found = self.diagnosis
        if found is not None and not all(f.kind == "precision" for f in found.findings):
            return "wrong"
        if self._range:  # type: ignore[attr-defined]
            return "range"
        return "wrong" if found is None or (found.ok and self.note) else "unstable"

    @property
    def note(self) -> str:
        """What else is known of a failure that no generic probe shows: a layout, or an error that is no rounding."""
        second = self._second  # type: ignore[attr-defined]
        return str(self._once("note", second)) if second is not None and not self.ok else ""

    @property
    def snippet(self) -> str:
        """Code that shows the failure again, with NumPy and the kernel alone."""
        make = self._snippet  # type: ignore[attr-defined]
        return str(self._once("snippet", make)) if make is not None else ""

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        memo: dict[str, Any] = self._memo  # type: ignore[attr-defined]
        if name not in memo:
            memo[name] = make()
        return memo[name]

    def remember(self) -> None:
        """Have the message end with the example as a line to keep."""
        self._memo["keep"] = True  # type: ignore[attr-defined]

    def check(self) -> None:
        """Raise GradientMismatch unless ``ok``."""
        __tracebackhide__ = True
        if not self.ok:
            raise GradientMismatch(self)

    def __repr__(self) -> str:
        worst = max((e.ratio for e in self.entries), default=0.0)
        verdict = self._verdict or self._memo.get("verdict", "not ok")  # type: ignore[attr-defined]
        units = "of the tolerance" if "manual-tolerance" in self.warnings else "rounding units"
        return f"<Report: {verdict}, worst {worst:.2g} {units}>"

    def __str__(self) -> str:
        return str(self._once("text", self._text))

    def _text(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        lines = [f"{_leaf(f)}{f.text}" for f in self.faults]
        lines += self._numbers()
        for warning in self.warnings:
            lines.append(f"  warning: {_WARNINGS.get(warning, warning)}")
        if not self.ok:
            found = self.diagnosis
            if found is not None and (found.ok or any(f.line not in lines for f in found.findings)):
                places = {e.leaf: e.index for e in self.entries if not e.ok}
                lines += textwrap.indent(found.explain(self.problem, places), "  ").splitlines()
            if self.snippet:
                lines += ["  Reproduce without Hypothesis:", textwrap.indent(self.snippet, "    ")]
            if self.problem is not None and self._memo.get("keep"):  # type: ignore[attr-defined]
                lines.append(f"  Keep it:  @example({self.problem!r})")
        return "\n".join(lines)

    def _numbers(self) -> list[str]:
        lines = []
        for e in self.entries:
            if e.kind == "Taylor rate" and not e.ok:
                lines.append(
                    f"d{e.leaf} is WRONG: along a random direction the remainder vanishes at the rate {e.got:.2f} where 2 is due"
                )
            elif not e.ok:
                at = f"{e.leaf}[{','.join(map(str, e.index))}]" if e.index else e.leaf
                lines.append(f"{e.name} is {self._says(e)}")
                yours, right_one = self._words  # type: ignore[attr-defined]
                numbers = f"{yours} {e.got:.8g}     {right_one} {e.derived:.8g}     path mass {e.mass:.3g}"
                lines.append(f"  at {at.split(' (')[0]}     {numbers}")
        right = [e for e in self.entries if e.ok]
        if right:
            names, ratios = ", ".join(e.name for e in right), ", ".join(f"{e.ratio:.2g}" for e in right)
            verb = "are" if len(right) > 1 else "is"
            lines.append(
                f"{'  ' if len(right) < len(self.entries) or self.faults else ''}{names} {verb} right ({ratios} rounding units)"
            )
        return lines

    def _says(self, e: Entry) -> str:
        units = f"{_short(e.ratio)} rounding units"
        dtype = f" ({self.problem.dtype})" if self.problem is not None else ""
        if e.tied:
            return f"WRONG at a kink: {units}{dtype}; no accepted convention for ties has this slope"
        if "manual-tolerance" in self.warnings:
            return f"WRONG: {_short(e.ratio)} times the tolerance that was given{dtype}"
        if self.verdict == "unstable":
            bits = max(1, round(np.log2(min(max(e.ratio, 2), 1e300))))
            return f"UNSTABLE here: {units}, {bits} bits more than the reference loses; the formula is right on generic probes"
        if self.verdict == "range":
            return f"out of RANGE here: {units}{dtype}; something in the kernel overflows or underflows where the reference does not"
        told = self.diagnosis is not None and self.diagnosis.findings
        note = f"; {self.note}" if not told and self.note else ""
        return f"WRONG: {units}, limit {self.limit:g}{dtype}{note}"


_WARNINGS = {
    "blind-reference": "the reference itself loses so much here that it cannot judge (sigma > 1e-3 of the gradient)",
    "manual-tolerance": "compared with the tolerance that was given, not with rounding units",
}


def _leaf(fault: Any) -> str:
    return f"d{fault.leaf}: " if fault.leaf else ""


def _short(ratio: float) -> str:
    return f"{ratio:.1e}".replace("e+0", "e").replace("e+", "e") if ratio >= 1e4 else f"{ratio:.3g}"
