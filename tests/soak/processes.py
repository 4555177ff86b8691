"""What every process of a soak needs: its end when its parent ends, and its reports.

Reports are JSON datagrams to the Unix socket of the command: what was counted since the last one,
measured values, and failures. A killed process loses at most what it counted in the last second.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PARENT = "SOAK_PARENT"  # its process id


def environment_of_child() -> dict[str, str]:
    """For a process that is to end with this one."""
    tests = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": tests, _PARENT: str(os.getpid())}


def die_with_parent() -> None:
    """The kernel kills this process when its parent ends, also while it is stopped."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ[_PARENT]):
        sys.exit("the parent is gone")


def explain_crashes() -> None:
    """Tracebacks of all threads on stderr for SIGSEGV, SIGABRT and their like."""
    faulthandler.enable()


class LogWatch(logging.Handler):
    """Counts what asyncio and rloop log as a warning; an error is a failure."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self._reporter.counts[f"log_{record.levelname.lower()}"] += 1
        if record.levelno >= logging.ERROR:
            self._reporter.fail(f"logged: {record.getMessage()} {record.exc_text or ''}")


def watch_logs(reporter: Reporter) -> None:
    """Warnings, of writing to a connection that is lost and the like, are not printed."""
    root = logging.getLogger()
    root.addHandler(LogWatch(reporter))
    root.setLevel(logging.WARNING)


class Reporter:
    """Counts, and tells the command. May be used from several threads."""

    def __init__(self, path: str, role: str) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self._role = role
        self._notes: collections.deque[tuple[float, str]] = collections.deque(maxlen=30)
        self._told: collections.Counter[str] = collections.Counter()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.connect(path)

    def tell(self, **values: Any) -> None:
        """Send what was counted since the last time, and `values`."""
        now = collections.Counter(self.counts)
        told = now - self._told
        message = {"role": self._role, "pid": os.getpid(), "counts": told, **values}
        with contextlib.suppress(OSError):  # the command is gone, and this process soon is
            self._socket.send(json.dumps(message).encode())
            self._told = now

    def note(self, what: str) -> None:
        """Remember it for the case that something fails soon."""
        self._notes.append((time.monotonic(), what))

    def fail(self, text: str) -> None:
        """Tell of a failure, which ends the soak."""
        print(f"{self._role} {os.getpid()}: {text}", file=sys.stderr)
        self.show_notes()
        self.tell(failure=text)

    def show_notes(self) -> None:
        """On stderr, what was remembered last."""
        for when, what in self._notes:
            print(f"  {time.monotonic() - when:7.3f} s before: {what}", file=sys.stderr)
        sys.stderr.flush()
