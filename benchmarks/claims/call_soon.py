"""Claim: `call_soon` and the dispatch of its callback cost less, with arguments and context too.

    python benchmarks/run.py call_soon                         compares the loops
    python benchmarks/run.py call_soon --loop uring            one loop: a JSON object
    python benchmarks/run.py call_soon --loop uring --case context

A callback schedules a batch of empty callbacks and itself again, until the time is over, so the
loop does nothing but take callbacks and run them; one turn in a thousand callbacks looks for I/O.
Figures are operations per second of the thread's own CPU time, which other processes disturb less
than wall time. `plain` is call_soon(f), `args` is call_soon(f, 1, 2, 3), `context` is
call_soon(f, context=c). The JSON of one loop without --case holds `plain` and `args`, the two that
`compare_loops.py --quick` shows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import gc
import json
import sys
import time
from collections.abc import Callable

from harness.alone import main_of
from harness.loops import LoopUnavailableError, factory_for
from harness.micro import is_worker, micro_benchmark, micro_case
from harness.suite import PER_CPU_SECOND

BATCH = 1000
CONTEXT = contextvars.copy_context()


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


def schedule_context(call_soon: CallSoon) -> None:
    for _ in range(BATCH):
        call_soon(take_none, context=CONTEXT)


QUICK_CASES = ("plain", "args")
CASES: dict[str, Callable[[CallSoon], None]] = {
    "plain": schedule_plain,
    "args": schedule_args,
    "context": schedule_context,
}
BENCHMARK = micro_benchmark(
    __file__,
    "call_soon and dispatch",
    [
        micro_case(__file__, "plain", "call_soon(f)"),
        micro_case(__file__, "args", "call_soon(f, 1, 2, 3)"),
        micro_case(__file__, "context", "call_soon(f, context=c)"),
    ],
)


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


def measure(loop: asyncio.AbstractEventLoop, seconds: float, cases: list[str]) -> dict[str, float]:
    """Measure the cases for `seconds` each, after a short warm-up."""
    for name in cases:
        operations_per_second(loop, CASES[name], 0.02)
    return {name: operations_per_second(loop, CASES[name], seconds) for name in cases}


def main() -> int:
    if not is_worker():
        return main_of(BENCHMARK, __doc__)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loop", required=True, help="as for server.py")
    parser.add_argument("--case", choices=list(CASES), help="only this one")
    parser.add_argument("--seconds", type=float, default=0.5, help="per variant (0.5)")
    options = parser.parse_args()
    try:
        loop = factory_for(options.loop)()
    except (LoopUnavailableError, ValueError) as error:
        parser.error(str(error))
    try:
        found = measure(loop, options.seconds, [options.case] if options.case else [*QUICK_CASES])
    finally:
        loop.close()
    print(json.dumps({PER_CPU_SECOND: found[options.case]} if options.case else found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
