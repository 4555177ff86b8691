"""In which context a transport calls its protocol: upcall by upcall, transport by transport.

From Python 3.15 on a connection has one Context: create_connection, connect_accepted_socket and a
Server (one copy for each connection) hand it to the transport, and everything that the transport
calls from the loop runs in that very object, whoever paused, closed or upgraded it and where. What
a program's own call does at once (pause_writing inside write) stays in the caller's context. Before
3.15, and for datagrams, pipes and children, a transport has a copy of its maker's.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support import (
    RLOOP_IDS,
    Noise,
    Recorder,
    tcp_pair,
    turns,
    until_closed,
    wait_until,
)
from test_tls import CLIENT, SERVER
from traced import (
    HAS_CONTEXTS,
    Traced,
    TracedBuffered,
    assert_one_context,
    asyncio_and_ours,
    context_of,
    elsewhere,
    since_contexts,
    steps,
    traced,
    where,
    within,
)

KINDS = ("tcp", "unix", "tls")


async def serve(kind: str, factory: Callable[[], Any], path: Path) -> tuple[Any, Any]:
    """A server, and what connects to it."""
    loop = asyncio.get_running_loop()
    name = str(path / "socket")
    if kind == "unix":
        server = await loop.create_unix_server(factory, name)
        return server, lambda client: loop.create_unix_connection(client, name)
    options = {"tls": {"ssl": SERVER}}.get(kind, {})
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    address = server.sockets[0].getsockname()
    more: Any = {"tls": {"ssl": CLIENT, "server_hostname": "localhost"}}.get(kind, {})
    return server, lambda client: loop.create_connection(client, *address, **more)


def reset_by(transport: Any) -> None:
    """Make the peer see an error, where there are errors: a Unix socket only ends."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@contextlib.asynccontextmanager
async def pair(
    kind: str, path: Path, client: Any = Traced, server: Any = Traced
) -> AsyncIterator[tuple[Any, Any]]:
    """Connected protocols; where: "client" and "server"."""
    made: list[Any] = []

    def accept() -> Any:
        made.append(server())
        made[-1].factory = (where.get(), steps.get())
        steps.set(("factory",))
        return made[-1]

    listening, connect = await within("server", serve(kind, accept, path))
    try:
        _, protocol = await within("client", connect(client))
        await wait_until(lambda: made and made[0].transport)
        yield protocol, made[0]
        await until_closed(protocol.transport, made[0].transport)
    finally:
        listening.close()
        await turns()


@asyncio_and_ours
@pytest.mark.parametrize("kind", KINDS)
async def test_a_streams_life(loop: asyncio.AbstractEventLoop, kind: str, tmp_path: Path) -> None:
    async with pair(kind, tmp_path) as (client, server):
        elsewhere(server.transport.write, b"one")
        await client.wait_for_bytes(3)
        elsewhere(server.transport.write, b"two")
        await client.wait_for_bytes(6)
        elsewhere(client.transport.write, b"three")
        await server.wait_for_bytes(5)
        context_of("server").run(server.transport.close)
        await client.lost
        await server.lost
    ended = ["connection_lost"]
    assert_one_context(
        client,
        "client",
        ["connection_made", "data_received", "data_received", "eof_received", *ended],
    )
    assert server.factory == ("server", ())
    made = ["connection_made", "data_received"]
    if kind == "tls":  # the peer answers with a close_notify of its own
        made += [name for name, _, _ in server.trace if name == "eof_received"]
    assert_one_context(server, "server", [*made, *ended], ["factory"])


