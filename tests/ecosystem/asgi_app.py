"""An ASGI application without a framework: lifespan, streaming HTTP and websockets.

The tests of uvicorn run it in their own process, and `uvicorn asgi_app:app` in another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class App:
    """`events` tells what happened to it, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await getattr(self, scope["type"])(scope, receive, send)

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            self.events.append(message["type"])
            if message["type"] == "lifespan.startup":
                scope["state"]["greeting"] = "hello"
            # For who reads the standard output of the program.
            print(message["type"], asyncio.get_running_loop(), flush=True)
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.events.append(scope["path"])
        await getattr(self, scope["path"].removeprefix("/"))(scope, receive, send)
        await send({"type": "http.response.body"})

    async def greet(self, scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        body = scope["state"]["greeting"].encode() + b" " + scope["query_string"]
        await send({"type": "http.response.body", "body": body, "more_body": True})

    async def echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.events.append("http.disconnect")
                return
            more = message.get("more_body", False)
            body = message.get("body", b"")
            await send({"type": "http.response.body", "body": body, "more_body": True})

    async def endless(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Zeros until the client is gone."""

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()

        gone = asyncio.Event()
        await start(send)
        watcher = asyncio.create_task(watch())
        try:
            while not gone.is_set():
                body = bytes(1 << 16)
                await send({"type": "http.response.body", "body": body, "more_body": True})
                await asyncio.sleep(0)
            self.events.append("http.disconnect")
        finally:
            watcher.cancel()

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.events.append(f"websocket.disconnect {message['code']}")
                return
            if message["type"] not in self.events:
                self.events.append(message["type"])
            answer = {"type": "websocket.send"}
            for kind in ("bytes", "text"):
                if message.get(kind) is not None:
                    answer[kind] = message[kind]
            await send(answer)


async def start(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


app = App()
