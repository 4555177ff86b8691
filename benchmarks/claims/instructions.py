"""Claim: user-space instructions per operation, a figure that no other process disturbs.

    python benchmarks/run.py instructions --loop epoll
    python benchmarks/run.py instructions --loop uvloop --cases call_soon,echo --scale 0.5

Runs each case under `valgrind --tool=callgrind` with N and with 2 N operations and divides the
difference by N, so that start-up and the imports cancel out. Hash seed, allocator and environment
are fixed and the cyclic garbage collector is off; figures of the same build then repeat to a
percent. The cases are those of the other files, `task_step` is sleep(0) in one task, `create_task`
and `gather` count one of a hundred tasks, `resolve` is getaddrinfo of a literal, `echo` a 1 KiB
message and its echo between two protocols on the ends of a socket pair in one process, system calls
not counted, `streams` the same with a StreamReader and its readline() at the answering end. Prints
one JSON object. valgrind may not know io_uring: `engine`
says on what the loop really ran, and without it the command ends with status 3 and says why; use
`--loop epoll`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.alone import names_among
from harness.loops import LoopUnavailableError, factory_for
from harness.peers import command_of

BATCH = 100
MESSAGE = b"x" * 1023 + b"\n"
DELAY_SECONDS = 3600.0
# callgrind is some fifty times slower than the machine.
LIMIT_SECONDS = 300.0
MISSING, FAILED = 2, 3


def take_none() -> None:
    pass


def call_soon(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    def batch(left: int) -> None:
        for _ in range(BATCH):
            loop.call_soon(take_none)
        loop.call_soon(*((batch, left - 1) if left > 1 else (loop.stop,)))

    loop.call_soon(batch, operations // BATCH)
    loop.run_forever()


def call_later_cancel(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    def batch(left: int) -> None:
        for _ in range(BATCH):
            loop.call_later(DELAY_SECONDS, take_none).cancel()
        loop.call_soon(*((batch, left - 1) if left > 1 else (loop.stop,)))

    loop.call_soon(batch, operations // BATCH)
    loop.run_forever()


def task_step(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    async def sleeper() -> None:
        for _ in range(operations):
            await asyncio.sleep(0)

    loop.run_until_complete(sleeper())


def future_wake_up(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    async def waiter() -> None:
        for _ in range(operations):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    loop.run_until_complete(waiter())


async def trivial() -> None:
    pass


def create_task(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    async def maker() -> None:
        for _ in range(operations // BATCH):
            tasks = [loop.create_task(trivial()) for _ in range(BATCH)]
            await tasks[-1]

    loop.run_until_complete(maker())


def gather(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    async def gatherer() -> None:
        for _ in range(operations // BATCH):
            await asyncio.gather(*[trivial() for _ in range(BATCH)])

    loop.run_until_complete(gatherer())


def resolve(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    async def resolver() -> None:
        for _ in range(operations):
            await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    loop.run_until_complete(resolver())


class EchoEnd(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class AskingEnd(asyncio.Protocol):
    """Sends a message, waits for its whole echo, sends the next."""

    transport: asyncio.Transport

    def __init__(self, count: int, done: asyncio.Future[None]) -> None:
        self.left = count
        self.missing = len(MESSAGE)
        self.done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing:
            return
        self.missing = len(MESSAGE)
        self.left -= 1
        if self.left:
            self.transport.write(MESSAGE)
        else:
            self.done.set_result(None)


def exchange(
    loop: asyncio.AbstractEventLoop, operations: int, factory: Callable[[], asyncio.Protocol]
) -> None:
    async def ask() -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        done = loop.create_future()
        answering, _ = await loop.create_connection(factory, sock=theirs)
        asking, _ = await loop.create_connection(lambda: AskingEnd(operations, done), sock=ours)
        asking.write(MESSAGE)
        await done
        asking.close()
        answering.close()

    loop.run_until_complete(ask())


def echo(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    exchange(loop, operations, EchoEnd)


def streams(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    ended = loop.create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        ended.set_result(None)

    def factory() -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), answer, loop=loop)

    exchange(loop, operations, factory)
    loop.run_until_complete(ended)


CASES: dict[str, Callable[[asyncio.AbstractEventLoop, int], None]] = {
    "call_soon": call_soon,
    "call_later_cancel": call_later_cancel,
    "task_step": task_step,
    "future_wake_up": future_wake_up,
    "create_task": create_task,
    "gather": gather,
    "resolve": resolve,
    "echo": echo,
    "streams": streams,
}


# N of each case: enough that a start-up which differs a little (addresses) is below a percent.
OPERATIONS = {
    "call_soon": 200_000,
    "call_later_cancel": 100_000,
    "task_step": 50_000,
    "future_wake_up": 50_000,
    "create_task": 50_000,
    "gather": 50_000,
    "resolve": 20_000,
    "echo": 20_000,
    "streams": 20_000,
}


def work(options: argparse.Namespace) -> None:
    """Be the counted process: one case, so many operations; print the engine."""
    gc.disable()
    loop = factory_for(options.loop)()
    CASES[options.work](loop, options.operations)
    print(getattr(loop, "backend", None) or type(loop).__name__)
    loop.close()


class CountError(Exception):
    """callgrind or the counted process failed; the text is its last line."""


def count(valgrind: str, loop: str, case: str, operations: int) -> tuple[int, str]:
    """Return the instructions of one process, all of it, and the engine it ran on."""
    with tempfile.TemporaryDirectory(prefix="rloop-callgrind-") as folder:
        output = Path(folder) / "callgrind.out"
        command = [valgrind, "--tool=callgrind", "--instr-atstart=yes", "--quiet"]
        command += [f"--callgrind-out-file={output}", *command_of(sys.executable, "instructions")]
        command += ["--loop", loop, "--work", case, "--operations", str(operations)]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
        }
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=environment,
                timeout=LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CountError(f"not finished after {LIMIT_SECONDS:.0f} s") from None
        if done.returncode != 0 or not output.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise CountError(f"status {done.returncode}: {lines[-1]}")
        found = re.search(r"^(?:summary|totals): (\d+)", output.read_text(), re.MULTILINE)
        if found is None:
            raise CountError("callgrind wrote no total")
        return int(found[1]), done.stdout.strip()


def per_operation(valgrind: str, loop: str, case: str, operations: int) -> dict[str, Any]:
    fewer, engine = count(valgrind, loop, case, operations)
    more, _ = count(valgrind, loop, case, 2 * operations)
    return {
        "instructions_per_operation": (more - fewer) / operations,
        "operations": operations,
        "engine": engine,
    }


def version_of(program: str) -> str:
    return subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False
    ).stdout.strip()


def read_options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loop", default="epoll", help="as for server.py (epoll)")
    parser.add_argument("--cases", type=names_among(list(CASES)), default=list(CASES))
    parser.add_argument("--scale", type=float, default=1.0, help="factor to the N of each case (1)")
    parser.add_argument("--work", choices=list(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--operations", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        factory_for(options.loop)
    except (LoopUnavailableError, ValueError) as error:
        parser.error(f"argument --loop: {error}")
    return options


def main() -> int:
    options = read_options()
    if options.work:
        work(options)
        return 0
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("skipped: valgrind is not installed (apt-get install valgrind)", file=sys.stderr)
        return MISSING
    found: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for case in options.cases:
        try:
            operations = max(round(OPERATIONS[case] * options.scale / BATCH), 1) * BATCH
            found[case] = per_operation(valgrind, options.loop, case, operations)
        except CountError as error:
            failures[case] = str(error)
            print(f"{options.loop}, {case}: {error}", file=sys.stderr)
    answer = {
        "loop": options.loop,
        "python": sys.version.split()[0],
        "valgrind": version_of(valgrind),
        "cases": found,
        "failures": failures,
    }
    print(json.dumps(answer, indent=1))
    return FAILED if failures else 0


if __name__ == "__main__":
    sys.exit(main())
