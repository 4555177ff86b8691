"""Stream transports: TCP from either end, Unix sockets, TLS, pipes.

The transport under test is the near end; a `Peer` is the far one. Near verbs are also what hooks
may do inside a callback. Bulk writes are larger than all buffers between, so whether a transport
has to pause its protocol never depends on how much the kernel takes.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import weakref
from typing import Any

from interpreter import Actor, said
from peers import PATTERN, Peer, PipeEnd, Stream, TlsPeer, tcp_pair, tls_contexts, unix_pair
from programs import Kind, Verb

BULK = 400_000
MOST_BULK = 3

whose: contextvars.ContextVar[int] = contextvars.ContextVar("whose", default=-1)


class Callbacks:
    """What both protocol classes share: note, then do what the hooks say."""

    def __init__(self, actor: Connection) -> None:
        self.actor = actor
        actor.watched.append(weakref.ref(self))

    def connection_made(self, transport: Any) -> None:
        self.actor.transport = transport
        self.actor.called("connection_made")

    def eof_received(self) -> bool | None:
        self.actor.eof_seen = True
        self.actor.called("eof_received")
        return self.actor.keep_open

    def pause_writing(self) -> None:
        self.actor.called("pause_writing")

    def resume_writing(self) -> None:
        self.actor.called("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.actor.lost = True
        self.actor.called("connection_lost", said(exc))


class Plain(Callbacks, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self.actor.got(data)


class Buffered(Callbacks, asyncio.BufferedProtocol):
    def __init__(self, actor: Connection) -> None:
        super().__init__(actor)
        # Views: asyncio's TLS slices what it is lent, and a slice of a bytearray is a copy.
        self.buffer = memoryview(bytearray(8192))
        self.tiny = memoryview(bytearray(5))

    def get_buffer(self, sizehint: int) -> Any:
        """A tiny one for the first bytes only; a bulk transfer in fives would take for ever."""
        tiny = self.actor.tiny_buffer and self.actor.got_count < 500
        self.lent = self.tiny if tiny else self.buffer
        return self.lent

    def buffer_updated(self, nbytes: int) -> None:
        self.actor.got(self.lent[:nbytes])


class Connection(Actor):
    """The options are the protocol's kind and whether eof_received keeps the transport open."""

    keeps_context = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.transport: Any = None
        self.peer: Any = None
        self.keep_open = self.setup.options[1]
        self.counts: dict[str, int] = {}
        self.got_count = 0
        self.got_wrong = False
        self.eof_seen = False
        self.lost = False
        self.cut = False
        self.dropped = False
        self.bulk = 0
        self.out = Stream()
        self.tiny_buffer = False
        self.careful = any(hook.callback == "data_received" for hook in self.setup.hooks)

    def protocol(self) -> Any:
        kind = self.setup.options[0]
        self.tiny_buffer = kind == "tiny" and not self.careful
        return Plain(self) if kind == "plain" else Buffered(self)

    def called(self, callback: str, *details: Any) -> None:
        self.check_context(callback)
        self.note(callback, *details)
        self.run_hooks(callback)

    def got(self, data: Any) -> None:
        end = self.got_count + len(data)
        if PATTERN[self.got_count : end] != data:
            self.note("wrong bytes", self.got_count)
        self.check_context("data_received")
        self.got_count = end
        self.run.activity += 1
        if self.trace and self.trace[-1][0] == "data":
            self.trace[-1] = ("data", self.got_count)
        else:
            self.trace.append(("data", self.got_count))
        self.run_hooks("data_received")

    def check_context(self, callback: str) -> None:
        """What the loop calls by itself runs in the context in which the transport was made."""
        if not self.keeps_context:
            return
        if whose.get() != self.number and callback not in ("pause_writing", "resume_writing"):
            self.run.wrong_contexts.append((self.number, callback))

    def run_hooks(self, callback: str) -> None:
        nth = self.counts.get(callback, 0)
        self.counts[callback] = nth + 1
        for hook in self.setup.hooks:
            if hook.callback == callback and hook.nth == nth:
                if hook.verb == "boom":
                    self.note("raises")
                    raise RuntimeError("boom", nth)
                self.do(hook.verb, hook.args)

    # -- opening and ending

    async def open(self) -> None:
        token = whose.set(self.number)
        try:
            await self.connect()
        except Exception as exc:
            self.note("connecting raised", said(exc))
        finally:
            whose.reset(token)

    async def connect(self) -> None:
        raise NotImplementedError

    def expecting(self) -> bool:
        peer, transport = self.peer, self.transport
        if peer is None:
            return False
        if self.lost or (transport is None and not self.dropped):
            return not self.lost and bool(peer.busy)
        if transport is not None and transport.is_closing():
            return not peer.open or bool(transport.get_write_buffer_size() == 0)
        if self.reading():
            if peer.stream.at - len(peer.backlog) > self.got_count:
                return True
            if (peer.eof_sent or not peer.open) and not self.eof_seen:
                return True
        return bool(peer.busy and self.reading())

    def reading(self) -> bool:
        """One that was dropped was reading then."""
        return self.transport is None or bool(self.transport.is_reading())

    def pump(self) -> None:
        if self.peer is not None:
            before = len(self.peer.backlog), len(self.peer.events)
            self.peer.pump()
            if before != (len(self.peer.backlog), len(self.peer.events)):
                self.run.activity += 1

    async def finish(self) -> None:
        if self.peer is None:
            return
        await self.drained()
        transport = self.transport
        if transport is not None and not self.lost:
            self.note("finally", transport.is_closing(), self.written_out())
            self.abort()
            await self.run.settle()
            await self.drained()
        if PATTERN[: len(self.peer.received)] != self.peer.received:
            self.note("the peer got wrong bytes")
        self.note("peer", self.cut, len(self.peer.received), tuple(self.peer.events))
        self.peer.reset()
        self.transport = self.peer = transport = None

    async def drained(self) -> None:
        """Let the peer read what there is."""
        while True:
            await self.run.settle()
            if not self.peer.receive(1 << 20):
                break
            self.run.activity += 1

    def written_out(self) -> bool:
        return bool(self.transport.get_write_buffer_size() == 0)

    # -- what the near end does

    def write(self, count: int) -> None:
        if self.transport is not None:
            at = self.out.at
            gone = self.transport.is_closing()
            try:
                self.transport.write(self.out.take(count))
            except BaseException:
                self.out.at = at
                raise
            if gone:
                self.out.at = at

    def write_lines(self, count: int) -> None:
        """Not on a closing transport, where asyncio up to 3.13.0 raises a TypeError of its own."""
        if self.transport is not None and not self.transport.is_closing():
            at = self.out.at
            try:
                self.transport.writelines([self.out.take(1), b"", self.out.take(count)])
            except BaseException:
                self.out.at = at
                raise

    def write_bulk(self) -> None:
        self.bulk += 1
        if self.bulk <= MOST_BULK:
            self.write(BULK)

    def write_wrong(self) -> None:
        if self.transport is not None:
            self.transport.write("text")

    def write_eof(self) -> None:
        if self.transport is not None:
            self.transport.write_eof()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            if self.transport.get_write_buffer_size():
                self.cut = True
            self.transport.abort()

    def pause_reading(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None:
            self.transport.resume_reading()

    def limits(self, high: int) -> None:
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=high)

    def look(self) -> Any:
        if self.transport is not None:
            limits = self.transport.get_write_buffer_limits()
            return self.transport.is_closing(), self.transport.is_reading(), limits
        return None

    def switch(self, kind: str) -> None:
        """Another protocol object takes over, perhaps of the other kind."""
        if self.transport is not None:
            self.transport.set_protocol(Plain(self) if kind == "plain" else Buffered(self))

    def drop(self) -> None:
        """Nobody but the loop holds the transport any more.

        Only while the loop reads: asyncio's loop holds nothing else, and a transport that was
        paused and dropped is collected with a ResourceWarning. Ours holds each open transport.
        """
        if self.transport is not None and self.reading() and not self.keep_open:
            self.transport = None
            self.dropped = True

    def collect(self) -> None:
        gc.collect(0)

    def soon(self) -> None:
        self.loop.call_soon(self.note, "soon")

    # -- what the peer does

    def peer_send(self, count: int) -> None:
        self.peer.send(count)

    def peer_pieces(self, count: int) -> None:
        for _ in range(3):
            self.peer.send(count)

    def peer_bulk(self) -> None:
        self.bulk += 1
        if self.bulk <= MOST_BULK and not self.careful:
            self.peer.send(BULK)

    def peer_receive(self, count: int) -> None:
        self.peer.receive(count)

    def peer_receive_all(self) -> None:
        while self.peer.receive(1 << 20):
            pass

    def peer_eof(self) -> None:
        self.peer.eof()

    def peer_close(self) -> None:
        self.cut = True
        self.peer.close()

    def peer_reset(self) -> None:
        self.cut = True
        self.peer.reset()


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

    async def connect(self) -> None:
        near, far = tcp_pair()
        self.peer = TlsPeer(far, server_side=True)
        await self.loop.create_connection(
            self.protocol, sock=near, ssl=tls_contexts()[1], server_hostname="localhost"
        )


class AcceptedTls(Connection):
    async def connect(self) -> None:
        near, far = tcp_pair()
        self.peer = TlsPeer(far, server_side=False)
        await self.loop.connect_accepted_socket(self.protocol, near, ssl=tls_contexts()[0])


class UpgradedTcp(Tcp):
    """Starts as TCP; `upgrade` makes it TLS, once, when nothing else is on its way."""

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
    return Kind(
        name,
        make,
        verbs=BOTH_WAYS + BOTH_PEER + more,
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
        callbacks=("connection_made", "pause_writing", "resume_writing", "connection_lost"),
        hook_verbs=COMMON + WRITING + BOOM,
        weight=3,
    ),
)
