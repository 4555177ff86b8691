"""StreamReader and StreamWriter over TCP and Unix sockets.

Both are the stdlib's own; what is hunted is how the transport below them pauses, ends and counts.
The reader's limit decides when it pauses, so how much of a long stream has reached it is not
compared, only what its methods give, and from where in the stream. Under a small limit an overrun
throws away what the buffer holds; there the peer sends one piece and waits until it has arrived.
Once the transport closes, a reader that was paused has what the kernel cut for it: no more reads.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from connection_kinds import BOTH_PEER, SIZES, WRITING
from connections import Connection
from interpreter import said
from peers import PATTERN, Peer, tcp_pair, unix_pair
from program import Kind, Verb

LARGE = 1 << 16
MOST_WAITING = 3


class Protocol(asyncio.StreamReaderProtocol):
    """The stdlib's, which tells the actor first."""

    def __init__(self, actor: Streams) -> None:
        super().__init__(actor.reader, loop=actor.loop)
        self.actor = actor
        actor.watched.append(weakref.ref(self))

    def connection_made(self, transport: Any) -> None:
        self.actor.transport = transport
        super().connection_made(transport)
        self.actor.called("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.actor.got(data)

    def eof_received(self) -> bool:
        self.actor.eof_seen = True
        kept_open = super().eof_received()
        self.actor.called("eof_received")
        return bool(kept_open)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.actor.called("pause_writing")

    def resume_writing(self) -> None:
        super().resume_writing()
        self.actor.called("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.actor.lost = self.actor.losing = True
        super().connection_lost(exc)  # type: ignore[arg-type]
        try:
            self.actor.called("connection_lost", said(exc))
        finally:
            self.actor.losing = False


class Streams(Connection):
    """The options are the family and the reader's limit."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.limit = self.setup.options[1]
        self.small = self.limit < LARGE
        self.reader = asyncio.StreamReader(self.limit, loop=self.loop)
        self.writer: asyncio.StreamWriter | None = None
        self.reading_task: asyncio.Task[None] | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.started = 0

    async def connect(self) -> None:
        tcp = self.setup.options[0] == "tcp"
        near, far = tcp_pair() if tcp else unix_pair()
        self.peer = Peer(far)
        protocol = Protocol(self)
        create = self.loop.create_connection if tcp else self.loop.create_unix_connection
        transport, _ = await create(lambda: protocol, sock=near)
        self.writer = asyncio.StreamWriter(transport, protocol, self.reader, self.loop)

    def note_data(self, count: int) -> None:
        """What matters is what the reader gives."""
        self.run.activity += 1

    def may(self, callback: str, verb: str) -> bool:
        """No drain() in the last flush: it goes on before connection_lost or after it."""
        last = callback == "resume_writing" and self.transport.is_closing()
        return super().may(callback, verb) and not (verb == "drain" and last)

    # -- tasks

    def start(self, name: str, work: Any) -> asyncio.Task[None]:
        self.started += 1
        task = self.loop.create_task(self.working(name, self.started, work))
        self.tasks.append(task)
        return task

    async def working(self, name: str, number: int, work: Any) -> None:
        try:
            self.note("stream task", name, number, await work)
        except (Exception, asyncio.CancelledError) as exc:
            self.note("stream task", name, number, said(exc))

    def waiting(self) -> int:
        return sum(not task.done() for task in self.tasks)

    def consumed(self) -> int:
        return self.got_count - len(self.reader._buffer)  # type: ignore[attr-defined]

    def vague(self) -> bool:
        """Whether the end came while the reader may have been paused."""
        if self.transport is not None and not self.transport.is_closing():
            return False
        return bool(self.peer.stream.at - self.consumed() > self.limit)

    def begin_read(self, name: str, *args: Any) -> None:
        if self.vague():
            return
        if self.reading_task is None or self.reading_task.done():
            self.reading_task = self.start(name, self.given(name, *args))

    async def given(self, name: str, *args: Any) -> tuple[int, int]:
        """How many bytes, and where in the stream they end."""
        data = await getattr(self.reader, name)(*args)
        end = self.consumed()
        if PATTERN[end - len(data) : end] != data:
            self.note("the reader gave wrong bytes", end)
        return len(data), end

    # -- what the near end does

    def read(self, count: int) -> None:
        self.begin_read("read", count)

    def readexactly(self, count: int) -> None:
        self.begin_read("readexactly", count)

    def readline(self) -> None:
        self.begin_read("readline")

    def readuntil(self, separator: bytes) -> None:
        self.begin_read("readuntil", separator)

    def cancel_read(self) -> None:
        if self.reading_task is not None:
            self.reading_task.cancel("enough")

    def read_twice(self) -> None:
        """The second of two readers is refused."""
        if self.waiting() < MOST_WAITING and self.reading_task and not self.reading_task.done():
            self.start("second read", self.reader.readexactly(1 << 20))

    def drain(self) -> None:
        if self.writer is not None:
            self.start("drain", self.writer.drain())

    def wait_closed(self) -> None:
        if self.writer is not None and self.waiting() < MOST_WAITING:
            self.start("wait_closed", self.writer.wait_closed())

    def cancel_last(self) -> None:
        if self.tasks:
            self.tasks[-1].cancel()

    def look(self) -> Any:
        if self.writer is None:
            return None
        at_eof = not self.vague() and self.reader.at_eof()
        return self.writer.is_closing(), at_eof, said(self.reader.exception())

    # -- what the peer does

    def peer_send(self, count: int) -> None:
        if not self.small or self.peer.stream.at == self.got_count:
            self.peer.send(count)

    def peer_pieces(self, count: int) -> None:
        """A waiting read() would get the first of them or all."""
        if not self.small and (self.reading_task is None or self.reading_task.done()):
            super().peer_pieces(count)

    def peer_bulk(self) -> None:
        if not self.small:
            super().peer_bulk()

    def all_has_left(self) -> bool:
        """Else what the peer gives up depends on how much the engine reads at once."""
        return bool(self.peer.stream.at - self.consumed() <= self.limit)

    def peer_close(self) -> None:
        if self.all_has_left():
            super().peer_close()

    def peer_reset(self) -> None:
        if self.all_has_left():
            super().peer_reset()

    async def finish(self) -> None:
        vague = self.peer is None or self.vague()
        if self.peer is not None and not self.all_has_left():
            self.peer.backlog.clear()
            self.peer.events = [e for e in self.peer.events if e[0] != "peer's send raised"]
        await super().finish()
        for task in self.tasks:
            task.cancel()
        await self.run.settle()
        at_eof = not vague and self.reader.at_eof()
        self.note("at the end", at_eof, said(self.reader.exception()))
        self.tasks.clear()
        self.writer = self.reading_task = None
        self.reader = asyncio.StreamReader(loop=self.loop)


READS = (
    Verb("read", 3, ((1, 10, 200, 1000, -1, 0),)),
    Verb("readexactly", 3, (SIZES,)),
    Verb("readline", 3),
    Verb("readuntil", 2, ((b"a", b"\r\n", PATTERN[5000:5004]),)),
    Verb("read_twice", 1),
    Verb("cancel_read", 1),
)
NEAR = (
    *READS,
    Verb("drain", 4),
    Verb("wait_closed", 1),
    Verb("cancel_last", 1),
    Verb("close", 1),
    Verb("abort", 1),
    Verb("look", 2),
    *(verb for verb in WRITING if verb.name != "limits"),
)
KINDS = (
    Kind(
        "streams",
        Streams,
        verbs=NEAR + BOTH_PEER,
        options=(("tcp", "unix"), (LARGE, 100, 2000)),
        callbacks=("eof_received", "pause_writing", "resume_writing", "connection_lost"),
        # Whether a read that begins in resume_writing goes on before connection_lost is a turn's
        # matter, see differences.py.
        hook_verbs=tuple(verb for verb in NEAR if verb not in READS),
        weight=6,
    ),
)
