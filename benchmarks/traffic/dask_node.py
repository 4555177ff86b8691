"""A scheduler or a worker of Dask on one of the loops, without a nanny; ended by a signal.

    python benchmarks/run.py dask_node scheduler --loop uring --file /tmp/cluster.json
    python benchmarks/run.py dask_node worker --loop uring --file /tmp/cluster.json

The scheduler writes the file, by which the others find it. Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

import dask
from distributed import Scheduler, Worker
from distributed.core import Server
from harness.loops import LoopUnavailableError, factory_for

QUIET = {"distributed.worker.memory.spill": False, "distributed.worker.memory.target": False}


def node_of(role: str, file: str) -> Server:
    if role == "scheduler":
        return Scheduler(host="127.0.0.1", port=0, dashboard=False, scheduler_file=file)
    return Worker(
        scheduler_file=file, host="127.0.0.1", nthreads=1, memory_limit=0, dashboard=False
    )


async def serve(role: str, file: str) -> None:
    """Serve until SIGTERM, or until the scheduler is gone."""
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with node_of(role, file) as node:
        await node.finished()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("role", choices=("scheduler", "worker"))
    parser.add_argument("--loop", required=True, help="as for server.py")
    parser.add_argument("--file", required=True, help="where the scheduler says its address")
    options = parser.parse_args()
    try:
        factory = factory_for(options.loop)
    except (LoopUnavailableError, ValueError) as error:
        parser.error(str(error))
    with (
        dask.config.set(QUIET),
        contextlib.suppress(asyncio.CancelledError),
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        runner.run(serve(options.role, options.file))


if __name__ == "__main__":
    main()
