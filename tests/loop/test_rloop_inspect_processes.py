"""The live view of other processes: where it is, who may look, and each reason for no answer."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from typing import Any

import pytest
from inspected import (
    command,
    inspected,
    is_root,
    program,
    refused,
    running,
    state_of,
)
from programs import start_script
from support import DEADLINE, RLOOP_IDS, loops_only

pytestmark = loops_only(*RLOOP_IDS)


def wait_for(condition: Any) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "the awaited condition did not come true in time"
        time.sleep(0.01)


def is_listed(pid: int) -> bool:
    return re.search(rf"^ *{pid}\b", command("ps").stdout, re.MULTILINE) is not None


# -- loops that hang ----------------------------------------------------------------------------

HANGS = {
    "sleep": ("time.sleep(1000)", "hang"),
    "lock": ("lock.acquire()", "hang"),
}


@pytest.mark.parametrize("how", HANGS)
def test_a_loop_that_hangs_is_looked_at(loop_id: str, how: str) -> None:
    line, function = HANGS[how]
    source = program(f"""
        lock = threading.Lock(); lock.acquire()
        def hang():
            print("ready", flush=True)
            {line}
        loop.call_soon(hang)
        await asyncio.sleep(1000)
    """)
    with running(source, loop_id) as process:
        found = inspected(process.pid)
        shown = command("top", process.pid, "--once", COLUMNS="200").stdout
    (loop,) = found["loops"]
    assert loop["stack"][-1]["function"].endswith(function)
    assert loop["backend"] == {"rloop-epoll": "epoll"}.get(loop_id, "io_uring")
    assert "has ended no turn for" in shown
    assert "hang" in shown


def test_who_holds_the_gil_keeps_everybody_silent(loop_id: str) -> None:
    source = program("""
        import re
        print("ready", flush=True)
        re.match("(a+)+$", "a" * 64 + "b")
    """)
    with running(source, loop_id) as process:
        refused(process.pid, "does not answer within 3 s", "GIL", "RLOOP_WATCHDOG")
        table = command("ps").stdout
    assert f"{process.pid}" in table
    assert "GIL" in table


# -- no answer, and why -------------------------------------------------------------------------


def test_a_stopped_process(loop_id: str) -> None:
    with running(program(), loop_id) as process:
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: state_of(process.pid) == "T")
        refused(process.pid, f"Process {process.pid} is stopped", f"kill -CONT {process.pid}")
        assert "is stopped" in command("ps").stdout
        os.kill(process.pid, signal.SIGCONT)
        assert inspected(process.pid)["process"]["pid"] == process.pid


def test_a_process_that_has_ended(loop_id: str) -> None:
    with running(program(), loop_id) as process:
        process.kill()
        wait_for(lambda: state_of(process.pid) == "Z")
        refused(process.pid, f"Process {process.pid} has ended")
        assert not is_listed(process.pid)
    refused(process.pid, f"There is no process {process.pid}.")
    refused(process.pid, f"There is no process {process.pid}.", what="top")


ENDS = """
    import os, socket
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(f"\\0rloop-inspect-{os.geteuid()}-{os.getpid()}")
    sock.listen()
    print("ready", flush=True)
    other, _ = sock.accept()
    other.recv(100)
    other.send(b'{"protocol": 1, "proc')
    os._exit(0)
"""


def test_a_process_that_ends_before_its_answer(loop_id: str) -> None:
    with running(ENDS, loop_id) as process:
        refused(process.pid, f"Process {process.pid} has ended")


SAYS = """
    import contextlib, os, socket
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(f"\\0rloop-inspect-{os.geteuid()}-{os.getpid()}")
    sock.listen()
    print("ready", flush=True)
    while True:  # whoever lists the processes of this user asks, a test beside this one too
        other, _ = sock.accept()
        with other, contextlib.suppress(OSError):
            other.recv(100)
            other.send(os.environ["ANSWER"].encode())
