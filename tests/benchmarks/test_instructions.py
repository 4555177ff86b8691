"""What an operation costs in user-space instructions, against a committed baseline.

Instructions do not depend on what else the machine does, but on the interpreter's build and the
compiler. So the figure is the ratio to asyncio's in the same interpreter, as `instructions.py` of
benchmarks/claims counts both under valgrind; `instructions_baseline.json` beside it has the ratio
for each version of CPython that somebody has measured, of some of the cases. A path that became
dearer than the tolerance fails; one that became much cheaper asks for a new baseline, so that the
gain is kept.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BASELINE = json.loads((ROOT / "benchmarks" / "claims" / "instructions_baseline.json").read_text())
VERSION = "%d.%d" % sys.version_info[:2]  # noqa: UP031 - the shortest way to say it
# With few operations the echo's figure varies by a tenth from run to run, the others' by 3 %.
TOLERANCE = 0.25
SCALE = 0.1  # of the benchmark's own number of operations

pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.skipif(VERSION not in BASELINE, reason=f"no baseline for CPython {VERSION} yet"),
    pytest.mark.timeout(600),
]


def instructions(loop: str) -> dict[str, float]:
    """Instructions per operation of each case."""
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "instructions", "--loop", loop]
    command += ["--cases", ",".join(BASELINE[VERSION])]
    done = subprocess.run(
        [*command, "--scale", str(SCALE)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)["cases"]
    return {name: case["instructions_per_operation"] for name, case in cases.items()}


def test_no_path_costs_more_instructions_than_its_baseline() -> None:
    ours, stock = instructions("epoll"), instructions("asyncio")
    ratios = {case: round(ours[case] / stock[case], 4) for case in ours}
    expected = BASELINE[VERSION]
    assert set(ratios) == set(expected)
    dearer = {
        case: f"{ratio} instead of {expected[case]}"
        for case, ratio in ratios.items()
        if ratio > expected[case] * (1 + TOLERANCE)
    }
    assert not dearer, f"ratios to asyncio: {ratios}"
    cheaper = {
        case: ratio for case, ratio in ratios.items() if ratio < expected[case] * (1 - TOLERANCE)
    }
    assert not cheaper, f"write these into benchmarks/claims/instructions_baseline.json: {ratios}"
