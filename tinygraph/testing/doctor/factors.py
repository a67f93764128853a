"""Factors and their symbols: which number, size or value of a node a coefficient is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .probes import Trial

Array = np.ndarray[Any, Any]
COEFFICIENT = 1e-7
POWERS = (
    (1.0, "{}"),
    (-1.0, "1/{}"),
    (2.0, "{}^2"),
    (-2.0, "1/{}^2"),
    (0.5, "sqrt({})"),
    (-0.5, "1/sqrt({})"),
    (3.0, "{}^3"),
    (-3.0, "1/{}^3"),
)


@dataclass(frozen=True, slots=True)
class Factor:
    """What a term is multiplied by: a symbol, others that fit as well, and how simple it is."""

    symbol: str
    others: tuple[str, ...] = ()
    cost: float = 1.0

    @property
    def text(self) -> str:
        """The symbol; every symbol where the shape leaves several."""
        return f"{' or '.join((self.symbol, *self.others))} (ambiguous at this shape)" if self.others else self.symbol

    @property
    def is_one(self) -> bool:
        """Whether the term is as it should be."""
        return self.symbol == "1"


ONE = Factor("1", cost=0.0)
Symbol = tuple[str, Callable[[Mapping[str, int]], float]]


def _numbers() -> list[Symbol]:
    plain = [("1", 1.0), ("0", 0.0), ("-1", -1.0), ("2", 2.0), ("1/2", 0.5)]
    return [(text, lambda sizes, v=value: v) for text, value in plain]  # type: ignore[misc]


def _other_numbers() -> list[Symbol]:
    plain = [
        ("-2", -2.0),
        ("-1/2", -0.5),
        ("3", 3.0),
        ("4", 4.0),
        ("1/3", 1 / 3),
        ("1/4", 0.25),
        ("3/2", 1.5),
        ("2/3", 2 / 3),
    ]
    return [(text, lambda sizes, v=value: v) for text, value in plain]  # type: ignore[misc]


def _of_letter(n: str) -> list[Symbol]:
    return [
        (n, lambda s: s[n]), (f"1/{n}", lambda s: 1 / s[n]), (f"2/{n}", lambda s: 2 / s[n]), (f"{n}/2", lambda s: s[n] / 2),
        (f"{n}/({n}-1)", lambda s: s[n] / (s[n] - 1) if s[n] > 1 else math.nan), (f"({n}-1)/{n}", lambda s: (s[n] - 1) / s[n]),
        (f"1/({n}-1)", lambda s: 1 / (s[n] - 1) if s[n] > 1 else math.nan), (f"{n}-1", lambda s: s[n] - 1),
        (f"sqrt({n})", lambda s: math.sqrt(s[n])), (f"1/sqrt({n})", lambda s: 1 / math.sqrt(s[n])),
        (f"{n}^2", lambda s: s[n] ** 2), (f"1/{n}^2", lambda s: 1 / s[n] ** 2), (f"2*{n}", lambda s: 2 * s[n]),
        (f"1/(2*{n})", lambda s: 0.5 / s[n]), (f"({n}+1)/{n}", lambda s: (s[n] + 1) / s[n]), (f"{n}/({n}+1)", lambda s: s[n] / (s[n] + 1)),
        (f"sqrt({n}/({n}-1))", lambda s: math.sqrt(s[n] / (s[n] - 1)) if s[n] > 1 else math.nan),
        (f"sqrt(({n}-1)/{n})", lambda s: math.sqrt((s[n] - 1) / s[n])),
    ]  # fmt: skip


def _of_pair(n: str, c: str) -> list[Symbol]:
    return [
        (f"{n}/{c}", lambda s: s[n] / s[c]), (f"{c}/{n}", lambda s: s[c] / s[n]), (f"{n}*{c}", lambda s: s[n] * s[c]),
        (f"1/({n}*{c})", lambda s: 1 / (s[n] * s[c])), (f"2/({n}*{c})", lambda s: 2 / (s[n] * s[c])),
        (f"{n}*{c}/({n}*{c}-1)", lambda s: s[n] * s[c] / (s[n] * s[c] - 1) if s[n] * s[c] > 1 else math.nan),
    ]  # fmt: skip


def symbols(letters: Sequence[str]) -> Iterator[Symbol]:
    """All symbols that a coefficient may be, the simplest first."""
    yield from _numbers()
    of_sizes = [s for n in letters for s in _of_letter(n)]
    of_sizes += [s for n, c in itertools.combinations(letters, 2) for s in _of_pair(n, c)]
    yield from of_sizes
    yield from _other_numbers()
    for text, value in of_sizes:
        yield f"-{text}", lambda s, v=value: -v(s)  # type: ignore[misc]


def recognise(
    coefficients: Sequence[float], sizes: Sequence[Mapping[str, int]], tolerance: float = COEFFICIENT
) -> Factor | None:
    """The symbol that a coefficient is on every probe; the number itself if it is the same on all; else None."""
    letters = list(sizes[0])
    fits = []
    for text, value in symbols(letters):
        if all(_near(c, value(s), tolerance) for c, s in zip(coefficients, sizes, strict=True)):
            fits.append(text)
    if fits:
        alike = all(s == sizes[0] for s in sizes)
        others = tuple(fits[1:]) if alike and letters and fits[0] not in ("0", "1", "-1") else ()
        return Factor(fits[0], others, 0.0 if fits[0] == "1" else 1.0)
    first = coefficients[0]
    if all(_near(c, first, tolerance) for c in coefficients) and math.isfinite(first):
        return Factor(f"{first:.6g}", (), 1.5)
    return None


def _near(c: float, value: float, tolerance: float) -> bool:
    return (
        abs(c - value) <= tolerance * max(1.0, abs(value))
        if abs(value) > 1e-6 or value == 0
        else abs(c - value) <= tolerance * abs(value)
    )


# -- factors that are values of nodes ----------------------------------------------------------------


def quantities(trial: Trial, leaf: str) -> list[tuple[str, int]]:
    """The values that a factor may be made of, names given by a person first: (name, place)."""
    shape = trial.values[trial.place[leaf]].shape
    found: list[tuple[str, int]] = []
    for k in [*trial.place.values(), *range(trial.tape.inputs), *trial.tape.steps]:
        value = trial.values[k]
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or k in [p for _, p in found]:
            continue
        if value.ndim > len(shape) or _broadcasts(value.shape, shape) is False:
            continue
        t = trial.tape.tensors[k]
        name = trial.names.of(t)
        found.append((name if t in trial.names.given else f"({name.replace(' ', '')})", k))
    return sorted(found, key=lambda item: (item[0].startswith("("), item[1]))


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def monomials(trial: Trial, leaf: str) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """Powers of one quantity, then products of two named ones: (symbol, [(place, power), …])."""
    every = quantities(trial, leaf)
    named = [q for q in every if not q[0].startswith("(")]
    for power, text in POWERS[:4]:
        for name, k in named:
            yield text.format(name), [(k, power)]
    for power, text in POWERS:
        for name, k in every:
            if power in (0.5, -0.5, 3.0, -3.0) or name.startswith("("):
                yield text.format(name), [(k, power)]
    # A quotient of two values in the leaf's own shape says that a term is another one altogether.
    shape = trial.values[trial.place[leaf]].shape
    small = [(name, k) for name, k in every if np.shape(trial.values[k]) != shape or not shape]
    for (a, i), (b, j) in itertools.permutations(small, 2):
        if a < b:
            yield f"{a}*{b}", [(i, 1.0), (j, 1.0)]
        yield f"{a}/{b}", [(i, 1.0), (j, -1.0)]
        if a < b:
            yield f"1/({a}*{b})", [(i, -1.0), (j, -1.0)]
        yield f"{a}/{b}^2", [(i, 1.0), (j, -2.0)]
        yield f"{a}^2/{b}", [(i, 2.0), (j, -1.0)]
        yield f"{a}^2*{b}", [(i, 2.0), (j, 1.0)]


def is_trivial(value: Any) -> bool:
    """A monomial that says nothing: 1 whatever the arrays, as xc²/(xc·xc) is, or not finite."""
    return not np.isfinite(value).all() or bool(np.all(np.abs(np.asarray(value) - 1) < 1e-9))


def value_of(monomial: Sequence[tuple[int, float]], values: Sequence[Any]) -> Any:
    """The monomial's value on one probe."""
    total: Any = 1.0
    with np.errstate(all="ignore"):
        for k, power in monomial:
            v = np.asarray(values[k])
            total = total * (np.sqrt(v) if power == 0.5 else 1 / np.sqrt(v) if power == -0.5 else v**power)
    return total
