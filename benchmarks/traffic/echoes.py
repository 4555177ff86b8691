"""What the benchmark server does with a connection: echoing, in each of asyncio's ways.

Raw sockets (`loop.sock_*`), streams, Protocol, BufferedProtocol, and datagrams. Each `serve_*`
takes a listening socket made by the caller and serves it until it is cancelled. Nothing is done
per message beyond the echo unless printing is asked for. One-way traffic is in `oneway.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from traffic.addresses import BACKLOG

RAW_RECEIVE_BYTES = 102400
STREAM_LIMIT_BYTES = 1024 * 1024
BUFFER_BYTES = 256 * 1024
DATAGRAM_BYTES = 65536

StreamServer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

# Transports of the live connections, to close them when the server stops.
open_transports: set[asyncio.BaseTransport] = set()


def set_nodelay(connection: Any) -> None:
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class TrackedProtocol(asyncio.BaseProtocol):
    """Knows when its connection begins and ends; the echoing is the subclasses'."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        set_nodelay(transport.get_extra_info("socket"))
        open_transports.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        open_transports.discard(self.transport)


class EchoProtocol(TrackedProtocol, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class PrintingEchoProtocol(TrackedProtocol, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        print_size(len(data))
        self.transport.write(data)


class EchoDatagrams(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)

    def connection_lost(self, exc: Exception | None) -> None:
        open_transports.discard(self.transport)


class BufferedEchoProtocol(TrackedProtocol, asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(BUFFER_BYTES))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        # A copy: the loop may keep what it cannot send at once, and the buffer is used again.
        self.transport.write(bytes(self.view[:nbytes]))


class PrintingBufferedEchoProtocol(BufferedEchoProtocol):
    def buffer_updated(self, nbytes: int) -> None:
        print_size(nbytes)
        super().buffer_updated(nbytes)


def print_size(size: int) -> None:
    print(f"received {size} bytes", flush=True)


async def serve_connections(
    listener: socket.socket, serve: Callable[[socket.socket], Coroutine[Any, Any, None]]
) -> None:
    """Accept with `sock_accept`; each connection gets a task of its own that closes it."""
    loop = asyncio.get_running_loop()
    connections = set[asyncio.Task[None]]()

    async def run(connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            connection.setblocking(False)
            set_nodelay(connection)
            await serve(connection)

    while True:
        connection, _ = await loop.sock_accept(listener)
        task = loop.create_task(run(connection))
        connections.add(task)
        task.add_done_callback(connections.discard)


async def serve_raw(listener: socket.socket, printing: bool) -> None:
    async def echo(connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(connection, RAW_RECEIVE_BYTES):
            if printing:
                print_size(len(data))
            await loop.sock_sendall(connection, data)

    await serve_connections(listener, echo)


async def serve_readers(
    listener: socket.socket, serve: StreamServer, tls: ssl.SSLContext | None = None
) -> None:
    """Serve every connection with a coroutine that takes its streams; they are closed for it."""

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        set_nodelay(transport.get_extra_info("socket"))
        open_transports.add(transport)
        try:
            with contextlib.suppress(ConnectionError):
                await serve(reader, writer)
        finally:
            open_transports.discard(transport)
            writer.close()

    start: Any = asyncio.start_unix_server if is_unix(listener) else asyncio.start_server
    server = await start(run, sock=listener, limit=STREAM_LIMIT_BYTES, ssl=tls, backlog=BACKLOG)
    await wait_for_ever(server)


async def serve_streams(
    listener: socket.socket, printing: bool, tls: ssl.SSLContext | None = None
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if printing:
                print_size(len(line))
            writer.write(line)

    await serve_readers(listener, echo, tls)


async def serve_protocol(
    listener: socket.socket,
    factory: Callable[[], asyncio.BaseProtocol],
    tls: ssl.SSLContext | None = None,
) -> None:
    loop = asyncio.get_running_loop()
    start: Any = loop.create_unix_server if is_unix(listener) else loop.create_server
    await wait_for_ever(await start(factory, sock=listener, ssl=tls, backlog=BACKLOG))


async def serve_datagrams(bound: socket.socket, mode: str) -> None:
    """Echo datagrams on a bound socket: with a DatagramProtocol, or with `sock_recvfrom`."""
    loop = asyncio.get_running_loop()
    if mode == "raw":
        while True:
            data, peer = await loop.sock_recvfrom(bound, DATAGRAM_BYTES)
            await loop.sock_sendto(bound, data, peer)
    # As servers are written. (A socket that the program has as well could be written to by itself,
    # so a loop may not gather what the transport sends.)
    address = bound.getsockname()
    bound.close()
    transport, _ = await loop.create_datagram_endpoint(EchoDatagrams, local_addr=address[:2])
    open_transports.add(transport)
    await loop.create_future()


async def wait_for_ever(server: Any) -> None:
    """Wait until cancelled, then stop listening (`serve_forever` differs between the loops)."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()


def is_unix(listener: socket.socket) -> bool:
    return listener.family == socket.AF_UNIX


async def close_connections() -> None:
    for transport in list(open_transports):
        transport.abort()  # type: ignore[attr-defined]
    for _ in range(100):
        await asyncio.sleep(0.005)
        if not open_transports:
            break
