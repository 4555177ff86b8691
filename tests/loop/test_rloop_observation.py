"""loop.statistics() and loop.utilization(): time, lag, and what there is at the moment."""

import asyncio
import contextlib
import os
import socket
import statistics
import threading
import time
import warnings
from typing import Any

import pytest
import support
from support import (
    RLOOP_IDS,
    Datagrams,
    Echo,
    Recorder,
    connected,
    loops_only,
    serving,
    wait_until,
    wired,
)

live_loops: Any = None
if support.wanted("rloop"):
    from rloop.observation import live_loops

pytestmark = loops_only(*RLOOP_IDS)


def burn(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def since(before: dict[str, Any], after: dict[str, Any], key: str) -> list[int]:
    """The counts that a histogram gained, bucket by bucket."""
    return [now - then for then, now in zip(before[key], after[key], strict=True)]


async def test_busy_and_idle_are_all_the_time_that_there_is(loop: Any) -> None:
    await asyncio.sleep(0.001)
    began_before = time.monotonic_ns()
    before = loop.statistics()
    began = time.monotonic_ns()
    burn(0.02)
    await asyncio.sleep(0.02)
    burn(0.02)
    ended = time.monotonic_ns()
    after = loop.statistics()
    ended_after = time.monotonic_ns()
    busy, idle = (after[key] - before[key] for key in ("busy_ns", "idle_ns"))
    assert busy >= 40_000_000
    assert idle > 0
    assert ended - began <= busy + idle <= ended_after - began_before


async def test_half_of_the_time_burnt_is_a_utilization_of_one_half(loop: Any) -> None:
    # Burns as long as it slept, however long that was. Another process may take the processor from
    # the loop between its wait and our clock: so in some rounds, not in half of them.
    differences = []
    for _ in range(41):
        before, fell_asleep = loop.statistics(), time.monotonic()
        await asyncio.sleep(0.005)
        woke = time.monotonic()
        burn(woke - fell_asleep)
        utilization, burnt = loop.utilization(before), time.monotonic() - woke
        differences.append(utilization - burnt / (burnt + woke - fell_asleep))
    assert abs(statistics.median(differences)) <= 0.03
    assert 0.0 < loop.utilization() < 1.0


def test_a_loop_that_never_ran(loop: Any) -> None:
    assert loop.utilization() == 0.0
    assert loop.statistics()["busy_ns"] == loop.statistics()["idle_ns"] == 0


def test_nothing_is_counted_between_two_runs(loop: Any) -> None:
    loop.run_until_complete(asyncio.sleep(0))
    before = loop.statistics()
    burn(0.05)
    assert loop.statistics()["busy_ns"] == before["busy_ns"]
    began = time.monotonic_ns()
    loop.run_until_complete(asyncio.sleep(0))
    assert loop.statistics()["busy_ns"] - before["busy_ns"] <= time.monotonic_ns() - began


async def test_a_sleep_that_goes_on_is_idle(loop: Any) -> None:
    seen: list[dict[str, Any]] = []
    asleep = threading.Event()

    def look() -> None:
        asleep.wait()
        for _ in range(1000):
            time.sleep(0.005)
            seen.append(loop.statistics())
            if len(seen) > 1 and seen[-1]["turns"] == seen[-2]["turns"]:
                break
        loop.call_soon_threadsafe(woken.set_result, None)

    woken = loop.create_future()
    thread = threading.Thread(target=look)
    thread.start()
    loop.call_soon(asleep.set)
    await woken
    thread.join()
    # No turn in between: the time that went by was idle.
    assert seen[-1]["turns"] == seen[-2]["turns"]
    assert seen[-1]["busy_ns"] == seen[-2]["busy_ns"]
    assert seen[-1]["idle_ns"] - seen[-2]["idle_ns"] >= 5_000_000


async def test_a_late_timer_is_in_its_bucket(loop: Any) -> None:
    late: list[float] = []
    when = loop.time() + 0.001
    await asyncio.sleep(0)
    before = loop.statistics()
    loop.call_at(when, lambda: late.append(loop.time() - when))
    burn(0.051)
    await wait_until(lambda: late)
    after = loop.statistics()
    lags = since(before, after, "timer_lag_ns")
    (bucket,) = (number for number, count in enumerate(lags) if count)
    assert lags[bucket] == 1
    assert (50_000_000).bit_length() == 26 <= bucket <= int(late[0] * 1e9).bit_length()
    assert 50_000_000 <= after["timer_lag_total_ns"] - before["timer_lag_total_ns"] <= late[0] * 1e9


async def test_a_timer_waits_for_the_callbacks_of_its_turn_too(loop: Any) -> None:
    when = loop.time() + 0.001
    await asyncio.sleep(0.002)
    before = loop.statistics()
    loop.call_at(when, lambda: None)
    loop.call_soon(burn, 0.04)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    after = loop.statistics()
    assert after["timer_lag_total_ns"] - before["timer_lag_total_ns"] >= 40_000_000


async def test_cancelled_timers_are_not_late(loop: Any) -> None:
    when = loop.time()
    before = loop.statistics()
    timer = loop.call_at(when, lambda: None)
    loop.call_soon(timer.cancel)  # in the turn that finds it due
    for _ in range(3):
        await asyncio.sleep(0)
    assert sum(since(before, loop.statistics(), "timer_lag_ns")) == 0


def test_a_timer_of_another_clock_is_late_by_that_clock(loop: Any) -> None:
    asked = 0

    def clock() -> float:
        nonlocal asked
        asked += 1
        return 1e6

    loop.time = clock
    loop.call_at(1e6 - 3, loop.stop)
    loop.call_at(float("-inf"), lambda: None)
    loop.run_forever()
    del loop.time
    lags = loop.statistics()["timer_lag_ns"]
    assert lags[(3 * 10**9).bit_length()] == 1
    assert lags[(86_400 * 10**9).bit_length()] == 1  # later is not told, or the sum would overflow
    assert loop.statistics()["timer_lag_total_ns"] == (86_400 + 3) * 10**9


async def test_a_handle_that_waits_for_a_slow_turn_lags(loop: Any) -> None:
    await asyncio.sleep(0.001)
    before = loop.statistics()
    loop.call_soon(lambda: None)
    burn(0.04)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    after = loop.statistics()
    assert sum(since(before, after, "ready_lag_ns")[26:]) >= 1  # from 33.6 ms on
    assert after["ready_lag_total_ns"] - before["ready_lag_total_ns"] >= 40_000_000


async def has_slept(loop: Any) -> None:
    """A group of turns ends with a sleep; a short one need not come to that on a busy machine."""
    before = loop.statistics()["idle_ns"]
    while loop.statistics()["idle_ns"] == before:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_every_turn_is_in_the_histogram(loop: Any) -> None:
    await has_slept(loop)
    before = loop.statistics()
    for number in range(2000):
        await asyncio.sleep(0.0005 if number % 100 == 0 else 0)
    await has_slept(loop)
    after = loop.statistics()
    assert sum(since(before, after, "turn_ns")) == after["turns"] - before["turns"]


async def test_the_longest_turn_is_told_once(loop: Any) -> None:
    await asyncio.sleep(0.001)
    before = loop.statistics()
    burn(0.070)
    await asyncio.sleep(0.001)
    assert loop._observe()["longest_turn_ns"] >= 70_000_000
    after = loop.statistics()
    assert after["longest_turn_ns"] >= 70_000_000
    assert sum(since(before, after, "turn_ns")[27:]) >= 1  # from 67.1 ms on
    assert loop.statistics()["longest_turn_ns"] < after["longest_turn_ns"]


def test_turns_that_a_program_drives_are_counted(loop: Any) -> None:
    for _ in range(3):
        loop.call_soon(lambda: None)
        loop._run_once()
    figures = loop.statistics()
    assert sum(figures["turn_ns"]) == figures["turns"] == 3
    assert figures["busy_ns"] > 0


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
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    assert loop.statistics()["children"] == 1
    process.kill()
    await process.wait()
    assert loop.statistics()["children"] == 0
    await wait_until(lambda: gauges() == base)


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


async def test_what_ended_connections_carried_is_not_forgotten(loop: Any) -> None:
    before = loop.statistics()
    for _ in range(3):
        async with connected(Recorder, Echo) as (client, _):
            client.transport.write(b"12345")
            await client.wait_for_bytes(5)
            client.transport.close()
    await wait_until(lambda: loop.statistics()["streams"] == before["streams"])
    after = loop.statistics()
    assert after["bytes_in"] - before["bytes_in"] == 30
    assert after["bytes_out"] - before["bytes_out"] == 30
    assert after["messages_in"] - before["messages_in"] == 6


def test_a_closed_loop_still_tells(loop: Any) -> None:
    loop.run_until_complete(asyncio.sleep(0.001))
    before = loop.statistics()
    loop.close()
    after = loop.statistics()
    assert after["turns"] == before["turns"] > 0
    assert after["operations_in_flight"] == after["streams"] == after["timers"] == 0
    assert 0.0 <= loop.utilization() <= 1.0


def test_the_name_of_a_loop(loop: Any) -> None:
    assert loop.name == threading.current_thread().name
    thread = threading.Thread(target=loop.run_forever, name="the loop's")
    thread.start()
    asked = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop)
    asked.result()
    assert loop.name == "the loop's"
    loop.name = "api"
    assert loop.name == "api"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    assert loop.name == "api"
    with pytest.raises(TypeError, match="not int"):
        loop.name = 5


