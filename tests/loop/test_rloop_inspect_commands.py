"""``python -m rloop ps``, ``top`` and ``inspect``: what they print, how wide, and how they end."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from inspected import ABSTRACT, command, program, running
from programs import script_environment
from support import DEADLINE, RLOOP_IDS, loops_only

pytestmark = loops_only(*RLOOP_IDS)

# Two connections with a backlog, one callback that was slow, and tasks that wait for each other.
BUSY = program("""
    class Silent(asyncio.Protocol):
        def connection_made(self, transport):
            transport.pause_reading()
    server = await loop.create_server(Silent, "127.0.0.1", 0)
    for size in (4 << 20, 12 << 20):
        transport, _ = await loop.create_connection(
            asyncio.Protocol, *server.sockets[0].getsockname()
        )
        transport.write(bytes(size))
    loop._slow_recent.append({
        "callback": "slowly_\\x1b[2Jdone", "file": "/srv/app/handlers.py", "line": 77,
        "task": "[bold]name", "duration": 0.25, "at": time.time() - 90,
    })
    async def waits(): await asyncio.sleep(1000)
    async def parent(): await asyncio.create_task(waits(), name="the\\x07child")
    task = asyncio.create_task(parent(), name="the parent")
    await asyncio.sleep(0.01)
    print("ready", flush=True)
    await asyncio.sleep(1000)
""")


# -- top ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 100, 163, 164, 200])
def test_a_frame_fits_its_width_and_shows_everything(loop_id: str, columns: int) -> None:
    with running(BUSY, loop_id) as process:
        done = command("top", process.pid, "--once", COLUMNS=str(columns))
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert max(map(len, rows)) <= columns, done.stdout
    backend = {"rloop-epoll": "epoll"}.get(loop_id, "io_uring")
    for word in (f"rloop top {process.pid}", backend, "TIMER LAG", "CALLS", "handlers.py:77"):
        assert word in done.stdout, done.stdout
    assert "250 ms" in done.stdout
    assert "[bold]name" in done.stdout, "a name is not taken for markup"
    assert "slowly_\\x1b[2Jdone" in done.stdout
    assert "\x1b" not in done.stdout, "nothing that a terminal would obey"
    # The heavier connection comes first, and both are there.
    backlogs = [float(size) for size in re.findall(r"([0-9.]+) MiB", done.stdout)]
    assert len(backlogs) >= 3
    heavy = [row for row in rows if "127.0.0.1:" in row]
    assert len(heavy) == 2, done.stdout


def test_the_only_process_needs_no_number_and_several_are_a_table(
    loop_id: str, tmp_path: Path
) -> None:
    with running(program(), loop_id, tmp_path) as one:
        listed = json.loads(command("ps", "--json", folder=tmp_path, alone=True).stdout)
        assert [row["pid"] for row in listed] == [one.pid]
        done = command("top", "--once", folder=tmp_path, alone=True, COLUMNS="120")
        assert done.returncode == 0, done.stderr
        assert f"rloop top {one.pid}" in done.stdout
        with running(program(), loop_id, tmp_path) as two:
            done = command("top", "--once", folder=tmp_path, alone=True, COLUMNS="80")
            assert done.returncode == 0, done.stderr
            for process in (one, two):
                assert re.search(rf"^ *{process.pid} +1 ", done.stdout, re.M), done.stdout
            assert max(map(len, done.stdout.splitlines())) <= 80


def test_without_rich_there_is_a_sentence() -> None:
    source = """
        import sys
        sys.modules["rich"] = None
        from rloop.__main__ import main
        sys.exit(main(["top", "1"]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        env=script_environment(),
        timeout=DEADLINE,
    )
    assert done.returncode == 1
    assert "pip install rich" in done.stderr
    assert "Traceback" not in done.stderr


def test_top_without_a_terminal(loop_id: str) -> None:
    with running(program(), loop_id) as process:
        done = command("top", process.pid)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--once" in done.stderr


def test_a_picture_loads_nothing(loop_id: str, tmp_path: Path) -> None:
    with running(BUSY, loop_id) as process:
        done = command("top", process.pid, "--svg", tmp_path / "top.svg")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    picture = (tmp_path / "top.svg").read_text()
    assert "BACKLOG" in picture
    hosts = set(re.findall(r"https?://[^\s\"')]+", picture))
    assert hosts <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}, hosts
    assert "url(" not in picture.replace("url(#", "")


