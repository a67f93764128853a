"""A run of a function as a graph: its arguments, and the state that outlives the call, are inputs and outputs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from ..core.array import is_weak
from ..core.convert import operand
from ..core.foreign import is_foreign
from ..core.graph import Graph, Tree, argument_names, by_serial, flatten, paths
from ..core.held import NATIVE, held, hold
from ..core.node import next_serial
from ..core.scope import OUTLINE, TRACE, Recorder, Setting, flags, recorder
from ..core.tensor import Argument, Parameter, Tensor, describe, make
from ..errors import DTypeError, TinygraphError, TraceError
from ..ops.elementwise import astype
from .graphs import again, symbol


class Slot(NamedTuple):
    """State that outlives a call: the array of a Parameter, or its ``.grad``."""

    parameter: Parameter
    kind: str  # "data" or "grad"

    def read(self, anywhere: bool) -> Any:
        """The array, fetched if it has to be in main memory; None for a gradient that there is not."""
        t = self.parameter if self.kind == "data" else self.parameter.grad
        return None if t is None else held(t) if anywhere else t._data

    def write(self, array: Any) -> None:
        if self.kind == "data":
            self.parameter._replace(array if type(array) is np.ndarray else _strong(array))
        else:
            self.parameter.grad = None if array is None else _tensor(array)


class Succession(NamedTuple):
    """What becomes of state in a call: numbers of outputs and inputs of a graph."""

    follows: dict[
        int, int
    ]  # an output that is written, and the input in whose place it comes; of a gradient, its Parameter
    spent: tuple[int, ...]  # inputs whose place an output takes, so that nothing needs them after the call


@dataclass(frozen=True)
class Capture:
    """What one run was. The graph's inputs are the arguments that are arrays or numbers, then the ``reads``.

    Its outputs are the results, then the ``writes`` that are no None. What the run found and took for granted: shape, dtype
    and ``requires_grad`` of what it read, the last two of what it ``touched`` in other ways, the ``flags`` of modules,
    and whether there were ``grads`` that it asked for.
    """

    graph: Graph
    reads: tuple[Slot, ...]
    outlines: tuple[tuple[Any, ...], ...]  # of the reads
    writes: tuple[tuple[Slot, int | None], ...]  # and the place among the outputs
    results: tuple[Any, ...]  # for each leaf of the result its place among the outputs, or what is no Tensor
    tree: Tree
    flags: tuple[tuple[Any, str, bool], ...]  # of modules and Parameters, by attribute
    switched: tuple[tuple[Any, str, bool], ...]  # those that the run left with another value
    checks: tuple[tuple[int, Callable[[Any], None]], ...]  # of arguments, whose values are to be looked at in each call
    touched: tuple[tuple[Parameter, Any, bool], ...]
    grads: tuple[tuple[Parameter, bool], ...]  # and whether it had none

    def succession(self) -> Succession:
        """Which input each output that is written takes the place of."""
        first = len(self.graph.inputs) - len(self.reads)
        inputs = {slot: first + i for i, slot in enumerate(self.reads)}
        written = [(slot, place) for slot, place in self.writes if place is not None]
        follows = {place: inputs.get(slot, inputs.get(Slot(slot.parameter, "data"))) for slot, place in written}
        return Succession(
            {output: i for output, i in follows.items() if i is not None},
            tuple(inputs[slot] for slot, _ in written if slot in inputs),
        )

    def state(self, anywhere: bool = False) -> list[Any] | None:
        """The arrays of the ``reads``; None if a run now would not be recorded as this one was."""
        arrays = []
        for slot, (shape, dtype, requires) in zip(self.reads, self.outlines, strict=True):
            data = slot.read(anywhere)
            if data is None or data.shape != shape or data.dtype != dtype or slot.parameter._requires is not requires:
                return None
            arrays.append(data)
        for owner, name, flag in self.flags:
            if getattr(owner, name) is not flag:
                return None
        for parameter, dtype, requires in self.touched:
            if held(parameter).dtype != dtype or parameter._requires is not requires:
                return None
        for parameter, had_none in self.grads:
            if (parameter.grad is None) is not had_none:
                return None
        return arrays


@dataclass(frozen=True)
class Place:
    """A result among the outputs of a graph."""

    index: int
    weak: bool = False  # a Python number, which never promotes

    def take(self, outputs: Sequence[Any]) -> Tensor:
        out = outputs[self.index]
        return make(np.asarray(out).item()) if self.weak else _tensor(out)


def _strong(output: Any) -> Any:
    """What a backend gives, as an array: NumPy's, or one of another library as it is."""
    return np.asarray(output) if isinstance(output, NATIVE) else output


