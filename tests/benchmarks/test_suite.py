"""benchmarks/harness/suite.py: what a round measures, how often, and of whom."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from harness.machine import Cpus  # noqa: E402  (needs the path above)
from harness.measure import MeasurementError, Rig  # noqa: E402
from harness.peers import Peer  # noqa: E402
from harness.suite import (  # noqa: E402
    CPU_PER_MESSAGE,
    MOST_FAILURES,
    Benchmark,
    Case,
    Collected,
    Group,
    Settings,
    run_round,
    steps_of,
)

RIG = Rig(Path("loadgen"), Cpus(0, 0), {})
CASE = Case("a/case", "a case", CPU_PER_MESSAGE)


class Measured:
    """A benchmark of one case that keeps who was measured, and fails for the loops named."""

    def __init__(self, windows: int, failing: tuple[str, ...] = ()) -> None:
        self.failing = failing
        self.order: list[str] = []
        self.seconds: set[float] = set()
        self.collected = Collected([Peer(name, "python", "Loop", "1") for name in "abc"])
        self.benchmark = Benchmark(
            "a", "A", [Group([CASE], self.open, self.measure)], windows=windows
        )

    @contextlib.contextmanager
    def open(self, rig: Rig, peer: Peer, settings: Settings) -> Iterator[Peer]:
        yield peer

    def measure(self, rig: Rig, peer: Peer, case: Case, settings: Settings) -> dict[str, Any]:
        self.order.append(peer.name)
        self.seconds.add(settings.seconds)
        if peer.name in self.failing:
            raise MeasurementError("it hangs")
        return {case.figure: 1.0}

    def run(self, rounds: int) -> int:
        """Measure so many rounds; return the steps that were announced."""
        steps: list[str] = []
        for index in range(rounds):
            run_round(
                RIG, self.benchmark, Settings(seconds=0.6), self.collected, index, steps.append
            )
        return len(steps)


def test_each_window_begins_with_another_loop_and_has_its_share_of_the_time() -> None:
    measured = Measured(windows=2)
    assert measured.run(rounds=2) == 2 * steps_of(measured.benchmark, measured.collected)
    assert "".join(measured.order) == "abcbca" + "bcacab"
    assert measured.seconds == {0.3}
    assert len(measured.collected.rounds(CASE.key, "a")) == 4


def test_a_loop_that_fails_again_and_again_is_named_and_not_asked_any_more() -> None:
    measured = Measured(windows=1, failing=("b",))
    measured.run(rounds=4)
    assert measured.order.count("b") == MOST_FAILURES
    assert measured.order.count("c") == 4
    assert measured.collected.failures == ["a case, b: it hangs"]
    # Its rounds are kept beside those of the others.
    assert measured.collected.rounds(CASE.key, "b") == [None] * 4
