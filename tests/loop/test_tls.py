"""TLS: clients, servers, start_tls, timeouts of handshake and shutdown, TLS in TLS, failures.

The protocol is the standard library's SSLProtocol; what is tested is that it works over our
transports in every way that asyncio offers. asyncio's documentation, "ssl", "loop.start_tls".
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trustme
from support import (
    RLOOP_IDS,
    Echo,
    Noise,
    Recorder,
    differs,
    loops_only,
    serving,
    tcp_pair,
    turns,
    until_closed,
    wait_until,
)

AUTHORITY = trustme.CA()


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


SERVER = server_context()
CLIENT = client_context()


@contextlib.asynccontextmanager
async def echoing(factory: Callable[[], Any] = Echo, **options: Any) -> AsyncIterator[Any]:
    """A TLS server, its address, and the protocols that it made."""
    made: list[Any] = []

    def accept() -> Any:
        made.append(factory())
        return made[-1]

    async with serving(accept, ssl=SERVER, **options) as (_, address):
        yield address, made
        for protocol in made:
            if protocol.transport:
                protocol.transport.abort()
                await protocol.lost


async def tls_client(address: Any, **options: Any) -> tuple[Any, Any]:
    loop = asyncio.get_running_loop()
    options = {"ssl": CLIENT, "server_hostname": "localhost", **options}
    return await loop.create_connection(Recorder, *address, **options)


@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
async def test_an_echo_of(loop: asyncio.AbstractEventLoop, size: int) -> None:
    async with echoing() as (address, made):
        transport, protocol = await tls_client(address)
        payload = os.urandom(size)
        transport.write(payload)
        assert await protocol.wait_for_bytes(size) == payload
        assert transport.get_extra_info("peername") == address
        assert transport.get_extra_info("cipher")
        assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert transport.get_extra_info("sslcontext") is CLIENT
        assert transport.get_extra_info("peercert")
        assert transport.get_extra_info("socket").fileno() >= 0
        transport.close()
        assert await protocol.lost is None
        await wait_until(made[0].lost.done)
        assert made[0].events[-1] == "connection_lost"


async def test_a_name_that_the_certificate_lacks(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with echoing() as (address, made):
        with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'elsewhere'"):
            await tls_client(address, server_hostname="elsewhere")
        await turns(10)
        assert [protocol.events for protocol in made] == [[]]
        noise.take()


async def test_an_unknown_authority(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    async with echoing() as (address, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            await tls_client(address, ssl=ssl.create_default_context())
        # The listener goes on.
        transport, protocol = await tls_client(address)
        transport.close()
        await protocol.lost
        noise.take()


@loops_only("asyncio", *RLOOP_IDS)
async def test_a_client_without_tls_is_told_of_in_debug_mode(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    loop.set_debug(True)
    async with echoing() as (address, _):
        with socket.create_connection(address) as plain:
            plain.setblocking(False)
            await loop.sock_sendall(plain, b"GET / HTTP/1.0\r\n\r\n")
            await wait_until(lambda: noise.contexts)
        context = noise.take()[0]
        assert context["message"] == "Error on transport creation for incoming connection"
        assert isinstance(context["exception"], ssl.SSLError)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_the_handshake_has_its_timeout(
    loop: asyncio.AbstractEventLoop, noise: Noise, side: str
) -> None:
    if side == "client":
        near, far = tcp_pair()
        with far:
            with pytest.raises(ConnectionAbortedError, match="handshake"):
                await loop.create_connection(
                    Recorder,
                    sock=near,
                    ssl=CLIENT,
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.05,
                )
    else:
        async with echoing(ssl_handshake_timeout=0.05) as (address, made):
            with socket.create_connection(address) as silent:
                silent.setblocking(False)
                assert await loop.sock_recv(silent, 10) == b""
            assert [protocol.events for protocol in made] == [[]]
    noise.take()


async def test_the_shutdown_has_its_timeout(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    near, far = tcp_pair()
    done = loop.run_in_executor(None, _handshake_and_wait, far)
    transport, protocol = await loop.create_connection(
        Recorder, sock=near, ssl=CLIENT, server_hostname="localhost", ssl_shutdown_timeout=0.05
    )
    transport.close()  # the other side never answers
    await protocol.lost
    (await done).close()
    noise.take()


def _handshake_and_wait(sock: socket.socket) -> ssl.SSLSocket:
    sock.setblocking(True)
    return SERVER.wrap_socket(sock, server_side=True)


@pytest.mark.parametrize("value", [0, -1])
@differs("asyncio", "the socket is left to the collector")
async def test_timeouts_are_positive(loop: asyncio.AbstractEventLoop, value: float) -> None:
    async with echoing() as (address, _):
        with pytest.raises(ValueError, match="ssl_handshake_timeout should be a positive number"):
            await tls_client(address, ssl_handshake_timeout=value)


async def test_start_tls_on_both_sides(loop: asyncio.AbstractEventLoop) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go on\n")
        await writer.drain()
        await writer.start_tls(SERVER)
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go on\n"
    await writer.start_tls(CLIENT, server_hostname="localhost")
    writer.write(b"secret\n")
    assert await reader.readline() == b"SECRET\n"
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    server.close()
    await turns(5)


@loops_only("asyncio", *RLOOP_IDS)
async def test_tls_in_tls(loop: asyncio.AbstractEventLoop) -> None:
    """A client of a server behind a TLS proxy; the inner TLS ends in a second process half."""
    made: list[Any] = []
    finished = loop.create_future()

    async def inner(protocol: Any) -> None:
        inside = await loop.start_tls(protocol.transport, protocol, SERVER, server_side=True)
        protocol.transport = inside
        finished.set_result(protocol)

    class Upgrading(Echo):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(loop.create_task(inner(self)))

    async with echoing(Upgrading) as (address, _):
        transport, protocol = await tls_client(address)
        inside = await loop.start_tls(transport, protocol, CLIENT, server_hostname="localhost")
        await finished
        payload = os.urandom(200_000)
        inside.write(payload)
        assert await protocol.wait_for_bytes(len(payload)) == payload
        inside.abort()
        await protocol.lost


@differs("uvloop", "it says 'transport', not its class")
async def test_start_tls_wants_a_transport_that_can(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with far:
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        with pytest.raises(TypeError, match="sslcontext is expected to be"):
            await loop.start_tls(transport, protocol, None)
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(asyncio.Transport(), protocol, CLIENT)
        await until_closed(transport)


async def test_flow_control_of_a_slow_reader(loop: asyncio.AbstractEventLoop) -> None:
    async with echoing(Recorder) as (address, made):
        transport, protocol = await tls_client(address)
        await wait_until(lambda: made and made[0].transport)
        made[0].transport.pause_reading()
        total = 0
        while "pause_writing" not in protocol.events:
            transport.write(b"w" * 100_000)
            total += 100_000
            assert total < 1 << 30
            await asyncio.sleep(0)
        made[0].transport.resume_reading()
        await wait_until(lambda: "resume_writing" in protocol.events)
        await made[0].wait_for_bytes(total)
        transport.close()
        await protocol.lost


async def test_the_peer_vanishes_in_the_middle(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    done = loop.run_in_executor(None, _handshake_and_wait, far)
    _, protocol = await loop.create_connection(
        Recorder, sock=near, ssl=CLIENT, server_hostname="localhost"
    )
    secured = await done
    secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    secured.close()
    assert isinstance(await protocol.lost, ConnectionResetError)


async def test_a_handshake_is_cancelled(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    near, far = tcp_pair()
    with far:
        connecting = loop.create_task(
            loop.create_connection(Recorder, sock=near, ssl=CLIENT, server_hostname="localhost")
        )
        await turns(10)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await wait_until(lambda: near.fileno() == -1)
    noise.take()


@differs("uvloop", "it answers with its own protocol")
async def test_an_accepted_socket_becomes_a_tls_server(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    client = loop.create_task(
        loop.create_connection(Recorder, sock=far, ssl=CLIENT, server_hostname="localhost")
    )
    transport, protocol = await loop.connect_accepted_socket(Echo, near, ssl=SERVER)
    client_transport, client_protocol = await client
    client_transport.write(b"accepted")
    assert await client_protocol.wait_for_bytes(8) == b"accepted"
    client_transport.close()
    await client_protocol.lost
    await protocol.lost
    assert transport.is_closing()
