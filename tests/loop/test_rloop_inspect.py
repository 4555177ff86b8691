"""The live view in the process: rloop.inspect, its socket, its thread, and what it answers."""

from __future__ import annotations

import asyncio
import collections.abc
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support
from inspected import ask, listening
from support import RLOOP_IDS, Echo, connected, loops_only, turns, wired

rloop = __import__("rloop") if support.wanted("rloop") else pytest.importorskip("rloop")

pytestmark = loops_only(*RLOOP_IDS)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with listening(tmp_path) as path:
        yield path


def the_loop(answer: Any, loop: Any) -> Any:
    (found,) = (entry for entry in answer["loops"] if entry["id"] == str(loop._serial))
    return found


def its_tasks(answer: Any, loop: Any) -> dict[str, Any]:
    (found,) = (entry for entry in answer["tasks"] if entry["loop"] == str(loop._serial))
    return {task.get("name", task["id"]): task for task in found["tasks"]}


# -- what is answered ---------------------------------------------------------------------------


async def test_a_process_says_what_it_is(loop: Any, address: str) -> None:
    found = ask(address, "process")
    assert set(found) == {"protocol", "at", "process"}
    assert found["protocol"] == 1
    process = found["process"]
    assert process["pid"] == os.getpid()
    assert process["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert process["rloop"] == rloop.__version__
    assert process["command"] == sys.orig_argv
    assert process["cpu_seconds"] > 0
    assert 0 <= process["uptime_seconds"] < 86400
    assert "rloop-inspect" in [thread["name"] for thread in process["threads"]]


async def test_a_loop_says_what_it_does(loop: Any, loop_id: str, address: str) -> None:
    loop.name = "the\tname"
    async with connected(server_factory=Echo) as (one, _):
        one.transport.write(b"x")
        await one.wait_for_bytes(1)
        found = the_loop(ask(address), loop)
    assert found["errors"] == {}
    assert found["name"] == "the\tname"
    assert found["backend"] == loop.backend == {"rloop-epoll": "epoll"}.get(loop_id, "io_uring")
    assert found["reason"] == loop.backend_reason
    assert found["running"] is True
    assert found["thread"]["native_id"] == threading.get_native_id()
    assert found["statistics"].keys() == loop._observe().keys()
    assert found["statistics"]["streams"] == 2
    assert found["statistics"]["bytes_in"] >= 2
    assert found["connections"]["states"]["open"] == 2
    functions = [frame["function"] for frame in found["stack"]]
    assert "test_a_loop_says_what_it_does" in functions, "it is asked while the loop hangs, here"


async def test_the_heaviest_backlogs_come_with_their_peers(loop: Any, address: str) -> None:
    async with wired() as (transport, _, far):
        transport.write(bytes(8 << 20))
        await turns()
        (heaviest, *_) = the_loop(ask(address), loop)["connections"]["heaviest"]
        assert heaviest["statistics"]["backlog"] == transport.get_write_buffer_size() > 0
        assert heaviest["peername"] == list(far.getsockname())
        assert heaviest["kind"] == "stream"
        transport.abort()


async def test_slow_callbacks_are_told(loop: Any, address: str) -> None:
    report = {"callback": "f", "file": "a.py", "line": 3, "task": None, "duration": 0.5, "at": 1.0}
    loop._slow_recent.append(report)
    assert the_loop(ask(address), loop)["slow_callbacks"] == [report]


def test_a_loop_that_does_not_run(loop: Any, address: str) -> None:
    found = the_loop(ask(address), loop)
    assert (found["running"], found["thread"], found["stack"]) == (False, None, [])
    loop.close()
    assert str(loop._serial) not in [entry["id"] for entry in ask(address)["loops"]]


async def test_tasks_say_where_they_wait(loop: Any, address: str) -> None:
    async def inner() -> None:
        await loop.create_future()

    async def outer() -> None:
        await inner()

    async def values() -> Any:
        await inner()
        yield 1

    async def iterating() -> None:
        async for _ in values():
            pass

    waiting = loop.create_task(outer(), name="waits")
    iterator = loop.create_task(iterating(), name="iterates")
    await turns()
    cancelled = loop.create_task(outer(), name="unstarted")
    found = its_tasks(ask(address), loop)
    assert found["waits"]["coroutine"] == outer.__qualname__
    assert found["waits"]["state"] == "waiting"
    names = [frame["function"].rpartition(".")[2] for frame in found["waits"]["stack"]]
    assert names == ["outer", "inner"]
    last = found["waits"]["stack"][-1]
    assert last["file"] == __file__
    assert last["line"] == inner.__code__.co_firstlineno + 1
    names = [frame["function"].rpartition(".")[2] for frame in found["iterates"]["stack"]]
    assert names[0] == "iterating"
    assert found["unstarted"]["state"] == "ready"
    running = asyncio.current_task()
    assert running
    mine = found[running.get_name()]
    assert mine["state"] == "running"
    assert mine["id"] == hex(id(running))
    assert test_tasks_say_where_they_wait.__name__ in [one["function"] for one in mine["stack"]]
    for task in (waiting, iterator, cancelled):
        task.cancel()
    assert its_tasks(ask(address), loop)["waits"]["state"] == "being cancelled"
    await asyncio.gather(waiting, iterator, cancelled, return_exceptions=True)


async def test_who_waits_for_whom(loop: Any, address: str) -> None:
    async def sleeps() -> None:
        await asyncio.sleep(1000)

    async def gathers() -> None:
        await asyncio.gather(*children)

    children = [loop.create_task(sleeps(), name=f"child {i}") for i in range(2)]
    parent = loop.create_task(gathers(), name="parent")
    await turns()
    found = its_tasks(ask(address), loop)
    if sys.version_info >= (3, 14):
        assert [found[f"child {i}"]["awaited_by"] for i in range(2)] == [
            [found["parent"]["id"]]
        ] * 2
        assert found["parent"]["awaited_by"] == []
    else:
        assert {task["awaited_by"] for task in found.values()} == {None}
    parent.cancel()
    await asyncio.gather(parent, *children, return_exceptions=True)


# -- faults of the program ----------------------------------------------------------------------


class Hostile(asyncio.Task):  # type: ignore[type-arg]
    """A task that does not want to be looked at."""

    def get_name(self) -> str:
        raise SystemExit("no name")


async def test_a_task_that_raises_hides_no_other(loop: Any, address: str) -> None:
    hostile = Hostile(asyncio.sleep(1000), loop=loop)
    other = loop.create_task(asyncio.sleep(1000), name="other")
    await turns()
    found = its_tasks(ask(address), loop)
    assert found[hex(id(hostile))] == {
        "id": hex(id(hostile)),
        "error": "SystemExit: no name",
    }
    assert found["other"]["state"] == "waiting"
    for task in (hostile, other):
        task.cancel()
    await asyncio.gather(hostile, other, return_exceptions=True)


async def test_a_coroutine_that_awaits_itself(loop: Any, address: str) -> None:
    class Circle:
        def __init__(self) -> None:
            self.cr_frame, self.cr_await = sys._getframe(), self

        def send(self, value: Any) -> Any:
            return None

        def throw(self, *exc: Any) -> Any:
            raise StopIteration

        def close(self) -> None:
            pass

        def __await__(self) -> Any:
            return self

    collections.abc.Coroutine.register(Circle)
    task = asyncio.Task(Circle(), loop=loop, name="circle")  # type: ignore[arg-type]
    stack = its_tasks(ask(address), loop)["circle"]["stack"]
    assert 0 < len(stack) <= 30
    task.cancel()
    await asyncio.wait([task])


def test_a_loop_that_raises_hides_no_other(loop: Any, address: str) -> None:
    class Hostile(rloop.UringEventLoop):  # type: ignore[misc]
        @property
        def _slow_recent(self) -> Any:
            return [{"callback": {1}}]

    def is_running(self: Any) -> bool:
        raise RuntimeError("do not ask")

    hostile = Hostile()
    Hostile.is_running = is_running
    try:
        answer = ask(address)
        assert the_loop(answer, loop)["errors"] == {}
        found = the_loop(answer, hostile)
        assert found["errors"] == {"running": "RuntimeError: do not ask"}
        assert found["slow_callbacks"] == [{"callback": "{1}"}]
    finally:
        del Hostile.is_running
        hostile.close()
