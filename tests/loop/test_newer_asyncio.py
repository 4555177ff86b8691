"""What asyncio mended in its later versions, and how it answers where versions differ.

Where an older version has a bug that a later one has not, rloop never has it: the tests leave
asyncio out before the version that is right. Where versions merely say or do different things,
what the running asyncio does is measured, and rloop must do the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support import (
    RLOOP_IDS,
    Noise,
    Recorder,
    bound,
    differs,
    fill_send_buffer,
    loops_only,
    new_loop,
    recv_all,
    recv_exactly,
    serving,
    turns,
    wait_until,
    wired,
)
from test_tls import CLIENT
from test_tls_ends import SHORT, each_side, say_goodbye, secured

pytestmark = loops_only("asyncio", *RLOOP_IDS)

#: The oldest of each series that these were measured on.
MENDED = (3, 13, 18) <= sys.version_info[:3] < (3, 14) or sys.version_info[:3] >= (3, 14, 10)


def on_asyncio(scenario: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What comes of it on a loop of the running asyncio."""
    loop = new_loop("asyncio")
    try:
        return loop.run_until_complete(scenario())
    finally:
        loop.close()


def said(call: Callable[..., object], *arguments: object) -> str:
    """The error of a call, or 'nothing'."""
    try:
        call(*arguments)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
    return "nothing"


# --- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["text", 3, None, [b"list"], object()])
@pytest.mark.parametrize("method", ["write", "sendto"])
def test_what_is_no_bytes_is_refused_in_the_running_versions_words(
    loop: asyncio.AbstractEventLoop, method: str, wrong: object
) -> None:
    async def scenario() -> str:
        if method == "write":
            async with wired() as (transport, _, _far):
                return said(transport.write, wrong)
        async with bound() as endpoint:
            return said(endpoint.transport.sendto, wrong)

    assert loop.run_until_complete(scenario()) == on_asyncio(scenario)


# --- writelines ----------------------------------------------------------------------------------


LINES: dict[str, Callable[[], Any]] = {
    "false ones": lambda: [b"1", None, 0, "", b"2"],
    "a wrong one": lambda: [b"1", None, "text"],
    "a generator": lambda: (line for line in [b"1"]),
    "a generator of a wrong one": lambda: (line for line in [b"1", "text"]),
    "no lines": lambda: 5,
    "nothing": lambda: None,
    "empty ones": lambda: [b"", bytearray(), b"1"],
}


@pytest.mark.parametrize("lines", LINES.values(), ids=LINES)
@pytest.mark.parametrize("lost", [False, True])
def test_odd_lines_are_taken_or_refused_as_by_the_running_version(
    loop: asyncio.AbstractEventLoop, lines: Callable[[], Any], lost: bool
) -> None:
    async def scenario() -> str:
        async with wired() as (transport, protocol, _far):
            if lost:
                transport.abort()
                await protocol.lost
                with contextlib.suppress(AttributeError):  # ours
                    transport._loop = _LoopThatWatchesNothing()
            return said(transport.writelines, lines())

    assert loop.run_until_complete(scenario()) == on_asyncio(scenario)


class _LoopThatWatchesNothing:
    """asyncio's older transports go on to wait with a socket that they have closed."""

    def _add_writer(self, *_arguments: object) -> None:
        pass


