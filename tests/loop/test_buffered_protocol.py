"""BufferedProtocol: the transport receives into the protocol's own memory.

Source: asyncio's documentation, "Buffered Streaming Protocols".
"""

import asyncio
import hashlib
import os
import socket
import sys
from typing import Any

import pytest
from support import (
    BufferedRecorder,
    Noise,
    Recorder,
    differs,
    recv_exactly,
    turns,
    wait_until,
    wired,
)


async def test_data_lands_in_the_buffer_of_the_protocol(loop: asyncio.AbstractEventLoop) -> None:
    async with wired(BufferedRecorder) as (_, protocol, far):
        far.send(b"hello")
        assert await protocol.wait_for_bytes(5) == b"hello"
        assert protocol.buffer[:5] == b"hello"
        assert protocol.updates == [5]
        assert protocol.sizehints
        assert all(hint == -1 or hint > 0 for hint in protocol.sizehints)


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
async def test_no_more_arrives_than_the_buffer_holds(
    loop: asyncio.AbstractEventLoop, size: int
) -> None:
    async with wired(lambda: BufferedRecorder(size)) as (_, protocol, far):
        payload = os.urandom(min(size * 300, 1 << 22))
        sending = loop.create_task(loop.sock_sendall(far, payload))
        assert await protocol.wait_for_bytes(len(payload)) == payload
        await sending
        assert max(protocol.updates) <= size
        assert min(protocol.updates) > 0


async def test_bulk_data_is_intact(loop: asyncio.AbstractEventLoop) -> None:
    async with wired(lambda: BufferedRecorder(256 << 10)) as (_, protocol, far):
        payload = os.urandom(16 << 20)
        sending = loop.create_task(loop.sock_sendall(far, payload))
        received = await protocol.wait_for_bytes(len(payload))
        await sending
        assert hashlib.sha256(received).digest() == hashlib.sha256(payload).digest()


async def test_a_memoryview_into_a_larger_buffer_works(loop: asyncio.AbstractEventLoop) -> None:
    class Filling(BufferedRecorder):
        position = 0

        def get_buffer(self, sizehint: int) -> memoryview:
            return memoryview(self.buffer)[self.position :]

        def buffer_updated(self, nbytes: int) -> None:
            self.position += nbytes

    async with wired(lambda: Filling(1001)) as (_, protocol, far):
        for number in range(10):
            far.send(bytes([number]) * 100)
            await wait_until(lambda n=number: protocol.position == 100 * (n + 1))
        assert protocol.buffer[:1000] == b"".join(bytes([number]) * 100 for number in range(10))


async def test_the_end_of_the_stream_is_told(loop: asyncio.AbstractEventLoop) -> None:
    async with wired(BufferedRecorder) as (_, protocol, far):
        far.send(b"last")
        far.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert protocol.data == b"last"
        assert protocol.events == [
            "connection_made",
            "buffer_updated",
            "eof_received",
            "connection_lost",
        ]


