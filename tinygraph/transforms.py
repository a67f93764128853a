"""Transforms of functions: grad, vjp, jvp, jacobian, hessian; any order, any nesting."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .core.array import is_weak
from .core.autodiff import as_seed, pull_back
from .core.convert import dtype_of, operand
from .core.graph import Tree, argument_names, flatten, leaves_like
from .core.node import next_serial
from .core.scope import GRAD, TRACE, flags, mode
from .core.tensor import Argument, Tensor, describe, make
from .errors import ArgumentError, DTypeError, GradientError
from .ops.elementwise import astype, identity
from .ops.movement import reshape, stack

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp", "vjp_fn"]


class _Opened:
    """The primals of one transform as fresh variables, and whether a backward must be recorded."""

    def __init__(self, primals: Any) -> None:
        self.serial = next_serial()
        self.outer = mode.get()
        leaves, self.tree = flatten(primals)
        self.linked = False
        self.leaves = [self._open(leaf) for leaf in leaves]
        self.variables = [t for t in self.leaves if isinstance(t, Tensor) and t._requires]

    def _open(self, leaf: Any) -> Any:
        if leaf is None or isinstance(leaf, (str, bytes, bool)) or callable(leaf):
            return leaf
        t = operand(leaf)
        if isinstance(t._data, float):
            # A number is given a dtype; one that is traced stays linked to its graph.
            t = astype(t, np.float64) if isinstance(leaf, Tensor) else make(np.asarray(t._data))
        if t.dtype.kind != "f":
            return leaf
        if t._requires or self.outer & TRACE:
            self.linked |= t._requires
            with flags(add=GRAD):
                fresh: Tensor = identity(t)
            fresh._requires = True
        else:
            fresh = make(t._data, requires=True, kind=Argument)
        fresh.name = t.name
        return fresh

    def primals(self) -> Any:
        return self.tree.build(self.leaves)

    def must_record(self, outputs: Sequence[Tensor]) -> bool:
        """Tracing, or something else that requires a gradient has a part in the outputs.

        Called when the function has returned: from now on only this transform differentiates by its
        variables, so to all others they are constants.
        """
        record = bool(self.outer & TRACE) or (bool(self.outer & GRAD) and (self.linked or self._depends(outputs)))
        for t in self.variables:
            t._requires = t.node is not None
        return record

    def _depends(self, outputs: Sequence[Tensor]) -> bool:
        mine = set(self.variables)
        seen, stack = set(mine), list(outputs)
        while stack:
            t = stack.pop()
            if t in seen or not t._requires:
                continue
            seen.add(t)
            if t.node is None or t.node.serial < self.serial:
                return True
            stack.extend(t.node.inputs)
        return False

    def cotangents(self, outputs: Sequence[Tensor], seeds: Sequence[Tensor], record: bool) -> list[Any]:
        """One per leaf: a Tensor, or None for what is no float."""
        found = iter(pull_back(outputs, seeds, self.variables, record=record, since=self.serial))
        mine = set(self.variables)
        return [next(found) if isinstance(t, Tensor) and t in mine else None for t in self.leaves]


def _outputs(fn: Any, result: Any) -> tuple[list[Tensor], Tree]:
    leaves, tree = flatten(result)
    for leaf in leaves:
        if not isinstance(leaf, (Tensor, np.ndarray, np.generic)) and not is_weak(leaf):
            raise DTypeError(
                f"{_name(fn)}: returned {type(leaf).__name__} where a Tensor is due; return Tensors, or has_aux=True"
            )
    return [operand(leaf) for leaf in leaves], tree


def _name(fn: Any) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _seeds(outputs: Sequence[Tensor], tree: Tree, cotangent: Any, op: str) -> list[Tensor]:
    leaves = leaves_like(f"{op}: the cotangent", tree, cotangent)
    return [as_seed(t, s, op, "cotangent") for t, s in zip(outputs, leaves, strict=True)]


def _released(tensors: Sequence[Tensor], record: bool) -> list[Tensor]:
    """Results outside the inner graph, unless an outer one goes through them."""
    return list(tensors) if record else [make(t._data) if t._requires else t for t in tensors]


def vjp(fn: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """``(fn(*primals), pullback)``; ``pullback(cotangent)`` is cotangent · d fn, one per primal.

    The cotangents are a tuple with the structure of the primals, None for integers and booleans.

    >>> import tinygraph as tg
    >>> y, pullback = tg.vjp(lambda a, b: a * b, 2.0, 3.0)
    >>> pullback(1.0)
    (tensor(3.), tensor(2.))
    """
    _check_function("vjp", fn)
    opened = _Opened(primals)
    with flags(add=GRAD):
        outputs, tree = _outputs(fn, fn(*opened.primals()))
    record = opened.must_record(outputs)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        seeds = _seeds(outputs, tree, cotangent, f"vjp of {_name(fn)}")
        again = record or any(s._requires for s in seeds) or bool(mode.get() & TRACE)
        return opened.tree.build(opened.cotangents(outputs, seeds, again))  # type: ignore[no-any-return]

    return tree.build(_released(outputs, record)), pullback


def vjp_fn(fn: Callable[..., Any]) -> Callable[..., tuple[Any, tuple[Any, ...]]]:
    """The function ``(*primals, cotangent) -> (out, cotangents)``: forward and derived backward as one.

    >>> import tinygraph as tg
    >>> tg.vjp_fn(lambda a, b: a * b)(2.0, 3.0, 1.0)
    (tensor(6.), (tensor(3.), tensor(2.)))
    """

    @functools.wraps(fn)
    def forward_and_backward(*primals_and_cotangent: Any) -> tuple[Any, tuple[Any, ...]]:
        if not primals_and_cotangent:
            raise ArgumentError(f"vjp_fn({_name(fn)}): no arguments; call it with the primals and, last, the cotangent")
        *primals, cotangent = primals_and_cotangent
        out, pullback = vjp(fn, *primals)
        return out, pullback(cotangent)

    forward_and_backward.argument_names = lambda n: [*argument_names(fn, n - 1), "cotangent"]  # type: ignore[attr-defined]
    return forward_and_backward


def value_and_grad(
    fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """The function that returns ``(fn(…), gradient)`` for an ``fn`` with a scalar result.

    ``argnums`` says which arguments: one number gives the gradient in the structure of that
    argument, a tuple gives a tuple. With ``has_aux`` fn returns ``(loss, aux)`` and the value is
    that pair.

    Raises: GradientError if the result is not one element; DTypeError for an integer argument.

    >>> import tinygraph as tg
    >>> tg.value_and_grad(lambda p: p["w"] * p["w"])({"w": 3.0})
    (tensor(9.), {'w': tensor(6.)})
    """
    _check_function("grad", fn)
    several = isinstance(argnums, (tuple, list))
    numbers: Sequence[int] = argnums if isinstance(argnums, (tuple, list)) else (argnums,)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        _check_argnums(fn, numbers, args)
        for i in numbers:
            _check_floats(fn, i, args[i])
        opened = _Opened(tuple(args[i] for i in numbers))
        filled = dict(zip((i % len(args) for i in numbers), opened.primals(), strict=True))
        with flags(add=GRAD):
            result = fn(*(filled.get(i, a) for i, a in enumerate(args)), **kwargs)
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise ArgumentError(f"{_name(fn)}: has_aux=True wants the pair (loss, aux); return both")
        loss, aux = result if has_aux else (result, None)
        outputs, _ = _outputs(fn, loss)
        if len(outputs) != 1 or outputs[0].size != 1:
            raise GradientError(
                f"grad of {_name(fn)}: the result is {', '.join(map(describe, outputs))}, a gradient needs one number; "
                "reduce it, e.g. with tg.sum, or use tg.jacobian or tg.vjp"
            )
        extras = [t for t in flatten(aux)[0] if isinstance(t, Tensor)]
        record = opened.must_record([*outputs, *extras])
        found = opened.tree.build(opened.cotangents(outputs, [as_seed(outputs[0], None)], record))
        value = _released(outputs, record)[0]
        if has_aux:
            aux_leaves, aux_tree = flatten(aux)
            tensors = [t if not isinstance(t, Tensor) else _released([t], record)[0] for t in aux_leaves]
            return (value, aux_tree.build(tensors)), found if several else found[0]
        return value, found if several else found[0]

    return wrapped


def _check_function(op: str, fn: Any) -> None:
    if not callable(fn):
        raise ArgumentError(
            f"{op}({describe(fn)}): transforms a function; pass the function itself, or call tg.gradients on a result"
        )


def _check_argnums(fn: Any, numbers: Sequence[int], args: Sequence[Any]) -> None:
    for i in numbers:
        if not isinstance(i, int):
            raise ArgumentError(
                f"grad of {_name(fn)}: argnums={i!r} is no position; give an integer, or a tuple of them"
            )
        if not -len(args) <= i < len(args):
            raise ArgumentError(
                f"grad of {_name(fn)}: argnums={i} but {len(args)} positional arguments; differentiate one of them"
            )
    if len({i % len(args) for i in numbers}) != len(numbers):
        raise ArgumentError(f"grad of {_name(fn)}: argnums={tuple(numbers)} names an argument twice; name each once")


def _check_floats(fn: Any, number: int, argument: Any) -> None:
    for leaf in flatten(argument)[0]:
        if not (hasattr(leaf, "dtype") or is_weak(leaf)) or dtype_of(leaf).kind != "f":
            raise DTypeError(
                f"grad of {_name(fn)}: argument {number} is {describe(leaf)}, gradients are for floats; "
                "pass 3.0 for 3, or cast with .astype(np.float64)"
            )


def grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The gradient function of an ``fn`` with a scalar result, as ``value_and_grad`` without the value.

    >>> import tinygraph as tg
    >>> tg.grad(tg.grad(lambda x: x ** 3))(2.0)
    tensor(12.)
    """
    both = value_and_grad(fn, argnums)

    @functools.wraps(fn)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return gradient


