"""Programs that are clients on one of the loops: of HTTP, PostgreSQL and Redis; and SSH.

    python benchmarks/run.py clients --loop uring --program redis --port 6379

Opens its connections, says "ready", and does what each line of its input asks for: `CASE WARM_UP
SECONDS`, answered by one line of JSON with what was done and the CPU time of this process, every
thread included. CONCURRENT tasks send one request after the other and check each answer; SSH has
the server on the same loop, so that both sides count. It ends with its input, and the loop does
not run between the windows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import filecmp
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.loops import LoopUnavailableError, factory_for
from traffic.counters import counted, read_counters
from traffic.http_answers import BODY

CONCURRENT = 10
IDLE_SECONDS = 600.0  # while the other loops have their turns
ROWS, ROWS_QUERY = 1000, "SELECT n, n::text AS name FROM generate_series(1, 1000) AS n"
VALUE, PIPELINED = b"x" * 100, 100
COPY_MB, MB = 10, 1_000_000

# One request of one task; it returns how much it did.
Request = Callable[[], Awaitable[int]]
Cases = dict[str, list[Request]]


class WrongAnswerError(Exception):
    """A program got something else than it asked for."""


def check(right: bool) -> None:
    if not right:
        raise WrongAnswerError("the answer is not what was asked for")


@contextlib.asynccontextmanager
async def aiohttp_client(port: int) -> AsyncIterator[Cases]:
    import aiohttp

    url = f"http://127.0.0.1:{port}/"
    connector = aiohttp.TCPConnector(keepalive_timeout=IDLE_SECONDS)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get() -> int:
            async with session.get(url) as response:
                check(await response.read() == BODY)
            return 1

        yield {"get": [get] * CONCURRENT}


@contextlib.asynccontextmanager
async def httpx_client(port: int) -> AsyncIterator[Cases]:
    import httpx

    url = f"http://127.0.0.1:{port}/"
    limits = httpx.Limits(keepalive_expiry=IDLE_SECONDS)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def get() -> int:
            check((await client.get(url)).content == BODY)
            return 1

        yield {"get": [get] * CONCURRENT}


@contextlib.asynccontextmanager
async def asyncpg_client(port: int) -> AsyncIterator[Cases]:
    import asyncpg

    async with contextlib.AsyncExitStack() as stack:

        async def connect() -> Any:
            address = {"host": "127.0.0.1", "port": port, "ssl": False}
            connection = await asyncpg.connect(user="tester", database="postgres", **address)
            stack.push_async_callback(connection.close)
            return connection

        def one(connection: Any) -> Request:
            async def select() -> int:
                check(await connection.fetchval("SELECT 1") == 1)
                return 1

            return select

        def rows(connection: Any) -> Request:
            async def select() -> int:
                found = await connection.fetch(ROWS_QUERY)
                check(len(found) == ROWS and found[-1]["name"] == str(ROWS))
                return 1

            return select

        connections = [await connect() for _ in range(CONCURRENT)]
        yield {"select": [*map(one, connections)], "rows": [*map(rows, connections)]}


@contextlib.asynccontextmanager
async def redis_client(port: int) -> AsyncIterator[Cases]:
    from redis.asyncio import Redis

    async with Redis(host="127.0.0.1", port=port) as client:
        await client.set("key", VALUE)

        async def get() -> int:
            check(await client.get("key") == VALUE)
            return 1

        async def pipeline() -> int:
            async with client.pipeline(transaction=False) as commands:
                for _ in range(PIPELINED):
                    commands.get("key")
                check(await commands.execute() == [VALUE] * PIPELINED)
            return 1

        yield {"get": [get] * CONCURRENT, "pipeline": [pipeline] * CONCURRENT}


@contextlib.asynccontextmanager
async def asyncssh_copy(_port: int) -> AsyncIterator[Cases]:
    """One task that puts a file by SFTP; files in memory where the machine has a place for them."""
    import asyncssh

    with ssh_files() as files:
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[str(files.key)],
            authorized_client_keys=str(files.public_key), sftp_factory=True,
        )  # fmt: skip
        async with (
            server,
            asyncssh.connect(
                "127.0.0.1", server.get_port(), username="tester", client_keys=[str(files.key)],
                known_hosts=([str(files.public_key)], [], []), config=None, agent_path=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):  # fmt: skip

            async def put() -> int:
                await sftp.put(str(files.here), str(files.there))
                return COPY_MB

            await put()
            check(filecmp.cmp(files.here, files.there, shallow=False))
            yield {"copy": [put]}


@dataclass(frozen=True)
class SshFiles:
    """A key that both sides have, what is copied and where to."""

    key: Path
    public_key: Path
    here: Path
    there: Path


@contextlib.contextmanager
def ssh_files() -> Iterator[SshFiles]:
    import asyncssh

    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="rloop-benchmark-", dir=memory) as folder:
        files = SshFiles(*(Path(folder, name) for name in ("key", "key.pub", "here", "there")))
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(files.key))
        key.write_public_key(str(files.public_key))
        files.here.write_bytes(os.urandom(COPY_MB * MB))
        yield files


PROGRAMS: dict[str, Callable[[int], contextlib.AbstractAsyncContextManager[Cases]]] = {
    "aiohttp": aiohttp_client,
    "httpx": httpx_client,
    "asyncpg": asyncpg_client,
    "redis": redis_client,
    "asyncssh": asyncssh_copy,
}


async def window(requests: list[Request], seconds: float) -> int:
    """Let each task send its requests until the time is over; return how much was done."""
    deadline = time.monotonic() + seconds
    done = 0

    async def repeat(request: Request) -> None:
        nonlocal done
        while time.monotonic() < deadline:
            amount = await request()
            done += amount  # not one statement: the other tasks count while this one waits

    await asyncio.gather(*map(repeat, requests))
    return done


def measure(
    loop: asyncio.AbstractEventLoop, requests: list[Request], warm_up: float, seconds: float
) -> dict[str, float]:
    loop.run_until_complete(window(requests, warm_up))
    gc.collect()
    own = os.getpid()
    counters = read_counters(own)
    began = time.monotonic(), time.process_time()
    messages = loop.run_until_complete(window(requests, seconds))
    ended = time.monotonic(), time.process_time()
    return {
        "messages": messages,
        "seconds": ended[0] - began[0],
        "server_cpu_seconds": ended[1] - began[1],
        **counted(counters, read_counters(own)),
    }


def serve(loop: asyncio.AbstractEventLoop, program: str, port: int) -> None:
    """Do what each line of the input asks for."""
    stack = contextlib.AsyncExitStack()
    cases = loop.run_until_complete(stack.enter_async_context(PROGRAMS[program](port)))
    print("ready", flush=True)
    for line in sys.stdin:
        case, warm_up, seconds = line.split()
        print(json.dumps(measure(loop, cases[case], float(warm_up), float(seconds))), flush=True)
    loop.run_until_complete(stack.aclose())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loop", required=True, help="as for server.py")
    parser.add_argument("--program", choices=list(PROGRAMS), required=True)
    parser.add_argument("--port", type=int, default=0, help="of the server, on 127.0.0.1")
    options = parser.parse_args()
    try:
        factory = factory_for(options.loop)
    except (LoopUnavailableError, ValueError) as error:
        parser.error(str(error))
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            serve(runner.get_loop(), options.program, options.port)
    except ImportError as error:
        sys.exit(f"clients.py: {error.name} is not installed")


if __name__ == "__main__":
    main()