@differs("asyncio", "before, an empty line never left", when=sys.version_info < (3, 14, 10))
async def test_empty_lines_do_not_hold_up_what_follows(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.set_write_buffer_limits(high=0)
        transport.writelines([b"", b"one,", b"", b"two"])
        transport.writelines([b""])
        assert await recv_exactly(far, 7) == b"one,two"
        transport.close()
        assert await recv_all(far) == b""
        assert await protocol.lost is None


@differs("asyncio", "before, it neither counted nor warned", when=not MENDED)
async def test_lines_for_a_lost_connection_are_counted_and_warned_of(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="asyncio")
    async with wired() as (transport, protocol, _far):
        transport.abort()
        await protocol.lost
        for _ in range(4):
            transport.writelines([b"late"])
        assert caplog.records == []
        transport.writelines([b"late"])
        assert transport.get_write_buffer_size() == 0
    (record,) = caplog.records
    assert record.getMessage() == "socket.send() raised exception."


@differs("asyncio", "before, writelines never paused", when=not MENDED)
async def test_writelines_pauses_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        fill_send_buffer(transport.get_extra_info("socket")._sock)
        transport.set_write_buffer_limits(high=1000)
        transport.writelines([b"x" * 600, b"y" * 600])
        assert protocol.events[-1] == "pause_writing"
        transport.abort()
        assert far is not None


# --- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("closed_before", [False, True])
@differs("asyncio", "before, the end could come twice", when=sys.version_info < (3, 14, 10))
async def test_an_end_inside_resume_writing_comes_once(
    loop: asyncio.AbstractEventLoop, end: str, closed_before: bool
) -> None:
    ends: list[BaseException | None] = []

    class EndsWhenResumed(Recorder):
        transport: Any

        def resume_writing(self) -> None:
            getattr(self.transport, end)()

        def connection_lost(self, exc: BaseException | None) -> None:
            ends.append(exc)
            super().connection_lost(exc)

    async with wired(EndsWhenResumed) as (transport, protocol, far):
        transport.set_write_buffer_limits(high=1000)
        while "pause_writing" not in protocol.events:
            transport.write(b"x" * 100_000)
        if closed_before:
            transport.close()
        with contextlib.suppress(ConnectionResetError):
            await recv_all(far)
        await protocol.lost
        await turns(10)
        assert ends == [None]


async def test_a_cancelled_serve_forever_ends_as_in_the_running_version(
    loop: asyncio.AbstractEventLoop,
) -> None:
    closes = "close_clients" in asyncio.Server.serve_forever.__code__.co_names
    accepted: list[Recorder] = []

    def factory() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    serving_task = loop.create_task(server.serve_forever())
    transport, protocol = await loop.create_connection(Recorder, *address)
    await wait_until(lambda: accepted)
    serving_task.cancel()
    if closes:
        with pytest.raises(asyncio.CancelledError):
            await serving_task
        assert await accepted[0].lost is None
    else:
        await turns(10)
        assert not accepted[0].lost.done()
    transport.close()
    await protocol.lost
    with pytest.raises(asyncio.CancelledError):
        await serving_task


@differs("asyncio", "before, it accepted nobody", when=not MENDED)
async def test_a_server_without_a_backlog_accepts(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Recorder, backlog=0) as (_server, address):
        transport, protocol = await loop.create_connection(Recorder, *address)
        assert await protocol.made is transport
        transport.write(b"hello")
        transport.close()
        await protocol.lost


# --- what a failed create_connection leaves behind ---------------------------------------------

CLOSES_SOCKET = sys.version_info >= (3, 14)


class FactoryError(Exception):
    pass


def raises() -> asyncio.Protocol:
    raise FactoryError


@pytest.mark.skipif(not CLOSES_SOCKET, reason="asyncio leaves it to the collector, and so do we")
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("factory", "tls"), [(raises, None), (raises, CLIENT), (object, None)])
async def test_what_makes_no_protocol_leaves_no_socket(
    loop: asyncio.AbstractEventLoop,
    noise: Noise,
    own: bool,
    factory: Any,
    tls: ssl.SSLContext | None,
) -> None:
    async with serving(Recorder) as (_server, address):
        sock = socket.create_connection(address) if own else None
        where: Any = {"sock": sock} if own else {"host": address[0], "port": address[1]}
        if tls:
            where |= {"ssl": tls, "server_hostname": "localhost"}
        with pytest.raises((FactoryError, AttributeError)):
            await loop.create_connection(factory, **where)
        if sock is not None:
            assert sock.fileno() == -1
    if "asyncio" in type(loop).__module__:
        noise.forgive_unclosed()  # its transport that was made half


# --- datagrams -------------------------------------------------------------------------------


@differs("asyncio", "before, it counted what had gone", when=not MENDED)
def test_waiting_datagrams_count_as_in_the_running_version(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    async def scenario(name: str = "asyncio") -> tuple[int, int, int]:
        path = str(tmp_path / name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow:
            slow.bind(path)
            slow.setblocking(False)
            async with bound(None, family=socket.AF_UNIX, remote_addr=path) as client:
                transport = client.transport
                while transport.get_write_buffer_size() == 0:
                    transport.sendto(b"x" * 100)
                first = transport.get_write_buffer_size()
                transport.sendto(b"y" * 10)
                both = transport.get_write_buffer_size()
                while transport.get_write_buffer_size() > 0:
                    with contextlib.suppress(BlockingIOError):
                        slow.recv(1000)
                    await asyncio.sleep(0)
                return first, both, transport.get_write_buffer_size()

    header = on_asyncio(scenario)[0] - 100 if MENDED else int(sys.version_info >= (3, 13)) * 8
    measured = loop.run_until_complete(scenario("measured"))
    assert measured == (100 + header, 110 + 2 * header, 0)


# --- sendfile --------------------------------------------------------------------------------


@differs("asyncio", "before, its position stayed when nothing was sent", when=not MENDED)
@pytest.mark.parametrize("over", ["socket", "transport"])
async def test_the_files_position_moves_when_nothing_is_sent_too(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, over: str
) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"0123456789")
    async with wired() as (transport, _, far):
        with path.open("rb") as file:
            if over == "socket":
                sent = await loop.sock_sendfile(far, file, offset=30, count=5)
            else:
                sent = await loop.sendfile(transport, file, offset=30, count=5)
            assert (sent, file.tell()) == (0, 30)


# --- TLS -------------------------------------------------------------------------------------


@differs("asyncio", "before, close_notify ended the timeout", when=sys.version_info < (3, 14, 10))
@each_side
async def test_the_shutdown_timeout_lasts_until_what_was_written_has_gone(
    loop: asyncio.AbstractEventLoop, side: str
) -> None:
    async with secured(side, timeout=SHORT) as (transport, protocol, peer):
        transport.write(b"x" * 20_000_000)
        say_goodbye(peer)
        assert isinstance(await protocol.lost, TimeoutError)
