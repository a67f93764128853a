"""How a hand-written backward is called, and what it may return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.tensor import Tensor, describe
from ..errors import ArgumentError, DTypeError
from .shapes import Shapes, parameters, parse

Array = np.ndarray[Any, Any]


def check_order(op: str, reference: Callable[..., Any], backward: Callable[..., Any], count: int) -> None:
    """``(reference, backward)``, not the other way round; both callable."""
    for fn, what in ((reference, "reference"), (backward, "backward")):
        if not callable(fn):
            raise ArgumentError(
                f"{op}({describe(fn)}): the {what} is a function; write {op}(reference, backward, …), e.g. "
                "reference(x) of tinygraph ops and backward(dy, x) of NumPy"
            )
    mine, theirs = parameters(reference)[1], parameters(backward)[1]
    if len(mine) == count + 1 and len(theirs) == count:
        raise ArgumentError(
            f"{op}({_name(reference)}, {_name(backward)}): these look swapped: {_name(reference)} takes "
            f"{', '.join(mine)}; write {op}({_name(backward)}, {_name(reference)}, …), the reference first"
        )


def check_call(
    op: str, reference: Callable[..., Any], backward: Callable[..., Any], names: Sequence[str],
    extras: Any = None, saved: Any = None,
) -> None:  # fmt: skip
    """Whether ``backward(dy, *arrays)`` can be meant so: the number of its arguments, and the order of their names."""
    check_order(op, reference, backward, len(names))
    kernel = Kernel(backward, names, (), extras, saved)
    first = ["dy"] if saved is None else ["dy", "saved"]
    due = first + ([] if kernel.alone else list(names))
    takes, required = parameters(backward)
    written = f"write def {_name(backward)}({', '.join(due)})"
    if _signature(backward) is not None and not _takes(backward, len(due), extras is not None):
        if len(required) == len(names) - 1:
            written = f"these look swapped: the reference stands in {op}(reference, …), the backward below it"
        raise ArgumentError(f"{op}: {_name(backward)} takes {', '.join(takes) or 'nothing'}, not {len(due)}; {written}")
    here = takes[: len(due)]
    if not kernel.alone and set(names) <= set(here) and here[len(first) :] != list(names):
        raise ArgumentError(f"{op}: {_name(backward)} takes {', '.join(here)}, in another order; {written}")


def parse_or_swapped(op: str, reference: Any, backward: Any, shapes: Mapping[str, Any], specs: Any) -> Shapes:
    """The shapes of the reference's arguments; if they fit the other function only, the two were swapped."""
    count = len({**shapes, **(specs or {})})
    for fn in (reference, backward):
        if not callable(fn):
            check_order(op, reference, backward, count)
    try:
        known = parse(op, reference, shapes, specs)
    except ArgumentError:
        check_order(op, reference, backward, count)
        raise
    check_order(op, reference, backward, len(known.args))
    return known


def _name(fn: Any) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def plain(arrays: Sequence[Any]) -> list[Array]:
    """Arguments as arrays: Tensors give their values."""
    return [np.asarray(a._data if isinstance(a, Tensor) else a) for a in arrays]


def choose_wrt(op: str, names: Sequence[str], arrays: Sequence[Any], wrt: Any) -> list[str]:
    """The arguments whose gradients are looked at: the given ones, or every floating one."""
    floating = [n for n, a in zip(names, arrays, strict=True) if np.asarray(a).dtype.kind == "f"]
    if wrt is None:
        chosen = floating
    else:
        given = wrt if isinstance(wrt, (list, tuple)) else (wrt,)
        chosen = [names[w] if isinstance(w, int) and -len(names) <= w < len(names) else w for w in given]
    if not floating:
        raise ArgumentError(f"{op}: no argument is floating, so there is no gradient; give float arrays")
    for name in chosen:
        if name not in floating:
            raise ArgumentError(
                f"{op}(wrt={wrt!r}): {name!r} is no floating argument of the reference; choose among {', '.join(floating)}"
            )
    return chosen


