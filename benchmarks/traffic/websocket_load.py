"""The load of the websockets server: a closed loop of binary messages, each echoed.

    python benchmarks/run.py websocket_load --addr 127.0.0.1:25001 --server-pid PID --size 1024

Options and printed JSON are those of `tls_load.py`. The opening handshake is before the measured
time and offers no compression. Frames are made once: a client has to mask what it sends (RFC 6455,
5.3), a server must not, so the expected echo is known byte by byte.
"""

from __future__ import annotations

import itertools
import select
import socket
import ssl
import sys
import time
from dataclasses import dataclass

from traffic.addresses import TcpAddress
from traffic.tls_load import SILENCE_SECONDS, Load, LoadError, main_of

FINAL_BINARY = 0x82
MASK_BIT = 0x80
MASK = b"\x5a\xa5\x3c\xc3"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
# The server's proof for this key, from RFC 6455, 1.3.
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def frame(payload: bytes, *, masked: bool) -> bytes:
    """Return one frame that is a whole binary message of less than 64 KiB."""
    bit = MASK_BIT if masked else 0
    head = bytes([FINAL_BINARY])
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    else:
        head += bytes([bit | 126]) + len(payload).to_bytes(2, "big")
    if not masked:
        return head + payload
    return head + MASK + bytes(a ^ b for a, b in zip(payload, itertools.cycle(MASK), strict=False))


@dataclass
class Client:
    """One connection; `received` is of the echo that it waits for."""

    socket: socket.socket
    message: bytes
    echo: bytes
    received: bytes = b""
    started_ns: int = 0


class WebSocketLoad(Load):
    """As many clients as asked for, each with one message in flight."""

    def open(
        self, address: TcpAddress, context: ssl.SSLContext | None, size: int, count: int
    ) -> None:
        self.clients: dict[int, Client] = {}
        for number in range(count):
            connected = socket.create_connection((address.host, address.port), SILENCE_SECONDS)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            shake_hands(connected)
            connected.setblocking(False)
            payload = (f"{number:08d}".encode() * (size // 8 + 1))[:size]
            client = Client(connected, frame(payload, masked=True), frame(payload, masked=False))
            self.clients[connected.fileno()] = client
            self.poller.register(connected, select.EPOLLIN)

    def start_all(self) -> None:
        for client in self.clients.values():
            self.send(client)

    def send(self, client: Client) -> None:
        client.received = b""
        client.started_ns = time.monotonic_ns()
        # The buffer is empty, so all of it goes.
        if client.socket.send(client.message) != len(client.message):
            raise LoadError("a message is too large to be sent at once")

    def hear(self, client: Client) -> None:
        received = client.socket.recv(len(client.echo) + 1)
        if not received:
            raise LoadError("the server closed a connection")
        client.received += received
        if len(client.received) >= len(client.echo):
            if client.received != client.echo:
                raise LoadError("the echo differs from what was sent")
            self.latencies_ns.append(time.monotonic_ns() - client.started_ns)
            self.send(client)

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            for number, _ in self.poller.poll(min(deadline - now, SILENCE_SECONDS)):
                self.hear(self.clients[number])


def shake_hands(connected: socket.socket) -> None:
    connected.sendall(UPGRADE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        received = connected.recv(4096)
        if not received:
            raise LoadError("the server closed during the handshake")
        answer += received
    if not answer.startswith(b"HTTP/1.1 101 ") or ACCEPT not in answer:
        raise LoadError(f"the handshake failed: {answer[:40]!r}")


if __name__ == "__main__":
    sys.exit(main_of(WebSocketLoad))
