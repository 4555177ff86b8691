"""One run of a program in a process of its own, with at most one failure in it.

`perform` forks: the child arms the preloaded library, makes a loop, runs the program, ends the loop
and looks at what is left; the parent gets that as a dictionary, or how the child died. The parent
has imported and tried everything before, so that a run costs some 20 ms and no import fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import faulthandler
import gc
import json
import logging
import os
import select
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from programs import PROGRAMS
from record import Run

import rloop

KINDS = {"native": 1, "outer": 2, "submission": 3, "memory": 4, "memory_all": 5, "new": 6}
#: A program that takes longer has stalled; a timer of the loop ends it.
PATIENCE_s = 2.5
#: A loop that takes longer sleeps for ever, because a task's wakeup was lost; a signal ends it.
ALARM_s = 4.0
#: A loop that takes longer hangs; the watchdog tells where and ends the process.
WATCHDOG_s = 20.0


@dataclasses.dataclass(frozen=True)
class Failure:
    """The n-th event of a name fails; n = 0 counts events alone."""

    kind: str
    name: str = ""
    n: int = 0
    errno: int = 0

    def __str__(self) -> str:
        code = f" --errno {self.errno}" if self.errno else ""
        return f"--kind {self.kind} --call {self.name} --n {self.n}{code}"


class Asleep(BaseException):
    """Raised by the alarm, inside the loop."""


class Library:
    """The preloaded library, through ctypes."""

    def __init__(self, path: str) -> None:
        self._dll = ctypes.CDLL(path)
        self._dll.fail_once_arm.argtypes = [
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_int64,
            ctypes.c_int,
        ]
        self._dll.fail_once_module.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self._dll.fail_once_struck.restype = ctypes.c_char_p
        self._dll.fail_once_name.restype = ctypes.c_char_p
        self._dll.fail_once_frame.restype = ctypes.c_size_t
        begin, end, self.module_path = module_range()
        self._dll.fail_once_module(begin, end)
        # With the GIL.
        self.hooks_python = ctypes.PyDLL(path).fail_once_hook_python() == 0

    def arm(self, failure: Failure) -> None:
        self._name = failure.name.encode() or None
        self._dll.fail_once_arm(KINDS[failure.kind], self._name, failure.n, failure.errno)

    def disarm(self) -> None:
        self._dll.fail_once_disarm()

    def struck(self) -> bool:
        return self._dll.fail_once_struck() is not None

    def names(self) -> list[str]:
        return [
            self._dll.fail_once_name(i).decode() for i in range(self._dll.fail_once_name_count())
        ]

    def frames(self) -> list[int]:
        found = (self._dll.fail_once_frame(i) for i in range(12))
        return [frame for frame in found if frame]


def module_range() -> tuple[int, int, str]:
    """Where rloop's native half lies in memory, and its file."""
    begin = end = 0
    path = ""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/rloop/_core" not in line:
            continue
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        begin = min(begin or low, low)
        end = max(end, high)
        path = line.split()[-1]
    return begin, end, path


def new_loop(engine: str) -> asyncio.AbstractEventLoop:
    if engine == "asyncio":
        return asyncio.SelectorEventLoop()
    return rloop.new_event_loop(backend=engine)


async def supervised(run: Run, program: Callable[[Run], Any]) -> None:
    limit = None
    try:
        async with asyncio.timeout(PATIENCE_s) as limit:
            await program(run)
        run.outcome = "finished"
    except BaseException as exc:
        if limit and limit.expired():
            run.outcome = "stalled"
        else:
            run.outcome = "raised"
            run.caught(exc)
    await run.close_all()


def attempt(run: Run, what: Callable[[], Any]) -> Any:
    """Do one thing; once more when it was what failed."""
    for _ in range(2):
        try:
            return what()
        except BaseException as exc:
            run.caught(exc)
    return None


