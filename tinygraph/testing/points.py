"""Both backwards at random points of a finite field, for one set of shapes."""

from __future__ import annotations

import itertools
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.graph import Graph
from ..core.primitive import resolve_line
from ..core.tensor import Tensor, describe
from ..errors import NotAlgebraic, TinygraphError
from .check import check_backward
from .derived import Derived, draw_upstream
from .field import CONVERSION, Element, Field, Undefined, refusal
from .kernel import choose_wrt, results
from .problem import Problem
from .report import Report

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

DRAWS = 1024  # for one trial: enough for seven roots of the same inputs
SIGNS = 50, 400  # trials where a radicand may itself be a square
POINTS = 8  # in float64, for each scale
INTEGERS = (
    "The arguments of a proof are elements of a field, never integers: labels, indices and masks belong into the "
    "functions; write prove(lambda x: reference(x, labels), lambda dy, x: backward(dy, x, labels), …)"
)
_LIBRARIES = (f"{Path(__file__).parents[1]}{os.sep}", f"{Path(np.__file__).parent}{os.sep}")


class _Redraw(Exception):
    """Some radicand is no square."""


class Unusable(Exception):
    """There is no point to compare at."""


class Case:
    """Both backwards for one set of shapes, and what the trials have shown."""

    def __init__(
        self, reference: Any, backward: Any, shapes: Mapping[str, Shape], field: Field, wrt: Any, seed: Sequence[int]
    ) -> None:
        self.reference, self.backward, self.shapes, self.field = reference, backward, dict(shapes), field
        self.rng = np.random.default_rng(seed)
        names = list(shapes)
        example = [self.rng.uniform(0.5, 2.0, shape) for shape in shapes.values()]
        self.wrt = choose_wrt("prove", names, example, wrt)
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                dy = draw_upstream(reference, example, 0)
                derived = Derived(reference, example, dy, [names.index(n) for n in self.wrt])
        except TinygraphError as error:
            if "integer" not in str(error):
                raise
            raise NotAlgebraic(f"prove({name_of(reference)}, …): {error}. {INTEGERS}") from error
        self.several = isinstance(dy, (tuple, list))
        # The forward's own results are not compared: what only they need is left out.
        self.graph = Graph(derived.graph.outputs[derived.count :], derived.graph.inputs)
        self.constants = [self._constant(t) for t in self.graph.captured]
        self.sizes = [t.shape for t in self.graph.inputs]
        stops = list(itertools.accumulate(map(math.prod, self.sizes)))
        self.point = np.empty(stops[-1], object)
        self.inputs = [
            self.point[stop - math.prod(s) : stop].reshape(s) for stop, s in zip(stops, self.sizes, strict=True)
        ]
        self._draw()
        self.trials = self.draws = 0
        self.chance = 0.0
        self.roots: set[int] = set()  # which roots the entries hold, as bits
        self.count = 0  # of the roots, at one point
        self.settled = 0  # the roots whose radicand is no square of a function
        self.wrong: dict[str, str] = {}
        self.writes = ""

    def _constant(self, t: Tensor) -> Any:
        data = t._data
        if is_weak(data) or data.dtype.kind != "f":
            return data
        try:
            return self.field.array(data)
        except NotAlgebraic as error:
            raise NotAlgebraic(
                f"prove({name_of(self.reference)}, …): it holds the array {describe(t)}: {error}"
            ) from error

    # -- drawing

    def gradients(self, kernel: bool = True) -> tuple[list[Array], list[Any] | None]:
        """Derived and hand-written gradients at a point where every radicand is a square."""
        stuck = None
        for _ in range(DRAWS):
            self.draws += kernel
            self.field.restart(self.point.size)
            try:
                return self._derived(), self._kernel() if kernel else None
            except _Redraw:
                first = self.field.failed[0]
                if stuck == (first, self.field.radicals[first].value):
                    raise Unusable("a square root is taken of what is constant there, and no square") from None
                stuck = first, self.field.radicals[first].value
                self._redraw()
        raise Unusable(f"some radicand was no square in {DRAWS} draws; have fewer roots, with smaller sizes in dims=")

    def _draw(self, mask: int = -1) -> None:
        """New values for the inputs whose bits are set."""
        places = [i for i in range(self.point.size) if mask >> i & 1]
        width = self.field.p.bit_length() // 8 + 9
        raw = self.rng.bytes(width * len(places))
        for k, i in enumerate(places):
            self.point[i] = self.field.input(i, int.from_bytes(raw[k * width : (k + 1) * width], "big"))

    def _redraw(self) -> None:
        """New values for all inputs that the failing radicands are connected with: the others keep theirs.

        Connected are radicands that share an input. So what remains is drawn from all points where
        every radicand is a square, each as likely as any other.
        """
        mask = 0
        for k in self.field.failed:
            if not mask & self.field.radicals[k].tags:
                # All that it is connected with before it are squares here: it is no square of what they generate.
                self.settled |= 1 << k
            mask |= self._connected(self.field.radicals[k].tags)
        self._draw(mask)

    def _connected(self, mask: int) -> int:
        """The inputs of a radicand and of all that share some with it."""
        before, mask = 0, mask & self.field.inputs
        while mask != before:
            before = mask
            for radical in self.field.radicals:
                if radical.tags & mask:
                    mask |= radical.tags & self.field.inputs
        return mask

    # -- running

    def _derived(self) -> list[Array]:
        done, constants = 0, iter(self.constants)

        def each(t: Tensor, operands: list[Any], value: Any) -> Any:
            nonlocal done
            done += 1
            if self.field.failed:
                raise _Redraw
            return value

        try:
            with warnings.catch_warnings(action="ignore"):
                found = self.graph.run(np, *self.inputs, constant=lambda data: next(constants), each=each)
            arrays = [self.field.array(a) for a in found]
        except _Redraw:
            raise
        except Exception as error:
            raise self._in_reference(error, done) from error
        if any(isinstance(v, Undefined) for a in arrays for v in a.flat):
            raise Unusable("the derived gradient divides by zero there")
        return arrays

    def _in_reference(self, error: Exception, done: int) -> NotAlgebraic:
        head = f"prove({name_of(self.reference)}, …)"
        if done < len(self.graph.nodes):
            node = self.graph.nodes[done].node
            assert node is not None
            scope = f" in scope {node.scope.path}" if node.scope else ""
            of = node.scope.of if node.scope and node.scope.of else node
            head += f": {node.op.name}({', '.join(map(describe, node.inputs))}){scope}, {resolve_line(of.where)}"
        return NotAlgebraic(f"{head}: {_translated(error)}")

    def _kernel(self) -> list[Any] | None:
        """What the hand-written backward returns; None where it raises, in float64 too."""
        given = [a.copy() for a in self.inputs]
        try:
            found = self._call(given)
        except Exception as error:
            cause = _algebraic(error)
            if cause is None and isinstance(error, IndexError) and "integer" in str(error):
                cause = NotAlgebraic(f"{error}. {INTEGERS}")
            if cause is None:
                try:
                    self._call(self._floats(1.0))
                except Exception:
                    text = str(error).partition("\n")[0]
                    self.wrong.update(
                        dict.fromkeys(self.wrt, f"is not returned: the backward raises {type(error).__name__}: {text}")
                    )
                    return None
            raise NotAlgebraic(
                f"prove(…, {name_of(self.backward)}){_place(error)}: {cause or _translated(error)}"
            ) from error
        if self.field.failed:
            raise _Redraw
        names = [*self.shapes, *["dy"] * (len(given) - len(self.shapes))]
        for name, before, after in zip(names, self.inputs, given, strict=True):
            if any(a is not b and a != b for a, b in zip(before.flat, after.flat, strict=True)):
                self.writes = f"the backward writes into {name}"
        return found

    def _call(self, given: Sequence[Array]) -> list[Any]:
        count = len(self.shapes)
        dy = tuple(given[count:]) if self.several else given[count]
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            return results(self.backward(dy, *given[:count]), self.wrt)

    # -- comparing

    def trial(self) -> None:
        """Compare both backwards at one point."""
        try:
            derived, found = self.gradients()
        except Unusable as error:
            self.wrong.update(dict.fromkeys(self.wrt, f"has no value: in this backward, {error}"))
            return
        self.trials += 1
        self.count = len(self.field.radicals)
        for name, due, got in zip(self.wrt, derived, found or (), strict=False):
            if np.shape(got) != due.shape:
                self.wrong.setdefault(name, f"has shape {np.shape(got)} where {name} has {due.shape}")
                continue
            try:
                yours = self.field.array(got)
            except NotAlgebraic as error:
                raise NotAlgebraic(f"prove(…, {name_of(self.backward)}): in d{name}, {error}") from error
            for place, (a, b) in enumerate(zip(yours.flat, due.flat, strict=True)):
                self._entry(name, due.shape, place, a - b)
        self._draw()

    def _entry(self, name: str, shape: Shape, place: int, difference: Element) -> None:
        undefined = isinstance(difference, Undefined)
        if undefined or difference.value:
            at = ",".join(str(int(i)) for i in np.unravel_index(place, shape))
            what = "divides by zero" if undefined else "is another number"
            self.wrong.setdefault(name, f"{what} at {name}{f'[{at}]' if at else ''}, with {text_of(self.shapes)}")
            return
        roots = difference.tags // (self.field.inputs + 1)
        self.roots.add(roots)
        degree = min(max(difference.top, 1), self.field.p)
        exponent = min(roots.bit_count() + self.count, 900)
        self.chance = max(self.chance, 2.0**exponent * (degree / self.field.p))

    def settle_signs(self) -> None:
        """More trials, until every radicand has been seen to be no square of a function of the inputs.

        √(q²) is q where q is a square and -q elsewhere: of such signs each trial sees one choice only.
        """
        few, many = SIGNS
        while (
            self._unsettled
            and len(self.wrong) < len(self.wrt)
            and self.trials < min(few << max(self._signs - 1, 0), many)
        ):
            self.trial()

    @property
    def _unsettled(self) -> int:
        return (1 << self.count) - 1 & ~self.settled

    @property
    def _signs(self) -> int:
        return max(((roots & self._unsettled).bit_count() for roots in self.roots), default=0)

    @property
    def bound(self) -> float:
        """The chance that a backward that is wrong at these shapes passes."""
        exact = min(self.chance, 1.0) ** self.trials
        return max(exact, (1 - 2.0**-self._signs) ** self.trials) if self._signs else exact

    # -- float64

    def _floats(self, scale: float, positive: bool = False) -> list[Array]:
        count = len(self.shapes)
        drawn = [
            self.rng.uniform(0.5, 2.0, s) if positive and k < count else self.rng.normal(size=s)
            for k, s in enumerate(self.sizes)
        ]
        return [a * scale if k < count else a for k, a in enumerate(drawn)]

    def _errors(self, given: Sequence[Array]) -> dict[str, float] | None:
        """How far each gradient is off in float64; None where the derived ones are not finite."""
        derived = self.graph.run(np, *given)
        if not all(np.isfinite(d).all() for d in derived):
            return None
        try:
            found = self._call([a.copy() for a in given])
        except Exception:
            return dict.fromkeys(self.wrt, np.inf)
        return {n: _error(g, d) for n, g, d in zip(self.wrt, found, derived, strict=True)}

    def confirm(self, leaves: Sequence[str]) -> dict[str, Problem | None]:
        """For each argument a float64 problem at which its gradient is wrong too, or None."""
        found: dict[str, Problem | None] = dict.fromkeys(leaves)

        def error(given: Sequence[Array]) -> float:
            errors = self._errors(given) or {}
            return max((e for n, e in errors.items() if n in found and found[n] is None), default=-1.0)

        # A small constant shows on small numbers, and some roots are of positive ones only.
        for scale, positive in itertools.product((1.0, 1e-3, 1e-6, 1e3), (False, True)):
            if all(found.values()):
                break
            given = max((self._floats(scale, positive) for _ in range(POINTS)), key=error)
            report = self._check(given)
            bad = self._bad(report)
            found.update({n: report.problem for n in leaves if found[n] is None and n in bad})
        return found

    def contradicted(self) -> dict[str, str]:
        """The arguments whose gradients are wrong in float64, and what the doctor says; losing digits is not wrong."""
        for positive in (False, True):
            given = self._floats(1.0, positive)
            if self._errors(given) is None:
                continue
            report = self._check(given)
            with warnings.catch_warnings(action="ignore"):
                if report or report.verdict == "unstable":
                    return {}
                says = {f.leaf: f.line for f in report.diagnosis.findings}
            return {n: says.get(n, "") for n in self._bad(report)}
        return {}

    def _check(self, given: Sequence[Array]) -> Report:
        count = len(self.shapes)
        dy = tuple(given[count:]) if self.several else given[count]
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            single = np.float32 if self.field.single else None  # what is written in float32 is right in float32
            return check_backward(
                self.reference, self.backward, *given[:count], dy=dy, wrt=self.wrt, compute_dtype=single
            )

    def _bad(self, report: Report) -> list[str]:
        """The arguments whose gradients a report calls wrong."""
        if any(f.kind == "raises" for f in report.faults):
            return list(self.wrt)
        bad = {e.leaf for e in report.entries if not e.ok}
        bad |= {f.leaf for f in report.faults if f.kind in ("shape", "non-finite")}
        return [n for n in self.wrt if n in bad]


