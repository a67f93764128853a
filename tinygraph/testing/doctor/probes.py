"""Generic problems on which a backward shows what it computes: all sizes different, nothing special."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ...core.array import is_weak
from ...errors import ArgumentError, TinygraphError
from ..extras import need
from ..kernel import Kernel, Observed, observe
from ..naming import trace_named
from ..paths import Path, evaluate
from ..shapes import Shapes
from ..tape import Hook, Tape

Array = np.ndarray[Any, Any]
DOMAINS = ("real", "positive", "probability", "labels")
SIZES = (5, 6, 7, 8, 9, 10, 11, 12, 13)
_SAFE: tuple[Any, ...] = ("real", "positive", (0.1, 0.9), (-0.9, 0.9), (1.1, 3.0))


class Trial:
    """One probe: the reference's graph and values on it, the derived gradients, and what the kernel gave."""

    def __init__(
        self, reference: Callable[..., Any], kernel: Kernel, arrays: Sequence[Array], sizes: Mapping[str, int], seed: int,
        dy: Any = None,
    ) -> None:  # fmt: skip
        self.reference, self.kernel, self.arrays, self.sizes = reference, kernel, list(arrays), dict(sizes)
        self.graph, self.names = trace_named(reference, arrays)
        self.tape = Tape(self.graph)
        rng = np.random.default_rng([seed, 0xD0C])
        outputs = self.graph.outputs
        several = self.graph.tree is not None and self.graph.tree.kind is not None
        if dy is None:
            drawn = [rng.normal(size=t.shape).astype(t.dtype) for t in outputs]
            dy = tuple(drawn) if several else drawn[0]
        self.dy = dy
        self.dys = list(dy) if isinstance(dy, tuple) else [dy]
        self.place = {n: kernel.names.index(n) for n in kernel.wrt}
        # Terms are computed in float64 also for a narrower kernel, so that only its own rounding is in the way.
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in self.arrays]
        self.dys = [d.astype(np.float64) for d in self.dys]
        with np.errstate(all="ignore"):
            self.values = self.tape.run(wide)
            self.totals = self.tape.backward(self.values, self.dys, list(self.place.values()))
        self._terms: dict[str, list[Any]] = {}
        self._masses: dict[str, Array] = {}
        self.aligned: dict[tuple[int, tuple[int, ...]], Any] = {}
        self.seen: Observed | None = None
        self.low: int | None = None  # the node whose small constant matters here

    def observe(self, nondeterministic: bool = False) -> Observed:
        """Let the kernel run, on copies."""
        if self.seen is None:
            dy = tuple(d.copy() for d in self.dy) if isinstance(self.dy, tuple) else self.dy.copy()
            self.seen = observe(self.kernel, dy, [a.copy() for a in self.arrays], nondeterministic=nondeterministic)
        return self.seen

    @property
    def finite(self) -> bool:
        """Whether the outputs and the derived gradients are finite here."""
        outputs = [self.values[k] for k in self.tape.outputs]
        return all(np.isfinite(v).all() for v in outputs) and all(
            np.isfinite(self.derived(n)).all() for n in self.kernel.wrt
        )

    def derived(self, leaf: str) -> Array:
        """The derived gradient of an argument."""
        k = self.place[leaf]
        found = self.totals.get(k)
        like = self.values[k]
        return np.zeros(like.shape, like.dtype) if found is None else np.broadcast_to(found, like.shape)

    def terms(self, leaf: str, paths: Sequence[Path]) -> list[Array]:
        """The contribution of each path."""
        if leaf not in self._terms:
            with np.errstate(all="ignore"):
                self._terms[leaf] = [np.asarray(self.term(p)) for p in paths]
        return self._terms[leaf]

    def term(self, path: Path, hook: Hook | None = None, values: list[Any] | None = None) -> Any:
        """One path's contribution, with a step of it exchanged by ``hook``, or on other values."""
        return evaluate(path, self.tape, self.values if values is None else values, self.dys, hook, self.totals)

    def gradient(self, leaf: str, hook: Hook | None = None, values: list[Any] | None = None) -> Any:
        """The whole gradient with some rule exchanged, or on other values; None where that does not fit."""
        k = self.place[leaf]
        try:
            with np.errstate(all="ignore"):
                found = self.tape.backward(self.values if values is None else values, self.dys, [k], hook).get(k)
        except (ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, TinygraphError):
            return None
        return None if found is None or np.shape(found) != self.values[k].shape else np.asarray(found)

    def mass(self, leaf: str, paths: Sequence[Path]) -> Array:
        """The absolute terms, added up."""
        if leaf not in self._masses:
            terms = self.terms(leaf, paths)
            total = (
                np.add.reduce([np.abs(t) for t in terms]) if terms else np.zeros(self.values[self.place[leaf]].shape)
            )
            self._masses[leaf] = np.asarray(total)
        return self._masses[leaf]

    def bound(self, leaf: str) -> float:
        """The largest sum of absolute contributions: what rounding errors are small against, also where these cancel."""
        k = self.place[leaf]
        dys = [np.abs(d) for d in self.dys]
        with np.errstate(all="ignore"):
            found = self.tape.backward(self.values, dys, [k], lambda k, i, g, v, derived: np.abs(derived())).get(k)
        return 0.0 if found is None else float(np.max(found, initial=0))

    def place_of(self, name: str) -> int | None:
        """The place of what a person calls ``name``."""
        return next((k for k, t in enumerate(self.tape.tensors) if self.names.given.get(t) == name), None)


