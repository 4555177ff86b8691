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
import types
from asyncio import sslproto

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

    def add(
        self,
        loop: Any,
        describe: Callable[..., dict[str, Any]],
        what: tuple[Any, ...],
        seconds: float,
        *,
        log: bool = True,
    ) -> None:
        """A callback was slow. `log`: False where asyncio's debug mode says it already.

        What the program's objects raise as they are described ends nothing.
        """
        try:
            report = {**describe(*what), "duration": seconds}
        except Exception:
            report = {"callback": type(what[0]).__qualname__, "file": None, "line": None}
            report |= {"task": None, "duration": seconds}
        self.recent.append({**report, "at": time.time()})
        for tell, whose in ((self._log if log else None, "log"), (self.handler, "handler")):
            if tell is None:
                continue
            try:
                tell(loop, report)
            except Exception as exc:
                loop.call_exception_handler(
                    {"message": f"Exception in the slow callback {whose}", "exception": exc}
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


def of_handle(handle: Any) -> dict[str, Any]:
    """The report of a handle's callback; of a task's step it is the task's coroutine."""
    callback = handle._callback
    owner: Any = getattr(callback, "__self__", None)
    # Not every task is one of asyncio.Task, which may be the one in C or in Python.
    is_future: bool = asyncio.isfuture(owner)
    if is_future and hasattr(owner, "get_coro"):
        return {**_of_coroutine(owner.get_coro()), "task": owner.get_name()}
    return {**_of_function(callback), "task": None}


def of_upcall(protocol: Any, method: str) -> dict[str, Any]:
    """The report of a protocol's method that the loop has called; over TLS, of the program's."""
    if isinstance(protocol, sslproto.SSLProtocol):
        if method == "buffer_updated" and not protocol._app_protocol_is_buffer:
            method = "data_received"
        protocol = protocol._app_protocol
    found = _of_function(getattr(protocol, method, None))
    return {**found, "callback": f"{type(protocol).__qualname__}.{method}", "task": None}


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
    if not isinstance(code, types.CodeType):
        return {"file": None, "line": None}
    return {"file": code.co_filename, "line": code.co_firstlineno}
