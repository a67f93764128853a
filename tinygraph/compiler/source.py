"""``derive_source``: a derived backward as a NumPy function to paste into code that never imports tinygraph."""

from __future__ import annotations

import bisect
import dis
import itertools
import keyword
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.convert import operand
from ..core.graph import Graph, argument_names, trace
from ..core.tensor import Tensor, describe
from ..errors import ArgumentError
from ..transforms import vjp
from .emit import HELPERS
from .graphs import valueless
from .names import identifier, one_line
from .numpy_backend import Program, copied, lower
from .passes import optimise
from .steps import ATOM, UNARY, Expression, Step, Value, literal
from .symbols import Unwritable

WIDEST = 88  # characters of a line in which results without a name of their own are written out
FEW = 64  # elements of an array that is written out


def derive_source(fn: Callable[..., Any], *example_args: Any) -> str:
    """The derived backward of ``fn`` as Python text that imports nothing but NumPy.

    The text defines ``<fn>_backward(dy, *args)``, which returns a tuple: a cotangent for each floating-point
    argument. ``example_args`` are arrays and numbers for which ``fn`` is traced; sizes are read from shapes, so
    take examples whose sizes differ where they may differ. Names are those of tensors, of arguments, and of the
    variables of ``fn``. Zeros and sums are plain ones: 0 · inf is nan there, and sums are NumPy's.

    Raises: ArgumentError for arguments in dicts or lists, for another result than one floating-point Tensor, for arrays
    of more than 64 elements that are no arguments, and for what has no such text (random draws).

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.compiler.source import derive_source
    >>> def wave(x):
    ...     return tg.sin(x)
    >>> print(derive_source(wave, np.ones((4, 3))))
    import numpy as np
    <BLANKLINE>
    <BLANKLINE>
    def wave_backward(dy, x):
        \"\"\"The backward of wave: cotangents of x.\"\"\"
        # backward
        dx = dy * np.cos(x)
        return (dx,)
    <BLANKLINE>
    """
    name = getattr(fn, "__name__", type(fn).__name__)
    head = f"derive_source({name})"
    graph, wanted = _backward_of(fn, example_args, head)
    try:
        program = lower(optimise(valueless(graph))[-1].graph, plain=True)
    except Unwritable as error:
        raise ArgumentError(
            f"{head}: {error} has no text that stands alone; use tg.compile, whose code calls it"
        ) from None
    constants = {v: _constant(v, head, program) for v in program.constants}
    _name_outputs(program, wanted)
    word = "fn" if name == "<lambda>" else identifier(name) or "fn"
    return _text(program, constants, f"{word}_backward", f"The backward of {name}: cotangents of {', '.join(wanted)}.")


def _backward_of(fn: Callable[..., Any], args: Sequence[Any], head: str) -> tuple[Graph, list[str]]:
    """The graph of the cotangents, whose inputs are dy and the arguments, and the names of those that have one."""
    for a in args:
        if a is None or isinstance(a, (str, bool, dict, list, tuple)) or callable(a):
            raise ArgumentError(
                f"{head}: {describe(a)} is no array; give arrays and numbers, and fix the rest in a lambda"
            )
    outputs = trace(fn, *args).outputs
    if len(outputs) != 1 or outputs[0].dtype.kind != "f":
        raise ArgumentError(f"{head}: a backward of this form is that of one floating-point result; return one Tensor")
    names = argument_names(fn, len(args))
    floats = [i for i, a in enumerate(args) if operand(a).dtype.kind == "f"]
    if not floats:
        raise ArgumentError(f"{head}: no argument is floating point; there is nothing to derive")

    def cotangents(*given: Any) -> tuple[Any, ...]:
        *primals, dy = given
        found = vjp(fn, *primals)[1](dy)
        return tuple(found[i] for i in floats)

    cotangents.argument_names = lambda n: [*names[: n - 1], "dy"]  # type: ignore[attr-defined]
    graph = trace(cotangents, *args, np.zeros(outputs[0].shape, outputs[0].dtype))
    _name_locals(graph)
    *primals, dy = graph.inputs
    return Graph(graph.outputs, (dy, *primals)), [primals[i].name or names[i] for i in floats]


# -- names ------------------------------------------------------------------------------------------


def _name_locals(graph: Graph) -> None:
    """Give results that have no name that of the variable of ``fn`` which they were put into."""
    last: dict[Any, Tensor] = {}
    for t in graph.nodes:
        node = t.node
        if node is not None and node.where is not None and not _is_backward(node):
            last[node.where] = t
    instructions: dict[Any, list[dis.Instruction]] = {}
    for (code, place), t in last.items():
        if code not in instructions:
            instructions[code] = list(dis.get_instructions(code))
        t.name = t.name or _stored(instructions[code], place)


