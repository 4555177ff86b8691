"""Much data and many connections, checked by hash: nothing lost, nothing twice, order kept."""

import asyncio
import hashlib
import os
import resource
import socket

import pytest
from support import (
    DEADLINE,
    RLOOP_IDS,
    BufferedRecorder,
    Echo,
    Notes,
    Recorder,
    connected,
    loops_only,
    recv_exactly,
    serving,
    turns,
    wait_until,
    wired,
)

MIB = 1 << 20


class Hashing(Notes, asyncio.Protocol):
    """Keeps a hash and a count instead of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self.count = 0

    def data_received(self, data: bytes) -> None:
        self.hash.update(data)
        self.count += len(data)


class HashingBuffered(Notes, asyncio.BufferedProtocol):
    """The same for a buffered protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self.count = 0
        self.buffer = bytearray(MIB)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.hash.update(memoryview(self.buffer)[:nbytes])
        self.count += nbytes


class Waiting(Recorder):
    """Lets a writer wait while the transport is full."""

    def __init__(self) -> None:
        super().__init__()
        self.room = asyncio.Event()
        self.room.set()

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()


@pytest.mark.parametrize("factory", [Hashing, HashingBuffered])
async def test_a_megabyte_arrives(
    loop: asyncio.AbstractEventLoop, factory: type[Hashing] | type[HashingBuffered]
) -> None:
    async with connected(Recorder, factory) as (client, server_side):
        payload = os.urandom(MIB)
        client.transport.write(payload)
        await wait_until(lambda: server_side.count == MIB)
        assert server_side.hash.digest() == hashlib.sha256(payload).digest()


async def test_a_megabyte_is_echoed(loop: asyncio.AbstractEventLoop) -> None:
    async with connected(Recorder, Echo) as (client, _):
        payload = os.urandom(MIB)
        for start in range(0, MIB, 10_000):
            client.transport.write(payload[start : start + 10_000])
        assert await client.wait_for_bytes(MIB) == payload


async def test_both_directions_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async with connected(Hashing, Hashing) as (client, server_side):
        one, two = os.urandom(16 * MIB), os.urandom(16 * MIB)
        client.transport.write(one)
        server_side.transport.write(two)
        await wait_until(lambda: server_side.count == len(one) and client.count == len(two))
        assert server_side.hash.digest() == hashlib.sha256(one).digest()
        assert client.hash.digest() == hashlib.sha256(two).digest()


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("factory", [Hashing, HashingBuffered])
async def test_a_hundred_megabytes_are_received(
    loop: asyncio.AbstractEventLoop, factory: type[Hashing] | type[HashingBuffered]
) -> None:
    async with wired(factory) as (_, protocol, far):
        chunk = os.urandom(MIB)
        expected = hashlib.sha256()
        for _ in range(100):
            expected.update(chunk)
            await loop.sock_sendall(far, chunk)
        await wait_until(lambda: protocol.count == 100 * MIB, deadline=4 * DEADLINE)
        assert protocol.hash.digest() == expected.digest()


@loops_only(*RLOOP_IDS)
async def test_a_hundred_megabytes_are_sent(loop: asyncio.AbstractEventLoop) -> None:
    async with wired(Waiting) as (transport, protocol, far):
        chunk = os.urandom(MIB)
        expected, received = hashlib.sha256(), hashlib.sha256()

        async def send() -> None:
            for number in range(100):
                await protocol.room.wait()
                expected.update(chunk)
                # Three ways to hand over the same bytes.
                if number % 3 == 0:
                    transport.write(chunk)
                elif number % 3 == 1:
                    transport.write(bytearray(chunk))
                else:
                    transport.writelines([chunk[:1000], chunk[1000:5000], chunk[5000:]])

        sending = loop.create_task(send())
        left = 100 * MIB
        while left:
            data = await loop.sock_recv(far, MIB)
            assert data, "the stream ended early"
            received.update(data)
            left -= len(data)
        await sending
        assert received.digest() == expected.digest()


async def test_sizes_around_every_power_of_two(loop: asyncio.AbstractEventLoop) -> None:
    async with connected(Recorder, Echo) as (client, _):
        sent = bytearray()
        for power in range(18):
            for size in ((1 << power) - 1, 1 << power, (1 << power) + 1):
                piece = os.urandom(size)
                sent += piece
                client.transport.write(piece)
                await client.wait_for_bytes(len(sent))
        assert client.data == sent


async def test_five_hundred_connections_at_once(loop: asyncio.AbstractEventLoop) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1500:
        pytest.skip("the limit of open files does not allow a thousand sockets")
    if soft < 1500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1500, hard))
    try:
        async with serving(Echo, backlog=500) as (_, address):
            clients = []
            for _ in range(500):
                client = socket.socket()
                client.setblocking(False)
                await loop.sock_connect(client, address)
                clients.append(client)

            async def talk(client: socket.socket, number: int) -> None:
                for round_ in range(4):
                    message = b"%05d/%d" % (number, round_)
                    await loop.sock_sendall(client, message)
                    assert await recv_exactly(client, len(message)) == message

            await asyncio.gather(*(talk(client, n) for n, client in enumerate(clients)))
            for client in clients:
                client.close()
            await turns(20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_more_transports_than_receive_buffers(loop: asyncio.AbstractEventLoop) -> None:
    # All have data at the same moment: whatever pool the loop lends from runs short.
    async with serving(Echo, backlog=300) as (_, address):
        opened = await asyncio.gather(
            *(loop.create_connection(Recorder, *address) for _ in range(300))
        )
        payload = os.urandom(20_000)
        for transport, _ in opened:
            transport.write(payload)
        for _, protocol in opened:
            assert await protocol.wait_for_bytes(20_000) == payload
        for transport, _ in opened:
            transport.close()
        await asyncio.gather(*(protocol.lost for _, protocol in opened))
        await turns(5)


@pytest.mark.parametrize("size", [1, 100, 5000])
async def test_a_thousand_small_messages_ping_pong(
    loop: asyncio.AbstractEventLoop, size: int
) -> None:
    async with connected(Recorder, Echo) as (client, _):
        message = os.urandom(size)
        for number in range(1, 1001):
            client.transport.write(message)
            await wait_until(lambda n=number: len(client.data) == n * size)
        assert client.data == message * 1000


async def test_buffered_and_plain_receivers_share_the_loop(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with connected(Recorder, BufferedRecorder) as (one, one_side):
        async with connected(Recorder, Recorder) as (two, two_side):
            first, second = os.urandom(MIB), os.urandom(MIB)
            one.transport.write(first)
            two.transport.write(second)
            assert await one_side.wait_for_bytes(MIB) == first
            assert await two_side.wait_for_bytes(MIB) == second
