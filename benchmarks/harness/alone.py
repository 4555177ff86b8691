"""Running one benchmark file by itself: its options, its table, its JSON.

    python benchmarks/run.py timers                     all loops, a small table
    python benchmarks/run.py timers --rounds 1 --seconds 0.2 --only rearm --loops uvloop,uring

Every benchmark file ends in `main_of(BENCHMARK)`. The table has a row per case and a column per
loop: the median, and in brackets its ratio to uvloop's median round by round. The JSON in
build/benchmarks/ holds every raw sample, machine, kernel and versions.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import machine
from harness.measure import Rig
from harness.peers import LIMITS, LOOPS, PACKAGES, REFERENCE, Peer, find_limits, find_peers
from harness.report import Table, number, print_table, progress, ratio, write_json
from harness.suite import (
    UNITS,
    Benchmark,
    Case,
    Collected,
    Group,
    Settings,
    as_json,
    run_round,
    steps_of,
)

ROOT = Path(__file__).resolve().parents[2]


def names_among(known: list[str]) -> Callable[[str], list[str]]:
    """Return an option type: some of the known names, separated by commas."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"choose from {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse


def default_loadgen() -> Path:
    """Where the build puts the load generator, or the one that compare_loops.sh compiled."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    built = ROOT / "build" / version / "benchmarks" / "loadgen" / "loadgen"
    by_hand = ROOT / "build" / "benchmarks" / "loadgen"
    newest = [path for path in (built, by_hand) if path.is_file()]
    return max(newest, key=lambda path: path.stat().st_mtime, default=built)


def default_limit(loadgen: Path) -> Path:
    """Where the build that made the load generator puts the limit."""
    return loadgen.parent.parent / "limit" / "limit"


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add what every comparison takes: loops, programs, environment, output."""
    add = parser.add_argument
    known = [*LOOPS, *LIMITS]
    add("--loops", type=names_among(known), default=known, help=",".join(known))
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="environment of servers")
    add("--loadgen", type=Path, default=default_loadgen(), help="path of the load generator")
    add("--limit", type=Path, help="path of the limit's program (beside the load generator's)")
    add(
        "--peer-python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=f"the Python of another environment for one of {','.join(PACKAGES)}",
    )
    add("--output", type=Path, default=ROOT / "build" / "benchmarks", help="directory for files")


def refuse_bad_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if not os.access(options.loadgen, os.X_OK):
        parser.error(f"no load generator at {options.loadgen}: run scripts/bootstrap.sh first")
    if not all("=" in setting for setting in options.env):
        parser.error("--env takes NAME=VALUE")
    if not all(text.partition("=")[0] in PACKAGES for text in options.peer_python):
        parser.error(f"--peer-python takes NAME=PATH, NAME one of {', '.join(PACKAGES)}")


def start(options: argparse.Namespace) -> tuple[Rig, Collected, dict[str, Any]]:
    """Choose CPUs, find the loops, and print and return what the figures belong to."""
    cpus = machine.choose_cpus()
    environment: dict[str, Any] = machine.describe() | {"pinning": cpus.describe()}
    peers, left_out = find_peers(
        [name for name in options.loops if name in LOOPS],
        dict(setting.split("=", 1) for setting in options.peer_python),
    )
    for key, value in environment.items():
        print(f"{key}: {value}")
    for peer in peers:
        print(f"loop: {peer.label}: {peer.class_name}, {peer.version}")
    limits, missing = find_limits(options.loops, options.limit or default_limit(options.loadgen))
    for limit in limits:
        print(f"limit: {limit.label}: {limit.version}")
    left_out |= missing
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    settings = dict(setting.split("=", 1) for setting in options.env)
    collected = Collected(peers, left_out=left_out, limits=limits)
    if settings:
        collected.notes.append(f"servers ran with {settings}")
    return Rig(options.loadgen, cpus, os.environ | settings), collected, environment


