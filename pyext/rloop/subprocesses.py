"""Pipes and child processes.

The transports are asyncio's own, over add_reader and add_writer: they run per pipe buffer of
64 KiB, not per message. The end of a child is seen through its pidfd, so there are no child
watchers, no SIGCHLD and no thread; where a pidfd cannot be had a thread waits for the child. The
child is started by subprocess.Popen, which runs no at-fork hook in it.
"""

import os
import threading
from asyncio.log import logger
from typing import Any

from . import _stdlib


class SubprocessMixin:
    """connect_read_pipe, connect_write_pipe, subprocess_exec and _shell of UringEventLoop."""

    __slots__ = ()
    _pidfds: set[int]  # of children that run

    def _make_read_pipe_transport(
        self: Any, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> Any:
        return _stdlib.ReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self: Any, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> Any:
        return _stdlib.WritePipeTransport(self, pipe, protocol, waiter, extra)

    async def _make_subprocess_transport(
        self: Any,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: Any = None,
        **kwargs: Any,
    ) -> Any:
        waiter = self.create_future()
        transport = _stdlib.SubprocessTransport(
            self,
            protocol,
            args,
            shell,
            stdin,
            stdout,
            stderr,
            bufsize,
            waiter=waiter,
            extra=extra,
            **kwargs,
        )
        self._watch_child(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    def _watch_child(self: Any, transport: Any) -> None:
        pid = transport.get_pid()
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # no pidfds (seccomp), no descriptor left, or the child was reaped already
            threading.Thread(
                target=_wait_in_thread,
                name=f"rloop-waitpid-{pid}",
                args=(self, pid, transport),
                daemon=True,
            ).start()
            return
        self._pidfds.add(pidfd)
        self._add_reader(pidfd, self._child_exited, pid, pidfd, transport)

    def _child_exited(self: Any, pid: int, pidfd: int, transport: Any) -> None:
        self._remove_reader(pidfd)
        self._pidfds.discard(pidfd)
        os.close(pidfd)
        self.call_soon(transport._process_exited, _exit_code(pid))

    def _forget_children(self: Any) -> None:
        """At the end of the loop: children run on, nobody waits for them here."""
        while self._pidfds:
            pidfd = self._pidfds.pop()
            self._remove_reader(pidfd)
            os.close(pidfd)


def _exit_code(pid: int) -> int:
    """Reap the child; 255, as asyncio, when somebody else has done so."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        logger.warning(
            "child process pid %d exit status already read:  will report returncode 255", pid
        )
        return 255
    return os.waitstatus_to_exitcode(status)


def _wait_in_thread(loop: Any, pid: int, transport: Any) -> None:
    code = _exit_code(pid)
    try:
        loop.call_soon_threadsafe(transport._process_exited, code)
    except RuntimeError:
        logger.warning("Loop %r that handles pid %r is closed", loop, pid)
