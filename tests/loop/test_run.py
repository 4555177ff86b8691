"""`python -m rloop run`: a program as under `python`; its loops and its children's are ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from programs import script_environment
from support import DEADLINE

from rloop.launch import INHERITED

#: Prints what each way to a loop gives.
WAYS = """
import asyncio

async def running():
    return type(asyncio.get_running_loop()).__name__

def made(make):
    loop = make()
    loop.close()
    return type(loop).__name__

print("run", asyncio.run(running()))
with asyncio.Runner() as runner:
    print("Runner", runner.run(running()))
print("new_event_loop", made(asyncio.new_event_loop))
print("SelectorEventLoop", made(asyncio.SelectorEventLoop))
print("EventLoop", made(getattr(asyncio, "EventLoop", asyncio.SelectorEventLoop)))
if hasattr(asyncio, "get_event_loop_policy"):
    import warnings
    warnings.simplefilter("ignore")
    print("policy", made(asyncio.get_event_loop_policy().new_event_loop))
"""


def run(*command: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """`python` with these arguments, to its end."""
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=script_environment(**extra),
        timeout=3 * DEADLINE,
        check=False,
    )


def said(*command: str, **extra: str) -> str:
    """What a program under `run` wrote; it must have succeeded."""
    done = run("-m", "rloop", "run", *command, **extra)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "program.py"


def test_every_way_to_a_loop_gives_ours(loop_id: str) -> None:
    backend = "io_uring" if "uring" in loop_id else "epoll"
    lines = said("--backend", backend, "-c", WAYS).splitlines()
    assert len(lines) >= 5
    assert {line.split()[1] for line in lines} == {"UringEventLoop"}
    source = "import asyncio; print(asyncio.new_event_loop().backend)"
    assert said(f"--backend={backend}", "-W", "ignore", "-c", source).strip() == backend


def test_loops_that_are_asked_for_by_name_stay_what_they_are() -> None:
    source = """
    import asyncio, selectors

    class Own(asyncio.SelectorEventLoop):
        def __init__(self, text, *, more):
            super().__init__()
            self.text = text + more

    given = asyncio.SelectorEventLoop(selectors.SelectSelector())
    own = Own("te", more="xt")
    ours = asyncio.new_event_loop()
    print(type(given).__name__, type(own).__name__, own.text, type(ours).__name__)
    for loop in (given, own, ours):
        loop.close()
    """
    expected = "_UnixSelectorEventLoop Own text UringEventLoop\n"
    assert said("-c", textwrap.dedent(source)) == expected


def test_nothing_is_imported_before_the_program_asks_for_it() -> None:
    source = """
    import sys
    print(*({"asyncio", "rloop", "logging", "importlib.util"} & set(sys.modules)))
    import asyncio
    print("rloop" in sys.modules)
    asyncio.new_event_loop().close()
    print("rloop" in sys.modules)
    """
    plain = run("-c", textwrap.dedent(source)).stdout.splitlines()[0]
    assert said("-c", textwrap.dedent(source)).splitlines() == [plain, "False", "True"]


@pytest.mark.parametrize("how", ["script", "module", "code", "input"])
def test_a_program_sees_what_it_sees_under_python(how: str, script: Path) -> None:
    source = f"""
    import asyncio, sys

    async def main():
        await asyncio.sleep(0)
        if len(sys.argv) > 2:
            raise ValueError(sys.argv[2])

    print(sys.argv, sys.path[:1], __name__, globals().get("__file__"), sys.flags.dev_mode)
    print([each for each in sys.path if "inherited" in each], __spec__ and __spec__.name)
    if {how == "script"}:
        print(sys.stdin.read())
    asyncio.run(main())
    """
    script.write_text(textwrap.dedent(source))
    command = {
        "script": [str(script)],
        "module": ["-m", "program"],
        "code": ["-c", textwrap.dedent(source)],
        "input": ["-"],
    }[how]
    given = script.read_text() if how == "input" else "what stands in the input"
    for arguments in (["one"], ["one", "the error"], ["one", "--backend", "epoll"]):
        outcomes = []
        for before in ([], ["-m", "rloop", "run"]):
            done = subprocess.run(
                [sys.executable, *before, *command, *arguments],
                input=given,
                capture_output=True,
                text=True,
                cwd=script.parent,
                env=script_environment(),
                timeout=3 * DEADLINE,
                check=False,
            )
            outcomes.append((done.returncode, done.stdout, done.stderr))
        plain, ours = outcomes
        assert ours[:2] == plain[:2]
        # Where in asyncio an exception passed is the loop's affair.
        frames = [
            [line for line in text.splitlines() if not line.startswith(("    ", '  File "/'))]
            for text in (plain[2], ours[2])
        ]
        assert frames[0] == frames[1]


def test_exit_codes() -> None:
    for source in ("raise SystemExit(3)", "import os; os._exit(4)", "raise SystemExit('text')"):
        plain = run("-c", source)
        ours = run("-m", "rloop", "run", "-c", source)
        assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_the_program(number: signal.Signals, script: Path) -> None:
    source = """
    import asyncio, os, signal, sys

    async def main():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, sys.exit, 7)
        print("ready", os.getpid(), flush=True)
        await loop.create_future()

    asyncio.run(main())
    """
    script.write_text(textwrap.dedent(source))
    with subprocess.Popen(
        [sys.executable, "-m", "rloop", "run", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=script_environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready {process.pid}\n"  # no process between
        process.send_signal(number)
        process.communicate(timeout=DEADLINE)
    expected = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: -signal.SIGTERM}
    assert process.returncode == expected.get(number, 7)


CHILDREN = """
import asyncio, multiprocessing, os, subprocess, sys

