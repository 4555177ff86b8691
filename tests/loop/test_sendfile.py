"""sendfile and sock_sendfile: natively, by the fallback, in pieces, interrupted, refused.

asyncio's documentation, loop.sendfile and loop.sock_sendfile. uvloop has neither.
"""

import asyncio
import io
import os
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest
from support import (
    RLOOP_IDS,
    Recorder,
    differs,
    loops_only,
    recv_all,
    recv_exactly,
    tcp_pair,
    turns,
    wired,
)

pytestmark = loops_only("asyncio", *RLOOP_IDS)

CONTENT = bytes(range(256)) * 20_000  # 5 MB


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "content"
    file.write_bytes(CONTENT)
    return file


@pytest.mark.parametrize(
    ("offset", "count"), [(0, None), (1000, None), (1000, 2_000_000), (0, len(CONTENT) + 10)]
)
async def test_a_part_of_a_file_over_a_transport(
    loop: asyncio.AbstractEventLoop, path: Path, offset: int, count: int | None
) -> None:
    async with wired() as (transport, _protocol, far):
        expected = CONTENT[offset:][: count if count else None]
        receiving = loop.create_task(recv_exactly(far, 6 + len(expected) + 5))
        with path.open("rb") as file:
            transport.write(b"before")
            assert await loop.sendfile(transport, file, offset, count) == len(expected)
            assert file.tell() == offset + len(expected)
        transport.write(b"after")
        assert await receiving == b"before" + expected + b"after"


async def test_writing_during_sendfile_is_refused(
    loop: asyncio.AbstractEventLoop, path: Path
) -> None:
    async with wired() as (transport, _protocol, far):
        with path.open("rb") as file:
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                transport.write(b"x")
            assert not transport.is_reading()
            assert len(await recv_exactly(far, len(CONTENT))) == len(CONTENT)
            await sending
        assert transport.is_reading()


@differs("asyncio", "sendfile hangs when its transport is aborted")
@pytest.mark.parametrize("end", ["abort", "peer"])
async def test_the_connection_ends_in_the_middle(
    loop: asyncio.AbstractEventLoop, path: Path, end: str
) -> None:
    async with wired() as (transport, protocol, far):
        with path.open("rb") as file:
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns(10)
            assert not sending.done()
            if end == "abort":
                transport.abort()
            else:
                far.close()
            with pytest.raises(ConnectionError):
                await sending
        transport.abort()
        await protocol.lost


async def test_a_peer_that_goes_before_the_backlog_has_left(
    loop: asyncio.AbstractEventLoop, path: Path, noise: Any
) -> None:
    async with wired(receive_buffer=8192) as (transport, protocol, far):
        transport.write(bytes(3_000_000))
        with path.open("rb") as file:
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns(10)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await sending
        assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))
    noise.take()  # asyncio tells the future twice, and complains


@differs("asyncio", "the file's position stays where it was")
async def test_cancelled_in_the_middle(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async with wired() as (transport, _protocol, far):
        with path.open("rb") as file:
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns(10)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            sent = file.tell()
            assert 0 < sent < len(CONTENT)
        transport.close()
        assert await recv_all(far) == CONTENT[:sent]


async def test_a_transport_that_closes(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    async with wired() as (transport, protocol, _far):
        transport.close()
        with path.open("rb") as file, pytest.raises(RuntimeError, match="Transport is closing"):
            await loop.sendfile(transport, file)
        await protocol.lost


async def test_what_is_no_regular_file_is_read_and_written(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, _protocol, far):
        receiving = loop.create_task(recv_exactly(far, 100_000))
        assert await loop.sendfile(transport, io.BytesIO(b"b" * 100_000)) == 100_000
        assert await receiving == b"b" * 100_000
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sendfile(transport, io.BytesIO(b"b"), fallback=False)


async def test_over_tls_there_is_only_the_fallback(
    loop: asyncio.AbstractEventLoop, path: Path
) -> None:
    from test_tls import echoing, tls_client

    async with echoing(Recorder) as (address, made):
        transport, protocol = await tls_client(address)
        with path.open("rb") as file:
            with pytest.raises(RuntimeError, match="fallback is disabled"):
                await loop.sendfile(transport, file, fallback=False)
            assert await loop.sendfile(transport, file) == len(CONTENT)
        assert await made[0].wait_for_bytes(len(CONTENT)) == CONTENT
        transport.close()
        await protocol.lost


@pytest.mark.parametrize("fallback", [False, True])
async def test_over_a_socket(loop: asyncio.AbstractEventLoop, path: Path, fallback: bool) -> None:
    near, far = tcp_pair()
    with near, far:
        file: Any = io.BytesIO(CONTENT) if fallback else path.open("rb")
        with file:
            receiving = loop.create_task(recv_exactly(far, len(CONTENT) - 10))
            assert await loop.sock_sendfile(near, file, 10) == len(CONTENT) - 10
            assert await receiving == CONTENT[10:]


async def test_an_empty_file(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    near, far = tcp_pair()
    with near, far, Path(os.devnull).open("rb") as nothing:  # noqa: ASYNC230
        assert await loop.sock_sendfile(near, nothing) == 0


async def test_arguments_are_checked(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    near, far = tcp_pair()
    with near, far, path.open("rb") as file, path.open() as text:
        for offset, count, error in [
            (-1, None, ValueError),
            (0, 0, ValueError),
            (0, "x", TypeError),
        ]:
            with pytest.raises(error):
                await loop.sock_sendfile(near, file, offset, count)
        with pytest.raises(ValueError, match="binary mode"):
            await loop.sock_sendfile(near, text)
        with socket.socket(type=socket.SOCK_DGRAM) as datagram:
            with pytest.raises(ValueError, match="SOCK_STREAM"):
                await loop.sock_sendfile(datagram, file)
        context = ssl.create_default_context()
        secured = context.wrap_socket(far, do_handshake_on_connect=False, server_hostname="x")
        with secured, pytest.raises(TypeError, match="cannot be of type SSLSocket"):
            await loop.sock_sendfile(secured, file)


@pytest.mark.parametrize(
    ("offset", "count", "error"),
    [
        (0, 0, ValueError),
        (0, -5, ValueError),
        (0, "x", TypeError),
        (-1, None, ValueError),
        (1.5, None, TypeError),
    ],
)
async def test_arguments_over_a_transport_are_checked(
    loop: Any, path: Path, offset: Any, count: Any, error: type[Exception]
) -> None:
    async with wired() as (transport, _protocol, far):
        with path.open("rb") as file, pytest.raises(error, match="must be a"):
            await loop.sendfile(transport, file, offset, count)
        transport.write(b"goes on")
        assert await loop.sock_recv(far, 100) == b"goes on"
        with path.open(encoding="latin-1") as text, pytest.raises(ValueError, match="binary mode"):
            await loop.sendfile(transport, text)
