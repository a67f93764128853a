"""``JAX_NUM_CPU_DEVICES=8 python devices.py``: what eight devices of one process give, as JSON; the tests judge it."""

import json

import numpy as np
from support.network import Job, N, Network, batch, collectives, train

import tinygraph as tg
from tinygraph import distributed
from tinygraph.core.held import held


def main():
    found = {dtype: one_and_eight(dtype) for dtype in ("float32", "float64")}
    found["unread"] = unread()
    found["numpy"] = train(Job("float64", backend="numpy"), 50, dtype="float64")
    found |= {"grid": grid(), "rows": rows(), "statistics": statistics(), "replicas": replicas(), "refused": refused()}
    print(json.dumps(found | {"copied": copied()}))


def trained(dtype, axes=None, split=None, **options):
    mesh = distributed.mesh(axes)
    job = Job(dtype, **options)
    distributed.replicate(job.parts, mesh)
    if split:
        distributed.shard(job.parts, mesh, split)
    return job, train(job, 50, lambda rows: distributed.shard_batch(rows, mesh), dtype)


def one_and_eight(dtype):
    (one, reference), (eight, losses) = trained(dtype, {"batch": 1}), trained(dtype)
    return {
        "one": reference,
        "eight": losses,
        "weights": float(np.abs(one.net.fc1.weight.numpy() - eight.net.fc1.weight.numpy()).max()),
        "alone": one.collectives(),
        "collectives": eight.collectives(),
        "compilations": [len(eight.step._programs), len(eight.step._latest.kernel._compiled)],
    }


def unread():
    """The last loss of many steps that nobody waits for, which hang where they run side by side."""
    mesh, job = distributed.mesh(), Job("float32")
    distributed.replicate(job.parts, mesh)
    for _ in range(300):
        loss = job.step(*distributed.shard_batch(batch("float32"), mesh))
    return float(loss)


def grid():
    """Weights split by columns, or by rows, over an axis of the mesh that is not that of the batch."""
    split = {"fc1.weight": (None, "model"), "fc2.weight": ("model",)}
    job, losses = trained("float32", {"batch": 4, "model": 2}, split, momentum=0.9)
    weight, momentum = job.net.fc1.weight, job.optimizer._own[0]["momentum"]
    return {
        "losses": losses,
        "reference": train(Job("float32", backend="numpy", momentum=0.9), 50),
        "parts": [list(held(p).addressable_shards[0].data.shape) for p in (weight, weight.grad, momentum)],
        "collectives": job.collectives(),
    }


def rows():
    """Weights split over the axis of the batch."""
    job, losses = trained("float32", None, {"fc1.weight": ("batch",), "fc2.weight": ("batch",)})
    return {"losses": losses, "collectives": job.collectives()}


def halves():
    """A batch whose halves lie 5 apart."""
    x = np.random.default_rng(1).normal(size=(N, 3)).astype(np.float32)
    x[N // 2 :] += 5
    return x


def statistics():
    x, mesh = halves(), distributed.mesh()
    layer = tg.nn.BatchNorm(3, momentum=1.0, dtype=np.float32)
    distributed.replicate(layer, mesh)
    tg.compile(lambda x: layer(x), backend="jax")(distributed.shard_batch(x, mesh))
    return {
        "found": layer.running_mean.tolist(),
        "global": x.astype(np.float64).mean(0).tolist(),
        "local": x[: N // 8].astype(np.float64).mean(0).tolist(),
    }


def replicas():
    """Statistics of each replica, as a composite."""

    def total(x):
        groups = tg.reshape(x, (8, N // 8, 3))
        centred = groups - tg.mean(groups, axis=1, keepdims=True)
        return tg.sum((centred / tg.sqrt(tg.mean(centred**2, axis=1, keepdims=True) + 1e-5)) ** 3)

    compiled = tg.compile(total, backend="jax")
    return {
        "value": float(compiled(distributed.shard_batch(halves(), distributed.mesh()))),
        "expected": float(total(halves().astype(np.float64))),
        "collectives": collectives(compiled._latest.kernel.compiled_text()),
    }


def refused():
    mesh = distributed.mesh()
    x, t = batch("float32")
    net = Network("float32")
    calls = {
        "smaller": lambda: distributed.shard_batch((x[:60], t[:60]), mesh),
        "uneven": lambda: distributed.shard_batch({"x": x[:60]}, mesh),
        "mixed": lambda: distributed.shard_batch((x, t[:32]), mesh),
        "scalar": lambda: distributed.shard_batch((x, 0.5), mesh),
        "empty": lambda: distributed.shard_batch((), mesh),
        "no axis": lambda: distributed.shard_batch(x, distributed.mesh({"model": 8})),
        "no names": lambda: distributed.mesh(8),
        "too many": lambda: distributed.mesh({"batch": 4, "model": 3}),
        "unknown": lambda: distributed.shard(net, mesh, {"fc1.wieght": ("batch",)}),
        "no such axis": lambda: distributed.shard(net, mesh, {"fc1.weight": ("model",)}),
        "indivisible": lambda: distributed.shard(net, mesh, {"fc1.weight": (None, "batch")}),
        "too deep": lambda: distributed.shard(net, mesh, {"fc1.bias": (None, "batch")}),
        "no mesh": lambda: distributed.shard_batch(mesh, (x, t)),
        "no model": lambda: distributed.replicate(t, mesh),
        "no model to split": lambda: distributed.shard((net, t), mesh, {}),
    }
    said = {}
    for name, call in calls.items():
        try:
            call()
        except tg.TinygraphError as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def copied():
    """Whether a batch stays what it was when the caller writes to the array, which JAX would share if it could."""
    raw = np.zeros(N * 64 + 64, np.uint8)
    start = -raw.ctypes.data % 64  # it can at such an address
    rows = raw[start : start + N * 64].view(np.float32).reshape(N, 16)
    spread = distributed.shard_batch([rows], distributed.mesh())[0]
    rows[:] = 7
    return not spread.numpy().any()


if __name__ == "__main__":
    main()
