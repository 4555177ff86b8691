"""What looks at a running program from outside: ``python -m asyncio ps`` and ``pstree`` (Python
3.14), the sampling profiler with ``--async-aware`` (3.15); and from inside, asyncio's call graph.

They read the interpreter's own memory: the running loop and task of each thread, the list of all
tasks, who awaits whom. Our loop leaves all of that to CPython, and this shows that it is so.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from programs import script_environment, start_script
from support import DEADLINE, RLOOP_IDS, loops_only, turns

pytestmark = [
    loops_only("asyncio", *RLOOP_IDS),
    pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio ps is new in Python 3.14"),
]

WAITING = """
    import sys
    from support import *

    async def innermost():
        await asyncio.get_running_loop().create_future()

    async def middle():
        await innermost()

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(middle(), name="first of two")
            group.create_task(middle(), name="second of two")
            sleeping = asyncio.create_task(asyncio.sleep(1000), name="sleeper")
            await turns(5)
            print("ready", flush=True)
            {last}

    loop = new_loop(sys.argv[1])
    loop.run_until_complete(main())
"""
ASLEEP = WAITING.format(last="await sleeping")
BUSY = WAITING.format(last="spin()").replace(
    "async def main", "def spin():\n        while True: pass\n\n    async def main"
)


@contextmanager
def running(source: str, loop_id: str) -> Iterator[subprocess.Popen[str]]:
    """A program that has said that it is ready."""
    with start_script(source, loop_id) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
            process.communicate()


def look(*command: str) -> str:
    """What a tool prints; skips where the system does not let one process read another."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE,
        env=script_environment(),
    )
    refusals = ("PermissionError", "Permission denied", "Operation not permitted")
    if any(refusal in done.stderr + done.stdout for refusal in refusals):
        pytest.skip(f"this system refuses to read another process: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("source", [ASLEEP, BUSY], ids=["asleep", "busy"])
def test_ps_shows_every_task(loop_id: str, source: str) -> None:
    with running(source, loop_id) as process:
        table = look("asyncio", "ps", str(process.pid))
    for name in ("Task-1", "first of two", "second of two", "sleeper"):
        assert name in table, table
    assert "innermost" in table
    assert "middle" in table


def test_pstree_shows_who_waits_for_whom(loop_id: str) -> None:
    with running(ASLEEP, loop_id) as process:
        tree = look("asyncio", "pstree", str(process.pid)).splitlines()
    names = ("Task-1", "sleeper", "first of two", "second of two")
    depth = {name: min(line.index(name) for line in tree if name in line) for name in names}
    # The task group waits for its two, and Task-1 for all three.
    assert depth["Task-1"] < depth["sleeper"]
    assert depth["Task-1"] < depth["first of two"] == depth["second of two"]


@pytest.mark.skipif(sys.version_info < (3, 15), reason="profiling.sampling is new in Python 3.15")
@pytest.mark.parametrize("mode", ["running", "all"])
def test_the_sampling_profiler_follows_tasks(loop_id: str, mode: str, tmp_path: Any) -> None:
    options = ["--async-aware", "--async-mode", mode, "--collapsed", "-d", "1"]
    stacks = tmp_path / "stacks.txt"
    with running(BUSY, loop_id) as process:
        look("profiling.sampling", "attach", *options, "-o", str(stacks), str(process.pid))
    text = stacks.read_text()
    assert "Task-1" in text
    assert "main" in text
    # The running task's stack as far as it runs, or where each of them waits.
    assert ("spin" in text, "sleeper" in text) == (mode == "running", mode == "all")


async def test_the_call_graph_names_who_waits(loop: Any) -> None:
    async def waiting() -> None:
        await future

    future = loop.create_future()
    task = asyncio.create_task(waiting(), name="waiter")
    await turns()
    graph = asyncio.capture_call_graph(future)
    assert [entry.future for entry in graph.awaited_by] == [task]
    (frame, *_) = graph.awaited_by[0].call_stack
    assert frame.frame.f_code.co_name == "waiting"
    future.set_result(None)
    await task