def finish(run: Run, loop: asyncio.AbstractEventLoop) -> None:
    """End the loop as asyncio.Runner does, whatever fails."""

    async def end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=PATIENCE_s) if tasks else None
        await run.close_all()
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    attempt(run, lambda: loop.run_until_complete(end()))
    attempt(run, loop.close)
    signal.setitimer(signal.ITIMER_REAL, 0)


def run_program(run: Run, program: Callable[[Run], Any]) -> None:
    loop = attempt_loop(run)
    if loop is None:
        run.outcome = "refused"
        return
    loop.set_exception_handler(run.exception_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, ALARM_s)
        loop.run_until_complete(supervised(run, program))
    except Asleep:
        run.outcome = "asleep"
    except BaseException as exc:
        run.outcome = run.outcome or "raised"
        run.caught(exc)
    signal.setitimer(signal.ITIMER_REAL, ALARM_s)
    finish(run, loop)


def attempt_loop(run: Run) -> asyncio.AbstractEventLoop | None:
    try:
        return new_loop(run.engine)
    except Exception as exc:
        run.caught(exc)
        return None


class Reports(logging.Handler):
    """What is logged, with its exception."""

    def __init__(self, run: Run) -> None:
        super().__init__(logging.WARNING)
        self.run = run

    def emit(self, record: logging.LogRecord) -> None:
        self.run.reports.append(record.getMessage()[:300])
        if record.exc_info:
            self.run.caught(record.exc_info[1])


def listen(run: Run) -> None:
    handler = Reports(run)
    for name in ("asyncio", "rloop"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False

    def wake_up(*_: Any) -> None:
        raise Asleep

    def unraisable(args: Any) -> None:
        run.reports.append(f"unraisable in {args.object!r:.100}: {args.err_msg}")
        run.caught(args.exc_value)

    sys.unraisablehook = unraisable
    signal.signal(signal.SIGALRM, wake_up)
    warnings.simplefilter("ignore")


def descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[int(entry.name)] = str(entry.readlink())
    return found


def in_child(
    library: Library, engine: str, program: str, failure: Failure | None
) -> dict[str, Any]:
    faulthandler.enable()
    faulthandler.dump_traceback_later(WATCHDOG_s, exit=True)
    run = Run(engine)
    listen(run)
    gc.collect()
    gc.disable()  # a collection at another moment would be another order of allocations
    before = descriptors()
    if failure:
        library.arm(failure)
    run_program(run, PROGRAMS[program])
    library.disarm()
    result = run.as_json()
    run.protocols.clear()
    run.servers.clear()
    gc.enable()
    for _ in range(3):
        gc.collect()
    result["leaked"] = [text for fd, text in descriptors().items() if before.get(fd) != text]
    # What finalizers said came after the first look.
    result["errors"], result["reports"] = run.errors, run.reports
    result["struck"] = library.struck()
    result["frames"] = library.frames() if library.struck() else []
    result["names"] = library.names() if failure and failure.n == 0 else []
    return result


def perform(library: Library, engine: str, program: str, failure: Failure | None) -> dict[str, Any]:
    """Fork, run, and tell what came of it."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile("w+") as output:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.setpgid(0, 0)
                os.close(reading)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                result = in_child(library, engine, program, failure)
                sys.stdout.flush()
                with os.fdopen(writing, "w") as answer:
                    json.dump(result, answer)
                code = 0
            except BaseException:
                import traceback

                library.disarm()
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        os.close(writing)
        return await_child(pid, reading, output)


def await_child(pid: int, reading: int, output: Any) -> dict[str, Any]:
    deadline = time.monotonic() + WATCHDOG_s + 5
    parts = []
    with os.fdopen(reading, "rb", 0) as answer:
        while select.select([answer], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = answer.read(65536)
            if not part:
                break
            parts.append(part)
        else:
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # children that it left behind
    output.seek(0)
    result = json.loads(b"".join(parts)) if os.waitstatus_to_exitcode(status) == 0 else {}
    result["exit"] = os.waitstatus_to_exitcode(status)
    result["output"] = output.read()[-4000:]
    return result
