"""What sendto() meets: errors, which error_received hears of within the call, as with asyncio."""

import asyncio
import contextlib
import errno
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support import RLOOP_IDS, Datagrams, Noise, differs, loops_only, turns, wait_until

TOO_LONG = b"x" * 70_000
pytestmark = differs("uvloop", "it raises errors of a datagram out of sendto")


class Reacting(Datagrams):
    """Does something in error_received or connection_lost."""

    def __init__(self, react: Any = None, last_words: Any = None) -> None:
        super().__init__()
        self.react = react
        self.last_words = last_words

    def error_received(self, exc: Exception) -> None:
        super().error_received(exc)
        if self.react:
            self.react(exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.last_words:
            self.last_words()
        super().connection_lost(exc)


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


async def endpoint(
    loop: asyncio.AbstractEventLoop, far: socket.socket, connected: str, **given: Any
) -> Reacting:
    """Connected to `far`, by asyncio or by the program, or to nobody."""
    protocol = Reacting(**given)
    if connected == "by the program":
        near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        near.connect(far.getsockname())
        await loop.create_datagram_endpoint(lambda: protocol, sock=near)
    elif connected == "by asyncio":
        await loop.create_datagram_endpoint(lambda: protocol, remote_addr=far.getsockname())
    else:
        await loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0))
    return protocol


def to(far: socket.socket, connected: str) -> tuple[Any, ...]:
    return (far.getsockname(),) if connected == "to nobody" else ()


def raise_value_error(_: object) -> None:
    raise ValueError("told")


CONNECTED = pytest.mark.parametrize("connected", ["by asyncio", "by the program", "to nobody"])


@CONNECTED
async def test_what_error_received_raises_leaves_sendto(
    loop: asyncio.AbstractEventLoop, noise: Noise, connected: str
) -> None:
    with listening() as far:
        client = await endpoint(loop, far, connected, react=raise_value_error)
        with pytest.raises(ValueError, match="told") as caught:
            client.transport.sendto(TOO_LONG, *to(far, connected))
        assert isinstance(caught.value.__context__, OSError)
        assert caught.value.__context__.errno == errno.EMSGSIZE
        client.transport.sendto(b"next", *to(far, connected))
        await turns()
        assert far.recv(10) == b"next"
        assert client.transport.get_write_buffer_size() == 0
        client.transport.close()
        assert await client.lost is None


