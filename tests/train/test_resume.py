"""A run that was stopped, by Ctrl-C or kill -9, and resumed is bitwise the one that nobody stopped."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tinygraph as tg
from tinygraph import checkpoint

SCRIPT = Path(__file__).with_name("job.py")
spec = importlib.util.spec_from_file_location("job", SCRIPT)
job = importlib.util.module_from_spec(spec)
spec.loader.exec_module(job)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file that an uninterrupted run leaves; it holds all there is."""
    path = tmp_path_factory.mktemp("whole") / "run"
    job.fit(path, every=50)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


def iterations(path):
    """How far the run is; a reader beside the writer never sees half a file."""
    return len(checkpoint.load(path)["history"]["loss"]) if path.exists() else 0


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kill_9_ctrl_c_and_kill_9_again(path, tmp_path, rng):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)):
        start = iterations(path)
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(path)], env=environment)
        try:
            goal, deadline = start + rng.integers(1, 15), time.monotonic() + 60
            while iterations(path) < goal and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.003)
            time.sleep(rng.uniform(0, 0.02))
            process.send_signal(number)
            assert process.wait(60) == code
        finally:
            process.kill()
            process.wait()
        assert start < iterations(path) < 240
    history = job.fit(path, epochs=30, every=99)
    job.fit(tmp_path / "whole", epochs=30, every=99)
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    assert len(history.loss) == 240
    assert history.stopped == "finished"


@pytest.mark.parametrize("moment", [1, 8, 13, 95])
def test_ctrl_c_ends_after_the_iteration_and_a_second_run_goes_on(whole, path, moment):
    t = job.make()
    calls = []

    def loss(outputs, targets):
        calls.append(t.model.training)
        if sum(calls) == moment and calls[-1]:
            signal.raise_signal(signal.SIGINT)
        return tg.cross_entropy(outputs, targets)

    t.loss = loss
    history = job.fit(path, trainer=t, every=None)
    assert history.interrupted
    assert len(history.loss) == moment
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert t.model.training
    assert np.isfinite(t.evaluate(job.data())["loss"])
    assert not job.fit(path, every=50).interrupted
    assert path.read_bytes() == whole


def test_ctrl_c_while_measuring_ends_the_run_with_that_epoch(path):
    t = job.make()
    once = iter([signal.SIGINT])

    def loss(outputs, targets):
        if not t.model.training:
            for number in once:
                signal.raise_signal(number)
        return tg.cross_entropy(outputs, targets)

    t.loss = loss
    history = job.fit(path, trainer=t)
    assert (len(history.ends), len(history.loss), history.stopped) == (1, 8, "interrupted")


def test_a_second_ctrl_c_interrupts_at_once(path):
    t = job.make()

    def loss(outputs, targets):
        if len(t.history.loss) == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return tg.cross_entropy(outputs, targets)

    t.loss = loss
    with pytest.raises(KeyboardInterrupt):
        job.fit(path, trainer=t)
    assert (len(t.history.loss), t.history.interrupted) == (3, True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert iterations(path) == 3


def test_an_interrupt_that_is_not_ours_keeps_the_history_and_the_file(path):
    t = job.make()

    def loss(outputs, targets):
        if len(t.history.loss) == 5:
            raise KeyboardInterrupt
        return tg.cross_entropy(outputs, targets)

    t.loss = loss
    history = job.fit(path, trainer=t, every=2)
    assert (len(history.loss), history.interrupted, iterations(path)) == (5, True, 4)


def test_another_thread_and_another_handler_are_left_alone(path):
    found = []
    thread = threading.Thread(target=lambda: found.append(job.fit(path, epochs=1)))
    thread.start()
    thread.join()
    assert found[0].stopped == "finished"

    def mine(number, frame):
        pass

    before = signal.signal(signal.SIGINT, mine)
    try:
        job.fit(path, epochs=2)
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_more_epochs_later(whole, path):
    for epochs in (2, 2, 5, 12):
        history = job.fit(path, epochs=epochs, every=None)
        assert (len(history.ends), history.stopped) == (epochs, "finished")
    assert path.read_bytes() == whole


def test_a_run_that_stopped_early_stays_stopped(path):
    first = job.fit(path, epochs=200, patience=2, every=None)
    assert first.stopped == "early"
    assert job.fit(path, epochs=200, patience=2, every=None) == first


def test_without_resume_it_starts_anew(whole, path):
    job.fit(path, epochs=2)
    job.fit(path, resume=False, every=50)
    assert path.read_bytes() == whole


def test_the_best_parameters_survive(path):
    t = job.make()
    job.fit(path, trainer=t)
    again = job.make()
    job.fit(path, trainer=again)
    assert all((again.model.state_dict()[name] == value).all() for name, value in t.model.state_dict().items())


def test_a_shared_generator(path):
    """Dropout draws from the generator that also seeds the order."""

    def shared():
        t = job.make()
        t.rng = t.model[3].rng = np.random.default_rng(9)
        return t

    expected = job.fit(path, epochs=3, trainer=shared())
    path.unlink()
    job.fit(path, epochs=1, trainer=shared())
    assert job.fit(path, epochs=3, trainer=shared()) == expected


def other_metrics():
    t = job.make()
    t.metrics = {"accuracy": tg.train.accuracy, "second": tg.train.accuracy}
    return t


def other_kind():
    t = job.make()
    t.rng = np.random.Generator(np.random.MT19937(0))
    return t


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_decay": 0.5}, "is of another run: lr_decay was 0.95 and is 0.5; set it as it was"),
        ({"keep_best": False}, "keep_best was True and is False"),
        ({"monitor": "train loss"}, "monitor was 'validation accuracy'"),
        ({"batch_size": 7}, "size=8"),
        ({"trainer": other_kind()}, "its random generators are not those"),
        ({"trainer": other_metrics()}, "measured was .*'validation accuracy'"),
        ({"trainer": job.make(optimizer=lambda p: tg.optim.SGD(p, lr=0.1))}, "SGD.load_state_dict: .*count.0"),
    ],
)
def test_another_run_is_not_resumed(options, message, path):
    job.fit(path, epochs=1)
    before = path.read_bytes()
    trainer = options.pop("trainer", None) or job.make()
    parameters = trainer.model.state_dict()
    with pytest.raises(checkpoint.CheckpointError, match=message):
        job.fit(path, epochs=2, trainer=trainer, **options)
    assert path.read_bytes() == before
    assert all((value == parameters[name]).all() for name, value in trainer.model.state_dict().items())


def test_a_file_that_fit_did_not_write(path):
    checkpoint.save(path, model=job.make().model)
    with pytest.raises(checkpoint.CheckpointError, match="has no 'batches', so fit did not write it"):
        job.fit(path)
    job.fit(path, epochs=1, resume=False)
    checkpoint.save(path, **(checkpoint.load(path) | {"generators": 3}))
    with pytest.raises(checkpoint.CheckpointError, match="is of another run"):
        job.fit(path)
    path.write_bytes(b"")
    with pytest.raises(checkpoint.CheckpointError, match="this is empty"):
        job.fit(path)
