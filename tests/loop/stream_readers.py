"""A StreamReader behind a transport of the running loop, and the plain socket at the other end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from support import turns, wait_until, wired

Protocol = asyncio.StreamReaderProtocol
Reader = asyncio.StreamReader


class Connection:
    """A reader, what feeds it, and the plain socket at the other end."""

    def __init__(self, reader: Any, protocol: Any, transport: Any, far: socket.socket) -> None:
        self.reader = reader
        self.protocol = protocol
        self.transport = transport
        self.far = far

    async def exchange(self, data: bytes = b"plain") -> None:
        """Data that a waiting coroutine reads."""
        reading = asyncio.ensure_future(self.reader.readexactly(len(data)))
        await turns(2)
        self.far.send(data)
        assert await reading == data

    async def receive(self, data: bytes) -> None:
        """Data for which nobody waits."""
        before = len(self.reader._buffer)
        self.far.send(data)
        await wait_until(lambda: len(self.reader._buffer) == before + len(data))


@asynccontextmanager
async def reading(
    *, limit: int = 65536, reader: Any = None, protocol: Callable[..., Any] = Protocol
) -> AsyncIterator[Connection]:
    loop = asyncio.get_running_loop()
    reader = reader or Reader(limit=limit, loop=loop)
    made = protocol(reader, loop=loop)
    async with wired(lambda: made) as (transport, _, far):
        connection = Connection(reader, made, transport, far)
        del reader  # the connection alone has it
        yield connection
