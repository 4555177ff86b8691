"""The trials of connections, servers, datagrams, TLS, pipes, children, and their transports.

Each is a row of the table of parity, below those of parity.trials_loop; see parity.probe for
what a trial is. Keywords are those of asyncio's own signature in the running Python, each of them
in a real call. Certificates lie in the folder that PARITY_CERTIFICATES names.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from parity.probe import (
    Differs,
    Loop,
    Notes,
    connected,
    expect,
    is_unknown_keyword,
    report_missing,
    row,
    socket_pair,
    until,
)

LOCAL = ("127.0.0.1", 0)


def keywords_of(method: str, values: dict[str, Any], *, without: tuple[str, ...] = ()) -> Any:
    """Each keyword of asyncio's method with a value to try: its default unless given."""
    found = inspect.signature(getattr(asyncio.SelectorEventLoop, method)).parameters.values()
    for one in found:
        if one.kind is one.KEYWORD_ONLY and one.name not in without:
            yield one.name, values.get(one.name, one.default)


async def try_keywords(keywords: Any, call: Callable[..., Awaitable[Any]]) -> None:
    """Make the call with each of the keywords alone; it gives something that closes."""
    missing, count = [], 0
    for name, value in keywords:
        count += 1
        try:
            made = await call(**{name: value})
        except (TypeError, NotImplementedError) as exc:
            if isinstance(exc, TypeError) and not is_unknown_keyword(exc):
                raise
            missing.append(name)
        else:
            (made[0] if isinstance(made, tuple) else made).close()
    report_missing("without", missing, count)


async def has_received(protocol: Notes, count: int) -> None:
    await until(lambda: len(protocol.data) == count)


# -- TCP ------------------------------------------------------------------------------------------


@row("`create_connection`, `create_server`: TCP, IPv4 and IPv6")
async def tcp(loop: Loop) -> None:
    for host in ("127.0.0.1", "::1") if socket.has_ipv6 else ("127.0.0.1",):
        server = await loop.create_server(lambda: Notes(echo=True), host, 0)
        address = server.sockets[0].getsockname()
        transport, near = await loop.create_connection(Notes, *address[:2])
        transport.write(b"x" * 100_000)
        await has_received(near, 100_000)
        transport.close()
        await near.lost
        server.close()


@row("... every keyword of `create_connection` but the next row's")
async def connection_keywords(loop: Loop) -> None:
    server = await loop.create_server(Notes, *LOCAL)
    address = server.sockets[0].getsockname()
    near, far = socket_pair()
    values = {"family": socket.AF_INET, "local_addr": LOCAL}
    without = ("sock", "happy_eyeballs_delay", "interleave")
    keywords = keywords_of("create_connection", values, without=without)
    await try_keywords(keywords, lambda **kw: loop.create_connection(Notes, *address, **kw))
    transport, _ = await loop.create_connection(Notes, sock=near)
    transport.close()
    far.close()
    server.close()


@row("... `happy_eyeballs_delay`, `interleave`")
async def happy_eyeballs(loop: Loop) -> None:
    server = await loop.create_server(Notes, *LOCAL)
    address = server.sockets[0].getsockname()
    keywords: list[dict[str, Any]] = [{"happy_eyeballs_delay": 0.1}, {"interleave": 1}]
    for keyword in keywords:
        transport, _ = await loop.create_connection(Notes, *address, **keyword)
        transport.close()
    server.close()


@row("... every keyword of `create_server`")
async def server_keywords(loop: Loop) -> None:
    values = {
        "family": socket.AF_INET,
        "reuse_address": True,
        "reuse_port": True,
        "keep_alive": True,
        "start_serving": False,
    }
    keywords = keywords_of("create_server", values, without=("sock",))
    await try_keywords(keywords, lambda **kw: loop.create_server(Notes, *LOCAL, **kw))
    server = await loop.create_server(Notes, sock=socket.create_server(LOCAL))
    server.close()


