"""call_later, call_at and the loop's clock.

Never early, equal deadlines in the order of scheduling, odd delays, timer handles and their
comparison, and that a million cancelled timers leave no trace. Source: asyncio's documentation,
"Scheduling delayed callbacks".
"""

import asyncio
import math
import os
import resource
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from support import RLOOP_IDS, differs, loops_only, run_briefly, wait_until


def test_the_clock_is_the_monotonic_one(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(3):
        before = time.monotonic()
        now = loop.time()
        after = time.monotonic()
        # uvloop's clock stands still between turns and counts milliseconds.
        assert before - 0.1 <= now <= after + 0.002


@differs("uvloop", "its clock counts milliseconds and stands still during a turn")
def test_the_clock_goes_on_within_a_turn(loop: asyncio.AbstractEventLoop) -> None:
    before = time.monotonic()
    now = loop.time()
    after = time.monotonic()
    assert before <= now <= after


@differs("uvloop", "its timers count whole milliseconds (uvloop issue 233)")
@pytest.mark.parametrize("delay", [0.0002, 0.0004])
async def test_a_timer_below_a_millisecond_is_never_early(
    loop: asyncio.AbstractEventLoop, delay: float
) -> None:
    for _ in range(20):
        fired = loop.create_future()
        handle = loop.call_later(delay, lambda fired=fired: fired.set_result(time.monotonic()))
        assert await fired >= handle.when() - time.get_clock_info("monotonic").resolution


@pytest.mark.parametrize("delay", [0.001, 0.0015, 0.0107, 0.05])
async def test_a_timer_is_never_early(loop: asyncio.AbstractEventLoop, delay: float) -> None:
    for _ in range(5):
        fired = loop.create_future()
        handle = loop.call_later(delay, lambda: fired.set_result(time.monotonic()))
        assert await fired >= handle.when() - time.get_clock_info("monotonic").resolution


async def test_timers_fire_in_the_order_of_their_deadlines(
    loop: asyncio.AbstractEventLoop,
) -> None:
    fired: list[int] = []
    for milliseconds in (30, 10, 40, 20, 0):
        loop.call_later(milliseconds / 1000, fired.append, milliseconds)
    await wait_until(lambda: len(fired) == 5)
    assert fired == [0, 10, 20, 30, 40]


@loops_only(*RLOOP_IDS)
async def test_equal_deadlines_fire_in_the_order_of_scheduling(
    loop: asyncio.AbstractEventLoop,
) -> None:
    fired: list[int] = []
    when = loop.time() + 0.01
    for number in range(200):
        loop.call_at(when, fired.append, number)
    await wait_until(lambda: len(fired) == 200)
    assert fired == list(range(200))


@pytest.mark.parametrize("delay", [0, -1, -0.5, 0.0])
async def test_a_delay_of_zero_or_less_fires_soon(
    loop: asyncio.AbstractEventLoop, delay: float
) -> None:
    fired = loop.create_future()
    loop.call_later(delay, fired.set_result, "fired")
    assert await fired == "fired"


@pytest.mark.parametrize("delay", [0, -1, 0.01])
@differs("uvloop", "call_later(0) gives a plain handle of its own class (uvloop issue 482)")
def test_call_later_always_gives_a_timer_handle(
    loop: asyncio.AbstractEventLoop, delay: float
) -> None:
    before = loop.time()
    handle = loop.call_later(delay, print)
    assert isinstance(handle, asyncio.TimerHandle)
    assert handle.when() == pytest.approx(before + delay, abs=0.1)
    handle.cancel()


@differs("uvloop", "it converts the deadline into milliseconds from now and back")
def test_when_is_the_deadline_that_was_asked_for(loop: asyncio.AbstractEventLoop) -> None:
    when = loop.time() + 17.123456789
    handle = loop.call_at(when, print)
    assert handle.when() == when
    handle.cancel()
    assert handle.when() == when


def test_integers_are_delays_and_deadlines_too(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_later(3600, print)
    assert loop.time() + 3500 < handle.when() <= loop.time() + 3601
    handle.cancel()
    handle = loop.call_at(int(loop.time()) + 3600, print)
    handle.cancel()


@differs("uvloop", "call_later(None) fails in a comparison and names no delay")
def test_none_is_no_delay(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError, match="delay must not be None"):
        loop.call_later(None, print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="when cannot be None"):
        loop.call_at(None, print)  # type: ignore[arg-type]


@pytest.mark.parametrize("delay", ["1", b"1", [], {}])
def test_a_delay_that_is_no_number_is_a_type_error(
    loop: asyncio.AbstractEventLoop, delay: object
) -> None:
    with pytest.raises(TypeError):
        loop.call_later(delay, print)  # type: ignore[arg-type]


@differs("uvloop", "an endless delay becomes an integer there and overflows")
def test_an_endless_delay_never_fires(loop: asyncio.AbstractEventLoop) -> None:
    fired: list[str] = []
    handle = loop.call_later(math.inf, fired.append, "never")
    assert handle.when() == math.inf
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    handle.cancel()
    run_briefly(loop)
    assert fired == []


@pytest.mark.parametrize("delay", [1e6, 1e9, 1e12, 1e300])
def test_a_very_long_delay_neither_fires_nor_overflows(
    loop: asyncio.AbstractEventLoop, delay: float
) -> None:
    fired: list[str] = []
    handle = loop.call_later(delay, fired.append, "too early")
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert fired == []
    handle.cancel()


@loops_only(*RLOOP_IDS)
async def test_a_nan_delay_does_not_disturb_other_timers(loop: asyncio.AbstractEventLoop) -> None:
    fired = loop.create_future()
    try:
        odd = loop.call_later(math.nan, print)
    except ValueError:
        odd = None
    loop.call_later(0.005, fired.set_result, "fired")
    assert await fired == "fired"
    if odd is not None:
        odd.cancel()


def test_a_cancelled_timer_does_not_fire(loop: asyncio.AbstractEventLoop) -> None:
    fired: list[str] = []
    handle = loop.call_later(0.005, fired.append, "cancelled")
    handle.cancel()
    assert handle.cancelled()
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert fired == []


def test_a_timer_may_cancel_another_that_is_due_in_the_same_turn(
    loop: asyncio.AbstractEventLoop,
) -> None:
    fired: list[str] = []
    when = loop.time()
    first = loop.call_at(when, lambda: second.cancel())
    second = loop.call_at(when + 0.0001, fired.append, "second")
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert fired == []
    assert not first.cancelled()


def test_a_timer_that_fired_is_not_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert not handle.cancelled()
    handle.cancel()
    assert handle.cancelled()


@differs("uvloop", "its timer handles cannot be compared")
def test_timer_handles_compare_by_their_deadlines(loop: asyncio.AbstractEventLoop) -> None:
    now = loop.time()
    early = loop.call_at(now + 100, print, 1)
    late = loop.call_at(now + 200, print, 2)
    assert early < late and early <= late and late > early and late >= early
    assert early != late and early == early
    assert hash(early) == hash(early.when())
    assert early != 3
    early.cancel()
    late.cancel()


@differs("uvloop", "the representation of its timers leaves the deadline out")
def test_the_repr_of_a_timer_tells_the_deadline(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_later(1000, print)
    assert "TimerHandle" in repr(handle)
    assert "when=" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)


def test_timers_on_a_closed_loop_raise(loop: asyncio.AbstractEventLoop) -> None:
    pending = loop.call_later(1000, print)
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_later(1, print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_at(1, print)
    pending.cancel()


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


@pytest.mark.skipif(
    "RLOOP_SANITIZE" in os.environ, reason="the sanitizer keeps freed memory in quarantine"
)
def test_a_million_cancelled_timers_do_not_grow_memory(loop: asyncio.AbstractEventLoop) -> None:
    # What the first rounds needed may stay with the allocator; the later ones must not add to it.
    def rounds(count: int) -> None:
        for _ in range(count):
            for _ in range(5000):
                loop.call_later(3600, print).cancel()
            run_briefly(loop)

    rounds(4)
    before = resident_kib()
    rounds(196)
    assert resident_kib() - before < 20_000


async def test_live_timers_survive_the_clearing_of_cancelled_ones(
    loop: asyncio.AbstractEventLoop,
) -> None:
    fired: list[int] = []
    for number in range(20):
        loop.call_later(0.01 + number * 0.0015, fired.append, number)
        for _ in range(200):
            loop.call_later(60 + number, print).cancel()
    await wait_until(lambda: len(fired) == 20)
    assert fired == list(range(20))


async def test_a_timer_may_schedule_the_next_one(loop: asyncio.AbstractEventLoop) -> None:
    done = loop.create_future()

    def tick(left: int) -> None:
        if left:
            loop.call_later(0, tick, left - 1)
        else:
            done.set_result(None)

    tick(300)
    await done


@pytest.mark.parametrize("delay", [Fraction(1, 500), Fraction(0), False, 0])
@loops_only("asyncio", *RLOOP_IDS)
async def test_a_delay_is_any_number_that_adds_to_the_time(
    loop: asyncio.AbstractEventLoop, delay: Any
) -> None:
    before = loop.time()
    done = loop.create_future()
    handle = loop.call_later(delay, done.set_result, None)
    assert type(handle.when()) is float
    assert before + float(delay) <= handle.when()
    assert handle._scheduled  # type: ignore[attr-defined] # uvicorn's reload and debuggers look
    await done
    assert not handle._scheduled  # type: ignore[attr-defined]
    assert loop.time() >= handle.when() - time.get_clock_info("monotonic").resolution
