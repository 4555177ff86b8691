"""Finalizers, and other code of the program, that come back to the loop while it is at work.

A `__del__` runs where the last reference goes, which may be in the middle of any method of the
loop; in debug mode call_soon runs Python code of its own, during which another thread may close the
loop. Nothing of it may crash, lose a wake-up or reach a wrong context.
"""

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support import RLOOP_IDS, differs, loops_only, run_briefly

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default=None)


class Finalized:
    """Calls `work` when it goes; `fileno` makes it a file object."""

    def __init__(self, work: Callable[[], object], descriptor: int = -1) -> None:
        self.work = work
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor

    def __del__(self) -> None:
        self.work()


@differs("uvloop", "the object's end stops the watching that came after it")
@pytest.mark.parametrize("count", [1, 2])
def test_a_watched_object_may_stop_the_watching_when_it_goes(
    loop: asyncio.AbstractEventLoop, count: int
) -> None:
    reader, writer = os.pipe()
    for _ in range(count):
        # The loop has the only reference; the second one replaces the first.
        loop.add_reader(Finalized(lambda: loop.remove_reader(reader), reader), print)
    loop.remove_reader(reader)
    read: list[bytes] = []
    os.write(writer, b"x")
    loop.add_reader(reader, lambda: read.append(os.read(reader, 10)))
    run_briefly(loop)
    run_briefly(loop)
    assert read == [b"x"]
    assert loop.remove_reader(reader)
    os.close(reader)
    os.close(writer)


def test_a_watched_object_may_go_with_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    reader, writer = os.pipe()
    answers: list[bool] = []
    loop.add_reader(Finalized(lambda: answers.append(loop.is_closed()), reader), print)
    loop.close()
    os.close(reader)
    os.close(writer)
    assert answers in ([], [True])  # asyncio's selector keeps it for longer


@loops_only(*RLOOP_IDS)
def test_another_thread_closes_the_loop_inside_call_soon_threadsafe(
    loop: asyncio.AbstractEventLoop,
) -> None:
    loop.set_debug(True)
    is_inside, is_closed = threading.Event(), threading.Event()
    answers: list[BaseException | None] = []

    class Slow:
        def __call__(self) -> None:
            raise AssertionError("the loop was closed")

        @property
        def __class__(self) -> type:  # debug mode looks at the callback
            is_inside.set()
            is_closed.wait()
            return type(self)

    def schedule() -> None:
        try:
            loop.call_soon_threadsafe(Slow())
            answers.append(None)
        except RuntimeError as exc:
            answers.append(exc)

    other = threading.Thread(target=schedule)
    other.start()
    is_inside.wait()
    loop.close()
    is_closed.set()
    other.join()
    assert [type(answer) for answer in answers] == [RuntimeError]


async def test_what_a_variable_of_a_finished_task_schedules_is_not_forgotten(
    loop: asyncio.AbstractEventLoop,
) -> None:
    closed_at: asyncio.Future[float] = loop.create_future()

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed_at.set_result(time.monotonic())

    async def child() -> None:
        generator = generate()
        await anext(generator)
        variable.set(generator)
        loop.call_soon(int)

    rescue = loop.call_later(5, int)
    await asyncio.create_task(child())
    await closed_at
    assert not rescue.cancelled()
    assert loop.time() < rescue.when(), "the loop slept although something was scheduled"
    rescue.cancel()


def test_a_variable_that_goes_inside_call_soon_may_call_it_too(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[object] = []

    def first() -> None:
        variable.set(Finalized(lambda: contextvars.Context().run(loop.call_soon, int)))
        loop.call_soon(int)
        loop.call_soon(second)

    def second() -> None:
        loop.call_soon(third, context=contextvars.Context())

    def third() -> None:
        variable.set("mine")
        loop.call_soon(lambda: seen.append(variable.get()))

    loop.call_soon(first)
    for _ in range(5):
        run_briefly(loop)
    assert seen == ["mine"]


def test_a_variable_that_goes_inside_call_soon_may_close_the_loop(
    loop: asyncio.AbstractEventLoop,
) -> None:
    def play() -> None:
        variable.set(Finalized(loop.close))
        run_briefly(loop)
        variable.set(None)
        try:
            loop.call_soon(int)
        except RuntimeError:
            assert loop.is_closed()

    contextvars.Context().run(play)


@loops_only("asyncio", *RLOOP_IDS)
def test_the_loop_keeps_no_variable_of_who_ran_it_first(loop: asyncio.AbstractEventLoop) -> None:
    gone: list[bool] = []

    def play() -> None:
        variable.set(Finalized(lambda: gone.append(True)))
        run_briefly(loop)

    contextvars.Context().run(play)
    run_briefly(loop)
    # Not a wait for something: a loop that sleeps, however shortly, lets go of the context that its
    # handles share. (A very short sleep need not come to that on a busy machine.)
    loop.run_until_complete(asyncio.sleep(0.05))
    assert gone


@loops_only("asyncio", *RLOOP_IDS)
@pytest.mark.parametrize("call", [1, 2, 3])
def test_fileno_may_close_the_loop(loop: asyncio.AbstractEventLoop, call: int) -> None:
    reader, writer = os.pipe()

    class Closing:
        calls = 0

        def fileno(self) -> int:
            self.calls += 1
            if self.calls == call:
                loop.close()
            return reader

    watched = Closing()
    for method in (lambda: loop.add_reader(watched, print), lambda: loop.remove_reader(watched)):
        try:
            method()
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError):
            pass  # what it is depends on the moment
    if not loop.is_closed():
        loop.remove_reader(reader)
    os.close(reader)
    os.close(writer)


@differs("uvloop", "0.23 overflows the stack")
def test_a_long_chain_of_handles_ends(loop: asyncio.AbstractEventLoop) -> None:
    # Each holds the one before it; the last one ends them all.
    handle = loop.call_soon(id, None)
    for _ in range(300_000):
        handle = loop.call_soon(id, handle)
    run_briefly(loop)
    del handle
