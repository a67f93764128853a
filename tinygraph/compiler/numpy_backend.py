"""The NumPy backend: a graph as a readable Python function whose dead arrays take later results."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np

from ..core.array import is_weak
from ..core.graph import Graph
from ..core.tensor import Tensor
from .emit import emit
from .graphs import is_number
from .names import Names, identifier, one_line
from .steps import ATOM, UNARY, Expression, Step, Value, fill


class Unit(Protocol):
    """Several nodes that one function computes: ``results`` are new arrays in C order."""

    @property
    def name(self) -> str: ...
    @property
    def function(self) -> Callable[..., tuple[Any, ...]]: ...
    @property
    def operands(self) -> Sequence[Tensor]: ...
    @property
    def results(self) -> Sequence[Tensor]: ...


@dataclass(slots=True)
class Program:
    """The lines of a driver, in order, between what it is given and what it returns."""

    inputs: list[Value]
    steps: list[Step]
    outputs: list[Value]
    constants: list[Value]
    names: dict[Value, str] = field(default_factory=dict)


# -- from graph to steps ----------------------------------------------------------------------------


def lower(graph: Graph, units: Sequence[Any] | None = None, plain: bool = False) -> Program:
    """The steps of a graph. ``units`` are its nodes in an order to run them, and what computes several of them."""
    values: dict[Tensor, Any] = {t: Value.of(t) for t in graph.inputs}
    for t in graph.captured:
        values[t] = t._data if is_number(t) else Value.named(t.name or "c", t._data)
    inputs = [values[t] for t in graph.inputs]
    shapes: dict[tuple[int, ...], Value] = {}
    for value in inputs:
        if value.shape:
            shapes.setdefault(value.shape, value)
    steps: list[Step] = []
    units = graph.nodes if units is None else units
    functions = _functions(graph, units)
    for unit in units:
        if isinstance(unit, Tensor):
            steps += _application(graph, unit, values, shapes, functions, plain)
        else:
            steps.append(_call(unit, values))
    outputs = [v if isinstance(v, Value) else Value.number(v) for v in (values[t] for t in graph.outputs)]
    steps = _needed(steps, outputs)
    read = dict.fromkeys([*(v for step in steps for v in step.operands), *outputs])
    program = Program(inputs, steps, outputs, [v for v in read if v.constant is not None])
    program.names = _names(program)
    return program


def _application(
    graph: Graph,
    t: Tensor,
    values: dict[Tensor, Any],
    shapes: Mapping[tuple[int, ...], Value],
    functions: Mapping[Any, str],
    plain: bool,
) -> list[Step]:
    node, target = t.node, Value.of(t)
    assert node is not None
    operands = [values[x] for x in graph.operands(t)]
    if operands and is_weak(t._data) and all(map(is_weak, operands)):
        values[t] = node.op.run(operands, node.params)
        return []
    if node.op.kind == "elementwise":
        operands = _unrepeated(operands, t.shape)
    target.scope = one_line(node.scope.path) if node.scope else ""
    values[t], steps = emit(node.op, functions[node.op], node.params, operands, target, shapes, plain)
    reduced = _is_reduced(node.op.kind, target, operands)
    for step in steps:
        step.target.scope, step.target.reduced = target.scope, reduced
    return steps


def _is_reduced(kind: str, target: Value, operands: Sequence[Any]) -> bool:
    """Whether a result is small beside what it was made of, whatever the sizes: memory for it costs nothing."""
    arrays = [v for v in operands if isinstance(v, Value) and v.shape]
    if kind == "reduction":
        return all(v.shape != target.shape for v in arrays)
    alike = [v for v in arrays if v.shape is not None and math.prod(v.shape) == math.prod(target.shape or ())]
    return any(v.reduced for v in alike)


def _is_worth(v: Value) -> bool:
    """Whether to use the memory of a result again, or for it that of another."""
    return bool(v.shape) and not v.reduced


def _unrepeated(operands: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Operands that elementwise arithmetic repeats by itself, as they were before they were repeated."""
    for i, x in enumerate(operands):
        if isinstance(x, Value) and x.narrow is not None:
            others = [x.narrow if k == i else v for k, v in enumerate(operands) if isinstance(v, Value)]
            if np.broadcast_shapes(*(v.shape or () for v in others)) == shape:
                operands = [*operands[:i], x.narrow, *operands[i + 1 :]]
    return operands


def _call(unit: Unit, values: dict[Tensor, Any]) -> Step:
    operands = tuple(v if isinstance(v, Value) else Value.number(v) for v in (values[t] for t in unit.operands))
    targets = tuple(Value.of(t) for t in unit.results)
    values.update(zip(unit.results, targets, strict=True))
    template = f"{unit.name}({', '.join(f'{{{i}}}' for i in range(len(operands)))})"
    return Step(
        targets, operands, partial(fill, template), fresh=True, orderly=True, functions={unit.name: unit.function}
    )


