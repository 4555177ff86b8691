"""The echo server of the benchmarks: one event loop, one way of using it.

    python benchmarks/server.py --loop uring --addr 127.0.0.1:25000 --proto

Without a mode it uses raw sockets (`loop.sock_*`); `--streams` echoes lines through StreamReader
and StreamWriter, `--proto` through a Protocol, `--buffered` through a BufferedProtocol. All modes
get the same listening socket and set TCP_NODELAY. The server is meant to be measured, so nothing
is done per message beyond the echo unless `--print` is given. It ends on SIGTERM or SIGINT, or by
itself after `--exit-after` seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any

from addresses import (
    Address,
    TcpAddress,
    UnixAddress,
    check_local,
    listening_socket,
    parse_address,
    remove_socket_file,
)
from loops import NAMES, LoopUnavailableError, describe, factory_for

RAW_RECEIVE_BYTES = 102400
STREAM_LIMIT_BYTES = 1024 * 1024
BUFFER_BYTES = 256 * 1024
# Past --exit-after, how long the loop may take to end before the process is killed, in seconds.
GRACE_SECONDS = 5.0

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


async def serve_raw(listener: socket.socket, printing: bool) -> None:
    loop = asyncio.get_running_loop()
    connections = set[asyncio.Task[None]]()
    while True:
        connection, _ = await loop.sock_accept(listener)
        task = loop.create_task(echo_raw(connection, printing))
        connections.add(task)
        task.add_done_callback(connections.discard)


async def echo_raw(connection: socket.socket, printing: bool) -> None:
    loop = asyncio.get_running_loop()
    with connection, contextlib.suppress(ConnectionError):
        connection.setblocking(False)
        set_nodelay(connection)
        while data := await loop.sock_recv(connection, RAW_RECEIVE_BYTES):
            if printing:
                print_size(len(data))
            await loop.sock_sendall(connection, data)


async def serve_streams(listener: socket.socket, printing: bool) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await echo_lines(reader, writer, printing)

    start = asyncio.start_unix_server if is_unix(listener) else asyncio.start_server
    server = await start(echo, sock=listener, limit=STREAM_LIMIT_BYTES)
    await wait_for_ever(server)


async def echo_lines(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, printing: bool
) -> None:
    transport = writer.transport
    set_nodelay(transport.get_extra_info("socket"))
    open_transports.add(transport)
    try:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if printing:
                    print_size(len(line))
                writer.write(line)
    finally:
        open_transports.discard(transport)
        writer.close()


async def serve_protocol(
    listener: socket.socket, factory: Callable[[], asyncio.BaseProtocol]
) -> None:
    loop = asyncio.get_running_loop()
    start: Any = loop.create_unix_server if is_unix(listener) else loop.create_server
    await wait_for_ever(await start(factory, sock=listener))


async def wait_for_ever(server: Any) -> None:
    """Wait until cancelled, then stop listening (`serve_forever` differs between the loops)."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()


def is_unix(listener: socket.socket) -> bool:
    return listener.family == socket.AF_UNIX


def choose_mode(options: argparse.Namespace) -> tuple[str, Callable[[socket.socket], Any]]:
    """Return the mode as printed, and the coroutine function that serves a listening socket."""
    printing: bool = options.print
    if options.streams:
        return "streams", lambda listener: serve_streams(listener, printing)
    if options.proto:
        protocol = PrintingEchoProtocol if printing else EchoProtocol
        return "protocol", lambda listener: serve_protocol(listener, protocol)
    if options.buffered:
        buffered = PrintingBufferedEchoProtocol if printing else BufferedEchoProtocol
        return "buffered protocol", lambda listener: serve_protocol(listener, buffered)
    return "raw sockets", lambda listener: serve_raw(listener, printing)


async def run(options: argparse.Namespace) -> None:
    """Serve until a signal or the time limit, then close every connection."""
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.exit_after:
        loop.call_later(options.exit_after, stop.set)

    mode, serve = choose_mode(options)
    listener = listening_socket(options.addr)
    name = listener.getsockname()
    serving = loop.create_task(serve(listener))
    stopping = loop.create_task(stop.wait())
    print(f"using {describe(loop, options.loop)}")
    print(f"mode: {mode}")
    print(f"serving on: {name}")
    print(f"PID: {os.getpid()}", flush=True)
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    serving.cancel()
    await close_connections()
    listener.close()


async def close_connections() -> None:
    for transport in list(open_transports):
        transport.abort()  # type: ignore[attr-defined]
    for _ in range(100):
        await asyncio.sleep(0.005)
        if not open_transports:
            break


def address_option(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def read_options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--loop", default="asyncio", help=f"{', '.join(NAMES)} or module:factory (asyncio)"
    )
    parser.add_argument(
        "--addr",
        default=TcpAddress("127.0.0.1", 25000),
        type=address_option,
        help="host:port (port 0: any free one), unix:path or file:/path (127.0.0.1:25000)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--streams", action="store_true", help="StreamReader and StreamWriter")
    mode.add_argument("--proto", action="store_true", help="asyncio.Protocol")
    mode.add_argument("--buffered", action="store_true", help="asyncio.BufferedProtocol")
    parser.add_argument("--print", action="store_true", help="print the size of each message")
    parser.add_argument("--exit-after", type=float, metavar="SECONDS", help="end by itself")
    parser.add_argument(
        "--allow-remote", action="store_true", help="accept an address other machines can reach"
    )
    parser.add_argument(
        "--allow-tracer", action="store_true", help="let any process of this user trace the server"
    )
    options = parser.parse_args()
    try:
        options.factory = factory_for(options.loop)
        if not options.allow_remote:
            check_local(options.addr)
    except LoopUnavailableError as error:
        parser.error(f"argument --loop: {options.loop} is not available: {error}")
    except ValueError as error:
        parser.error(str(error))
    return options


def allow_tracer() -> None:
    """Permit ptrace by processes that are no ancestors (the Yama security module forbids it)."""
    pr_set_ptracer, any_process = 0x59616D61, ctypes.c_ulong(-1)
    ctypes.CDLL(None).prctl(pr_set_ptracer, any_process, 0, 0, 0)


def main() -> None:
    options = read_options()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.allow_tracer:
        allow_tracer()
    if options.exit_after:
        # SIGALRM's default action: an end even if the loop hangs.
        signal.setitimer(signal.ITIMER_REAL, options.exit_after + GRACE_SECONDS)
    try:
        with asyncio.Runner(loop_factory=options.factory) as runner:
            runner.run(run(options))
    except OSError as error:
        raise SystemExit(f"server.py: {error}") from error
    except NotImplementedError as error:
        raise SystemExit(f"server.py: {options.loop} has no such server or mode") from error
    finally:
        if isinstance(options.addr, UnixAddress):
            remove_socket_file(options.addr.path)


if __name__ == "__main__":
    main()
