"""What is not shared: modes, scopes, random numbers. What is loaded once: modules. What may change: flags of a network."""

import contextvars
import subprocess
import sys

import numpy as np
from support.threads import THREADS, together

import tinygraph as tg


def test_a_context_carries_scope_modes_and_recording():
    """A thread begins with what it is handed: nothing is relied on that a new thread may or may not inherit."""
    x = tg.tensor(2.0, requires_grad=True)

    def work(k):
        y = x * float(k)
        return y.requires_grad, y.node.scope.path if y.node and y.node.scope else None

    with tg.scope("outer"):
        contexts = [contextvars.copy_context() for _ in range(THREADS)]
    with tg.no_grad():
        contexts[1::2] = [contextvars.copy_context() for _ in contexts[1::2]]
    found = together(lambda k: contexts[k].run(work, k))
    assert found == [(True, "outer"), (False, None)] * (THREADS // 2)
    assert together(lambda k: contextvars.Context().run(work, k)) == [(True, None)] * THREADS


def test_a_trace_records_a_thread_that_has_its_context():
    def parallel(x):
        contexts = [contextvars.copy_context() for _ in range(2)]
        return tg.add(*together(lambda k: contexts[k].run(tg.mul, x, float(k + 1)), threads=2))

    assert sorted(t.node.op.name for t in tg.trace(parallel, 3.0).nodes) == ["add", "mul", "mul"]


def test_there_is_no_global_generator():
    """A seed gives the same numbers whatever other threads draw, and NumPy's own generator is left alone."""

    def draw(k):
        net = tg.nn.Sequential(tg.nn.Linear(4, 3, rng=k), tg.nn.Dropout(0.5, rng=k))
        values = [net(np.ones((5, 4))).tolist() for _ in range(3)]
        return values, tg.random.normal((3,), rng=np.random.default_rng(k)).tolist()

    before = np.random.get_state()[1].tolist()
    expected = [draw(k) for k in range(THREADS)]
    assert together(draw) == expected
    together(lambda _: tg.nn.Linear(4, 3))
    assert np.random.get_state()[1].tolist() == before


def test_a_network_runs_while_its_mode_is_set():
    """A mode is set module by module; who runs meanwhile sees the old one or the new one of each."""
    for _ in range(10):
        net = tg.nn.Sequential(*(tg.nn.Linear(2, 2, rng=0) for _ in range(10)))
        expected = net(np.ones((1, 2))).tolist()

        def work(k, net=net):
            if k:
                return [net(np.ones((1, 2))).tolist() for _ in range(5)]
            return [net.train(i % 2 == 0) for i in range(10)] and []

        assert together(work)[1:] == [[expected] * 5] * (THREADS - 1)


def test_networks_train_side_by_side():
    def train(k):
        net = tg.nn.mlp(4, [5], 3, batch_norm=True, rng=k)
        optimizer = tg.optim.Adam(net.parameters())
        for _ in range(5):
            net.zero_grad()
            tg.sum(net(np.arange(24.0).reshape(6, 4)) ** 2).backward()
            optimizer.step()
        return [a.tobytes() for a in net.state_dict().values()]

    expected = [train(k) for k in range(THREADS)]
    assert together(train) == expected


FIRST_USE = """
import sys
sys.path.insert(0, "tests")
from support.threads import together

NAMES = "nn.Linear optim.SGD data.Batches train.Trainer checkpoint.save compile testing.check_grad \\
    derive_source draw_diff compiler.Compiled array_api.concat fused.batch_norm".split()

def work(k):
    import tinygraph as tg
    for name in NAMES[k:] + NAMES[:k]:
        found = tg
        for part in name.split("."):
            found = getattr(found, part)
        if name == "compile":
            found(lambda x: x * 2, backend="numpy")(1.0)

together(work)
"""


def test_modules_are_loaded_on_demand_by_many_threads_at_once(request):
    subprocess.run([sys.executable, "-c", FIRST_USE], check=True, timeout=60, cwd=request.config.rootpath)
