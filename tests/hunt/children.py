"""Child processes: subprocess_exec with a protocol, create_subprocess_exec with streams.

A child does something only when it is told to by its input, a signal or an end of a pipe, and a
step lasts until all that must follow has come. Its output and its end come by different
descriptors, so their order within a step is the kernel's (see differences.py).
"""

from __future__ import annotations

import asyncio
import signal
import weakref
from asyncio.subprocess import PIPE
from typing import Any

from interpreter import Actor, said
from peers import PATTERN, Stream
from program import Kind, Verb

READY = b"ready\n"
#: What is run; those with a line of shell say that they are ready.
PROGRAMS: dict[str, tuple[str, ...]] = {
    "echoes": ("cat",),
    "ends": ("true",),
    "fails": ("sh", "-c", "echo ready; echo failed >&2; exit 3"),
    "stubborn": ("sh", "-c", "trap '' TERM; echo ready; exec cat"),
    "deaf": ("sh", "-c", "exec <&-; echo ready; exec sleep 1000"),
    "silent": ("sh", "-c", "echo ready; exec >&- 2>&-; exec cat >/dev/null"),
    "missing": ("/no/such/program",),
}
SPEAKS = ("fails", "stubborn", "deaf", "silent")
ENDS = ("ends", "fails")
SIGNALS = {"TERM": signal.SIGTERM, "USR1": signal.SIGUSR1, "KILL": signal.SIGKILL}


class Protocol(asyncio.SubprocessProtocol):
    def __init__(self, actor: Children) -> None:
        self.actor = actor
        actor.watched.append(weakref.ref(self))

    def connection_made(self, transport: Any) -> None:
        self.actor.transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.actor.got(fd, data)

    def pipe_connection_lost(self, fd: int, exc: BaseException | None) -> None:
        self.actor.pipes.discard(fd)
        self.actor.note("pipe", fd, "lost", said(exc))

    def process_exited(self) -> None:
        self.actor.exited = True
        self.actor.note("pipe", 3, "exited", self.actor.transport.get_returncode())

    def connection_lost(self, exc: BaseException | None) -> None:
        self.actor.lost = True
        if self.actor.pipes or not self.actor.exited:
            self.actor.note("lost before its pipes", sorted(self.actor.pipes))
        self.actor.note("connection_lost", said(exc))


class Child(Actor):
    """What a child has been told, and what must follow. The option is the program."""

    fast_ns = 200_000_000

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sort = self.setup.options[0]
        self.out = Stream()
        self.got_count = 0
        #: Whether the child has been told to end.
        self.ending = self.sort in ENDS
        self.ready = self.sort not in SPEAKS
        self.exited = self.lost = False
        #: Told to end while its echo was under way: how much of it comes is a matter of luck.
        self.vague = False

    def told(self, sort: str) -> None:
        self.vague = self.vague or not self.echoed()
        if sort == "KILL" or not (sort == "TERM" and self.sort == "stubborn"):
            self.ending = True

    def input_ends(self) -> None:
        if self.sort != "deaf":
            self.ending = True

    def echoed(self) -> bool:
        """Whether what was written has come back, if it does."""
        return self.sort not in ("echoes", "stubborn") or self.got_count >= self.out.at


class Children(Child):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.transport: Any = None
        self.pipes = {0, 1, 2}
        self.paused = False

    async def open(self) -> None:
        command = PROGRAMS[self.sort]
        try:
            await self.loop.subprocess_exec(lambda: Protocol(self), *command)
        except OSError as exc:
            self.note("starting raised", said(exc))

    def got(self, fd: int, data: bytes) -> None:
        if not self.ready and fd == 1:
            self.ready = True
            self.note("pipe", fd, data[: len(READY)])
            data = data[len(READY) :]
        if fd == 2:
            self.note("pipe", fd, data)
        elif data:
            end = self.got_count + len(data)
            if PATTERN[self.got_count : end] != data:
                self.note("wrong bytes", self.got_count)
            self.got_count = end
            self.run.activity += 1

    def expecting(self) -> bool:
        if self.transport is None or self.lost:
            return False
        if self.ending or self.transport.is_closing():
            return not (self.paused and self.exited)
        if self.sort in ("deaf", "silent") and len(self.pipes) > 2 - (self.sort == "silent"):
            return True
        return not self.ready or not (self.paused or self.echoed())

    async def finish(self) -> None:
        if self.transport is not None:
            self.resume()
            await self.run.settle()
            self.note("finally", self.vague or self.got_count, self.look())
            self.transport.close()
            await self.run.settle()
        self.transport = None

    def pipe(self, fd: int) -> Any:
        return self.transport and self.transport.get_pipe_transport(fd)

    # -- steps

    def write(self, count: int) -> None:
        """The deaf one's input is broken before anything can be written to it."""
        pipe = self.pipe(0)
        if pipe is not None and not self.ending and not pipe.is_closing():
            pipe.write(self.out.take(count))

    def close_input(self) -> None:
        pipe = self.pipe(0)
        if pipe is not None:
            pipe.close()
            self.input_ends()

    def pause(self) -> None:
        """Not one whose pipe has ended."""
        pipe = self.pipe(1)
        if pipe is not None and not pipe.is_closing() and self.ready and not self.ending:
            self.paused = True
            pipe.pause_reading()

    def resume(self) -> None:
        pipe = self.pipe(1)
        if pipe is not None and self.paused:
            self.paused = False
            pipe.resume_reading()

    def send_signal(self, name: str) -> None:
        if self.transport is not None:
            self.transport.send_signal(SIGNALS[name])
            self.told(name)

    def kill(self) -> None:
        if self.transport is not None:
            self.transport.kill()
            self.told("KILL")

    def terminate(self) -> None:
        if self.transport is not None:
            self.transport.terminate()
            self.told("TERM")

    def close(self) -> None:
        if self.transport is not None:
            self.told("KILL")
            self.transport.close()

    def look(self) -> Any:
        if self.transport is None:
            return None
        pipes = tuple(self.pipe(fd) is not None for fd in range(4))
        return self.transport.get_returncode(), self.transport.is_closing(), pipes


