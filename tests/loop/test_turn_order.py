"""In which order one turn runs what is ready, what came from the kernel, and what is due.

The order is that of asyncio's _run_once: handles that were ready before the turn looked at the
kernel, then I/O, then timers; what any of these schedules belongs to the next turn.
"""

import asyncio
import os
import socket
from typing import Any

import pytest
from support import RLOOP_IDS, Recorder, loops_only, serving, wait_until

pytestmark = loops_only("asyncio", *RLOOP_IDS)  # uvloop runs I/O first


@pytest.fixture
def pair() -> Any:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


def test_a_ready_handle_runs_before_io_and_io_before_a_due_timer(loop: Any, pair: Any) -> None:
    near, far = pair
    order: list[str] = []

    def readable() -> None:
        near.recv(1)
        order.append("io")
        loop.call_soon(order.append, "scheduled by io")
        loop.call_soon(loop.stop)

    loop.add_reader(near, readable)
    far.send(b"x")
    loop.call_at(loop.time(), order.append, "timer")
    loop.call_soon(order.append, "ready")
    loop.run_forever()
    loop.remove_reader(near)
    assert order == ["ready", "io", "timer", "scheduled by io"]


async def test_no_byte_arrives_before_create_connection_returned(loop: Any) -> None:
    class Talkative(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"at once")

    early: list[bytes] = []
    returned = False

    class Client(Recorder):
        def data_received(self, data: bytes) -> None:
            if not returned:
                early.append(data)
            super().data_received(data)

    async with serving(Talkative) as (_, address):
        for _ in range(20):
            returned = False
            transport, protocol = await loop.create_connection(Client, *address)
            returned = True
            await protocol.wait_for_bytes(7)
            transport.close()
            await protocol.lost
    assert early == []


async def test_a_datagram_that_waits_comes_after_the_first_step_of_a_new_task(loop: Any) -> None:
    order: list[str] = []

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            order.append("datagram")

    transport, _ = await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    async def step() -> None:
        order.append("task")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", transport.get_extra_info("sockname"))
        task = loop.create_task(step())
        await wait_until(lambda: "datagram" in order)
        await task
    transport.abort()
    assert order == ["task", "datagram"]


async def test_handles_ready_together_stay_together_when_io_comes(loop: Any, pair: Any) -> None:
    near, far = pair
    order: list[str] = []
    loop.add_reader(near, lambda: order.append("io") or os.read(near.fileno(), 1))
    far.send(b"x")
    for number in range(3):
        loop.call_soon(order.append, f"ready {number}")
    await wait_until(lambda: "io" in order)
    loop.remove_reader(near)
    assert order[:4] == ["ready 0", "ready 1", "ready 2", "io"]
