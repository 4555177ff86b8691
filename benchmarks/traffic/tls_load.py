"""The TLS load: like the load generator's closed loop of echoes, but in Python with `ssl`.

    python benchmarks/run.py tls_load --addr 127.0.0.1:25000 --cafile ca.pem --connections 100

One thread, epoll, non-blocking sockets; each connection has one message in flight and the echo is
compared with what was sent. Options and printed JSON are those of `loadgen` as far as they apply.
It costs about as much CPU per message as a server does, so the server may not be busy all the time:
read its CPU per message, not the messages per second.
"""

from __future__ import annotations

import argparse
import json
import select
import signal
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field

from traffic.addresses import TcpAddress, check_local, parse_address
from traffic.counters import counted, read_counters

SILENCE_SECONDS = 5.0


class LoadError(Exception):
    """The server closed, was silent or sent something else."""


@dataclass
class Connection:
    """One connection; `sent` and `received` are of the message in flight."""

    socket: ssl.SSLSocket
    message: bytes
    answer: memoryview
    sent: int = 0
    received: int = 0
    waits_for_output: bool = False
    started_ns: int = 0


@dataclass
class Load:
    """All connections and what they have done."""

    poller: select.epoll
    connections: dict[int, Connection] = field(default_factory=dict)
    latencies_ns: list[int] = field(default_factory=list)

    def open(
        self, address: TcpAddress, context: ssl.SSLContext | None, size: int, count: int
    ) -> None:
        assert context
        for number in range(count):
            plain = socket.create_connection((address.host, address.port), SILENCE_SECONDS)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected = context.wrap_socket(plain, server_hostname="localhost")
            connected.setblocking(False)
            message = (f"{number:08d}".encode() * (size // 8 + 1))[: size - 1] + b"\n"
            self.connections[connected.fileno()] = Connection(
                connected, message, memoryview(bytearray(size))
            )
            self.poller.register(connected, select.EPOLLIN)

    def start_all(self) -> None:
        for connection in self.connections.values():
            self.start(connection)

    def start(self, connection: Connection) -> None:
        connection.sent = connection.received = 0
        connection.started_ns = time.monotonic_ns()
        self.send_rest(connection)

    def send_rest(self, connection: Connection) -> None:
        message = connection.message
        while connection.sent < len(message):
            try:
                rest = memoryview(message)[connection.sent :] if connection.sent else message
                connection.sent += connection.socket.send(rest)
            except ssl.SSLWantWriteError:
                self.want_output(connection, True)
                return
        self.want_output(connection, False)

    def want_output(self, connection: Connection, wanted: bool) -> None:
        if connection.waits_for_output != wanted:
            connection.waits_for_output = wanted
            events = select.EPOLLIN | (select.EPOLLOUT if wanted else 0)
            self.poller.modify(connection.socket, events)

    def receive(self, connection: Connection) -> None:
        """Read all there is: what OpenSSL has decrypted already wakes no epoll."""
        while connection.received < len(connection.message):
            try:
                size = connection.socket.recv_into(connection.answer[connection.received :])
            except ssl.SSLWantReadError:
                return
            if size == 0:
                raise LoadError("the server closed a connection")
            connection.received += size
        if connection.answer != connection.message:
            raise LoadError("the echo differs from what was sent")
        self.latencies_ns.append(time.monotonic_ns() - connection.started_ns)
        self.start(connection)

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            events = self.poller.poll(min(deadline - now, SILENCE_SECONDS))
            for number, event in events:
                connection = self.connections[number]
                if event & select.EPOLLOUT:
                    self.send_rest(connection)
                if event & ~select.EPOLLOUT:
                    self.receive(connection)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of another process: Linux' clock id of a process, as in glibc."""
    return time.clock_gettime((~pid << 3) | 2)


def measure(load: Load, options: argparse.Namespace) -> dict[str, float]:
    load.start_all()
    load.run(options.warm_up)
    load.latencies_ns.clear()
    counters = read_counters(options.server_pid)
    before = (time.monotonic(), cpu_seconds(options.server_pid), time.process_time())
    load.run(options.seconds)
    after = (time.monotonic(), cpu_seconds(options.server_pid), time.process_time())
    counts = counted(counters, read_counters(options.server_pid))
    seconds, server, client = (b - a for a, b in zip(before, after, strict=True))
    latencies = sorted(load.latencies_ns) or [0]
    messages = len(load.latencies_ns)
    return {
        "connections": options.connections,
        "message_bytes": options.size,
        "messages": messages,
        "seconds": seconds,
        "messages_per_second": messages / seconds,
        "p50_us": latencies[len(latencies) // 2] / 1e3,
        "p99_us": latencies[len(latencies) * 99 // 100] / 1e3,
        "server_cpu_seconds": server,
        "client_cpu_seconds": client,
        **counts,
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--addr", required=True, type=parse_address, help="host:port")
    parser.add_argument("--cafile", help="PEM file to trust, for a load over TLS")
    parser.add_argument("--server-pid", required=True, type=int)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--size", type=int, default=1024, help="message size in bytes (1024)")
    parser.add_argument("--warm-up", type=float, default=0.2)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--limit", type=float, default=60.0, help="hard stop of the process")
    return parser.parse_args()


def main_of(kind: type[Load]) -> None:
    """Be the program of one kind of load."""
    options = read_options()
    check_local(options.addr)
    # SIGALRM's default action ends the process.
    signal.setitimer(signal.ITIMER_REAL, options.limit)
    load = kind(select.epoll())
    try:
        context = ssl.create_default_context(cafile=options.cafile) if options.cafile else None
        load.open(options.addr, context, options.size, options.connections)
        print(json.dumps(measure(load, options)))
    except (LoadError, OSError) as error:
        sys.exit(f"{kind.__name__}: {error}")


if __name__ == "__main__":
    main_of(Load)
