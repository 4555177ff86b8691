"""The HTTP server of the benchmarks: uvicorn or aiohttp on one of the loops.

    python benchmarks/run.py web_server --loop uring --app uvicorn --addr 127.0.0.1:25001 --body 9

Answers every GET with 200 and a body of `--body` bytes; no access log, no middleware. uvicorn runs
the smallest ASGI application with httptools, aiohttp one handler on one route. Loopback only; ends
on SIGTERM, SIGINT or by itself after `--exit-after` seconds, as `server.py` does.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from harness.loops import LoopUnavailableError, factory_for
from server import GRACE_SECONDS, address_option, allow_tracer
from traffic.addresses import TcpAddress, check_local, listening_socket

Serve = Callable[[socket.socket, bytes, asyncio.Event], Awaitable[None]]


async def serve_uvicorn(listener: socket.socket, body: bytes, stop: asyncio.Event) -> None:
    import uvicorn

    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(
        application, http="httptools", lifespan="off", access_log=False, log_level="critical"
    )
    server = uvicorn.Server(config)

    async def end() -> None:
        await stop.wait()
        server.should_exit = True
        server.force_exit = True

    ending = asyncio.create_task(end())
    await server.serve(sockets=[listener])
    ending.cancel()


async def serve_aiohttp(listener: socket.socket, body: bytes, stop: asyncio.Event) -> None:
    from aiohttp import web

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="text/plain")

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, listener, shutdown_timeout=0.1).start()
    await stop.wait()
    await runner.cleanup()


SERVERS: dict[str, Serve] = {"uvicorn": serve_uvicorn, "aiohttp": serve_aiohttp}


async def run(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    # uvicorn takes over both signals while it serves, to the same end.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.exit_after:
        loop.call_later(options.exit_after, stop.set)
    listener = listening_socket(options.addr)
    print(f"using {type(loop).__name__} under {options.app}")
    print(f"serving on: {listener.getsockname()}", flush=True)
    await SERVERS[options.app](listener, b"x" * options.body, stop)
    listener.close()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loop", default="asyncio", help="as for server.py")
    parser.add_argument("--app", choices=list(SERVERS), default="uvicorn")
    parser.add_argument("--body", type=int, default=13, help="bytes of an answer's body (13)")
    parser.add_argument(
        "--addr", type=address_option, default=TcpAddress("127.0.0.1", 25001), help="host:port"
    )
    parser.add_argument("--exit-after", type=float, metavar="SECONDS", help="end by itself")
    parser.add_argument("--allow-tracer", action="store_true", help="as for server.py")
    options = parser.parse_args()
    try:
        options.factory = factory_for(options.loop)
        check_local(options.addr)
    except (LoopUnavailableError, ValueError) as error:
        parser.error(str(error))
    return options


def main() -> None:
    options = read_options()
    if options.allow_tracer:
        allow_tracer()
    if options.exit_after:
        # SIGALRM's default action: an end even if the loop hangs.
        signal.setitimer(signal.ITIMER_REAL, options.exit_after + GRACE_SECONDS)
    try:
        with asyncio.Runner(loop_factory=options.factory) as runner:
            runner.run(run(options))
    except ImportError as error:
        raise SystemExit(f"web_server.py: {error.name} is not installed") from error
    except NotImplementedError as error:
        raise SystemExit(f"web_server.py: {options.loop} has no such server or mode") from error
    except OSError as error:
        raise SystemExit(f"web_server.py: {error}") from error


if __name__ == "__main__":
    main()
