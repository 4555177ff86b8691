import asyncio

import anyio
import pytest

import rloop

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stream():
    send, receive = anyio.create_memory_object_stream(1)
    async with send, receive:
        yield send, receive


async def test_what_is_sent_is_received(stream):
    send, receive = stream
    async with anyio.create_task_group() as group:
        group.start_soon(send.send, "hello")
        assert await receive.receive() == "hello"


async def test_runs_on_rloop():
    assert isinstance(asyncio.get_running_loop(), rloop.UringEventLoop)
