"""Runs programs of real packages on both backends, and looks at what each leaves behind.

Every test of this folder runs once per loop. A coroutine function runs on that loop with a
deadline; a plain function takes `loop_factory` and runs its own loops. After both, no task,
descriptor or child process may be left that was not there before, no exception may have gone to
nobody, and the loop's exception handler must not have heard anything that the test did not take
from `complaints`.

RLOOP_ECOSYSTEM_LOOPS=asyncio,io_uring,epoll chooses the loops; without it the two of rloop.
Packages come from requirements-ecosystem.txt, servers from scripts/services.sh; what is missing is
skipped.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The loop's tests share what is not about packages: deadlines, resets, descriptors.
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "scripts"))
sys.path.insert(0, str(Path(__file__).parent.parent / "loop"))
sys.path.insert(0, str(Path(__file__).parent))

from leftovers import Holdings, LoopFactory, holdings, holdings_at_start, left_behind, nothing_left
from services import Certificate, Postgres, Redis, Unavailable
from support import DEADLINE, run_briefly, within_deadline

LOOP_IDS = os.environ.get("RLOOP_ECOSYSTEM_LOOPS", "io_uring,epoll").split(",")

warmed_up: set[str] = set()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "deadline(seconds): of a coroutine test that is long by nature"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("loop_id", LOOP_IDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        # Only what ends a hang; within_deadline comes first and says more.
        item.add_marker(pytest.mark.timeout(4 * DEADLINE))
        # What nobody closed, and what was raised in a finalizer, fails the test.
        for category in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
            item.add_marker(pytest.mark.filterwarnings(f"error::{category}"), append=False)


def new_loop(loop_id: str) -> asyncio.AbstractEventLoop:
    """One fresh loop of the named kind; rloop's are forced, so no fallback can hide."""
    if loop_id == "asyncio":
        return asyncio.SelectorEventLoop()
    import rloop

    return rloop.new_event_loop(backend=loop_id)


@pytest.fixture(scope="session", autouse=True)
def quick_collections() -> None:
    """What exists before the first test is never garbage: do not look at it 400 times."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def complaints() -> Iterator[list[dict[str, Any]]]:
    """Contexts that the exception handler was called with; a test that expects some clears it."""
    found: list[dict[str, Any]] = []
    yield found
    gc.collect()
    assert found == [], "the exception handler was called and no test expected it"


@pytest.fixture(autouse=True)
def loop_factory(loop_id: str, complaints: list[dict[str, Any]]) -> Iterator[LoopFactory]:
    """Makes loops of the tested kind; at the end nothing may be left of any of them."""

    def make() -> asyncio.AbstractEventLoop:
        loop = new_loop(loop_id)
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        return loop

    if loop_id not in warmed_up:
        # What a library opens once and keeps is not a leak.
        warmed_up.add(loop_id)
        first = make()
        run_briefly(first)
        first.close()
    gc.collect()
    before = holdings()
    yield make
    gc.collect()
    assert left_behind(before) == []


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    marker = pyfuncitem.get_closest_marker("deadline")
    deadline = marker.args[0] if marker else DEADLINE

    async def test_and_check() -> None:
        before: Holdings = await holdings_at_start()
        await within_deadline(pyfuncitem.obj(**arguments), deadline)
        # While the loop is open: its end would close what the test forgot.
        await nothing_left(before)

    with asyncio.Runner(loop_factory=pyfuncitem.funcargs["loop_factory"]) as runner:
        runner.run(test_and_check())
    return True


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for this machine that `client()` trusts."""
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def postgres_of_session() -> Iterator[Postgres]:
    try:
        server = Postgres()
    except Unavailable as why:
        pytest.skip(str(why))
    with server:
        yield server


@pytest.fixture(scope="session")
def redis_of_session() -> Iterator[Redis]:
    try:
        server = Redis()
    except Unavailable as why:
        pytest.skip(str(why))
    with server:
        yield server


@pytest.fixture
def postgres(postgres_of_session: Postgres) -> Postgres:
    """A PostgreSQL server that runs."""
    postgres_of_session.ensure_running()
    return postgres_of_session


@pytest.fixture
def redis_server(redis_of_session: Redis) -> Redis:
    """A Redis server that runs."""
    redis_of_session.ensure_running()
    return redis_of_session