def _needed(steps: Sequence[Step], outputs: Iterable[Value]) -> list[Step]:
    """The steps that something reads; those that repeat an array may have become idle."""
    used = set(outputs)
    kept = []
    for step in reversed(steps):
        if used.intersection(step.targets):
            kept.append(step)
            used.update(step.operands)
    return kept[::-1]


# -- names ------------------------------------------------------------------------------------------


def _names(program: Program) -> dict[Value, str]:
    """A name for every value: its own where it has one, else ``t0``, ``t1``, …; none twice, and none of a function."""
    known = Names(name for step in program.steps for name in step.functions)
    results = [value for step in program.steps for value in step.targets]
    words = {v: identifier(v.hint or "") for v in (*program.inputs, *program.constants, *results)}
    names = {v: known.free(word) for v, word in words.items() if word}
    numbered = (word for i in itertools.count() if (word := f"t{i}") not in known.taken)
    for v, word in words.items():
        if not word:
            names[v] = known.free("n") if v.weak else next(numbered)
    return names


def _functions(graph: Graph, units: Iterable[Any]) -> dict[Any, str]:
    """What the text calls each op, if it does: by its name, where that is a word that nothing else has."""
    known = Names(unit.name for unit in units if not isinstance(unit, Tensor))
    ops = dict.fromkeys(t.node.op for t in graph.nodes)  # type: ignore[union-attr]
    return {op: known.free(op.name if op.name.isidentifier() else "op") for op in ops}


def _text(program: Program, value: Value) -> Expression:
    return (
        Expression(value.text, UNARY if value.text[0] == "-" else ATOM)
        if value.text
        else Expression(program.names[value])
    )


# -- where results are kept -------------------------------------------------------------------------


@dataclass(slots=True)
class Plan:
    """Which dead array takes the result of a step, what is forgotten after it, and which results are copied."""

    out: dict[Step, Value] = field(default_factory=dict)
    forgotten: dict[Step, list[Value]] = field(default_factory=dict)
    copied: set[int] = field(default_factory=set)


def plan(program: Program) -> Plan:
    """Reuse of memory, for inputs in C order: there, where an array lies does not change what is computed from it."""
    owners = _owners(program)
    ends = _ends(program, owners)
    orderly = {*program.inputs, *(v for v in program.constants if _is_orderly(v.constant))}
    found = Plan()
    free: dict[Any, list[Value]] = {}
    dying: dict[int, list[Value]] = {}
    for value, end in ends.items():
        dying.setdefault(end, []).append(value)
    for i, step in enumerate(program.steps):
        arrays = [v for v in step.operands if v not in step.sizes and not v.text and v.shape != ()]
        if step.contiguous or (step.orderly and orderly.issuperset(arrays)):
            orderly.update(step.targets)
        target, kind = step.target, (step.target.shape, step.target.dtype)
        dead = [v for v in dying.get(i, ()) if v in orderly and _is_worth(v)]
        if step.ufunc and _is_worth(target) and target in orderly:
            here = [v for v in arrays if v in dead and (v.shape, v.dtype) == kind]
            waiting = here[:1] or free.get(kind)
            if waiting:
                taken = waiting.pop()
                found.out[step] = taken
                dead = [v for v in dead if v is not taken]
        for value in dead:
            free.setdefault((value.shape, value.dtype), []).append(value)
    found.copied = copied(program, owners)
    _forget(program, found, owners, ends)
    return found


def _is_orderly(array: Any) -> bool:
    return not isinstance(array, np.ndarray) or array.flags.c_contiguous


def _owners(program: Program) -> dict[Value, Value | None]:
    """Whose memory a value lies in: its own, that of the one result it is a view of, or one that is not known or not ours."""
    owners: dict[Value, Value | None] = {}
    unknown: set[Value | None] = set()
    for step in program.steps:
        if step.fresh:
            owners.update((v, v) for v in step.targets)
            continue
        read = [v for v in step.operands if v not in step.sizes and not v.text]
        above = dict.fromkeys(owners.get(v) for v in read)
        owners[step.target] = next(iter(above)) if len(above) == 1 else None
        unknown.update(above if len(read) > 1 else ())
    return {v: None if owner in unknown else owner for v, owner in owners.items()}


def _ends(program: Program, owners: Mapping[Value, Value | None]) -> dict[Value, int]:
    """The step after which nothing reads the memory of an owner; what is returned has none."""
    ends: dict[Value, int] = {}
    for i, step in enumerate(program.steps):
        for v in (*step.targets, *(v for v in step.operands if v not in step.sizes)):
            owner = owners.get(v)
            if owner is not None:
                ends[owner] = i
    for v in program.outputs:
        ends.pop(owners.get(v), None)  # type: ignore[arg-type]
    return ends


