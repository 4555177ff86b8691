"""What the children of forks do: leave at once, or make a loop of their own and use it.

A child that a fork made while the loop ran has a copy that refuses to work; the child of a fork
between two runs may close its copy. Neither may disturb the connections of the parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import socket
import sys
import threading
import traceback
import warnings
from typing import NoReturn

import rloop

from .jobs import is_limit
from .processes import Reporter
from .wire import Checker, pattern

_SECONDS = 20  # after which a child that still runs hangs
_LIMITED = 3  # exit status: no descriptor was left


def fork(reporter: Reporter, how: str, backend: str, copy: asyncio.AbstractEventLoop) -> None:
    """Fork from this thread; a thread waits for the child. `how` is exit, loop or close."""
    pid = os.fork()
    if pid == 0:
        _live(how, backend, copy)
    reporter.counts[f"forks_{how}"] += 1
    threading.Thread(target=_wait, args=(reporter, how, pid), daemon=True).start()


def _wait(reporter: Reporter, how: str, pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == _LIMITED:
        reporter.counts["limited"] += 1
    elif code != 0:
        reporter.fail(f"the child of a fork ({how}) ended with {code}; see its traceback")


def _live(how: str, backend: str, copy: asyncio.AbstractEventLoop) -> NoReturn:
    status = 1
    try:
        faulthandler.dump_traceback_later(_SECONDS, exit=True)
        if how == "close":
            # The tasks of the parent are dropped with it, and complain.
            copy.set_exception_handler(lambda loop, context: None)
            sys.unraisablehook = lambda unraisable: None
            warnings.simplefilter("ignore")
            copy.close()
        if how != "exit":
            _use_a_loop(backend)
        status = 0
    except BaseException as exc:
        status = _LIMITED if is_limit(exc) else 1
        if status == 1:
            traceback.print_exc()
            sys.stderr.flush()
    os._exit(status)


def _use_a_loop(backend: str) -> None:
    with contextlib.closing(rloop.new_event_loop(backend)) as loop:
        work = _echo()
        try:
            loop.run_until_complete(work)
        finally:
            work.close()  # where the engine lacked a descriptor it never began


async def _echo() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=near.dup())
        loop = asyncio.get_running_loop()
        writer.write(pattern(1, 0, 1000))
        await loop.sock_sendall(far, await loop.sock_recv(far, 1000))
        checker = Checker(1, "in the child of a fork")
        checker.check(await reader.readexactly(1000))
        writer.close()
        await writer.wait_closed()
