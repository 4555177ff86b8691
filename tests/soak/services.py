"""What the server under test serves: one service for each way to move bytes with a loop.

Each checks every byte that comes in against the pattern of its connection, and sends it back; two
send what the client asks for. A service knows nothing of chaos: peers that reset, stall or vanish
end its connections in the ways that `is_expected_end` lists, and anything else is a failure.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

from .processes import Reporter
from .wire import HEADER, PERIOD, Checker, End, Request, WrongByte, pattern

#: What connect, accept or a new descriptor says while chaos has lowered the limit.
LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_ENDS = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN)


def is_expected_end(exc: BaseException) -> bool:
    """True for what a connection may end with when its peer misbehaves."""
    if isinstance(exc, (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)):
        return True
    if isinstance(exc, OSError):
        return exc.errno in _ENDS
    return isinstance(exc, RuntimeError) and "closing" in str(exc).lower()  # sendfile's words


class Conversation:
    """One connection as the server sees it: its header, then its bytes."""

    def __init__(self, reporter: Reporter, kind: str) -> None:
        self.request: Request | None = None
        self._counts = reporter.counts
        self._reporter = reporter
        self._kind = kind
        self._header = bytearray()
        self._checker: Checker | None = None
        self._counts["connections"] += 1
        self._counts["opened"] += 1

    def take(self, data: bytes | bytearray | memoryview[Any]) -> bytes | memoryview[Any]:
        """Check `data`; what of it is to be echoed. Raises WrongByte."""
        rest = memoryview(data)
        if self._checker is None:
            missing = HEADER.size - len(self._header)
            self._header += rest[:missing]
            rest = rest[missing:]
            if len(self._header) < HEADER.size:
                return b""
            self.request = Request.decode(bytes(self._header))
            self._checker = Checker(self.request.seed, f"{self._kind}, from the client")
        self._checker.check(rest)
        self._counts["server_bytes"] += len(rest)
        return rest

    def end_is_due(self) -> End:
        """What the server has to do now; BY_CLIENT means to go on."""
        if self.request is None or self._checker is None:
            return End.BY_CLIENT
        return self.request.end if self._checker.position >= self.request.amount else End.BY_CLIENT

    def over(self, exc: BaseException | None) -> None:
        """The connection has ended; a failure unless the peer can be the reason."""
        self._counts["closed"] += 1
        if exc is None or isinstance(exc, asyncio.CancelledError):
            return
        if is_expected_end(exc):
            self._counts["ended_by_error"] += 1
            return
        self._reporter.fail(f"{self._kind}: the connection ended by {exc!r}")


class EchoProtocol(asyncio.Protocol):
    """Echo with flow control: it stops reading while its own answers do not get through."""

    def __init__(self, reporter: Reporter, kind: str) -> None:
        self._reporter = reporter
        self._kind = kind
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._conversation = Conversation(self._reporter, self._kind)

    def data_received(self, data: bytes) -> None:
        self._answer(data)

    def _answer(self, data: bytes | memoryview[Any]) -> None:
        try:
            echo = self._conversation.take(data)
        except WrongByte as exc:
            self._reporter.fail(str(exc))
            self._transport.abort()
            return
        if echo:
            self._transport.write(echo)
        match self._conversation.end_is_due():
            case End.SERVER_CLOSES:
                self._transport.close()
            case End.SERVER_ABORTS:
                self._transport.abort()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._conversation.over(exc)


class BufferedEchoProtocol(EchoProtocol, asyncio.BufferedProtocol):
    """The same over a buffer of its own, which is full of old bytes."""

    data_received = None  # type: ignore[assignment] # or it would be the protocol of the other kind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._buffer = bytearray(16_000)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._answer(memoryview(self._buffer)[:nbytes])


class DatagramEcho(asyncio.DatagramProtocol):
    """A datagram is a header, whose `amount` is the position, and bytes from there on."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = Request.decode(data[: HEADER.size])
        if data[HEADER.size :] != pattern(request.seed, request.amount, len(data) - HEADER.size):
            self._reporter.fail(f"a datagram of {addr} is wrong: {data[:32]!r}...")
            return
        self._reporter.counts["server_bytes"] += len(data)
        self._transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        # The peer was killed and its port is closed; it may be full as well.
        self._reporter.counts["datagram_errors"] += 1
        if not isinstance(exc, ConnectionRefusedError):
            self._reporter.fail(f"error_received({exc!r})")


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
            conversation = Conversation(self._reporter, name)
            error: BaseException | None = None
            try:
                await handle(conversation, reader, writer)
            except WrongByte as exc:
                self._reporter.fail(str(exc))
            except Exception as exc:
                error = exc
            finally:
                conversation.over(error)
                writer.close()

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
        talk = Conversation(self._reporter, "sock")
        buffer = bytearray(30_000)
        error: BaseException | None = None
        count = 0
        try:
            while True:
                # The two ways to receive take turns.
                count += 1
                if count % 2:
                    data: bytes | memoryview[Any] = await loop.sock_recv(sock, 70_000)
                else:
                    data = memoryview(buffer)[: await loop.sock_recv_into(sock, buffer)]
                if not data:
                    return
                await loop.sock_sendall(sock, talk.take(data))
                if talk.end_is_due() is not End.BY_CLIENT:
                    return
        except WrongByte as exc:
            self._reporter.fail(str(exc))
        except Exception as exc:
            error = exc
        finally:
            talk.over(error)
            sock.close()

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


class WatchedEcho:
    """Echo by add_reader and add_writer alone."""

    def __init__(self, reporter: Reporter, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._reporter = reporter
        self._sock = sock
        self._talk = Conversation(reporter, "reader")
        self._backlog = bytearray()
        self._loop.add_reader(sock, self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(40_000)
            self._backlog += self._talk.take(data)
        except BlockingIOError:
            return
        except WrongByte as exc:
            self._reporter.fail(str(exc))
            self._end(None)
            return
        except OSError as exc:
            self._end(exc)
            return
        if not data or self._talk.end_is_due() is not End.BY_CLIENT:
            self._end(None)
            return
        self._flush()

    def _flush(self) -> None:
        try:
            while self._backlog:
                sent = self._sock.send(self._backlog)
                del self._backlog[:sent]
        except BlockingIOError:
            # Nothing more is read before this is gone.
            self._loop.remove_reader(self._sock)
            self._loop.add_writer(self._sock, self._on_writable)
        except OSError as exc:
            self._end(exc)

    def _on_writable(self) -> None:
        self._loop.remove_writer(self._sock)
        self._loop.add_reader(self._sock, self._on_readable)
        self._flush()

    def _end(self, exc: OSError | None) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._talk.over(exc)
