"""The names of a socket's ends: as the socket module gives them, for every family."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest
from support import (
    Datagrams,
    Recorder,
    bound,
    differs,
    needs_ipv6,
    turns,
    until_closed,
    wait_until,
    wired,
)


def link_local() -> tuple[str, str, int] | None:
    """(host, interface, its number) of an address that means nothing without its interface."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, index, _, scope, _, name = line.split()
            if scope == "20":
                host = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
                return host, name, int(index, 16)
    return None


needs_link_local = pytest.mark.skipif(
    link_local() is None, reason="no interface has such an address"
)


def bound_vsock() -> socket.socket | None:
    """A socket of virtual machines, whose names are pairs of numbers."""
    with contextlib.suppress(OSError, AttributeError):
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        sock.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
        sock.setblocking(False)
        return sock
    return None


@needs_link_local
@differs("uvloop", "its names carry the zone")
async def test_stream_names_carry_no_zone(loop: asyncio.AbstractEventLoop) -> None:
    host, name, index = link_local() or ("", "", 0)
    made: list[Recorder] = []

    def make() -> Recorder:
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(make, f"{host}%{name}", 0)
    port = server.sockets[0].getsockname()[1]
    for target in (f"{host}%{name}", f"{host}%{index}"):
        transport, _ = await loop.create_connection(Recorder, target, port)
        assert transport.get_extra_info("peername") == (host, port, 0, index)
        await wait_until(lambda: made and made[-1].transport)
        own = transport.get_extra_info("sockname")
        assert own[::2] == (host, 0)
        assert own[3] == index
        assert made[-1].transport.get_extra_info("peername") == own
        await until_closed(transport, made.pop().transport)
    server.close()
    await turns(2)


@needs_link_local
@differs("uvloop", "its names carry the zone")
async def test_datagrams_go_to_a_zone_and_to_a_scope(loop: asyncio.AbstractEventLoop) -> None:
    host, name, index = link_local() or ("", "", 0)
    async with (
        bound((f"{host}%{name}", 0), answer=bytes.upper) as receiver,
        bound(("::", 0), family=socket.AF_INET6) as sender,
    ):
        own = receiver.transport.get_extra_info("sockname")
        port = own[1]
        assert own == (host, port, 0, index)
        for address in (
            (host, port, 0, index),
            (f"{host}%{name}", port),
            (f"{host}%{index}", port, 0, index),
            (f"{host}%{name}", port, 0),
        ):
            sender.transport.sendto(b"question", address)
        await receiver.wait_for(4)
        assert {(peer[0], peer[3]) for _, peer in receiver.received} == {(host, index)}
        await sender.wait_for(4)  # the answers went to the tuples that came
        assert {peer for _, peer in sender.received} == {own}


@needs_ipv6
async def test_names_without_a_scope(loop: asyncio.AbstractEventLoop) -> None:
    async with bound(("::1", 0)) as endpoint:
        name = endpoint.transport.get_extra_info("sockname")
        assert (name[0], *name[2:]) == ("::1", 0, 0)


@differs("uvloop", "it gives no names of this family")
async def test_names_of_other_families(loop: asyncio.AbstractEventLoop) -> None:
    sock = bound_vsock()
    if sock is None:
        pytest.skip("this machine has no vsock")
    name = sock.getsockname()
    seen: list[Any] = []

    class Looking(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            seen.append(transport.get_extra_info("sockname"))
            seen.append(transport.get_extra_info("peername", "default"))
            transport.abort()  # it is not connected

    with contextlib.suppress(OSError):
        await loop.create_connection(Looking, sock=sock)
    await wait_until(lambda: seen and sock.fileno() == -1)
    assert seen == [name, None]


@pytest.mark.skipif(not hasattr(socket, "IPPROTO_MPTCP"), reason="this kernel or Python has none")
async def test_names_of_multipath_tcp(loop: asyncio.AbstractEventLoop) -> None:
    try:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    except OSError:
        pytest.skip("this kernel makes no such sockets")
    listener.bind(("127.0.0.1", 0))
    made: list[Recorder] = []
    server = await loop.create_server(
        lambda: made.append(Recorder()) or made[-1],  # type: ignore[func-returns-value]
        sock=listener,
    )
    client.connect(listener.getsockname())
    client.setblocking(False)
    transport, _ = await loop.create_connection(Recorder, sock=client)
    assert transport.get_extra_info("peername") == listener.getsockname()
    transport.write(b"bytes")
    await wait_until(lambda: made and made[0].data == b"bytes")
    assert made[0].transport.get_extra_info("peername") == client.getsockname()
    await until_closed(transport, made[0].transport)
    server.close()
    await turns(2)


@differs("uvloop", "its transports keep no socket there")
async def test_the_socket_and_the_pause_by_asyncios_private_names(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        assert isinstance(transport._sock, socket.socket)
        assert transport._sock.getpeername() == far.getsockname()
        assert transport._paused is False
        transport.pause_reading()
        assert transport._paused is True
        transport.resume_reading()
        assert transport._paused is False
        transport.close()
        await protocol.lost
        await turns()
        assert transport._sock is None
    transport, protocol = await loop.create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    assert transport._sock.getsockname() == transport.get_extra_info("sockname")  # type: ignore[attr-defined]
    assert transport._paused is False  # type: ignore[attr-defined]
    transport.close()
    await protocol.lost


@differs("uvloop", "its transports keep no socket there")
async def test_an_accepted_connection_has_a_socket_too(loop: asyncio.AbstractEventLoop) -> None:
    made: list[Recorder] = []
    server = await loop.create_server(
        lambda: made.append(Recorder()) or made[-1],  # type: ignore[func-returns-value]
        "127.0.0.1",
        0,
    )
    transport, _ = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
    await wait_until(lambda: made and made[0].transport)
    accepted = made[0].transport
    assert accepted._sock.getpeername() == transport.get_extra_info("sockname")
    assert accepted._sock is accepted._sock
    accepted.write(b"still works")
    await until_closed(transport, accepted)
    server.close()
    await turns(2)
