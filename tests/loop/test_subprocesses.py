"""Child processes: pipes in both directions, exit codes, signals, kill, cancellation, the end.

asyncio's documentation, "Subprocesses". Ours sees the end of a child through its pidfd, or in a
thread where there is none.
"""

import asyncio
import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from own_threads import read_of_each
from support import (
    DEADLINE,
    PY312,
    PY313,
    RLOOP_IDS,
    Noise,
    collect,
    differs,
    loops_only,
    turns,
    wait_until,
)

PIPE = asyncio.subprocess.PIPE


async def python(source: str, **options: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", source, **options)


def children() -> set[int]:
    """The pids of this process' children, also of those that nobody has waited for."""
    return {int(pid) for of_one in read_of_each("children") for pid in of_one.split()}


@pytest.mark.parametrize("code", [0, 1, 77])
async def test_exit_codes(loop: asyncio.AbstractEventLoop, code: int) -> None:
    process = await python(f"raise SystemExit({code})")
    assert await process.wait() == code
    assert process.returncode == code
    assert process.pid not in children()


async def test_a_signal_is_a_negative_code(loop: asyncio.AbstractEventLoop) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    process.send_signal(signal.SIGUSR1)
    assert await process.wait() == -signal.SIGUSR1
    with pytest.raises(ProcessLookupError):
        process.kill()


async def test_all_three_pipes(loop: asyncio.AbstractEventLoop) -> None:
    source = (
        "import sys; data = sys.stdin.read(); sys.stdout.write(data.upper());"
        "sys.stderr.write(str(len(data)))"
    )
    process = await python(source, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate(b"abc" * 1000)
    assert (out, err) == (b"ABC" * 1000, b"3000")
    assert process.returncode == 0


async def test_a_pipeline_with_backpressure(loop: asyncio.AbstractEventLoop) -> None:
    payload = os.urandom(1 << 20) * 8
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert process.stdin and process.stdout

    async def feed(stdin: asyncio.StreamWriter) -> None:
        for start in range(0, len(payload), 100_000):
            stdin.write(payload[start : start + 100_000])
            await stdin.drain()
        stdin.close()

    feeding = loop.create_task(feed(process.stdin))
    digest = hashlib.sha256()
    while data := await process.stdout.read(1 << 16):
        digest.update(data)
    await feeding
    assert await process.wait() == 0
    assert digest.digest() == hashlib.sha256(payload).digest()


async def test_a_shell(loop: asyncio.AbstractEventLoop) -> None:
    process = await asyncio.create_subprocess_shell("echo $((6*7)); exit 3", stdout=PIPE)
    assert (await process.communicate())[0] == b"42\n"
    assert process.returncode == 3


async def test_stderr_goes_where_stdout_goes(loop: asyncio.AbstractEventLoop) -> None:
    process = await asyncio.create_subprocess_shell(
        "echo out; echo err >&2", stdout=PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert sorted((await process.communicate())[0].split()) == [b"err", b"out"]


async def test_a_program_that_does_not_exist(loop: asyncio.AbstractEventLoop) -> None:
    before = children()
    with pytest.raises(FileNotFoundError):
        await asyncio.create_subprocess_exec("/no/such/program", stdin=PIPE, stdout=PIPE)
    assert children() == before


async def test_a_child_that_reads_nothing(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    process = await python("pass", stdin=PIPE)
    out, err = await process.communicate(b"x" * (1 << 20))
    assert (out, err) == (None, None)
    assert process.returncode == 0
    if sys.version_info < (3, 11, 7):
        # asyncio's streams reported a broken pipe that nobody had asked for (seen in 3.11.2).
        del process
        collect()
        noise.take()


async def test_waiting_is_cancelled_and_the_child_goes_on(loop: asyncio.AbstractEventLoop) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await process.wait()
    assert process.returncode is None
    process.kill()
    assert await process.wait() == -signal.SIGKILL


async def test_many_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def one(code: int) -> int:
        process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {code}")
        return await process.wait()

    assert await asyncio.gather(*(one(code) for code in range(20))) == list(range(20))


class Lives(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def connection_made(self, transport: Any) -> None:
        self.events.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.events.append((fd, data))

    def pipe_connection_lost(self, fd: int, exc: Any) -> None:
        self.events.append(("lost", fd))

    def process_exited(self) -> None:
        self.events.append("exited")

    def connection_lost(self, exc: Any) -> None:
        self.events.append("end")


async def test_the_protocols_calls(loop: asyncio.AbstractEventLoop) -> None:
    transport, protocol = await loop.subprocess_exec(
        Lives, "sh", "-c", "echo hello", stdin=None, stderr=None
    )
    await wait_until(lambda: "end" in protocol.events)
    assert protocol.events[0] == "made"
    assert protocol.events[-1] == "end"
    assert (1, b"hello\n") in protocol.events
    assert ("lost", 1) in protocol.events
    assert "exited" in protocol.events
    assert transport.get_returncode() == 0
    assert transport.get_pid() > 0
    transport.close()


async def test_closing_the_transport_kills_the_child(loop: asyncio.AbstractEventLoop) -> None:
    transport, protocol = await loop.subprocess_exec(Lives, "sleep", "1000", stdin=PIPE)
    pid = transport.get_pid()
    transport.close()
    await wait_until(lambda: "end" in protocol.events)
    await wait_until(lambda: pid not in children())


@loops_only(*RLOOP_IDS)
def test_closing_the_loop_leaves_a_child_alone(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    process = loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "1000"))
    loop.close()
    assert process.pid in children()
    os.kill(process.pid, signal.SIGKILL)
    assert os.waitpid(process.pid, 0)[1] == signal.SIGKILL
    process._transport._proc.returncode = -9
    del process
    noise.forgive_unclosed()


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EMFILE])
async def test_a_thread_waits_where_there_is_no_pidfd(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    process = await python("raise SystemExit(5)", stdout=PIPE)
    assert await process.wait() == 5


@differs("uvloop", "it waits for its children itself")
@differs("asyncio", "a thread waits there, and may be first", when=not PY312)
async def test_somebody_else_took_the_exit_code(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "0.02")
    os.waitpid(process.pid, 0)  # noqa: ASYNC222 - before the loop looks
    assert await process.wait() == 255
    assert "255" in caplog.text


async def zombies(*codes: int) -> list[asyncio.subprocess.Process]:
    """Children that have ended with these codes; nobody has reaped them, no loop has seen it."""
    reading, writing = os.pipe()
    wait_and_exit = "read line; exit $0"
    made = [
        await asyncio.create_subprocess_exec("sh", "-c", wait_and_exit, str(code), stdin=reading)
        for code in codes
    ]
    os.close(reading)
    os.close(writing)
    for process in made:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
    return made


SIGNALS = {
    "send_signal": lambda process: process.send_signal(signal.SIGUSR1),
    "terminate": lambda process: process.terminate(),
    "kill": lambda process: process.kill(),
}
ENDS = {
    "close": lambda process: process._transport.close(),
    "terminate and close": lambda process: (process.terminate(), process._transport.close()),
}
QUESTIONS = {
    "poll": lambda process: process._transport.get_extra_info("subprocess").poll(),
    "wait": lambda process: process._transport.get_extra_info("subprocess").wait(),
}


async def expect_statuses_after(disturb: Any, caplog: pytest.LogCaptureFixture) -> None:
    processes = await zombies(3, 4, 5)
    for process in processes:
        disturb(process)
    assert [await process.wait() for process in processes] == [3, 4, 5]
    assert [process.returncode for process in processes] == [3, 4, 5]
    assert caplog.messages == []


@differs("asyncio", "Popen.poll reaps the child, its watcher finds nothing", when=not PY313)
@pytest.mark.parametrize("disturb", SIGNALS.values(), ids=SIGNALS)
async def test_a_child_that_ended_keeps_its_status_when_it_is_signalled(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, disturb: Any
) -> None:
    await expect_statuses_after(disturb, caplog)


@differs("asyncio", "Popen.poll reaps the child, and its watcher finds nothing")
@pytest.mark.parametrize("disturb", ENDS.values(), ids=ENDS)
async def test_a_child_that_ended_keeps_its_status_when_its_transport_is_closed(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, disturb: Any
) -> None:
    await expect_statuses_after(disturb, caplog)


@differs("uvloop", "it makes no Popen")
@differs("asyncio", "Popen.poll reaps the child, and its watcher finds nothing")
@pytest.mark.parametrize("disturb", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_child_that_ended_keeps_its_status_when_the_program_asks(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, disturb: Any
) -> None:
    await expect_statuses_after(disturb, caplog)


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize(
    "disturb",
    [*SIGNALS.values(), *ENDS.values(), *QUESTIONS.values()],
    ids=[*SIGNALS, *ENDS, *QUESTIONS],
)
async def test_the_status_is_kept_as_well_where_a_thread_waits(
    loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    disturb: Any,
) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    await expect_statuses_after(disturb, caplog)


@loops_only(*RLOOP_IDS)
async def test_another_thread_waits_for_the_child_too(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        process = await asyncio.create_subprocess_exec("sh", "-c", "read line; exit 9", stdin=PIPE)
        popen = process._transport.get_extra_info("subprocess")
        waiting = loop.run_in_executor(None, popen.wait)
        process.stdin.close()
        assert (await process.wait(), await waiting) == (9, 9)
    assert caplog.messages == []


@loops_only(*RLOOP_IDS)
async def test_a_status_that_somebody_else_took_is_255_also_after_close(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    (process,) = await zombies(7)
    os.waitpid(process.pid, 0)  # noqa: ASYNC222 - before the loop looks
    process._transport.close()
    assert await process.wait() == 255
    assert "255" in caplog.text


@loops_only(*RLOOP_IDS)
async def test_a_child_that_is_reaped_gets_no_signal(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (process,) = await zombies(7)
    process._transport.get_extra_info("subprocess").wait()
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("the number may be another's"))
    for ask in (process.terminate, process.kill):
        ask()
    assert await process.wait() == 7


@differs("uvloop", "it waits for its children itself")
@differs("asyncio", "published in the turn after", when=sys.version_info < (3, 14, 10))
async def test_the_end_is_known_when_the_child_is_reaped(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    reap = os.waitpid
    known: list[int | None] = []

    def reap_and_look_soon(pid: int, options: int) -> tuple[int, int]:
        loop.call_soon(lambda: known.append(process.returncode))
        return reap(pid, options)

    monkeypatch.setattr(os, "waitpid", reap_and_look_soon)
    process = await python("raise SystemExit(6)")
    assert await process.wait() == 6
    await turns()
    assert known == [6]


@loops_only(*RLOOP_IDS)
async def test_a_thread_that_waits_leaves_the_child_to_the_loop(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    name = f"rloop-waitpid-{process.pid}"
    (thread,) = (thread for thread in threading.enumerate() if thread.name == name)
    process.kill()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    # Its number is still its own, so that a signal can meet nobody else.
    assert process.returncode is None
    flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
    assert os.waitid(os.P_PID, process.pid, flags) is not None  # noqa: ASYNC222 - does not wait
    process.kill()
    assert await process.wait() == -signal.SIGKILL


async def test_the_child_has_no_descriptor_of_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    listing = "ls -l /proc/self/fd"
    process = await asyncio.create_subprocess_shell(
        listing, stdin=subprocess.DEVNULL, stdout=PIPE, close_fds=False
    )
    out, _ = await process.communicate()
    assert b"/dev/null" in out
    assert b"anon_inode" not in out
