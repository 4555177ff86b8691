"""The kinds of stream connections: how each is made, and the verbs and callbacks it has."""

from __future__ import annotations

import os
from typing import Any

from connections import Connection
from peers import Peer, PipeEnd, tcp_pair, unix_pair
from program import Kind, Verb
from secured import AcceptedTls, Secured, Tls, UpgradedTcp


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
TLS = (Verb("write_some", 1), Verb("peer_answer", 3))
OPTIONS = (("plain", "buffered", "tiny"), (None, True))


def both_ways(name: str, make: Any, weight: int, *more: Verb) -> Kind:
    """The ends of TLS peers are left out, see differences.py."""
    tls = issubclass(make, Secured)
    # both_end is one step: nothing of the one end has come when the other begins.
    peer_verbs = (*BOTH_PEER, Verb("below", 2), Verb("both_end", 1, ((True, False),)))
    if tls:
        peer_verbs = (*(verb for verb in BOTH_PEER if verb.name != "peer_eof"), *TLS)
    return Kind(
        name,
        make,
        verbs=BOTH_WAYS + peer_verbs + more,
        options=OPTIONS if tls else (("plain", "buffered", "tiny", "turned"), OPTIONS[1]),
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
