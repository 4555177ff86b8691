"""What get_extra_info('socket') returns.

asyncio's TransportSocket, which tells its transport when the program takes the number or a copy of
the socket: from then on the program may write to it by itself, and what it writes through the
transport must leave in the order of the calls.
"""

from __future__ import annotations

import socket
import weakref
from asyncio import trsock

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any


class TransportSocket(trsock.TransportSocket):
    """asyncio.trsock.TransportSocket of an rloop transport."""

    __slots__ = ("_transport",)

    def __init__(self, sock: socket.socket, transport: Any) -> None:
        super().__init__(sock)
        self._transport = weakref.ref(transport)

    def fileno(self) -> int:
        """The descriptor's number, -1 once it is closed."""
        self._share()
        return super().fileno()

    def dup(self) -> socket.socket:
        """A copy, as socket.dup."""
        self._share()
        return super().dup()

    def _share(self) -> None:
        transport = self._transport()
        if transport is not None:
            transport._share_socket()
