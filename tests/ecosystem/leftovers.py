"""What a program holds, so that a test can tell what it left behind.

Descriptors and children are read from /proc, so what C code opened or forked counts as well, and a
child that ended but was not reaped too.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import DEADLINE, first_waits, open_descriptors, within_deadline

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

#: The ways in which a program is stopped from outside in the middle of its work.
STOPS = ("SIGINT", "SIGTERM", "cancel")

#: Children that belong to the session: its servers, which a test may start anew.
servers: set[int] = set()

each_stop = pytest.mark.parametrize("stop", STOPS)


class Holdings(NamedTuple):
    """Descriptors by number with their targets, children by pid with their names, and tasks."""

    descriptors: dict[int, str]
    children: dict[int, str]
    tasks: frozenset[asyncio.Task[Any]]


def holdings() -> Holdings:
    """What this process holds now; tasks those of the running loop, if one runs."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        tasks = set()
    return Holdings(open_descriptors(), children(), frozenset(tasks))


def children() -> dict[int, str]:
    """Every child process of this one but the servers, zombies included."""
    found: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (name) state ppid ...; the name may hold anything.
            head, _, rest = stat.read_text().rpartition(")")
        except OSError:  # it ended while we looked
            continue
        pid, _, name = head.partition(" (")
        if int(rest.split()[1]) == os.getpid() and int(pid) not in servers:
            found[int(pid)] = f"{name} ({rest.split()[0]})"
    return found


def left_behind(before: Holdings) -> list[str]:
    """One line for each thing that is held now and was not then."""
    now = holdings()
    lines = [
        f"descriptor {number}: {target}"
        for number, target in now.descriptors.items()
        if before.descriptors.get(number) != target
    ]
    lines += [
        f"child {pid}: {name}" for pid, name in now.children.items() if pid not in before.children
    ]
    current = asyncio.current_task() if now.tasks else None
    lines += [f"task {task!r}" for task in now.tasks - before.tasks if task is not current]
    return lines


async def holdings_at_start() -> Holdings:
    """What there is once the loop has all that it works with."""
    await first_waits()
    return holdings()


async def nothing_left(before: Holdings) -> None:
    """Give the loop the turns that closing takes, then fail when anything is still held."""
    end = time.monotonic() + DEADLINE
    while lines := left_behind(before):
        gc.collect()
        assert time.monotonic() < end, "left behind:\n" + "\n".join(lines)
        await asyncio.sleep(0.005)


def stop_in_the_middle(
    loop_factory: LoopFactory,
    program: Callable[[Callable[[], None]], Coroutine[Any, Any, None]],
    stop: str,
) -> None:
    """Run `program(in_the_middle)`, stop it once it calls that, and look at what it left.

    The signal comes from another thread, so that it usually finds the loop waiting in the kernel.
    """
    killers: list[threading.Thread] = []

    async def stopped() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def in_the_middle() -> None:
            if killers:
                return
            if stop == "cancel":
                loop.call_soon(task.cancel)
                return
            killer = threading.Thread(target=os.kill, args=(os.getpid(), getattr(signal, stop)))
            killers.append(killer)
            loop.call_soon(killer.start)

        if stop == "SIGTERM":
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            await within_deadline(program(in_the_middle))
        finally:
            if stop == "SIGTERM":
                loop.remove_signal_handler(signal.SIGTERM)

    expected = KeyboardInterrupt if stop == "SIGINT" else asyncio.CancelledError
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        before = runner.run(holdings_at_start())
        with pytest.raises(expected):
            runner.run(stopped())
        for killer in killers:
            killer.join()
        runner.run(nothing_left(before))