def _error(got: Any, due: Array) -> float:
    if np.shape(got) != due.shape:
        return np.inf
    worst = np.abs(got - due).max(initial=0)
    return float(worst / max(1.0, np.abs(due).max(initial=0))) if np.isfinite(worst) else np.inf


# -- words ---------------------------------------------------------------------------------------------


def _algebraic(error: BaseException | None) -> NotAlgebraic | None:
    """The NotAlgebraic behind an error, if there is one."""
    while error is not None and not isinstance(error, NotAlgebraic):
        error = error.__cause__ or error.__context__
    return error


def _translated(error: Exception) -> NotAlgebraic:
    """What NumPy says of object arrays, in our words."""
    found = _algebraic(error)
    if found is not None:
        return found
    text = str(error).partition("\n")[0]
    if "output from dtype('O')" in text:
        return CONVERSION
    match = re.search(r"ufunc '(\w+)'", text)
    if match:
        return refusal(match[1])
    return refusal(f"something that raises {type(error).__name__} on arrays of exact numbers ({text})")


def _place(error: BaseException) -> str:
    """``, kernel.py:12``: the innermost line of the user's that an error came through."""
    place, step = "", error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if not file.startswith(_LIBRARIES):
            place = f", {file}:{step.tb_lineno}"
        step = step.tb_next
    return place


def name_of(fn: Any) -> str:
    """What a function is called."""
    return getattr(fn, "__name__", type(fn).__name__)


def text_of(shapes: Mapping[str, Shape]) -> str:
    """``x[4,2], gamma[2]``."""
    return ", ".join(f"{name}[{','.join(map(str, shape))}]" for name, shape in shapes.items())
