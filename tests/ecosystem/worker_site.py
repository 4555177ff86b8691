"""What the servers of test_workers.py run in each of their workers: a small ASGI application.

Every answer names the process that gave it and the engine below its loop. The engine is the one
that RLOOP_TEST_LOOP names; each server is put on it in its own way: uvicorn by `--loop
worker_site:new_loop`, gunicorn by the classes of worker_classes.py, hypercorn, which has no option
for it, by a policy. Workers end with their master, also when that is killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop that tells of each connection that the server was given."""
    loop_id = os.environ["RLOOP_TEST_LOOP"]
    if loop_id == "asyncio":
        loop: Any = asyncio.SelectorEventLoop()
    else:
        import rloop

        loop = rloop.new_event_loop(backend=loop_id)
    create_server = loop.create_server

    async def create_telling_server(factory: Any, *args: Any, **kwargs: Any) -> asyncio.Server:
        return await create_server(lambda: telling(factory()), *args, **kwargs)

    loop.create_server = create_telling_server
    return loop


def telling(protocol: Any) -> Any:
    connection_made = protocol.connection_made

    def tell_and_pass_on(transport: asyncio.Transport) -> None:
        peername = transport.get_extra_info("peername")
        if isinstance(peername, tuple):
            tell(f"connected {peername[1]}")
        connection_made(transport)

    protocol.connection_made = tell_and_pass_on
    return protocol


def tell(event: str) -> None:
    """A line in the file that all workers share."""
    with open(os.environ["RLOOP_TEST_EVENTS"], "ab", buffering=0) as events:  # noqa: PTH123
        events.write(event.encode() + b"\n")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    assert scope["type"] == "http"
    # A handler that computes: as long as it is at it, its worker does nothing else.
    time.sleep(float(scope["query_string"]))  # noqa: ASYNC251 - that is the point
    engine = getattr(asyncio.get_running_loop(), "backend", "asyncio")
    body = f"{os.getpid()} {engine}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    tell(f"answered {scope['path'].removeprefix('/')}")


def app_by_policy() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The application, for a server that asks the policy for its loop after it has loaded it."""

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return new_loop()

    asyncio.set_event_loop_policy(Policy())
    return app
