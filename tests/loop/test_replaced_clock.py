"""A program's own clock: a subclass's time(), or one that a test puts in place of it.

Timers follow it as they follow asyncio's: call_later adds to it, and at each turn it says what is
due. That is what comes before now + max(resolution of the clock, one ulp of now), as in 3.15. Older
versions lack the ulp, and spin over a timer for now while a clock of large values stands.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import RLOOP_IDS, finish, loops_only

HAS_ULP = "ulp" in inspect.getsource(asyncio.base_events.BaseEventLoop._run_once)  # type: ignore[attr-defined]
LARGE = float(2**53)

pytestmark = loops_only("asyncio", *RLOOP_IDS)


class Clock:
    """Stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["subclass", "instance"])
def clocked(
    request: pytest.FixtureRequest, loop_id: str, clock: Clock
) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop whose time() is the clock's."""
    base: Any = asyncio.SelectorEventLoop
    arguments: tuple[str, ...] = ()
    if loop_id != "asyncio":
        import rloop

        base = rloop.UringEventLoop
        arguments = ({"rloop-epoll": "epoll", "rloop-uring": "io_uring"}[loop_id],)

    class Loop(base):  # type: ignore[misc] # which one is known at run time
        def time(self) -> float:
            return clock()

    if request.param == "subclass":
        loop = Loop(*arguments)
    else:
        loop = base(*arguments)
        loop.time = clock
        loop.call_soon(loop.stop)
        loop.run_forever()
    yield loop
    finish(loop)


def make_turns(loop: asyncio.AbstractEventLoop, count: int = 5) -> None:
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


def fired(loop: asyncio.AbstractEventLoop, *deadlines: float, turns: int = 5) -> list[float]:
    """Which of these timers run while the clock stands."""
    ran: list[float] = []
    handles = [loop.call_at(when, ran.append, when) for when in deadlines]
    make_turns(loop, turns)
    for handle in handles:
        handle.cancel()
    return ran


def test_call_later_adds_to_it(clocked: asyncio.AbstractEventLoop, clock: Clock) -> None:
    handle = clocked.call_later(7, print)
    assert handle.when() == 107.0
    clock.now = LARGE
    assert clocked.call_later(8, print).when() == LARGE + 8


@pytest.mark.parametrize("now", [0.0, 100.0, 4_194_304.0, 1e8])
def test_what_the_clock_cannot_tell_from_now_is_due(
    clocked: asyncio.AbstractEventLoop, clock: Clock, loop_id: str, now: float
) -> None:
    clock.now = now
    resolution = time.get_clock_info("monotonic").resolution
    step = max(resolution, math.ulp(now))
    due = {now - 1, now - step}
    if now + resolution > now or HAS_ULP or loop_id != "asyncio":
        due.add(now)
    ran = fired(clocked, now + 1, now + 2 * step, now, now - step, now - 1)
    assert ran == sorted(due)


@pytest.mark.parametrize("value", [LARGE, LARGE * 1024, 1e300])
def test_a_timer_for_now_is_due_however_large_now_is(
    clocked: asyncio.AbstractEventLoop, clock: Clock, loop_id: str, value: float
) -> None:
    if loop_id == "asyncio" and not HAS_ULP:
        pytest.skip("before 3.15 asyncio spins while such a clock stands")
    clock.now = value
    later = math.nextafter(value, math.inf)
    assert fired(clocked, later, value) == [value]
    clock.now = later
    assert fired(clocked, later) == [later]


def test_its_resolution_counts(clocked: asyncio.AbstractEventLoop) -> None:
    clocked._clock_resolution = 0.5  # type: ignore[attr-defined]
    assert fired(clocked, 100.6, 100.4, 99.0) == [99.0, 100.4]


def test_the_timers_run_when_it_jumps(clocked: asyncio.AbstractEventLoop, clock: Clock) -> None:
    ran: list[str] = []
    clocked.call_later(3600, ran.append, "an hour")
    clocked.call_later(60, ran.append, "a minute")

    def jump() -> None:
        clock.now += 3600

    make_turns(clocked)
    assert ran == []
    clocked.call_soon(jump)
    make_turns(clocked)
    assert ran == ["a minute", "an hour"]


def test_the_loop_waits_as_long_as_it_says(
    clocked: asyncio.AbstractEventLoop, clock: Clock
) -> None:
    began = time.monotonic()
    type(clock).__call__ = lambda self: 1e6 + time.monotonic() - began  # type: ignore[method-assign]
    try:
        clocked.call_later(0.02, clocked.stop)
        clocked.run_forever()
    finally:
        type(clock).__call__ = lambda self: self.now  # type: ignore[method-assign]
    assert time.monotonic() - began >= 0.02 - 1e-6


def test_what_it_raises_leaves_the_run(clocked: asyncio.AbstractEventLoop, clock: Clock) -> None:
    class Broken(Exception):
        pass

    def fail(self: Clock) -> float:
        raise Broken

    before: Callable[[Clock], float] = Clock.__call__
    handle = clocked.call_later(1, print)
    Clock.__call__ = fail  # type: ignore[method-assign]
    try:
        with pytest.raises(Broken):
            clocked.run_forever()
    finally:
        Clock.__call__ = before  # type: ignore[method-assign]
    handle.cancel()
