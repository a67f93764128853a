"""The NumPy text of one application, from the op's one record.

A kernel ``kernel(xp, *arrays, **params)`` is run once on symbols in a symbolic namespace, which write down
what it asks of them. What cannot be written down is called as the op itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.primitive import REGISTRY
from .steps import ATOM, PRODUCT, Size, Step, Value, fill
from .symbols import Namespace, Symbol, Unwritable, Writer

# Ops with a variant of their own for NumPy whose result is always new memory.
FRESH = frozenset(["mul0", "div0", "sum", "mean", "cumsum"])
# Params whose values say how an op is applied; those of the others are sizes and arrays, which the text only names.
WRITTEN = frozenset(
    ["axis", "axes", "keepdims", "reverse", "subscripts", "stride", "window", "by", "fill", "constant_values", "shift"]
)

_GIVE_UP = (Unwritable, TypeError, ValueError, AttributeError, IndexError, AssertionError)
Shapes = Mapping[tuple[int, ...], Value]


def emit(
    op: Any,
    name: str,
    params: Mapping[str, Any],
    operands: Sequence[Any],
    target: Value,
    shapes: Shapes,
    plain: bool = False,
) -> tuple[Value, list[Step]]:
    """The steps of one application, and what holds its result: ``target``, or an operand that is it already.

    ``name`` is that of the op where it is called. Operands are Values, and Python numbers for constants.
    ``shapes`` are values from which a shape may be read. ``plain``: strong zeros and accurate sums as plain ones.
    """
    if op.kind == "reduction" and params.get("keepdims") is False and isinstance(operands[0], Value):
        target.dims = tuple(dim for axis, dim in enumerate(operands[0].dims) if axis not in params["axis"])
    if plain:
        return _plainly(op, params, operands, target, shapes)
    if not _is_better_called(op, operands):
        try:
            return _written(op, params, operands, target, shapes)
        except _GIVE_UP:
            pass
    return target, [_called(op, name, params, operands, target)]


def _is_better_called(op: Any, operands: Sequence[Any]) -> bool:
    """Whether NumPy does it in another way than the kernel says: on Python numbers, and by the record's own variant.

    Without operands the kernel would be run, and draw; and a kernel of others may ask which namespace it is in.
    """
    if not op.kernel.__module__.startswith("tinygraph.") or all(is_weak(x) or x.weak for x in operands):
        return True
    return op.numpy is not None and _all_native(operands)


def _all_native(operands: Sequence[Any]) -> bool:
    return all(is_weak(x) or x.weak or x.dtype.char in "efd" for x in operands)


def _written(
    op: Any, params: Mapping[str, Any], operands: Sequence[Any], target: Value, shapes: Shapes, plain: bool = False
) -> tuple[Value, list[Step]]:
    writer = Writer(op.kind == "elementwise")

    def symbol(x: Any) -> Any:
        if not isinstance(x, Value):
            return x
        one = _one(x.dtype, x.weak)
        return Symbol(writer, x, one if x.weak or writer.elementwise else lambda: np.broadcast_to(one, x.shape or ()))

    symbols = [symbol(x) for x in operands]
    if op.name == "expand_dims":  # at once, not axis by axis
        return _finished(writer, Namespace(writer).expand_dims(symbols[0], axis=params["axis"]), target)
    if op.name in ("reshape", "broadcast_to"):
        params = {"shape": _sized(writer, op.name, params["shape"], symbols[0], shapes, plain)}
    with np.errstate(all="ignore"):
        result = op.kernel(Namespace(writer), *symbols, **params)
    return _finished(writer, result, target)


@lru_cache
def _one(dtype: Any, weak: bool) -> Any:
    one = np.ones((), dtype)
    return one.item() if weak else one


def _finished(writer: Writer, result: Any, target: Value) -> tuple[Value, list[Step]]:
    if isinstance(result, Size):
        size = result
        result = writer.call(size.expression.text, lambda: int(size), size.expression.binds)
    if not isinstance(result, Symbol):
        raise Unwritable
    value = result.value
    if not writer.steps or value is not writer.steps[-1].targets[0]:
        return value, writer.steps
    if value.shape is not None and (value.shape, value.dtype) != (target.shape, target.dtype):
        raise Unwritable
    target.narrow = value.narrow
    if value._dims is not None:
        target.dims = tuple((target if v is value else v, axis) for v, axis in value.dims)
    writer.steps[-1].targets = (target,)
    return target, writer.steps


def _sized(writer: Writer, op: str, shape: tuple[int, ...], x: Symbol, shapes: Shapes, plain: bool) -> tuple[int, ...]:
    """A shape with sizes that are read from values where there are such, or found by NumPy, or else by a name."""
    if shape in shapes:
        return writer.sizes(shapes[shape])
    sizes: list[int] = list(shape)
    if op == "reshape":
        for axis, (n, m) in enumerate(zip(shape, x.shape, strict=False)):
            if n != m:
                break
            sizes[axis] = m if n != 1 else 1
        rest = [axis for axis, n in enumerate(sizes) if type(n) is int and n != 1]
        if 0 not in shape and len(rest) < 2:
            return tuple(-1 if axis in rest else n for axis, n in enumerate(sizes))
    if not plain:
        writer.named[id(shape)] = Value.named("shape", shape)
    return shape


def _called(op: Any, name: str, params: Mapping[str, Any], operands: Sequence[Any], target: Value) -> Step:
    """The op itself by its name; params that the text does not say are names as well."""
    values = [x if isinstance(x, Value) else Value.number(x) for x in operands]
    listed = [f"{{{i}}}" for i in range(len(values))]
    for k, v in params.items():
        if v is False:
            continue
        if k in WRITTEN or isinstance(v, (bool, str)):
            listed.append(f"{k}={v!r}")
        else:
            listed.append(f"{k}={{{len(values)}}}")
            values.append(Value.named(k, v))
    fresh = op.name in FRESH
    unsaid = {k: False for k, v in params.items() if isinstance(v, bool)}
    return Step(
        (target,), tuple(values), partial(fill, f"{name}({', '.join(listed)})"),
        fresh=fresh, orderly=fresh, functions={name: partial(_run, op, unsaid)},
    )  # fmt: skip


def _run(op: Any, unsaid: Mapping[str, Any], *arrays: Any, **params: Any) -> Any:
    return op.run(arrays, {**unsaid, **params})


# -- text that stands alone -------------------------------------------------------------------------

_PLAIN = {"mul0": "mul", "div0": "div"}
HELPERS = {
    "add_at": """def add_at(x, key, values):
    out = np.array(x)
    np.add.at(out, key, values)
    return out""",
    "set_at": """def set_at(x, key, values):
    out = np.array(x)
    out[key] = values
    return out""",
    "sliding_windows": """def sliding_windows(x, window, axis, stride):
    view = np.lib.stride_tricks.sliding_window_view(x, window, axis)
    steps = dict(zip(axis, stride))
    return view[tuple(slice(None, None, steps.get(i, 1)) for i in range(x.ndim))]""",
    "overlap_add": """def overlap_add(x, shape, axis, stride):
    ndim = x.ndim - len(axis)
    sizes = list(x.shape[:ndim])
    for a, n in zip(axis, shape):
        sizes[a] = n
    out = np.zeros(sizes, x.dtype)
    for place in np.ndindex(*x.shape[ndim:]):
        key = [slice(None)] * ndim
        for a, start, step in zip(axis, place, stride):
            key[a] = slice(start, start + (x.shape[a] - 1) * step + 1, step)
        out[tuple(key)] += x[(..., *place)]
    return out""",
}


def _plainly(
    op: Any, params: Mapping[str, Any], operands: Sequence[Any], target: Value, shapes: Shapes
) -> tuple[Value, list[Step]]:
    """The steps of one application in text that calls NumPy and the helpers only."""
    if op.name == "astype":
        return _cast(operands[0], target, shapes)
    if op.name in HELPERS:
        return target, [_helped(op, params, operands, target, shapes)]
    try:
        if not operands:
            raise Unwritable
        return _written(REGISTRY[_PLAIN.get(op.name, op.name)], params, operands, target, shapes, plain=True)
    except _GIVE_UP:
        raise Unwritable(op.name) from None


def _cast(x: Any, target: Value, shapes: Shapes) -> tuple[Value, list[Step]]:
    """Floats stay as they are; what becomes a float takes the dtype of an argument."""
    if not isinstance(x, Value) or x.dtype.kind == target.dtype.kind:
        return (x if isinstance(x, Value) else Value.number(x)), []
    like = next((v for v in shapes.values() if v.dtype == target.dtype), None)
    template = "{0} * 1.0" if target.dtype.kind == "f" else f"np.asarray({{0}}).astype(np.{target.dtype.type.__name__})"
    if like is not None:
        template = "{0}.astype({1}.dtype)"
    values = (x,) if like is None else (x, like)
    write = partial(fill, template, binds=PRODUCT if "*" in template else ATOM)
    return target, [Step((target,), values, write, values[1:], fresh=True)]


def _helped(op: Any, params: Mapping[str, Any], operands: Sequence[Any], target: Value, shapes: Shapes) -> Step:
    writer = Writer(False)
    values = [Symbol(writer, x, None) if isinstance(x, Value) else x for x in operands]
    if "key" in params:
        x, new, *arrays = values
        arguments = [x, params["key"].with_arrays(arrays), new]
    else:
        if target.shape is not None and target.shape in shapes and op.name == "overlap_add":
            sizes = writer.sizes(shapes[target.shape])
            params = {**params, "shape": tuple(sizes[axis] for axis in params["axis"])}
        arguments = [*values, *(params[k] for k in ("window", "shape", "axis", "stride") if k in params)]
    writer.call(
        f"{op.name}({', '.join(map(writer.subscript, arguments))})", lambda: None, fresh=op.name != "sliding_windows"
    )
    step = writer.steps[-1]
    step.targets, step.functions = (target,), {op.name: None}
    return step
