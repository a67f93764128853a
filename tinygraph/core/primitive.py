"""One record per primitive, and what happens when it is applied."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import (
    AnomalyError,
    ArgumentError,
    DTypeError,
    IndexingError,
    ShapeError,
    TinygraphError,
)
from .array import KEYWORDS, WEAK, Data, is_weak
from .convert import operand, shape_of
from .node import Node, next_serial
from .scope import ANOMALY, GRAD, TRACE, mode, scope_var
from .tensor import OPS, Tensor, describe, make

Rule = Callable[..., Any]
Calls = tuple[tuple[tuple[Any, ...], Mapping[str, Any]], ...]
NO_PARAMS: Mapping[str, Any] = {}
REGISTRY: dict[str, Primitive] = {}

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_Array, _as_array = np.ndarray, np.asarray
_ARRAYS = (np.ndarray, np.generic)
_NUMPY_ERRORS = (ValueError, TypeError, IndexError, OverflowError)


@dataclass(frozen=True, slots=True)
class Domain:
    """Where property tests draw the operands of a primitive.

    ``calls`` are examples of how it is called: ``(operands, params)``, where a shape stands for an
    array to draw and an ndarray for itself; params are the user's keywords. ``ranges`` bound the
    values drawn, one pair per operand (the last one repeats). ``kinks`` are values of an operand
    where the primitive is not differentiable, and ``ties`` says that it is not where two are equal. ``analytic`` is false where
    complex step does not apply.
    """

    calls: Calls = ()
    ranges: tuple[tuple[float, float], ...] = ((-2.0, 2.0),)
    kinks: tuple[float, ...] = ()
    ties: bool = False
    analytic: bool = True


class Each:
    """The rules of a primitive with any number of operands: one rule per position, made on demand."""

    def __init__(self, rule: Callable[[int], Rule | None]) -> None:
        self._rule = rule

    def __getitem__(self, position: int) -> Rule | None:
        return self._rule(position)


class _OwnSignature:
    """What ``inspect.signature`` says of a primitive; of the class itself it says what it would."""

    def __get__(self, op: Any, owner: Any) -> inspect.Signature:
        if op is None:
            raise AttributeError("__signature__")
        if op.signature is not None:
            return inspect.signature(op.signature)
        _, *taken = inspect.signature(op.kernel).parameters.values()
        if op.arity is None:
            return inspect.Signature(taken)
        # Operands alone are given by position.
        names = [p.name for p in taken] if len(taken) == op.arity else ["x", "y", "z"][: op.arity]
        return inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in names])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Primitive:
    """Everything the library knows about one operation.

    ``kernel(xp, *arrays, **params)`` computes it in an array namespace; ``numpy`` may do so better
    for native floats. ``vjps`` holds one rule per operand, ``rule(g, out, *inputs, **params)``,
    written with operators and primitives; None means no gradient. ``signature`` turns the user's
    call into ``(operands, params)``; without it a primitive takes operands only. A fused op has a
    ``pullback`` in place of rules. ``mistakes`` are typical wrong rules: (what, operand, rule).

    Called with arrays only, a primitive returns an array; with a Tensor among its operands, a
    Tensor.
    """

    name: str
    kernel: Callable[..., Any]
    vjps: Sequence[Rule | None] | Each
    kind: str
    symbol: str
    doc: str
    numpy: Callable[..., Any] | None = None
    signature: Callable[..., tuple[tuple[Any, ...], Mapping[str, Any]]] | None = None
    domain: Domain = field(default_factory=Domain)
    mistakes: tuple[tuple[str, int, Rule], ...] = ()
    pullback: Callable[..., tuple[Any, ...]] | None = None
    arity: int | None = field(init=False)
    rules_for_all: bool = field(init=False)
    __signature__ = _OwnSignature()

    def __post_init__(self) -> None:
        variadic = self.pullback is not None or isinstance(self.vjps, Each)
        plain = self.signature is None and not variadic
        object.__setattr__(self, "arity", len(self.vjps) if plain else None)  # type: ignore[arg-type]
        object.__setattr__(self, "rules_for_all", variadic or all(self.vjps))  # type: ignore[arg-type]
        if self.pullback is None:
            if _is_taken(self.name):
                raise ArgumentError(f"Primitive({self.name!r}): the library has this name already; choose another one")
            REGISTRY[self.name] = self
            OPS[self.name] = self

    def __repr__(self) -> str:
        return f"<Primitive {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        operands, params = args, NO_PARAMS
        if kwargs or len(args) != self.arity:
            operands, params = self.bind(args, kwargs)
        for x in operands:
            if isinstance(x, Tensor):
                return apply(self, operands, params)
        try:
            return self.run(operands, params)
        except _NUMPY_ERRORS as error:
            raise explain(self, operands, params, error) from error

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The user's call as ``(operands, params)``."""
        if self.signature is None:
            if kwargs:
                raise ArgumentError(bad_keyword(call(self, args), kwargs, ()))
            if len(args) != self.arity:
                due = f"{self.arity} operand{'s' * (self.arity != 1)}"
                raise ArgumentError(f"{call(self, args)}: takes {due}, got {len(args)}; give {self.arity}")
            return args, NO_PARAMS
        try:
            return self.signature(*args, **kwargs)
        except TinygraphError as error:
            raise named(self, args, error) from error.__cause__
        except TypeError as error:
            raise misuse(self.name, self.signature, args, kwargs, error) from error
        except _NUMPY_ERRORS as error:
            raise explain(self, args, kwargs, error) from error

    def run(self, arrays: Sequence[Data], params: Mapping[str, Any]) -> Data:
        """The value for plain arrays: an ndarray, or a Python number if all operands are."""
        if arrays and type(arrays[0]) in WEAK and all(map(is_weak, arrays)):
            # NumPy's arithmetic, not Python's: 1 / 0 is inf.
            out = self.kernel(np, *map(_as_array, arrays), **params)
            return out.item() if isinstance(out, np.generic) else out
        if self.numpy is not None and _are_native(arrays):
            out = self.numpy(*arrays, **params)
        else:
            out = self.kernel(np, *arrays, **params) if params else self.kernel(np, *arrays)
        return out if type(out) is _Array or type(out) in WEAK else _as_array(out)


