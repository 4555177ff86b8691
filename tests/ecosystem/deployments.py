"""Real servers with two workers each, as they are deployed, and clients that need no loop.

A `Deployment` is a server's master process in a process group of its own; its workers are known by
their answers. It is started on a port that the kernel chooses, or on a Unix socket, is ready when
both workers answer, and is ended by its process id. Clients are blocking sockets in threads of the
tests' process, so that nothing of them depends on the loop that is tested.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from programs import script_environment
from support import DEADLINE

#: The command line of each server, which its address is appended to. uvicorn's master waits so long
#: for a word of a worker that was killed while it was stopped.
SERVERS = {
    "uvicorn": [
        "uvicorn", "worker_site:app", "--loop", "worker_site:new_loop", "--workers", "2",
        "--http", "httptools", "--timeout-worker-healthcheck", "10",
    ],
    "hypercorn": ["hypercorn", "worker_site:app_by_policy()", "--workers", "2"],
    "gunicorn-uvicorn": [
        "gunicorn", "worker_site:app", "--worker-class", "worker_classes.UvicornClass",
        "--workers", "2", "--timeout", "120",
    ],
    "gunicorn-own": [
        "gunicorn", "worker_site:app", "--worker-class", "worker_classes.OwnClass",
        "--workers", "2", "--timeout", "120",
    ],
}  # fmt: skip

#: Requests that a client sends over one connection before it takes another, as most clients do.
KEPT_FOR = 20

#: Seconds for a server to start or to replace its workers: each imports its packages anew.
PATIENCE = 3 * DEADLINE


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Look until `condition` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"in vain waited for: {what}"
        time.sleep(0.01)


class Answer(NamedTuple):
    pid: int
    engine: str


class Connection:
    """HTTP over TCP or, where the address is a path, over a Unix socket."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self._socket.settimeout(PATIENCE)
        self.answers = 0
        self.port = 0
        self.ended = False

    def close(self) -> None:
        self._socket.close()

    def ask(self, seconds: float = 0, *, name: str = "", keep: bool = False) -> Answer:
        """One request, which occupies its worker for that long."""
        headers = "Host: localhost\r\n" + ("" if keep else "Connection: close\r\n")
        data = f"GET /{name}?{seconds} HTTP/1.1\r\n{headers}\r\n".encode()
        if self.answers == 0:
            self._socket.connect(self._address)
        # Nothing stands between connecting and sending: a server that ends may close a connection
        # that has asked for nothing yet.
        try:
            self._socket.sendall(data)
        finally:
            if isinstance(self._address, tuple):
                self.port = self._socket.getsockname()[1]
        answer = http.client.HTTPResponse(self._socket)
        answer.begin()
        pid, engine = answer.read().split()
        assert answer.status == 200
        self.answers += 1
        self.ended = answer.will_close
        return Answer(int(pid), engine.decode())


