"""A Dask cluster of processes on one machine, on rloop: scheduler, nannies and workers.

    python -m rloop run examples/dask_cluster.py

`run` is inherited by every process that the cluster starts. Prints the loop of each, then computes.

At the end a worker may log "Failed to communicate with scheduler during heartbeat": that is Dask's,
on asyncio as often (it was in 7 of 10 runs there, in 7 on io_uring and in 3 on epoll).
"""

import asyncio
import operator
import os

from distributed import Client, LocalCluster


async def engine() -> str:
    """The engine of the loop that this process works on."""
    return getattr(asyncio.get_running_loop(), "backend", "asyncio")


def main() -> None:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        with Client(cluster) as client:
            print("scheduler:", client.run_on_scheduler(engine))
            print("workers:", *client.run(engine).values())
            print("nannies:", *client.run(engine, nanny=True).values())
            parts = client.map(operator.mul, range(1000), range(1000))
            print("sum of squares:", client.submit(sum, parts).result())
            print("processes:", len({os.getpid(), *client.run(os.getpid).values()}))


if __name__ == "__main__":
    main()
