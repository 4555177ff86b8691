"""One connection of a client: a random plan, and each byte that comes back checked.

A plan says what is sent in which pieces, how many may be under way, when the reader stalls, and how
the connection ends. Some ends lose bytes on purpose; up to there everything has to be right, and
after an orderly end everything has to be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
import time
from typing import Any

from .processes import Reporter
from .wire import HEADER, Checker, End, Request, WrongByte, pattern

ECHOES = ("tcp", "buffered", "streams", "tls", "tls_streams", "unix", "sock", "reader")
SENDERS = ("source", "sendfile")
_CAN_HALF_CLOSE = ("tcp", "buffered", "streams", "unix", "sock", "reader")


class Plan:
    """What one connection is going to do, drawn from its own seed."""

    def __init__(self, kind: str, seed: int) -> None:
        dice = random.Random(seed)
        self.kind = kind
        self.dice = dice
        self.seed = seed
        # From many small messages to a few large ones.
        largest = dice.choice((64, 256, 1024, 1024, 4096, 16_384, 100_000, 400_000))
        budget = min(dice.choice((20_000, 200_000, 1_000_000, 4_000_000)), 2000 * largest)
        self.sizes: list[int] = []
        while budget > 0:
            self.sizes.append(dice.randint(1, largest))
            budget -= self.sizes[-1]
        self.total = sum(self.sizes)
        self.under_way = dice.choice((1, 1, 4, 32))  # messages sent and not echoed yet
        self.pauses = dice.random() < 0.3  # between messages
        self.stalls_at = dice.randrange(self.total) if dice.random() < 0.2 else None
        self.stall_seconds = dice.uniform(0.2, 5.0)
        ends = ["close"] * 6 + ["reset", "abandon", "server closes", "server aborts"]
        if kind in _CAN_HALF_CLOSE:
            ends += ["half-close"] * 3
        self.end = dice.choice(ends)
        self.ends_at = dice.randint(1, self.total) if self.end != "close" else self.total
        if self.end == "half-close":
            self.ends_at = self.total
        if kind in SENDERS and self.end not in ("reset", "abandon"):
            self.end, self.ends_at = "server closes", self.total

    def request(self) -> Request:
        match self.end:
            case "server closes" if self.kind not in SENDERS:
                return Request(self.seed, End.SERVER_CLOSES, self.ends_at)
            case "server aborts":
                return Request(self.seed, End.SERVER_ABORTS, self.ends_at)
        return Request(self.seed, End.BY_CLIENT, self.total)

    def __str__(self) -> str:
        return (
            f"{self.kind} seed={self.seed} messages={len(self.sizes)} bytes={self.total} "
            f"under_way={self.under_way} stalls_at={self.stalls_at} end={self.end!r} "
            f"at {self.ends_at}"
        )


class Session:
    """A plan at work. `idle_seconds` is how long nothing has happened that should have."""

    def __init__(self, reporter: Reporter, addresses: dict[str, Any], plan: Plan) -> None:
        self.plan = plan
        self._reporter = reporter
        self._counts = reporter.counts
        self._address = addresses[plan.kind]
        self._tls = addresses.get("tls_context")
        self._progress = time.monotonic()
        self._checker = Checker(plan.seed, f"{plan.kind}, from the server")
        self._sent = 0
        self._marks: list[int] = []  # where each message that is under way ends
        self._echoed = asyncio.Condition()
        self._ended = False

    def idle_seconds(self) -> float:
        return time.monotonic() - self._progress

    def describe(self) -> str:
        return f"{self.plan}; sent {self._sent}, echoed {self._checker.position}"

    async def run(self) -> None:
        """The whole conversation. Raises WrongByte; what chaos explains is counted."""
        plan = self.plan
        try:
            reader, writer = await self._connect()
        except OSError as exc:
            # The server may be short of descriptors, and close what it has accepted.
            self._counts["connect_errors"] += 1
            self._counts[f"connect_{type(exc).__name__}"] += 1
            await asyncio.sleep(0.05)
            return
        self._counts["client_connections"] += 1
        try:
            writer.write(plan.request().encode())
            if plan.kind in SENDERS:
                await self._receive_all(reader)
            else:
                await self._converse(reader, writer)
        except (ConnectionError, ssl.SSLError) as exc:
            self._judge_end(exc)
        finally:
            # asyncio's transports forget their loop when they were closed, but not that they are.
            with contextlib.suppress(AttributeError):
                writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        limit = 65_536
        if self.plan.kind == "unix":
            return await asyncio.open_unix_connection(self._address, limit=limit)
        if self.plan.kind.startswith("tls"):
            return await asyncio.open_connection(
                *self._address, ssl=self._tls, server_hostname="localhost", limit=limit
            )
        return await asyncio.open_connection(*self._address, limit=limit)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiving = asyncio.create_task(self._receive(reader))
        try:
            await self._send(writer)
            match self.plan.end:
                case "reset":
                    self._reset(writer)
                    return
                case "abandon":
                    writer.close()
                    return
                case "half-close":
                    writer.write_eof()
                    self._counts["half_closed"] += 1
            await receiving
            self._judge_end(None)
            if self.plan.end == "close":
                writer.close()
                await writer.wait_closed()
        finally:
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, ssl.SSLError):
                await receiving

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        plan = self.plan
        last = plan.ends_at if plan.end in ("reset", "abandon") else plan.total
        for size in plan.sizes:
            size = min(size, last - self._sent)
            if not size or self._ended:
                return
            writer.write(pattern(plan.seed, self._sent, size))
            self._sent += size
            self._marks.append(self._sent)
            self._progress = time.monotonic()
            await writer.drain()
            if plan.pauses:
                await asyncio.sleep(plan.dice.expovariate(200))
            async with self._echoed:
                await self._echoed.wait_for(
                    lambda: len(self._marks) < plan.under_way or self._ended
                )

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        plan = self.plan
        try:
            # An orderly end of ours comes when all is back; the others go on to the end of file.
            while plan.end != "close" or self._checker.position < plan.total:
                data = await reader.read(100_000)
                if not data:
                    return
                self._checker.check(data)
                await self._took(len(data))
        finally:
            self._ended = True
            async with self._echoed:
                self._echoed.notify_all()

    async def _took(self, count: int) -> None:
        self._progress = time.monotonic()
        self._counts["bytes"] += count
        position = self._checker.position
        stalls_at = self.plan.stalls_at
        if stalls_at is not None and position > stalls_at:
            self.plan.stalls_at = None
            self._counts["stalled"] += 1
            await asyncio.sleep(self.plan.stall_seconds)
            self._progress = time.monotonic()
        echoed = 0
        while echoed < len(self._marks) and self._marks[echoed] <= position:
            echoed += 1
        if echoed:
            del self._marks[:echoed]
            self._counts["messages"] += echoed
            async with self._echoed:
                self._echoed.notify_all()

    async def _receive_all(self, reader: asyncio.StreamReader) -> None:
        plan = self.plan
        if plan.end in ("reset", "abandon"):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(plan.stall_seconds / 20):
                    await self._receive(reader)
            self._counts["abandoned"] += 1
            return
        await self._receive(reader)
        self._counts["messages"] += 1
        if self._checker.position != plan.total:
            raise WrongByte(f"{self.describe()}: the server sent too little")

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        if sock is not None and self.plan.kind != "unix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        self._counts["reset"] += 1

    def _judge_end(self, exc: Exception | None) -> None:
        """All bytes have to be here, unless one side or the other was to cut them off."""
        plan = self.plan
        position = self._checker.position
        if plan.end in ("close", "half-close"):
            if position != plan.total:
                raise WrongByte(f"{self.describe()}: it ended too early, by {exc!r}")
            self._counts["complete"] += 1
        elif plan.end.startswith("server"):
            self._counts["ended_by_server"] += 1
        if exc is not None:
            self._counts["client_errors"] += 1


class DatagramClient(asyncio.DatagramProtocol):
    """Sends numbered datagrams and checks what comes back; the network may lose some."""

    def __init__(self, reporter: Reporter, seed: int) -> None:
        self._reporter = reporter
        self._seed = seed
        self._returned = asyncio.Event()
        self._missing = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = Request.decode(data[: HEADER.size])
        payload = data[HEADER.size :]
        if request.seed != self._seed or payload != pattern(
            request.seed, request.amount, len(payload)
        ):
            self._reporter.fail(f"a datagram came back changed: {data[:40]!r}")
        self._missing -= 1
        self._reporter.counts["datagrams_back"] += 1
        self._reporter.counts["messages"] += 1
        self._reporter.counts["bytes"] += len(data)
        self._returned.set()

    async def run(self, dice: random.Random, address: Any) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=tuple(address))
        try:
            for _ in range(dice.randint(10, 500)):
                self._returned.clear()
                position = dice.randrange(1 << 31)
                size = dice.choice((1, 100, 1000, 8000))
                header = Request(self._seed, End.BY_CLIENT, position).encode()
                transport.sendto(header + pattern(self._seed, position, size))
                self._missing += 1
                self._reporter.counts["datagrams"] += 1
                if dice.random() < 0.5:
                    await self._wait()
            # What is on its way is not lost.
            while self._missing > 0 and await self._wait():
                self._returned.clear()
        finally:
            transport.close()

    async def _wait(self) -> bool:
        """For the next one; False when it does not come."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._returned.wait(), 0.5)
        return self._returned.is_set()
