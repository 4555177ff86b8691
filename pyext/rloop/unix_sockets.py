"""Unix stream sockets: asyncio's own methods over our transports.

The two methods are functions of asyncio's selector loop for Unix that touch no selector: they
connect or bind a socket and go on as create_connection and create_server do. From 3.13 on a server
removes its socket's path when it stops; the table for that is ours.
"""

from __future__ import annotations

import os
import socket
from asyncio.log import logger

from ._stdlib import UnixEventLoop

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any


class UnixSocketMixin:
    """create_unix_connection and create_unix_server of UringEventLoop."""

    __slots__ = ()
    # Listening sockets whose path is removed when they stop, with the path's inode.
    _unix_server_sockets: dict[socket.socket, int]

    create_unix_connection = UnixEventLoop.create_unix_connection
    create_unix_server = UnixEventLoop.create_unix_server

    def _stop_serving(self: Any, sock: socket.socket) -> None:
        """Called by asyncio's Server for each of its sockets."""
        inode = self._unix_server_sockets.pop(sock, None)
        try:
            path = sock.getsockname() if inode is not None else None
        finally:  # the user may have closed it
            self._stop_listening(sock)
        if path is None:
            return
        try:
            if os.stat(path).st_ino == inode:  # noqa: PTH116 - not what others bound there since
                os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            pass
        except OSError as exc:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, exc)
