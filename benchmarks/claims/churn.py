"""Claim: a short connection costs less: accept, one echo, the client's close.

    python benchmarks/run.py churn
    python benchmarks/run.py churn --only streams --rounds 1 --seconds 0.2

Ten clients connect, send 1 KiB, read the echo, close and begin again, each time from another
source address of 127.0.0.0/8, so that ports do not run short. A message is one such connection;
CPU per message includes making and closing the transport.
"""

from __future__ import annotations

import sys

from harness.alone import main_of
from harness.measure import Point
from harness.suite import Benchmark, Service, load_group, point_case

SIZE = 1024
CLIENTS = 10

BENCHMARK = Benchmark(
    "churn",
    "Connection churn: connect, echo, close",
    [
        load_group(Service(mode), [point_case("churn", Point(mode, SIZE, CLIENTS, "tcp", "churn"))])
        for mode in ("proto", "streams", "raw")
    ],
)

if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__))