class Terminal:
    """What a program shows in a terminal, and the keys that are typed there."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self.descriptor, self.process = descriptor, process
        self.shown = ""

    def read_until(self, condition: Callable[[str], Any]) -> None:
        end = time.monotonic() + 2 * DEADLINE
        while not condition(self.shown):
            assert time.monotonic() < end, self.shown[-3000:]
            self._read()

    def _read(self) -> bool:
        if not select.select([self.descriptor], [], [], 0.1)[0]:
            return False
        self.shown += os.read(self.descriptor, 65536).decode(errors="replace")
        return True

    def type(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.descriptor, (rows, columns))

    def end(self) -> int:
        """Its exit code; what it still prints is read."""
        self.read_until(lambda _: self.process.poll() is not None)
        while self._read():
            pass
        return self.process.wait()


@contextmanager
def terminal(
    *arguments: object, module: Sequence[str] = ("-m", "rloop"), rows: int = 24, columns: int = 80
) -> Iterator[Terminal]:
    """``python -m rloop ...`` in a terminal of its own."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (rows, columns))
    environment = script_environment(TERM="xterm-256color", XDG_RUNTIME_DIR=ABSTRACT)
    for name in ("COLUMNS", "LINES", "RLOOP_INSPECT", "NO_COLOR"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, *module, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its controlling terminal
    )
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)  # until now what is left can be read


@pytest.mark.parametrize("how", ["q", "ctrl-c"])
def test_top_is_redrawn_until_it_is_ended(loop_id: str, how: str) -> None:
    with running(program(), loop_id) as process:
        with terminal("top", process.pid, "--interval", "0.1") as shown:
            shown.read_until(lambda text: text.count(f"rloop top {process.pid}") >= 3)
            assert termios.tcgetattr(shown.descriptor)[3] & termios.ECHO == 0
            shown.type(b"q" if how == "q" else b"\x03")
            assert shown.end() == 0, shown.shown
            assert "\x1b[?1049l" in shown.shown, "the former screen is back"
            assert termios.tcgetattr(shown.descriptor)[3] & termios.ECHO
        assert process.poll() is None


def test_top_is_drawn_anew_when_the_terminal_changes_its_size(loop_id: str) -> None:
    with running(program(), loop_id) as process:
        with terminal("top", process.pid, "--interval", "1000") as shown:
            shown.read_until(lambda text: text.count(f"rloop top {process.pid}") >= 1)
            shown.resize(30, 60)
            shown.read_until(lambda text: text.count(f"rloop top {process.pid}") >= 2)


def test_a_process_that_dies_while_it_is_watched(loop_id: str) -> None:
    with running(program(), loop_id) as process:
        with terminal("top", process.pid, "--interval", "0.1") as shown:
            shown.read_until(lambda text: text.count(f"rloop top {process.pid}") >= 2)
            process.kill()
            assert shown.end() == 1
            last = shown.shown.rpartition("\x1b[?1049l")[2]
            assert f"Process {process.pid} has ended" in last
            assert "Traceback" not in shown.shown


def test_a_process_that_is_stopped_while_it_is_watched_is_waited_for(loop_id: str) -> None:
    with running(program(), loop_id) as process:
        with terminal("top", process.pid, "--interval", "0.1") as shown:
            shown.read_until(lambda text: text.count(f"rloop top {process.pid}") >= 2)
            os.kill(process.pid, signal.SIGSTOP)
            shown.read_until(lambda text: "is stopped" in text)
            os.kill(process.pid, signal.SIGCONT)
            before = len(shown.shown)
            frame = f"rloop top {process.pid}"
            shown.read_until(lambda text: "is stopped" not in text[before:].rpartition(frame)[2])
            shown.type(b"q")
            assert shown.end() == 0


# -- ps and inspect -----------------------------------------------------------------------------


def test_ps_lists_each_process(loop_id: str) -> None:
    with running(BUSY, loop_id) as process:
        table = command("ps").stdout
        found = json.loads(command("ps", "--json").stdout)
    head, *rows = table.splitlines()
    assert head.split()[:3] == ["PID", "LOOPS", "BACKEND"]
    (row,) = (row for row in rows if row.split()[0] == str(process.pid))
    backend = {"rloop-epoll": "epoll"}.get(loop_id, "io_uring")
    assert row.split()[1:3] == ["1", backend]
    assert "\x1b" not in table
    (entry,) = (entry for entry in found if entry["pid"] == process.pid)
    assert entry["error"] is None
    assert entry["connections"] == 4
    assert entry["command"][0] == sys.executable
    (loop,) = entry["loops"]
    assert (loop["backend"], loop["running"]) == (backend, True)
    assert 0 <= loop["utilization"] <= 1
    assert 0 <= loop["utilization_now"] <= 1


def test_inspect_prints_everything_for_readers(loop_id: str) -> None:
    with running(BUSY, loop_id) as process:
        done = command("inspect", process.pid)
    assert done.returncode == 0, done.stderr
    for word in (
        "2 reading paused, 2 writing paused",
        "handlers.py:77",
        "backlog",
        "timer lag: p50",
        "Task-1",
        "Python ",
    ):
        assert word in done.stdout, done.stdout
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    lines = done.stdout.splitlines()
    depth = {
        name: line.index(name) for line in lines for name in ("the parent:", "the\\x07child:")
        if name in line
    }  # fmt: skip
    deeper = depth["the\\x07child:"] - depth["the parent:"]
    assert deeper == (2 if sys.version_info >= (3, 14) else 0)


