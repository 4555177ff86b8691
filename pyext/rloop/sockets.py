"""The sock_* coroutines.

Each tries its system call and, when that would block, waits for the socket and tries again. The
call is made by the waiting coroutine itself, so one that was cancelled has consumed nothing: no
byte is lost. Whatever ends a wait, its request is told and lets go of the socket.
"""

from __future__ import annotations

import asyncio
import errno
import socket

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

# Between two tries to connect to a Unix socket whose backlog is full, in seconds.
_SHORTEST_CONNECT_DELAY = 0.001
_LONGEST_CONNECT_DELAY = 0.05


class SocketMixin:
    """sock_recv and friends of UringEventLoop."""

    __slots__ = ()

    async def _readable(self: Any, sock: socket.socket) -> None:
        request = self._wait_readable(sock)
        try:
            await request.future
        finally:
            request.cancel()

    async def _writable(self: Any, sock: socket.socket) -> None:
        request = self._wait_writable(sock)
        try:
            await request.future
        finally:
            request.cancel()

    async def sock_recv(self: Any, sock: socket.socket, n: int) -> bytes:
        """Receive at most n bytes."""
        self._check_socket(sock)
        while True:
            data: bytes | None = self._sock_recv(sock, n)
            if data is not None:
                return data
            await self._readable(sock)

    async def sock_recv_into(self: Any, sock: socket.socket, buf: Any) -> int:
        """Receive into a writable buffer; returns the number of bytes."""
        self._check_socket(sock)
        while True:
            count: int | None = self._sock_recv_into(sock, buf)
            if count is not None:
                return count
            await self._readable(sock)

    async def sock_recvfrom(self: Any, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of at most bufsize bytes; (data, address)."""
        self._check_socket(sock)
        while True:
            try:
                return sock.recvfrom(bufsize)
            except (BlockingIOError, InterruptedError):
                await self._readable(sock)

    async def sock_recvfrom_into(
        self: Any, sock: socket.socket, buf: Any, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive a datagram into a writable buffer; (number of bytes, address)."""
        self._check_socket(sock)
        if not nbytes:
            nbytes = len(buf)
        while True:
            try:
                return sock.recvfrom_into(buf, nbytes)
            except (BlockingIOError, InterruptedError):
                await self._readable(sock)

    async def sock_sendto(self: Any, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram; the number of bytes."""
        self._check_socket(sock)
        while True:
            try:
                return sock.sendto(data, address)
            except (BlockingIOError, InterruptedError):
                await self._writable(sock)

    async def sock_sendall(self: Any, sock: socket.socket, data: Any) -> None:
        """Send all of data. After an error it is unknown how much was sent."""
        self._check_socket(sock)
        sent: int | None = 0
        while True:
            sent = self._sock_send(sock, data, sent)
            if sent is None:
                return
            data = memoryview(data)  # no resizing of a bytearray while we wait
            await self._writable(sock)

    async def sock_connect(self: Any, sock: socket.socket, address: Any) -> None:
        """Connect to a remote address, resolving its host if need be."""
        self._check_socket(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            resolved = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
        delay = _SHORTEST_CONNECT_DELAY
        while True:
            try:
                sock.connect(address)
                return
            except (BlockingIOError, InterruptedError) as exc:
                if exc.errno != errno.EAGAIN or sock.family != socket.AF_UNIX:
                    break
            # The backlog of a Unix listener is full: nothing is under way, and the kernel does not
            # tell when there is room. (Waiting until the socket is writable would end at once, and
            # the connection would be taken for made.)
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_CONNECT_DELAY)
        # The connection goes on in the background; its result is read when the socket is writable.
        await self._writable(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error != 0:
            raise OSError(error, f"Connect call failed {address}")

    async def sock_accept(self: Any, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection; the new socket is non-blocking."""
        self._check_socket(sock)
        while True:
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError):
                await self._readable(sock)
            else:
                connection.setblocking(False)
                return connection, address
