"""Files to sockets by sendfile(2).

io_uring has no sendfile, and splice through a pipe goes to worker threads (KERNEL.md 7): the system
call is made whenever the socket is writable. loop.sendfile, loop.sock_sendfile, their checks and
their fallbacks are asyncio's own; they come here for the native way.
"""

from __future__ import annotations

import errno
import io
import os
import socket
from asyncio import SendfileNotAvailableError
from collections.abc import Callable

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

_MOST_AT_ONCE = 2**30  # bytes


class SendfileMixin:
    """The native half of sendfile and sock_sendfile of UringEventLoop."""

    __slots__ = ()

    async def _sock_sendfile_native(
        self: Any, sock: socket.socket, file: Any, offset: int, count: int | None
    ) -> int:
        return await _send_file(
            sock, file, offset, count, lambda: self._wait_writable(sock), lambda sent: None
        )

    async def _sendfile_native(
        self: Any, transp: Any, file: Any, offset: int, count: int | None
    ) -> int:
        """sendfile after the transport's backlog; writing to it meanwhile raises RuntimeError."""
        # asyncio's own way here leads through sock_sendfile, which checks them.
        self._check_sendfile_params(transp.get_extra_info("socket"), file, offset, count)
        if transp._empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        try:
            # The transport's descriptor is the engine's; waiting needs one of our own.
            sock = transp.get_extra_info("socket")._sock.dup()  # not shared with the program
        except OSError as exc:
            raise SendfileNotAvailableError("no descriptor is left for it") from exc
        was_reading = transp.is_reading()
        transp.pause_reading()

        def wait() -> Any:
            request = self._wait_writable(sock)
            transp._empty_waiter = request.future  # fails when the connection is lost
            return request

        transp._empty_waiter = backlog_sent = self.create_future()
        try:
            if transp._backlog_bytes == 0:
                backlog_sent.set_result(None)
            await backlog_sent
            return await _send_file(sock, file, offset, count, wait, transp._count_sent)
        finally:
            transp._empty_waiter = None
            if was_reading:
                transp.resume_reading()
            sock.close()


async def _send_file(
    sock: socket.socket,
    file: Any,
    offset: int,
    count: int | None,
    wait_writable: Callable[[], Any],
    note: Callable[[int], None],
) -> int:
    """Send `count` bytes (None: all) of `file` from `offset` on; the number of bytes sent.

    Raises SendfileNotAvailableError, before anything was sent, when the file is not one that
    sendfile(2) takes. The file's position is behind what was sent, whatever happens. `note` is told
    of the bytes of each call.
    """
    try:
        source = file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        raise SendfileNotAvailableError("not a regular file") from None
    try:
        size = os.fstat(source).st_size
    except OSError:
        raise SendfileNotAvailableError("not a regular file") from None
    block = count if count else size
    if not block:
        return 0
    total = 0
    try:
        while not count or total < count:
            if count:
                block = count - total
            try:
                sent = os.sendfile(sock.fileno(), source, offset, min(block, _MOST_AT_ONCE))
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as exc:
                if total == 0:
                    raise SendfileNotAvailableError("os.sendfile call failed") from exc
                if exc.errno == errno.ENOTCONN:
                    raise ConnectionError("socket is not connected", errno.ENOTCONN) from exc
                raise
            else:
                if sent == 0:
                    break
                offset += sent
                total += sent
                note(sent)
            # After a success too: the loop's other work has its turn.
            request = wait_writable()
            try:
                await request.future
            finally:
                request.cancel()
    finally:
        # Also where nothing was sent: behind the end, or for the fallback to go on from.
        os.lseek(source, offset, os.SEEK_SET)
    return total
