"""pytest-asyncio and anyio's plugin on rloop, by what examples/testing/ has for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deployments import PATIENCE
from started import EXAMPLES, environment

#: What is written beside the example's own tests.
ENGINE = """
import asyncio
import os
import pytest

pytestmark = pytest.mark.{mark}

async def test_engine():
    assert asyncio.get_running_loop().backend == os.environ["RLOOP_BACKEND"]
"""

#: What other packages of this folder bring; each would meddle.
OTHERS = ("ddtrace", "looptime_chronometers", "looptime_plugin", "looptime_timeproxies")


def run_suite(plugin: str, loop_id: str, folder: Path, *arguments: str) -> str:
    """Copy the example and run its tests; what pytest says."""
    if loop_id == "asyncio":
        pytest.skip("the examples are rloop's")
    suite = folder / "suite"
    shutil.copytree(EXAMPLES / "testing" / f"with_{plugin}", suite)
    mark = {"anyio": "anyio", "pytest_asyncio": "asyncio"}[plugin]
    (suite / "test_engine.py").write_text(ENGINE.format(mark=mark))
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull,
            "-W", "error", "--rootdir", ".", *arguments,
            *(f"-pno:{name}" for name in OTHERS),
        ],
        cwd=suite, env=environment(loop_id, folder), timeout=PATIENCE,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_anyios_plugin(loop_id: str, tmp_path: Path) -> None:
    pytest.importorskip("anyio", reason="anyio (requirements-ecosystem.txt)")
    assert "3 passed" in run_suite("anyio", loop_id, tmp_path, "-p", "no:asyncio")


def test_pytest_asyncio(loop_id: str, tmp_path: Path) -> None:
    pytest.importorskip("pytest_asyncio", "1.4", reason="pytest-asyncio (requirements-ecosystem)")
    scope = "asyncio_default_fixture_loop_scope=function"  # it warns without
    assert "3 passed" in run_suite("pytest_asyncio", loop_id, tmp_path, "-o", scope)
