"""One engine's run: its processes, what they report, and the verdict."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from .flatness import Allowance, Trend, Verdict, judge
from .processes import environment_of_child
from .wire import file_content

#: What has to be flat over a run, and what it may grow by.
#: Thousands of connections, children and tasks come and go in the shortest run that is judged: what
#: leaks even a hundredth of them grows by more than this, and a load that drifts does not.
WATCHED = {
    "resident_kib": Allowance(0.05, 2048),
    "anonymous_kib": Allowance(0.05, 2048),
    "malloc_kib": Allowance(0.05, 1024),
    "blocks": Allowance(0.03, 2000),
    "descriptors": Allowance(0.25, 12),
    "tasks": Allowance(0.25, 10),
    "ready": Allowance(0.5, 50),
    "timers": Allowance(0.5, 20),
    "threads": Allowance(0.1, 2),
    "connections": Allowance(0.25, 12),
    "buffers_lent": Allowance(0.25, 10),
    "tcp_pages": Allowance(0.25, 1000),
}

#: The io_uring engine's receive buffers (256 of 16 KiB, 64 of 64 KiB for datagrams) become resident
#: when the kernel fills them for the first time, which is late under little load: a step of 2 MiB
#: comes with each doubling of what is offered. No allocation is counted for them, so malloc_kib and
#: blocks stay as strict.
_POOLS = {"resident_kib": 8192, "anonymous_kib": 8192}

# One arena, else a loop that changes threads spreads over an arena for each; thresholds that stay.
_FRUGAL_MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "MALLOC_MMAP_THRESHOLD_": "131072",
}
_START_SECONDS = 60.0
_FINISH_SECONDS = 120.0


@dataclass(frozen=True)
class Options:
    """What one run is to be."""

    engine: str
    seconds: float | None  # None: until `messages` are done
    messages: float | None
    seed: int
    clients: int
    connections: int  # of each client
    out: Path


@dataclass
class Result:
    """What one run was."""

    options: Options
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    samples: list[dict[str, float]] = field(default_factory=list)
    rates: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def trends(self) -> dict[str, Trend]:
        times = [sample["time"] for sample in self.samples]
        watched = dict(WATCHED)
        if self.options.engine == "io_uring":
            for name, amount in _POOLS.items():
                watched[name] = Allowance(watched[name].part, watched[name].amount + amount)
        return {
            name: judge(times, [sample[name] for sample in self.samples], allowance)
            for name, allowance in watched.items()
        }

    def all_failures(self) -> list[str]:
        grown = [
            f"{name} grew by {trend.growth:.0f} of {trend.level:.0f} (allowed {trend.allowed:.0f})"
            for name, trend in self.trends().items()
            if trend.verdict is Verdict.GROWS
        ]
        return self.failures + grown


class Run:
    """Starts server and chaos, listens, and ends them."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self.result = Result(options)
        self._options = options
        self._say = say
        self._serving = asyncio.Event()
        self._failed = asyncio.Event()
        self._started = time.monotonic()
        self._judging = False  # neither the start nor the end, when the load goes away

    async def run(self) -> Result:
        with tempfile.TemporaryDirectory(prefix="rloop-soak-") as name:
            folder = self._folder = Path(name)
            _write_certificate(folder)
            (folder / "block").write_bytes(file_content())
            reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            reports.bind(str(folder / "reports.sock"))
            reports.setblocking(False)
            reports.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            listening = asyncio.create_task(self._listen(reports))
            try:
                await self._run_in(folder)
            finally:
                await asyncio.sleep(0.1)
                listening.cancel()
                reports.close()
        return self.result

    async def _run_in(self, folder: Path) -> None:
        options = self._options
        reports = str(folder / "reports.sock")
        server = await _start(
            "soak.server",
            options.engine,
            reports,
            str(folder),
            str(options.seed),
            **_FRUGAL_MALLOC,
        )
        chaos = None
        started = time.monotonic()
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._first_of(self._serving.wait(), server.wait())
            if not self._serving.is_set():
                raise RuntimeError(f"the server ended with {server.returncode} at its start")
            chaos = await _start(
                "soak.chaos",
                reports,
                str(folder),
                str(server.pid),
                str(options.seed),
                str(options.clients),
                str(options.connections),
            )
            self._started = started = time.monotonic()
            self._judging = True
            await self._soak(server, chaos)
            self._judging = False
            self.result.seconds = time.monotonic() - started
            if not self.result.failures:
                await self._finish(server, chaos)
        except (TimeoutError, RuntimeError) as exc:
            self.result.failures.append(f"start or end: {exc!r}")
        finally:
            self.result.seconds = self.result.seconds or time.monotonic() - started
            hangs = any("hang" in text or "answer" in text for text in self.result.failures)
            if self.result.failures:
                await asyncio.sleep(0.5)  # for what the server says to it
            for process in (chaos, server):
                await _end(process, explain=hangs and process is server)

    async def _soak(
        self, server: asyncio.subprocess.Process, chaos: asyncio.subprocess.Process
    ) -> None:
        """Until the time is over, the messages are done, or something has failed."""
        counts = self.result.counts
        last_minute: collections.Counter[str] = collections.Counter()
        messages, second = 0, 0
        while not self.result.failures:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._failed.wait(), self._started + second + 1 - time.monotonic()
                )
            second += 1
            elapsed = time.monotonic() - self._started
            self.result.rates.append((elapsed, counts["messages"] - messages))
            messages = counts["messages"]
            for name, process in (("server", server), ("chaos", chaos)):
                if process.returncode is not None:
                    await asyncio.sleep(0.2)  # for what it said last
                    self.result.failures.append(f"the {name} ended by {process.returncode}")
                    return
            if second % 60 == 0:
                self._say_minute(second // 60, counts - last_minute)
                last_minute = counts.copy()
            if self._options.seconds is not None and elapsed >= self._options.seconds:
                return
            if self._options.messages is not None and messages >= self._options.messages:
                return

    def _say_minute(self, minute: int, counts: collections.Counter[str]) -> None:
        sample = self.result.samples[-1] if self.result.samples else {}
        self._say(
            f"{self._options.engine:8} {minute:4} min  "
            f"{counts['messages']:>9,} messages  {counts['bytes'] / 2**20:7,.0f} MiB  "
            f"connections +{counts['opened']} -{counts['closed']}, "
            f"{counts['reset']} reset, {counts['half_closed']} half-closed, "
            f"{counts['stalled']} stalled  "
            f"clients {counts['clients_killed']} killed  "
            f"moves {counts['moves']}  forks {sum_of(counts, 'forks_')}  "
            f"errors {counts['ended_by_error']} expected, {counts['limited']} by limits  "
            f"rss {sample.get('resident_kib', 0) / 1024:.1f} MiB  "
            f"fds {sample.get('descriptors', 0)}  tasks {sample.get('tasks', 0)}"
        )

    async def _finish(
        self, server: asyncio.subprocess.Process, chaos: asyncio.subprocess.Process
    ) -> None:
        chaos.terminate()
        async with asyncio.timeout(_FINISH_SECONDS):
            await self._first_of(chaos.wait(), self._failed.wait())
            # What chaos has asked for last is on its way.
            self._tell_server(b"finish")
            await self._first_of(server.wait(), self._failed.wait())
        if server.returncode not in (0, None):
            self.result.failures.append(f"the server ended with {server.returncode}")

    def _tell_server(self, words: bytes) -> None:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as control:
            with contextlib.suppress(OSError):  # it may have crashed
                control.sendto(words, str(self._folder / "control.sock"))

    async def _first_of(self, *waits: Coroutine[Any, Any, Any]) -> None:
        works = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for work in works:
                work.cancel()

    async def _listen(self, reports: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = json.loads(await loop.sock_recv(reports, 1 << 20))
            self.result.counts.update(message["counts"])
            if "failure" in message:
                self.result.failures.append(
                    f"{message['role']} {message['pid']}: {message['failure']}"
                )
                if not self._failed.is_set():
                    self._say(f"{self._options.engine}: FAILED")
                    self._tell_server(b"explain")
                self._failed.set()
            if "serving" in message:
                self._serving.set()
            if "sample" in message and self._judging:
                sample = message["sample"]
                sample["time"] = time.monotonic() - self._started
                self.result.samples.append(sample)


def sum_of(counts: collections.Counter[str], prefix: str) -> int:
    return sum(count for name, count in counts.items() if name.startswith(prefix))


def _write_certificate(folder: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "certificate.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")


async def _start(module: str, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        env={**environment_of_child(), **environment},
    )


async def _show_native_stacks(pid: int) -> None:
    """By gdb, where there is one; and the system call that each thread is in."""
    for task in sorted(Path(f"/proc/{pid}/task").iterdir()):  # noqa: ASYNC240
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            call, state = (task / "syscall").read_text(), (task / "stat").read_text().split()[2]
            print(f"thread {task.name}: {state}, system call {call.strip()}", file=sys.stderr)
    if debugger := shutil.which("gdb"):
        command = (debugger, "-p", str(pid), "-batch", "-ex", "thread apply all backtrace 20")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr
        )
        await process.wait()


async def _end(process: asyncio.subprocess.Process | None, explain: bool) -> None:
    """A process that still runs now has failed, or somebody else has."""
    if process is None or process.returncode is not None:
        return
    if explain:
        await _show_native_stacks(process.pid)
    # faulthandler says where it is.
    process.send_signal(signal.SIGABRT if explain else signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 10)
    if process.returncode is None:
        process.kill()
        await process.wait()