@asyncio_and_ours
async def test_a_buffered_protocol(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    connect = loop.create_connection(TracedBuffered, sock=near)
    transport, protocol = await within("client", connect)
    for count in (1, 2):
        far.send(b"x")
        await protocol.wait_for_bytes(count)
    far.close()
    await protocol.lost
    await until_closed(transport)
    received = [name for name, _, _ in protocol.trace if name != "get_buffer"]
    assert received == [
        "connection_made",
        "buffer_updated",
        "buffer_updated",
        "eof_received",
        "connection_lost",
    ]
    assert_one_context(protocol, "client", [name for name, _, _ in protocol.trace])


@since_contexts
@asyncio_and_ours
async def test_each_accepted_connection_has_a_copy_of_the_servers_context(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    made: list[Any] = []

    def accept() -> Any:
        made.append(Traced())
        made[-1].factory = (where.get(), steps.get())
        where.set(f"connection {len(made)}")
        return made[-1]

    server, connect = await within("server", serve("tcp", accept, tmp_path))
    # What the server's context has learned meanwhile is for the connections that come.
    server._context.run(steps.set, ("later",))
    for number in (1, 2):
        _, client = await connect(Recorder)
        client.transport.write(b"x")
        await wait_until(lambda number=number: len(made) == number and made[-1].data)
        client.transport.close()
        await made[-1].lost
    server.close()
    await turns()
    for number, protocol in enumerate(made, 1):
        assert protocol.factory == ("server", ("later",))
        wanted = ["connection_made", "data_received", "eof_received", "connection_lost"]
        assert_one_context(protocol, f"connection {number}", wanted, ["later"])
    assert server._context[where] == "server"


@since_contexts
@asyncio_and_ours
async def test_a_server_that_starts_later_has_the_context_of_its_making(
    loop: asyncio.AbstractEventLoop,
) -> None:
    made: list[Any] = []

    def accept() -> Any:
        made.append(Traced())
        return made[-1]

    create = loop.create_server(accept, "127.0.0.1", 0, start_serving=False)
    server = await within("server", create)
    await within("elsewhere", server.start_serving())
    with socket.create_connection(server.sockets[0].getsockname()):
        await wait_until(lambda: made and made[0].transport)
    await made[0].lost
    server.close()
    await turns()
    assert_one_context(made[0], "server", ["connection_made", "eof_received", "connection_lost"])


@asyncio_and_ours
async def test_an_accepted_socket(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    connect = loop.connect_accepted_socket(Traced, near)
    transport, protocol = await within("acceptor", connect)
    far.close()
    await protocol.lost
    await until_closed(transport)
    wanted = ["connection_made", "eof_received", "connection_lost"]
    assert_one_context(protocol, "acceptor", wanted)


@asyncio_and_ours
@pytest.mark.parametrize("kind", KINDS)
async def test_pausing_happens_where_it_is_written_and_resuming_in_the_context(
    loop: asyncio.AbstractEventLoop, loop_id: str, kind: str, tmp_path: Path
) -> None:
    async with pair(kind, tmp_path) as (client, server):
        server.transport.pause_reading()
        for _ in range(2):  # TLS pauses its protocol at the second
            elsewhere(client.transport.write, bytes(4 << 20))
        await wait_until(lambda: "pause_writing" in client.events)
        elsewhere(server.transport.resume_reading)
        await wait_until(lambda: "resume_writing" in client.events)
        await server.wait_for_bytes(8 << 20)
    places = {name: place for name, place, _ in client.trace}
    assert places["pause_writing"] == "elsewhere"
    # Before it is handed over, asyncio's writer has the context of the write.
    at_home = HAS_CONTEXTS or loop_id in RLOOP_IDS
    assert places["resume_writing"] == ("client" if at_home else "elsewhere")


@since_contexts
@asyncio_and_ours
async def test_reading_that_is_resumed_elsewhere_goes_on_in_the_context(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    first, second = Traced(), Traced()
    transport, _ = await within("client", loop.create_connection(lambda: first, sock=near))
    transport.pause_reading()
    await turns()
    elsewhere(transport.set_protocol, second)
    elsewhere(transport.resume_reading)
    far.send(b"x")
    await second.wait_for_bytes(1)
    elsewhere(transport.close)
    await second.lost
    far.close()
    assert second.trace == [
        ("data_received", "client", ("connection_made",)),
        ("connection_lost", "client", ("connection_made", "data_received")),
    ]


@since_contexts
@asyncio_and_ours
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["close", "abort", "reset", "write_eof", "failure"])
async def test_connection_lost_comes_in_the_context_however_it_ends(
    loop: asyncio.AbstractEventLoop, noise: Noise, kind: str, end: str, tmp_path: Path
) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError("on purpose")

    async with pair(kind, tmp_path, traced(Failing)) as (client, server):
        if end in ("close", "abort"):
            elsewhere(getattr(client.transport, end))
        elif end == "reset":
            elsewhere(reset_by, server.transport)
        elif end == "write_eof" and kind != "tls":
            elsewhere(client.transport.write_eof)
            elsewhere(server.transport.close)
        else:
            server.transport.write(b"x")
        await client.lost
    noise.take()
    assert client.trace[-1][:2] == ("connection_lost", "client")


@since_contexts
@asyncio_and_ours
async def test_connection_lost_after_a_backlog_that_close_had_to_send(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    transport, protocol = await within("client", loop.create_connection(Traced, sock=near))
    elsewhere(transport.write, bytes(8 << 20))
    elsewhere(transport.close)
    while not protocol.lost.done():
        with contextlib.suppress(BlockingIOError):
            far.recv(1 << 20)
        await turns(1)
    far.close()
    wanted = ["connection_made", "resume_writing", "connection_lost"]
    assert protocol.trace.pop(1)[0] == "pause_writing"
    assert_one_context(protocol, "client", wanted)


@since_contexts
@asyncio_and_ours
async def test_a_connection_that_is_upgraded_keeps_its_context(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    first, second = Traced(), Traced()
    transport, _ = await within("client", loop.create_connection(lambda: first, sock=near))
    other, peer = await within("peer", loop.create_connection(Recorder, sock=far))
    ours = loop.start_tls(transport, second, CLIENT, server_hostname="localhost")
    theirs = loop.start_tls(other, peer, SERVER, server_side=True)
    upgraded, encrypted = await asyncio.gather(within("elsewhere", ours), theirs)
    encrypted.write(b"x")
    await second.wait_for_bytes(1)
    elsewhere(upgraded.abort)
    await second.lost
    await until_closed(other)
    assert [(name, place) for name, place, _ in second.trace] == [
        ("data_received", "client"),
        ("connection_lost", "client"),
    ]