def _is_backward(node: Any) -> bool:
    return node.scope is not None and node.scope.path.endswith("backward")


def _stored(instructions: Sequence[dis.Instruction], place: int) -> str | None:
    """The local variable into which the result of the instruction at ``place`` goes at once."""
    following = bisect.bisect_right(instructions, place, key=lambda i: i.offset)
    if following == len(instructions) or not instructions[following].opname.startswith("STORE_FAST"):
        return None
    name = instructions[following].argval
    return name[0] if isinstance(name, tuple) else name  # type: ignore[no-any-return]


def _name_outputs(program: Program, wanted: Sequence[str]) -> None:
    """Call the results dx, dgamma, …, whatever they were called on the way."""
    given = {*program.inputs, *program.constants}
    taken = {*keyword.kwlist, *(name for v, name in program.names.items() if v in given or v not in program.outputs)}
    for v, name in zip(program.outputs, wanted, strict=True):
        word = f"d{identifier(name) or 'x'}"
        if v not in given and not v.text and word not in taken:
            program.names[v] = word
            v.hint = v.hint or word
            taken.add(word)


def _constant(v: Value, head: str, program: Program) -> str:
    array = np.asarray(v.constant)
    like = next((x for x in program.inputs if x.shape == array.shape), None)
    kin = next((x for x in program.inputs if x.dtype == array.dtype and not x.weak), None)
    dtype = f", {program.names[kin]}.dtype" if kin is not None else ""
    if array.size and array.shape and like is not None and (array == array.flat[0]).all():
        return f"np.full({program.names[like]}.shape, {literal(array.flat[0].item())}{dtype})"
    if array.dtype == object or array.size > FEW:
        raise ArgumentError(
            f"{head}: {describe(v.constant)} is no argument, and too much to write out; make it an argument"
        )
    return f"np.array({_listed(array.tolist())}{dtype})" if array.shape else literal(array.item())


def _listed(value: Any) -> str:
    return f"[{', '.join(map(_listed, value))}]" if isinstance(value, list) else literal(value)


# -- the text ---------------------------------------------------------------------------------------


class _Lines:
    """The lines of a program: a result that is used once and has no name of its own is written out where it is used."""

    def __init__(self, program: Program, constants: Mapping[Value, str]) -> None:
        self.lines: list[str] = []
        self._names, self._constants = program.names, constants
        self._inside: dict[Value, Expression] = {}
        self._scope = ""
        taken = {name for v, name in program.names.items() if v.hint or v.weak}
        self._numbered = (word for i in itertools.count() if (word := f"t{i}") not in taken)
        uses = Counter(v for step in program.steps for v in step.operands)
        read = {v for step in program.steps for v in step.sizes}
        lasting = {*program.outputs, *read, *(v for v, n in uses.items() if n > 1)}
        for step in program.steps:
            v, right = step.target, self._right(step)
            if v.hint or v.weak or v in lasting:
                self._assign(v, right)
            else:
                self._inside[v] = right

    def text(self, v: Value) -> Expression:
        text = v.text or self._constants.get(v)
        if text:
            return Expression(text, UNARY if text[0] == "-" else ATOM)
        return self._inside.get(v) or Expression(self._names[v])

    def _right(self, step: Step) -> Expression:
        """The right side of a step; where it gets too wide, its widest parts become lines of their own."""
        while True:
            right = step.write(*map(self.text, step.operands))
            parts = [v for v in step.operands if v in self._inside]
            if len(right.text) <= WIDEST or not parts:
                return right
            widest = max(parts, key=lambda v: len(self._inside[v].text))
            self._assign(widest, self._inside.pop(widest))

    def _assign(self, v: Value, right: Expression) -> None:
        if v.scope != self._scope:
            self._scope = v.scope
            self.lines += [f"    # {v.scope}"] if v.scope else []
        if not (v.hint or v.weak):
            self._names[v] = next(self._numbered)
        self.lines.append(f"    {self._names[v]} = {right.text}")


def _text(program: Program, constants: Mapping[Value, str], name: str, title: str) -> str:
    written, again = _Lines(program, constants), copied(program)
    results = [_result(written.text(v), i in again and v not in constants) for i, v in enumerate(program.outputs)]
    helpers = dict.fromkeys(name for step in program.steps for name in step.functions)
    arguments = ", ".join(program.names[v] for v in program.inputs)
    returned = ", ".join(results) if len(results) > 1 else f"({results[0]},)"
    title = one_line(title).replace("\\", "/").replace('"', "'")
    body = [f"def {name}({arguments}):", f'    """{title}"""', *written.lines, f"    return {returned}"]
    return "\n\n\n".join(["import numpy as np", *(HELPERS[name] for name in helpers), "\n".join(body)]) + "\n"


def _result(expression: Expression, is_copied: bool) -> str:
    return f"np.array({expression.text})" if is_copied else expression.text
