"""uvicorn --reload on rloop: its supervisor starts another process for each change of a file."""

from __future__ import annotations

import http.client
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from deployments import PATIENCE, wait_for
from started import Program

pytest.importorskip("uvicorn", reason="uvicorn is not installed (requirements-ecosystem.txt)")

APP = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    engine = getattr(asyncio.get_running_loop(), "backend", "asyncio")
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": f"{version} {{engine}}".encode()}})
"""


def test_new_code_answers(loop_id: str, tmp_path: Path) -> None:
    file = tmp_path / "changed_app.py"
    file.write_text(APP.format(version="first"))
    loop = "asyncio" if loop_id == "asyncio" else "rloop:new_uring_event_loop"
    command = [
        sys.executable, "-m", "uvicorn", "changed_app:app", "--port", "0", "--reload",
        "--lifespan", "off", "--loop", loop,
    ]  # fmt: skip
    with Program(command, loop_id, tmp_path) as program:
        port = program.port()

        def answers(version: str) -> bool:
            # Connections wait in the supervisor's socket while nobody accepts; one that the old
            # process has taken may end with it.
            try:
                url = f"http://127.0.0.1:{port}/"
                with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                    return answer.read().decode() == f"{version} {loop_id}"
            except (OSError, http.client.HTTPException):
                return False

        wait_for(lambda: answers("first"), f"the first answer; the log:\n{program.log()}")
        for version in ("second", "third"):
            written = 0.0

            def answers_anew(version: str = version) -> bool:
                # Again each second: what changes before the supervisor's first look (a quarter of a
                # second behind the first answer, or behind nothing) it takes for the beginning.
                nonlocal written
                if time.monotonic() > written + 1:
                    file.write_text(APP.format(version=version))
                    written = time.monotonic()
                return answers(version)

            wait_for(answers_anew, f"new code; the log:\n{program.log()}")
        assert "Traceback" not in program.log()
