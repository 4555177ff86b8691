"""The programs of examples/, as their users start them; clients are blocking sockets.

Each takes its engine from RLOOP_BACKEND. What needs a command line of a server is in test_hooks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import PATIENCE, wait_for
from started import EXAMPLES, Program, environment


@pytest.fixture(autouse=True)
def on_rloop(loop_id: str) -> None:
    if loop_id == "asyncio":
        pytest.skip("the examples are rloop's")


def example(name: str, loop_id: str, folder: Path, *arguments: str) -> Program:
    """A server of examples/, on a port that the kernel chooses."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return Program(command, loop_id, folder, PORT="0")


def said_by(name: str, loop_id: str, folder: Path, *arguments: str, **extra: str) -> str:
    """What a program of examples/ says until its end."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder, env=environment(loop_id, folder, extra), timeout=PATIENCE,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        yield client


def all_from(client: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    with client.makefile("rb") as file:
        return file.read()


def engine_of(port: int) -> str:
    url = f"http://127.0.0.1:{port}/you"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


def test_echo_server(loop_id: str, tmp_path: Path) -> None:
    with example("echo_server.py", loop_id, tmp_path) as program:
        with connected(program.port()) as one, connected(program.port()) as two:
            for client, data in ((one, b"one" * 30000), (two, b"two")):
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                assert all_from(client) == data
        assert program.ends_by(signal.SIGINT) == -signal.SIGINT, program.log()


def test_udp(loop_id: str, tmp_path: Path) -> None:
    with example("udp.py", loop_id, tmp_path) as program:
        port = str(program.port())
        assert said_by("udp.py", loop_id, tmp_path, "hello", PORT=port) == "HELLO\n"
    # It says so when nobody serves there (any more).
    said = said_by("udp.py", loop_id, tmp_path, "hello", PORT=port).splitlines()
    assert said.count("no answer, asking again") == 3
    assert any(line.startswith("nobody is there yet: ") for line in said)


def certificate_command() -> list[str]:
    """The command in the text of examples/tls.py."""
    text = (EXAMPLES / "tls.py").read_text().partition("openssl req")[2].partition("python")[0]
    return ["openssl", "req", *shlex.split(text.replace("\\\n", " "))]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls(loop_id: str, tmp_path: Path) -> None:
    subprocess.run(certificate_command(), cwd=tmp_path, check=True, capture_output=True)
    with example("tls.py", loop_id, tmp_path) as program:
        port = str(program.port())
        assert said_by("tls.py", loop_id, tmp_path, "hello", PORT=port) == "hello\n"
        program.says("somebody came by TLSv1.3")
        # Without trust there is no connection, and the server goes on.
        with connected(int(port)) as client, pytest.raises(ssl.SSLCertVerificationError):
            context = ssl.create_default_context()
            context.wrap_socket(client, server_hostname="localhost")
        assert said_by("tls.py", loop_id, tmp_path, "again", PORT=port) == "again\n"


def test_pipeline(loop_id: str, tmp_path: Path) -> None:
    lines = sorted((str(n) for n in range(1, 100001) if "7" in str(n)), reverse=True)
    expected = [*lines[:3], f"{len(lines)} lines", "exit codes: 0 0 0"]
    said = said_by("pipeline.py", loop_id, tmp_path, LC_ALL="C").splitlines()
    assert said == expected


def test_graceful_shutdown(loop_id: str, tmp_path: Path) -> None:
    with example("graceful_shutdown.py", loop_id, tmp_path) as program:
        port = program.port()
        with contextlib.ExitStack() as stack:
            *working, idle, half = [stack.enter_context(connected(port)) for _ in range(40)]
            half.sendall(b"no end of li")
            for number, client in enumerate(working):
                client.sendall(f"number {number}\n".encode())
            for number in range(len(working)):
                program.says(rf"request number {number}\n")
            program.send(signal.SIGTERM)
            program.says("stopping, 40 clients")
            with pytest.raises(ConnectionRefusedError), connected(port):
                pass
            for number, client in enumerate(working):
                assert all_from(client) == f"NUMBER {number}\n".encode()
            assert all_from(idle) == b""
            assert all_from(half) == b""
        assert program.ends() == 0, program.log()
        assert program.log().endswith("done\n")
        assert "Traceback" not in program.log()


def test_one_per_core(loop_id: str, tmp_path: Path) -> None:
    with example("one_per_core.py", loop_id, tmp_path) as program:
        port = program.port()
        cores = len(os.sched_getaffinity(0))
        program.says(f"{cores} processes")
        seen: set[bytes] = set()

        def all_have_answered() -> bool:
            with contextlib.suppress(ConnectionRefusedError):  # none of them listens yet
                with connected(port) as client:
                    seen.add(all_from(client))
            return len(seen) == cores

        wait_for(all_have_answered, f"an answer of each process; the log:\n{program.log()}")
        assert program.ends_by(signal.SIGTERM) == 0, program.log()
        assert "Traceback" not in program.log()
        with pytest.raises(ConnectionRefusedError), connected(port):
            pass


def test_chat_server(loop_id: str, tmp_path: Path) -> None:
    pytest.importorskip("websockets", reason="websockets (requirements-ecosystem.txt)")
    from websockets.sync.client import connect

    with example("chat_server.py", loop_id, tmp_path) as program:
        url = f"ws://127.0.0.1:{program.port()}"
        with connect(url) as one, connect(url) as two:
            came = one.recv(PATIENCE)
            with connect(url) as three:
                assert one.recv(PATIENCE) == two.recv(PATIENCE) != came
                for number in range(100):
                    three.send(f"message {number}")
                for hearer in (one, two):
                    heard = [hearer.recv(PATIENCE) for _ in range(100)]
                    assert [text.partition(": ")[2] for text in heard] == [
                        f"message {number}" for number in range(100)
                    ]
            for hearer in (one, two):
                assert hearer.recv(PATIENCE).endswith("has left")
        assert program.ends_by(signal.SIGINT) == -signal.SIGINT


def test_aiohttp_server(loop_id: str, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp (requirements-ecosystem.txt)")
    with example("aiohttp_server.py", loop_id, tmp_path) as program:
        assert json.loads(engine_of(program.port())) == {"hello": "you", "engine": loop_id}
        assert program.ends_by(signal.SIGTERM) == 0, program.log()


def test_hypercorn_by_its_api(loop_id: str, tmp_path: Path) -> None:
    pytest.importorskip("hypercorn", reason="hypercorn (requirements-ecosystem.txt)")
    with example("servers/hypercorn_api.py", loop_id, tmp_path) as program:
        assert engine_of(program.port()) == f"process {program.pid}, engine {loop_id}\n"
        assert program.ends_by(signal.SIGTERM) == 0, program.log()
