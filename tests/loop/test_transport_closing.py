"""How a stream transport ends: close, abort, end of stream, half-closed connections.

connection_lost comes exactly once, never from inside close or abort, and last of all; afterwards
the descriptor is gone. Source: asyncio's documentation, "Base Transport", "Streaming Protocols".
"""

import asyncio
import socket
import sys
import weakref

import pytest
from support import (
    RLOOP_IDS,
    Echo,
    Noise,
    Recorder,
    collect,
    connected,
    differs,
    loops_only,
    open_descriptors,
    recv_all,
    recv_exactly,
    serving,
    tcp_pair,
    turns,
    wait_until,
    wired,
)


async def test_close_calls_connection_lost_once_and_later(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        transport.close()
        assert transport.is_closing()
        assert "connection_lost" not in protocol.events
        transport.close()
        assert await protocol.lost is None
        transport.close()
        transport.abort()
        await turns(10)
        assert protocol.events.count("connection_lost") == 1
        assert await recv_all(far) == b""


async def test_close_flushes_what_was_written(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        payload = b"p" * (8 << 20)
        transport.write(payload)
        transport.close()
        assert transport.is_closing()
        await turns(5)
        assert "connection_lost" not in protocol.events, "it must wait until all is sent"
        assert len(await recv_all(far)) == len(payload)
        assert await protocol.lost is None


async def test_abort_drops_what_was_written(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.write(b"p" * (32 << 20))
        transport.abort()
        assert transport.is_closing()
        assert "connection_lost" not in protocol.events
        assert await protocol.lost is None
        try:
            received = len(await recv_all(far))
        except ConnectionResetError:
            received = 0
        assert received < 32 << 20


async def test_abort_after_close_ends_the_flush(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, _far):
        transport.write(b"p" * (32 << 20))
        transport.close()
        await turns(5)
        assert not protocol.lost.done()
        transport.abort()
        transport.abort()
        assert await protocol.lost is None
        await turns(5)
        assert protocol.events.count("connection_lost") == 1


async def test_the_descriptor_is_closed_at_the_end(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, _far):
        sock = transport.get_extra_info("socket")
        assert sock.fileno() > 0
        transport.close()
        await protocol.lost
        await wait_until(lambda: sock.fileno() == -1)


async def test_the_peer_sees_an_orderly_end(loop: asyncio.AbstractEventLoop) -> None:
    # A close with a receive in flight in the kernel must still send its FIN.
    for _ in range(20):
        async with wired() as (transport, _, far):
            await turns(2)
            transport.close()
            assert await loop.sock_recv(far, 1) == b""


@pytest.mark.parametrize("answer", [None, False])
async def test_the_end_of_the_stream_closes_the_transport(
    loop: asyncio.AbstractEventLoop, answer: bool | None
) -> None:
    async with wired() as (transport, protocol, far):
        protocol.keep_open_at_eof = answer
        far.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert transport.is_closing()
        assert protocol.events == ["connection_made", "eof_received", "connection_lost"]


async def test_a_protocol_may_keep_a_half_closed_connection(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        protocol.keep_open_at_eof = True
        far.send(b"request")
        far.shutdown(socket.SHUT_WR)
        await wait_until(lambda: protocol.eof)
        await turns(10)
        assert not transport.is_closing()
        assert protocol.events.count("eof_received") == 1
        transport.write(b"answer" * 100_000)
        transport.close()
        assert len(await recv_all(far)) == 600_000
        assert await protocol.lost is None
        assert protocol.data == b"request"


async def test_a_half_closed_connection_can_be_paused_and_resumed(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        protocol.keep_open_at_eof = True
        far.shutdown(socket.SHUT_WR)
        await wait_until(lambda: protocol.eof)
        transport.pause_reading()
        await turns()
        transport.write(b"still")
        assert await recv_exactly(far, 5) == b"still"


async def test_an_end_of_stream_does_not_lose_pending_writes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        transport.write(b"p" * (8 << 20))
        far.shutdown(socket.SHUT_WR)
        await wait_until(lambda: protocol.eof)
        assert len(await recv_all(far)) == 8 << 20
        assert await protocol.lost is None


@differs("uvloop", "the socket it was given is left to the garbage collector")
async def test_closing_in_connection_made_works(loop: asyncio.AbstractEventLoop) -> None:
    class Brief(Recorder):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            transport.write(b"bye")
            transport.close()

    async with wired(Brief) as (_, protocol, far):
        assert await recv_all(far) == b"bye"
        assert await protocol.lost is None
        assert protocol.events == ["connection_made", "connection_lost"]


async def test_closing_in_eof_received_works(loop: asyncio.AbstractEventLoop) -> None:
    class Ending(Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            self.transport.close()
            return True

    async with wired(Ending) as (_, protocol, far):
        far.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert protocol.events.count("connection_lost") == 1


async def test_aborting_in_data_received_works(loop: asyncio.AbstractEventLoop) -> None:
    class Refusing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.abort()

    async with wired(Refusing) as (_, protocol, far):
        far.send(b"x")
        assert await protocol.lost is None
        assert protocol.events == ["connection_made", "data_received", "connection_lost"]


async def test_writing_in_connection_lost_does_no_harm(loop: asyncio.AbstractEventLoop) -> None:
    class Stubborn(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            self.transport.write(b"last words")
            self.transport.close()
            self.transport.abort()
            self.transport.pause_reading()
            self.transport.resume_reading()
            super().connection_lost(exc)

    async with wired(Stubborn) as (_, protocol, far):
        far.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None


async def test_both_ends_may_close_at_the_same_time(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(10):
        async with connected() as (client, server_side):
            client.transport.close()
            server_side.transport.close()
            await asyncio.gather(client.lost, server_side.lost)


async def test_a_closed_transport_lets_go_of_its_protocol(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        alive = weakref.ref(protocol)
        sock = transport.get_extra_info("socket")
        transport.close()
        await protocol.lost
        await wait_until(lambda: sock.fileno() == -1)
        protocol.transport = None
        del protocol
        far.close()
        del transport
    await turns(5)
    collect()
    assert alive() is None


async def test_an_open_transport_nobody_refers_to_stays_alive(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()

    async def forget() -> None:
        await loop.create_connection(Echo, sock=near)

    await forget()
    collect()
    await turns()
    far.send(b"are you there?")
    assert await recv_exactly(far, 14) == b"are you there?"
    far.close()
    await wait_until(lambda: near.fileno() == -1)


@differs("uvloop", "its transports have no representation of their state")
async def test_the_repr_tells_the_state(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, _far):
        number = transport.get_extra_info("socket").fileno()
        assert f"fd={number}" in repr(transport)
        transport.close()
        assert "closing" in repr(transport)
        await protocol.lost
        await wait_until(lambda: "closed" in repr(transport))


async def test_a_thousand_short_connections_leave_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    before = len(open_descriptors())
    async with serving(Echo) as (_, address):
        for _ in range(20):
            opened = await asyncio.gather(
                *(loop.create_connection(Recorder, *address) for _ in range(20))
            )
            for transport, protocol in opened:
                transport.write(b"hello")
                await protocol.wait_for_bytes(5)
                transport.close()
            await asyncio.gather(*(protocol.lost for _, protocol in opened))
    await wait_until(lambda: len(open_descriptors()) <= before + 1)


async def test_writing_in_connection_lost_after_a_flush_does_no_harm(
    loop: asyncio.AbstractEventLoop,
) -> None:
    # Nobody but the loop refers to the transport, so it dies right after connection_lost.
    payload = b"p" * (8 << 20)
    lost = loop.create_future()

    class LastWords(asyncio.Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            self.transport = transport
            transport.write(payload)
            transport.close()

        def connection_lost(self, exc: BaseException | None) -> None:
            self.transport.write(b"bye")
            lost.set_result(exc)

    async with serving(LastWords) as (_, address):
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, address)
            # asyncio still sends what is written then, and nobody promises it.
            assert (await recv_all(client)).removesuffix(b"bye") == payload
            assert await lost is None
            await turns(5)
    collect()


async def test_connection_lost_comes_in_the_turn_after_close(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for method in ("close", "abort"):
        async with wired() as (transport, protocol, _far):
            await turns(3)
            getattr(transport, method)()
            assert not protocol.lost.done()
            await asyncio.sleep(0)
            assert protocol.lost.done()


async def test_connection_lost_precedes_what_is_scheduled_after_close(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for method in ("close", "abort"):
        async with wired() as (transport, protocol, _far):
            await turns(3)
            seen = loop.create_future()
            getattr(transport, method)()
            loop.call_soon(lambda: seen.set_result(list(protocol.events)))
            assert await seen == ["connection_made", "connection_lost"]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Server.abort_clients is new in 3.13")
@differs("uvloop", "its servers have no abort_clients")
async def test_an_end_never_overtakes_the_beginning(loop: asyncio.AbstractEventLoop) -> None:
    """A connection is aborted by the factory of the next one, before connection_made was called."""
    made: list[Recorder] = []

    def factory() -> Recorder:
        server.abort_clients()
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(20)]
    await wait_until(lambda: len(made) == len(clients))
    server.abort_clients()
    await wait_until(lambda: all(protocol.lost.done() for protocol in made))
    for protocol in made:
        assert protocol.events == ["connection_made", "connection_lost"]
    for client in clients:
        client.close()
    server.close()
    await turns(2)


@pytest.mark.parametrize("message", [None, "a message of its own"])
@loops_only("asyncio", *RLOOP_IDS)
async def test_layers_above_end_a_transport_by_its_fatal_error(
    loop: asyncio.AbstractEventLoop, noise: Noise, message: str | None
) -> None:
    """As asyncio's SSLProtocol does, and libraries that copy it."""
    async with connected() as (client, server):
        cause = ValueError("cause")
        client.transport.write(b"x")
        arguments = () if message is None else (message,)
        client.transport._fatal_error(cause, *arguments)
        assert client.transport.is_closing()
        assert await client.lost is cause
        context = noise.take_one()
        assert context["message"] == (message or "Fatal error on transport")
        assert context["exception"] is cause
        assert context["transport"] is client.transport
        assert context["protocol"] is client
        await server.lost
