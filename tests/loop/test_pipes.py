"""Pipe transports: reading, writing, both ends closing, ttys and ptys, what is no pipe.

asyncio's documentation, connect_read_pipe and connect_write_pipe.
"""

import asyncio
import contextlib
import os
import pty
import socket
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support import Noise, Recorder, differs, turns, wait_until


@contextlib.asynccontextmanager
async def reading() -> AsyncIterator[tuple[Any, Any, int]]:
    """A read transport, its protocol, and the descriptor of the writing end."""
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()
    transport, protocol = await loop.connect_read_pipe(Recorder, os.fdopen(reader, "rb", 0))
    try:
        yield transport, protocol, writer
    finally:
        with contextlib.suppress(OSError):
            os.close(writer)
        transport.close()
        await wait_until(protocol.lost.done)


@contextlib.asynccontextmanager
async def writing() -> AsyncIterator[tuple[Any, Any, int]]:
    """A write transport, its protocol, and the descriptor of the reading end."""
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    transport, protocol = await loop.connect_write_pipe(Recorder, os.fdopen(writer, "wb", 0))
    try:
        yield transport, protocol, reader
    finally:
        with contextlib.suppress(OSError):
            os.close(reader)
        if not transport.is_closing():
            transport.abort()
        await wait_until(protocol.lost.done)


async def test_data_and_the_end(loop: asyncio.AbstractEventLoop) -> None:
    async with reading() as (transport, protocol, writer):
        os.write(writer, b"hello")
        assert await protocol.wait_for_bytes(5) == b"hello"
        os.close(writer)
        assert await protocol.lost is None
        assert protocol.events[-2:] == ["eof_received", "connection_lost"]
        assert transport.is_closing()


@differs("uvloop", "its transports have a text of their own")
async def test_the_text_of_a_pipe_transport_says_what_it_does(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with reading() as (transport, _, _), writing() as (sink, _, _):
        assert repr(transport).startswith("<_UnixReadPipeTransport fd=")
        assert repr(transport).endswith(" polling>")
        transport.pause_reading()
        assert repr(transport).endswith(" idle>")
        assert repr(sink).startswith("<_UnixWritePipeTransport fd=")
        assert repr(sink).endswith(" idle bufsize=0>")
        while sink.get_write_buffer_size() == 0:
            sink.write(b"x" * 65536)
        assert " polling bufsize=" in repr(sink)


async def test_reading_pauses(loop: asyncio.AbstractEventLoop) -> None:
    async with reading() as (transport, protocol, writer):
        transport.pause_reading()
        os.write(writer, b"later")
        await turns(20)
        assert protocol.data == b""
        transport.resume_reading()
        assert await protocol.wait_for_bytes(5) == b"later"


async def test_megabytes_are_written_in_order(loop: asyncio.AbstractEventLoop) -> None:
    async with writing() as (transport, protocol, reader):
        payload = os.urandom(3 << 20)
        transport.write(payload)
        assert transport.get_write_buffer_size() > 0
        assert "pause_writing" in protocol.events
        received = bytearray()
        while len(received) < len(payload):
            try:
                received += os.read(reader, 1 << 16)
            except BlockingIOError:
                await asyncio.sleep(0)
        assert received == payload
        await wait_until(lambda: protocol.events[-1] == "resume_writing")


async def test_the_reader_goes_away(loop: asyncio.AbstractEventLoop) -> None:
    async with writing() as (transport, protocol, reader):
        transport.write(b"x" * (1 << 20))
        os.close(reader)
        assert isinstance(await protocol.lost, BrokenPipeError)
        assert transport.is_closing()


async def test_an_idle_writer_sees_the_reader_go(loop: asyncio.AbstractEventLoop) -> None:
    async with writing() as (_, protocol, reader):
        os.close(reader)
        await wait_until(protocol.lost.done)


@differs("asyncio", "it starts to watch the descriptor behind the end of the transport")
@differs("uvloop", "it closes the pipe object later")
async def test_nothing_watches_the_number_of_a_writer_that_ended_as_it_was_made(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Aborts(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.abort()

    reader, writer = os.pipe()
    pipe = os.fdopen(writer, "wb", 0)
    _, protocol = await loop.connect_write_pipe(Aborts, pipe)
    assert await protocol.lost is None
    assert pipe.closed
    assert not loop.remove_reader(writer)
    os.close(reader)


@differs("asyncio", "it fails in what the first end has cleared")
async def test_one_that_is_ended_twice_ends_once(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with writing() as (transport, protocol, _):
        transport.close()
        transport.abort()
        transport.abort()
        assert await protocol.lost is None
        await turns()
        assert protocol.events == ["connection_made", "connection_lost"]


@differs("uvloop", "shutting down a pipe is an error there")
async def test_write_eof_closes_after_the_backlog(loop: asyncio.AbstractEventLoop) -> None:
    async with writing() as (transport, protocol, reader):
        assert transport.can_write_eof()
        transport.write(b"x" * 200_000)
        transport.write_eof()
        received = bytearray()
        while True:
            try:
                data = os.read(reader, 1 << 16)
            except BlockingIOError:
                await asyncio.sleep(0)
                continue
            if not data:
                break
            received += data
        assert len(received) == 200_000
        assert await protocol.lost is None


async def test_a_terminal(loop: asyncio.AbstractEventLoop) -> None:
    controller, terminal = pty.openpty()
    reader, read_protocol = await loop.connect_read_pipe(Recorder, os.fdopen(controller, "rb", 0))
    writer, write_protocol = await loop.connect_write_pipe(Recorder, os.fdopen(terminal, "wb", 0))
    writer.write(b"prompt$ ")
    assert await read_protocol.wait_for_bytes(8) == b"prompt$ "
    writer.close()
    assert await write_protocol.lost is None
    # The end of a terminal is EIO, which asyncio passes on as it comes.
    await wait_until(read_protocol.lost.done)
    assert reader.is_closing()


async def test_a_socket_is_a_pipe_too(loop: asyncio.AbstractEventLoop) -> None:
    near, far = socket.socketpair()
    with far:
        _, protocol = await loop.connect_read_pipe(Recorder, near)
        far.send(b"socket")
        assert await protocol.wait_for_bytes(6) == b"socket"
    assert await protocol.lost is None


@differs("uvloop", "its texts are others")
async def test_a_file_is_no_pipe(loop: asyncio.AbstractEventLoop) -> None:
    with tempfile.TemporaryFile() as file:
        with pytest.raises(ValueError, match="Pipe transport is for pipes/sockets only"):
            await loop.connect_read_pipe(Recorder, file)
        with pytest.raises(ValueError, match="Pipe transport is only for pipes, sockets and char"):
            await loop.connect_write_pipe(Recorder, file)
