"""The Server object: sockets, start, close, wait_closed, serve_forever, clients.

wait_closed changed its meaning between versions (since 3.12 it waits for the connections too);
close_clients and abort_clients came with 3.13. Source: asyncio's documentation, "Server Objects".
"""

import asyncio
import socket

import pytest
from support import (
    PY312,
    PY313,
    Echo,
    Recorder,
    differs,
    needs_ipv6,
    new_loop,
    open_descriptors,
    serving,
    turns,
    wait_until,
)

UVLOOP_WAITS = "its wait_closed and its bookkeeping of clients are those of Python 3.11"


@differs("uvloop", "its sockets are a list")
async def test_sockets_are_a_tuple_of_transport_sockets_and_gone_after_close(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with serving(Echo) as (server, address):
        (sock,) = server.sockets
        assert sock.getsockname() == address
        assert sock.family == socket.AF_INET
        assert sock.fileno() > 0
        assert isinstance(server.sockets, tuple)
        server.close()
        assert server.sockets == ()


@differs("uvloop", "its sockets are of its own class")
async def test_sockets_are_asyncio_transport_sockets(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo) as (server, _):
        assert isinstance(server.sockets[0], asyncio.trsock.TransportSocket)


@differs("uvloop", "its Server derives from nothing")
async def test_it_is_an_abstract_server(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo) as (server, _):
        assert isinstance(server, asyncio.AbstractServer)
        assert server.get_loop() is loop
        assert "Server" in repr(server)


async def test_close_stops_accepting_and_can_be_repeated(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo) as (server, address):
        server.close()
        assert not server.is_serving()
        server.close()
        await turns()
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(address)


async def test_close_leaves_connections_alone(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo) as (server, address):
        transport, protocol = await loop.create_connection(Recorder, *address)
        transport.write(b"before")
        await protocol.wait_for_bytes(6)
        server.close()
        transport.write(b"after")
        assert await protocol.wait_for_bytes(11) == b"beforeafter"
        transport.close()
        await protocol.lost
    await turns()


async def test_a_server_closed_during_an_accept_loses_no_descriptor(
    loop: asyncio.AbstractEventLoop,
) -> None:
    # The connections are in the listener's queue, or already accepted by the kernel for us.
    for _ in range(5):
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(3)]
        server.close()
        await turns(3)
        for client in clients:
            client.close()
    await turns(10)


async def test_the_port_is_free_at_once_after_close(loop: asyncio.AbstractEventLoop) -> None:
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for _ in range(10):
        server.close()
        await server.wait_closed()
        server = await loop.create_server(Echo, *address)
    server.close()
    await turns()


