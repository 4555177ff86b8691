"""The Python socket of an accepted connection: made when a program asks, not kept when it does not.

asyncio has one from the beginning to the end. Whether ours is the same one all the time nobody can
tell, as long as nobody holds it.
"""

import asyncio
import gc
import socket
import sys
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
from support import (
    RLOOP_IDS,
    Echo,
    Recorder,
    connected,
    loops_only,
    open_descriptors,
    serving,
    turns,
    wait_until,
)


class Asking(Recorder):
    """Asks for the socket in connection_made, as most servers do, to set an option."""

    kept: Any = None

    def connection_made(self, transport: Any) -> None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.number = sock.getsockname()
        self.keep(sock)
        super().connection_made(transport)

    def keep(self, sock: Any) -> None:
        pass


async def exchange(client: Any, server_side: Any) -> None:
    sent = len(server_side.data)
    client.transport.write(b"ping")
    await server_side.wait_for_bytes(sent + 4)
    received = len(client.data)
    server_side.transport.write(b"pong")
    await client.wait_for_bytes(received + 4)


def sockets_of(transport: Any) -> list[Any]:
    return [found for found in gc.get_referents(transport) if isinstance(found, socket.socket)]


@loops_only("asyncio", *RLOOP_IDS)
async def test_a_socket_that_is_asked_for_again(loop: asyncio.AbstractEventLoop) -> None:
    async with connected(Recorder, Asking) as (client, server_side):
        await exchange(client, server_side)
        transport = server_side.transport
        for _ in range(3):
            sock = transport.get_extra_info("socket")
            assert sock is transport.get_extra_info("socket")
            assert sock.getsockname() == server_side.number
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.family == socket.AF_INET and sock.gettimeout() == 0
            del sock
            await exchange(client, server_side)


def listening(family: Any, protocol_number: int, folder: Path) -> socket.socket:
    """A listening socket of the program's own."""
    addresses: dict[Any, Any] = {
        socket.AF_INET: ("127.0.0.1", 0),
        socket.AF_INET6: ("::1", 0),
        socket.AF_UNIX: str(folder / "s"),
    }
    listener = socket.socket(family, socket.SOCK_STREAM, protocol_number)
    listener.bind(addresses[family])
    listener.listen()
    return listener


@loops_only("asyncio", *RLOOP_IDS)
@pytest.mark.parametrize(
    ("family", "protocol_number"),
    [
        (socket.AF_INET, 0),
        (socket.AF_INET, socket.IPPROTO_TCP),
        (socket.AF_INET6, 0),
        (socket.AF_INET6, socket.IPPROTO_TCP),
        (socket.AF_UNIX, 0),
    ],
)
async def test_it_is_what_accept_would_have_given(
    loop: asyncio.AbstractEventLoop, family: Any, protocol_number: int, tmp_path: Path
) -> None:
    listener = listening(family, protocol_number, tmp_path)
    address = listener.getsockname()
    with socket.socket(family) as first, socket.socket(family) as second:
        first.connect(address)
        by_hand, _ = listener.accept()
        by_hand.setblocking(False)
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[0]

        server = await loop.create_server(factory, sock=listener)
        second.connect(address)
        await wait_until(lambda: made and made[0].transport)
        given = made[0].transport.get_extra_info("socket")
        for what in ("family", "type", "proto"):
            assert getattr(given, what) == getattr(by_hand, what), what
        assert given.gettimeout() == by_hand.gettimeout() == 0
        assert given.get_inheritable() is False
        by_hand.close()
        made[0].transport.close()
        server.close()
        await server.wait_closed()


@loops_only(*RLOOP_IDS)
async def test_only_the_first_one_is_given_up(loop: asyncio.AbstractEventLoop) -> None:
    async with connected(Recorder, Asking) as (client, server_side):
        assert not sockets_of(server_side.transport)
        await exchange(client, server_side)
        server_side.transport.get_extra_info("socket")
        await exchange(client, server_side)
        assert len(sockets_of(server_side.transport)) == 1


