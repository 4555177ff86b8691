"""The program closes a socket that a transport or a server still uses, and the number goes round.

The end of a `with` block does it. What the transport writes, reads and closes after that must not
touch the file that has the number now: asyncio's socket objects know that they are closed.
"""

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Noise, Recorder, differs, tcp_pair, turns, wait_until

UVLOOP = "a transport there owns a copy of the number"
Ending = Callable[[socket.socket], Any]
ENDINGS = {
    "close": lambda sock: sock.close(),
    "detach": lambda sock: os.close(sock.detach()),
}


def pair_with(number: int) -> tuple[socket.socket, socket.socket]:
    """A pair whose first socket has this number."""
    one, two = socket.socketpair()
    if two.fileno() == number:
        one, two = two, one
    elif one.fileno() != number:
        os.dup2(one.fileno(), number)
        one.close()
        one = socket.socket(fileno=number)
    one.setblocking(False)
    two.setblocking(False)
    return one, two


def received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1000)
    except BlockingIOError:
        return b""


def stop(server: asyncio.Server) -> None:
    """Close a server whose socket was closed; asyncio's selector does not like its number."""
    with contextlib.suppress(ValueError):
        server.close()


def is_open(number: int) -> bool:
    return Path(f"/proc/self/fd/{number}").exists()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("pair", [tcp_pair, socket.socketpair])
@differs("uvloop", UVLOOP)
async def test_nothing_is_written_to_the_next_file_of_that_number(
    loop: asyncio.AbstractEventLoop, noise: Noise, pair: Any, ending: str
) -> None:
    near, far = pair()
    transport, protocol = await loop.create_connection(Recorder, sock=near)
    await turns(3)
    number = near.fileno()
    ENDINGS[ending](near)
    other, others_peer = pair_with(number)
    with far, other, others_peer:
        for _ in range(6):
            transport.write(b"secret")
        transport.writelines([b"of the", b" first"])
        await turns(5)
        assert received(others_peer) == b""
        assert isinstance(await protocol.lost, OSError)
        assert is_open(number), "the end of the transport closed somebody else's descriptor"
        others_peer.send(b"for the other")
        await turns(3)
        assert other.recv(100) == b"for the other"
        assert bytes(protocol.data) == b""
    noise.take()


@pytest.mark.parametrize("end", ["close", "abort"])
@differs("uvloop", UVLOOP)
@differs("asyncio", "3.11 takes the new transport's reader away", when=sys.version_info < (3, 12))
async def test_the_end_of_the_old_transport_leaves_a_new_one_of_that_number_alone(
    loop: asyncio.AbstractEventLoop, noise: Noise, end: str
) -> None:
    near, far = socket.socketpair()
    old, _ = await loop.create_connection(Recorder, sock=near)
    await turns(3)
    number = near.fileno()
    near.close()
    other, others_peer = pair_with(number)
    with far, contextlib.ExitStack() as stack:
        stack.enter_context(others_peer)
        try:
            new, protocol = await loop.create_connection(Recorder, sock=other)
        except RuntimeError as exc:  # asyncio refuses while the old transport is open
            assert "is used by transport" in str(exc)
            getattr(old, end)()
            await turns(3)
            if other.fileno() < 0:  # and closes what it refuses, from 3.14 on
                other, others_peer = pair_with(number)
                stack.enter_context(others_peer)
            new, protocol = await loop.create_connection(Recorder, sock=other)
        else:
            getattr(old, end)()
            await turns(3)
        with contextlib.suppress(BrokenPipeError):
            far.send(b"for the first")
        others_peer.send(b"for the second")
        assert await protocol.wait_for_bytes(14) == b"for the second"
        new.write(b"answer")
        await turns(3)
        assert received(others_peer) == b"answer"
        new.close()
        await protocol.lost
    noise.take()


