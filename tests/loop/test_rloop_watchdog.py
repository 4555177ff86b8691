"""The stall watchdog: what it says about a loop that does not turn, and of which it says nothing.

Each program runs in a process of its own on both engines, and stalls until the test has read the
report (see watched.py). How the watchdog lives with forks and ends is in
test_rloop_watchdog_life.py.
"""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import pytest
from watched import Program

BACKENDS = pytest.mark.parametrize("backend", ["epoll", "io_uring"])
PY314 = sys.version_info >= (3, 14)

# `guilty` hangs in a line; the task that runs it is awaited by another one.
IN_A_TASK = """
def guilty():
    {line}  # guilty

async def handler():
    stall(guilty)

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(handler(), name="the handler")
    print(asyncio.get_running_loop().statistics()["stalls"])

run(main())
"""

BLOCKED = {
    "sleep": "time.sleep(1000)",
    "lock": "(lock := threading.Lock()).acquire(); lock.acquire()",
    "recv": "pair = socket.socketpair(); pair[0].recv(1)",
}
# It checks for signals, but gives the GIL to nobody.
RUNAWAY = 're.match("(a+)+$", "a" * 100 + "b")'


@BACKENDS
@pytest.mark.parametrize("kind", BLOCKED)
def test_the_guilty_line_and_the_task_are_named(tmp_path: Path, backend: str, kind: str) -> None:
    source = IN_A_TASK.format(line=BLOCKED[kind])
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.3", RLOOP_BACKEND=backend) as program:
        guilty = f'File "{program.path}", line {program.line("guilty")}, in guilty'
        report = program.read_until(guilty)
        if PY314:
            report = program.read_until("Task(name='Task-1'")
        program.go_on()
        program.read_until("turned again")
        assert program.finish().split() == ["1"]
    headline = re.match(
        rf"rloop: loop '.+' \({backend}, thread 0x[0-9a-f]{{16}} \"MainThread\", "
        rf"pid {program.process.pid}\) has not turned for (\d+\.\d) s"
        r"; in the last \d+\.\d s its thread computed for 0\.\d s"
        r"; \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n",
        report,
    )
    assert headline and float(headline[1]) >= 0.3, report
    assert "rloop: it runs the task 'the handler'\n" in report
    assert BLOCKED[kind] in report
    if PY314:
        assert re.search(r"Task\(name='the handler'.*\n.*Call stack.*\n.*handler\(\)", report)
        assert re.search(r"Awaited by:\n +\* Task\(name='Task-1'", report)
    back = re.search(r"turned again after (\d+\.\d) s\n", program.errors)
    assert back and float(back[1]) >= 0.3, program.errors
    assert "GIL" not in program.errors


@BACKENDS
def test_a_regular_expression_that_runs_away_is_named(tmp_path: Path, backend: str) -> None:
    source = IN_A_TASK.format(line=RUNAWAY)
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.3", RLOOP_BACKEND=backend) as program:
        report = program.read_until(" in run\n")  # faulthandler shows the innermost first
        program.go_on()
        program.read_until("turned again")
        assert program.finish().split() == ["1"]
    line = program.line("guilty")
    assert f'File "{program.path}", line {line} in guilty\n' in report
    told = re.search(
        r"a thread holds the GIL and does not give it up\. "
        r"All threads; the loop's is (0x[0-9a-f]{16}):\n",
        report,
    )
    assert told, report
    assert report.count(f"Thread {told[1]}") == 1
    assert f"thread {told[1]} " in report.partition("\n")[0]


@BACKENDS
def test_a_loop_that_waits_for_the_gil_of_another_thread(tmp_path: Path, backend: str) -> None:
    source = f"""
        def guilty():
            {RUNAWAY}  # guilty

        async def main():
            threading.Thread(target=guilty, daemon=True).start()
            while True:
                await asyncio.sleep(0.01)

        run(main())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.3", RLOOP_BACKEND=backend) as program:
        report = program.read_until(" in run\n")
    assert f'File "{program.path}", line {program.line("guilty")} in guilty\n' in report
    assert "holds the GIL" in report
    assert '"MainThread"' in report.partition("\n")[0]


def test_a_loop_may_be_named_in_the_middle_of_its_run(tmp_path: Path) -> None:
    source = """
        def guilty():
            time.sleep(1000)

        async def main():
            asyncio.get_running_loop().name = "front\\n\\u00e9" + "\\u20ac" * 100
            stall(guilty)

        run(main())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.2") as program:
        report = program.read_until("in guilty")
        program.go_on()
        program.finish()
    assert re.match(r"rloop: loop 'front\?\u00e9\u20ac{20,40}' \(", report), report


