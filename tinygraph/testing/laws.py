"""The laws of differentiation as functions of a case: they raise AssertionError where one is broken.

A case has ``op``, ``fn``, ``arrays``, ``operands``, ``cotangent()``, ``directions(arrays, stream)``, ``trace()`` and
``again(dtype)``; ``primitives.Case`` is one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.graph import trace
from ..core.primitive import apply
from ..core.tensor import Tensor
from ..transforms import jvp, vjp, vjp_fn
from .oracles.derivatives import WIDE, central_differences, complex_step, contract, jacobian, richardson

Array = Any
RTOL = 1e-10
FLOATS = (np.float16, np.float32, np.float64, np.longdouble)


def close(got: Array, expected: Array, mass: Array = 0.0, rtol: float = RTOL, what: str = "") -> None:
    """Elementwise: the error is within ``rtol`` of the mass that the element was summed from."""
    got, expected = np.asarray(got), np.asarray(expected)
    require(got.shape == expected.shape, f"{what}shape {got.shape}, not {expected.shape}")
    bad = ~(np.abs(got - expected) <= rtol * np.asarray(mass))
    if bad.any():
        raise AssertionError(f"{what}at {np.argwhere(bad)[0].tolist()} {got[bad][0]!s}, not {expected[bad][0]!s}")


def near(got: Array, expected: Array, rtol: float = RTOL) -> None:
    """As a whole: the error is within ``rtol`` of the largest element, or of 1."""
    close(got, expected, np.max(np.abs(expected), initial=1), rtol)


def require(holds: bool, what: str) -> None:
    """Raise AssertionError with ``what`` unless it holds; also under ``python -O``."""
    if not holds:
        raise AssertionError(what)


def gradient_of(fn: Callable[..., Any]) -> Callable[..., Any]:
    """(*primals, g) -> cotangents, as arrays or as Tensors."""
    both = vjp_fn(fn)
    return lambda *primals_and_g: both(*primals_and_g)[1]


def directional(case: Any, arrays: Sequence[Array], directions: Sequence[Array]) -> Array:
    """The derivative of a primitive along a direction, by whatever oracle fits it."""
    if case.op.domain.analytic:
        return complex_step(case.trace(), arrays, directions)[0]
    return np.asarray(central_differences(case.trace(), arrays, directions)[0], np.float64)


def reverse_mode(fn: Callable[..., Any], arrays: Sequence[Array], g: Array, columns: Sequence[Array]) -> None:
    """P1: what reverse mode gives is ``g`` times the Jacobian, element by element."""
    expected, mass = contract(g, columns, [x.shape for x in arrays])
    _, pullback = vjp(fn, *arrays)
    for i, (got, e, m) in enumerate(zip(pullback(g), expected, mass, strict=True)):
        close(got.numpy(), e, m, what=f"cotangent {i} is ")


def first_order(case: Any) -> None:
    """P1 for a primitive, with its Jacobian by complex step, or by differences in decimals."""
    xs = case.arrays
    if case.op.domain.analytic:
        graph = case.trace()
        columns = jacobian(lambda v: complex_step(graph, xs, v)[0], xs)
    else:
        columns = jacobian(lambda v: directional(case, xs, v), xs)
    reverse_mode(case.fn, xs, case.cotangent(), columns)


def forward_mode(case: Any) -> None:
    """P2: jvp along v is the derivative along v."""
    xs = case.arrays
    vs = case.directions(xs)
    _, got = jvp(case.fn, tuple(xs), tuple(v.astype(x.dtype) for x, v in zip(xs, vs, strict=True)))
    near(got.numpy(), directional(case, xs, vs))


def second_order(case: Any) -> None:
    """P9: derivatives of the gradient are those of complex step and of the gradient evaluated nearby."""
    gradient = gradient_of(case.fn)
    at = [*case.arrays, case.cotangent()]
    vs = case.directions(at, 3)
    _, got = jvp(gradient, tuple(at), tuple(vs))
    us = case.directions([t.numpy() for t in got], 4)
    _, pullback = vjp(gradient, *at)
    pulled = sum(np.sum(p.numpy() * v) for p, v in zip(pullback(tuple(us)), vs, strict=True))
    moved = sum(np.sum(d.numpy() * u) for d, u in zip(got, us, strict=True))
    near(pulled, moved)
    if case.op.domain.analytic:
        # The traced gradient: catches a derivative of it that is wrong.
        for d, e in zip(got, complex_step(trace(gradient, *at), at, vs), strict=True):
            near(d.numpy(), e)
    # The gradient evaluated afresh: catches also what a trace would freeze.
    afresh = richardson(lambda *p: [t.numpy() for t in gradient(*p)], at, vs)
    for d, e in zip(got, afresh, strict=True):
        near(d.numpy(), e, RTOL if WIDE else 1e-7)


def linear(case: Any) -> None:
    """P5: a pullback is linear in its cotangent; a power of two and 0 go through to the bit."""
    g, h = case.cotangent(), case.cotangent(8)
    _, pullback = vjp(case.fn, *case.arrays)
    for whole, first, second in zip(pullback(g - 3 * h), pullback(g), pullback(h), strict=True):
        near(whole.numpy(), first.numpy() - 3 * second.numpy(), 1e-12)
    for once, four_times, nothing in zip(pullback(g), pullback(4 * g), pullback(0 * g), strict=True):
        np.testing.assert_array_equal(four_times.numpy(), 4 * once.numpy())
        np.testing.assert_array_equal(nothing.numpy(), 0)


def broadcasting(case: Any) -> None:
    """An operand of an elementwise primitive that was broadcast gets the sum over its copies."""
    if case.op.kind != "elementwise":
        return
    for arrays in _narrowed(case.arrays):
        sums_copies(case.fn, arrays, range(len(arrays)))


def _narrowed(arrays: Sequence[Array]) -> Iterable[list[Array]]:
    """The arrays as they are, and each of them with one or more axes cut to size 1, or without axes."""
    yield list(arrays)
    for i, x in enumerate(arrays):
        for cut in itertools.product([False, True], repeat=x.ndim):
            if any(cut) and x.size:
                part = x[tuple(slice(0, 1) if c else slice(None) for c in cut)]
                for shape in {part.shape, part.shape if part.size > 1 else ()}:
                    yield [*arrays[:i], part.reshape(shape), *arrays[i + 1 :]]


def sums_copies(fn: Callable[..., Any], arrays: Sequence[Array], differentiated: Iterable[int]) -> None:
    """``fn`` of the arrays and of their copies in the full shape: the same value, and cotangents that add up."""
    out, pullback = vjp(fn, *arrays)
    expected, expected_pullback = vjp(fn, *(np.broadcast_to(a, out.shape).copy() for a in arrays))
    np.testing.assert_array_equal(out.numpy(), expected.numpy())
    g = np.random.default_rng(0).uniform(-2, 2, out.shape).astype(out.dtype)
    pulled = list(zip(pullback(g), expected_pullback(g), strict=True))
    for i in differentiated:
        got, copies = (t.numpy() for t in pulled[i])
        np.testing.assert_allclose(got, summed_back(copies, arrays[i].shape), rtol=1e-11, atol=1e-12)


def summed_back(array: Array, shape: tuple[int, ...]) -> Array:
    """NumPy's own words for it: the axes that are new, then those of size 1."""
    array = array.sum(axis=tuple(range(array.ndim - len(shape))))
    return array.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True).reshape(shape)


