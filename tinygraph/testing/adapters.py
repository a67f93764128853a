"""Kernels written for PyTorch, JAX or Numba as functions of NumPy arrays. None of them is imported before it is used."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.tensor import describe
from ..errors import ArgumentError, DTypeError, MissingExtra, NotAlgebraic

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]


def from_torch(fn: Any) -> Function:
    """A function of torch tensors, or a ``torch.autograd.Function``, as a function of NumPy arrays.

    * A function gets tensors where arrays are given, and what it returns comes back as arrays: a
      backward ``(dy, *inputs) -> gradients`` written with torch, or a forward.
    * A subclass of ``torch.autograd.Function`` becomes its backward ``(dy, *inputs) -> gradients``:
      ``apply`` runs on the inputs, then autograd pulls dy back. There is one gradient for every
      floating input, in order; None, which means zero to autograd, becomes zeros. With several outputs
      dy is a tuple. Keyword arguments follow the inputs and get no gradient.

    Tensors share memory with the arrays (DLPack), whose layout they keep: transposes, slices and, by
    ``expand``, strides of 0. What torch cannot hold is copied: read-only arrays and negative strides.
    What the kernel writes into such a copy is written into the array as well, so that it is seen, or
    raises ValueError if that is read-only.

    Raises: MissingExtra without torch; DTypeError for longdouble; NotAlgebraic for objects, on which
    ``prove`` runs NumPy code. ::

        check_backward(reference, from_torch(MyFunction), x, gamma, beta)

        @backward_test(reference, x="N C")
        def test_mine(dy, x):
            return from_torch(my_torch_backward)(dy, x)
    """
    torch = _module("torch", "from_torch")
    _check(fn, "from_torch")
    if isinstance(fn, type):
        if not issubclass(fn, torch.autograd.Function):
            raise ArgumentError(
                f"from_torch({fn.__name__}): is a class but no torch.autograd.Function; give a function, or an instance"
            )
        return _named(_function_backward(torch, fn), fn, "from_torch")

    def adapted(*arrays: Any, **more: Any) -> Any:
        with _Loan("from_torch", functools.partial(_tensor, torch)) as lend:
            return _arrays(fn(*lend(arrays), **lend(more)), torch.Tensor, _from_tensor)

    return _named(adapted, fn, "from_torch")


def from_jax(fn: Function) -> Function:
    """A function of JAX arrays as a function of NumPy arrays: a backward ``(dy, *inputs) -> gradients``.

    JAX arrays cannot be written to, so arrays go in as copies, of any layout. Where an input is
    float64, the function runs with 64-bit types enabled, and only there: JAX's setting stays as it
    is.

    Raises: MissingExtra without jax; DTypeError for longdouble; NotAlgebraic for objects. ::

        def backward(dy, x, gamma, beta):
            return jax.vjp(my_batch_norm, x, gamma, beta)[1](dy)

        check_backward(reference, from_jax(backward), x, gamma, beta)
    """
    jax = _module("jax", "from_jax")
    _check(fn, "from_jax")
    # A context manager of this name stood in jax.experimental before jax 0.8.
    home = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")

    def adapted(*arrays: Any, **more: Any) -> Any:
        lend = _Loan("from_jax", jax.numpy.array)
        wide = any(a.dtype in (np.float64, np.complex128) for a in _leaves((arrays, more)))
        with home.enable_x64(wide or jax.config.jax_enable_x64):
            # One JAX array may be the result twice, or an argument handed back: arrays that can be written to may not.
            return _arrays(fn(*lend(arrays), **lend(more)), jax.Array, np.array)

    return _named(adapted, fn, "from_jax")


def from_numba(fn: Function) -> Function:
    """A function compiled by Numba, or one that calls such functions, as a function of any NumPy arrays.

    Numba compiles anew for every layout, read-only or not, and refuses what an explicit signature does
    not name. So arrays of other layouts go in as contiguous copies: one compilation for each dtype.
    What the kernel writes into a copy is written into the array as well, so that it is seen, or raises
    ValueError if that is read-only. To try the kernel on the layouts themselves, no adapter is
    needed: a compiled function takes arrays as it is.

    Raises: MissingExtra without numba; DTypeError for float16 and longdouble, which it does not have;
    NotAlgebraic for objects. ::

        check_backward(reference, from_numba(my_njit_backward), x, gamma, beta)
    """
    _module("numba", "from_numba")
    _check(fn, "from_numba")

    def adapted(*arrays: Any, **more: Any) -> Any:
        with _Loan("from_numba", _contiguous) as lend:
            return _arrays(fn(*lend(arrays), **lend(more)), (np.generic, float, int), np.asarray)

    return _named(adapted, fn, "from_numba")


# -- lending arrays ----------------------------------------------------------------------------------


class _Loan:
    """Arrays converted for another library; on leaving, what was written into copies is handed on."""

    def __init__(self, op: str, convert: Callable[[Array], Any]) -> None:
        self.op, self.convert = op, convert
        self.copies: list[tuple[Array, bytes, Array]] = []

    def __call__(self, value: Any) -> Any:
        """The value with every array in it converted."""
        if isinstance(value, Mapping):
            return {k: self(v) for k, v in value.items()}
        if isinstance(value, (tuple, list)):
            return tuple(map(self, value))
        if not isinstance(value, (np.ndarray, np.generic)):
            return value
        array = np.asarray(value)
        plain = _plain(self.op, array)
        converted = self.convert(plain)
        lent, copy = converted if isinstance(converted, tuple) else (converted, plain)
        if copy is not array:
            self.copies.append((array, copy.tobytes(), copy))
        return lent

    def __enter__(self) -> _Loan:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for array, before, copy in self.copies if kind is None else ():
            if copy.tobytes() != before:
                array[...] = copy


def _plain(op: str, a: Array) -> Array:
    """In native byte order and of a dtype that others have."""
    if a.dtype.kind == "O":
        raise NotAlgebraic(
            f"{op}({describe(a)}): holds Python objects, and the kernel takes numbers only; prove a NumPy version of it, "
            "or test this one with check_backward or diagnose"
        )
    if a.dtype.kind not in "biufc" or a.dtype.itemsize > (16 if a.dtype.kind == "c" else 8):
        raise DTypeError(f"{op}({describe(a)}): no array of this dtype can be handed over; give float64 or float32")
    if op == "from_numba" and a.dtype == np.float16:
        raise DTypeError(f"{op}({describe(a)}): Numba has no float16; give float32 or float64")
    return a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("="))


def _contiguous(a: Array) -> Any:
    """The array itself if it is in C order and writable; else a copy, twice: to lend and to compare."""
    if a.flags.c_contiguous and a.flags.writeable and a.flags.aligned:
        return a
    copy = np.array(a, order="C")
    return copy, copy


def _tensor(torch: Any, a: Array) -> Any:
    """A tensor on the memory of the array; else on that of a copy.

    The flags are asked first: torch ends the process on a negative stride, and takes read-only memory
    as if it could be written to.
    """
    aligned = a.flags.aligned and all(s >= 0 and s % a.itemsize == 0 for s in a.strides)
    if a.flags.writeable and aligned:
        return torch.from_dlpack(a)
    # One element stands for those that a stride of 0 repeats, as in the gradient of a sum.
    once = a[tuple(slice(0, 1) if s == 0 and n > 1 else slice(None) for s, n in zip(a.strides, a.shape, strict=True))]
    copy = np.array(once)
    return torch.from_dlpack(copy).expand(a.shape), copy


def _from_tensor(t: Any) -> Array:
    """An array on the memory of a tensor that lies in main memory; NumPy has no bfloat16."""
    return (t.float() if str(t.dtype) == "torch.bfloat16" else t).numpy(force=True)  # type: ignore[no-any-return]


# -- torch.autograd.Function -------------------------------------------------------------------------


def _function_backward(torch: Any, cls: Any) -> Function:
    def adapted(dy: Any, *arrays: Any, **more: Any) -> tuple[Array, ...]:
        with _Loan("from_torch", functools.partial(_tensor, torch)) as lend:
            inputs = [t.requires_grad_() if _floats(t) else t for t in lend(arrays)]
            upstream = lend(dy)
            outputs = cls.apply(*inputs, *lend(more).values())
            pairs = _pairs(cls, outputs, upstream)
            wrt = [t for t in inputs if _floats(t)]
            found = torch.autograd.grad([y for y, _ in pairs], wrt, [g for _, g in pairs], allow_unused=True)
            # To autograd a gradient may be dy itself, or one tensor for two inputs: not so to NumPy's user.
            grads = [torch.zeros_like(t) if g is None else g for g, t in zip(found, wrt, strict=True)]
            return tuple(np.array(_from_tensor(g)) for g in grads)

    return adapted


def _pairs(cls: Any, outputs: Any, dy: Any) -> list[tuple[Any, Any]]:
    """(output, its upstream gradient) for every output that autograd can come back from."""
    several = isinstance(outputs, (tuple, list))
    outs, dys = (list(outputs) if several else [outputs]), (list(dy) if isinstance(dy, tuple) else [dy])
    outs = [y for y in outs if _floats(y)] if len(outs) != len(dys) else outs
    if len(outs) != len(dys):
        raise ArgumentError(
            f"from_torch({cls.__name__}): has {len(outs)} floating outputs where dy has {len(dys)}; "
            "give the reference the same outputs"
        )
    return [(y, g) for y, g in zip(outs, dys, strict=True) if y.requires_grad]


def _floats(t: Any) -> bool:
    return bool(getattr(t, "is_floating_point", lambda: False)())


# -- what all of them share --------------------------------------------------------------------------


def _arrays(value: Any, kind: Any, convert: Callable[[Any], Array]) -> Any:
    """The structure again with what the other library returned as arrays."""
    if isinstance(value, kind):
        return convert(value)
    if isinstance(value, Mapping):
        return {k: _arrays(v, kind, convert) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(_arrays(v, kind, convert) for v in value)
    return value


def _leaves(value: Any) -> Sequence[Array]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return [a for v in value for a in _leaves(v)]
    return [np.asarray(value)] if isinstance(value, (np.ndarray, np.generic)) else []


def _check(fn: Any, op: str) -> None:
    if not callable(fn):
        raise ArgumentError(f"{op}({describe(fn)}): takes a function; write {op}(backward)")


def _named(adapted: Function, fn: Any, op: str) -> Function:
    """Errors and reports call the adapter by the name of what it adapts, and ask ``adapter`` how that was done."""
    functools.update_wrapper(adapted, fn, updated=())
    if not hasattr(fn, "__name__"):
        adapted.__name__ = adapted.__qualname__ = type(fn).__name__
    adapted.adapter = op  # type: ignore[attr-defined]
    return adapted


def _module(name: str, op: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(f"{op}: needs the package {name}; install it with: pip install {name}") from error