async def test_many_good_answers_to_an_error_go_out_at_once(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with listening() as far:

        def answer(_: object) -> None:
            for _ in range(40):
                client.transport.sendto(b"answer")
            sizes.append(client.transport.get_write_buffer_size())

        sizes: list[int] = []
        client = await endpoint(loop, far, "by asyncio", react=answer)
        client.transport.set_write_buffer_limits(0)
        client.transport.sendto(TOO_LONG)
        assert sizes == [0]
        assert [far.recv(10) for _ in range(40)] == [b"answer"] * 40
        assert "pause_writing" not in client.events
        client.transport.close()
        await client.lost


async def test_so_does_what_it_raises_for_an_unknown_name(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    with listening() as far:
        client = await endpoint(loop, far, "to nobody", react=raise_value_error)
        with pytest.raises(ValueError, match="told") as caught:
            client.transport.sendto(b"x", ("no-such-host.invalid", 1))
        assert isinstance(caught.value.__context__, socket.gaierror)
        client.transport.close()
        await client.lost


async def test_so_does_an_exit(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    def leave(_: object) -> None:
        raise SystemExit(3)

    with listening() as far:
        client = await endpoint(loop, far, "by asyncio", react=leave)
        with pytest.raises(SystemExit):
            client.transport.sendto(TOO_LONG)
        client.transport.close()
        await client.lost


async def test_of_an_error_that_a_receive_met_it_is_reported(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    with listening() as far:
        client = await endpoint(loop, far, "by asyncio", react=raise_value_error)
    client.transport.sendto(b"to nobody")
    await wait_until(lambda: client.errors)
    await turns()
    assert isinstance(noise.take_one()["exception"], ValueError)
    client.transport.close()
    await client.lost


async def test_error_received_handles_the_error(loop: asyncio.AbstractEventLoop) -> None:
    handled: list[object] = []

    def look(_: object) -> None:
        handled.append(sys.exception())

    with listening() as far:
        client = await endpoint(loop, far, "by asyncio", react=look)
        try:
            raise KeyError
        except KeyError as outer:
            client.transport.sendto(TOO_LONG)
            assert sys.exception() is outer
        assert sys.exception() is None
    client.transport.sendto(b"to nobody")
    await wait_until(lambda: len(client.errors) == 2)
    assert handled == client.errors
    client.transport.close()
    await client.lost


@CONNECTED
async def test_an_answer_to_an_error_leaves_at_once(
    loop: asyncio.AbstractEventLoop, connected: str
) -> None:
    heard: list[bytes] = []

    def answer(_: object) -> None:
        client.transport.sendto(b"answer", *to(far, connected))
        heard.append(far.recv(10))

    with listening() as far:
        client = await endpoint(loop, far, connected, react=answer)
        client.transport.sendto(TOO_LONG, *to(far, connected))
        assert heard == [b"answer"]
        client.transport.close()
        await client.lost


async def test_answers_that_fail_are_answered_at_once(loop: asyncio.AbstractEventLoop) -> None:
    def answer(_: object) -> None:
        if len(client.errors) < 5:
            client.transport.sendto(TOO_LONG)

    with listening() as far:
        client = await endpoint(loop, far, "by asyncio", react=answer)
        client.transport.sendto(TOO_LONG)
        assert len(client.errors) == 5
        client.transport.close()
        await client.lost


@loops_only(*RLOOP_IDS)
async def test_answers_that_fail_for_ever_let_others_have_their_turn(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """asyncio ends with a RecursionError."""

    def answer(_: object) -> None:
        client.transport.sendto(TOO_LONG)

    with listening() as far:
        client = await endpoint(loop, far, "by asyncio", react=answer)
        client.transport.sendto(TOO_LONG)
        await turns()
        client.react = None
        client.transport.close()
        await client.lost


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_the_end_comes_within_error_received(
    loop: asyncio.AbstractEventLoop, end: str
) -> None:
    with listening() as far:
        client = await endpoint(loop, far, "to nobody")
        client.react = lambda _: getattr(client.transport, end)()
        client.transport.sendto(b"before", far.getsockname())
        client.transport.sendto(TOO_LONG, far.getsockname())
        client.transport.sendto(b"after", far.getsockname())
        assert await client.lost is None
        assert [far.recv(10), far.recv(10)] == [b"before", b"after"]
        assert client.events == ["connection_made", "connection_lost"]


@pytest.mark.parametrize("end", ["close", "abort"])
@CONNECTED
async def test_the_last_word_goes_out_in_connection_lost(
    loop: asyncio.AbstractEventLoop, connected: str, end: str
) -> None:
    # As after close(): but where asyncio was given the peer's address, which is then lost.
    with listening() as far:
        client = await endpoint(loop, far, connected)

        def say() -> None:
            client.transport.sendto(b"goodbye", *to(far, connected))

        client.last_words = say
        getattr(client.transport, end)()
        await client.lost
        await turns()
        if connected != "by asyncio":
            assert far.recv(10) == b"goodbye"
        with pytest.raises(BlockingIOError):
            far.recv(10)


async def test_an_error_in_connection_lost_is_told(loop: asyncio.AbstractEventLoop) -> None:
    with listening() as far:
        client = await endpoint(loop, far, "to nobody")
        client.last_words = lambda: client.transport.sendto(TOO_LONG, far.getsockname())
        client.transport.close()
        await client.lost
        assert [error.errno for error in client.errors] == [errno.EMSGSIZE]  # type: ignore[attr-defined]


@loops_only(*RLOOP_IDS)
async def test_an_endpoint_that_ends_under_another_threads_sendto(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """sendto() is in the socket, without the GIL, while the loop calls connection_lost."""
    ended = threading.Event()

    class Slow(socket.socket):
        def sendto(self, *arguments: Any) -> int:
            loop.call_soon_threadsafe(transport.abort)
            ended.wait()
            raise OSError(errno.EBADF, "while the endpoint ended")

    sock = Slow(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=sock)
    sending = asyncio.to_thread(transport.sendto, b"x", ("localhost", 9))
    task = asyncio.create_task(sending)
    await protocol.lost
    await turns()
    ended.set()
    await task
    assert protocol.errors == []
