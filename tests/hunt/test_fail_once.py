"""The short form of "everything fails once" (tests/hunt/fail_once): a fixed sample of failures.

Two programs with every call once, the others with a stride; the whole is `fail_once/run.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "fail_once" / "run.py"
LIBRARY = (
    Path(__file__).parents[2]
    / "build"
    / f"{sys.version_info.major}.{sys.version_info.minor}"
    / "tests/hunt/fail_once/libfail_once.so"
)

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not LIBRARY.exists(), reason="the preloaded library was not built"),
]


@pytest.mark.parametrize("engine", ["epoll", "io_uring"])
@pytest.mark.parametrize(
    ("programs", "kinds", "stride"),
    [
        (["udp"], ["native", "submission"], 5),
        (["streams"], ["new", "memory"], 3),
        (["tcp_echo", "tls", "subprocess", "pipes", "server_close"], ["native", "outer"], 60),
        (["sendfile", "sock", "readers"], ["native", "outer", "submission"], 30),
        (["udp", "sock", "readers", "server_close"], ["new", "memory"], 20),
    ],
)
def test_a_single_failure_is_told_and_breaks_nothing(
    engine: str, programs: list[str], kinds: list[str], stride: int
) -> None:
    find_no_fault(
        "--engine", engine, "--stride", str(stride), "--program", *programs, "--kind", *kinds
    )


@pytest.mark.parametrize("engine", ["epoll", "io_uring"])
def test_a_line_that_finds_no_memory_is_lost_and_nothing_else(engine: str) -> None:
    find_no_fault("--engine", engine, "--log", "--program", "tcp_echo", "--kind", "new")


def find_no_fault(*options: str) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