def _is_taken(name: str) -> bool:
    """Whether the library itself uses the name; a user may define a primitive anew."""
    before = REGISTRY.get(name)
    return name in OPS if before is None else before.kernel.__module__.startswith("tinygraph.")


def _are_native(arrays: Sequence[Data]) -> bool:
    """Whether all are float16, float32, float64 or Python numbers."""
    for a in arrays:  # half the time of all(…)
        native = a.dtype.char in "efd" if isinstance(a, _ARRAYS) else is_weak(a)
        if not native:
            return False
    return True


def apply(op: Primitive, operands: tuple[Any, ...], params: Mapping[str, Any]) -> Tensor:
    """Compute ``op`` and record it if someone may ask for its gradient; always a Tensor."""
    # Taken before any value is read, so that a parameter assigned meanwhile is found to be newer.
    serial = next_serial()
    arrays = []
    requires = False
    for x in operands:
        if not isinstance(x, Tensor):
            return apply(op, _as_tensors(op, operands), params)
        arrays.append(x._data)
        if x._requires:
            requires = True
    try:
        out = op.run(arrays, params)
    except _NUMPY_ERRORS as error:
        raise explain(op, operands, params, error) from error
    bits = mode.get()
    if requires:
        requires = (
            bits & GRAD != 0
            and (op.rules_for_all or any(x._requires and op.vjps[i] is not None for i, x in enumerate(operands)))
            and (out.dtype.kind == "f" or _refuse_complex(op, operands, out))
        )
    where = None
    if bits > GRAD:
        where = user_line()
        if bits & ANOMALY:
            check_finite(op, operands, out, where=where)
    if requires or bits & TRACE:
        return make(out, requires, Node(op, operands, params, scope_var.get(), serial, where))
    return make(out)


def _as_tensors(op: Primitive, given: tuple[Any, ...]) -> tuple[Tensor, ...]:
    try:
        return tuple(map(operand, given))
    except TinygraphError as error:
        raise named(op, given, error) from error.__cause__


def _refuse_complex(op: Primitive, operands: Sequence[Tensor], out: Data) -> bool:
    if out.dtype.kind == "c":
        raise DTypeError(f"{call(op, operands)}: a complex result has no gradient here; use t.detach() or real floats")
    return False


def public(op: Primitive) -> Callable[..., Tensor]:
    """The function that users call: it makes Tensors of its operands first."""
    arity = op.arity

    def function(*args: Any, **kwargs: Any) -> Tensor:
        if kwargs or len(args) != arity:
            return apply(op, *op.bind(args, kwargs))
        return apply(op, args, NO_PARAMS)

    function.__name__ = function.__qualname__ = op.name
    function.__module__ = "tinygraph"
    function.__doc__ = op.doc
    function.__signature__ = inspect.signature(op)  # type: ignore[attr-defined]
    return function


# -- errors --------------------------------------------------------------------------------------


