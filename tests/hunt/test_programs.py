"""Programs that hypothesis writes, the same ones each time; RLOOP_HUNT=long for many new ones.

What hypothesis found stays in `failures/` until the programs in it agree; those that were mended
stand in test_found_programs.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import actors
import pytest
from compare import Loops
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from program import Kind, Program, build, pasteable

LONG = os.environ.get("RLOOP_HUNT") == "long"
#: How many programs of each group the short run tries.
PROGRAMS = int(os.environ.get("RLOOP_HUNT_PROGRAMS", "5000" if LONG else "150"))

COMMON = {
    "derandomize": not LONG,
    "deadline": None,
    "max_examples": PROGRAMS,
    "suppress_health_check": list(HealthCheck),
}
if LONG:
    COMMON["database"] = DirectoryBasedExampleDatabase(Path(__file__).parent / "failures")


@st.composite
def programs(draw: Any, kinds: tuple[Kind, ...]) -> Program:
    return build(lambda n: draw(st.integers(0, n - 1)), kinds)


@pytest.fixture(scope="module")
def loops() -> Any:
    found = Loops()
    yield found
    found.close()


def agree(loops: Loops, program: Program) -> None:
    note(pasteable(program))
    found = loops.check(program)
    assert not found, found


@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("group", actors.GROUPS)
def test_programs_agree_with_asyncio(loops: Loops, group: str) -> None:
    @settings(**COMMON)  # type: ignore[arg-type]
    @given(programs(actors.GROUPS[group]))
    def check(program: Program) -> None:
        agree(loops, program)

    check()
