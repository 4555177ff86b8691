"""The limit in the harness: the claims' column "of C", and who is never the best other loop.

What a limit costs stands beside the loops' figures and decides nothing. That the servers
themselves do what they should is tested in test_limit.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from harness import claims  # noqa: E402  (needs the path above)
from harness.peers import LIMITS, Peer, find_limits  # noqa: E402
from harness.suite import CPU_PER_MESSAGE, Case, Collected  # noqa: E402

CLAIM = claims.Claim("an echo", "an/echo", 0.9, 0.7)
ROUNDS = {
    "uvloop": [10.0, 10.0, 10.0],
    "uring": [6.0, 9.0, 8.0],
    "limit-uring": [5.0, 6.0, 4.0],
    "limit-epoll": [1.0, 1.0, 1.0],
}


def judged(figure: str, rounds: dict[str, list[float]]) -> claims.Verdict:
    peers = [Peer(name, "python", "Loop", "1") for name in rounds]
    collected = Collected(
        [peer for peer in peers if peer.name not in LIMITS],
        limits=[peer for peer in peers if peer.name in LIMITS],
    )
    for peer in peers:
        for value in rounds[peer.name]:
            collected.add(Case(CLAIM.key, "a case", figure), peer, {figure: value})
    verdict = claims.judge(collected, CLAIM)
    assert verdict is not None
    return verdict


def test_it_is_the_median_of_the_rounds_and_no_limit_is_the_best_other() -> None:
    verdict = judged(CPU_PER_MESSAGE, ROUNDS)
    assert verdict.best == "uvloop"
    assert verdict.c_ratio == pytest.approx(1.5)  # of 1.2, 1.5, 2.0
    assert claims.claim_table([verdict]).rows[0][-1] == "1.50"  # type: ignore[index]
    assert claims.as_json([verdict])[0]["c_ratio"] == verdict.c_ratio


def test_there_is_none_without_a_limit_and_of_what_is_no_cost() -> None:
    without = {name: values for name, values in ROUNDS.items() if name not in LIMITS}
    assert judged(CPU_PER_MESSAGE, without).c_ratio is None
    assert judged("p50_us", ROUNDS).c_ratio is None


def test_a_limit_that_was_not_built_is_named() -> None:
    limits, left_out = find_limits(["uvloop", "limit-epoll"], ROOT / "nowhere" / "limit")
    assert limits == []
    assert left_out.keys() == {"limit-epoll"}
    assert "nowhere" in left_out["limit-epoll"]
