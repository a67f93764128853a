"""Factors and their symbols: which number, size or value of a node a coefficient is."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
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
_VALUE, _POWER, _TWO = 0.0, 0.2, 1.8  # a value, a power of it, two values: that is another operand, rather


@dataclass(frozen=True, slots=True)
class Factor:
    """What a term is multiplied by: a symbol, others that fit as well, and how far-fetched it is."""

    symbol: str
    others: tuple[str, ...] = ()
    cost: float = 0.0
    odd: bool = False  # a number that no symbol stands for
    value: Callable[[Mapping[str, float]], float] = field(default=lambda sizes: 1.0, compare=False, repr=False)

    @property
    def text(self) -> str:
        """The symbol; every symbol where the shape leaves several."""
        return f"{' or '.join((self.symbol, *self.others))} (ambiguous at this shape)" if self.others else self.symbol

    @property
    def is_one(self) -> bool:
        """Whether the term is as it should be."""
        return self.symbol == "1"


ONE = Factor("1")
Symbol = tuple[str, float, Callable[[Mapping[str, float]], float]]  # text, cost, value at some sizes


def _constant(text: str, cost: float) -> Symbol:
    value = float(Fraction(text))
    return text, cost, lambda sizes: value


_FIRST = [_constant("1", 0.0), _constant("0", 0.0), _constant("-1", 0.02), _constant("2", 0.05), _constant("1/2", 0.05)]
_LAST = [_constant(t, 0.25) for t in ("-2", "-1/2", "3", "4", "1/3", "1/4", "3/2", "2/3")]


def _atom(name: str) -> str:
    return name if name.isidentifier() or name.isdigit() else f"({name})"


def _of_letter(name: str) -> list[Symbol]:
    n, over = _atom(name), name if "/" not in name else f"({name})"

    def less(s: Mapping[str, float]) -> float:
        return s[name] - 1 if s[name] > 1 else math.nan

    return [
        (name, 0.1, lambda s: s[name]), (f"1/{n}", 0.1, lambda s: 1 / s[name]),
        (f"2/{n}", 0.2, lambda s: 2 / s[name]), (f"{over}/2", 0.2, lambda s: s[name] / 2),
        (f"{over}/({name}-1)", 0.2, lambda s: s[name] / less(s)), (f"({name}-1)/{n}", 0.2, lambda s: (s[name] - 1) / s[name]),
        (f"1/({name}-1)", 0.2, lambda s: 1 / less(s)), (f"{name}-1", 0.2, lambda s: s[name] - 1),
        (f"sqrt({name})", 0.2, lambda s: math.sqrt(s[name])), (f"1/sqrt({name})", 0.2, lambda s: 1 / math.sqrt(s[name])),
        (f"{n}^2", 0.2, lambda s: s[name] ** 2), (f"1/{n}^2", 0.2, lambda s: 1 / s[name] ** 2),
        (f"2*{name}", 0.2, lambda s: 2 * s[name]), (f"1/(2*{name})", 0.2, lambda s: 0.5 / s[name]),
        (f"({name}+1)/{n}", 0.4, lambda s: (s[name] + 1) / s[name]), (f"{over}/({name}+1)", 0.4, lambda s: s[name] / (s[name] + 1)),
        (f"sqrt({over}/({name}-1))", 0.3, lambda s: math.sqrt(s[name] / less(s))),
        (f"sqrt(({name}-1)/{n})", 0.3, lambda s: math.sqrt((s[name] - 1) / s[name])),
    ]  # fmt: skip


def _of_number(n: int) -> list[Symbol]:
    """What a reduction counts whatever the sizes are."""
    texts = [str(n), f"1/{n}", f"{n}/{n - 1}", f"{n - 1}/{n}"]
    return [(text, 0.15, _constant(text, 0.0)[2]) for text in texts]


def _of_pair(n: str, c: str) -> list[Symbol]:
    return [
        (f"{n}/{_atom(c)}", 0.2, lambda s: s[n] / s[c]), (f"{c}/{_atom(n)}", 0.2, lambda s: s[c] / s[n]),
        (f"{n}*{c}", 0.2, lambda s: s[n] * s[c]), (f"1/({n}*{c})", 0.2, lambda s: 1 / (s[n] * s[c])),
        (f"2/({n}*{c})", 0.2, lambda s: 2 / (s[n] * s[c])),
    ]  # fmt: skip


def symbols(names: Sequence[str]) -> list[Symbol]:
    """All symbols that a coefficient may be, the simplest first."""
    of_sizes = [s for n in names for s in (_of_number(int(n)) if n.isdigit() else _of_letter(n))]
    letters = [n for n in names if not n.isdigit()]
    of_sizes += [s for n, c in itertools.combinations(letters, 2) for s in _of_pair(n, c)]
    unlike: dict[str, Symbol] = {}  # a pair of letters may be what a reduction counts, too
    for symbol in of_sizes:
        unlike.setdefault(symbol[0], symbol)
    negated = [(f"-{t}", c + 0.1, lambda s, v=v: -v(s)) for t, c, v in unlike.values()]
    return [*_FIRST, *unlike.values(), *_LAST, *negated]


def recognise(
    coefficients: Sequence[float], sizes: Sizes, tolerance: float = COEFFICIENT, some: Sequence[int] | None = None
) -> Factor | None:
    """The symbol that a coefficient is on every probe, or on some; the number itself if it is the same; else None."""
    probes = sizes.probes if some is None else [sizes.probes[k] for k in some]
    found: list[tuple[float, Symbol]] = []
    for symbol in symbols(list(sizes.generic)):
        error = max(_error(c, symbol[2](s)) for c, s in zip(coefficients, probes, strict=True))
        if error <= tolerance:
            found.append((error, symbol))
    # Where several are near, 0 and 1/N² at N = 4000 say, those that are nearest.
    nearest = min((error for error, _ in found), default=0.0)
    fits = [symbol for error, symbol in found if error <= max(10 * nearest, 1e-12)]
    fits.sort(key=lambda symbol: symbol[1])
    if fits:
        text, cost, value = fits[0]
        # 4 and N/2 are one number at N = 8; 2/C and 1/(C/2) are one at any size, and said once.
        seen = {value(sizes.generic): text}
        for other, _, v in fits[1:] if text not in ("0", "1", "-1") else ():
            seen.setdefault(v(sizes.generic), other)
        return Factor(text, tuple(seen.values())[1:], cost, value=value)
    first = coefficients[0]
    if all(_error(c, first) <= tolerance for c in coefficients) and math.isfinite(first):
        fraction = Fraction(first).limit_denominator(64)
        if abs(float(fraction) - first) <= min(tolerance, 1e-7) * abs(first):
            return Factor(str(fraction), (), 0.45, odd=True, value=lambda s: float(fraction))
        text = f"{first:.6g}" if tolerance < 1e-5 else f"{first:.4g}"
        return Factor(text, (), 2.1, odd=True, value=lambda s: first)
    return None


def _error(c: float, value: float) -> float:
    """How far a coefficient is from a value, relative to it if it is large."""
    return abs(c - value) / max(1.0, abs(value)) if math.isfinite(c) and not math.isnan(value) else math.inf


@dataclass(frozen=True, slots=True)
class Sizes:
    """What factors are written in, on every probe and at sizes that no two symbols have by chance in common."""

    probes: list[dict[str, int]]
    generic: dict[str, float]


def named_sizes(trials: Sequence[Trial]) -> Sizes:
    """The letters, and what reductions and broadcasts count: ``H*W`` or ``3*H*W``."""
    letters = [t.sizes for t in trials]
    primes = dict(zip(letters[0], (101, 103, 107, 109, 113, 127, 131, 137, 139, 149), strict=False))
    sizes = Sizes([dict(s) for s in letters], dict(primes))
    for k, step in trials[0].tape.steps.items():
        for i in range(len(step.operands)):
            counts = [_count(t, k, i) for t in trials]
            text, chosen, ratio = count_text(counts, letters)
            if not text:
                text, ratio = (str(counts[0]), Fraction(counts[0])) if len(set(counts)) == 1 else ("n", Fraction(151))
            if text not in sizes.generic and min(counts) > 1:
                sizes.generic[text] = float(ratio) * math.prod(primes[x] for x in chosen)
                for s, n in zip(sizes.probes, counts, strict=True):
                    s[text] = n
    return sizes


def _count(trial: Trial, k: int, i: int) -> int:
    """How many elements a reduction takes together, or a broadcast makes of one; 1 for what does neither."""
    step = trial.tape.steps[k]
    if step.op.name in ("sum", "mean"):
        return count_of(trial, k)
    here, there = np.size(trial.values[k]), np.size(trial.values[step.operands[i]])
    spreads = step.op.kind == "elementwise" or step.op.name == "broadcast_to"
    return here // there if spreads and there and here % there == 0 else 1


def count_of(trial: Trial, k: int) -> int:
    """How many elements a reduction takes together."""
    step = trial.tape.steps[k]
    shape = np.shape(trial.values[step.operands[0]])
    return int(np.prod([shape[a] for a in step.params["axis"]]))


def count_name(trials: Sequence[Trial], k: int) -> str:
    """The same in letters; as a number where it is one whatever the sizes are."""
    counts = [count_of(t, k) for t in trials]
    return count_text(counts, [t.sizes for t in trials])[0] or (str(counts[0]) if len(set(counts)) == 1 else "n")


def count_text(counts: Sequence[int], sizes: Sequence[Mapping[str, int]]) -> tuple[str, tuple[str, ...], Fraction]:
    """A count on every probe in letters, ``H*W`` or ``C/2``, these letters and the ratio; "" if it is no such product."""
    for count in range(1, min(len(sizes[0]), 4) + 1):
        for chosen in itertools.combinations(sizes[0], count):
            ratios = {Fraction(n, math.prod(s[x] for x in chosen)) for n, s in zip(counts, sizes, strict=True)}
            if len(ratios) == 1 and (len(set(counts)) > 1 or ratios == {Fraction(1)}):
                (r,) = ratios
                times = "" if r.numerator == 1 else f"{r.numerator}*"
                return times + "*".join(chosen) + ("" if r.denominator == 1 else f"/{r.denominator}"), chosen, r
    return "", (), Fraction(1)


# -- factors that are values of nodes ----------------------------------------------------------------


def quantities(trial: Trial, leaf: str) -> list[tuple[str, int]]:
    """The values that a factor may be made of, names given by a person first: (name, place)."""
    shape = trial.values[trial.place[leaf]].shape
    found: dict[int, str] = {}
    for k in [*trial.place.values(), *range(trial.tape.inputs), *trial.tape.steps]:
        t = trial.tape.tensors[k]
        if k in found or aligned(trial, k, shape) is None or trial.names.same(t):
            continue
        name = trial.names.of(t)
        plain = t in trial.names.given and (name.isidentifier() or not set(name) & set("+-*/−@ "))
        found[k] = name if plain else "(" + re.sub(r" ([-+*/@]) ", r"\1", name) + ")"
    return sorted(((name, k) for k, name in found.items()), key=lambda item: (item[0].startswith("("), item[1]))


def aligned(trial: Trial, k: int, shape: tuple[int, ...]) -> Array | None:
    """A value so that it broadcasts to a shape: as NumPy does it, by its own axes, or through a reshape of the graph."""
    key = (k, shape)
    if key not in trial.aligned:
        value = trial.values[k]
        usable = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        trial.aligned[key] = _aligned(trial, value, shape) if usable else None
    found: Array | None = trial.aligned[key]
    return found


def _aligned(trial: Trial, value: Array, shape: tuple[int, ...]) -> Array | None:
    if _broadcasts(value.shape, shape):
        return value
    for axes in itertools.combinations(range(len(shape)), value.ndim):
        if all(value.shape[i] in (1, shape[a]) for i, a in enumerate(axes)):
            return value.reshape([value.shape[axes.index(a)] if a in axes else 1 for a in range(len(shape))])
    for step in trial.tape.steps.values():
        if step.op.name == "reshape":
            for other in (np.shape(trial.values[step.operands[0]]), tuple(step.params["shape"])):
                if other != shape and math.prod(other) == math.prod(shape) and _broadcasts(value.shape, other):
                    found: Array = np.broadcast_to(value, other).reshape(shape)
                    return found
    return None


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))


Monomial = Sequence[tuple[int, float]]


def monomials(trial: Trial, leaf: str) -> Iterator[tuple[str, float, Monomial]]:
    """Powers of one quantity, then products of two named ones: (symbol, cost, [(place, power), …])."""
    every = quantities(trial, leaf)
    named = [q for q in every if not q[0].startswith("(")]
    for power, text in POWERS[:4]:
        for name, k in named:
            yield text.format(name), _VALUE if abs(power) == 1 else _POWER, [(k, power)]
    for power, text in POWERS:
        for name, k in every:
            if power in (0.5, -0.5, 3.0, -3.0) or name.startswith("("):
                yield text.format(name), _POWER, [(k, power)]
    # A quotient of two values in the leaf's own shape says that a term is another one altogether.
    shape = trial.values[trial.place[leaf]].shape
    small = [(name, k) for name, k in every if np.shape(trial.values[k]) != shape or not shape]
    for (a, i), (b, j) in itertools.permutations(small, 2):
        if a < b:
            yield f"{a}*{b}", _TWO, [(i, 1.0), (j, 1.0)]
        yield f"{a}/{b}", _TWO, [(i, 1.0), (j, -1.0)]
        if a < b:
            yield f"1/({a}*{b})", _TWO, [(i, -1.0), (j, -1.0)]
        yield f"{a}/{b}^2", _TWO, [(i, 1.0), (j, -2.0)]
        yield f"{a}^2/{b}", _TWO, [(i, 2.0), (j, -1.0)]
        yield f"{a}^2*{b}", _TWO, [(i, 2.0), (j, 1.0)]


def is_trivial(value: Any) -> bool:
    """A monomial that says nothing: 1 whatever the arrays, as xc²/(xc·xc) is, or not finite."""
    return not np.isfinite(value).all() or bool(np.all(np.abs(np.asarray(value) - 1) < 1e-9))


def value_of(monomial: Monomial, trial: Trial, shape: tuple[int, ...]) -> Any:
    """The monomial's value on one probe, so that it broadcasts to the shape; None if it does not."""
    total: Any = 1.0
    with np.errstate(all="ignore"):
        for k, power in monomial:
            v = aligned(trial, k, shape)
            if v is None:
                return None
            total = total * _power(v, power)
    return total


def sampled(found: Sequence[Monomial], trial: Trial, shape: tuple[int, ...], at: Any) -> Array:
    """The values of many monomials at some places: a row for each."""
    powers: dict[tuple[int, float], Array] = {}
    for k, power in itertools.chain.from_iterable(found):
        if (k, power) not in powers:
            powers[k, power] = _power(np.broadcast_to(aligned(trial, k, shape), shape)[at], power)  # type: ignore[arg-type]
    return np.array([math.prod(powers[x] for x in m) for m in found])


def _power(v: Any, power: float) -> Any:
    with np.errstate(all="ignore"):
        return np.sqrt(v) if power == 0.5 else 1 / np.sqrt(v) if power == -0.5 else v**power
