"""The server under test: one loop of rloop with every service and every job.

    python -m soak.server ENGINE REPORTS FOLDER SEED

Writes FOLDER/addresses.json when it serves, and obeys FOLDER/control.sock, a datagram each:
`collect`, `move` (the loop goes on in another thread), `fork HOW`, `fork-in-loop HOW`,
`fork-between HOW`, `explain` (what was done last), `finish`. Whoever obeys is a thread, and another
one sees when the loop does not answer any more.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import socket
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import rloop

from .conversation import is_expected_end
from .forks import fork
from .jobs import Jobs, is_limit
from .measures import descriptors, measure_process
from .processes import Reporter, die_with_parent, explain_crashes, watch_logs
from .services import Services

#: A loop that does not answer for so long hangs.
ANSWER_SECONDS = 30.0


class Server:
    """The loop, the threads it runs in one after the other, and what is measured."""

    def __init__(self, engine: str, reporter: Reporter, folder: Path, seed: int) -> None:
        self._engine = engine
        self._reporter = reporter
        self._folder = folder
        self._seed = seed
        self._before = descriptors()
        self._loop: Any = rloop.new_event_loop(engine)
        self._loop.set_exception_handler(self._on_exception)
        self._services = Services(reporter, folder)
        self._finished = False
        self._elsewhere = False
        self._fork_between: str | None = None
        self._jobs: Jobs | None = None
        sys.unraisablehook = lambda args: reporter.fail(
            f"unraisable {args.exc_value!r} in {args.object!r}: {args.err_msg}"
        )
        threading.excepthook = lambda args: reporter.fail(f"in a thread: {args.exc_value!r}")

    def run(self) -> None:
        """Until `finish`; in the main thread, which lends the loop to others between."""
        self._loop.call_soon(lambda: self._loop.create_task(self._start(), name="start"))
        while not self._finished:
            if self._elsewhere:
                thread = threading.Thread(target=self._run_once, name="loop's")
                thread.start()
                thread.join()
            else:
                self._run_once()
            if self._fork_between:
                how, self._fork_between = self._fork_between, None
                self._fork(how)
        self._end()

    def _run_once(self) -> None:
        try:
            self._reporter.note(f"runs in {threading.current_thread().name}")
            self._loop.run_forever()
            self._reporter.counts["runs"] += 1
        except OSError as exc:
            # An engine needs descriptors in each thread.
            self._reporter.note(f"run_forever raised {exc!r}")
            if not is_limit(exc):
                raise
            self._reporter.counts["limited"] += 1
            time.sleep(0.05)

    async def _start(self) -> None:
        await self._services.start()
        self._jobs = Jobs(self._reporter, self._services.addresses, self._folder)
        self._jobs.start(self._seed)
        threading.Thread(target=self._sample, daemon=True).start()
        control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        control.bind(str(self._folder / "control.sock"))
        threading.Thread(target=self._obey, args=(control,), daemon=True).start()
        (self._folder / "addresses.json").write_text(json.dumps(self._services.addresses))
        self._reporter.tell(serving=True)

    async def _finish(self) -> None:
        """The clients are gone: so is everything of theirs, soon."""
        try:
            assert self._jobs
            await self._jobs.stop()
            await self._services.stop()
            # Executor and resolver keep their threads until here.
            await self._loop.shutdown_default_executor()
            for _ in range(100):
                if not self._left_over():
                    break
                await asyncio.sleep(0.1)
            if left := self._left_over():
                self._reporter.fail(f"left when everybody was gone: {left}")
        except Exception as exc:
            self._reporter.fail(f"the end failed: {exc!r}")
        self._finished = True
        self._loop.stop()

    def _left_over(self) -> str:
        counts = self._reporter.counts
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
        # TLS and asyncio's streams end connections in callbacks of theirs.
        open_ = counts["opened"] - counts["closed"]
        return f"{open_} connections, tasks {tasks}" if open_ or tasks else ""

    def _end(self) -> None:
        self._reporter.tell(sample=self._measure())
        self._loop.close()
        gc.collect()
        left = [text for number, text in descriptors().items() if number not in self._before]
        if left:
            self._reporter.fail(f"descriptors left after the loop was closed: {left}")

    # -- what is measured --------------------------------------------------------------------------

    def _sample(self) -> None:
        while not self._finished:
            answered = threading.Event()
            self._loop.call_soon_threadsafe(self._tell_sample, answered)
            started = time.monotonic()
            while not answered.wait(1):
                if time.monotonic() - started > ANSWER_SECONDS:
                    faulthandler.dump_traceback(all_threads=True)
                    self._reporter.fail("the loop does not answer; see the tracebacks")
                    return
            time.sleep(1)

    def _tell_sample(self, answered: threading.Event) -> None:
        answered.set()
        try:
            self._reporter.tell(sample=self._measure())
        except OSError as exc:
            if not is_limit(exc):
                raise
            self._reporter.counts["limited"] += 1  # /proc cannot be opened

    def _measure(self) -> dict[str, float]:
        counts = self._reporter.counts
        statistics = self._loop.statistics()
        return {
            **measure_process(),
            "tasks": len(asyncio.all_tasks(self._loop)),
            "ready": len(self._loop._ready),
            "timers": len(self._loop._scheduled),
            "connections": counts["opened"] - counts["closed"],
            "buffers_lent": statistics["buffers_lent"] - statistics["buffers_returned"],
            **{f"loop_{name}": value for name, value in statistics.items()},
        }

    # -- chaos -------------------------------------------------------------------------------------

    def _obey(self, control: socket.socket) -> None:
        while True:
            words = control.recv(100).decode()
            if words == "explain":  # somebody else has seen something wrong
                self._reporter.show_notes()
                continue
            self._reporter.note(words)
            match words.split():
                case ["collect"]:
                    gc.collect()
                    self._reporter.counts["collections"] += 1
                case ["move"]:
                    self._elsewhere = not self._elsewhere
                    self._reporter.counts["moves"] += 1
                    self._loop.call_soon_threadsafe(self._loop.stop)
                case ["fork", how]:
                    self._fork(how)
                case ["fork-in-loop", how]:
                    self._loop.call_soon_threadsafe(self._fork, how)
                case ["fork-between", how]:
                    self._fork_between = how
                    self._loop.call_soon_threadsafe(self._loop.stop)
                case ["finish"]:
                    # Signal handlers go in the main thread.
                    self._elsewhere = False
                    self._loop.call_soon_threadsafe(self._loop.stop)
                    self._loop.call_soon_threadsafe(
                        lambda: self._loop.create_task(self._finish(), name="finish")
                    )
                    return

    def _fork(self, how: str) -> None:
        try:
            fork(self._reporter, how, self._engine, self._loop)
        except OSError as exc:
            self._reporter.fail(f"fork: {exc!r}")

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        if exc is not None and is_limit(exc):
            self._reporter.counts["limited"] += 1
            return
        if exc is not None and is_expected_end(exc):
            self._reporter.counts["reported_ends"] += 1
            return
        self._reporter.fail(f"exception handler: {context}")


def main() -> None:
    die_with_parent()
    explain_crashes()
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    engine, reports, folder, seed = sys.argv[1:]
    reporter = Reporter(reports, "server")
    watch_logs(reporter)
    Server(engine, reporter, Path(folder), int(seed)).run()


if __name__ == "__main__":
    main()