def small_constants(tape: Tape) -> list[tuple[int, int, float]]:
    """Small numbers that are added to something: (node, place of the number, its value)."""
    found = []
    for k, step in tape.steps.items():
        for j in step.operands:
            value = tape.constants[j - tape.inputs] if tape.inputs <= j < tape.first else None
            if step.op.name == "add" and value is not None and is_number(value) and 0 < abs(float(value)) < 1e-2:
                found.append((k, j, float(value)))
    return found


def is_number(value: Any) -> bool:
    """A Python number or a 0-d float, but no flag."""
    return (is_weak(value) and not isinstance(value, bool)) or (
        np.ndim(value) == 0 and np.asarray(value).dtype.kind == "f"
    )


def ancestors(tape: Tape, place: int) -> set[int]:
    """The inputs that a place depends on."""
    found, stack, inputs = set(), [place], set()
    while stack:
        k = stack.pop()
        if k in found:
            continue
        found.add(k)
        if k < tape.inputs:
            inputs.add(k)
        elif k in tape.steps:
            stack.extend(tape.steps[k].operands)
    return inputs


# -- drawing -----------------------------------------------------------------------------------------


class Draw:
    """How the arrays of a probe are drawn: by shapes with letters, or in the shapes of given arrays."""

    def __init__(
        self, shapes: Shapes, dims: Mapping[str, Any] | None, domains: Mapping[str, Any] | None, dtypes: Mapping[str, Any],
        like: Mapping[str, Array] | None = None,
    ) -> None:  # fmt: skip
        self.shapes, self.dims, self.domains = shapes, dims or {}, domains or {}
        self.dtypes, self.like = dtypes, like or {}
        self.pools: dict[str, Array] = {}
        check_draw(shapes, self.dims, self.domains)

    def sizes(self, rng: Any, small: bool = False) -> dict[str, int]:
        """A size for every letter, all different and at least 5 where that is allowed."""
        sizes: dict[str, int] = {}
        for letter in self.shapes.letters:
            allowed = _allowed(letter, self.dims.get(letter), SIZES)
            fresh = [n for n in allowed if n not in sizes.values() and n >= 5]
            choice = fresh or [n for n in allowed if n not in sizes.values()] or allowed
            sizes[letter] = int(rng.choice(choice))
        return {**self._guessed(), **sizes}

    def _guessed(self) -> dict[str, int]:
        """Letters for the sizes of given arrays, by the custom of the field."""
        if not self.like or self.shapes.letters:
            return {}
        shape = max((a.shape for a in self.like.values()), key=len)
        letters = {1: "N", 2: "NC", 3: "NCL", 4: "NCHW"}.get(len(shape), "NCDHW"[: len(shape)])
        return {letter: n for letter, n in zip(letters, shape, strict=False) if n > 1}

    def arrays(self, rng: Any, sizes: Mapping[str, int], safe: Any, ones: bool = False) -> dict[str, Array]:
        """One array per argument; ``safe``: the domain of those that none is given for; ``ones``: axes ``C?`` may be 1."""
        rest = tuple(int(n) for n in rng.choice([2, 3, 4], 2, replace=False)) if self.shapes.has_rest else ()
        optional = self.shapes.optional_axes if ones else ()
        chosen = [axis for axis in optional if len(optional) == 1 or rng.integers(2)]
        shapes = self.shapes.concrete(sizes, rest, chosen)
        domains = safe if isinstance(safe, dict) else dict.fromkeys(shapes, safe)
        return {name: self._array(name, shape, rng, sizes, domains[name]) for name, shape in shapes.items()}

    def _array(self, name: str, shape: tuple[int, ...], rng: Any, sizes: Mapping[str, int], safe: Any) -> Array:
        domain, dtype = self.domains.get(name), self.dtypes.get(name, np.dtype(np.float64))
        like = self.like.get(name)
        if domain is None and like is not None:
            if like.dtype.kind != "f":
                return like.copy()
            domain = _domain_of(like)
        if domain is None or domain == "real":
            domain = safe
        if hasattr(domain, "map"):
            pool = self._pool(name)
            return rng.choice(pool, shape, replace=pool.size < int(np.prod(shape))).astype(dtype)  # type: ignore[no-any-return]
        if domain == "labels":
            return rng.integers(0, _classes(self.shapes, name, sizes), shape)  # type: ignore[no-any-return]
        if domain == "positive":
            return rng.uniform(0.2, 2.0, shape).astype(dtype)  # type: ignore[no-any-return]
        if domain == "probability":
            p = rng.uniform(0.1, 1.0, shape)
            return (p / p.sum(axis=-1, keepdims=True) if shape else p).astype(dtype)  # type: ignore[no-any-return]
        if isinstance(domain, (tuple, list)):
            return rng.uniform(*domain, shape).astype(dtype)  # type: ignore[no-any-return]
        drawn: Array = rng.normal(size=shape)
        # Nothing generic is near 0, 1 or a power of two; parameters of either sign.
        return np.where(np.abs(drawn) < 0.1, drawn + np.copysign(0.25, drawn), drawn).astype(dtype)

    def _pool(self, name: str) -> Array:
        """What a strategy yields, to choose from."""
        if name not in self.pools:
            self.pools[name] = _drawn(self.domains[name])
        return self.pools[name]

    def fixed(self, name: str) -> bool:
        """Whether an argument's values may not be scaled down without leaving its domain."""
        domain = self.domains.get(name)
        if isinstance(domain, (tuple, list)):
            return not domain[0] <= 0 <= domain[1]
        like = self.like.get(name)
        guessed = domain is None and like is not None and _domain_of(like) == "probability"
        return guessed or domain not in (None, "real", "positive")


