"""Micro-benchmark: what one `call_soon` and the dispatch of its callback cost.

    python benchmarks/call_soon.py --loop uring

A callback schedules a batch of empty callbacks and itself again, until the time is over, so the
loop does nothing but take callbacks and run them; one turn in a thousand callbacks looks for I/O.
Figures are operations per second of the thread's own CPU time, which other processes disturb less
than wall time. Prints one JSON object: `plain` is call_soon(f), `args` is call_soon(f, 1, 2, 3).
Compare loops only between processes of their own, interleaved: `compare_loops.py` does that.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Callable

from loops import LoopUnavailableError, factory_for

BATCH = 1000


CallSoon = Callable[..., object]


def take_none() -> None:
    pass


def take_three(first: object, second: object, third: object) -> None:
    pass


# Written out rather than with *args, which would make CPython build a tuple for every call.
def schedule_plain(call_soon: CallSoon) -> None:
    for _ in range(BATCH):
        call_soon(take_none)


def schedule_args(call_soon: CallSoon) -> None:
    for _ in range(BATCH):
        call_soon(take_three, 1, 2, 3)


CASES: dict[str, Callable[[CallSoon], None]] = {"plain": schedule_plain, "args": schedule_args}


def operations_per_second(
    loop: asyncio.AbstractEventLoop, schedule: Callable[[CallSoon], None], seconds: float
) -> float:
    """Return operations (schedule and dispatch) per second of this thread's CPU time."""
    call_soon = loop.call_soon
    deadline_ns = time.monotonic_ns() + int(seconds * 1e9)
    batches = 0

    def batch() -> None:
        nonlocal batches
        batches += 1
        schedule(call_soon)
        # Either way behind the callbacks of this batch, which therefore all run.
        call_soon(batch if time.monotonic_ns() < deadline_ns else loop.stop)

    gc.collect()
    call_soon(batch)
    began_ns = time.thread_time_ns()
    loop.run_forever()
    return batches * BATCH * 1e9 / (time.thread_time_ns() - began_ns)


def measure(loop: asyncio.AbstractEventLoop, seconds: float) -> dict[str, float]:
    """Measure both cases for `seconds` each, after a short warm-up."""
    for schedule in CASES.values():
        operations_per_second(loop, schedule, 0.02)
    return {
        name: operations_per_second(loop, schedule, seconds) for name, schedule in CASES.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loop", default="asyncio", help="as for server.py")
    parser.add_argument("--seconds", type=float, default=0.5, help="per variant (0.5)")
    options = parser.parse_args()
    try:
        loop = factory_for(options.loop)()
    except (LoopUnavailableError, ValueError) as error:
        parser.error(str(error))
    try:
        print(json.dumps(measure(loop, options.seconds)))
    finally:
        loop.close()


if __name__ == "__main__":
    main()