@pytest.mark.parametrize(
    "arguments",
    [["top", "x"], ["top", "-1"], ["top", "1", "2"], ["top", "1", "--interval", "0"], ["inspect"]],
    ids=" ".join,
)
def test_a_wrong_command_line(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_help_names_the_commands() -> None:
    shown = command("--help").stdout
    for word in ("ps", "top [PID]", "inspect"):
        assert word in shown
    for name in ("ps", "top", "inspect"):
        assert command(name, "--help").returncode == 0


SHELL = """
import os, signal, subprocess, sys, termios
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = subprocess.Popen([sys.executable, "-m", "rloop", *sys.argv[1:]], process_group=0)
os.tcsetpgrp(0, job.pid)
while os.WIFSTOPPED((ended := os.waitpid(job.pid, os.WUNTRACED))[1]):
    echo = bool(termios.tcgetattr(0)[3] & termios.ECHO)
    print(f"job stopped, {echo=}", flush=True)
    os.kill(job.pid, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(ended[1]))
"""


def test_ctrl_z_gives_the_terminal_back_and_fg_goes_on(loop_id: str) -> None:
    with running(program(), loop_id) as process:
        job = ["-c", SHELL, "top", process.pid, "--interval", "0.1"]
        with terminal(*job, module=()) as shown:
            frame = f"rloop top {process.pid}"
            for _ in range(2):
                before = len(shown.shown)
                shown.read_until(lambda text, before=before: text[before:].count(frame) >= 2)
                shown.type(b"\x1a")
                stopped = "\x1b[?1049ljob stopped, echo=True"
                shown.read_until(lambda text, before=before: stopped in text[before:])
            before = len(shown.shown)
            shown.read_until(lambda text, before=before: frame in text[before:])
            assert termios.tcgetattr(shown.descriptor)[3] & termios.ECHO == 0
            shown.type(b"q")
            assert shown.end() == 0


def test_ctrl_z_where_nobody_could_let_it_go_on(loop_id: str) -> None:
    """The only process of a terminal is not stopped by it, like any other program."""
    with running(program(), loop_id) as process:
        with terminal("top", process.pid, "--interval", "0.1") as shown:
            frame = f"rloop top {process.pid}"
            shown.read_until(lambda text: frame in text)
            shown.type(b"\x1a")
            before = len(shown.shown)
            shown.read_until(lambda text: text[before:].count(frame) >= 3)
            shown.type(b"q")
            assert shown.end() == 0


MANY_LOOPS = """
    import rloop, threading
    def serve(backend):
        loop = rloop.new_event_loop(backend=backend)
        loop.run_until_complete(asyncio.sleep(1000))
    backend = asyncio.get_running_loop().backend
    for _ in range(40):
        threading.Thread(target=serve, args=(backend,), daemon=True).start()
    print("ready", flush=True)
    await asyncio.sleep(1000)
"""


@pytest.mark.parametrize("columns", [80, 200])
def test_loops_for_which_there_is_no_room_are_counted(loop_id: str, columns: int) -> None:
    with running(program(MANY_LOOPS), loop_id) as process:
        with terminal("top", process.pid, "--interval", "0.1", rows=24, columns=columns) as shown:
            shown.read_until(lambda text: "busiest of 41 loops" in text)
            frames = shown.shown.split("rloop top")
            assert all(frame.count("\n") < 24 for frame in frames)
            shown.type(b"q")
            assert shown.end() == 0


@pytest.mark.parametrize("arguments", [["ps"], ["ps", "--json"], ["inspect", "PID"], []])
def test_output_that_nobody_reads(loop_id: str, arguments: list[str]) -> None:
    with running(program(), loop_id) as process:
        command = [sys.executable, "-m", "rloop"]
        command += [str(process.pid) if word == "PID" else word for word in arguments]
        environment = script_environment(XDG_RUNTIME_DIR=ABSTRACT)
        ours, theirs = os.pipe()
        os.close(ours)
        gone = subprocess.run(
            command, stdout=theirs, stderr=subprocess.PIPE, env=environment, text=True
        )
        os.close(theirs)
        assert (gone.returncode, gone.stderr) == (1, "")
        closed = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", *command],
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert (closed.returncode, closed.stderr) == (0, "")


def test_output_for_which_there_is_no_room(loop_id: str) -> None:
    with running(program(), loop_id) as process, Path("/dev/full").open("w") as full:
        for arguments in (["ps", "--json"], ["inspect", str(process.pid)], ["--json"]):
            done = subprocess.run(
                [sys.executable, "-m", "rloop", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                env=script_environment(XDG_RUNTIME_DIR=ABSTRACT),
                text=True,
            )
            said = "python -m rloop: [Errno 28] No space left on device\n"
            assert (done.returncode, done.stderr) == (1, said)
