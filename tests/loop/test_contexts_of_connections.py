"""The connections of one server, each in a context of its own, as far as anybody can tell.

Ours share one Context object until a connection changes it (pyext/native/connection_contexts.hpp).
"""

import asyncio
import contextvars
import gc
from collections.abc import Callable
from typing import Any

from support import RLOOP_IDS, Echo, Recorder, loops_only, serving, turns, wait_until
from traced import asyncio_and_ours, since_contexts

mark: contextvars.ContextVar[Any] = contextvars.ContextVar("mark", default=None)


class Marking(Recorder):
    """Notes what the variable says at each upcall; `act` is called with each piece of data."""

    def __init__(self, act: Callable[["Marking", bytes], None] | None = None) -> None:
        super().__init__()
        self.act = act
        self.seen: list[Any] = []

    def data_received(self, data: bytes) -> None:
        self.seen.append(mark.get())
        if self.act is not None:
            self.act(self, data)
        super().data_received(data)


def keep(protocol: Marking, data: bytes) -> None:
    """Set the variable, except to what begins with a dash."""
    if not data.startswith(b"-"):
        mark.set(data)


class Clients:
    """Connections to a server, with the protocols of both ends."""

    def __init__(self, address: Any, made: list[Marking]) -> None:
        self.address = address
        self.made = made
        self.transports: list[asyncio.Transport] = []

    async def connect(self) -> Marking:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(Recorder, *self.address)
        self.transports.append(transport)
        await wait_until(lambda: len(self.made) == len(self.transports))
        await self.made[-1].made
        return self.made[-1]

    async def send(self, number: int, data: bytes) -> None:
        before = len(self.made[number].data)
        self.transports[number].write(data)
        await self.made[number].wait_for_bytes(before + len(data))

    async def close(self) -> None:
        for transport, protocol in zip(self.transports, self.made, strict=True):
            transport.close()
            await protocol.lost


@asyncio_and_ours
async def test_what_one_connection_sets_is_its_own(loop: asyncio.AbstractEventLoop) -> None:
    made: list[Marking] = []

    def accept() -> Marking:
        made.append(Marking(keep))
        return made[-1]

    async with serving(accept) as (_, address):
        clients = Clients(address, made)
        for _ in range(4):
            await clients.connect()
        for data in (b"-1", b"-2", b"a", b"-3"):
            for number in (0, 1, 3):  # the last one never sets anything
                await clients.send(number, data if number < 3 else b"-")
        await clients.send(2, b"b")
        await clients.connect()
        await clients.send(4, b"-")
        await clients.send(2, b"-")
        await clients.close()
    assert made[0].seen == made[1].seen == [None, None, None, b"a"]
    assert made[2].seen == [None, b"b"]
    assert made[3].seen == [None] * 4
    assert made[4].seen == [None]


@asyncio_and_ours
async def test_a_token_can_be_used_in_a_later_upcall(loop: asyncio.AbstractEventLoop) -> None:
    tokens: list[contextvars.Token[Any]] = []
    made: list[Marking] = []

    def act(protocol: Marking, data: bytes) -> None:
        if data == b"set":
            tokens.append(mark.set("changed"))
        elif data == b"twice":
            tokens.append(mark.set("one"))
            last = mark.set("two")
            mark.reset(last)
            mark.reset(mark.set("three"))
        elif data == b"reset":
            mark.reset(tokens.pop())

    def accept() -> Marking:
        made.append(Marking(act))
        return made[-1]

    async with serving(accept) as (_, address):
        clients = Clients(address, made)
        await clients.connect()
        await clients.connect()
        for data in (b"-", b"set", b"reset", b"-", b"twice", b"reset", b"-"):
            await clients.send(0, data)
            await clients.send(1, b"-")
        # Changed and put back in one upcall, with a token that is kept beyond it.
        made[1].act = lambda *_: tokens.append(mark.set(None)) or mark.reset(mark.set(1))
        await clients.send(1, b"-")
        made[1].act = lambda *_: mark.reset(tokens.pop())
        await clients.send(1, b"-")
        await clients.close()
    assert made[0].seen == [None, None, "changed", None, None, "one", None]
    assert set(made[1].seen) == {None}


@asyncio_and_ours
async def test_the_factory_speaks_for_its_connection_alone(
    loop: asyncio.AbstractEventLoop,
) -> None:
    made: list[Marking] = []

    def accept() -> Marking:
        if len(made) % 2 == 0:
            mark.set(len(made))
        made.append(Marking(keep))
        return made[-1]

    async with serving(accept) as (_, address):
        clients = Clients(address, made)
        for number in range(4):
            await clients.connect()
            await clients.send(number, b"-")
        await clients.close()
    assert [protocol.seen for protocol in made] == [[0], [None], [2], [None]]


@since_contexts
@asyncio_and_ours
async def test_connection_made_speaks_for_its_connection_alone(
    loop: asyncio.AbstractEventLoop,
) -> None:
    made: list[Marking] = []

    class Setting(Marking):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if self is made[0]:
                mark.set("first")

    def accept() -> Marking:
        made.append(Setting())
        return made[-1]

    async with serving(accept) as (_, address):
        clients = Clients(address, made)
        for number in range(2):
            await clients.connect()
            for _ in range(3):
                await clients.send(number, b"-")
        await clients.send(0, b"-")
        await clients.close()
    assert made[0].seen == ["first"] * 4
    assert made[1].seen == [None] * 3


@asyncio_and_ours
async def test_an_error_is_told_where_the_connection_is(
    loop: asyncio.AbstractEventLoop, noise: Any
) -> None:
    """The exception handler may set variables too: for this connection."""
    made: list[Marking] = []
    told: list[Any] = []

    def fail(protocol: Marking, data: bytes) -> None:
        mark.set("failed")
        raise RuntimeError("on purpose")

    def accept() -> Marking:
        made.append(Marking(fail if not made else None))
        return made[-1]

    loop.set_exception_handler(lambda loop, context: told.append(mark.get()))
    async with serving(accept) as (_, address):
        clients = Clients(address, made)
        await clients.connect()
        await clients.connect()
        clients.transports[0].write(b"x")
        await made[0].lost
        await clients.send(1, b"-")
        await clients.close()
    loop.set_exception_handler(None)
    assert told == ["failed"]
    assert made[1].seen == [None]


@loops_only(*RLOOP_IDS)
async def test_idle_connections_share_one_context(loop: asyncio.AbstractEventLoop) -> None:
    made: list[Echo] = []

    def accept() -> Echo:
        made.append(Echo())
        return made[-1]

    core = __import__("rloop._core", fromlist=["_context_layout_fits"])
    async with serving(accept) as (_, address):
        opened = [await loop.create_connection(Recorder, *address) for _ in range(20)]
        for transport, protocol in opened:
            transport.write(b"x")
            await protocol.wait_for_bytes(1)
        held = {
            id(found)
            for side in made
            for found in gc.get_referents(side.transport)
            if type(found) is contextvars.Context
        }
        assert not held or not core._context_layout_fits()
        for transport, protocol in opened:
            transport.close()
            await protocol.lost
        await turns()
