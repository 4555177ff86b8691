"""Claim: bytes in one direction cost no more CPU than with the best of the others, in every mode.

    python benchmarks/run.py bulk
    python benchmarks/run.py bulk --only "to the server" --rounds 1 --seconds 0.2

One TCP connection as fast as it goes. To the server: it receives and discards. From the server: it
writes blocks of 100 KiB and heeds pause_writing, drain or sock_sendall. A message is 100 KiB. (A
buffered protocol writes like any other, so it only receives here.)

What is compared is the CPU time of both sides: on loopback the side that falls behind leaves the
kernel's work of moving segments to the other, so a server's CPU alone may measure the client. Both
ends ask for socket buffers of 256 KiB with every loop (net.core.wmem_max and rmem_max may allow
less), as the kernel would otherwise size them by what each happens to do. A round has four short
windows, for the figures vary more than others.
"""

from __future__ import annotations

import sys

from harness.alone import main_of
from harness.measure import MODE_LABELS, Point
from harness.suite import CPU_OF_BOTH, Benchmark, Case, Group, Service, load_group

SIZE = 100 * 1024
BUFFER_BYTES = 256 * 1024
DIRECTIONS = {
    "to": ("to the server", "send", ("--sink",)),
    "from": ("from the server", "receive", ("--source", str(SIZE))),
}


def group_of(direction: str, mode: str) -> Group:
    words, work, options = DIRECTIONS[direction]
    label = f"bulk {words}, {MODE_LABELS[mode]}"
    point = Point(mode, SIZE, 1, "tcp", work, BUFFER_BYTES)
    case = Case(f"bulk/{direction}-{mode}", label, CPU_OF_BOTH, point)
    buffers = ("--socket-buffers", str(BUFFER_BYTES))
    return load_group(Service(mode, options=(*options, *buffers)), [case], limited=True)


BENCHMARK = Benchmark(
    "bulk",
    "One-way bulk, both sides, per 100 KiB",
    [
        *(group_of("to", mode) for mode in ("proto", "buffered", "streams", "raw")),
        *(group_of("from", mode) for mode in ("proto", "streams", "raw")),
    ],
    windows=4,
)

if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__))
