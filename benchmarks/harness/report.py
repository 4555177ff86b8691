"""What the comparison found: summaries of the rounds, ratios, tables on the terminal, JSON.

Figures are medians over the rounds with the smallest and largest beside them. A ratio is taken
inside each round, between runs that were neighbours in time, and the median of those is reported:
a slow minute of the machine then spoils neither side alone. `rich` draws the tables where it is
installed; plain text says the same without it.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.measure import Point, Sample
from harness.peers import REFERENCE, Peer

# A table for a log file or a pipe is this many characters wide.
FILE_WIDTH = 190


@dataclass
class Results:
    """Everything measured; a failed round is None in its loop's list of samples."""

    peers: list[Peer]
    points: list[Point]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    samples: dict[tuple[Point, str], list[Sample | None]] = field(default_factory=dict)
    syscalls: dict[tuple[Point, str], dict[str, float]] = field(default_factory=dict)
    call_soon: dict[str, list[Sample | None]] = field(default_factory=dict)

    def rounds(self, point: Point, name: str) -> list[Sample | None]:
        return self.samples.get((point, name), [])


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of one figure over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, rounds: list[Sample | None], key: str) -> Spread | None:
        values = [sample[key] for sample in rounds if sample is not None]
        return cls(statistics.median(values), min(values), max(values)) if values else None


def ratios(ours: list[Sample | None], reference: list[Sample | None], key: str) -> list[float]:
    """Return ours divided by the reference's, of each round that both have."""
    pairs = zip(ours, reference, strict=False)
    return [a[key] / b[key] for a, b in pairs if a is not None and b is not None and b[key] > 0]


def ratio(ours: list[Sample | None], reference: list[Sample | None], key: str) -> float | None:
    """Return the median over the rounds of ours divided by the reference's."""
    values = ratios(ours, reference, key)
    return statistics.median(values) if values else None


def number(value: float | None) -> str:
    """Format with three or four significant digits; thousands as k."""
    if value is None:
        return "-"
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    if value >= 1e4:
        return f"{value / 1e3:.1f}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def spread_cells(spread: Spread | None) -> list[str]:
    if spread is None:
        return ["failed", ""]
    return [number(spread.median), f"{number(spread.least)}..{number(spread.most)}"]


@dataclass
class Table:
    """Rows of text; None among the rows is a separating line."""

    title: str
    headers: list[str]
    rows: list[list[str] | None] = field(default_factory=list)


def absolute_table(results: Results) -> Table:
    table = Table(
        "Absolute figures: median over the rounds, smallest..largest; times in microseconds",
        ["", "msg/s", "", "p50", "p99", "CPU/msg", "", "busy %", "syscalls"],
    )
    for point in results.points:
        table.rows.append([point.label, *[""] * (len(table.headers) - 1)])
        table.rows += [absolute_row(results, point, peer) for peer in results.peers]
        table.rows.append(None)
    return table


def absolute_row(results: Results, point: Point, peer: Peer) -> list[str]:
    rounds = results.rounds(point, peer.name)
    medians = {
        key: spread.median if (spread := Spread.of(rounds, key)) else None
        for key in ("p50_us", "p99_us", "server_busy")
    }
    busy = medians["server_busy"]
    calls = results.syscalls.get((point, peer.name), {}).get("total")
    return [
        f"  {peer.label}",
        *spread_cells(Spread.of(rounds, "messages_per_second")),
        microseconds(medians["p50_us"]),
        microseconds(medians["p99_us"]),
        *spread_cells(Spread.of(rounds, "server_cpu_us")),
        "-" if busy is None else f"{busy * 100:.0f}",
        "-" if calls is None else f"{calls:.2f}",
    ]


def noise_note(results: Results) -> str:
    """Say how far the rounds of one loop lie apart: what is smaller than that is not a result."""
    spreads = [Spread.of(rounds, "server_cpu_us") for rounds in results.samples.values()]
    widths = [(s.most - s.least) / s.median for s in spreads if s is not None and s.median > 0]
    if not any(widths):  # one round has no spread
        return ""
    return (
        f"CPU/msg of the same loop at the same point varies by {statistics.median(widths):.0%} "
        "between rounds (smallest to largest, median of all): mind that when comparing"
    )


def disturbance_note(results: Results) -> str:
    """Say so when neither side was busy: with ten requests in flight one of them should be."""
    kept = [
        max(sample["server_busy"], sample["client_busy"])
        for (point, _), rounds in results.samples.items()
        for sample in rounds
        if sample is not None and point.connections >= 10
    ]
    idle = sum(busy < 0.85 for busy in kept)
    if idle * 10 < len(kept) or not kept:
        return ""
    return (
        f"in {idle} of {len(kept)} runs neither server nor load had its CPU to itself: other "
        "processes are running, so trust CPU/msg rather than messages/s"
    )