@row("`Server`: `sockets`, `start_serving`, `serve_forever`, `wait_closed`")
async def server_methods(loop: Loop) -> None:
    server = await loop.create_server(Notes, *LOCAL, start_serving=False)
    async with server:
        expect(not server.is_serving() and server.get_loop() is loop, "is_serving or get_loop")
        await server.start_serving()
        expect(server.is_serving() and len(server.sockets) == 1, "is_serving or sockets")
        transport, _ = await loop.create_connection(Notes, *server.sockets[0].getsockname())
        transport.close()
        serving = loop.create_task(server.serve_forever())
        await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    await server.wait_closed()
    expect(not server.is_serving() and not server.sockets, "it is still serving")


@row("`Server.close` leaves its connections alone")
async def server_close(loop: Loop) -> None:
    server = await loop.create_server(lambda: Notes(echo=True), *LOCAL)
    transport, near = await loop.create_connection(Notes, *server.sockets[0].getsockname())
    transport.write(b"one")
    await has_received(near, 3)
    server.close()
    await asyncio.sleep(0.01)
    transport.write(b"two")
    await has_received(near, 6)
    transport.close()


@row("`Server.close_clients`, `abort_clients` (Python 3.13)")
async def server_clients(loop: Loop) -> None:
    if not hasattr(asyncio.Server, "close_clients"):
        return  # this Python has none
    for method in ("close_clients", "abort_clients"):
        server = await loop.create_server(Notes, *LOCAL)
        _, near = await loop.create_connection(Notes, *server.sockets[0].getsockname())
        # The server's side may not know of the connection yet.
        while not near.lost.done():
            getattr(server, method)()
            await asyncio.sleep(0.002)
        server.close()


@row("`connect_accepted_socket`")
async def accepted_socket(loop: Loop) -> None:
    near, far = socket_pair()
    transport, protocol = await loop.connect_accepted_socket(Notes, near)
    far.send(b"hello")
    await until(lambda: protocol.data == b"hello")
    transport.close()
    far.close()


@row("`asyncio.open_connection`, `start_server`")
async def streams(loop: Loop) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, *LOCAL)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello\n")
    expect(await reader.read() == b"HELLO\n", "another answer")
    writer.close()
    await writer.wait_closed()
    server.close()


# -- TLS ------------------------------------------------------------------------------------------


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server's, client's)."""
    folder = Path(os.environ["PARITY_CERTIFICATES"])
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cafile=folder / "authority.pem")


async def handshake_ends(loop: Loop) -> None:
    _, ours = tls_contexts()
    silent = socket.create_server(LOCAL)
    try:
        await loop.create_connection(
            Notes,
            *silent.getsockname(),
            ssl=ours,
            server_hostname="localhost",
            ssl_handshake_timeout=0.05,
            ssl_shutdown_timeout=0.05,
        )
    except ConnectionAbortedError:
        return
    raise Differs("the handshake had no end")


@row("TLS: `ssl=` on both sides, `ssl_handshake_timeout`, `ssl_shutdown_timeout`")
async def tls(loop: Loop) -> None:
    theirs, ours = tls_contexts()
    server = await loop.create_server(lambda: Notes(echo=True), *LOCAL, ssl=theirs)
    address = server.sockets[0].getsockname()
    transport, near = await loop.create_connection(
        Notes, *address, ssl=ours, server_hostname="localhost"
    )
    transport.write(b"x" * 100_000)
    await has_received(near, 100_000)
    for name in ("ssl_object", "sslcontext", "peercert", "cipher"):
        expect(transport.get_extra_info(name), f"no {name}")
    transport.close()
    await near.lost
    server.close()
    await handshake_ends(loop)


@row("`start_tls`, on both sides")
async def start_tls(loop: Loop) -> None:
    theirs, ours = tls_contexts()
    async with connected(loop) as (near, far):
        accepting = asyncio.ensure_future(
            loop.start_tls(far.transport, far, theirs, server_side=True)
        )
        transport = await loop.start_tls(near.transport, near, ours, server_hostname="localhost")
        upgraded = await accepting
        transport.write(b"secret")
        await until(lambda: far.data == b"secret")
        transport.close()
        upgraded.close()


# -- Unix sockets, datagrams ----------------------------------------------------------------------


@row("`create_unix_connection`, `create_unix_server`, every keyword")
async def unix_sockets(loop: Loop) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        keywords = keywords_of("create_unix_server", {}, without=("sock",))
        await try_keywords(keywords, lambda **kw: loop.create_unix_server(Notes, path, **kw))
        server = await loop.create_unix_server(lambda: Notes(echo=True), path)
        keywords = keywords_of("create_unix_connection", {}, without=("sock",))
        await try_keywords(keywords, lambda **kw: loop.create_unix_connection(Notes, path, **kw))
        transport, near = await loop.create_unix_connection(Notes, path)
        transport.write(b"hello")
        await until(lambda: near.data == b"hello")
        transport.close()
        server.close()


class Datagrams(asyncio.DatagramProtocol):
    """Notes what arrives."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)


