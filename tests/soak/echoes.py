"""What answers on the server: protocols of each kind, and one over readers and writers alone."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from .conversation import Conversation
from .processes import Reporter
from .wire import HEADER, End, Request, WrongByte, pattern


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
