"""What the native half says in Python: failures, warnings, texts.

Nothing here runs while all goes well. The contexts and messages are those of asyncio's
base_events, events and selector_events, so that a program's exception handler and its log see
what they know. Called by name from pyext/native (names.hpp); a change of a name or of
the parameters is a change in both.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import socket
import sys
import warnings
from asyncio import constants, coroutines, format_helpers, trsock
from asyncio.log import logger
from collections.abc import Callable
from contextvars import Context

from . import _stdlib, slow_callbacks
from .transport_socket import TransportSocket

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

    Loop = Any  # UringEventLoop; imported by it, so not imported here
    Transport = Any


def callback_failed(loop: Loop, handle: Any, exc: BaseException) -> None:
    """A handle's callback raised: events.Handle._run."""
    source = _stdlib.format_callback(handle._callback, handle._args, debug=loop.get_debug())
    context = {"message": f"Exception in callback {source}", "exception": exc, "handle": handle}
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    loop.call_exception_handler(context)


def check_call(loop: Loop, callback: Any, method: str, check_thread: bool) -> None:
    """Debug mode's checks of a scheduled callback; raises RuntimeError or TypeError."""
    if check_thread:
        loop._check_thread()
    if coroutines.iscoroutine(callback) or _stdlib.iscoroutinefunction(callback):
        raise TypeError(f"coroutines cannot be used with {method}()")
    if not callable(callback):
        raise TypeError(f"a callable object was expected by {method}(), got {callback!r}")


def check_thread(loop: Loop) -> None:
    """Debug mode's check of what asyncio's transports do through call_soon; RuntimeError."""
    loop._check_thread()


def check_socket(loop: Loop, sock: Any) -> None:
    """What sock_* refuse, for sockets that are no plain ones, and in debug mode."""
    _stdlib.check_ssl_socket(sock)
    if loop.get_debug() and sock.gettimeout() != 0:
        raise ValueError("the socket must be non-blocking")


def source_traceback() -> Any:
    """Where the user's code is now, for a handle's debug information."""
    return format_helpers.extract_stack(sys._getframe(1))


def slow_callback(loop: Loop, handle: Any, seconds: float) -> None:
    """Debug mode: a callback took longer than slow_callback_duration."""
    logger.warning("Executing %s took %.3f seconds", _stdlib.format_handle(handle), seconds)
    loop._slow.add(loop, slow_callbacks.of_handle, (handle,), seconds, log=False)


def slow_handle(loop: Loop, seconds: float, what: tuple[Any]) -> None:
    """The same outside debug mode, after a slow turn."""
    loop._slow.add(loop, slow_callbacks.of_handle, what, seconds)


def slow_upcall(loop: Loop, seconds: float, what: tuple[Any, str]) -> None:
    """A protocol's method did."""
    loop._slow.add(loop, slow_callbacks.of_upcall, what, seconds)


def wake_waiter(loop: Loop, waiter: asyncio.Future[None], context: Context | None) -> None:
    """Schedule the end of a connect's wait, after connection_made."""
    loop.call_soon(_stdlib.set_result_unless_cancelled, waiter, None, context=context)


def fatal_error(loop: Loop, transport: Transport, protocol: Any, exc: Any, message: str) -> None:
    """A transport cannot go on: selector_events._SelectorTransport._fatal_error."""
    if isinstance(exc, OSError):
        if loop.get_debug():
            logger.debug("%r: %s", transport, message, exc_info=exc)
        return
    protocol_failed(loop, transport, protocol, exc, message)


def protocol_failed(loop: Loop, transport: Transport, protocol: Any, exc: Any, text: str) -> None:
    """A protocol's callback raised."""
    loop.call_exception_handler(
        {"message": text, "exception": exc, "transport": transport, "protocol": protocol}
    )


def protocol_callback_failed(
    loop: Loop,
    protocol: Any,
    exc: BaseException,
    method: str,
    arguments: tuple[Any, ...],
    context: Context,
) -> None:
    """A method of a protocol raised that asyncio calls from a handle: told with a handle."""
    try:
        callback = getattr(protocol, method)
    except Exception:
        callback = method
    callback_failed(loop, asyncio.Handle(callback, arguments, loop, context), exc)


def datagram_address(family: int, address: Any) -> Any:
    """The literal form of an address that socket.sendto took and that must wait behind others.

    Resolves at once, as sendto does. Raises OSError (gaierror) as sendto does.
    """
    if family == socket.AF_UNIX:
        return bytes(address)
    host, port, *rest = address
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii")
    if family == socket.AF_INET and host == "<broadcast>":
        return "255.255.255.255", port
    flags = 0 if host else socket.AI_PASSIVE
    found = socket.getaddrinfo(host or None, port, family, socket.SOCK_DGRAM, 0, flags)
    literal = found[0][4]
    return (*literal[:2], *rest, *literal[2 + len(rest) :])


