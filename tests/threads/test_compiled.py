"""A compiled function serves any number of threads, and compiles once for each kind of call."""

import threading

import numpy as np
import pytest
from support.threads import THREADS, together

import tinygraph as tg
from tinygraph.compiler import numpy_backend

STEPS = 5


@pytest.fixture(params=["numpy", "numba", "jax"])
def backend(request):
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return request.param


def batch_norm(x, gamma, beta):
    centred = x - tg.mean(x, axis=0)
    return gamma * (centred / tg.sqrt(tg.mean(centred**2, axis=0) + 1e-5)) + beta


def bits(result):
    y, cotangents = result
    return [t.numpy().tobytes() for t in (y, *cotangents)]


def test_results_are_those_of_one_thread_to_the_bit(backend):
    """Each thread has arguments of its own, large enough that memory is used again."""
    fast = tg.compile(tg.vjp_fn(batch_norm), backend=backend)
    rng = np.random.default_rng(0)
    calls = [[rng.normal(size=s) for s in ((700, 190), (190,), (190,), (700, 190))] for _ in range(THREADS)]
    fast(*calls[0])
    expected = [bits(fast(*arguments)) for arguments in calls]
    assert together(lambda k: [bits(fast(*calls[k])) for _ in range(3)]) == [[e] * 3 for e in expected]


def test_one_compilation_for_each_kind_of_call():
    """Counted at the backend, where all threads come with new shapes at the same time."""
    built = []

    class Counting:
        @staticmethod
        def build(graph):
            built.append(graph.inputs[0].shape)
            return numpy_backend.build(graph)

    fast = tg.compile(lambda x: tg.sum(tg.exp(x)), backend=Counting())
    shapes = [(n,) for n in range(1, 13)]

    def work(k):
        return [fast(np.zeros(shape)).item() for shape in shapes[k:] + shapes[:k]]

    assert [sorted(found) for found in together(work)] == [[float(n) for n in range(1, 13)]] * THREADS
    assert sorted(built) == shapes


def test_one_compilation_for_each_instance():
    runs = []

    class Layer(tg.nn.Module):
        def __init__(self):
            self.w = tg.Parameter(np.full(3, 2.0))
            self.parts = [tg.nn.ReLU() for _ in range(20)]

        @tg.compile(backend="numpy")
        def forward(self, x):
            runs.append(self)
            return self.w * x

    for _ in range(10):
        runs.clear()
        layer = Layer()
        assert together(lambda _, layer=layer: layer(np.ones(3)).tolist()) == [[2.0] * 3] * THREADS
        assert runs == [layer]


def test_a_recording_hears_nothing_of_other_threads():
    """While one thread records its first call, another uses and assigns Parameters as always."""
    inside, done = threading.Event(), threading.Event()
    p, q = tg.Parameter(np.ones(3), name="p"), tg.Parameter(np.ones(3), name="q")

    @tg.compile(backend="numpy")
    def slow(x):
        y = p * x
        inside.set()
        assert done.wait(30)
        return y * 2

    def other():
        assert inside.wait(30)
        q.assign(np.full(3, 5.0))
        tg.sum(q * q).backward()
        assert float(tg.sum(q)) == 15  # a value that only a recording would refuse
        done.set()

    together(lambda k: other() if k else slow(np.ones(3)), threads=2)
    assert q.grad.tolist() == [10, 10, 10]
    assert [t.name for t in slow.graph.inputs] == ["x", "p"]
    q.assign(np.full(3, 7.0))
    q.grad = None
    assert slow(np.ones(3)).tolist() == [2, 2, 2]
    assert (q.tolist(), q.grad) == ([7, 7, 7], None)


def test_steps_of_several_threads_under_the_callers_lock(backend):
    """One writer at a time: then no step is lost, and readers never see half of one."""
    p, lock, finished = tg.Parameter(np.ones(100)), threading.Lock(), []
    optimizer = tg.optim.SGD([p], lr=0.5)

    @tg.compile(backend=backend)
    def step(x):
        p.grad = None
        loss = tg.sum(p * x)
        loss.backward()
        optimizer.step()
        return loss

    def work(k):
        if k % 2:
            while len(finished) < THREADS // 2:
                values = p.numpy()
                assert (values == values[0]).all()
                assert p.shape == (100,)
            return
        for _ in range(STEPS):
            with lock:
                step(np.full(100, 0.25))
        finished.append(k)

    together(work)
    assert p.tolist() == [1 - 0.125 * STEPS * THREADS / 2] * 100