"""
ANSWERS = {
    "nothing": ("", "closed the connection without an answer"),
    "no JSON": ("HTTP/1.1 400\n", "answers something that is no live view"),
    "a number": ("1\n", "answers something that is no live view"),
    "another protocol": ('{"protocol": 2}\n', "speaks protocol 2"),
    "a refusal": ('{"protocol": 1, "error": "\\u001b[2Jno"}\n', "refuses: \\x1b[2Jno."),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_process_that_answers_something_else(loop_id: str, kind: str) -> None:
    answer, words = ANSWERS[kind]
    with running(SAYS, loop_id, ANSWER=answer) as process:
        refused(process.pid, words)


def test_processes_without_a_live_view(loop_id: str) -> None:
    other = 'import time; print("ready", flush=True); time.sleep(1000)'
    with running(other, loop_id) as process:
        refused(process.pid, f"Process {process.pid} does not run rloop.")
    for off in ("", "0"):
        with running(program(), loop_id, RLOOP_INSPECT=off) as process:
            refused(process.pid, "its live view off", "RLOOP_INSPECT=1", "rloop.inspect.listen()")
            assert not is_listed(process.pid)


def test_a_process_that_pretends_to_be_another(loop_id: str) -> None:
    # The name of a process that has no live view is anybody's to take.
    with running(program(), loop_id, RLOOP_INSPECT="0") as process:
        with socket.socket(socket.AF_UNIX) as pretender:
            pretender.bind(f"\0rloop-inspect-{os.geteuid()}-{process.pid}")
            pretender.listen()
            refused(process.pid, "its live view off")


# -- other users --------------------------------------------------------------------------------

AS_NOBODY = """
    import os, socket, sys
    import rloop.inspection.commands as commands, rloop.inspection.top
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    pid = sys.argv[1]
    assert commands.main(["inspect", pid]) == commands.main(["top", pid, "--once"]) == 1
    assert commands.main(["ps"]) == 0
    # And without asking first whose it is:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"\\0rloop-inspect-0-{pid}")
        received = b""
        try:
            sock.sendall(b'{"protocol": 1}\\n')
        except BrokenPipeError:
            pass  # refused before it asked
        while not received.endswith(b"\\n"):
            received += sock.recv(65536)
    print(received.decode(), end="")
"""


@pytest.mark.skipif(not is_root(), reason="only root may become another user")
def test_another_user_gets_a_sentence_and_nothing_else(loop_id: str) -> None:
    with running(program(), loop_id) as process:
        with start_script(AS_NOBODY, str(process.pid), XDG_RUNTIME_DIR="") as other:
            out, err = other.communicate(timeout=3 * DEADLINE)
        assert other.returncode == 0, err
        sentence = f"Process {process.pid} is user root's and answers nobody else"
        assert err.count(sentence) == 2, err
        *table, line = out.splitlines()
        assert json.loads(line) == {
            "protocol": 1,
            "error": "only user 0 may ask this process, not user 65534",
        }
        assert not any("io_uring" in row or "epoll" in row for row in table)
        assert inspected(process.pid)["process"]["pid"] == process.pid


@pytest.mark.skipif(not is_root(), reason="only root may become another user")
def test_a_process_that_gave_up_its_rights_answers_its_new_user(loop_id: str) -> None:
    source = program("""
        import os, rloop.inspection.client as client
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        if os.fork() == 0:
            try:
                assert client.ask(os.getppid())["process"]["pid"] == os.getppid()
                print("answered", flush=True)
            finally:
                os._exit(0)
        print("ready", flush=True)
        await asyncio.sleep(1000)
    """)
    with start_script(source, loop_id, RLOOP_INSPECT="1", XDG_RUNTIME_DIR="") as process:
        try:
            assert process.stdout is not None
            assert sorted(process.stdout.readline() for _ in range(2)) == ["answered\n", "ready\n"]
            refused(process.pid, "is user nobody's", "sudo -u")
        finally:
            process.kill()
            process.communicate()
