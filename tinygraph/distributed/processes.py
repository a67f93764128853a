"""Several processes as one job: how they find each other, and how one that ends takes all others along, with a reason."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..errors import ArgumentError, CoordinatorMissing, DistributedError, MissingExtra
from .agreement import agree

STATUS = 70  # of a process that ends because it, or another one, failed; EX_SOFTWARE
ROLL_CALL = 1.0  # seconds in which a process answers that it is there
LINGER = 0.5  # seconds for which the coordinator stays, since JAX aborts the others when it goes

# What an HTTP/2 client says first, with empty settings; gRPC, which the coordinator speaks, answers with its own.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
_COLLECTIVES = ("Gloo", "NCCL", "UNAVAILABLE")  # in the text of an error: it comes from a connection


@dataclass(frozen=True)
class Job:
    """One of the processes of a job. ``client`` reaches the store of words that the coordinator keeps.

    Each process waits, in a thread, for the first word in a box of its own: that another one failed, that one is
    missing, or its own that it is done.
    """

    client: Any
    coordinator: str
    own: int
    count: int
    patience: float  # seconds for which a process that is done waits for the others
    ending: threading.Lock = field(default_factory=threading.Lock)

    def name(self, process: int | None = None) -> str:
        return f"process {self.own if process is None else process} of {self.count}"

    @property
    def leaderless(self) -> str:
        return f"{self.name(0)}, the coordinator, is gone: it was killed, or its machine is lost"

    def listen(self) -> None:
        """Wait for the word in this process's box, and end with it."""
        try:
            word = self.client.blocking_key_value_get(f"tinygraph/box/{self.own}", 2**31 - 1)
        except Exception:
            word = self.leaderless
        if word != "done":
            self.end(self.missing() if word == "missing" else word)

    def tell(self, word: str) -> None:
        """Put a word into the box of every other process. A box keeps the first one."""
        for process in range(self.count):
            if process != self.own:
                with suppress(Exception):
                    self.client.key_value_set(f"tinygraph/box/{process}", word)

    def missing(self) -> str:
        """Who does not answer when all are called."""
        try:
            socket.create_connection(_address(self.coordinator), timeout=ROLL_CALL).close()
            self.client.key_value_set(f"tinygraph/here/{self.own}", "", True)  # twice, if two threads ask
            self.tell("missing")
            time.sleep(ROLL_CALL)
            here = {int(key.rpartition("/")[2]) for key, _ in self.client.key_value_dir_get("tinygraph/here/")}
        except Exception:
            return self.leaderless
        gone = [self.name(k) for k in range(self.count) if k not in here]
        return f"{' and '.join(gone) or 'a connection'} is gone without a word: it was killed, or its machine is lost"

    def failed(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        """End because of an exception that nobody caught; it stands in for ``sys.excepthook``."""
        if _is_lost_connection(error):
            word = self.missing()
        else:
            word = f"{self.name()} failed: {kind.__name__}: {error}"
            self.tell(word)
        self.end(word, error)

    def done(self) -> None:
        """A normal end: wait for the others, who may still fail."""
        try:
            self.client.wait_at_barrier("tinygraph/done", int(1000 * self.patience))
        except Exception:
            word = (
                f"{self.name()} came to its end, and others did not within {self.patience:g} s; give each the same number of "
                "steps, and leave by an exception, never by sys.exit"
            )
            self.tell(word)
            self.end(word)
        self.client.key_value_set(f"tinygraph/box/{self.own}", "done")

    def end(self, word: str, error: BaseException | None = None) -> NoReturn:
        """End at once, without JAX's barrier: the sockets close, so that nobody waits for this process."""
        if not self.ending.acquire(blocking=False):
            threading.Event().wait()  # another thread is at it
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.write(f"tinygraph.distributed: {self.name()} ends: {word}\n")
            if error is not None:
                traceback.print_exception(error)
            sys.stderr.flush()
        if self.own == 0:
            time.sleep(LINGER)
        os._exit(STATUS)


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: float = 60,
    heartbeat: float = 30,
    shutdown: float = 30,
) -> None:
    """Make this process one of several that run the same program; before anything touches JAX.

    ``coordinator`` is ``"host:port"`` on the machine of process 0, which alone listens there, ``process_id`` counts from 0.
    Under mpirun (Open MPI 5 needs the package mpi4py), Slurm, Kubernetes and on a Cloud TPU bare ``initialize()`` finds all three. A program of one process needs
    no call.

    Seconds: within ``timeout`` all processes have to be there; one from which nothing is heard for ``heartbeat`` (frozen,
    or cut off) is given up; one that comes to its end waits ``shutdown`` for the others. From then on **no process outlives
    another that fails**: an exception that nobody catches, or a process that is killed, ends all of them within a second or
    two, with status 70 and a line that says which one and why; the next run starts from the checkpoint. (In a
    notebook exceptions stay what they are.) End a program by an exception or by its last line, not by ``sys.exit``, after which
    the others wait for ``shutdown`` seconds. Nothing is encrypted and nobody is authenticated: use a private network.

    Raises: CoordinatorMissing where nobody answers within ``timeout``; DistributedError where the port is taken, or
    JAX has begun already; ArgumentError; MissingExtra.

    >>> from tinygraph import distributed
    >>> distributed.initialize("10.0.0.1:4321", num_processes=2, process_id=0)  # doctest: +SKIP
    """
    try:
        import jax  # noqa: PLC0415

        from ..lower.jax import on_compile  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra('initialize: jax is not installed; run: pip install "tinygraph[jax]"') from error
    listed = (coordinator, num_processes, process_id)
    given = [x is not None for x in listed]
    if any(given) and not all(given):
        raise ArgumentError(
            f"initialize{listed}: give coordinator, num_processes and process_id, or none of them where a launcher tells them"
        )
    options: dict[str, Any] = {
        "initialization_timeout": int(timeout) + 5,  # ours is the first to ring
        "heartbeat_timeout_seconds": int(heartbeat),
        "shutdown_timeout_seconds": int(shutdown),
    }
    if coordinator is not None:
        who = f"process {process_id} of {num_processes}"
        if process_id == 0:
            _require_free(coordinator, who)
            options["coordinator_bind_address"] = coordinator  # by default it listens on all interfaces
        else:
            _wait_for(coordinator, who, timeout)
    elif "OMPI_COMM_WORLD_SIZE" in os.environ and "OMPI_MCA_orte_hnp_uri" not in os.environ:
        options["cluster_detection_method"] = "mpi4py"  # Open MPI 5, which JAX does not recognise by itself
    alarm = threading.Timer(timeout, _too_late, [timeout])
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id, **options)
    except (ValueError, RuntimeError) as error:
        raise DistributedError(
            f"initialize{listed}: {error}; call it once, before anything touches JAX, with coordinator, num_processes and "
            "process_id, or without them under a launcher"
        ) from error
    finally:
        alarm.cancel()
    on_compile.append(_same_program)
    if not hasattr(sys, "ps1"):  # nobody types
        state: Any = jax._src.distributed.global_state  # JAX has no public name for the store of its coordinator
        _stand_together(Job(state.client, state.coordinator_address, state.process_id, state.num_processes, shutdown))


