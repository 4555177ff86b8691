"""The reading half of a stream transport: data, end of stream, pause_reading and resume_reading.

Source: asyncio's documentation, "Read-only Transports" and "Streaming Protocols".
"""

import asyncio
import hashlib
import os
import socket

import pytest
from support import (
    BufferedRecorder,
    Recorder,
    connected,
    reset,
    tcp_pair,
    turns,
    until_closed,
    wait_until,
    wired,
)


async def test_data_arrives_as_bytes_and_in_order(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (_, protocol, far):
        for number in range(100):
            far.send(b"%03d" % number)
            if number % 10 == 0:
                await turns(1)
        expected = b"".join(b"%03d" % number for number in range(100))
        assert await protocol.wait_for_bytes(300) == expected
        assert all(type(chunk) is bytes for chunk in protocol.chunks)
        assert all(protocol.chunks)


async def test_received_chunks_are_not_overwritten_by_later_ones(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (_, protocol, far):
        for number in range(300):
            far.send(bytes([number % 256]) * 100)
            await protocol.wait_for_bytes(100 * (number + 1))
        assert b"".join(protocol.chunks) == bytes(protocol.data)
        for number in range(300):
            assert protocol.data[number * 100] == number % 256


async def test_data_sent_before_the_transport_existed_arrives(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    far.send(b"early")
    far.shutdown(socket.SHUT_WR)
    transport, protocol = await loop.create_connection(Recorder, sock=near)
    assert await protocol.lost is None
    assert protocol.data == b"early"
    assert protocol.events == [
        "connection_made",
        "data_received",
        "eof_received",
        "connection_lost",
    ]
    await until_closed(transport)
    far.close()


async def test_nothing_arrives_before_connection_made(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (_, protocol, far):
        far.send(b"x")
        await protocol.wait_for_bytes(1)
        assert protocol.events == ["connection_made", "data_received"]


async def test_a_new_transport_is_reading(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, _far):
        assert transport.is_reading()
        transport.close()
        assert not transport.is_reading()


async def test_a_paused_transport_gives_no_data(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.pause_reading()
        assert not transport.is_reading()
        far.send(b"held back")
        await turns(20)
        assert protocol.data == b""
        transport.resume_reading()
        assert transport.is_reading()
        assert await protocol.wait_for_bytes(9) == b"held back"


async def test_pause_and_resume_may_be_repeated(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.resume_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        far.send(b"x")
        await protocol.wait_for_bytes(1)


async def test_pause_and_resume_of_a_closing_transport_do_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, _far):
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        assert not transport.is_reading()
        await protocol.lost
        transport.pause_reading()
        transport.resume_reading()


async def test_pausing_in_data_received_holds_at_once(loop: asyncio.AbstractEventLoop) -> None:
    class OneAtATime(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async with wired(OneAtATime) as (transport, protocol, far):
        # More than any loop reads at once: it arrives in many pieces, each of them asked for.
        payload = os.urandom(2 << 20)
        sending = loop.create_task(loop.sock_sendall(far, payload))
        while len(protocol.data) < len(payload):
            count = len(protocol.chunks)
            await wait_until(lambda count=count: len(protocol.chunks) > count)
            await turns(3)
            assert len(protocol.chunks) == count + 1, "data arrived while reading was paused"
            transport.resume_reading()
        await sending
        assert hashlib.sha256(protocol.data).digest() == hashlib.sha256(payload).digest()


@pytest.mark.parametrize("gap", [0, 1, 2])
async def test_hundreds_of_pauses_keep_the_data_in_order(
    loop: asyncio.AbstractEventLoop, gap: int
) -> None:
    async with wired() as (transport, protocol, far):
        for number in range(400):
            transport.pause_reading()
            far.send(b"%04d" % number)
            await turns(gap)
            transport.resume_reading()
            if number % 7 == 0:
                transport.pause_reading()
                transport.resume_reading()
            await turns(gap)
        expected = b"".join(b"%04d" % number for number in range(400))
        assert await protocol.wait_for_bytes(1600) == expected


async def test_the_end_of_the_stream_waits_while_paused(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.pause_reading()
        far.send(b"last words")
        far.shutdown(socket.SHUT_WR)
        await turns(20)
        assert protocol.events == ["connection_made"]
        transport.resume_reading()
        assert await protocol.lost is None
        assert protocol.data == b"last words"


async def test_closing_while_paused_closes(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.pause_reading()
        far.send(b"never read")
        await turns(3)
        transport.close()
        assert await protocol.lost is None
        assert protocol.data == b""


async def test_a_paused_transport_makes_its_sender_wait(loop: asyncio.AbstractEventLoop) -> None:
    async with connected() as (client, server_side):
        server_side.transport.pause_reading()
        client.transport.write(b"x" * (32 << 20))
        await wait_until(lambda: "pause_writing" in client.events)
        await turns(20)
        assert client.transport.get_write_buffer_size() > 0
        server_side.transport.resume_reading()
        await server_side.wait_for_bytes(32 << 20)
        await wait_until(lambda: "resume_writing" in client.events)


async def test_no_data_after_close(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        far.send(b"x")
        await protocol.wait_for_bytes(1)
        far.send(b"too late")
        transport.close()
        assert await protocol.lost is None
        assert protocol.data == b"x"


async def test_closing_in_data_received_is_the_end(loop: asyncio.AbstractEventLoop) -> None:
    class Once(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.close()

    async with wired(Once) as (_, protocol, far):
        far.send(b"a" * (1 << 19))
        await protocol.lost
        assert len(protocol.chunks) == 1
        assert protocol.events == ["connection_made", "data_received", "connection_lost"]


async def test_a_reset_is_told_by_connection_lost(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (_, protocol, far):
        reset(far)
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert "eof_received" not in protocol.events


async def test_one_gigantic_sender_does_not_starve_the_others(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (_, greedy, flood), wired() as (_, modest, far):
        flooding = loop.create_task(loop.sock_sendall(flood, b"x" * (64 << 20)))
        await greedy.wait_for_bytes(1 << 20)
        far.send(b"hello")
        await modest.wait_for_bytes(5)
        assert len(greedy.data) < 64 << 20, "the modest one was heard only after the flood"
        timer = loop.create_future()
        loop.call_later(0, timer.set_result, None)
        await timer
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


@pytest.mark.parametrize("reader", [Recorder, BufferedRecorder])
async def test_urgent_data_does_not_hold_up_what_lies_behind_it(
    loop: asyncio.AbstractEventLoop, reader: type
) -> None:
    """recv(2) stops at the urgent mark: a short read does not mean that the socket is empty."""
    async with wired(reader) as (_, protocol, far):
        await turns(3)
        for _ in range(3):
            far.sendall(b"before")
            far.send(b"!", socket.MSG_OOB)
            far.sendall(b"behind")
            expected = len(protocol.data) + len("beforebehind")
            await protocol.wait_for_bytes(expected)
            assert bytes(protocol.data[-12:]) == b"beforebehind"
        far.send(b"!", socket.MSG_OOB)
        far.close()
        await wait_until(lambda: protocol.eof)


@pytest.mark.parametrize("when", ["idle", "in data_received"])
async def test_a_pause_leaves_what_comes_later_to_another_holder_of_the_socket(
    loop: asyncio.AbstractEventLoop, when: str
) -> None:
    """The connection is handed to another process or to blocking code."""

    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if when == "in data_received":
                self.transport.pause_reading()
                far.send(b"for the other")

    async with wired(Pausing) as (transport, protocol, far):
        far.send(b"ours")
        await protocol.wait_for_bytes(4)
        if when == "idle":
            await turns(3)
            transport.pause_reading()
            far.send(b"for the other")
        await turns(5)
        with transport.get_extra_info("socket").dup() as other:
            assert other.recv(100) == b"for the other"
        assert bytes(protocol.data) == b"ours"
        transport.resume_reading()
        far.send(b" again")
        assert await protocol.wait_for_bytes(10) == b"ours again"
        assert transport.is_reading() or when == "in data_received"
