"""Hypothesis strategies of arrays and of whole problems for a backward: values, sizes, regimes and layouts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.graph import flatten
from ..core.scope import no_grad
from ..core.tensor import Tensor
from ..errors import ArgumentError
from . import layouts as lay
from . import values as val
from .extras import need, unwatched
from .problem import Problem
from .shapes import Dim, Shapes, parse

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Array = np.ndarray[Any, Any]
_UPSTREAM = "dy="  # stands among the shapes for dy, and is no argument's name
_CHUNKS = (4, 8, 16, 32, 64)  # bytes drawn at once: few draws, and fewer for fewer elements
_RESTS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (1,), (2, 2))
_DEGENERATE = ("constant feature", "constant row", "dy constant", "dy in span", "two", "one")
_MARKS = (np.nan, np.inf, -np.inf)


def arrays(
    shape: int | Sequence[int], *, dtype: Any = np.float64, regime: str = "any", domain: Any = "real"
) -> SearchStrategy[Array]:
    """Arrays of one shape that shrink to a generic ramp (-3, 0, 3, -1, …), not to zeros.

    Up to 64 elements are drawn one by one, larger arrays by a seed. ``regime`` is "generic", "scale"
    (1e±3, 1e-6), "offset" (1 to 1e6), "degenerate" (constant along an axis), "bulk", "nonfinite", or
    "any" of the first four. ``domain`` is "real", "positive", "probability" (sums to 1 along the last
    axis), "labels" (integers 0 and 1), bounds (lo, hi), or a strategy of elements or arrays.

    Raises: ArgumentError for a regime or domain that there is not; MissingExtra without Hypothesis.

    >>> from hypothesis import Phase, find, settings
    >>> from tinygraph.testing import arrays
    >>> find(arrays((2, 3)), lambda a: True, settings=settings(phases=[Phase.generate]))
    array([[-3.,  3.,  2.],
           [ 0., -1., -2.]])
    """
    op = "arrays"
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    shapes = Shapes({"a": tuple(Dim(fixed=n) for n in sizes)})
    plan = _Plan(op, shapes, dtype, None, {"a": domain}, val.USUAL if regime == "any" else (regime,), layouts=False)
    found: SearchStrategy[Array] = _composite(op, lambda draw: _Example(draw, plan).array("a", sizes))
    return found


def problems(
    *, dtype: Any = np.float64, dims: Mapping[str, Any] | None = None, domains: Mapping[str, Any] | None = None,
    regimes: Sequence[str] = val.USUAL, layouts: bool = True, specs: Mapping[str, Any] | None = None, **shapes: Any,
) -> SearchStrategy[Problem]:  # fmt: skip
    """Problems: an array for each argument, ``x="N C", gamma="C"``, and ``dy="N C"`` if its shape is given.

    Letters are sizes that arguments share; ``dims`` bounds them, ``{"N": (1, 8)}``, or lists them,
    ``{"N": [31, 32, 33]}``. ``domains`` are those of ``arrays``, by argument; labels lie below the last
    size of the first argument with more axes. ``regimes`` are drawn one per problem: "degenerate"
    means sizes of 1 and 2, a constant feature or row, dy constant or a + b · x̂. With ``layouts``
    arrays lie in memory in every way, dy above all: Fortran order, stride 0, negative strides, gaps
    that hold nan, read-only, or sharing memory with an argument.

    Raises: ArgumentError for a shape, size, domain or regime that there is not; MissingExtra without Hypothesis.

    >>> from hypothesis import Phase, find, settings
    >>> from tinygraph.testing import problems
    >>> find(problems(x="N C", dy="N C"), lambda p: True, settings=settings(phases=[Phase.generate]))
    Problem(x=np.array([[-3.0], [0.0], [3.0]]), dy=np.array([[3.0], [-1.0], [2.0]]))
    """
    op = "problems"
    upstream = shapes.pop("dy", None)
    given = dict(parse(op, _anything, shapes, specs).args)
    if upstream is not None:
        given[_UPSTREAM] = parse(op, _anything, {"dy": upstream}).args["dy"]
    return _problems(_Plan(op, Shapes(given), dtype, dims, domains or {}, tuple(regimes), layouts))


def problems_for(
    reference: Callable[..., Any], shapes: Shapes, *, op: str = "backward_test", dtype: Any = np.float64,
    dims: Mapping[str, Any] | None = None, domains: Mapping[str, Any] | None = None,
    regimes: Sequence[str] = val.USUAL, layouts: bool = True,
) -> SearchStrategy[Problem]:  # fmt: skip
    """Problems for a reference: dy has the shape and dtype of what it returns at each example."""
    return _problems(_Plan(op, shapes, dtype, dims, domains or {}, tuple(regimes), layouts, reference))


def trial(
    reference: Callable[..., Any], shapes: Shapes, *, op: str = "backward_test", dtype: Any = np.float64,
    dims: Mapping[str, Any] | None = None, domains: Mapping[str, Any] | None = None, **others: Any,
) -> list[Array]:  # fmt: skip
    """Arguments that the reference was tried on, at sizes that all differ; strategies among the domains are not drawn.

    Raises: ArgumentError where it raises: letters that do not fit, or values that it cannot take.
    """
    domains = domains or {}
    own = {name for name, domain in domains.items() if hasattr(domain, "example")}
    simple = {name: domain for name, domain in domains.items() if name not in own}
    example = _Simplest(_Plan(op, shapes, dtype, dims, simple, ("generic",), False))
    found = example.problem().arrays
    try:
        if not own:
            _outputs(reference, found)
    except Exception as error:
        sizes = ", ".join(f"{name}{list(a.shape)}" for name, a in found.items())
        raise ArgumentError(
            f"{op}({shapes}): the reference raises {type(error).__name__} at {sizes}: {error}; "
            "mend the letters, or give dims= and domains= that it can take"
        ) from error
    return list(found.values())


def _anything(*arrays: Any) -> None:
    """Stands for a reference in ``parse``: takes any arguments."""


def _hypothesis(op: str) -> Any:
    return need("hypothesis.strategies", "testing", f"{op}()")


def _composite(op: str, function: Callable[[Any], Any]) -> Any:
    return _hypothesis(op).composite(function)()


def _problems(plan: _Plan) -> SearchStrategy[Problem]:
    def drawn(draw: Any) -> Problem:
        with unwatched():
            return _Example(draw, plan).problem()

    found: SearchStrategy[Problem] = _composite(plan.op, drawn)
    return found


# -- what is asked for --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """The arguments of a strategy, checked."""

    op: str
    shapes: Shapes
    dtype: Any
    dims: Mapping[str, Any] | None
    domains: Mapping[str, Any]
    regimes: tuple[str, ...]
    layouts: bool
    reference: Callable[..., Any] | None = None
    choices: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if np.dtype(self.dtype).kind != "f":
            self._refuse(f"dtype={self.dtype!r}", "is no floating dtype", "give np.float64, np.float32 or np.float16")
        for regime in self.regimes or ("",):
            if regime not in val.REGIMES:
                self._refuse(
                    f"regimes={self.regimes!r}", f"there is no regime {regime!r}", "use " + ", ".join(val.REGIMES)
                )
        for name, given in (("dims", self.dims), ("domains", self.domains)):
            if not isinstance(given or {}, Mapping):
                self._refuse(f"{name}={given!r}", "is no dict", 'write dims={"N": (1, 8)}, domains={"x": "positive"}')
        for letter, sizes in (self.dims or {}).items():
            if letter not in self.shapes.letters:
                known = ", ".join(self.shapes.letters) or "none"
                self._refuse(f"dims={{{letter!r}: …}}", "no argument has that size", f"the sizes are {known}")
            self.choices[letter] = self._sizes(letter, sizes)
        for name, domain in self.domains.items():
            if name not in self.shapes.args:
                known = ", ".join(self.shapes.args)
                self._refuse(f"domains={{{name!r}: …}}", "there is no such argument", f"the arguments are {known}")
            self._check_domain(name, domain)

    def _sizes(self, letter: str, given: Any) -> tuple[int, ...]:
        """The sizes that a letter may have: the usual ones in front, so that an example shrinks to them."""
        if isinstance(given, tuple) and len(given) == 2:
            inside = range(given[0], given[1] + 1)
            given = sorted(inside, key=lambda n: val.SIZES.index(n) if n in val.SIZES else n + len(val.SIZES))
        found = tuple(given) if isinstance(given, (list, tuple, range)) else (given,)
        if not found or not all(isinstance(n, int) and n >= 0 for n in found):
            self._refuse(
                f"dims={{{letter!r}: {given!r}}}", "are no sizes", f"write {{{letter!r}: (1, 8)}} or a list of sizes"
            )
        return found

    def _check_domain(self, name: str, domain: Any) -> None:
        bounds = isinstance(domain, tuple) and len(domain) == 2 and domain[0] < domain[1]
        if not (bounds or (isinstance(domain, str) and domain in val.NAMES) or hasattr(domain, "example")):
            self._refuse(
                f"domains={{{name!r}: {domain!r}}}", "is no domain",
                f"give bounds (lo, hi), a Hypothesis strategy, or one of {', '.join(map(repr, val.NAMES))}",
            )  # fmt: skip

    def _refuse(self, what: str, why: str, mend: str) -> None:
        raise ArgumentError(f"{self.op}({what}): {why}; {mend}")


# -- one example --------------------------------------------------------------------------------------


class _Example:
    """One example while it is drawn: sizes, then arguments, then dy, then how they lie in memory."""

    def __init__(self, draw: Callable[[Any], Any], plan: _Plan) -> None:
        self.draw, self.plan = draw, plan
        self.regime = self.choose((*plan.regimes, *(r for r in plan.regimes if r == "offset")))  # rarer to show: twice
        self.kind = self.choose(_DEGENERATE) if self.regime == "degenerate" else ""
        self.shapes: dict[str, tuple[int, ...]] = {}

    def choose(self, options: Sequence[Any]) -> Any:
        """One of several, the first being the simplest."""
        return self.draw(_one_of(tuple(options))) if len(options) > 1 else options[0]

    def problem(self) -> Problem:
        """The whole example."""
        plan = self.plan
        self.shapes = self.sizes()
        upstream = self.shapes.pop(_UPSTREAM, None)
        found = {name: self.array(name, shape, 4 * i) for i, (name, shape) in enumerate(self.shapes.items())}
        outputs, several = [] if upstream is None else [(upstream, plan.dtype)], False
        if plan.reference is not None:
            outputs, several = _outputs(plan.reference, found)
        if plan.layouts:
            how = self.choose(_OF_ARGUMENTS)
            found = {name: lay.LAYOUTS[how](a) for name, a in found.items()}
        pulled = [self.upstream(found, val.UPSTREAM + i, *output) for i, output in enumerate(outputs)]
        return Problem(dy=tuple(pulled) if several else pulled[0] if pulled else None, specs=found)

    # -- sizes --

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Sizes of the letters, at which no array has more than 64 elements unless ``dims`` says so."""
        shapes = self.plan.shapes
        sizes = dict.fromkeys(shapes.letters, 1)
        for i, letter in enumerate(shapes.letters):
            options = self.plan.choices.get(letter) or self._fitting(sizes, letter, i == 0)
            sizes[letter] = self.choose(options)
        rests = [r for r in _RESTS if self._largest(sizes, r) <= val.LIMIT] or [()]
        rest = self.choose(rests) if shapes.has_rest else ()
        optional = shapes.optional_axes
        bits = self.draw(_integers(2 ** len(optional) - 1)) if optional else 0
        return shapes.concrete(sizes, rest, [place for k, place in enumerate(optional) if bits >> k & 1])

    def _fitting(self, sizes: dict[str, int], letter: str, first: bool) -> Sequence[int]:
        if first and self.kind in ("one", "two"):
            return (1,) if self.kind == "one" else (2,)
        if self.regime == "bulk":
            return val.BULK if first else (3, 2, 1)
        usual = val.SIZES if first else val.OTHERS
        return [n for n in usual if self._largest({**sizes, letter: n}) <= val.LIMIT] or (1,)

    def _largest(self, sizes: dict[str, int], rest: Sequence[int] = ()) -> int:
        return max(map(math.prod, self.plan.shapes.concrete(sizes, rest).values()), default=1)

    # -- values --

    def array(self, name: str, shape: tuple[int, ...], begin: int = 0) -> Array:
        """An argument: its values in the regime and the domain."""
        domain, size = self.plan.domains.get(name, "real"), math.prod(shape)
        if hasattr(domain, "example"):
            return self._from_strategy(domain, shape)
        if domain == "labels":
            return val.labels(self.bytes(size), size, begin, self._classes(name, shape)).reshape(shape)
        z = self.elements(shape, begin)
        if self.kind.startswith("constant") and len(shape) == max(map(len, self.shapes.values()), default=len(shape)):
            z = val.constant_feature(z, rows=self.kind.endswith("row"))
        return self.cast(val.in_domain(z, domain, *self.moved(val.offsets(self.plan.dtype))), self.plan.dtype)

    def elements(self, shape: tuple[int, ...], begin: int) -> Array:
        """The numbers that values are made of: base · ramp + draws in eighths, or normal ones."""
        size = math.prod(shape)
        if self.regime == "bulk" or size > val.LIMIT:
            return val.normals(self.draw(_integers(2**32 - 1)), size).reshape(shape)
        base = self.choose((1, 0))
        z: Array = base * val.ramp(shape, begin) + val.eighths(self.bytes(size), size).reshape(shape)
        return z

    def bytes(self, size: int) -> bytes:
        """At least as many bytes; in few draws, and in fewer for fewer elements."""
        raw, chunk = b"", 0
        while len(raw) < size:
            raw += self.draw(_binary(_CHUNKS[min(chunk, len(_CHUNKS) - 1)]))
            chunk += 1
        return raw

    def moved(self, offsets: tuple[float, ...]) -> tuple[float, float]:
        """Scale and offset."""
        if self.regime == "scale":
            return self.choose(val.scales(self.plan.dtype)), 0.0
        offset = self.choose(offsets) if self.regime == "offset" else 0.0
        return val.UNEVEN if offset else 1.0, offset

    def cast(self, values: Array, dtype: Any) -> Array:
        """The values in a dtype; in the regime "nonfinite" one of them is none."""
        with np.errstate(all="ignore"):
            found = np.asarray(values).astype(dtype)
        if self.regime == "nonfinite" and found.size:
            mark, place = self.choose((0.0, *_MARKS)), self.draw(_integers(found.size - 1))
            found.flat[place] = mark or found.flat[place]
        return found

    def _from_strategy(self, strategy: Any, shape: tuple[int, ...]) -> Array:
        """An array that the strategy gave, or one made of the numbers that it gave."""
        first = np.asarray(self.draw(strategy))
        if first.shape != shape:
            rest = [self.draw(strategy) for _ in range(math.prod(shape) - 1)]
            first = np.array([first[()], *rest][: math.prod(shape)]).reshape(shape)
        return first.astype(self.plan.dtype) if first.dtype.kind == "f" else first

    def _classes(self, name: str, shape: tuple[int, ...]) -> int:
        larger = (s for n, s in self.shapes.items() if n != name and len(s) > len(shape))
        return next(larger, (2,))[-1]

    # -- dy --

    def upstream(self, found: dict[str, Array], begin: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """One dy in some layout. Where it shares memory with an argument, that one is replaced in ``found``."""
        how = self.choose(_OF_DY if shape else _OF_NUMBERS) if self.plan.layouts else "contiguous"
        if how == "broadcast":
            stays = self.draw(_integers(2 ** len(shape) - 2))  # a bit for each axis that is drawn in full; not all are
            once = tuple(n if stays >> i & 1 else 1 for i, n in enumerate(shape))
            return np.broadcast_to(self.cotangent(found, begin, once, dtype), shape)
        dy = self.cotangent(found, begin, shape, dtype)
        if how != "aliased":
            return lay.LAYOUTS[how](dy)
        twin = next((n for n, a in found.items() if a.size == dy.size and a.dtype == dy.dtype), None)
        if twin is not None:
            dy, found[twin] = lay.aliased(dy, found[twin])
        return dy

    def cotangent(self, found: Mapping[str, Array], begin: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """Its values; where they are degenerate, a constant, or a + b · x̂ of an argument x of its shape."""
        z = self.elements(shape, begin)
        alike = next((x for x in found.values() if x.shape == shape and x.dtype.kind == "f" and x.ndim), None)
        if self.kind == "dy constant" and z.size:
            z = np.full(shape, z.flat[0])
        if self.kind == "dy in span" and z.size and alike is not None:
            z = val.in_span(alike.astype(np.float64), z.flat[0], z.flat[-1] or 1.0)
        # A dy with an offset drowns what an offset of the arguments does: most have none.
        offsets = val.offsets(dtype)
        return self.cast(val.in_domain(z, "real", *self.moved((0.0,) * 3 * len(offsets) + offsets)), dtype)


class _Simplest(_Example):
    """The example of which nothing is drawn, at sizes that all differ: letters that do not fit show."""

    def __init__(self, plan: _Plan) -> None:
        super().__init__(lambda strategy: 0, plan)

    def choose(self, options: Sequence[Any]) -> Any:
        return options[0]

    def bytes(self, size: int) -> bytes:
        return bytes(size)

    def _fitting(self, sizes: dict[str, int], letter: str, first: bool) -> Sequence[int]:
        return [n for n in (3, 2, *range(4, 99)) if n not in sizes.values()]


_OF_NUMBERS = ("contiguous", "readonly")
_OF_DY = (*lay.LAYOUTS, "broadcast", "aliased")
_OF_ARGUMENTS = ("contiguous",) * 4 + tuple(lay.LAYOUTS)


def _outputs(reference: Callable[..., Any], arguments: Mapping[str, Array]) -> tuple[list[Any], bool]:
    """The shape and dtype of each output, and whether there are several."""
    with np.errstate(all="ignore"), no_grad():
        result = reference(*map(Tensor, arguments.values()))
    leaves = flatten(result)[0]
    floats = [getattr(t, "dtype", np.dtype(np.float64)) for t in leaves]
    dtypes = [d if d.kind == "f" else np.dtype(np.float64) for d in floats]
    return [(np.shape(t), d) for t, d in zip(leaves, dtypes, strict=True)], isinstance(result, (tuple, list, dict))


# Strategies are made once: that costs more than a draw.


@functools.cache
def _one_of(options: tuple[Any, ...]) -> Any:
    return _hypothesis("problems").sampled_from(options)


@functools.cache
def _integers(largest: int) -> Any:
    return _hypothesis("problems").integers(0, largest)


@functools.cache
def _binary(size: int) -> Any:
    return _hypothesis("problems").binary(min_size=size, max_size=size)
