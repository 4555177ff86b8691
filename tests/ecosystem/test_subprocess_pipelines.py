"""Pipelines of child processes that carry 100 MB, with this loop in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import select
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from leftovers import LoopFactory, each_stop, stop_in_the_middle
from peers import blocks
from support import turns, wait_until

SIZE = 100 * 1000 * 1000  # bytes


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """100 MB that do not repeat within a pipe's length, and their digest."""
    path = tmp_path_factory.mktemp("pipelines") / "big"
    digest = hashlib.sha256()
    block = b"".join(blocks(37))
    with path.open("wb") as file:
        while file.tell() < SIZE:
            piece = block[: SIZE - file.tell()]
            digest.update(piece)
            file.write(piece)
    return path, digest.hexdigest()


@contextlib.asynccontextmanager
async def child(*command: str, **options: Any) -> AsyncIterator[Process]:
    """A child that is killed, and reaped, should it still run at the end."""
    process = await asyncio.create_subprocess_exec(*command, **options)
    try:
        yield process
    finally:
        # Kills it and closes our ends. Killed alone it would not end for asyncio while a paused
        # reader has not seen the end of its pipe.
        process._transport.close()  # type: ignore[attr-defined]
        await process.wait()


@contextlib.asynccontextmanager
async def joined(*commands: tuple[str, ...]) -> AsyncIterator[list[Process]]:
    """Children joined by pipes of their own; the last one's output is for us."""
    processes: list[Process] = []
    async with contextlib.AsyncExitStack() as children:
        with contextlib.ExitStack() as ends:
            source: Any = DEVNULL
            for command in commands[:-1]:
                read, write = (ends.enter_context(os.fdopen(end, "rb")) for end in os.pipe())
                process = child(*command, stdin=source, stdout=write)
                processes.append(await children.enter_async_context(process))
                source = read
            process = child(*commands[-1], stdin=source, stdout=PIPE)
            processes.append(await children.enter_async_context(process))
        yield processes


async def pass_on(source: Process, target: Process) -> None:
    """All that one child writes, for another to read."""
    assert source.stdout and target.stdin
    while data := await source.stdout.read(1 << 18):
        target.stdin.write(data)
        await target.stdin.drain()
    target.stdin.close()


async def test_children_joined_by_us(big_file: tuple[Path, str]) -> None:
    path, expected = big_file
    async with (
        child("cat", str(path), stdout=PIPE) as first,
        child("cat", stdin=PIPE, stdout=PIPE) as second,
        child("sha256sum", stdin=PIPE, stdout=PIPE) as third,
    ):
        async with asyncio.TaskGroup() as group:
            group.create_task(pass_on(first, second))
            group.create_task(pass_on(second, third))
        assert third.stdout
        assert (await third.stdout.read()).decode().split() == [expected, "-"]
        assert [await process.wait() for process in (first, second, third)] == [0, 0, 0]


async def test_children_joined_by_pipes_of_their_own(big_file: tuple[Path, str]) -> None:
    path, expected = big_file
    digest = hashlib.sha256()
    async with joined(("cat", str(path)), ("cat",), ("cat",)) as processes:
        output = processes[-1].stdout
        assert output
        while data := await output.read(1 << 18):
            digest.update(data)
        assert [await process.wait() for process in processes] == [0, 0, 0]
    assert digest.hexdigest() == expected


async def test_a_child_killed_in_the_middle_ends_the_pipeline_both_ways() -> None:
    async with joined(("cat", "/dev/zero"), ("cat",), ("cat",)) as processes:
        output = processes[2].stdout
        assert output
        await output.readexactly(1 << 20)
        processes[1].kill()
        while await output.read(1 << 18):
            pass
        codes = [await process.wait() for process in processes]
        assert codes == [-signal.SIGPIPE, -signal.SIGKILL, 0]


async def test_a_filter_is_written_and_read_at_once(big_file: tuple[Path, str]) -> None:
    path, expected = big_file
    content = path.read_bytes()
    async with child("cat", stdin=PIPE, stdout=PIPE) as cat:
        output, _errors = await cat.communicate(content)
    assert hashlib.sha256(output).hexdigest() == expected


async def test_a_pipeline_of_the_shell(big_file: tuple[Path, str]) -> None:
    path, expected = big_file
    digest = hashlib.sha256()
    with path.open("rb") as file:
        process = await asyncio.create_subprocess_shell(
            "cat | tee /dev/null | cat", stdin=file, stdout=PIPE
        )
    assert process.stdout
    while data := await process.stdout.read(1 << 18):
        digest.update(data)
    assert await process.wait() == 0
    assert digest.hexdigest() == expected


async def test_a_reader_that_does_not_read_stops_the_writer() -> None:
    async with child("sleep", "1000", stdin=PIPE) as sleep:
        assert sleep.stdin
        written = 0

        async def write() -> None:
            nonlocal written
            assert sleep.stdin
            while True:
                sleep.stdin.write(bytes(1 << 16))
                written += 1 << 16
                await sleep.stdin.drain()

        def stuck() -> bool:
            _readable, writable, _ = select.select([], [pipe], [], 0)
            return not writable and transport.get_write_buffer_size() > high_water

        transport: Any = sleep.stdin.transport
        pipe = transport.get_extra_info("pipe")
        _low, high_water = transport.get_write_buffer_limits()
        writer = asyncio.create_task(write())
        await wait_until(stuck)
        stuck_at = written
        await turns(20)
        assert written == stuck_at <= 1 << 20
        sleep.kill()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await writer
        assert await sleep.wait() == -signal.SIGKILL


async def test_standard_error_and_exit_codes_are_kept_apart() -> None:
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    async with child(sys.executable, "-c", program, stdout=PIPE, stderr=PIPE) as process:
        assert await process.communicate() == (b"out\n", b"err\n")
        assert process.returncode == 7


async def test_many_children_at_once() -> None:
    async def run(number: int) -> int:
        async with child("sh", "-c", f"echo {number}; exit {number}", stdout=PIPE) as process:
            output, _errors = await process.communicate()
            assert process.returncode == number
            return int(output)

    assert await asyncio.gather(*(run(number) for number in range(40))) == list(range(40))


async def test_a_child_that_is_killed_ends_its_pipes() -> None:
    async with child("cat", "/dev/zero", stdout=PIPE) as cat:
        assert cat.stdout
        await cat.stdout.readexactly(1 << 20)
        os.kill(cat.pid, signal.SIGKILL)
        while await cat.stdout.read(1 << 18):
            pass
        assert await cat.wait() == -signal.SIGKILL


async def test_a_cancelled_communicate_leaves_the_child_to_us() -> None:
    async with child("cat", stdin=PIPE, stdout=PIPE) as cat:
        assert cat.stdin
        cat.stdin.write(b"x" * 10)
        task = asyncio.create_task(cat.communicate())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cat.terminate()
        await wait_until(lambda: cat.returncode is not None)


@each_stop
def test_stopped_in_a_pipeline(loop_factory: LoopFactory, stop: str) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        async with (
            child("cat", "/dev/zero", stdout=PIPE) as first,
            child("cat", stdin=PIPE, stdout=PIPE) as second,
            child("cat", stdin=PIPE, stdout=PIPE) as third,
        ):
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on(first, second))
                group.create_task(pass_on(second, third))
                assert third.stdout
                await third.stdout.readexactly(1 << 22)
                in_the_middle()
                while await third.stdout.read(1 << 18):
                    pass

    stop_in_the_middle(loop_factory, program, stop)
