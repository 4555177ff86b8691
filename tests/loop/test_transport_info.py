"""What a stream transport is and tells: its type, its extra info, its protocol.

Source: asyncio's documentation, "Base Transport", and the table of `get_extra_info` names.
"""

import asyncio
import errno
import os
import socket
from typing import Any

import pytest
from support import (
    RLOOP_IDS,
    BufferedRecorder,
    Echo,
    Recorder,
    connected,
    differs,
    loops_only,
    needs_ipv6,
    recv_exactly,
    serving,
    tcp_pair,
    turns,
    until_closed,
    wait_until,
    wired,
)


@differs("uvloop", "its transports derive from classes of its own")
async def test_it_is_an_asyncio_transport(loop: asyncio.AbstractEventLoop) -> None:
    async with connected() as (client, server_side):
        for transport in (client.transport, server_side.transport):
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.ReadTransport)
            assert isinstance(transport, asyncio.WriteTransport)
            assert not isinstance(transport, asyncio.DatagramTransport)


async def test_names_of_both_ends_match(loop: asyncio.AbstractEventLoop) -> None:
    async with connected() as (client, server_side):
        here, there = client.transport, server_side.transport
        assert here.get_extra_info("sockname") == there.get_extra_info("peername")
        assert here.get_extra_info("peername") == there.get_extra_info("sockname")
        assert here.get_extra_info("peername")[0] == "127.0.0.1"


@needs_ipv6
async def test_ipv6_names_have_four_parts(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Recorder, "::1") as (_, address):
        transport, _ = await loop.create_connection(Recorder, *address[:2])
        assert transport.get_extra_info("peername") == address
        assert len(transport.get_extra_info("sockname")) == 4
        await until_closed(transport)
    await turns()


