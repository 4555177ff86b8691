"""In which order one turn runs what is ready, what came from the kernel, and what is due.

The order is that of asyncio's _run_once: handles that were ready before the turn looked at the
kernel, then I/O, then timers; what any of these schedules belongs to the next turn.
"""

import asyncio
import functools
import os
import socket
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from slowness import burn
from support import (
    RLOOP_IDS,
    Echo,
    Recorder,
    loops_only,
    reset,
    run_briefly,
    serving,
    turns,
    until_closed,
    wait_until,
)

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


# -- when a turn looks --------------------------------------------------------------------------


class Connections:
    """Transports that call a function each for what comes, and the sockets at their other ends."""

    def __init__(self, loop: Any, *callbacks: Callable[[], None]) -> None:
        self.loop = loop
        self.far: list[socket.socket] = []
        self.transports = [loop.run_until_complete(self.connect(call)) for call in callbacks]
        loop.run_until_complete(turns(3))

    async def connect(self, callback: Callable[[], None]) -> Any:
        class Calling(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                callback()

        near, far = socket.socketpair()
        self.far.append(far)
        return (await self.loop.create_connection(Calling, sock=near))[0]

    def send(self, *numbers: int) -> None:
        for number in numbers:
            self.far[number].send(b"x")

    def close(self) -> None:
        self.loop.run_until_complete(until_closed(*self.transports))
        for sock in self.far:
            sock.close()


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("count", [1, 3])
def test_what_much_made_ready_is_run_before_the_next_look(loop: Any, count: int) -> None:
    """So connections whose data came together go on together, and no I/O waits for two steps."""
    happened: list[str] = []

    def first() -> None:
        happened.append("first")
        if happened == ["first"] * count:
            burn(0.001)  # longer than an engine without a flag waits between two looks
            connections.send(count)  # has come when the next turn begins
            loop.call_soon(step, 1)

    def step(number: int) -> None:
        happened.append(f"step {number}")
        burn(0.001)
        if number < 3:
            loop.call_soon(step, number + 1)
        else:
            loop.stop()

    connections = Connections(loop, *[first] * count, lambda: happened.append("other"))
    connections.send(*range(count))
    loop.run_forever()
    steps = ["step 1", "step 2", "step 3"]
    steps.insert(2 if count == 3 else 1, "other")  # 1: asyncio's order
    assert happened == ["first"] * count + steps
    connections.close()


def test_no_timer_overtakes_data_that_came_before_it_was_due(loop: Any) -> None:
    """It may be the timeout of just these data."""
    fired: list[bool] = []
    came = 0

    def one_of_many() -> None:
        nonlocal came
        came += 1
        if came == 3:
            connections.send(3)
            loop.call_soon(str)
            burn(timeout.when() - loop.time() + 0.001)

    def answer() -> None:
        timeout.cancel()
        loop.stop()

    connections = Connections(loop, *[one_of_many] * 3, answer)
    timeout = loop.call_later(0.3, fired.append, True)  # not before the first turn
    connections.send(0, 1, 2)
    loop.run_forever()
    assert came == 3
    assert not fired
    connections.close()


@pytest.mark.parametrize("count", [30, 300])
def test_no_timer_overtakes_what_one_look_does_not_bring(loop: Any, count: int) -> None:
    """Heartbeats: after a stall all answers are there, and all timeouts are due."""
    fired: list[int] = []
    left = count

    def answer(number: int) -> None:
        nonlocal left
        timeouts[number].cancel()
        left -= 1
        if left == 0:
            loop.stop()

    connections = Connections(loop, *(functools.partial(answer, n) for n in range(count)))
    timeouts = [loop.call_later(0.02, fired.append, number) for number in range(count)]
    connections.send(*range(count))
    loop.call_soon(burn, 0.03)
    loop.run_forever()
    assert not fired
    connections.close()


async def test_timers_fire_beside_data_that_never_ends(loop: Any) -> None:
    count = 60
    async with serving(Echo, backlog=count) as (_, address):
        fired = loop.create_future()

        class Asking(Echo):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                transport.write(b"x")

        opened = [await loop.create_connection(Asking, *address) for _ in range(count)]
        loop.call_later(0.05, fired.set_result, None)
        await fired
        await until_closed(*(transport for transport, _ in opened))


def test_the_first_turn_of_a_run_looks(loop: Any) -> None:
    happened: list[str] = []

    def first() -> None:
        happened.append("first")
        if len(happened) == 3:
            connections.send(3)
            loop.stop()

    connections = Connections(loop, *[first] * 3, lambda: happened.append("other"))
    connections.send(0, 1, 2)
    loop.run_forever()
    run_briefly(loop)
    assert happened == ["first", "first", "first", "other"]
    connections.close()


@loops_only(*RLOOP_IDS)
def test_who_replaced_select_gets_a_look_when_they_ask(loop: Any) -> None:
    happened: list[str] = []
    original = loop._selector.select

    def select(timeout: float | None = None) -> Any:
        events = original(timeout)
        if sends and events:
            connections.send(sends.pop())
            loop.call_soon(happened.append, "scheduled")
            loop.call_soon(loop.stop)
            burn(0.001)
            original(0)
        return events

    sends: list[int] = []
    connections = Connections(loop, *[lambda: happened.append("data")] * 4)
    connections.send(0, 1, 2)
    sends.append(3)
    with mock.patch.object(loop._selector, "select", select):
        loop.run_forever()
    assert happened.count("data") == 4
    connections.close()
