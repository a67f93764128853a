"""Contractions: matrix products and einsum."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from ..core.convert import shape_of
from ..core.primitive import Domain, Each, Primitive
from ..core.tensor import describe
from ..errors import ArgumentError, ShapeError
from .movement import broadcast_to, expand_dims, reshape, squeeze, swap_last


def _matmul_left(g: Any, out: Any, x: Any, y: Any) -> Any:
    if len(y.shape) == 1:
        return (g if len(x.shape) == 1 else expand_dims(g, axis=-1)) * y
    if len(x.shape) == 1:
        return squeeze(matmul(y, expand_dims(g, axis=-1)), axis=-1)
    return matmul(g, swap_last(y))


def _matmul_right(g: Any, out: Any, x: Any, y: Any) -> Any:
    if len(x.shape) == 1:
        return x * g if len(y.shape) == 1 else expand_dims(x, axis=-1) * expand_dims(g, axis=-2)
    if len(y.shape) == 1:
        return squeeze(matmul(swap_last(x), expand_dims(g, axis=-1)), axis=-1)
    return matmul(swap_last(x), g)


matmul: Primitive = Primitive(
    "matmul",
    lambda xp, x, y: xp.matmul(x, y),
    (_matmul_left, _matmul_right),
    "contraction",
    "@",
    "The matrix product, over the last two axes; a 1-d operand is a vector.",
    domain=Domain(
        (
            (((2, 3), (3, 4)), {}),
            (((3,), (3,)), {}),
            (((3,), (3, 2)), {}),
            (((2, 3), (3,)), {}),
            (((2, 2, 3), (3, 2)), {}),
            (((2, 1, 2, 3), (3, 3, 2)), {}),
            (((3,), (2, 3, 2)), {}),
        )
    ),
    mistakes=(
        ("operand not transposed", 0, lambda g, out, x, y: matmul(g, y)),
        ("operand not transposed", 1, lambda g, out, x, y: matmul(x, g)),
    ),
)


def _einsum(subscripts: Any, *operands: Any) -> Any:
    """Subscripts in full: explicit output, no ellipsis, no label twice in one operand (an eye is added)."""
    given = repr(subscripts) if isinstance(subscripts, str) else describe(subscripts)
    head = f"einsum({', '.join((given, *map(describe, operands)))})"
    if not isinstance(subscripts, str):
        raise ArgumentError(f"{head}: the subscripts come first, as a string; write einsum('ij,jk->ik', x, y)")
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise ArgumentError(f"{head}: {len(terms)} terms for {len(operands)} operands; give one term each")
    free = [c for c in string.ascii_letters if c not in subscripts]
    shapes = [shape_of(x) for x in operands]
    extra = [len(s) - len(t.replace("...", "")) for s, t in zip(shapes, terms, strict=True)]
    width = max((n for n, t in zip(extra, terms, strict=True) if "..." in t), default=0)
    dots, free = "".join(free[:width]), free[width:]
    terms = [t.replace("...", dots[width - n :] if n > 0 else "") for t, n in zip(terms, extra, strict=True)]
    if not arrow:
        joined = "".join(terms)
        output = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))
    elif dots and "..." not in output:
        raise ArgumentError(f"{head}: the output leaves out the ellipsis, which stands for axes; write '->...{output}'")
    output = output.replace("...", dots)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        if len(term) != len(shape) or (not term.isalpha() and term):
            raise ShapeError(
                f"{head}: term {term!r} names {len(term)} axes of an operand with {len(shape)}; give a letter for each axis"
            )
        for label, n in zip(term, shape, strict=True):
            first = shape[term.index(label)]
            if n != first:
                raise ShapeError(
                    f"{head}: label {label!r} stands twice in {term!r}, for {first} and {n}; make them equal"
                )
            if n != 1 and sizes.get(label, 1) not in (1, n):
                raise ShapeError(f"{head}: label {label!r} has sizes {sizes[label]} and {n}; make them equal")
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    if len(set(output)) != len(output) or not set(output) <= set(sizes):
        raise ArgumentError(f"{head}: every output label occurs once, and in some term; mend {output!r}")
    arrays = list(operands)
    for i, term in enumerate(list(terms)):
        for place, label in enumerate(term):
            if label in term[:place]:
                twin = free.pop()
                terms[i] = terms[i][:place] + twin + terms[i][place + 1 :]
                terms.append(label + twin)
                arrays.append(np.eye(sizes[label], dtype=getattr(operands[i], "dtype", None)))
    return tuple(arrays), {"subscripts": f"{','.join(terms)}->{output}"}


def _einsum_kernel(xp: Any, *operands: Any, subscripts: str) -> Any:
    if xp is np and len(operands) > 2:
        return np.einsum(subscripts, *operands, optimize=True)
    return xp.einsum(subscripts, *operands)


def _einsum_rule(position: int) -> Any:
    def rule(g: Any, out: Any, *inputs: Any, subscripts: str) -> Any:
        terms, output = _terms(subscripts)
        mine = terms.pop(position)
        rest = [x for i, x in enumerate(inputs) if i != position]
        x = inputs[position]
        seen = set(output).union(*terms)
        kept = "".join(c for c in mine if c in seen)
        part = einsum(f"{','.join([output, *terms])}->{kept}", g, *rest)
        # A label that only this operand has, or has longer, was summed away: its cotangent is the same everywhere.
        sizes = dict(zip(kept, part.shape, strict=True))
        full = tuple(n if sizes.get(c, 1) == 1 else sizes[c] for c, n in zip(mine, x.shape, strict=True))
        part = part if kept == mine else reshape(part, tuple(sizes.get(c, 1) for c in mine))
        return part if part.shape == full else broadcast_to(part, full)

    return rule


def _terms(subscripts: str) -> tuple[list[str], str]:
    inputs, _, output = subscripts.partition("->")
    return inputs.split(","), output


einsum: Primitive = Primitive(
    "einsum",
    _einsum_kernel,
    Each(_einsum_rule),
    "contraction",
    "einsum",
    "Sums of products by Einstein's convention, with NumPy's subscripts.",
    signature=_einsum,
    domain=Domain(
        (
            (("ij,jk->ik", (2, 3), (3, 2)), {}),
            (("...i,...i", (2, 3), (3,)), {}),
            (("ij->", (2, 3)), {}),
            (("ii->i", (3, 3)), {}),
            (("ij,j,k->ki", (2, 3), (3,), (2,)), {}),
        )
    ),
)
