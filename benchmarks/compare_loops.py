"""Compare event loops on this machine: asyncio, its other replacements, and both of our engines.

    scripts/compare_loops.sh            sets everything up, then runs this with --quick
    scripts/compare_loops.sh --full     every benchmark and the table of claims (see full.py)
    scripts/compare_loops.sh --matrix   TCP echo: every mode, size and number of connections

For every point (mode, message size, connections) each loop serves the load generator for a short
window, loop after loop, and the whole is repeated in rounds, each with fresh server processes and
another loop first. Then come a traced pass that counts system calls and the call_soon rounds. The
figures go to the terminal, and with all raw samples to JSON and PNG files. Exit status 1: something
failed, and the report names it; a loop that is not available is named and left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import full
from harness.alone import add_common_options, names_among, refuse_bad_options, start
from harness.measure import (
    MODE_LABELS,
    MODES,
    MeasurementError,
    Point,
    Rig,
    Sample,
    measure_call_soon,
    measure_load,
    servers,
)
from harness.peers import REFERENCE, Peer
from harness.plots import write_plot
from harness.report import (
    Results,
    absolute_table,
    allocator_notes,
    as_json,
    call_soon_table,
    disturbance_note,
    noise_note,
    print_table,
    progress,
    ratio_table,
    write_json,
)
from harness.suite import rotated
from harness.syscalls import count_syscalls, tracer_path

KIB = 1024
Step = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is run; times in seconds."""

    name: str
    points: list[Point]
    rounds: int
    seconds: float
    warm_up: float
    traced_seconds: float
    call_soon_rounds: int
    call_soon_seconds: float


QUICK_POINTS = [
    Point("proto", KIB, 1),
    Point("proto", KIB, 100),
    Point("proto", 100 * KIB, 10),
    Point("streams", KIB, 100),
    Point("raw", KIB, 100),
]
QUICK = Plan("quick", QUICK_POINTS, 5, 0.3, 0.08, 0.2, 3, 0.2)
MATRIX_POINTS = [
    Point(mode, size * KIB, connections)
    for mode in ("proto", "streams", "raw")
    for size in (1, 10, 100)
    for connections in (1, 10, 100, 1000)
]
MATRIX = Plan("matrix", MATRIX_POINTS, 5, 1.5, 0.3, 0.5, 5, 0.5)


def run(rig: Rig, plan: Plan, results: Results) -> None:
    """Do every measurement of the plan and collect it in the results."""
    peers = results.peers
    total = (plan.rounds + (plan.traced_seconds > 0)) * len(plan.points) * len(peers)
    with progress(total + plan.call_soon_rounds * len(peers)) as step:
        for index in range(plan.rounds):
            run_round(rig, plan, results, index, step)
        if plan.traced_seconds > 0:
            run_traced(rig, plan, results, step)
        for index in range(plan.call_soon_rounds):
            for peer in rotated(peers, index):
                step(f"call_soon, round {index + 1}: {peer.label}")
                samples = results.call_soon.setdefault(peer.name, [])
                samples.append(call_soon_sample(rig, plan, peer, results))


def run_round(rig: Rig, plan: Plan, results: Results, index: int, step: Step) -> None:
    for mode in modes_of(plan):
        points = [point for point in plan.points if point.mode == mode]
        with servers(rig, results.peers, mode, server_limit(plan, len(results.peers))) as running:
            for point in points:
                for peer in rotated(results.peers, index):
                    step(f"round {index + 1} of {plan.rounds}: {point.label}, {peer.label}")
                    sample: Sample | None = None
                    try:
                        server = running[peer.name]
                        sample = measure_load(rig, server, point, plan.warm_up, plan.seconds)
                    except MeasurementError as error:
                        results.failures.append(str(error))
                    results.samples.setdefault((point, peer.name), []).append(sample)


def run_traced(rig: Rig, plan: Plan, results: Results, step: Step) -> None:
    if tracer_path() is None:
        results.notes.append("strace is not installed: system calls were not counted")
        return
    for mode in modes_of(plan):
        with servers(rig, results.peers, mode, server_limit(plan, len(results.peers))) as running:
            for point in [point for point in plan.points if point.mode == mode]:
                for peer in results.peers:
                    step(f"counting system calls: {point.label}, {peer.label}")
                    try:
                        results.syscalls[point, peer.name] = count_syscalls(
                            rig, running[peer.name], point, plan.traced_seconds
                        )
                    except MeasurementError as error:
                        results.failures.append(str(error))


def call_soon_sample(rig: Rig, plan: Plan, peer: Peer, results: Results) -> Sample | None:
    try:
        return measure_call_soon(rig, peer, plan.call_soon_seconds)
    except MeasurementError as error:
        results.failures.append(str(error))
        return None


def modes_of(plan: Plan) -> list[str]:
    return list(dict.fromkeys(point.mode for point in plan.points))


