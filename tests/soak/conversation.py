"""A connection as the server sees it, on any transport: its bytes are checked, its end judged.

Peers that reset, stall or vanish end connections in the ways that `is_expected_end` lists; anything
else is a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Iterator
from typing import Any

from .processes import Reporter
from .wire import HEADER, Checker, End, Request, WrongByte

_ENDS = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN)


def is_expected_end(exc: BaseException) -> bool:
    """True for what a connection may end with when its peer misbehaves."""
    if isinstance(exc, (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)):
        return True
    if isinstance(exc, OSError):
        return exc.errno in _ENDS
    return isinstance(exc, RuntimeError) and "closing" in str(exc).lower()  # sendfile's words


class Conversation:
    """One connection as the server sees it: its header, then its bytes."""

    def __init__(self, reporter: Reporter, kind: str) -> None:
        self.request: Request | None = None
        self._counts = reporter.counts
        self._reporter = reporter
        self._kind = kind
        self._header = bytearray()
        self._checker: Checker | None = None
        self._counts["connections"] += 1
        self._counts["opened"] += 1

    def take(self, data: bytes | bytearray | memoryview[Any]) -> bytes | memoryview[Any]:
        """Check `data`; what of it is to be echoed. Raises WrongByte."""
        rest = memoryview(data)
        if self._checker is None:
            missing = HEADER.size - len(self._header)
            self._header += rest[:missing]
            rest = rest[missing:]
            if len(self._header) < HEADER.size:
                return b""
            self.request = Request.decode(bytes(self._header))
            self._checker = Checker(self.request.seed, f"{self._kind}, from the client")
        self._checker.check(rest)
        self._counts["server_bytes"] += len(rest)
        return rest

    def end_is_due(self) -> End:
        """What the server has to do now; BY_CLIENT means to go on."""
        if self.request is None or self._checker is None:
            return End.BY_CLIENT
        return self.request.end if self._checker.position >= self.request.amount else End.BY_CLIENT

    def over(self, exc: BaseException | None) -> None:
        """The connection has ended; a failure unless the peer can be the reason."""
        self._counts["closed"] += 1
        if exc is None or isinstance(exc, asyncio.CancelledError):
            return
        if is_expected_end(exc):
            self._counts["ended_by_error"] += 1
            return
        self._reporter.fail(f"{self._kind}: the connection ended by {exc!r}")


@contextlib.contextmanager
def conversing(reporter: Reporter, kind: str) -> Iterator[Conversation]:
    """A conversation that is over with the block, whatever ends it."""
    conversation = Conversation(reporter, kind)
    error: Exception | None = None
    try:
        yield conversation
    except WrongByte as exc:
        reporter.fail(str(exc))
    except Exception as exc:
        error = exc
    finally:
        conversation.over(error)
