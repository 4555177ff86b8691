"""The aiohttp application that the tests of aiohttp serve and visit.

It knows no test: a handler notes in `ended` how it was broken off, and the tests wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import ClientError, WSMsgType, web


class Site:
    """An aiohttp application and what its handlers saw."""

    def __init__(self) -> None:
        self.peers: set[Any] = set()
        self.ended: list[str] = []
        self.file = Path()
        self.started = asyncio.Event()
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get("/peer", self.peer),
                web.post("/echo", self.echo),
                web.get("/file", self.send_file),
                web.get("/endless", self.endless),
                web.post("/swallow", self.swallow),
                web.get("/ws", self.websocket),
            ]
        )

    async def peer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        return web.json_response({"query": dict(request.query)})

    async def echo(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for block in request.content.iter_any():
            await response.write(block)
        await response.write_eof()
        return response

    async def send_file(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(self.file)

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1 << 16))
                await asyncio.sleep(0)
        except (asyncio.CancelledError, ConnectionError) as exc:
            self.ended.append(type(exc).__name__)
            raise

    async def swallow(self, request: web.Request) -> web.Response:
        count = 0
        try:
            async for block in request.content.iter_any():
                count += len(block)
                self.started.set()
        except (asyncio.CancelledError, ConnectionError, ClientError) as exc:
            self.ended.append(type(exc).__name__)
            raise
        return web.Response(text=str(count))

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        try:
            async for message in ws:
                if message.type == WSMsgType.TEXT and message.data == "bye":
                    await ws.close(code=4000, message=b"as you wish")
                elif message.type == WSMsgType.TEXT:
                    await ws.send_str(message.data)
                elif message.type == WSMsgType.BINARY:
                    await ws.send_bytes(message.data)
        finally:
            self.ended.append("websocket")
        return ws


@contextlib.asynccontextmanager
async def served(
    path: Path | None = None, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Site, int]]:
    """A running Site, and its port unless it listens on `path`."""
    site = Site()
    runner = web.AppRunner(site.app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        if path is not None:
            await web.UnixSite(runner, str(path)).start()
            yield site, 0
        else:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context).start()
            yield site, runner.addresses[0][1]
    finally:
        await runner.cleanup()
