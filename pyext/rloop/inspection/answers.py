"""What a process says of itself: one JSON line for one JSON line. On the inspector's own thread.

Request: ``{"protocol": 1, "parts": ["process", "loops", "tasks"], "heaviest": 10, "limit": 20}``,
all but the protocol optional. Answer: the protocol, ``at`` (seconds of CLOCK_MONOTONIC) and the
parts by name; or ``{"protocol": 1, "error": "..."}``. What cannot be read is null, and ``errors``
of its loop or task says why: a fault of one does not hide the others.

Only reads, and only what may be read by any thread that has the GIL.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .. import _core, observation
from . import tasks

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = 1
HEAVIEST = 10
#: Tasks of a loop that are described at most.
LIMIT = 20_000


def refusal(reason: str) -> bytes:
    """The answer when there is none."""
    return (_json({"protocol": PROTOCOL, "error": reason}) + "\n").encode()


def answer(line: bytes) -> bytes:
    """The answer to one request; never raises."""
    try:
        request = _checked(line)
    except ValueError as exc:
        return refusal(f"not a request: {exc}")
    try:
        return _answer(request).encode()
    except BaseException as exc:
        return refusal(f"the process failed to describe itself: {tasks.described(exc)}")


def _checked(line: bytes) -> dict[str, Any]:
    """The request with everything filled in; ValueError says what is wrong with it."""
    try:
        request = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(request, dict):
        raise ValueError("it is no JSON object")
    if request.get("protocol") != PROTOCOL:
        found = request.get("protocol")
        raise ValueError(f"its protocol is {found!r}, and this process speaks {PROTOCOL}")
    parts = request.setdefault("parts", ["process", "loops"])
    if not isinstance(parts, list) or not all(part in tuple(_PARTS) for part in parts):
        raise ValueError(f"parts may be {', '.join(_PARTS)}")
    for name, default in (("heaviest", HEAVIEST), ("limit", LIMIT)):
        number = request.setdefault(name, default)
        if type(number) is not int or not 0 <= number < 1 << 31:
            raise ValueError(f"{name} is a number from 0 on")
    return request


def _answer(request: dict[str, Any]) -> str:
    # Joined of pieces: the encoder keeps the GIL to its end, a second for thousands of tasks.
    pieces = [f'{{"protocol": {PROTOCOL}, "at": {time.monotonic()!r}']
    for part in dict.fromkeys(request["parts"]):
        pieces.append(f', "{part}": ')
        pieces += _PARTS[part](request)
    pieces.append("}\n")
    return "".join(pieces)


def _json(value: Any) -> str:
    return json.dumps(value, default=_as_text)


def _as_text(value: object) -> str:
    # Names of sockets may be bytes.
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)


def _live_loops() -> list[Any]:
    """Those of this process; another thread may make or drop one while they are listed."""
    for _ in range(100):
        with contextlib.suppress(RuntimeError):
            return observation.live_loops()
    return observation.live_loops()


# -- the parts ----------------------------------------------------------------------------------


def _process(request: dict[str, Any]) -> list[str]:
    found = {
        "pid": os.getpid(),
        "python": platform.python_version(),
        "rloop": _core.__version__,
        "command": list(sys.orig_argv or sys.argv),
        "uptime_seconds": _uptime(),
        "cpu_seconds": time.process_time(),
        "threads": [
            {"name": thread.name, "native_id": thread.native_id, "daemon": thread.daemon}
            for thread in threading.enumerate()
        ],
    }
    return [_json(found)]


def _uptime() -> float | None:
    """Seconds since the process was started; None without /proc."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        stat = Path("/proc/self/stat").read_bytes()
        # The name, in brackets, may hold anything; the time is the 22nd field.
        ticks = int(stat.rpartition(b")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return None


def _loops(request: dict[str, Any]) -> list[str]:
    pieces: list[str] = []
    for loop in _live_loops():
        pieces.append(", " if pieces else "[")
        try:
            pieces.append(_json(_loop(loop, request["heaviest"])))
        except BaseException as exc:  # what JSON cannot hold
            pieces.append(
                _json({"id": str(loop._serial), "errors": {"loop": tasks.described(exc)}})
            )
    return [*pieces, "]"] if pieces else ["[]"]


def _loop(loop: Any, heaviest: int) -> dict[str, Any]:
    errors: dict[str, str] = {}

    def read(name: str, reader: Callable[[], Any]) -> Any:
        try:
            return reader()
        except BaseException as exc:
            errors[name] = tasks.described(exc)
            return None

    return {
        "id": str(loop._serial),
        "name": read("name", lambda: loop.name),
        "backend": read("backend", lambda: loop.backend),
        "reason": read("reason", lambda: loop.backend_reason),
        "running": read("running", loop.is_running),
        "debug": read("debug", loop.get_debug),
        "thread": read("thread", lambda: _thread(loop._thread_id)),
        "stack": read("stack", lambda: tasks.stack_of_thread(loop._thread_id)),
        "statistics": read("statistics", loop._observe),
        "connections": read("connections", lambda: loop._connections(heaviest)),
        "slow_callbacks": read("slow_callbacks", lambda: list(loop._slow_recent)),
        "errors": errors,
    }


def _thread(ident: int | None) -> dict[str, Any] | None:
    """The thread that runs a loop."""
    for thread in threading.enumerate():
        if ident is not None and thread.ident == ident:
            return {"name": thread.name, "native_id": thread.native_id}
    return None


def _tasks(request: dict[str, Any]) -> list[str]:
    pieces: list[str] = []
    pace = tasks.Pace()
    for loop in _live_loops():
        pieces += [", " if pieces else "[", f'{{"loop": "{loop._serial!s}", ']
        pieces += _tasks_of(loop, request["limit"], pace)
        pieces.append("}")
    return [*pieces, "]"] if pieces else ["[]"]


def _tasks_of(loop: Any, limit: int, pace: tasks.Pace) -> list[str]:
    try:
        found = tasks.all_of(loop)
    except BaseException as exc:
        return [f'"tasks": [], "error": {_json(tasks.described(exc))}']
    pieces = [f'"tree": {_json(tasks.HAS_TREE)}, "omitted": {max(len(found) - limit, 0)}']
    pieces.append(', "tasks": [')
    separator = ""
    while found and limit > 0:
        pieces += [separator, _json(tasks.describe(found.pop(), loop))]
        separator, limit = ", ", limit - 1
        pace.keep()
    pieces.append("]")
    return pieces


_PARTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "process": _process,
    "loops": _loops,
    "tasks": _tasks,
}
