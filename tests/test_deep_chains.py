"""Graphs of 100,000 nodes in a row: every walk is a loop, and its work grows with the nodes alone."""

import sys
import threading

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core import autodiff

N = 100_000


def chain(x, n):
    for _ in range(n):
        x = tg.sin(x)
    return x


def whole_life(n=N):
    """Forward, backward, listing and release; returns the gradient and the expected one."""
    x = tg.tensor(0.5, requires_grad=True, name="x")
    y = chain(x, n)
    y.backward()
    graph = tg.Graph([y], [x])
    text = str(graph)
    assert len(graph.nodes) == n
    assert text.count("\n") == n + 1
    (replayed,) = graph.run(np, np.asarray(0.5))
    assert replayed == y.item()
    del graph, text, y
    value, slope = 0.5, 1.0
    for _ in range(n):
        slope *= np.cos(value)
        value = np.sin(value)
    return x.grad.item(), slope


@pytest.fixture
def _short_stack():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(limit)


def in_a_thread_with_a_small_stack(run):
    results = []
    before = threading.stack_size(64 * 1024)
    try:
        thread = threading.Thread(target=lambda: results.append(run()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    return results[0]


@pytest.mark.usefixtures("_short_stack")
def test_a_long_chain():
    found, expected = whole_life()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.usefixtures("_short_stack")
def test_a_long_chain_in_a_thread_with_a_small_stack():
    found, expected = in_a_thread_with_a_small_stack(whole_life)
    assert found == pytest.approx(expected, rel=1e-9)


def second_order(n=N // 10):
    x = tg.tensor(0.5, requires_grad=True)
    y = chain(x, n)
    g = tg.gradients(y, x, create_graph=True)
    second = tg.gradients(g, x)
    assert len(tg.Graph([g]).nodes) > n
    return second.item()


@pytest.mark.usefixtures("_short_stack")
def test_second_order_of_a_long_chain():
    assert np.isfinite(second_order())
    assert in_a_thread_with_a_small_stack(second_order) == second_order()


@pytest.mark.usefixtures("_short_stack")
def test_transforms_of_a_long_chain():
    def fn(x):
        return chain(x, N // 10)

    assert tg.grad(fn)(0.5).item() == pytest.approx(tg.jvp(fn, 0.5, 1.0)[1].item())
    graph = tg.trace(tg.vjp_fn(fn), 0.5, 1.0)
    assert len(graph.nodes) > N // 10
    assert str(graph)


@pytest.mark.parametrize("depth", [20, 200])
def test_a_ladder_is_walked_once_per_node(depth, monkeypatch):
    """2 ** depth paths, 2 * depth nodes: each is visited once, so the cost is linear."""
    visits = []
    visit = autodiff._visit
    monkeypatch.setattr(autodiff, "_visit", lambda t, *rest, **kw: visits.append(t) or visit(t, *rest, **kw))
    x = tg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(depth):
        y = (y + y) * 0.5
    y.backward()
    assert x.grad.item() == 1.0
    assert len(visits) == len(set(visits)) == 2 * depth


def test_only_what_lies_on_a_path_is_visited(monkeypatch):
    visits = []
    visit = autodiff._visit
    monkeypatch.setattr(autodiff, "_visit", lambda t, *rest, **kw: visits.append(t) or visit(t, *rest, **kw))
    x, other = (tg.tensor(1.0, requires_grad=True) for _ in "ab")
    y = chain(x, 5) * chain(other, 50)
    tg.gradients(y, x)
    assert len(visits) == 6


def test_a_wide_graph():
    x = tg.tensor(np.ones(3), requires_grad=True)
    y = tg.sum(tg.stack([x * float(k) for k in range(2000)]))
    y.backward()
    assert x.grad.tolist() == [sum(range(2000))] * 3
