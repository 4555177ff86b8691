"""benchmarks/harness/claims.py: a verdict is taken only where the noise allows it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from harness import claims  # noqa: E402  (needs the path above)
from harness.peers import Peer  # noqa: E402
from harness.suite import CPU_PER_MESSAGE, PER_CPU_SECOND, Case, Collected  # noqa: E402


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([0.9, 1.2, 0.8], ""),  # the median is ahead
        ([1.004, 1.003, 1.004, 1.02], ""),  # of two digits nothing is left
        ([1.1, 0.98, 1.05, 0.99, 1.06], "equal"),  # the lower quartile is on the other side
        ([1.1, 1.2], "equal"),  # too few rounds
        ([1.1, 1.02, 1.05, 0.9, 1.06], "BEHIND"),  # one round out of five is none of the quartiles
        ([1.1, 1.2, 1.3], "BEHIND"),
        ([], ""),
    ],
)
def test_another_loop_is_ahead_only_beyond_the_noise(costs: list[float], expected: str) -> None:
    assert claims.standing(costs, more_is_better=False) == expected
    rates = [1 / cost for cost in costs]
    assert claims.standing(rates, more_is_better=True) == expected


def collected(figure: str, key: str, **rounds: list[float]) -> Collected:
    """A run of one case."""
    case = Case(key, "a case", figure)
    found = Collected([Peer(name, "python", "Loop", "1") for name in rounds])
    for peer in found.peers:
        for value in rounds[peer.name]:
            found.add(case, peer, {figure: value})
    return found


def verdict(figure: str, claim: claims.Claim, **rounds: Any) -> claims.Verdict:
    found = claims.judge(collected(figure, claim.key, **rounds), claim)
    assert found is not None
    return found


COST = claims.Claim("a cost", "a/cost", 0.9, 0.7)
RATE = claims.Claim("a rate", "a/rate", 1.5, 2.0)


@pytest.mark.parametrize(
    ("ours", "reached"),
    [
        ([6.0, 6.0, 6.0], "goal"),
        ([8.0, 8.0, 8.0], "yes"),
        ([9.5, 9.5, 9.5], "NO"),
        ([9.0, 10.5, 11.0], "equal"),
        ([10.5, 10.5, 11.0], "BEHIND"),
    ],
)
def test_a_row_compares_with_the_best_of_all_others(ours: list[float], reached: str) -> None:
    row = verdict(
        CPU_PER_MESSAGE, COST, uvloop=[20.0] * 3, blazio=[10.0] * 3, uring=ours, epoll=[21.0] * 3
    )
    assert row.best == "blazio"
    assert row.reached == reached
    assert row.epoll_is_worse  # to uvloop, whoever is the best


def test_of_rates_the_larger_is_better() -> None:
    row = verdict(PER_CPU_SECOND, RATE, asyncio=[1.0] * 3, zuvloop=[2.0] * 3, uring=[3.2] * 3)
    assert (row.best, row.reached) == ("zuvloop", "yes")


def test_a_claim_may_be_against_one_loop() -> None:
    against = claims.Claim("start-up", "a/start", 1.0, 0.8, against="uvloop")
    row = verdict(CPU_PER_MESSAGE, against, uvloop=[10.0], blazio=[1.0], uring=[9.0])
    assert (row.best, row.reached) == ("uvloop", "yes")


def test_the_summary_names_first_what_is_behind() -> None:
    rows = [
        verdict(PER_CPU_SECOND, RATE, uvloop=[1.0] * 3, uring=[3.0] * 3),
        verdict(CPU_PER_MESSAGE, COST, uvloop=[1.0] * 3, uring=[1.5] * 3),
    ]
    assert claims.summary(rows).startswith("of 2 claims 1 (a cost) is behind the best other; 1 ")


def test_every_claim_is_a_case_that_is_measured() -> None:
    from harness import full

    keys = {case.key for benchmark in full.BENCHMARKS for case in benchmark.cases}
    assert {claim.key for claim in claims.CLAIMS} <= keys


@pytest.mark.parametrize(
    ("epoll", "is_behind"),
    [([10.3, 10.2, 10.3], False), ([10.5, 10.4, 10.6], True), ([10.5, 9.0, 10.6], False)],
)
def test_epoll_may_be_three_percent_behind_its_kind(epoll: list[float], is_behind: bool) -> None:
    costs = {"uring": [9.0] * 3, "epoll": epoll, "uvloop": [11.0] * 3, "zuvloop": [10.0] * 3}
    found = verdict(CPU_PER_MESSAGE, COST, **costs, blazio=[1.0] * 3)
    assert (found.best, found.best_on_epoll) == ("blazio", "zuvloop")
    assert found.epoll_is_behind_its_kind is is_behind
    assert not found.epoll_is_worse
