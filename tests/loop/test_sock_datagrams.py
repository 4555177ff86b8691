"""sock_recvfrom, sock_recvfrom_into and sock_sendto.

asyncio's documentation, "Working with socket objects directly"; since Python 3.11.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from support import RLOOP_IDS, loops_only, turns

pytestmark = loops_only("asyncio", *RLOOP_IDS)  # uvloop has none of them


@contextlib.contextmanager
def two_sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        for sock in (one, other):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        yield one, other


async def test_there_and_back(loop: asyncio.AbstractEventLoop) -> None:
    with two_sockets() as (one, other):
        waiting = loop.create_task(loop.sock_recvfrom(other, 100))
        await turns()
        assert await loop.sock_sendto(one, b"ping", other.getsockname()) == 4
        assert await waiting == (b"ping", one.getsockname())
        assert await loop.sock_sendto(other, b"", one.getsockname()) == 0
        assert await loop.sock_recvfrom(one, 100) == (b"", other.getsockname())


async def test_into_a_buffer(loop: asyncio.AbstractEventLoop) -> None:
    with two_sockets() as (one, other):
        buffer = bytearray(10)
        waiting = loop.create_task(loop.sock_recvfrom_into(other, buffer))
        await turns()
        await loop.sock_sendto(one, b"abcdef", other.getsockname())
        assert await waiting == (6, one.getsockname())
        assert buffer == b"abcdef\0\0\0\0"
        await loop.sock_sendto(one, b"ghijkl", other.getsockname())
        assert await loop.sock_recvfrom_into(other, buffer, 2) == (2, one.getsockname())
        assert buffer == b"ghcdef\0\0\0\0"


async def test_a_cancelled_receive_consumes_nothing(loop: asyncio.AbstractEventLoop) -> None:
    with two_sockets() as (one, other):
        waiting = loop.create_task(loop.sock_recvfrom(other, 100))
        await turns()
        one.sendto(b"kept", other.getsockname())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await loop.sock_recvfrom(other, 100) == (b"kept", one.getsockname())


async def test_sending_waits_for_room(loop: asyncio.AbstractEventLoop, tmp_path: object) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        sender.setblocking(False)
        receiver.setblocking(False)
        path = f"{tmp_path}/receiver"
        receiver.bind(path)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.sendto(b"x", path)
                sent += 1
        # A Unix socket that is not connected always seems writable: the loop tries again and again.
        sender.connect(path)
        waiting = loop.create_task(loop.sock_sendto(sender, b"last", path))
        await turns(5)
        assert not waiting.done()
        for _ in range(sent):
            assert await loop.sock_recvfrom(receiver, 10)
        await waiting
        assert (await loop.sock_recvfrom(receiver, 10))[0] == b"last"


async def test_a_blocking_socket_is_refused_in_debug_mode(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="non-blocking"):
            await loop.sock_recvfrom(sock, 10)
        with pytest.raises(ValueError, match="non-blocking"):
            await loop.sock_sendto(sock, b"x", ("127.0.0.1", 9))