def results(returned: Any, wrt: Sequence[str]) -> list[Any]:
    """What a backward returned, one array per name in ``wrt``: from a tuple, a dict, or one array."""
    if isinstance(returned, Mapping):
        # A dict may be keyed by argument, or by the gradient's name.
        keys = {name: name if name in returned else f"d{name}" for name in wrt}
        missing = [name for name in wrt if keys[name] not in returned]
        if missing:
            raise ArgumentError(
                f"the backward returned a dict without {', '.join(missing)}; return one gradient for each of {', '.join(wrt)}"
            )
        found = [returned[keys[name]] for name in wrt]
    elif isinstance(returned, (tuple, list)):
        found = list(returned)
        if len(found) != len(wrt):
            raise ArgumentError(
                f"the backward returned {len(found)} arrays where {len(wrt)} are due ({', '.join('d' + n for n in wrt)}); "
                "return one for each, or say wrt="
            )
    else:
        if len(wrt) != 1:
            raise ArgumentError(
                f"the backward returned one {type(returned).__name__} where {len(wrt)} arrays are due "
                f"({', '.join('d' + n for n in wrt)}); return a tuple, or say wrt="
            )
        found = [returned]
    return [_array(g, name) for g, name in zip(found, wrt, strict=True)]


def _array(g: Any, name: str) -> Any:
    if isinstance(g, Tensor):
        g = g.numpy()
    if g is None or isinstance(g, (str, bytes, dict)):
        raise DTypeError(f"the backward returned {describe(g)} for d{name} where an array is due; return an array")
    return g if isinstance(g, np.ndarray) else np.asarray(g)


class Kernel:
    """A hand-written backward with all that it is called with besides dy and the inputs."""

    def __init__(
        self,
        backward: Callable[..., Any],
        names: Sequence[str],
        wrt: Sequence[str],
        extras: Any = None,
        saved: Any = None,
    ) -> None:
        self.backward, self.names, self.wrt = backward, list(names), list(wrt)
        self.extras, self.saved = extras, saved
        self.alone = saved is not None and self._takes(2) and not self._takes(2 + len(self.names))

    def __call__(self, dy: Any, arrays: Sequence[Any]) -> list[Any]:
        """Its gradients, one per name in ``wrt``."""
        more = self.given(arrays)
        if self.saved is None:
            return results(self.backward(dy, *arrays, **more), self.wrt)
        kept = self.saved(*arrays) if callable(self.saved) else self.saved
        return results(self.backward(dy, kept, *(() if self.alone else arrays), **more), self.wrt)

    def _takes(self, count: int) -> bool:
        return _takes(self.backward, count, more=self.extras is not None)

    def given(self, arrays: Sequence[Any]) -> dict[str, Any]:
        """The extras for these inputs."""
        if self.extras is None:
            return {}
        return dict(self.extras(**dict(zip(self.names, arrays, strict=True))) if callable(self.extras) else self.extras)


def _takes(fn: Callable[..., Any], count: int, more: bool) -> bool:
    """Whether so many positional arguments can be given, with ``more`` to come by name."""
    signature = _signature(fn)
    try:
        bind = None if signature is None else signature.bind_partial if more else signature.bind
        return bind is not None and bind(*[None] * count) is not None
    except TypeError:
        return False


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None


# -- one observed call -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong whatever the numbers are: a kind of Finding, the leaf, and the words."""

    kind: str
    leaf: str
    text: str


@dataclass(slots=True)
class Observed:
    """What one call of a kernel returned, and what it did besides."""

    gradients: list[Array] | None
    faults: list[Fault]
    out_of_range: bool
    spread: list[Any]


def observe(kernel: Kernel, dy: Any, arrays: Sequence[Any], *, nondeterministic: bool = False) -> Observed:
    """Call a kernel twice and watch it: what it raises, writes to, shares memory with, keeps, or draws."""
    owners = {f"argument {n}" if n != "dy" else n: _owner(a) for n, a in _named(kernel.names, dy, arrays)}
    before = {name: owner.tobytes("A") for name, owner in owners.items()}
    faults: list[Fault] = []
    first, events = _call(kernel, dy, arrays, faults)
    if faults and "read-only" in faults[0].text:
        return _on_copies(kernel, dy, arrays)
    kept = _copies(first)
    faults += _written(owners, before)
    if first is None or kept is None:
        return Observed(None, faults, events, [])
    faults += _shared(kernel, first, dy, arrays, faults)
    quiet = not any(f.kind == "mutates" for f in faults)  # else what differs later is the same fault again
    second, _ = _call(kernel, dy, arrays, faults)
    again = _copies(second)
    faults += _kept(kernel, first, kept, second) if quiet else []
    faults += [f for f in _written(owners, before, " when called again: it keeps a reference") if quiet]
    spread: list[Any] = [0.0] * len(kept)
    for k, (a, b) in enumerate(zip(kept, again or (), strict=False)):
        same = a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
        if not same and nondeterministic and a.shape == b.shape:
            spread[k] = np.abs(np.subtract(a, b, dtype=np.float64))
        elif not same and not any(f.kind == "mutates" for f in faults):
            faults.append(Fault("nondeterministic", kernel.wrt[k], "differs when called again on the same arrays"))
    return Observed(kept, faults, events, spread)


