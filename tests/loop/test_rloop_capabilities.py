"""Kernels that lack a capability: rloop does without it, or on epoll, and nobody sees a difference.

`masked` makes this kernel one of them.
"""

from __future__ import annotations

import asyncio
import socket

import pytest
from support import Datagrams, Echo, Recorder, bound, connected, finish, within_deadline

import rloop

NAMES = sorted(rloop.backend_info()["capabilities"])
BULK = bytes(range(256)) * 2000

needs_ring = pytest.mark.skipif(
    rloop.backend_info()["backend"] != "io_uring", reason="io_uring is refused here"
)


async def everything() -> None:
    async with connected(Recorder, Echo) as (client, server):
        client.transport.write(b"first")
        await client.wait_for_bytes(5)
        server.transport.pause_reading()
        client.transport.write(BULK)
        await asyncio.sleep(0)  # a turn in which the server does not read
        server.transport.resume_reading()
        await client.wait_for_bytes(5 + len(BULK))
        assert bytes(client.data) == b"first" + BULK
    async with bound(answer=bytes.upper) as server_end, bound() as end:
        assert isinstance(end, Datagrams)
        for number in range(20):
            name = server_end.transport.get_extra_info("sockname")
            end.transport.sendto(b"d%d" % number, name)
        assert await end.wait_for(20) == [b"D%d" % number for number in range(20)]
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        came = loop.create_future()
        loop.add_reader(far, came.set_result, None)
        await loop.sock_sendall(near, b"request")
        await came
        loop.remove_reader(far)
        assert await loop.sock_recv(far, 100) == b"request"
        waits = loop.create_task(loop.sock_recv(far, 100))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.wait([waits])
        assert waits.cancelled()


@needs_ring
@pytest.mark.parametrize("masked", [*((name,) for name in NAMES), tuple(NAMES)], ids="+".join)
def test_a_kernel_without_it(masked: tuple[str, ...]) -> None:
    loop = rloop.new_event_loop(masked=masked)
    try:
        assert loop.backend == ("epoll" if "ring" in masked else "io_uring")
        loop.run_until_complete(within_deadline(everything()))
    finally:
        finish(loop)


@needs_ring
def test_a_ring_that_is_demanded_and_masked() -> None:
    with pytest.raises(rloop.BackendUnavailable, match="masked"):
        rloop.new_event_loop("io_uring", masked=("ring",))
    loop = rloop.new_event_loop("epoll", masked=("ring",))
    loop.close()


def test_a_name_that_no_capability_has() -> None:
    with pytest.raises(ValueError, match="unknown capability 'telepathy'"):
        rloop.new_event_loop(masked=("telepathy",))
    with pytest.raises(TypeError):
        rloop.new_event_loop(masked=(3,))  # type: ignore[arg-type]


def test_a_loop_is_initialised_once() -> None:
    loop = rloop.new_event_loop()
    try:
        with pytest.raises(RuntimeError, match="cannot be initialised twice"):
            loop.__init__()  # type: ignore[misc]
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
