"""Records for graphs with wrong backwards, and patterns for what may truly be said about one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """A wrong backward; ``leaf``: the argument it is about, ``leaves``: all whose gradients are wrong."""

    case: str
    what: str
    backward: Callable[..., Any]
    leaf: str
    leaves: tuple[str, ...]
    accept: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.case}: {self.what}"

    def judge(self, line: str) -> str:
        """``named``, ``unexplained``, or ``misnamed`` if the first line says what is not true."""
        if any(re.search(pattern, line) for pattern in self.accept):
            return "named"
        return "unexplained" if "unexplained" in line else "misnamed"


@dataclass(repr=False)
class Case:
    """A reference with the shapes of its arguments, right backwards by name, and wrong ones."""

    name: str
    reference: Callable[..., Any]
    shapes: dict[str, str]
    right: dict[str, Callable[..., Any]]
    domains: dict[str, Any] = field(default_factory=dict)
    wrt: tuple[str, ...] | None = None
    mutants: list[Mutant] = field(default_factory=list)

    def __repr__(self) -> str:
        return self.name

    @property
    def leaves(self) -> tuple[str, ...]:
        """The arguments whose gradients the backwards return."""
        return self.wrt or tuple(self.shapes)

    def add(self, what: str, backward: Callable[..., Any], leaves: str, *accept: Callable[[str], str]) -> None:
        """One more mutant; ``leaves``: names with blanks between, any of which the line may be about."""
        names = tuple(leaves.split())
        patterns = tuple(pattern(_group(names)) for pattern in accept)
        self.mutants.append(Mutant(self.name, what, backward, names[0], names, patterns))


# -- what may be said: each makes a pattern for a group of leaves --------------------------------------

MISSING = r"(?:left out|leaves out|missing|without|lacks|omits|omitted|not multiplied by)"


def _group(names: Sequence[str]) -> str:
    return rf"(?:d\w+, )*d(?:{'|'.join(names)})(?:, d\w+)*"


def by(factor: str, *terms: str) -> Callable[[str], str]:
    """A whole gradient, or one term, multiplied by a factor; nothing else may be claimed but a gloss."""
    which = rf"term (?:{'|'.join(map(re.escape, terms))})" if terms else "all terms"
    return lambda leaves: rf"^{leaves}: {which} multiplied by {re.escape(factor)}(?: \([^;]*\))?$"


def words(*parts: str, denied: str = r"(?<!not )multiplied by -?\w") -> Callable[[str], str]:
    """All of these patterns in any order, and no claim about a factor."""
    return lambda leaves: rf"^{leaves}: (?!.*{denied})" + "".join(rf"(?=.*{part})" for part in parts)


def missing(operand: str, *parts: str) -> Callable[[str], str]:
    return words(rf"\b{operand}\b", MISSING, *parts)


def shown(*parts: str) -> Callable[[str], str]:
    """These patterns, whatever factors are named besides."""
    return words(*parts, denied="$^")