@loops_only(*RLOOP_IDS)
async def test_one_that_was_asked_for_later_goes_with_the_next_write(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with connected(Recorder, Recorder) as (client, server_side):
        await exchange(client, server_side)
        server_side.transport.get_extra_info("socket").getpeername()
        assert sockets_of(server_side.transport)
        await exchange(client, server_side)
        assert not sockets_of(server_side.transport)


@loops_only("asyncio", *RLOOP_IDS)
@pytest.mark.parametrize("what", ["transport socket", "socket", "weak reference", "number"])
async def test_one_that_is_held_stays(loop: asyncio.AbstractEventLoop, what: str) -> None:
    class Keeping(Asking):
        def keep(self, sock: Any) -> None:
            self.kept = {
                "transport socket": lambda: sock,
                "socket": lambda: sock._sock,
                "weak reference": lambda: weakref.ref(sock._sock),
                "number": sock.fileno,
            }[what]()

    async with connected(Recorder, Keeping) as (client, server_side):
        await exchange(client, server_side)
        again = server_side.transport.get_extra_info("socket")
        kept = server_side.kept
        if what == "transport socket":
            assert again is kept
        elif what == "socket":
            assert again._sock is kept
        elif what == "weak reference":
            assert again._sock is kept()
        else:
            assert again.fileno() == kept
        await exchange(client, server_side)


@loops_only("asyncio", *RLOOP_IDS)
async def test_one_that_the_program_has_closed_is_not_used(
    loop: asyncio.AbstractEventLoop, noise: Any
) -> None:
    """Its number may be another connection's by now."""
    async with connected(Recorder, Recorder) as (client, server_side):
        await exchange(client, server_side)
        transport = server_side.transport
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sock = transport.get_extra_info("socket")._sock
        sock.close()
        del sock
        near, far = socket.socketpair()  # takes the number
        with near, far:
            transport.write(b"not for them")
            await turns(3)
            far.setblocking(False)
            with pytest.raises(BlockingIOError):
                far.recv(100)
            transport.abort()
            await server_side.lost
            near.sendall(b"still open")
            assert far.recv(100) == b"still open"
    noise.take()


@loops_only("asyncio", *RLOOP_IDS)
async def test_the_descriptor_is_closed_once_whoever_has_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    before = open_descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for factory in (Recorder, Asking):
            async with connected(Recorder, factory) as (client, server_side):
                await exchange(client, server_side)
                client.transport.close()
                await server_side.lost
        gc.collect()
    await wait_until(lambda: open_descriptors().keys() <= before.keys())


@loops_only("asyncio", *RLOOP_IDS)
async def test_a_socket_of_the_programs_class_ends_in_silence(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its finalizer may write to the transport that is giving it up."""
    transports: list[Any] = []

    class Talking(socket.socket):
        def __del__(self) -> None:
            if transports and not transports[0].is_closing():
                transports[0].write(b"last words")

    class Holding(Asking):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transports.append(transport)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Talking)
        async with connected(Recorder, Holding) as (client, server_side):
            server_side.transport.write(b"first")
            await client.wait_for_bytes(5)
            await exchange(client, server_side)
            assert client.data.replace(b"last words", b"") == b"firstpong"
            client.transport.close()
            await server_side.lost
    transports.clear()


@loops_only("asyncio", *RLOOP_IDS)
async def test_one_in_the_place_of_which_the_program_put_another_stays(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Wrapping(Asking):
        def keep(self, sock: Any) -> None:
            self.kept = sock._sock
            sock._sock = socket.socket.dup(sock._sock)

    async with connected(Recorder, Wrapping) as (client, server_side):
        await exchange(client, server_side)
        assert server_side.kept.getsockname() == server_side.number
        server_side.transport.get_extra_info("socket")._sock.close()
        await exchange(client, server_side)


@loops_only("asyncio", *RLOOP_IDS)
async def test_threads_that_ask_for_it_at_once(loop: asyncio.AbstractEventLoop) -> None:
    made: list[Recorder] = []
    errors: list[OSError] = []
    stop = threading.Event()

    def ask() -> None:
        seen = 0
        while not stop.is_set():
            if seen == len(made):
                continue
            transport = made[seen].transport
            seen += 1
            for _ in range(20):
                try:
                    transport.get_extra_info("socket").getsockname()
                except OSError as error:
                    errors.append(error)

    class Asked(Echo):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(self)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=ask) for _ in range(3)]
    try:
        async with serving(Asked) as (_, address):
            for thread in threads:
                thread.start()
            for _ in range(100):
                transport, protocol = await loop.create_connection(Recorder, *address)
                transport.write(b"x")
                await protocol.wait_for_bytes(1)
            stop.set()
            for thread in threads:  # what is asked of a connection that is over fails
                thread.join()
            for side in made:
                side.transport.abort()
                await side.lost
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    assert not errors
