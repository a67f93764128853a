"""A graph in an ONNX file: a forward, a derived backward, or a whole training step, for other people's tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..compiler.capture import Place, capture
from ..core.graph import Graph, paths
from ..core.tensor import Tensor, describe
from ..errors import ArgumentError, MissingExtra, StaleError
from .onnx_body import Body, Model, Reads, Typed, check_dtypes
from .onnx_functions import Arrangement, Writer
from .onnx_ops import REFUSED, RULES

__all__ = ["export_onnx"]


def export_onnx(fn: Callable[..., Any] | Graph, path: Any, *args: Any, functions: bool = True) -> Any:
    """Write ``fn``, recorded on ``args``, or a traced graph, as an ONNX model (opset 18, IR 10), and return the model.

    The inputs are those arguments that are arrays or numbers, in their order, under their names; sizes are baked in.
    Results are called ``out``, or ``out.0``, ``out.loss`` … by their place in what ``fn`` returns. An array or Parameter
    that ``fn`` finds outside becomes an initializer. One that it assigns (a weight, a running mean, a gradient) gets
    an output ``new/<name>``, and, if it is read, an input ``<name>`` whose default is its value now: feed the outputs
    of one step as the inputs of the next. So ``tg.vjp_fn(fn)`` and a training step export as a forward does. ``fn`` runs once,
    and what it assigns is put back. ``path`` may be None.

    Each ``tg.scope``, module and optimiser becomes a model-local function, equal bodies one and the same; the
    backward of ``norm`` is ``norm_backward``. ``onnx.inliner.inline_local_functions``, or ``functions=False``, gives
    plain nodes. Each node has the path of its scope in ``metadata_props["tinygraph.scope"]``, ``backward/norm`` for a
    derived one; in a function it begins with the scope of that function. The model has passed ``onnx.checker``.

    Values are those of NumPy, with these limits. float32 sums are the runtime's. Indices and classes are not checked.
    onnxruntime needs ``GraphOptimizationLevel.ORT_ENABLE_BASIC`` for float64: above it, ``MatMul`` with a factor is
    computed by a float32 one. It has no float64 kernels for tan, arcsin, arccos, arctan, sinh and cosh, and few for
    narrow and unsigned integers; ``onnx.reference`` runs them all. Its max, min and argmax may pass over a nan, its
    sigmoid is exact beside 1 only, and its powers of integers are computed in float64.

    Raises: ArgumentError for an op that has no ONNX form, such as a random draw; DTypeError for complex numbers and
    long doubles; MissingExtra without the extra ``onnx``; TraceError as ``tg.compile``.

    >>> import numpy as np, tinygraph as tg
    >>> model = tg.export_onnx(lambda x: tg.mean(tg.exp(x), axis=0), None, np.ones((4, 3)))
    >>> [node.op_type for node in model.graph.node], model.graph.output[0].name
    (['Exp', 'Constant', 'ReduceMean'], 'out')
    """
    try:
        from .onnx_proto import written  # noqa: PLC0415 -- needs the package onnx
    except ImportError as error:
        raise MissingExtra('export_onnx: onnx is not installed; run: pip install "tinygraph[onnx]"') from error
    if isinstance(path, (Tensor, np.ndarray)):
        raise ArgumentError(f"export_onnx({describe(path)} as path): the path, or None, comes before the arguments")
    program = _given(fn, args) if isinstance(fn, Graph) else _captured(fn, args)
    return written(_model(program, functions), path)


class Program(NamedTuple):
    """What is exported: a graph, the values of leaves that have one now, and the results by name."""

    name: str
    graph: Graph
    values: Mapping[Tensor, Any]
    inputs: Sequence[Tensor]
    results: Sequence[tuple[str, Tensor]]
    state: Sequence[
        tuple[Tensor | None, str, Tensor]
    ] = ()  # what is assigned: its input, its plain name, the new value


def _given(graph: Graph, args: tuple[Any, ...]) -> Program:
    if args:
        raise ArgumentError(
            f"export_onnx({graph!r}, {describe(args[0])}): a graph is traced already; give the path alone"
        )
    if graph._stale:
        raise StaleError(
            f"export_onnx({describe(graph._stale[0])}): was assigned after the graph had read it; trace again"
        )
    values = dict(zip(graph.captured, graph._constants, strict=True))
    count = len(graph.outputs)
    names = paths(graph.tree, "out") if graph.tree else [f"out.{i}" for i in range(count)] if count > 1 else ["out"]
    return Program("graph", graph, values, graph.inputs, list(zip(names, graph.outputs, strict=True)))


def _captured(fn: Callable[..., Any], args: tuple[Any, ...]) -> Program:
    if not callable(fn):
        raise ArgumentError(f"export_onnx({describe(fn)}): exports a function, or a tg.trace of one")
    _, run = capture(fn, args, {}, rehearse=True)
    graph = run.graph
    reads = dict(zip(run.reads, graph.inputs[len(graph.inputs) - len(run.reads) :], strict=True))
    values = {t: t._data for t in graph.captured} | {leaf: slot.read(False) for slot, leaf in reads.items()}
    assigned = {slot for slot, _ in run.writes}
    fixed = {leaf for slot, leaf in reads.items() if slot not in assigned}
    results = [
        (name, graph.outputs[place.index])
        for name, place in zip(paths(run.tree, "out"), run.results, strict=True)
        if isinstance(place, Place)
    ]
    state = [
        (reads.get(slot), "∂" * (slot.kind == "grad") + (slot.parameter.name or "parameter"), graph.outputs[index])
        for slot, index in run.writes
        if index is not None
    ]
    name = getattr(fn, "__name__", type(fn).__name__)
    return Program(name, graph, values, [x for x in graph.inputs if x not in fixed], results, state)


def _model(program: Program, functions: bool) -> Model:
    reads = Reads(program.graph)
    ends = [t for _, t in program.results] + [t for _, _, t in program.state]
    needed = reads.needed(ends)
    used = {x for t in needed for x in reads.values(t)}.union(ends)
    body = Body(reads)
    for t in program.inputs:
        body.bind(t, "x")
    for t in program.values:
        if t in used and t not in body.values and t not in reads.numbers:
            body.bind(t, "c")
    check_dtypes([*body.values, *needed])

    outputs = [(body.unique(name), t) for name, t in program.results]
    # What is written alone gets a name that no input has, or it would be fed to that input.
    outputs += [
        (body.unique(f"new/{body.unique(name) if x is None else body.values[x]}"), t) for x, name, t in program.state
    ]
    made = set(needed)
    body.chosen = {t: name for name, t in outputs if t in made}

    arrangement = Arrangement(needed, reads)
    writer = Writer(arrangement, frozenset(ends), lambda b, t: b.emit(t, RULES, REFUSED))
    writer.write(arrangement.items(needed) if functions else needed, body)
    for name, t in outputs:
        if body.values.get(t) != name:  # no result of its own: an input, a number, or one that has a name already
            body.copy(t, name)
    return Model(
        program.name,
        [_typed(body.values[t], t) for t in program.inputs],
        [_typed(name, t) for name, t in outputs],
        {body.values[t]: np.asarray(v, order="C") for t, v in program.values.items() if t in body.values},
        [_typed(body.values[t], t) for t in needed if t in body.values and t not in body.chosen],
        body.lines,
        writer.functions,
    )


def _typed(name: str, t: Tensor) -> Typed:
    return Typed(name, t.dtype, t.shape)
