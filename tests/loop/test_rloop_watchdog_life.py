"""The stall watchdog on and off, in forks, and at the end of the process.

What it says is in test_rloop_watchdog.py, what it leaves alone in test_rloop_watchdog_manners.py.
Programs run in processes of their own (watched.py).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import support
from programs import check_script, run_script
from watched import Program

rloop = __import__("rloop") if support.wanted("rloop") else pytest.importorskip("rloop")

BACKENDS = pytest.mark.parametrize("backend", ["epoll", "io_uring"])

# How many threads of the watchdog there are, by their names; and where signals go.
COUNT = """
        import os
        from own_threads import named
        def ours():
            return named("rloop-")
        def handlers():
            from rloop import _core
            return [n for n in range(1, 65) if n not in (32, 33) and _core._signal_handler(n) > 1]
"""


def test_the_import_is_light_and_nothing_is_there_when_it_is_off() -> None:
    source = (
        COUNT
        + """
        import asyncio, sys, rloop
        rloop.run(asyncio.sleep(0))
        print("rloop.stall_watchdog" in sys.modules, ours())
    """
    )
    assert check_script(source).split() == ["False", "[]"]


def test_switching_it_on_and_off_leaves_nothing_behind(tmp_path: Path) -> None:
    # A thread has its name, or is gone, a moment after the call.
    source = (
        COUNT
        + """
        import asyncio, sys, time, rloop
        def threads(expected):
            end = time.monotonic() + 15
            while (count := len(ours())) != expected and time.monotonic() < end:
                time.sleep(0.01)
            return count
        async def main():
            descriptors, signals = len(os.listdir("/proc/self/fd")), len(handlers())
            for seconds, expected in ((60, 2), (30, 2), (0, 0), (60, 2), (None, 0)):
                rloop.watchdog(seconds, sys.argv[1])
                print(len(os.listdir("/proc/self/fd")) - descriptors, len(handlers()) - signals,
                      threads(expected))
        rloop.run(main())
    """
    )
    told = check_script(source, str(tmp_path / "reports.log"))
    assert told.splitlines() == ["1 1 2", "1 1 2", "0 0 0", "1 1 2", "0 0 0"]


def test_a_loop_that_runs_already_is_watched_from_then_on(tmp_path: Path) -> None:
    source = """
        def guilty():
            rloop.watchdog(0.2)
            time.sleep(1000)

        async def main():
            stall(guilty)

        run(main())
    """
    with Program(tmp_path, source) as program:
        report = program.read_until("in guilty")
        program.go_on()
        program.finish()
    assert '"MainThread"' in report


def test_a_loop_is_not_watched_any_more_when_it_is_switched_off(tmp_path: Path) -> None:
    source = """
        def guilty():
            time.sleep(1)

        async def main():
            rloop.watchdog(None)
            guilty()
            print(asyncio.get_running_loop().statistics()["stalls"])

        run(main())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.2") as program:
        assert program.finish().split() == ["0"]
        assert program.errors == ""


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        ("2", TypeError),
        (b"2", TypeError),
        (True, TypeError),
        ([], TypeError),
        (1j, TypeError),
        (-1, ValueError),
        (0.009, ValueError),
        (86401, ValueError),
        (10**400, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
    ],
)
def test_wrong_times_are_refused(seconds: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"seconds is .*must be a number of seconds from 0.01 to 86400"):
        rloop.watchdog(seconds)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    for file in (1.5, object(), True):
        with pytest.raises(TypeError, match=r"file is .*must be a path, a descriptor or have"):
            rloop.watchdog(1, file)
    with pytest.raises(OSError, match="Bad file descriptor"):
        rloop.watchdog(1, 999_999)
    with pytest.raises(FileNotFoundError):
        rloop.watchdog(1, tmp_path / "no" / "folder")


@pytest.mark.parametrize("wanted", ["soon", "-1", "1e9", "nan", "2s"])
def test_a_wrong_variable_is_told(wanted: str) -> None:
    done = run_script(
        "import rloop; rloop.run(__import__('asyncio').sleep(0))", RLOOP_WATCHDOG=wanted
    )
    assert done.returncode == 0
    assert f"RuntimeWarning: RLOOP_WATCHDOG is {wanted!r}; it should be a number" in done.stderr


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    done = run_script("import rloop", RLOOP_WATCHDOG="2", RLOOP_WATCHDOG_FILE=str(tmp_path))
    assert done.returncode == 0
    assert "RuntimeWarning: RLOOP_WATCHDOG_FILE cannot be opened ([Errno 21]" in done.stderr


@pytest.mark.parametrize("wanted", ["", "0", "0.0"])
def test_a_variable_that_switches_it_off(wanted: str) -> None:
    source = COUNT + "        import asyncio, rloop; rloop.run(asyncio.sleep(0)); print(ours())"
    assert check_script(source, RLOOP_WATCHDOG=wanted).split() == ["[]"]


