"""asyncio's streams on top of the loop: open_connection, start_server, drain, the reading methods.

The streams are the standard library's; what is checked is that transports and servers are what
they need. Source: asyncio's documentation, "Streams".
"""

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support import differs, reset, tcp_pair, turns, unused_port

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(
    handler: Handler, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client's reader and writer, connected to a server that runs `handler`."""
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()
            finished.set_result(None)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, **options)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()
        await finished
        server.close()
        await server.wait_closed()
        await turns()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def test_lines_go_and_come(loop: asyncio.AbstractEventLoop) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            writer.write(line.upper())
            await writer.drain()

    async with talking(shout) as (reader, writer):
        for number in range(50):
            writer.write(b"line %d\n" % number)
            assert await reader.readline() == b"LINE %d\n" % number


async def test_readexactly_and_readuntil(loop: asyncio.AbstractEventLoop) -> None:
    async with talking(echo) as (reader, writer):
        writer.write(b"12345;rest")
        assert await reader.readexactly(3) == b"123"
        assert await reader.readuntil(b";") == b"45;"
        assert await reader.readexactly(4) == b"rest"
        writer.write(b"short")
        writer.write_eof()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.readexactly(10)
        assert caught.value.partial == b"short"
        assert reader.at_eof()


async def test_drain_waits_for_a_slow_reader(loop: asyncio.AbstractEventLoop) -> None:
    go_on = loop.create_future()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on
        digest = hashlib.sha256()
        while data := await reader.read(65536):
            digest.update(data)
        writer.write(digest.digest())
        await writer.drain()

    async with talking(slow) as (reader, writer):
        payload = os.urandom(16 << 20)
        writer.write(payload)
        draining = loop.create_task(writer.drain())
        await turns(20)
        assert not draining.done()
        go_on.set_result(None)
        await draining
        writer.write_eof()
        assert await reader.read() == hashlib.sha256(payload).digest()


async def test_a_small_limit_pauses_the_transport(loop: asyncio.AbstractEventLoop) -> None:
    received = bytearray()

    async def sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            received.extend(data)
            await asyncio.sleep(0)

    async with talking(sip, limit=256) as (reader, writer):
        payload = os.urandom(100_000)
        writer.write(payload)
        writer.write_eof()
        assert await reader.read() == b""
        assert received == payload


async def test_wait_closed_waits(loop: asyncio.AbstractEventLoop) -> None:
    async with talking(echo) as (reader, writer):
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        assert not writer.is_closing()
        writer.close()
        assert writer.is_closing()
        await writer.wait_closed()


async def test_the_handler_reads_what_was_sent_before_the_end(
    loop: asyncio.AbstractEventLoop,
) -> None:
    got = loop.create_future()

    async def read_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.read())
        writer.close()

    server = await asyncio.start_server(read_all, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        client.sendall(b"one ")
        client.sendall(b"two")
    assert await got == b"one two"
    server.close()
    await turns(5)


async def test_a_refused_connection_raises(loop: asyncio.AbstractEventLoop) -> None:

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", unused_port())


@differs("uvloop", "writing to the lost connection raises RuntimeError there")
async def test_a_reset_reaches_the_reader(loop: asyncio.AbstractEventLoop) -> None:

    near, far = tcp_pair()
    reader, writer = await asyncio.open_connection(sock=near)
    reading = loop.create_task(reader.read(10))
    await turns()
    reset(far)
    with pytest.raises(ConnectionResetError):
        await reading
    with pytest.raises(ConnectionResetError):
        writer.write(b"x")
        await writer.drain()
    writer.close()
    with pytest.raises(ConnectionResetError):
        await writer.wait_closed()


async def test_extra_info_and_transport(loop: asyncio.AbstractEventLoop) -> None:
    async with talking(echo) as (_, writer):
        assert writer.get_extra_info("peername")[0] == "127.0.0.1"
        assert writer.transport.get_extra_info("socket") is not None
        assert writer.can_write_eof()


async def test_fifty_clients_talk_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await echo(reader, writer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    async def talk(number: int) -> None:
        reader, writer = await asyncio.open_connection(*address)
        for round_ in range(20):
            line = b"client %d round %d\n" % (number, round_)
            writer.write(line)
            await writer.drain()
            assert await reader.readline() == line
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(talk(number) for number in range(50)))
    server.close()
    await server.wait_closed()
    await turns(5)
