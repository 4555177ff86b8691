"""Close rows of a run are measured again, each by itself.

Noise lies in minutes, and the rounds of a case are minutes apart: where their ratios do not agree
on who is ahead, or are near 1, the case has more rounds right after each other, with the loops that
may be first. Who is the best other loop is found in the rounds before, and judged in these: of
several equal loops one always looks best in the rounds that chose it. It makes no difference who is
ahead: rows that are repeated for one side only would be decided by luck. The closest come first,
and the time that is left decides how many there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from harness import claims
from harness.measure import Rig
from harness.suite import Benchmark, Collected, Settings, run_round

ROUNDS = 5
ALWAYS = ("uring", "epoll", "uvloop")
RIVALS = 2  # of the others, the best so far


def close_rows(collected: Collected) -> list[claims.Verdict]:
    """Return the verdicts that more rounds may change, the closest first."""
    found = [verdict for verdict in claims.verdicts_of(collected) if verdict.is_close]
    return sorted(found, key=lambda verdict: verdict.distance)


def only(benchmark: Benchmark, key: str) -> Benchmark:
    """Return the benchmark with this one of its cases."""
    groups = [
        replace(group, cases=[case for case in group.cases if case.key == key], limited=False)
        for group in benchmark.groups
        if any(case.key == key for case in group.cases)
    ]
    return replace(benchmark, groups=groups)


def contenders(collected: Collected, verdict: claims.Verdict) -> Collected:
    """Return a view of the collected samples with the loops that may be first, for more of them."""
    case = collected.cases[verdict.claim.key]
    medians = {
        peer.name: spread.median
        for peer in collected.peers
        if (spread := collected.spread(case.key, peer.name)) is not None
    }
    rivals = [name for name in medians if name not in ALWAYS]
    rivals.sort(key=medians.__getitem__, reverse=case.more_is_better)
    against = {verdict.best, verdict.best_on_epoll}
    wanted = {*ALWAYS, *rivals[:RIVALS], *against} & medians.keys()
    return replace(collected, peers=[peer for peer in collected.peers if peer.name in wanted])


def repeat_close_rows(
    rig: Rig,
    benchmarks: list[Benchmark],
    settings: Settings,
    collected: Collected,
    deadline: float,
    step: Callable[[str], None],
) -> None:
    """Measure until `deadline` (of time.monotonic()); what was measured again becomes a note."""
    repeated: list[str] = []
    longest = 0.0  # seconds of one repetition
    for verdict in close_rows(collected):
        key = verdict.claim.key
        benchmark = next(known for known in benchmarks if any(c.key == key for c in known.cases))
        began = time.monotonic()
        if began + longest > deadline:
            break
        shared = contenders(collected, verdict)
        collected.first_rounds[key] = max(map(len, collected.samples[key].values()))
        for index in range(ROUNDS):
            run_round(rig, only(benchmark, key), settings, shared, index, step)
            if time.monotonic() > deadline:
                break
        longest = max(longest, time.monotonic() - began)
        repeated.append(verdict.claim.label)
    if repeated:
        collected.notes.append(
            f"measured again by themselves, up to {ROUNDS} rounds more: {', '.join(repeated)}"
        )
