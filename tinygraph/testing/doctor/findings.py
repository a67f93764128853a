"""What the doctor says: findings, each with its words, and the diagnosis that they make up."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..problem import Problem

KINDS = [
    "mutates",
    "nondeterministic",
    "raises",
    "dtype",
    "shape",
    "not-summed",
    "transposed",
    "swapped",
    "non-finite",
    "one-index",
    "factor",
    "other-forward",
    "constant",
    "axis",
    "operand",
    "local-rule",
    "proportional",
    "overridden",
    "precision",
    "unexplained",
]
_GLOSS = {"0": "it is missing", "-1": "it has its sign flipped"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One explanation of what is wrong with the gradient of ``leaf``.

    ``kind`` is one of KINDS; ``term`` and ``factor`` say which part of the gradient is multiplied by
    what; ``text`` says it in words; ``equivalents`` are other faults that give the same numbers;
    ``exact`` is true where it accounts for every element on every probe.
    """

    # _edges: the steps that are done wrongly, (place of a node on the tape, operand); none where it is a term.
    kind: str
    leaf: str
    term: str = ""
    factor: str = ""
    text: str = ""
    equivalents: tuple[str, ...] = ()
    exact: bool = True
    _edges: tuple[tuple[int, int], ...] = field(default=(), repr=False, compare=False)

    @property
    def line(self) -> str:
        """``dx: term through mu multiplied by -1 (it has its sign flipped)``."""
        leaves = ", ".join(f"d{name}" for name in self.leaf.split(", ")) if self.leaf else ""
        factors = self.factor.split("; ")
        text = self.text
        if self.kind == "factor" and len(factors) == 1 and factors[0] in _GLOSS and self.term != "all":
            text += f" ({_GLOSS[factors[0]]})"
        return f"{leaves}: {text}" if leaves else text

    def __str__(self) -> str:
        return "\n".join([self.line, *(f"    not distinguishable from: {e}" for e in self.equivalents)])


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, the simplest first for each argument. ``ok`` is true, and ``findings`` empty, for a right backward."""

    findings: tuple[Finding, ...]
    probes: int
    shapes: tuple[dict[str, tuple[int, ...]], ...]
    seed: int
    _notes: Any = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong on generic probes."""
        return not self.findings

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.ok:
            return f"nothing is wrong on {self.probes} generic probes"
        return "\n".join(str(f) for f in self.findings)

    def __repr__(self) -> str:
        return f"<Diagnosis: {'; '.join(f.line for f in self.findings) or 'ok'}>"

    def explain(self, problem: Problem | None = None, places: Mapping[str, tuple[int, ...]] | None = None) -> str:
        """The findings at length, with the terms of the failing example where there is one."""
        if self.ok:
            return f"Diagnosis: nothing is wrong on {self.probes} generic probes; what fails here is a matter of these numbers."
        exact = ", exact on all" if all(f.exact for f in self.findings) else ""
        lines = [f"Diagnosis ({self.probes} generic probes{exact}):"]
        for finding in self.findings:
            lines.append(f"  {finding.line}")
            notes = self._notes(finding, problem, (places or {}).get(finding.leaf)) if self._notes is not None else []
            lines += [f"      {note}" for note in notes]
            if finding.equivalents:
                shown = "; ".join(finding.equivalents[:4]) + ("; …" if len(finding.equivalents) > 4 else "")
                lines += textwrap.wrap(
                    f"not distinguishable from: {shown}", 100, initial_indent="      ", subsequent_indent="        "
                )
        return "\n".join(lines)


def row(values: Any, at: Sequence[Any]) -> str:
    """A few numbers of an array in a row: ``[ 2.449 -0.816  1.633]``, whole ones without decimals."""
    a = np.atleast_1d(np.asarray(values, np.float64)[tuple(at)] if np.ndim(values) else np.asarray(values, np.float64))
    if np.array_equal(a, np.round(a)) and np.abs(a).max(initial=0) < 1e6:
        shown = [f"{v:g}" for v in a[:12]]
        return f"[{', '.join(shown)}{', …' if a.size > 12 else ''}]"
    return np.array2string(a, precision=3, suppress_small=True, floatmode="fixed", max_line_width=200, threshold=12)
