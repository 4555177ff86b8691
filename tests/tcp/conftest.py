"""The loops of the predecessor's TCP tests, by the names its users select them with.

`pytest tests/tcp -k TokioLoop` runs what the predecessor's guide calls the TokioLoop: here the
io_uring backend. RLoop is the epoll backend.
"""

import asyncio
import gc
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "loop"))

from support import wanted


def make_uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def make_rloop(backend: str) -> asyncio.AbstractEventLoop:
    import rloop

    return rloop.new_event_loop(backend=backend)


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio.SelectorEventLoop": asyncio.SelectorEventLoop,
    "uvloop.Loop": make_uvloop,
    "rloop.RLoop": lambda: make_rloop("epoll"),
    "rloop.TokioLoop": lambda: make_rloop("io_uring"),
}


@pytest.fixture(params=filter(wanted, LOOPS))
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    name = request.param
    if name == "uvloop.Loop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed, so there is nothing to compare with")
    loop = LOOPS[name]()
    yield loop
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gc.collect()