@row("`create_datagram_endpoint`: `sendto` with and without an address")
async def datagrams(loop: Loop) -> None:
    one, first = await loop.create_datagram_endpoint(Datagrams, local_addr=LOCAL)
    address = one.get_extra_info("sockname")
    two, second = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    two.sendto(b"ping")
    await until(lambda: first.received)
    data, sender = first.received[0]
    expect((data, sender) == (b"ping", two.get_extra_info("sockname")), "data or address")
    one.sendto(b"pong", sender)
    await until(lambda: second.received)
    expect(second.received == [(b"pong", address)], "data or address of the answer")
    one.close()
    two.abort()


@row("... every keyword")
async def datagram_keywords(loop: Loop) -> None:
    values = {"family": socket.AF_INET, "reuse_port": True, "allow_broadcast": True}
    keywords = keywords_of("create_datagram_endpoint", values, without=("sock",))
    await try_keywords(
        keywords, lambda **kw: loop.create_datagram_endpoint(Datagrams, local_addr=LOCAL, **kw)
    )
    near, far = socket_pair(socket.SOCK_DGRAM)
    transport, _ = await loop.create_datagram_endpoint(Datagrams, sock=near)
    transport.close()
    far.close()


@row("... datagrams of no bytes, `error_received`")
async def datagram_edges(loop: Loop) -> None:
    near, far = socket_pair(socket.SOCK_DGRAM)
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=near)
    far.send(b"")
    far.send(b"x")
    await until(lambda: protocol.received)
    expect(protocol.received[0][0] == b"", "an empty datagram was not received")
    if sys.version_info >= (3, 13):  # before, asyncio's own sends none
        transport.sendto(b"")
        expect(await loop.sock_recv(far, 10) == b"", "an empty datagram was not sent")
    far.close()
    transport.sendto(b"nobody is there")
    await until(lambda: protocol.errors)
    expect(isinstance(protocol.errors[0], ConnectionRefusedError), repr(protocol.errors))
    transport.close()


# -- pipes and children ---------------------------------------------------------------------------


@row("`connect_read_pipe`, `connect_write_pipe`")
async def pipes(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    reader, protocol = await loop.connect_read_pipe(Notes, os.fdopen(read_end, "rb", 0))
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(write_end, "wb", 0))
    writer.write(b"hello")
    writer.close()
    await protocol.lost
    expect(protocol.data == b"hello" and protocol.events == ["eof"], "data or end are lost")
    reader.close()


@row("`subprocess_exec`, `subprocess_shell`, `asyncio.subprocess`")
async def children(loop: Loop) -> None:
    pipe = subprocess.PIPE
    child = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
    out, _ = await child.communicate(b"hello")
    expect(out == b"hello" and child.returncode == 0, f"cat gave {out!r}, {child.returncode}")
    child = await asyncio.create_subprocess_shell("exit 3")
    expect(await child.wait() == 3, f"exit 3 gave {child.returncode}")
    transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "cat", stdin=pipe)
    expect(transport.get_pid() > 0 and transport.get_pipe_transport(0), "pid or pipe transport")
    transport.terminate()
    await until(lambda: transport.get_returncode() is not None)
    expect(transport.get_returncode() == -15, f"terminate gave {transport.get_returncode()}")
    transport.close()
