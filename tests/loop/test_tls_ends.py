"""Every TLS connection ends: whoever ended it, in whatever state, with reading paused or not.

The peer is a blocking socket of the `ssl` module, so that it can end with close_notify, without it,
or by a reset, and read or not. What is looked at is that connection_lost comes once and that the
descriptor goes (which the `loop` fixture checks).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support import (
    RLOOP_IDS,
    BufferedRecorder,
    Noise,
    Recorder,
    differs,
    loops_only,
    reset,
    serving,
    tcp_pair,
    turns,
    wait_until,
)
from test_tls import CLIENT, SERVER

#: Seconds; long enough that an end by the timeout is told from an end by itself.
LONG = 600.0
SHORT = 0.1


@contextlib.asynccontextmanager
async def secured(
    side: str, factory: Callable[[], Any] = Recorder, *, timeout: float = LONG
) -> AsyncIterator[tuple[Any, Any, ssl.SSLSocket]]:
    """Our transport (server, client or upgraded client) with its protocol, and a blocking peer."""
    loop = asyncio.get_running_loop()
    near, far = tcp_pair()
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far.setblocking(True)
    far.settimeout(30)
    options: dict[str, Any] = {"ssl_shutdown_timeout": timeout}
    if side == "server":
        shake = loop.run_in_executor(
            None, lambda: CLIENT.wrap_socket(far, server_hostname="localhost")
        )
        protocol = factory()
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, near, ssl=SERVER, **options
        )
    else:
        shake = loop.run_in_executor(None, lambda: SERVER.wrap_socket(far, server_side=True))
        name = {"server_hostname": "localhost"}
        if side == "client":
            transport, protocol = await loop.create_connection(
                factory, sock=near, ssl=CLIENT, **name, **options
            )
        else:
            plain, protocol = await loop.create_connection(factory, sock=near)
            transport = await loop.start_tls(plain, protocol, CLIENT, **name, **options)
    peer = await shake
    try:
        yield transport, protocol, peer
    finally:
        peer.close()
        if not protocol.lost.done():
            transport.abort()
        await protocol.lost


def say_goodbye(peer: ssl.SSLSocket) -> None:
    """close_notify, and nothing further: the peer goes on waiting for ours."""
    peer.setblocking(False)
    with contextlib.suppress(OSError):  # no answer yet, unread data, or ours was first
        peer.unwrap()


def say_goodbye_and_end(peer: ssl.SSLSocket) -> None:
    say_goodbye(peer)
    end(peer)


def end(peer: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):  # ours was first
        socket.socket.shutdown(peer, socket.SHUT_WR)


ENDS = {
    "close_notify": say_goodbye,
    "close_notify and the end": say_goodbye_and_end,
    "the end": end,
    "a close": socket.socket.close,
    "a reset": reset,
}
LASTING_ENDS = {name: ENDS[name] for name in ("close_notify and the end", "the end")}
SIDES = ("server", "client", "upgraded")
each_side = pytest.mark.parametrize("side", SIDES)
each_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
each_lasting_end = pytest.mark.parametrize("end", LASTING_ENDS.values(), ids=LASTING_ENDS)


async def until_seen(transport: Any, protocol: Any, peer: ssl.SSLSocket) -> None:
    """Give the loop time to see what the peer did; not seeing it is one of the cases."""
    await turns(20)
    await asyncio.sleep(0.01)


@differs("asyncio", "close() does nothing after the peer's end, while reading is paused")
@differs("uvloop", "close() does nothing after the peer's end, while reading is paused")
@each_side
@each_lasting_end
async def test_close_after_the_peers_end_while_reading_is_paused(
    loop: asyncio.AbstractEventLoop, side: str, end: Any
) -> None:
    async with secured(side) as (transport, protocol, peer):
        transport.pause_reading()
        peer.sendall(b"unread")
        end(peer)
        await until_seen(transport, protocol, peer)
        assert not protocol.lost.done()
        transport.close()
        transport.close()
        assert transport.is_closing()
        await protocol.lost
        assert protocol.events.count("connection_lost") == 1


@loops_only(*RLOOP_IDS)
@each_side
@each_end
@pytest.mark.parametrize("reading", ["reads", "paused", "resumed"])
@pytest.mark.parametrize("order", ["peer first", "at once", "program first"])
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_every_end_in_every_order(
    loop: asyncio.AbstractEventLoop,
    side: str,
    end: Any,
    reading: str,
    order: str,
    how: str,
) -> None:
    async with secured(side) as (transport, protocol, peer):
        if reading != "reads":
            transport.pause_reading()
        peer.sendall(b"data" * 1000)
        transport.write(b"answer")

        def end_ours() -> None:
            if reading == "resumed":
                transport.resume_reading()
            getattr(transport, how)()

        if order == "program first":
            end_ours()
            await turns(3)
        end(peer)
        if order == "peer first":
            await until_seen(transport, protocol, peer)
        if order != "program first":
            end_ours()
        if how == "close" and end is say_goodbye and order == "program first":
            await until_seen(transport, protocol, peer)
            peer.close()
        await protocol.lost
        assert protocol.events.count("connection_lost") == 1


@each_side
@pytest.mark.parametrize("paused", [True, False], ids=["paused", "reading"])
async def test_a_peer_that_never_answers_is_given_the_shutdown_timeout(
    loop: asyncio.AbstractEventLoop, noise: Noise, side: str, paused: bool
) -> None:
    async with secured(side, timeout=SHORT) as (transport, protocol, _):
        if paused:
            transport.pause_reading()
        transport.close()
        assert isinstance(await protocol.lost, (TimeoutError, type(None)))
    noise.take()


@differs("asyncio", "close() does nothing after the peer's end, while reading is paused")
@differs("uvloop", "it waits for the peer to read, for ever")
@each_side
async def test_the_shutdown_timeout_also_ends_a_peer_that_does_not_read(
    loop: asyncio.AbstractEventLoop, side: str
) -> None:
    async with secured(side, timeout=SHORT) as (transport, protocol, peer):
        transport.pause_reading()
        transport.write(b"x" * 20_000_000)
        end(peer)
        await until_seen(transport, protocol, peer)
        transport.close()
        assert isinstance(await protocol.lost, TimeoutError)


@differs("asyncio", "data that nobody has read is an error of the shutdown, which cuts off ours")
@each_side
async def test_close_with_unread_data_still_sends_what_was_written(
    loop: asyncio.AbstractEventLoop, side: str
) -> None:
    async with secured(side) as (transport, protocol, peer):
        transport.pause_reading()
        peer.sendall(b"nobody reads this")
        await until_seen(transport, protocol, peer)
        answer = bytes(3_000_000)
        transport.write(answer)
        transport.close()
        peer.sendall(b"nor this, which comes after the close")

        def read_all() -> int:
            count = 0
            while data := peer.recv(1 << 16):
                count += len(data)
            with contextlib.suppress(OSError):
                peer.unwrap()
            return count

        assert await loop.run_in_executor(None, read_all) == len(answer)
        await protocol.lost


@differs("asyncio", "it reads one buffer and drops the rest")
@differs("uvloop", "it reads one buffer and drops the rest")
@each_side
@pytest.mark.parametrize("paused", [True, False], ids=["paused", "reading"])
async def test_a_buffered_protocol_gets_everything_before_the_end(
    loop: asyncio.AbstractEventLoop, side: str, paused: bool
) -> None:
    async with secured(side, lambda: BufferedRecorder(100)) as (transport, protocol, peer):
        if paused:
            transport.pause_reading()
        peer.sendall(b"d" * 5000)
        say_goodbye_and_end(peer)
        await until_seen(transport, protocol, peer)
        if paused:
            assert protocol.data == b""
            transport.resume_reading()
        await protocol.lost
        assert protocol.data == b"d" * 5000
        assert protocol.events[-2:] == ["eof_received", "connection_lost"]


class PausesEachTime(BufferedRecorder):
    """Pauses in each buffer_updated."""

    def __init__(self) -> None:
        super().__init__(1000)

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.transport.pause_reading()


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "read"])
async def test_a_pause_during_the_last_data_is_respected(
    loop: asyncio.AbstractEventLoop, closed: bool
) -> None:
    async with secured("client", PausesEachTime) as (transport, protocol, peer):
        peer.sendall(b"d" * 5000)
        say_goodbye_and_end(peer)
        for count in range(1, 6):
            await wait_until(lambda count=count: len(protocol.data) >= 1000 * count)
            await until_seen(transport, protocol, peer)
            assert len(protocol.data) == 1000 * count
            if closed:
                transport.close()
                break
            transport.resume_reading()
        await protocol.lost
        assert len(protocol.data) == (1000 if closed else 5000)


class EndsInside(Recorder):
    """Ends its transport in data_received or eof_received."""

    def __init__(self, where: str, how: str) -> None:
        super().__init__()
        self.where, self.how = where, how

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.end("data_received")

    def eof_received(self) -> None:
        super().eof_received()
        self.end("eof_received")

    def end(self, where: str) -> None:
        if where == self.where:
            self.transport.pause_reading()
            getattr(self.transport, self.how)()


@loops_only(*RLOOP_IDS)
@each_end
@pytest.mark.parametrize("paused", [True, False], ids=["paused", "reading"])
@pytest.mark.parametrize("where", ["data_received", "eof_received"])
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_protocol_ends_it_while_the_end_is_delivered(
    loop: asyncio.AbstractEventLoop, end: Any, paused: bool, where: str, how: str
) -> None:
    async with secured("client", lambda: EndsInside(where, how)) as (transport, protocol, peer):
        if paused:
            transport.pause_reading()
        peer.sendall(b"data")
        end(peer)
        await until_seen(transport, protocol, peer)
        transport.resume_reading()
        await until_seen(transport, protocol, peer)
        peer.close()
        await protocol.lost
        assert protocol.events.count("connection_lost") == 1


@pytest.mark.parametrize("how", ["the end", "a reset"])
@differs("asyncio", "a reset during start_tls is told to nobody but start_tls")
@differs("uvloop", "a reset during start_tls is told to nobody but start_tls")
async def test_the_protocol_of_start_tls_is_told_when_the_handshake_fails(
    loop: asyncio.AbstractEventLoop, how: str
) -> None:
    near, far = tcp_pair()
    plain, protocol = await loop.create_connection(Recorder, sock=near)
    upgrade = asyncio.ensure_future(
        loop.start_tls(plain, protocol, CLIENT, server_hostname="localhost")
    )
    await turns(5)
    if how == "a reset":
        reset(far)
    else:
        far.close()
    with pytest.raises(OSError):
        await upgrade
    await protocol.lost


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_plain_transport_is_ended_during_start_tls(
    loop: asyncio.AbstractEventLoop, how: str
) -> None:
    near, far = tcp_pair()
    plain, protocol = await loop.create_connection(Recorder, sock=near)
    upgrade = asyncio.ensure_future(
        loop.start_tls(plain, protocol, CLIENT, server_hostname="localhost")
    )
    await turns(5)
    getattr(plain, how)()
    with pytest.raises(ConnectionAbortedError):
        await upgrade
    await protocol.lost
    far.close()


@loops_only(*RLOOP_IDS)
@each_end
async def test_tls_in_tls_ends(loop: asyncio.AbstractEventLoop, end: Any) -> None:
    """The outer connection's transport is the inner TLS transport, with its own end."""
    made: list[Any] = []

    def accept() -> Any:
        made.append(Recorder())
        return made[-1]

    async with serving(accept, ssl=SERVER) as (_, address):
        inner, protocol = await loop.create_connection(
            Recorder, *address, ssl=CLIENT, server_hostname="localhost"
        )
        await wait_until(lambda: made and made[0].transport)
        outer, far = await asyncio.gather(
            loop.start_tls(inner, protocol, CLIENT, server_hostname="localhost"),
            loop.start_tls(made[0].transport, made[0], SERVER, server_side=True),
        )
        outer.pause_reading()
        far.write(b"unread")
        await turns(20)
        if end is say_goodbye:
            far.close()
        elif end is reset:
            far.abort()
        else:
            made[0].transport.close()
        await turns(20)
        outer.close()
        await protocol.lost
        far.abort()
        await made[0].lost
