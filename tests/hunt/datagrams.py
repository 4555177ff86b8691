"""Datagram endpoints over UDP, connected and not, and over Unix sockets.

Two peers are plain sockets; the second is a stranger to a connected endpoint. Each datagram has its
own cut of the pattern, so one that is lost, doubled or changed shows. Loopback UDP never makes a
sender wait; a Unix socket does after a fixed count of datagrams that its peer has not read, and
there buffer limits, pause_writing and resume_writing depend on nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import weakref
from typing import Any

from connections import whose
from interpreter import Actor, said
from peers import PATTERN
from program import Kind, Verb


def udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def unix_socket() -> socket.socket:
    """With a name of the kernel's choice: asyncio sends to no nameless peer."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind("")
    sock.setblocking(False)
    return sock


#: What also runs where sendto() or set_write_buffer_limits() is called.
FROM_A_CALL = ("pause_writing", "resume_writing", "error_received")


class Callbacks(asyncio.DatagramProtocol):
    def __init__(self, actor: Datagrams) -> None:
        self.actor = actor
        actor.watched.append(weakref.ref(self))

    def connection_made(self, transport: Any) -> None:
        self.actor.transport = transport
        self.actor.called("connection_made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.actor.got(data, addr)

    def error_received(self, exc: Exception) -> None:
        self.actor.errors += 1
        self.actor.called("error_received", said(exc))

    def pause_writing(self) -> None:
        self.actor.called("pause_writing")

    def resume_writing(self) -> None:
        self.actor.called("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.actor.called("connection_lost", said(exc))
        self.actor.lost = True


class Datagrams(Actor):
    """The option says what the endpoint is: connected, open (to everybody) or unix."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sort = self.setup.options[0]
        self.transport: Any = None
        self.peers: list[socket.socket] = []
        self.sent_to_us = self.got_count = self.errors = self.refused = 0
        self.sent = 0
        self.lost = False
        self.received: list[tuple[int, int, int]] = []

    async def open(self) -> None:
        token = whose.set(self.number)
        try:
            await self.connect()
        finally:
            whose.reset(token)

    async def connect(self) -> None:
        if self.sort == "unix":
            near, far = unix_socket(), unix_socket()
            near.connect(far.getsockname())
            far.connect(near.getsockname())
            self.peers = [far]
        else:
            near = udp_socket()
            self.peers = [udp_socket(), udp_socket()]
            self.near_name = near.getsockname()
            if self.sort == "connected":
                near.connect(self.peers[0].getsockname())
        self.names = [peer.getsockname() for peer in self.peers]
        await self.loop.create_datagram_endpoint(lambda: Callbacks(self), sock=near)

    def called(self, callback: str, *details: Any) -> None:
        if whose.get() != self.number and callback not in FROM_A_CALL:
            self.run.wrong_contexts.append((self.number, callback))
        self.note(callback, *details)
        self.run_hooks(callback)

    def got(self, data: bytes, addr: Any) -> None:
        self.got_count += 1
        whom = self.names.index(addr) if addr in self.names else said(ValueError(addr))
        self.called("datagram_received", whom, PATTERN.find(data), len(data))

    def expecting(self) -> bool:
        if self.transport is None or self.lost:
            return False
        if self.transport.is_closing():
            return bool(self.draining or not self.transport.get_write_buffer_size())
        return self.sent_to_us > self.got_count or self.refused > self.errors or self.behind()

    def behind(self) -> bool:
        """A peer reads, and not everything has left."""
        return bool(self.draining and self.transport.get_write_buffer_size())

    def pump(self) -> None:
        while self.draining and self.receive():
            self.run.activity += 1

    def receive(self) -> int:
        """What the peers have; how many there were."""
        found = 0
        for number, peer in enumerate(self.peers):
            while peer.fileno() != -1:
                try:
                    data = peer.recv(1 << 16)
                except OSError:
                    break
                found += 1
                self.received.append((number, PATTERN.find(data), len(data)))
        return found

    async def finish(self) -> None:
        await self.drained()
        if self.transport is not None and not self.lost:
            self.note("finally", self.look())
            self.transport.abort()
            await self.drained()
        self.note("peers", tuple(sorted(self.received, key=lambda each: each[0])))
        for peer in self.peers:
            peer.close()
        self.transport = None

    async def drained(self) -> None:
        while True:
            await self.run.settle()
            if not self.receive():
                break

    # -- what the near end does

    def may_send(self) -> bool:
        """Also in connection_lost; after it asyncio's transport fails in what it has cleared."""
        return self.transport is not None and not self.lost

    def piece(self, count: int) -> bytes:
        """A different one each time; asyncio before 3.13 drops an empty one."""
        self.sent += 1
        if sys.version_info < (3, 13):
            count = max(count, 1)
        return PATTERN[self.sent * 64 : self.sent * 64 + count]

    def send(self, count: int) -> None:
        """To whom the socket is connected; an endpoint that is not has nobody."""
        if self.may_send() and self.sort != "open":
            self.count_refused(0)
            self.transport.sendto(self.piece(count))

    def send_to(self, count: int, whom: int) -> None:
        """A connected endpoint takes its own peer's address only."""
        if self.may_send() and self.sort != "unix":
            if whom == 0:
                self.count_refused(0)
            self.transport.sendto(self.piece(count), self.names[whom])

    def count_refused(self, whom: int) -> None:
        if self.peers[whom].fileno() == -1 and self.sort == "connected":
            self.refused += 1

    def send_too_much(self) -> None:
        if self.may_send() and self.sort != "unix":
            self.transport.sendto(bytes(70_000), self.names[0])

    def send_wrong(self) -> None:
        if self.transport is not None:
            self.transport.sendto("text", None)

    def send_many(self, count: int) -> None:
        """Not to a peer that is gone: which of them meets the error is the kernel's affair."""
        if self.sort != "open" and self.peers[0].fileno() != -1:
            for _ in range(count):
                self.send(200)

    def limits(self, high: int) -> None:
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=high)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def look(self) -> Any:
        if self.transport is None:
            return None
        size = self.transport.get_write_buffer_size()
        return self.transport.is_closing(), size, self.transport.get_write_buffer_limits()

    # -- what the peers do

    def peer_send(self, count: int, whom: int) -> None:
        if whom >= len(self.peers) or self.peers[whom].fileno() == -1:
            return
        at = (self.sent_to_us + 1) * 64
        heard = self.sort != "connected" or whom == 0
        try:
            if self.sort == "unix":
                self.peers[whom].send(PATTERN[at : at + count])
            else:
                self.peers[whom].sendto(PATTERN[at : at + count], self.near_name)
        except OSError as exc:
            self.note("peer's send raised", type(exc).__name__)
        else:
            self.sent_to_us += heard

    def peer_send_many(self, count: int) -> None:
        for _ in range(count):
            self.peer_send(100, 0)

    def peer_receive_all(self) -> None:
        self.draining = True

    def peer_close(self) -> None:
        self.receive()
        self.peers[0].close()


SIZES = (10, 1, 1000, 0, 9000)
WHOM = (0, 1)
NEAR = (
    Verb("send", 5, (SIZES,)),
    Verb("send_to", 5, (SIZES, WHOM)),
    Verb("send_many", 2, ((3, 20),)),
    Verb("send_too_much", 1),
    Verb("send_wrong", 1),
    Verb("limits", 1, ((1 << 16, 1000, 0),)),
    Verb("look", 2),
    Verb("close", 1),
    Verb("abort", 1),
)
KINDS = (
    Kind(
        "datagrams",
        Datagrams,
        verbs=(
            *NEAR,
            Verb("peer_send", 8, (SIZES, WHOM)),
            Verb("peer_send_many", 1, ((3, 8),)),
            Verb("peer_receive_all", 4),
            Verb("peer_close", 1),
        ),
        options=(("open", "connected", "unix"),),
        callbacks=(
            "connection_made",
            "datagram_received",
            "error_received",
            "pause_writing",
            "resume_writing",
            "connection_lost",
        ),
        # What lies in the buffer inside a callback is the engine's affair.
        hook_verbs=(*(v for v in NEAR if v.name not in ("look", "send_too_much")), Verb("boom")),
        weight=5,
    ),
)
