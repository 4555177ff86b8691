"""rloop.logging_report(): lines that come whatever the loop does, and that end when asked to."""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from observed import BACKENDS, converse
from programs import check_script
from support import DEADLINE, RLOOP_IDS, loops_only, wanted

if not wanted("rloop"):
    pytest.skip("RLOOP_TESTS_LOOPS asks for other loops alone", allow_module_level=True)

import rloop

pytestmark = loops_only(*RLOOP_IDS)

LINE = re.compile(
    r"told \((?P<backend>\w+)\): busy (?P<busy>[\d.]+)%, lag p50 [^,]+ p99 [^,]+, "
    r"(?P<turns>\d+) turns/s, (?P<messages>\d+) messages/s, (?P<calls>\S+) system calls per "
    r"message, \d+ connections, backlog \d+ bytes, \d+ slow callbacks, \d+ stalls"
)


class Lines(logging.Handler):
    """The lines of rloop.report, and an event for each that fits."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Condition()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert record.levelno == logging.INFO
        with self.came:
            self.lines.append(record.getMessage())
            self.came.notify_all()

    def wait_for(self, fits: Callable[[str], Any]) -> str:
        """The next line that fits."""
        with self.came:
            begin = len(self.lines)
            assert self.came.wait_for(lambda: any(map(fits, self.lines[begin:])), DEADLINE)
            return next(filter(fits, self.lines[begin:]))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("rloop.report")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@pytest.fixture
def report(lines: Lines) -> Iterator[Any]:
    found = rloop.logging_report(0.05)
    yield found
    found.cancel()
    wait_until_over()


def wait_until_over() -> None:
    for thread in threading.enumerate():
        if thread.name == "rloop-report":
            thread.join(DEADLINE)
            assert not thread.is_alive()


def test_a_line_says_what_the_loop_does(loop: Any, loop_id: str, lines: Lines, report: Any) -> None:
    loop.name = "told"
    over = threading.Event()

    def look() -> None:
        found.append(lines.wait_for(lambda line: (m := LINE.match(line)) and m["messages"] != "0"))
        over.set()

    found: list[str] = []
    thread = threading.Thread(target=look)
    thread.start()
    while not over.is_set() and thread.is_alive():
        converse(loop)
    thread.join()
    told = LINE.fullmatch(found[0])
    assert told, found
    assert told["backend"] == BACKENDS[loop_id]
    assert 0 < float(told["busy"]) <= 100
    assert float(told["calls"]) > 0
    assert int(told["turns"]) > 0


def test_a_loop_that_does_not_run_is_told_of(loop: Any, lines: Lines, report: Any) -> None:
    loop.name = "told"
    assert lines.wait_for(lambda line: line.endswith("does not run")).startswith("told (")


def test_lines_come_while_the_loop_hangs(loop: Any, lines: Lines, report: Any) -> None:
    loop.name = "told"

    def hang() -> None:
        lines.wait_for(lambda line: line.startswith("told"))  # may be of before
        found.append(lines.wait_for(lambda line: line.startswith("told")))

    found: list[str] = []
    loop.call_soon(hang)
    loop.call_soon(loop.stop)
    loop.run_forever()
    told = LINE.match(found[0])
    assert told
    assert (told["busy"], told["turns"]) == ("100.0", "0")


def test_it_ends_when_asked_to(lines: Lines, report: Any) -> None:
    report.cancel()
    wait_until_over()
    count = len(lines.lines)
    report.cancel()
    report.cancel()
    assert "rloop-report" not in {thread.name for thread in threading.enumerate()}
    assert len(lines.lines) == count


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), 1e300])
def test_what_is_no_interval_is_a_value_error(interval: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        rloop.logging_report(interval)


def test_a_child_of_a_fork_has_a_report_of_its_own() -> None:
    source = """
        import asyncio, logging, os, sys, threading, warnings
        import rloop
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        report = rloop.logging_report(1000)
        child = os.fork()
        if not child:
            assert threading.active_count() == 1
            report.cancel()
            report = rloop.logging_report(0.01)
            said = threading.Event()
            logging.getLogger("rloop.report").addFilter(lambda record: said.set() or True)
            async def main():
                await asyncio.to_thread(said.wait)
                report.cancel()
            rloop.run(main())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        report.cancel()
    """
    assert "MainThread (" in check_script(source)


def test_a_program_ends_while_it_reports() -> None:
    source = """
        import asyncio, rloop
        rloop.logging_report(0.001)
        rloop.run(asyncio.sleep(0.05))
    """
    assert check_script(source) == ""


def test_a_line_that_fails_is_not_the_last(loop: Any, lines: Lines) -> None:
    failures = 0

    def fail_once(_record: logging.LogRecord) -> bool:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise ValueError("a filter of the program's")
        return True

    loop.name = "told"
    lines.addFilter(fail_once)
    told = rloop.logging_report(0.02)
    try:
        lines.wait_for(lambda line: line.endswith("does not run"))
        assert failures > 1
    finally:
        told.cancel()


@pytest.mark.parametrize("interval", ["5", None])
def test_an_interval_is_a_number(interval: Any) -> None:
    with pytest.raises(TypeError, match="number of seconds"):
        rloop.logging_report(interval)
