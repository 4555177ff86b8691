"""Claim: cost grows as it should: per message with connections, per timer with live timers.

    python benchmarks/run.py scaling
    python benchmarks/run.py scaling --only timers --rounds 1 --seconds 0.2

CPU per message of a 1 KiB protocol echo from 10 to 5000 connections, and call_later + cancel beside
10 to 1 000 000 live timers. A flat line is what is hoped for; what bends is written down by the
same run for every loop, and for the limits where there are connections. Also the memory that a
million re-arms of timers take. Besides the table and the JSON it draws `scaling.png`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from claims import timers
from harness.alone import main_of
from harness.measure import Point
from harness.micro import micro_group
from harness.plots import Curve, write_curves
from harness.suite import (
    CPU_PER_MESSAGE,
    PER_CPU_SECOND,
    Benchmark,
    Case,
    Collected,
    Service,
    load_group,
)

KIB = 1024
CONNECTIONS = (10, 30, 100, 300, 1000, 3000, 5000)
TIMERS = (10, 100, 1000, 10_000, 100_000, 1_000_000)


def connections_key(count: int) -> str:
    return f"scaling/connections-{count}"


def timers_key(count: int) -> str:
    return f"scaling/timers-{count}"


BENCHMARK = Benchmark(
    "scaling",
    "How cost grows",
    [
        load_group(
            Service("proto"),
            [
                Case(
                    connections_key(count),
                    f"echo, {count} connections",
                    CPU_PER_MESSAGE,
                    Point("proto", KIB, count),
                )
                for count in CONNECTIONS
            ],
            limited=True,
        ),
        micro_group(
            "timers",
            [
                Case(
                    timers_key(count),
                    f"call_later + cancel, {count} live timers",
                    PER_CPU_SECOND,
                    ["--case", "arm_cancel", "--live", str(count)],
                )
                for count in TIMERS
            ]
            + [
                Case(
                    "scaling/rearm-memory",
                    f"memory in a million re-arms beside {timers.MANY}",
                    timers.GROWTH,
                    ["--case", "rearm_memory", "--live", str(timers.MANY)],
                )
            ],
        ),
    ],
    most_rounds=1,
)


def draw(collected: Collected, caption: str, folder: Path) -> str:
    """Draw both curves; return an empty text, or why there is no picture."""
    curves = [
        Curve(
            "1 KiB protocol echo",
            "connections",
            "server CPU, us / message",
            [(count, connections_key(count)) for count in CONNECTIONS],
        ),
        Curve(
            "call_later + cancel",
            "live timers",
            "CPU, us / timer",
            [(count, timers_key(count)) for count in TIMERS],
            # The sample is a rate.
            lambda rate: 1e6 / rate,
        ),
    ]
    return write_curves(folder / "scaling.png", collected, curves, caption)


if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__, draw))
