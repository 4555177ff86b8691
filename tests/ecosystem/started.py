"""Programs that a test starts as their users do, each with all that it says in a file.

A `Program` leads a process group of its own, so that whatever it starts is ended with it. It is
ended by its process id; should the tests be killed, the kernel ends it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deployments import PATIENCE, wait_for
from programs import script_environment

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def under_run(loop_id: str, *options: str) -> list[str]:
    """What stands before a Python program so that its loops are of the tested kind."""
    if loop_id == "asyncio":
        return [sys.executable]
    return [sys.executable, "-m", "rloop", "run", *options]


def environment(loop_id: str, home: Path, extra: Mapping[str, str] = {}) -> dict[str, str]:
    """The environment of a program whose loops, if they are rloop's, are on the tested engine."""
    found = script_environment(HOME=str(home), **extra)
    if loop_id != "asyncio":
        found["RLOOP_BACKEND"] = loop_id
    return found


class Program:
    """A process that runs in `folder`; a context manager that ends its whole group."""

    def __init__(
        self, command: list[str], loop_id: str, folder: Path, name: str = "program", **extra: str
    ) -> None:
        self._command, self._folder = command, folder
        self._log = folder / f"{name}.log"
        self._environment = environment(loop_id, folder, extra)

    def __enter__(self) -> Program:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command],
                cwd=self._folder, env=self._environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        """All that it has said so far, on both of its streams."""
        return self._log.read_text(errors="replace")

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until it has said something that fits."""
        found: re.Match[str] | None = None

        def said() -> bool:
            nonlocal found
            ended = self._process.poll() is not None
            found = re.search(pattern, self.log())
            assert found or not ended, f"it ended without saying {pattern!r}:\n{self.log()}"
            return found is not None

        try:
            wait_for(said, f"{pattern!r}")
        except AssertionError as vain:
            if self._process.poll() is None:
                vain.add_note(f"it said:\n{self.log()}")
            raise
        assert found is not None
        return found

    def port(self, pattern: str = r"127\.0\.0\.1(?::|', )(\d+)") -> int:
        """The port that it says it serves on."""
        return int(self.says(pattern)[1])

    def send(self, sent: signal.Signals) -> None:
        self._process.send_signal(sent)

    def ends(self) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(timeout=PATIENCE)

    def ends_by(self, sent: signal.Signals) -> int:
        """Send it a signal, and wait for its end; its exit code."""
        self.send(sent)
        return self.ends()