async def test_wait_closed_after_a_close_without_clients_returns(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with serving(Echo) as (server, _):
        server.close()
        await server.wait_closed()
        await server.wait_closed()


@pytest.mark.skipif(not PY312, reason="before Python 3.12 wait_closed returned at once")
async def test_wait_closed_waits_for_close(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo) as (server, _):
        waiting = loop.create_task(server.wait_closed())
        await turns()
        assert not waiting.done()
        server.close()
        await waiting


@pytest.mark.skipif(not PY312, reason="before Python 3.12 wait_closed did not wait for clients")
@differs("uvloop", UVLOOP_WAITS)
async def test_wait_closed_waits_for_the_last_client(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo) as (server, address):
        transport, protocol = await loop.create_connection(Recorder, *address)
        transport.write(b"x")
        await protocol.wait_for_bytes(1)
        server.close()
        waiting = loop.create_task(server.wait_closed())
        await turns()
        assert not waiting.done()
        transport.close()
        await waiting
        await turns()


@pytest.mark.skipif(PY312, reason="since Python 3.12 wait_closed waits for the clients")
async def test_wait_closed_returns_at_once_on_old_versions(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with serving(Echo) as (server, address):
        transport, protocol = await loop.create_connection(Recorder, *address)
        transport.write(b"x")
        await protocol.wait_for_bytes(1)
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)
        transport.close()
        await protocol.lost
        await turns()


async def test_serve_forever_serves_until_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
    serving_task = loop.create_task(server.serve_forever())
    await wait_until(server.is_serving)
    address = server.sockets[0].getsockname()
    transport, protocol = await loop.create_connection(Recorder, *address)
    transport.write(b"x")
    await protocol.wait_for_bytes(1)
    transport.close()
    await protocol.lost
    serving_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving_task
    assert not server.is_serving()
    assert not server.sockets


@differs("uvloop", "serve_forever goes on after close")
async def test_close_ends_serve_forever(loop: asyncio.AbstractEventLoop) -> None:
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    serving_task = loop.create_task(server.serve_forever())
    await turns()
    server.close()
    with pytest.raises(asyncio.CancelledError):
        await serving_task


async def test_serve_forever_twice_raises(loop: asyncio.AbstractEventLoop) -> None:
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    serving_task = loop.create_task(server.serve_forever())
    await turns()
    with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
        await server.serve_forever()
    serving_task.cancel()
    await asyncio.gather(serving_task, return_exceptions=True)


async def test_serve_forever_of_a_closed_server_raises(loop: asyncio.AbstractEventLoop) -> None:
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    server.close()
    with pytest.raises(RuntimeError, match="is closed"):
        await server.serve_forever()


async def test_the_context_manager_closes(loop: asyncio.AbstractEventLoop) -> None:
    async with await loop.create_server(Echo, "127.0.0.1", 0) as server:
        assert server.is_serving()
    assert not server.is_serving()


@needs_ipv6
async def test_close_closes_every_socket(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo, ["127.0.0.1", "::1"]) as (server, _):
        addresses = [sock.getsockname() for sock in server.sockets]
        server.close()
        await turns()
        for address in addresses:
            family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
            with socket.socket(family) as client, pytest.raises(ConnectionRefusedError):
                client.connect(address)


@pytest.mark.skipif(not PY313, reason="close_clients and abort_clients are new in Python 3.13")
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
@differs("uvloop", "its Server has neither method")
async def test_the_server_can_end_its_clients(loop: asyncio.AbstractEventLoop, method: str) -> None:
    server_sides: list[Recorder] = []

    def factory() -> Recorder:
        server_sides.append(Recorder())
        return server_sides[-1]

    async with serving(factory) as (server, address):
        opened = [await loop.create_connection(Recorder, *address) for _ in range(5)]
        await wait_until(lambda: len(server_sides) == 5)
        await asyncio.gather(*(side.made for side in server_sides))
        server.close()
        getattr(server, method)()
        await server.wait_closed()
        for side in server_sides:
            assert side.lost.done()
        for _, protocol in opened:
            await protocol.lost
    await turns()


@pytest.mark.skipif(not PY313, reason="close_clients and abort_clients are new in Python 3.13")
@differs("uvloop", "its Server has neither method")
async def test_a_forgotten_client_does_not_stay_with_the_server(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with serving(Recorder) as (server, address):
        transport, protocol = await loop.create_connection(Recorder, *address)
        transport.close()
        await protocol.lost
        await turns()
        server.close_clients()
        server.close()
        await server.wait_closed()


async def test_a_served_transport_closed_in_connection_made(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Unfriendly(Recorder):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            transport.close()

    async with serving(Unfriendly) as (_, address):
        for _ in range(5):
            _, protocol = await loop.create_connection(Recorder, *address)
            assert await protocol.lost is None
            assert protocol.eof
        await turns()


async def test_closing_a_server_that_never_served_closes_its_sockets(
    loop: asyncio.AbstractEventLoop,
) -> None:
    def sockets() -> set[str]:
        return {what for what in open_descriptors().values() if what.startswith("socket:")}

    before = sockets()
    server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
    assert sockets() > before
    server.close()
    await wait_until(lambda: sockets() == before)


@differs("uvloop", "closing a loop with an open server hangs")
def test_a_server_may_be_closed_after_its_loop(loop_id: str) -> None:
    loop = new_loop(loop_id)
    server = loop.run_until_complete(loop.create_server(Echo, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    loop.close()
    server.close()
    assert not server.is_serving()
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(address)
