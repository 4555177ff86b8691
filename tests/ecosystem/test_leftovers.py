"""The helper itself: what is left behind is found, and named."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess

from leftovers import holdings, left_behind, nothing_left


async def test_a_descriptor_is_found() -> None:
    before = holdings()
    with contextlib.closing(socket.socket()) as sock:
        (line,) = left_behind(before)
        assert line.startswith(f"descriptor {sock.fileno()}: socket:")
    await nothing_left(before)


def test_a_child_is_found_until_it_is_reaped() -> None:
    before = holdings()
    with subprocess.Popen(["sleep", "1000"]) as child:
        (line,) = left_behind(before)
        assert line.startswith(f"child {child.pid}: ")
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert left_behind(before) == [f"child {child.pid}: sleep (Z)"]
    assert left_behind(before) == []


async def test_a_task_is_found() -> None:
    before = holdings()
    task = asyncio.create_task(asyncio.sleep(1000))
    (line,) = left_behind(before)
    assert line.startswith("task <Task pending")
    task.cancel()
    await nothing_left(before)
