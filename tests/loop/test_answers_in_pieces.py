"""A connection that writes its answers in pieces, over TCP: nobody can tell but by their number.

A head and a body in each of two turns make a habit. From then on the kernel is told that more
follows the head; it has the bytes all the same, whatever the program does next.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from programs import run_script
from support import (
    DEADLINE,
    RLOOP_IDS,
    Recorder,
    connected,
    loops_only,
    tcp_pair,
    turns,
    until_closed,
)


@asynccontextmanager
async def used_to_it() -> AsyncIterator[tuple[Any, socket.socket]]:
    """A transport that has written two pieces in each of two turns, and the other end."""
    near, far = tcp_pair()
    with far:
        far.settimeout(DEADLINE)
        transport, _ = await asyncio.get_running_loop().create_connection(Recorder, sock=near)
        del near  # else the program could write to it by itself
        for _ in range(2):
            await turns(2)
            transport.write(b"head ")
            transport.write(b"body ")
            await turns(2)
            assert received(far, 10) == b"head body "
        yield transport, far
        transport.abort()
        await until_closed(transport)


def received(far: socket.socket, count: int) -> bytes:
    """So many bytes, without any turn of the loop."""
    return far.recv(count, socket.MSG_WAITALL)


async def test_the_kernel_has_a_piece_however_long_its_handler_blocks(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with used_to_it() as (transport, far):
        transport.write(b"head")
        assert received(far, 4) == b"head"
        transport.write(b"body")
        assert received(far, 4) == b"body"


async def test_pieces_arrive_in_order_whatever_their_number(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with used_to_it() as (transport, far):
        for pieces in (
            [b"h", b"b"],
            [b"h", b"b", b"t"],
            [b"h"],
            [b"h", b"b" * 50_000],
            [b"h", b"b"],
        ):
            for piece in pieces:
                transport.write(piece)
            await turns(2)
            whole = b"".join(pieces)
            assert received(far, len(whole)) == whole


WAYS: dict[str, Callable[[Any], object]] = {
    "drain": lambda transport: transport.is_closing(),
    "size": lambda transport: transport.get_write_buffer_size(),
    "socket": lambda transport: transport.get_extra_info("socket"),
    "large": lambda transport: transport.write(b"x" * 20_000),
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort(),
    "eof": lambda transport: transport.write_eof(),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_piece_leaves_whatever_comes_instead_of_the_rest(
    loop: asyncio.AbstractEventLoop, way: str
) -> None:
    async with used_to_it() as (transport, far):
        transport.write(b"head")
        WAYS[way](transport)
        await turns(2)
        assert received(far, 4) == b"head"


async def test_another_writer_of_the_socket_comes_after_the_piece(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with used_to_it() as (transport, far):
        transport.write(b"head ")
        copy = transport.get_extra_info("socket").dup()
        copy.send(b"body")
        copy.close()
        assert received(far, 9) == b"head body"


@pytest.mark.parametrize("way", ["_exit", "kill", "exec", "exit", "raise", "stop"])
def test_the_last_piece_of_a_process_arrives(loop_id: str, way: str) -> None:
    source = """
    import asyncio, os, signal, socket, sys
    from support import *
    loop_id, way, number = sys.argv[1:]

    async def main():
        _, writer = await asyncio.open_connection(sock=socket.socket(fileno=int(number)))
        for _ in range(3):
            writer.write(b"head ")
            writer.write(b"body ")
            await turns(2)
        writer.write(b"last")
        if loop_id == "uvloop":
            await turns(2)  # its sends wait for the end of the turn
        if way == "_exit":
            os._exit(0)
        if way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "exec":
            os.execv("/bin/true", ["true"])
        if way == "exit":
            sys.exit(0)
        if way == "raise":
            raise KeyboardInterrupt
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)

    loop = new_loop(loop_id)
    try:
        loop.run_until_complete(main())
    finally:
        os._exit(0)
    """
    near, far = tcp_pair()
    with near, far:
        copy = os.dup(near.fileno())
        near.close()
        run_script(source, loop_id, way, str(copy), pass_fds=(copy,))
        os.close(copy)
        far.settimeout(DEADLINE)
        assert received(far, 34) == b"head body " * 3 + b"last"


@loops_only(*RLOOP_IDS)
async def test_most_answers_in_pieces_are_one_message(loop: Any) -> None:
    """Unless the machine is so busy that there is a millisecond between a head and its body."""
    rounds = 200
    async with connected() as (client, server_side):
        for count in range(1, rounds + 1):
            server_side.transport.write(b"head ")
            server_side.transport.write(b"body ")
            await client.wait_for_bytes(10 * count)
        assert bytes(client.data) == b"head body " * rounds
        statistics = client.transport.get_extra_info("statistics")
        assert statistics["messages_in"] < 1.5 * rounds
