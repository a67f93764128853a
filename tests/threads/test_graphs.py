"""Graphs, nodes and arrays never change: any thread may read them, and what it makes is its own."""

import threading

import numpy as np
import pytest
from support.threads import THREADS, together

import tinygraph as tg
from tinygraph.core import tensor
from tinygraph.core.held import hold
from tinygraph.core.node import next_serial
from tinygraph.errors import StaleError


def network(x, w):
    with tg.scope("hidden"):
        h = tg.tanh(x @ w)
    return tg.sum(h * h)


@pytest.fixture
def leaves(rng):
    return tg.tensor(rng.normal(size=(5, 4)), requires_grad=True, name="x"), tg.Parameter(
        rng.normal(size=(4, 3)), name="w"
    )


READINGS = {
    "listing": lambda graph, y, leaves: str(graph),
    "run": lambda graph, y, leaves: [a.tobytes() for a in graph.run(np, *(t.numpy() for t in leaves))],
    "gradients": lambda graph, y, leaves: [g.tolist() for g in tg.gradients(y, list(leaves))],
    "second order": lambda graph, y, leaves: tg.gradients(
        tg.sum(tg.gradients(y, leaves[0], create_graph=True)), leaves[1]
    ).tolist(),
    "values": lambda graph, y, leaves: [t.numpy().tolist() for t in (y, *leaves)],
    "picture": lambda graph, y, leaves: tg.draw(y, seed=1.0).svg(),
    "picture of a graph": lambda graph, y, leaves: graph.draw().dot,
    "compiled": lambda graph, y, leaves: tg.compile(tg.vjp_fn(network), backend="numpy")(
        *(t.numpy() for t in leaves), 1.0
    )[1][0].tolist(),
    "anomalies": lambda graph, y, leaves: tg.debug_anomaly()(network)(*leaves).item(),
}


@pytest.mark.parametrize("name", READINGS)
def test_all_threads_read_the_same(name, leaves):
    y, graph = network(*leaves), tg.trace(network, *leaves)
    expected = READINGS[name](graph, y, leaves)
    assert together(lambda _: READINGS[name](graph, y, leaves)) == [expected] * THREADS


def test_all_readings_at_once(leaves):
    y, graph = network(*leaves), tg.trace(network, *leaves)
    names = list(READINGS)
    expected = {name: READINGS[name](graph, y, leaves) for name in names}

    def work(k):
        return {name: READINGS[name](graph, y, leaves) for name in names[k:] + names[:k]}

    assert together(work) == [expected] * THREADS


def test_backwards_through_one_graph_add_up_exactly():
    x = tg.tensor(np.arange(4.0), requires_grad=True)
    p = tg.Parameter(np.full(4, 3.0))
    y = tg.sum(x * p)

    def work(_):
        for _ in range(25):
            y.backward()

    together(work)
    assert x.grad.tolist() == [25 * THREADS * 3.0] * 4
    assert p.grad.tolist() == [25 * THREADS * v for v in range(4)]


def test_serial_numbers_are_unique_and_follow_the_program():
    def work(_):
        x, found = tg.tensor(1.0, requires_grad=True), []
        for _ in range(300):
            x = x * 1.0
            found += [x.node.serial, next_serial()]
        return found

    found = together(work)
    assert all(serials == sorted(serials) for serials in found)
    assert len({serial for serials in found for serial in serials}) == THREADS * 600


def test_a_backward_uses_one_value_of_a_parameter_or_raises():
    """``assign`` takes one writer, who locks; who forgets gets StaleError, never a mixture of old and new."""
    p, finished = tg.Parameter(np.ones(2)), threading.Event()
    counts = {"right": 0, "stale": 0}

    def write():
        value = 1.0
        while not finished.is_set():
            value += 1
            p.assign(np.full(2, value))

    def read():
        for _ in range(1000):
            try:
                y = p * 1.0
                for _ in range(3):
                    y = y * p
                g = tg.gradients(tg.sum(y), p)
            except StaleError:
                counts["stale"] += 1
                continue
            counts["right"] += 1
            assert g.numpy() == pytest.approx(4 * y.numpy() ** 0.75)  # of p⁴

    def work(k):
        if k:
            return write()
        try:
            return read()
        finally:
            finished.set()

    together(work, threads=2)
    assert counts["right"]
    assert counts["stale"]


def test_in_the_middle_of_an_assignment_all_graphs_are_stale(monkeypatch):
    """What a thread meets that takes its turn just before, or just after, the new array is put in the old one's place."""
    p = tg.Parameter(np.ones(2), name="p")
    y, made = p * p, []

    def meanwhile(t, array):
        made.append(p * p)
        hold(t, array)
        with pytest.raises(StaleError, match="p was assigned after mul had read it"):
            tg.gradients(y, p, np.ones(2))
        made.append(p * p)
        return t

    monkeypatch.setattr(tensor, "hold", meanwhile)
    p.assign(np.full(2, 5.0))
    for z in made:
        with pytest.raises(StaleError, match="p was assigned after mul had read it"):
            tg.gradients(z, p, np.ones(2))
    assert tg.gradients(p * p, p, np.ones(2)).tolist() == [10, 10]


def test_an_array_is_locked_by_many_threads_at_once():
    for _ in range(20):
        array = np.zeros(8)
        found = together(lambda _, array=array: tg.asarray(array[2:6]).numpy())
        assert not array.flags.writeable
        assert all(np.shares_memory(view, array) and not view.flags.writeable for view in found)


def test_long_chains_are_released_in_whatever_thread():
    """Those of its own, and one that all hold until the last lets go; on stacks of 64 KiB."""
    shared = [tg.tensor(0.5, requires_grad=True)]
    for _ in range(10_000):
        shared[0] = shared[0] * 1.0
    held = [[shared[0]] for _ in range(4)]
    shared.clear()

    def work(k):
        x = tg.tensor(0.5, requires_grad=True)
        for _ in range(5_000):
            x = x * 1.0
        del x
        held[k].clear()
        return True

    before = threading.stack_size(64 * 1024)
    try:
        assert together(work, threads=4) == [True] * 4
    finally:
        threading.stack_size(before)
