"""Runs a program on a loop and writes down what it saw.

A Run turns the loop between steps until `QUIET` turns in a row brought nothing and no actor expects
anything, or the patience ends. The patience only matters where something is blocked or wrong; a
difference counts when it is still there in a patient run (see `compare.py`), so a busy machine
makes the hunt slower and not wrong.

What is written down: each actor's own trace, what went to the exception handler, what
finalizers raised, warnings and lines of asyncio's log; in the end which descriptors stayed open and
which protocols were not collected.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import sys
import time
import warnings
import weakref
from typing import Any

from program import Program, Setup

#: Turns in a row without an event after which nothing more is expected.
QUIET = 2
#: Our epoll engine looks at the kernel every 20 us when it is busy; twice that, and a little.
QUIET_NS = 45_000
#: Turns and time without an event that a step may take while an actor still expects something.
FAST_TURNS = 60
FAST_NS = 200_000


def said(exc: BaseException | None) -> Any:
    """An exception as its type and arguments, without what differs from run to run."""
    if exc is None:
        return None
    return (type(exc).__name__, tuple(neutral(arg) for arg in exc.args))


def neutral(value: Any) -> Any:
    """The text without addresses, descriptors and ports."""
    text = value if isinstance(value, str) else repr(value)
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"fd=\d+", "fd=", text)
    text = re.sub(r"\('127\.0\.0\.1', \d+\)", "ADDRESS", text)
    return re.sub(r" at /\S+", "", text)


class Actor:
    """What all kinds share: a trace, and how to do a step by its name."""

    #: Nanoseconds that what it expects may take. Other processes and threads take longer.
    fast_ns = FAST_NS

    def __init__(self, run: Run, number: int, setup: Setup) -> None:
        self.run = run
        self.loop = run.loop
        self.number = number
        self.setup = setup
        self.trace: list[tuple[Any, ...]] = []
        self.watched: list[weakref.ref[Any]] = []
        #: How often each callback has come, for the hooks.
        self.counts: dict[str, int] = {}
        #: Whether the peer reads all there is, until the step is over.
        self.draining = False

    def note(self, *entry: Any) -> None:
        """One more line of the trace."""
        self.run.activity += 1
        self.trace.append(entry)

    def note_data(self, count: int) -> None:
        """Bytes that follow each other in one step are one event: cuts are the kernel's affair."""
        self.run.activity += 1
        if self.trace and self.trace[-1][0] == "data":
            self.trace[-1] = ("data", count)
        else:
            self.trace.append(("data", count))

    def do(self, verb: str, args: tuple[Any, ...]) -> None:
        """Do it and note what came of it, if it is worth a line."""
        try:
            answer = getattr(self, verb)(*args)
        except Exception as exc:
            self.note("raised", verb, said(exc))
        else:
            if answer is not None:
                self.note("answered", verb, answer)

    def may(self, callback: str, verb: str) -> bool:
        """False for what the loops may answer differently inside that callback."""
        return True

    def run_hooks(self, callback: str) -> None:
        """Do what the program wants done inside this call of the callback."""
        nth = self.counts.get(callback, 0)
        self.counts[callback] = nth + 1
        for hook in self.setup.hooks:
            if hook.callback == callback and hook.nth == nth and self.may(callback, hook.verb):
                if hook.verb == "boom":
                    self.note("raises")
                    raise RuntimeError("boom", nth)
                self.do(hook.verb, hook.args)

    async def open(self) -> None:
        """Make the connection or whatever there is to make."""

    def pump(self) -> None:
        """What the peer does by itself in each turn."""

    def expecting(self) -> bool:
        """Whether an event is certain to come, so that a turn without one is not quiet."""
        return False

    async def finish(self) -> None:
        """Let go of everything."""


