"""Programs that put their own in the place of the loop's methods.

Virtual clocks, schedulers of tests, instrumentation: a subclass, an attribute of one loop, a class
that is patched in the middle of a run. asyncio's loop calls its own methods by name, and so what
they are replaced by. uvloop calls its own functions whatever a subclass says.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from support import RLOOP_IDS, finish, loops_only, run_briefly, turns, wired

pytestmark = loops_only("asyncio", *RLOOP_IDS)

HOUR = 3600.0
Made = Callable[..., Any]


def base_of(loop_id: str) -> Any:
    if loop_id == "asyncio":
        return asyncio.SelectorEventLoop
    import rloop

    return rloop.UringEventLoop


@pytest.fixture
def make(loop_id: str, noise: Any) -> Iterator[Made]:
    """Makes a loop of a subclass with these methods."""
    made: list[Any] = []

    def new(**methods: Any) -> Any:
        kind = type("Own", (base_of(loop_id),), methods)
        backend = {"rloop-epoll": "epoll", "rloop-uring": "io_uring"}
        loop = kind(backend[loop_id]) if loop_id in backend else kind()
        loop.set_exception_handler(noise.record)
        made.append(loop)
        return loop

    yield new
    for loop in made:
        finish(loop)


class Clock:
    """A clock that stands still until somebody moves it, far from the system's."""

    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self, _loop: Any = None) -> float:
        return self.now


#: Half an hour and an hour, and a quarter more: in their turn the clock has moved before they run.
DUE = [0.75 * HOUR, 1.25 * HOUR]


# -- time ---------------------------------------------------------------------------------------


def run_an_hour(loop: Any, clock: Clock) -> list[float]:
    """Schedules around an hour of `clock`, which it moves by quarters; when what ran."""
    ran: list[float] = []
    early = loop.call_later(HOUR / 2, lambda: ran.append(clock.now))
    late = loop.call_at(clock.now + HOUR, lambda: (ran.append(clock.now), loop.stop()))
    assert (early.when(), late.when()) == (clock.now + HOUR / 2, clock.now + HOUR)

    def move() -> None:
        clock.now += HOUR / 4
        loop.call_soon(move)

    loop.call_soon(move)
    loop.run_forever()
    return [when - 1e6 for when in ran]


def test_timers_follow_the_time_of_a_subclass(make: Made) -> None:
    clock = Clock()
    loop = make(time=lambda self: clock.now)
    assert run_an_hour(loop, clock) == DUE


def test_timers_follow_the_time_of_one_loop(make: Made) -> None:
    clock = Clock()
    loop = make()
    loop.time = clock
    assert run_an_hour(loop, clock) == DUE
    del loop.time
    assert loop.call_later(1, int).when() < 1e6


def test_a_class_may_be_patched_in_the_middle_of_a_run(make: Made) -> None:
    loop = make()
    clock = Clock()

    async def main() -> None:
        await asyncio.sleep(0.001)
        with mock.patch.object(type(loop), "time", clock):
            woken = loop.create_future()
            loop.call_later(HOUR, woken.set_result, "an hour later")
            await turns()
            assert not woken.done()
            clock.now += HOUR
            assert await woken == "an hour later"
        assert loop.time() < 1e6
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())


def test_the_wait_is_as_long_as_the_replaced_clock_says(make: Made) -> None:
    clock = Clock()
    loop = make(time=lambda self: clock.now)
    # Nobody moves it while the loop sleeps; a thread does and wakes the loop.
    loop.call_later(HOUR, loop.stop)

    def move() -> None:
        clock.now += HOUR
        loop.call_soon_threadsafe(int)

    mover = threading.Timer(0.01, move)
    mover.start()
    loop.run_forever()
    mover.join()


def test_sums_of_floats_are_due_within_the_resolution(make: Made) -> None:
    clock = Clock()
    loop = make(time=lambda self: clock.now)
    loop._clock_resolution = 1e-3
    loop.call_at(clock.now + 0.0009, loop.stop)
    loop.run_forever()


def test_a_failing_time_leaves_the_run(make: Made) -> None:
    broken: list[bool] = []

    def time(self: Any) -> float:
        if broken:
            raise ZeroDivisionError
        return 1.0

    loop = make(time=time)
    loop.call_later(1, int)
    broken.append(True)
    with pytest.raises(ZeroDivisionError):
        loop.call_later(1, int)
    with pytest.raises(ZeroDivisionError):
        loop.run_forever()
    broken.clear()
    run_briefly(loop)


def test_the_common_recipe_of_virtual_time(make: Made, loop_id: str) -> None:
    clock = Clock()

    def run_once(self: Any) -> None:
        if not self._ready and self._scheduled:
            clock.now = max(clock.now, self._scheduled[0].when())
        super(type(self), self)._run_once()

    loop = make(time=lambda self: clock.now, _run_once=run_once)

    async def main() -> list[int]:
        order: list[int] = []

        async def sleeper(hours: int) -> None:
            await asyncio.sleep(hours * HOUR)
            order.append(hours)

        async with asyncio.TaskGroup() as group:
            for hours in (3, 1, 2):
                group.create_task(sleeper(hours))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(HOUR):
                await loop.create_future()
        return order

    assert loop.run_until_complete(main()) == [1, 2, 3]
    assert clock.now == pytest.approx(1e6 + 4 * HOUR)


# -- scheduling ---------------------------------------------------------------------------------


