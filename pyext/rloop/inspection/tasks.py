"""What a task is and where it waits, as the JSON of answers.py; and where a thread stands.

Any object may call itself a task, and names and frames are the program's: each is described for
itself, and one that raises is an entry with an error. No `repr` of the program's is asked for.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

#: From 3.14 on, futures know who awaits them.
HAS_TREE = sys.version_info >= (3, 14)
#: Frames of a stack that are told, the innermost ones.
DEPTH = 30
#: Coroutines that are followed at most.
MAX_CHAIN = 1000
#: Of coroutines, asynchronous generators and generators: the frame, and what it awaits.
_LINKS = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))
TEXT_LENGTH = 500


class Pace:
    """Leaves the GIL to the loops half of the time, a millisecond each.

    Without it a loop that wakes up gets the GIL after sys.getswitchinterval(), 5 ms, each time.
    """

    SLICE = 0.001

    def __init__(self) -> None:
        self._began = time.monotonic()

    def keep(self) -> None:
        """Called between two small pieces of work."""
        if time.monotonic() - self._began > self.SLICE:
            time.sleep(self.SLICE)
            self._began = time.monotonic()


def described(exc: BaseException) -> str:
    """An exception in one line; its own text may fail, too."""
    try:
        return f"{type(exc).__name__}: {exc}"[:TEXT_LENGTH]
    except BaseException as another:
        return f"{type(exc).__name__}, whose text raises {type(another).__name__}"


def all_of(loop: Any) -> list[Any]:
    """The loop's tasks, the oldest last, as far as their names tell."""
    return sorted(asyncio.all_tasks(loop), key=_age, reverse=True)


def _age(task: Any) -> tuple[int, int]:
    # "Task-12" is asyncio's own; what the program named comes after those.
    try:
        prefix, _, number = task.get_name().rpartition("-")
        return (0, int(number)) if prefix == "Task" and number.isdecimal() else (1, 0)
    except BaseException:
        return (1, 0)


def describe(task: Any, loop: Any) -> dict[str, Any]:
    """One task. `awaited_by`: ids of the tasks that wait for it (3.14+, else null)."""
    try:
        coroutine = task.get_coro()
        is_running = task is asyncio.current_task(loop)
        stack = stack_of_thread(loop._thread_id) if is_running else _stack_of(coroutine)
        return {
            "id": hex(id(task)),
            "name": str(task.get_name())[:TEXT_LENGTH],
            "coroutine": _qualified_name(coroutine),
            "state": "running" if is_running else _state(task),
            "stack": stack,
            "awaited_by": _awaiters(task) if HAS_TREE else None,
        }
    except BaseException as exc:
        return {"id": hex(id(task)), "error": described(exc)}


def _state(task: Any) -> str:
    if task.done():
        return "cancelled" if task.cancelled() else "done"
    if task.cancelling():
        return "being cancelled"
    # Without a future that it waits for it is scheduled.
    return "ready" if getattr(task, "_fut_waiter", None) is None else "waiting"


def _qualified_name(coroutine: Any) -> str | None:
    if coroutine is None:  # an eager task that has ended
        return None
    name = getattr(coroutine, "__qualname__", None) or type(coroutine).__qualname__
    return str(name)[:TEXT_LENGTH]


def _awaiters(task: Any) -> list[str]:
    """The tasks behind its `_asyncio_awaited_by`, through futures such as gather's."""
    found: dict[int, None] = {}
    seen = {id(task)}
    waiting = list(getattr(task, "_asyncio_awaited_by", None) or ())
    while waiting:
        awaiter = waiting.pop()
        if asyncio.isfuture(awaiter) and hasattr(awaiter, "get_coro"):
            found[id(awaiter)] = None
        elif id(awaiter) not in seen:
            seen.add(id(awaiter))
            waiting += getattr(awaiter, "_asyncio_awaited_by", None) or ()
    return [hex(one) for one in found]


# -- frames -------------------------------------------------------------------------------------


def _stack_of(coroutine: Any) -> list[dict[str, Any]]:
    """Where a coroutine waits, through those that it awaits; the innermost frame comes last."""
    entries: list[dict[str, Any]] = []
    for _ in range(MAX_CHAIN):  # what stands for a coroutine may await itself
        for frame_name, next_name in _LINKS:
            frame = getattr(coroutine, frame_name, None)
            if frame is not None:
                entries.append(_entry(frame))
                coroutine = getattr(coroutine, next_name, None)
                break
        else:
            break
    return entries[-DEPTH:]


def stack_of_thread(ident: int | None) -> list[dict[str, Any]]:
    """Where a thread stands; empty when there is no such thread."""
    frame: FrameType | None = sys._current_frames().get(ident) if ident is not None else None
    entries: list[dict[str, Any]] = []
    while frame is not None and len(entries) < DEPTH:
        entries.append(_entry(frame))
        frame = frame.f_back
    return entries[::-1]


def _entry(frame: FrameType) -> dict[str, Any]:
    code = frame.f_code
    file = os.fspath(code.co_filename)
    return {"function": code.co_qualname, "file": file, "line": frame.f_lineno}
