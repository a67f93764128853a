"""What a generated text is made of: values, expressions, and the steps that compute the one by the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.tensor import Tensor

COMPARISON, OR, AND, SUM, PRODUCT, UNARY, POWER, ATOM = range(1, 9)  # how strongly Python's operators bind

Dims = tuple[tuple["Value", int], ...]


class Value:
    """What the text gives a name to, or writes as a number.

    ``dims`` says of each axis from which axis of which value its size is read; ``narrow`` is what it
    repeats, if it is a broadcast; ``reduced`` says that it is small, made of what a reduction left; ``constant`` is what its name stands for where no line computes it. ``shape`` and
    ``dtype`` are None where nobody asked for them.
    """

    __slots__ = ("_dims", "constant", "dtype", "hint", "narrow", "reduced", "scope", "shape", "text", "weak")

    def __init__(
        self, shape: tuple[int, ...] | None, dtype: Any, *, weak: bool = False, hint: str | None = None
    ) -> None:
        self.shape, self.dtype, self.weak, self.hint = shape, dtype, weak, hint
        self._dims: Dims | None = None
        self.narrow: Value | None = None
        self.constant: Any = None
        self.reduced = False
        self.text = self.scope = ""

    @property
    def dims(self) -> Dims:
        return self._dims or tuple((self, axis) for axis in range(len(self.shape or ())))

    @dims.setter
    def dims(self, dims: Dims | None) -> None:
        self._dims = dims

    @classmethod
    def of(cls, t: Tensor) -> Value:
        return cls(t.shape, t.dtype, weak=is_weak(t._data), hint=t.name)

    @classmethod
    def number(cls, number: Any) -> Value:
        value = cls((), np.asarray(number).dtype, weak=True)
        value.text = literal(number)
        return value

    @classmethod
    def named(cls, hint: str, constant: Any) -> Value:
        """A name for something that the text does not say."""
        value = cls(getattr(constant, "shape", None), getattr(constant, "dtype", None), hint=hint)
        value.constant = constant
        return value


@dataclass(frozen=True, slots=True)
class Expression:
    """A piece of Python, and how strongly its outermost operator binds."""

    text: str
    binds: int = ATOM

    def inside(self, binds: int) -> str:
        return self.text if self.binds >= binds else f"({self.text})"


MARK = re.compile(r"\{(\d+)\}(?=(\.shape|\.dtype|[.\[])?)")


def literal(value: Any) -> str:
    """A Python number as it is written."""
    text = repr(value)
    return f"{text[:-3]}np.{text[-3:]}" if text in ("nan", "inf", "-inf") else text


def fill(template: str, *operands: Expression, binds: int = ATOM) -> Expression:
    """The template with the texts of operands ``{0}``, ``{1}``, … in their places."""

    def text(mark: re.Match[str]) -> str:
        operand = operands[int(mark[1])]
        return operand.inside(ATOM) if mark[2] else operand.text

    return Expression(MARK.sub(text, template), binds)


def infix(sign: str, binds: int, left: Expression, right: Expression) -> Expression:
    tight = binds + 1 if binds in (POWER, COMPARISON) else binds
    return Expression(f"{left.inside(tight)} {sign} {right.inside(binds + 1)}", binds)


def prefix(sign: str, operand: Expression) -> Expression:
    return Expression(f"{sign}{operand.inside(UNARY)}", UNARY)


@dataclass(slots=True, eq=False)
class Step:
    """One assignment: ``write`` makes the text of its right side from those of the operands.

    ``sizes`` are operands of which only shape and dtype are read. ``ufunc`` is its name in NumPy, where it
    takes ``out=``; ``fresh`` says that the result is memory of its own; ``orderly`` that it is in C order
    if its operands are, ``contiguous`` that it always is. ``functions`` are what the text calls that is not NumPy's.
    """

    targets: tuple[Value, ...]
    operands: tuple[Value, ...]
    write: Callable[..., Expression]
    sizes: tuple[Value, ...] = ()
    ufunc: str = ""
    fresh: bool = False
    orderly: bool = False
    contiguous: bool = False
    functions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> Value:
        return self.targets[0]


class Size(int):
    """A number of elements that is written as what it was read from."""

    expression: Expression
    source: tuple[Value, int] | None

    @classmethod
    def of(cls, number: int, expression: Expression, source: tuple[Value, int] | None = None) -> Size:
        size = cls(number)
        size.expression, size.source = expression, source
        return size

    def _with(self, other: Any, number: int, sign: str, binds: int, reflected: bool = False) -> Size:
        pair = [self.expression, other.expression if isinstance(other, Size) else Expression(repr(other))]
        return Size.of(number, infix(sign, binds, *pair[:: -1 if reflected else 1]))

    def __add__(self, other: int) -> Any:
        return self._with(other, int(self) + int(other), "+", SUM) if other else self

    __radd__ = __add__

    def __sub__(self, other: int) -> Any:
        return self._with(other, int(self) - int(other), "-", SUM) if other else self

    def __rsub__(self, other: int) -> Any:
        return self._with(other, int(other) - int(self), "-", SUM, reflected=True)

    def __mul__(self, other: int) -> Any:
        return self if type(other) is int and other == 1 else self._with(other, int(self) * int(other), "*", PRODUCT)

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> Any:
        return self._with(other, int(self) // int(other), "//", PRODUCT)
