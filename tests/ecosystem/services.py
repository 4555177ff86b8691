"""The servers that the tests talk to, each with its data in a temporary folder of its own.

They listen on the loopback and on a Unix socket, run as an unprivileged user where the tests run
as root (PostgreSQL refuses root), and are ended by their process id. Should the tests be killed,
the kernel ends them (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import trustme
from leftovers import servers
from service_programs import (
    Command,
    initdb_command,
    postgres_command,
    postgres_programs,
    prometheus_command,
    start_as,
    unprivileged_user,
)
from support import DEADLINE, unused_port


class Unavailable(Exception):
    """The server cannot be run here; the text says what is missing."""


class Certificate:
    """A certificate for localhost and its key, in `folder`, and contexts that use and trust it."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.authority = trustme.CA()
        own = self.authority.issue_cert("localhost", "127.0.0.1")
        own.private_key_pem.write_to_path(self.key)
        for part in own.cert_chain_pems:
            part.write_to_path(self.cert, append=True)

    def server(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


class Service:
    """One server process and its folder; a context manager that ends both."""

    stop_signal = signal.SIGTERM

    def __init__(self, user: pwd.struct_passwd | None = None) -> None:
        self.user = user
        self.folder = Path(tempfile.mkdtemp(prefix="rloop-service-"))
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self.port = 0
        self.was_ready = False
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start it and wait until it answers.

        It is tried again while somebody has our port (another one at the first start), or while
        what a killed server has left behind is still there. Only in the main thread: the kernel
        ends the server with the thread that started it.
        """
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if not self.was_ready:
                self.port = unused_port()
            self.process = start_as(self.user, self.command(), self.folder)
            servers.add(self.process.pid)
            if self.becomes_ready(end):
                self.was_ready = True
                return
            self.stop(signal.SIGKILL)
            time.sleep(0.05)
        raise RuntimeError(f"the server does not start:\n{self.log()}")

    def stop(self, with_signal: signal.Signals | None = None) -> None:
        if self.process is None:
            return
        self.process.send_signal(with_signal or self.stop_signal)
        try:
            self.process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        servers.discard(self.process.pid)
        self.process = None

    def ensure_running(self) -> None:
        """Start it again where a test that failed has left it stopped."""
        if self.process is None or self.process.poll() is not None:
            self.stop()
            self.start()

    def becomes_ready(self, end: float) -> bool:
        assert self.process is not None
        while time.monotonic() < end and self.process.poll() is None:
            if self.is_ready():
                return True
            time.sleep(0.02)
        return False

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def command(self) -> Command:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError


class Postgres(Service):
    """PostgreSQL; everybody is let in, and nothing is kept on disk for long."""

    stop_signal = signal.SIGINT  # "fast": it does not wait for its clients

    def __init__(self) -> None:
        programs = postgres_programs()
        if programs is None:
            raise Unavailable("PostgreSQL is not installed (scripts/services.sh installs it)")
        self.programs = programs
        super().__init__(unprivileged_user("postgres", "nobody"))
        self.data = self.folder / "data"
        initdb = initdb_command(programs, self.data)
        if start_as(self.user, initdb, self.folder).wait() != 0:
            raise RuntimeError(f"initdb failed:\n{self.log()}")
        self.certificate = self.make_certificate()
        self.start()

    def make_certificate(self) -> Certificate:
        """Its certificate, whose key has to be its user's and nobody else's."""
        certificate = Certificate(self.folder)
        if self.user:
            os.chown(certificate.key, self.user.pw_uid, self.user.pw_gid)
        certificate.key.chmod(0o600)
        return certificate

    def command(self) -> Command:
        return postgres_command(
            self.programs,
            self.data,
            self.port,
            ssl="on",
            ssl_cert_file=str(self.certificate.cert),
            ssl_key_file=str(self.certificate.key),
            max_connections="30",
        )

    def is_ready(self) -> bool:
        command = [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder)]
        return subprocess.run([*command, "-p", str(self.port)], check=False).returncode == 0

    def address(self, kind: str) -> dict[str, object]:
        """Arguments of asyncpg.connect for kind 'tcp', 'tls' or 'unix'."""
        address = {"port": self.port, "user": "tester", "database": "postgres", "ssl": False}
        if kind == "unix":
            return {**address, "host": str(self.folder)}
        if kind == "tls":
            address["ssl"] = self.certificate.client()
        return {**address, "host": "127.0.0.1"}


class Redis(Service):
    """Redis; it keeps nothing on disk."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Unavailable("redis-server is not installed (scripts/services.sh installs it)")
        self.program = program
        super().__init__(unprivileged_user("redis", "nobody"))
        self.path = self.folder / "redis.sock"
        self.start()

    def command(self) -> Command:
        return [
            self.program, "--port", str(self.port), "--bind", "127.0.0.1",
            "--unixsocket", str(self.path), "--dir", str(self.folder), "--save", "",
        ]  # fmt: skip

    def is_ready(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(DEADLINE)
                client.connect(str(self.path))
                client.sendall(b"PING\r\n")
                return client.recv(100).startswith(b"+PONG")
        except OSError:
            return False

    def address(self, kind: str) -> dict[str, object]:
        """Arguments of redis.asyncio.Redis for kind 'tcp' or 'unix'."""
        if kind == "tcp":
            return {"host": "127.0.0.1", "port": self.port}
        return {"unix_socket_path": str(self.path)}


class Prometheus(Service):
    """A Prometheus with the configuration that it is given."""

    def __init__(self, configuration: str) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise Unavailable("prometheus is not installed (scripts/services.sh installs it)")
        self.program = program
        super().__init__(unprivileged_user("prometheus", "nobody"))
        (self.folder / "prometheus.yml").write_text(configuration)
        self.start()

    def command(self) -> Command:
        return prometheus_command(self.program, self.folder, self.port)

    def is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.port}/-/ready"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as exc:
            exc.close()  # it is an answer, too
            return False
        except OSError:
            return False
