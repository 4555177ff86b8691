"""Claim: `getaddrinfo` of an address that is already one needs no thread and costs less.

    python benchmarks/run.py resolve                           compares the loops
    python benchmarks/run.py resolve --loop uring --case ipv6

Each operation is one `await loop.getaddrinfo(literal, port, type=SOCK_STREAM)`, one after the
other. asyncio asks a thread of its pool, whose CPU time is counted too: operations per second of
CPU time of the process.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable

from harness.measure import Sample
from harness.micro import (
    main_of_micro,
    micro_benchmark,
    micro_case,
    per_cpu_second,
    task_worker,
)

BATCH = 50


def resolving(literal: str) -> Callable[[float], Awaitable[Sample]]:
    async def work(seconds: float) -> Sample:
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + seconds
        count = 0
        began = time.process_time_ns()
        while time.monotonic() < deadline:
            for _ in range(BATCH):
                await loop.getaddrinfo(literal, 80, type=socket.SOCK_STREAM)
            count += BATCH
        return per_cpu_second(count, began)

    return work


WORKERS = {"ipv4": task_worker(resolving("127.0.0.1")), "ipv6": task_worker(resolving("::1"))}
BENCHMARK = micro_benchmark(
    __file__,
    "getaddrinfo of literals",
    [
        micro_case(__file__, "ipv4", 'getaddrinfo("127.0.0.1", 80)'),
        micro_case(__file__, "ipv6", 'getaddrinfo("::1", 80)'),
    ],
    most_rounds=3,
)

if __name__ == "__main__":
    sys.exit(main_of_micro(BENCHMARK, WORKERS, __doc__))
