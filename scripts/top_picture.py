#!/usr/bin/env python3
"""The picture of `python -m rloop top` in the documentation, of a real program at work.

    build/venv-3.13/bin/python scripts/top_picture.py     writes docs/pictures/top.svg

A program with 400 connections, some of whose peers do not read, and a callback that takes too long
now and then; `top` draws it at 100 columns. The figures differ from run to run, the shape does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "top.svg"
CLIENTS, STUCK = 400, 5
SECONDS = 8


class Echo(asyncio.Protocol):
    """What the server does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Source(Echo):
    """Sends more than its peer reads."""

    sizes = iter(range(1, STUCK + 1))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(bytes(next(self.sizes) << 22))


def refresh_cache() -> None:
    time.sleep(0.13)  # the slow callback of the picture


async def serve() -> None:
    """The program in the picture; tells the ports that it listens at, for its clients."""
    import rloop

    rloop.inspect.listen()
    loop = asyncio.get_running_loop()
    loop.name = "server"  # type: ignore[attr-defined]
    echo = await loop.create_server(Echo, "127.0.0.1", 0)
    source = await loop.create_server(Source, "127.0.0.1", 0)
    print(*(server.sockets[0].getsockname()[1] for server in (echo, source)), flush=True)
    while True:
        await asyncio.sleep(1.5)
        loop.call_soon(refresh_cache)


async def use(echo: int, source: int) -> None:
    """The clients, in this process."""
    stuck = [await asyncio.open_connection("127.0.0.1", source, limit=1024) for _ in range(STUCK)]

    async def ping() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", echo)
        while True:
            writer.write(bytes(200))
            await reader.readexactly(200)
            await asyncio.sleep(0.02)

    pings = [asyncio.create_task(ping()) for _ in range(CLIENTS - STUCK)]
    await asyncio.sleep(SECONDS)
    for task in pings:
        task.cancel()
    await asyncio.gather(*pings, return_exceptions=True)
    for _, writer in stuck:
        writer.transport.abort()


def draw(pid: int) -> None:
    """Once all of it is under way."""
    time.sleep(SECONDS - 3)
    PICTURE.parent.mkdir(exist_ok=True)
    top = [sys.executable, "-m", "rloop", "top", str(pid), "--svg", str(PICTURE)]
    subprocess.run(top, check=True)


async def clients(echo: int, source: int, pid: int) -> None:
    await asyncio.gather(use(echo, source), asyncio.to_thread(draw, pid))


def main() -> None:
    """Both processes; what is started is ended."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": ""}
    server = [sys.executable, Path(__file__).name, "--serve"]
    folder = Path(__file__).resolve().parent
    with subprocess.Popen(
        server, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
    ) as process:
        assert process.stdout is not None
        try:
            echo, source = map(int, process.stdout.readline().split())
            asyncio.run(clients(echo, source, process.pid))
        finally:
            process.kill()
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        import rloop

        with contextlib.suppress(KeyboardInterrupt):
            rloop.run(serve())
    else:
        main()
