"""loop.statistics() and loop.utilization(): time, lag, and what there is at the moment."""

import asyncio
import socket
import threading
import time
from typing import Any

import pytest
from support import RLOOP_IDS, Datagrams, Echo, connected, loops_only, serving, wired

pytestmark = loops_only(*RLOOP_IDS)


def burn(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def since(before: dict[str, Any], after: dict[str, Any], key: str) -> list[int]:
    """The counts that a histogram gained, bucket by bucket."""
    return [now - then for then, now in zip(before[key], after[key], strict=True)]


async def test_busy_and_idle_are_all_the_time_that_there_is(loop: Any) -> None:
    await asyncio.sleep(0)
    before, began = loop.statistics(), time.monotonic_ns()
    burn(0.02)
    await asyncio.sleep(0.02)
    burn(0.02)
    after, passed = loop.statistics(), time.monotonic_ns() - began
    busy, idle = (after[key] - before[key] for key in ("busy_ns", "idle_ns"))
    assert busy >= 40_000_000
    assert idle > 0
    # What the clock was read for here lies within.
    assert 0.9 * passed < busy + idle <= passed + 10_000_000


async def test_the_utilization_of_a_loop_that_burns_a_part_of_its_time(loop: Any) -> None:
    # The part as it turns out: another process may take the processor.
    await asyncio.sleep(0)
    before = loop.statistics()
    began, burnt = time.monotonic(), 0.0
    for _ in range(20):
        start = time.monotonic()
        burn(0.005)
        burnt += time.monotonic() - start
        await asyncio.sleep(0.005)
    part = burnt / (time.monotonic() - began)
    # Woken late, or out of the processor between: that is neither burnt nor idle.
    assert part - 0.01 <= loop.utilization(before) <= 1.0
    assert loop.utilization(before) < part + 0.25
    assert 0.0 <= loop.utilization() <= 1.0


def test_a_loop_that_never_ran(loop: Any) -> None:
    assert loop.utilization() == 0.0
    assert loop.statistics()["busy_ns"] == loop.statistics()["idle_ns"] == 0


def test_nothing_is_counted_between_two_runs(loop: Any) -> None:
    loop.run_until_complete(asyncio.sleep(0))
    before = loop.statistics()
    burn(0.05)
    assert loop.statistics()["busy_ns"] == before["busy_ns"]
    loop.run_until_complete(asyncio.sleep(0))
    assert loop.statistics()["busy_ns"] - before["busy_ns"] < 50_000_000


async def test_a_sleep_that_goes_on_is_idle(loop: Any) -> None:
    seen: list[tuple[int, int]] = []

    def look() -> None:
        for _ in range(2):
            time.sleep(0.05)
            found = loop.statistics()
            seen.append((found["idle_ns"], found["busy_ns"]))

    thread = threading.Thread(target=look)
    thread.start()
    await asyncio.sleep(0.2)
    thread.join()
    assert seen[1][0] - seen[0][0] >= 40_000_000
    assert seen[1][1] - seen[0][1] < 40_000_000


async def test_a_late_timer_is_in_its_bucket(loop: Any) -> None:
    before = loop.statistics()
    loop.call_later(0.001, lambda: None)
    time.sleep(0.060)  # noqa: ASYNC251
    await asyncio.sleep(0.002)
    lags = since(before, loop.statistics(), "timer_lag_ns")
    # 59 ms and what the machine adds: from 33.6 ms on, which is bucket 26.
    assert sum(lags[26:]) >= 1
    assert sum(lags) == 2


async def test_the_longest_time_awake_is_told_once(loop: Any) -> None:
    await asyncio.sleep(0.001)
    before = loop.statistics()
    time.sleep(0.070)  # noqa: ASYNC251
    await asyncio.sleep(0.001)
    after = loop.statistics()
    assert after["longest_awake_ns"] >= 70_000_000
    assert sum(since(before, after, "awake_ns")[27:]) >= 1  # from 67.1 ms on
    assert loop.statistics()["longest_awake_ns"] < after["longest_awake_ns"]


async def test_gauges_say_what_there_is(loop: Any) -> None:
    def gauges() -> tuple[int, ...]:
        found = loop.statistics()
        kinds = ("streams", "datagram_endpoints", "listeners", "watched_descriptors", "timers")
        return tuple(found[kind] for kind in kinds)

    base = gauges()
    timer = loop.call_later(1000, lambda: None)
    assert gauges()[4] == base[4] + 1
    timer.cancel()
    async with serving(Echo), connected():
        assert gauges()[0] == base[0] + 2
        assert gauges()[2] == base[2] + 1
    transport, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    assert gauges()[1] == base[1] + 1
    transport.abort()
    near, far = socket.socketpair()
    with near, far:
        loop.add_reader(near, lambda: None)
        loop.add_writer(near, lambda: None)
        assert gauges()[3] == base[3] + 1
        loop.remove_reader(near)
        loop.remove_writer(near)
    loop.call_soon(lambda: None)
    assert loop.statistics()["ready"] >= 1
    for _ in range(5):
        await asyncio.sleep(0)
    assert gauges() == base


async def test_the_backlog_is_what_the_kernel_has_not_taken(loop: Any) -> None:
    async with wired() as (transport, _, _far):
        transport.write(bytes(8 << 20))
        await asyncio.sleep(0)
        backlog = loop.statistics()["backlog_bytes"]
        assert backlog == transport.get_write_buffer_size() > 0
        assert loop.statistics()["operations_in_flight"] > 0
        transport.abort()


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_that_an_exception_ends_is_over(loop: Any, fails: bool) -> None:
    def leave() -> None:
        raise SystemExit

    async def work() -> None:
        if fails:
            loop.call_soon(leave)
            await asyncio.sleep(1000)

    task = loop.create_task(work())
    if fails:
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
    else:
        loop.run_until_complete(task)
    before = loop.statistics()
    burn(0.01)
    assert loop.statistics()["busy_ns"] == before["busy_ns"]
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
