"""TLS connections: a client, a server's, and TCP that is upgraded.

What programs do not do here, as asyncio does not keep its promise there, is said at its place; the
tests named there show that ours does.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from connections import Connection, whose
from interpreter import said
from peers import Peer, TlsPeer, tcp_pair, tls_contexts

SOME = 60_000


class Secured(Connection):
    """What all of them share."""

    keeps_context = False  # the TLS protocol is the stdlib's
    is_tls = True

    #: The transport's SSLProtocol; asyncio's transport lets go of it when it is closed twice.
    machine: Any = None
    wrote_some = False

    def called(self, callback: str, *details: Any) -> None:
        if callback == "connection_made":
            self.machine = getattr(self.transport, "_ssl_protocol", None)
        super().called(callback, *details)

    def backlog_bytes(self) -> int:
        """With what lies in the transport below."""
        if self.machine is None:
            return super().backlog_bytes()
        below = self.machine._transport
        if below is None:
            return 0
        return int(self.machine._get_write_buffer_size() + below.get_write_buffer_size())

    def expecting(self) -> bool:
        """A reset is seen while reading is paused: the transport below goes on."""
        if self.machine is not None and not self.lost and not self.peer.open:
            return True
        return super().expecting()

    def close(self) -> None:
        """Once, with nothing unread, and before the peer's end (tests/loop/test_tls_ends.py).

        Unread data is an error of asyncio's shutdown, close() after the peer's end does nothing
        while reading is paused, and after a second close() abort() does nothing.
        """
        if self.lost or not (self.closing() or self.unread() or not self.peer.open):
            super().close()

    def closing(self) -> bool:
        return self.transport is not None and bool(self.transport.is_closing())

    def peer_sends(self) -> bool:
        """Not to one that still flushes: asyncio gives up what was written."""
        under_way = self.wrote_some and len(self.peer.received) < self.out.at
        return self.lost or not (self.closing() and (under_way or self.backlog_bytes()))

    def peer_send(self, count: int) -> None:
        if self.peer_sends():
            super().peer_send(count)

    def peer_pieces(self, count: int) -> None:
        if self.peer_sends():
            super().peer_pieces(count)

    def peer_bulk(self) -> None:
        if self.peer_sends():
            super().peer_bulk()

    def peer_may_end(self) -> bool:
        """A BufferedProtocol gets one more buffer of asyncio's (tests/loop/test_tls_ends.py)."""
        return not (self.unread() and self.setup.options[0] != "plain") and super().peer_may_end()

    def write_some(self) -> None:
        """Once: more than the kernel takes, less than what stops the TLS protocol's own sending.

        Over TLS only, where what lies below does not count for the protocol's limits.
        """
        if self.machine is not None and not self.wrote_some:
            self.wrote_some = True
            self.write(SOME)

    def peer_answer(self) -> None:
        """The peer's close_notify, for ours or while what was written before it still leaves.

        Not where TLS itself holds something back: asyncio gives up that.
        """
        machine = self.machine
        if machine is None or self.lost or not self.closing() or self.unread():
            return
        if machine._transport is not None and not machine._outgoing.pending:
            self.peer.eof()

    async def finish(self) -> None:
        await super().finish()
        self.machine = None


class Tls(Secured):
    """The near end is the client."""

    async def connect(self) -> None:
        near, far = tcp_pair()
        self.peer = TlsPeer(far, server_side=True)
        await self.loop.create_connection(
            self.protocol, sock=near, ssl=tls_contexts()[1], server_hostname="localhost"
        )


class AcceptedTls(Secured):
    async def connect(self) -> None:
        near, far = tcp_pair()
        self.peer = TlsPeer(far, server_side=False)
        await self.loop.connect_accepted_socket(self.protocol, near, ssl=tls_contexts()[0])


class UpgradedTcp(Secured):
    """Starts as TCP; `upgrade` makes it TLS, once, when nothing else is on its way."""

    upgrading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        near, far = tcp_pair()
        self.peer = Peer(far)
        await self.loop.create_connection(self.protocol, sock=near)

    def upgrade(self) -> None:
        peer, transport = self.peer, self.transport
        if self.upgrading or transport is None or transport.is_closing() or not peer.open:
            return
        if peer.eof_wanted or peer.backlog or self.eof_seen or not transport.is_reading():
            return
        while peer.receive(1 << 20):
            pass
        if len(peer.received) != self.out.at or not self.written_out() or peer.ended:
            return
        below = peer
        self.peer = TlsPeer(below.sock, server_side=True)
        self.peer.stream, self.peer.received = below.stream, below.received
        context = contextvars.copy_context()
        context.run(whose.set, self.number)
        self.upgrading = self.loop.create_task(self.upgraded(transport), context=context)

    async def upgraded(self, transport: Any) -> None:
        try:
            self.transport = await self.loop.start_tls(
                transport,
                transport.get_protocol(),
                tls_contexts()[1],
                server_hostname="localhost",
            )
        except Exception as exc:
            self.note("start_tls raised", said(exc))
        else:
            self.machine = self.transport._ssl_protocol
            self.note("start_tls done", self.transport is not None)

    async def finish(self) -> None:
        await super().finish()
        if self.upgrading:
            self.upgrading.cancel()
            await asyncio.wait([self.upgrading])
            self.upgrading = None
