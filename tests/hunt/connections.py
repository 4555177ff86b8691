"""Stream transports: TCP from either end, Unix sockets, TLS, pipes.

The transport under test is the near end; a `Peer` is the far one. Near verbs are also what hooks
may do inside a callback. Bulk writes are larger than all buffers between, so whether a transport
has to pause its protocol never depends on how much the kernel takes.
"""

from __future__ import annotations

import abc
import array
import asyncio
import contextvars
import fcntl
import gc
import termios
import weakref
from typing import Any

from interpreter import Actor, said
from peers import AT_HAND, PATTERN, Stream

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
        self.actor.lost = self.actor.losing = True
        try:
            self.actor.called("connection_lost", said(exc))
        finally:
            self.actor.losing = False


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


class Connection(Actor, abc.ABC):
    """The options are the protocol's kind and whether eof_received keeps the transport open."""

    keeps_context = True
    is_tls = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.transport: Any = None
        self.peer: Any = None
        self.keep_open = self.setup.options[1]
        self.got_count = 0
        self.got_wrong = False
        self.eof_seen = False
        self.lost = self.losing = False
        self.cut = False
        #: The peer ended while more was under way than the kernel has for certain.
        self.uncertain = False
        self.dropped = False
        self.paused_empty = False
        self.bulk = 0
        self.out = Stream()
        self.tiny_buffer = False
        self.careful = any(hook.callback == "data_received" for hook in self.setup.hooks)

    def protocol(self) -> Any:
        kind = self.setup.options[0]
        self.tiny_buffer = kind in ("tiny", "turned")
        return Plain(self) if kind in ("plain", "turned") else Buffered(self)

    def may(self, callback: str, verb: str) -> bool:
        """In the resume_writing of the last flush asyncio's write() sends, or starts to.

        Nor call_soon() there: connection_lost comes next with asyncio, in a later turn with ours.
        Nor between two tiny buffers, of which asyncio fills one in a turn.
        """
        if callback == "data_received" and verb == "soon" and self.tiny_buffer:
            return False
        last = callback == "resume_writing" and self.transport and self.transport.is_closing()
        return not (last and verb in ("write", "write_lines", "write_bulk", "soon"))

    def run_hooks(self, callback: str) -> None:
        """How much of the backlog a protocol that fails has sent is the kernel's affair."""
        try:
            super().run_hooks(callback)
        except RuntimeError:
            self.cut = True
            raise

    def called(self, callback: str, *details: Any) -> None:
        self.check_context(callback)
        if callback == "connection_lost" and self.peer is not None and self.unread() > 0:
            self.cut = True  # the kernel resets it, and what is still on its way is lost
        self.note(callback, *details)
        self.run_hooks(callback)

    def got(self, data: Any) -> None:
        end = self.got_count + len(data)
        if PATTERN[self.got_count : end] != data:
            self.note("wrong bytes", self.got_count)
        self.check_context("data_received")
        self.got_count = end
        if self.uncertain:
            self.run.activity += 1
        else:
            self.note_data(self.got_count)
        self.run_hooks("data_received")

    def unread(self) -> int:
        """Bytes that the peer was told to send and the protocol did not get, so far."""
        return int(self.peer.stream.at - self.got_count)

    def check_context(self, callback: str) -> None:
        """What the loop calls by itself runs in the context in which the transport was made."""
        if not self.keeps_context:
            return
        if whose.get() != self.number and callback not in ("pause_writing", "resume_writing"):
            self.run.wrong_contexts.append((self.number, callback))

    # -- opening and ending

    async def open(self) -> None:
        token = whose.set(self.number)
        try:
            await self.connect()
            if self.setup.options[0] == "turned" and self.transport and not self.lost:
                # The receive that is under way already was for a protocol without buffers.
                self.transport.set_protocol(Buffered(self))
        except Exception as exc:
            self.note("connecting raised", said(exc))
        finally:
            whose.reset(token)

    @abc.abstractmethod
    async def connect(self) -> None:
        """Set `peer`, and give a `protocol()` to a transport of the loop."""

    def expecting(self) -> bool:
        peer, transport = self.peer, self.transport
        if peer is None:
            return False
        flowing = self.draining and peer.open and not peer.ended
        if flowing and transport and not self.lost and not self.written_out():
            return True
        if self.lost or (transport is None and not self.dropped):
            return not self.lost and bool(peer.busy)
        if transport is not None and transport.is_closing():
            return not peer.open or bool(self.backlog_bytes() == 0)
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
            drained = self.peer.receive(1 << 20) if self.draining else 0
            if drained or before != (len(self.peer.backlog), len(self.peer.events)):
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
        if self.sent_wrong():
            self.note("the peer got wrong bytes")
        self.note("peer", self.cut, len(self.peer.received), tuple(self.peer.events))
        self.peer.reset()
        self.transport = self.peer = transport = None

    def sent_wrong(self) -> bool:
        return bool(PATTERN[: len(self.peer.received)] != self.peer.received)

    async def drained(self) -> None:
        """Let the peer read what there is."""
        self.draining = True
        while True:
            await self.run.settle()
            if not self.peer.receive(1 << 20):
                break
            self.run.activity += 1

    def backlog_bytes(self) -> int:
        """A TLS transport of asyncio's that has been closed cannot say."""
        if getattr(self.transport, "_ssl_protocol", self) is None:
            return 0
        return int(self.transport.get_write_buffer_size())

    def written_out(self) -> bool:
        return bool(self.backlog_bytes() == 0)

    # -- what the near end does

    def flushing(self) -> bool:
        """asyncio sends what is written after close() while it flushes; nobody promises that.

        It does so in connection_lost as well, when the flush was the end.
        """
        if self.losing:
            return True
        return bool(self.transport.is_closing() and self.backlog_bytes())

    def write(self, count: int) -> None:
        if self.transport is not None and not self.flushing():
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
            if self.backlog_bytes():
                self.cut = True
            self.transport.abort()

    def pause_reading(self) -> None:
        if self.transport is not None:
            self.paused_empty = self.reading() and self.unread() == 0
            self.transport.pause_reading()

    def below(self) -> Any:
        """How much lies in the kernel under a pause that began with nothing under way: all of it.

        The program may hand the socket on.
        """
        transport, peer = self.transport, self.peer
        if transport is None or self.lost or transport.is_closing() or transport.is_reading():
            return None
        if not self.paused_empty or not peer.open or peer.backlog or self.unread() > AT_HAND:
            return None
        left = array.array("i", [0])
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, left)
        return left[0]

    def resume_reading(self) -> None:
        """Not after the end: asyncio reads there again, see differences.py."""
        if self.transport is not None and not self.eof_seen:
            self.transport.resume_reading()

    def limits(self, high: int) -> None:
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=high)

    def look(self) -> Any:
        """Not after the end of a TLS transport, where asyncio's fails in attributes of None."""
        if self.transport is not None and not (self.lost and self.is_tls):
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
        if self.transport is None or self.keep_open:
            return
        if self.lost or (not self.transport.is_closing() and self.reading()):
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
        self.draining = True

    def peer_eof(self) -> None:
        self.peer.eof()

    def peer_close(self) -> None:
        if self.peer_may_end():
            self.peer.close()

    def peer_reset(self) -> None:
        if self.peer_may_end():
            self.peer.reset()

    def both_end(self, peer_first: bool) -> None:
        for end in (self.peer_reset, self.close)[:: 1 if peer_first else -1]:
            end()

    def peer_may_end(self) -> bool:
        """How much of a bulk transfer the near end still gets is the kernel's affair."""
        if self.unread() > AT_HAND and self.peer.open:
            if self.careful:
                return False
            self.uncertain = True
        self.cut = True
        return True
