"""A loop that is made in one thread and run in another, or run in several, one after the other.

asyncio allows it, so it must work: with connections open, and without losing a byte. A ring of
io_uring belongs to one thread and has to be made anew, which is what these tests are after.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from support import (
    Echo,
    Recorder,
    finish,
    new_loop,
    recv_exactly,
    run_briefly,
    tcp_pair,
    until_closed,
    wait_until,
    within_deadline,
)


def in_a_thread(work: Callable[[], Any]) -> Any:
    """The result of `work` in a new thread; what it raised is raised here."""
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = work()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def test_a_loop_may_be_made_here_and_run_there(loop: asyncio.AbstractEventLoop) -> None:
    assert in_a_thread(lambda: loop.run_until_complete(asyncio.sleep(0.001, "there"))) == "there"
    assert loop.run_until_complete(asyncio.sleep(0.001, "here")) == "here"


def test_a_loop_may_be_made_and_run_there_and_closed_here(loop_id: str) -> None:
    def make() -> asyncio.AbstractEventLoop:
        loop = new_loop(loop_id)
        run_briefly(loop)
        return loop

    loop = in_a_thread(make)
    assert loop.run_until_complete(asyncio.sleep(0.001, "here")) == "here"
    finish(loop)


def test_a_loop_that_ran_here_may_be_closed_there(loop_id: str) -> None:
    loop = new_loop(loop_id)
    near, far = tcp_pair()
    loop.add_reader(near, print)
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.remove_reader(near)
    in_a_thread(loop.close)
    near.close()
    far.close()
    assert loop.is_closed()


def test_timers_and_readers_move_with_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    seen: list[str] = []
    loop.add_reader(near, lambda: seen.append(near.recv(10).decode()))
    loop.call_later(0.02, seen.append, "timer")
    run_briefly(loop)
    far.send(b"data")
    in_a_thread(lambda: loop.run_until_complete(wait_until(lambda: len(seen) == 2)))
    assert sorted(seen) == ["data", "timer"]
    far.send(b"more")
    loop.run_until_complete(wait_until(lambda: len(seen) == 3))
    loop.remove_reader(near)
    near.close()
    far.close()


def test_connections_survive_a_change_of_thread(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=near))
    expected = bytearray()

    def talk(number: int) -> None:
        # Some of it is sent while the loop runs nowhere, some while it runs.
        async def inside() -> None:
            far.send(b"in %d;" % number)
            expected.extend(b"in %d;" % number)
            await protocol.wait_for_bytes(len(expected))
            transport.write(b"answer %d" % number)
            assert await recv_exactly(far, len(b"answer %d" % number)) == b"answer %d" % number

        loop.run_until_complete(within_deadline(inside()))

    for number in range(8):
        far.send(b"out %d;" % number)
        expected.extend(b"out %d;" % number)
        if number % 2:
            in_a_thread(lambda n=number: talk(n))
        else:
            talk(number)
        assert protocol.data == expected
    loop.run_until_complete(until_closed(transport))
    far.close()


def test_a_large_write_goes_on_in_another_thread(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    payload = os.urandom(16 << 20)
    received = bytearray()

    async def start() -> Any:
        transport, _ = await loop.create_connection(Recorder, sock=near)
        transport.write(payload)
        received.extend(await recv_exactly(far, 1000))
        return transport

    transport = loop.run_until_complete(start())
    received += in_a_thread(
        lambda: loop.run_until_complete(within_deadline(recv_exactly(far, 4 << 20)))
    )
    received += loop.run_until_complete(recv_exactly(far, len(payload) - len(received)))
    assert received == payload
    in_a_thread(lambda: loop.run_until_complete(until_closed(transport)))
    far.close()


def test_a_large_receive_goes_on_in_another_thread(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    payload = os.urandom(8 << 20)
    far.setblocking(True)
    transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=near))
    sender = threading.Thread(target=far.sendall, args=(payload,))
    sender.start()
    for part in range(1, 9):
        wait = protocol.wait_for_bytes(part << 20)
        in_a_thread(lambda wait=wait: loop.run_until_complete(within_deadline(wait)))
    sender.join()
    assert protocol.data == payload
    loop.run_until_complete(until_closed(transport))
    far.close()


def test_a_server_moves_with_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    server = loop.run_until_complete(loop.create_server(Echo, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()

    async def ask() -> bytes:
        transport, protocol = await loop.create_connection(Recorder, *address)
        transport.write(b"hello")
        answer = await protocol.wait_for_bytes(5)
        transport.close()
        await protocol.lost
        return answer

    for _ in range(3):
        assert in_a_thread(lambda: loop.run_until_complete(within_deadline(ask()))) == b"hello"
        assert loop.run_until_complete(within_deadline(ask())) == b"hello"
    server.close()
    run_briefly(loop)


def test_a_paused_transport_stays_paused_in_another_thread(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=near))
    transport.pause_reading()
    far.send(b"held back")
    in_a_thread(lambda: loop.run_until_complete(asyncio.sleep(0.01)))
    assert protocol.data == b""
    transport.resume_reading()
    loop.run_until_complete(within_deadline(protocol.wait_for_bytes(9)))
    in_a_thread(lambda: loop.run_until_complete(until_closed(transport)))
    far.close()


def test_writing_while_no_thread_runs_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    transport, _ = loop.run_until_complete(loop.create_connection(Recorder, sock=near))
    transport.write(b"between ")
    transport.write(b"runs")
    received = in_a_thread(lambda: loop.run_until_complete(recv_exactly(far, 12)))
    assert received == b"between runs"
    transport.close()
    loop.run_until_complete(wait_until(lambda: near.fileno() == -1))
    far.close()


def test_threadsafe_calls_reach_a_loop_that_moved(loop: asyncio.AbstractEventLoop) -> None:
    run_briefly(loop)
    for _ in range(3):
        caller = threading.Timer(0.02, loop.call_soon_threadsafe, (loop.stop,))
        caller.start()
        in_a_thread(loop.run_forever)
        caller.join()


def test_two_hundred_threads_run_it_in_turn(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=near))
    for number in range(1, 201):
        far.send(b"x")
        in_a_thread(lambda n=number: loop.run_until_complete(protocol.wait_for_bytes(n)))
    assert protocol.data == b"x" * 200
    loop.run_until_complete(until_closed(transport))
    far.close()
