"""tornado on asyncio: it watches its sockets itself, by the loop's add_reader and add_writer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from leftovers import LoopFactory
from peers import blocks
from services import Certificate

pytest.importorskip("tornado", reason="tornado is not installed (requirements-ecosystem.txt)")

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler, websocket_connect

SIZE = 8 << 20


class Hello(RequestHandler):
    async def get(self, name: str) -> None:
        await asyncio.sleep(0.001)
        self.write({"hello": name, "loop": type(asyncio.get_running_loop()).__name__})


class Digest(RequestHandler):
    def post(self) -> None:
        self.write(hashlib.sha256(self.request.body).hexdigest())


class Blocks(RequestHandler):
    async def get(self) -> None:
        for block in blocks(SIZE >> 16):
            self.write(block)
            await self.flush()


class Echo(WebSocketHandler):
    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message, binary=isinstance(message, bytes))


@contextlib.asynccontextmanager
async def served(context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A tornado application; its address without a scheme."""
    application = Application(
        [("/hello/(.*)", Hello), ("/digest", Digest), ("/blocks", Blocks), ("/echo", Echo)],
        log_function=lambda _handler: None,
    )
    server = HTTPServer(application, ssl_options=context)
    (listener,) = bind_sockets(0, "127.0.0.1")
    server.add_sockets([listener])
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        await server.close_all_connections()


@contextlib.contextmanager
def client() -> Any:
    found = AsyncHTTPClient(force_instance=True, defaults={"request_timeout": 60})
    try:
        yield found
    finally:
        found.close()


async def test_requests_and_bodies() -> None:
    loop = type(asyncio.get_running_loop()).__name__
    async with served() as address:
        with client() as http:
            url = f"http://{address}"
            answers = await asyncio.gather(*(http.fetch(f"{url}/hello/{n}") for n in range(50)))
            for number, answer in enumerate(answers):
                expected = f'{{"hello": "{number}", "loop": "{loop}"}}'
                assert answer.body.decode() == expected
            body = b"".join(blocks(SIZE >> 16))
            kind = {"Content-Type": "application/octet-stream"}
            digest = hashlib.sha256(body).hexdigest()
            answer = await http.fetch(f"{url}/digest", method="POST", body=body, headers=kind)
            assert answer.body.decode() == digest
            answer = await http.fetch(f"{url}/blocks")
            assert hashlib.sha256(answer.body).hexdigest() == digest
            with pytest.raises(HTTPClientError, match="404"):
                await http.fetch(f"{url}/nothing")


async def test_tls(certificate: Certificate) -> None:
    async with served(certificate.server()) as address:
        with client() as http:
            request = HTTPRequest(f"https://{address}/blocks", ssl_options=certificate.client())
            answer = await http.fetch(request)
            assert answer.body == b"".join(blocks(SIZE >> 16))


async def test_websockets() -> None:
    async with served() as address:
        connection = await websocket_connect(f"ws://{address}/echo")
        for message in ("text ü", b"\0\1", "x" * 100000):
            await connection.write_message(message, binary=isinstance(message, bytes))
            assert await connection.read_message() == message
        connection.close()
        assert await connection.read_message() is None


def test_its_own_ioloop_runs_on_ours(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    asyncio.set_event_loop(loop)
    try:
        io_loop = IOLoop.current()
        assert io_loop.asyncio_loop is loop

        async def work() -> str:
            return await io_loop.run_in_executor(None, lambda: "from a thread")

        assert io_loop.run_sync(work, timeout=60) == "from a thread"
        io_loop.add_callback(io_loop.stop)
        io_loop.start()
        io_loop.close()
        assert loop.is_closed()
    finally:
        asyncio.set_event_loop(None)