def _tensor(output: Any) -> Tensor:
    return make(output) if type(output) is np.ndarray else hold(make(None), _strong(output))


def is_dynamic(leaf: Any) -> bool:
    """Whether an argument is given anew at each call; others are part of the program."""
    if isinstance(leaf, (Tensor, np.ndarray, np.generic)) or is_weak(leaf):
        return not isinstance(leaf, bool)
    return is_foreign(leaf)


def capture(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], rehearse: bool = False
) -> tuple[Any, Capture]:
    """Run ``fn`` once, for real and recorded: its result, without history, and what was recorded.

    Or only ``rehearse``: values on a device read as zeros, and in the end all state is what it was.

    Raises: TraceError where a value is read that another call may change.
    """
    leaves, tree = flatten((args, kwargs))
    opened = [_open(leaf, name) for leaf, name in zip(leaves, _names(fn, args, tree), strict=True)]
    given = [t for leaf, t in zip(leaves, opened, strict=True) if is_dynamic(leaf)]
    log = _Log(next_serial())
    silent: Any = {"all": "ignore"} if rehearse else {}
    try:
        with flags(add=TRACE | OUTLINE * rehearse), np.errstate(**silent), Setting(recorder, lambda _: log):
            new_args, new_kwargs = tree.build(opened)
            result = fn(*new_args, **new_kwargs)
        log.refuse_changed(leaves)
        outputs, out_tree = flatten(result)
        found = [_result(fn, value) for value in outputs]
        captured = _Builder(log, given).build(found, out_tree)
    finally:
        if rehearse:
            log.restore()
        else:
            log.release()
    if rehearse:
        return None, captured
    plain = [make(t._data) if isinstance(t, Tensor) else t for t in found]
    return out_tree.build(plain), captured


def _names(fn: Callable[..., Any], args: tuple[Any, ...], tree: Tree) -> list[str]:
    positional, keywords = tree.children
    names = [
        p
        for child, name in zip(positional.children, argument_names(fn, len(args)), strict=True)
        for p in paths(child, name)
    ]
    return names + [
        p for key, child in zip(keywords.keys, keywords.children, strict=True) for p in paths(child, str(key))
    ]


def _open(leaf: Any, name: str) -> Any:
    """A fresh leaf with the same values; what is no array and no number is passed on as it is."""
    if not is_dynamic(leaf):
        return leaf
    given = operand(leaf)
    fresh = hold(make(None, kind=Argument), held(given))
    fresh.name = given.name or name
    return fresh


