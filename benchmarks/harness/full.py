"""`compare_loops.sh --full`: every benchmark in interleaved rounds, then the table of claims.

A round measures everything on every loop; rounds follow until their number or the time is used up.
The first is always completed. The others begin with what takes the least time, so that the rounds
that a verdict needs (`claims.LEAST_ROUNDS`) are had by as many as possible, and a benchmark is left
out of a round that it would not finish in time; the report says how many rounds each had. What
takes long or varies little has fewer rounds of its own (`Benchmark.most_rounds`), what varies much
several short windows in each (`Benchmark.windows`). Close rows are measured again at the end
(`repeats.py`).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from claims import (
    bulk,
    call_soon,
    churn,
    echo,
    idle,
    programs,
    resolve,
    scaling,
    shuffle,
    spawn,
    startup,
    tasks,
    threadsafe,
    timers,
    tls,
    udp,
    web,
)
from harness import claims
from harness.alone import caption_of, case_table, print_remarks, start
from harness.measure import Rig
from harness.plots import write_claims, write_programs
from harness.repeats import repeat_close_rows
from harness.report import Spread, print_table, progress, write_json
from harness.suite import Benchmark, Collected, Settings, as_json, run_round, steps_of

MODULES = (
    call_soon,
    threadsafe,
    timers,
    tasks,
    resolve,
    echo,
    bulk,
    udp,
    tls,
    churn,
    web,
    programs,
    startup,
    shuffle,
    spawn,
    scaling,
)
BENCHMARKS: list[Benchmark] = [
    *(module.BENCHMARK for module in MODULES),
    idle.CLAIMED,
    idle.OTHERS,
]
SETTINGS = Settings(rounds=5, seconds=0.3, warm_up=0.1)
# Of measuring; with set-up and report the whole stays under half an hour.
BUDGET_MINUTES = 26.0
# The rounds' share of it; the rest is for what they do not decide (repeats.py).
SHARE_OF_ROUNDS = 0.65


def run_all(rig: Rig, collected: Collected, settings: Settings, budget_seconds: float) -> None:
    """Run the rounds; what the budget did not allow becomes a note."""
    started = time.monotonic()
    deadline = started + budget_seconds * SHARE_OF_ROUNDS
    took: dict[str, float] = {}
    done: dict[str, int] = {}
    total = sum(
        steps_of(benchmark, collected) * rounds_of(benchmark, settings) for benchmark in BENCHMARKS
    )
    with progress(total) as step:
        for index in range(settings.rounds):
            for benchmark in sorted(BENCHMARKS, key=lambda known: took.get(known.name, 0.0)):
                began = time.monotonic()
                if index >= rounds_of(benchmark, settings):
                    continue
                if index > 0 and began + took[benchmark.name] > deadline:
                    continue
                run_round(rig, benchmark, settings, collected, index, step)
                took[benchmark.name] = time.monotonic() - began
                done[benchmark.name] = index + 1
        deadline = started + budget_seconds
        repeat_close_rows(rig, BENCHMARKS, settings, collected, deadline, step)
    short = [
        f"{benchmark.name} {done.get(benchmark.name, 0)} of {rounds_of(benchmark, settings)}"
        for benchmark in BENCHMARKS
        if done.get(benchmark.name, 0) < rounds_of(benchmark, settings)
    ]
    if short:
        collected.notes.append("rounds that the time allowed: " + ", ".join(short))


def rounds_of(benchmark: Benchmark, settings: Settings) -> int:
    return min(settings.rounds, benchmark.most_rounds or settings.rounds)


def noise_note(collected: Collected) -> str:
    """Say how far the rounds of one loop lie apart: what is smaller than that is not a result."""
    widths = []
    for key, case in collected.cases.items():
        for rounds in collected.samples[key].values():
            spread = Spread.of(rounds, case.figure)
            if spread is not None and len(rounds) > 1 and spread.median > 0:
                widths.append((spread.most - spread.least) / spread.median)
    if not widths:
        return ""
    middle = sorted(widths)[len(widths) // 2]
    return f"the same loop in the same case varies by {middle:.0%} between rounds (median of all)"


def main(options: argparse.Namespace) -> int:
    """Run with the options of compare_loops.py; return the exit status."""
    settings = Settings(
        options.rounds or SETTINGS.rounds, options.seconds or SETTINGS.seconds, SETTINGS.warm_up
    )
    rig, collected, environment = start(options)
    if not collected.peers:
        print("no loop to measure")
        return 1
    began = time.monotonic()
    try:
        run_all(rig, collected, settings, options.minutes * 60)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    environment["measuring took"] = f"{time.monotonic() - began:.0f} s"
    report(collected, environment, settings, options.output)
    print(f"measuring took {environment['measuring took']}")
    return 1 if collected.failures else 0


def report(
    collected: Collected, environment: dict[str, str], settings: Settings, folder: Path
) -> None:
    """Print the tables; write JSON and pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / "compare_loops-full"
    caption = caption_of(environment, collected)
    verdicts = claims.verdicts_of(collected)
    of_programs = [verdict for verdict in verdicts if claims.is_program(verdict)]
    remarks = (
        noise_note(collected),
        write_claims(stem.with_suffix(".png"), verdicts, caption),
        scaling.draw(collected, caption, folder),
        write_programs(folder / "programs.png", collected, of_programs, caption),
    )
    collected.notes += [remark for remark in remarks if remark]
    content = as_json(collected, environment, settings)
    content["claims"] = claims.as_json(verdicts)
    write_json(stem.with_suffix(".json"), content)
    for benchmark in BENCHMARKS:
        print_table(case_table(benchmark, collected))
    print_table(claims.claim_table(verdicts))
    print(claims.summary(verdicts))
    if programs_line := claims.real_programs(verdicts):
        print(programs_line)
    print_remarks(collected)
    for name, reason in collected.left_out.items():
        print(f"left out: {name}: {reason}")
    print(f"written: {stem}.json, {stem}.png, {folder}/scaling.png, {folder}/programs.png")
