"""Callbacks that run one after the other, with equal contexts and with different ones.

rloop enters a context once for several of them; nothing that a program can see may tell.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from collections.abc import Callable
from typing import Any

import pytest
from support import RLOOP_IDS, Noise, differs, loops_only, run_briefly

where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")


def test_equal_and_different_contexts_take_turns(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    contexts = [contextvars.copy_context() for _ in range(2)]
    for number, context in enumerate(contexts):
        context.run(where.set, f"context {number}")
    for number in range(12):
        context = [None, None, *contexts][number % 4]
        loop.call_soon(lambda: seen.append(where.get()), context=context)
    run_briefly(loop)
    assert seen == ["nowhere", "nowhere", "context 0", "context 1"] * 3


def test_contexts_of_several_makers_take_turns(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    async def maker(name: str) -> None:
        where.set(name)
        for _ in range(3):
            for _ in range(2):
                loop.call_soon(lambda: seen.append(where.get()))
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*map(maker, "abc"))
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert seen == list("aabbcc") * 3


class Leaver:
    """Looks at the context where it ends, and sets a value there."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def __del__(self) -> None:
        self.seen.append(where.get())
        where.set("left by the one before")

    def called(self, *_: object) -> None:
        pass


def schedule_argument(loop: Any, leaver: Leaver) -> None:
    loop.call_soon(lambda _: None, leaver)


def schedule_twice(loop: Any, leaver: Leaver) -> None:
    loop.call_soon(lambda *_: None, leaver, leaver)


def schedule_method(loop: Any, leaver: Leaver) -> None:
    loop.call_soon(leaver.called)


def schedule_method_with_itself(loop: Any, leaver: Leaver) -> None:
    loop.call_soon(leaver.called, leaver)


def schedule_closure(loop: Any, leaver: Leaver) -> None:
    loop.call_soon(lambda held=leaver: None)


def schedule_function_of_a_method(loop: Any, leaver: Leaver) -> None:
    loop.call_soon(types.MethodType(lambda _self, held=leaver: None, loop))


def schedule_result(loop: Any, leaver: Leaver) -> None:
    held = [leaver]
    loop.call_soon(lambda: held.pop())


def schedule_one_that_cancels_itself(loop: Any, leaver: Leaver) -> None:
    handles: list[Any] = []
    handles.append(loop.call_soon(lambda _: handles.pop().cancel(), leaver))


@differs("uvloop", "it ends them in no context of the program's")
@pytest.mark.parametrize(
    "one",
    [
        schedule_argument,
        schedule_twice,
        schedule_method,
        schedule_method_with_itself,
        schedule_closure,
        schedule_function_of_a_method,
        schedule_result,
        schedule_one_that_cancels_itself,
    ],
    ids=lambda one: one.__name__.removeprefix("schedule_"),
)
def test_what_ends_with_a_callback_ends_outside_of_its_context(
    loop: asyncio.AbstractEventLoop, one: Callable[[Any, Leaver], None]
) -> None:
    ended: list[str] = []
    seen: list[str] = []

    def schedule() -> None:
        where.set("inside")
        for _ in range(3):
            one(loop, Leaver(ended))
            loop.call_soon(lambda: seen.append(where.get()))

    def run() -> None:
        where.set("outside")
        loop.call_soon(schedule)
        run_briefly(loop)
        run_briefly(loop)

    contextvars.copy_context().run(run)
    assert seen == ["inside"] * 3
    assert ended == ["outside"] + ["left by the one before"] * 2


class Ender:
    """A variable's value that does something when it ends."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __del__(self) -> None:
        self.act()


@loops_only("asyncio", *RLOOP_IDS)
@pytest.mark.parametrize("act", ["cancel", "run", "look at"])
def test_a_value_that_ends_with_its_callback_meets_the_next(
    loop: asyncio.AbstractEventLoop, act: str
) -> None:
    seen: list[str] = []
    value: contextvars.ContextVar[object] = contextvars.ContextVar("value")

    handles: list[Any] = []

    def end() -> None:
        if act == "cancel":
            handles[0].cancel()
        elif act == "run":
            handles[0]._run()
        else:
            for handle in handles:
                handle.get_context().run(where.set, "looked at")

    def first() -> None:
        value.set(Ender(end))

    def look(name: str) -> None:
        seen.append(f"{name} {where.get()}")

    loop.call_soon(first)
    handles += [loop.call_soon(look, name) for name in ("second", "third")]
    if act == "look at" and not hasattr(handles[0], "get_context"):
        pytest.skip("asyncio's handles do not show their context before 3.12")
    loop.call_soon(look, "fourth")
    run_briefly(loop)
    expected = {
        "cancel": ["third nowhere", "fourth nowhere"],
        "run": ["second nowhere", "second nowhere", "third nowhere", "fourth nowhere"],
        "look at": ["second looked at", "third looked at", "fourth nowhere"],
    }
    assert seen == expected[act]


def test_one_that_fails_between_others(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    seen: list[str] = []

    def fail() -> None:
        where.set("failed")
        raise ZeroDivisionError

    for _ in range(3):
        loop.call_soon(lambda: seen.append(where.get()))
        loop.call_soon(fail)
    loop.call_soon(lambda: seen.append(where.get()))
    run_briefly(loop)
    assert seen == ["nowhere"] * 4
    assert [type(context["exception"]) for context in noise.contexts] == [ZeroDivisionError] * 3
    noise.contexts.clear()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_one_that_ends_the_run(loop: asyncio.AbstractEventLoop, kind: type[BaseException]) -> None:
    seen: list[str] = []

    def leave() -> None:
        where.set("left")
        raise kind

    loop.call_soon(lambda: seen.append(where.get()))
    loop.call_soon(leave)
    loop.call_soon(lambda: seen.append(where.get()))
    with pytest.raises(kind):
        loop.run_forever()
    assert where.get() == "nowhere"
    run_briefly(loop)
    assert seen == ["nowhere", "nowhere"]


@loops_only("asyncio", *RLOOP_IDS)
def test_one_that_runs_the_next(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    handles: list[Any] = []

    def run_the_next() -> None:
        where.set("changed by the first")
        handles.pop()._run()
        seen.append(where.get())

    loop.call_soon(lambda: seen.append(where.get()))
    loop.call_soon(run_the_next)
    handles.append(loop.call_soon(lambda: seen.append(where.get())))
    run_briefly(loop)
    assert seen == ["nowhere", "nowhere", "changed by the first", "nowhere"]


def test_what_callbacks_copy_is_theirs(loop: asyncio.AbstractEventLoop) -> None:
    copies: list[contextvars.Context] = []

    def copy(value: str) -> None:
        copies.append(contextvars.copy_context())
        where.set(value)
        copies.append(contextvars.copy_context())

    for number in range(3):
        loop.call_soon(copy, str(number))
    run_briefly(loop)
    assert [context.get(where) for context in copies] == [None, "0", None, "1", None, "2"]


def test_one_cancels_the_next_and_the_last_goes_on(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.call_soon(lambda: cancelled.cancel())
    cancelled = loop.call_soon(seen.append, "cancelled")
    loop.call_soon(seen.append, "last")
    run_briefly(loop)
    assert seen == ["last"]
