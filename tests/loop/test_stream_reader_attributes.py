"""Data for an asyncio.StreamReader whose attributes are other things than usual, or which is gone.

rloop reads and writes those attributes itself where they are the usual ones (see
test_stream_reader_fed.py). What becomes of the data otherwise is asyncio's behaviour, and so each
test runs on asyncio too.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest
from stream_readers import reading
from support import Noise, collect, turns, wait_until


async def test_data_after_feed_eof(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    async with reading() as connection:
        connection.reader.feed_eof()
        connection.far.send(b"late")
        await wait_until(lambda: noise.contexts)
        context = noise.take_one()
        assert str(context["exception"]) == "feed_data after feed_eof"
        assert not connection.reader._buffer


@pytest.mark.parametrize("waits", [False, True])
async def test_more_than_twice_the_limit_pauses(
    loop: asyncio.AbstractEventLoop, waits: bool
) -> None:
    async with reading(limit=100) as connection:
        await connection.receive(b"x" * 150)
        await connection.receive(b"x" * 50)
        assert connection.transport.is_reading() and not connection.reader._paused
        task = loop.create_task(connection.reader.readexactly(202)) if waits else None
        await turns(2)
        await connection.receive(b"x")
        if task is None:
            assert not connection.transport.is_reading() and connection.reader._paused
            assert await connection.reader.read(50) == b"x" * 50
            assert not connection.transport.is_reading()
            assert await connection.reader.read(51) == b"x" * 51
            assert connection.transport.is_reading() and not connection.reader._paused
            connection.far.send(b"y" * 102)
            assert (await connection.reader.readexactly(202))[100:] == b"y" * 102
        else:
            # Whoever waits for more than that resumes.
            connection.far.send(b"x")
            assert await task == b"x" * 202
        await connection.exchange()


async def test_a_transport_that_cannot_be_paused(loop: asyncio.AbstractEventLoop) -> None:
    async with reading(limit=10) as connection:
        connection.reader._transport = asyncio.ReadTransport()
        await connection.receive(b"x" * 20)
        assert connection.reader._transport is not None
        await connection.receive(b"x")
        assert connection.reader._transport is None
        await connection.receive(b"x" * 100)
        assert not connection.reader._paused
        assert await connection.reader.readexactly(121) == b"x" * 121


@pytest.mark.parametrize("limit", [2.5, 1 << 62, 1 << 100, True])
async def test_unusual_limits(loop: asyncio.AbstractEventLoop, limit: Any) -> None:
    async with reading(limit=limit) as connection:
        await connection.exchange(b"12")
        await connection.receive(b"1234")
        assert connection.transport.is_reading() == (limit > 2)


async def test_a_cancelled_waiter(loop: asyncio.AbstractEventLoop) -> None:
    async with reading() as connection:
        task = loop.create_task(connection.reader.readexactly(4))
        await turns(2)
        task.cancel()
        await connection.receive(b"1234")
        assert task.cancelled() and connection.reader._waiter is None
        waiter = connection.reader._waiter = loop.create_future()
        waiter.cancel()
        await connection.receive(b"56")
        assert connection.reader._waiter is None
        assert await connection.reader.read(10) == b"123456"
        await connection.exchange()


class Failure(Exception):
    pass


class OwnWaiter(asyncio.Future):  # type: ignore[type-arg]
    def set_result(self, result: Any) -> None:
        raise Failure


def done_waiter(loop: asyncio.AbstractEventLoop) -> Any:
    waiter = loop.create_future()
    waiter.set_result(None)
    return waiter


def failing_waiter(name: str) -> Callable[[asyncio.AbstractEventLoop], Any]:
    def make(loop: asyncio.AbstractEventLoop) -> Any:
        def fail(*arguments: Any) -> None:
            raise Failure

        waiter = asyncio.Future(loop=loop)
        setattr(waiter, name, fail)
        return waiter

    return make


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(done_waiter, asyncio.InvalidStateError, id="done"),
        pytest.param(failing_waiter("set_result"), Failure, id="set_result"),
        pytest.param(failing_waiter("cancelled"), Failure, id="cancelled"),
        pytest.param(lambda loop: OwnWaiter(loop=loop), Failure, id="subclass"),
        pytest.param(lambda loop: object(), AttributeError, id="object"),
    ],
)
async def test_a_waiter_that_fails(
    loop: asyncio.AbstractEventLoop, noise: Noise, make: Callable[..., Any], error: type
) -> None:
    async with reading() as connection:
        connection.reader._waiter = make(loop)
        connection.far.send(b"data")
        await wait_until(lambda: noise.contexts)
        context = noise.take_one()
        assert type(context["exception"]) is error
        assert context["transport"] is connection.transport
        assert bytes(connection.reader._buffer) == b"data"
        assert connection.reader._waiter is None


async def test_a_waiter_that_fills_the_buffer(loop: asyncio.AbstractEventLoop) -> None:
    class Filling(asyncio.Future):  # type: ignore[type-arg]
        def set_result(self, result: Any) -> None:
            connection.reader._buffer.extend(b"x" * 200)
            super().set_result(result)

    async with reading(limit=100) as connection:
        connection.reader._waiter = waiter = Filling(loop=loop)
        connection.far.send(b"x")
        await waiter
        assert connection.reader._paused
        assert await connection.reader.read(1000) == b"x" * 201


async def test_the_waiter_is_woken_in_the_context_of_the_transport(
    loop: asyncio.AbstractEventLoop,
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []
    variable.set("the maker's")
    async with reading() as connection:
        variable.set("the reader's")
        waiter = connection.reader._waiter = asyncio.Future(loop=loop)
        waiter.set_result = lambda _: seen.append(variable.get())  # type: ignore[method-assign]
        await connection.receive(b"data")
        assert seen == ["the maker's"]
        waiter.cancel()


async def test_a_reader_that_is_gone(loop: asyncio.AbstractEventLoop) -> None:
    async with reading() as connection:
        await connection.exchange()
        del connection.reader
        collect()
        assert connection.protocol._stream_reader is None
        connection.far.send(b"for nobody")
        await turns(20)
        connection.protocol._stream_reader_wr = None
        connection.far.send(b"for nobody")
        await turns(20)
        assert connection.transport.is_reading()


async def test_another_kind_of_reference(loop: asyncio.AbstractEventLoop) -> None:
    async with reading() as connection:
        reader = connection.reader
        connection.protocol._stream_reader_wr = lambda: reader
        await connection.exchange()


async def test_an_exported_buffer(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    async with reading() as connection:
        await connection.receive(b"1234")
        with memoryview(connection.reader._buffer):
            connection.far.send(b"56")
            await wait_until(lambda: noise.contexts)
        assert type(noise.take_one()["exception"]) is BufferError
        assert bytes(connection.reader._buffer) == b"1234"


async def test_other_buffers(loop: asyncio.AbstractEventLoop) -> None:
    class Counted(bytearray):
        extended = 0

        def extend(self, data: Any) -> None:
            self.extended += 1
            super().extend(data)

    async with reading() as connection:
        buffer = connection.reader._buffer = Counted()
        await connection.exchange()
        assert buffer.extended == 1
        numbers: list[int] = []
        connection.reader._buffer = numbers
        await connection.receive(b"12")
        assert numbers == [0x31, 0x32]
        connection.reader._buffer = bytearray(b"plain")
        await connection.receive(b"er")
        assert await connection.reader.read(10) == b"plainer"


@pytest.mark.parametrize("name", ["_buffer", "_eof", "_limit", "_waiter"])
async def test_an_attribute_that_is_missing(
    loop: asyncio.AbstractEventLoop, noise: Noise, name: str
) -> None:
    async with reading() as connection:
        await connection.exchange()
        value = getattr(connection.reader, name)
        delattr(connection.reader, name)
        connection.far.send(b"data")
        await wait_until(lambda: noise.contexts)
        assert type(noise.take_one()["exception"]) is AttributeError
        setattr(connection.reader, name, value)


async def test_a_true_eof_of_another_kind(loop: asyncio.AbstractEventLoop) -> None:
    async with reading() as connection:
        connection.reader._eof = 0
        await connection.exchange()
