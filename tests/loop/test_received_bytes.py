"""The bytes that data_received gets are the protocol's, whatever it does with them.

rloop receives large pieces into an object of its own, which it uses again once nobody has it any
more: nobody may ever see it change.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from support import RLOOP_IDS, Noise, loops_only, wait_until, wired

SIZE = 6 << 20
PATTERN = bytes(n * 7 % 251 for n in range(251 * 16)) * (SIZE // (251 * 16) + 1)
SENT = PATTERN[:SIZE]


class Keeper(asyncio.Protocol):
    """Hands each piece to a function, with its place in the stream."""

    def __init__(self, keep: Callable[[int, bytes], None]) -> None:
        self.keep = keep
        self.size = 0

    def data_received(self, data: bytes) -> None:
        start, self.size = self.size, self.size + len(data)
        assert data == SENT[start : self.size]
        self.keep(start, data)


async def receive(keep: Callable[[int, bytes], None]) -> Keeper:
    """Receives all of SENT."""
    loop = asyncio.get_running_loop()
    async with wired(lambda: Keeper(keep)) as (_, protocol, far):
        sending = asyncio.ensure_future(loop.sock_sendall(far, SENT))
        await wait_until(lambda: protocol.size == SIZE)
        await sending
        return protocol


async def test_what_is_kept_stays(loop: asyncio.AbstractEventLoop) -> None:
    pieces: list[bytes] = []
    await receive(lambda _start, data: pieces.append(data))
    assert b"".join(pieces) == SENT


@pytest.mark.parametrize("every", [2, 3, 7])
async def test_what_is_kept_now_and_then_stays(loop: asyncio.AbstractEventLoop, every: int) -> None:
    kept: list[tuple[int, bytes]] = []
    seen: list[int] = []

    def keep(start: int, data: bytes) -> None:
        seen.append(len(data))
        if len(seen) % every == 0:
            kept.append((start, data))

    await receive(keep)
    assert all(data == SENT[start : start + len(data)] for start, data in kept)


async def test_views_iterators_and_slices_stay(loop: asyncio.AbstractEventLoop) -> None:
    kept: list[tuple[int, Any]] = []

    def keep(start: int, data: bytes) -> None:
        kept.append((start, (memoryview(data)[10:], data[:-1], iter(data))[len(kept) % 3]))

    await receive(keep)
    for start, held in kept:
        if isinstance(held, memoryview):
            assert held == SENT[start + 10 : start + 10 + len(held)]
        elif isinstance(held, bytes):
            assert held == SENT[start : start + len(held)]
        else:
            assert bytes(next(held) for _ in range(10)) == SENT[start : start + 10]


async def test_frames_generators_and_threads_hold_it(loop: asyncio.AbstractEventLoop) -> None:
    generators: list[tuple[int, Any]] = []

    def hold(data: bytes) -> Any:
        yield len(data)
        yield data

    def keep(start: int, data: bytes) -> None:
        generator = hold(data)
        next(generator)
        generators.append((start, generator))

    await receive(keep)
    for start, generator in generators:
        data = next(generator)
        assert data == SENT[start : start + len(data)]


async def test_an_exception_that_was_kept_holds_it(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    kept: list[tuple[int, BaseException]] = []

    def keep(start: int, data: bytes) -> None:
        try:
            raise ValueError(data)
        except ValueError as error:
            kept.append((start, error))

    await receive(keep)
    assert all(error.args[0] == SENT[start : start + len(error.args[0])] for start, error in kept)


async def test_its_hash_is_that_of_its_content(loop: asyncio.AbstractEventLoop) -> None:
    hashes: list[bool] = []

    def keep(start: int, data: bytes) -> None:
        copy = SENT[start : start + len(data)]
        hashes.append(hash(data) == hash(copy) and {copy: 1}.get(data) == 1)

    await receive(keep)
    assert all(hashes)


async def test_what_was_written_from_it_arrives(loop: asyncio.AbstractEventLoop) -> None:
    class Echo(asyncio.Protocol):
        transport: Any

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)  # some of it waits: the peer reads later

    async with wired(Echo) as (_, _protocol, far):
        sending = asyncio.ensure_future(loop.sock_sendall(far, SENT))
        await asyncio.sleep(0.01)
        received = bytearray()
        while len(received) < SIZE:
            received += await loop.sock_recv(far, 100_000)
        await sending
        assert received == SENT


async def test_a_receive_inside_of_data_received_goes_elsewhere(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near: list[Any] = []
    others: list[bytes] = []

    def keep(start: int, data: bytes) -> None:
        before = bytes(data)
        receiving = loop.sock_recv(near[0], 50_000)
        try:
            receiving.send(None)  # type: ignore[attr-defined]
        except StopIteration as received:
            others.append(received.value)
        receiving.close()  # type: ignore[attr-defined]
        assert data == before

    async with wired(asyncio.Protocol) as (transport, _, far):
        transport.pause_reading()
        transport.write(b"other" * 10_000)
        near.append(far)
        await receive(keep)
        assert set(b"".join(others)) <= set(b"other")


async def test_two_connections_take_turns(loop: asyncio.AbstractEventLoop) -> None:
    kept: list[bytes] = []

    def keep_some(start: int, data: bytes) -> None:
        if start % 3 == 0:
            kept.append(data)

    await asyncio.gather(receive(keep_some), receive(lambda _start, _data: None))
    assert all(data in SENT for data in kept[:3])


@loops_only(*RLOOP_IDS)
async def test_large_pieces_are_received_into_the_loops_object(
    loop: asyncio.AbstractEventLoop,
) -> None:
    references: dict[bool, set[int]] = {False: set(), True: set()}
    kept: list[bytes] = []

    def keep(start: int, data: bytes) -> None:
        # The loop holds its own; a copy is held by the call alone.
        references[start > SIZE // 2].add(sys.getrefcount(data))

    def keep_it(_start: int, data: bytes) -> None:
        kept.append(data)

    await receive(keep)
    assert max(references[True]) == min(references[False]) + 1
    await receive(keep_it)
    references[False].clear()
    references[True].clear()
    await receive(keep)  # it is careful for a while
    assert max(references[False]) == min(references[False])
