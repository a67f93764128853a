"""Two processes on one machine: they train as one does, and none outlives another that fails."""

import json
import re
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.network import Job, train
from support.processes import ended, free_address, once, run, started

import tinygraph as tg
from tinygraph import checkpoint

jax = pytest.importorskip("jax", reason="jax is not installed")

JOB = Path(__file__).with_name("job.py")
WITHIN = 15  # seconds after an event


def commands(event, *more, address=None, who=(0, 1), of=2):
    address = address or free_address()
    return [(JOB, process, of, address, event, *more) for process in who]


def together(event, of=2, patience=60):
    """How all processes ended, and how many seconds after the event that was, where it says so."""
    with started(*commands(event, who=range(of), of=of)) as processes:
        done = ended(processes, patience)
    (at,) = [float(m) for d in done for m in re.findall(r"^at (\S+)$", d.out, re.MULTILINE)] or [None]
    return done, at and time.time() - at


# -- all goes well ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def make(folder):
        done = run(*commands("train", folder))
        assert [d.code for d in done] == [0, 0], done
        return [json.loads(d.out.splitlines()[-1]) for d in done]

    return once(tmp_path_factory, "trained", make)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_see_the_losses_of_one_process(trained, dtype):
    alone = train(Job(dtype, backend="numpy"), 50, dtype=dtype)
    for process in trained[0]:
        np.testing.assert_allclose(process[dtype], alone, rtol=1e-5 if dtype == "float32" else 1e-13)


def test_it_takes_seconds(trained):
    assert all(process["seconds"] <= 10 for process in trained[0])


def test_the_first_process_writes_the_checkpoint(trained):
    (first, second), folder = trained
    assert first["there"]
    assert second["there"], "the second did not wait"
    assert [path.name for path in folder.iterdir()] == ["run.safetensors"]
    state = checkpoint.load(folder / "run.safetensors")
    assert state["writer"] == 0
    np.testing.assert_array_equal(state["model"]["bn1.running_mean"], second["mean"])


def test_what_is_split_is_made_whole_before_it_is_saved(trained):
    (first, second), folder = trained
    assert "spread over several processes" in first["split"]
    assert first["whole"] == second["whole"]
    np.testing.assert_array_equal(checkpoint.load(folder / "run.safetensors")["model"]["fc1.weight"], first["whole"])


# -- one of them fails ----------------------------------------------------------------------------------

FAILED = "process {own} of 2 ends: process {who} of 2 failed: "
EVENTS = {
    "raise 0": FAILED + "ValueError: the data are gone",
    "late 1": FAILED + "ValueError: the plot went wrong",
    "last 1": FAILED + "ShapeError: shard_batch(float32[24,20]): 24 rows, agreed on 32; drop the last batch",
    "rows 1": "DistributedError: shard_batch(float32[{rows},20]): the processes pass different numbers of rows (process 0 32, process 1 24)",
    "parameters": "DistributedError: replicate: process 1 of 2 differs from process 0 in weight",
    "forgotten": "DistributedError: compiled function: process 1 of 2 differs from process 0 in its program: weight: float32",
    "graph": "DistributedError: compiled function: process 1 of 2 differs from process 0 in its program: ",
}


@pytest.mark.parametrize("event", EVENTS)
def test_both_end_and_say_why(event):
    done, seconds = together(event)
    assert [d.code for d in done] == [70, 70], done
    for own, d in enumerate(done):
        candidates = [EVENTS[event].format(own=own, who=event[-1], rows=rows) for rows in (32, 24)]
        assert any(text in d.err for text in candidates), d
    assert seconds is None or seconds < WITHIN


@pytest.mark.parametrize(("who", "what"), [(1, "gone without a word"), (0, "the coordinator, is gone")])
def test_one_is_killed(who, what):
    done, seconds = together(f"kill {who}")
    survivor = done[1 - who]
    assert done[who].code == -9
    # Without its coordinator JAX itself aborts a process, which we forestall by a hair's breadth.
    assert survivor.code == 70 or (who == 0 and survivor.code == -6), survivor
    ours = f"tinygraph.distributed: process {1 - who} of 2 ends: process {who} of 2"
    assert (ours in survivor.err and what in survivor.err) or "the leader task was preempted/died" in survivor.err
    assert seconds < WITHIN


def test_one_of_three_is_killed():
    done, seconds = together("kill 1", of=3)
    assert [d.code for d in done] == [70, -9, 70], done
    for own in (0, 2):
        assert f"process {own} of 3 ends: process 1 of 3 is gone without a word" in done[own].err
    assert seconds < WITHIN


@pytest.fixture(scope="module")
def missed(tmp_path_factory):
    """How processes end that do not meet: without a coordinator, without the other, and at a port that is taken."""

    def make(_):
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = commands("meet", address=f"127.0.0.1:{other.getsockname()[1]}")
            done = run(*commands("meet", who=[1]), *commands("meet", who=[0]), *taken)
        return [(d.code, d.err) for d in done]

    return once(tmp_path_factory, "missed", make)[0]


def test_the_coordinator_is_absent(missed):
    code, err = missed[0]
    assert code == 1
    assert re.search(
        r"CoordinatorMissing: initialize\('127.0.0.1:\d+'\): process 1 of 2: no coordinator within 2 s \(Connection refused\)",
        err,
    )


def test_the_others_are_absent(missed):
    code, err = missed[1]
    assert code == 70
    assert "not all processes have come within 2 s" in err


def test_the_port_is_taken(missed):
    (first, said), (second, waited) = missed[2:]
    assert (first, second) == (1, 1)
    assert "DistributedError" in said
    assert "process 0 of 2 cannot listen there (Address already in use)" in said
    assert "process 1 of 2: no coordinator within 2 s (what listens there is no coordinator)" in waited


@pytest.mark.slow
def test_one_leaves_by_sys_exit():
    done, seconds = together("exit 1")
    assert [d.code for d in done] == [70, 70]
    assert all("process 1 of 2 came to its end, and others did not within 5 s" in d.err for d in done)
    assert seconds < 20


@pytest.mark.slow
def test_one_is_frozen():
    with started(*commands("freeze 1")) as (first, second):
        (survivor,) = ended([first], 60)
        assert second.poll() is None
    assert survivor.code == -6, survivor  # JAX's own doing, which nobody can catch
    assert "stopped sending heartbeats" in survivor.err


# -- before there are processes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:1", 2), "give coordinator, num_processes and process_id, or none of them"),
        (("localhost", 2, 1), "this is no address; write it as 'host:port'"),
        (("localhost:", 2, 0), "this is no address; write it as 'host:port'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(tg.errors.ArgumentError, match=re.escape(message)):
        tg.distributed.initialize(*arguments)


def test_it_comes_too_late():
    jax.devices()
    with pytest.raises(tg.errors.DistributedError, match="call it once, before anything touches JAX"):
        tg.distributed.initialize(timeout=600)
    alarms = [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
    assert all(t.finished.is_set() for t in alarms), "it would end this process in ten minutes"
