"""Every convention of tinygraph at kinks, poles and ties, and for dtypes and shapes: one table.

The tests of this folder check each row, and ``docs/conventions.md`` is what ``page()`` prints::

    TINYGRAPH_RENEW=1 python -m pytest tests/conventions
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygraph as tg

INF, NAN = np.inf, np.nan


@dataclass(frozen=True)
class Case:
    """One function at one point, and its gradient there; ``second`` is the Hessian's row sums, None where not finite."""

    text: str
    fn: Any
    inputs: tuple[Any, ...]
    gradients: tuple[Any, ...]
    second: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Row:
    """One line of the page: what the others give (measured), what we give, and the cases that show it."""

    what: str
    torch: str
    jax: str
    mygrad: str
    autograd: str
    ours: str
    cases: tuple[Case, ...]


def _case(text: str, fn: Any, inputs: Any, gradients: Any, second: Any = None) -> Case:
    """One input is written without a tuple; ``second=0`` means zeros."""
    if not isinstance(inputs, tuple):
        inputs, gradients = (inputs,), (gradients,)
        second = None if second is None else (second,)
    second = (0,) * len(inputs) if second == 0 and not isinstance(second, tuple) else second
    return Case(text, fn, inputs, gradients, second)


KINKS = (
    Row("abs at 0", "0", "1", "0", "0", "0", (_case("abs(x)", tg.abs, 0.0, 0, 0),)),
    Row(
        "sqrt at 0, log at 0", "inf", "inf", "inf", "inf", "inf; 0 where the incoming cotangent is exactly 0",
        (
            _case("sqrt(x)", tg.sqrt, 0.0, INF),
            _case("log(x)", tg.log, 0.0, INF),
            _case("0 · sqrt(x)", lambda x: 0.0 * tg.sqrt(x), 0.0, 0, 0),
            _case("where(x == 0, 0, log(x))", lambda x: tg.where(x == 0, 0, tg.log(x)), 0.0, 0, 0),
        ),
    ),
    Row(
        "x**2, x**1, x**0 at 0", "0, 1, 0", "0, 1, 0", "0, 1, 0", "0, 1, 0", "0, 1, 0",
        (
            _case("x**2", lambda x: x**2, 0.0, 0, 2),
            _case("x**1", lambda x: x**1, 0.0, 1, 0),
            _case("x**0", lambda x: x**0, 0.0, 0, 0),
            _case("x**2.0", lambda x: x**2.0, 0.0, 0, 2),
            _case("x**3", lambda x: x**3, 0.0, 0, 0),
        ),
    ),
    Row(
        "x**y at (0, 0) / (0, -1)", "0,0 / -inf,-inf", "nan,0 / -inf,nan", "0,0 / -inf,nan", "nan", "0,0 / -inf,-inf",
        (
            _case("x**y", tg.pow, (0.0, 0.0), (0, 0)),
            _case("x**y", tg.pow, (0.0, -1.0), (-INF, -INF)),
            _case("x**y", tg.pow, (0.0, 2.0), (0, 0), (2, 0)),
        ),
    ),
    Row(
        "maximum(1, 1)", ".5, .5", ".5, .5", "0, 0", ".5, .5", ".5, .5, so that maximum(a, a) has gradient 1",
        (
            _case("maximum(x, y)", tg.maximum, (1.0, 1.0), (0.5, 0.5), 0),
            _case("minimum(x, y)", tg.minimum, (1.0, 1.0), (0.5, 0.5), 0),
            _case("maximum(x, x)", lambda x: tg.maximum(x, x), 1.0, 1, 0),
        ),
    ),
    Row(
        "maximum(nan, 1)", "1, 1", "0, 0", "0, 1", "0, 0", "1, 0: it follows the NaN",
        (
            _case("maximum(x, y)", tg.maximum, (NAN, 1.0), (1, 0), 0),
            _case("maximum(x, y)", tg.maximum, (1.0, NAN), (0, 1), 0),
            _case("minimum(x, y)", tg.minimum, (NAN, 1.0), (1, 0), 0),
        ),
    ),
    Row(
        "max([1, 3, 3])", "0, .5, .5", "0, .5, .5", "0, 1, 0", "0, .5, .5", "split evenly",
        (
            _case("max(x)", tg.max, [1.0, 3.0, 3.0], [0, 0.5, 0.5], 0),
            _case("min(x)", tg.min, [3.0, 1.0, 1.0], [0, 0.5, 0.5], 0),
        ),
    ),
    Row("relu at 0", "0", "0", "0", "", "0", (_case("relu(x)", tg.relu, 0.0, 0, 0),)),
    Row(
        "clip on its bounds", "1, 1", ".5, .5", "0, 0", "0, 0", "1, 1 (closed interval)",
        (_case("clip(x, -1, 1)", lambda x: tg.sum(tg.clip(x, -1, 1)), [-1.0, 1.0], [1, 1], 0),),
    ),
    Row(
        "norm of 0, std of a constant", "0", "nan", "nan", "nan", "0",
        (
            _case("norm(x)", tg.norm, [0.0, 0.0], [0, 0], 0),
            _case("std(x)", tg.std, [2.0, 2.0, 2.0], [0, 0, 0], 0),
        ),
    ),
    Row(
        "prod with one or two zeros", "exact", "exact", "exact", "nan", "exact",
        (
            _case("prod(x)", tg.prod, [2.0, 0.0, 3.0], [0, 6, 0], [3, 5, 2]),
            _case("prod(x)", tg.prod, [2.0, 0.0, 0.0], [0, 0, 0], [0, 2, 2]),
        ),
    ),
    Row(
        "sigmoid(-1000)", "0", "0", "0", "nan", "0 (stable op)",
        (_case("sigmoid(x)", tg.sigmoid, -1000.0, 0, 0), _case("softplus(x)", tg.softplus, -1000.0, 0, 0)),
    ),
    Row(
        "where(x > 0, sqrt(x), 0) at -1, 0", "nan, nan", "nan, nan", "nan, nan", "nan, nan", "**0, 0**",
        (_case("where(x > 0, sqrt(x), 0)", lambda x: tg.sum(tg.where(x > 0, tg.sqrt(x), 0)), [-1.0, 0.0], [0, 0], 0),),
    ),
    Row(
        "where(x != 0, 1/x, 0) at 0", "nan", "nan", "nan", "nan", "**0**",
        (_case("where(x != 0, 1/x, 0)", lambda x: tg.where(x != 0, 1 / x, 0), 0.0, 0, 0),),
    ),
    Row(
        "sign, floor", "0", "0", "error", "0", "0",
        (
            _case("sign(x)", tg.sign, 0.0, 0, 0),
            _case("sign(x)", tg.sign, -2.0, 0, 0),
            _case("floor(x)", tg.floor, 1.0, 0, 0),
            _case("ceil(x)", tg.ceil, 1.5, 0, 0),
            _case("round(x)", tg.round, 0.5, 0, 0),
        ),
    ),
)  # fmt: skip

