"""Callbacks that take long, named outside debug mode: who, how often, and to whom it is told."""

import asyncio
import functools
import logging
from typing import Any

import pytest
import slowness
from slowness import SLOW, burn, line_of, of, reports_of
from support import RLOOP_IDS, Datagrams, Recorder, connected, loops_only, wait_until

from rloop import slow_callbacks

pytestmark = loops_only(*RLOOP_IDS)


@pytest.fixture
def reports(loop: Any) -> list[dict[str, Any]]:
    return reports_of(loop)


def test_nothing_is_timed_before_a_turn_was_slow(loop: Any, caplog: Any) -> None:
    loop.slow_callback_duration = SLOW
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.call_soon(burn)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert loop.statistics()["slow_callbacks"] == 0
    # That turn was slow: from now on they are.
    with caplog.at_level(logging.WARNING, "rloop.slow"):
        loop.call_soon(burn)
        loop.run_until_complete(asyncio.sleep(0.001))
    assert loop.statistics()["slow_callbacks"] == 1
    (record,) = caplog.records
    assert record.name == "rloop.slow"
    place = f"burn at {slowness.__file__}:{line_of(burn)} took 0."
    assert record.getMessage().startswith(place), record.getMessage()
    assert repr(loop.name) in record.getMessage()


def test_a_slow_callback_is_named(loop: Any, reports: list[dict[str, Any]]) -> None:
    loop.call_soon(functools.partial(burn, 1.5 * SLOW))
    loop.call_later(0.001, burn)
    loop.call_soon(lambda: None)
    loop.run_until_complete(asyncio.sleep(0.002))
    slow = of(reports, "burn")
    assert len(slow) == 2
    for report in slow:
        assert report["callback"] == "burn"
        assert (report["file"], report["line"]) == (slowness.__file__, line_of(burn))
        assert report["task"] is None
        assert report["duration"] >= 1.5 * SLOW
    recent = [report["callback"] for report in loop._slow_recent]
    assert recent.count("burn") == 2


def test_a_slow_task_is_named_with_its_coroutine(loop: Any, reports: list[dict[str, Any]]) -> None:
    async def compute() -> None:
        await asyncio.sleep(0)
        burn()

    async def main() -> None:
        task = asyncio.create_task(compute(), name="the guilty one")
        await task

    loop.run_until_complete(main())
    (report,) = of(reports, "compute")
    assert report["task"] == "the guilty one"
    assert report["callback"].endswith("<locals>.compute")
    assert (report["file"], report["line"]) == (__file__, line_of(compute))


def test_methods_of_protocols_are_named(loop: Any, reports: list[dict[str, Any]]) -> None:
    class Sluggish(Recorder):
        def data_received(self, data: bytes) -> None:
            burn()
            super().data_received(data)

        def eof_received(self) -> None:
            burn()

        def connection_lost(self, exc: BaseException | None) -> None:
            burn()
            super().connection_lost(exc)

    class SluggishDatagrams(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            burn()
            super().datagram_received(data, addr)

    async def main() -> None:
        async with connected(Recorder, Sluggish) as (client, server):
            client.transport.write(b"x")
            await server.wait_for_bytes(1)
            client.transport.close()
            await wait_until(lambda: of(reports, "connection_lost"))
        there, _ = await loop.create_datagram_endpoint(
            SluggishDatagrams, local_addr=("127.0.0.1", 0)
        )
        there.sendto(b"x", there.get_extra_info("sockname"))
        await wait_until(lambda: of(reports, "datagram_received"))
        there.abort()

    loop.run_until_complete(main())
    for method in (
        Sluggish.data_received,
        Sluggish.eof_received,
        Sluggish.connection_lost,
        SluggishDatagrams.datagram_received,
    ):
        (report,) = of(reports, method.__qualname__)
        assert (report["file"], report["line"]) == (__file__, line_of(method))
        assert report["duration"] >= 1.5 * SLOW


def test_a_slow_method_that_raises_is_reported_and_handled(
    loop: Any, reports: list[dict[str, Any]]
) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            burn()
            raise ValueError("too slow")

    def fail() -> None:
        burn()
        raise LookupError("slow as well")

    told: list[Any] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    async def main() -> None:
        loop.call_soon(fail)
        async with connected(Recorder, Failing) as (client, _):
            client.transport.write(b"x")
            await wait_until(lambda: len(told) == 2)

    loop.run_until_complete(main())
    assert {type(error) for error in told} == {ValueError, LookupError}
    assert of(reports, "data_received")
    assert of(reports, "fail")


def test_an_exit_of_a_slow_callback_leaves_the_loop(
    loop: Any, reports: list[dict[str, Any]]
) -> None:
    def leave() -> None:
        burn()
        raise SystemExit(3)

    loop.call_soon(leave)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert of(reports, "leave")


def test_one_offender_is_logged_some_times_a_minute(
    loop: Any, reports: list[dict[str, Any]], caplog: Any, monkeypatch: Any
) -> None:
    now = 1000.0
    monkeypatch.setattr(slow_callbacks.time, "monotonic", lambda: now)

    def run(times: int, callback: Any) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "rloop.slow"):
            for _ in range(times):
                loop.call_soon(callback)
            loop.run_until_complete(asyncio.sleep(0))
        return [record.getMessage() for record in caplog.records]

    def other() -> None:
        burn()

    limit = slow_callbacks.NAMED_PER_MINUTE
    assert len(run(limit + 2, burn)) == limit
    assert len(run(1, other)) == 1
    assert len(reports) == limit + 3  # the handler hears of all
    now += 61
    (message,) = run(1, burn)
    assert "(2 more of it were not logged)" in message
    (message,) = run(1, burn)
    assert "more of it" not in message


def test_what_the_handler_raises_goes_to_the_exception_handler(
    loop: Any, reports: list[dict[str, Any]]
) -> None:
    told: list[Any] = []

    def refuse(_: Any, report: dict[str, Any]) -> None:
        raise ValueError(report["callback"])

    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
    loop.set_slow_callback_handler(refuse)
    loop.call_soon(burn)
    loop.run_until_complete(asyncio.sleep(0))
    assert told == ["burn"]
    loop.set_slow_callback_handler(None)
    loop.call_soon(burn)
    loop.run_until_complete(asyncio.sleep(0))
    assert told == ["burn"]
    with pytest.raises(TypeError, match="callable"):
        loop.set_slow_callback_handler(5)


def test_debug_mode_says_it_as_asyncio_and_tells_the_handler(
    loop: Any, reports: list[dict[str, Any]], caplog: Any
) -> None:
    loop.set_debug(True)
    with caplog.at_level(logging.WARNING):
        loop.call_soon(burn)
        loop.run_until_complete(asyncio.sleep(0))
    names = [record.name for record in caplog.records if "burn" in record.getMessage()]
    assert names == ["asyncio"]
    assert of(reports, "burn")


def test_timing_ends_after_a_while(loop: Any, reports: list[dict[str, Any]]) -> None:
    # Ten seconds of the loop's, which nobody wants to wait: a threshold that nothing reaches.
    loop.slow_callback_duration = float("inf")
    for _ in range(3):
        loop.call_soon(burn)
        loop.run_until_complete(asyncio.sleep(0))
    assert reports == []
    loop.slow_callback_duration = float("nan")
    loop.call_soon(burn)
    loop.run_until_complete(asyncio.sleep(0))
    assert reports == []
    loop.slow_callback_duration = -1e300
    loop.call_soon(lambda: None)
    loop.run_until_complete(asyncio.sleep(0))
    assert reports
