"""For programs of tests that fork: work in the child, and its verdict in the parent."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

# A child whose loop nobody wakes ends by itself.
LIMIT_SECONDS = 20


def in_a_child(work: Callable[[], object]) -> int:
    """Fork and run work() in the child, whose exit code is 0 when nothing was raised; its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        signal.alarm(LIMIT_SECONDS)
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pid


def check(pid: int) -> None:
    """Wait for such a child; AssertionError when something was raised in it."""
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status


def check_in_a_child(work: Callable[[], object]) -> None:
    """Both, one after the other."""
    check(in_a_child(work))