def addresses_of_socket(sock: socket.socket, extra: dict[str, Any]) -> dict[str, Any]:
    """`extra` with the names of the socket's ends, as asyncio's transports ask for them."""
    found = dict(extra)
    for key, ask in (("sockname", sock.getsockname), ("peername", sock.getpeername)):
        if key in extra:
            continue
        try:
            found[key] = ask()
        except OSError:
            found[key] = None
    return found


def plain_socket_class() -> type:
    """socket.socket itself, also when the program has put a subclass in its place."""
    return next(kind for kind in socket.socket.__mro__ if kind.__module__ == "socket")


def connection_setup_failed(loop: Loop, exc: BaseException) -> None:
    """The protocol factory of a server raised; asyncio tells in debug mode only."""
    if loop.get_debug():
        loop.call_exception_handler(
            {
                "message": "Error on transport creation for incoming connection",
                "exception": exc,
            }
        )


def accept_exhausted(
    loop: Loop, sock: socket.socket, exc: OSError, resume: Callable[[], None]
) -> None:
    """No descriptor or memory for a new connection: tell, and go on after a second."""
    loop.call_exception_handler(
        {
            "message": "socket.accept() out of system resource",
            "exception": exc,
            "socket": trsock.TransportSocket(sock),
        }
    )
    loop.call_later(constants.ACCEPT_RETRY_DELAY, resume)


def accept_failed(loop: Loop, sock: socket.socket, exc: OSError) -> None:
    """A listening socket stopped being one."""
    loop.call_exception_handler(
        {
            "message": "socket.accept() failed; the server accepts no more connections",
            "exception": exc,
            "socket": trsock.TransportSocket(sock),
        }
    )


def refuse_data(data: Any) -> None:
    """What was written is no bytes: TypeError, in the words of the running asyncio."""
    _stdlib.SocketTransport.write(None, _plain_object_like(data))


def refuse_datagram(data: Any) -> None:
    """As refuse_data, for sendto."""
    _stdlib.DatagramTransport.sendto(None, _plain_object_like(data))


def _plain_object_like(data: Any) -> Any:
    """Of a type with the same name; mocks and proxies may pass for bytes."""
    return type(type(data).__name__, (), {})()


class _JudgeOfLines:
    """As much of a transport as asyncio's writelines looks at."""

    _eof = False
    _empty_waiter = None

    def __init__(self, lost: bool) -> None:
        self._conn_lost = int(lost)
        self._buffer: collections.deque[memoryview] = collections.deque()
        self._buffer_size = 0

    def _write_ready(self) -> None:
        self._buffer.clear()

    def write(self, data: bytes) -> None:  # called before 3.12
        pass


def judge_lines(list_of_data: Any, lost: bool) -> None:
    """The running asyncio's verdict on what was given to writelines; raises what it raises."""
    _stdlib.SocketTransport.writelines(_JudgeOfLines(lost), list_of_data)


def write_after_loss() -> None:
    """A protocol keeps writing to a connection that is gone."""
    logger.warning("socket.send() raised exception.")


def write_buffer_limits(high: int | None, low: int | None) -> tuple[int, int]:
    """(high, low) with asyncio's defaults; transports._FlowControlMixin."""
    if high is None:
        high = 64 * 1024 if low is None else 4 * low
    if low is None:
        low = high // 4
    if not high >= low >= 0:
        raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
    # Whole bytes: a backlog is above (not above) a fraction when it is above its whole part.
    return int(min(high, sys.maxsize)), int(min(low, sys.maxsize))


def socket_of_descriptor(fd: int, family: int, proto: int) -> socket.socket:
    """The socket object of an accepted connection, made when somebody asks for it.

    As accept() of its listening socket would make it: a protocol of -1 is asked of the kernel.
    """
    sock = socket.socket.__new__(socket.socket)  # which has nothing yet to close
    try:
        # Non-blocking as it is already: setblocking() would be another system call.
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        sock.__init__(family, kind, proto, fileno=fd)  # type: ignore[misc]
    except BaseException:
        sock.detach()  # it is the transport's again, which would close another's number
        raise
    return sock


def transport_socket(sock: socket.socket | None, transport: Transport) -> TransportSocket:
    """What get_extra_info('socket') returns; a closed socket when nobody asked in time."""
    if sock is None:
        sock = socket.socket()
        sock.close()
    return TransportSocket(sock, transport)


def transport_repr(transport: Transport) -> str:
    """As asyncio's transports describe themselves."""
    info = [transport.__class__.__name__]
    if transport._sock_fd < 0:
        info.append("closed")
    else:
        if transport.is_closing():
            info.append("closing")
        info.append(f"fd={transport._sock_fd}")
        info.append("read=polling" if transport.is_reading() else "read=idle")
        size = transport._backlog_bytes
        info.append(f"write=<{'polling' if size else 'idle'}, bufsize={size}>")
    return f"<{' '.join(info)}>"


def unclosed_transport(transport: Transport) -> None:
    """A transport died that nobody had closed."""
    warnings.warn(
        f"unclosed transport {transport!r}", ResourceWarning, source=transport, stacklevel=1
    )


def log(level: int, area: str, line: str) -> None:
    """A log line of the native half."""
    logging.getLogger(f"rloop.{area}").log(level, "%s", line)