def jvp(fn: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """``(fn(*primals), d fn · tangents)``: the directional derivative, by two reverse passes.

    ``primals`` and ``tangents`` are tuples of one structure; a single primal need not be wrapped.

    >>> import tinygraph as tg
    >>> tg.jvp(lambda x: x ** 3, (2.0,), (1.0,))
    (tensor(8.), tensor(12.))
    """
    _check_function("jvp", fn)
    primals, tangents = _as_tuple(primals), _as_tuple(tangents)
    opened = _Opened(primals)
    directions = _tangents(fn, opened, tangents)
    with flags(add=GRAD):
        outputs, tree = _outputs(fn, fn(*opened.primals()))
        record = opened.must_record(outputs) or (any(t._requires for t in directions) and bool(opened.outer & GRAD))
        dummies = [make(np.zeros(t.shape, t.dtype), requires=True) for t in outputs]
    pulled = pull_back(outputs, dummies, opened.variables, record=True, since=opened.serial)
    moved = pull_back(pulled, directions, dummies, record=record, since=opened.serial)
    return tree.build(_released(outputs, record)), tree.build(moved)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _tangents(fn: Any, opened: _Opened, tangents: Any) -> list[Tensor]:
    leaves = leaves_like(f"jvp of {_name(fn)}: the tangent", opened.tree, tangents)
    found = []
    for x, v in zip(opened.leaves, leaves, strict=True):
        if isinstance(x, Tensor) and x._requires:
            if v is None:
                raise ArgumentError(f"jvp of {_name(fn)}: {describe(x)} has no tangent; give one of its shape")
            found.append(as_seed(x, v, f"jvp of {_name(fn)}", "tangents"))
        elif v is not None and np.any(np.asarray(operand(v)._data) != 0):
            raise DTypeError(
                f"jvp of {_name(fn)}: {describe(x)} is no float, it has no direction; give None as its tangent"
            )
    return found


def hvp(fn: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """Hessian · tangents for a scalar ``fn``, without the Hessian; in the structure of ``primals``.

    >>> import tinygraph as tg
    >>> tg.hvp(lambda x: x ** 3, (2.0,), (1.0,))
    (tensor(12.),)
    """
    wrapped = isinstance(primals, (tuple, list))
    given = _as_tuple(primals)
    gradient = grad(fn, tuple(range(len(given))))
    _, product = jvp(gradient, given, _as_tuple(tangents))
    return product if wrapped else product[0]


def jacobian(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The function of all first derivatives: shape ``out.shape + in.shape`` for each pair.

    One reverse pass per element of the output.

    >>> import tinygraph as tg
    >>> tg.jacobian(lambda x: x * x)(tg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    _check_function("jacobian", fn)
    several = isinstance(argnums, (tuple, list))
    numbers: Sequence[int] = argnums if isinstance(argnums, (tuple, list)) else (argnums,)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        _check_argnums(fn, numbers, args)
        for i in numbers:
            _check_floats(fn, i, args[i])

        def inner(*chosen: Any) -> Any:
            filled = dict(zip((i % len(args) for i in numbers), chosen, strict=True))
            return fn(*(filled.get(i, a) for i, a in enumerate(args)), **kwargs)

        inner.__name__ = _name(fn)
        out, pullback = vjp(inner, *(args[i] for i in numbers))
        outputs, tree = flatten(out)
        rows = [_rows(outputs, k, pullback, tree) for k in range(len(outputs))]
        return tree.build([r if several else r[0] for r in rows])

    return wrapped


def _rows(outputs: list[Any], k: int, pullback: Any, tree: Tree) -> Any:
    """The derivatives of output ``k``, stacked over its elements, in the structure of the primals."""
    out = operand(outputs[k])
    pulled = []
    for i in range(out.size or 1):
        seeds = [make(np.zeros(t.shape, t.dtype)) for t in map(operand, outputs)]
        one = np.zeros(out.size, out.dtype)
        one[i : i + 1] = 1
        seeds[k] = make(one.reshape(out.shape))
        pulled.append(flatten(pullback(tree.build(seeds))))
    structure = pulled[0][1]
    leaves = [
        reshape(stack([p[0][j] for p in pulled])[: out.size], out.shape + pulled[0][0][j].shape)
        for j in range(len(pulled[0][0]))
    ]
    return structure.build(leaves)


def hessian(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The function of all second derivatives of a scalar ``fn``: ``jacobian(grad(fn))``.

    >>> import tinygraph as tg
    >>> tg.hessian(lambda x: tg.sum(x ** 3))(tg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacobian(grad(fn, argnums), argnums)