def copied(program: Program, owners: Mapping[Value, Value | None] | None = None) -> set[int]:
    """The places of outputs that lie in the memory of an input, of another output, or of something larger."""
    owners = _owners(program) if owners is None else owners
    given: set[Value] = set()
    found = set()
    for i, v in enumerate(program.outputs):
        owner = owners.get(v)
        if v.text or v.weak:
            continue
        if owner is None or owner in given or owner.shape is None or math.prod(owner.shape) != math.prod(v.shape or ()):
            found.add(i)
        else:
            given.add(owner)
    return found


def _forget(program: Program, found: Plan, owners: Mapping[Value, Value | None], ends: Mapping[Value, int]) -> None:
    """Drop the names of large arrays that are of no more use, so that their memory is given back."""
    reads = {v: i for i, step in enumerate(program.steps) for v in (*step.targets, *step.operands)}
    views: dict[Value, list[Value]] = {}
    for v, owner in owners.items():
        if owner is not None:
            views.setdefault(owner, []).append(v)
    before = {step.target: taken for step, taken in found.out.items()}
    taken = set(before.values())
    for owner in ends:
        if owner in taken or not _is_worth(owner):
            continue
        names, here = [], owner
        while here is not None:
            names += views[here]
            here = before.get(here)  # type: ignore[assignment]
        last = max(reads[v] for v in names)
        if last < len(program.steps) - 1:
            found.forgotten.setdefault(program.steps[last], []).extend(names)


# -- the text ---------------------------------------------------------------------------------------


def write(program: Program, plan: Plan, name: str = "compiled") -> str:
    """A driver as Python: one line for each step."""
    names = program.names
    lines = [f"def {name}({', '.join(names[v] for v in program.inputs)}):"]
    scope = ""
    for step in program.steps:
        if step.target.scope != scope:
            scope = step.target.scope
            lines.append(f"    # {scope}" if scope else "")
        lines.append(f"    {', '.join(names[v] for v in step.targets)} = {_right(program, step, plan.out.get(step))}")
        if step in plan.forgotten:
            lines.append(f"    del {', '.join(sorted(names[v] for v in plan.forgotten[step]))}")
    outputs = [
        f"np.array({text})" if i in plan.copied else text for i, text in enumerate(texts(program, program.outputs))
    ]
    lines.append(f"    return ({', '.join(outputs)}{',' * (len(outputs) == 1)})")
    return "\n".join(lines) + "\n"


def texts(program: Program, values: Iterable[Value]) -> list[str]:
    return [_text(program, v).text for v in values]


def _right(program: Program, step: Step, out: Value | None) -> str:
    text = step.write(*(_text(program, v) for v in step.operands)).text
    if out is None:
        return text
    if text.startswith(f"np.{step.ufunc}("):
        return f"{text[:-1]}, out={program.names[out]})"
    operands = step.operands[:1] if step.ufunc == "square" else step.operands
    return f"np.{step.ufunc}({', '.join(texts(program, operands))}, out={program.names[out]})"


# -- the kernel -------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _code(source: str) -> Any:
    return compile(source, "<compiled by tinygraph>", "exec")


def load(program: Program, source: str, name: str = "compiled") -> Callable[..., tuple[Any, ...]]:
    """The function that a driver's text defines; the text is compiled once, whatever the graph."""
    namespace: dict[str, Any] = {"np": np}
    namespace.update((program.names[v], v.constant) for v in program.constants)
    for step in program.steps:
        namespace.update(step.functions)
    exec(_code(source), namespace)  # noqa: S102
    return namespace[name]  # type: ignore[no-any-return]


class Kernel:
    """A compiled graph: called with arrays, it returns a tuple of new arrays. ``source`` is its text."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._planned = plan(program)
        self.source = write(program, self._planned)
        self._run = load(program, self.source)
        self._plain: Callable[..., tuple[Any, ...]] | None = None

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        run = self._run if all(map(_is_orderly, arrays)) else self._unplanned()
        with np.errstate(all="ignore"):
            return run(*arrays)

    def __repr__(self) -> str:
        return f"<NumPy kernel: {len(self._program.steps)} steps, {len(self._planned.out)} of them in memory that is used again>"

    def _unplanned(self) -> Callable[..., tuple[Any, ...]]:
        """The same without reuse: results then lie in memory as NumPy chooses, on which the order of its sums depends."""
        if self._plain is None:
            self._plain = load(self._program, write(self._program, Plan(copied=self._planned.copied)))
        return self._plain


def build(graph: Graph, units: Sequence[Any] | None = None) -> Kernel:
    """A function of NumPy that computes a graph to the last bit as the ops do one by one.

    ``units``: its nodes in an order to run them, with a ``Unit`` in the place of those that it computes.
    """
    return Kernel(lower(graph, units))
