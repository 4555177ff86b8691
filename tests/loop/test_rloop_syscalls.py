"""How often the loop enters the kernel: the project's promises, by its own count and by strace's.

An idle loop makes no system call, a busy turn of the ring backend makes none, and a turn with I/O
makes about one however many connections it serves.
"""

import asyncio
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from programs import check_script, script_environment
from support import (
    RLOOP_IDS,
    Echo,
    Recorder,
    first_waits,
    loops_only,
    serving,
    turns,
    wait_until,
    wired,
)

import rloop

WAITS = ("io_uring_enter", "epoll_wait", "epoll_pwait", "epoll_pwait2", "read", "write", "futex")

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed, so nobody else can count"
)


def traced_calls(
    tmp_path: Path,
    loop_id: str,
    source: str,
    argument: str,
    names: tuple[str, ...] = WAITS,
    **extra: str,
) -> int:
    """How many system calls of these names a program makes, as strace counts them."""
    report = tmp_path / f"calls-{argument}"
    command = ["strace", "-f", "-c", "-o", str(report), sys.executable, "-c"]
    done = subprocess.run(
        [*command, textwrap.dedent(source), loop_id, argument],
        capture_output=True,
        text=True,
        env=script_environment(**extra),
        timeout=120,
        check=False,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("tracing is not permitted here")
    assert done.returncode == 0, done.stderr
    calls = 0
    for line in report.read_text().splitlines():
        columns = line.split()
        if columns and columns[-1] in names:
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

    loop.run_until_complete(first_waits())
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


# A server of 100 connections, and its clients: each echo starts the next.
ECHOES = """
import asyncio, sys
from support import new_loop, Echo, within_deadline

class Client(asyncio.Protocol):
    def __init__(self, count, done):
        self.count, self.done, self.got = count, done, 0
    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"m" * 1024)
    def data_received(self, data):
        self.got += len(data)
        if self.got < 1024:
            return
        self.got -= 1024
        self.count -= 1
        if self.count:
            self.transport.write(b"m" * 1024)
        else:
            self.done.set_result(None)

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=100)
    address = server.sockets[0].getsockname()
    done = [loop.create_future() for _ in range(100)]
    before = loop.statistics()
    for future in done:
        await loop.create_connection(lambda: Client(int(sys.argv[2]), future), *address)
    await within_deadline(asyncio.gather(*done))
    after = loop.statistics()
    print(after["syscalls"] - before["syscalls"], after["messages_in"] - before["messages_in"])
    server.close()

loop = new_loop(sys.argv[1])
loop.run_until_complete(main())
"""
IO_CALLS = (*WAITS, "epoll_ctl", "send", "sendto", "sendmsg", "recv", "recvfrom", "recvmsg")


def counted_calls(loop_id: str, rounds: int) -> tuple[int, int]:
    """What the loop's statistics say of ECHOES: (system calls, messages)."""
    syscalls, messages = check_script(ECHOES, loop_id, str(rounds)).split()
    return int(syscalls), int(messages)


@loops_only("rloop-uring")
def test_a_message_costs_a_tenth_of_a_system_call(loop_id: str) -> None:
    few, many = counted_calls(loop_id, 20), counted_calls(loop_id, 120)
    syscalls, messages = many[0] - few[0], many[1] - few[1]
    assert messages >= 2 * 100 * 100
    assert syscalls / messages < 0.1, f"{syscalls} calls for {messages} messages"


@needs_strace
@loops_only(*RLOOP_IDS)
def test_strace_counts_what_the_statistics_count(tmp_path: Path, loop_id: str) -> None:
    # Under strace turns are longer and their number differs from run to run: the busy engine is
    # the one whose calls are per message.
    syscalls = counted_calls(loop_id, 60)[0] - counted_calls(loop_id, 10)[0]
    traced = traced_calls(tmp_path, loop_id, ECHOES, "60", IO_CALLS) - traced_calls(
        tmp_path, loop_id, ECHOES, "10", IO_CALLS
    )
    if loop_id == "rloop-epoll":
        assert traced == pytest.approx(syscalls, rel=0.1)
    else:
        assert traced <= 0.1 * 2 * 100 * 50


@loops_only("rloop-uring")
@needs_strace
@pytest.mark.parametrize("what", ["asyncio.sleep(0)", "asyncio.sleep(0.05)"])
def test_a_run_that_waits_for_nothing_makes_no_ring(
    tmp_path: Path, loop_id: str, what: str
) -> None:
    source = f"""
    import asyncio, sys
    from support import new_loop
    for _ in range(int(sys.argv[2])):
        loop = new_loop(sys.argv[1])
        loop.run_until_complete({what})
        loop.close()
    """
    one, eleven = (
        traced_calls(tmp_path, loop_id, source, count, ("io_uring_setup",)) for count in ("1", "11")
    )
    assert eleven - one == (10 if "0.05" in what else 0)


@needs_strace
@pytest.mark.parametrize("backend", ["epoll", "io_uring"])
def test_with_epoll_asked_for_no_call_of_io_uring_is_made(tmp_path: Path, backend: str) -> None:
    """Also by another thread, a child, and what explains the machine; the other run shows it."""
    names = ("io_uring_setup", "io_uring_enter", "io_uring_register")
    source = """
    import asyncio, os, subprocess, sys, threading
    import rloop, rloop.__main__
    from support import connected, Echo, Recorder

    async def talk():
        async with connected(Recorder, Echo) as (client, _):
            client.transport.write(b"x")
            await client.wait_for_bytes(1)
        await (await asyncio.create_subprocess_exec("true")).wait()

    def run():
        rloop.run(talk())

    rloop.__main__.main([])
    run()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    source = "import asyncio; asyncio.new_event_loop().close()"
    subprocess.run([sys.executable, "-m", "rloop", "run", "-c", source], check=True)
    """
    calls = traced_calls(tmp_path, backend, source, "x", names, RLOOP_BACKEND=backend)
    assert (calls > 0) == (backend == "io_uring" and rloop.backend_info()["backend"] == "io_uring")


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("way", ["transport", "sock_recv", "sock_recv_into"])
async def test_where_much_came_the_loop_looks_before_it_sleeps(loop: Any, way: str) -> None:
    """So it is not woken for each piece of much. Where nothing comes, it does so rarely."""
    much = bytes(64 * 1024)
    memory = bytearray(len(much))
    async with wired() as (transport, protocol, far):
        near, other = socket.socketpair()
        with near, other:
            for sock in (near, other, far):
                sock.setblocking(False)
            looked = 0
            for number in range(1, 71):
                sender = far if way == "transport" else other
                sent = loop.create_task(loop.sock_sendall(sender, much))
                if way == "transport":
                    await protocol.wait_for_bytes(number * len(much))
                else:
                    received = 0
                    while received < len(much):
                        if way == "sock_recv":
                            received += len(await loop.sock_recv(near, len(much)))
                        else:
                            received += await loop.sock_recv_into(near, memory)
                await sent
                before = loop.statistics()["syscalls"]
                await asyncio.sleep(0.001)  # the wait that is looked at: it has to block
                looked += loop.statistics()["syscalls"] - before > 4
            assert 0 < looked < 35
        transport.close()
        await turns(3)
