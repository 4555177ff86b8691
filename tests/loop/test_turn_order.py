"""In which order one turn runs what is ready, what came from the kernel, and what is due.

The order is that of asyncio's _run_once: handles that were ready before the turn looked at the
kernel, then I/O, then timers; what any of these schedules belongs to the next turn.
"""

import asyncio
import os
import socket
from typing import Any

import pytest
from support import RLOOP_IDS, Recorder, loops_only, reset, serving, wait_until

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


async def test_the_end_of_a_stream_comes_after_what_its_data_scheduled(loop: Any) -> None:
    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            loop.create_task(self.answer(data))

        async def answer(self, data: bytes) -> None:
            self.transport.write(b"answer to " + data)

    async with serving(Answering) as (_, address):
        for _ in range(20):
            with socket.create_connection(address) as client:
                client.send(b"x")
                client.shutdown(socket.SHUT_WR)
                client.setblocking(False)
                assert await loop.sock_recv(client, 100) == b"answer to x"


async def test_lines_in_front_of_a_reset_are_read(loop: Any) -> None:
    lines: list[bytes] = []
    ended: list[BaseException | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                lines.append(line)
            ended.append(None)
        except ConnectionResetError as exc:
            ended.append(exc)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    for count in range(1, 11):
        client = socket.create_connection(server.sockets[0].getsockname())
        client.send(b"one\ntwo\nthree\n")
        reset(client)
        await wait_until(lambda: len(ended) == count)
        assert len(lines) == 3 * count
    server.close()


async def test_what_data_scheduled_meets_an_end_that_waits_for_it(loop: Any) -> None:
    events: list[str] = []

    class Switching(Recorder):
        def data_received(self, data: bytes) -> None:
            events.append("data")
            loop.call_soon(self.transport.set_protocol, Second())

    class Second(asyncio.Protocol):
        def eof_received(self) -> None:
            events.append("eof of the second")

        def connection_lost(self, exc: BaseException | None) -> None:
            events.append("lost by the second")

    near, far = socket.socketpair()
    with far:
        await loop.create_connection(Switching, sock=near)
        far.send(b"x")
        far.close()
        await wait_until(lambda: len(events) == 3)
    assert events == ["data", "eof of the second", "lost by the second"]


@pytest.mark.parametrize("method", ["close", "abort"])
async def test_connection_lost_stands_where_the_transport_was_closed(
    loop: Any, method: str
) -> None:
    order: list[str] = []

    class Ending(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            order.append("lost")
            super().connection_lost(exc)

    near, far = socket.socketpair()
    with far:
        transport, protocol = await loop.create_connection(Ending, sock=near)
        await asyncio.sleep(0.001)
        loop.call_soon(order.append, "before")
        getattr(transport, method)()
        loop.call_soon(order.append, "after")
        await protocol.lost
    assert order[:3] == ["before", "lost", "after"]


async def test_connections_end_in_the_order_in_which_they_were_closed(loop: Any) -> None:
    order: list[int] = []

    class Ending(Recorder):
        number = 0

        def connection_lost(self, exc: BaseException | None) -> None:
            order.append(self.number)
            super().connection_lost(exc)

    pairs = [socket.socketpair() for _ in range(6)]
    opened = [await loop.create_connection(Ending, sock=near) for near, _ in pairs]
    await asyncio.sleep(0.001)
    for number, (transport, protocol) in enumerate(opened):
        protocol.number = number
        transport.close()
    await asyncio.gather(*(protocol.lost for _, protocol in opened))
    for _, far in pairs:
        far.close()
    assert order == [0, 1, 2, 3, 4, 5]
