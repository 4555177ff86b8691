"""What the server under test serves: one service for each way to move bytes with a loop.

Each checks every byte that comes in against the pattern of its connection, and sends it back; two
send what the client asks for. A service knows nothing of chaos.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

from .conversation import Conversation, conversing
from .echoes import BufferedEchoProtocol, DatagramEcho, EchoProtocol, WatchedEcho
from .processes import Reporter
from .wire import HEADER, PERIOD, End, pattern

#: What connect, accept or a new descriptor says while chaos has lowered the limit.
LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Services:
    """All services on one loop; `addresses` is what clients need to know."""

    def __init__(self, reporter: Reporter, folder: Path) -> None:
        self.addresses: dict[str, Any] = {}
        self._reporter = reporter
        self._folder = folder
        self._servers: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._datagrams: Any = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self._folder / "certificate.pem")
        report = self._reporter
        await self._serve("tcp", lambda: EchoProtocol(report, "tcp"))
        await self._serve("buffered", lambda: BufferedEchoProtocol(report, "buffered"))
        await self._serve("tls", lambda: EchoProtocol(report, "tls"), ssl=tls)
        await self._serve_streams("streams", self._echo_stream)
        await self._serve_streams("tls_streams", self._echo_stream, ssl=tls)
        await self._serve_streams("source", self._send_pattern)
        await self._serve_streams("sendfile", self._send_file)
        path = str(self._folder / "unix.sock")
        self._servers.append(
            await loop.create_unix_server(lambda: EchoProtocol(report, "unix"), path)
        )
        self.addresses["unix"] = path
        self._serve_sockets("sock", self._accept_sockets)
        self._serve_sockets("reader", self._watch_listener)
        self._datagrams, _ = await loop.create_datagram_endpoint(
            lambda: DatagramEcho(report), local_addr=("127.0.0.1", 0)
        )
        self.addresses["udp"] = self._datagrams.get_extra_info("sockname")

    async def stop(self) -> None:
        """Ends what serves; connections end by their clients."""
        for server in self._servers:
            server.close()
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._sockets:
            sock.close()
        self._datagrams.close()

    async def _serve(
        self, name: str, factory: Callable[[], asyncio.BaseProtocol], **options: Any
    ) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, "127.0.0.1", 0, **options)
        self._servers.append(server)
        self.addresses[name] = server.sockets[0].getsockname()

    async def _serve_streams(
        self, name: str, handle: Callable[..., Awaitable[None]], **options: Any
    ) -> None:
        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), conversing(self._reporter, name) as talk:
                await handle(talk, reader, writer)

        server = await asyncio.start_server(converse, "127.0.0.1", 0, **options)
        self._servers.append(server)
        self.addresses[name] = server.sockets[0].getsockname()

    def _serve_sockets(self, name: str, serve: Callable[[socket.socket], None]) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        self._sockets.append(sock)
        self.addresses[name] = sock.getsockname()
        serve(sock)

    # -- streams -----------------------------------------------------------------------------------

    async def _echo_stream(
        self, talk: Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(50_000):
            echo = talk.take(data)
            if echo:
                writer.write(echo)
                await writer.drain()
            match talk.end_is_due():
                case End.SERVER_CLOSES:
                    return
                case End.SERVER_ABORTS:
                    writer.transport.abort()
                    return

    async def _send_pattern(
        self, talk: Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        talk.take(await reader.readexactly(HEADER.size))
        assert talk.request
        seed, amount = talk.request.seed, talk.request.amount
        position = 0
        while position < amount:
            size = min(1 + (seed + position) % 200_000, amount - position)
            writer.write(pattern(seed, position, size))
            await writer.drain()
            position += size
            self._reporter.counts["server_bytes"] += size

    async def _send_file(
        self, talk: Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        talk.take(await reader.readexactly(HEADER.size))
        assert talk.request
        loop = asyncio.get_running_loop()
        start, amount = talk.request.seed % PERIOD, talk.request.amount
        with await self._open_block() as file:
            sent = await loop.sendfile(writer.transport, file, start, amount)
        if sent != amount:
            self._reporter.fail(f"sendfile sent {sent} of {amount} bytes")
        self._reporter.counts["server_bytes"] += sent

    async def _open_block(self) -> BinaryIO:
        while True:
            try:
                return (self._folder / "block").open("rb")
            except OSError as exc:
                if exc.errno not in LIMITS:
                    raise
                self._reporter.counts["limited"] += 1
                await asyncio.sleep(0.1)

    # -- sockets of the program --------------------------------------------------------------------

    def _accept_sockets(self, listener: socket.socket) -> None:
        self._spawn(self._accept(listener))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as exc:
                if exc.errno not in LIMITS:
                    self._reporter.fail(f"sock_accept: {exc!r}")
                self._reporter.counts["limited"] += 1
                await asyncio.sleep(0.2)
                continue
            self._spawn(self._echo_socket(sock))

    async def _echo_socket(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        buffer = bytearray(30_000)
        with sock, conversing(self._reporter, "sock") as talk:
            for count in itertools.count():
                # The two ways to receive take turns.
                if count % 2 == 0:
                    data: bytes | memoryview[Any] = await loop.sock_recv(sock, 70_000)
                else:
                    data = memoryview(buffer)[: await loop.sock_recv_into(sock, buffer)]
                if not data:
                    return
                await loop.sock_sendall(sock, talk.take(data))
                if talk.end_is_due() is not End.BY_CLIENT:
                    return

    def _watch_listener(self, listener: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listener, self._accept_watched, listener)

    def _accept_watched(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno not in LIMITS:
                self._reporter.fail(f"accept: {exc!r}")
            self._reporter.counts["limited"] += 1
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(0.2, self._watch_again, listener)
            return
        sock.setblocking(False)
        WatchedEcho(self._reporter, sock)

    def _watch_again(self, listener: socket.socket) -> None:
        if listener.fileno() != -1:
            self._watch_listener(listener)
