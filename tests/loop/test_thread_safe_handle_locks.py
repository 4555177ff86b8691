"""The lock of the thread-safe handle: run by hand, shown, interrupted, collected and forked.

Source: asyncio.events._ThreadSafeHandle, since 3.14, and threading.RLock.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import time
import weakref
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
from programs import check_script
from support import RLOOP_IDS, loops_only, run_briefly

# -- run by hand --------------------------------------------------------------------------------


@locked
@without_locks
def test_who_runs_it_by_hand_is_waited_for(loop: asyncio.AbstractEventLoop) -> None:
    callback = Callback()
    handle: Any = loop.call_soon_threadsafe(callback)
    first = Worker(handle._run)
    callback.wait_for_start()
    worker = callback.worker("cancel", handle.cancel)
    callback.end()
    worker.join()
    first.join()
    assert callback.log == ["begins", "ends", "cancel"]
    run_briefly(loop)
    assert callback.log == ["begins", "ends", "cancel"]


@locked
@without_locks
def test_two_who_run_it_do_so_one_after_the_other(loop: asyncio.AbstractEventLoop) -> None:
    callback = Callback()
    handle: Any = loop.call_soon_threadsafe(callback)
    first = Worker(handle._run)
    callback.wait_for_start()
    second = callback.worker("second", handle._run)
    callback.end()
    first.join()
    second.join()
    assert callback.log == ["begins", "ends", "begins", "ends", "second"]
    handle.cancel()
    handle._run()
    assert len(callback.log) == 5


@locked
@without_locks
def test_the_loop_waits_for_who_runs_it_by_hand(loop: asyncio.AbstractEventLoop) -> None:
    callback = Callback()
    handle: Any = loop.call_soon_threadsafe(callback)
    loop.call_soon(callback.log.append, "the next")
    first = Worker(handle._run)
    callback.wait_for_start()
    with running(loop):
        callback.end()
        first.join()
    assert callback.log == ["begins", "ends", "begins", "ends", "the next"]


@locked
@without_locks
def test_asyncios_own_methods_work_on_it(loop: asyncio.AbstractEventLoop) -> None:
    # A wrapper that somebody has put around the class's methods calls them like this.
    callback = Callback()
    handle = loop.call_soon_threadsafe(callback, 1)
    first = Worker(lambda: ThreadSafeHandle._run(handle))
    callback.wait_for_start()
    worker = callback.worker("cancelled", lambda: ThreadSafeHandle.cancelled(handle))
    native = callback.worker("cancelled", handle.cancelled)
    callback.end()
    first.join()
    assert worker.join() is native.join() is False
    handle.cancel()
    assert callback.log == ["begins", "ends", "cancelled", "cancelled"]


# -- the lock -----------------------------------------------------------------------------------


@locked
@without_locks
@in_company
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_the_lock_is_held_while_it_runs(
    loop: asyncio.AbstractEventLoop, company: str, when: str
) -> None:
    callback = Callback()
    handle = schedule(loop, company, callback)
    lock = handle._lock if when == "before" else None
    with running(loop):
        callback.wait_for_start()
        lock = lock or handle._lock
        assert handle._lock is lock
        assert not lock.acquire(blocking=False)
        callback.end()
        with lock:
            assert callback.log == ["begins", "ends"]
    assert lock.acquire(blocking=False)
    lock.release()


@locked
@without_locks
def test_who_holds_the_lock_keeps_it_from_running(loop: asyncio.AbstractEventLoop) -> None:
    log: list[str] = []
    handle: Any = loop.call_soon_threadsafe(log.append, "ran")
    with running(loop) as _, handle._lock:
        time.sleep(OPPORTUNITY)
        log.append("holds")
        assert not handle.cancelled()  # from the thread that holds it
    # The loop may have run it before the lock was taken, and nothing else.
    assert log in (["holds", "ran"], ["ran", "holds"])


@locked
@without_locks
def test_a_cancellation_under_way_is_waited_for(loop: asyncio.AbstractEventLoop) -> None:
    """Debug mode asks the arguments for their representation, which may take its time."""
    callback = Callback()

    class Slow:
        def __repr__(self) -> str:
            if threading.current_thread() is not threading.main_thread():
                callback()
            return "slow"

    loop.set_debug(True)
    handle = loop.call_soon_threadsafe(print, Slow())
    first = Worker(handle.cancel)
    callback.wait_for_start()
    run_briefly(loop)  # does not wait: it is known to be cancelled
    worker = callback.worker("cancelled", handle.cancelled)
    callback.end()
    assert worker.join() is True
    first.join()
    assert callback.log == ["begins", "ends", "cancelled"]


@locked
@without_locks
def test_a_signal_handler_that_raises_ends_the_wait(loop: asyncio.AbstractEventLoop) -> None:
    class Interruption(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interruption

    callback = Callback()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with running(loop):
            handle = loop.call_soon_threadsafe(callback)
            callback.wait_for_start()
            main = threading.main_thread().ident
            assert main is not None

            cancels = threading.Event()

            def send() -> None:
                cancels.wait()
                time.sleep(OPPORTUNITY)
                signal.pthread_kill(main, signal.SIGUSR1)

            sender = Worker(send)
            with pytest.raises(Interruption):
                cancels.set()
                handle.cancel()
            sender.join()
            assert callback.log == ["begins"]
            callback.end()
            assert not handle.cancelled()
    finally:
        signal.signal(signal.SIGUSR1, before)


@locked
@without_locks
@pytest.mark.parametrize("contended", [False, True])
def test_a_handle_in_a_cycle_is_collected(loop: asyncio.AbstractEventLoop, contended: bool) -> None:
    class Node:
        handle: Any = None

        def run(self) -> None:
            callback()

    callback = Callback()
    node = Node()
    node.handle = loop.call_soon_threadsafe(node.run)
    with running(loop):
        callback.wait_for_start()
        worker = callback.worker("waits", node.handle.cancelled) if contended else None
        callback.end()
    if worker is not None:
        worker.join()
    del worker
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None


# -- fork ---------------------------------------------------------------------------------------


@locked
@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("first", ["cancelled", "_lock"])
@pytest.mark.parametrize("contended", [False, True])
def test_a_child_does_not_wait_for_a_thread_that_it_does_not_have(
    loop_id: str, contended: bool, first: str
) -> None:
    """asyncio's lock stays with the lost thread, so that there the child waits for ever."""
    check_script(
        """
        import sys, threading
        from forked import check_in_a_child
        from support import new_loop

        loop = new_loop(sys.argv[1])
        started, may_end = threading.Event(), threading.Event()

        def callback():
            started.set()
            may_end.wait()

        handle = loop.call_soon_threadsafe(callback)
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        started.wait()
        if sys.argv[2] == "True":
            waiting = threading.Thread(target=handle.cancelled)
            waiting.start()
            waiting.join(0.05)
            assert waiting.is_alive()

        def child():
            if sys.argv[3] == "_lock":
                with handle._lock:
                    pass
            assert not handle.cancelled()
            handle.cancel()
            assert handle.cancelled()
            other = threading.Thread(target=handle.cancel)
            other.start()
            other.join()

        check_in_a_child(child)
        may_end.set()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        assert not handle.cancelled()
        loop.close()
        """,
        loop_id,
        str(contended),
        first,
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )


@locked
@without_locks
@pytest.mark.parametrize("contended", [False, True])
def test_a_callback_that_forks_is_waited_for_in_the_child(loop_id: str, contended: bool) -> None:
    check_script(
        """
        import os, sys, threading
        from forked import check, in_a_child
        from support import new_loop

        loop = new_loop(sys.argv[1])
        log = []

        def cancel():
            handle.cancel()
            log.append("cancelled")

        def child():
            thread = threading.Thread(target=cancel)
            thread.start()
            thread.join(0.05)
            log.append("ends")
            return thread

        def callback():
            if sys.argv[2] == "True":
                waiting = threading.Thread(target=handle.cancelled)
                waiting.start()
                waiting.join(0.05)
                assert waiting.is_alive()
            pid = os.fork()
            if pid == 0:
                global thread
                thread = child()
            else:
                check(pid)

        parent = os.getpid()
        handle = loop.call_soon_threadsafe(callback)
        try:
            handle._run()
        finally:
            if os.getpid() != parent:
                thread.join()
                os._exit(log != ["ends", "cancelled"])
        handle.cancel()
        loop.close()
        """,
        loop_id,
        str(contended),
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )
