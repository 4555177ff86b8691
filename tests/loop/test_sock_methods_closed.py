"""sock_recv and the others with sockets that their user closes: before the call, and during it.

The socket belongs to the user, so its end is seen by the peer at once, whoever still waits here.
asyncio promises no answer to the one who waits; he is cancelled. Behaviour: the selector loop's.
"""

import asyncio
import errno
import socket

import pytest
from support import differs, listening_socket, recv_all, tcp_pair, turns

ARGUMENTS = {"sock_recv": (10,), "sock_recv_into": (bytearray(4),)}


async def test_sending_with_a_closed_socket_is_a_bad_descriptor(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    near.close()
    with far, pytest.raises(OSError) as raised:
        await loop.sock_sendall(near, b"x")
    assert raised.value.errno == errno.EBADF


@pytest.mark.parametrize("method", ARGUMENTS)
@differs("uvloop", "it says ValueError: Invalid file descriptor: -1")
async def test_receiving_with_a_closed_socket_is_a_bad_descriptor(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    near, far = tcp_pair()
    near.close()
    with far, pytest.raises(OSError) as raised:
        await getattr(loop, method)(near, *ARGUMENTS[method])
    assert raised.value.errno == errno.EBADF
    assert str(raised.value) == "[Errno 9] Bad file descriptor"


@differs("uvloop", "it says ValueError: Invalid file descriptor: -1")
async def test_a_closed_listener_is_a_bad_descriptor(loop: asyncio.AbstractEventLoop) -> None:
    listener = listening_socket()
    listener.close()
    with pytest.raises(OSError) as raised:
        await loop.sock_accept(listener)
    assert raised.value.errno == errno.EBADF


@pytest.mark.parametrize("method", ARGUMENTS)
@differs("uvloop", "the socket stays open until nobody waits for it")
async def test_closing_a_socket_ends_the_stream_though_somebody_waits(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    near, far = tcp_pair()
    waiting = loop.create_task(getattr(loop, method)(near, *ARGUMENTS[method]))
    await turns()
    near.close()
    with far:
        assert await recv_all(far) == b""
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@differs("uvloop", "the socket stays open until nobody waits for it")
async def test_a_closed_listener_refuses_though_somebody_waits(
    loop: asyncio.AbstractEventLoop,
) -> None:
    listener = listening_socket()
    address = listener.getsockname()
    waiting = loop.create_task(loop.sock_accept(listener))
    await turns()
    listener.close()
    await turns()
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(address)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_descriptor_used_again_has_no_old_waiter(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    number = near.fileno()
    waiting = loop.create_task(loop.sock_recv(near, 10))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    near.close()
    far.close()
    near, far = tcp_pair()
    with near, far:
        assert number in (near.fileno(), far.fileno()), "the lowest free number is taken"
        receiving = loop.create_task(loop.sock_recv(near, 10))
        await turns()
        far.send(b"for the new one")
        assert await receiving == b"for the ne"
