"""The kinds of stream connections: how each is made, and the verbs and callbacks it has."""

from __future__ import annotations

import asyncio
import contextvars
import os
from typing import Any

from connections import Connection, whose
from interpreter import said
from peers import Peer, PipeEnd, TlsPeer, tcp_pair, tls_contexts, unix_pair
from programs import Kind, Verb


class Tcp(Connection):
    async def connect(self) -> None:
        near, far = tcp_pair()
        self.peer = Peer(far)
        await self.loop.create_connection(self.protocol, sock=near)


class AcceptedTcp(Connection):
    async def connect(self) -> None:
        near, far = tcp_pair()
        self.peer = Peer(far)
        await self.loop.connect_accepted_socket(self.protocol, near)


class Unix(Connection):
    async def connect(self) -> None:
        near, far = unix_pair()
        self.peer = Peer(far)
        await self.loop.create_unix_connection(self.protocol, sock=near)


class Tls(Connection):
    """The near end is the client."""

    keeps_context = False  # the TLS protocol is the stdlib's
    is_tls = True

    async def connect(self) -> None:
        near, far = tcp_pair()
        self.peer = TlsPeer(far, server_side=True)
        await self.loop.create_connection(
            self.protocol, sock=near, ssl=tls_contexts()[1], server_hostname="localhost"
        )


class AcceptedTls(Connection):
    keeps_context = False  # the TLS protocol is the stdlib's
    is_tls = True

    async def connect(self) -> None:
        near, far = tcp_pair()
        self.peer = TlsPeer(far, server_side=False)
        await self.loop.connect_accepted_socket(self.protocol, near, ssl=tls_contexts()[0])


class UpgradedTcp(Tcp):
    """Starts as TCP; `upgrade` makes it TLS, once, when nothing else is on its way."""

    keeps_context = False  # the TLS protocol is the stdlib's
    is_tls = True

    upgrading: asyncio.Task[None] | None = None

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
            self.note("start_tls done", self.transport is not None)

    async def finish(self) -> None:
        await super().finish()
        if self.upgrading:
            self.upgrading.cancel()
            await asyncio.wait([self.upgrading])
            self.upgrading = None


class ReadPipe(Connection):
    keeps_context = False  # the transport is asyncio's own

    async def connect(self) -> None:
        near, far = os.pipe()
        self.peer = Peer(PipeEnd(far))
        await self.loop.connect_read_pipe(self.protocol, os.fdopen(near, "rb", 0))

    def expecting(self) -> bool:
        if self.transport is not None and self.transport.is_closing():
            return not self.lost
        return super().expecting()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def written_out(self) -> bool:
        return True

    def look(self) -> Any:
        if self.transport is not None:
            return self.transport.is_closing(), self.transport.is_reading()
        return None


class WritePipe(Connection):
    keeps_context = False  # the transport is asyncio's own

    async def connect(self) -> None:
        far, near = os.pipe()
        self.peer = Peer(PipeEnd(far))
        await self.loop.connect_write_pipe(self.protocol, os.fdopen(near, "wb", 0))

    def reading(self) -> bool:
        return False

    def look(self) -> Any:
        if self.transport is not None:
            return self.transport.is_closing(), self.transport.get_write_buffer_limits()
        return None


SIZES = (1, 10, 200, 1000)
LIMITS = (1 << 16, 1 << 17, 1000)
CALLBACKS = (
    "connection_made",
    "data_received",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "connection_lost",
)
COMMON = (
    Verb("look"),
    Verb("soon"),
    Verb("close"),
    Verb("abort"),
    Verb("collect"),
    Verb("drop"),
)
READING = (
    Verb("pause_reading", 2),
    Verb("resume_reading", 3),
)
WRITING = (
    Verb("write", 6, (SIZES,)),
    Verb("write_lines", 1, (SIZES,)),
    Verb("write_bulk", 1),
    Verb("limits", 1, (LIMITS,)),
    Verb("write_eof", 1),
)
SWITCHING = (Verb("switch", 1, (("plain", "buffered"),)),)
BOOM = (Verb("boom"),)
WRONG = (Verb("write_wrong"),)
PEER_SENDS = (
    Verb("peer_send", 8, (SIZES,)),
    Verb("peer_pieces", 2, (SIZES,)),
    Verb("peer_bulk", 1),
    Verb("peer_eof", 1),
)
PEER_RECEIVES = (
    Verb("peer_receive", 3, (SIZES,)),
    Verb("peer_receive_all", 4),
)
PEER_ENDS = (Verb("peer_close"), Verb("peer_reset"))
BOTH_WAYS = COMMON + READING + WRITING + SWITCHING + WRONG
BOTH_PEER = PEER_SENDS + PEER_RECEIVES + PEER_ENDS
OPTIONS = (("plain", "buffered", "tiny"), (None, True))


def both_ways(name: str, make: Any, weight: int, *more: Verb) -> Kind:
    """The ends of TLS peers are left out, see differences.py."""
    tls = issubclass(make, Tls | AcceptedTls | UpgradedTcp)
    peer_verbs = tuple(verb for verb in BOTH_PEER if not (tls and verb.name == "peer_eof"))
    return Kind(
        name,
        make,
        verbs=BOTH_WAYS + peer_verbs + more,
        options=OPTIONS,
        callbacks=CALLBACKS,
        hook_verbs=BOTH_WAYS + BOOM,
        weight=weight,
    )


KINDS = (
    both_ways("tcp", Tcp, 8),
    both_ways("accepted tcp", AcceptedTcp, 4),
    both_ways("unix", Unix, 8),
    both_ways("tls", Tls, 1),
    both_ways("accepted tls", AcceptedTls, 1),
    both_ways("upgraded tcp", UpgradedTcp, 1, Verb("upgrade", 4)),
    Kind(
        "read pipe",
        ReadPipe,
        verbs=COMMON + READING + PEER_SENDS,
        options=(("plain",), (None,)),
        callbacks=("connection_made", "data_received", "eof_received", "connection_lost"),
        hook_verbs=COMMON + READING + BOOM,
        weight=3,
    ),
    Kind(
        "write pipe",
        WritePipe,
        verbs=COMMON + WRITING + WRONG + PEER_RECEIVES + PEER_ENDS,
        options=(("plain",), (None,)),
        callbacks=("pause_writing", "resume_writing", "connection_lost"),
        hook_verbs=COMMON + WRITING + BOOM,
        weight=3,
    ),
)
