"""The peer resets the connection (SO_LINGER 0) at different moments; listeners that go away.

connection_lost comes once, with the error where asyncio gives one, and nothing leaks.
"""

import asyncio
import socket
from collections.abc import Callable

import pytest
from support import (
    BufferedRecorder,
    Echo,
    Recorder,
    connected,
    recv_exactly,
    reset,
    serving,
    tcp_pair,
    turns,
    unused_port,
    wait_until,
    wired,
)

LARGE = b"x" * (8 << 20)
# linux/net_tstamp.h: by software, what is sent, with numbers.
SO_TIMESTAMPING = 37
STAMP_WHAT_IS_SENT = 1 << 1 | 1 << 4 | 1 << 7

Pair = Callable[[], tuple[socket.socket, socket.socket]]
GONE = (ConnectionResetError, BrokenPipeError)


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
async def test_while_reading(loop: asyncio.AbstractEventLoop, factory: type[Recorder]) -> None:
    async with wired(factory) as (transport, protocol, far):
        await turns(3)
        reset(far)
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert transport.is_closing()
        assert protocol.events == ["connection_made", "connection_lost"]


async def test_while_a_large_write_is_under_way(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.write(LARGE)
        await turns(3)
        assert "pause_writing" in protocol.events
        reset(far)
        assert isinstance(await protocol.lost, GONE)
        assert protocol.events.count("connection_lost") == 1
        assert transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("pair", [tcp_pair, socket.socketpair])
@pytest.mark.parametrize("end", [reset, socket.socket.close])
async def test_a_backlog_does_not_hide_who_reset_the_connection(
    loop: asyncio.AbstractEventLoop,
    factory: type[Recorder],
    pair: Pair,
    end: Callable[[socket.socket], None],
) -> None:
    # Here asyncio reads before it writes: ECONNRESET from the receive, not EPIPE from the send.
    near, far = pair()
    transport, protocol = await loop.create_connection(factory, sock=near)
    transport.write(LARGE)
    await turns(3)
    end(far)  # with unread data, which makes a reset of a close
    assert repr(await protocol.lost) == "ConnectionResetError(104, 'Connection reset by peer')"


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("pair", "error"), [(tcp_pair, ConnectionResetError), (socket.socketpair, BrokenPipeError)]
)
async def test_an_answer_to_data_before_a_reset_fails_as_with_asyncio(
    loop: asyncio.AbstractEventLoop, later: bool, pair: Pair, error: type[Exception]
) -> None:
    # A receive may know the reset already, which waits behind the data. Over TCP EPIPE is then no
    # reason; a send over a Unix socket knows no other.
    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            if later:
                loop.call_soon(self.transport.write, b"answer")
            else:
                self.transport.write(b"answer")

    near, far = pair()
    transport, protocol = await loop.create_connection(Answering, sock=near)
    transport.write(b"unread")
    transport.pause_reading()
    await turns(2)
    far.send(b"question")
    reset(far)
    await turns(2)
    transport.resume_reading()
    assert type(await protocol.lost) is error


