"""A protocol that replaces its own methods while it is in use.

State machines do so, and mocks that are put on a living protocol. asyncio looks each method up for
each call; which kind of protocol it is, is asked when the protocol is set.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from support import BufferedRecorder, Datagrams, Recorder, bound, differs, turns, wait_until, wired

CACHED = "it looks the methods up when the protocol is set"
LARGE = b"x" * (8 << 20)


@differs("uvloop", CACHED)
async def test_data_goes_to_the_present_data_received(loop: asyncio.AbstractEventLoop) -> None:
    class Lines(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.heads: list[bytes] = []
            self.data_received = self.head  # type: ignore[method-assign]

        def head(self, data: bytes) -> None:
            self.heads.append(data)
            del self.data_received

    async with wired(Lines) as (_, protocol, far):
        far.send(b"head")
        await wait_until(lambda: protocol.heads)
        far.send(b"body")
        assert await protocol.wait_for_bytes(4) == b"body"
        assert protocol.heads == [b"head"]


@differs("uvloop", CACHED)
async def test_a_method_replaced_on_the_class_counts_too(loop: asyncio.AbstractEventLoop) -> None:
    class Own(Recorder):
        pass

    seen: list[bytes] = []
    async with wired(Own) as (_, protocol, far):
        far.send(b"1")
        await protocol.wait_for_bytes(1)
        Own.data_received = lambda self, data: seen.append(data)  # type: ignore[method-assign]
        far.send(b"2")
        await wait_until(lambda: seen)
        assert (seen, bytes(protocol.data)) == ([b"2"], b"1")


@differs("uvloop", CACHED)
async def test_data_goes_into_the_present_buffer(loop: asyncio.AbstractEventLoop) -> None:
    async with wired(BufferedRecorder) as (_, protocol, far):
        far.send(b"1")
        await protocol.wait_for_bytes(1)
        other = bytearray(100)
        counts: list[int] = []
        protocol.get_buffer = lambda sizehint: other
        protocol.buffer_updated = counts.append
        far.send(b"22")
        await wait_until(lambda: counts)
        assert (counts, bytes(other[:2]), bytes(protocol.data)) == ([2], b"22", b"1")


async def test_datagrams_go_to_the_present_datagram_received(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with bound() as receiver, bound() as sender:
        address = receiver.transport.get_extra_info("sockname")
        sender.transport.sendto(b"1", address)
        await receiver.wait_for(1)
        seen: list[bytes] = []
        receiver.datagram_received = lambda data, addr: seen.append(data)
        sender.transport.sendto(b"2", address)
        await wait_until(lambda: seen)
        assert (seen, receiver.data) == ([b"2"], [b"1"])


async def test_the_end_goes_to_the_present_methods(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (_, protocol, far):
        events: list[Any] = []
        protocol.eof_received = lambda: events.append("eof")
        lost = protocol.connection_lost
        protocol.connection_lost = lambda exc: (events.append(exc), lost(exc))
        far.shutdown(socket.SHUT_WR)
        await protocol.lost
        assert events == ["eof", None]


async def test_flow_control_goes_to_the_present_methods(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        events: list[str] = []
        protocol.pause_writing = lambda: events.append("pause")
        protocol.resume_writing = lambda: events.append("resume")
        transport.write(LARGE)
        assert events == ["pause"]
        left = len(LARGE)
        while left:
            left -= len(await loop.sock_recv(far, left))
        await wait_until(lambda: events == ["pause", "resume"])


async def test_errors_go_to_the_present_error_received(loop: asyncio.AbstractEventLoop) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    errors: list[Exception] = []
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    protocol.error_received = errors.append
    transport.sendto(b"nobody is there")
    await wait_until(lambda: errors)
    assert isinstance(errors[0], ConnectionRefusedError)
    transport.close()
    await protocol.lost


async def test_which_kind_it_is_is_asked_when_it_is_set(loop: asyncio.AbstractEventLoop) -> None:
    class Pretending(Recorder):
        """Is taken for a BufferedProtocol later on, when nobody asks any more."""

        pretends = False

        @property
        def __class__(self) -> type:  # type: ignore[override]
            return asyncio.BufferedProtocol if self.pretends else Pretending

    async with wired(Pretending) as (transport, protocol, far):
        protocol.pretends = True
        far.send(b"1")
        assert await protocol.wait_for_bytes(1) == b"1"
        buffered = BufferedRecorder()
        transport.set_protocol(buffered)
        far.send(b"2")
        assert await buffered.wait_for_bytes(1) == b"2"
        transport.set_protocol(protocol)  # now it asks again, and there is no get_buffer
        protocol.pretends = False
        transport.set_protocol(protocol)
        far.send(b"3")
        assert await protocol.wait_for_bytes(2) == b"13"


@pytest.mark.parametrize("chunk", [1, 200_000])
async def test_a_protocol_that_is_only_held_by_its_transport_may_switch(
    loop: asyncio.AbstractEventLoop, chunk: int
) -> None:
    class Hands(Recorder):
        def data_received(self, data: bytes) -> None:
            following = Recorder()
            followers.append(following)
            self.transport.set_protocol(following)
            self.data += data  # still alive

    followers: list[Recorder] = []
    async with wired(Hands) as (transport, protocol, far):
        del protocol
        await loop.sock_sendall(far, b"x" * chunk)
        await wait_until(lambda: followers)
        far.send(b"y")
        await wait_until(lambda: followers[0].data.endswith(b"y"))
        await turns()
        transport.set_protocol(Recorder())  # `wired` aborts it
