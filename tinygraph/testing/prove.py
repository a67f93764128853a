"""Proofs: a hand-written backward is run in a finite field and compared exactly with the derived one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import ArgumentError, NotAlgebraic
from .field import MERSENNE, Field
from .kernel import check_order
from .points import Case, Shape, Unusable, name_of, text_of
from .problem import Problem
from .shapes import Shapes, parse

SHAPES = 3
CONVINCING = 1e-6
NOT_COVERED = "rounding, range, layouts, sizes not tried, a wrong reference, branches on a size"


@dataclass(frozen=True, slots=True)
class Counterexample:
    """Where a backward differs: the argument, what is wrong, and a float64 problem that shows it too."""

    leaf: str
    text: str
    problem: Problem | None = None

    def __str__(self) -> str:
        return self.text + ("" if self.problem is None else f"\n    {self.problem!r}")


@dataclass(frozen=True, slots=True, repr=False)
class Proof:
    """The result of ``prove``. It is true if the backward is the derived one.

    ``verdict``: ``"equal"``, ``"different"`` or ``"undecided"``; ``leaves``: the same for each
    argument. ``field``: the prime. ``trials`` random points were compared, in turn at the shapes
    ``shapes``; ``redraws`` more were drawn, because some radicand was no square, or to see that it is
    not always one. ``bound``: the chance that a backward that is wrong at one of the shapes passes.
    ``counterexample``: where it differs. ``reasons``: why it is undecided.
    """

    verdict: str
    leaves: Mapping[str, str]
    field: int
    trials: int
    shapes: tuple[Mapping[str, Shape], ...]
    redraws: int
    bound: float
    counterexample: Counterexample | None = None
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.verdict == "equal"

    def __repr__(self) -> str:
        bound = f", bound {self.bound:.1e}" if self else ""
        return f"<Proof {self.verdict}: {self._leaves()}; {self.trials} trials{bound}>"

    def __str__(self) -> str:
        lines = [_SAYS[self.verdict], *(f"  {reason}" for reason in self.reasons)]
        lines.append(f"  {self._leaves()}")
        if self.counterexample is not None:
            lines.append(f"  counterexample: {self.counterexample}")
        lines.append(f"  {self.trials} trials in GF({self.field}), {self.redraws} redraws, at the shapes")
        lines += [f"    {text_of(shapes)}" for shapes in self.shapes]
        if self:
            lines.append(
                f"  a backward that is wrong at one of these shapes passes with a chance of at most {self.bound:.1e}"
            )
        lines.append(f"  not covered: {NOT_COVERED}")
        return "\n".join(lines)

    def _leaves(self) -> str:
        names = {v: [f"d{n}" for n, w in self.leaves.items() if w == v] for v in _SAYS}
        return ", ".join(f"{', '.join(found)} {v}" for v, found in names.items() if found)


_TRICK = "does the backward look at the dtype?"
_SAYS = {
    "equal": "equal: this backward is the derived one, exactly",
    "different": "different: this backward is not the derived one",
    "undecided": "undecided: this backward is neither proved nor refuted",
}


def prove(
    reference: Callable[..., Any],
    backward: Callable[..., Any],
    *,
    dims: Mapping[str, Any] | None = None,
    trials: int = 6,
    field: int = MERSENNE,
    wrt: Any = None,
    seed: int = 0,
    specs: Mapping[str, Any] | None = None,
    **shapes: Any,
) -> Proof:
    """Prove that ``backward`` is the derived backward of ``reference``: exactly, with no tolerance.

    Both run on random points of a finite field, in which +, -, ·, / and the square root are exact: your
    NumPy code as it is, on object arrays, and the graph of ``vjp_fn(reference)``. Two different
    functions agree at a random point with a chance of at most 2^(r+R) · D / p (Schwartz and Zippel):
    r square roots in an entry, R in all, D the degree of the difference.

    ``backward(dy, *arrays)`` returns one gradient for each name in ``wrt`` (by default every argument):
    a tuple, a dict, or one array. ``shapes`` are written as ``x="N C", gamma="C"``; the letters take at
    least 3 sets of small sizes, from ``dims`` (``{"N": (1, 8)}`` or ``{"N": [4, 5]}``) if given. ``field``:
    a prime, 3 mod 4. A rejection must be confirmed in float64 by ``check_backward``, else the
    verdict is ``"undecided"``. Not covered: rounding, range, layouts, other sizes.

    Raises: NotAlgebraic for what a field does not have (exp, tanh, abs, comparisons, conversions to
    float, irrational constants), with the place; ArgumentError for a wrong call.

    Source: Schwartz, Fast probabilistic algorithms for verification of polynomial identities, 1980.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing.prove import prove
    >>> def norm(x):
    ...     return tg.sqrt(tg.sum(x * x))
    >>> prove(norm, lambda dy, x: dy * x / np.sqrt(np.sum(x ** 2)), x="N").verdict
    'equal'
    >>> prove(norm, lambda dy, x: dy * x / np.sum(x ** 2), x="N").verdict
    'different'
    """
    check_order("prove", reference, backward, len({**shapes, **(specs or {})}))
    spec = parse("prove", reference, shapes, specs)
    if not isinstance(trials, int) or trials < 1:
        raise ArgumentError(f"prove(trials={trials!r}): counts random points; give 1 at least")
    points = Field(field)
    cases = _cases(reference, backward, spec, dims or {}, points, wrt, seed, min(trials, SHAPES))
    for k in range(trials):
        cases[k % len(cases)].trial()
    for case in cases:
        case.settle_signs()
    return _judge(cases, trials)


def _judge(cases: Sequence[Case], trials: int) -> Proof:
    """The verdict: float64 has to confirm what the field says."""
    leaves = dict.fromkeys(cases[0].wrt, "equal")
    found = [Counterexample("", c.writes) for c in cases if c.writes][:1]
    doubts: dict[str, str] = {}
    for case in cases:
        for leaf, problem in case.confirm([n for n in case.wrong if leaves[n] != "different"]).items():
            leaves[leaf] = "undecided" if problem is None else "different"
            doubts[leaf] = f"d{leaf} {case.wrong[leaf]}, and is right in float64: √(v²) = v holds for v > 0 only"
            if problem is not None:
                found.append(Counterexample(leaf, f"d{leaf} {case.wrong[leaf]}", problem))
    bound = max(case.bound for case in cases)
    reasons = [doubts[n] for n, verdict in leaves.items() if verdict == "undecided"]
    if not found and not reasons:
        odd = {n: says for case in cases[::-1] for n, says in case.contradicted().items()}
        leaves.update(dict.fromkeys(odd, "undecided"))
        reasons += [
            f"d{n} is equal in the field, and wrong in float64{f' ({says})' if says else ''}: {_TRICK}"
            for n, says in odd.items()
        ]
        if bound > CONVINCING:
            leaves = dict.fromkeys(leaves, "undecided")
            reasons.append(
                f"a wrong backward passes with a chance of up to {bound:.1e}; give more trials, or a larger field="
            )
    verdict = "different" if found else "undecided" if reasons else "equal"
    return Proof(
        verdict, MappingProxyType(leaves), cases[0].field.p, trials, tuple(MappingProxyType(c.shapes) for c in cases),
        sum(c.draws for c in cases) - trials, bound, found[0] if found else None, tuple(reasons),
    )  # fmt: skip


def _cases(
    reference: Any, backward: Any, spec: Shapes, dims: Mapping[str, Any], field: Field, wrt: Any, seed: int, count: int
) -> list[Case]:
    """One for each of ``count`` sets of sizes at which the reference is defined."""
    cases: list[Case] = []
    trouble: NotAlgebraic | None = None
    for number, shapes in enumerate(_concrete(spec, dims, np.random.default_rng([seed, 0xF1]))):
        try:
            case = Case(reference, backward, shapes, field, wrt, [seed, number])
            case.gradients(kernel=False)
        except Unusable as error:
            trouble = NotAlgebraic(f"prove({name_of(reference)}, …) at {text_of(shapes)}: {error}")
            if number == 5 and not cases:
                break
            continue
        cases.append(case)
        if len(cases) == count:
            break
    if not cases:
        raise trouble or ArgumentError("prove: no shapes to try")
    return cases


def _concrete(spec: Shapes, dims: Mapping[str, Any], rng: Any) -> Iterator[dict[str, Shape]]:
    """Different shapes, small and with sizes that differ from each other."""
    for letter in dims:
        if letter not in spec.letters:
            raise ArgumentError(
                f"prove(dims={dims!r}): no shape has a letter {letter!r}; it takes {', '.join(spec.letters)}"
            )
    few = len(spec.letters) < 3
    seen = []
    for attempt in range(24):
        sizes: dict[str, int] = {}
        for place, letter in enumerate(spec.letters):
            allowed = _allowed(letter, dims.get(letter), range(3 if few else 4, 8) if place == 0 else (2, 3))
            fresh = [n for n in allowed if n not in sizes.values()]
            sizes[letter] = int(rng.choice(fresh or allowed))
        rest = ((), (2,), (3, 2))[attempt % 3] if spec.has_rest else ()
        ones = [axis for k, axis in enumerate(spec.optional_axes) if attempt % 3 == 1 or (attempt % 3 == 2 and k % 2)]
        shapes = spec.concrete(sizes, rest, ones)
        if any(0 in shape for shape in shapes.values()):
            raise ArgumentError(
                f"prove({text_of(shapes)}): there is nothing to compare in an empty array; give sizes above 0"
            )
        if shapes not in seen:
            seen.append(shapes)
            yield shapes


def _allowed(letter: str, given: Any, usual: Sequence[int]) -> list[int]:
    if given is None:
        return list(usual)
    found: list[Any] = list(given) if isinstance(given, Iterable) else [given]
    wrong = ""
    if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in found):
        wrong = "sizes are integers"
    elif any(n < 1 for n in found):
        wrong = "sizes are 1 at least, since there is nothing to compare in an empty array"
    elif isinstance(given, tuple) and len(given) == 2:
        low, high = given
        found = list(range(low, min(high, max(low, 8)) + 1))
    if wrong or not found:
        raise ArgumentError(
            f"prove(dims={{{letter!r}: {given!r}}}): {wrong or 'no size is left'}; give a range (1, 8) or a list [4, 5]"
        )
    return found
