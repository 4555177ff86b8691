"""Programs that a test runs in a process of their own, because they fork, crash, exit or sandbox.

A program's source is given as text and may import `support`; what this process can import, it can.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from support import DEADLINE

SLOW_CALLBACK = re.compile(r" took \d+\.\d+ seconds in loop ")


def script_environment(**extra: str) -> dict[str, str]:
    """The environment of a child: it finds `support` and whatever this process can import."""
    path = os.pathsep.join([str(Path(__file__).parent), *(entry for entry in sys.path if entry)])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


def start_script(
    source: str, *arguments: str, pass_fds: tuple[int, ...] = (), **extra: str
) -> subprocess.Popen[str]:
    """Start a program that may read `sys.argv[1:]`; ended by whoever started it, by its pid."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(source), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=script_environment(**extra),
        pass_fds=pass_fds,
    )


def run_script(
    source: str, *arguments: str, pass_fds: tuple[int, ...] = (), **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with a deadline."""
    with start_script(source, *arguments, pass_fds=pass_fds, **extra) as process:
        try:
            out, err = process.communicate(timeout=3 * DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def check_script(source: str, *arguments: str, may_log: bool = False, **extra: str) -> str:
    """Run a program that must end with 0 and say nothing on stderr; what it printed.

    `may_log` allows warnings on stderr, for programs that meet a refusal worth one. That a callback
    was slow is always allowed: so it is on a busy machine.
    """
    done = run_script(source, *arguments, **extra)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    said = [line for line in done.stderr.splitlines() if not SLOW_CALLBACK.search(line)]
    assert may_log or not said, done.stderr
    return done.stdout
