"""A client program on one of the loops as a process that measures what it is asked for.

The other side of `traffic/clients.py`: it is set up once, and then answers one line with another.
What it writes to standard error explains why it ended, should it.
"""

from __future__ import annotations

import json
import select
import signal
import subprocess
import tempfile

from harness.machine import pinned_to
from harness.measure import (
    START_SECONDS,
    UNSUPPORTED,
    MeasurementError,
    Rig,
    Sample,
    UnsupportedError,
    end_process,
    last_line,
    with_derived,
)
from harness.peers import Peer, command_of

# What requests in flight at the end of a window may take beyond it.
SLACK_SECONDS = 15.0


class AskedClient:
    """One process on the server CPU; a context manager that ends it."""

    def __init__(self, rig: Rig, peer: Peer, program: str, port: int) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by __exit__
        command = [*command_of(peer.python, "clients"), "--loop", peer.loop_option]
        with pinned_to(rig.cpus.server):
            self.process = subprocess.Popen(
                [*command, "--program", program, "--port", str(port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env=rig.environment,
            )

    def __enter__(self) -> AskedClient:
        return self

    def __exit__(self, *_: object) -> None:
        end_process(self.process, signal.SIGKILL)  # what it has open is its own
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

    def wait_until_ready(self) -> None:
        if (said := self._line(START_SECONDS)) != "ready\n":
            raise MeasurementError(f"the client said {said!r} instead of ready")

    def measure(self, case: str, warm_up: float, seconds: float) -> Sample:
        """Let it send the requests of a case for that long; return its figures."""
        assert self.process.stdin
        try:
            self.process.stdin.write(f"{case} {warm_up} {seconds}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._raise_why()
        return with_derived(json.loads(self._line(warm_up + seconds + SLACK_SECONDS)))

    def _line(self, limit_seconds: float) -> str:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], limit_seconds)
        if not ready:
            # It would answer the next question with this one's figures.
            end_process(self.process, signal.SIGKILL)
            raise MeasurementError(f"no answer after {limit_seconds:.1f} s")
        line = self.process.stdout.readline()
        if not line:
            self._raise_why()
        return line

    def _raise_why(self) -> None:
        self.process.wait(SLACK_SECONDS)
        self.errors.seek(0)
        said = last_line(self.errors.read())
        missing = any(words in said for words in UNSUPPORTED)
        kind = UnsupportedError if missing or "NotImplementedError" in said else MeasurementError
        raise kind(said)
