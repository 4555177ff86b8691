"""The limit in C++ (benchmarks/limit) serves what it is given back whole, on both engines.

Figures of a server that loses or mixes bytes mean nothing. So the load generator, which checks each
byte, goes through every kind of it; what the load generator does not do is done here: a peer that
does not read, and one that ends its half first. Without the programs (a build of the package alone)
there is nothing to test.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

BUILD = Path(__file__).parent.parent.parent / "build"
PROGRAMS = BUILD / f"{sys.version_info.major}.{sys.version_info.minor}" / "benchmarks"
LIMIT = PROGRAMS / "limit" / "limit"
LOADGEN = PROGRAMS / "loadgen" / "loadgen"
KIB = 1024
# More than the sockets' buffers and the server's backlog hold together.
MUCH = 64 * KIB * KIB
# Descriptors: more than a server without connections has, fewer than the connections of any test.
FEW = 10

pytestmark = pytest.mark.skipif(
    not (LIMIT.exists() and LOADGEN.exists()), reason=f"{LIMIT} or {LOADGEN} was not built"
)


@dataclass
class Server:
    process: subprocess.Popen[str]
    address: str

    def connect(self) -> socket.socket:
        if self.address.startswith("unix:"):
            connected = socket.socket(socket.AF_UNIX)
            connected.connect(self.address.removeprefix("unix:"))
        else:
            host, _, port = self.address.partition(":")
            connected = socket.create_connection((host, int(port)))
        connected.settimeout(20)
        return connected


@pytest.fixture(params=["uring", "epoll"])
def engine(request: pytest.FixtureRequest) -> str:
    engine: str = request.param
    check = subprocess.run(
        [LIMIT, "--loop", engine, "--check"], capture_output=True, text=True, check=False
    )
    if engine == "uring" and check.returncode != 0:  # it may be refused; epoll may not
        pytest.skip(check.stderr)
    assert check.returncode == 0, check.stderr
    return engine


@contextlib.contextmanager
def serving(engine: str, *options: str, address: str = "127.0.0.1:0") -> Iterator[Server]:
    command = [LIMIT, "--loop", engine, "--addr", address, "--exit-after", "50", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.fullmatch(r"serving on: (?:\('([\d.]+)', (\d+)\)|(/.+))\n", line):
                break
        else:
            raise AssertionError("it ended before it said where it serves")
        name = f"unix:{found[3]}" if found[3] else f"{found[1]}:{found[2]}"
        yield Server(process, f"udp:{name}" if "--udp" in options else name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def load(server: Server, work: str, size: int, connections: int) -> None:
    """Load it for a moment; fails if a byte is wrong, or the server does not answer."""
    words = ["--addr", server.address, "--work", work, "--size", size]
    words += ["--connections", connections, "--warm-up", 0.05, "--seconds", 0.2, "--limit", 40]
    done = subprocess.run(
        [LOADGEN, *map(str, words)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["messages"] > 0
    assert figures["mismatches"] == 0


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_every_byte_is_echoed(engine: str, transport: str, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket" if transport == "unix" else "127.0.0.1:0"
    with serving(engine, address=address) as server:
        # A thousand in one turn are more than the buffers that a ring is offered at first.
        for size, connections in (
            (KIB, 1),
            (KIB, 100),
            (KIB, 1000),
            (100 * KIB, 10),
            (100 * KIB, 100),
        ):
            load(server, "echo", size, connections)
        if transport == "tcp":
            load(server, "churn", KIB, 10)
        # Not the descriptors alone: what was made for those connections is gone or goes on.
        load(server, "echo", KIB, 1)
        assert open_descriptors(server.process.pid) < FEW
    assert not (tmp_path / "socket").exists()


def open_descriptors(pid: int) -> int:
    """Their number, once the ends of the last load's connections have arrived."""
    deadline = time.monotonic() + 10
    while (count := len(list(Path(f"/proc/{pid}/fd").iterdir()))) >= FEW:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return count


@pytest.mark.parametrize("connections", [1, 20])
def test_bytes_go_one_way(engine: str, connections: int) -> None:
    with serving(engine, "--sink") as server:
        load(server, "send", 100 * KIB, connections)
    with serving(engine, "--source", str(100 * KIB), "--socket-buffers", "65536") as server:
        load(server, "receive", 100 * KIB, connections)


def test_datagrams_are_echoed(engine: str) -> None:
    with serving(engine, "--udp") as server:
        for size, peers in ((512, 1), (512, 100), (60000, 5)):
            load(server, "echo", size, peers)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            host, _, port = server.address.removeprefix("udp:").partition(":")
            peer.connect((host, int(port)))
            peer.settimeout(20)
            # An empty datagram ends a multishot receive, which has to be armed again.
            for datagram in (b"", b"x" * 65507, b"", b"end"):
                peer.send(datagram)
                assert peer.recv(65536) == datagram


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_peer_that_does_not_read_is_not_read_from(
    engine: str, transport: str, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/socket" if transport == "unix" else "127.0.0.1:0"
    block = bytes(range(256)) * 257  # no power of two: a block that is lost or moved shows
    with serving(engine, address=address) as server, server.connect() as peer:
        peer.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < MUCH:
                sent += peer.send(block[sent % len(block) :])
        assert sent < MUCH, "the server took all of it while nothing was read"
        assert resident_kib(server.process.pid) < 32 * KIB
        # Others are served meanwhile, and this one gets everything once it reads.
        load(server, "echo", KIB, 10)
        peer.settimeout(20)
        peer.shutdown(socket.SHUT_WR)
        received = 0
        while data := peer.recv(256 * KIB):
            start = received % len(block)
            assert data == (block * (2 + len(data) // len(block)))[start : start + len(data)]
            received += len(data)
        assert received == sent


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


def test_peers_that_vanish_leave_nothing_behind(engine: str) -> None:
    with serving(engine) as server:
        peers = [server.connect() for _ in range(50)]
        for peer in peers:
            # Linger of zero: the connection is reset, with answers under way and data unread.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    peer.send(b"x" * 100 * KIB)
        for peer in peers:
            peer.close()
        assert open_descriptors(server.process.pid) < FEW
        load(server, "echo", KIB, 10)


def test_it_ends_by_itself(engine: str) -> None:
    command = [LIMIT, "--loop", engine, "--addr", "127.0.0.1:0", "--exit-after", "0.2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0
    assert "serving on: " in done.stdout
