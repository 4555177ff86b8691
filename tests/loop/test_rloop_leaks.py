"""Nothing is left of a transport: descriptors, objects and memory after many open/close cycles.

Each kind of transport is opened, used and closed RLOOP_LEAK_CYCLES times (2 000 unless set;
scripts/test.sh sets 10 000 on one interpreter). After a fifth of them, when caches and free lists
are full, the process is measured, and again at the end: the descriptors must be the same, and
neither Python's allocated blocks nor the resident memory may have grown by more than noise.
"""

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import support
from support import RLOOP_IDS, Datagrams, Echo, Recorder, loops_only, open_descriptors

pytestmark = [loops_only(*RLOOP_IDS), pytest.mark.timeout(600), pytest.mark.deadline(300)]

CYCLES = int(os.environ.get("RLOOP_LEAK_CYCLES", "2000"))
AT_ONCE = 20
#: Per cycle. A leaked object would show as one block or more, and as dozens of bytes.
MOST_BLOCKS = 0.1
MOST_BYTES = 60
SANITIZED = "RLOOP_SANITIZE" in os.environ

Cycle = Callable[[], Awaitable[None]]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def run_cycles(cycle: Cycle, count: int) -> None:
    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(cycle() for _ in range(AT_ONCE)))
    await support.turns(20)  # the servers' ends close a little later than the clients'
    gc.collect()


async def assert_flat(cycle: Cycle) -> None:
    cycles = 5 * AT_ONCE if SANITIZED else CYCLES
    warm_up = cycles // 5
    await run_cycles(cycle, warm_up)
    descriptors, blocks, memory = (
        len(open_descriptors()),
        sys.getallocatedblocks(),
        resident_bytes(),
    )
    await run_cycles(cycle, cycles - warm_up)
    await support.wait_until(lambda: len(open_descriptors()) <= descriptors)
    measured = cycles - warm_up
    slack_blocks, slack_bytes = 500, 2 * 1024 * 1024  # dictionaries that grew, pages half used
    assert sys.getallocatedblocks() - blocks < slack_blocks + MOST_BLOCKS * measured
    if not SANITIZED:  # which keeps freed memory in quarantine
        assert resident_bytes() - memory < slack_bytes + MOST_BYTES * measured


def client_cycle(connect: Callable[[], Awaitable[tuple[Any, Any]]]) -> Cycle:
    async def cycle() -> None:
        transport, protocol = await connect()
        transport.write(b"there and back")
        await protocol.wait_for_bytes(14)
        transport.close()
        await protocol.lost

    return cycle


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
async def test_streams(loop: Any, tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "socket")
    options: dict[str, Any] = {}
    if kind == "tls":
        from test_tls import CLIENT, SERVER

        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=SERVER)
        options = {"ssl": CLIENT, "server_hostname": "localhost"}
    elif kind == "tcp":
        server = await loop.create_server(Echo, "127.0.0.1", 0)
    else:
        server = await loop.create_unix_server(Echo, path)
    address = server.sockets[0].getsockname()
    if kind == "unix":
        cycle = client_cycle(lambda: loop.create_unix_connection(Recorder, path))
    else:
        cycle = client_cycle(lambda: loop.create_connection(Recorder, *address, **options))
    await assert_flat(cycle)
    server.close()
    await support.turns(10)


async def test_servers(loop: Any) -> None:
    async def cycle() -> None:
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        server.close()
        await server.wait_closed()

    await assert_flat(cycle)


async def test_datagrams(loop: Any) -> None:
    async with support.bound(answer=bytes) as server:
        address = server.transport.get_extra_info("sockname")

        async def cycle() -> None:
            transport, protocol = await loop.create_datagram_endpoint(
                Datagrams, remote_addr=address
            )
            transport.sendto(b"there and back")
            await protocol.wait_for(1)
            transport.close()
            await protocol.lost
            server.received.clear()

        await assert_flat(cycle)


async def test_pipes(loop: Any) -> None:
    async def cycle() -> None:
        reading, writing = os.pipe()
        _, received = await loop.connect_read_pipe(Recorder, os.fdopen(reading, "rb", 0))
        writer, _ = await loop.connect_write_pipe(Recorder, os.fdopen(writing, "wb", 0))
        writer.write(b"through")
        await received.wait_for_bytes(7)
        writer.close()
        await received.lost

    await assert_flat(cycle)


async def test_children(loop: Any) -> None:
    async def cycle() -> None:
        process = await asyncio.create_subprocess_exec(
            "true", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        await process.communicate(b"x")
        assert process.returncode == 0

    await assert_flat(cycle)


async def test_waiting_for_sockets(loop: Any) -> None:
    near, far = support.tcp_pair()
    with near, far:

        async def cycle() -> None:
            waiting = loop.create_task(loop.sock_recv(near, 10))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

        await assert_flat(cycle)


async def test_readers(loop: Any) -> None:
    async def cycle() -> None:
        near, far = socket.socketpair()
        ready = loop.create_future()
        loop.add_reader(near, lambda: ready.done() or ready.set_result(None))
        far.send(b"x")
        await ready
        loop.remove_reader(near)
        near.close()
        far.close()

    await assert_flat(cycle)


def test_loops(loop_id: str) -> None:
    def cycle() -> None:
        loop = support.new_loop(loop_id)
        support.run_briefly(loop)
        loop.close()

    def cycles(count: int) -> None:
        for _ in range(count):
            cycle()

    count = max(CYCLES // 20, 20)
    cycles(count)
    gc.collect()
    descriptors, memory = len(open_descriptors()), resident_bytes()
    cycles(count)
    gc.collect()
    assert len(open_descriptors()) == descriptors
    if not SANITIZED:
        assert resident_bytes() - memory < 1024 * 1024 + 1000 * count


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's allocator keeps what is freed")
async def test_idle_connections_give_back_what_a_burst_of_small_writes_needed(
    loop: asyncio.AbstractEventLoop,
) -> None:
    connections, writes = 20, 20_000
    async with contextlib.AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(support.connected()) for _ in range(connections)]
        gc.collect()
        before = resident_bytes()
        for client, server_side in pairs:
            for _ in range(writes):
                server_side.transport.write(b"x")
            await client.wait_for_bytes(writes)
            client.data.clear()
            client.chunks.clear()
            client.events.clear()
        gc.collect()
        kept = (resident_bytes() - before) / connections
    assert kept < 64 * 1024, "a queue of 20 000 segments takes 640 KiB"
