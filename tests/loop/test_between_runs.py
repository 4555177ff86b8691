"""Transports and watched descriptors when the loop stops, runs for one turn, or does not run.

What was written is the kernel's when the run ends, so that whoever runs the loop for one turn at a
time, or closes it, or blocks in other work, keeps nobody waiting. Behaviour: the selector loop's.
"""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from support import Recorder, run_briefly, tcp_pair, until_closed

Connection = tuple[Any, Recorder, socket.socket]


@pytest.fixture
def connection(loop: asyncio.AbstractEventLoop) -> Iterator[Connection]:
    """A transport, its protocol and the other end; the loop does not run."""
    near, far = tcp_pair()

    async def connect() -> tuple[Any, Recorder]:
        return await loop.create_connection(Recorder, sock=near)

    transport, protocol = loop.run_until_complete(connect())
    run_briefly(loop)
    yield transport, protocol, far
    far.close()
    loop.run_until_complete(until_closed(transport))


def received_at_once(sock: socket.socket) -> bytes:
    """What the kernel has for this end now; BlockingIOError when that is nothing."""
    return sock.recv(1 << 16)


def test_what_the_last_turn_wrote_is_sent(
    loop: asyncio.AbstractEventLoop, connection: Connection
) -> None:
    transport, _, far = connection

    def write_and_stop() -> None:
        transport.write(b"written ")
        transport.writelines([b"in the ", b"last turn"])
        loop.stop()

    for _ in range(5):
        loop.call_soon(write_and_stop)
        loop.run_forever()
        assert received_at_once(far) == b"written in the last turn"


def test_what_the_last_step_of_run_until_complete_wrote_is_sent(
    loop: asyncio.AbstractEventLoop, connection: Connection
) -> None:
    transport, _, far = connection

    async def write() -> None:
        transport.write(b"x")

    for _ in range(5):
        loop.run_until_complete(write())
        assert received_at_once(far) == b"x"


def test_what_was_written_when_an_exit_left_the_loop_is_sent(
    loop: asyncio.AbstractEventLoop, connection: Connection
) -> None:
    transport, _, far = connection

    def write_and_exit() -> None:
        transport.write(b"x")
        raise KeyboardInterrupt

    loop.call_soon(write_and_exit)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert received_at_once(far) == b"x"


def test_what_is_written_between_two_runs_is_sent(
    loop: asyncio.AbstractEventLoop, connection: Connection
) -> None:
    transport, _, far = connection
    for _ in range(5):
        transport.write(b"x")
        assert received_at_once(far) == b"x"
        run_briefly(loop)
    transport.write(b"y")
    run_briefly(loop)
    assert received_at_once(far) == b"y"


def test_one_turn_sees_a_ready_descriptor(loop: asyncio.AbstractEventLoop) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    got: list[bytes] = []
    loop.add_reader(near, lambda: got.append(near.recv(10)))
    for number in range(50):
        far.send(b"%d" % number)
        run_briefly(loop)
        assert got == [b"%d" % number]
        got.clear()
    loop.remove_reader(near)
    near.close()
    far.close()


def test_one_turn_of_a_stopped_loop_sees_a_ready_descriptor(
    loop: asyncio.AbstractEventLoop,
) -> None:
    # stop() before the run: nothing is scheduled, and still the turn looks at the descriptors.
    near, far = socket.socketpair()
    near.setblocking(False)
    got: list[bytes] = []
    loop.add_reader(near, lambda: got.append(near.recv(10)))
    for number in range(50):
        far.send(b"%d" % number)
        loop.stop()
        loop.run_forever()
        assert got == [b"%d" % number]
        got.clear()
    loop.remove_reader(near)
    near.close()
    far.close()


def test_one_turn_delivers_data_that_is_there(
    loop: asyncio.AbstractEventLoop, connection: Connection
) -> None:
    _, protocol, far = connection
    for number in range(1, 51):
        far.send(b"x")
        loop.stop()
        loop.run_forever()
        assert len(protocol.data) == number
