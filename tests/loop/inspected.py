"""For tests of the live view: programs that have one, and the commands that look at them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from programs import script_environment, start_script
from support import DEADLINE

#: Where programs and commands of one test meet; "" is the abstract name.
ABSTRACT = ""

# {body} is what main() does; what it prints first is "ready".
PROGRAM = """
import sys, threading, time
from support import *

async def main():
    loop = asyncio.get_running_loop()
    {body}

loop = new_loop(sys.argv[1])
loop.run_until_complete(main())
"""
ASLEEP = 'print("ready", flush=True); await asyncio.sleep(1000)'


def program(body: str = ASLEEP) -> str:
    """A program whose loop runs this."""
    return PROGRAM.format(body=textwrap.dedent(body).strip().replace("\n", "\n    "))


@contextmanager
def running(
    source: str, loop_id: str, folder: str | Path = ABSTRACT, **extra: str
) -> Iterator[subprocess.Popen[str]]:
    """A program with a live view that has said that it is ready; killed at the end."""
    environment = {"RLOOP_INSPECT": "1", "XDG_RUNTIME_DIR": str(folder), **extra}
    with start_script(source, loop_id, **environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if line != "ready\n":
                process.kill()
                raise AssertionError((line, process.communicate()))
            yield process
        finally:
            process.kill()
            process.communicate()


def command(
    *arguments: object, folder: str | Path = ABSTRACT, alone: bool = False, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m rloop ...``.

    alone: in a network namespace of its own, whose list of sockets is empty, so that it finds no
    process but those of `folder`. Skips where that is not permitted.
    """
    prefix = ["unshare", "--net"] if alone else []
    if alone and subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("unshare --net is not permitted here")
    environment = script_environment(XDG_RUNTIME_DIR=str(folder), **extra)
    environment.pop("RLOOP_INSPECT", None)
    return subprocess.run(
        [*prefix, sys.executable, "-m", "rloop", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def listening(folder: Path) -> Iterator[str]:
    """This process listens, at the address that is given."""
    from rloop import inspect

    path = str(folder / "live.sock")
    assert inspect.listen(path) == path
    yield path
    inspect.close()


def ask(address: str, *parts: str) -> Any:
    """An answer, of these parts or whole."""
    from rloop.inspection import client

    return client.ask(address, parts or ("process", "loops", "tasks"))


def inspected(target: object, folder: str | Path = ABSTRACT) -> Any:
    """Everything that a process says of itself."""
    done = command("inspect", target, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(
    target: object, *words: str, folder: str | Path = ABSTRACT, what: str = "inspect"
) -> str:
    """The sentence that says why there is no answer; nothing else is printed."""
    done = command(what, target, folder=folder)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.endswith(".\n")
    for word in words:
        assert word in done.stderr, done.stderr
    return done.stderr


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_root() -> bool:
    return os.geteuid() == 0


# -- without the commands, by the socket ---------------------------------------------------------


@contextmanager
def raw(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        sock.settimeout(DEADLINE)
        yield sock


def everything(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(65536):
        received += data
    return received
