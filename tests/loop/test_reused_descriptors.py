"""A descriptor's number that becomes another file's: what came for the one is not told the other.

A handle that was ready may close a watched descriptor and watch a new one of the same number, after
the engine has seen that the first one was ready.
"""

import asyncio
import os
import socket
import time

import pytest
from support import differs, fill_send_buffer, turns


async def until_a_watched_one_is_all_that_wakes(loop: asyncio.AbstractEventLoop) -> None:
    """For so long that an engine which has a way for that takes it."""
    near, far = socket.socketpair()
    with near, far:
        enough = loop.create_future()
        left = 40

        def again() -> None:
            nonlocal left
            near.recv(1)
            left -= 1
            if left > 0:
                far.send(b"x")
            elif not enough.done():
                enough.set_result(None)

        loop.add_reader(near, again)
        far.send(b"x")
        await enough
        loop.remove_reader(near)


def until_the_engine_looks() -> None:
    """While callbacks are ready it may do without for a while (20 us; src/README.md)."""
    time.sleep(0.001)


@differs("uvloop", "it takes the number for the file")
@pytest.mark.parametrize("engine_is_used_to_it", [False, True])
async def test_a_reader_is_not_told_what_came_for_a_closed_descriptor_with_its_number(
    loop: asyncio.AbstractEventLoop, engine_is_used_to_it: bool
) -> None:
    """A handle of the same turn closes the one and watches the other."""
    if engine_is_used_to_it:
        await until_a_watched_one_is_all_that_wakes(loop)
    before, peer = socket.socketpair()
    fresh, fresh_peer = socket.socketpair()
    number = before.fileno()
    told: list[str] = []
    loop.add_reader(number, told.append, "before")
    await turns(2)

    def exchange() -> None:
        loop.remove_reader(number)
        os.dup2(fresh.fileno(), number)
        loop.add_reader(number, told.append, "fresh")

    def make_ready() -> None:
        peer.send(b"x")
        until_the_engine_looks()
        loop.call_soon(exchange)

    with before, peer, fresh, fresh_peer:
        loop.call_soon(make_ready)
        await turns(5)
        loop.remove_reader(number)
    assert told == []


@pytest.mark.parametrize("engine_is_used_to_it", [False, True])
async def test_sock_connect_is_not_told_what_came_for_a_closed_socket_with_its_number(
    loop: asyncio.AbstractEventLoop, engine_is_used_to_it: bool
) -> None:
    """Who gives a socket up and connects another in its place is not connected by that."""
    if engine_is_used_to_it:
        await until_a_watched_one_is_all_that_wakes(loop)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        near, peer = socket.socketpair()
        near.setblocking(False)
        fill_send_buffer(near)
        ends: list[str] = []

        async def use() -> None:
            try:
                await loop.sock_sendall(near, b"more")
            except asyncio.CancelledError:
                number = near.fileno()
                near.close()
                with socket.socket() as other:
                    assert other.fileno() == number
                    other.setblocking(False)
                    try:
                        connecting = loop.sock_connect(other, full.getsockname())
                        await asyncio.wait_for(connecting, 0.2)
                        ends.append("connected")
                    except TimeoutError:
                        ends.append("timeout")

        using = asyncio.ensure_future(use())
        await turns(3)

        def give_up() -> None:
            using.cancel()
            peer.close()
            until_the_engine_looks()

        loop.call_soon(give_up)
        await asyncio.wait([using])
        for one in waiting:
            one.close()
        assert ends == ["timeout"]
