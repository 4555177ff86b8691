"""Where datagrams may be sent: every form of an address that socket.sendto takes.

asyncio hands the address to the socket; what is no plain literal is the socket's to look at, in its
place behind the datagrams that wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import RLOOP_IDS, Datagrams, Noise, bound, loops_only, wait_until

pytestmark = loops_only("asyncio", *RLOOP_IDS)


@contextlib.contextmanager
def receiver(name: str | bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(name)
        yield sock


async def received(sock: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, 1000)


async def test_every_form_of_a_unix_address(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = str(tmp_path / "r\N{LATIN SMALL LETTER E WITH ACUTE}ceiver")
    abstract = b"\0rloop-destinations-%d" % id(loop)
    async with bound(str(tmp_path / "sender"), family=socket.AF_UNIX) as sender:
        with receiver(path) as named, receiver(abstract) as unnamed:
            encoded = path.encode()
            for address in (path, encoded, bytearray(encoded), memoryview(encoded)):
                sender.transport.sendto(repr(type(address)).encode(), address)
                assert await received(named) == repr(type(address)).encode()
            for address in (abstract, abstract.decode()):
                sender.transport.sendto(b"abstract", address)
                assert await received(unnamed) == b"abstract"
    assert sender.errors == []


async def test_a_form_that_only_the_socket_knows_waits_behind_the_others(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = str(tmp_path / "slow")
    forms = (path, path.encode(), bytearray(path.encode()), memoryview(path.encode()))
    with receiver(path) as slow:
        async with bound(str(tmp_path / "sender"), family=socket.AF_UNIX) as sender:
            sent = 0
            while sender.transport.get_write_buffer_size() < 1000:
                sender.transport.sendto(b"%08d" % sent, forms[sent % 4])
                sent += 1
                assert sent < 10_000
            got = [await received(slow) for _ in range(sent)]
    assert got == [b"%08d" % number for number in range(sent)]
    assert sender.errors == []


async def test_names_that_need_a_resolver(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as server, bound() as client:
        port = server.transport.get_extra_info("sockname")[1]
        forms: tuple[Any, ...] = (("localhost", port), (b"localhost", port), ("127.1", port))
        for form in forms:
            client.transport.sendto(repr(form).encode(), form)
        assert await server.wait_for(3) == [repr(form).encode() for form in forms]
        client.transport.sendto(b"to nobody", ("no.such.name.invalid", port))
        await wait_until(lambda: client.errors)
        assert isinstance(client.errors[0], socket.gaierror)
        client.transport.sendto(b"goes on", ("127.0.0.1", port))
        await server.wait_for(4)


@pytest.mark.parametrize("missing", ["str", "bytes", "bytearray"])
async def test_a_unix_address_of_nobody_is_an_error_of_the_protocol(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, missing: str
) -> None:
    path = str(tmp_path / "nobody")
    forms: dict[str, Any] = {
        "str": path,
        "bytes": path.encode(),
        "bytearray": bytearray(path.encode()),
    }
    async with bound(str(tmp_path / "sender"), family=socket.AF_UNIX) as sender:
        sender.transport.sendto(b"x", forms[missing])
        await wait_until(lambda: sender.errors)
        assert [type(error) for error in sender.errors] == [FileNotFoundError]
        assert not sender.transport.is_closing()


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
async def test_what_is_no_address_ends_the_endpoint(
    loop: asyncio.AbstractEventLoop, noise: Noise, tmp_path: Path, family: socket.AddressFamily
) -> None:
    name: Any = str(tmp_path / "sender") if family == socket.AF_UNIX else ("127.0.0.1", 0)
    ended: Datagrams
    async with bound(name, family=family) as ended:
        ended.transport.sendto(b"x", 17)
        assert isinstance(await ended.lost, TypeError)
        assert noise.take_one()["message"] == "Fatal write error on datagram transport"