def allocator_notes(results: Results) -> list[str]:
    """Name the loops whose C allocator enters the kernel for every message.

    glibc may give the top of the heap back after each large receive buffer and take it again for
    the next, page faults included. It depends on what else lies in the heap, so it can come and go
    with a Python version or an import; who reads the table should know.
    """
    calls = ("brk", "mmap", "munmap", "madvise")
    notes = []
    for (point, name), counts in results.syscalls.items():
        spent = sum(counts.get(call, 0.0) for call in calls)
        if spent >= 0.5:
            notes.append(f"{name}, {point.label}: {spent:.1f} {'/'.join(calls)} calls per message")
    if notes:
        notes.append("to see these without: --env MALLOC_TOP_PAD_=16777216")
    return notes


def ratio_table(results: Results) -> Table:
    others = [peer for peer in results.peers if peer.name != REFERENCE]
    table = Table(
        f"Relative to {REFERENCE}: messages/s (more is better) | CPU/msg (less is better)",
        ["", *(peer.label for peer in others)],
    )
    for point in results.points:
        reference = results.rounds(point, REFERENCE)
        cells = []
        for peer in others:
            rounds = results.rounds(point, peer.name)
            speed = ratio(rounds, reference, "messages_per_second")
            cost = ratio(rounds, reference, "server_cpu_us")
            cells.append("failed" if speed is None else f"{speed:.2f} | {cost or 0.0:.2f}")
        table.rows.append([point.label, *cells])
    return table


def call_soon_table(results: Results) -> Table:
    table = Table(
        f"call_soon + dispatch: operations per CPU second, and relative to {REFERENCE}",
        ["loop", "call_soon(f)", "", "ratio", "call_soon(f, 1, 2, 3)", "", "ratio"],
    )
    reference = results.call_soon.get(REFERENCE, [])
    for peer in results.peers:
        rounds = results.call_soon.get(peer.name, [])
        row = [peer.label]
        for key in ("plain", "args"):
            compared = ratio(rounds, reference, key)
            row += spread_cells(Spread.of(rounds, key))
            row.append("-" if compared is None else f"{compared:.2f}")
        table.rows.append(row)
    return table


def print_table(table: Table) -> None:
    try:
        _print_rich(table)
    except ImportError:
        _print_plain(table)


def _print_rich(table: Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    drawn = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, header in enumerate(table.headers):
        drawn.add_column(header, justify="left" if index == 0 else "right", no_wrap=True)
    for row in table.rows:
        if row is None:
            drawn.add_section()
        else:
            drawn.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH, highlight=False)
    console.print(f"\n{table.title}", style="bold", soft_wrap=True)
    console.print(drawn)


def _print_plain(table: Table) -> None:
    rows = [row for row in table.rows if row is not None]
    widths = [max(map(len, column)) for column in zip(table.headers, *rows, strict=True)]
    print(f"\n{table.title}\n")
    for row in [table.headers, *table.rows]:
        first, *others = row or [""] * len(widths)
        cells = zip(others, widths[1:], strict=True)
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in cells)]
        print("  ".join(padded).rstrip())


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Yield a function that is told before each step what it is; it moves a bar on a terminal."""
    if not sys.stderr.isatty():
        yield _line_progress(total)
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield _line_progress(total)
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=total)
        started = False

        def step(text: str) -> None:
            nonlocal started
            bar.update(task, advance=1 if started else 0, description=text)
            started = True

        yield step


def _line_progress(total: int) -> Callable[[str], None]:
    done = 0
    shown = ""

    def step(text: str) -> None:
        """Print a line per pass, not per step: this goes to a log."""
        nonlocal done, shown
        head = text.partition(":")[0]
        if head != shown:
            print(f"[{done}/{total}] {head}", file=sys.stderr, flush=True)
            shown = head
        done += 1

    return step


def as_json(results: Results, environment: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Return everything measured, with the raw figures of every round."""
    return {
        "environment": environment,
        "plan": plan,
        "loops": {
            peer.name: {"class": peer.class_name, "version": peer.version} for peer in results.peers
        },
        "left_out": results.left_out,
        "notes": results.notes,
        "failures": results.failures,
        "points": [
            {
                "mode": point.mode,
                "message_bytes": point.size,
                "connections": point.connections,
                "loops": {
                    peer.name: _loop_json(results, point, peer.name) for peer in results.peers
                },
            }
            for point in results.points
        ],
        "call_soon": results.call_soon,
    }


def _loop_json(results: Results, point: Point, name: str) -> dict[str, Any]:
    rounds, reference = results.rounds(point, name), results.rounds(point, REFERENCE)
    keys = ("messages_per_second", "server_cpu_us", "p50_us", "p99_us")
    medians = {key: spread.median for key in keys if (spread := Spread.of(rounds, key))}
    return {
        "median": medians,
        f"ratio_to_{REFERENCE}": {key: ratio(rounds, reference, key) for key in keys},
        "syscalls_per_message": results.syscalls.get((point, name)),
        "rounds": rounds,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
