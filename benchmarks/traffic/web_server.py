"""The real servers of the benchmarks on one of the loops: uvicorn, aiohttp, websockets, gRPC.

    python benchmarks/run.py web_server --loop uring --app uvicorn --addr 127.0.0.1:25001 --body 9

The first two answer every GET with 200 and a body of `--body` bytes; no access log, no middleware.
uvicorn runs the smallest ASGI application with httptools, aiohttp one handler on one route.
websockets and grpc.aio echo messages; the latter's core polls its sockets in threads of its own and
wakes the loop for what is complete. Loopback only; ends on SIGTERM, SIGINT or by itself after
`--exit-after` seconds, as `server.py` does.
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

# Called with where to listen, what web pages hold and what ends the server.
Serve = Callable[[TcpAddress, bytes, asyncio.Event], Awaitable[None]]


def listening(address: TcpAddress) -> socket.socket:
    listener = listening_socket(address)
    say_address(listener.getsockname())
    return listener


def say_address(name: tuple[str, int]) -> None:
    print(f"serving on: {name}", flush=True)


async def serve_uvicorn(address: TcpAddress, body: bytes, stop: asyncio.Event) -> None:
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
    await server.serve(sockets=[listening(address)])
    ending.cancel()


async def serve_aiohttp(address: TcpAddress, body: bytes, stop: asyncio.Event) -> None:
    from aiohttp import web

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="text/plain")

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, listening(address), shutdown_timeout=0.1).start()
    await stop.wait()
    await runner.cleanup()


async def serve_websockets(address: TcpAddress, body: bytes, stop: asyncio.Event) -> None:
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(client: ServerConnection) -> None:
        async for message in client:
            await client.send(message)

    async with serve(echo, sock=listening(address)):
        await stop.wait()


async def serve_grpc(address: TcpAddress, body: bytes, stop: asyncio.Event) -> None:
    """It does not take a socket that listens already."""
    import grpc.aio

    async def echo(request: bytes, context: Any) -> bytes:
        return request

    methods = {"unary": grpc.unary_unary_rpc_method_handler(echo)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo", methods)])
    port = server.add_insecure_port(f"{address.host}:{address.port}")
    await server.start()
    say_address((address.host, port))
    await stop.wait()
    await server.stop(0)


SERVERS: dict[str, Serve] = {
    "uvicorn": serve_uvicorn,
    "aiohttp": serve_aiohttp,
    "websockets": serve_websockets,
    "grpc": serve_grpc,
}


async def run(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    # uvicorn takes over both signals while it serves, to the same end.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.exit_after:
        loop.call_later(options.exit_after, stop.set)
    print(f"using {type(loop).__name__} under {options.app}")
    await SERVERS[options.app](options.addr, b"x" * options.body, stop)


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