class Run:
    def __init__(self, loop: asyncio.AbstractEventLoop, program: Program, *, patient: bool) -> None:
        self.loop = loop
        self.program = program
        self.patient = patient
        self.patience = 2.0
        self.quiet_ns = QUIET_NS if getattr(loop, "backend", "") == "epoll" else 0
        self.activity = 0
        self.noise: list[tuple[Any, ...]] = []
        self.wrong_contexts: list[tuple[int, str]] = []
        self.actors: list[Any] = []

    async def settle(self) -> None:
        """Turn until nothing moves any more."""
        still = turns = idle = 0
        moved = time.perf_counter_ns()
        while still < QUIET or time.perf_counter_ns() - moved < self.quiet_ns:
            before = self.activity
            for actor in self.actors:
                actor.pump()
            # A turn. A patient run also gives the kernel time, in which it may deliver what it
            # holds back: that nothing more comes is looked for, and no event tells that.
            await asyncio.sleep(0.0005 if self.patient and turns >= 8 else 0)
            turns += 1
            still += 1
            idle += 1
            if self.activity != before:
                still, idle, moved = 0, 0, time.perf_counter_ns()
            elif self.patient and turns < 12:
                still = min(still, 1)
            elif still >= QUIET and self.expects(idle, moved):
                still = 0

    def expects(self, idle: int, moved: int) -> bool:
        waited = time.perf_counter_ns() - moved
        if not self.patient and idle < FAST_TURNS:
            waited = 0
        if self.patient and not self.may_wait(idle):
            waited = max(waited, FAST_NS)
        return any(waited < actor.fast_ns and actor.expecting() for actor in self.actors)

    def may_wait(self, idle: int) -> bool:
        """A wait in vain is paid for once: what is left of the patience is the whole program's."""
        if idle > 8:
            self.patience -= 0.0005
        return self.patience > 0 and idle < 400

    def report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        keys = sorted(set(context) - {"source_traceback", "handle_traceback"})
        message = re.sub(r" in callback .*", " in callback", neutral(context["message"]))
        self.noise.append(("context", message, tuple(keys), said(context.get("exception"))))

    async def opened(self, actor: Any) -> None:
        """Open it while its peer takes part in a handshake."""
        opening = self.loop.create_task(actor.open())
        end = time.monotonic() + 5
        while not opening.done() and time.monotonic() < end:
            actor.pump()
            await asyncio.sleep(0)  # a turn, in which the loop does its part of the handshake
        if not opening.done():
            actor.note("opening takes for ever")
            opening.cancel()

    async def main(self, kinds: dict[str, Any]) -> None:
        named = []  # an actor may bring others along
        for number, setup in enumerate(self.program.actors):
            actor = kinds[setup.kind].make(self, number, setup)
            named.append(actor)
            self.actors.append(actor)
            await self.opened(actor)
            await self.settle()
        for number, step in enumerate(self.program.steps):
            for actor in self.actors:
                actor.draining = False
                if actor.trace and actor.trace[-1][0] == "step":
                    actor.trace[-1] = ("step", number)
                else:
                    actor.trace.append(("step", number))
            named[step.actor].do(step.verb, step.args)
            await self.settle()
        for actor in self.actors:
            await actor.finish()
        await self.settle()


class LogLines(logging.Handler):
    """asyncio's log, into the noise of the run under way."""

    run: Run | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.run is not None:
            self.run.noise.append(("log", record.levelname, neutral(record.getMessage())))


log_lines = LogLines()


def listen() -> None:
    """Once per process: warnings, the log and unraisable exceptions go to the run under way."""
    logger = logging.getLogger("asyncio")
    logger.addHandler(log_lines)
    logger.propagate = False


def descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 (a pathlib entry costs ten times this)
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except OSError:
            pass
    return found


Outcome = dict[str, Any]


def execute(
    loop: asyncio.AbstractEventLoop,
    program: Program,
    kinds: dict[str, Any],
    *,
    patient: bool = False,
) -> Outcome:
    """What the program did on this loop, as plain data."""
    before = descriptors()
    run = Run(loop, program, patient=patient)
    loop.set_exception_handler(run.report)
    log_lines.run = run
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: run.noise.append(("unraisable", said(args.exc_value)))
    gc_was_on = gc.isenabled()
    gc.disable()
    started = time.monotonic()
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            loop.run_until_complete(run.main(kinds))
            watched = [(each.number, ref) for each in run.actors for ref in each.watched]
            traces = [each.trace for each in run.actors]
            run.actors.clear()
            gc.collect()
        alive = sorted({number for number, ref in watched if ref() is not None})
    finally:
        sys.unraisablehook = hook
        log_lines.run = None
        loop.set_exception_handler(None)
        if gc_was_on:
            gc.enable()
    after = descriptors()
    opened = sorted(what.split(":")[0] for fd, what in after.items() if fd not in before)
    return {
        "traces": traces,
        "noise": run.noise,
        "warnings": [(w.category.__name__, neutral(str(w.message))) for w in warned],
        "left open": opened,
        "not collected": alive,
        "wrong contexts": run.wrong_contexts,
        "seconds": time.monotonic() - started,
    }
