"""Claim: `call_soon_threadsafe` costs less, from the loop's own thread and from another one.

    python benchmarks/run.py threadsafe                        compares the loops
    python benchmarks/run.py threadsafe --loop uring --case other

`own`: a callback schedules a batch of empty callbacks, as code does that does not know which thread
it is on. `other`: a second thread schedules batches while the loop runs, and waits for each to have
been run; both threads share the interpreter lock and one CPU. Operations per second of CPU time of
the whole process.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time

from harness.measure import Sample
from harness.micro import main_of_micro, micro_benchmark, micro_case, per_cpu_second, repeat

BATCH = 1000
# How long the other thread waits for the loop, in seconds; only a loop that hangs takes it.
PATIENCE_SECONDS = 10.0


def take_none() -> None:
    pass


def from_own_thread(loop: asyncio.AbstractEventLoop, seconds: float) -> Sample:
    schedule = loop.call_soon_threadsafe

    def batch() -> None:
        for _ in range(BATCH):
            schedule(take_none)

    return repeat(loop, seconds, batch, BATCH)


def from_other_thread(loop: asyncio.AbstractEventLoop, seconds: float) -> Sample:
    schedule = loop.call_soon_threadsafe
    batches = 0

    def produce() -> None:
        nonlocal batches
        arrived = threading.Event()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for _ in range(BATCH):
                schedule(take_none)
            arrived.clear()
            schedule(arrived.set)
            if not arrived.wait(PATIENCE_SECONDS):
                break
            batches += 1
        schedule(loop.stop)

    thread = threading.Thread(target=produce)
    began = time.process_time_ns()
    thread.start()
    loop.run_forever()
    thread.join()
    return per_cpu_second(batches * BATCH, began)


WORKERS = {"own": from_own_thread, "other": from_other_thread}
BENCHMARK = micro_benchmark(
    __file__,
    "call_soon_threadsafe and dispatch",
    [
        micro_case(__file__, "own", "call_soon_threadsafe(f), own thread"),
        micro_case(__file__, "other", "call_soon_threadsafe(f), other thread"),
    ],
)

if __name__ == "__main__":
    sys.exit(main_of_micro(BENCHMARK, WORKERS, __doc__))
