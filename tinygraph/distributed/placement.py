"""Where the arrays of a program lie: batches in rows over the devices, parameters whole on each, or split as asked."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.convert import tensor
from ..core.graph import Tree, flatten
from ..core.held import held, hold
from ..core.tensor import Parameter, Tensor, describe, make
from ..errors import ArgumentError, DistributedError, MissingExtra, ShapeError, aval
from .agreement import agree, gather

try:
    import jax
    from jax.sharding import AxisType, NamedSharding
except ImportError as error:
    raise MissingExtra('distributed: jax is not installed; run: pip install "tinygraph[jax]"') from error

BATCH = "batch"
PartitionSpec: Any = jax.sharding.PartitionSpec  # annotated in some versions only, as is the next
from_own_rows: Any = jax.make_array_from_process_local_data

# How many rows each process passes: agreed on once for a mesh and a structure of batches.
_agreed: dict[tuple[Any, Tree], int] = {}


def mesh(axes: Mapping[str, int] | None = None) -> Any:
    """The devices of all processes as a ``jax.sharding.Mesh``: all on one axis ``"batch"``, or ``mesh({"batch": 4, "model": 2})``.

    A program of one process may use fewer devices than there are: the first ones.

    Raises: ArgumentError for another number of devices.

    >>> from tinygraph import distributed
    >>> dict(distributed.mesh({"batch": 1}).shape)
    {'batch': 1}
    """
    there = jax.device_count()
    axes = {BATCH: there} if axes is None else axes
    if not isinstance(axes, Mapping) or not all(isinstance(n, int) for n in axes.values()):
        raise ArgumentError(f'mesh({axes!r}): names of axes and their sizes are due; write mesh({{"batch": {there}}})')
    wanted = math.prod(axes.values())
    if not axes or wanted > there or min(axes.values()) < 1 or (jax.process_count() > 1 and wanted != there):
        raise ArgumentError(
            f"mesh({axes}): {wanted} devices, and {there} are there; give sizes whose product is {there}"
        )
    automatic = (AxisType.Auto,) * len(axes)  # by default JAX asks for the sharding of every result
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=automatic, devices=jax.devices()[:wanted])


def shard_batch(batch: Any, mesh: Any) -> Any:
    """The rows that this process passes, as its part of the global batch: Tensors spread over the axis ``"batch"`` of ``mesh``.

    ``batch`` is an array ``[N, …]`` of any dtype, or nested dicts, lists and tuples of such; the Tensors have the global
    shape, ``[processes · N, …]``, in the order of the processes, whose rows are copied. Every process passes as many rows, in
    every call for batches of one structure (all else would hang, or change BatchNorm's statistics, so nothing is padded);
    and makes as many calls.

    Raises: ShapeError for another count than at first, or one that the mesh does not divide; DistributedError, on all
    processes, where theirs differ; ArgumentError for a mesh without the axis.

    >>> import numpy as np
    >>> from tinygraph import distributed
    >>> batch = distributed.shard_batch({"x": np.ones((4, 3)), "t": np.arange(4)}, distributed.mesh({"batch": 1}))
    >>> batch["x"].shape, batch["t"].dtype
    ((4, 3), dtype('int64'))
    """
    _demand_mesh("shard_batch", mesh)
    if BATCH not in mesh.shape:
        raise ArgumentError(
            f"shard_batch(mesh over {', '.join(mesh.shape)}): it has no axis {BATCH!r}; make one with it"
        )
    leaves, tree = flatten(batch)
    arrays = [tensor(leaf)._data for leaf in leaves]
    _check_rows(arrays, mesh, tree)
    sharding = NamedSharding(mesh, PartitionSpec(BATCH))
    with jax.enable_x64(True):
        spread = [from_own_rows(sharding, a) for a in arrays]
    return tree.build([_named(hold(make(None), x), leaf) for x, leaf in zip(spread, leaves, strict=True)])


def replicate(parts: Any, mesh: Any) -> None:
    """Put parameters, buffers and the state of optimisers on every device of ``mesh``, whole.

    ``parts`` are models, optimisers and Parameters, or nested dicts, lists and tuples of them. Values, their names and the
    states of random generators must be the same on every process, as they are after the same construction from the same
    seeds, or the same checkpoint.

    Raises: DistributedError, on all processes, where one has other values, or another parameter; ArgumentError.

    >>> import tinygraph as tg
    >>> net = tg.nn.Linear(2, 2, rng=0)
    >>> tg.distributed.replicate((net, tg.optim.Adam(net.parameters(), lr=0.1)), tg.distributed.mesh({"batch": 1}))
    """
    _demand_mesh("replicate", mesh)
    named = dict(_parameters("replicate", parts))
    if jax.process_count() > 1:
        texts = {name: _digest(p) for name, p in named.items()} | dict(_generators(parts))
        agree("replicate", texts, "build everything in the same way with the same seed in every process")
    sharding = NamedSharding(mesh, PartitionSpec())
    for p in named.values():
        hold(p, _placed(p, sharding))


def shard(model: Any, mesh: Any, axes: Mapping[str, Sequence[str | None]]) -> None:
    """Split parameters of ``model`` over the devices of ``mesh``: ``{"fc1.weight": (None, "model")}`` splits its axis 1.

    Each tuple has, for each axis of the parameter, the axis of the mesh over which it is split, or None. All else, such as the
    buffers of an optimiser, is left to :func:`replicate`, called before; collectives are the compiler's business. With
    ``(model, optimizer)`` in place of the model an optimiser's buffers are split as their parameters are.

    Raises: ArgumentError for a name or an axis that there is not; ShapeError for a size that the mesh does not divide.

    >>> import tinygraph as tg
    >>> net = tg.nn.Linear(2, 2, rng=0)
    >>> mesh = tg.distributed.mesh({"batch": 1, "model": 1})
    >>> tg.distributed.shard(net, mesh, {"weight": (None, "model")})
    """
    _demand_mesh("shard", mesh)
    parts, _ = flatten(model)
    optimizers = [part for part in parts if hasattr(part, "_own")]
    named = dict(_parameters("shard", [part for part in parts if not hasattr(part, "_own")]))
    for name, spec in axes.items():
        if name not in named:
            close = difflib.get_close_matches(name, named, 3) or list(named)
            raise ArgumentError(f"shard({name!r}): there is no such parameter; perhaps {', '.join(close)}")
        _check_split(name, named[name], spec, mesh)
    for name, spec in axes.items():
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        p = named[name]
        for like in (p, *(b for o in optimizers for b in _buffers(o, p))):
            hold(like, _placed(like, sharding))


def _demand_mesh(head: str, mesh: Any) -> None:
    if not isinstance(mesh, jax.sharding.Mesh):
        raise ArgumentError(f"{head}(mesh={describe(mesh)}): no mesh; give distributed.mesh() as the second argument")


def _check_rows(arrays: Sequence[Any], mesh: Any, tree: Tree) -> None:
    """That all arrays have as many rows as were agreed on; the first time, agree."""
    counts = [a.shape[:1] for a in arrays]
    head = f"shard_batch({aval(arrays[0].dtype, arrays[0].shape) if arrays else ''})"
    odd = [a for a in arrays if a.shape[:1] != counts[0] or not a.shape]
    if odd or not arrays:
        other = f" and {aval(odd[-1].dtype, odd[-1].shape)}" if odd else ""
        raise ShapeError(
            f"{head}{other}: the arrays of a batch have a first axis each, of one size; give the rest to the step as it is"
        )
    (count,) = counts[0]
    agreed = _agreed.get((mesh, tree), count)
    if count != agreed:
        raise ShapeError(f"{head}: {count} rows, agreed on {agreed}; drop the last batch")
    places = mesh.local_mesh.shape[BATCH]
    if count % places:
        raise ShapeError(f"{head}: {count} rows on {places} devices do not come out even; pass a multiple of {places}")
    if (mesh, tree) not in _agreed:
        _agree_on_rows(head, count)
        _agreed[mesh, tree] = count


def _agree_on_rows(head: str, count: int) -> None:
    if jax.process_count() == 1:
        return
    counts = [int(text) for text in gather(str(count))]
    if len(set(counts)) > 1:
        listed = ", ".join(f"process {k} {n}" for k, n in enumerate(counts))
        raise DistributedError(f"{head}: the processes pass different numbers of rows ({listed}); give each as many")


def _named(t: Tensor, leaf: Any) -> Tensor:
    t.name = leaf.name if isinstance(leaf, Tensor) else None
    return t


def _parameters(head: str, parts: Any) -> Iterator[tuple[str, Parameter]]:
    """Every Parameter of models, of optimisers and by itself, each once, under a name of its own."""
    names: dict[Parameter, str] = {}
    for k, part in enumerate(flatten(parts)[0]):
        if isinstance(part, Parameter):
            listed = {part.name or "parameter": part}
        elif hasattr(part, "_state"):
            listed = part._state()
        else:
            raise ArgumentError(
                f"{head}({describe(part)}): no model, optimiser or Parameter; leave it out, and give an iterator as a list"
            )
        for name, p in listed.items():
            names.setdefault(p, f"{k}.{name}" if name in names.values() else name)
    yield from ((name, p) for p, name in names.items())


def _generators(parts: Any) -> Iterator[tuple[str, str]]:
    """The states of the random generators of models."""
    for k, part in enumerate(flatten(parts)[0]):
        if hasattr(part, "named_generators"):
            yield from (
                (f"{k}.{name} (a generator)", repr(g.bit_generator.state)) for name, g in part.named_generators()
            )


def _digest(p: Parameter) -> str:
    """Shape, dtype and a checksum of the values; those that are split among processes have one origin already."""
    array = held(p)
    kind = aval(p.dtype, p.shape)
    if not getattr(array, "is_fully_replicated", True):
        return f"{kind} in parts"
    return f"{kind} with sha256 {hashlib.sha256(np.asarray(array, order='C').tobytes()).hexdigest()}"


def _placed(p: Parameter, sharding: Any) -> Any:
    """The values of a Parameter where a sharding has them."""
    array = held(p)
    with jax.enable_x64(True):
        if not getattr(array, "is_fully_addressable", True):  # spread over processes already
            return jax.jit(lambda x: x, out_shardings=sharding)(array)
        values = np.asarray(array)
        return jax.make_array_from_callback(p.shape, sharding, lambda index: values[index], dtype=p.dtype)


def _check_split(name: str, p: Parameter, spec: Sequence[str | None], mesh: Any) -> None:
    head = f"shard({aval(p.dtype, p.shape)} {name}, {tuple(spec)})"
    if len(spec) > p.ndim:
        raise ShapeError(f"{head}: it has {p.ndim} ax{'i' if p.ndim == 1 else 'e'}s; give at most one name for each")
    for size, axis in zip(p.shape, spec, strict=False):
        if axis is not None and axis not in mesh.shape:
            raise ArgumentError(f"{head}: the mesh has no axis {axis!r}; it has {', '.join(mesh.shape)}")
        if axis is not None and size % mesh.shape[axis]:
            raise ShapeError(f"{head}: {size} on {mesh.shape[axis]} devices does not come out even; split another axis")


def _buffers(optimizer: Any, p: Parameter) -> Iterator[Parameter]:
    """What an optimiser keeps for each number of a parameter."""
    for q, own in zip(optimizer.parameters, optimizer._own, strict=True):
        yield from (buffer for buffer in own.values() if q is p and buffer.shape == p.shape)
