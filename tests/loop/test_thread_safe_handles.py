"""The handle of call_soon_threadsafe, which threads share.

From 3.14 on it is locked while its callback runs: another thread's cancel() and cancelled() wait
for the end, and so know whether the callback ran; the callback itself may call both. Before, and
from call_soon, it is a plain Handle that nobody waits for.
Source: asyncio.events._ThreadSafeHandle.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from handle_threads import (
    OPPORTUNITY,
    Callback,
    ThreadSafeHandle,
    Worker,
    in_company,
    locked,
    running,
    schedule,
    without_locks,
)
from support import DEADLINE, differs, new_loop, run_briefly

# -- what it is ---------------------------------------------------------------------------------


@without_locks
def test_it_is_the_handle_that_asyncio_makes(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_soon_threadsafe(print, 1)
    assert isinstance(handle, ThreadSafeHandle or asyncio.Handle)
    assert not isinstance(handle, asyncio.TimerHandle)
    assert hasattr(handle, "_lock") == (ThreadSafeHandle is not None)
    handle.cancel()


@without_locks
def test_its_representation_is_that_of_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_soon_threadsafe(print, 1)
    theirs: Any = (ThreadSafeHandle or asyncio.Handle)(print, (1,), loop)
    assert repr(handle) == repr(theirs)
    handle.cancel()
    theirs.cancel()
    assert repr(handle) == repr(theirs) and "print" not in repr(handle)


@without_locks
def test_debug_mode_keeps_what_a_cancelled_one_was(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    handle = loop.call_soon_threadsafe(print, 1)
    before = repr(handle)
    assert "print(1) created at" in before and __file__ in before
    handle.cancel()
    assert repr(handle) == before.replace(" print", " cancelled print")


def test_call_soon_makes_no_such_handle(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_soon(print)
    assert ThreadSafeHandle is None or not isinstance(handle, ThreadSafeHandle)
    handle.cancel()


@pytest.mark.parametrize("method", ["cancel", "cancelled"])
def test_nobody_waits_for_a_handle_of_call_soon(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    callback = Callback()
    handle = loop.call_soon(callback)
    with running(loop):
        callback.wait_for_start()
        callback.worker(method, getattr(handle, method)).join()
        callback.end()
    assert callback.log == ["begins", method, "ends"]


@pytest.mark.skipif(ThreadSafeHandle is not None, reason="from 3.14 on they wait")
@pytest.mark.parametrize("method", ["cancel", "cancelled"])
def test_nobody_waits_for_the_handle_of_an_older_asyncio(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    callback = Callback()
    handle = loop.call_soon_threadsafe(callback)
    with running(loop):
        callback.wait_for_start()
        callback.worker(method, getattr(handle, method)).join()
        callback.end()
    assert callback.log == ["begins", method, "ends"]


# -- waiting ------------------------------------------------------------------------------------


@locked
@without_locks
@in_company
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("method", ["cancel", "cancelled"])
def test_another_thread_waits_for_the_end(
    loop: asyncio.AbstractEventLoop, company: str, method: str, debug: bool
) -> None:
    loop.set_debug(debug)
    loop.slow_callback_duration = 2 * DEADLINE
    callback = Callback()
    handle = schedule(loop, company, callback)
    with running(loop):
        callback.wait_for_start()
        worker = callback.worker(method, getattr(handle, method))
        callback.end()
        assert not worker.join()  # cancel() gives None; cancelled() says that it ran
    assert callback.log == ["begins", "ends", method]
    assert handle.cancelled() == (method == "cancel")


@locked
@without_locks
@in_company
def test_several_threads_wait_and_all_go_on(loop: asyncio.AbstractEventLoop, company: str) -> None:
    callback = Callback()
    handle = schedule(loop, company, callback)
    with running(loop):
        callback.wait_for_start()
        workers = [callback.worker("cancelled", handle.cancelled) for _ in range(3)]
        workers += [callback.worker("cancel", handle.cancel) for _ in range(3)]
        callback.end()
        for worker in workers:
            worker.join()
    assert callback.log[:2] == ["begins", "ends"]
    assert sorted(callback.log[2:]) == ["cancel"] * 3 + ["cancelled"] * 3
    assert handle.cancelled()


def test_cancelled_before_it_ran_it_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []
    handle = loop.call_soon_threadsafe(ran.append, 1)
    Worker(handle.cancel).join()
    assert Worker(handle.cancelled).join() and handle.cancelled()
    run_briefly(loop)
    assert ran == []


def test_cancelled_after_it_ran_it_is_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []
    handle = loop.call_soon_threadsafe(ran.append, 1)
    run_briefly(loop)
    assert not Worker(handle.cancelled).join()
    Worker(handle.cancel).join()
    assert ran == [1] and handle.cancelled()


@in_company
@pytest.mark.parametrize("debug", [False, True])
def test_the_callback_may_cancel_itself(
    loop: asyncio.AbstractEventLoop, company: str, debug: bool
) -> None:
    loop.set_debug(debug)
    seen: list[bool] = []

    def callback() -> None:
        seen.append(handle.cancelled())
        handle.cancel()
        seen.append(handle.cancelled())

    handle = schedule(loop, company, callback)
    run_briefly(loop)
    assert seen == [False, True]


@locked
@without_locks
@in_company
def test_who_waits_learns_that_the_callback_cancelled_itself(
    loop: asyncio.AbstractEventLoop,
    company: str,
) -> None:
    callback = Callback()

    def cancelling() -> None:
        handle.cancel()
        callback()

    handle = schedule(loop, company, cancelling)
    with running(loop):
        callback.wait_for_start()
        worker = callback.worker("cancelled", handle.cancelled)
        callback.end()
        assert worker.join() is True
    assert callback.log == ["begins", "ends", "cancelled"]


@locked
@without_locks
@in_company
@pytest.mark.parametrize("method", ["cancel", "cancelled"])
def test_the_exception_handler_is_waited_for_too(
    loop: asyncio.AbstractEventLoop, company: str, method: str
) -> None:
    callback = Callback(ValueError("as planned"))

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        time.sleep(OPPORTUNITY)
        callback.log.append(type(context["exception"]).__name__)
        assert context["handle"] is handle

    loop.set_exception_handler(handler)
    handle = schedule(loop, company, callback)
    with running(loop):
        callback.wait_for_start()
        worker = callback.worker(method, getattr(handle, method))
        callback.end()
        worker.join()
    assert callback.log == ["begins", "ends", "ValueError", method]


@locked
@without_locks
@in_company
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_exit_lets_those_who_wait_go_on(
    loop: asyncio.AbstractEventLoop, company: str, error: type[BaseException]
) -> None:
    callback = Callback(error())
    handle = schedule(loop, company, callback)
    run = Worker(loop.run_forever)
    callback.wait_for_start()
    worker = callback.worker("cancelled", handle.cancelled)
    callback.end()
    with pytest.raises(error):
        run.join()
    assert worker.join() is False
    assert callback.log == ["begins", "ends", "cancelled"]
    run_briefly(loop)


@locked
@without_locks
def test_the_loop_may_be_closed_before_those_who_wait_go_on(loop_id: str) -> None:
    loop = new_loop(loop_id)
    callback = Callback()
    handle = loop.call_soon_threadsafe(callback)
    run = Worker(lambda: (loop.call_soon(loop.stop), loop.run_forever(), loop.close()))
    callback.wait_for_start()
    worker = callback.worker("cancel", handle.cancel)
    callback.end()
    run.join()
    worker.join()
    assert callback.log == ["begins", "ends", "cancel"]
    assert handle.cancelled()


@differs("uvloop", "the handle of a closed loop cannot be cancelled")
def test_a_handle_that_a_closed_loop_dropped_can_be_cancelled(loop_id: str) -> None:
    loop = new_loop(loop_id)
    handle = loop.call_soon_threadsafe(print)
    loop.close()
    assert not Worker(handle.cancelled).join()
    Worker(handle.cancel).join()
    assert handle.cancelled()
