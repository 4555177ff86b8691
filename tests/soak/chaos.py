"""The chaos process: it starts the clients, and does to them and to the server what it can.

    python -m soak.chaos REPORTS FOLDER SERVER_PID SEED CLIENTS CONNECTIONS

What only a connected peer can do (reset, stall, half-close) the clients do by themselves; see
sessions. From here come killed and restarted clients, stopped ones, signals to the server, limits
of descriptors, forks, collections and moves to another thread. SIGTERM ends it: limits are put
back, and it ends the clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from .processes import Reporter, die_with_parent, environment_of_child, explain_crashes

_EVENTS_PER_SECOND = 2.0
#: Clients that do not end within it after SIGTERM hang; the machine may be busy with other things.
FINISH_SECONDS = 60.0


class Chaos:
    """Everything that is drawn comes from one seed; when it happens depends on the machine."""

    def __init__(self, reporter: Reporter, folder: Path, server: int, seed: int) -> None:
        self._reporter = reporter
        self._counts = reporter.counts
        self._folder = folder
        self._server = server
        self._dice = random.Random(seed)
        self._limits = resource.prlimit(server, resource.RLIMIT_NOFILE)
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._control.connect(str(folder / "control.sock"))
        self._clients: list[asyncio.subprocess.Process | None] = []
        self._killed: set[int] = set()
        self._stopping = asyncio.Event()
        self._later: set[asyncio.Task[None]] = set()

    async def run(self, reports: str, clients: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        self._clients = [None] * clients
        keepers = [
            asyncio.create_task(self._keep_client(place, reports, connections))
            for place in range(clients)
        ]
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._stopping.wait(), self._dice.expovariate(_EVENTS_PER_SECOND)
                )
            if not self._stopping.is_set():
                self._do_something()
            self._reporter.tell()
        await asyncio.gather(*self._later)
        self._restore_limit()
        for client in self._clients:
            if client and client.returncode is None:
                client.send_signal(signal.SIGCONT)
                client.terminate()
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await asyncio.gather(*keepers)
        except TimeoutError:
            self._reporter.fail("clients do not end")
        self._reporter.tell()

    async def _keep_client(self, place: int, reports: str, connections: int) -> None:
        while not self._stopping.is_set():
            client = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "soak.client",
                reports,
                str(self._folder / "addresses.json"),
                str(self._dice.randrange(1 << 48)),
                str(connections),
                env=environment_of_child(),
            )
            self._clients[place] = client
            status = await client.wait()
            killed = client.pid in self._killed
            self._killed.discard(client.pid)
            # One that has just started knows nothing of SIGTERM yet.
            told_to_end = self._stopping.is_set() and status in (0, -signal.SIGTERM)
            if not killed and not told_to_end:
                self._reporter.fail(f"a client ended by itself, with {status}")
                return

    def _do_something(self) -> None:
        events: list[tuple[int, Callable[[], None]]] = [
            (3, self._kill_client),
            (3, self._pause_client),
            (5, self._signal_server),
            (2, self._storm_server),
            (3, self._lower_limit),
            (3, lambda: self._ask("collect")),
            (5, lambda: self._ask("move")),
            (2, lambda: self._ask(f"fork {self._dice.choice(('exit', 'loop'))}")),
            (1, lambda: self._ask(f"fork-in-loop {self._dice.choice(('exit', 'loop'))}")),
            (1, lambda: self._ask(f"fork-between {self._dice.choice(('exit', 'loop', 'close'))}")),
        ]
        weights = [weight for weight, _ in events]
        _, event = self._dice.choices(events, weights)[0]
        event()

    def _some_client(self) -> asyncio.subprocess.Process | None:
        client = self._dice.choice(self._clients)
        return client if client and client.returncode is None else None

    def _kill_client(self) -> None:
        if client := self._some_client():
            self._killed.add(client.pid)
            client.kill()
            self._counts["clients_killed"] += 1

    def _pause_client(self) -> None:
        if client := self._some_client():
            client.send_signal(signal.SIGSTOP)
            self._counts["clients_paused"] += 1
            self._do_later(self._dice.uniform(0.1, 3), lambda: self._resume(client))

    def _resume(self, client: asyncio.subprocess.Process) -> None:
        if client.returncode is None:
            client.send_signal(signal.SIGCONT)

    def _signal_server(self) -> None:
        number = self._dice.choice((signal.SIGUSR1, signal.SIGWINCH, signal.SIGCHLD))
        self._counts[f"sent_{number.name}"] += 1
        os.kill(self._server, number)

    def _storm_server(self) -> None:
        for _ in range(self._dice.randint(10, 500)):
            self._counts["sent_SIGCHLD"] += 1
            os.kill(self._server, signal.SIGCHLD)

    def _lower_limit(self) -> None:
        in_use = len(list(Path(f"/proc/{self._server}/fd").iterdir()))
        # Sometimes below what is in use: then nothing can be opened for a while.
        limit = max(10, in_use + self._dice.randint(-20, 20))
        resource.prlimit(self._server, resource.RLIMIT_NOFILE, (limit, self._limits[1]))
        self._counts["limits_lowered"] += 1
        self._do_later(self._dice.uniform(0.1, 2), self._restore_limit)

    def _restore_limit(self) -> None:
        resource.prlimit(self._server, resource.RLIMIT_NOFILE, self._limits)

    def _do_later(self, seconds: float, act: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            act()

        task = asyncio.create_task(wait())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _ask(self, words: str) -> None:
        self._reporter.note(words)
        self._control.send(words.encode())


async def _run(arguments: list[str]) -> None:
    reports, folder, server, seed, clients, connections = arguments
    chaos = Chaos(Reporter(reports, "chaos"), Path(folder), int(server), int(seed))
    await chaos.run(reports, int(clients), int(connections))


def main() -> None:
    die_with_parent()
    explain_crashes()
    asyncio.run(_run(sys.argv[1:]))


if __name__ == "__main__":
    main()