def _result(fn: Callable[..., Any], value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    try:
        return operand(value)
    except TinygraphError:
        name = getattr(fn, "__name__", type(fn).__name__)
        raise DTypeError(
            f"compile of {name}: returned {describe(value)} where a Tensor is due; return Tensors"
        ) from None


class _Log(Recorder):
    """The state that a run has touched, and what it was before."""

    def __init__(self, since: int) -> None:
        self.since = since
        self.writes: dict[Parameter, list[tuple[int, Tensor]]] = {}  # (stamp, value), in order
        self.before: dict[Parameter, Tensor] = {}  # the values of those
        self.touched: dict[Parameter, tuple[Any, bool]] = {}  # dtype and requires_grad of all that was written
        self.grads: dict[Parameter, tuple[Tensor | None, bool]] = {}  # before, and whether it was read
        self.owned: set[Tensor] = set()  # the gradients before
        self.flags: dict[tuple[Any, str], bool] = {}
        self.draws: list[Tensor] = []
        self.generators: dict[Any, Any] = {}  # and their states before
        self.checks: list[tuple[Tensor, Callable[[Any], None]]] = []

    def assigned(self, parameter: Any, value: Any, dtype: Any) -> None:
        if parameter not in self.before:
            self.before[parameter] = hold(make(None), held(parameter))
        self._touch(parameter)
        given = operand(value)
        if given.dtype != dtype or is_weak(given._data):
            given = astype(given, dtype)
        self.writes.setdefault(parameter, []).append((next_serial(), given))

    def graded(self, leaf: Any, before: Any, reading: bool) -> None:
        if not isinstance(leaf, Parameter):
            raise TraceError(
                f"compile({describe(leaf)}): backward would add to the .grad of a Tensor that is no Parameter, and the "
                "compiled code would not; make it a tg.Parameter, or use tg.grad"
            )
        if leaf not in self.grads:
            self._touch(leaf)
            self._own(leaf, before)
            self.grads[leaf] = (before, reading)

    def flagged(self, owner: Any, name: str) -> None:
        if isinstance(owner, Parameter) or not isinstance(owner, Tensor):
            self.flags.setdefault((owner, name), getattr(owner, name))

    def made(self, parameter: Any) -> None:
        raise TraceError(
            "compile(Parameter): this Parameter is made anew in each call, and the compiled code would go on with the first; make "
            "it outside the function, or use a Tensor"
        )

    def drawing(self, rng: Any) -> None:
        if isinstance(rng, np.random.Generator):
            self.generators.setdefault(rng, rng.bit_generator.state)

    def drawn(self, draw: Any) -> None:
        self.draws.append(draw)

    def checked(self, value: Any, check: Callable[[Any], None]) -> None:
        self.checks.append((value, check))

    def requires(self, parameter: Parameter) -> bool:
        """Whether it required a gradient before the run."""
        return self.flags.get((parameter, "_requires"), parameter._requires)

    def _touch(self, parameter: Parameter) -> None:
        self.touched.setdefault(parameter, (parameter.dtype, self.requires(parameter)))

    def _own(self, leaf: Parameter, before: Any) -> None:
        """A gradient is known by its Tensor, so that has to be a Tensor of this Parameter alone."""
        if before is None:
            return
        if type(before) is not Tensor or is_weak(held(before)) or before in self.owned:
            raise TraceError(
                f"compile({describe(leaf)}): its .grad is {describe(before)}, which is no Tensor of its own; write "
                "p.grad = tg.tensor(values)"
            )
        self.owned.add(before)

    def refuse_changed(self, arguments: Sequence[Any]) -> None:
        """An argument is given by value, so that what is assigned to it meanwhile would not be seen."""
        for leaf in arguments:
            if isinstance(leaf, Parameter) and (leaf in self.writes or leaf in self.grads):
                raise TraceError(
                    f"compile({describe(leaf)}): this argument is changed in the function, which was given its values; "
                    "use it without giving it"
                )

    def release(self) -> None:
        """Gradients that were recorded keep their values alone."""
        for p in self.grads:
            grad = p.grad
            if isinstance(grad, Argument) or (isinstance(grad, Tensor) and grad.node is not None):
                p.grad = make(grad._data)

    def restore(self) -> None:
        """Undo what the run has done to state."""
        for parameter, values in self.before.items():
            parameter._replace(held(values))
        for parameter, (grad, _) in self.grads.items():
            parameter.grad = grad
        for (owner, name), flag in self.flags.items():
            setattr(owner, name, flag)
        for rng, state in reversed(self.generators.items()):  # two may share their bits
            rng.bit_generator.state = state


class _Builder:
    """What a log and the recorded nodes say, as a graph whose inputs are arguments and state."""

    def __init__(self, log: _Log, given: Sequence[Tensor]) -> None:
        self.log = log
        self.given = list(given)
        self.reads: dict[Slot, Tensor] = {}  # state that is read, and its symbol
        self.fresh: dict[Tensor, Tensor] = {t: symbol(t) for t in given}
        self.slots = {before: Slot(p, "grad") for p, (before, _) in log.grads.items() if before is not None}

    def build(self, found: Sequence[Any], tree: Tree) -> Capture:
        results = [t for t in found if isinstance(t, Tensor)]
        writes = list(self._writes())
        end = next_serial()
        ends = [(t, end) for t in results] + [(t, serial) for _, t, serial in writes if t is not None]
        order = self._order([self._now(t, serial) for t, serial in ends])
        unused = set(self.log.draws).difference(order)  # they move their generators on all the same
        ends += [(t, end) for t in self.log.draws if t in unused]
        for t in sorted([*order, *unused], key=by_serial):
            serial = t.node.serial  # type: ignore[union-attr]
            self.fresh[t] = again(t, [self._symbol(self._now(x, serial)) for x in t.node.inputs])  # type: ignore[union-attr]
        outputs = [self._symbol(self._now(t, serial)) for t, serial in ends]
        places, written = iter(range(len(results))), iter(range(len(results), len(outputs)))
        positions = {t: i for i, t in enumerate(self.given)}
        graph = Graph(outputs, [*(self.fresh[t] for t in self.given), *self.reads.values()])
        return Capture(
            graph,
            tuple(self.reads),
            tuple((leaf.shape, leaf.dtype, self.log.requires(slot.parameter)) for slot, leaf in self.reads.items()),
            tuple((slot, None if t is None else next(written)) for slot, t, _ in writes),
            tuple(Place(next(places), is_weak(t._data)) if isinstance(t, Tensor) else t for t in found),
            tree,
            tuple((*key, flag) for key, flag in self.log.flags.items() if Slot(key[0], "data") not in self.reads),
            tuple((*key, getattr(*key)) for key, flag in self.log.flags.items() if getattr(*key) is not flag),
            tuple((positions[t], check) for t, check in self.log.checks if t in positions),
            tuple((p, *was) for p, was in self.log.touched.items() if Slot(p, "data") not in self.reads),
            tuple(
                (p, before is None)
                for p, (before, was_read) in self.log.grads.items()
                if was_read and Slot(p, "grad") not in self.reads
            ),
        )

    def _writes(self) -> Iterator[tuple[Slot, Tensor | None, int]]:
        """State that is not what it was: the last value of each, and when it was written."""
        for p, history in self.log.writes.items():
            yield Slot(p, "data"), history[-1][1], history[-1][0]
        end = next_serial()
        for p, (before, _) in self.log.grads.items():
            if p.grad is not before:
                yield Slot(p, "grad"), None if p.grad is None else operand(p.grad), end

    def _now(self, t: Tensor, serial: int) -> Tensor:
        """What an op of that serial reads when it reads ``t``: the last value assigned before, past identities."""
        while True:
            if isinstance(t, Parameter):
                history = self.log.writes.get(t, ())
                count = bisect_left(history, serial, key=itemgetter(0))
                if not count:
                    return t
                serial, t = history[count - 1]
            elif self._is_recorded(t) and t.node.op.name == "identity":  # type: ignore[union-attr]
                serial, t = t.node.serial, t.node.inputs[0]  # type: ignore[union-attr]
            else:
                return t

    def _is_recorded(self, t: Tensor) -> bool:
        """Whether this run made it; what was computed before is a constant, or a gradient that is state."""
        return t.node is not None and t.node.serial >= self.log.since and t not in self.slots

    def _order(self, ends: Sequence[Tensor]) -> list[Tensor]:
        """All recorded results that the ends need, in program order."""
        seen = {t for t in ends if self._is_recorded(t)}
        stack = list(seen)
        while stack:
            node = stack.pop().node
            assert node is not None
            for x in node.inputs:
                now = self._now(x, node.serial)
                if now not in seen and self._is_recorded(now):
                    seen.add(now)
                    stack.append(now)
        return sorted(seen, key=by_serial)

    def _symbol(self, t: Tensor) -> Tensor:
        """What stands for a Tensor in the graph."""
        known = self.fresh.get(t)
        if known is None:
            known = self.fresh[t] = self._leaf(t)
        return known

    def _leaf(self, t: Tensor) -> Tensor:
        """A leaf that was not given: state, or a constant."""
        slot = Slot(t, "data") if isinstance(t, Parameter) else self.slots.get(t)
        if slot is not None:
            before = self.log.before.get(slot.parameter, t) if slot.kind == "data" else t
            name = slot.parameter.name or "parameter"
            self.reads[slot] = leaf = symbol(before, name if slot.kind == "data" else f"∂{name}")
            return leaf
        constant = make(t._data)
        constant.name = t.name
        return constant
