"""One-way traffic of the benchmark server: a sink that discards, a source that never ends.

`serve_sink` receives in each of asyncio's ways and drops what came; `serve_source` sends blocks of
one size for as long as the client reads, heeding the loop's flow control. The letter x is all that
is sent, so that the load generator can check it. Listening sockets are the caller's, as in
`echoes.py`.
"""

from __future__ import annotations

import asyncio
import socket

from traffic.echoes import (
    BUFFER_BYTES,
    RAW_RECEIVE_BYTES,
    STREAM_LIMIT_BYTES,
    TrackedProtocol,
    serve_connections,
    serve_protocol,
    serve_readers,
)

# Writes in a row before the loop gets its turn: a fast reader must not keep it for itself.
WRITES_PER_TURN = 8


class SinkProtocol(TrackedProtocol, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        pass


class BufferedSinkProtocol(TrackedProtocol, asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(BUFFER_BYTES))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        pass


class SourceProtocol(TrackedProtocol, asyncio.Protocol):
    """Writes until it is paused, goes on when it is resumed."""

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.paused = False
        self.scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pump()

    def pump(self) -> None:
        self.scheduled = False
        for _ in range(WRITES_PER_TURN):
            if self.paused or self.transport.is_closing():
                return
            self.transport.write(self.block)
        if not self.paused and not self.scheduled:
            self.scheduled = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if not self.scheduled:
            self.scheduled = True
            asyncio.get_running_loop().call_soon(self.pump)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.paused = True


async def serve_sink(listener: socket.socket, mode: str) -> None:
    """Receive and discard, in a mode of `server.py`."""
    if mode == "raw":
        await serve_connections(listener, drain_raw)
    elif mode == "streams":
        await serve_readers(listener, drain_stream)
    else:
        protocol = SinkProtocol if mode == "proto" else BufferedSinkProtocol
        await serve_protocol(listener, protocol)


async def drain_raw(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(connection, RAW_RECEIVE_BYTES):
        pass


async def drain_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(STREAM_LIMIT_BYTES):
        pass


async def serve_source(listener: socket.socket, mode: str, block_bytes: int) -> None:
    """Send blocks of this size to every connection until it closes."""
    block = b"x" * block_bytes

    async def fill_raw(connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await loop.sock_sendall(connection, block)

    async def fill_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(block)
            await writer.drain()

    if mode == "raw":
        await serve_connections(listener, fill_raw)
    elif mode == "streams":
        await serve_readers(listener, fill_stream)
    else:
        await serve_protocol(listener, lambda: SourceProtocol(block))