def _is_lost_connection(error: BaseException | None) -> bool:
    while error is not None:
        if any(word in str(error) for word in _COLLECTIVES):
            return True
        error = error.__cause__ or error.__context__
    return False


def _same_program(text: str) -> None:
    agree("compiled function", {"its program": text}, "run the same code on the same kind of batch in every process")


def _stand_together(job: Job) -> None:
    listener = threading.Thread(target=job.listen, daemon=True, name="tinygraph.distributed")
    listener.start()
    sys.excepthook = job.failed
    atexit.register(listener.join)  # after the next, which wakes it
    atexit.register(job.done)


def _too_late(timeout: float) -> None:
    sys.stderr.write(f"tinygraph.distributed: not all processes have come within {timeout:g} s; start them all\n")
    sys.stderr.flush()
    os._exit(STATUS)


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ArgumentError(f"initialize({coordinator!r}): this is no address; write it as 'host:port'")
    return host.strip("[]"), int(port)


def _require_free(coordinator: str, who: str) -> None:
    """JAX would share a port that is taken, or crash."""
    host, port = _address(coordinator)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the end of an earlier run is no hindrance
            trial.bind(address)
            trial.listen()
    except OSError as error:
        raise DistributedError(
            f"initialize({coordinator!r}): {who} cannot listen there ({error.strerror}); choose another port, and the same "
            "for every process"
        ) from error


def _wait_for(coordinator: str, who: str, timeout: float) -> None:
    """Until a coordinator answers: where none does, JAX would abort the process."""
    host, port = _address(coordinator)
    end = time.monotonic() + timeout
    reason = "nobody listens"
    while (left := end - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as connection:
                connection.settimeout(min(left, 2))
                reason = "what listens there is no coordinator"
                connection.sendall(_HELLO)
                if connection.recv(9)[3:4] == b"\x04":  # the type of a frame of settings
                    return
        except OSError as error:
            reason = reason if isinstance(error, TimeoutError) else error.strerror or str(error)
        time.sleep(min(0.05, max(0, left)))
    raise CoordinatorMissing(
        f"initialize({coordinator!r}): {who}: no coordinator within {timeout:g} s ({reason}); start process 0 with the same "
        "address"
    )
