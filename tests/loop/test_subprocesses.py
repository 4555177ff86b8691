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
from pathlib import Path
from typing import Any

import pytest
from support import PY312, RLOOP_IDS, Noise, differs, loops_only, wait_until

PIPE = asyncio.subprocess.PIPE


async def python(source: str, **options: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", source, **options)


def children() -> set[int]:
    """The pids of this process' children, also of those that nobody has waited for."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


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


async def test_a_child_that_reads_nothing(loop: asyncio.AbstractEventLoop) -> None:
    process = await python("pass", stdin=PIPE)
    out, err = await process.communicate(b"x" * (1 << 20))
    assert (out, err) == (None, None)
    assert process.returncode == 0


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


async def test_the_child_has_no_descriptor_of_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    listing = "ls -l /proc/self/fd"
    process = await asyncio.create_subprocess_shell(
        listing, stdin=subprocess.DEVNULL, stdout=PIPE, close_fds=False
    )
    out, _ = await process.communicate()
    assert b"/dev/null" in out
    assert b"anon_inode" not in out
