"""pyzmq.asyncio: sockets of another library, whose descriptors the loop watches with add_reader."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("zmq", reason="pyzmq is not installed (requirements-ecosystem.txt)")

import zmq
import zmq.asyncio

each_way = pytest.mark.parametrize("way", ["tcp", "ipc", "inproc"])


@contextlib.asynccontextmanager
async def pair(one: int, other: int, way: str, folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    """A bound socket of one kind and a connected one of the other."""
    address = {"tcp": "tcp://127.0.0.1:*", "ipc": f"ipc://{folder}/zmq", "inproc": "inproc://zmq"}
    with zmq.asyncio.Context() as context:
        with context.socket(one) as bound, context.socket(other) as connected:
            bound.bind(address[way])
            connected.connect(bound.getsockopt_string(zmq.LAST_ENDPOINT))
            yield bound, connected


@each_way
async def test_push_and_pull(way: str, tmp_path: Path) -> None:
    async with pair(zmq.PULL, zmq.PUSH, way, tmp_path) as (pull, push):

        async def send() -> None:
            for number in range(2000):  # more than the sockets keep, so that senders wait
                await push.send(b"%d" % number + bytes(1000))

        sending = asyncio.create_task(send())
        for number in range(2000):
            assert await pull.recv() == b"%d" % number + bytes(1000)
        await sending


@each_way
async def test_request_and_reply(way: str, tmp_path: Path) -> None:
    async with pair(zmq.REP, zmq.REQ, way, tmp_path) as (rep, req):

        async def answer() -> None:
            while True:
                parts = await rep.recv_multipart()
                await rep.send_multipart([part.upper() for part in parts])

        answering = asyncio.create_task(answer())
        for number in range(300):
            await req.send_multipart([b"number", b"x" * number])
            assert await req.recv_multipart() == [b"NUMBER", b"X" * number]
        answering.cancel()


async def test_a_poll_that_is_cancelled_and_one_with_a_timeout(tmp_path: Path) -> None:
    async with pair(zmq.PULL, zmq.PUSH, "tcp", tmp_path) as (pull, push):
        waiting = pull.recv()
        await asyncio.sleep(0)
        waiting.cancel()
        assert await pull.poll(timeout=10) == 0
        poller = zmq.asyncio.Poller()
        poller.register(pull, zmq.POLLIN)
        polling = poller.poll()
        await push.send(b"after")
        assert await polling == [(pull, zmq.POLLIN)]
        assert await pull.recv() == b"after"
