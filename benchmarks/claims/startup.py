"""Claim: a loop is there soon: making, using and closing one; importing the package.

    python benchmarks/run.py startup                           compares the loops
    python benchmarks/run.py startup --loop uring --case import

`loop`: in one process, over and over, a loop is made, runs a coroutine that does nothing, and is
closed. `import`: processes that import asyncio and the package, and others that import asyncio
alone, by turns; the figure is the least of the former less the least of the latter, as what
disturbs only adds. A process before them leaves the packages' bytecode behind, whatever the
environment says: pip compiles what it installs, and what is measured is not the compiler. CPU time
of the process each time, which does not hold what the kernel clears away later on threads of its
own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time

from harness.loops import PLAIN, LoopFactory, factory_for
from harness.measure import Sample
from harness.micro import WARM_UP_SECONDS, main_of_micro, micro_benchmark, micro_case
from harness.suite import CPU_PER_OPERATION

LEAST_PAIRS = 5
WITH_BYTECODE = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
loop_name = ""


async def nothing() -> None:
    pass


def start_loops(factory: LoopFactory, seconds: float) -> Sample:
    deadline = time.monotonic() + seconds
    count = 0
    began = time.process_time_ns()
    while time.monotonic() < deadline or count == 0:
        loop = factory()
        loop.run_until_complete(nothing())
        loop.close()
        count += 1
    return {CPU_PER_OPERATION: (time.process_time_ns() - began) / 1e3 / count, "operations": count}


def measure_loops(loop: asyncio.AbstractEventLoop, seconds: float) -> Sample:
    factory = factory_for(loop_name)
    start_loops(factory, WARM_UP_SECONDS)
    return start_loops(factory, seconds)


def cpu_us_of(statement: str) -> float:
    """Return the CPU time of a Python process that runs one statement."""
    arguments = [sys.executable, "-c", statement]
    child = os.posix_spawn(sys.executable, arguments, WITH_BYTECODE)
    _, status, used = os.wait4(child, 0)
    if status != 0:
        raise RuntimeError(f"a process failed: {statement}")
    return (used.ru_utime + used.ru_stime) * 1e6


def measure_import(loop: asyncio.AbstractEventLoop, seconds: float) -> Sample:
    if loop_name == "asyncio":
        raise NotImplementedError("it is what the others are compared with")
    package = loop_name if loop_name in PLAIN else "rloop"
    deadline = time.monotonic() + seconds
    cpu_us_of(f"import asyncio, {package}")
    pairs: list[tuple[float, float]] = []
    while time.monotonic() < deadline or len(pairs) < LEAST_PAIRS:
        pairs.append((cpu_us_of("import asyncio"), cpu_us_of(f"import asyncio, {package}")))
    without, with_it = (min(times) for times in zip(*pairs, strict=True))
    return {CPU_PER_OPERATION: with_it - without, "asyncio_cpu_us": without, "pairs": len(pairs)}


def take_options(options: argparse.Namespace) -> None:
    global loop_name
    loop_name = options.loop


WORKERS = {"loop": measure_loops, "import": measure_import}
BENCHMARK = micro_benchmark(
    __file__,
    "Start-up",
    [
        micro_case(__file__, "loop", "make, run, close a loop", figure=CPU_PER_OPERATION),
        micro_case(__file__, "import", "import of the package", figure=CPU_PER_OPERATION),
    ],
)

if __name__ == "__main__":
    sys.exit(main_of_micro(BENCHMARK, WORKERS, __doc__, take_options=take_options))
