"""create_future, create_task and task factories.

Names, contexts, eager tasks where the version has them, and the arguments a factory is called
with, which changed between versions. Source: asyncio's documentation, "Creating Futures and Tasks".
"""

import asyncio
import contextvars
import inspect
import sys
from collections.abc import Coroutine
from typing import Any

import pytest
from support import PY312, RLOOP_IDS, Noise, differs, loops_only, run_briefly

#: Its create_task passes what it does not know to the Task, since 3.13.3.
TAKES_EAGER_START = any(
    parameter.kind is inspect.Parameter.VAR_KEYWORD
    for parameter in inspect.signature(asyncio.BaseEventLoop.create_task).parameters.values()
)
eager_only = pytest.mark.skipif(
    not TAKES_EAGER_START, reason="this Python's create_task has no eager_start"
)


async def nothing() -> str:
    return "nothing"


def test_create_future_belongs_to_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop
    future.cancel()


def test_create_task_gives_an_asyncio_task(loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(nothing())
    assert isinstance(task, asyncio.Task)
    assert task.get_loop() is loop
    assert loop.run_until_complete(task) == "nothing"


def test_a_task_has_its_name_and_context(loop: asyncio.AbstractEventLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    context = contextvars.copy_context()
    context.run(variable.set, "inside")

    async def look() -> str:
        return variable.get()

    task = loop.create_task(look(), name="a name", context=context)
    assert task.get_name() == "a name"
    assert loop.run_until_complete(task) == "inside"


def test_a_task_factory_makes_the_tasks(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[tuple[object, dict[str, Any]]] = []

    class MyTask(asyncio.Task[Any]):
        pass

    def factory(
        owner: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> MyTask:
        calls.append((owner, options))
        return MyTask(coro, loop=owner, **options)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)  # type: ignore[arg-type]
    assert loop.get_task_factory() is factory
    task = loop.create_task(nothing(), name="named")
    assert type(task) is MyTask
    assert task.get_name() == "named"
    assert calls[0][0] is loop
    loop.run_until_complete(task)
    context = contextvars.copy_context()
    loop.run_until_complete(loop.create_task(nothing(), context=context))
    assert calls[1][1]["context"] is context
    loop.set_task_factory(None)
    assert type(loop.create_task(nothing())) is not MyTask
    run_briefly(loop)


def test_a_task_factory_must_be_callable_or_none(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(3)  # type: ignore[arg-type]


@pytest.mark.skipif(not PY312, reason="eager tasks are new in Python 3.12")
@differs("uvloop", "0.22 passes eager_start to factories that do not know it yet")
async def test_the_eager_task_factory_runs_a_task_at_once(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_task_factory(asyncio.eager_task_factory)
    ran: list[str] = []

    async def work() -> None:
        ran.append("before the first await")
        await asyncio.sleep(0)
        ran.append("after it")

    task = loop.create_task(work())
    assert ran == ["before the first await"]
    await task
    assert ran == ["before the first await", "after it"]
    quick = loop.create_task(nothing())
    assert quick.done()


@eager_only
@differs("uvloop", "0.22 knows no eager_start")
async def test_an_eager_task_begins_inside_create_task(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[object] = []

    async def work() -> str:
        ran.append(asyncio.current_task())
        await asyncio.sleep(0)
        ran.append("after the first await")
        return "done"

    outer = asyncio.current_task()
    context = contextvars.copy_context()
    options: dict[str, Any] = {"eager_start": True, "name": "eager", "context": context}
    task = loop.create_task(work(), **options)
    assert ran == [task]
    assert asyncio.current_task() is outer
    assert task.get_name() == "eager"
    assert task.get_context() is context
    assert await task == "done"
    assert len(ran) == 2
    quick = loop.create_task(nothing(), eager_start=True)
    assert quick.done()
    assert quick.result() == "nothing"
    for lazy in (False, None):
        assert not loop.create_task(nothing(), eager_start=lazy).done()
    with pytest.raises(TypeError):  # each patch release says it in its own words
        loop.create_task(quick.get_coro(), eager_start=True, unknown=1)  # type: ignore[arg-type]


@eager_only
@differs("uvloop", "0.22 knows no eager_start")
def test_no_task_begins_where_the_loop_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    coroutine = nothing()
    try:
        task = loop.create_task(coroutine, eager_start=True)
        assert not task.done()
        assert loop.run_until_complete(task) == "nothing"
    except RuntimeError as error:
        assert "eager_start" in str(error)
        coroutine.close()


@eager_only
@loops_only(*RLOOP_IDS)
async def test_a_task_is_made_without_a_frame_of_python(loop: asyncio.AbstractEventLoop) -> None:
    entered: list[str] = []

    def note(frame: Any, event: str, _argument: object) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)

    coroutine = nothing()
    sys.setprofile(note)
    try:
        task = loop.create_task(coroutine, eager_start=True)
    finally:
        sys.setprofile(None)
    assert task.done()
    assert entered == ["nothing"]


def test_create_task_accepts_what_this_python_accepts(loop: asyncio.AbstractEventLoop) -> None:
    wanted = inspect.signature(asyncio.BaseEventLoop.create_task).parameters
    task = loop.create_task(
        nothing(), **{name: None for name in ("name", "context") if name in wanted}
    )
    assert loop.run_until_complete(task) == "nothing"


def test_an_exception_nobody_looked_at_reaches_the_handler(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async def fail() -> None:
        raise ValueError("lost")

    task = loop.create_task(fail())
    run_briefly(loop)
    run_briefly(loop)
    del task
    context = noise.take_one()
    assert context["message"] == "Task exception was never retrieved"
    assert isinstance(context["exception"], ValueError)


async def test_cancelling_a_task_that_waits(loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_timeouts_groups_and_gather_work(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await loop.create_future()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(10)]
    assert [task.result() for task in tasks] == list(range(10))
    assert await asyncio.gather(*(asyncio.sleep(0, number) for number in range(10))) == list(
        range(10)
    )


async def test_ten_thousand_tasks_take_turns(loop: asyncio.AbstractEventLoop) -> None:
    async def work(number: int) -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        return number

    results = await asyncio.gather(*(work(number) for number in range(10_000)))
    assert results == list(range(10_000))


async def test_queues_locks_and_events_work(loop: asyncio.AbstractEventLoop) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
    lock = asyncio.Lock()
    got: list[int] = []

    async def produce() -> None:
        for number in range(100):
            await queue.put(number)

    async def consume() -> None:
        for _ in range(50):
            number = await queue.get()
            async with lock:
                got.append(number)

    await asyncio.gather(produce(), consume(), consume())
    assert sorted(got) == list(range(100))


@differs("uvloop", "its method is compiled with a signature of its own")
def test_create_task_has_the_signature_of_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    ours = inspect.signature(type(loop).create_task)
    theirs = inspect.signature(asyncio.BaseEventLoop.create_task)
    assert list(ours.parameters) == list(theirs.parameters), sys.version
