"""Claim: starting a child process and waiting for its end is as quick as anywhere.

    python benchmarks/run.py spawn                             compares the loops
    python benchmarks/run.py spawn --loop uring --case piped

`plain`: `/bin/true` without pipes, one child after the other. `piped`: `/bin/cat` with pipes on
standard input and output, 64 KiB in and out through communicate(). Most of the time is the
kernel's and the child's, so the figure is children per second of wall time; the CPU time of the
loop's process alone is in the JSON (`own_cpu_us`).
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable

from harness.measure import Sample
from harness.micro import Worker, main_of_micro, micro_benchmark, micro_case, task_worker

PER_SECOND = "operations_per_second"
TEXT = b"x" * 65536


async def start_plain() -> None:
    child = await asyncio.create_subprocess_exec("/bin/true", stdin=DEVNULL)
    if await child.wait() != 0:
        raise RuntimeError("/bin/true failed")


async def start_piped() -> None:
    child = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
    output, _ = await child.communicate(TEXT)
    if output != TEXT:
        raise RuntimeError("the child did not return what it was sent")


def spawning(start: Callable[[], Awaitable[None]]) -> Worker:
    async def work(seconds: float) -> Sample:
        count = 0
        began_cpu = time.process_time_ns()
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            await start()
            count += 1
        spent = time.process_time_ns() - began_cpu
        return {PER_SECOND: count / (now - began), "own_cpu_us": spent / 1e3 / max(count, 1)}

    return task_worker(work)


WORKERS = {"plain": spawning(start_plain), "piped": spawning(start_piped)}
BENCHMARK = micro_benchmark(
    __file__,
    "Child processes",
    [
        micro_case(__file__, "plain", "spawn and wait", figure=PER_SECOND),
        micro_case(__file__, "piped", "64 KiB through cat", figure=PER_SECOND),
    ],
    most_rounds=3,
)

if __name__ == "__main__":
    sys.exit(main_of_micro(BENCHMARK, WORKERS, __doc__))
