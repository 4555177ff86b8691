"""What newer versions of asyncio have mended in TLS, and rloop has on every version.

start_tls takes what a stream reader has buffered and leaves no cycle behind when it fails; a TLS
transport is closing when the one below it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import socket
import ssl
import weakref
from typing import Any

import pytest
from support import PY313, Noise, Recorder, differs, reset, tcp_pair
from test_tls import CLIENT, SERVER, server_context
from test_tls_ends import each_side, secured

START_TLS = inspect.getsource(asyncio.base_events.BaseEventLoop.start_tls)
IS_CLOSING = inspect.getsource(asyncio.sslproto._SSLProtocolTransport.is_closing)


class Handshake:
    """A client's handshake of which each message is sent by hand."""

    def __init__(self) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = CLIENT.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def hello(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def talk(self, sock: socket.socket, request: bytes) -> bytes:
        """The rest of the handshake, a request, and one answer to it."""
        self._repeat(sock, self.tls.do_handshake)
        self.tls.write(request)
        answer: bytes = self._repeat(sock, lambda: self.tls.read(1000))
        return answer

    def _repeat(self, sock: socket.socket, step: Any) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                sock.sendall(self.outgoing.read())
                self.incoming.write(sock.recv(1 << 16))
            else:
                sock.sendall(self.outgoing.read())
                return result


@differs("asyncio", "what the reader has buffered is lost", when="_incoming" not in START_TLS)
@differs("uvloop", "what the reader has buffered is lost")
async def test_a_hello_that_came_with_the_last_plain_line_is_not_lost(
    loop: asyncio.AbstractEventLoop,
) -> None:
    answered = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        await writer.start_tls(SERVER)
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        answered.set()

    def ask(address: Any) -> bytes:
        handshake = Handshake()
        with socket.create_connection(address, timeout=10) as sock:
            sock.sendall(b"STARTTLS\n" + handshake.hello())
            return handshake.talk(sock, b"secret\n")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    assert await loop.run_in_executor(None, ask, address) == b"SECRET\n"
    await answered.wait()
    await asyncio.sleep(0)  # its task ends
    server.close()
    await server.wait_closed()


@pytest.mark.skipif(not PY313, reason="SSLProtocol itself keeps the failure")
@differs("asyncio", "the failure keeps the transport", when="waiter = None" not in START_TLS)
@differs("uvloop", "the failure keeps the transport")
async def test_a_failed_upgrade_is_gone_without_the_collector(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    far.setblocking(True)

    def refuse() -> None:
        with contextlib.suppress(OSError):
            server_context().wrap_socket(far, server_side=True).close()

    peer = loop.run_in_executor(None, refuse)
    gc.collect()
    gc.disable()
    try:
        transport, protocol = await loop.create_connection(asyncio.Protocol, sock=near)
        gone = weakref.ref(transport)
        with contextlib.suppress(ssl.SSLCertVerificationError):
            await loop.start_tls(
                transport, protocol, ssl.create_default_context(), server_hostname="localhost"
            )
        del transport, protocol
        await peer
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()
        far.close()


@differs("asyncio", "it is closing only later", when="_is_transport_closing" not in IS_CLOSING)
@differs("uvloop", "it is closing only later")
@each_side
async def test_it_is_closing_as_soon_as_the_transport_below_is(
    loop: asyncio.AbstractEventLoop, side: str
) -> None:
    async with secured(side) as (transport, protocol, _):
        assert not transport.is_closing()
        transport._ssl_protocol._transport.abort()
        assert transport.is_closing()
        await protocol.lost
        assert transport.is_closing()


@differs("asyncio", "drain() never ends", when="_is_transport_closing" not in IS_CLOSING)
@differs("uvloop", "drain() never ends")
async def test_who_only_writes_and_drains_meets_the_reset(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    far.setblocking(True)
    shake = loop.run_in_executor(None, lambda: SERVER.wrap_socket(far, server_side=True))
    _, writer = await asyncio.open_connection(sock=near, ssl=CLIENT, server_hostname="localhost")
    reset(await shake)
    with pytest.raises(ConnectionError):
        for _ in range(10_000):
            writer.write(b"x" * 100)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@differs("asyncio", "it resumes a protocol that is gone")
@differs("uvloop", "it resumes a protocol that is gone")
@pytest.mark.parametrize("switched", [False, True])
async def test_limits_of_a_lost_connection_resume_nobody(
    loop: asyncio.AbstractEventLoop, noise: Noise, switched: bool
) -> None:
    async with secured("server") as (transport, protocol, _):
        transport.set_write_buffer_limits(1000)
        while "pause_writing" not in protocol.events:  # the second one meets a backlog
            transport.write(bytes(10_000_000))
        transport.abort()
        await protocol.lost
        other = Recorder()
        if switched:
            transport.set_protocol(other)
        transport.set_write_buffer_limits(1 << 20)
        assert noise.take() == []
        assert other.events == []
