"""run_in_executor: results, exceptions and cancellations of jobs in a pool of the actor's own.

A job that waits does so until a step lets it go, so who ends when depends on nothing else. Where
all workers wait the next job is queued: cancelled there, it never runs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import socket
import threading
import time
from typing import Any

from interpreter import Actor, said
from program import Kind, Verb

MOST_JOBS = 5

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


class Job:
    """What a worker is given; it says how far it has come."""

    def __init__(self, number: int, sort: str) -> None:
        self.number = number
        self.sort = sort
        self.state = "queued"
        self.gate = threading.Event()
        if sort != "waits":
            self.gate.set()
        self.task: Any = None
        #: Whether the actor's pool runs it, or the loop's.
        self.pooled = True

    def __call__(self) -> Any:
        self.state = "runs"
        try:
            self.gate.wait()
            if self.sort == "raises":
                raise ValueError("from a job", self.number)
            if self.sort == "stops":
                raise StopIteration(self.number)
            return self.number, variable.get()
        finally:
            self.state = "ended"

    def moves(self, free: bool) -> bool:
        """Whether it goes on by itself."""
        if self.state == "runs" and self.pooled:
            return self.gate.is_set()
        return not self.task.done() and (self.state == "ended" or free or not self.pooled)


class Executors(Actor):
    """The option is how many workers there are."""

    fast_ns = 50_000_000

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.pool = concurrent.futures.ThreadPoolExecutor(self.setup.options[0])
        self.jobs: list[Job] = []
        self.lookups: list[asyncio.Task[None]] = []

    def expecting(self) -> bool:
        running = sum(job.state == "runs" and job.pooled for job in self.jobs)
        free = running < self.setup.options[0]
        if any(not task.done() for task in self.lookups):
            return True
        return any(job.moves(free) for job in self.jobs)

    def pump(self) -> None:
        if self.expecting():
            time.sleep(0)  # the workers need the interpreter as well

    async def working(self, job: Job, work: Any) -> None:
        try:
            self.note("job", job.number, await work)
        except (Exception, asyncio.CancelledError) as exc:
            self.note("job", job.number, said(exc))

    def job(self, sort: str) -> None:
        if sum(not job.task.done() for job in self.jobs) < MOST_JOBS:
            job = Job(len(self.jobs), sort)
            work = self.loop.run_in_executor(self.pool, job)
            job.task = self.loop.create_task(self.working(job, work))
            self.jobs.append(job)

    def thread(self, value: int) -> None:
        """The context goes along."""
        job = Job(len(self.jobs), "at once")
        job.pooled = False
        context = contextvars.copy_context()
        context.run(variable.set, value)
        work = self.working(job, asyncio.to_thread(job))
        job.task = self.loop.create_task(work, context=context)
        self.jobs.append(job)

    def let_go(self, which: int) -> None:
        """Of the jobs that wait, the one that came then."""
        waiting = [job for job in self.jobs if not job.gate.is_set()]
        if which < len(waiting):
            waiting[which].gate.set()

    def cancel(self, which: int) -> None:
        if which < len(self.jobs):
            self.note("cancel", self.jobs[-1 - which].task.cancel())

    def look_up(self) -> None:
        """Names of numbers only: the resolver is the machine's."""

        async def found() -> None:
            infos = await self.loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
            self.note("found", infos)

        self.lookups.append(self.loop.create_task(found()))

    def shut(self) -> None:
        """No new jobs; those that it has are done."""
        self.pool.shutdown(wait=False)

    async def finish(self) -> None:
        for job in self.jobs:
            job.gate.set()
            await self.run.settle()
        self.pool.shutdown()
        self.note("ran", [job.number for job in self.jobs if job.state == "ended"])
        self.jobs.clear()


KINDS = (
    Kind(
        "executors",
        Executors,
        verbs=(
            Verb("job", 5, (("at once", "waits", "waits", "raises", "stops"),)),
            Verb("let_go", 4, ((0, 1, 2),)),
            Verb("cancel", 2, ((0, 1, 2),)),
            Verb("thread", 1, ((1, 2),)),
            Verb("look_up", 1),
            Verb("shut", 1),
        ),
        options=((1, 2),),
        weight=1,
    ),
)
