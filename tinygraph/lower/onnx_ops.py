"""A table: primitive → ONNX nodes of opset 18. Elementwise operations, reductions and products.

A rule writes the nodes of one result ``t`` into a body and gives the name of its value. Operands are cast to the dtype
that NumPy computes in; ONNX has no promotion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.array import is_weak
from ..core.primitive import call
from ..core.tensor import Tensor
from ..errors import DTypeError
from .onnx_body import Body, in_single
from .onnx_moves import RULES as MOVES

Rule = Callable[..., str]

_DRAW = "ONNX's generator would draw other numbers; draw outside and give them as an argument, or call eval() first"
REFUSED = {"random_normal": _DRAW, "random_uniform": _DRAW}


def _plain(op: str, *, boolean: str = "", integer: str = "", unsigned: str = "") -> Rule:
    """The ONNX operator of that name, or others for booleans, integers, and unsigned ones."""

    def rule(b: Body, t: Tensor, *operands: Tensor) -> str:
        kind = {"b": boolean, "i": integer, "u": unsigned or integer}.get(t.dtype.kind) or op
        return b(kind, *(b.take(x, t.dtype) for x in operands))

    return rule


def _computed(op: str, **attributes: Any) -> Rule:
    """An operator that takes no narrow integers and no booleans: it computes them in int32."""

    def rule(b: Body, t: Tensor, *operands: Tensor) -> str:
        wide = _wide(t.dtype)
        return _cast(b, b(op, *(b.take(x, wide) for x in operands), **attributes), wide, t.dtype)

    return rule


def _wide(dtype: Any) -> Any:
    return np.dtype(np.int32) if dtype.kind in "biu" and dtype.itemsize < 4 else dtype


def _cast(b: Body, value: str, old: Any, new: Any) -> str:
    return value if old == new else b("Cast", value, to=new)


# -- arithmetic -----------------------------------------------------------------------------------


def _is_zero(b: Body, x: str, dtype: Any) -> str:
    return b("Equal", x, b.constant(0, dtype))


def _mul0(b: Body, t: Tensor, x: Tensor, y: Tensor) -> str:
    left, right = b.take(x, t.dtype), b.take(y, t.dtype)
    zero = b("Or", _is_zero(b, left, t.dtype), _is_zero(b, right, t.dtype))
    return _where(b, t.dtype, zero, b.constant(0, t.dtype), b("And" if t.dtype.kind == "b" else "Mul", left, right))


def _div0(b: Body, t: Tensor, x: Tensor, y: Tensor) -> str:
    over, under = b.take(x, t.dtype), b.take(y, t.dtype)
    return b("Where", _is_zero(b, over, t.dtype), b.constant(0, t.dtype), b("Div", over, under))


# What NumPy does for these exponents, written as numbers.
_POWERS = {1: "Identity", 2: "Mul", 0.5: "Sqrt", -1: "Reciprocal"}


def _pow(b: Body, t: Tensor, x: Tensor, y: Tensor) -> str:
    short = _POWERS.get(b.reads.numbers.get(y, 0))
    if short and (t.dtype.kind == "f" or short in ("Identity", "Mul")):
        base = b.take(x, t.dtype)
        return b(short, base, base) if short == "Mul" else b(short, base)
    wide = t.dtype if t.dtype.kind == "f" else np.dtype(np.int64)
    return _cast(b, b("Pow", b.take(x, wide), b.take(y, wide)), wide, t.dtype)


def _safe(b: Body, t: Tensor, y: Tensor) -> tuple[str, str]:
    """An integer divisor, and the same with 1 for 0 and -1, by which a machine cannot always divide."""
    under = b.take(y, t.dtype)
    if b.reads.numbers.get(y, 0) not in (0, -1):
        return under, under
    bad = _is_zero(b, under, t.dtype)
    if t.dtype.kind == "i":
        bad = b("Or", bad, b("Equal", under, b.constant(-1, t.dtype)))
    return under, b("Where", bad, b.constant(1, t.dtype), under)


def _off(b: Body, t: Tensor, rest: str, x: str, y: str) -> str:
    """Where there is a rest, and x and y have not the same sign."""
    zero = b.constant(0, t.dtype)
    apart = b("Xor", b("Less", x, zero), b("Less", y, zero))
    return b("And", apart, b("Not", b("Equal", rest, zero)))


def _remainder(b: Body, t: Tensor, x: Tensor, y: Tensor) -> str:
    over = b.take(x, t.dtype)
    if t.dtype.kind != "f":
        return b("Mod", over, _safe(b, t, y)[1])
    under = b.take(y, t.dtype)
    rest = b("Mod", over, under, fmod=1)
    return b("Where", _off(b, t, rest, rest, under), b("Add", rest, under), rest)


def _floor_divide(b: Body, t: Tensor, x: Tensor, y: Tensor) -> str:
    over = b.take(x, t.dtype)
    if t.dtype.kind != "f":
        return _floor_divide_integers(b, t, over, *_safe(b, t, y))
    under = b.take(y, t.dtype)
    rest = b("Mod", over, under, fmod=1)
    # x - rest is a multiple of y: rounding undoes what the division loses.
    whole = b("Round", b("Div", b("Sub", over, rest), under))
    whole = b("Sub", whole, b("Cast", _off(b, t, rest, rest, under), to=t.dtype))
    return b("Where", _is_zero(b, under, t.dtype), b("Div", over, under), whole)


def _floor_divide_integers(b: Body, t: Tensor, over: str, under: str, safe: str) -> str:
    whole = b("Div", over, safe)
    if t.dtype.kind == "i":  # ONNX rounds towards 0
        whole = b("Sub", whole, b("Cast", _off(b, t, b("Mod", over, safe), over, safe), to=t.dtype))
    if safe == under:
        return whole
    return b("Where", b("Equal", under, safe), whole, b("Mul", over, under))  # x · 0 = 0 is NumPy's x // 0


def _neg(b: Body, t: Tensor, x: Tensor) -> str:
    if t.dtype.kind == "u":
        return b("Sub", b.constant(0, t.dtype), b.take(x, t.dtype))
    return b("Neg", b.take(x, t.dtype))


# -- exponentials: ONNX has no log1p and no expm1 ----------------------------------------------------


def _log1p_of(b: Body, x: str, dtype: Any) -> str:
    """Log of u = fl(1 + x), times x / (u - 1), which makes up for what u has lost (Kahan)."""
    one = b.constant(1, dtype)
    u = b("Add", one, x)
    kept = b("Sub", u, one)
    log = b("Log", u)
    mended = b("Where", _is_zero(b, kept, dtype), x, b("Mul", log, b("Div", x, kept)))
    return b("Where", b("Equal", kept, x), log, mended)


def _log1p(b: Body, t: Tensor, x: Tensor) -> str:
    return _log1p_of(b, b.take(x, t.dtype), t.dtype)


def _expm1(b: Body, t: Tensor, x: Tensor) -> str:
    """(u - 1) · x / log(u) with u = exp(x) near 0 (Kahan), elsewhere u - 1."""
    value, one = b.take(x, t.dtype), b.constant(1, t.dtype)
    u = b("Exp", value)
    kept = b("Sub", u, one)
    mended = b("Where", b("Equal", u, one), value, b("Mul", kept, b("Div", value, b("Log", u))))
    return b("Where", b("Less", b("Abs", value), one), mended, kept)


def _softplus(b: Body, t: Tensor, x: Tensor) -> str:
    value = b.take(x, t.dtype)
    small = _log1p_of(b, b("Exp", b("Neg", b("Abs", value))), t.dtype)
    return b("Add", small, b("Max", value, b.constant(0, t.dtype)))


def _xlogy(b: Body, t: Tensor, x: Tensor, y: Tensor) -> str:
    factor = b.take(x, t.dtype)
    zero, one = _is_zero(b, factor, t.dtype), b.constant(1, t.dtype)
    log = b("Log", b("Where", zero, one, b.take(y, t.dtype)))
    return b("Where", zero, b.constant(0, t.dtype), b("Mul", factor, log))


# -- selection, comparison, casts ----------------------------------------------------------------------


def _where(b: Body, dtype: Any, condition: str, x: str, y: str) -> str:
    if dtype.kind != "b":
        return b("Where", condition, x, y)
    return b("Or", b("And", condition, x), b("And", b("Not", condition), y))  # onnxruntime chooses no booleans


def _clip(b: Body, t: Tensor, x: Tensor, low: Tensor, high: Tensor) -> str:
    value = b.take(x, t.dtype)
    least, most = ("Or", "And") if t.dtype.kind == "b" else ("Max", "Min")
    ends = (-np.inf, np.inf) if t.dtype.kind == "f" else _ends(t.dtype)
    for op, bound, end in ((least, low, ends[0]), (most, high, ends[1])):
        if b.reads.numbers.get(bound) != end:
            value = b(op, value, b.take(bound, t.dtype))
    return value


def _ends(dtype: Any) -> tuple[Any, Any]:
    return (False, True) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


def _compared(op: str) -> Rule:
    def rule(b: Body, t: Tensor, *operands: Tensor) -> str:
        common = np.result_type(*(x._data if is_weak(x._data) else x.dtype for x in operands))
        if common.kind == "b" and op != "Equal":
            common = np.dtype(np.uint8)
        if common.kind == "f" and {x.dtype.kind for x in operands} <= {"i", "u"}:
            raise DTypeError(f"export_onnx: {call(t.node.op, operands)}: ONNX compares in one dtype; cast with .astype")  # type: ignore[union-attr]
        try:
            return b(op, *(b.take(x, common) for x in operands))
        except OverflowError as error:
            raise DTypeError(
                f"export_onnx: {call(t.node.op, operands)}: {error}; cast with .astype"  # type: ignore[union-attr]
            ) from error

    return rule


def _of_booleans(op: str) -> Rule:
    return lambda b, t, *operands: b(op, *(b.take(x, np.bool_) for x in operands))


# -- reductions -----------------------------------------------------------------------------------------


def _reduced(op: str, accumulate: Callable[[Any], Any] = np.dtype) -> Rule:
    """A reduction over axes, accumulated in a dtype that depends on that of the result."""

    def rule(b: Body, t: Tensor, x: Tensor) -> str:
        axes, keep = _over(t)
        wide = accumulate(t.dtype)
        if x.size == 0 and op == "ReduceMean":
            return b.constant(np.full(t.shape, np.nan, t.dtype))  # onnxruntime says 0
        if not axes:
            return b("Identity", b.take(x, t.dtype))
        return _cast(b, b(op, b.take(x, wide), b.integers(axes), keepdims=keep), wide, t.dtype)

    return rule


def _over(t: Tensor) -> tuple[tuple[int, ...], int]:
    params = t.node.params  # type: ignore[union-attr]
    return params["axis"], int(params["keepdims"])


def _counted(b: Body, t: Tensor, x: Tensor, wanted: bool) -> str:
    """How many elements along the axes are as wanted."""
    axes, keep = _over(t)
    held = b.take(x, np.bool_)
    marks = b("Cast", held if wanted else b("Not", held), to=np.dtype(np.int64))
    return b("ReduceSum", marks, b.integers(axes), keepdims=keep) if axes else marks


def _any(b: Body, t: Tensor, x: Tensor) -> str:
    return b("Greater", _counted(b, t, x, True), b.constant(0, np.int64))


def _all(b: Body, t: Tensor, x: Tensor) -> str:
    return b("Equal", _counted(b, t, x, False), b.constant(0, np.int64))


def _cumsum(b: Body, t: Tensor, x: Tensor) -> str:
    params = t.node.params  # type: ignore[union-attr]
    wide = np.dtype(np.float64) if t.dtype.kind == "f" else t.dtype
    sums = b("CumSum", b.take(x, wide), b.constant(params["axis"], np.int64), reverse=int(params["reverse"]))
    return _cast(b, sums, wide, t.dtype)


def _chosen(op: str) -> Rule:
    def rule(b: Body, t: Tensor, x: Tensor) -> str:
        axis = t.node.params["axis"]  # type: ignore[union-attr]
        value = b.take(x, np.uint8 if x.dtype.kind == "b" else x.dtype)
        flat = b("Reshape", value, b.integers([-1])) if axis is None else value
        return b(op, flat, axis=axis or 0, keepdims=0)

    return rule


RULES: dict[str, Rule] = {
    "add": _plain("Add", boolean="Or"),
    "sub": _plain("Sub"),
    "mul": _plain("Mul", boolean="And"),
    "mul0": _mul0,
    "div": _plain("Div"),
    "div0": _div0,
    "neg": _neg,
    "pow": _pow,
    "remainder": _remainder,
    "floor_divide": _floor_divide,
    "sqrt": _plain("Sqrt"),
    "exp": _plain("Exp"),
    "expm1": _expm1,
    "log": _plain("Log"),
    "log1p": _log1p,
    "sin": _plain("Sin"),
    "cos": _plain("Cos"),
    "tan": _plain("Tan"),
    "arcsin": _plain("Asin"),
    "arccos": _plain("Acos"),
    "arctan": _plain("Atan"),
    "sinh": _plain("Sinh"),
    "cosh": _plain("Cosh"),
    "tanh": _plain("Tanh"),
    "sigmoid": _plain("Sigmoid"),
    "softplus": _softplus,
    "xlogy": _xlogy,
    "sign": _plain("Sign"),
    "floor": _plain("Floor", boolean="Identity", integer="Identity"),
    "ceil": _plain("Ceil", boolean="Identity", integer="Identity"),
    "round": _plain("Round", boolean="Identity", integer="Identity"),
    "abs": _plain("Abs", boolean="Identity"),
    "maximum": _plain("Max", boolean="Or"),
    "minimum": _plain("Min", boolean="And"),
    "relu": _plain("Relu", unsigned="Identity"),
    "less": _compared("Less"),
    "less_equal": _compared("LessOrEqual"),
    "greater": _compared("Greater"),
    "greater_equal": _compared("GreaterOrEqual"),
    "equal": _compared("Equal"),
    "not_equal": lambda b, t, *operands: b("Not", _compared("Equal")(b, t, *operands)),
    "logical_and": _of_booleans("And"),
    "logical_or": _of_booleans("Or"),
    "logical_not": _of_booleans("Not"),
    "where": lambda b, t, c, x, y: _where(b, t.dtype, b.take(c, np.bool_), b.take(x, t.dtype), b.take(y, t.dtype)),
    "clip": _clip,
    "identity": _plain("Identity"),
    "detach": _plain("Identity"),
    "astype": lambda b, t, x: b("Cast", b.take(x), to=t.dtype),
    "size": lambda b, t: b.constant(t._data),
    "sum": _reduced("ReduceSum", in_single),
    "mean": _reduced("ReduceMean", in_single),
    "prod": _reduced("ReduceProd"),
    "max": _reduced("ReduceMax", _wide),
    "min": _reduced("ReduceMin", _wide),
    "any": _any,
    "all": _all,
    "argmax": _chosen("ArgMax"),
    "argmin": _chosen("ArgMin"),
    "cumsum": _cumsum,
    "matmul": _computed("MatMul"),
    "einsum": lambda b, t, *operands: _computed("Einsum", equation=t.node.params["subscripts"])(b, t, *operands),
    **MOVES,
}
