"""What needs no descriptor: call_soon, timers, tasks, futures, contexts, cancellations.

Callbacks note their number, so a trace is the order in which the loop ran them. Timers have
distinct times: asyncio documents the order of equal ones as undefined.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from interpreter import Actor, neutral, said
from program import Kind, Verb

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


class Scheduling(Actor):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made = 0
        self.handles: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.waiting_timers = 0

    def number_next(self) -> int:
        self.made += 1
        return self.made

    def ran(self, number: int) -> None:
        self.note("ran", number, variable.get())

    def timed(self, number: int) -> None:
        self.waiting_timers -= 1
        self.ran(number)

    def expecting(self) -> bool:
        return self.waiting_timers > 0 and any(not handle.cancelled() for handle in self.handles)

    # -- steps

    def soon(self) -> None:
        self.handles.append(self.loop.call_soon(self.ran, self.number_next()))

    def soon_from_outside(self) -> None:
        self.handles.append(self.loop.call_soon_threadsafe(self.ran, self.number_next()))

    def soon_in_context(self, value: int) -> None:
        context = contextvars.Context()
        context.run(variable.set, value)
        self.handles.append(self.loop.call_soon(self.ran, self.number_next(), context=context))

    def soon_thrice(self, depth: int) -> None:
        def again(left: int, number: int) -> None:
            self.ran(number)
            variable.set(left)
            for _ in range(2 if left else 0):
                self.loop.call_soon(again, left - 1, self.number_next())

        self.loop.call_soon(again, depth, self.number_next())

    def soon_raising(self) -> None:
        def fail(number: int) -> None:
            self.ran(number)
            raise ValueError("from a callback", number)

        self.loop.call_soon(fail, self.number_next())

    def timers(self, count: int, apart_us: int) -> None:
        """Made in the reverse order of their times."""
        now = self.loop.time()
        for at in reversed(range(count)):
            self.waiting_timers += 1
            when = now + at * apart_us * 1e-6
            self.handles.append(self.loop.call_at(when, self.timed, self.number_next()))

    def cancel_handle(self, at: int) -> None:
        if at < len(self.handles):
            self.handles[-1 - at].cancel()

    def look(self) -> Any:
        return tuple(handle.cancelled() for handle in self.handles[-3:])

    def task(self, turns: int) -> None:
        self.tasks.append(self.loop.create_task(self.walk(turns, self.number_next())))

    def failing_task(self) -> None:
        """Nobody takes its exception, so its end is the exception handler's."""

        async def fail(number: int) -> None:
            self.ran(number)
            await asyncio.sleep(0)
            raise KeyError("from a task", number)

        self.loop.create_task(fail(self.number_next()))

    async def walk(self, turns: int, number: int) -> int:
        """A task of so many steps: sleep(0) is how a task gives way to the next turn."""
        variable.set(number)
        try:
            for _ in range(turns):
                self.ran(number)
                await asyncio.sleep(0)
            if turns == 3:
                await self.loop.create_future()
        except asyncio.CancelledError as exc:
            self.note("cancelled", number, said(exc))
            if number % 3 == 0:
                return number
            raise
        finally:
            self.note("walked", number, variable.get())
        return number

    def cancel_task(self, at: int) -> None:
        if at < len(self.tasks):
            self.note("cancel", self.tasks[-1 - at].cancel("a message"))

    def future(self) -> None:
        number = self.number_next()
        future = self.loop.create_future()
        future.add_done_callback(lambda done: self.note("done", number, done.cancelled()))
        self.futures.append(future)

    def resolve(self, at: int) -> None:
        if at < len(self.futures):
            self.futures[-1 - at].set_result(at)

    def fail(self, at: int) -> None:
        if at < len(self.futures):
            self.futures[-1 - at].set_exception(ValueError(at))

    def cancel_future(self, at: int) -> None:
        if at < len(self.futures):
            self.note("cancel", self.futures[-1 - at].cancel())

    def wait_for(self, at: int) -> None:
        """A task that waits for a future, and is itself waited for."""

        async def waits(number: int, future: Any) -> None:
            try:
                self.note("waited", number, await future)
            except (ValueError, asyncio.CancelledError) as exc:
                self.note("waited in vain", number, said(exc))

        if at < len(self.futures):
            task = waits(self.number_next(), self.futures[-1 - at])
            self.tasks.append(self.loop.create_task(task))

    def gather(self, count: int) -> None:
        async def all_of(number: int) -> None:
            walks = [self.walk(turns, self.number_next()) for turns in range(count)]
            results = await asyncio.gather(*walks, return_exceptions=True)
            self.note("gathered", number, neutral(results))

        self.tasks.append(self.loop.create_task(all_of(self.number_next())))

    async def finish(self) -> None:
        for handle in self.handles:
            handle.cancel()
        self.waiting_timers = 0
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        for task in self.tasks:
            self.note("task", task.cancelled() or said(task.exception()) or task.result())
        for future in self.futures:
            future.cancel()
            if not future.cancelled():
                future.exception()
        await self.run.settle()


WHICH = ((0, 1, 2, 5),)
KINDS = (
    Kind(
        "scheduling",
        Scheduling,
        verbs=(
            Verb("soon", 3),
            Verb("soon_from_outside", 1),
            Verb("soon_in_context", 1, ((1, 2),)),
            Verb("soon_thrice", 2, ((0, 1, 2),)),
            Verb("soon_raising", 1),
            Verb("timers", 3, ((1, 2, 3, 5), (1, 5, 20))),
            Verb("cancel_handle", 2, WHICH),
            Verb("look", 1),
            Verb("task", 3, ((0, 1, 2, 3, 5),)),
            Verb("failing_task", 1),
            Verb("cancel_task", 2, WHICH),
            Verb("future", 2),
            Verb("resolve", 2, WHICH),
            Verb("fail", 1, WHICH),
            Verb("cancel_future", 1, WHICH),
            Verb("wait_for", 2, WHICH),
            Verb("gather", 1, ((0, 1, 3),)),
        ),
        weight=6,
    ),
)
