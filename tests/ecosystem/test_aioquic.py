"""aioquic: QUIC streams and HTTP/3 over the loop's datagram endpoints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from peers import blocks
from services import Certificate
from support import wait_until

pytest.importorskip("aioquic", reason="aioquic is not installed (requirements-ecosystem.txt)")

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


@contextlib.asynccontextmanager
async def connected(
    certificate: Certificate, kind: type, alpn: list[str], handler: Any = None
) -> AsyncIterator[Any]:
    """A server and a client of that kind, connected over the loopback."""
    server_side = QuicConfiguration(is_client=False, alpn_protocols=alpn)
    server_side.load_cert_chain(certificate.cert, certificate.key)
    server = await serve(
        "127.0.0.1", 0, configuration=server_side, create_protocol=kind, stream_handler=handler
    )
    try:
        port = server._transport.get_extra_info("sockname")[1]
        client_side = QuicConfiguration(alpn_protocols=alpn, server_name="localhost")
        client_side.load_verify_locations(cadata=certificate.authority.cert_pem.bytes())
        async with connect(
            "127.0.0.1", port, configuration=client_side, create_protocol=kind
        ) as client:
            yield client
    finally:
        server.close()


async def test_streams_carry_bytes_both_ways(certificate: Certificate) -> None:
    echoing = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.write_eof()

    def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(echo(reader, writer))
        echoing.add(task)
        task.add_done_callback(echoing.discard)

    async def talk(client: Any, seed: int) -> None:
        reader, writer = await client.create_stream()
        data = b"".join(blocks(2 + seed, 20000))
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data

    async with connected(certificate, QuicConnectionProtocol, ["echo"], handler) as client:
        await client.ping()
        await asyncio.gather(*(talk(client, seed) for seed in range(4)))
        await wait_until(lambda: not echoing)


class Http3(QuicConnectionProtocol):
    """Either side of HTTP/3: the server says what it was asked, and sends the body back.

    QUIC is Python here, a millisecond for a few packets: little is sent.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.headers: dict[int, dict[bytes, bytes]] = {}
        self.bodies: dict[int, bytes] = {}
        self.answers: dict[int, asyncio.Future[bytes]] = {}

    def quic_event_received(self, event: Any) -> None:
        for found in self.http.handle_event(event):
            if isinstance(found, HeadersReceived):
                self.headers[found.stream_id] = dict(found.headers)
            elif isinstance(found, DataReceived):
                body = self.bodies.get(found.stream_id, b"") + found.data
                self.bodies[found.stream_id] = body
            else:
                continue
            if found.stream_ended:
                self.ended(found.stream_id, self.bodies.get(found.stream_id, b""))

    def ended(self, stream: int, body: bytes) -> None:
        if self._quic.configuration.is_client:
            self.answers.pop(stream).set_result(body)
            return
        answer = [(b":status", b"200"), (b"asked", self.headers[stream][b":path"])]
        self.http.send_headers(stream, answer)
        self.http.send_data(stream, body, end_stream=True)
        self.transmit()

    async def ask(self, path: str, body: bytes) -> tuple[bytes, bytes]:
        """What the server says the path was, and the body of its answer."""
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = answer = asyncio.get_running_loop().create_future()
        head = {":method": "POST", ":scheme": "https", ":authority": "localhost", ":path": path}
        self.http.send_headers(stream, [(k.encode(), v.encode()) for k, v in head.items()])
        self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        found = await answer
        assert self.headers[stream][b":status"] == b"200"
        return self.headers[stream][b"asked"], found


async def test_http3(certificate: Certificate) -> None:
    async with connected(certificate, Http3, H3_ALPN) as client:
        bodies = [b"".join(blocks(number % 3, 20000)) for number in range(20)]
        asked = [client.ask(f"/{number}", body) for number, body in enumerate(bodies)]
        for number, answer in enumerate(await asyncio.gather(*asked)):
            assert answer == (f"/{number}".encode(), bodies[number])