@pytest.mark.parametrize("times", [1, 2])
def test_a_select_of_the_programs_is_the_turns_wait(loop: Any, times: int) -> None:
    original = loop._selector.select

    def select(timeout: float | None = None) -> Any:
        if times == 1:  # it waits in a way of its own
            time.sleep(0.001 if timeout is None else min(timeout, 0.001))
            return original(0)
        original(0)
        return original(timeout)

    loop._selector.select = select
    before = loop.statistics()
    loop.run_until_complete(asyncio.sleep(0.05))
    after = loop.statistics()
    assert sum(since(before, after, "turn_ns")) == after["turns"] - before["turns"]
    assert after["idle_ns"] - before["idle_ns"] >= 20_000_000


def test_loops_that_a_fork_has_left_dead_are_not_among_the_live(loop: Any) -> None:
    async def fork() -> bytes:
        read, write = os.pipe()
        if os.fork() == 0:
            found = "error"
            with contextlib.suppress(BaseException):
                idle = loop.statistics()["idle_ns"], loop.statistics()["busy_ns"]
                burn(0.01)
                stands = idle == (loop.statistics()["idle_ns"], loop.statistics()["busy_ns"])
                found = f"{loop._forked} {loop in live_loops()} {stands}"
            os.write(write, found.encode())
            os._exit(0)
        os.close(write)
        said = os.read(read, 100)
        os.close(read)
        os.wait()  # noqa: ASYNC222 # it has ended
        return said

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads
        assert loop.run_until_complete(fork()) == b"True False True"
    assert loop in live_loops()
    with contextlib.closing(type(loop)(loop.backend)) as another:
        assert another._serial > loop._serial
