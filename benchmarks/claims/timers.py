"""Claim: arming, cancelling and re-arming timers costs less, also beside 100 000 live ones.

    python benchmarks/run.py timers                            compares the loops
    python benchmarks/run.py timers --loop uring --case rearm --live 100000

`arm_cancel`: call_later(...).cancel(), what a timeout that does not expire costs. `rearm`: one of
the live timers is cancelled and armed anew, as an idle timeout is with every message. `fire`:
call_later(0, f) and its dispatch. Live timers are due in an hour, at different times. The loop runs
between batches, so its clearing away of what was cancelled is in the figures: operations per second
of CPU time of the process. `rearm_memory`: by how many KiB the process grows at most in a million
re-arms (a case of `scaling.py`, as it takes long).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from harness.measure import Sample
from harness.micro import Worker, main_of_micro, micro_benchmark, micro_case, repeat

BATCH = 500
HOUR_SECONDS = 3600.0
MANY = 100_000
REARMS = 1_000_000
GROWTH = "kib_of_growth"
PAGE_BYTES = resource.getpagesize()


def take_none() -> None:
    pass


def delays(count: int) -> list[float]:
    """Return times in random order, the same for every loop."""
    chosen = random.Random(1)
    return [HOUR_SECONDS * (1 + chosen.random()) for _ in range(count)]


def arm_cancel(loop: asyncio.AbstractEventLoop, seconds: float, live: int) -> Sample:
    kept = [loop.call_later(delay, take_none) for delay in delays(live)]
    call_later = loop.call_later
    spread = delays(BATCH)

    def batch() -> None:
        for delay in spread:
            call_later(delay, take_none).cancel()

    sample = repeat(loop, seconds, batch, BATCH)
    cancel_all(kept)
    return sample


def rearm(loop: asyncio.AbstractEventLoop, seconds: float, live: int) -> Sample:
    kept = [loop.call_later(delay, take_none) for delay in delays(max(live, 1))]
    call_later = loop.call_later
    position = 0

    def batch() -> None:
        nonlocal position
        # Timers at random places of the order of time; the delay is a timeout's: always the same.
        for _ in range(BATCH):
            position = (position + 1) % len(kept)
            kept[position].cancel()
            kept[position] = call_later(HOUR_SECONDS, take_none)

    sample = repeat(loop, seconds, batch, BATCH)
    cancel_all(kept)
    return sample


def fire(loop: asyncio.AbstractEventLoop, seconds: float, live: int) -> Sample:
    kept = [loop.call_later(delay, take_none) for delay in delays(live)]
    call_later = loop.call_later

    def batch() -> None:
        for _ in range(BATCH):
            call_later(0, take_none)

    sample = repeat(loop, seconds, batch, BATCH)
    cancel_all(kept)
    return sample


def rearm_memory(loop: asyncio.AbstractEventLoop, seconds: float, live: int) -> Sample:
    kept = [loop.call_later(delay, take_none) for delay in delays(max(live, 1))]
    before = most = resident_kib()
    left = REARMS // BATCH

    def step() -> None:
        nonlocal left, most
        for position in range(left * BATCH, (left + 1) * BATCH):
            kept[position % len(kept)].cancel()
            kept[position % len(kept)] = loop.call_later(HOUR_SECONDS, take_none)
        left -= 1
        most = max(most, resident_kib())
        loop.call_soon(step if left else loop.stop)

    loop.call_soon(step)
    loop.run_forever()
    cancel_all(kept)
    return {GROWTH: most - before, "resident_kib_before": before, "operations": REARMS}


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * PAGE_BYTES // 1024


def cancel_all(timers: list[asyncio.TimerHandle]) -> None:
    for timer in timers:
        timer.cancel()


live_count = 0


def with_live(work: Callable[[asyncio.AbstractEventLoop, float, int], Sample]) -> Worker:
    return lambda loop, seconds: work(loop, seconds, live_count)


WORKERS = {
    "arm_cancel": with_live(arm_cancel),
    "rearm": with_live(rearm),
    "rearm_memory": with_live(rearm_memory),
    "fire": with_live(fire),
}


BENCHMARK = micro_benchmark(
    __file__,
    "Timers",
    [
        micro_case(__file__, "arm_cancel", "call_later + cancel", "--live", "0"),
        micro_case(
            __file__, "arm_cancel", "call_later + cancel, 100 000 live", "--live", str(MANY)
        ),
        micro_case(__file__, "rearm", "re-arm one of 100 000", "--live", str(MANY)),
        micro_case(__file__, "fire", "call_later(0, f), dispatched", "--live", "0"),
    ],
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--live", type=int, default=0, help="timers that stay armed (0)")


def take_options(options: argparse.Namespace) -> None:
    global live_count
    live_count = options.live


if __name__ == "__main__":
    sys.exit(main_of_micro(BENCHMARK, WORKERS, __doc__, add_options, take_options))
