"""asyncpg against a real PostgreSQL, by TCP, by TLS and by Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from leftovers import LoopFactory, each_stop, stop_in_the_middle
from peers import ResettingProxy
from services import Postgres
from support import wait_until

pytest.importorskip("asyncpg", reason="asyncpg is not installed (requirements-ecosystem.txt)")

import asyncpg

#: What an operation ends with when the server is gone in the middle of it.
GONE = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)

by_each_way = pytest.mark.parametrize("way", ["tcp", "unix", "tls"])


@contextlib.asynccontextmanager
async def connected(server: Postgres, way: str = "tcp") -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**server.address(way))
    try:
        yield connection
    finally:
        await connection.close()


async def sleeping_backends(observer: Any) -> int:
    """How many other connections run pg_sleep at the moment."""
    count = await observer.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
    )
    return int(count)


async def wait_for_sleepers(observer: Any, count: int) -> None:
    while await sleeping_backends(observer) != count:  # noqa: ASYNC110 - who would set an event?
        await asyncio.sleep(0.005)


@by_each_way
async def test_queries_return_values_of_many_types(postgres: Postgres, way: str) -> None:
    async with connected(postgres, way) as connection:
        row = await connection.fetchrow(
            "SELECT $1::int AS i, $2::text AS t, $3::bytea AS b, $4::float8[] AS f, now() AS n",
            42, "text ü", b"\0\1", [1.5, 2.5],
        )  # fmt: skip
        assert (row["i"], row["t"], row["b"], row["f"]) == (42, "text ü", b"\0\1", [1.5, 2.5])
        rows = await connection.fetch("SELECT generate_series(1, 50000) AS n")
        assert sum(row["n"] for row in rows) == 50000 * 50001 // 2
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1/0")
        assert await connection.fetchval("SELECT 1") == 1


@by_each_way
async def test_values_of_some_megabytes(postgres: Postgres, way: str) -> None:
    value = os.urandom(1 << 20) * 4
    async with connected(postgres, way) as connection:
        assert await connection.fetchval("SELECT $1::bytea", value) == value


async def test_transactions_commit_and_roll_back(postgres: Postgres) -> None:
    async with connected(postgres) as connection:
        await connection.execute("CREATE TEMP TABLE account (name text, balance int)")
        async with connection.transaction():
            await connection.execute("INSERT INTO account VALUES ('a', 1)")
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("UPDATE account SET balance = 2")
                raise ZeroDivisionError
        assert await connection.fetchval("SELECT balance FROM account") == 1
        async with connection.transaction():
            cursor = await connection.cursor("SELECT generate_series(1, 1000)")
            assert [row[0] for row in await cursor.fetch(10)] == list(range(1, 11))


@by_each_way
async def test_copy_carries_megabytes_in_and_out(postgres: Postgres, way: str) -> None:
    lines = b"".join(b"%d\t%s\n" % (n, hashlib.sha256(b"%d" % n).hexdigest().encode() * 2)
                     for n in range(40000))  # fmt: skip
    async with connected(postgres, way) as connection:
        await connection.execute("CREATE TEMP TABLE copied (n int, t text)")
        await connection.copy_to_table("copied", source=io.BytesIO(lines))
        assert await connection.fetchval("SELECT count(*) FROM copied") == 40000
        output = io.BytesIO()
        await connection.copy_from_query("SELECT * FROM copied ORDER BY n", output=output)
        assert output.getvalue() == lines


@by_each_way
async def test_notifications_reach_listeners(postgres: Postgres, way: str) -> None:
    heard: list[str] = []
    async with connected(postgres, way) as listener, connected(postgres, way) as speaker:
        await listener.add_listener("news", lambda _c, _pid, _channel, text: heard.append(text))
        for number in range(100):
            await speaker.execute("SELECT pg_notify('news', $1)", str(number))
        await wait_until(lambda: len(heard) == 100)
        assert heard == [str(number) for number in range(100)]


@by_each_way
async def test_a_cancelled_query_is_cancelled_in_the_server(postgres: Postgres, way: str) -> None:
    async with connected(postgres, way) as connection, connected(postgres) as observer:
        task = asyncio.create_task(connection.execute("SELECT pg_sleep(1000)"))
        await wait_for_sleepers(observer, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_for_sleepers(observer, 0)
        assert await connection.fetchval("SELECT 1") == 1
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(1000)", timeout=0.05)
        assert await connection.fetchval("SELECT 2") == 2


async def test_a_pool_shares_its_connections(postgres: Postgres) -> None:
    async def work(number: int) -> int:
        async with pool.acquire() as connection:
            pids.add(await connection.fetchval("SELECT pg_backend_pid()"))
            return await connection.fetchval("SELECT $1::int * 2", number)

    pids: set[int] = set()
    async with asyncpg.create_pool(**postgres.address("unix"), min_size=2, max_size=8) as pool:
        results = await asyncio.gather(*(work(number) for number in range(200)))
        assert results == [2 * number for number in range(200)]
        assert len(pids) <= 8
        tasks = [asyncio.create_task(work(number)) for number in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await work(4) == 8


@by_each_way
async def test_a_killed_backend_fails_its_connection(postgres: Postgres, way: str) -> None:
    async with connected(postgres, way) as connection, connected(postgres) as observer:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        task = asyncio.create_task(connection.execute("SELECT pg_sleep(1000)"))
        await wait_for_sleepers(observer, 1)
        await observer.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(GONE):
            await task
        assert connection.is_closed()


@pytest.mark.parametrize("way", ["tcp", "tls"])
async def test_a_connection_reset_in_a_query_fails_it(postgres: Postgres, way: str) -> None:
    async with connected(postgres) as observer:
        with ResettingProxy(postgres.port) as proxy:
            address = {**postgres.address(way), "port": proxy.port}
            connection = await asyncpg.connect(**address)
            task = asyncio.create_task(connection.execute("SELECT pg_sleep(1000)"))
            await wait_for_sleepers(observer, 1)
            await asyncio.to_thread(proxy.reset)
            with pytest.raises(GONE):
                await task
            assert connection.is_closed()
        # The server does not look at the connection while it works.
        await observer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%'"
            " AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
async def test_the_server_may_go_and_come_back(postgres: Postgres, by: signal.Signals) -> None:
    pool = asyncpg.create_pool(**postgres.address("unix"), min_size=3, max_size=3)
    async with pool, connected(postgres) as observer:
        tasks = [asyncio.create_task(pool.execute("SELECT pg_sleep(1000)")) for _ in range(3)]
        await wait_for_sleepers(observer, 3)
        postgres.stop(by)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, GONE), outcome
        # An idle connection hears of it too. Only then: asyncpg takes no query in between.
        await wait_until(observer.is_closed)
        with pytest.raises(GONE):
            await observer.fetchval("SELECT 1")
        with pytest.raises(GONE):
            await pool.fetchval("SELECT 1")
        postgres.start()
        assert await pool.fetchval("SELECT 1") == 1


@each_stop
@by_each_way
def test_stopped_in_queries(
    postgres: Postgres, loop_factory: LoopFactory, stop: str, way: str
) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        async with connected(postgres, "unix") as observer:
            async with asyncpg.create_pool(**postgres.address(way), min_size=2) as pool:
                async with asyncio.TaskGroup() as group:
                    for _ in range(2):
                        group.create_task(pool.execute("SELECT pg_sleep(1000)"))
                    await wait_for_sleepers(observer, 2)
                    in_the_middle()

    stop_in_the_middle(loop_factory, program, stop)


@each_stop
def test_stopped_in_a_copy(postgres: Postgres, loop_factory: LoopFactory, stop: str) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for count in range(1 << 40):
                if count == 10:
                    in_the_middle()
                yield b"1\n" * 10000

        async with connected(postgres, "unix") as connection:
            await connection.execute("CREATE TEMP TABLE endless (n int)")
            await connection.copy_to_table("endless", source=endless())

    stop_in_the_middle(loop_factory, program, stop)