def tell(queue):
    queue.put((os.getppid(), backend()))

def backend():
    loop = asyncio.new_event_loop()
    loop.close()
    return getattr(loop, "backend", "asyncio")

if __name__ == "__main__":
    for method in ("spawn", "forkserver", "fork"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        child = context.Process(target=tell, args=(queue,))
        child.start()
        print(method, queue.get()[1])
        child.join()
    source = "import program; print('subprocess', program.backend())"
    environment = {**os.environ, "PYTHONPATH": os.environ["PYTHONPATH"] + os.pathsep + "."}
    command = [sys.executable, "-c", source]
    print(subprocess.check_output(command, text=True, env=environment), end="")
"""


def test_children_inherit_it(loop_id: str, script: Path) -> None:
    backend = "io_uring" if "uring" in loop_id else "epoll"
    script.write_text(CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "rloop", "run", "--backend", backend, "program.py"],
        capture_output=True,
        text=True,
        cwd=script.parent,
        env=script_environment(),
        timeout=3 * DEADLINE,
        check=False,
    )
    assert done.stderr == ""
    expected = [f"{how} {backend}" for how in ("spawn", "forkserver", "fork", "subprocess")]
    assert done.stdout.splitlines() == expected


def test_the_users_own_sitecustomize_runs_once(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.stdout.write('customized\\n')\nvalue = 5\n"
    )
    path = os.pathsep.join([str(tmp_path), script_environment()["PYTHONPATH"]])
    source = "import sitecustomize; print(sitecustomize.value)"
    # Once for `python -m rloop run`, once for the program.
    assert said("-c", source, PYTHONPATH=path).splitlines() == ["customized"] * 2 + ["5"]


def test_a_run_within_a_run_and_none_at_all() -> None:
    source = "import os; print(os.environ['PYTHONPATH'].count('inherited'))"
    assert said("-m", "rloop", "run", "-c", source).strip() == "1"
    # Without its environment variable the folder does nothing.
    source = "import asyncio; loop = asyncio.new_event_loop(); loop.close(); print(type(loop))"
    path = os.pathsep.join([INHERITED, script_environment()["PYTHONPATH"]])
    assert "UringEventLoop" not in run("-c", source, PYTHONPATH=path).stdout
    assert "UringEventLoop" in run("-c", source, PYTHONPATH=path, RLOOP_RUN="1").stdout


def test_a_program_that_tries_uvloop_first_gets_rloop() -> None:
    # Whether it is there or not: uvloop imports asyncio, or the program does so after that.
    source = """
try:
    import uvloop
except ImportError:
    pass
import asyncio
async def main():
    print(type(asyncio.get_running_loop()).__name__)
asyncio.run(main())
"""
    done = run("-m", "rloop", "run", "-c", source)
    assert done.stdout.strip() == "UringEventLoop"
    assert done.stderr.count("--as-uvloop") <= 1


AS_UVLOOP = """
import asyncio, importlib.util, warnings
import uvloop
from uvloop import Loop, new_event_loop, run
from uvloop.loop import Loop as Same

async def main():
    return type(asyncio.get_running_loop()).__name__

loop = uvloop.new_event_loop()
assert isinstance(loop, Loop) and Loop is Same is uvloop.loop.Loop
loop.close()
print(uvloop.run(main()), run(main(), debug=True), uvloop.__version__.count("."))
print(importlib.util.find_spec("uvloop") is not None)
if hasattr(asyncio, "set_event_loop_policy"):
    warnings.simplefilter("ignore")
    uvloop.install()
    assert isinstance(asyncio.get_event_loop_policy(), uvloop.EventLoopPolicy)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
print(asyncio.run(main()))
try:
    uvloop.nothing
except AttributeError as exc:
    print(exc)
"""


def test_uvloops_names_give_rloop() -> None:
    assert said("--as-uvloop", "-c", AS_UVLOOP).splitlines() == [
        "UringEventLoop UringEventLoop 2",
        "True",
        "UringEventLoop",
        "module 'uvloop', for which rloop stands in, has no 'nothing'",
    ]


def test_a_program_that_asks_for_uvloop_is_told_how_it_would_get_rloop(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("real = True\n")
    path = os.pathsep.join([str(tmp_path), script_environment()["PYTHONPATH"]])
    source = "import uvloop; print(uvloop.real)"
    done = run("-m", "rloop", "run", "-c", source, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (0, "True\n")
    assert "--as-uvloop" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_python_without_rloop_is_left_as_it_is() -> None:
    """As another version that the program starts would be."""
    source = (
        "import sys; sys.modules['rloop'] = None; import asyncio; print(asyncio.new_event_loop)"
    )
    assert "new_event_loop" in said("-c", source)
    source = """
    import asyncio, os, sys
    sys.path[:] = [each for each in sys.path if not os.path.exists(os.path.join(each, "rloop"))]
    sys.meta_path[:] = [f for f in sys.meta_path if "rloop" not in getattr(f, "__module__", "")]
    loop = asyncio.new_event_loop()
    print(type(loop).__name__)
    loop.close()
    """
    assert said("-c", textwrap.dedent(source)).strip() == "_UnixSelectorEventLoop"


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ([], "which program"),
        (["uvicorn"], "-m uvicorn"),
        (["-I", "-c", "pass"], "-I"),
        (["-uE", "-c", "pass"], "-uE"),
        (["--backend", "kqueue", "-c", "pass"], "kqueue"),
        (["--backend"], "--backend"),
        (["--faster", "-c", "pass"], "--faster"),
    ],
)
def test_a_wrong_command_line_says_what_to_write(command: list[str], word: str) -> None:
    done = run("-m", "rloop", "run", *command)
    assert done.returncode == 2
    assert word in done.stderr.splitlines()[-1]
    assert "usage: python -m rloop run" in done.stderr


def test_help() -> None:
    assert "--as-uvloop" in said("--help")
    assert "run" in run("-m", "rloop", "--help").stdout


def test_a_backend_that_cannot_be_had_is_an_error() -> None:
    source = "import asyncio; asyncio.new_event_loop()"
    done = run("-m", "rloop", "run", "-c", source, RLOOP_BACKEND="kqueue")
    assert done.returncode == 1
    assert "RLOOP_BACKEND is 'kqueue'" in done.stderr


def test_the_report_for_machines() -> None:
    done = run("-m", "rloop", "--json", RLOOP_BACKEND="epoll")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["backend"] == found["override"] == "epoll"
    assert found["limits"]["open files"][0] > 0
    assert set(found) >= {"rloop", "python", "kernel", "reason", "capabilities", "sysctls"}
    wrong = run("-m", "rloop", "--json", RLOOP_BACKEND="kqueue")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "kqueue" in wrong.stderr
