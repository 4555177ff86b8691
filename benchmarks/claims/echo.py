"""Claim: echoing costs less CPU per message, over TCP and unix sockets, in every way of using them.

    python benchmarks/run.py echo                     the points of the published table
    python benchmarks/run.py echo --only unix         those whose name contains "unix"
    python benchmarks/run.py echo --matrix            1, 10, 100 KiB x 1, 10, 100, 1000 x every mode

Protocol, buffered protocol, streams and raw sockets. Also here: the median latency of a single
connection, and system calls per message, which are counted in a window under strace. Datagrams
and TLS have files of their own (`udp.py`, `tls.py`).
"""

from __future__ import annotations

import sys

from harness.alone import main_of
from harness.measure import MODES, Point, Rig, Sample, Server, UnsupportedError
from harness.suite import (
    Benchmark,
    Case,
    Group,
    Service,
    Settings,
    load_group,
    measure_point,
    point_case,
)
from harness.syscalls import count_syscalls, tracer_path

KIB = 1024
SIZES = (KIB, 10 * KIB, 100 * KIB)
COUNTS = (1, 10, 100, 1000)
# What the published table has, by transport and mode: (size, connections).
CLAIMED = {
    ("tcp", "proto"): [(KIB, 1), (KIB, 100), (KIB, 1000), (100 * KIB, 10)],
    ("tcp", "buffered"): [(KIB, 100), (100 * KIB, 10)],
    ("tcp", "streams"): [(KIB, 100), (KIB, 1000), (100 * KIB, 10)],
    ("tcp", "raw"): [(KIB, 100), (100 * KIB, 10)],
    ("unix", "proto"): [(KIB, 100), (KIB, 1000)],
}
LATENCY = Case(
    "echo/latency", "1 connection, tcp protocol, 1 KiB", "p50_us", Point("proto", KIB, 1)
)
SYSCALLS = Case(
    "echo/syscalls", "tcp protocol, 1 KiB, 100 connections", "syscalls", Point("proto", KIB, 100)
)
# A window under strace: its length changes nothing but the number of messages.
TRACED_SECONDS = 0.2


def measure(rig: Rig, server: Server, case: Case, settings: Settings) -> Sample:
    if case.figure != "syscalls":
        return measure_point(rig, server, case, settings)
    if tracer_path() is None:
        raise UnsupportedError("strace is not installed: system calls were not counted")
    counts = count_syscalls(rig, server, case.detail, TRACED_SECONDS)
    return {"syscalls": counts["total"], "by_name": counts}


def group_of(transport: str, mode: str, points: list[Point], more: list[Case]) -> Group:
    cases = [*(point_case("echo", point) for point in points), *more]
    group = load_group(Service(mode, transport), cases)
    return Group(cases, group.open, measure, limited=mode == "proto")


def claimed() -> Benchmark:
    groups = []
    for (transport, mode), points in CLAIMED.items():
        more = [LATENCY, SYSCALLS] if (transport, mode) == ("tcp", "proto") else []
        chosen = [Point(mode, size, count, transport) for size, count in points]
        groups.append(group_of(transport, mode, chosen, more))
    return Benchmark("echo", "Echo", groups)


def matrix() -> Benchmark:
    groups = [
        group_of(
            transport,
            mode,
            [Point(mode, size, count, transport) for size in SIZES for count in COUNTS],
            [],
        )
        for transport in ("tcp", "unix")
        for mode in MODES
    ]
    return Benchmark("echo-matrix", "Echo, every mode, size and number of connections", groups)


BENCHMARK = claimed()

if __name__ == "__main__":
    whole = "--matrix" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--matrix"]
    sys.exit(main_of(matrix() if whole else BENCHMARK, __doc__))
