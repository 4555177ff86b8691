"""How often the loop enters the kernel: the project's promises, by its own count and by strace's.

An idle loop makes no system call, a busy turn of the ring backend makes none, and a turn with I/O
makes about one however many connections it serves.
"""

import asyncio
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from programs import script_environment
from support import RLOOP_IDS, Echo, Recorder, loops_only, serving, turns, wait_until, wired

WAITS = ("io_uring_enter", "epoll_wait", "epoll_pwait", "epoll_pwait2", "read", "write", "futex")

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed, so nobody else can count"
)


def traced_calls(tmp_path: Path, loop_id: str, source: str, argument: str) -> int:
    """How many system calls of the loop's kind a program makes, as strace counts them."""
    report = tmp_path / f"calls-{argument}"
    command = ["strace", "-f", "-c", "-o", str(report), sys.executable, "-c"]
    done = subprocess.run(
        [*command, textwrap.dedent(source), loop_id, argument],
        capture_output=True,
        text=True,
        env=script_environment(),
        timeout=120,
        check=False,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("tracing is not permitted here")
    assert done.returncode == 0, done.stderr
    calls = 0
    for line in report.read_text().splitlines():
        columns = line.split()
        if columns and columns[-1] in WAITS:
            calls += int(columns[3])
    return calls


@loops_only("rloop-uring")
def test_a_busy_turn_makes_no_system_call(loop: asyncio.AbstractEventLoop) -> None:
    left = 20_000

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(again)
        else:
            loop.stop()

    loop.run_until_complete(asyncio.sleep(0))
    before = loop.statistics()
    loop.call_soon(again)
    loop.run_forever()
    after = loop.statistics()
    assert after["turns"] - before["turns"] >= 20_000
    assert after["syscalls"] - before["syscalls"] <= 10


@loops_only("rloop-uring")
@needs_strace
def test_strace_sees_no_call_in_a_busy_turn(tmp_path: Path, loop_id: str) -> None:
    source = """
    import sys
    from support import new_loop
    loop = new_loop(sys.argv[1])
    left = int(sys.argv[2])
    def again():
        global left
        left -= 1
        loop.call_soon(again) if left else loop.stop()
    loop.call_soon(again)
    loop.run_forever()
    loop.close()
    """
    few = traced_calls(tmp_path, loop_id, source, "100")
    many = traced_calls(tmp_path, loop_id, source, "20000")
    assert many - few <= 20


@loops_only(*RLOOP_IDS)
def test_an_idle_loop_makes_no_system_call(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))
    before = loop.statistics()
    loop.call_later(0.3, loop.stop)
    loop.run_forever()
    after = loop.statistics()
    assert after["turns"] - before["turns"] <= 4
    assert after["syscalls"] - before["syscalls"] <= 4


@loops_only(*RLOOP_IDS)
@needs_strace
def test_strace_sees_no_call_while_idle(tmp_path: Path, loop_id: str) -> None:
    source = """
    import asyncio, sys
    from support import *
    loop = new_loop(sys.argv[1])
    async def main():
        # Connections that say nothing must not cost anything either.
        async with connected() as (client, server_side):
            await asyncio.sleep(float(sys.argv[2]))
    loop.run_until_complete(main())
    loop.close()
    """
    short = traced_calls(tmp_path, loop_id, source, "0.05")
    long = traced_calls(tmp_path, loop_id, source, "0.8")
    assert long - short <= 4


@loops_only(*RLOOP_IDS)
async def test_a_paused_connection_with_data_costs_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, _, far):
        transport.pause_reading()
        await turns(3)
        far.send(b"held back")
        await asyncio.sleep(0.02)
        before = loop.statistics()["turns"]
        await asyncio.sleep(0.2)
        assert loop.statistics()["turns"] - before <= 5


@loops_only("rloop-uring")
async def test_a_turn_serves_many_connections_with_one_call(
    loop: asyncio.AbstractEventLoop,
) -> None:
    rounds, clients = 20, 100
    async with serving(Echo, backlog=clients) as (_, address):
        opened = await asyncio.gather(
            *(loop.create_connection(Recorder, *address) for _ in range(clients))
        )
        message = b"m" * 1000

        async def one_round(number: int) -> None:
            for transport, _ in opened:
                transport.write(message)
            total = 1000 * (number + 1)
            await wait_until(lambda: all(len(p.data) >= total for _, p in opened))

        await one_round(0)
        before = loop.statistics()
        for number in range(1, rounds + 1):
            await one_round(number)
        after = loop.statistics()
        messages = after["messages_in"] - before["messages_in"]
        syscalls = after["syscalls"] - before["syscalls"]
        assert messages == 2 * rounds * clients
        assert syscalls / messages < 0.5, f"{syscalls} calls for {messages} messages"
        for transport, _ in opened:
            transport.close()
        await asyncio.gather(*(protocol.lost for _, protocol in opened))
