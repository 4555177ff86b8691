"""Claim: bytes in one direction cost no more CPU than on the best of the others, in every mode.

    python benchmarks/run.py bulk
    python benchmarks/run.py bulk --only "to the server" --rounds 1 --seconds 0.2

One TCP connection as fast as it goes. To the server: it receives and discards. From the server: it
writes blocks of 100 KiB and heeds pause_writing, drain or sock_sendall. A message is 100 KiB, so
figures compare with those of the 100 KiB echo. (A buffered protocol writes like any other, so it
only receives here.)
"""

from __future__ import annotations

import sys

from harness.alone import main_of
from harness.measure import MODE_LABELS, Point
from harness.suite import CPU_PER_MESSAGE, Benchmark, Case, Group, Service, load_group

SIZE = 100 * 1024
DIRECTIONS = {
    "to": ("to the server", "send", ("--sink",)),
    "from": ("from the server", "receive", ("--source", str(SIZE))),
}


def group_of(direction: str, mode: str) -> Group:
    words, work, options = DIRECTIONS[direction]
    label = f"bulk {words}, {MODE_LABELS[mode]}"
    point = Point(mode, SIZE, 1, "tcp", work)
    case = Case(f"bulk/{direction}-{mode}", label, CPU_PER_MESSAGE, point)
    return load_group(Service(mode, options=options), [case], limited=True)


BENCHMARK = Benchmark(
    "bulk",
    "One-way bulk, per 100 KiB",
    [
        *(group_of("to", mode) for mode in ("proto", "buffered", "streams", "raw")),
        *(group_of("from", mode) for mode in ("proto", "streams", "raw")),
    ],
)

if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__))
