"""The writing half of a stream transport: write, writelines, write_eof, and what they refuse.

A write never blocks and never loses its bytes: mutable ones are copied before write returns.
Source: asyncio's documentation, "Write-only Transports".
"""

import array
import asyncio
import logging
import os
import socket
import sys

import pytest
from support import (
    RLOOP_IDS,
    Noise,
    Recorder,
    differs,
    loops_only,
    recv_all,
    recv_exactly,
    reset,
    turns,
    wait_until,
    wired,
)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_any_buffer_can_be_written(loop: asyncio.AbstractEventLoop, kind: type) -> None:
    async with wired() as (transport, _, far):
        transport.write(kind(b"hello"))
        transport.write(kind(b""))
        transport.write(kind(b" world"))
        assert await recv_exactly(far, 11) == b"hello world"


async def test_a_wide_or_sliced_memoryview_is_written_as_its_bytes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, _, far):
        transport.write(memoryview(b"0123456789")[2:5])
        assert await recv_exactly(far, 3) == b"234"


async def test_a_memoryview_of_wide_items_is_written_whole(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, _, far):
        numbers = array.array("I", range(1000))
        transport.write(memoryview(numbers))
        assert await recv_exactly(far, 4000) == numbers.tobytes()


async def test_mutating_a_written_buffer_does_no_harm(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        transport.write(b"!")
        buffer = bytearray(b"before")
        transport.write(buffer)
        buffer[:] = b"after!"
        assert await recv_exactly(far, 7) == b"!before"


@loops_only(*RLOOP_IDS)
async def test_mutating_a_large_written_buffer_does_no_harm(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, _, far):
        buffer = bytearray(b"b" * (8 << 20))
        transport.write(buffer)
        buffer[:] = b"a" * (8 << 20)
        assert await recv_exactly(far, 8 << 20) == b"b" * (8 << 20)


async def test_a_written_bytearray_can_be_resized(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        buffer = bytearray(b"hello")
        transport.write(buffer)
        await turns()
        buffer.clear()
        buffer += b"again"
        transport.write(buffer)
        assert await recv_exactly(far, 10) == b"helloagain"


@pytest.mark.parametrize("wrong", ["text", 3, None, [b"list"], object()])
@differs("uvloop", "its errors have other words")
async def test_what_is_not_bytes_is_a_type_error(
    loop: asyncio.AbstractEventLoop, wrong: object
) -> None:
    async with wired() as (transport, _, far):
        # How it goes on changed in 3.13.18 and 3.14; see test_newer_asyncio.py.
        with pytest.raises(TypeError, match=r"^data argument must be a bytes"):
            transport.write(wrong)
        transport.write(b"fine")
        assert await recv_exactly(far, 4) == b"fine"


async def test_writes_keep_their_order(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        expected = bytearray()
        for number in range(2000):
            data = b"%d," % number
            expected += data
            if number % 3 == 0:
                transport.writelines([data[:1], data[1:]])
            else:
                transport.write(data)
            if number % 100 == 0:
                await turns(1)
        assert await recv_exactly(far, len(expected)) == expected


async def test_large_and_small_writes_keep_their_order(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        pieces = [os.urandom(size) for size in (1, 300_000, 5, 70_000, 1 << 20, 3, 16_384, 65_537)]
        for piece in pieces:
            transport.write(piece)
        expected = b"".join(pieces)
        assert await recv_exactly(far, len(expected)) == expected


async def test_writelines_takes_many_pieces(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        transport.writelines([])
        transport.writelines([b"a", bytearray(b"b"), memoryview(b"c"), b""])
        assert await recv_exactly(far, 3) == b"abc"
        # More pieces than one vectored send takes (IOV_MAX is 1024).
        transport.writelines([b"%04d" % number for number in range(5000)])
        expected = b"".join(b"%04d" % number for number in range(5000))
        assert await recv_exactly(far, 20_000) == expected


async def test_writelines_of_text_is_a_type_error(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        with pytest.raises(TypeError):
            transport.writelines(["text"])
        transport.write(b"x")
        assert await recv_exactly(far, 1) == b"x"


async def test_write_eof_ends_the_stream_after_the_data(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        assert transport.can_write_eof()
        payload = b"p" * (4 << 20)
        transport.write(payload)
        transport.write_eof()
        assert await recv_all(far) == payload
        # The other direction is still open.
        far.send(b"answer")
        assert await protocol.wait_for_bytes(6) == b"answer"
        assert not transport.is_closing()


async def test_write_eof_can_be_repeated(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        transport.write_eof()
        transport.write_eof()
        assert await recv_all(far) == b""
        transport.write_eof()


@differs("uvloop", "it shuts down later, and reports nothing")
async def test_write_eof_after_a_reset_that_nobody_has_read_is_an_error(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        transport.pause_reading()
        await turns()
        reset(far)
        with pytest.raises(OSError, match="not connected"):
            transport.write_eof()
        assert not transport.is_closing()
        transport.write_eof()
        transport.resume_reading()
        assert isinstance(await protocol.lost, ConnectionResetError)


@differs("uvloop", "a closed transport raises RuntimeError there")
async def test_write_eof_of_a_closing_transport_does_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, _far):
        transport.close()
        transport.write_eof()
        assert await protocol.lost is None
        transport.write_eof()


async def test_writing_after_write_eof_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, _far):
        transport.write_eof()
        with pytest.raises(RuntimeError, match=r"^Cannot call write\(\) after write_eof\(\)$"):
            transport.write(b"late")


async def test_writing_lines_after_write_eof_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, _far):
        transport.write_eof()
        with pytest.raises(RuntimeError, match=r"^Cannot call write(lines)?\(\) after write_eof"):
            transport.writelines([b"late"])


@differs("uvloop", "it warns from the first write on, in words of its own")
async def test_write_after_close_is_ignored_with_a_warning(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="asyncio")
    async with wired() as (transport, protocol, far):
        transport.close()
        for _ in range(4):
            transport.write(b"late")
        assert caplog.records == []
        transport.write(b"late")
        await protocol.lost
        for _ in range(5):
            transport.write(b"later")
        assert await recv_all(far) == b""
    messages = {record.getMessage() for record in caplog.records}
    assert messages == {"socket.send() raised exception."}
    assert 5 <= len(caplog.records) <= 6


@differs("uvloop", "a closed transport raises RuntimeError there (uvloop issues 506 and 685)")
async def test_write_after_close_never_raises(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, _far):
        transport.abort()
        transport.write(b"late")
        transport.writelines([b"late"])
        await protocol.lost
        transport.write(b"late")


async def test_writing_in_connection_made_works(loop: asyncio.AbstractEventLoop) -> None:
    class Greeting(Recorder):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            transport.write(b"welcome")

    async with wired(Greeting) as (_, _protocol, far):
        assert await recv_exactly(far, 7) == b"welcome"


async def test_writing_to_a_reset_connection_loses_it(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.pause_reading()
        reset(far)
        while not protocol.lost.done():
            transport.write(b"x")
            await turns(1)
        assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))


async def test_the_transport_drains_its_buffer(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        transport.write(b"x" * (4 << 20))
        reading = loop.create_task(recv_exactly(far, 4 << 20))
        await wait_until(lambda: transport.get_write_buffer_size() == 0)
        assert len(await reading) == 4 << 20


async def test_what_was_written_is_let_go_of(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        payload = os.urandom(1000)
        before = sys.getrefcount(payload)
        for _ in range(10):
            transport.write(payload)
        await recv_exactly(far, 10_000)
        await wait_until(lambda: transport.get_write_buffer_size() == 0)
        await turns()
        assert sys.getrefcount(payload) == before


async def test_a_write_in_another_ones_turn_is_not_lost(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        for number in range(200):
            loop.call_soon(transport.write, b"%03d" % number)
        assert len(await recv_exactly(far, 600)) == 600


async def test_write_and_close_in_one_turn_sends_everything(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        transport.write(b"first ")
        transport.write(b"second")
        transport.close()
        assert await recv_all(far) == b"first second"
        assert await protocol.lost is None
        far.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("failure", ["abort", "raise"])
async def test_what_was_written_before_an_abort_arrives(
    loop: asyncio.AbstractEventLoop, noise: Noise, failure: str
) -> None:
    # asyncio sends inside write(): only what the kernel refused is lost.
    class Refusing(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"400 bad request")
            if failure == "abort":
                self.transport.abort()
            else:
                raise ValueError("bad request")

    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    await loop.create_connection(Refusing, sock=near)
    far.send(b"x")
    assert await recv_all(far) == b"400 bad request"
    far.close()
    if failure == "raise":
        assert isinstance(noise.take_one()["exception"], ValueError)


async def test_an_abort_behind_a_send_that_is_under_way_loses_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    # Many that wrote go through the ring, and may have been sent without the transport knowing.
    pairs = [socket.socketpair() for _ in range(5)]
    transports = []
    for near, far in pairs:
        near.setblocking(False)
        far.setblocking(False)
        transports.append((await loop.create_connection(Recorder, sock=near))[0])

    def go_on() -> None:
        for transport in transports:
            transport.write(b"second")
            transport.abort()

    for transport in transports:
        transport.write(b"first ")
    loop.call_soon(go_on)
    for _, far in pairs:
        assert await recv_all(far) == b"first second"
        far.close()
