"""Claim: Dask's workers exchange data with no more CPU, without a change to them.

    python benchmarks/run.py shuffle                          compares the loops
    python benchmarks/run.py shuffle --loop uring --case asyncio

Two workers and a scheduler, each a process. Each worker holds 100 MB and then gets the other's:
200 MB over TCP, every byte checked. What is compared is MB per second of the workers' CPU time, of
which their own work on the bytes is a part; the sample has the wall time too. `tornado` is Dask's
default way to use a socket, `asyncio` its other one (distributed.comm.tcp.backend). Needs what
requirements-benchmarks.txt lists.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.measure import Sample, end_process
from harness.micro import Worker, main_of_micro, micro_benchmark, micro_case
from harness.peers import command_of
from harness.suite import PER_CPU_SECOND

MB = 1_000_000
PART_MB, PARTS = 4, 25  # of each worker
PATIENCE_SECONDS = 30.0
_PATTERN = bytes(range(256)) * (PART_MB * MB // 256)


def make(number: int) -> bytes:
    """A part of its own: nothing is copied twice because it is the same."""
    return number.to_bytes(4, "big") + _PATTERN


def checksum(part: bytes) -> int:
    return zlib.crc32(part)


@contextlib.contextmanager
def cluster(loop_name: str, backend: str) -> Iterator[str]:
    """A scheduler and two workers as processes; the file that the scheduler writes."""
    environment = {**os.environ, "DASK_DISTRIBUTED__COMM__TCP__BACKEND": backend}
    with tempfile.TemporaryDirectory(prefix="rloop-shuffle-") as folder:
        file = str(Path(folder) / "cluster.json")
        environment["DASK_TEMPORARY_DIRECTORY"] = folder
        nodes = []
        try:
            for role in ("scheduler", "worker", "worker"):
                command = [*command_of(sys.executable, "dask_node"), role, "--loop", loop_name]
                with (Path(folder) / "log").open("ab") as log:
                    node = subprocess.Popen(
                        [*command, "--file", file], env=environment, stdout=log, stderr=log
                    )
                nodes.append(node)
            yield file
        except Exception as error:
            said = (Path(folder) / "log").read_text().strip().splitlines()[-1:]
            raise RuntimeError(f"{error}; a node's last line: {said}") from error
        finally:
            for node in reversed(nodes):
                end_process(node, signal.SIGTERM)


async def exchange(file: str) -> Sample:
    """Let each of two workers fetch what the other has; the figures of that."""
    from distributed import Client, wait

    async with Client(scheduler_file=file, asynchronous=True, timeout=PATIENCE_SECONDS) as client:
        await client.wait_for_workers(2, timeout=PATIENCE_SECONDS)
        workers = list(client.scheduler_info()["workers"])
        numbers = {worker: range(i * PARTS, (i + 1) * PARTS) for i, worker in enumerate(workers)}
        parts = {
            worker: [client.submit(make, number, workers=[worker]) for number in numbers[worker]]
            for worker in workers
        }
        await wait([part for of_worker in parts.values() for part in of_worker])
        expected = [checksum(make(number)) for number in range(2 * PARTS)]
        began_cpu = sum((await client.run(time.process_time)).values())
        began = time.monotonic()
        fetched: list[Any] = []
        for source, other in zip(workers, reversed(workers), strict=True):
            fetched += [client.submit(checksum, part, workers=[other]) for part in parts[source]]
        found = await client.gather(fetched)
        seconds = time.monotonic() - began
        cpu_seconds = sum((await client.run(time.process_time)).values()) - began_cpu
    if found != expected:
        raise RuntimeError("what was fetched is not what was made")
    megabytes = 2 * PARTS * PART_MB
    return {PER_CPU_SECOND: megabytes / max(cpu_seconds, 1e-9), "seconds": seconds}


def shuffling(backend: str) -> Worker:
    def work(loop: asyncio.AbstractEventLoop, seconds: float) -> Sample:
        import dask

        name = sys.argv[sys.argv.index("--loop") + 1]
        with (
            dask.config.set({"distributed.comm.tcp.backend": backend}),
            cluster(name, backend) as file,
        ):
            return loop.run_until_complete(exchange(file))

    return work


WORKERS = {backend: shuffling(backend) for backend in ("tornado", "asyncio")}
BENCHMARK = micro_benchmark(
    __file__,
    "Dask: two workers exchange 200 MB",
    [
        micro_case(__file__, "tornado", "shuffle, MB, as Dask comes"),
        micro_case(__file__, "asyncio", "shuffle, MB, asyncio's transports"),
    ],
    most_rounds=1,
)

if __name__ == "__main__":
    sys.exit(main_of_micro(BENCHMARK, WORKERS, __doc__))
