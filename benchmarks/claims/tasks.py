"""Claim: tasks cost less: a step of one and of 100, waking from a future, making them, `gather`.

    python benchmarks/run.py tasks                             compares the loops
    python benchmarks/run.py tasks --loop uring --case sleep_100

`sleep_1` and `sleep_100`: every task awaits sleep(0) over and over; an operation is one step of one
task. `future`: a task awaits a future whose result a callback sets; an operation is one such
wake-up, three callbacks in all. `create`: tasks that do nothing are made and run to their end.
`gather`: an operation is one `gather` of 100 coroutines that do nothing. The task itself is
CPython's in every loop, so the ratios are smaller than those of call_soon. Operations per second of
CPU time of the process.
"""

from __future__ import annotations

import asyncio
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

# Steps between two looks at the clock.
BATCH = 200
GATHERED = 100


def sleepers(task_count: int) -> Callable[[float], Awaitable[Sample]]:
    async def work(seconds: float) -> Sample:
        deadline = time.monotonic() + seconds
        steps = 0

        async def sleeper() -> None:
            nonlocal steps
            sleep = asyncio.sleep
            while time.monotonic() < deadline:
                for _ in range(BATCH):
                    await sleep(0)
                steps += BATCH

        began = time.process_time_ns()
        await asyncio.gather(*(sleeper() for _ in range(task_count)))
        return per_cpu_second(steps, began)

    return work


async def wake_ups(seconds: float) -> Sample:
    loop = asyncio.get_running_loop()
    deadline = time.monotonic() + seconds
    count = 0
    began = time.process_time_ns()
    while time.monotonic() < deadline:
        for _ in range(BATCH):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future
        count += BATCH
    return per_cpu_second(count, began)


async def nothing() -> None:
    pass


async def creations(seconds: float) -> Sample:
    create_task = asyncio.get_running_loop().create_task
    deadline = time.monotonic() + seconds
    count = 0
    began = time.process_time_ns()
    while time.monotonic() < deadline:
        for _ in range(BATCH):
            create_task(nothing())
        # All of them have run when this task gets its turn again.
        await asyncio.sleep(0)
        count += BATCH
    return per_cpu_second(count, began)


async def gathers(seconds: float) -> Sample:
    deadline = time.monotonic() + seconds
    count = 0
    began = time.process_time_ns()
    while time.monotonic() < deadline:
        await asyncio.gather(*(nothing() for _ in range(GATHERED)))
        count += 1
    return per_cpu_second(count, began)


WORKERS = {
    "sleep_1": task_worker(sleepers(1)),
    "sleep_100": task_worker(sleepers(100)),
    "future": task_worker(wake_ups),
    "create": task_worker(creations),
    "gather": task_worker(gathers),
}
BENCHMARK = micro_benchmark(
    __file__,
    "Task steps",
    [
        micro_case(__file__, "sleep_1", "sleep(0), 1 task"),
        micro_case(__file__, "sleep_100", "sleep(0), 100 tasks"),
        micro_case(__file__, "future", "future wake-up"),
        micro_case(__file__, "create", "create_task, run to its end"),
        micro_case(__file__, "gather", f"gather of {GATHERED} trivial coroutines"),
    ],
)

if __name__ == "__main__":
    sys.exit(main_of_micro(BENCHMARK, WORKERS, __doc__))
