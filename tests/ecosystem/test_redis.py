"""redis-py's asyncio client against a real Redis, by TCP and by Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from leftovers import LoopFactory, each_stop, stop_in_the_middle
from peers import ResettingProxy
from services import Redis as RedisServer

pytest.importorskip("redis", reason="redis is not installed (requirements-ecosystem.txt)")

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

by_each_way = pytest.mark.parametrize("way", ["tcp", "unix"])


@contextlib.asynccontextmanager
async def connected(server: RedisServer, way: str = "tcp", **more: Any) -> AsyncIterator[Redis]:
    """A client on an empty database that does not try again by itself.

    With a socket timeout redis-py sends below asyncio.wait_for, which on Python 3.11 loses a
    cancellation that comes when the sending has just ended.
    """
    retry = Retry(NoBackoff(), 0)
    options = {**server.address(way), "retry": retry, "socket_timeout": None, **more}
    async with Redis(**options) as client:
        await client.flushall()
        yield client


async def wait_for_blocked(client: Redis, count: int) -> None:
    """Until `count` other connections wait in a blocking command."""

    def blocked(info: dict[str, Any]) -> bool:
        return info["blocked_clients"] == count

    while not blocked(await client.info("clients")):  # noqa: ASYNC110 - who would set an event?
        await asyncio.sleep(0.005)


@by_each_way
async def test_values_come_back(redis_server: RedisServer, way: str) -> None:
    async with connected(redis_server, way) as client:
        for size in (0, 1, 1000, 1 << 22):
            value = os.urandom(size)
            assert await client.set("key", value)
            assert await client.get("key") == value
        assert await client.get("none") is None


@by_each_way
async def test_pipelines_send_many_commands_at_once(redis_server: RedisServer, way: str) -> None:
    async with connected(redis_server, way) as client:
        async with client.pipeline(transaction=False) as pipeline:
            for number in range(5000):
                pipeline.set(f"key:{number}", number).incr("sum", number)
            results = await pipeline.execute()
        assert results[-1] == sum(range(5000))
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.incr("sum").dbsize()
            assert await pipeline.execute() == [sum(range(5000)) + 1, 5001]


async def test_concurrent_commands_share_a_pool(redis_server: RedisServer) -> None:
    pool = BlockingConnectionPool(max_connections=10, timeout=None, **redis_server.address("tcp"))
    async with Redis(connection_pool=pool) as client:
        await client.flushall()
        await asyncio.gather(*(client.incr("count") for _ in range(500)))
        assert await client.get("count") == b"500"
        assert (await client.info("clients"))["connected_clients"] <= 10
    await pool.disconnect()


@by_each_way
async def test_subscribers_hear_what_is_published(redis_server: RedisServer, way: str) -> None:
    async def listen(pubsub: Any) -> list[bytes]:
        heard: list[bytes] = []
        async for message in pubsub.listen():
            if message["type"] == "subscribe":
                subscribed.release()
            elif message["data"] == b"end":
                return heard
            else:
                heard.append(message["data"])
        return heard

    subscribed = asyncio.Semaphore(0)
    async with connected(redis_server, way) as client:
        async with client.pubsub() as first, client.pubsub() as second:
            tasks = []
            for pubsub in (first, second):
                await pubsub.subscribe("news")
                tasks.append(asyncio.create_task(listen(pubsub)))
                await subscribed.acquire()
            for number in range(500):
                assert await client.publish("news", str(number)) == 2
            await client.publish("news", "end")
            for heard in await asyncio.gather(*tasks):
                assert heard == [b"%d" % number for number in range(500)]


@by_each_way
async def test_a_cancelled_blocking_pop_takes_nothing(redis_server: RedisServer, way: str) -> None:
    async with connected(redis_server, way) as client:
        task = asyncio.create_task(client.blpop(["queue"], timeout=0))
        await wait_for_blocked(client, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_for_blocked(client, 0)
        task = asyncio.create_task(client.blpop(["queue"], timeout=0))
        await wait_for_blocked(client, 1)
        assert await client.rpush("queue", b"first", b"second")
        assert list(await task) == [b"queue", b"first"]
        assert await client.lrange("queue", 0, -1) == [b"second"]


@by_each_way
async def test_a_killed_connection_fails_its_command(redis_server: RedisServer, way: str) -> None:
    async with connected(redis_server, way) as client:
        task = asyncio.create_task(client.blpop(["queue"], timeout=0))
        await wait_for_blocked(client, 1)
        await client.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(RedisConnectionError):
            await task
        assert await client.ping()


async def test_a_connection_reset_in_a_command_fails_it(redis_server: RedisServer) -> None:
    async with connected(redis_server) as observer:
        with ResettingProxy(redis_server.port) as proxy:
            async with connected(redis_server, port=proxy.port) as client:
                task = asyncio.create_task(client.blpop(["queue"], timeout=0))
                await wait_for_blocked(observer, 1)
                await asyncio.to_thread(proxy.reset)
                with pytest.raises(RedisConnectionError):
                    await task
        await wait_for_blocked(observer, 0)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_the_server_may_go_and_come_back(
    redis_server: RedisServer, by: signal.Signals
) -> None:
    async with connected(redis_server) as client:
        task = asyncio.create_task(client.blpop(["queue"], timeout=0))
        await wait_for_blocked(client, 1)
        redis_server.stop(by)
        with pytest.raises(RedisConnectionError):
            await task
        with pytest.raises(RedisConnectionError):
            await client.ping()
        redis_server.start()
        assert await client.ping()


@each_stop
@by_each_way
def test_stopped_in_a_subscription(
    redis_server: RedisServer, loop_factory: LoopFactory, stop: str, way: str
) -> None:
    async def publish(client: Redis, in_the_middle: Callable[[], None]) -> None:
        for number in range(1 << 40):
            await client.publish("news", str(number))
            if number == 100:
                in_the_middle()

    async def program(in_the_middle: Callable[[], None]) -> None:
        async with connected(redis_server, way) as client, client.pubsub() as pubsub:
            await pubsub.subscribe("news")
            async with asyncio.TaskGroup() as group:
                group.create_task(publish(client, in_the_middle))
                group.create_task(client.blpop(["queue"], timeout=0))
                async for _message in pubsub.listen():
                    pass

    stop_in_the_middle(loop_factory, program, stop)
