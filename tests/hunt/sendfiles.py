"""loop.sendfile over transports, the system's way.

The file is the pattern, so what it sends fits between what is written. While it is under
way there is no close() and no abort(): asyncio's own would wait for ever, or write to a descriptor
that is closed; and no resume_reading(). TLS takes the fallback, which reads in a thread, piece for
piece: there is no telling when a step is over (tests/loop/test_sendfile.py looks at that).
"""

from __future__ import annotations

import asyncio
from typing import Any

from connection_kinds import Tcp, Unix, both_ways
from connections import BULK, MOST_BULK, Connection
from interpreter import said
from peers import AT_HAND, open_pattern
from program import Verb


class Files(Connection):
    #: A file waits for room behind it as well, which a delayed acknowledgement (40 ms) may make.
    fast_ns = 60_000_000

    sending: asyncio.Task[None] | None = None
    #: Where a file was sent in part, nothing may follow.
    spent = False
    eof_written = False
    files = most = 0

    async def open(self) -> None:
        self.file = open_pattern()
        await super().open()

    async def finish(self) -> None:
        await self.drained()
        if self.sending is not None:
            self.sending.cancel()
            await self.run.settle()
        await super().finish()
        self.sending = None
        self.file.close()

    def under_way(self) -> bool:
        return self.sending is not None and not self.sending.done()

    def expecting(self) -> bool:
        if self.under_way() and self.peer is not None:
            fits = self.out.at + self.most - len(self.peer.received) < AT_HAND
            if fits or self.draining or not self.peer.open:
                return True
        return super().expecting()

    def may_send_file(self) -> bool:
        """Not after the peer's end: reading is resumed behind it, see differences.py.

        Nor after ours: what comes of that is found by the fallback, after a visit to a thread.
        """
        return not (self.spent or self.under_way() or self.eof_seen or self.eof_written)

    def send_file(self, count: int) -> None:
        if self.transport is None or self.flushing() or not self.may_send_file():
            return
        if count == BULK:
            self.bulk += 1
            if self.bulk > MOST_BULK:
                return
        self.files += 1
        self.most = count
        offset = self.out.at
        self.sending = self.loop.create_task(self.sends(self.files, offset, count))

    async def sends(self, number: int, offset: int, count: int) -> None:
        try:
            sent = await self.loop.sendfile(self.transport, self.file, offset, count)
        except (Exception, asyncio.CancelledError) as exc:
            self.note("sendfile", number, said(exc))
            self.cut = self.spent = True
        else:
            self.note("sendfile", number, sent, self.file.tell() - offset)
            self.out.at = offset + sent

    def send_wrong_file(self, count: int) -> None:
        """A negative count, which asyncio looks at when the backlog is out."""
        if self.transport is not None and self.may_send_file() and self.written_out():
            self.files += 1
            self.sending = self.loop.create_task(self.sends(self.files, self.out.at, -count))

    def cancel_file(self) -> None:
        """Not while it waits for the backlog, see differences.py."""
        if self.under_way() and self.written_out():
            self.sending.cancel()

    def write(self, count: int) -> None:
        if not self.spent:
            super().write(count)

    def write_lines(self, count: int) -> None:
        if not self.spent:
            super().write_lines(count)

    def write_eof(self) -> None:
        """Shut down under a file, a socket fails it now or when there would be room."""
        if not self.under_way():
            super().write_eof()
            self.eof_written = True

    def close(self) -> None:
        if not self.under_way():
            super().close()

    def abort(self) -> None:
        if not self.under_way():
            super().abort()

    def resume_reading(self) -> None:
        if not self.under_way():
            super().resume_reading()

    def drop(self) -> None:
        if not self.under_way():
            super().drop()

    def switch(self, kind: str) -> None:
        if not self.under_way():
            super().switch(kind)


class TcpFiles(Files, Tcp):
    pass


class UnixFiles(Files, Unix):
    pass


FILES = (
    Verb("send_file", 6, ((1, 1000, BULK),)),
    Verb("cancel_file", 1),
    Verb("send_wrong_file", 1, ((1,),)),
)
KINDS: tuple[Any, ...] = (
    both_ways("tcp files", TcpFiles, 2, *FILES),
    both_ways("unix files", UnixFiles, 1, *FILES),
)
