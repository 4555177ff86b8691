"""contextvars: every callback runs in the context it was made in, or in the one it was given.

For call_soon and its relatives that is documented. Protocol callbacks run, as in asyncio, in the
context of whoever opened the transport: the coroutine that called create_connection, or for
accepted connections the one that started to serve.
"""

import asyncio
import contextvars
import socket

import pytest
from support import (
    Recorder,
    connected,
    run_briefly,
    serving,
    tcp_pair,
    turns,
    until_closed,
    wait_until,
)

where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")


def context_of(name: str) -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(where.set, name)
    return context


class ContextRecorder(Recorder):
    """Notes for each callback the value of `where`."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}

    def connection_made(self, transport: object) -> None:
        self.seen["connection_made"] = where.get()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.seen["data_received"] = where.get()
        super().data_received(data)

    def eof_received(self) -> bool | None:
        self.seen["eof_received"] = where.get()
        return super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.seen["connection_lost"] = where.get()
        super().connection_lost(exc)


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def test_a_callback_runs_in_the_context_it_is_given(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    seen: list[str] = []
    first = {"call_later": (0.001,), "call_at": (loop.time(),)}.get(method, ())
    call = getattr(loop, method)
    call(*first, lambda: seen.append(where.get()), context=context_of("given"))
    context_of("current").run(call, *first, lambda: seen.append(where.get()))
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert seen == ["given", "current"]


def test_context_none_means_the_current_one(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    context_of("current").run(loop.call_soon, lambda: seen.append(where.get()), context=None)
    run_briefly(loop)
    assert seen == ["current"]


def test_a_callback_cannot_change_the_context_of_another(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.call_soon(where.set, "changed")
    loop.call_soon(lambda: seen.append(where.get()))
    run_briefly(loop)
    assert seen == ["nowhere"], "each call_soon copies the context"
    assert where.get() == "nowhere"
    shared = contextvars.copy_context()
    loop.call_soon(where.set, "shared", context=shared)
    loop.call_soon(lambda: seen.append(where.get()), context=shared)
    run_briefly(loop)
    assert seen == ["nowhere", "shared"]


def test_a_reader_runs_in_the_context_of_add_reader(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    seen: list[str] = []
    context_of("reader").run(
        loop.add_reader, near, lambda: (seen.append(where.get()), loop.remove_reader(near))
    )
    context_of("writer").run(
        loop.add_writer, far, lambda: (seen.append(where.get()), loop.remove_writer(far))
    )
    far.send(b"x")
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    assert sorted(seen) == ["reader", "writer"]
    near.close()
    far.close()


async def test_client_protocols_run_in_the_context_of_create_connection(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    protocol = ContextRecorder()

    async def connect() -> None:
        await loop.create_connection(lambda: protocol, sock=near)

    await loop.create_task(connect(), context=context_of("client"))
    far.send(b"x")
    await protocol.wait_for_bytes(1)
    far.shutdown(socket.SHUT_WR)
    await protocol.lost
    far.close()
    await until_closed(protocol.transport)
    assert set(protocol.seen) == {
        "connection_made",
        "data_received",
        "eof_received",
        "connection_lost",
    }
    assert set(protocol.seen.values()) == {"client"}


async def test_server_protocols_run_in_the_context_of_create_server(
    loop: asyncio.AbstractEventLoop,
) -> None:
    protocols: list[ContextRecorder] = []

    def factory() -> ContextRecorder:
        protocols.append(ContextRecorder())
        return protocols[-1]

    async def serve() -> tuple[asyncio.Server, tuple[str, int]]:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        return server, server.sockets[0].getsockname()

    server, address = await loop.create_task(serve(), context=context_of("server"))
    with socket.create_connection(address) as client:
        client.send(b"x")
        await wait_until(lambda: protocols and protocols[0].data)
    await protocols[0].lost
    server.close()
    await turns()
    assert protocols[0].seen["connection_made"] == "server"
    assert protocols[0].seen["data_received"] == "server"
    assert protocols[0].seen["connection_lost"] == "server"


async def test_what_data_received_schedules_inherits_its_context(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[str] = []

    class Scheduling(ContextRecorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            loop.call_soon(lambda: seen.append(where.get()))

    near, far = tcp_pair()
    protocol = Scheduling()

    async def connect() -> None:
        await loop.create_connection(lambda: protocol, sock=near)

    await loop.create_task(connect(), context=context_of("client"))
    far.send(b"x")
    await wait_until(lambda: seen)
    assert seen == ["client"]
    far.close()
    await protocol.lost
    await until_closed(protocol.transport)


async def test_two_protocols_do_not_see_each_others_context(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Marking(ContextRecorder):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def connection_made(self, transport: object) -> None:
            where.set(self.name)
            super().connection_made(transport)

    near, far = tcp_pair()
    other_near, other_far = tcp_pair()

    async def connect(protocol: Marking, sock: socket.socket) -> None:
        await loop.create_connection(lambda: protocol, sock=sock)

    one, two = Marking("one"), Marking("two")
    await loop.create_task(connect(one, near))
    await loop.create_task(connect(two, other_near))
    far.send(b"x")
    other_far.send(b"x")
    await one.wait_for_bytes(1)
    await two.wait_for_bytes(1)
    assert where.get() == "nowhere"
    far.close()
    other_far.close()
    await one.lost
    await two.lost
    await until_closed(one.transport, two.transport)
    assert one.name not in two.seen.values()
    assert two.name not in one.seen.values()


async def test_streams_server_handlers_run_in_the_context_of_the_server(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[str] = []
    done = loop.create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(where.get())
        writer.close()
        await writer.wait_closed()
        done.set_result(None)

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(handle, "127.0.0.1", 0)

    server = await loop.create_task(serve(), context=context_of("streams"))
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await done
    server.close()
    await turns()
    assert seen == ["streams"]


async def test_connected_pairs_share_the_context_of_their_coroutine(
    loop: asyncio.AbstractEventLoop,
) -> None:
    where.set("the test itself")
    async with connected(ContextRecorder, ContextRecorder) as (client, server_side):
        client.transport.write(b"x")
        await server_side.wait_for_bytes(1)
        assert client.seen["connection_made"] == "the test itself"
        assert server_side.seen["data_received"] == "the test itself"


async def test_serving_helpers_close_their_sockets(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Recorder) as (server, _):
        assert server.is_serving()
    assert not server.is_serving()