def test_call_later_goes_by_call_at(make: Made) -> None:
    seen: list[Any] = []

    def call_at(self: Any, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        seen.append((callback, args, context))
        return super(type(self), self).call_at(when, callback, *args, context=context)

    loop = make(call_at=call_at)
    context = contextvars.copy_context()
    ran: list[int] = []
    loop.call_later(0, ran.append, 1, context=context)
    loop.call_later(0, ran.append, 2)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert ran == [1, 2]
    assert [entry[1] for entry in seen] == [(1,), (2,), ()]
    assert [entry[2] for entry in seen] == [context, None, None]


async def hear() -> None:
    async with wired() as (transport, protocol, far):
        far.send(b"x")
        await protocol.wait_for_bytes(1)
        assert protocol.transport is transport


def test_what_asyncio_schedules_goes_by_call_soon(make: Made) -> None:
    seen: list[str] = []

    def call_soon(self: Any, callback: Any, *args: Any, context: Any = None) -> Any:
        seen.append(getattr(callback, "__name__", type(callback).__name__))
        return super(type(self), self).call_soon(callback, *args, context=context)

    loop = make(call_soon=call_soon)

    async def main() -> None:
        future = loop.create_future()
        future.add_done_callback(done)
        future.set_result(None)
        await future
        await hear()

    def done(_future: Any) -> None:
        pass

    loop.run_until_complete(main())
    assert {"done", "connection_made"} <= set(seen)
    assert any("task" in name.lower() for name in seen), seen


def test_executors_go_by_call_soon_threadsafe(make: Made) -> None:
    seen: list[str] = []

    def call_soon_threadsafe(self: Any, callback: Any, *args: Any, context: Any = None) -> Any:
        seen.append(threading.current_thread().name)
        return super(type(self), self).call_soon_threadsafe(callback, *args, context=context)

    loop = make(call_soon_threadsafe=call_soon_threadsafe)

    async def main() -> None:
        # It ends in its thread only after the loop waits for it.
        released = threading.Event()
        waiting = loop.run_in_executor(None, released.wait)
        loop.call_soon(released.set)
        await waiting

    loop.run_until_complete(main())
    assert seen


def test_tasks_and_futures_are_the_subclasss_own(make: Made) -> None:
    named: list[str] = []
    futures: list[Any] = []

    def create_task(self: Any, coro: Any, **options: Any) -> Any:
        named.append(coro.__name__)
        return super(type(self), self).create_task(coro, **options)

    def create_future(self: Any) -> Any:
        futures.append(super(type(self), self).create_future())
        return futures[-1]

    loop = make(create_task=create_task, create_future=create_future)

    async def child() -> None:
        pass

    async def main() -> None:
        await asyncio.create_task(child())
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            futures.clear()
            waiting = asyncio.ensure_future(loop.sock_recv(near, 1))
            await turns()
            assert len(futures) == 1
            far.send(b"x")
            assert await waiting == b"x"

    loop.run_until_complete(main())
    assert named == ["main", "child", "child", "sock_recv"]


# -- turns --------------------------------------------------------------------------------------


def test_a_replaced_turn_is_what_the_loop_runs(make: Made) -> None:
    turned: list[bool] = []

    def run_once(self: Any) -> None:
        turned.append(True)
        super(type(self), self)._run_once()

    loop = make(_run_once=run_once)
    loop.run_until_complete(turns(10))
    assert len(turned) >= 10
    loop.run_until_complete(hear())


def test_a_failing_turn_leaves_the_run_and_the_loop_goes_on(make: Made) -> None:
    failing = [True]

    def run_once(self: Any) -> None:
        if failing:
            failing.clear()
            raise ZeroDivisionError
        super(type(self), self)._run_once()

    loop = make(_run_once=run_once)
    with pytest.raises(ZeroDivisionError):
        loop.run_forever()
    assert not loop.is_running()
    loop.run_until_complete(hear())


def test_a_program_may_drive_the_turns(make: Made) -> None:
    loop = make()
    ran: list[str] = []
    near, far = socket.socketpair()
    with near, far:
        loop.call_soon(ran.append, "soon")
        loop._run_once()
        assert ran == ["soon"]
        loop.call_later(0.001, ran.append, "later")
        while len(ran) < 2:
            loop._run_once()
        loop.add_reader(near, lambda: ran.append("readable"))
        far.send(b"x")
        loop._run_once()
        assert ran == ["soon", "later", "readable"]
        loop.remove_reader(near)
    loop.run_until_complete(hear())
    loop.close()


@loops_only(*RLOOP_IDS)
def test_turns_do_not_nest(loop: Any) -> None:
    refusals: list[str] = []

    def nest() -> None:
        with pytest.raises(RuntimeError, match="do not nest") as refused:
            loop._run_once()
        refusals.append(str(refused.value))

    loop.call_soon(nest)
    run_briefly(loop)
    assert len(refusals) == 1


def test_a_closed_loop_turns_no_more(make: Made) -> None:
    loop = make()
    loop.close()
    with pytest.raises((RuntimeError, AttributeError)):
        loop._run_once()


def test_a_loop_may_change_its_class(make: Made, loop_id: str) -> None:
    clock = Clock()
    loop = make()
    run_briefly(loop)
    loop.__class__ = type("Timed", (type(loop),), {"time": lambda self: clock.now})
    assert run_an_hour(loop, clock) == DUE
