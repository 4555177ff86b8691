"""Out of descriptors while accepting: reported, waited for about a second, then served. And before.

The wait keeps a full process from spinning: the listener stays readable as long as nobody accepts.
"""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import threading
from collections.abc import Iterator

import pytest
from support import (
    RLOOP_IDS,
    Echo,
    Noise,
    differs,
    first_waits,
    loops_only,
    open_descriptors,
    recv_exactly,
    serving,
    turns,
    wait_until,
    within_deadline,
)


@contextlib.contextmanager
def few_descriptors(spare: int = 20) -> Iterator[None]:
    """The limit of open files is `spare` above the highest descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_descriptors()) + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[list[int]]:
    """Every descriptor that the limit allows is taken; these."""
    taken = [os.open("/dev/null", os.O_RDONLY)]
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(taken[0]))
        yield taken
    finally:
        for descriptor in taken:
            os.close(descriptor)


async def accept_without_descriptors(loop: asyncio.AbstractEventLoop, noise: Noise) -> int:
    """How often the exception handler was called within a third of a second."""
    with few_descriptors():
        async with serving(Echo) as (_, address):
            clients = [socket.socket() for _ in range(3)]
            for client in clients:
                client.setblocking(False)
            with no_descriptor_left():
                for client in clients:
                    client.connect_ex(address)
                await wait_until(lambda: noise.contexts)
                reported = loop.create_future()
                loop.call_later(0.3, reported.set_result, None)
                await reported
                contexts = noise.take()
            for client in clients:
                await loop.sock_sendall(client, b"at last")
            for client in clients:
                assert await recv_exactly(client, 7) == b"at last"
                client.close()
            await turns(5)
    noise.take()
    for context in contexts:
        assert context["message"] == "socket.accept() out of system resource"
        assert isinstance(context["exception"], OSError)
        assert context["exception"].errno == errno.EMFILE
        assert set(context) == {"message", "exception", "socket"}
    return len(contexts)


@differs("uvloop", "libuv closes the client that does not fit, and says nothing")
@differs("asyncio", "each failed accept starts serving again a second later, the closed server too")
async def test_running_out_of_descriptors_is_survived(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    assert await accept_without_descriptors(loop, noise) >= 1


@loops_only(*RLOOP_IDS)
async def test_it_is_reported_once_per_second(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    # asyncio reports it up to `backlog` times in a row.
    assert await accept_without_descriptors(loop, noise) == 1


def test_a_run_that_begins_by_taking_every_descriptor_goes_on(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """The ring is made later than the loop, and finds its place."""

    async def main() -> None:
        with few_descriptors(), no_descriptor_left():
            with pytest.raises(OSError) as refused:
                await loop.create_connection(asyncio.Protocol, "127.0.0.1", 1)
            assert refused.value.errno == errno.EMFILE
            await first_waits()
            told = loop.create_future()
            threading.Thread(target=loop.call_soon_threadsafe, args=(told.set_result, None)).start()
            await told

    loop.run_until_complete(within_deadline(main()))


async def test_a_limit_that_was_raised_while_serving_counts(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients: list[socket.socket] = []
    try:
        with few_descriptors(spare=30):
            async with serving(Echo) as (_, address):
                await turns(3)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for _ in range(40):
                    clients.append(socket.create_connection(address))
                    clients[-1].setblocking(False)
                    await loop.sock_sendall(clients[-1], b"hello")
                for client in clients:
                    assert await recv_exactly(client, 5) == b"hello"
                assert noise.take() == []
                for client in clients:
                    client.close()
                await turns(5)
    finally:
        for client in clients:
            client.close()


@differs("uvloop", "libuv closes the client that does not fit, and says nothing")
@differs("asyncio", "each failed accept starts serving again a second later, the closed server too")
async def test_a_limit_that_was_lowered_while_serving_counts(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    made: list[Echo] = []

    def factory() -> Echo:
        made.append(Echo())
        return made[-1]

    clients = [socket.socket() for _ in range(20)]
    async with serving(factory) as (_, address):
        await turns(3)
        with few_descriptors():
            with no_descriptor_left() as taken:
                for _ in range(5):
                    os.close(taken.pop())
                for client in clients:
                    client.setblocking(False)
                    client.connect_ex(address)
                await wait_until(lambda: noise.contexts)
                assert len(made) == 5
        for client in clients:
            client.close()
        await turns(5)
    noise.take()
