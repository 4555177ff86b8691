"""aiohttp's websockets: its server and its client on one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from leftovers import LoopFactory, each_stop, stop_in_the_middle
from peers import ResettingProxy
from support import wait_until

pytest.importorskip("aiohttp", reason="aiohttp is not installed (requirements-ecosystem.txt)")

from aiohttp import ClientSession, WSMsgType
from aiohttp_site import served


async def test_websockets_carry_text_and_binary_messages() -> None:
    async with served() as (_site, port), ClientSession() as client:
        async with client.ws_connect(f"http://127.0.0.1:{port}/ws", max_msg_size=0) as ws:
            await ws.ping()
            for size in (0, 1, 125, 126, 65536, 1 << 20):
                await ws.send_bytes(b"w" * size)
                assert await ws.receive_bytes() == b"w" * size
            for number in range(100):
                await ws.send_str(f"message {number}")
            assert [await ws.receive_str() for _ in range(100)] == [
                f"message {number}" for number in range(100)
            ]


async def test_a_websocket_closed_by_the_server_tells_its_code() -> None:
    async with served() as (site, port), ClientSession() as client:
        async with client.ws_connect(f"http://127.0.0.1:{port}/ws") as ws:
            await ws.send_str("bye")
            message = await ws.receive()
            assert (message.type, message.data, message.extra) == (
                WSMsgType.CLOSE, 4000, "as you wish",
            )  # fmt: skip
        await wait_until(lambda: site.ended == ["websocket"])


async def test_a_connection_reset_in_a_websocket_ends_both_sides() -> None:
    async with served() as (site, port), ClientSession() as client:
        with ResettingProxy(port) as proxy:
            async with client.ws_connect(f"http://127.0.0.1:{proxy.port}/ws") as ws:
                await ws.send_str("talk")
                assert await ws.receive_str() == "talk"
                await asyncio.to_thread(proxy.reset)
                message = await ws.receive()
                assert message.type in (WSMsgType.CLOSED, WSMsgType.ERROR)
        await wait_until(lambda: site.ended == ["websocket"])


async def test_a_client_cancelled_in_a_websocket_ends_the_handler() -> None:
    talked = asyncio.Event()

    async def talk() -> None:
        async with client.ws_connect(f"http://127.0.0.1:{port}/ws") as ws:
            while True:
                await ws.send_str("talk")
                await ws.receive_str()
                talked.set()

    async with served() as (site, port), ClientSession() as client:
        task = asyncio.create_task(talk())
        await talked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: site.ended == ["websocket"])


@each_stop
def test_stopped_in_a_websocket(loop_factory: LoopFactory, stop: str) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        async with served() as (_site, port), ClientSession() as client:
            async with client.ws_connect(f"http://127.0.0.1:{port}/ws") as ws:
                while True:
                    await ws.send_bytes(bytes(1 << 16))
                    assert await ws.receive_bytes() == bytes(1 << 16)
                    in_the_middle()

    stop_in_the_middle(loop_factory, program, stop)
