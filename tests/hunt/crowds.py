"""Many connections that write in the same turn.

Few writers send at once; only where many write does a turn gather, and hand over to the ring, what
they wrote. What one does right behind that (close, abort, write more) then meets a send under way.
Each member is an actor of the run with a trace of its own.
"""

from __future__ import annotations

from typing import Any

from connection_kinds import SIZES, Tcp, Unix
from interpreter import Actor
from peers import PATTERN, Stream
from program import Kind, Setup, Verb

#: Members have other bytes than their neighbours, so that one's in the place of another's show.
APART = 1003
#: All bulk of a crowd is half of what the pattern has.
MOST_BULK = 1


class Shifted(Stream):
    """A sender that begins further on in the pattern."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start

    def take(self, count: int) -> bytes:
        at = self.start + self.at
        self.at += count
        return PATTERN[at : at + count]


class Member:
    """One of a crowd: what a connection does, but for what the crowd does for it."""

    start = 0

    def shift(self: Any, start: int) -> None:
        self.start = start
        self.out = Shifted(start)

    def sent_wrong(self: Any) -> bool:
        end = self.start + len(self.peer.received)
        return bool(PATTERN[self.start : end] != self.peer.received)

    def write_bulk(self: Any) -> None:
        if self.bulk < MOST_BULK:
            super().write_bulk()  # type: ignore[misc]


class TcpMember(Member, Tcp):
    pass


class UnixMember(Member, Unix):
    pass


class Crowd(Actor):
    """The options are the family, how many there are, and their kind of protocol."""

    async def open(self) -> None:
        family, count, kind = self.setup.options
        make = TcpMember if family == "tcp" else UnixMember
        self.members = []
        for place in range(count):
            member = make(self.run, 1000 * (self.number + 1) + place, Setup(family, (kind, None)))
            member.shift(place * APART)
            self.run.actors.append(member)
            self.members.append(member)
            await member.open()

    async def finish(self) -> None:
        self.members.clear()

    def each(self, verb: str, *args: Any) -> None:
        for member in self.members:
            member.do(verb, args)

    def each_and(self, count: int, verb: str, *args: Any) -> None:
        """Every one writes; behind that, in the same turn, every third does something more.

        Nothing that the peer does: asyncio has sent by then, ours sends when the turn is over.
        """
        self.each("write", count)
        for member in self.members[::3]:
            member.do(verb, args)

    def one(self, which: int, verb: str, *args: Any) -> None:
        self.members[which].do(verb, args)


WHICH = (0, 3, -1)
KINDS = (
    Kind(
        "crowds",
        Crowd,
        verbs=(
            Verb("each", 4, (("write",), SIZES)),
            Verb("each", 2, (("write_lines",), SIZES)),
            Verb("each", 1, (("write_bulk", "write_eof", "close", "abort", "look"),)),
            Verb("each", 4, (("peer_receive",), SIZES)),
            Verb("each", 3, (("peer_receive_all",),)),
            Verb("each", 2, (("peer_send",), SIZES)),
            Verb("each_and", 3, (SIZES, ("write", "write_lines"), SIZES)),
            Verb("each_and", 3, (SIZES, ("write_bulk", "close", "abort", "write_eof"))),
            Verb("one", 3, (WHICH, ("write_bulk", "close", "abort", "peer_close", "peer_reset"))),
        ),
        options=(("unix", "tcp"), (24, 8), ("plain", "buffered")),
        weight=2,
    ),
)
