"""The stall watchdog: how it is switched on and off, and what it says that needs Python.

Imported only when somebody asks for it. Two native threads do the work
(pyext/native/watchdog.hpp): one watches and writes, the other calls `_describe` here. Whoever hangs
may hold a lock of the import system, so all that `_describe` needs is imported now.
"""

from __future__ import annotations

import asyncio
import atexit
import faulthandler
import linecache  # noqa: F401 # imported late by traceback
import math
import os
import signal
import sys
import threading
import tokenize  # noqa: F401 # imported late by linecache
import traceback
import warnings

from . import _core, observation

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SHORTEST, LONGEST = 0.01, 86400.0
_STANDARD_ERROR = 2
_FRAMES = 200  # the innermost of a deep recursion
_LONGEST_TEXT = 100_000
_NAME_BYTES = 70  # what the native half has room for


class _Dump:
    """faulthandler's handler for a signal that nobody uses; the watcher signals itself."""

    def __init__(self, fd: int) -> None:
        self.signal = 0
        free = (number for number in _candidates() if _core._signal_handler(number) == 0)
        number = next(free, 0)
        if number:
            faulthandler.register(number, file=fd, all_threads=True, chain=False)
            self.signal = number
            self._handler = _core._signal_handler(number)

    def release(self) -> None:
        # What the program has put there since is the program's.
        if self.signal and _core._signal_handler(self.signal) == self._handler:
            faulthandler.unregister(self.signal)


def _candidates() -> range:
    # The last two are what programs take that count from the end.
    return range(signal.SIGRTMAX - 2, signal.SIGRTMIN, -1)


# Switched by one thread at a time; again by a signal's handler in the middle of it.
_switching = threading.RLock()
_on: tuple[int, _Dump] | None = None  # the descriptor, and who dumps into it


def watch(seconds: float | None, file: Any = None) -> None:
    """rloop.watchdog()."""
    limit_ns = _limit_ns(seconds)
    with _switching:
        fd = _descriptor(file) if limit_ns else _STANDARD_ERROR
        _switch_off()
        if limit_ns:
            _switch_on(limit_ns, fd)


def configure_from_environment() -> None:
    """Obey RLOOP_WATCHDOG and RLOOP_WATCHDOG_FILE; once, when rloop is imported. What is wrong with
    them is told.
    """
    wanted = os.environ.get("RLOOP_WATCHDOG", "")
    file = os.environ.get("RLOOP_WATCHDOG_FILE") or None
    try:
        seconds = float(wanted)
        _limit_ns(seconds)
    except ValueError:
        message = f"RLOOP_WATCHDOG is {wanted!r}; it should be {_ALLOWED}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return
    try:
        watch(seconds, file)
    except OSError as exc:
        message = f"RLOOP_WATCHDOG_FILE cannot be opened ({exc}); standard error is used"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        watch(seconds)


_ALLOWED = f"a number of seconds from {SHORTEST:g} to {LONGEST:g}, or 0 for off"


def _limit_ns(seconds: Any) -> int:
    if seconds is None:
        return 0
    if isinstance(seconds, bool | str | bytes | bytearray) or not hasattr(seconds, "__float__"):
        raise TypeError(f"seconds is {seconds!r}; it must be {_ALLOWED}")
    try:
        number = float(seconds)
    except OverflowError:
        number = math.inf
    if number == 0:
        return 0
    if math.isnan(number) or not SHORTEST <= number <= LONGEST:
        raise ValueError(f"seconds is {seconds!r}; it must be {_ALLOWED}")
    return int(number * 1e9)


def _descriptor(file: Any) -> int:
    """One of our own, but for standard error, which is whatever the program makes of 2."""
    if file is None:
        return _STANDARD_ERROR
    if isinstance(file, str | bytes | os.PathLike):
        # Processes may share it: each report is appended.
        # A FIFO without a reader is refused (ENXIO) instead of waited for.
        how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(file, how, 0o644)
    if hasattr(file, "fileno"):
        file = file.fileno()
    if not isinstance(file, int) or isinstance(file, bool):
        raise TypeError(f"file is {file!r}; it must be a path, a descriptor or have fileno()")
    return file if file == _STANDARD_ERROR else os.dup(file)


def _switch_on(limit_ns: int, fd: int) -> None:
    global _on
    _on = fd, _Dump(fd)
    try:
        _core._watchdog_start(limit_ns, fd, _on[1].signal, _introduce, _describe)
    except BaseException:
        _switch_off()
        raise


def _switch_off(*, for_good: bool = False) -> None:
    global _on
    was, _on = _on, None
    ended = _core._watchdog_stop(for_good)
    if was is None or not ended:  # a thread that is held up still has the descriptor
        return
    fd, dump = was
    dump.release()
    if fd != _STANDARD_ERROR:
        os.close(fd)


def _renew_lock() -> None:
    global _switching
    _switching = threading.RLock()


atexit.register(_switch_off, for_good=True)
os.register_at_fork(after_in_child=_renew_lock)


# --- called by the native half --------------------------------------------------------------------


def _introduce(loop: Any, ident: int) -> tuple[bytes, bytes]:
    thread = _thread_name(ident)
    return _quoted(observation.name_of(loop), "'"), _quoted(thread, '"')


def _thread_name(ident: int) -> str:
    # current_thread() would make an object for a thread that Python does not know.
    return next((thread.name for thread in threading.enumerate() if thread.ident == ident), "?")


def _quoted(name: Any, quote: str) -> bytes:
    printable = "".join(c if c.isprintable() else "?" for c in str(name))
    cut = printable.encode("utf-8", "replace")[:_NAME_BYTES].decode("utf-8", "ignore")
    return f"{quote}{cut}{quote}".encode()


def _describe(loop: Any, ident: int) -> bytes:
    """The stack of the loop's thread, and the task that runs on it; by the native reporter."""
    text = ""
    try:
        for part in _description(loop, ident):
            text += part
    except Exception as exc:
        text += f"rloop: what else there is to say could not be read: {exc!r}\n"
    if len(text) > _LONGEST_TEXT:  # thousands await the task
        text = text[:_LONGEST_TEXT] + "\n(cut off)\n"
    return text.replace("\0", "?").encode("utf-8", "backslashreplace")


def _description(loop: Any, ident: int) -> Iterator[str]:
    frame = sys._current_frames().get(ident)
    # The frames are read before any source file is, in which time they would go on.
    stack = traceback.extract_stack(frame, _FRAMES) if frame is not None else None
    del frame
    task = asyncio.current_task(loop)
    if task is None:
        yield "rloop: it runs no task, but a callback\n"
    else:
        yield f"rloop: it runs the task {_name_of(task)!r}\n"
    if stack is None:
        yield "rloop: its thread has no Python stack\n"
    else:
        yield "Stack of its thread (most recent call last):\n"
        yield from stack.format()
    if task is not None and sys.version_info >= (3, 14):
        yield "Who awaits the task:\n"
        yield asyncio.format_call_graph(task) + "\n"


def _name_of(task: Any) -> str:
    try:
        return str(task.get_name())
    except Exception as exc:  # a class of the program's
        return f"({exc!r})"
