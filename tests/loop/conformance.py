"""CPython's own tests of asyncio, test.test_asyncio, on our loop, on each of its backends.

    python tests/loop/conformance.py [--backend NAME]... [--jobs N] [FILE or PATTERN]...

For example `conformance.py --backend epoll test_sslproto 'test_events.*pipe*'`. Backends: io_uring
and epoll (both are the default), and asyncio and uvloop to compare with. Each file of the running
interpreter's test suite runs in a process of its own (conformance_child.py). A test that crashes
or hangs it has failed, and another process runs the rest of the file. A test that passes without
having made a real loop says nothing about one: it is counted apart, as not applicable (one that
fails without has failed). conformance_exclusions.py says what is left out and why. The last lines
are one for each backend, `conformance io_uring: N passed, N failed, N excluded, N skipped`, where
skipped means by CPython itself; the exit code is 1 if a test failed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.util
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from conformance_exclusions import DUPLICATES, EXCLUSIONS

BACKENDS = ("io_uring", "epoll", "asyncio", "uvloop")
OUTCOMES = ("passed", "failed", "excluded", "skipped", "not applicable")
CHILD = Path(__file__).with_name("conformance_child.py")
LOG_TAIL_LINES = 60


@dataclass
class FileRun:
    """One file on one backend: what to run, and what came of it."""

    backend: str
    file: str
    patterns: list[list[str]]  # a test that runs matches one of each list
    left_out: list[tuple[str, str, str]]  # (pattern, outcome, reason)
    timeout: float  # seconds for one test, and for the import and exit of the file
    results: dict[str, tuple[str, str]] = field(default_factory=dict)  # test: (outcome, text)
    seconds: float = 0.0

    def counts(self) -> collections.Counter[str]:
        """How many tests have each outcome."""
        return collections.Counter(outcome for outcome, _ in self.results.values())

    def run(self) -> FileRun:
        """Run the file in as many processes as it takes."""
        started = time.monotonic()
        while self._run_process():
            pass
        self.seconds = time.monotonic() - started
        return self

    def _run_process(self) -> bool:
        """Run what is left in one process; True when it came to a bad end, but some way."""
        done_before = len(self.results)
        with (
            tempfile.TemporaryDirectory(
                prefix="conformance-", ignore_cleanup_errors=True
            ) as folder,
            tempfile.TemporaryFile() as log,
        ):
            events_fd, child_fd = os.pipe()
            with os.fdopen(events_fd, "rb", buffering=0) as events:
                try:
                    process = self._start(child_fd, folder, log)
                finally:
                    os.close(child_fd)
                watch = ProcessWatch(process, events, self.timeout)
                try:
                    for event in watch.events():
                        if event[0] == "end":
                            self.results[event[1]] = (event[2], event[3])
                finally:
                    watch.end()
            if watch.verdict is None:
                return False
            log.seek(0)
            tail = log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            text = "\n".join([watch.verdict, *tail])
            went_on = watch.test is not None or len(self.results) > done_before
            self.results[watch.test or f"{self.file} (outside of its tests)"] = ("failed", text)
            return went_on

    def _start(self, child_fd: int, folder: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONASYNCIODEBUG"}
        process = subprocess.Popen(
            [sys.executable, str(CHILD), self.backend, self.file, str(child_fd)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(child_fd,),
            cwd=folder,
            env=environment,
            start_new_session=True,  # a group to end, with whatever a test has left behind
        )
        request = {
            "patterns": self.patterns,
            "done": list(self.results),
            "left_out": self.left_out,
        }
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # it died at once
            stdin.write(json.dumps(request).encode())
        return process


class ProcessWatch:
    """Reads the events of one process until it ends, and ends it when a test takes too long.

    Its end, and not the end of the pipe, is what counts: a test's forked child may hold the pipe.
    """

    def __init__(self, process: subprocess.Popen[bytes], events: IO[bytes], timeout: float) -> None:
        self._process = process
        self._pipe = events
        self._timeout = timeout
        self.test: str | None = None  # the running one
        self.verdict: str | None = None  # why the process is to blame

    def events(self) -> Iterator[list[Any]]:
        """Each event as it comes; afterwards `verdict` stands."""
        finished = False
        deadline = time.monotonic() + self._timeout
        buffered = b""
        while True:
            ended = self._process.poll() is not None
            readable, _, _ = select.select([self._pipe], [], [], 0 if ended else 0.1)
            if readable and (chunk := self._pipe.read(1 << 16)):
                *lines, buffered = (buffered + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    deadline = time.monotonic() + self._timeout
                    finished = event[0] == "finished"
                    self.test = event[1] if event[0] == "start" else None
                    yield event
            elif ended:
                break
            elif readable:  # the end of the pipe; the process is about to end
                time.sleep(0.01)
            if time.monotonic() > deadline:
                self.verdict = f"no end after {self._timeout:g} s"
                self._abort()
                return
        if not finished or self._process.returncode != 0:
            self.verdict = f"the process ended with {self._process.returncode}"

    def end(self) -> None:
        """End the process and those that it has left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _abort(self) -> None:
        """Let faulthandler say where the process hangs."""
        self._process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


# -- the report ---------------------------------------------------------------------------------


def file_line(run: FileRun) -> str:
    """One line of the table."""
    counts = run.counts()
    numbers = " ".join(f"{counts[outcome]:4d} {outcome}" for outcome in OUTCOMES)
    return f"{run.backend:8} {run.file:26} {numbers} {run.seconds:6.1f} s"