@BACKENDS
def test_a_fork_in_a_callback(tmp_path: Path, backend: str) -> None:
    # The child's copy of the loop is dead, but a new one is watched; the parent's goes on.
    source = """
        import warnings
        from own_threads import named
        warnings.simplefilter("ignore", DeprecationWarning)  # fork and threads

        def guilty():
            time.sleep(1000)

        async def work():
            os.read(0, 1)  # TSan keeps signals from the child of a process with threads

        def fork():
            pid = os.fork()
            if pid == 0:
                asyncio._set_running_loop(None)
                run(work())
                os._exit(0)
            return pid

        async def main():
            while len(named("rloop-")) < 2:  # ASan does not survive a fork while a thread begins
                await asyncio.sleep(0.01)
            pid = fork()
            print(pid, flush=True)
            await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
            stall(guilty)

        run(main())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.3", RLOOP_BACKEND=backend) as program:
        assert program.process.stdout is not None
        child = int(program.process.stdout.readline())
        program.read_until("in work")
        assert f"pid {child}) has not turned" in program.errors
        assert f"pid {program.process.pid})" not in program.errors
        program.feed()
        program.read_until(f"pid {program.process.pid}) has not turned")
        program.go_on()
        program.finish()


@pytest.mark.skipif(
    "ASAN_OPTIONS" in os.environ,
    reason="ASan's allocator does not survive a fork while another thread allocates",
)
def test_a_fork_between_runs_and_a_fork_while_it_writes(tmp_path: Path) -> None:
    source = """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        rloop.watchdog(0.01, os.devnull)
        stop = threading.Event()

        async def stumble():
            while not stop.is_set():
                time.sleep(0.03)
                await asyncio.sleep(0)

        threads = [threading.Thread(target=rloop.run, args=(stumble(),)) for _ in range(3)]
        for thread in threads:
            thread.start()

        async def once():
            time.sleep(0.02)

        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                run(once())
                rloop.watchdog(0)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
    """
    with Program(tmp_path, source) as program:
        program.finish()
        assert program.errors == ""


def test_loops_that_end_while_they_are_reported(tmp_path: Path) -> None:
    reports = tmp_path / "reports.log"
    source = f"""
        rloop.watchdog(0.01, {str(reports)!r})

        async def stumble(seconds):
            time.sleep(seconds)

        def work(number):
            for turn in range(30):
                rloop.run(stumble((number * 7 + turn) % 30 / 1000))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for seconds in (0.02, 0.01, 0, 0.01):
            rloop.watchdog(seconds, {str(reports)!r})
            time.sleep(0.05)
        for thread in threads:
            thread.join()
    """
    with Program(tmp_path, source) as program:
        program.finish()
        assert program.errors == ""
    assert "has not turned for 0.0 s" in reports.read_text()


@pytest.mark.parametrize("ending", ["sys.exit(3)", "os._exit(3)", "raise SystemExit(3)"])
def test_the_program_ends_during_a_stall(tmp_path: Path, ending: str) -> None:
    source = f"""
        async def main():
            time.sleep(1000)  # guilty

        threading.Thread(target=rloop.run, args=(main(),), daemon=True).start()
        stall(threading.Event().wait)
        {ending}
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.1") as program:
        program.read_until(f"line {program.line('guilty')}, in main")
        program.go_on()
        program.finish(3)


def test_the_program_ends_while_reports_are_made(tmp_path: Path) -> None:
    source = """
        import random
        random.seed(int(os.environ["SEED"]))
        rloop.watchdog(0.01, os.devnull)

        async def main():
            while True:
                time.sleep(0.015)
                await asyncio.sleep(0)

        for _ in range(4):
            threading.Thread(target=rloop.run, args=(main(),), daemon=True).start()
        time.sleep(random.uniform(0.05, 0.15))
    """
    for seed in range(8):
        with Program(tmp_path, source, SEED=str(seed)) as program:
            program.finish()
            # UBSan has words for how CPython before 3.14 ends a daemon thread.
            for word in ("Fatal", "Sanitizer", "Aborted", "Assertion", "terminate", "ignored in"):
                assert word not in program.errors, program.errors


def test_a_process_that_was_stopped_has_not_stalled(tmp_path: Path) -> None:
    source = """
        async def main():
            await asyncio.sleep(0.5)
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.5)  # in the same turn, for the watchdog to look at
            await asyncio.sleep(0)

        run(main())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="1.5") as program:
        os.waitid(os.P_PID, program.process.pid, os.WSTOPPED | os.WNOWAIT)
        time.sleep(2.5)
        program.send(signal.SIGCONT, program.process.pid)
        program.finish()
        assert program.errors == ""
