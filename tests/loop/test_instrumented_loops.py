"""Tools that wrap asyncio's Handle._run, the selector's select, or look at the loop's queues.

Slow callbacks are found that way, idle time is measured, tracers follow contexts. What is private
in asyncio is there as far as looking at it goes; what cannot be changed says so.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from programs import check_script
from support import RLOOP_IDS, loops_only, run_briefly, turns, wait_until, wired

pytestmark = loops_only("asyncio", *RLOOP_IDS)


@contextmanager
def wrapped_run(kind: type = asyncio.Handle) -> Iterator[list[Any]]:
    """Notes the callback of each handle that runs."""
    seen: list[Any] = []
    original = kind._run

    def run(self: Any) -> Any:
        seen.append(self._callback)
        return original(self)

    with mock.patch.object(kind, "_run", run):
        yield seen


async def use_every_kind(loop: Any) -> list[Any]:
    """The callbacks of a program that uses what makes handles."""
    future, done = loop.create_future(), mock.Mock()
    near, far = socket.socketpair()
    with near, far:
        readable, timer, soon = mock.Mock(), mock.Mock(), mock.Mock()
        readable.side_effect = lambda: loop.remove_reader(near)
        loop.call_soon(soon, 1)
        loop.call_soon_threadsafe(soon, 2)
        loop.call_later(0, timer)
        future.add_done_callback(done)
        future.set_result(None)
        loop.add_reader(near, readable)
        far.send(b"x")
        await wait_until(lambda: readable.called and timer.called)
    assert soon.mock_calls == [mock.call(1), mock.call(2)]
    assert done.mock_calls == [mock.call(future)]
    return [readable, timer, soon, done]


@pytest.mark.parametrize("debug", [False, True])
async def test_a_wrapped_run_sees_every_handle(loop: Any, debug: bool) -> None:
    loop.set_debug(debug)
    with wrapped_run() as seen:
        await asyncio.sleep(0)
        callbacks = await use_every_kind(loop)
        assert all(callback in seen for callback in callbacks)
        async with wired() as (_, protocol, far):
            far.send(b"x")
            await protocol.wait_for_bytes(1)
    await asyncio.sleep(0)
    count = len(seen)
    await use_every_kind(loop)
    assert len(seen) == count


async def test_a_wrapped_run_of_timers_sees_timers_alone(loop: Any) -> None:
    timer, soon = mock.Mock(), mock.Mock()
    with wrapped_run(asyncio.TimerHandle) as seen:
        loop.call_soon(soon)
        loop.call_later(0, timer)
        await wait_until(lambda: timer.called)
    assert timer in seen
    assert soon not in seen
    assert soon.called


async def test_the_code_of_run_may_be_replaced(loop: Any) -> None:
    # As tracers do that rewrite the bytecode of the function itself.
    function: Any = asyncio.Handle._run
    own, seen = function.__code__, []
    copy = types.FunctionType(own, function.__globals__)

    def instrumented(self: Any) -> Any:
        note_for_test(self._callback)  # type: ignore[name-defined] # noqa: F821
        return run_for_test(self)  # type: ignore[name-defined] # noqa: F821

    names = {"note_for_test": seen.append, "run_for_test": copy}
    with mock.patch.dict(function.__globals__, names):
        function.__code__ = instrumented.__code__
        try:
            await asyncio.sleep(0)
            callbacks = await use_every_kind(loop)
        finally:
            function.__code__ = own
        await asyncio.sleep(0)
    assert all(callback in seen for callback in callbacks)


async def test_a_handle_that_is_run_by_hand_runs_by_the_wrapped_run(loop: Any) -> None:
    with wrapped_run() as seen:
        for schedule in (loop.call_soon, lambda callback: loop.call_later(1000, callback)):
            callback = mock.Mock()
            handle = schedule(callback)
            handle._run()
            handle.cancel()
            assert callback.mock_calls == [mock.call()]
            assert seen.count(callback) == 1


async def test_wrapped_runs_skip_the_cancelled_and_report_failures(loop: Any, noise: Any) -> None:
    with wrapped_run() as seen:
        cancelled = mock.Mock()
        loop.call_soon(cancelled).cancel()
        loop.call_soon(lambda: 1 / 0)
        await turns()
    assert cancelled not in seen
    (context,) = noise.take()
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"].startswith("Exception in callback ")


def test_an_exit_leaves_through_the_wrapped_run(loop: Any) -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    with wrapped_run():
        loop.call_soon(leave)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        ran = mock.Mock()
        loop.call_soon(ran)
        run_briefly(loop)
    assert ran.called


async def test_a_wrapped_run_may_replace_the_callback(loop: Any) -> None:
    original, events = asyncio.Handle._run, []

    def run(self: Any) -> None:
        callback = self._callback
        self._callback = lambda *args: (events.append("before"), callback(*args))
        original(self)
        self._callback = callback

    with mock.patch.object(asyncio.Handle, "_run", run):
        loop.call_soon(events.append, "called")
        await turns()
    position = events.index("called")
    assert events[position - 1] == "before"


async def test_a_callback_may_replace_itself(loop: Any) -> None:
    class Replacing:
        def __call__(self) -> None:
            handle._callback = print
            results.append(self)  # what runs is still alive

    results: list[Replacing] = []
    handle = loop.call_soon(Replacing())
    await turns()
    assert handle._callback is print
    assert len(results) == 1


@loops_only(*RLOOP_IDS)
def test_a_run_that_was_wrapped_before_the_import_is_called(loop_id: str) -> None:
    source = """
    import asyncio, sys
    seen = []
    original = asyncio.Handle._run
    def run(self):
        seen.append(self._callback)
        return original(self)
    asyncio.Handle._run = run
    from support import new_loop, run_briefly
    loop = new_loop(sys.argv[1])
    loop.call_soon(len, "")
    run_briefly(loop)
    loop.close()
    print(len in seen)
    """
    assert check_script(source, loop_id).strip() == "True"


@pytest.mark.parametrize("kind", ["Handle", "TimerHandle"])
def test_a_run_that_is_wrapped_before_the_first_turn_is_called(loop_id: str, kind: str) -> None:
    source = f"""
    import asyncio, sys
    sys.path.insert(0, "tests/loop")
    from support import new_loop
    original, seen = asyncio.{kind}._run, []
    loop = new_loop(sys.argv[1])
    asyncio.{kind}._run = lambda self: (seen.append(self), original(self))[1]
    handle = loop.call_later(0, loop.stop)
    loop.run_forever()
    loop.close()
    print(handle in seen)
    """
    assert check_script(source, loop_id).strip() == "True"


# -- the selector -------------------------------------------------------------------------------


@contextmanager
def measured_select(loop: Any) -> Iterator[list[tuple[float | None, bool]]]:
    """Notes each wait: its timeout, and whether anything came."""
    waits: list[tuple[float | None, bool]] = []
    original = loop._selector.select

    def select(timeout: float | None = None) -> Any:
        events = original(timeout)
        waits.append((timeout, bool(events)))
        return events

    with mock.patch.object(loop._selector, "select", select):
        yield waits


def test_a_replaced_select_waits_for_the_loop(loop: Any) -> None:
    with measured_select(loop) as waits:
        run_briefly(loop)
        assert waits == [(0, False)]
        waits.clear()
        loop.call_later(0.05, loop.stop)
        loop.run_forever()
        assert 0 < waits[0][0] <= 0.05
        assert not waits[0][1]
    count = len(waits)
    run_briefly(loop)
    assert len(waits) == count


def test_a_replaced_select_sees_that_something_came(loop: Any) -> None:
    near, far = socket.socketpair()
    with near, far, measured_select(loop) as waits:
        loop.add_reader(near, lambda: (near.recv(1), loop.stop()))
        far.send(b"x")
        loop.run_forever()
        loop.remove_reader(near)
        assert (None, True) in waits
        waits.clear()
        waker = threading.Timer(0.01, loop.call_soon_threadsafe, [loop.stop])
        waker.start()
        loop.run_forever()
        waker.join()
        assert (None, True) in waits


async def test_connections_live_by_a_replaced_select(loop: Any) -> None:
    with measured_select(loop) as waits:
        async with wired() as (transport, protocol, far):
            far.send(b"hello")
            assert await protocol.wait_for_bytes(5) == b"hello"
            transport.write(b"world")
            assert await loop.sock_recv(far, 5) == b"world"
    assert any(came for _, came in waits)


def test_a_failing_select_leaves_the_run(loop: Any) -> None:
    with mock.patch.object(loop._selector, "select", side_effect=ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            loop.run_forever()
    run_briefly(loop)


@loops_only(*RLOOP_IDS)
def test_the_selector_waits_within_a_turn_alone(loop: Any) -> None:
    with pytest.raises(RuntimeError, match="within a turn"):
        loop._selector.select(0)
    with pytest.raises(AttributeError):
        loop._selector.register(0, 1)
    with pytest.raises(AttributeError):
        loop._selector = None
    run_briefly(loop)


def test_a_closed_loop_has_no_selector(loop: Any) -> None:
    assert loop._selector is not None
    loop.close()
    assert loop._selector is None


# -- the queues ---------------------------------------------------------------------------------


async def test_the_queues_can_be_looked_at(loop: Any) -> None:
    late = loop.call_later(2000, int)
    early = loop.call_later(1000, int)
    soon = loop.call_soon(int)
    assert soon in loop._ready
    assert {early, late} < set(loop._scheduled)
    earliest = loop.call_later(-1, int)
    assert loop._scheduled[0] is earliest
    early.cancel()
    late.cancel()
    await turns()
    assert soon not in loop._ready


async def test_a_timer_may_be_run_in_advance(loop: Any) -> None:
    # As test suites do that move the time: each due handle is run and cancelled.
    ran = mock.Mock()
    loop.call_later(1000, ran)
    for handle in list(loop._scheduled):
        if handle.when() >= loop.time() + 999:
            handle._run()
            handle.cancel()
    assert ran.mock_calls == [mock.call()]


@loops_only(*RLOOP_IDS)
async def test_the_queues_cannot_be_changed_behind_the_loops_back(loop: Any) -> None:
    for queue in (loop._ready, loop._scheduled):
        with pytest.raises(AttributeError):
            queue.append(None)
        with pytest.raises(AttributeError):
            queue.clear()
    with pytest.raises(AttributeError):
        loop._ready = []