async def test_pausing_holds_the_buffer_back(loop: asyncio.AbstractEventLoop) -> None:
    class OneAtATime(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.pause_reading()

    async with wired(lambda: OneAtATime(1000)) as (transport, protocol, far):
        far.send(b"x" * 10_000)
        for number in range(1, 11):
            await wait_until(lambda n=number: len(protocol.updates) == n)
            await turns(3)
            assert len(protocol.updates) == number
            transport.resume_reading()
        await protocol.wait_for_bytes(10_000)


async def test_writing_from_buffer_updated_works(loop: asyncio.AbstractEventLoop) -> None:
    class BufferedEcho(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            # The memory is used again for the next receive: write must not refer to it.
            self.transport.write(memoryview(self.buffer)[:nbytes])

    async with wired(BufferedEcho) as (_, _protocol, far):
        for number in range(50):
            far.send(b"%05d" % number)
            assert await recv_exactly(far, 5) == b"%05d" % number


@differs("uvloop", "its errors have other words")
async def test_an_empty_buffer_is_a_fatal_error(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with wired(lambda: BufferedRecorder(0)) as (_, protocol, far):
        far.send(b"x")
        error = await protocol.lost
        assert isinstance(error, RuntimeError)
        assert str(error) == "get_buffer() returned an empty buffer"
        context = noise.take_one()
        assert context["message"] == "Fatal error: protocol.get_buffer() call failed."
        assert context["protocol"] is protocol


@pytest.mark.parametrize("wrong", [b"read-only", None, 3])
@differs("uvloop", "its errors have other types and words")
async def test_a_buffer_that_cannot_be_written_is_a_fatal_error(
    loop: asyncio.AbstractEventLoop, noise: Noise, wrong: object
) -> None:
    class Wrong(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> object:
            return wrong

    async with wired(Wrong) as (_, protocol, far):
        far.send(b"x")
        assert isinstance(await protocol.lost, (TypeError, BufferError))
        assert noise.take_one()["message"].startswith("Fatal ")


async def test_the_buffer_is_free_between_receives(loop: asyncio.AbstractEventLoop) -> None:
    class Growing(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            loop.call_soon(self.grow)

        def grow(self) -> None:
            # Fails with BufferError while somebody still holds an export of it.
            self.buffer.extend(b"more")

    async with wired(lambda: Growing(10)) as (_, protocol, far):
        for number in range(1, 6):
            far.send(b"x")
            await protocol.wait_for_bytes(number)
            await turns(3)
        assert len(protocol.buffer) == 10 + 5 * 4


@differs("uvloop", "0.23 crashes with a segmentation fault")
async def test_a_buffered_protocol_may_close_in_its_callbacks(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Closing(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            self.transport.close()
            return super().get_buffer(sizehint)

    async with wired(Closing) as (_, protocol, far):
        far.send(b"x")
        assert await protocol.lost is None
        assert protocol.events.count("connection_lost") == 1


@differs("uvloop", "it still holds an export of the buffer then")
async def test_the_buffer_is_free_at_the_end_of_the_stream(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Growing(BufferedRecorder):
        def eof_received(self) -> None:
            self.buffer.extend(b"more")
            super().eof_received()

    async with wired(lambda: Growing(10)) as (_, protocol, far):
        far.send(b"x")
        await protocol.wait_for_bytes(1)
        far.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert len(protocol.buffer) == 14


@differs("asyncio", "it calls buffer_updated of the plain protocol")
@differs("uvloop", "it calls buffer_updated of the plain protocol")
async def test_a_protocol_may_be_switched_inside_get_buffer(
    loop: asyncio.AbstractEventLoop,
) -> None:
    plain = Recorder()

    class Switching(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            plain.transport = self.transport
            self.transport.set_protocol(plain)
            return super().get_buffer(sizehint)

    async with wired(lambda: Switching(4096)) as (_, _, far):
        far.send(b"first")
        assert await plain.wait_for_bytes(5) == b"first"
        far.send(b" second")
        assert await plain.wait_for_bytes(12) == b"first second"


@differs("uvloop", "0.23 runs no sock_recv eagerly")
@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
async def test_get_buffer_may_receive_from_another_socket(loop: asyncio.AbstractEventLoop) -> None:
    other, other_far = socket.socketpair()
    other.setblocking(False)
    loop.set_task_factory(asyncio.eager_task_factory)
    receives: list[asyncio.Future[bytes]] = []

    class Receiving(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            other_far.send(b"X" * 50)
            receives.append(asyncio.ensure_future(loop.sock_recv(other, 100)))
            return super().get_buffer(sizehint)

    class Plain(Recorder):
        def data_received(self, data: bytes) -> None:
            buffered.transport = self.transport
            self.transport.set_protocol(buffered)
            far.send(b"hello, world")

    buffered = Receiving()
    async with wired(Plain) as (_, _, far):
        far.send(b"1")
        assert await buffered.wait_for_bytes(12) == b"hello, world"
    loop.set_task_factory(None)
    for receive in receives:
        receive.cancel()
    await asyncio.gather(*receives, return_exceptions=True)
    other.close()
    other_far.close()


@pytest.mark.parametrize("size", [1001, 5000, 65536])
async def test_pauses_that_end_in_the_next_turn_keep_the_order(
    loop: asyncio.AbstractEventLoop, size: int
) -> None:
    payload = b"".join(b"%08d" % number for number in range(500_000))

    class Pausing(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            if len(self.updates) % 50 == 49:
                self.transport.pause_reading()
                loop.call_soon(self.transport.resume_reading)

    async with wired(lambda: Pausing(size)) as (_, protocol, far):
        await loop.sock_sendall(far, payload)
        assert await protocol.wait_for_bytes(len(payload)) == payload


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("size", [4096, 4])
@differs("uvloop", "it drops what lies in the buffer")
async def test_memory_that_is_given_while_closing_is_filled_once_more(
    loop: asyncio.AbstractEventLoop, end: str, size: int
) -> None:
    class Closing(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            if self.updates:
                getattr(self.transport, end)()
            return super().get_buffer(sizehint)

    async with wired(lambda: Closing(size)) as (_, protocol, far):
        far.send(b"1")
        await protocol.wait_for_bytes(1)
        far.send(b"the last piece")
        assert await protocol.lost is None
        assert protocol.data == b"1the last piece"[: 1 + size]
        assert protocol.events == ["connection_made", *["buffer_updated"] * 2, "connection_lost"]


@differs("uvloop", "it drops what lies in the buffer")
async def test_the_last_piece_that_fails_is_told(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    class Closing(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            self.transport.close()
            return super().get_buffer(sizehint)

        def buffer_updated(self, nbytes: int) -> None:
            raise ValueError(nbytes)

    async with wired(Closing) as (_, protocol, far):
        far.send(b"last")
        assert await protocol.lost is None
        assert noise.take_one()["exception"].args == (4,)
