"""The other end of a connection: a plain non-blocking socket, pipe or TLS socket.

A peer does what the program's steps say and nothing else, except that each turn it goes on with
what the kernel did not take yet: bytes to send, a TLS handshake. Everything sent is cut from one
fixed random pattern, so a byte that is lost, doubled or out of order shows.
"""

from __future__ import annotations

import functools
import os
import random
import socket
import ssl
import struct
from io import FileIO
from pathlib import Path
from typing import Any

import trustme

#: What every stream carries, from its beginning.
PATTERN = random.Random(1).randbytes(1 << 16) * 64
#: Small socket buffers: a bulk write fills them for certain, and little of it lies in the kernel.
BUFFER = 16384
#: So much the other end's kernel takes for certain, read or not.
AT_HAND = 4002


class Stream:
    """Where a sender is in the pattern."""

    def __init__(self) -> None:
        self.at = 0

    def take(self, count: int) -> bytes:
        data = PATTERN[self.at : self.at + count]
        self.at += count
        return data


@functools.cache
def listener() -> socket.socket:
    """One for all connections of the process; it is opened before any descriptors are counted."""
    sock = small_socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock


def small_socket() -> socket.socket:
    """Small segments as well: a window smaller than one segment opens only every 40 ms."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1024)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    return sock


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    near = small_socket()
    near.connect(listener().getsockname())
    far, _ = listener().accept()
    for sock in (near, far):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
    return near, far


def unix_pair() -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


@functools.cache
def pattern_file() -> Path:
    """A file of the kernel's memory that holds the pattern."""
    file = os.memfd_create("pattern")
    os.write(file, PATTERN)
    return Path(f"/proc/self/fd/{file}")


def open_pattern() -> FileIO:
    """Each has a position of its own."""
    return pattern_file().open("rb", buffering=0)


@functools.cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and a client's that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


class Peer:
    """A socket whose sends are kept until the kernel takes them."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.stream = Stream()
        self.backlog = bytearray()
        self.received = bytearray()
        self.eof_wanted = False
        self.eof_sent = False
        self.ended = False
        self.events: list[tuple[Any, ...]] = []

    @property
    def open(self) -> bool:
        return self.sock.fileno() != -1

    @property
    def busy(self) -> bool:
        """Whether there is something that a turn of the other end may let through."""
        return self.open and bool(self.backlog)

    def send(self, count: int) -> None:
        if self.open and not self.eof_wanted:
            self.backlog += self.stream.take(count)
            self.pump()

    def eof(self) -> None:
        self.eof_wanted = True
        self.pump()

    def pump(self) -> None:
        if not self.open:
            return
        try:
            while self.backlog:
                del self.backlog[: self.transmit(self.backlog)]
            if self.eof_wanted and not self.eof_sent:
                self.shut_down()
                self.eof_sent = True
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as exc:
            self.events.append(("peer's send raised", type(exc).__name__))
            self.backlog.clear()
            self.eof_wanted = self.eof_sent = True

    def transmit(self, data: bytearray) -> int:
        return int(self.sock.send(data))

    def shut_down(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def read(self, count: int) -> bytes:
        return bytes(self.sock.recv(count))

    def receive(self, count: int) -> int:
        """Take up to `count` bytes; how many there were."""
        if not self.open or self.ended:
            return 0
        try:
            data = self.read(count)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError as exc:
            self.events.append(("peer's receive raised", type(exc).__name__))
            self.ended = True
            return 0
        if not data:
            self.events.append(("peer saw the end",))
            self.ended = True
        self.received += data
        return len(data)

    def close(self) -> None:
        self.backlog.clear()
        self.sock.close()

    def reset(self) -> None:
        """Close so that the other end sees ECONNRESET, where there is such a thing."""
        if self.open:
            try:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
            self.close()


class TlsPeer(Peer):
    """Its end of stream is a close_notify."""

    def __init__(self, sock: socket.socket, *, server_side: bool) -> None:
        server, client = tls_contexts()
        wrapped = (server if server_side else client).wrap_socket(
            sock,
            server_side=server_side,
            server_hostname=None if server_side else "localhost",
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,  # an end without close_notify is another end
        )
        super().__init__(wrapped)
        self.shaken = False

    @property
    def busy(self) -> bool:
        return self.open and (not self.shaken or bool(self.backlog))

    def pump(self) -> None:
        if not self.shaken and self.open:
            try:
                self.sock.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                self.backlog.clear()
                self.eof_wanted = self.eof_sent = self.ended = True
            self.shaken = True
        super().pump()

    def receive(self, count: int) -> int:
        return super().receive(count) if self.shaken else 0

    def shut_down(self) -> None:
        try:
            self.sock.unwrap()
        except ssl.SSLWantReadError:
            pass  # our close_notify is out; theirs may come later


class PipeEnd:
    """A descriptor of a pipe with the face of a socket."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd

    def fileno(self) -> int:
        return self.fd

    def send(self, data: bytes) -> int:
        return os.write(self.fd, data)

    def recv(self, count: int) -> bytes:
        return os.read(self.fd, count)

    def shutdown(self, how: int) -> None:
        self.close()

    def setsockopt(self, *args: Any) -> None:
        raise OSError("a pipe has no options")

    def close(self) -> None:
        if self.fd != -1:
            os.close(self.fd)
            self.fd = -1
