"""Names to addresses, and listening sockets to the native listener.

create_connection and create_server are asyncio's own (BaseEventLoop, in the running version's
form); they come here for the resolver and for _start_serving. Literal addresses need no resolver
thread: only names do. A function that the program has put in the place of socket.getaddrinfo is
asked each time, in the executor as with asyncio: it may block, and change its mind.
"""

from __future__ import annotations

import _socket
import functools
import socket
from asyncio import constants
from collections.abc import Callable
from contextvars import Context
from types import BuiltinFunctionType, FunctionType

from ._stdlib import DatagramTransport
from .server_clients import count_clients

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

Host = str | bytes | None
Port = str | bytes | int | None


# The answer to such flags depends on nothing but the arguments. (As integers: flags that are joined
# become a member of their enum, made for the occasion, which takes 0.04 ms.)
_PURE_FLAGS = int(socket.AI_PASSIVE) | int(socket.AI_NUMERICHOST) | int(socket.AI_NUMERICSERV)


@functools.lru_cache(maxsize=1024)
def _is_address(host: str) -> bool:
    for family, text in ((socket.AF_INET, host), (socket.AF_INET6, host.partition("%")[0])):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def _is_literal(host: Host) -> bool:
    return isinstance(host, str) and _is_address(host)


def _is_builtin(function: Any) -> bool:
    return type(function) is BuiltinFunctionType and function.__self__ is _socket


def _is_genuine(function: Any) -> bool:
    """Whether a function of the socket module is its own. (It may be that rloop never saw that one:
    programs replace it before they import rloop.)"""
    if type(function) is FunctionType:
        return function.__globals__ is vars(socket)
    return _is_builtin(function)


def _is_number(port: Port) -> bool:
    return port is None or isinstance(port, int) or (isinstance(port, str) and port.isdecimal())


class ConnectMixin:
    """The resolver and the serving side of UringEventLoop."""

    __slots__ = ()

    async def getaddrinfo(
        self: Any,
        host: Host,
        port: Port,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """socket.getaddrinfo; in the default executor unless host and port are literals."""
        if not self._debug:
            known: list[Any] | None = self._known_answer(host, port, family, type, proto, flags)
            if known is not None:
                return known
        functions = (socket.getaddrinfo, _socket.getaddrinfo)
        resolve = self._getaddrinfo_debug if self._debug else functions[0]
        genuine = _is_genuine(functions[0]) and _is_builtin(functions[1])
        if not (genuine and _is_literal(host) and _is_number(port)):
            answer: list[Any] = await self.run_in_executor(
                None, resolve, host, port, family, type, proto, flags
            )
            return answer
        answer = resolve(host, port, family, type, proto, flags)
        has_zone = isinstance(host, str) and "%" in host  # interfaces come and go
        if not has_zone and isinstance(flags, int) and not flags & ~_PURE_FLAGS:
            self._remember_answer(host, port, family, type, proto, flags, answer, *functions)
        return answer

    async def getnameinfo(self: Any, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """socket.getnameinfo; in the default executor unless only numbers are asked for."""
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        if flags & numeric == numeric and _is_genuine(socket.getnameinfo):
            return socket.getnameinfo(sockaddr, flags)
        answer: tuple[str, str] = await self.run_in_executor(
            None, socket.getnameinfo, sockaddr, flags
        )
        return answer

    def _make_datagram_transport(
        self: Any,
        sock: socket.socket,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: Any = None,
    ) -> Any:
        """Called by create_datagram_endpoint; netlink, packets and the like are asyncio's."""
        native = sock.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
        make = self._make_native_datagram_transport if native else self._make_selector_datagrams
        return make(sock, protocol, address, waiter, extra)

    def _make_selector_datagrams(self: Any, *arguments: Any) -> Any:
        self._ensure_fd_no_transport(arguments[0])
        return DatagramTransport(self, *arguments)

    def _start_serving(
        self: Any,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Context | None = None,
    ) -> None:
        """Called by asyncio's Server for each of its sockets, from 3.15 on with its context."""
        if sslcontext is not None:
            protocol_factory = self._tls_factory(
                protocol_factory, sslcontext, ssl_handshake_timeout, ssl_shutdown_timeout
            )
        count_clients(self, server)
        self._listen(protocol_factory, sock, server, context)
