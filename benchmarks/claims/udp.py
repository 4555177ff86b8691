"""Claim: echoing datagrams costs less CPU per message, with a protocol and with `sock_recvfrom`.

    python benchmarks/run.py udp
    python benchmarks/run.py udp --only protocol --rounds 1 --seconds 0.2

512 bytes, 1 and 100 peers, each a connected socket of the load generator with one datagram in
flight; the server has one socket. What the load generator has had no answer to for a second it
sends again, so a loop that drops datagrams is slow here rather than stuck.
"""

from __future__ import annotations

import sys

from harness.alone import main_of
from harness.measure import Point
from harness.suite import Benchmark, Service, load_group, point_case

SIZE = 512
COUNTS = {"proto": (1, 100), "raw": (100,)}

BENCHMARK = Benchmark(
    "udp",
    "UDP echo",
    [
        load_group(
            Service(mode, "udp"),
            [point_case("udp", Point(mode, SIZE, count, "udp")) for count in counts],
            limited=mode == "proto",
        )
        for mode, counts in COUNTS.items()
    ],
)

if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__))