async def test_the_peer_sees_the_end_after_an_abort(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    near, far = socket.socketpair()
    transport, protocol = await loop.create_connection(Recorder, sock=near)
    await turns(3)
    near.close()
    await turns(3)
    transport.abort()
    await protocol.lost
    await turns(3)
    far.settimeout(10)
    with far:
        assert far.recv(1) == b""
    noise.take()


@differs("uvloop", "the server there owns a copy of the listening socket")
async def test_a_closed_listening_socket_listens_no_more(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    server = await loop.create_server(Recorder, sock=listener)
    await turns(3)
    listener.close()
    await turns(3)
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(address)
    stop(server)
    await turns(3)
    noise.take()


@differs("uvloop", "the server there owns a copy of the listening socket")
async def test_a_server_does_not_accept_from_the_next_listener_of_that_number(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    made: list[Any] = []
    listener = socket.create_server(("127.0.0.1", 0))
    server = await loop.create_server(lambda: made.append(1) or Recorder(), sock=listener)
    await turns(3)
    number = listener.fileno()
    listener.close()
    other = socket.create_server(("127.0.0.1", 0))
    if other.fileno() != number:
        os.dup2(other.fileno(), number)
        other.close()
        other = socket.socket(fileno=number)
    with other, socket.create_connection(other.getsockname()) as client:
        await turns(5)
        stop(server)
        await turns(3)
        taken, address = other.accept()
        taken.close()
        assert address == client.getsockname()
    assert made == []
    noise.take()


@differs("uvloop", "datagrams there leave by the number")
async def test_no_datagram_leaves_by_the_next_socket_of_that_number(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    errors: list[Exception] = []

    class Protocol(asyncio.DatagramProtocol):
        def error_received(self, exc: Exception) -> None:
            errors.append(exc)

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(exc)

    lost = loop.create_future()
    with socket.socket(type=socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.setblocking(False)
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        transport, _ = await loop.create_datagram_endpoint(Protocol, sock=sock)
        await turns(3)
        number = sock.fileno()
        sock.close()
        other, others_peer = pair_with(number)
        with other, others_peer:
            for _ in range(6):
                transport.sendto(b"secret", target.getsockname())
            await turns(5)
            assert received(target) == b""
            assert received(others_peer) == b""
            transport.abort()
            await wait_until(lost.done)
            assert is_open(number)
    noise.take()


async def test_the_socket_of_an_accepted_connection_may_be_closed_too(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    made: list[Recorder] = []
    server = await loop.create_server(lambda: made.append(Recorder()) or made[-1], "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        await wait_until(lambda: made and made[0].transport)
        await turns(3)
        transport = made[0].transport
        inner = getattr(transport.get_extra_info("socket"), "_sock", None)
        if inner is not None:
            number = inner.fileno()
            inner.close()
            other, others_peer = pair_with(number)
            with other, others_peer:
                transport.write(b"secret")
                await turns(5)
                assert received(others_peer) == b""
                transport.abort()
                await made[0].lost
                assert is_open(number)
        client.close()
    transport.abort()
    server.close()
    await made[0].lost
    await turns(3)
    noise.take()
    gc.collect()


@differs("asyncio", "its server does not take a number that a transport has")
@differs("uvloop", UVLOOP)
async def test_a_connection_with_the_number_of_a_blocked_one_gets_all_its_bytes(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    """Both wait until there is room; only one of them still has the number."""
    size = 4_000_000

    class Big(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(self)
            transport.write(bytes(size))

    made: list[Recorder] = []
    server = await loop.create_server(Big, "127.0.0.1", 0)
    with socket.socket() as client:
        near, far = socket.socketpair()
        blocked, protocol = await loop.create_connection(Recorder, sock=near)
        blocked.write(bytes(size))
        await turns(3)
        near.close()
        client.connect(server.sockets[0].getsockname())  # accepted under the number that is free
        await wait_until(lambda: made)
        await turns(5)
        client.setblocking(False)
        received = 0
        while received < size:
            received += len(await loop.sock_recv(client, 1 << 20))
        blocked.abort()
        await protocol.lost
        far.close()
    server.close()
    await made[0].lost
    noise.take()


@differs("asyncio", "close() raises, and nothing comes before abort()")
@differs("uvloop", UVLOOP)
async def test_closing_a_transport_that_can_send_no_more_ends_it(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    near, far = socket.socketpair()
    with far:
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        transport.write(bytes(4_000_000))
        await turns(3)
        near.close()
        transport.close()
        assert isinstance(await protocol.lost, OSError)
    noise.take()


@differs("asyncio", "the second server there is deaf")
@differs("uvloop", "the server there owns a copy of the listening socket")
async def test_a_server_with_the_number_of_a_closed_one_is_heard(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    first = await loop.create_server(Recorder, sock=closed)
    await turns(3)
    number = closed.fileno()
    closed.close()
    listener = socket.create_server(("127.0.0.1", 0))
    assert listener.fileno() == number
    made: list[Any] = []
    second = await loop.create_server(lambda: made.append(1) or Recorder(), sock=listener)
    await turns(3)
    with socket.create_connection(listener.getsockname()):
        await wait_until(lambda: made)
    stop(first)
    second.close()
    await turns(5)
    noise.take()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("when", ["in datagram_received", "outside", "while paused"])
@differs("uvloop", "datagrams there come by the number")
async def test_a_closed_datagram_socket_is_read_no_more(
    loop: asyncio.AbstractEventLoop, noise: Noise, when: str, family: int
) -> None:
    errors: list[Exception] = []
    received: list[bytes] = []

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            received.append(data)
            if when == "in datagram_received":
                near.close()

        def error_received(self, exc: Exception) -> None:
            errors.append(exc)

    if family == socket.AF_UNIX:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    else:
        near, far = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
        near.bind(("127.0.0.1", 0))
        far.connect(near.getsockname())
    near.setblocking(False)
    transport, _ = await loop.create_datagram_endpoint(Protocol, sock=near)
    await turns(3)
    with far:
        if when == "in datagram_received":
            far.send(b"one")
            await wait_until(lambda: received)
        elif when == "while paused" and hasattr(transport, "pause_reading"):
            transport.pause_reading()
            far.send(b"kept back")
            await turns(3)
            near.close()
            with contextlib.suppress(OSError):  # asyncio's selector does not know the number
                transport.resume_reading()
        near.close()
        before = len(received)
        with contextlib.suppress(OSError):
            far.send(b"two")
        await turns(20)
        assert errors == []
        assert len(received) == before
        transport.abort()
        await turns(3)
    noise.take()