class Processes(Child):
    """One reader of the output at a time, as StreamReader asks for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.process: Any = None
        self.tasks: list[asyncio.Task[None]] = []
        self.reading: asyncio.Task[None] | None = None
        self.begun = self.wanted = 0

    async def open(self) -> None:
        command = PROGRAMS[self.sort]
        try:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=1 << 20
            )
        except OSError as exc:
            self.note("starting raised", said(exc))

    def expecting(self) -> bool:
        if self.process is None:
            return False
        if self.ending:
            return self.process.returncode is None or any(not task.done() for task in self.tasks)
        if self.sort == "silent" and not self.process.stdout._eof:
            return True
        reading = self.reading is not None and not self.reading.done()
        if reading and (self.sort == "silent" or self.arrived() >= self.wanted):
            return True
        return not self.echoed()

    def arrived(self) -> int:
        """What was read or lies in the reader, without the first line."""
        first = len(READY) if self.sort in SPEAKS and not self.ready else 0
        return self.got_count + len(self.process.stdout._buffer) - first

    def echoed(self) -> bool:
        """What the child has said lies in the reader until it is read."""
        if self.process is None:
            return True
        return self.arrived() >= (self.out.at if self.sort in ("echoes", "stubborn") else 0)

    async def finish(self) -> None:
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
                self.told("KILL")
            await self.run.settle()
            for task in self.tasks:
                task.cancel()
            await self.run.settle()
            self.note("finally", self.process.returncode)
            self.process._transport.close()
            await self.run.settle()
        self.process = self.reading = None
        self.tasks.clear()

    def start(self, name: str, work: Any) -> asyncio.Task[None]:
        self.begun += 1
        task = self.loop.create_task(self.working(name, self.begun, work))
        self.tasks.append(task)
        return task

    async def working(self, name: str, number: int, work: Any) -> None:
        try:
            self.note("stream task", name, number, await work)
        except (Exception, asyncio.CancelledError) as exc:
            self.note("stream task", name, number, said(exc))

    # -- steps

    def wait(self) -> None:
        if self.process is not None and len(self.tasks) < 5:
            self.start("wait", self.process.wait())

    def write(self, count: int) -> None:
        if self.process is not None and not self.ending and self.sort != "deaf":
            self.process.stdin.write(self.out.take(count))
            self.start("drain", self.process.stdin.drain())

    def read(self, count: int) -> None:
        if self.process is not None and (self.reading is None or self.reading.done()):
            self.wanted = self.got_count + count
            self.reading = self.start("read", self.exactly(count))

    async def exactly(self, count: int) -> Any:
        if not self.ready:
            self.note("first line", await self.process.stdout.readline())
            self.ready = True
        data = await self.process.stdout.readexactly(count)
        if data != PATTERN[self.got_count : self.got_count + count]:
            self.note("wrong bytes", self.got_count)
        self.got_count += count
        return count

    def communicate(self, count: int) -> None:
        """The last that is said to it; the deaf one would never end."""
        if self.process is None or self.ending or self.sort == "deaf":
            return
        if self.reading is None or self.reading.done():
            self.reading = self.start("communicate", self.said_all(self.out.take(count)))
            self.input_ends()

    async def said_all(self, data: bytes) -> Any:
        out, err = await self.process.communicate(data)
        return len(out) + self.got_count, err

    def cancel(self, which: int) -> None:
        if which < len(self.tasks):
            self.tasks[-1 - which].cancel()

    def send_signal(self, name: str) -> None:
        if self.process is not None:
            self.process.send_signal(SIGNALS[name])
            self.told(name)

    def close_input(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.input_ends()

    def look(self) -> Any:
        return self.process and self.process.returncode


SIZES = ((1, 10, 1000),)
SORTS = tuple(PROGRAMS)
KINDS = (
    Kind(
        "children",
        Children,
        verbs=(
            Verb("write", 5, SIZES),
            Verb("look", 2),
            Verb("pause", 1),
            Verb("resume", 2),
            Verb("close_input", 1),
            Verb("send_signal", 1, (tuple(SIGNALS),)),
            Verb("kill", 1),
            Verb("terminate", 1),
            Verb("close", 1),
        ),
        options=(("echoes", *SORTS),),
        weight=1,
    ),
    Kind(
        "processes",
        Processes,
        verbs=(
            Verb("write", 4, SIZES),
            Verb("read", 4, SIZES),
            Verb("wait", 2),
            Verb("look", 1),
            Verb("communicate", 1, SIZES),
            Verb("cancel", 1, ((0, 1),)),
            Verb("close_input", 1),
            Verb("send_signal", 1, (tuple(SIGNALS),)),
        ),
        options=(("echoes", *SORTS),),
        weight=1,
    ),
)