class Deployment:
    """A server with its workers; a context manager that ends them all."""

    def __init__(self, server: str, loop_id: str, folder: Path, kind: str = "tcp") -> None:
        self.server, self.loop_id = server, loop_id
        self.path = folder / f"{server}-{loop_id}.sock"
        self._log = folder / f"{server}-{loop_id}.log"
        self._events = folder / f"{server}-{loop_id}.events"
        self.address: tuple[str, int] | str = str(self.path)
        self._kind = kind
        self.extra: dict[str, str] = {}

    def command(self, kind: str) -> list[str]:
        """The whole command line, for an address of that kind."""
        return [sys.executable, "-m", *SERVERS[self.server], *self._address_options(kind)]

    def _address_options(self, kind: str) -> list[str]:
        if self.server == "uvicorn":
            return ["--uds", str(self.path)] if kind == "unix" else ["--port", "0"]
        return ["--bind", f"unix:{self.path}" if kind == "unix" else "127.0.0.1:0"]

    def __enter__(self) -> Deployment:
        here = str(Path(__file__).parent)
        environment = script_environment(
            RLOOP_TEST_LOOP=self.loop_id,
            RLOOP_TEST_EVENTS=str(self._events),
            HOME=str(self._events.parent),  # gunicorn keeps a socket there
            **self.extra,
        )
        environment["PYTHONPATH"] = f"{here}{os.pathsep}{environment['PYTHONPATH']}"
        with self._log.open("wb") as log:
            self._master = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command(self._kind)],
                cwd=here, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_for(self._answers, "an answer")
            self.both_serve()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._end()

    def _end(self) -> None:
        """End the master as its operator does; whoever is left then in its group is killed."""
        try:
            self._master.terminate()
            self._master.wait(timeout=DEADLINE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._master.pid, signal.SIGKILL)
            self._master.wait()

    def events(self) -> list[str]:
        """What the workers tell: `connected PORT`, `answered NAME`; see worker_site.py."""
        return self._events.read_text().splitlines()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _answers(self) -> bool:
        """Whether it serves; learns the port that the kernel chose from what the server says."""
        assert self._master.poll() is None, self.log()
        if self._kind == "tcp" and isinstance(self.address, str):
            port = re.search(r"http://127\.0\.0\.1:([1-9]\d*)", self.log())
            if port is None:
                return False
            self.address = ("127.0.0.1", int(port[1]))
        try:
            return bool(self.ask())
        except (ConnectionRefusedError, FileNotFoundError):  # bound, but nobody listens yet
            return False

    def connection(self) -> contextlib.closing[Connection]:
        return contextlib.closing(Connection(self.address))

    def ask(self, seconds: float = 0) -> Answer:
        with self.connection() as connection:
            return connection.ask(seconds)

    def asking(self, count: int, seconds: float) -> Asking:
        """Begin `count` requests at the same time, each on a connection of its own."""
        return Asking(self, count, seconds)

    def ask_at_once(self, count: int, seconds: float) -> list[Answer]:
        return self.asking(count, seconds).join()

    def both_serve(self) -> set[int]:
        """Wait until two workers share requests; their process ids."""
        pids: set[int] = set()

        def shared() -> bool:
            nonlocal pids
            pids = {answer.pid for answer in self.ask_at_once(4, 0.02)}
            return len(pids) == 2

        wait_for(shared, f"two workers that share requests; the log:\n{self.log()}")
        return pids

    def send_signal(self, sent: signal.Signals) -> None:
        self._master.send_signal(sent)


class Asking:
    """Requests that are under way, each in a thread."""

    def __init__(self, deployment: Deployment, count: int, seconds: float) -> None:
        def ask() -> None:
            self.answers.append(deployment.ask(seconds))

        self._deployment = deployment
        self.answers: list[Answer] = []
        self._threads = [threading.Thread(target=ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def join(self) -> list[Answer]:
        """All answers; fails when one is missing or another loop's."""
        for thread in self._threads:
            thread.join()
        assert len(self.answers) == len(self._threads), self._deployment.log()
        assert {answer.engine for answer in self.answers} == {self._deployment.loop_id}
        return self.answers


def state_of(pid: int) -> str:
    """The state letter of a process ("T": stopped), empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end unless the process is gone."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: state_of(pid) == "T", "the process to stop")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


#: Each request of a Client has a name that no other has.
names = itertools.count()


class Failure(NamedTuple):
    """A request without an answer: its name, the client's port, whether the connection was new."""

    request: str
    port: int
    new: bool
    why: str


class Client(threading.Thread):
    """Sends requests one after the other until stop(); knows who answered and what failed.

    Each on a new connection, or all on one for as long as the server keeps it.
    """

    def __init__(self, deployment: Deployment, *, keep: bool) -> None:
        super().__init__()
        self._deployment, self._keep = deployment, keep
        self._stopping = threading.Event()
        self.answers: list[Answer] = []
        self.failures: list[Failure] = []

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            with self._deployment.connection() as connection:
                while self._request(connection):
                    pass

    def _request(self, connection: Connection) -> bool:
        """One request; whether the next may go over the same connection."""
        name = str(next(names))
        new = connection.answers == 0
        try:
            self.answers.append(connection.ask(name=name, keep=self._keep))
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self.failures.append(Failure(name, connection.port, new, repr(exc)))
            return False
        done = connection.ended or connection.answers == KEPT_FOR
        return not done and not self._stopping.is_set()


@contextlib.contextmanager
def load(deployment: Deployment) -> Iterator[list[Client]]:
    """Four clients at work, two of each kind."""
    clients = [Client(deployment, keep=number % 2 == 1) for number in range(4)]
    # So that no client waits for another one between its connecting and its sending.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for client in clients:
            client.start()
        yield clients
    finally:
        for client in clients:
            client.stop()
        for client in clients:
            client.join()
        sys.setswitchinterval(interval)
