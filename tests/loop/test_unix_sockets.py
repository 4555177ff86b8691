"""Unix stream sockets: clients and servers, abstract names, the path before and after.

asyncio's documentation, create_unix_connection and create_unix_server.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support import (
    PY313,
    RLOOP_IDS,
    BufferedRecorder,
    Echo,
    Recorder,
    differs,
    loops_only,
    turns,
    until_closed,
)


@contextlib.asynccontextmanager
async def echo_server(path: Any, factory: Callable[[], Any] = Echo) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    def accept() -> Any:
        made.append(factory())
        return made[-1]

    server = await loop.create_unix_server(accept, path)
    try:
        yield server
    finally:
        server.close()
        for protocol in made:
            await until_closed(protocol.transport)
        await turns(2)


def abstract_name() -> str:
    return f"\0rloop-tests-{os.getpid()}-{os.urandom(4).hex()}"


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
async def test_an_echo_over_a_path(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, factory: Callable[[], Any]
) -> None:
    path = tmp_path / "echo"
    async with echo_server(path):
        transport, protocol = await loop.create_unix_connection(factory, path)
        payload = os.urandom(300_000)
        transport.write(payload)
        assert await protocol.wait_for_bytes(len(payload)) == payload
        assert transport.get_extra_info("peername") == str(path)
        assert transport.get_extra_info("sockname") == ""
        assert transport.get_extra_info("socket").family == socket.AF_UNIX
        transport.close()
        assert await protocol.lost is None


@pytest.mark.parametrize("as_bytes", [False, True])
@differs("uvloop", "it cuts the name off at its first byte")
async def test_abstract_names(loop: asyncio.AbstractEventLoop, as_bytes: bool) -> None:
    name: Any = abstract_name()
    if as_bytes:
        name = name.encode()
    async with echo_server(name) as server:
        assert server.sockets[0].getsockname() == (name if as_bytes else name.encode())
        transport, protocol = await loop.create_unix_connection(Recorder, name)
        transport.write(b"abstract")
        assert await protocol.wait_for_bytes(8) == b"abstract"
        transport.close()
        assert await protocol.lost is None


async def test_a_stale_path_is_replaced(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    path = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    async with echo_server(path):
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        transport.close()
        await protocol.lost


async def test_a_path_that_is_no_socket_is_in_use(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match=r"Address .* is already in use"):
        await loop.create_unix_server(Echo, path)
    assert path.read_text() == "precious"


@pytest.mark.skipif(not PY313, reason="servers remove their paths since Python 3.13")
@differs("uvloop", "it leaves the path")
async def test_a_server_removes_its_path(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    path = tmp_path / "gone"
    async with echo_server(path):
        assert path.exists()
    assert not path.exists()


@pytest.mark.skipif(not PY313, reason="servers remove their paths since Python 3.13")
@loops_only("asyncio", *RLOOP_IDS)
async def test_a_server_leaves_its_path_when_asked_to_or_when_it_is_another(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    server = await loop.create_unix_server(Echo, kept, cleanup_socket=False)
    server.close()
    await turns(2)
    assert kept.exists()
    taken = tmp_path / "taken"
    server = await loop.create_unix_server(Echo, taken)
    taken.unlink()
    taken.write_text("somebody else's")
    server.close()
    await turns(2)
    assert taken.read_text() == "somebody else's"


async def test_nobody_listens(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await loop.create_unix_connection(Recorder, tmp_path / "nothing")
    path = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ConnectionRefusedError):
        await loop.create_unix_connection(Recorder, path)


@differs("asyncio", "it takes the connection for made")
@differs("uvloop", "connecting fails with EAGAIN")
async def test_connecting_waits_while_the_backlog_is_full(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = tmp_path / "full"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        first, first_protocol = await loop.create_unix_connection(Recorder, path)
        waiting = loop.create_task(loop.create_unix_connection(Recorder, path))
        await turns(10)
        assert not waiting.done()
        listener.accept()[0].close()
        second, second_protocol = await waiting
        far, _ = listener.accept()
        with far:
            far.send(b"connected")
            assert await second_protocol.wait_for_bytes(9) == b"connected"
            second.close()
            await second_protocol.lost
        await first_protocol.lost
        first.close()


@differs("asyncio", "it takes the connection for made")
@differs("uvloop", "connecting fails with EAGAIN")
async def test_connecting_to_a_full_backlog_can_be_cancelled(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = tmp_path / "full"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        first, protocol = await loop.create_unix_connection(Recorder, path)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await loop.create_unix_connection(Recorder, path)
        first.abort()
        await protocol.lost


async def test_arguments_exclude_each_other(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as inet:
        with pytest.raises(ValueError, match="at the same time"):
            await loop.create_unix_connection(Recorder, tmp_path / "x", sock=unix)
        with pytest.raises(ValueError, match="no path and sock"):
            await loop.create_unix_connection(Recorder)
        with pytest.raises(ValueError, match="Stream Socket was expected"):
            await loop.create_unix_connection(Recorder, sock=inet)
        with pytest.raises(ValueError, match="Stream Socket was expected"):
            await loop.create_unix_server(Recorder, sock=inet)
        with pytest.raises(ValueError, match="path was not specified"):
            await loop.create_unix_server(Recorder)


async def test_streams_over_a_unix_socket(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    path = tmp_path / "streams"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line[::-1])
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(answer, path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"abc\ndef\n")
    writer.write_eof()
    assert await reader.read() == b"\ncba\nfed"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
