"""For tests of the thread-safe handle: a callback that takes its time, and threads beside it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import DEADLINE, differs

ThreadSafeHandle: Any = getattr(asyncio.events, "_ThreadSafeHandle", None)
# Long enough for a thread that does not wait to be seen not waiting; nothing else depends on it.
OPPORTUNITY = 0.05

locked = pytest.mark.skipif(
    ThreadSafeHandle is None, reason="before 3.14 the handle is one like any other"
)
without_locks = differs("uvloop", "its handles know no threads")


class Worker:
    """One thread that does `work` and keeps its result; `join` gives it, or raises the error."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._result: Any = None
        self._error: BaseException | None = None
        self.began = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.began.set()
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def join(self) -> Any:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the thread still waits"
        if self._error is not None:
            raise self._error
        return self._result


class Callback:
    """A callback that does not end before it is told to; `log` tells what came in which order."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.started = threading.Event()
        self.may_end = threading.Event()
        self.log: list[str] = []

    def __call__(self, *args: object) -> None:
        self.log.append("begins")
        self.started.set()
        assert self.may_end.wait(DEADLINE)
        self.log.append("ends")
        if self.error is not None:
            raise self.error

    def wait_for_start(self) -> None:
        assert self.started.wait(DEADLINE)

    def worker(self, name: str, work: Callable[[], Any]) -> Worker:
        """A thread that does `work` beside the callback, and logs that it is done."""

        def logged() -> Any:
            result = work()
            self.log.append(name)
            return result

        worker = Worker(logged)
        worker.began.wait(DEADLINE)
        return worker

    def end(self) -> None:
        """End, after everybody who does not wait has had the opportunity to show it."""
        time.sleep(OPPORTUNITY)
        self.may_end.set()


#: Alone, or between others of the same context, which is entered once for all of them.
in_company = pytest.mark.parametrize("company", ["alone", "in company"])


def schedule(loop: asyncio.AbstractEventLoop, company: str, callback: Callable[..., object]) -> Any:
    """Schedule `callback` before the loop runs; its handle."""
    others = 1 if company == "in company" else 0
    for _ in range(others):
        loop.call_soon_threadsafe(str)
    handle = loop.call_soon_threadsafe(callback)
    for _ in range(others):
        loop.call_soon_threadsafe(str)
    return handle


@contextlib.contextmanager
def running(loop: asyncio.AbstractEventLoop) -> Iterator[Worker]:
    """The loop runs in a thread of its own."""
    worker = Worker(loop.run_forever)
    try:
        yield worker
    finally:
        with contextlib.suppress(RuntimeError):  # closed
            loop.call_soon_threadsafe(loop.stop)
        worker.join()
