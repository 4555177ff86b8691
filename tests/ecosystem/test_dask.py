"""Dask distributed: scheduler, nannies and workers as processes, a client on the tested loop."""

# ruff: noqa: E402 - a package that may be missing is imported behind importorskip

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import operator
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployments import PATIENCE, wait_for
from started import EXAMPLES, Program, under_run

reason = "distributed is not installed (requirements-ecosystem.txt)"
pytest.importorskip("distributed", reason=reason)

from distributed import Client, wait

#: Bytes of what one worker gives to the other.
SIZE = 4 << 20


def dasks_own(folder: Path) -> dict[str, str]:
    """Settings of every process: its files go into the test's folder."""
    return {"DASK_TEMPORARY_DIRECTORY": str(folder)}


@contextlib.contextmanager
def cluster(loop_id: str, folder: Path) -> Iterator[str]:
    """A scheduler and two workers, each with its nanny, from Dask's command line."""
    file = folder / "scheduler.json"
    run = under_run(loop_id)
    scheduler = [
        *run, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
        "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file),
    ]  # fmt: skip
    worker = [
        *run, "-m", "distributed.cli.dask_worker", "--host", "127.0.0.1", "--no-dashboard",
        "--nthreads", "1", "--memory-limit", "0", "--scheduler-file", str(file),
    ]  # fmt: skip
    with contextlib.ExitStack() as programs:
        for name, command in (("scheduler", scheduler), ("one", worker), ("two", worker)):
            command = command if name == "scheduler" else [*command, "--name", name]
            program = Program(command, loop_id, folder, name, **dasks_own(folder))
            programs.enter_context(program)
        wait_for(file.exists, "the scheduler's file")
        yield json.loads(file.read_text())["address"]


async def whereabouts() -> tuple[int, str]:
    """The process and its loop's engine."""
    await asyncio.sleep(0)
    return os.getpid(), getattr(asyncio.get_running_loop(), "backend", "asyncio")


async def whereabouts_of_all(client: Any) -> dict[str, list[tuple[int, str]]]:
    """Of each kind of process; the workers' in the order of their names."""
    return {
        "scheduler": [await client.run_on_scheduler(whereabouts)],
        "workers": list((await client.run(whereabouts)).values()),
        "nannies": list((await client.run(whereabouts, nanny=True)).values()),
    }


def make(seed: int) -> bytes:
    return random.Random(seed).randbytes(SIZE)


def digests(*parts: bytes) -> list[str]:
    return [hashlib.sha256(part).hexdigest() for part in parts]


def late_square(number: int) -> int:
    time.sleep(0.01)
    return number * number


async def restarted(client: Any, victim: int) -> None:
    """Wait until there are two workers again."""
    while True:
        processes = (await client.run(os.getpid)).values()
        if len(processes) == 2 and victim not in processes:
            return
        await asyncio.sleep(0.05)


@pytest.mark.deadline(PATIENCE)  # five processes start, each imports Dask
async def test_a_cluster_of_processes_computes_and_survives_a_killed_worker(
    loop_id: str, tmp_path: Path
) -> None:
    with cluster(loop_id, tmp_path) as address:
        async with Client(address, asynchronous=True, timeout=PATIENCE) as client:
            await client.wait_for_workers(2, timeout=PATIENCE)
            before = await whereabouts_of_all(client)
            processes = [process for kind in before.values() for process, _engine in kind]
            assert len(set(processes)) == 5, before
            engines = {engine for kind in before.values() for _process, engine in kind}
            assert engines == {loop_id}

            # Each part is made on one worker, and both are needed on each.
            one, two = await client.run(os.getpid)
            parts = [
                # Others may make it again once that worker is gone.
                client.submit(make, seed, workers=[worker], allow_other_workers=True)
                for seed, worker in enumerate((one, two))
            ]
            expected = [hashlib.sha256(make(seed)).hexdigest() for seed in (0, 1)]
            for worker in (one, two):
                assert await client.submit(digests, *parts, workers=[worker]) == expected

            victim = (await client.run(os.getpid))[two]
            squares = client.map(late_square, range(300))
            await wait(squares, return_when="FIRST_COMPLETED")
            os.kill(victim, signal.SIGKILL)
            assert await client.submit(sum, squares) == sum(n * n for n in range(300))
            # What only the victim had is made anew.
            assert await client.submit(digests, *parts, pure=False) == expected

            await restarted(client, victim)
            after = await whereabouts_of_all(client)
            assert after["scheduler"] == before["scheduler"]
            assert sorted(after["nannies"]) == sorted(before["nannies"])
            assert {engine for _process, engine in after["workers"]} == {loop_id}


def test_the_example(loop_id: str, tmp_path: Path) -> None:
    command = [*under_run(loop_id), str(EXAMPLES / "dask_cluster.py")]
    with Program(command, loop_id, tmp_path, **dasks_own(tmp_path)) as program:
        assert program.ends() == 0, program.log()
        assert program.log().splitlines()[:5] == [
            f"scheduler: {loop_id}",
            f"workers: {loop_id} {loop_id}",
            f"nannies: {loop_id} {loop_id}",
            f"sum of squares: {sum(map(operator.mul, range(1000), range(1000)))}",
            "processes: 3",
        ]
