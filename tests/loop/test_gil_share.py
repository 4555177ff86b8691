"""Other threads get the GIL beside a loop that is never idle, as beside any busy thread of Python.

Each time that a thread gives the GIL up for a moment only, the patience of those who wait for it
begins anew: a loop whose waits all end at once could keep them out for ever. So it was on epoll
with 30 connections, and with call_soon of what is in C; the other cases guard what was well.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from programs import check_script
from support import RLOOP_IDS, loops_only

pytestmark = loops_only(*RLOOP_IDS)

STEPS = 40  # each asks for the GIL anew


def seconds_of_steps() -> float:
    began = time.monotonic()
    for _ in range(STEPS):
        time.sleep(0.001)
    return time.monotonic() - began


def seconds_beside_python() -> float:
    """How long the steps of a thread take beside another one that computes."""
    taken: list[float] = []
    thread = threading.Thread(target=lambda: taken.append(seconds_of_steps()))
    thread.start()
    while thread.is_alive():
        for _ in range(1000):
            pass
    return taken[0]


async def check_share(loop: Any, end: Callable[[], None]) -> None:
    """The steps take about as long beside the loop; the machine's other load comes and goes."""
    before = seconds_beside_python()
    beside_loop = await loop.run_in_executor(None, seconds_of_steps)
    end()
    assert beside_loop < 8 * max(before, seconds_beside_python())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize("count", [5, 30])
async def test_beside_connections_that_never_rest(loop: Any, count: int) -> None:
    over = False

    def end() -> None:
        nonlocal over
        over = True

    async def ask(address: Any) -> None:
        reader, writer = await asyncio.open_connection(*address)
        while not over:
            writer.write(b"a message")
            await reader.readexactly(9)
        writer.close()
        await reader.read()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    clients = [asyncio.create_task(ask(server.sockets[0].getsockname())) for _ in range(count)]
    await check_share(loop, end)
    await asyncio.gather(*clients)
    server.close()


async def test_beside_a_chain_of_callbacks(loop: Any) -> None:
    next_one: asyncio.Handle

    def link() -> None:
        nonlocal next_one
        next_one = loop.call_soon(link)

    link()
    await check_share(loop, lambda: next_one.cancel())


# In a process of its own: who fails here keeps the GIL.
OF_CALLBACKS_IN_C = """
    import functools, os, sys, threading, time
    from support import new_loop

    loop = new_loop(sys.argv[1])

    def steps():
        for _ in range(10):
            time.sleep(0.001)
        loop.call_soon_threadsafe(loop.stop)

    threading.Thread(target=steps).start()
    {begin}
    loop.run_forever()
    loop.close()
    print("over")
"""


@pytest.mark.parametrize(
    "begin",
    [
        "again = functools.partial(loop.call_soon)\n"
        "    again.__setstate__((loop.call_soon, (again,), {}, {}))\n"
        "    again()",
        "loop.add_writer(os.eventfd(0), int)",
    ],
    ids=["call_soon", "add_writer"],
)
def test_beside_callbacks_that_are_all_in_c(loop_id: str, begin: str) -> None:
    assert check_script(OF_CALLBACKS_IN_C.format(begin=begin), loop_id) == "over\n"


@pytest.mark.parametrize("kind", ["Exception", "KeyboardInterrupt"])
def test_a_signal_by_who_got_the_gil_raises_out_of_the_loop(loop_id: str, kind: str) -> None:
    source = f"""
        import functools, signal, sys, threading, time
        from support import new_loop

        loop = new_loop(sys.argv[1])
        class Raised({kind}):
            pass
        def handle(*_):
            raise Raised
        signal.signal(signal.SIGUSR1, handle)
        again = functools.partial(loop.call_soon)
        again.__setstate__((loop.call_soon, (again,), {{}}, {{}}))
        again()
        main, count = threading.get_ident(), 0
        def send():
            time.sleep(0.002)
            signal.pthread_kill(main, signal.SIGUSR1)
        for _ in range(20):
            try:
                thread = threading.Thread(target=send)
                thread.start()
                loop.run_forever()
            except Raised:
                count += 1
            thread.join()
        loop.close()
        print(count)
    """
    assert check_script(source, loop_id) == "20\n"


async def test_a_watched_descriptor_is_told_once_a_turn(loop: Any) -> None:
    """As anyio waits: a second call of set_result would fail, which `noise` hears of."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    near, far = socket.socketpair()
    far.send(b"x")  # never read
    next_one: asyncio.Handle

    def link() -> None:
        nonlocal next_one
        next_one = loop.call_soon(link)

    link()  # no turn sleeps
    for _ in range(5000):
        readable = loop.create_future()
        loop.add_reader(near, readable.set_result, None)
        readable.add_done_callback(lambda _: loop.remove_reader(near))
        await readable
    next_one.cancel()
    over.set()
    thread.join()
    near.close()
    far.close()
