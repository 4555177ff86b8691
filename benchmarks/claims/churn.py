"""Claim: a short connection costs less: accept, one echo, close; accept and close alone.

    python benchmarks/run.py churn
    python benchmarks/run.py churn --only streams --rounds 1 --seconds 0.2

Ten clients connect, send 1 KiB, read the echo, close and begin again, each time from another
source address of 127.0.0.0/8, so that ports do not run short. A message is one such connection;
CPU per message includes making and closing the transport. `accept` is the same without a byte:
the client ends its side at once and waits for the server to end the other.
"""

from __future__ import annotations

import sys

from harness.alone import main_of
from harness.measure import MODE_LABELS, Point
from harness.suite import CPU_PER_MESSAGE, Benchmark, Case, Service, load_group, point_case

SIZE = 1024
CLIENTS = 10


def accept_case(mode: str) -> Case:
    point = Point(mode, 1, CLIENTS, "tcp", "accept")
    return Case(f"churn/accept-{mode}", f"accept, {MODE_LABELS[mode]}", CPU_PER_MESSAGE, point)


BENCHMARK = Benchmark(
    "churn",
    "Connection churn: connect, echo, close; accept: connect, close",
    [
        load_group(
            Service(mode),
            [point_case("churn", Point(mode, SIZE, CLIENTS, "tcp", "churn")), accept_case(mode)],
        )
        for mode in ("proto", "streams", "raw")
    ],
)

if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__))