def _drawn(strategy: Any) -> Array:
    """A hundred values of a Hypothesis strategy, the same ones every time."""
    h = need("hypothesis", "testing", "domains={…: a strategy}")
    found: list[Any] = []

    def collect(value: Any) -> None:
        found.append(np.ravel(np.asarray(value)))

    settings = h.settings(
        max_examples=100, database=None, derandomize=True, deadline=None, phases=[h.Phase.generate],
        suppress_health_check=list(h.HealthCheck),
    )  # fmt: skip
    # In a thread of its own: Hypothesis does not let one test run inside another.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(settings(h.given(strategy)(collect))).result()
    return np.unique(np.concatenate(found))


def check_draw(shapes: Shapes, dims: Mapping[str, Any], domains: Mapping[str, Any]) -> None:
    """Letters, arguments and domains that there are."""
    for letter in dims:
        if letter not in shapes.letters:
            raise ArgumentError(
                f"dims={{{letter!r}: …}}: no shape has that letter; use {', '.join(shapes.letters) or 'none'}"
            )
    for name, domain in domains.items():
        if name not in shapes.args:
            raise ArgumentError(f"domains={{{name!r}: …}}: no argument has that name; use {', '.join(shapes.args)}")
        pair = isinstance(domain, (tuple, list)) and len(domain) == 2
        if not pair and not hasattr(domain, "map") and domain not in DOMAINS:
            raise ArgumentError(
                f"domains={{{name!r}: {domain!r}}}: unknown; write {', '.join(map(repr, DOMAINS))}, or bounds (low, high)"
            )


def _allowed(letter: str, given: Any, usual: Sequence[int]) -> list[int]:
    if given is None:
        return list(usual)
    if isinstance(given, int):
        return [given]
    if isinstance(given, tuple) and len(given) == 2:
        return list(range(given[0], min(given[1], max(given[0], 13)) + 1))
    if not given:
        raise ArgumentError(f"dims={{{letter!r}: {given!r}}}: no size is left; give a range (1, 8) or a list [31, 32]")
    return [int(n) for n in given]


def _classes(shapes: Shapes, name: str, sizes: Mapping[str, int]) -> int:
    """Labels count the letter that they do not have themselves: logits "N C", labels "N"."""
    own = {d.letter for d in shapes.args[name]}
    others = [
        sizes[d.letter]
        for n, dims in shapes.args.items()
        if n != name
        for d in dims
        if d.letter in sizes and d.letter not in own
    ]
    fixed = [d.fixed for n, dims in shapes.args.items() if n != name for d in dims if d.fixed is not None]
    return min([*others, *[n for n in fixed if n is not None]], default=3)  # within every axis that they may index


