"""What a program's own code may do in the middle of a turn.

A replaced time(), select(), call_soon(), a turn that the program drives: there native code is half
done. What is written there leaves, what fails there leaves the loop as it was, and nobody can close
it, or take its engine to another thread, in the meantime.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import socket
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from support import RLOOP_IDS, finish, loops_only, run_briefly, wait_until, within_deadline
from test_overrides import Made, make  # noqa: F401 - a fixture

pytestmark = loops_only("asyncio", *RLOOP_IDS)

#: More than write at once in a turn, fewer than are handed to the ring as a group.
CONNECTIONS = 12


class Accepted(asyncio.Protocol):
    transports: list[Any]

    def connection_made(self, transport: Any) -> None:
        self.transports.append(transport)


# -- writing ------------------------------------------------------------------------------------


def write_in_the_wait(loop: Any, writing: list[Callable[[], None]]) -> None:
    """The wait calls what is in `writing`; what that sends must come before the next timer."""
    kind = type("Kind", (Accepted,), {"transports": []})

    async def connect() -> tuple[Any, list[socket.socket]]:
        server = await loop.create_server(kind, "127.0.0.1", 0, backlog=CONNECTIONS)
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(CONNECTIONS)]
        await wait_until(lambda: len(kind.transports) == CONNECTIONS)
        return server, clients

    server, clients = loop.run_until_complete(connect())
    far_timer = loop.call_later(20, loop.stop)

    def write() -> None:
        writing.clear()
        for transport in kind.transports:
            transport.write(b"x")

    received: list[bytes] = []

    def read() -> None:
        for client in clients:
            client.settimeout(10)
            received.append(client.recv(1))
        loop.call_soon_threadsafe(loop.stop)

    reader = threading.Thread(target=read)
    loop.call_later(0.01, lambda: (reader.start(), writing.append(write)))
    loop.run_forever()
    reader.join()
    assert not writing
    assert received == [b"x"] * CONNECTIONS
    far_timer.cancel()
    server.close()
    for client in clients:
        client.close()
    for transport in kind.transports:
        transport.close()


def test_what_a_replaced_select_writes_is_sent_before_it_waits(loop: Any) -> None:
    writing: list[Callable[[], None]] = []
    original = loop._selector.select

    def select(timeout: float | None = None) -> Any:
        for write in tuple(writing):
            write()
        return original(timeout)

    with mock.patch.object(loop._selector, "select", select):
        write_in_the_wait(loop, writing)


def test_what_a_replaced_clock_writes_is_sent_before_the_wait(make: Made, loop_id: str) -> None:  # noqa: F811
    writing: list[Callable[[], None]] = []

    def time(self: Any) -> float:
        for write in tuple(writing):
            write()
        return super(type(self), self).time()  # type: ignore[misc, no-any-return]

    write_in_the_wait(make(time=time), writing)


# -- waiting ------------------------------------------------------------------------------------


@loops_only(*RLOOP_IDS)
def test_select_waits_neither_in_a_callback_nor_in_another_thread(loop: Any) -> None:
    original, refused = loop._selector.select, []

    def try_it() -> None:
        with pytest.raises(RuntimeError, match="within a turn") as refusal:
            original(0)
        refused.append(refusal.value)

    def in_another_thread() -> None:
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()

    def select(timeout: float | None = None) -> Any:
        if not refused:
            in_another_thread()
        return original(timeout)

    waiting = threading.Thread(target=lambda: (try_it(), loop.call_soon_threadsafe(loop.stop)))
    with mock.patch.object(loop._selector, "select", select):
        loop.call_soon(try_it)
        loop.call_later(0.01, waiting.start)
        loop.run_forever()
        waiting.join()
    assert len(refused) == 3
    run_briefly(loop)


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("place", ["select", "time"])
def test_a_fork_in_the_wait_is_refused_in_words(make: Made, place: str) -> None:  # noqa: F811
    children: list[int] = []

    def fork(loop: Any) -> None:
        if loop.is_running() and not children:
            children.append(os.fork())

    def time(self: Any) -> float:
        if place == "time":
            fork(self)
        return super(type(self), self).time()  # type: ignore[misc, no-any-return]

    loop = make(time=time)
    original = loop._selector.select
    if place == "select":
        loop._selector.select = lambda timeout: (fork(loop), original(timeout))[1]
    loop.call_later(0.01, loop.stop)
    status = 1
    try:
        loop.run_forever()
    except RuntimeError as refusal:
        status = 0 if "belongs to the parent" in str(refusal) else 2
    finally:
        if children == [0]:
            os._exit(status)
    assert os.waitpid(children[0], 0)[1] == 0


# -- closing ------------------------------------------------------------------------------------


@loops_only(*RLOOP_IDS)
def test_a_turn_of_the_programs_own_cannot_close_the_loop(loop: Any) -> None:
    ran: list[Any] = []

    def close() -> None:
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        ran.append(close)

    loop.call_soon(close)
    loop.call_soon(ran.append, "next")
    loop._run_once()
    assert ran == [close, "next"]
    loop.close()


# -- handles ------------------------------------------------------------------------------------


def test_a_callback_that_is_replaced_while_it_runs_lives_until_its_end(loop: Any) -> None:
    alive: list[str] = []

    class Argument:
        def __del__(self) -> None:
            alive.append("died")

    def callback(argument: Argument) -> None:
        del argument
        # As a tracer inside a tracer.
        handle._callback = len
        handle._callback = callback
        alive.append("ran")

    for _ in range(2):
        handle = loop.call_soon(functools.partial(callback, Argument()))
        run_briefly(loop)
        assert alive == ["ran", "died"]
        alive.clear()
        # By hand once more, with what has been put there.
        handle._callback = functools.partial(callback, Argument())
        handle._run()
        assert alive == ["ran", "died"]
        alive.clear()


@loops_only(*RLOOP_IDS)
def test_finalizers_may_schedule_while_the_queues_are_looked_at(loop: Any) -> None:
    class Schedules:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            for _ in range(100):
                loop.call_soon(int)
                loop.call_later(1000, int)

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(100):
            Schedules()
            assert None not in loop._ready
            assert None not in loop._scheduled
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()  # before the loop is closed


# -- starting a transport -----------------------------------------------------------------------


@loops_only(*RLOOP_IDS)
def test_a_connection_that_cannot_be_scheduled_touches_no_other(make: Made) -> None:  # noqa: F811
    """Its connection_made is scheduled, the rest fails, and its socket is gone when that comes."""

    def call_soon(self: Any, callback: Any, *args: Any, context: Any = None) -> Any:
        if getattr(callback, "__name__", None) == "_start_reading":
            raise ZeroDivisionError
        return super(type(self), self).call_soon(callback, *args, context=context)  # type: ignore[misc]

    loop = make(call_soon=call_soon)
    pairs: list[tuple[socket.socket, socket.socket]] = []

    class Writes(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            pairs.append(socket.socketpair())  # with the number that has become free
            assert transport.is_closing()
            transport.write(b"for the client alone")

    async def main() -> None:
        server = await loop.create_server(Writes, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            await wait_until(lambda: pairs)
            assert await loop.sock_recv(client, 100) == b""
        server.close()
        await server.wait_closed()

    loop.run_until_complete(within_deadline(main()))
    finish(loop)
    for near, far in pairs:
        for end in (near, far):
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(100)
        near.close()
        far.close()
