"""A client process: so many connections at a time, of random kinds, on asyncio's own loop.

    python -m soak.client REPORTS ADDRESSES SEED CONNECTIONS

Ends by SIGTERM, at once and with all its connections, or by SIGKILL, which is what chaos sends.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

from .processes import Reporter, die_with_parent, explain_crashes, watch_logs
from .sessions import ECHOES, SENDERS, DatagramClient, Plan, Session
from .wire import WrongByte

#: A connection that makes no progress for so long hangs.
HANG_SECONDS = 30.0
_KINDS = ECHOES * 3 + SENDERS + ("udp",)


class Client:
    """Keeps `connections` sessions going until it is told to stop."""

    def __init__(self, reporter: Reporter, addresses: dict[str, Any], seed: int) -> None:
        self._reporter = reporter
        self._addresses = addresses
        self._dice = random.Random(seed)
        self._sessions: set[Session] = set()
        self._workers: list[asyncio.Task[None]] = []

    async def run(self, connections: int) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        watching = asyncio.create_task(self._watch())
        self._workers = [asyncio.create_task(self._work()) for _ in range(connections)]
        results = await asyncio.gather(*self._workers, return_exceptions=True)
        for result in results:
            if not isinstance(result, asyncio.CancelledError):
                self._reporter.fail(f"a worker ended by {result!r}")
        watching.cancel()
        self._reporter.tell()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.cancel()

    async def _work(self) -> None:
        while True:
            kind = self._dice.choice(_KINDS)
            seed = self._dice.randrange(1 << 48)
            if kind == "udp":
                client = DatagramClient(self._reporter, seed)
                await client.run(random.Random(seed), self._addresses["udp"])
                continue
            session = Session(self._reporter, self._addresses, Plan(kind, seed))
            self._sessions.add(session)
            try:
                await session.run()
            except WrongByte as exc:
                self._reporter.fail(f"{exc} ({session.describe()})")
            except Exception as exc:
                self._reporter.fail(f"unexpected {exc!r} ({session.describe()})")
            finally:
                self._sessions.discard(session)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._reporter.tell()
            for session in self._sessions:
                if session.idle_seconds() > HANG_SECONDS:
                    self._reporter.fail(f"hangs: {session.describe()}")
                    return


def main() -> None:
    die_with_parent()
    explain_crashes()
    reports, addresses_file, seed, connections = sys.argv[1:]
    addresses = json.loads(Path(addresses_file).read_text())
    folder = Path(addresses_file).parent
    addresses["tls_context"] = ssl.create_default_context(cafile=folder / "authority.pem")
    reporter = Reporter(reports, "client")
    watch_logs(reporter)
    client = Client(reporter, addresses, int(seed))
    asyncio.run(client.run(int(connections)))


if __name__ == "__main__":
    main()
