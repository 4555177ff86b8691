"""The command lines of examples/servers/, which the documentation shows, as their users type them.

Each server starts with two workers, serves on the engine that is tested, replaces a worker that is
killed, and ends with its master.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import Deployment, wait_for

FOLDER = Path(__file__).parents[2] / "examples" / "servers"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.sh"))

#: hypercorn goes on without a worker that was killed, granian ends with it.
REPLACE_NOBODY = ("hypercorn", "granian", "granian-auto")


def words_of(recipe: str) -> list[str]:
    """The command, with this interpreter and the tests' application in it."""
    (line,) = [
        line
        for line in (FOLDER / f"{recipe}.sh").read_text().splitlines()
        if not line.startswith("#")
    ]
    words = [word.replace("app:app", "worker_site:app") for word in shlex.split(line)]
    if words[0] == "python":
        return [sys.executable, *words[1:]]
    return [sys.executable, "-m", *words]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Hook(Deployment):
    """A server of examples/servers/; the engine is the one that RLOOP_BACKEND names."""

    def __init__(self, recipe: str, backend: str, folder: Path) -> None:
        super().__init__(recipe, backend, folder)
        self.extra = {"RLOOP_BACKEND": backend}

    def command(self, kind: str) -> list[str]:
        words = words_of(self.server)
        if "granian" in words:  # it does not say which port it got
            port = free_port()
            self.address = ("127.0.0.1", port)
            return [*words, "--port", str(port)]
        if "uvicorn" in words:
            return [*words, "--port", "0"]
        return [*words, "--bind", "127.0.0.1:0"]


@pytest.fixture(params=RECIPES)
def hook(request: pytest.FixtureRequest, loop_id: str, tmp_path: Path) -> Iterator[Hook]:
    words = words_of(request.param)
    for package in ("uvicorn", "gunicorn", "hypercorn", "granian"):
        if package in words:
            pytest.importorskip(package, reason=f"{package} (requirements-ecosystem.txt)")
    if "uvicorn" in request.param and "gunicorn" in words:
        pytest.importorskip("uvicorn_worker")
    if request.param == "gunicorn-asgi":
        pytest.importorskip("gunicorn.workers.gasgi", reason="gunicorn 24 or newer")
    with Hook(request.param, loop_id, tmp_path) as found:
        yield found


def test_the_documented_command_serves_on_rloop(hook: Hook) -> None:
    before = hook.both_serve()
    hook.ask_at_once(20, 0.001)  # each answer is looked at
    victim = before.pop()
    os.kill(victim, signal.SIGKILL)

    seen: set[int] = set()

    def replaced() -> bool:
        # What the victim had taken is lost with it.
        with contextlib.suppress(OSError, http.client.HTTPException):
            seen.add(hook.ask(0.001).pid)
        return len(seen - {victim}) == 2

    if hook.server not in REPLACE_NOBODY:
        wait_for(replaced, f"a worker for the one that was killed; the log:\n{hook.log()}")
    text = re.sub(r"\d{4}-\d\d.*|\[\d+\].*", "", hook.log())
    assert "Traceback" not in text, hook.log()