def call(op: Any, operands: Sequence[Any], params: Mapping[str, Any] = NO_PARAMS) -> str:
    """``matmul(float64[2,3] x, float64[2,3])``: the head of every message."""
    name = op if isinstance(op, str) else op.name
    parts = [describe(x) for x in operands] + [f"{k}={v!r}" for k, v in params.items()]
    scope = scope_var.get()
    return f"{name}({', '.join(parts)})" + (f" in scope {scope.path}" if scope else "")


def named(op: Any, given: Sequence[Any], error: TinygraphError) -> TinygraphError:
    """An operand that is no Tensor's data is an error of the op that it was given to."""
    head, _, text = str(error).partition(": ")
    return type(error)(f"{call(op, given)}: {text}") if head.startswith("tensor(") else error


def explain(op: Primitive, operands: Sequence[Any], params: Mapping[str, Any], error: Any) -> TinygraphError:
    """A NumPy error as ours: which op, which shapes, what to do."""
    if isinstance(error, TinygraphError):
        return error
    head = call(op, operands, params)
    text = str(error).rstrip(" .")
    if isinstance(error, IndexError):
        return IndexingError(f"{head}: {text}; give an index within the shape")
    misfit = _misfit(op, [shape_of(x) for x in operands]) if op.kind in ("elementwise", "contraction") else None
    if isinstance(error, ValueError) and (misfit or op.kind != "elementwise"):
        return ShapeError(f"{head}: {misfit or text + '; give operands whose shapes fit'}")
    return DTypeError(f"{head}: {text}; convert the operands with .astype(np.float64)")


def _misfit(op: Primitive, shapes: list[tuple[int, ...]]) -> str | None:
    if op.name == "matmul":
        return _mismatched(*shapes)
    if op.kind != "elementwise":
        return None
    for axis in range(1, max(map(len, shapes), default=0) + 1):
        sizes = sorted({s[-axis] for s in shapes if len(s) >= axis} - {1})
        if len(sizes) > 1:
            return (
                f"axis {-axis} has sizes {' and '.join(map(str, sizes))}, which do not broadcast; "
                "make them equal or 1, e.g. with reshape or expand_dims"
            )
    return None


def _mismatched(x: tuple[int, ...], y: tuple[int, ...]) -> str:
    if not x or not y:
        return "a number is no matrix; write x * y"
    if x[-1] != y[-2:][0]:
        return f"the inner sizes {x[-1]} and {y[-2:][0]} differ; make them equal, e.g. with y.mT"
    return "the stacks of matrices do not broadcast; make their leading axes equal or 1"


def misuse(
    name: str, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], error: TypeError
) -> TinygraphError:
    """Why a call does not fit the signature of ``function``, or what else raised the TypeError."""
    signature = inspect.signature(function)
    takes = list(signature.parameters)
    head = call(name, args)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as mismatch:
        return ArgumentError(
            bad_keyword(head, kwargs, takes) or f"{head}: {mismatch}; write {name}({', '.join(takes)})"
        )
    return DTypeError(f"{call(name, args, kwargs)}: {error}; write {name}({', '.join(takes)}), see its help()")


def bad_keyword(head: str, kwargs: Mapping[str, Any], takes: Sequence[str]) -> str | None:
    """The message for the first keyword that does not exist, with our word for it."""
    for word in kwargs:
        if word not in takes:
            ours = KEYWORDS.get(word)
            mend = f"write {ours}=" if ours in takes else f"it takes {', '.join(takes) or 'operands only'}"
            return f"{head}: unknown keyword {word!r}; {mend}"
    return None


# -- where an op was applied, and the first nan ---------------------------------------------------


def user_line() -> tuple[Any, int] | None:
    """(code, lasti) of the innermost frame outside the package: cheap now, resolved when asked."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    return (frame.f_code, frame.f_lasti) if frame is not None else None


def resolve_line(where: tuple[Any, int] | None) -> str:
    """``file.py:12`` for what ``user_line`` kept."""
    if where is None:
        return "unknown line"
    code, lasti = where
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            line = number
    return f"{code.co_filename}:{line}"


def check_finite(op: Any, operands: Sequence[Any], out: Any, what: str = "", where: Any = None) -> None:
    """Raise AnomalyError if ``out`` holds nan or inf though every operand is finite."""
    if _finite(out) or not all(_finite(x._data if isinstance(x, Tensor) else x) for x in operands):
        return
    array = np.asarray(out)
    worst = array[~np.isfinite(array)].ravel()[0]
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    raise AnomalyError(
        f"{call(op, operands)}: {what}made {worst} of finite operands at index {index}, "
        f"{resolve_line(where or user_line())}; look at the operands there, or guard them with tg.where"
    )


def _finite(value: Any) -> bool:
    array = np.asarray(value)
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())
