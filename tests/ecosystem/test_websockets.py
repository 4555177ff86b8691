"""The package websockets: its server and its client on one loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from peers import blocks
from services import Certificate

pytest.importorskip("websockets", reason="websockets is not installed (requirements-ecosystem.txt)")

from websockets.asyncio.client import connect
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK


@contextlib.asynccontextmanager
async def chat(**options: Any) -> AsyncIterator[str]:
    """A room: each hears what all say; `go` closes the connection. Its address."""
    people: set[Any] = set()

    async def talk(person: Any) -> None:
        people.add(person)
        try:
            async for message in person:
                if message == "go":
                    await person.close(4000, "as you wish")
                broadcast(people, message)
        finally:
            people.remove(person)

    async with serve(talk, "127.0.0.1", 0, **options) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"{'wss' if options else 'ws'}://localhost:{port}"


@pytest.mark.parametrize("kind", ["ws", "wss"])
async def test_a_chat(certificate: Certificate, kind: str) -> None:
    ours = {"ssl": certificate.server()} if kind == "wss" else {}
    theirs = {"ssl": certificate.client()} if kind == "wss" else {}
    async with chat(**ours) as url, contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(connect(url, **theirs)) for _ in range(20)]
        for person in people:
            await (await person.ping())  # it is in the room

        async def hear(person: Any) -> list[Any]:
            return sorted([await person.recv() for _ in people])

        hearing = [asyncio.create_task(hear(person)) for person in people]
        await asyncio.gather(*(person.send(f"from {n}") for n, person in enumerate(people)))
        expected = sorted(f"from {number}" for number in range(len(people)))
        assert await asyncio.gather(*hearing) == [expected] * len(people)


async def test_large_messages_and_fragments() -> None:
    parts = list(blocks(12))
    async with chat(max_size=1 << 24) as url:
        async with connect(url.replace("wss", "ws"), max_size=1 << 24) as person:
            await person.send(b"".join(parts))
            assert await person.recv() == b"".join(parts)
            await person.send(parts)  # one message in fragments
            assert await person.recv() == b"".join(parts)


async def test_connections_end_by_close_and_by_abort() -> None:
    async with chat() as url:
        async with connect(url) as person:
            await person.send("go")
            with pytest.raises(ConnectionClosedError) as caught:
                await person.recv()
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "as you wish")
        async with connect(url) as person:
            person.transport.abort()
            with pytest.raises(ConnectionClosedError):
                await person.recv()
        person = await connect(url)
    with pytest.raises(ConnectionClosedOK):  # the server has gone, in order ("going away")
        await person.recv()