def _copies(found: Sequence[Array] | None) -> list[Array] | None:
    """Copies of results, made before the arguments are restored: a result may lie in one of them."""
    return None if found is None else [np.array(g) for g in found]


def _kept(kernel: Kernel, first: Sequence[Array], kept: Sequence[Array], second: Sequence[Array] | None) -> list[Fault]:
    """What a second call did to the results of the first: they are the caller's."""
    for k, (g, due) in enumerate(zip(first, kept, strict=True)):
        if any(np.may_share_memory(g, other) and np.shares_memory(g, other) for other in second or ()):
            text = "shares memory with the result of an earlier call, which it overwrites; return a new array"
            return [Fault("mutates", kernel.wrt[k], text)]
        if np.asarray(g).tobytes() != due.tobytes():
            return [Fault("mutates", kernel.wrt[k], "is changed by a later call of the kernel; return a copy")]
    return []


def _on_copies(kernel: Kernel, dy: Any, arrays: Sequence[Any]) -> Observed:
    """A read-only argument made the kernel raise: on writable copies it shows what it writes into."""
    upstream = tuple(np.array(d) for d in dy) if isinstance(dy, (tuple, list)) else np.array(dy)
    seen = observe(kernel, upstream, [np.array(a) for a in arrays])
    return Observed(None, [f for f in seen.faults if f.kind == "mutates"] or seen.faults, False, [])


def _named(names: Sequence[str], dy: Any, arrays: Sequence[Any]) -> list[tuple[str, Array]]:
    upstream = dy if isinstance(dy, (tuple, list)) else [dy]
    pairs = [("dy", d) for d in upstream] + list(zip(names, arrays, strict=True))
    return [(n, a) for n, a in pairs if isinstance(a, np.ndarray)]


def _call(kernel: Kernel, dy: Any, arrays: Sequence[Any], faults: list[Fault]) -> tuple[list[Array] | None, bool]:
    events: list[str] = []
    try:
        with np.errstate(
            over="call", under="call", divide="call", invalid="ignore", call=lambda kind, flag: events.append(kind)
        ):
            found = kernel(dy, arrays)
    except Exception as error:
        if type(error).__module__.startswith("hypothesis."):
            raise  # assume() in a test's body says something of the example, nothing of the kernel
        if not any(f.kind == "raises" for f in faults):
            text = f"raises {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
            faults.append(Fault("raises", "", text))
        return None, False
    return found, bool(events)


def _owner(a: Any) -> Any:
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def _written(owners: Mapping[str, Any], before: Mapping[str, bytes], when: str = "") -> list[Fault]:
    """Arguments whose bytes have changed, gaps included; they are restored."""
    faults = []
    for name, owner in owners.items():
        if owner.tobytes("A") != before[name]:
            faults.append(Fault("mutates", "", f"writes into {name.removeprefix('argument ')}{when}"))
            order: Any = "F" if owner.flags.f_contiguous and not owner.flags.c_contiguous else "C"
            owner[...] = np.frombuffer(before[name], owner.dtype).reshape(owner.shape, order=order)
    return faults


def _shared(
    kernel: Kernel, found: Sequence[Array], dy: Any, arrays: Sequence[Any], written: Sequence[Fault]
) -> list[Fault]:
    """Results in one piece of memory with each other or an argument; not with one that was written into anyway."""
    given = [(n, a) for n, a in _named(kernel.names, dy, arrays) if f"writes into {n}" not in {f.text for f in written}]
    faults = []
    for k, g in enumerate(found):
        for name, other in given + [(f"d{n}", found[j]) for j, n in enumerate(kernel.wrt[:k])]:
            if np.may_share_memory(g, other) and np.shares_memory(g, other):
                text = f"shares memory with {name}, so that += on one changes the other; return a copy"
                faults.append(Fault("mutates", kernel.wrt[k], text))
                break
    return faults
