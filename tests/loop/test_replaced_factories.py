"""What programs put in the place of asyncio's ways of making tasks and futures.

Tracers wrap BaseEventLoop.create_task or replace its code, test doubles take asyncio.tasks.Task;
asyncio's loop finds them there at each call.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import types
import weakref
from typing import Any
from unittest import mock

import pytest
from support import RLOOP_IDS, loops_only, run_briefly

pytestmark = loops_only("asyncio", *RLOOP_IDS)


async def nothing() -> str:
    return "nothing"


def test_a_wrapped_create_task_of_asyncio_is_called(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = asyncio.BaseEventLoop.create_task
    seen: list[str] = []

    def wrapped(self: Any, coro: Any, **options: Any) -> Any:
        seen.append(coro.__name__)
        return original(self, coro, **options)

    assert loop.run_until_complete(loop.create_task(nothing())) == "nothing"
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_task", wrapped)
    assert loop.run_until_complete(loop.create_task(nothing(), name="named")) == "nothing"
    monkeypatch.undo()
    assert loop.run_until_complete(loop.create_task(nothing())) == "nothing"
    assert seen == ["nothing"]


def test_other_code_of_asyncios_create_task_counts(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = asyncio.BaseEventLoop.create_task

    def traced(self: Any, coro: Any, **options: Any) -> Any:
        task = self._original_create_task(self, coro, **options)
        task.traced = True
        return task

    class Task(asyncio.Task[Any]):
        traced = False

    monkeypatch.setattr(asyncio.tasks, "Task", Task)
    original = types.FunctionType(
        function.__code__, function.__globals__, "create_task", function.__defaults__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    monkeypatch.setattr(
        asyncio.BaseEventLoop, "_original_create_task", staticmethod(original), raising=False
    )
    for expected, code in ((True, traced.__code__), (False, function.__code__)):
        function.__code__ = code
        task: Any = loop.create_task(nothing())
        assert task.traced == expected
        loop.run_until_complete(task)


def test_tasks_are_of_the_class_that_asyncio_has_by_then(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Task(asyncio.Task[Any]):
        def __init__(self, coro: Any, **options: Any) -> None:
            self.options = options
            super().__init__(coro, **options)

    monkeypatch.setattr(asyncio.tasks, "Task", Task)
    first: Any = loop.create_task(nothing())
    second: Any = loop.create_task(nothing(), name="second")
    assert type(first) is type(second) is Task
    assert first.options["loop"] is second.options["loop"] is loop
    always = {"loop"} if sys.version_info >= (3, 14) else {"loop", "name", "context"}
    assert set(first.options) == always
    assert set(second.options) == always | {"name"}
    assert second.get_name() == "second"
    loop.run_until_complete(asyncio.gather(first, second))


def test_what_is_no_class_may_stand_there_as_well(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Double:
        _source_traceback = None

    class Maker:
        def __new__(cls, coro: Any, **_options: Any) -> Any:
            coro.close()
            return Double()

    for task in (Maker, lambda coro, **options: Maker(coro, **options)):
        monkeypatch.setattr(asyncio.tasks, "Task", task)
        assert type(loop.create_task(nothing())) is Double
    monkeypatch.undo()


def test_a_task_factory_may_be_a_mocks(loop: asyncio.AbstractEventLoop) -> None:
    class Task(asyncio.Task[Any]):
        pass

    def factory(owner: Any, coro: Any, **options: Any) -> Task:
        return Task(coro, loop=owner, **options)

    with mock.patch.object(loop, "_task_factory", factory):
        assert type(loop.create_task(nothing())) is Task
    assert loop.get_task_factory() is None
    assert type(loop.create_task(nothing())) is not Task
    run_briefly(loop)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        ((1,), {}),
        ((None, None), {}),
        ((nothing,), {"name": "a function"}),
        ((nothing,), {"unknown": 1}),
        ((), {"coro": 1}),
    ],
)
def test_wrong_arguments_are_refused_in_asyncios_words(
    loop: asyncio.AbstractEventLoop, arguments: Any, options: Any
) -> None:
    stock = asyncio.SelectorEventLoop()
    said: list[str] = []
    for one in (stock, loop):
        with pytest.raises(TypeError) as raised:
            one.create_task(*arguments, **options)
        said.append(str(raised.value))
    stock.close()
    assert said[0] == said[1]


def test_a_closed_loop_makes_no_task(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    coroutine = nothing()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
    coroutine.close()


def test_debug_mode_keeps_where_a_task_was_made(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    task: Any = loop.create_task(nothing())
    assert task._source_traceback[-1].name == "test_debug_mode_keeps_where_a_task_was_made"
    loop.run_until_complete(task)
    loop.set_debug(False)
    task = loop.create_task(nothing())
    assert task._source_traceback is None
    loop.run_until_complete(task)


def test_futures_and_tasks_hold_no_loop_that_has_run(loop_id: str) -> None:
    import rloop

    kind = {"rloop-epoll": "epoll", "rloop-uring": "io_uring"}.get(loop_id)
    loop: Any = asyncio.SelectorEventLoop() if kind is None else rloop.new_event_loop(kind)

    async def main() -> None:
        running = asyncio.get_running_loop()
        running.create_future().cancel()
        await running.create_task(nothing())

    loop.run_until_complete(main())
    run_briefly(loop)
    loop.close()
    gone = weakref.ref(loop)
    gc.collect()
    gc.disable()
    try:
        del loop
        assert gone() is None
    finally:
        gc.enable()
