"""For the tests of the stall watchdog: programs that stall, and what they write meanwhile.

Nothing here depends on how long anything takes. A program stalls until it gets SIGINT, whose
handler raises GoOn where it hangs; the test sends it once it has read what it waits for.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from programs import script_environment
from support import DEADLINE

#: Before each program. `stall(function)` calls it and swallows GoOn.
PREAMBLE = """\
import asyncio, logging, os, re, signal, socket, sys, threading, time
import rloop

logging.getLogger("rloop.slow").setLevel(100)  # these callbacks are

class GoOn(Exception):
    pass

def go_on(*_):
    raise GoOn

signal.signal(signal.SIGINT, go_on)

def stall(function):
    try:
        function()
    except GoOn:
        pass

def run(main):
    loop = rloop.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()

"""


class Program:
    """A running program; `errors` is what it has written to standard error so far."""

    def __init__(self, folder: Path, source: str, **extra: str) -> None:
        self.path = folder / "program.py"
        self.path.write_text(PREAMBLE + textwrap.dedent(source))
        self.process = subprocess.Popen(
            [sys.executable, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that its children end with it
            env=script_environment(**extra),
        )
        self.errors = ""

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.process.wait()

    def line(self, marked: str) -> int:
        """The number of the line that ends with the comment `# marked`."""
        lines = self.path.read_text().splitlines()
        (found,) = [n for n, text in enumerate(lines, 1) if text.endswith(f"# {marked}")]
        return found

    def read_until(self, text: str, count: int = 1) -> str:
        """What it has written once `text` is in it so often; AssertionError after the deadline."""
        end = time.monotonic() + 2 * DEADLINE
        while self.errors.count(text) < count:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in time in:\n{self.errors}"
            if not self._read(left):
                raise AssertionError(f"it ended without {text!r}:\n{self.errors}")
        return self.errors

    def _read(self, patience: float) -> bool:
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        if not select.select([fd], [], [], patience)[0]:
            return True
        piece = os.read(fd, 65536)
        self.errors += piece.decode()
        return bool(piece)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """For what is not on standard error."""
        end = time.monotonic() + 2 * DEADLINE
        while not condition():
            assert self.process.poll() is None, "it ended"
            assert time.monotonic() < end, "not in time"
            self._read(0.02)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def feed(self) -> None:
        """A byte for whoever reads its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(".")
        self.process.stdin.flush()

    def send(self, number: signal.Signals, pid: int) -> None:
        """To a process that it has started, or to itself."""
        os.kill(pid, number)

    def finish(self, code: int = 0) -> str:
        """Wait for its end, with that exit code; what it printed."""
        assert self.process.stdout is not None
        end = time.monotonic() + 2 * DEADLINE
        while self._read(end - time.monotonic()):
            assert time.monotonic() < end, f"it does not end:\n{self.errors}"
        out = self.process.stdout.read()
        assert self.process.wait(DEADLINE) == code, self.errors
        return out
