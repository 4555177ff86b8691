"""Child processes whose start ends in the middle: nobody waits for ever, no child is left."""

import asyncio
import errno
import os
import signal
from typing import Any

import pytest
from support import DEADLINE, RLOOP_IDS, Noise, loops_only, open_descriptors
from test_subprocesses import PIPE, children

# asyncio before gh-119710 waits for ever where the pipes could not be connected. (The transport of
# a pipe that was left half made is asyncio's own, and warns.)
pytestmark = [
    loops_only(*RLOOP_IDS),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def start() -> "asyncio.Task[asyncio.subprocess.Process]":
    return asyncio.ensure_future(
        asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
    )


async def test_every_task_is_cancelled_as_at_the_end_of_asyncio_run(
    loop: asyncio.AbstractEventLoop,
) -> None:
    own = asyncio.current_task()
    starting = start()
    # After the start's first step, before that of the task that connects the pipes.
    loop.call_soon(lambda: [task.cancel() for task in asyncio.all_tasks() if task is not own])
    done, _ = await asyncio.wait([starting], timeout=DEADLINE)
    assert done
    assert starting.cancelled()
    assert not children()


async def test_a_pipe_cannot_be_connected(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, blocking: bool) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(os, "set_blocking", fail)
    with pytest.raises(OSError, match="Bad file descriptor"):
        await asyncio.wait_for(start(), DEADLINE)
    assert not children()


async def test_the_end_of_the_child_does_not_wait_for_who_has_its_pipes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    # As from gh-119710 on: the grandchild holds stdout.
    process = await asyncio.create_subprocess_shell(
        "sleep 1000 & echo $!", stdout=PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    assert process.stdout
    grandchild = int(await process.stdout.readline())
    assert await asyncio.wait_for(process.wait(), DEADLINE) == 0
    os.kill(grandchild, signal.SIGKILL)
    assert await process.stdout.read() == b""


async def test_the_end_is_told_when_closing_the_pidfd_fails(
    loop: asyncio.AbstractEventLoop, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE)
    close = os.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr(os, "close", fail)
        process.kill()
        assert await asyncio.wait_for(process.wait(), DEADLINE) == -signal.SIGKILL
    assert noise.take_one()["exception"].errno == errno.EIO


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_a_child_whose_pipes_nobody_can_connect_is_ended(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Where the task that would do it cannot be made: asyncio forgets the child."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise MemoryError

    before = open_descriptors()
    loop.set_task_factory(refuse)
    try:
        with pytest.raises(MemoryError):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "1000")
    finally:
        loop.set_task_factory(None)
    assert children() == set()
    assert open_descriptors() == before