def only(benchmark: Benchmark, text: str) -> Benchmark:
    """Return the benchmark with the cases whose key or label contains the text."""
    groups: list[Group] = []
    for group in benchmark.groups:
        cases = [case for case in group.cases if text in case.key or text in case.label]
        if cases:
            groups.append(replace(group, cases=cases))
    return replace(benchmark, groups=groups)


def read_options(benchmark: Benchmark, documentation: str) -> argparse.Namespace:
    summary, _, rest = documentation.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = Settings()
    rounds = min(usual.rounds, benchmark.most_rounds or usual.rounds)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"repetitions ({rounds})")
    parser.add_argument(
        "--seconds", type=float, default=usual.seconds, help=f"of one window ({usual.seconds})"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="cases that contain this text")
    add_common_options(parser)
    options = parser.parse_args()
    refuse_bad_options(parser, options)
    return options


# Draws something of what was collected, with a caption, into a folder; returns why not, or "".
Draw = Callable[[Collected, str, Path], str]


def main_of(benchmark: Benchmark, documentation: str | None, draw: Draw | None = None) -> int:
    """Run a benchmark file as a program; return its exit status."""
    options = read_options(benchmark, documentation or "")
    settings = Settings(options.rounds, options.seconds)
    benchmark = only(benchmark, options.only)
    rig, collected, environment = start(options)
    if not collected.peers or not benchmark.groups:
        print("nothing to measure")
        return 1
    try:
        with progress(settings.rounds * steps_of(benchmark, collected)) as step:
            for index in range(settings.rounds):
                run_round(rig, benchmark, settings, collected, index, step)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    options.output.mkdir(parents=True, exist_ok=True)
    if draw and (missing := draw(collected, caption_of(environment, collected), options.output)):
        collected.notes.append(missing)
    print_table(case_table(benchmark, collected))
    print_remarks(collected)
    path = options.output / f"{benchmark.name}.json"
    write_json(path, as_json(collected, environment, settings))
    print(f"written: {path}")
    return 1 if collected.failures else 0


def caption_of(environment: dict[str, Any], collected: Collected) -> str:
    """Return the line under a picture: machine, kernel, date, versions."""
    versions = ", ".join(f"{peer.label}: {peer.version}" for peer in collected.peers)
    return "; ".join([*(str(environment[key]) for key in ("cpu", "kernel", "date")), versions])


def case_table(benchmark: Benchmark, collected: Collected) -> Table:
    table = Table(
        f"{benchmark.title}: median (ratio to {REFERENCE})",
        ["", *(peer.label for peer in columns_of(benchmark, collected))],
    )
    shown = ""
    for case in benchmark.cases:
        unit = UNITS.get(case.figure, case.figure)
        if unit != shown:
            better = "more" if case.more_is_better else "less"
            heading = f"{unit}, {better} is better"
            table.rows.append([heading, *[""] * (len(table.headers) - 1)])
            shown = unit
        table.rows.append([f"  {case.label}", *(_cells(benchmark, collected, case))])
    return table


def columns_of(benchmark: Benchmark, collected: Collected) -> list[Peer]:
    """The loops, and the limits if any of it has them."""
    limited = any(group.limited for group in benchmark.groups)
    return collected.columns if limited else collected.peers


def _cells(benchmark: Benchmark, collected: Collected, case: Case) -> list[str]:
    cells = []
    reference = collected.rounds(case.key, REFERENCE)
    for peer in columns_of(benchmark, collected):
        spread = collected.spread(case.key, peer.name)
        if spread is None:
            cells.append("-")
            continue
        compared = ratio(collected.rounds(case.key, peer.name), reference, case.figure)
        cells.append(number(spread.median) + ("" if compared is None else f" ({compared:.2f})"))
    return cells


def print_remarks(collected: Collected) -> None:
    """Print what has no figure, and why."""
    for text in collected.unsupported:
        print(f"not supported: {text}")
    for note in collected.notes:
        print(f"note: {note}")
    for failure in collected.failures:
        print(f"FAILED: {failure}")