# -- dtypes and shapes ----------------------------------------------------------------------------

FLOATS = ("float16", "float32", "float64", "longdouble")

# What a Python scalar leaves alone: the dtype of x stays.
WEAK = (
    ("x + 2", lambda x: x + 2),
    ("2.5 * x", lambda x: 2.5 * x),
    ("x ** 2", lambda x: x**2),
    ("1 / x", lambda x: 1 / x),
    ("2.0 ** x", lambda x: 2.0**x),
    ("maximum(x, 0)", lambda x: tg.maximum(x, 0)),
    ("where(x > 0, x, 0.0)", lambda x: tg.where(x > 0, x, 0.0)),
    ("clip(x, -1, 1)", lambda x: tg.clip(x, -1, 1)),
    ("x / size(x)", lambda x: x / tg.size(x)),
    ("x % 3", lambda x: x % 3),
    ("pad(x, 1)", lambda x: tg.pad(x, 1, 2.0)),
    ("add_at(x, 0, 1.5)", lambda x: tg.add_at(x, 0, 1.5)),
)

# Pairs of dtypes: the result is NumPy's, each gradient has its leaf's dtype.
MIXED = (
    ("float16", "float32"),
    ("float16", "float64"),
    ("float32", "float64"),
    ("float32", "int64"),
    ("float32", "int8"),
    ("float16", "bool"),
    ("float64", "uint8"),
)

# Never leaves with a gradient: the data, the error, and the cast that the message writes.
NO_GRADIENT = (
    ("integers", [1, 2], "DTypeError", "write tg.tensor(x, dtype=np.float64, requires_grad=True)"),
    ("an integer", 3, "DTypeError", "write tg.tensor(x, dtype=np.float64, requires_grad=True)"),
    ("booleans", [True, False], "DTypeError", "write tg.tensor(x, dtype=np.float64, requires_grad=True)"),
    ("complex numbers", [1j, 2.0], "DTypeError", "write tg.tensor(x.real, requires_grad=True)"),
    ("objects", np.array([1.0, None]), "DTypeError", "np.asarray(x, dtype=np.float64)"),
    ("strings", ["1.0", "2.0"], "DTypeError", "np.asarray(x, dtype=np.float64)"),
    ("dates", np.array(["2020-01-01"], "M8[D]"), "DTypeError", "np.asarray(x, dtype=np.float64)"),
    ("ragged lists", [[1.0], [1.0, 2.0]], "ShapeError", "give every row the same length"),
)

