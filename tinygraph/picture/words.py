"""Words that a user may choose from."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ArgumentError


class ChoiceError(ArgumentError, ValueError):
    """A word or a number that a parameter does not take; the message lists what it takes."""


def choose(call: str, parameter: str, value: object, choices: Iterable[str], more: str = "") -> str:
    """``value``, if it is one of ``choices``; else a ChoiceError that lists them.

    >>> choose("draw", "theme", "dark", ["light", "dark"])
    'dark'
    """
    words = list(choices)
    if isinstance(value, str) and value in words:
        return value
    listed = ", ".join(map(repr, words))
    raise ChoiceError(f"{call}({parameter}={value!r}): unknown {parameter}{more}; choose one of {listed}")
