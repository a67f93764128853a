"""The symbolic shapes of a function's arguments: ``x="N C", gamma="C"``."""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.graph import argument_names
from ..errors import ArgumentError, ShapeError

Sizes = Mapping[str, int]
REST = "..."
_DIM = re.compile(r"\.\.\.|…|[^\W\d]\w*\??|\d+")


@dataclass(frozen=True, slots=True)
class Dim:
    """One axis: a letter that arguments share, a fixed size, or ``...`` for any trailing axes."""

    letter: str = ""
    fixed: int | None = None
    may_be_one: bool = False

    def __str__(self) -> str:
        return str(self.fixed) if self.fixed is not None else self.letter + "?" * self.may_be_one


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shape of each argument, by name in the order of the function's parameters."""

    args: Mapping[str, tuple[Dim, ...]]

    @property
    def letters(self) -> tuple[str, ...]:
        """The shared sizes, in order of appearance."""
        found = [d.letter for dims in self.args.values() for d in dims if d.letter and d.letter != REST]
        return tuple(dict.fromkeys(found))

    @property
    def has_rest(self) -> bool:
        """Whether some argument has trailing axes ``...``."""
        return any(d.letter == REST for dims in self.args.values() for d in dims)

    @property
    def optional_axes(self) -> tuple[tuple[str, int], ...]:
        """The axes ``C?`` that may be 1: (argument, axis)."""
        return tuple((name, i) for name, dims in self.args.items() for i, d in enumerate(dims) if d.may_be_one)

    def concrete(
        self, sizes: Sizes, rest: Sequence[int] = (), ones: Iterable[tuple[str, int]] = ()
    ) -> dict[str, tuple[int, ...]]:
        """The shapes for these sizes; ``ones`` are the optional axes that are 1."""
        ones = set(ones)
        shapes = {}
        for name, dims in self.args.items():
            shape: list[int] = []
            for i, d in enumerate(dims):
                if d.letter == REST:
                    shape.extend(rest)
                elif d.fixed is not None:
                    shape.append(d.fixed)
                else:
                    shape.append(1 if (name, i) in ones else sizes[d.letter])
            shapes[name] = tuple(shape)
        return shapes

    def sizes_of(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The size that each letter has in concrete shapes."""
        sizes: dict[str, int] = {}
        for name, dims in self.args.items():
            shape, here = list(shapes[name]), [d for d in dims if d.letter != REST]
            if len(shape) < len(here) or (len(here) == len(dims) and len(shape) != len(dims)):
                raise ShapeError(f"{name}{list(shape)}: has {len(shape)} axes where {self} is due; give that shape")
            for d, n in zip(here, shape, strict=False):
                if d.letter and not (d.may_be_one and n == 1) and sizes.setdefault(d.letter, n) != n:
                    raise ShapeError(
                        f"{name}{shape}: {d.letter} is {n} here and {sizes[d.letter]} elsewhere; make them equal"
                    )
        return sizes

    def __str__(self) -> str:
        return ", ".join(f'{name}="{" ".join(map(str, dims))}"' for name, dims in self.args.items())


def parse(
    op: str, reference: Callable[..., Any], shapes: Mapping[str, Any], specs: Mapping[str, Any] | None = None
) -> Shapes:
    """The shapes as the user wrote them, checked against the parameters of ``reference``."""
    given = {**shapes, **(specs or {})}
    takes, required = parameters(reference)
    for name, spec in given.items():
        if takes and name not in takes:
            raise ArgumentError(
                f"{op}({name}={spec!r}): the reference has no argument {name!r}; it takes {', '.join(takes)}"
            )
    missing = [name for name in required if name not in given]
    if missing:
        raise ArgumentError(
            f'{op}: no shape for {", ".join(missing)}; give one for each argument of the reference, e.g. {missing[0]}="N C"'
        )
    order = [name for name in takes if name in given] if takes else list(given)
    if order != (takes[: len(order)] if takes else order):
        gap = next(name for name in takes if name not in given)
        raise ArgumentError(f"{op}: a shape for {order[-1]} but none for {gap} before it; give both")
    return Shapes({name: _dims(op, name, given[name]) for name in order})


def of_arrays(reference: Callable[..., Any], arrays: Sequence[Any]) -> Shapes:
    """Fixed shapes, from example arrays."""
    names = argument_names(reference, len(arrays))
    return Shapes({n: tuple(Dim(fixed=k) for k in a.shape) for n, a in zip(names, arrays, strict=True)})


def parameters(reference: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """The positional parameters of a function: all of them, and those without a default."""
    try:
        found = list(inspect.signature(reference).parameters.values())
    except (TypeError, ValueError):
        return [], []
    if any(p.kind is p.VAR_POSITIONAL for p in found):
        return [], []
    positional = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [p.name for p in positional], [p.name for p in positional if p.default is p.empty]


def _dims(op: str, name: str, spec: Any) -> tuple[Dim, ...]:
    if isinstance(spec, str):
        words = [w for w in re.split(r"[\s,]+", spec.strip(" ()[]")) if w]
        wrong = [w for w in words if not _DIM.fullmatch(w)]
        if not wrong and sum(w in ("...", "…") for w in words[:-1]) == 0:
            return tuple(map(_dim, words))
    elif isinstance(spec, (tuple, list, int)):
        try:
            return tuple(Dim(fixed=operator.index(n)) for n in (spec if isinstance(spec, (tuple, list)) else (spec,)))
        except TypeError:
            pass
    raise ArgumentError(
        f"{op}({name}={spec!r}): is no shape; write letters and numbers with spaces between, "
        f'e.g. {name}="N C", {name}="N 3", {name}="N C ..." or {name}="" for a number'
    )


def _dim(word: str) -> Dim:
    if word in ("...", "…"):
        return Dim(REST)
    if word.isdigit():
        return Dim(fixed=int(word))
    return Dim(word.rstrip("?"), may_be_one=word.endswith("?"))
