"""Where the live view of a process is, from when on, and what a fork makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from inspected import ABSTRACT, command, inspected, program, running
from programs import check_script, script_environment, start_script
from support import DEADLINE, RLOOP_IDS, loops_only, wanted

if not wanted("rloop"):
    pytest.skip("RLOOP_TESTS_LOOPS asks for other loops alone", allow_module_level=True)

from rloop import inspect

pytestmark = loops_only(*RLOOP_IDS)


# -- where it is --------------------------------------------------------------------------------


def test_the_socket_is_in_the_runtime_folder_and_goes_with_the_process(
    loop_id: str, tmp_path: Path
) -> None:
    source = program('print("ready", flush=True); await loop.run_in_executor(None, input)')
    with running(source, loop_id, tmp_path) as process:
        path = tmp_path / f"rloop-{process.pid}.sock"
        assert path.is_socket()
        assert path.stat().st_mode & 0o777 == 0o600
        for target in (process.pid, path):
            found = inspected(target, tmp_path)
            assert found["process"]["pid"] == process.pid
        # Whoever has another folder finds it by what the system lists.
        assert inspected(process.pid, ABSTRACT)["process"]["pid"] == process.pid
        process.communicate("\n", timeout=DEADLINE)
        assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("why", ["missing", "relative", "open to others", "too long", "no folder"])
def test_another_folder_is_not_taken(loop_id: str, tmp_path: Path, why: str) -> None:
    folder = tmp_path / ("long" * 30 if why == "too long" else "folder")
    if why == "no folder":
        folder.write_text("")
    elif why != "missing":
        folder.mkdir(mode=0o700)
    if why == "open to others":
        folder.chmod(0o777)
    with running(program(), loop_id, "folder" if why == "relative" else folder) as process:
        assert inspected(process.pid)["process"]["pid"] == process.pid
        name = f"@rloop-inspect-{os.geteuid()}-{process.pid}"
        assert inspected(name)["process"]["pid"] == process.pid
    assert folder.is_file() or not folder.exists() or list(folder.iterdir()) == []


def test_ps_removes_what_killed_processes_left(loop_id: str, tmp_path: Path) -> None:
    with running(program(), loop_id, tmp_path) as process:
        path = tmp_path / f"rloop-{process.pid}.sock"
    assert path.is_socket()
    (tmp_path / "rloop-1.sock").write_text("no socket, and its process lives")
    (tmp_path / "other.sock").write_text("")
    assert command("ps", folder=tmp_path).returncode == 0
    assert not path.exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other.sock", "rloop-1.sock"]


# -- import and forks ---------------------------------------------------------------------------


def test_it_begins_with_the_first_loop_and_only_where_it_is_asked_for(loop_id: str) -> None:
    source = """
        import sys, threading
        import rloop
        from support import new_loop
        def names():
            return "rloop-inspect" in [thread.name for thread in threading.enumerate()]
        print("rloop.inspect" in sys.modules, names())
        loop = new_loop(sys.argv[1])
        print("rloop.inspect" in sys.modules, names())
        loop.close()
        rloop.inspect.listen()
        print("rloop.inspect" in sys.modules, names())
    """
    told = {
        "0": ["False False", "False False", "True True"],
        "1": ["True False", *["True True"] * 2],
    }
    for setting, lines in told.items():
        out = check_script(source, loop_id, RLOOP_INSPECT=setting, XDG_RUNTIME_DIR="")
        assert out.splitlines() == lines


def test_a_view_that_cannot_be_had_is_told_and_hurts_nobody(loop_id: str) -> None:
    source = """
        import asyncio, logging, os, socket, sys
        logging.basicConfig()
        from support import new_loop
        taken = socket.socket(socket.AF_UNIX)
        taken.bind(f"\\0rloop-inspect-{os.geteuid()}-{os.getpid()}")
        loop = new_loop(sys.argv[1])
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        print("done")
    """
    with start_script(source, loop_id, RLOOP_INSPECT="1", XDG_RUNTIME_DIR="") as process:
        out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (0, "done\n")
    assert "WARNING:rloop.inspect:RLOOP_INSPECT is set, but the live view cannot listen" in err


FORKS = """
    import os, signal, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12+ of forks in a process with threads
    import rloop.inspection.client as client
    from support import new_loop

    def reason(pid):
        try:
            client.ask(pid)
        except client.NoAnswer as exc:
            return str(exc)

    told, tell = os.pipe()
    go_on, go = os.pipe()
    loop = new_loop(sys.argv[1])
    if {explicit}:
        rloop.inspect.listen()
    mine = client.ask(os.getpid())
    assert mine["process"]["pid"] == os.getpid()
    assert len(mine["loops"]) == 1
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        code = 1
        try:
            assert "live view off" in reason(os.getpid()), reason(os.getpid())
            os.write(tell, b"1")
            os.read(go_on, 1)
            own = new_loop(sys.argv[1])
            os.write(tell, b"2")
            os.read(go_on, 1)
            own.close()
            rloop.inspect.close()
            code = 0
        finally:
            os._exit(code)
    assert os.read(told, 1) == b"1"
    assert "live view off" in reason(child), reason(child)
    assert client.ask(os.getpid())["process"]["pid"] == os.getpid()
    os.write(go, b"1")
    assert os.read(told, 1) == b"2"
    if {explicit}:
        assert "live view off" in reason(child), reason(child)
    else:
        assert client.ask(child)["process"]["pid"] == child
        assert len([l for l in client.ask(child)["loops"] if l["running"]]) == 0
    os.write(go, b"2")
    assert os.waitpid(child, 0)[1] == 0
    assert client.ask(os.getpid())["process"]["pid"] == os.getpid()
    print("done")
