"""benchmarks/harness/repeats.py: close rows are measured again, and no others."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from harness import claims, repeats  # noqa: E402  (needs the path above)
from harness.machine import Cpus  # noqa: E402
from harness.measure import Rig  # noqa: E402
from harness.peers import Peer  # noqa: E402
from harness.suite import (  # noqa: E402
    CPU_PER_MESSAGE,
    Benchmark,
    Case,
    Collected,
    Group,
    Settings,
    run_round,
)

RIG = Rig(Path("loadgen"), Cpus(0, 0), {})
LOOPS = ("asyncio", "uvloop", "zuvloop", "rsloop", "uring", "epoll")
#: What each loop costs; `noisy` and `late` add to ours in the rounds before the repetition.
COSTS = {"asyncio": 20.0, "uvloop": 13.0, "zuvloop": 10.0, "rsloop": 15.0, "uring": 8.0, "epoll": 8}
FIRST_ROUNDS = 5


class Run:
    """Three cases: a clear one, one whose rounds do not agree, one in which we seem just behind."""

    def __init__(self) -> None:
        self.cases = [
            Case(f"a/{name}", name, CPU_PER_MESSAGE) for name in ("clear", "noisy", "late")
        ]
        self.benchmark = Benchmark("a", "A", [Group(self.cases, self.open, self.measure)])
        self.collected = Collected([Peer(name, "python", "Loop", "1") for name in LOOPS])
        self.measured: list[tuple[str, str]] = []
        for index in range(FIRST_ROUNDS):
            run_round(RIG, self.benchmark, Settings(), self.collected, index, lambda _: None)
        self.measured.clear()

    @contextlib.contextmanager
    def open(self, rig: Rig, peer: Peer, settings: Settings) -> Iterator[Peer]:
        yield peer

    def measure(self, rig: Rig, peer: Peer, case: Case, settings: Settings) -> dict[str, Any]:
        round_number = len(self.collected.rounds(case.key, peer.name))
        self.measured.append((case.label, peer.name))
        cost = float(COSTS[peer.name])
        if peer.name == "uring" and round_number < FIRST_ROUNDS:
            cost += {"clear": 0, "noisy": 3 * (round_number % 3 > 0), "late": 2.5}[case.label]
        return {case.figure: cost}

    def repeat(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        repeats.repeat_close_rows(
            RIG, [self.benchmark], Settings(), self.collected, deadline, lambda _: None
        )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    made = Run()
    known = [claims.Claim(case.label, case.key, 1.0, 0.9) for case in made.cases]
    monkeypatch.setattr(claims, "CLAIMS", known)
    return made


def test_what_is_clear_is_left_alone_and_the_closest_comes_first(run: Run) -> None:
    before = {verdict.claim.label: verdict.reached for verdict in claims.verdicts_of(run.collected)}
    assert before == {"clear": "goal", "noisy": "equal", "late": "BEHIND"}
    run.repeat()
    again = [label for label, _ in run.measured]
    assert again[0] == "late" and sorted(set(again)) == ["late", "noisy"]
    after = {verdict.claim.label: verdict.reached for verdict in claims.verdicts_of(run.collected)}
    assert after == {"clear": "goal", "noisy": "goal", "late": "goal"}
    assert run.collected.notes == [
        f"measured again by themselves, up to {repeats.ROUNDS} rounds more: late, noisy"
    ]


def test_only_those_that_may_be_first_are_measured_again(run: Run) -> None:
    run.repeat()
    assert {name for _, name in run.measured} == {"uring", "epoll", "uvloop", "zuvloop", "rsloop"}
    case = run.cases[1].key
    assert len(run.collected.rounds(case, "uring")) == FIRST_ROUNDS + repeats.ROUNDS
    assert len(run.collected.rounds(case, "asyncio")) == FIRST_ROUNDS


def test_without_time_nothing_is_repeated(run: Run) -> None:
    run.repeat(seconds=-1)
    assert not run.measured and not run.collected.notes


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([], False),
        ([0.5, 0.6], True),  # too few to know
        ([0.8, 0.7, 0.8], False),
        ([1.2, 1.3, 1.2], False),
        ([0.92, 0.93, 0.94], True),
        ([1.06, 1.07, 1.08], True),
        ([0.7, 1.2, 1.3], True),
        ([0.6, 0.8, 1.2], False),  # one round is none of the quartiles
    ],
)
def test_rows_are_close_on_either_side_alike(ratios: list[float], expected: bool) -> None:
    assert claims.is_close(ratios) is expected


def test_a_slow_minute_decides_nothing(run: Run) -> None:
    """Loops that had no part in the repetition keep the rounds of a faster machine."""
    case = run.cases[1]
    for name in ("uring", "epoll", "uvloop", "zuvloop"):
        for _ in range(repeats.ROUNDS):
            cost = COSTS[name] * 3
            run.collected.add(case, run.collected.peers[LOOPS.index(name)], {case.figure: cost})
    found = next(v for v in claims.verdicts_of(run.collected) if v.claim.key == case.key)
    assert found.best == "zuvloop"
    assert len(found.ours_ratios) == FIRST_ROUNDS + repeats.ROUNDS
