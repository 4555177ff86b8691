"""Work that may end the process: an assertion of ours, a fault of memory.

It is done in a child, which dies with its parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def signal_of(work: Callable[[], int], seconds: int = 0, *, silent: bool = False) -> int:
    """What the work answered (0 to 255), or minus the signal that ended it.

    SIGALRM ends it after `seconds`.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 255
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.alarm(seconds)
            if silent:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
                os.close(nowhere)
            code = work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it goes to the child as well
    try:
        _, status = os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGINT, before)
    return os.waitstatus_to_exitcode(status)
