"""The servers that client programs talk to: PostgreSQL, Redis, and fixed answers by HTTP.

Each runs on the load CPU, with its data in a temporary folder, as an unprivileged user where the
benchmarks run as root (PostgreSQL refuses root). It is started for the first that uses it and ended
with the last, so that it takes no time from other benchmarks; what killed the comparison ends it
too (PR_SET_PDEATHSIG). scripts/services.sh installs what is missing.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.machine import pinned_to
from harness.measure import (
    START_SECONDS,
    MeasurementError,
    Rig,
    UnsupportedError,
    end_process,
    last_line,
    wait_for,
)
from harness.peers import command_of

# Shared with the tests, which start the same programs.
sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from service_programs import (
    initdb_command,
    postgres_command,
    postgres_programs,
    start_as,
    unprivileged_user,
)

TIMEOUT_SECONDS = 5.0


class Service:
    """A server, started and ended as it is needed; what prevented it once is not tried again."""

    users: tuple[str, ...] = ()
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        self.uses = 0
        self.port = 0
        self.refusal: MeasurementError | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.temporary: tempfile.TemporaryDirectory[str] | None = None

    @contextlib.contextmanager
    def used(self, rig: Rig) -> Iterator[int]:
        """Have the server run for the block; its port on 127.0.0.1."""
        if self.uses == 0:
            self._start(rig)
        self.uses += 1
        try:
            yield self.port
        finally:
            self.uses -= 1
            if self.uses == 0:
                self._stop()

    @property
    def folder(self) -> Path:
        assert self.temporary
        return Path(self.temporary.name)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _start(self, rig: Rig) -> None:
        if self.refusal:
            raise self.refusal
        try:
            if self.temporary is None:
                self._prepare()
            (self.folder / "log").write_bytes(b"")  # an address in it is that of this start
            self.port = unused_port()
            with pinned_to(rig.cpus.load):
                self.process = start_as(self._user(), self.command(), self.folder)
            if not wait_for(self.is_ready, START_SECONDS, self.process):
                raise MeasurementError(f"{self.name} does not start: {last_line(self.log)}")
        except MeasurementError as error:
            self.refusal = error
            self._stop()
            raise

    def _prepare(self) -> None:
        self.check()
        self.temporary = tempfile.TemporaryDirectory(prefix="rloop-benchmark-")
        if user := self._user():
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.prepare()

    def _stop(self) -> None:
        if self.process is not None:
            end_process(self.process, self.stop_signal)
            self.process = None

    def _user(self) -> pwd.struct_passwd | None:
        return unprivileged_user(*self.users) if self.users else None

    @property
    def name(self) -> str:
        return type(self).__name__

    def check(self) -> None:
        """Raise UnsupportedError where a program is missing."""

    def prepare(self) -> None:
        """Make what is needed before the first start."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError


class PostgreSQL(Service):
    """Everybody is let in, and nothing is kept on disk for long."""

    users = ("postgres", "nobody")
    stop_signal = signal.SIGINT  # "fast": it does not wait for its clients

    def check(self) -> None:
        programs = postgres_programs()
        if programs is None:
            raise UnsupportedError("PostgreSQL is not installed (scripts/services.sh)")
        self.programs = programs

    def prepare(self) -> None:
        initdb = initdb_command(self.programs, self.folder / "data")
        if start_as(self._user(), initdb, self.folder).wait() != 0:
            raise MeasurementError(f"initdb failed: {last_line(self.log)}")

    def command(self) -> list[str]:
        data = self.folder / "data"
        return postgres_command(self.programs, data, self.port, max_connections="200")

    def is_ready(self) -> bool:
        command = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0


class Redis(Service):
    """It keeps nothing on disk."""

    users = ("redis", "nobody")

    def check(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise UnsupportedError("redis-server is not installed (scripts/services.sh)")
        self.program = program

    def command(self) -> list[str]:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        return [self.program, *options, "--dir", str(self.folder)]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), TIMEOUT_SECONDS) as client:
                client.sendall(b"PING\r\n")
                return client.recv(100).startswith(b"+PONG")
        except OSError:
            return False


class HttpAnswers(Service):
    """`traffic/http_answers.py`, which says its port by itself."""

    def command(self) -> list[str]:
        return command_of(sys.executable, "http_answers")

    def is_ready(self) -> bool:
        found = re.findall(r"serving on: \('127\.0\.0\.1', (\d+)\)\n", self.log)
        self.port = int(found[-1]) if found else 0
        return bool(found)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