def _domain_of(like: Array) -> str | None:
    if like.ndim and like.size > 1 and (like > 0).all():
        rows = like.sum(axis=-1)
        return "probability" if np.allclose(rows, 1) else "positive"
    return None


def draw_trials(reference: Callable[..., Any], kernel: Kernel, draw: Draw, count: int, seed: int) -> list[Trial]:
    """``count`` probes; half of them with a variance so low that small constants matter.

    The arguments are real numbers; where the reference is not finite on those, positive ones, and so on.
    """
    best: list[Trial] = []
    for safe in _domains(draw):
        trials = _draw_trials(reference, kernel, draw, count, seed, safe)
        if len(trials) == count:
            return trials
        best = max(best, trials, key=len)
    if not best:
        raise ArgumentError(
            "diagnose: the reference is not finite on ordinary numbers; say where it is, e.g. domains={'x': 'positive'}"
        )
    return best


def _domains(draw: Draw) -> Iterator[Any]:
    """Domains to try for the arguments that none is given for: one for all, then each its own."""
    yield from _SAFE
    free = [n for n in draw.shapes.args if draw.domains.get(n) in (None, "real")]
    if 1 < len(free) < 4:
        for chosen in itertools.product(_SAFE, repeat=len(free)):
            if len(set(chosen)) > 1:
                yield {**dict.fromkeys(draw.shapes.args, "real"), **dict(zip(free, chosen, strict=True))}


def _draw_trials(reference: Any, kernel: Kernel, draw: Draw, count: int, seed: int, safe: Any) -> list[Trial]:
    """As many probes as are found; none where the reference is finite in few places only."""
    trials: list[Trial] = []
    errors: list[Exception] = []
    for attempt in range(1, 20 * count + 64):
        rng = np.random.default_rng([seed, attempt])
        sizes = draw.sizes(rng)
        arrays = draw.arrays(rng, sizes, safe, len(trials) % 4 > 1)
        try:
            trial = Trial(reference, kernel, list(arrays.values()), sizes, seed + attempt)
            if len(trials) % 2 and trial.finite:
                trial = _low(reference, kernel, draw, trial, seed + attempt, len(trials) // 2)
        except Exception as error:
            # Not every reference takes every size: halves need even ones.
            errors.append(error)
            if draw.like and not draw.shapes.letters:
                raise
            if len(errors) > 64 and not trials:
                raise ArgumentError(
                    f"diagnose: the reference raises on generic arguments, {type(errors[0]).__name__}: {errors[0]}; "
                    "give sizes that it takes with dims=, and domains={'t': 'labels'} for integers"
                ) from errors[0]
            continue
        if trial.finite:
            trials.append(trial)
        if len(trials) == count or attempt - len(errors) > 8 + 2 * len(trials):
            break
    return trials


def _low(reference: Any, kernel: Kernel, draw: Draw, trial: Trial, seed: int, turn: int) -> Trial:
    """The same probe with what a small constant is added to made as small as that constant."""
    constants = small_constants(trial.tape)
    if not constants:
        return trial
    node, place, value = constants[turn % len(constants)]
    behind = [j for j in trial.tape.steps[node].operands if j != place]
    inputs = ancestors(trial.tape, behind[0]) if behind else set()
    usual = _usual(trial, behind[0]) if behind else 0.0
    if not usual or any(draw.fixed(kernel.names[k]) for k in inputs):
        return trial

    def scaled(scale: float) -> Trial:
        arrays = [
            (a * scale).astype(a.dtype) if k in inputs and a.dtype.kind == "f" else a
            for k, a in enumerate(trial.arrays)
        ]
        return Trial(reference, kernel, arrays, trial.sizes, seed)

    # Most such sums are of squares: the square root of the constant. Where it is another power, that one.
    scale = np.sqrt(abs(value) / usual)
    low = scaled(scale)
    power = np.log(_usual(low, behind[0]) / usual) / np.log(scale) if low.finite and _usual(low, behind[0]) else 2.0
    if not 0.2 < power < 8:
        return trial  # of a sigmoid, say, which no scale makes small
    if abs(power - 2) > 0.2:
        low = scaled((abs(value) / usual) ** (1 / power))
    low.low = node
    return low if low.finite else trial


def _usual(trial: Trial, place: int) -> float:
    return float(np.median(np.abs(np.asarray(trial.values[place], np.float64))))