async def test_the_socket_can_be_asked_but_not_used(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        sock = transport.get_extra_info("socket")
        assert sock.family == socket.AF_INET
        assert sock.type == socket.SOCK_STREAM
        assert sock.getsockname() == far.getpeername()
        assert sock.getpeername() == far.getsockname()
        assert sock.gettimeout() == 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@differs("uvloop", "its sockets are of its own class")
async def test_the_socket_is_a_transport_socket(loop: asyncio.AbstractEventLoop) -> None:
    async with connected() as (client, server_side):
        for transport in (client.transport, server_side.transport):
            sock = transport.get_extra_info("socket")
            assert isinstance(sock, asyncio.trsock.TransportSocket)
            assert transport.get_extra_info("socket") is sock
            assert not hasattr(sock, "recv")
            assert not hasattr(sock, "close")
            with pytest.raises(ValueError, match="settimeout\\(\\): only 0 timeout is allowed"):
                sock.settimeout(1)


async def test_unknown_names_give_the_default(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, _far):
        assert transport.get_extra_info("no such name") is None
        assert transport.get_extra_info("no such name", "default") == "default"
        assert transport.get_extra_info("sslcontext") is None
        assert transport.get_extra_info("peername", "default") != "default"


async def test_names_survive_the_close(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, _far):
        peername = transport.get_extra_info("peername")
        transport.close()
        await protocol.lost
        assert transport.get_extra_info("peername") == peername


async def test_get_protocol_gives_the_protocol(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, _far):
        assert transport.get_protocol() is protocol


async def test_the_protocol_can_be_switched_in_the_middle(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, first, far):
        far.send(b"first")
        await first.wait_for_bytes(5)
        second = Recorder()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        far.send(b"second")
        assert await second.wait_for_bytes(6) == b"second"
        assert first.data == b"first"
        assert "connection_made" not in second.events
        far.close()
        assert await second.lost is None
        assert "connection_lost" not in first.events


async def test_the_protocol_can_be_switched_in_data_received(
    loop: asyncio.AbstractEventLoop,
) -> None:
    second = Recorder()

    class Upgrading(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            second.transport = self.transport
            self.transport.set_protocol(second)
            self.transport.write(b"switched")

    async with wired(Upgrading) as (_, first, far):
        far.send(b"upgrade")
        assert await recv_exactly(far, 8) == b"switched"
        far.send(b"new words")
        assert await second.wait_for_bytes(9) == b"new words"
        assert first.data == b"upgrade"


async def test_a_switch_while_paused_goes_to_the_new_protocol(
    loop: asyncio.AbstractEventLoop,
) -> None:
    # start_tls and the upgrade of a web socket do this; bytes the kernel already has must wait.
    for _ in range(20):
        async with wired() as (transport, first, far):
            transport.pause_reading()
            far.send(b"for the second")
            await turns(3)
            second = Recorder()
            transport.set_protocol(second)
            transport.resume_reading()
            assert await second.wait_for_bytes(14) == b"for the second"
            assert first.data == b""


async def test_plain_and_buffered_protocols_can_follow_each_other(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, first, far):
        far.send(b"one")
        await first.wait_for_bytes(3)
        second = BufferedRecorder()
        transport.set_protocol(second)
        far.send(b"two")
        assert await second.wait_for_bytes(3) == b"two"
        third = Echo()
        third.transport = transport
        transport.set_protocol(third)
        far.send(b"three")
        assert await recv_exactly(far, 5) == b"three"
        assert (bytes(first.data), bytes(second.data)) == (b"one", b"two")


async def test_methods_a_protocol_got_later_are_not_needed(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Minimal:
        """No base class, and no more than what asyncio calls here."""

        def __init__(self) -> None:
            self.got = loop.create_future()

        def connection_made(self, transport: asyncio.Transport) -> None:
            pass

        def data_received(self, data: bytes) -> None:
            self.got.set_result(data)

        def eof_received(self) -> None:
            pass

        def connection_lost(self, exc: BaseException | None) -> None:
            pass

    async with wired(Minimal) as (_, protocol, far):
        far.send(b"x")
        assert await protocol.got == b"x"


@pytest.mark.parametrize("base", [asyncio.Protocol, object])
@differs("uvloop", "it looks data_received up before it calls connection_made")
async def test_a_protocol_may_get_data_received_in_connection_made(
    loop: asyncio.AbstractEventLoop, base: type
) -> None:
    class Late(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.got = loop.create_future()

        def connection_made(self, transport: asyncio.Transport) -> None:
            self.data_received = self.got.set_result

        def eof_received(self) -> None:
            pass

        def connection_lost(self, exc: BaseException | None) -> None:
            pass

    async with wired(Late) as (_, protocol, far):
        far.send(b"x")
        assert await protocol.got == b"x"


@differs("uvloop", "its transports have no attributes but their own")
async def test_a_transport_takes_attributes(loop: asyncio.AbstractEventLoop) -> None:
    async with connected() as (client, server_side):
        for protocol in (client, server_side):
            transport = protocol.transport
            transport.foo = 1
            transport.owner = protocol
            assert (transport.foo, transport.owner) == (1, protocol)
            with pytest.raises(AttributeError):
                _ = transport.bar


@differs("uvloop", "its sockets are of its own class")
async def test_the_socket_may_be_asked_for_after_the_close(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    with far:
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        transport.close()
        await protocol.lost
        await wait_until(lambda: near.fileno() == -1)
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.fileno() == -1


@loops_only(*RLOOP_IDS)
async def test_a_socket_object_that_could_not_be_made_leaves_the_descriptor_alone(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio has made it before; ours makes that of an accepted connection when asked for it."""

    begin: Any = socket.socket.__init__

    def fail(self: socket.socket, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    async with connected() as (client, server_side):
        with monkeypatch.context() as failing:
            failing.setattr(socket.socket, "__init__", fail)
            with pytest.raises(OSError, match="Bad file descriptor"):
                server_side.transport.get_extra_info("socket")
        client.transport.write(b"ping")
        assert await server_side.wait_for_bytes(4) == b"ping"
        made = server_side.transport.get_extra_info("socket")
        assert made.getpeername() == client.transport.get_extra_info("sockname")
