"""psycopg 3 against a real PostgreSQL: libpq's own socket, watched by the loop's add_reader."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from services import Postgres

pytest.importorskip("psycopg", reason="psycopg is not installed (requirements-ecosystem.txt)")

import psycopg


async def connected(server: Postgres, way: str = "tcp") -> Any:
    address = server.address("unix" if way == "unix" else "tcp")
    return await psycopg.AsyncConnection.connect(
        host=address["host"], port=address["port"], user=address["user"],
        dbname=address["database"], sslmode="require" if way == "tls" else "disable",
    )  # fmt: skip


@pytest.mark.parametrize("way", ["tcp", "unix", "tls"])
async def test_queries_and_transactions(postgres: Postgres, way: str) -> None:
    async with await connected(postgres, way) as connection:
        data = os.urandom(4 << 20)
        cursor = await connection.execute("SELECT %s::int, %s::text, %s::bytea", (42, "ü", data))
        assert await cursor.fetchone() == (42, "ü", data)
        await connection.execute("CREATE TEMP TABLE account (name text, balance int)")
        await connection.commit()
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("INSERT INTO account VALUES ('a', 1)")
                raise ZeroDivisionError
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with connection.transaction():
                await connection.execute("SELECT 1/0")
        cursor = await connection.execute("SELECT count(*) FROM account")
        assert await cursor.fetchone() == (0,)


async def test_copy_both_ways(postgres: Postgres) -> None:
    async with await connected(postgres) as connection, connection.cursor() as cursor:
        await cursor.execute("CREATE TEMP TABLE numbers (n int, text text)")
        async with cursor.copy("COPY numbers FROM STDIN") as copy:
            for number in range(20000):
                await copy.write_row((number, f"line {number}"))
        async with cursor.copy("COPY (SELECT n FROM numbers ORDER BY n) TO STDOUT") as copy:
            assert [int(bytes(line)) async for line in copy] == list(range(20000))


async def test_a_query_that_is_cancelled_leaves_a_usable_connection(postgres: Postgres) -> None:
    async with await connected(postgres) as connection:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connection.execute("SELECT pg_sleep(60)")
        await connection.rollback()
        cursor = await connection.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)


async def test_notifications_arrive(postgres: Postgres) -> None:
    async with await connected(postgres) as hearer, await connected(postgres) as speaker:
        await hearer.set_autocommit(True)
        await hearer.execute("LISTEN news")

        async def hear() -> list[str]:
            return [note.payload async for note in hearer.notifies(stop_after=20, timeout=30)]

        hearing = asyncio.create_task(hear())
        for number in range(20):
            async with speaker.transaction():
                await speaker.execute("SELECT pg_notify('news', %s)", (str(number),))
        assert await hearing == [str(number) for number in range(20)]
