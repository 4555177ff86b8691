"""Much data for an asyncio.StreamReader, which rloop receives straight into the reader's buffer.

That takes a few full pieces in a row to begin; nobody may tell the difference, and never may the
buffer have bytes that did not come. All of it is asyncio's behaviour, and so each test runs on
asyncio too.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from stream_readers import Connection, reading
from support import Recorder, turns, wait_until

Loop = asyncio.AbstractEventLoop
MIB = 1 << 20


def sending(loop: Loop, far: socket.socket, data: bytes) -> asyncio.Future[None]:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
    return asyncio.ensure_future(loop.sock_sendall(far, data))


async def into_bulk(loop: Loop, connection: Connection) -> None:
    """Exchange pieces until the engine takes the connection for a bulk one."""
    for _ in range(6):
        data = os.urandom(100_000)
        sent = sending(loop, connection.far, data)
        assert await connection.reader.readexactly(len(data)) == data
        await sent


async def by_read(reader: asyncio.StreamReader, rng: random.Random) -> bytes:
    return await reader.read(rng.choice([1, 1000, 70_000, 200_000, MIB]))


async def by_exact_sizes(reader: asyncio.StreamReader, rng: random.Random) -> bytes:
    try:
        return await reader.readexactly(rng.choice([1, 1000, 70_000, 200_000, 400_000]))
    except asyncio.IncompleteReadError as error:
        return error.partial


async def by_line(reader: asyncio.StreamReader, rng: random.Random) -> bytes:
    return await reader.readline()


@pytest.mark.parametrize("read", [by_read, by_exact_sizes, by_line])
async def test_every_byte_arrives_once_and_in_order(
    read: Callable[[asyncio.StreamReader, random.Random], Coroutine[Any, Any, bytes]], loop: Loop
) -> None:
    rng = random.Random(7)
    lines = [rng.randbytes(rng.choice([10, 5000, 60_000])).replace(b"\n", b" ") for _ in range(200)]
    data = b"\n".join(lines)
    async with reading() as connection:
        sent = sending(loop, connection.far, data)
        sent.add_done_callback(lambda _: connection.far.shutdown(socket.SHUT_WR))
        received = b""
        while piece := await read(connection.reader, rng):
            received += piece
            if rng.random() < 0.1:
                await turns(5)  # nobody reads: much comes, and it may pause
        await sent
        assert received == data


async def test_what_is_left_in_the_buffer_stays_in_front(loop: Loop) -> None:
    async with reading(limit=MIB) as connection:
        await into_bulk(loop, connection)
        expected = b""
        for size in (1, 100, 100_000, 3, 300_000, 100_000, 7):
            data = os.urandom(size)
            await sending(loop, connection.far, data)
            expected += data
            await wait_until(lambda: len(connection.reader._buffer) == len(expected))
            assert connection.reader._buffer == expected
        assert await connection.reader.readexactly(len(expected)) == expected


async def test_a_buffer_that_somebody_looks_into_is_not_touched(loop: Loop, noise: Any) -> None:
    async with reading() as connection:
        await into_bulk(loop, connection)
        view = memoryview(connection.reader._buffer)
        await sending(loop, connection.far, b"x" * 100_000)
        await wait_until(lambda: connection.reader.exception() is not None)
        assert isinstance(connection.reader.exception(), BufferError)
        assert view.nbytes == 0
        (context,) = noise.take()
        assert context["message"].startswith("Fatal error")


@pytest.mark.parametrize("end", ["shutdown", "close", "reset"])
async def test_the_end_comes_behind_the_data(end: str, loop: Loop) -> None:
    async with reading(limit=MIB) as connection:
        await into_bulk(loop, connection)
        await sending(loop, connection.far, b"last" * 50_000)
        await wait_until(lambda: len(connection.reader._buffer) == 200_000)
        if end == "shutdown":
            connection.far.shutdown(socket.SHUT_WR)
        elif end == "close":
            connection.far.close()
        else:
            linger = (1).to_bytes(4, "little") + bytes(4)
            connection.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.far.close()
        if end == "reset":
            with pytest.raises(ConnectionResetError):
                await connection.reader.read(300_000 + MIB) and await connection.reader.read()
        else:
            assert await connection.reader.read() == b"last" * 50_000
        assert connection.reader._buffer == b""


@pytest.mark.parametrize("change", ["feed_data on the object", "another protocol", "debug mode"])
async def test_what_is_changed_in_the_middle_counts_at_once(change: str, loop: Loop) -> None:
    async with reading(limit=MIB) as connection:
        await into_bulk(loop, connection)
        reader = connection.reader
        pieces: list[bytes] = []
        recorder = Recorder()
        if change == "feed_data on the object":
            original = reader.feed_data
            reader.feed_data = lambda data: (pieces.append(bytes(data)), original(data))
        elif change == "another protocol":
            connection.transport.set_protocol(recorder)
        else:
            loop.set_debug(True)
        data = os.urandom(300_000)
        sent = sending(loop, connection.far, data)
        if change == "another protocol":
            await wait_until(lambda: len(recorder.data) == len(data))
            assert bytes(recorder.data) == data
            assert reader._buffer == b""
        else:
            assert await reader.readexactly(len(data)) == data
        if pieces:
            assert b"".join(pieces) == data
        await sent
        assert bool(pieces) == (change == "feed_data on the object")


@pytest.mark.parametrize("end", ["abort", "close", "cancel"])
async def test_it_ends_in_the_middle(end: str, loop: Loop) -> None:
    async with reading() as connection:
        await into_bulk(loop, connection)
        sent = sending(loop, connection.far, b"x" * 4 * MIB)
        reading_all = asyncio.ensure_future(connection.reader.read())
        await turns(5)
        if end == "cancel":
            reading_all.cancel()
            await asyncio.wait([reading_all])
            connection.transport.abort()
        else:
            getattr(connection.transport, end)()
            assert set(await reading_all) <= set(b"x")
        with pytest.raises((ConnectionError, OSError)):
            await sent


async def test_two_connections_take_turns(loop: Loop) -> None:
    async with reading() as one, reading() as other:
        data = os.urandom(2 * MIB)
        sent = [sending(loop, connection.far, data) for connection in (one, other)]
        assert await asyncio.gather(
            one.reader.readexactly(len(data)), other.reader.readexactly(len(data))
        ) == [data, data]
        await asyncio.gather(*sent)
