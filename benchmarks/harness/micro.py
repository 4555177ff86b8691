"""Benchmarks of the loop alone: no server, one process per loop, case and round.

A micro-benchmark file has two faces. As a worker (`--loop NAME --case NAME`) it makes that loop,
runs one case and prints one JSON object; otherwise it compares the loops by starting such workers
on the server CPU. Figures are operations per second of the process's own CPU time, every thread
included, which other processes disturb less than wall time. `repeat` is the usual worker: batches
in a callback that schedules itself again until the time is over.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from harness.alone import main_of
from harness.loops import LoopUnavailableError, factory_for
from harness.machine import pinned_to
from harness.measure import (
    START_SECONDS,
    MeasurementError,
    Rig,
    Sample,
    UnsupportedError,
    end_process,
    last_line,
)
from harness.peers import Peer, command_of
from harness.suite import PER_CPU_SECOND, Benchmark, Case, Group, Settings

# A case: given a fresh loop and a time in seconds, returns its figures.
Worker = Callable[[asyncio.AbstractEventLoop, float], Sample]
# Beyond the measured time: making 1 000 000 timers, warming up, a machine that is busy.
SLACK_SECONDS = 60.0
WARM_UP_SECONDS = 0.03


def micro_group(name: str, cases: list[Case]) -> Group:
    """Return a group of cases measured by workers of a claim; `detail` is the worker's options."""

    @contextlib.contextmanager
    def open_nothing(rig: Rig, peer: Peer, settings: Settings) -> Iterator[Peer]:
        yield peer

    def measure(rig: Rig, peer: Peer, case: Case, settings: Settings) -> Sample:
        command = [*command_of(peer.python, name), "--loop", peer.loop_option, *case.detail]
        return run_worker(rig, [*command, "--seconds", str(settings.seconds)], settings.seconds)

    return Group(cases, open_nothing, measure)


def micro_case(file: str, name: str, label: str, *options: str, figure: str = "") -> Case:
    """Return the case `name` of `file`; `options` go to the worker."""
    stem = Path(file).stem
    detail = ["--case", name, *options]
    key = "-".join([f"{stem}/{name}", *options[1::2]])
    return Case(key, label, figure or PER_CPU_SECOND, detail)


def micro_benchmark(
    file: str, title: str, cases: list[Case], most_rounds: int | None = None
) -> Benchmark:
    return Benchmark(Path(file).stem, title, [micro_group(Path(file).stem, cases)], most_rounds)


def run_worker(rig: Rig, command: list[str], seconds: float) -> Sample:
    """Run a worker on the server CPU and return the figures that it prints."""
    with pinned_to(rig.cpus.server):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=rig.environment,
        )
    try:
        output, errors = process.communicate(timeout=START_SECONDS + SLACK_SECONDS + seconds)
    except subprocess.TimeoutExpired:
        raise MeasurementError("not finished in time") from None
    finally:
        end_process(process, signal.SIGKILL)
    if process.returncode != 0:
        said = last_line(errors)
        kind = UnsupportedError if said.startswith("NotImplementedError") else MeasurementError
        raise kind(said)
    answer: Sample = json.loads(output)
    return answer


# --- in the worker --------------------------------------------------------------------------------


def per_cpu_second(operations: int, began_cpu_ns: int) -> Sample:
    """Return the figures of a measurement that ends now; `began_cpu_ns` is of process_time_ns."""
    spent = time.process_time_ns() - began_cpu_ns
    return {PER_CPU_SECOND: operations * 1e9 / max(spent, 1), "operations": operations}


def repeat(
    loop: asyncio.AbstractEventLoop, seconds: float, batch: Callable[[], None], operations: int
) -> Sample:
    """Call `batch` on the loop until the time is over; it does this many operations each time.

    What a batch schedules lies before the next batch, so it is dispatched within the measurement.
    """
    deadline_ns = 0
    batches = 0

    def step() -> None:
        nonlocal batches
        batches += 1
        batch()
        loop.call_soon(step if time.monotonic_ns() < deadline_ns else loop.stop)

    for length in (WARM_UP_SECONDS, seconds):
        batches = 0
        gc.collect()
        loop.call_soon(step)
        deadline_ns = time.monotonic_ns() + int(length * 1e9)
        began = time.process_time_ns()
        loop.run_forever()
        sample = per_cpu_second(batches * operations, began)
    return sample


def repeat_task(
    loop: asyncio.AbstractEventLoop, seconds: float, work: Callable[[float], Awaitable[Sample]]
) -> Sample:
    """Run an async measurement, `work(seconds)`, once to warm up and once in earnest."""
    loop.run_until_complete(work(WARM_UP_SECONDS))
    gc.collect()
    return loop.run_until_complete(work(seconds))


def task_worker(work: Callable[[float], Awaitable[Sample]]) -> Worker:
    return lambda loop, seconds: repeat_task(loop, seconds, work)


def is_worker() -> bool:
    return any(word == "--loop" or word.startswith("--loop=") for word in sys.argv[1:])


def main_of_micro(
    benchmark: Benchmark,
    workers: Mapping[str, Worker],
    documentation: str | None,
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
    take_options: Callable[[argparse.Namespace], None] | None = None,
) -> int:
    """Be the worker or the comparison, whichever the command line asks for."""
    if not is_worker():
        return main_of(benchmark, documentation)
    parser = argparse.ArgumentParser(description=(documentation or "").partition("\n")[0])
    parser.add_argument("--loop", required=True, help="as for server.py")
    parser.add_argument("--case", choices=list(workers), default=next(iter(workers)))
    parser.add_argument("--seconds", type=float, default=0.5, help="of the measurement (0.5)")
    if add_options is not None:
        add_options(parser)
    options = parser.parse_args()
    if take_options is not None:
        take_options(options)
    try:
        loop = factory_for(options.loop)()
    except (LoopUnavailableError, ValueError) as error:
        parser.error(str(error))
    try:
        print(json.dumps(workers[options.case](loop, options.seconds)))
    finally:
        loop.close()
    return 0
