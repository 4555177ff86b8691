"""The load of TLS handshakes: connect, shake hands in full, end both sides, begin again.

    python benchmarks/run.py handshakes --addr 127.0.0.1:25000 --cafile ca.pem --connections 10

As `tls_load.py`, whose options and printed JSON it has; a message is one handshake. No session is
kept, so every handshake is a full one. The client sends no byte: it ends the encrypted connection
(close_notify) and its side of the other, as some loops wait for that. A server that answers, or
closes, has finished its part of the handshake.
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
import time
from dataclasses import dataclass

from traffic.addresses import TcpAddress
from traffic.tls_load import SILENCE_SECONDS, Load, LoadError, main_of


@dataclass
class Handshake:
    socket: ssl.SSLSocket
    started_ns: int
    done: bool = False
    ended: bool = False


class HandshakeLoad(Load):
    """As many connections as asked for, each on its way through one handshake."""

    def open(
        self, address: TcpAddress, context: ssl.SSLContext | None, size: int, count: int
    ) -> None:
        assert context
        self.address = (address.host, address.port)
        self.context = context
        self.count = count
        self.under_way: dict[int, Handshake] = {}

    def start_all(self) -> None:
        for _ in range(self.count):
            self.connect()

    def connect(self) -> None:
        started_ns = time.monotonic_ns()
        plain = socket.create_connection(self.address, SILENCE_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setblocking(False)
        secure = self.context.wrap_socket(
            plain, server_hostname="localhost", do_handshake_on_connect=False
        )
        self.under_way[secure.fileno()] = Handshake(secure, started_ns)
        self.poller.register(secure, select.EPOLLIN)
        self.go_on(self.under_way[secure.fileno()])

    def go_on(self, handshake: Handshake) -> None:
        """Take the connection as far as it goes; what it sends is too little to have to wait."""
        try:
            if not handshake.done:
                handshake.socket.do_handshake()
                handshake.done = True
            handshake.socket.unwrap()
        except ssl.SSLWantReadError:
            if handshake.done and not handshake.ended:
                handshake.ended = True
                # SSLSocket's own would forget the encryption, and with it the answer.
                socket.socket.shutdown(handshake.socket, socket.SHUT_WR)
            return
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ConnectionError):
            # Not every loop answers close_notify before it closes.
            if not handshake.done:
                raise LoadError("the server closed during a handshake") from None
        self.poller.unregister(handshake.socket)
        del self.under_way[handshake.socket.fileno()]
        handshake.socket.close()
        self.latencies_ns.append(time.monotonic_ns() - handshake.started_ns)
        self.connect()

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            for number, _ in self.poller.poll(min(deadline - now, SILENCE_SECONDS)):
                self.go_on(self.under_way[number])


if __name__ == "__main__":
    sys.exit(main_of(HandshakeLoad))
