"""What the tests of the loop share: the four loops, protocols that record, and connected pairs.

The conftest next to this file puts this folder on the import path, so a test says
`from support import ...`; programs run as subprocesses find it through PYTHONPATH. Nothing here
waits by sleeping for a fixed time: every wait names an event and has the one deadline below.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

RLOOP_IDS = ("rloop-epoll", "rloop-uring")
PEER_IDS = ("asyncio", "uvloop")
LOOP_IDS = PEER_IDS + RLOOP_IDS

#: Seconds after which a wait has failed. Generous: the machine may be busy with other things.
DEADLINE = float(os.environ.get("RLOOP_TESTS_DEADLINE", "15"))

WANTED_KINDS = os.environ.get("RLOOP_TESTS_LOOPS", "asyncio,uvloop,rloop").split(",")

PY312 = sys.version_info >= (3, 12)
PY313 = sys.version_info >= (3, 13)


def wanted(loop_id: str) -> bool:
    """Whether RLOOP_TESTS_LOOPS, a list such as asyncio,rloop, names the kind of this loop.

    Without rloop the tests themselves are tested, against the others.
    """
    return re.split("[-.]", loop_id)[0] in WANTED_KINDS


def new_loop(loop_id: str) -> asyncio.AbstractEventLoop:
    """One fresh loop of the named kind; the rloop ones are forced, so no fallback can hide."""
    if loop_id == "asyncio":
        return asyncio.SelectorEventLoop()
    if loop_id == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    import rloop

    backend = {"rloop-epoll": "epoll", "rloop-uring": "io_uring"}[loop_id]
    return rloop.new_event_loop(backend=backend)


def differs(loop_id: str, reason: str, *, when: bool = True) -> pytest.MarkDecorator:
    """Skip the test on `loop_id`, whose behaviour really is another one; `reason` says which.

    `when` limits it to some versions of Python.
    """
    return pytest.mark.differs(loop_id if when else "", reason)


def loops_only(*loop_ids: str) -> pytest.MarkDecorator:
    """Run the test on these loops alone, because it speaks of what only they have."""
    return pytest.mark.loops_only(*loop_ids)


def open_descriptors() -> dict[int, str]:
    """Every open descriptor of this process, with what it refers to."""
    found: dict[int, str] = {}
    for entry in Path("/proc/self/fd").iterdir():
        # The descriptor that listed the folder is gone by now.
        with contextlib.suppress(OSError):
            found[int(entry.name)] = str(entry.readlink())
    return found


class Noise:
    """Collects what nobody caught; a test that expects some takes it.

    `contexts` went to the exception handler, `unraisable` came from finalizers and threads.
    """

    def __init__(self) -> None:
        self.contexts: list[dict[str, Any]] = []
        self.unraisable: list[str] = []

    def record(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.contexts.append(context)

    def take(self) -> list[dict[str, Any]]:
        taken, self.contexts = self.contexts, []
        return taken

    def take_one(self) -> dict[str, Any]:
        taken = self.take()
        assert len(taken) == 1, taken
        return taken[0]

    def forgive_unclosed(self) -> None:
        """Collect garbage now, and expect ResourceWarnings in it."""
        collect()
        self.unraisable = [text for text in self.unraisable if "ResourceWarning" not in text]


async def within_deadline(work: Coroutine[Any, Any, Any], deadline: float = DEADLINE) -> Any:
    async with asyncio.timeout(deadline) as limit:
        result = await work
    assert not limit.expired(), "the deadline's cancellation was taken for a result"
    return result


async def wait_until(condition: Callable[[], Any], deadline: float = DEADLINE) -> None:
    """Turn the loop until `condition` holds; fails when the deadline passes first."""
    end = time.monotonic() + deadline
    turns = 0
    while not condition():
        assert time.monotonic() < end, "the awaited condition did not come true in time"
        turns += 1
        await asyncio.sleep(0 if turns < 20 else 0.001)


async def turns(count: int = 5) -> None:
    """Let the loop make `count` turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def first_waits() -> None:
    """Let the loop open what it opens late.

    io_uring's ring comes with a wait that blocks or with a run that goes on for 32 turns. A short
    sleep need not block: on a busy machine its time is over before the loop looks.
    """
    await turns(64)