def failures(runs: list[FileRun]) -> Iterator[tuple[str, str, str]]:
    """(backend, test, text) of each failed test."""
    for run in sorted(runs, key=lambda run: (run.backend, run.file)):
        for test, (outcome, text) in run.results.items():
            if outcome == "failed":
                yield run.backend, test, text


def summary(backend: str, runs: list[FileRun]) -> str:
    """The last line of a backend."""
    total = collections.Counter[str]()
    for run in runs:
        total += run.counts()
    numbers = ", ".join(f"{total[outcome]} {outcome}" for outcome in OUTCOMES[:-1])
    return f"conformance {backend}: {numbers}"


def write_junit(path: Path, runs: list[FileRun]) -> None:
    """A report for programs. What is excluded counts as skipped; not applicable is left out."""
    suite = ElementTree.Element("testsuite", name="conformance")
    for run in runs:
        for test, (outcome, text) in run.results.items():
            if outcome == "not applicable":
                continue
            classname, _, name = test.rpartition(".")
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{run.backend}.{classname}", name=name
            )
            if outcome == "failed":
                ElementTree.SubElement(case, "failure").text = _printable(text)
            elif outcome != "passed":
                ElementTree.SubElement(case, "skipped", message=f"{outcome}: {_printable(text)}")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable() or c in "\n\t")  # XML knows no others


# -- the run ------------------------------------------------------------------------------------


def test_files() -> list[str]:
    """The names of test_asyncio's files; large ones first, for they take longest."""
    spec = importlib.util.find_spec("test.test_asyncio")
    if spec is None or spec.submodule_search_locations is None:
        sys.exit("this Python has no test.test_asyncio: its distributor packages it apart")
    folder = Path(spec.submodule_search_locations[0])
    files = sorted(folder.glob("test_*.py"), key=lambda file: -file.stat().st_size)
    return [file.stem for file in files]


def files_of(patterns: list[str]) -> list[str]:
    """The files to look into: those that the patterns begin with, or else all."""
    files = test_files()
    named = {pattern.partition(".")[0] for pattern in patterns}
    if named and named <= set(files):
        return [file for file in files if file in named]
    return files


def rules(backend: str, excluded: bool) -> list[tuple[str, str, str]]:
    """What is left out on a backend: (pattern, outcome, reason)."""
    found = [(pattern, "not applicable", reason) for pattern, reason in DUPLICATES.items()]
    if backend != "asyncio" and not excluded:  # whose internals they are
        found += [(pattern, "excluded", reason) for pattern, reason in EXCLUSIONS.items()]
    return found


def unavailable(backend: str) -> str | None:
    """Why a backend cannot be tested here."""
    if backend == "uvloop" and importlib.util.find_spec("uvloop") is None:
        return "uvloop is not installed"
    if backend == "io_uring":
        import rloop

        try:
            rloop.new_event_loop(backend).close()
        except rloop.BackendUnavailable as exc:
            return str(exc)
    return None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", action="append", choices=BACKENDS, default=[])
    parser.add_argument("--jobs", type=int, default=4, help="processes at once (4)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one test (60)")
    parser.add_argument("--junitxml", type=Path, help="write a report for programs")
    parser.add_argument("--excluded", action="store_true", help="run what is excluded, alone")
    parser.add_argument("--brief", action="store_true", help="print no tracebacks")
    parser.add_argument("patterns", nargs="*", metavar="FILE or PATTERN")
    return parser.parse_args()


def run_all(arguments: argparse.Namespace, backends: list[str]) -> list[FileRun]:
    """Every file on every backend, a few at once; prints a line for each."""
    names = [argument.removesuffix(".py") for argument in arguments.patterns]
    patterns = [[f"*{name}*" for name in names]] if names else []
    if arguments.excluded:
        patterns.append(list(EXCLUSIONS))
    done = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        started: list[Future[FileRun]] = [
            pool.submit(
                FileRun(
                    backend,
                    file,
                    patterns,
                    rules(backend, arguments.excluded),
                    arguments.timeout,
                ).run
            )
            for file in files_of(names)
            for backend in backends
        ]
        try:
            for future in as_completed(started):
                run = future.result()
                done.append(run)
                if run.results:
                    print(file_line(run), flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what runs ends within its time
            raise
    return done


def main() -> int:
    """Run what the command line asks for; returns the exit code."""
    arguments = parse_arguments()
    wanted = arguments.backend or ["io_uring", "epoll"]
    not_run = {backend: reason for backend in wanted if (reason := unavailable(backend))}
    backends = [backend for backend in wanted if backend not in not_run]
    started = time.monotonic()
    runs = run_all(arguments, backends)
    failed = list(failures(runs))
    for backend, test, text in failed:
        print(f"\nFAILED {backend} {test}")
        if not arguments.brief:
            print(text.rstrip())
    if arguments.junitxml:
        write_junit(arguments.junitxml, runs)
    seconds = time.monotonic() - started
    print(f"\nCPython {platform.python_version()}, {seconds:.0f} s")
    for backend in backends:
        print(summary(backend, [run for run in runs if run.backend == backend]))
    for backend, reason in not_run.items():
        print(f"conformance {backend}: not run: {reason}")
    if arguments.backend and not_run:
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
