"""The loops, and one program on all of them.

Loops are kept and used for many programs; a program that leaves something on its loop shows in the
next one's outcome or in the descriptors. A difference counts when a patient run shows it as well.
"""

from __future__ import annotations

import asyncio
import gc
import os

import actors
import differences
import interpreter
import peers
from program import Program

ENGINES = ("epoll", "io_uring")
#: Programs after which a loop is replaced.
LOOP_LIFE = 500


def new_loop(engine: str) -> asyncio.AbstractEventLoop:
    if engine == "asyncio":
        return asyncio.SelectorEventLoop()
    import rloop

    return rloop.new_event_loop(backend=engine)


async def first_waits() -> None:
    """Let the loop open what it opens late: io_uring's ring, made for a run of some turns.

    As in tests/loop/support.py; the hunters of this folder import nothing from there.
    """
    for _ in range(64):
        await asyncio.sleep(0)


class Loops:
    def __init__(self, engines: tuple[str, ...] = ENGINES) -> None:
        self.engines = engines
        self.loops: dict[str, asyncio.AbstractEventLoop] = {}
        self.used = 0
        self.unsure = 0
        self.listening = False

    def loop(self, engine: str) -> asyncio.AbstractEventLoop:
        if engine not in self.loops:
            self.loops[engine] = new_loop(engine)
            if engine != "asyncio":
                self.loops[engine].run_until_complete(first_waits())
        return self.loops[engine]

    def prepare(self) -> None:
        """What a process opens once, and loops for the next programs."""
        if not self.listening:
            self.listening = True
            interpreter.listen()
            peers.listener()
            peers.tls_contexts()
            peers.pattern_file()
        if self.used % LOOP_LIFE == 0:
            self.close()
        for engine in self.engines:
            self.loop(engine)
        if self.used % 100 == 0:
            gc.collect()
            gc.freeze()
        self.used += 1

    def run(self, engine: str, program: Program, *, patient: bool) -> interpreter.Outcome:
        if engine == "asyncio":
            # Its transports may leave a closed descriptor in the selector, to the next one's harm.
            self.close(engine)
        loop = self.loop(engine)
        return interpreter.execute(loop, program, actors.KINDS, patient=patient)

    def check(self, program: Program) -> dict[str, list[str]]:
        """The engines that differ from asyncio, each with the lines that say how."""
        self.prepare()
        reference = self.run("asyncio", program, patient=False)
        suspects = {}
        for engine in self.engines:
            lines = differences.differing(reference, self.run(engine, program, patient=False))
            if lines:
                suspects[engine] = lines
        if not suspects:
            return {}
        self.close()
        confirmed = {}
        for engine in suspects:
            for _ in range(2):
                reference = self.run("asyncio", program, patient=True)
                lines = differences.differing(reference, self.run(engine, program, patient=True))
                if not lines:
                    self.unsure += 1
                    if "HUNT_HASTE" in os.environ:
                        print("only in haste:", engine, suspects[engine], flush=True)
                    break
            else:
                confirmed[engine] = lines
        return confirmed

    def close(self, *engines: str) -> None:
        for engine in engines or tuple(self.loops):
            if engine in self.loops:
                self.loops.pop(engine).close()