# Reductions whose float16 result is the float32 one, rounded once.
ACCUMULATING = (
    ("sum", tg.sum),
    ("sum over axis 0", lambda x: tg.sum(x, axis=0)),
    ("mean", tg.mean),
    ("var", tg.var),
    ("std", tg.std),
    ("norm", tg.norm),
    ("cumsum", lambda x: tg.cumsum(x, axis=0)),
    ("matmul", lambda x: tg.matmul((x * 0 + 1).T, x)),
    ("einsum", lambda x: tg.einsum("ij,ij->", x, x * 0 + 1)),
)

# The forms of one array that every op takes alike.
LAYOUTS = (
    ("0-d", lambda rng: rng.normal(size=())),
    ("empty", lambda rng: rng.normal(size=(0, 3))),
    ("size 1", lambda rng: rng.normal(size=(1, 1))),
    ("not contiguous", lambda rng: rng.normal(size=(4, 6))[::2, 1::2]),
    ("negative strides", lambda rng: rng.normal(size=(3, 4))[::-1, ::-1]),
    ("Fortran order", lambda rng: np.asfortranarray(rng.normal(size=(3, 4)))),
    ("broadcast", lambda rng: np.broadcast_to(rng.normal(size=4), (3, 4))),
    ("byte-swapped", lambda rng: rng.normal(size=(2, 3)).astype(">f8")),
)


def page() -> str:
    """The page for readers."""
    columns = ("torch", "jax", "mygrad", "autograd", "ours")
    lines = [
        "# Conventions",
        "",
        "What tinygraph gives where a derivative is a matter of convention, beside what other libraries give (measured).",
        "This page is printed from the table that the tests check, `tests/conventions/table.py`.",
        "",
        "## Gradients at kinks, poles and ties",
        "",
        "| case | PyTorch | JAX | MyGrad | autograd | tinygraph |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join((_cell(row.what), *(_cell(getattr(row, c)) for c in columns)))} |" for row in KINKS),
        "",
        "*Strong zero*: in the rule of a singular op (√, log, ÷, power, arcsin …) a cotangent of exactly 0 gives 0, never",
        "0 · ∞ = nan; a genuine inf or nan passes. It holds at every order. Each row holds at second order too, where finite:",
        "",
        "| function | at | gradient | second derivatives, summed over the inputs |",
        "|---|---|---|---|",
        *(
            f"| `{c.text}` | {_values(c.inputs)} | {_values(c.gradients)} | "
            f"{'not finite' if c.second is None else _values(_like(c.second, c.inputs))} |"
            for row in KINKS
            for c in row.cases
        ),
        "",
        "## Dtypes",
        "",
        f"* {', '.join(FLOATS)} keep their dtype through every op, and a gradient has the dtype of its leaf.",
        f"* A Python number never promotes: {', '.join(f'`{text}`' for text, _ in WEAK)} have the dtype of x.",
        "* Mixed dtypes promote as NumPy's: "
        + ", ".join(f"{a} with {b} gives {np.result_type(a, b)}" for a, b in MIXED)
        + ".",
        "* float16 is accumulated in float32: " + ", ".join(text for text, _ in ACCUMULATING) + ".",
        "* `requires_grad=True` is refused, with the cast to write, for "
        + ", ".join(text for text, *_ in NO_GRADIENT)
        + ".",
        "",
        "## Shapes",
        "",
        f"* Every op takes arrays that are {', '.join(text for text, _ in LAYOUTS)}.",
        "* A loss never broadcasts a target of shape (n,) against (n, 1): it raises.",
        "* `bool(t)` of more than one element raises, as in NumPy.",
        "",
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("*", r"\*").replace(r"\*\*0, 0\*\*", "**0, 0**").replace(r"\*\*0\*\*", "**0**") or "–"


def _values(values: tuple[Any, ...]) -> str:
    return "; ".join(str([f"{v:g}" for v in np.atleast_1d(x)]).replace("'", "")[1:-1] for x in values)


def _like(second: tuple[Any, ...], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(np.broadcast_to(s, np.shape(x)) for s, x in zip(second, inputs, strict=True))