def writes_to_nothing(case: Any) -> None:
    """P6: kernel and rules write to no operand, result or cotangent; no result shares memory with what was given."""
    held: dict[str, Tensor] = {}
    for i, x in enumerate(case.operands):
        if isinstance(x, np.ndarray):
            held[f"operand {i}"] = Tensor(x, requires_grad=i in case.variables)
    before = {name: t._data.copy() for name, t in held.items()}
    y = apply(case.op, tuple(held.get(f"operand {i}", x) for i, x in enumerate(case.operands)), case.params)
    if y.requires_grad:
        held |= {"the result": y, "the cotangent": Tensor(case.cotangent())}
        before |= {name: held[name]._data.copy() for name in ("the result", "the cotangent")}
        y.backward(held["the cotangent"])
    for name, t in held.items():
        np.testing.assert_array_equal(t._data, before[name], err_msg=f"{name} was written to")
    results = [case.fn(*case.arrays), *(t.grad for t in held.values() if t.grad is not None)]
    for i, x in enumerate(case.operands):
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, before[f"operand {i}"], err_msg=f"operand {i} was written to")
            shared = x.flags.writeable and any(np.shares_memory(t.numpy(), x) for t in results)
            require(not shared, f"a result shares memory with operand {i}")


def keeps_nothing(case: Any) -> None:
    """P6: what is written to the operands and to the cotangent afterwards changes no gradient."""

    def gradients(spoil: bool) -> list[Any]:
        fresh = case.again()
        operands = [x.copy() if isinstance(x, np.ndarray) else x for x in fresh.operands]
        leaves = [Tensor(operands[i], requires_grad=True) for i in fresh.variables]
        y = fresh.fn(*leaves)
        g = fresh.cotangent()
        seed = Tensor(g)
        for a in (*fresh.arrays, *operands, g) if spoil else ():
            if isinstance(a, np.ndarray):
                a[...] = 0
        y.backward(seed)
        y.backward(seed)
        return [x.grad for x in leaves]

    for spoilt, clean in zip(gradients(True), gradients(False), strict=True):
        require((spoilt is None) == (clean is None), "a later write decides whether there is a gradient")
        if clean is not None:
            np.testing.assert_array_equal(spoilt.numpy(), clean.numpy(), err_msg="a later write changed a gradient")


def typed(case: Any) -> None:
    """P7: floats keep their dtype, and a gradient has its operand's shape and dtype."""
    for dtype in FLOATS:
        fresh = case.again(dtype)
        out, pullback = vjp(fresh.fn, *fresh.arrays)
        require(out.dtype == dtype, f"the result of {np.dtype(dtype)} is {out.dtype}")
        for x, g in zip(fresh.arrays, pullback(fresh.cotangent()), strict=True):
            require(g.dtype == dtype, f"the gradient of {np.dtype(dtype)} is {g.dtype}")
            require(g.shape == x.shape, f"the gradient of shape {x.shape} has shape {g.shape}")
