"""One trial of one event loop: what a trial is, how it is run, what its outcome means.

A trial is a small function that really uses a loop; `row` puts it into the table under its label.
It runs in a process of its own, because a loop may abort or hang the process, with the Python of
whatever environment has the loop. So this room and the trials import nothing but the standard
library, and the loop. What a trial ends with is its outcome:

- it returns: "yes";
- NotImplementedError, AttributeError, Missing, or a keyword that nobody knows: "no";
- any other exception: "differs", that is: it is there, and it does something else.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

Loop = Any  # asyncio.AbstractEventLoop, more or less: that is the question
Trial = Callable[[Loop], Coroutine[Any, Any, None] | None]

#: Seconds for a trial; its process gets a multiple of it.
DEADLINE = 5.0

#: The loops in the order of the table's columns.
LOOPS = ("asyncio", "uvloop", "Rust rloop", "rloop, io_uring", "rloop, epoll")
OURS = LOOPS[3:]


class Missing(Exception):
    """The loop does not have it."""


class Differs(Exception):
    """The loop has it, and it does something else."""


class Unavailable(Exception):
    """There is no such loop here."""


@dataclass(frozen=True)
class Outcome:
    """A cell of the table, and in words what was found where it is not "yes"."""

    cell: str
    why: str = ""


ROWS: dict[str, Trial] = {}


def row(label: str) -> Callable[[Trial], Trial]:
    """Puts a trial into the table, below those defined before it."""

    def add(trial: Trial) -> Trial:
        ROWS[label] = trial
        return trial

    return add


def expect(condition: object, otherwise: str) -> None:
    """Ends a trial with "differs" unless the condition holds."""
    if not condition:
        raise Differs(otherwise)


def report_missing(what: str, missing: Iterable[str], of: int) -> None:
    """Ends a trial when some of `of` things are missing: "no" when all are."""
    names = list(missing)
    if names:
        raise (Missing if len(names) == of else Differs)(f"{what}: {', '.join(names)}")


# -- running one ----------------------------------------------------------------------------------


def new_loop(name: str) -> Loop:
    """A fresh loop; Unavailable where this Python has none of that name."""
    try:
        if name == "asyncio":
            return asyncio.SelectorEventLoop()
        if name == "uvloop":
            return __import__("uvloop").new_event_loop()
        rloop: Any = __import__("rloop")
    except ImportError as exc:
        raise Unavailable(str(exc)) from None
    is_ours = hasattr(rloop, "UringEventLoop")
    if is_ours != (name in OURS):
        raise Unavailable(f"rloop is another package here: {rloop.__file__}")
    if not is_ours:
        return rloop.new_event_loop()
    try:
        return rloop.new_event_loop(backend=name.rpartition(" ")[2])
    except RuntimeError as exc:
        raise Unavailable(str(exc)) from None


def version_of(name: str) -> str:
    """The version of the package that the loop comes from; empty for asyncio and ours."""
    if name == "asyncio" or name in OURS:
        return ""
    return str(__import__(name.split()[-1]).__version__)


def try_out(loop: Loop, trial: Trial) -> Outcome:
    """Run a trial on a loop and say what came of it."""
    try:
        if inspect.iscoroutinefunction(trial):
            loop.run_until_complete(asyncio.wait_for(trial(loop), DEADLINE))
        else:
            trial(loop)
    except Missing as exc:
        return Outcome("no", str(exc))
    except (NotImplementedError, AttributeError) as exc:
        return Outcome("no", repr(exc))
    except Differs as exc:
        return Outcome("differs", str(exc))
    except (Exception, KeyboardInterrupt) as exc:
        return Outcome("no" if is_unknown_keyword(exc) else "differs", repr(exc))
    return Outcome("yes")


def is_unknown_keyword(exc: BaseException) -> bool:
    return isinstance(exc, TypeError) and "unexpected keyword" in str(exc)


def probe(name: str, label: str) -> str:
    """The whole work of a trial's process; its outcome as JSON."""
    try:
        loop = new_loop(name)
    except Unavailable as exc:
        return json.dumps({"cell": "unavailable", "why": str(exc)})
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(lambda _loop, context: print(context, file=sys.stderr))
    outcome = try_out(loop, ROWS[label])
    return json.dumps({"cell": outcome.cell, "why": outcome.why, "version": version_of(name)})


# -- what trials share ----------------------------------------------------------------------------


class Notes(asyncio.Protocol):
    """A protocol that notes everything; with `echo` it answers with what it gets."""

    def __init__(self, *, echo: bool = False, keep_open: bool = False) -> None:
        self.transport: Any = None
        self.data = bytearray()
        self.events: list[str] = []
        self.made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.echo = echo
        self.keep_open = keep_open

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if not self.made.done():
            self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.echo:
            self.transport.write(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; the trial's deadline ends it."""
    while not condition():  # noqa: ASYNC110 - of any kind, so there is no event
        await asyncio.sleep(0.002)


def socket_pair(kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
    """Two connected non-blocking sockets on the loopback, TCP or UDP."""
    with socket.socket(type=kind) as first:
        first.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_DGRAM:
            far = first.dup()
            near = socket.socket(type=kind)
            near.bind(("127.0.0.1", 0))
            near.connect(far.getsockname())
            far.connect(near.getsockname())
        else:
            first.listen()
            near = socket.create_connection(first.getsockname())
            far, _ = first.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


@contextlib.asynccontextmanager
async def connected(
    loop: Loop, *, far_keeps_open: bool = False
) -> AsyncIterator[tuple[Notes, Notes]]:
    """Two protocols of the loop, connected over TCP: the client's and the server's."""
    made: list[Notes] = []

    def accept() -> Notes:
        made.append(Notes(keep_open=far_keeps_open))
        return made[-1]

    server = await loop.create_server(accept, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    _, near = await loop.create_connection(Notes, *address)
    await until(lambda: made and made[0].made.done())
    try:
        yield near, made[0]
    finally:
        near.transport.abort()
        made[0].transport.abort()
        server.close()
