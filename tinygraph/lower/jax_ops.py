"""Each op on JAX: its own kernel, in the dtypes that NumPy computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..core.array import is_weak
from ..core.held import NATIVE
from ..core.tensor import Tensor
from ..errors import DTypeError, IndexingError, TinygraphError, aval


def _floor_divide(xp: Any, x: Any, y: Any) -> Any:
    value = xp.floor_divide(x, y)
    return value if value.dtype.kind == "f" else xp.where(xp.asarray(y) == 0, 0, value)


def _getitem(xp: Any, x: Any, *arrays: Any, key: Any) -> Any:
    x, place = xp.asarray(x), key.place(arrays)
    return x.at[place].get(mode="fill") if arrays else x[place]


# Where JAX needs another kernel: by zero, integers are divided as in NumPy; out of range, floats are nan, not the last ones.
OVERRIDES: Mapping[str, Callable[..., Any]] = {"floor_divide": _floor_divide, "getitem": _getitem}


# What JAX has no kernel for, by op and kind of its first operand's dtype.
REFUSED: Mapping[tuple[str, str], str] = dict.fromkeys(
    (("argmax", "c"), ("argmin", "c")), "JAX does not order complex numbers"
)


def value_of(t: Tensor, inputs: Sequence[Tensor], operands: Sequence[Any]) -> Any:
    """What the op of ``t`` gives on JAX, in the dtype that it has on NumPy.

    Raises: DTypeError, where JAX gives another shape or dtype, or cannot compute it.
    """
    op, params = t.node.op, t.node.params  # type: ignore[union-attr]
    kernel = OVERRIDES.get(op.name, op.kernel)
    try:
        if inputs and (reason := REFUSED.get((op.name, inputs[0].dtype.kind))):
            raise TypeError(reason)
        value = kernel(jnp, *_promoted(t, inputs, operands), **params)
        if t.dtype.kind in "if" and not is_weak(t._data) and jnp.asarray(value).dtype.itemsize < t.dtype.itemsize:
            # Of booleans and integers, NumPy makes wider numbers.
            wide = [
                jnp.asarray(a, t.dtype) if x.dtype.kind in "biu" else a for x, a in zip(inputs, operands, strict=True)
            ]
            value = kernel(jnp, *wide, **params)
    except (ValueError, TypeError, OverflowError) as error:
        raise DTypeError(
            f"compile(backend='jax'): {op.name}: {error}; cast its operands with .astype, or choose another backend"
        ) from error
    return value if is_weak(t._data) else _checked(t, jnp.asarray(value))


def _checked(t: Tensor, value: Any) -> Any:
    # JAX computes some things in a wider dtype, such as exp of booleans.
    if value.dtype != t.dtype and value.dtype.kind == t.dtype.kind and np.can_cast(t.dtype, value.dtype):
        value = value.astype(t.dtype)
    if (value.shape, value.dtype) != (t.shape, t.dtype):
        raise DTypeError(
            f"compile(backend='jax'): {t.node.op.name} gives {aval(value.dtype, value.shape)} on JAX and "  # type: ignore[union-attr]
            f"{aval(t.dtype, t.shape)} on NumPy; cast its operands with .astype"
        )
    return value


def _promoted(t: Tensor, inputs: Sequence[Tensor], operands: Sequence[Any]) -> list[Any]:
    """The operands in the dtypes that NumPy computes with."""
    count = len(_indexed(t, inputs))
    if count:  # by an index of int8, JAX cannot count a long axis
        return [*operands[:-count], *(jnp.asarray(a, np.int64) for a in operands[-count:])]
    strong = [not is_weak(x._data) and x.dtype.kind != "b" for x in inputs]
    dtypes = {x.dtype for x, is_strong in zip(inputs, strong, strict=True) if is_strong}
    if t.node.op.kind != "elementwise" or len(dtypes) < 2:  # type: ignore[union-attr]
        return list(operands)
    common = np.result_type(*dtypes)  # of int64 and float32, JAX makes float32
    return [jnp.asarray(a, common) if is_strong else a for a, is_strong in zip(operands, strong, strict=True)]


def _indexed(t: Tensor, inputs: Sequence[Tensor]) -> tuple[int, ...]:
    """The sizes of the axes that the last operands are indices into."""
    key = t.node.params.get("key")  # type: ignore[union-attr]
    return () if key is None else tuple(key.indexed(inputs[0].shape))


# -- where NumPy raises an error, JAX goes on with some other number ---------------------------------


@dataclass(frozen=True)
class Condition:
    """Under which NumPy computes an op: an integer operand lies between two limits. Else it raises the ``refusal``."""

    operand: Tensor
    least: int
    most: int
    refusal: TinygraphError

    def holds(self, values: Any) -> Any:
        """For values in main memory, or for a JAX array, as a boolean of the same kind."""
        if isinstance(values, NATIVE):
            there = np.asarray(values)
            return bool(np.all((there >= self.least) & (there <= self.most)))
        wide = jnp.asarray(values, np.int64)
        return jnp.all((wide >= self.least) & (wide <= min(self.most, _LARGEST)))


_LARGEST = 2**63 - 1


def conditions(t: Tensor, inputs: Sequence[Tensor]) -> Iterator[Condition]:
    """Under which conditions NumPy computes ``t``."""
    op = t.node.op  # type: ignore[union-attr]
    sizes = _indexed(t, inputs)
    for n, index in zip(sizes, inputs[len(inputs) - len(sizes) :], strict=True):
        text = f"{op.name}({aval(inputs[0].dtype, inputs[0].shape)}): an index is out of range; use -{n} to {n - 1}"
        yield Condition(index, -n, n - 1, IndexingError(text))
    if op.kind != "elementwise" or t.dtype.kind not in "iu" or is_weak(t._data):
        return
    if op.name == "pow":
        text = f"pow({aval(t.dtype, t.shape)}): integers to negative integer powers are not allowed; cast with .astype"
        yield Condition(inputs[1], 0, _LARGEST, DTypeError(text))
    limits = np.iinfo(t.dtype)
    for x in inputs:
        if is_weak(x._data):
            text = f"{op.name}({aval(t.dtype, t.shape)}): a Python integer is out of bounds; cast with .astype"
            yield Condition(x, int(limits.min), int(limits.max), DTypeError(text))