def server_limit(plan: Plan, peer_count: int) -> float:
    """Return the seconds after which a forgotten server ends itself: generous, but an end."""
    each = plan.warm_up + plan.seconds + plan.traced_seconds + 3.0
    return 60.0 + 2 * each * len(plan.points) * peer_count


def chosen_plan(options: argparse.Namespace) -> Plan:
    """Start from --quick or --matrix and replace what the other options name."""
    base = MATRIX if options.matrix else QUICK
    points = base.points
    if options.modes or options.sizes or options.concurrency:
        points = [
            Point(mode, int(size * KIB), connections)
            for mode in options.modes or ["proto"]
            for size in options.sizes or [1.0]
            for connections in options.concurrency or [100]
        ]
    return Plan(
        name=base.name if points is base.points else "chosen",
        points=points,
        rounds=options.rounds or base.rounds,
        seconds=options.seconds or base.seconds,
        warm_up=base.warm_up,
        traced_seconds=0.0 if options.no_syscalls else base.traced_seconds,
        call_soon_rounds=0 if options.no_call_soon else options.rounds or base.call_soon_rounds,
        call_soon_seconds=base.call_soon_seconds,
    )


def numbers(kind: type[int] | type[float]) -> Callable[[str], list[float]]:
    def parse(text: str) -> list[float]:
        values = [kind(word) for word in text.split(",")]
        if not all(value > 0 for value in values):
            raise argparse.ArgumentTypeError("numbers must be positive")
        return list(values)

    return parse


def read_options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="compare_loops.sh",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="five points, three minutes (default)")
    extent.add_argument("--full", action="store_true", help="every claim, under 30 minutes")
    extent.add_argument("--matrix", action="store_true", help="36 points, about 45 minutes")
    add = parser.add_argument
    add("--modes", type=names_among(list(MODES)), help=",".join(MODE_LABELS))
    add("--sizes", type=numbers(float), metavar="KIB,...", help="message sizes in KiB")
    add("--concurrency", type=numbers(int), metavar="N,...", help="numbers of connections")
    add("--rounds", type=int, metavar="N", help="repetitions of everything")
    add("--seconds", type=float, metavar="S", help="length of one measured window")
    add("--no-syscalls", action="store_true", help="do not count system calls")
    add("--no-call-soon", action="store_true", help="do not run the call_soon benchmark")
    add("--minutes", type=float, default=full.BUDGET_MINUTES, help="time that --full may take")
    add_common_options(parser)
    options = parser.parse_args()
    refuse_bad_options(parser, options)
    chosen = options.modes or options.sizes or options.concurrency
    if options.full and (chosen or options.no_syscalls or options.no_call_soon):
        parser.error("--full measures every claim: it takes --rounds, --seconds and --minutes")
    return options


def report(results: Results, environment: dict[str, str], plan: Plan, output: Path) -> None:
    """Print the tables; write the JSON and PNG files."""
    tables = [absolute_table(results)] if plan.points else []
    if any(peer.name == REFERENCE for peer in results.peers):
        tables.append(ratio_table(results))
    else:
        results.notes.append(f"{REFERENCE} was not measured: there are no ratios")
    if results.call_soon:
        tables.append(call_soon_table(results))
    for table in tables:
        print_table(table)
    output.mkdir(parents=True, exist_ok=True)
    stem = output / f"compare_loops-{plan.name}"
    versions = ", ".join(peer.version for peer in results.peers)
    keys = ("cpu", "kernel", "python", "date")
    caption = "; ".join([*(environment[key] for key in keys), versions])
    no_picture = write_plot(stem.with_suffix(".png"), results, caption)
    results.notes += [
        note for note in (no_picture, noise_note(results), disturbance_note(results)) if note
    ]
    results.notes += allocator_notes(results)
    write_json(stem.with_suffix(".json"), as_json(results, environment, asdict(plan)))
    for name, reason in results.left_out.items():
        print(f"left out: {name}: {reason}")
    for note in results.notes:
        print(f"note: {note}")
    for failure in results.failures:
        print(f"FAILED: {failure}")
    print(f"written: {stem}.json" + ("" if no_picture else f" and {stem}.png"))


def main() -> int:
    options = read_options()
    if options.full:
        return full.main(options)
    plan = chosen_plan(options)
    rig, collected, environment = start(options)
    peers = collected.peers
    results = Results(peers, plan.points, collected.left_out, collected.notes)
    if not peers:
        print("no loop to measure")
        return 1
    began = time.monotonic()
    try:
        run(rig, plan, results)
    except KeyboardInterrupt:
        # The servers have been ended on the way here; half a comparison is not reported.
        print("interrupted", file=sys.stderr)
        return 130
    environment["measuring took"] = f"{time.monotonic() - began:.0f} s"
    report(results, environment, plan, options.output)
    print(f"measuring took {environment['measuring took']}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
