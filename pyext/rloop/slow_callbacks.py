"""Slow callbacks outside debug mode: who it was, and how often that is said.

asyncio's debug mode times every callback. The loop times its turns, which costs nothing, and its
callbacks only for ten seconds after a turn that took longer than slow_callback_duration: who is
slow again is named then, on the logger ``rloop.slow``.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import inspect
import logging
import time

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

logger = logging.getLogger("rloop.slow")

#: How often a minute one and the same callback is named in the log.
NAMED_PER_MINUTE = 6
_KEPT = 20
_OFFENDERS = 100


class SlowCallbacks:
    """Those of one loop: `handler` gets every report, `recent` the last, the log some of them."""

    __slots__ = ("_named", "handler", "recent")

    def __init__(self) -> None:
        self.handler: Callable[[Any, dict[str, Any]], object] | None = None
        self.recent: collections.deque[dict[str, Any]] = collections.deque(maxlen=_KEPT)
        # By offender: when its minute began (time.monotonic()), and how often it was slow in it.
        self._named: dict[tuple[Any, ...], tuple[float, int]] = {}

    def add(self, loop: Any, report: dict[str, Any], *, log: bool = True) -> None:
        """A callback was slow. `log`: False where asyncio's debug mode says it already."""
        self.recent.append({**report, "at": time.time()})
        if log:
            self._log(loop, report)
        if self.handler is not None:
            try:
                self.handler(loop, report)
            except Exception as exc:
                loop.call_exception_handler(
                    {"message": "Exception in the slow callback handler", "exception": exc}
                )

    def _log(self, loop: Any, report: dict[str, Any]) -> None:
        offender = (report["callback"], report["file"], report["line"])
        now = time.monotonic()
        began, count = self._named.get(offender, (now, 0))
        left_out = 0
        if now - began >= 60:
            left_out = max(count - NAMED_PER_MINUTE, 0)
            began, count = now, 0
        if len(self._named) >= _OFFENDERS and offender not in self._named:
            self._named.clear()
        self._named[offender] = began, count + 1
        if count >= NAMED_PER_MINUTE:
            return
        where = f" at {report['file']}:{report['line']}" if report["file"] else ""
        task = f" of task {report['task']!r}" if report["task"] else ""
        more = f" ({left_out} more of it were not logged)" if left_out else ""
        logger.warning(
            "%s%s%s took %.3f seconds in loop %r%s",
            *(report["callback"], where, task, report["duration"], loop.name, more),
        )


def of_handle(handle: Any, seconds: float) -> dict[str, Any]:
    """The report of a handle's callback; of a task's step it is the task's coroutine."""
    callback = handle._callback
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return {**_of_coroutine(owner.get_coro()), "task": owner.get_name(), "duration": seconds}
    return {**_of_function(callback), "task": None, "duration": seconds}


def of_upcall(protocol: Any, method: str, seconds: float) -> dict[str, Any]:
    """The report of a protocol's method that the loop has called."""
    found = _of_function(getattr(protocol, method, None))
    return {**found, "callback": f"{type(protocol).__qualname__}.{method}", "task": None} | {
        "duration": seconds
    }


def _of_coroutine(coroutine: Any) -> dict[str, Any]:
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    name = getattr(coroutine, "__qualname__", None) or type(coroutine).__qualname__
    return {"callback": name, **_of_code(code)}


def _of_function(function: Any) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    plain = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(plain, "__code__", None)
    if code is None and callable(function):  # an object that can be called
        code = getattr(type(function).__call__, "__code__", None)
    return {"callback": getattr(function, "__qualname__", None) or repr(function), **_of_code(code)}


def _of_code(code: Any) -> dict[str, Any]:
    if code is None:
        return {"file": None, "line": None}
    return {"file": code.co_filename, "line": code.co_firstlineno}
