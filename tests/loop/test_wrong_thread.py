"""Calls of a running loop's objects from another thread, without call_soon_threadsafe.

asyncio's documentation ("Concurrency and Multithreading") forbids them; programs and test suites
make them all the same, and asyncio's own transports survive. Debug mode tells. What is decided
here beyond asyncio: such a call takes effect although the loop sleeps.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import (
    DEADLINE,
    RLOOP_IDS,
    Datagrams,
    Echo,
    Recorder,
    differs,
    loops_only,
    tcp_pair,
    turns,
    wait_until,
)

NON_THREAD_SAFE = "Non-thread-safe operation invoked on an event loop other than the current one"


@contextlib.contextmanager
def running(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[Any], Any]]:
    """Runs the loop in a thread; gives a function that runs a coroutine there."""
    started = threading.Event()
    loop.call_soon(started.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert started.wait(DEADLINE)
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(DEADLINE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


class Told(Recorder):
    """Sets events of threading."""

    def __init__(self) -> None:
        super().__init__()
        self.got_data = threading.Event()
        self.ended = threading.Event()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.got_data.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.ended.set()


@contextlib.contextmanager
def connection(loop: Any, run: Any) -> Iterator[tuple[Any, Told, socket.socket]]:
    near, far = tcp_pair()

    async def connect() -> Any:
        return await loop.create_connection(Told, sock=near)

    transport, protocol = run(connect())
    try:
        yield transport, protocol, far
    finally:
        run(end(transport, protocol))
        far.close()


async def end(transport: Any, protocol: Any) -> None:
    transport.abort()
    if isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        # asyncio's is closing for ever once debug mode has refused its end.
        await turns()
        if not protocol.lost.done():
            transport._call_connection_lost(None)
    await protocol.lost


async def nothing() -> None:
    """What two of are run tells that the loop has gone to sleep in between, or is about to."""


@differs("uvloop", "its transports do not look at the thread")
@pytest.mark.parametrize("method", ["close", "abort"])
def test_debug_mode_refuses_the_end_of_a_connection(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    loop.set_debug(True)
    with running(loop) as run, connection(loop, run) as (transport, _, _):
        with pytest.raises(RuntimeError, match=NON_THREAD_SAFE):
            getattr(transport, method)()


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("method", ["close", "abort"])
def test_what_debug_mode_refused_has_changed_nothing(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    loop.set_debug(True)
    with running(loop) as run, connection(loop, run) as (transport, protocol, far):
        with pytest.raises(RuntimeError):
            getattr(transport, method)()
        assert not transport.is_closing()
        far.send(b"data")
        assert protocol.got_data.wait(DEADLINE)
        loop.call_soon_threadsafe(getattr(transport, method))
        assert protocol.ended.wait(DEADLINE)


@differs("uvloop", "its transports do not look at the thread")
@pytest.mark.parametrize("method", ["close", "abort"])
def test_debug_mode_refuses_the_end_of_a_datagram_endpoint(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    loop.set_debug(True)

    async def bind() -> Any:
        return await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))

    with running(loop) as run:
        transport, protocol = run(bind())
        with pytest.raises(RuntimeError, match=NON_THREAD_SAFE):
            getattr(transport, method)()
        run(end(transport, protocol))


@pytest.mark.parametrize(
    "call",
    [
        lambda transport, loop, far: transport.pause_reading(),
        lambda transport, loop, far: (transport.pause_reading(), transport.resume_reading()),
        lambda transport, loop, far: transport.write(b"written"),
        lambda transport, loop, far: transport.writelines([b"writ", b"ten"]),
        lambda transport, loop, far: transport.write_eof(),
        lambda transport, loop, far: transport.set_write_buffer_limits(high=1000),
        lambda transport, loop, far: transport.get_extra_info("peername"),
        lambda transport, loop, far: transport.set_protocol(transport.get_protocol()),
        lambda transport, loop, far: (transport.is_reading(), transport.is_closing()),
        lambda transport, loop, far: (loop.add_reader(far, int), loop.remove_reader(far)),
        lambda transport, loop, far: loop.time(),
    ],
)
def test_debug_mode_says_nothing_where_asyncio_does_not(
    loop: asyncio.AbstractEventLoop, call: Any
) -> None:
    loop.set_debug(True)
    with running(loop) as run, connection(loop, run) as (transport, _, far):
        call(transport, loop, far)


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("method", ["close", "abort"])
def test_the_end_of_a_connection_reaches_a_sleeping_loop(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    with running(loop) as run, connection(loop, run) as (transport, protocol, _):
        run(nothing())
        getattr(transport, method)()
        assert protocol.ended.wait(DEADLINE)


@differs("uvloop", "libuv sleeps on")
def test_reading_is_paused_and_resumed_while_the_loop_sleeps(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with running(loop) as run, connection(loop, run) as (transport, protocol, far):
        run(nothing())
        transport.pause_reading()
        run(nothing())
        far.send(b"data")
        run(nothing())
        assert not protocol.got_data.is_set()
        transport.resume_reading()
        assert protocol.got_data.wait(DEADLINE)


def test_what_is_written_reaches_the_peer_while_the_loop_sleeps(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with running(loop) as run, connection(loop, run) as (transport, _, far):
        run(nothing())
        transport.write(b"written")
        far.setblocking(True)
        far.settimeout(DEADLINE)
        assert far.recv(100) == b"written"


def test_a_closed_server_refuses_connections_while_the_loop_sleeps(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def serve() -> Any:
        return await loop.create_server(Echo, "127.0.0.1", 0)

    with running(loop) as run:
        server = run(serve())
        address = server.sockets[0].getsockname()
        server.close()
        run(nothing())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


@loops_only(*RLOOP_IDS)
def test_the_socket_of_a_connection_that_ends_meanwhile_is_closed_once(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[Told] = []

    def accept() -> Told:
        accepted.append(Told())
        return accepted[-1]

    async def serve() -> Any:
        server = await loop.create_server(accept, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        await wait_until(lambda: accepted and accepted[0].transport)
        server.close()
        return client

    reports: Any = loop._reports
    make_socket = reports.socket_of_descriptor

    def make_while_it_ends(*described: int) -> Any:
        loop.call_soon_threadsafe(accepted[0].transport.abort)
        assert accepted[0].ended.wait(DEADLINE)
        run(turns())
        return make_socket(*described)

    with running(loop) as run:
        client = run(serve())
        monkeypatch.setattr(reports, "socket_of_descriptor", make_while_it_ends)
        assert accepted[0].transport.get_extra_info("socket").fileno() == -1
        client.close()


STRESS = Path(__file__).with_name("wrong_thread_child.py")


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("threads", [1, 3])
def test_any_call_at_any_time_leaves_the_process_alive(loop_id: str, threads: int) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(STRESS), loop_id, str(threads), "1.5"],
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "alive" in done.stdout
