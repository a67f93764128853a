"""``python job.py PROCESS OF ADDRESS EVENT [FOLDER]``: one of some processes that train together; something happens to one."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from support.network import CLASSES, FEATURES, Job, N, batch, nn

from tinygraph import checkpoint, distributed
from tinygraph.errors import DeviceError


def main(own, count, address, event, folder=None):
    event, _, who = event.partition(" ")
    struck = who == own
    own, count = int(own), int(count)
    if event == "meet":
        distributed.initialize(address, count, own, timeout=2)
    distributed.initialize(address, count, own, heartbeat=5, shutdown=5)
    mesh = distributed.mesh()
    if event == "train":
        print(json.dumps(all_goes_well(own, mesh, Path(folder, "run.safetensors"))))
    elif event != "late":
        layer = nn.Linear(FEATURES, CLASSES, dtype="float32", rng=own if event in ("parameters", "forgotten") else 0)
        job = Job("float32", net=layer, more=event == "graph" and own == 1)
        train(job, own, mesh, "float32", 1_000, event if struck or event == "forgotten" else None)
    elif struck:  # and the other one is done
        time.sleep(0.5)
        raise ValueError("the plot went wrong")


def train(job, own, mesh, dtype, steps, event=None):
    """The losses of some steps, unless something happens to this process."""
    if event != "forgotten":
        distributed.replicate(job.parts, mesh)
    losses = []
    for step in range(steps):
        if step == 3 and event:
            happen(event)
        fewer = 8 * (event == "rows" or (event == "last" and step == 2))
        share = N // len(mesh.devices)
        mine = slice(own * share, (own + 1) * share - fewer)
        rows = [a[mine] for a in batch(dtype)]
        losses.append(float(job.step(*distributed.shard_batch(rows, mesh))))
    return losses


def happen(event):
    """What kills a process, or makes it wait for ever."""
    print(f"at {time.time()}", flush=True)
    match event:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise ValueError("the data are gone")
        case "exit":
            sys.exit(3)


def all_goes_well(own, mesh, file):
    found = {}
    for dtype in ("float32", "float64"):
        job = Job(dtype)
        found[dtype] = train(job, own, mesh, dtype, 50)
    checkpoint.save(file, model=job.net, optimizer=job.optimizer, writer=own)
    found["there"] = file.exists()
    found["mean"] = job.net.bn1.running_mean.tolist()
    distributed.shard(job.parts, mesh, {"fc1.weight": ("batch",)})
    try:
        checkpoint.save(file, model=job.net)
    except DeviceError as error:
        found["split"] = f"{type(error).__name__}: {error}"
    distributed.replicate(job.parts, mesh)
    found["whole"] = job.net.fc1.weight.tolist()
    found["seconds"] = time.process_time()
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
