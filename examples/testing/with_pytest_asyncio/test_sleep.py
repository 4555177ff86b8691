import asyncio

import pytest
import pytest_asyncio

import rloop

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def queue():
    found = asyncio.Queue()
    yield found
    assert found.empty()


async def test_what_is_put_is_got(queue):
    await queue.put("hello")
    assert await queue.get() == "hello"


async def test_runs_on_rloop():
    assert isinstance(asyncio.get_running_loop(), rloop.UringEventLoop)
