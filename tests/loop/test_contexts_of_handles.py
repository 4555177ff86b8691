"""Each handle's context is a copy of its own, however many were made in the same context.

rloop lets such handles share one Context object; nothing that a program can see may tell.
"""

import asyncio
import contextvars
import gc
import sys
import weakref
from typing import Any

import pytest
from support import RLOOP_IDS, Noise, differs, loops_only, run_briefly, tcp_pair, turns, wait_until

where: contextvars.ContextVar[Any] = contextvars.ContextVar("where", default="nowhere")


def test_what_a_callback_sets_is_gone_with_it(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def look_and_set(value: str) -> None:
        seen.append(where.get())
        where.set(value)
        assert where.get() == value

    for number in range(5):
        loop.call_soon(look_and_set, str(number))
        loop.call_later(0, look_and_set, f"timer {number}")
    run_briefly(loop)
    run_briefly(loop)
    loop.call_soon(look_and_set, "late")
    run_briefly(loop)
    assert seen == ["nowhere"] * 11
    assert where.get() == "nowhere"


def test_a_handle_sees_what_was_set_before_it_was_made(loop: asyncio.AbstractEventLoop) -> None:
    seen: dict[str, str] = {}

    def look(name: str) -> None:
        seen[name] = where.get()

    def schedule() -> None:
        loop.call_soon(look, "before")
        token = where.set("first")
        loop.call_soon(look, "first")
        where.set("second")
        loop.call_soon(look, "second")
        where.reset(token)
        loop.call_soon(look, "reset")

    loop.call_soon(look, "beside")
    loop.call_soon(schedule)
    loop.call_soon(look, "behind")
    run_briefly(loop)
    run_briefly(loop)
    assert seen == {
        "beside": "nowhere",
        "behind": "nowhere",
        "before": "nowhere",
        "first": "first",
        "second": "second",
        "reset": "nowhere",
    }


def test_what_a_callback_copies_keeps_what_it_set(loop: asyncio.AbstractEventLoop) -> None:
    copies: list[contextvars.Context] = []

    async def inherits() -> str:
        return str(where.get())

    def set_and_copy() -> None:
        where.set("mine")
        copies.append(contextvars.copy_context())
        tasks.append(loop.create_task(inherits()))

    tasks: list[asyncio.Task[str]] = []
    loop.call_soon(set_and_copy)
    loop.call_soon(lambda: None)
    run_briefly(loop)
    assert copies[0][where] == "mine"
    assert loop.run_until_complete(tasks[0]) == "mine"


def test_a_callback_that_set_something_and_failed_is_like_any_other(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    seen: list[str] = []

    def set_and_fail() -> None:
        where.set("failed")
        raise ValueError("on purpose")

    loop.call_soon(set_and_fail)
    loop.call_soon(lambda: seen.append(where.get()))
    run_briefly(loop)
    assert seen == ["nowhere"]
    (context,) = noise.take()
    assert str(context["exception"]) == "on purpose"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="handlers have contexts since Python 3.12")
@differs("uvloop", "its handles have no get_context")
def test_the_exception_handler_runs_in_what_the_callback_left(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[str] = []
    loop.set_exception_handler(lambda _loop, _context: seen.append(where.get()))

    def set_and_fail() -> None:
        where.set("left behind")
        raise ValueError

    loop.call_soon(set_and_fail)
    loop.call_soon(lambda: seen.append(where.get()))
    run_briefly(loop)
    assert seen == ["left behind", "nowhere"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context is new in Python 3.12")
@differs("uvloop", "its handles have no get_context")
def test_a_handles_context_can_be_changed_from_outside(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    first: Any = loop.call_soon(lambda: seen.append(where.get()))
    second: Any = loop.call_soon(lambda: seen.append(where.get()))
    first.get_context().run(where.set, "first's")
    assert first.get_context()[where] == "first's"
    assert where not in second.get_context()
    run_briefly(loop)
    assert seen == ["first's", "nowhere"]


def test_a_reader_finds_what_it_set_the_last_time(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    seen: list[str] = []

    def read() -> None:
        near.recv(1)
        seen.append(where.get())
        where.set(f"read {len(seen)}")

    async def feed() -> None:
        for count in range(1, 4):
            far.send(b"x")
            await wait_until(lambda: len(seen) == count)

    with near, far:
        loop.add_reader(near, read)
        loop.run_until_complete(feed())
        loop.remove_reader(near)
    assert seen == ["nowhere", "read 1", "read 2"]


@loops_only("asyncio", *RLOOP_IDS)
def test_a_callback_may_run_the_handle_of_another(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def inner() -> None:
        seen.append(where.get())
        where.set("inner")

    def outer() -> None:
        where.set("outer")
        other._run()  # type: ignore[attr-defined]
        seen.append(where.get())

    loop.call_soon(outer)
    other = loop.call_soon(inner)
    loop.call_soon(lambda: seen.append(where.get()))
    run_briefly(loop)
    assert seen == ["nowhere", "outer", "inner", "nowhere"]


async def test_values_go_with_the_last_handle_that_could_see_them(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Value:
        pass

    def schedule() -> None:
        value = Value()
        references.append(weakref.ref(value))
        where.set(value)
        loop.call_soon(lambda: None)

    references: list[weakref.ref[Value]] = []
    loop.call_soon(schedule)
    await turns(3)
    await asyncio.sleep(0.001)  # the loop waits for the kernel in between
    await asyncio.sleep(0.001)
    gc.collect()
    assert references[0]() is None


def test_a_call_from_another_thread_brings_its_own_context(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[str] = []

    async def call() -> None:
        def from_thread() -> None:
            where.set("thread")
            loop.call_soon_threadsafe(lambda: seen.append(where.get()))

        await asyncio.to_thread(from_thread)
        loop.call_soon(lambda: seen.append(where.get()))
        await wait_until(lambda: len(seen) == 2)

    loop.run_until_complete(call())
    assert sorted(seen) == ["nowhere", "thread"]


@loops_only("asyncio", *RLOOP_IDS)
def test_a_waiting_handle_knows_nothing_of_the_running_one(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[object] = []

    def change_and_look() -> None:
        where.set("changed")
        context = waiting._context  # type: ignore[attr-defined]
        seen.append(context.get(where))

    loop.call_soon(change_and_look)
    waiting = loop.call_soon(lambda: seen.append(where.get()))
    run_briefly(loop)
    assert seen == [None, "nowhere"]


@loops_only(*RLOOP_IDS)
def test_a_callback_that_runs_its_own_handle_is_refused(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    seen: list[str] = []

    def run_again() -> None:
        where.set("inside")
        own._run()  # type: ignore[attr-defined]
        seen.append(where.get())

    own = loop.call_soon(run_again)
    loop.call_soon(lambda: seen.append(where.get()))
    run_briefly(loop)
    assert seen == ["inside", "nowhere"]
    assert where.get() == "nowhere"
    failure = noise.take_one()
    assert isinstance(failure["exception"], RuntimeError)
    assert "is already entered" in str(failure["exception"])


@differs("uvloop", "it enters nothing but a Context")
@pytest.mark.parametrize("context", [object(), [1, 2, 3], "text", {}])
def test_what_is_no_context_is_reported(
    loop: asyncio.AbstractEventLoop, noise: Noise, context: Any
) -> None:
    loop.call_soon(print, context=context)
    run_briefly(loop)
    failure = noise.take_one()
    text = f"'{type(context).__name__}' object has no attribute 'run'"
    assert (type(failure["exception"]), str(failure["exception"])) == (AttributeError, text)
