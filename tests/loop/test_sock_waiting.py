"""Several sock_* calls that wait for one socket.

One waits for each direction. asyncio does not document it: a later one takes the place of the
former, which then waits until it is cancelled.
"""

from __future__ import annotations

import asyncio

import pytest
from support import differs, fill_send_buffer, recv_exactly, tcp_pair, turns


@pytest.mark.parametrize("kind", ["recv", "recv_into"])
async def test_of_two_receives_of_one_socket_the_later_one_gets_the_data(
    loop: asyncio.AbstractEventLoop, kind: str
) -> None:
    near, far = tcp_pair()

    async def receive() -> bytes:
        if kind == "recv_into":
            buffer = bytearray(10)
            return bytes(buffer[: await loop.sock_recv_into(near, buffer)])
        return await loop.sock_recv(near, 10)

    earlier = asyncio.ensure_future(receive())
    await turns()
    later = asyncio.ensure_future(receive())
    await turns()
    far.send(b"1")
    assert await later == b"1"
    far.send(b"2")
    await turns()
    # As in asyncio its reader was replaced: it waits until it is cancelled, and takes no data.
    assert not earlier.done()
    assert await receive() == b"2"
    earlier.cancel()
    await asyncio.wait([earlier])
    waiting = asyncio.ensure_future(receive())
    await turns()
    far.send(b"3")
    assert await waiting == b"3"
    near.close()
    far.close()


@differs("uvloop", "it cancels the earlier one")
async def test_a_receive_that_was_replaced_and_cancelled_leaves_the_other_alone(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    earlier = asyncio.ensure_future(loop.sock_recv(near, 10))
    await turns()
    later = asyncio.ensure_future(loop.sock_recv(near, 10))
    await turns()
    earlier.cancel()
    await asyncio.wait([earlier])
    far.send(b"x")
    assert await later == b"x"
    near.close()
    far.close()


async def test_a_send_and_a_receive_of_one_socket_wait_side_by_side(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    filled = fill_send_buffer(near)
    receiving = asyncio.ensure_future(loop.sock_recv(near, 10))
    sending = asyncio.ensure_future(loop.sock_sendall(near, b"end"))
    await turns()
    far.send(b"x")
    assert await receiving == b"x"
    assert (await recv_exactly(far, filled + 3)).endswith(b"end")
    await sending
    near.close()
    far.close()
