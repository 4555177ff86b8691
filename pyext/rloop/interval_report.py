"""What `rloop.logging_report(interval)` starts: a line for each open loop, every so many seconds.

A thread of its own writes them and not a timer of a loop: so it speaks of all loops of the process,
also of those that are made later, wakes none of them, and goes on while one hangs. In the child of
a fork there is no such thread; the child asks for a report of its own.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref

from .readings import gained, named_loops, quantile, utilization

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from .event_loop import UringEventLoop
    from .readings import Reading

logger = logging.getLogger("rloop.report")


class LoggingReport:
    """Reports until cancel(), or until the process ends."""

    def __init__(self, interval: float) -> None:
        if not isinstance(interval, int | float):
            raise TypeError(f"the interval is {interval!r}; it should be a number of seconds")
        if not 0 < interval <= threading.TIMEOUT_MAX:
            limit = f"more than 0 and at most {threading.TIMEOUT_MAX:.0f}"
            raise ValueError(f"the interval is {interval!r}; it should be seconds, {limit}")
        self._interval = interval
        self._last: weakref.WeakKeyDictionary[UringEventLoop, Reading] = weakref.WeakKeyDictionary()
        self._cancelled = threading.Lock()  # until it is given back; an Event may break in a fork
        self._cancelled.acquire()
        self._began = time.monotonic()
        for _, loop in named_loops():
            self._last[loop] = loop._observe()
        threading.Thread(target=self._run, name="rloop-report", daemon=True).start()

    def cancel(self) -> None:
        """End it; from any thread, a second time it does nothing. A line may be under way."""
        try:
            self._cancelled.release()
        except RuntimeError:
            pass

    def _run(self) -> None:
        while not self._cancelled.acquire(timeout=self._interval):
            try:
                self._report()
            except Exception:  # of the program's log; the next line may find it mended
                with contextlib.suppress(Exception):
                    logger.exception("a report of the loops has failed")

    def _report(self) -> None:
        now = time.monotonic()
        # A test may have stopped the clock.
        elapsed, self._began = max(now - self._began, 1e-3), now
        for name, loop in named_loops():
            reading: Reading = loop._observe()
            before = self._last.get(loop, {})
            self._last[loop] = reading
            printable = name if name.isprintable() else ascii(name)
            said = describe(before, reading, elapsed)
            logger.info("%s (%s): %s", printable, loop.backend, said)


def describe(before: Reading, now: Reading, elapsed: float) -> str:
    """One line of what a loop did in that many seconds between two readings."""
    busy = utilization(before, now)
    if busy is None:
        return "does not run"
    lags = [gained(before, now, key) for key in ("ready_lag_ns", "timer_lag_ns")]
    lag = [sum(both) for both in zip(*lags, strict=True)]
    messages = sum(gained(before, now, key) for key in ("messages_in", "messages_out"))
    calls = gained(before, now, "syscalls")
    per_message = f"{calls / messages:.2f}" if messages else "-"
    return (
        f"busy {busy:.1%}"
        f", lag p50 {_seconds(quantile(lag, 0.5))} p99 {_seconds(quantile(lag, 0.99))}"
        f", {gained(before, now, 'turns') / elapsed:.0f} turns/s"
        f", {messages / elapsed:.0f} messages/s, {per_message} system calls per message"
        f", {now['streams'] + now['datagram_endpoints']} connections"
        f", backlog {now['backlog_bytes']} bytes"
        f", {gained(before, now, 'slow_callbacks')} slow callbacks"
        f", {gained(before, now, 'stalls')} stalls"
    )


def _seconds(value: float | None) -> str:
    """A duration in the unit that suits it."""
    if value is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value * 1e6:.0f} us"