def test_a_callback_is_no_task(tmp_path: Path) -> None:
    source = """
        def guilty():
            time.sleep(1000)  # guilty

        async def main():
            asyncio.get_running_loop().call_soon(stall, guilty)
            await asyncio.sleep(0.01)

        run(main())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.3") as program:
        report = program.read_until(f"line {program.line('guilty')}, in guilty")
        program.go_on()
        program.finish()
    assert "rloop: it runs no task, but a callback\n" in report
    assert "Who awaits" not in report


def test_a_stall_that_goes_on_is_told_again_and_counted_once(tmp_path: Path) -> None:
    source = IN_A_TASK.format(line=BLOCKED["sleep"])
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.1") as program:
        program.read_until("in guilty", count=3)
        program.go_on()
        assert program.finish().split() == ["1"]
    ages = [float(age) for age in re.findall(r"has not turned for (\d+\.\d) s", program.errors)]
    assert len(ages) >= 3
    assert all(then < now for then, now in itertools.pairwise(ages)), ages
    assert program.errors.count("turned again") == 1


def test_each_stall_is_counted(tmp_path: Path) -> None:
    source = """
        def guilty():
            time.sleep(1000)  # guilty

        async def main():
            loop = asyncio.get_running_loop()
            for turn in range(2):
                stall(guilty)
                await asyncio.sleep(0)
            print(loop.statistics()["stalls"])

        run(main())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.2") as program:
        for count in (1, 2):
            program.read_until("turned for", count)
            program.read_until("in guilty", count)
            program.go_on()
            program.read_until("turned again", count)
        assert program.finish().split() == ["2"]


def test_a_run_that_ends_in_the_turn_that_stalled(tmp_path: Path) -> None:
    source = """
        def guilty():
            time.sleep(1000)

        loop = rloop.new_event_loop()
        loop.call_soon(stall, guilty)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        print(loop.statistics()["stalls"])
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.2") as program:
        program.read_until("in guilty")
        program.go_on()
        assert program.finish().split() == ["1"]
    # At the latest when the interpreter ends.
    assert re.search(r"turned again after \d+\.\d s, and its run has ended\n$", program.errors)


@BACKENDS
def test_a_loop_that_sleeps_or_turns_does_not_stall(tmp_path: Path, backend: str) -> None:
    source = """
        async def main():
            await asyncio.sleep(1.5)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                await asyncio.sleep(0)
            print(asyncio.get_running_loop().statistics()["stalls"])

        run(main())
        time.sleep(1.2)  # between two runs nothing waits for a turn
        run(main())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="1", RLOOP_BACKEND=backend) as program:
        assert program.finish().split() == ["0", "0"]
    assert program.errors == ""


def test_turns_that_share_a_time_are_told_apart(tmp_path: Path) -> None:
    # The loop reads the clock once for many quick turns, and what follows them here is slow.
    source = """
        async def main():
            for _ in range(10_000):
                await asyncio.sleep(0)
            for _ in range(8):
                time.sleep(0.4)
                await asyncio.sleep(0)
            print(asyncio.get_running_loop().statistics()["stalls"])

        run(main())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="1.5") as program:
        assert program.finish().split() == ["0"]
    assert program.errors == ""


def test_of_many_loops_those_that_stall(tmp_path: Path) -> None:
    source = """
        ended = threading.Event()

        def guilty():
            ended.wait()  # guilty

        async def main(number):
            if number in (3, 17):
                guilty()
            while not ended.is_set():
                await asyncio.sleep(0.01)

        def in_thread(number):
            rloop.run(main(number))

        threads = [
            threading.Thread(target=in_thread, args=(number,), name=f"worker {number}")
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        stall(threading.Event().wait)
        ended.set()
        for thread in threads:
            thread.join()
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="2") as program:
        program.read_until("in guilty", count=2)
        program.go_on()
        program.finish()
    headlines = re.findall(r'"(worker \d+)", pid \d+\) has not turned', program.errors)
    assert sorted(headlines) == ["worker 17", "worker 3"]
    assert program.errors.count(f"line {program.line('guilty')}, in guilty") == 2


@pytest.mark.parametrize("given", ["path", "descriptor", "object", "environment"])
def test_reports_go_to_a_file(tmp_path: Path, given: str) -> None:
    reports = tmp_path / "reports.log"
    reports.write_text("before\n")
    switch_on = {
        "path": f"rloop.watchdog(0.2, {str(reports)!r})",
        "descriptor": f"fd = os.open({str(reports)!r}, os.O_WRONLY | os.O_APPEND); "
        "rloop.watchdog(0.2, fd); os.close(fd)",
        "object": f"rloop.watchdog(0.2, open({str(reports)!r}, 'a'))",
        "environment": "",
    }[given]
    extra = {"RLOOP_WATCHDOG": "0.2", "RLOOP_WATCHDOG_FILE": str(reports)}
    source = f"""
        import gc, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        {switch_on}
        gc.collect()

        def guilty():
            while "in guilty" not in open({str(reports)!r}).read():
                time.sleep(0.01)

        async def main():
            guilty()

        run(main())
    """
    with Program(tmp_path, source, **(extra if given == "environment" else {})) as program:
        program.finish()
        assert program.errors == ""
    text = reports.read_text()
    assert text.startswith("before\nrloop: loop ")
    assert re.search(r" turned again after \d+\.\d s\n$", text)


def test_a_dump_goes_to_the_file_too(tmp_path: Path) -> None:
    reports = tmp_path / "reports.log"
    reports.touch()
    extra = {"RLOOP_WATCHDOG": "0.2", "RLOOP_WATCHDOG_FILE": str(reports)}
    with Program(tmp_path, IN_A_TASK.format(line=RUNAWAY), **extra) as program:
        program.wait_until(lambda: " in run\n" in reports.read_text())
        program.go_on()
        program.finish()
        assert program.errors == ""
    line = program.line("guilty")
    assert f'File "{program.path}", line {line} in guilty\n' in reports.read_text()
