"""Pipes and child processes.

The transports are asyncio's own, over add_reader and add_writer: they run per pipe buffer of
64 KiB, not per message. The end of a child is seen through its pidfd, so there are no child
watchers, no SIGCHLD and no thread; where a pidfd cannot be had a thread waits for the child. The
child is started by subprocess.Popen, which runs no at-fork hook in it. The program may ask that
Popen too (poll, wait, from any thread), so its lock and its returncode decide who reaps the child:
whoever came first has the status, and everybody else reads it there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from asyncio.log import logger

from . import _stdlib

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any


class ChildTransport(_stdlib.SubprocessTransport):  # type: ignore[misc] # a private class
    """asyncio's, which never lets Popen guess a status and never signals a child that is reaped."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            # asyncio forgets a child that it has started when it cannot make the task that
            # connects the pipes.
            if self._proc is not None:
                self._give_up(self._proc)
            raise

    def _give_up(self, process: Any) -> None:
        """End a child that nobody has heard of."""
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        self.close()
        _reap(process)

    def close(self) -> None:
        """Close the pipes and kill the child if it still runs."""
        process = self._proc
        if not self._closed and process is not None and process.returncode is None:
            # Popen.poll, which follows, takes a child that somebody else has reaped for one that
            # ended with 0.
            _reap(process, os.WNOHANG)
        super().close()

    def send_signal(self, signal: int) -> None:
        """Send it to the child unless its end is known; then its number may be another process'."""
        self._check_proc()
        if self._proc.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._proc.pid, signal)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _process_exited(self, returncode: int) -> None:
        super()._process_exited(returncode)
        # asyncio before gh-119710 wakes who waits for the child when its pipes have ended as well:
        # never, where they could not be connected.
        for waiter in self._exit_waiters or ():
            if not waiter.done():
                waiter.set_result(returncode)
        if self._exit_waiters:
            self._exit_waiters.clear()


class WritePipeTransport(_stdlib.WritePipeTransport):  # type: ignore[misc] # a private class
    """asyncio's, which starts to watch for the reader's end a step after connection_made.

    Where that has ended the transport, asyncio's goes on watching a number that is closed. And each
    abort() schedules another end, also after the first.
    """

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        if self._loop is None:
            return
        self._loop._remove_reader(self._fileno)
        super()._call_connection_lost(exc)


WritePipeTransport.__name__ = _stdlib.WritePipeTransport.__name__  # repr() begins with it


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
        return WritePipeTransport(self, pipe, protocol, waiter, extra)

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
        transport = ChildTransport(
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
            # Cancelled once more, this coroutine goes and the child is waited for all the same.
            await asyncio.shield(transport._wait())
            raise
        return transport

    def _watch_child(self: Any, transport: ChildTransport) -> None:
        pid = transport.get_pid()
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # no pidfds (seccomp), no descriptor left, or the child was reaped already
            threading.Thread(
                target=_wait_in_thread,
                name=f"rloop-waitpid-{pid}",
                args=(self, transport._proc, transport),
                daemon=True,
            ).start()
            return
        self._pidfds.add(pidfd)
        self._add_reader(pidfd, self._pidfd_ready, pidfd, transport._proc, transport)

    def _pidfd_ready(self: Any, pidfd: int, process: Any, transport: ChildTransport) -> None:
        self._remove_reader(pidfd)
        self._pidfds.discard(pidfd)
        try:
            os.close(pidfd)
        finally:
            self._child_exited(process, transport)

    def _child_exited(self: Any, process: Any, transport: ChildTransport) -> None:
        _reap(process)
        # At once: from here on the number may be another process', and nobody may believe that
        # the child still runs. (asyncio before 3.14 published it in the next turn.)
        transport._process_exited(process.returncode)

    def _forget_children(self: Any) -> None:
        """At the end of the loop: children run on, nobody waits for them here."""
        while self._pidfds:
            pidfd = self._pidfds.pop()
            self._remove_reader(pidfd)
            with contextlib.suppress(OSError):  # closed all the same
                os.close(pidfd)


def _reap(process: Any, flags: int = 0) -> None:
    """Let a Popen know how its child ended; 255, as asyncio, when its status is lost.

    With WNOHANG nothing happens when the child still runs or another thread waits for it.
    """
    lock = process._waitpid_lock  # a thread in Popen.wait holds it until it has noted the status
    if not lock.acquire(blocking=not flags & os.WNOHANG):
        return
    try:
        if process.returncode is not None:
            return
        pid, status = os.waitpid(process.pid, flags)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        process.returncode = 255
        logger.warning(
            "child process pid %d exit status already read:  will report returncode 255",
            process.pid,
        )
    finally:
        lock.release()


def _wait_in_thread(loop: Any, process: Any, transport: ChildTransport) -> None:
    # Only waits: while the loop runs, its thread reaps, so that no signal meets a child that has
    # just been reaped here and is not known to be.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        loop.call_soon_threadsafe(loop._child_exited, process, transport)
    except RuntimeError:
        _reap(process)
        logger.warning("Loop %r that handles pid %r is closed", loop, process.pid)
