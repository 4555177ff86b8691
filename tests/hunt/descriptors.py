"""The program's own sockets: the sock_ methods, add_reader and add_writer."""

from __future__ import annotations

import asyncio
from typing import Any

from interpreter import Actor, said
from peers import AT_HAND, PATTERN, Peer, Stream, open_pattern, tcp_pair, unix_pair
from program import Kind, Verb

MOST_TASKS = 3


class Descriptor(Actor):
    """One end of a pair; the option says which family."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.near, far = tcp_pair() if self.setup.options[0] == "tcp" else unix_pair()
        self.peer = Peer(far)
        self.out = Stream()
        self.got_count = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.started = 0
        self.cut = False

    def pump(self) -> None:
        before = len(self.peer.backlog)
        self.peer.pump()
        drained = self.peer.receive(1 << 20) if self.draining else 0
        if drained or before != len(self.peer.backlog):
            self.run.activity += 1

    def readable(self, data: bytes) -> int:
        """Check the bytes; how many."""
        end = self.got_count + len(data)
        if PATTERN[self.got_count : end] != data:
            self.note("wrong bytes", self.got_count)
        self.got_count = end
        return len(data)

    def start(self, name: str, work: Any) -> None:
        self.started += 1
        self.tasks.append(self.loop.create_task(self.working(name, self.started, work)))

    async def working(self, name: str, number: int, work: Any) -> None:
        try:
            self.note(name, number, await work)
        except (Exception, asyncio.CancelledError) as exc:
            self.note(name, number, said(exc))

    def under_way(self) -> list[asyncio.Task[None]]:
        return [task for task in self.tasks if not task.done()]

    async def finish(self) -> None:
        if self.near.fileno() != -1:
            self.loop.remove_reader(self.near)
            self.loop.remove_writer(self.near)
        for task in self.under_way():
            self.cut = True  # a send that is cancelled went out in part
            task.cancel()
        await self.run.settle()
        while self.peer.receive(1 << 20):
            await self.run.settle()
        if PATTERN[: len(self.peer.received)] != self.peer.received:
            self.note("the peer got wrong bytes")
        self.note("peer", self.cut, len(self.peer.received), tuple(self.peer.events))
        self.near.close()
        self.peer.reset()

    # -- what the peer does

    def peer_send(self, count: int) -> None:
        self.peer.send(count)

    def peer_receive_all(self) -> None:
        self.draining = True

    def peer_eof(self) -> None:
        self.peer.eof()

    def peer_reset(self) -> None:
        self.cut = True
        self.peer.reset()


class Requests(Descriptor):
    """One receive and one send at a time, as asyncio asks for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.receiving: asyncio.Task[None] | None = None
        self.sending: asyncio.Task[None] | None = None

    def expecting(self) -> bool:
        peer = self.peer
        receiving = self.receiving is not None and not self.receiving.done()
        sending = self.sending is not None and not self.sending.done()
        if (receiving or sending) and not peer.open:
            return True
        fits = self.out.at - len(peer.received) < AT_HAND
        if sending and peer.open and (self.draining or fits):
            return True
        return receiving and (peer.stream.at > self.got_count or peer.eof_sent)

    def receive(self, count: int) -> None:
        if self.receiving is None or self.receiving.done():
            self.start("received", self.receiving_bytes(count))
            self.receiving = self.tasks[-1]

    async def receiving_bytes(self, count: int) -> int:
        return self.readable(await self.loop.sock_recv(self.near, count))

    def receive_into(self, count: int) -> None:
        if self.receiving is None or self.receiving.done():
            self.start("received", self.receiving_into(count))
            self.receiving = self.tasks[-1]

    async def receiving_into(self, count: int) -> int:
        buffer = bytearray(count)
        got = await self.loop.sock_recv_into(self.near, buffer)
        return self.readable(bytes(buffer[:got]))

    def send(self, count: int) -> None:
        if not self.cut and (self.sending is None or self.sending.done()):
            self.start("sent", self.loop.sock_sendall(self.near, self.out.take(count)))
            self.sending = self.tasks[-1]

    def send_file(self, count: int) -> None:
        """Of the pattern, as everything that is sent."""
        if not self.cut and (self.sending is None or self.sending.done()):
            self.start("sent", self.sending_file(count))
            self.sending = self.tasks[-1]

    async def sending_file(self, count: int) -> int:
        offset = self.out.at
        self.out.at += count
        with open_pattern() as file:
            return await self.loop.sock_sendfile(self.near, file, offset, count)

    def cancel_receive(self) -> None:
        if self.receiving is not None:
            self.receiving.cancel()

    def cancel_send(self) -> None:
        """How much went out is the kernel's affair, so nothing is sent afterwards."""
        if self.sending is not None and self.sending.cancel():
            self.cut = True


class Watched(Descriptor):
    """add_reader and add_writer; the callbacks may do what the program says."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.writable_left = 0
        self.greedy = True
        self.ended = False
        self.reading = False

    def expecting(self) -> bool:
        more = self.peer.stream.at > self.got_count or (self.peer.eof_sent and not self.ended)
        return (self.reading and more) or self.writable_left > 0

    def on_readable(self, count: int) -> None:
        try:
            data = self.near.recv(count)
        except OSError as exc:
            self.note("receive raised", said(exc))
            data = b""
        if data:
            self.readable(data)
            self.note_data(self.got_count)
        else:
            self.note("end")
            self.ended = True
            self.remove_reader()

    def on_writable(self) -> None:
        self.writable_left -= 1
        self.note("writable", self.writable_left)
        if self.writable_left <= 0:
            self.note("removed", self.loop.remove_writer(self.near))

    def add_reader(self, count: int) -> None:
        self.reading = not self.ended
        if self.reading:
            self.loop.add_reader(self.near, self.on_readable, count)

    def remove_reader(self) -> bool:
        self.reading = False
        return self.loop.remove_reader(self.near)

    def add_writer(self, times: int) -> None:
        self.writable_left = times
        self.loop.add_writer(self.near, self.on_writable)

    def remove_writer(self) -> bool:
        self.writable_left = 0
        return self.loop.remove_writer(self.near)

    def add_failing_reader(self) -> None:
        def fail() -> None:
            self.reading = False
            self.loop.remove_reader(self.near)
            raise ValueError("from a reader")

        if not self.ended:
            self.reading = True
            self.loop.add_reader(self.near, fail)


SIZES = ((1, 10, 200, 1000),)
PEER = (
    Verb("peer_send", 6, SIZES),
    Verb("peer_receive_all", 3),
    Verb("peer_eof", 1),
    Verb("peer_reset", 1),
)
FAMILIES = (("unix", "tcp"),)
KINDS = (
    Kind(
        "requests",
        Requests,
        verbs=(
            Verb("receive", 4, SIZES),
            Verb("receive_into", 3, SIZES),
            Verb("send", 4, ((1, 10, 1000, 400_000),)),
            Verb("send_file", 1, ((1, 1000, 400_000),)),
            Verb("cancel_receive", 2),
            Verb("cancel_send", 1),
            *PEER,
        ),
        options=FAMILIES,
        weight=5,
    ),
    Kind(
        "watched",
        Watched,
        verbs=(
            Verb("add_reader", 4, SIZES),
            Verb("remove_reader", 2),
            Verb("add_writer", 2, ((1, 2, 3),)),
            Verb("remove_writer", 1),
            Verb("add_failing_reader", 1),
            *PEER,
        ),
        options=FAMILIES,
        weight=5,
    ),
)
