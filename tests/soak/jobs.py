"""What the server's loop does beside serving: children, pipes, threads, timers, cancelled tasks.

Each job is a coroutine that runs again and again, checks what it got, and has a deadline. What a
lowered limit of descriptors makes fail is counted; everything else that fails ends the soak.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from .processes import Reporter
from .services import LIMITS
from .wire import Checker, End, Request, WrongByte, pattern

DEADLINE = 30.0  # seconds; what takes longer hangs
#: What the children of jobs run; `cat` needs no interpreter to start.
_ECHO_PROGRAM = ("cat",)
SIGNALS = (signal.SIGUSR1, signal.SIGWINCH, signal.SIGCHLD)

Job = Callable[[random.Random], Awaitable[None]]


def is_limit(exc: BaseException) -> bool:
    """True for the lack of a descriptor, also where asyncio packs several into one exception."""
    if isinstance(exc, BaseExceptionGroup):
        return all(map(is_limit, exc.exceptions))
    if isinstance(exc, OSError) and exc.errno in LIMITS:
        return True
    if exc.__cause__ is not None and is_limit(exc.__cause__):
        return True
    return isinstance(exc, socket.gaierror)  # of localhost: its files could not be opened


class Jobs:
    """All jobs on one loop, and the threads that call into it."""

    def __init__(self, reporter: Reporter, addresses: dict[str, Any], folder: Path) -> None:
        self._reporter = reporter
        self._counts = reporter.counts
        self._addresses = addresses
        self._tls = ssl.create_default_context(cafile=folder / "authority.pem")
        self._tasks: list[asyncio.Task[None]] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._numbers = [0, 0]  # the last one that came from each thread

    def start(self, seed: int) -> None:
        """In the loop's main thread, because of the signal handlers."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        jobs: tuple[Job, ...] = (
            self.echo_by_child,
            self.kill_child,
            self.echo_by_pipe,
            self.executor,
            self.timers,
            self.cancelled_tasks,
            self.connect_to_self,
            self.upgrade_to_tls,
            self.datagram_pair,
        )
        for place, job in enumerate(jobs):
            self._tasks.append(
                loop.create_task(self._repeat(job, random.Random(seed + place)), name=job.__name__)
            )
        for index in range(len(self._numbers)):
            thread = threading.Thread(target=self._call_in, args=(loop, index), daemon=True)
            thread.start()
            self._threads.append(thread)

    async def stop(self) -> None:
        """Ends after what every job is just doing."""
        self._stopping.set()
        async with asyncio.timeout(2 * DEADLINE):
            await asyncio.gather(*self._tasks)
            loop = asyncio.get_running_loop()
            for thread in self._threads:
                await loop.run_in_executor(None, thread.join)
        for number in SIGNALS:
            with contextlib.suppress(ValueError, RuntimeError):
                loop.remove_signal_handler(number)

    async def _repeat(self, job: Job, dice: random.Random) -> None:
        name = getattr(job, "__name__", "job")
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(DEADLINE):
                    await job(dice)
                self._counts[f"job_{name}"] += 1
            except TimeoutError:
                self._reporter.fail(f"the job {name} hangs")
                return
            except Exception as exc:
                if not is_limit(exc):
                    self._reporter.fail(f"the job {name} failed: {exc!r}")
                    raise
                self._counts["limited"] += 1
                await asyncio.sleep(0.1)
            await asyncio.sleep(dice.expovariate(5))

    # -- children and pipes ------------------------------------------------------------------------

    async def echo_by_child(self, dice: random.Random) -> None:
        """A child that sends back what it is given."""
        child = await asyncio.create_subprocess_exec(
            *_ECHO_PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdin and child.stdout
        seed, amount = dice.randrange(1 << 32), dice.choice((1, 1000, 300_000))
        checker = Checker(seed, "a child's output")

        async def feed(stdin: asyncio.StreamWriter) -> None:
            sent = 0
            while sent < amount:
                size = min(dice.randint(1, 100_000), amount - sent)
                stdin.write(pattern(seed, sent, size))
                sent += size
                await stdin.drain()
            stdin.close()

        feeding = asyncio.create_task(feed(child.stdin))
        while data := await child.stdout.read(30_000):
            checker.check(data)
        await feeding
        status = await child.wait()
        if status != 0 or checker.position != amount:
            raise WrongByte(f"a child ended with {status} after {checker.position} of {amount}")

    async def kill_child(self, dice: random.Random) -> None:
        """A child that is killed while it is being fed."""
        child = await asyncio.create_subprocess_exec(
            *_ECHO_PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        assert child.stdin
        number = dice.choice((signal.SIGKILL, signal.SIGTERM))

        def kill() -> None:
            child.send_signal(number)

        asyncio.get_running_loop().call_later(dice.uniform(0, 0.2), kill)
        with contextlib.suppress(ConnectionError):
            while True:
                child.stdin.write(bytes(dice.randint(1, 50_000)))
                await child.stdin.drain()
                await asyncio.sleep(0.01)
        status = await child.wait()
        if status != -number:
            raise AssertionError(f"the child that was killed by {number} ended with {status}")

    async def echo_by_pipe(self, dice: random.Random) -> None:
        """connect_read_pipe and connect_write_pipe on one pipe."""
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as ends:
            read_number, write_number = os.pipe()
            read_end = ends.enter_context(os.fdopen(read_number, "rb", buffering=0))
            write_end = ends.enter_context(os.fdopen(write_number, "wb", buffering=0))
            reader = asyncio.StreamReader()
            reading, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), read_end
            )
            ends.callback(reading.close)
            writing, _ = await loop.connect_write_pipe(asyncio.Protocol, write_end)
            ends.callback(writing.close)
            seed, amount = dice.randrange(1 << 32), dice.choice((10, 10_000, 500_000))
            checker = Checker(seed, "a pipe")
            writing.write(pattern(seed, 0, amount))
            writing.close()
            while data := await reader.read(20_000):
                checker.check(data)
            if checker.position != amount:
                raise WrongByte(f"{checker.position} of {amount} bytes came through a pipe")

    # -- threads and signals -----------------------------------------------------------------------

    async def executor(self, dice: random.Random) -> None:
        """Calls in threads, and the resolver."""
        loop = asyncio.get_running_loop()
        numbers = [dice.randrange(1000) for _ in range(10)]
        results = await asyncio.gather(
            *(loop.run_in_executor(None, pow, number, 2) for number in numbers)
        )
        if results != [number * number for number in numbers]:
            raise AssertionError(f"the executor answered {results} for {numbers}")
        await loop.getaddrinfo("localhost", 80)

    def _call_in(self, loop: asyncio.AbstractEventLoop, index: int) -> None:
        dice = random.Random(index)
        number = 0
        while not self._stopping.is_set():
            for _ in range(dice.randint(1, 50)):
                number += 1
                loop.call_soon_threadsafe(self._on_number, index, number)
            time.sleep(dice.expovariate(50))

    def _on_number(self, index: int, number: int) -> None:
        if number != self._numbers[index] + 1:
            self._reporter.fail(
                f"call_soon_threadsafe: {number} came after {self._numbers[index]} (thread {index})"
            )
        self._numbers[index] = number
        self._counts["calls_from_threads"] += 1

    def _on_signal(self, number: int) -> None:
        self._counts[f"handled_{signal.Signals(number).name}"] += 1

    # -- timers and tasks --------------------------------------------------------------------------

    async def timers(self, dice: random.Random) -> None:
        """Timers in their order, none early, no cancelled one."""
        loop = asyncio.get_running_loop()
        fired: list[float] = []
        done = loop.create_future()
        early: list[float] = []

        def fire(when: float) -> None:
            if loop.time() < when - 1e-6:
                early.append(when - loop.time())
            fired.append(when)

        handles = []
        for _ in range(200):
            when = loop.time() + dice.uniform(0, 0.3)
            handles.append((when, loop.call_at(when, fire, when)))
        kept = []
        for when, handle in handles:
            if dice.random() < 0.5:
                handle.cancel()
            else:
                kept.append(when)
        loop.call_at(max(when for when, _ in handles) + 0.001, done.set_result, None)
        await done
        if early or fired != sorted(kept):
            raise AssertionError(f"timers: early by {early}, {len(fired)} fired of {len(kept)}")

    async def cancelled_tasks(self, dice: random.Random) -> None:
        """Tasks that are cancelled while they wait for all sorts of things."""
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            far.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=near.dup())
            queue: asyncio.Queue[None] = asyncio.Queue()
            waits: list[Callable[[], Awaitable[Any]]] = [
                lambda: asyncio.sleep(100),
                lambda: loop.sock_recv(far, 100),
                lambda: queue.get(),
                lambda: asyncio.wait_for(loop.create_future(), 100),
                lambda: loop.run_in_executor(None, time.sleep, 0.01),
                lambda: reader.read(1),
            ]

            async def wait_by(wait: Callable[[], Awaitable[Any]]) -> None:
                await wait()

            tasks = [asyncio.create_task(wait_by(wait)) for wait in waits]
            await asyncio.sleep(dice.choice((0, 0, 0.001, 0.01)))
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()
            await writer.wait_closed()
            wrong = [r for r in results if r and not isinstance(r, asyncio.CancelledError)]
            if wrong:
                raise AssertionError(f"cancelled tasks ended with {wrong}")

    # -- connections of the loop to itself ---------------------------------------------------------

    async def connect_to_self(self, dice: random.Random) -> None:
        """create_connection of the loop under test, plain and by TLS."""
        kind = dice.choice(("tcp", "tls", "buffered", "unix"))
        if kind == "unix":
            reader, writer = await asyncio.open_unix_connection(self._addresses["unix"])
        else:
            options: dict[str, Any] = {}
            if kind == "tls":
                options = {"ssl": self._tls, "server_hostname": "localhost"}
            reader, writer = await asyncio.open_connection(*self._addresses[kind], **options)
        seed, amount = dice.randrange(1 << 32), dice.choice((1, 5000, 200_000))
        checker = Checker(seed, f"{kind} to itself")
        try:
            writer.write(Request(seed, End.BY_CLIENT, amount).encode())
            writer.write(pattern(seed, 0, amount))
            while checker.position < amount:
                data = await reader.read(50_000)
                if not data:
                    raise WrongByte(f"{kind} to itself ended at {checker.position} of {amount}")
                checker.check(data)
        finally:
            writer.close()
        await writer.wait_closed()

    async def upgrade_to_tls(self, dice: random.Random) -> None:
        """start_tls of the loop under test, then the echo."""
        reader, writer = await asyncio.open_connection(*self._addresses["tls"])
        seed, amount = dice.randrange(1 << 32), dice.choice((1, 5000))
        checker = Checker(seed, "upgraded to TLS")
        try:
            await writer.start_tls(self._tls, server_hostname="localhost")
            writer.write(Request(seed, End.BY_CLIENT, amount).encode())
            writer.write(pattern(seed, 0, amount))
            checker.check(await reader.readexactly(amount))
        finally:
            writer.close()
        await writer.wait_closed()

    async def datagram_pair(self, dice: random.Random) -> None:
        """Unix datagrams, which are never lost."""
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with far:
            far.setblocking(False)
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=near)
            try:
                seed = dice.randrange(1 << 32)
                for position in range(0, 20_000, 500):
                    transport.sendto(pattern(seed, position, 500))
                for position in range(0, 20_000, 500):
                    if await loop.sock_recv(far, 1000) != pattern(seed, position, 500):
                        raise WrongByte(f"the datagram at {position} is wrong")
            finally:
                transport.close()
