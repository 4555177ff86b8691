"""pause_reading, resume_reading and is_reading of datagram transports.

asyncio documents them for streams and has them on every transport. While reading is paused nothing
is delivered; what has come meanwhile follows in order, in a later turn than resume_reading().
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from support import RLOOP_IDS, Datagrams, bound, loops_only, turns, wait_until

pytestmark = loops_only("asyncio", *RLOOP_IDS)  # uvloop has none of them


async def deliver(sender: Any, receiver: Any, *texts: bytes) -> None:
    """Send, and turn the loop until the engine has had every chance to receive."""
    for text in texts:
        sender.transport.sendto(text, receiver.transport.get_extra_info("sockname"))
    await turns(20)
    await asyncio.sleep(0.001)
    await turns(5)


async def test_nothing_comes_while_reading_is_paused(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as receiver, bound() as sender:
        await deliver(sender, receiver, b"1")
        assert receiver.transport.is_reading()
        receiver.transport.pause_reading()
        assert not receiver.transport.is_reading()
        await deliver(sender, receiver, b"2", b"3")
        await deliver(sender, receiver, b"4")
        assert receiver.data == [b"1"]
        receiver.transport.resume_reading()
        assert receiver.transport.is_reading()
        assert receiver.data == [b"1"]  # never inside resume_reading()
        assert await receiver.wait_for(4) == [b"1", b"2", b"3", b"4"]
        await deliver(sender, receiver, b"5")
        assert receiver.data[-1] == b"5"


async def test_a_pause_in_the_middle_of_a_batch(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as receiver, bound() as sender:

        def pause_after_each(data: bytes, addr: Any) -> None:
            receiver.received.append((data, addr))
            receiver.transport.pause_reading()

        receiver.datagram_received = pause_after_each
        texts = [b"%d" % number for number in range(40)]
        await deliver(sender, receiver, *texts)
        for count in range(1, len(texts) + 1):
            assert await receiver.wait_for(count) == texts[:count]
            await turns(3)
            assert receiver.data == texts[:count]
            receiver.transport.resume_reading()


async def test_resuming_and_pausing_again_at_once_delivers_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with bound() as receiver, bound() as sender:
        receiver.transport.pause_reading()
        await deliver(sender, receiver, b"1", b"2")
        for _ in range(3):
            receiver.transport.resume_reading()
            receiver.transport.pause_reading()
            await turns(3)
        assert receiver.data == []
        receiver.transport.resume_reading()
        assert await receiver.wait_for(2) == [b"1", b"2"]


async def test_a_pause_in_connection_made_counts(loop: asyncio.AbstractEventLoop) -> None:
    class Paused(Datagrams):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    transport, receiver = await loop.create_datagram_endpoint(Paused, local_addr=("127.0.0.1", 0))
    async with bound() as sender:
        await deliver(sender, receiver, b"1")
        assert receiver.data == []
        transport.resume_reading()
        await receiver.wait_for(1)
    transport.close()
    await receiver.lost


async def test_twice_is_once(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as receiver, bound() as sender:
        receiver.transport.resume_reading()
        receiver.transport.pause_reading()
        receiver.transport.pause_reading()
        receiver.transport.resume_reading()
        receiver.transport.resume_reading()
        await deliver(sender, receiver, b"1")
        assert receiver.data == [b"1"]


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_the_end_comes_while_reading_is_paused(
    loop: asyncio.AbstractEventLoop, end: str
) -> None:
    async with bound() as receiver, bound() as sender:
        await deliver(sender, receiver, b"1")
        receiver.transport.pause_reading()
        await deliver(sender, receiver, b"2")
        getattr(receiver.transport, end)()
        assert not receiver.transport.is_reading()
        receiver.transport.resume_reading()  # too late
        await receiver.lost
        assert receiver.data == [b"1"]


async def test_it_sends_while_reading_is_paused(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as receiver, bound() as sender:
        sender.transport.pause_reading()
        await deliver(sender, receiver, b"1")
        assert receiver.data == [b"1"]


async def test_errors_of_earlier_datagrams_keep_their_place(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    transport.pause_reading()
    transport.sendto(b"nobody is there")
    await turns(20)
    assert protocol.errors == []
    transport.resume_reading()
    await wait_until(lambda: protocol.errors)
    assert isinstance(protocol.errors[0], ConnectionRefusedError)
    transport.close()
    await protocol.lost


async def test_unix_datagrams_wait_for_a_paused_receiver(
    loop: asyncio.AbstractEventLoop, tmp_path: Any
) -> None:
    path = str(tmp_path / "receiver")
    transport, receiver = await loop.create_datagram_endpoint(
        Datagrams, local_addr=path, family=socket.AF_UNIX
    )
    transport.pause_reading()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for text in (b"1", b"2", b"3"):
            sender.sendto(text, path)
        await turns(20)
        assert receiver.data == []
        transport.resume_reading()
        assert await receiver.wait_for(3) == [b"1", b"2", b"3"]
    transport.close()
    await receiver.lost