"""


@pytest.mark.parametrize("explicit", [False, True], ids=["by the environment", "by listen()"])
@pytest.mark.parametrize("folder", [False, True], ids=["abstract", "folder"])
def test_the_child_of_a_fork_has_a_view_of_its_own_if_the_environment_asks(
    loop_id: str, tmp_path: Path, explicit: bool, folder: bool
) -> None:
    source = FORKS.replace("{explicit}", str(explicit)).replace(
        "import os,", "import rloop, os,", 1
    )
    extra = {"RLOOP_INSPECT": "0" if explicit else "1"}
    out = check_script(source, loop_id, XDG_RUNTIME_DIR=str(tmp_path) if folder else "", **extra)
    assert out == "done\n"
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_the_interpreter_waits_for_nobody(loop_id: str) -> None:
    source = program("""
        import os, socket
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(f"\\0rloop-inspect-{os.geteuid()}-{os.getpid()}")
        silent.send(b'{"prot')
    """)
    for _ in range(5):
        check_script(source, loop_id, RLOOP_INSPECT="1", XDG_RUNTIME_DIR="")


# -- beside asyncio's own -----------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio ps is new in Python 3.14")
def test_asyncio_ps_keeps_working_beside_it(loop_id: str) -> None:
    with running(program(), loop_id) as process:
        done = subprocess.run(
            [sys.executable, "-m", "asyncio", "ps", str(process.pid)],
            capture_output=True,
            text=True,
            timeout=3 * DEADLINE,
            env=script_environment(),
        )
        if "ermission" in done.stderr + done.stdout or "not permitted" in done.stderr + done.stdout:
            pytest.skip(f"this system refuses to read another process: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
        assert "Task-1" in done.stdout
        (entry,) = inspected(process.pid)["tasks"]
        (task,) = entry["tasks"]
        assert task["id"] in done.stdout, "both name a task by the same number"


def test_a_relative_path_is_kept_where_it_was(
    loop_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    foreign = elsewhere / "live.sock"
    foreign.write_text("precious")
    monkeypatch.chdir(there)
    assert inspect.listen("live.sock") == str(there / "live.sock")
    monkeypatch.chdir(elsewhere)
    inspect.close()
    assert foreign.read_text() == "precious"
    assert not (there / "live.sock").exists()


def test_what_has_taken_the_name_since_is_not_removed(loop_id: str, tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    inspect.listen(path)
    path.unlink()
    path.write_text("another's")
    inspect.close()
    assert path.read_text() == "another's"
