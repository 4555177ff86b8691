"""sock_recv, sock_recv_into, sock_sendall, sock_accept and sock_connect.

Sockets are non-blocking and belong to the user. A cancelled call takes nothing that nobody gets.
Source: asyncio's documentation, "Working with socket objects directly".
"""

import asyncio
import hashlib
import os
import socket
from typing import Any

import pytest
from support import (
    RLOOP_IDS,
    differs,
    fill_send_buffer,
    listening_socket,
    loops_only,
    needs_ipv6,
    recv_exactly,
    reset,
    tcp_pair,
    turns,
    unused_port,
    wired,
)


async def test_recv_gives_what_is_there(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near, far:
        far.send(b"hello")
        assert await loop.sock_recv(near, 100) == b"hello"
        far.send(b"hello")
        assert await loop.sock_recv(near, 2) == b"he"
        assert await loop.sock_recv(near, 100) == b"llo"


async def test_full_and_short_receives_of_many_bytes_alternate(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with near, far:
        for size in [40_000, 40_000, 10, 40_000, 39_999, 1, 40_000, 80_000, 7]:
            payload = os.urandom(size)
            await loop.sock_sendall(far, payload)
            received = b""
            while len(received) < size:
                piece = await loop.sock_recv(near, 40_000)
                assert 0 < len(piece) <= 40_000
                received += piece
            assert received == payload


@differs("uvloop", "it waits for data")
async def test_recv_of_nothing_does_not_wait(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near, far:
        assert await loop.sock_recv(near, 0) == b""
        assert await loop.sock_recv_into(near, bytearray()) == 0


async def test_recv_waits_for_data(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near, far:
        receiving = loop.create_task(loop.sock_recv(near, 100))
        await turns()
        assert not receiving.done()
        far.send(b"late")
        assert await receiving == b"late"


async def test_recv_at_the_end_of_the_stream_is_empty(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near:
        far.close()
        assert await loop.sock_recv(near, 100) == b""


async def test_recv_of_a_reset_connection_raises(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near:
        receiving = loop.create_task(loop.sock_recv(near, 100))
        await turns()
        reset(far)
        with pytest.raises(ConnectionResetError):
            await receiving


async def test_recv_into_fills_the_buffer(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near, far:
        buffer = bytearray(8)
        far.send(b"hello")
        assert await loop.sock_recv_into(near, buffer) == 5
        assert buffer == b"hello\0\0\0"
        receiving = loop.create_task(loop.sock_recv_into(near, memoryview(buffer)[4:]))
        await turns()
        far.send(b"abcdef")
        assert await receiving == 4
        assert buffer == b"hellabcd"
        assert await loop.sock_recv_into(near, buffer) == 2


async def test_sendall_sends_twenty_megabytes(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    payload = os.urandom(1 << 20) * 20
    with near, far:
        sending = loop.create_task(loop.sock_sendall(near, payload))
        received = await recv_exactly(far, len(payload))
        assert await sending is None
        assert hashlib.sha256(received).digest() == hashlib.sha256(payload).digest()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_sendall_takes_any_buffer(loop: asyncio.AbstractEventLoop, kind: type) -> None:
    near, far = tcp_pair()
    with near, far:
        await loop.sock_sendall(near, kind(b"payload"))
        await loop.sock_sendall(near, kind(b""))
        assert await recv_exactly(far, 7) == b"payload"


async def test_sendall_to_a_reset_connection_raises(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near:
        sending = loop.create_task(loop.sock_sendall(near, b"x" * (20 << 20)))
        await turns()
        reset(far)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await sending


async def test_accept_and_connect_meet(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket() as listener, socket.socket() as client:
        client.setblocking(False)
        accepting = loop.create_task(loop.sock_accept(listener))
        await turns()
        await loop.sock_connect(client, listener.getsockname())
        connection, address = await accepting
        with connection:
            assert address == client.getsockname()
            assert connection.gettimeout() == 0
            assert isinstance(connection, socket.socket)
            await loop.sock_sendall(client, b"x")
            assert await loop.sock_recv(connection, 1) == b"x"


@needs_ipv6
async def test_connect_over_ipv6(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket("::1") as listener, socket.socket(socket.AF_INET6) as client:
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname()[:2])
        connection, address = await loop.sock_accept(listener)
        with connection:
            assert address[:2] == client.getsockname()[:2]


async def test_connect_by_name(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket() as listener, socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
        connection, _ = await loop.sock_accept(listener)
        connection.close()


async def test_connect_to_nobody_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    with socket.socket() as client:
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            await loop.sock_connect(client, ("127.0.0.1", unused_port()))


async def test_a_unix_socket_can_be_connected(loop: asyncio.AbstractEventLoop) -> None:
    name = f"\0loop-test-{os.getpid()}-{id(loop)}"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(name)
        listener.listen()
        listener.setblocking(False)
        client.setblocking(False)
        await loop.sock_connect(client, name)
        connection, _ = await loop.sock_accept(listener)
        connection.close()


async def test_a_cancelled_recv_takes_no_data(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near, far:
        for _ in range(20):
            receiving = loop.create_task(loop.sock_recv(near, 100))
            await turns(2)
            receiving.cancel()
            far.send(b"kept")
            with pytest.raises(asyncio.CancelledError):
                await receiving
            assert await loop.sock_recv(near, 100) == b"kept"


@differs("uvloop", "a byte that came in the turn of the cancellation is lost")
async def test_a_recv_cancelled_when_data_is_there_keeps_the_data(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    with near, far:
        received = bytearray()
        for _ in range(50):
            receiving = loop.create_task(loop.sock_recv(near, 1))
            await asyncio.sleep(0)
            far.send(b"x")
            await asyncio.sleep(0)
            receiving.cancel()
            try:
                received += await receiving
            except asyncio.CancelledError:
                received += await loop.sock_recv(near, 1)
        assert received == b"x" * 50


async def test_a_cancelled_accept_leaves_the_client_to_the_next(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with listening_socket() as listener:
        accepting = loop.create_task(loop.sock_accept(listener))
        await turns(2)
        accepting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await accepting
        with socket.create_connection(listener.getsockname()) as client:
            connection, address = await loop.sock_accept(listener)
            with connection:
                assert address == client.getsockname()


async def test_a_cancelled_sendall_stops_sending(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near, far:
        fill_send_buffer(near)
        sending = loop.create_task(loop.sock_sendall(near, b"x" * (1 << 20)))
        await turns()
        assert not sending.done()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_a_cancelled_connect_can_be_closed(loop: asyncio.AbstractEventLoop) -> None:
    # A listener whose queue is full answers nobody, so the connect stays under way.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        clients = [socket.socket() for _ in range(4)]
        tasks = []
        for client in clients:
            client.setblocking(False)
            tasks.append(loop.create_task(loop.sock_connect(client, listener.getsockname())))
        await turns()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            client.close()
        await turns()


async def test_a_recv_with_a_timeout_leaves_no_watcher_behind(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    with near, far:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(near, 1), 0.005)
        far.send(b"x")
        await turns()
        assert near.recv(10) == b"x"


async def test_a_recv_and_a_sendall_share_a_socket(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    payload = b"p" * (2 << 20)
    with near, far:
        receiving = loop.create_task(loop.sock_recv(near, 10))
        sending = loop.create_task(loop.sock_sendall(near, payload))
        assert await recv_exactly(far, len(payload)) == payload
        await sending
        assert not receiving.done()
        far.send(b"x")
        assert await receiving == b"x"


async def test_the_socket_of_a_transport_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, _far):
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as twin:
            twin.setblocking(False)

        class Borrowed:
            """Looks like the transport's own socket."""

            family, type, proto = socket.AF_INET, socket.SOCK_STREAM, 0

            def fileno(self) -> int:
                return transport.get_extra_info("socket").fileno()

            def gettimeout(self) -> float:
                return 0

            def recv(self, count: int) -> bytes:
                raise BlockingIOError

        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(Borrowed(), 1)  # type: ignore[arg-type]


async def test_a_second_recv_takes_the_first_ones_place(loop: asyncio.AbstractEventLoop) -> None:
    # asyncio replaces the reader: the newer call is served, the older one waits for ever.
    near, far = tcp_pair()
    with near, far:
        first = loop.create_task(loop.sock_recv(near, 1))
        await turns(2)
        second = loop.create_task(loop.sock_recv(near, 1))
        await turns(2)
        far.send(b"ab")
        done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in done} <= {b"a", b"b"}
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_an_echo_over_sock_methods(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()

    async def echo() -> None:
        while data := await loop.sock_recv(far, 65536):
            await loop.sock_sendall(far, data)

    with near, far:
        echoing = loop.create_task(echo())
        for size in (1, 10, 1000, 100_000):
            await loop.sock_sendall(near, b"e" * size)
            assert await recv_exactly(near, size) == b"e" * size
        near.shutdown(socket.SHUT_WR)
        await echoing


@loops_only("asyncio", *RLOOP_IDS)
async def test_a_number_is_no_socket(loop: Any) -> None:
    near, far = tcp_pair()
    with near, far:
        for call in (
            loop.sock_recv(near.fileno(), 1),
            loop.sock_recv_into(near.fileno(), bytearray(1)),
            loop.sock_sendall(near.fileno(), b"leak"),
        ):
            with pytest.raises(AttributeError):
                await call
        with pytest.raises(BlockingIOError):
            far.recv(10)