async def test_what_came_before_the_end_is_read_before_a_backlog_fails(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = socket.socketpair()
    transport, protocol = await loop.create_connection(Recorder, sock=near)
    transport.write(LARGE)
    await turns(3)
    far.send(b"last words")
    far.close()
    assert isinstance(await protocol.lost, GONE)
    assert protocol.data == b"last words"


async def test_while_writing_with_reading_paused(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.pause_reading()
        transport.write(LARGE)
        await turns(3)
        reset(far)
        assert isinstance(await protocol.lost, GONE)


async def test_while_close_flushes(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.write(LARGE)
        transport.close()
        await turns(3)
        reset(far)
        await protocol.lost
        assert protocol.events.count("connection_lost") == 1


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
@pytest.mark.parametrize(
    ("pair", "error"), [(tcp_pair, ConnectionResetError), (socket.socketpair, BrokenPipeError)]
)
@pytest.mark.parametrize("order", ["reset, close", "close, reset", "close, turn, reset"])
async def test_at_the_moment_of_a_close_that_flushes(
    loop: asyncio.AbstractEventLoop,
    factory: type[Recorder],
    pair: Pair,
    error: type[Exception],
    order: str,
) -> None:
    near, far = pair()
    transport, protocol = await loop.create_connection(factory, sock=near)
    transport.write(LARGE)
    await turns(3)
    for step in order.split(", "):
        if step == "reset":
            reset(far)
        elif step == "close":
            transport.close()
        else:
            await turns(1)
    assert type(await protocol.lost) is error
    assert transport.get_write_buffer_size() == 0


async def test_an_error_queue_is_no_hang_up(loop: asyncio.AbstractEventLoop) -> None:
    # Time stamps of what was sent make a poll say POLLERR for ever.
    async with wired() as (transport, protocol, far):
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, STAMP_WHAT_IS_SENT)
        transport.write(LARGE)
        await turns(3)
        assert await recv_exactly(far, len(LARGE)) == LARGE
        transport.close()
        await protocol.lost


async def test_before_the_transport_is_made(loop: asyncio.AbstractEventLoop) -> None:
    lost: list[BaseException | None] = []

    class Noting(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            lost.append(exc)

    async with serving(Noting) as (_, address):
        reset(socket.create_connection(address))
        await wait_until(lambda: lost)
        assert lost[0] is None or isinstance(lost[0], ConnectionResetError)


async def test_after_the_end_of_the_stream(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        protocol.keep_open_at_eof = True
        far.shutdown(socket.SHUT_WR)
        await wait_until(lambda: protocol.eof)
        reset(far)
        while not protocol.lost.done():
            transport.write(b"is anybody there?")
            await turns(1)
        assert isinstance(await protocol.lost, GONE)


async def test_with_data_on_the_way(loop: asyncio.AbstractEventLoop) -> None:
    # What arrived before the reset may or may not be delivered, but never after the loss.
    async with wired() as (_, protocol, far):
        far.send(b"x" * 1000)
        reset(far)
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert protocol.events[-1] == "connection_lost"


async def test_in_the_middle_of_pausing(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.pause_reading()
        await turns(2)
        reset(far)
        await turns(10)
        transport.resume_reading()
        assert isinstance(await protocol.lost, ConnectionResetError)


async def test_an_abort_of_ours_reaches_the_peer(loop: asyncio.AbstractEventLoop) -> None:
    async with connected() as (client, server_side):
        client.transport.abort()
        await client.lost
        await server_side.lost


async def test_a_hundred_resets_at_once(loop: asyncio.AbstractEventLoop) -> None:
    lost: list[BaseException | None] = []

    class Noting(Echo):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            lost.append(exc)

    async with serving(Noting) as (_, address):
        clients = [socket.create_connection(address) for _ in range(100)]
        for client in clients:
            client.send(b"hello")
        await turns(2)
        for client in clients:
            reset(client)
        await wait_until(lambda: len(lost) == 100)


async def test_nobody_answers_after_the_listener_is_closed(
    loop: asyncio.AbstractEventLoop,
) -> None:
    # The accept is armed in the kernel when the listener closes: it must not keep accepting.
    for _ in range(10):
        async with serving(Echo) as (server, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            server.close()
            await turns(3)
            with socket.socket() as late, pytest.raises(ConnectionRefusedError):
                late.connect(address)
            transport.close()
            await protocol.lost
            await turns(3)


async def test_hundreds_of_refused_connections_leak_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    port = unused_port()
    for _ in range(10):
        results = await asyncio.gather(
            *(loop.create_connection(Recorder, "127.0.0.1", port) for _ in range(30)),
            return_exceptions=True,
        )
        assert all(isinstance(result, ConnectionRefusedError) for result in results)
