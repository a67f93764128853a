"""Programs in processes of their own: started together, watched by a clock, and none left behind."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_address():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{trial.getsockname()[1]}"


def environment(**more):
    """This one, with JAX on the processor and the packages that are tested here."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "JAX_", "XLA_"))}
    path = os.pathsep.join([str(ROOT), *sys.path])
    return known | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | more


@contextmanager
def started(*commands, **more):
    """The commands as running processes; whatever still runs in the end is killed."""
    processes = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        for command in commands
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


class Ended:
    """What a process left: its status, what it wrote, and when it ended, in seconds after ``since``."""

    def __init__(self, process, since, within):
        try:
            self.out, self.err = process.communicate(timeout=max(0.1, since + within - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            self.out, self.err = process.communicate()
            self.err += f"\nSURVIVED {within} s"
        self.code = process.returncode
        self.seconds = time.monotonic() - since

    def __repr__(self):
        return f"status {self.code} after {self.seconds:.1f} s\n{self.out}\n{self.err}"


def ended(processes, within):
    """All of them, which have ``within`` seconds from now."""
    since = time.monotonic()
    return [Ended(process, since, within) for process in processes]


def run(*commands, within=60, **more):
    with started(*commands, **more) as processes:
        return ended(processes, within)


def once(tmp_path_factory, name, make):
    """What ``make(folder)`` gives, as JSON and with its folder: made by the first worker of pytest-xdist that asks for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    answer = folder.with_suffix(".json")
    try:
        folder.mkdir()
    except FileExistsError:
        while not answer.exists():  # its maker is at it; it writes something in any case
            time.sleep(0.05)
    else:
        found = {}
        try:
            found["made"] = make(folder)
        except BaseException as error:
            found["failed"] = repr(error)
            raise
        finally:
            answer.with_suffix(".tmp").write_text(json.dumps(found), encoding="utf-8")
            answer.with_suffix(".tmp").replace(answer)
    found = json.loads(answer.read_text(encoding="utf-8"))
    assert "made" in found, f"it failed in another worker: {found['failed']}"
    return found["made"], folder
