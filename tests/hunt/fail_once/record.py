"""What one run of a program leaves behind, for the oracle: bytes, ends, exceptions, reports.

A program gets a `Run`. It says what it sends and what it got on each channel; its protocols are
`Recorder`s, which the Run closes at the end whatever happened. Everything in here is plain data by
then and goes to the parent as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import traceback
from pathlib import Path
from typing import Any

#: How often `Run.close_all` turns the loop so that connections may end.
TURNS_TO_END = 40


def describe(exc: BaseException) -> dict[str, Any]:
    """An exception as the oracle judges it, with those that it came with."""
    inner = list(getattr(exc, "exceptions", ()))
    return {
        "type": type(exc).__name__,
        "types": [base.__name__ for base in type(exc).__mro__],
        "errno": getattr(exc, "errno", None),
        "text": str(exc)[:300],
        "at": [
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(exc.__traceback__)[-4:]
        ],
        "inner": [describe(one) for one in inner],
    }


@dataclasses.dataclass
class Run:
    """One run of one program."""

    engine: str
    outcome: str = ""
    #: Caught by the program or its protocols, told to connection_lost or to the exception handler.
    errors: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    #: Logged, or raised where nobody could catch it.
    reports: list[str] = dataclasses.field(default_factory=list)
    sent_bytes: dict[str, bytes] = dataclasses.field(default_factory=dict)
    got_bytes: dict[str, bytes] = dataclasses.field(default_factory=dict)
    protocols: list[Recorder] = dataclasses.field(default_factory=list)
    #: Waits that the end of the connection has ended, as a program is told that there is no more.
    cut_short: int = 0
    servers: list[asyncio.Server] = dataclasses.field(default_factory=list)

    def sent(self, channel: str, data: bytes) -> bytes:
        self.sent_bytes[channel] = self.sent_bytes.get(channel, b"") + data
        return data

    def got(self, channel: str, data: bytes) -> None:
        self.got_bytes[channel] = self.got_bytes.get(channel, b"") + bytes(data)

    def caught(self, exc: BaseException | None) -> None:
        if exc is not None:
            self.errors.append(describe(exc))

    def exception_handler(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.reports.append(str(context.get("message"))[:300])
        self.caught(context.get("exception"))

    async def close_all(self) -> None:
        """End every server and connection, and let the ends be told."""
        for server in self.servers:
            server.close()
        for protocol in self.protocols:
            if not protocol.ended:
                getattr(protocol.transport, "abort", protocol.transport.close)()
        for _ in range(TURNS_TO_END):
            if all(protocol.ended for protocol in self.protocols):
                return
            await asyncio.sleep(0)  # a turn, which may tell an end

    def unended(self) -> list[str]:
        """Connections that were made and of which no end was told, or two."""
        return [
            f"{protocol.name}: made {protocol.made_count}, lost {protocol.lost_count}"
            for protocol in self.protocols
            if protocol.made_count != protocol.lost_count or protocol.made_count > 1
        ]

    def unended_servers(self) -> int:
        """Servers that wait for a connection's end although all have come."""
        return sum(server._waiters is not None for server in self.servers)  # type: ignore[attr-defined]

    def as_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "errors": self.errors,
            "reports": self.reports,
            "wrong_bytes": self.wrong_bytes(),
            "missing_bytes": self.missing_bytes(),
            "unended": self.unended(),
            "unended_servers": self.unended_servers(),
            "cut_short": self.cut_short,
        }

    def wrong_bytes(self) -> list[str]:
        """Channels on which something else came than the beginning of what was sent."""
        return [
            channel
            for channel, data in self.got_bytes.items()
            if not self.sent_bytes.get(channel, b"").startswith(data)
        ]

    def missing_bytes(self) -> list[str]:
        return [
            f"{channel}: {len(self.got_bytes.get(channel, b''))} of {len(data)}"
            for channel, data in self.sent_bytes.items()
            if len(self.got_bytes.get(channel, b"")) < len(data)
        ]


class Recorder(asyncio.Protocol):
    """A protocol that notes what it is told; `on_data` is what a program adds."""

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.name = run, name
        self.transport: Any = None
        self.made_count = self.lost_count = 0
        self.changed = asyncio.Event()
        self.eof = False
        self.writable = True
        run.protocols.append(self)

    @property
    def ended(self) -> bool:
        return self.made_count <= self.lost_count

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.made_count += 1

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost_count += 1
        self.run.caught(exc)
        self.changed.set()

    def data_received(self, data: bytes) -> None:
        self.on_data(data)
        self.changed.set()

    def on_data(self, data: bytes) -> None:
        self.run.got(self.name, data)

    def eof_received(self) -> bool | None:
        self.eof = True
        self.changed.set()
        return None

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self.changed.set()

    async def wait_for(self, condition: Any) -> bool:
        """Until `condition()`; false when the connection ended before."""
        while not condition():
            if self.lost_count:
                self.run.cut_short += 1
                return False
            self.changed.clear()
            await self.changed.wait()
        return True

    async def wait_for_end(self) -> None:
        while not self.lost_count:
            self.changed.clear()
            await self.changed.wait()

    async def wait_for_bytes(self, count: int) -> bool:
        return await self.wait_for(lambda: len(self.run.got_bytes.get(self.name, b"")) >= count)


@contextlib.asynccontextmanager
async def serving(run: Run, factory: Any, **options: Any) -> Any:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    run.servers.append(server)
    # What it accepts inherits this: else the kernel takes all of BULK, and no send is short.
    server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    yield server.sockets[0].getsockname()
    server.close()
