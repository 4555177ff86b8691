"""What it costs a loop to know how it spends its time: instructions per turn, under valgrind.

The meter (src/base/meter.hpp) is always on; per message it does nothing at all. Compiled by itself,
so that nothing else is counted; the cost of a turn is the difference of two runs, and that of a
loop without it is taken off.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FEW, MANY = 10_000, 20_000

pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.skipif(shutil.which("c++") is None, reason="there is no compiler"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("meter") / "meter_turns"
    sources = [Path(__file__).with_name("meter_turns.cpp")]
    sources += [ROOT / "src" / "base" / name for name in ("meter.cpp", "clock.cpp")]
    command = ["c++", "-std=c++20", "-O2", "-I", ROOT / "src", "-o", made, *sources]
    subprocess.run(command, check=True, timeout=120)
    return made


def instructions(program: Path, kind: str, count: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + str(program) + ".out"]
    done = subprocess.run(
        [*command, program, kind, str(count)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"Collected *: *(\d+)", done.stderr)
    assert found, done.stderr
    return int(found[1])


@pytest.mark.parametrize("kind", ["quick", "waiting"])
def test_a_turn_costs_few_instructions_more(program: Path, kind: str) -> None:
    def per_turn(kind: str) -> float:
        few, many = (instructions(program, kind, count) for count in (FEW, MANY))
        return (many - few) / (MANY - FEW)

    assert 0 < per_turn(kind) - per_turn("none") <= 20