def run_briefly(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until what is ready now has run."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def finish(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left, let closing transports close, then close the loop."""
    if loop.is_closed():
        return
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(turns(10))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@contextlib.contextmanager
def another_loop(loop_id: str) -> Iterator[asyncio.AbstractEventLoop]:
    loop = new_loop(loop_id)
    try:
        yield loop
    finally:
        finish(loop)


# -- sockets ------------------------------------------------------------------------------------


def listening_socket(host: str = "127.0.0.1", backlog: int = 128) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.bind((host, 0))
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected, non-blocking TCP sockets on the loopback."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


def unused_port() -> int:
    """A port that nobody listens on (free a moment ago)."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return probe.getsockname()[1]


def reset(sock: socket.socket) -> None:
    """Close so that the peer sees ECONNRESET instead of an orderly end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def fill_send_buffer(sock: socket.socket) -> int:
    """Write until the socket takes no more; how many bytes it took."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sock.send(b"f" * 65536)
    return sent


def has_ipv6() -> bool:
    try:
        with contextlib.closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


async def recv_exactly(sock: socket.socket, count: int) -> bytes:
    """`count` bytes of a non-blocking socket, or fewer when its peer ended the stream."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < count:
        data = await loop.sock_recv(sock, count - len(received))
        if not data:
            break
        received += data
    return bytes(received)


async def recv_all(sock: socket.socket) -> bytes:
    """Everything until the peer ends the stream."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while data := await loop.sock_recv(sock, 1 << 18):
        received += data
    return bytes(received)


# -- protocols ----------------------------------------------------------------------------------


class Notes:
    """Keeps what a transport told; `made` and `lost` are futures, `data` all bytes so far."""

    transport: Any = None

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.events: list[str] = []
        self.data = bytearray()
        self.chunks: list[bytes] = []
        self.made: asyncio.Future[Any] = loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = loop.create_future()
        self.eof = False
        self.keep_open_at_eof: bool | None = None

    def connection_made(self, transport: Any) -> None:
        self.events.append("connection_made")
        self.transport = transport
        if not self.made.done():
            self.made.set_result(transport)

    def eof_received(self) -> bool | None:
        self.events.append("eof_received")
        self.eof = True
        return self.keep_open_at_eof

    def pause_writing(self) -> None:
        self.events.append("pause_writing")

    def resume_writing(self) -> None:
        self.events.append("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append("connection_lost")
        if not self.lost.done():
            self.lost.set_result(exc)

    async def wait_for_bytes(self, count: int) -> bytes:
        await wait_until(lambda: len(self.data) >= count)
        return bytes(self.data)


class Recorder(Notes, asyncio.Protocol):
    """The streaming protocol that notes everything."""

    def data_received(self, data: bytes) -> None:
        self.events.append("data_received")
        self.chunks.append(data)
        self.data += data


class Echo(Recorder):
    """Sends back what it receives."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Datagrams(asyncio.DatagramProtocol):
    """Notes every datagram with its address, and every error; `answer` is sent back to each."""

    transport: Any = None

    def __init__(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.answer = answer
        self.events: list[str] = []
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    @property
    def data(self) -> list[bytes]:
        return [data for data, _ in self.received]

    def connection_made(self, transport: Any) -> None:
        self.events.append("connection_made")
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))
        if self.answer:
            self.transport.sendto(self.answer(data), addr)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def pause_writing(self) -> None:
        self.events.append("pause_writing")

    def resume_writing(self) -> None:
        self.events.append("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append("connection_lost")
        self.lost.set_result(exc)

    async def wait_for(self, count: int) -> list[bytes]:
        await wait_until(lambda: len(self.received) >= count)
        return self.data


class BufferedRecorder(Notes, asyncio.BufferedProtocol):
    """The same by the buffered protocol; `sizehints` are get_buffer's arguments."""

    def __init__(self, size: int = 65536) -> None:
        super().__init__()
        self.buffer = bytearray(size)
        self.sizehints: list[int] = []
        self.updates: list[int] = []

    def get_buffer(self, sizehint: int) -> Any:
        self.sizehints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.events.append("buffer_updated")
        self.updates.append(nbytes)
        self.data += self.buffer[:nbytes]


# -- connections --------------------------------------------------------------------------------


async def until_closed(*transports: Any) -> None:
    """Abort what is still open and wait until each transport has let go of its descriptor."""
    for transport in transports:
        # asyncio's own fails in abort() when it has flushed and closed already.
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() != -1:
            transport.abort()
            await wait_until(lambda sock=sock: sock.fileno() == -1)


@contextlib.asynccontextmanager
async def wired(
    factory: Callable[[], Any] = Recorder, *, receive_buffer: int | None = None
) -> AsyncIterator[tuple[Any, Any, socket.socket]]:
    """A transport of the running loop, its protocol, and the plain socket at the other end."""
    loop = asyncio.get_running_loop()
    near, far = tcp_pair()
    if receive_buffer is not None:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, receive_buffer)
    transport, protocol = await loop.create_connection(factory, sock=near)
    try:
        yield transport, protocol, far
    finally:
        far.close()
        await until_closed(transport)


@contextlib.asynccontextmanager
async def bound(
    local_addr: Any = ("127.0.0.1", 0), *, answer: Any = None, **options: Any
) -> AsyncIterator[Any]:
    """A datagram endpoint of the running loop that notes what it gets; its protocol."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Datagrams(answer), local_addr=local_addr, **options
    )
    try:
        yield protocol
    finally:
        transport.abort()
        await wait_until(protocol.lost.done)


@contextlib.asynccontextmanager
async def serving(
    factory: Callable[[], Any], host: Any = "127.0.0.1", **options: Any
) -> AsyncIterator[tuple[Any, Any]]:
    """A TCP server of the running loop on a port of the system's choice, and its address."""
    server = await asyncio.get_running_loop().create_server(factory, host, 0, **options)
    try:
        yield server, server.sockets[0].getsockname()
    finally:
        server.close()
        await turns(2)


@contextlib.asynccontextmanager
async def connected(
    client_factory: Callable[[], Any] = Recorder, server_factory: Callable[[], Any] = Recorder
) -> AsyncIterator[tuple[Any, Any]]:
    """Two protocols of the running loop, a client's and a server's, with open transports."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Any] = loop.create_future()

    def accept() -> Any:
        protocol = server_factory()
        accepted.set_result(protocol)
        return protocol

    async with serving(accept) as (_, address):
        _, client = await loop.create_connection(client_factory, *address[:2])
        server_side = await accepted
        await server_side.made
    try:
        yield client, server_side
    finally:
        await until_closed(client.transport, server_side.transport)


def collect() -> None:
    """Two passes: what the first one's finalizers let go of goes in the second."""
    gc.collect()
    gc.collect()
